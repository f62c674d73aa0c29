//! The life of a command, as one pure function: what a report means, and what comes next.
//!
//! | kind | done | rejected | not sent | unknown |
//! |---|---|---|---|---|
//! | read | verified | rejected | again, then expired | again, then expired |
//! | commission | verified, if it is the right meter in the right mode | rejected | again | again |
//! | deliver token, clear tamper | accepted, verified | rejected; `Used` where the credit shows it: accepted, verified | again | ask the meter |
//! | deliver token, asking | accepted, verified | rejected, or not got it: send the same token again | ask again | ask again |
//! | disconnect, reconnect | verified if the relay is as wanted, else read again | rejected | again | read the relay |
//! | rotate keys; arm, set clock, limit load | accepted, verified | rejected | again | ask which keys the meter has; look at the setting |
//! | the same, asking | accepted, verified | it has the old ones; it is not so set: again | ask again | ask again |
//! | set prices, set tariff, limit emergency | as arm, set clock, limit load | | | |
//! | set calendar | accepted; looked at again when its time has come: verified | as above | | |
//! | test relay | accepted, verified | rejected | again | reconnect until supply is back; then rejected: it was cut |
//! | update image | next slice; after activation it is looked at until it runs | rejected | again | look, then go on by the bitmap |
//! | get | as read | | | |
//! | set (engineer's) | as a setting, but never given twice | rejected | again | look: set, or rejected |
//! | invoke (engineer's) | accepted, verified | rejected | again | stays unknown for ever |
//! | disconnect, reconnect, asking | verified, or again if the relay is not as wanted | ask again | ask again | ask again |

use super::used::Shown;
use crate::session::work::{CalendarProgress, Ending, Facts, ImageProgress, RelayState, RelayTested, Report};
use crate::store::command::{CommandKind, CommandState};
use std::time::Duration;

/// What was asked of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To do it.
    Act,
    /// To find out whether it was done.
    Ask,
}

/// One attempt, as the decision needs it.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// What the command is.
    pub kind: CommandKind,
    /// Where it stands.
    pub state: CommandState,
    /// What was asked of the line.
    pub step: Step,
    /// Attempts before this one.
    pub tries: u32,
    /// The meter's serial number.
    pub serial: &'a str,
    /// The meter must be in prepayment mode (N04).
    pub expects_prepaid: bool,
    /// Where the meter says that the token is used: what its registers say about the credit.
    pub credit: Shown,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Finish,
    /// Do it (again), after this time.
    Act(Duration),
    /// Ask the meter, after this time.
    Ask(Duration),
}

/// What a report means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The states gone through, each with a line for a person.
    pub states: Vec<(CommandState, String)>,
    /// What comes next.
    pub then: Then,
}

/// Result code `UsedError` of IEC 62055-52: the token is in the meter's memory of accepted tokens.
const STS_USED: u8 = 10;
/// Result codes that pass with time: token lockout, not ready.
const STS_PASSING: [u8; 2] = [15, 16];
/// Token gateway status codes, class 115 attribute 6.
const STATUS_EXECUTED: u8 = 3;
const STATUS_REFUSED: std::ops::RangeInclusive<u8> = 4..=7;

/// A read is tried this often before it expires: somebody is waiting.
const READ_TRIES: u32 = 3;
/// A relay is commanded this often before it is declared not to act (N05).
const RELAY_TRIES: u32 = 4;

/// The pause before another attempt: doubling from a quarter of a second to a minute. Our own choice: short enough for a demo
/// and a lost frame, long enough that a dead meter costs its line nothing noticeable.
#[must_use]
pub fn pause(tries: u32) -> Duration {
    Duration::from_millis(250u64 << tries.min(8)).min(Duration::from_mins(1))
}

/// What `report` means for the command.
#[must_use]
pub fn settle(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    match attempt.kind {
        CommandKind::Read | CommandKind::Commission | CommandKind::Get => settle_read(attempt, report),
        CommandKind::DeliverToken | CommandKind::ClearTamper => match attempt.step {
            Step::Act => settle_delivery(attempt, report),
            Step::Ask => settle_token_question(attempt, report),
        },
        CommandKind::RotateKeys => settle_setting(attempt, report, &ROTATION),
        CommandKind::SetClock
        | CommandKind::Arm
        | CommandKind::LimitLoad
        | CommandKind::LimitEmergency
        | CommandKind::SetPrices
        | CommandKind::SetTariff => settle_setting(attempt, report, &SETTING),
        CommandKind::UpdateImage => settle_image(attempt, report),
        CommandKind::SetCalendar => settle_calendar(attempt, report),
        CommandKind::TestRelay => settle_relay_test(attempt, report),
        CommandKind::Set => settle_engineers(attempt, report),
        CommandKind::Invoke => settle_action(attempt, report),
        CommandKind::Disconnect | CommandKind::Reconnect => match attempt.step {
            Step::Act => settle_switch(attempt, report),
            Step::Ask => settle_relay_question(attempt, report),
        },
    }
}

/// Where a command goes on that was open when the gateway stopped. One that had been handed to a line may have been done.
#[must_use]
pub fn resume(kind: CommandKind, dispatched: bool) -> Step {
    match kind {
        CommandKind::Read | CommandKind::Commission | CommandKind::Get => Step::Act,
        _ if dispatched => Step::Ask,
        _ => Step::Act,
    }
}

fn one(state: CommandState, line: impl Into<String>, then: Then) -> Verdict {
    Verdict { states: vec![(state, line.into())], then }
}

fn done(accepted: impl Into<String>, verified: impl Into<String>) -> Verdict {
    Verdict {
        states: vec![(CommandState::Accepted, accepted.into()), (CommandState::Verified, verified.into())],
        then: Then::Finish,
    }
}

fn rejected(reason: impl Into<String>) -> Verdict {
    one(CommandState::Rejected, reason, Then::Finish)
}

fn act_again(attempt: &Attempt<'_>, reason: &str) -> Verdict {
    one(CommandState::Queued, reason, Then::Act(pause(attempt.tries)))
}

fn ask_again(attempt: &Attempt<'_>, reason: &str) -> Verdict {
    // A relay command that was accepted stays so while its effect is being looked for.
    let state =
        if attempt.state == CommandState::Accepted { CommandState::Accepted } else { CommandState::Unknown };
    one(state, reason, Then::Ask(pause(attempt.tries)))
}

fn settle_read(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    match &report.ending {
        Ending::Done => match wrong_meter(attempt, &report.facts) {
            Some(reason) => rejected(reason),
            None => one(CommandState::Verified, describe(&report.facts), Then::Finish),
        },
        Ending::Rejected { reason, .. } => rejected(reason),
        Ending::NotSent { reason } | Ending::Unknown { reason } => {
            if attempt.kind != CommandKind::Commission && attempt.tries + 1 >= READ_TRIES {
                return one(
                    CommandState::Expired,
                    format!("no answer in {READ_TRIES} attempts: {reason}"),
                    Then::Finish,
                );
            }
            act_again(attempt, reason)
        }
    }
}

/// Commissioning is complete only when the right meter is there and its prepayment mode was read back (N04).
fn wrong_meter(attempt: &Attempt<'_>, facts: &Facts) -> Option<String> {
    if let Some(found) = facts.serial.as_deref().filter(|found| *found != attempt.serial) {
        return Some(format!("the meter at this address is {found}, not {}", attempt.serial));
    }
    if attempt.kind == CommandKind::Commission && attempt.expects_prepaid && facts.prepaid != Some(true) {
        return Some("the meter is not in prepayment mode".to_owned());
    }
    None
}

fn settle_delivery(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    match &report.ending {
        Ending::Done => done("the meter accepted the token", describe(&report.facts)),
        Ending::Rejected { code: Some(STS_USED), .. } => settle_used(attempt, &report.facts),
        Ending::Rejected { reason, code: Some(code) } if STS_PASSING.contains(code) => {
            act_again(attempt, reason)
        }
        Ending::Rejected { reason, .. } => rejected(reason),
        Ending::NotSent { reason } => act_again(attempt, reason),
        Ending::Unknown { reason } => {
            one(CommandState::Unknown, format!("{reason}; the meter will be asked"), Then::Ask(pause(0)))
        }
    }
}

fn settle_token_question(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    let facts = &report.facts;
    let accepted = || done("asked: the meter has accepted this token", describe(facts));
    match (facts.token_is_ours, facts.token_status) {
        (Some(false), _) => {
            let line = "asked: the meter has not got this token; the same token is sent again";
            return one(CommandState::Queued, line, Then::Act(Duration::ZERO));
        }
        (Some(true), Some((STATUS_EXECUTED, _))) => return accepted(),
        (Some(true), Some((code, STS_USED))) if STATUS_REFUSED.contains(&code) => {
            return settle_used(attempt, facts);
        }
        (Some(true), Some((code, result))) if STATUS_REFUSED.contains(&code) => {
            if STS_PASSING.contains(&result) {
                return act_again(attempt, "asked: the meter could not take the token yet");
            }
            return rejected(match &report.ending {
                Ending::Rejected { reason, .. } => reason.clone(),
                _ => format!("asked: the meter refused this token, status {code}, result {result}"),
            });
        }
        _ => {}
    }
    match &report.ending {
        Ending::Done => accepted(),
        Ending::Rejected { code: Some(STS_USED), .. } => settle_used(attempt, facts),
        Ending::Rejected { reason, .. } | Ending::NotSent { reason } | Ending::Unknown { reason } => {
            ask_again(attempt, reason)
        }
    }
}

/// The meter has seen the token's number before. Whether in this token, its credit tells.
fn settle_used(attempt: &Attempt<'_>, facts: &Facts) -> Verdict {
    match attempt.credit {
        Shown::Added => done("the meter has this token already, and its credit shows it", describe(facts)),
        Shown::NotAdded => rejected(format!(
            "the meter has seen this token id before, but its credit shows that this token was not added: another vending system \
             has used the id. Nothing was credited, the money is owed back; {}",
            describe(facts)
        )),
        Shown::Unclear => done(
            "the meter has this token already; no reading from before it was made shows whether its credit was added",
            describe(facts),
        ),
    }
}

/// Whether a report rests on the meter's word that the token is used.
#[must_use]
pub fn says_used(report: &Report) -> bool {
    let by_status =
        matches!(report.facts.token_status, Some((code, STS_USED)) if STATUS_REFUSED.contains(&code));
    by_status || matches!(report.ending, Ending::Rejected { code: Some(STS_USED), .. })
}

/// What is said about something that does no harm when it is given twice.
struct Words {
    accepted: &'static str,
    verified: &'static str,
    found: &'static str,
    found_verified: &'static str,
    lost: &'static str,
}

const ROTATION: Words = Words {
    accepted: "the meter took the new keys",
    verified: "it answers under them",
    found: "asked: the meter has the new keys",
    found_verified: "it answers under them; the old ones are gone",
    lost: "old and new keys are kept, and the meter will be asked",
};

const SETTING: Words = Words {
    accepted: "the meter took the setting",
    verified: "read back: it is as ordered",
    found: "asked: the meter has the setting",
    found_verified: "read back: it is as ordered",
    lost: "the setting will be read back",
};

fn settle_setting(attempt: &Attempt<'_>, report: &Report, words: &Words) -> Verdict {
    match (attempt.step, &report.ending) {
        (Step::Act, Ending::Done) => done(words.accepted, words.verified),
        (Step::Ask, Ending::Done) => done(words.found, words.found_verified),
        (Step::Act, Ending::Rejected { reason, .. }) => rejected(reason),
        (Step::Ask, Ending::Rejected { reason, .. }) | (Step::Act, Ending::NotSent { reason }) => {
            act_again(attempt, reason)
        }
        (Step::Act, Ending::Unknown { reason }) => {
            one(CommandState::Unknown, format!("{reason}; {}", words.lost), Then::Ask(pause(0)))
        }
        (Step::Ask, Ending::NotSent { reason } | Ending::Unknown { reason }) => ask_again(attempt, reason),
    }
}

/// How often a meter that was told to start its new firmware is looked at: with the pauses between, some twenty minutes for its
/// restart and its own trial of it.
const IMAGE_LOOKS: u32 = 25;

/// An image goes slice by slice; after its activation the meter is looked at until it runs it.
fn settle_image(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    let activated = attempt.state == CommandState::Accepted;
    match (&report.ending, report.facts.image) {
        (Ending::Done, Some(ImageProgress::Runs)) if activated => {
            one(CommandState::Verified, "read back: the meter runs it", Then::Finish)
        }
        (Ending::Done, Some(ImageProgress::Runs)) => {
            done("the meter has the image", "read back: the meter runs it")
        }
        (Ending::Done, Some(ImageProgress::Activated)) => {
            one(CommandState::Accepted, "the meter checked the image and starts it", Then::Ask(IMAGE_RESTART))
        }
        (Ending::Done, Some(ImageProgress::Transferred { done, blocks })) => {
            // In tens, so that an image of a thousand blocks is not a hundred steps.
            let tens = done * 10 / blocks.max(1) * 10;
            one(CommandState::Queued, format!("{tens} % of its blocks have come"), Then::Act(Duration::ZERO))
        }
        (Ending::Done, Some(ImageProgress::Checking)) => {
            one(CommandState::Queued, "the meter checks the image", Then::Act(IMAGE_CHECK))
        }
        (Ending::Done, None) => act_again(attempt, "the meter said nothing about the image"),
        (Ending::Rejected { reason, .. }, _) if attempt.step == Step::Ask && activated => {
            if attempt.tries < IMAGE_LOOKS {
                return ask_again(attempt, reason);
            }
            rejected(format!("{reason}: its new firmware did not stay"))
        }
        (Ending::Rejected { reason, .. }, _) if attempt.step == Step::Ask => act_again(attempt, reason),
        (Ending::Rejected { reason, .. }, _) => rejected(reason),
        (Ending::NotSent { reason }, _) if attempt.step == Step::Act => act_again(attempt, reason),
        (Ending::Unknown { reason }, _) if attempt.step == Step::Act => {
            let line = format!("{reason}; the meter will be looked at, and the image gone on with");
            one(CommandState::Unknown, line, Then::Ask(pause(0)))
        }
        (Ending::NotSent { reason } | Ending::Unknown { reason }, _) => ask_again(attempt, reason),
    }
}

/// A calendar that is to come is looked at so long after its time: the meter's clock may be slow.
const CALENDAR_MARGIN: Duration = Duration::from_mins(2);
/// How often a calendar whose time has come is looked at before it is said that it does not apply.
const CALENDAR_LOOKS: u32 = 8;

/// A calendar that is to come is verified when it is in force, not before.
fn settle_calendar(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    let taken = attempt.state == CommandState::Accepted;
    match (&report.ending, report.facts.calendar) {
        (Ending::Done, Some(CalendarProgress::ToCome { at })) => {
            let wait = Duration::try_from(at.duration_since(report.ended)).unwrap_or_default();
            let line = format!("read back: the meter has it, and it applies from {at} on");
            one(CommandState::Accepted, line, Then::Ask(wait.saturating_add(CALENDAR_MARGIN)))
        }
        (Ending::Done, _) if taken => one(CommandState::Verified, "read back: it is in force", Then::Finish),
        (Ending::Done, _) => done("the meter took the calendar", "read back: it is in force"),
        (Ending::Rejected { reason, .. }, _) if taken => {
            if attempt.tries < CALENDAR_LOOKS {
                return ask_again(attempt, reason);
            }
            rejected(format!("{reason}: the meter had taken it, and it does not apply"))
        }
        _ => settle_setting(attempt, report, &SETTING),
    }
}

/// A relay test opens and closes in one go. One that was cut in between is not repeated: supply is brought back, and that is all.
fn settle_relay_test(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    let facts = &report.facts;
    let how = match facts.relay_tested {
        Some(RelayTested::Operated) => "opened, nothing flowed, and brought back",
        Some(RelayTested::SeenOpen) => "it is open, and nothing flows",
        Some(RelayTested::Sensed) => "not operated: its contact is where its logic wants it",
        None => "looked at",
    };
    match (attempt.step, &report.ending) {
        (Step::Act, Ending::Done) => done(how, describe(facts)),
        (Step::Act, Ending::Rejected { reason, .. }) => rejected(reason),
        (Step::Act, Ending::NotSent { reason }) => act_again(attempt, reason),
        (Step::Act, Ending::Unknown { reason }) => {
            one(CommandState::Unknown, format!("{reason}; supply will be brought back"), Then::Ask(pause(0)))
        }
        (Step::Ask, Ending::Done)
            if facts.relay.is_some_and(|relay| as_wanted(CommandKind::Reconnect, relay)) =>
        {
            rejected(format!("the test was cut, and supply brought back: {}", describe(facts)))
        }
        (Step::Ask, Ending::Done) => ask_again(attempt, "the relay is not yet closed again"),
        (
            Step::Ask,
            Ending::Rejected { reason, .. } | Ending::NotSent { reason } | Ending::Unknown { reason },
        ) => ask_again(attempt, reason),
    }
}

/// After an activation a meter restarts.
const IMAGE_RESTART: Duration = Duration::from_secs(3);
/// A meter that checks an image is asked again after this time, until it is done or the command's time is over.
const IMAGE_CHECK: Duration = Duration::from_secs(5);

/// What an engineer sets is read back; it is never set twice by us.
fn settle_engineers(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    match (attempt.step, &report.ending) {
        (Step::Ask, Ending::Rejected { reason, .. }) => {
            rejected(format!("asked: {reason}; it is not set again"))
        }
        _ => settle_setting(attempt, report, &SETTING),
    }
}

/// An action cannot be asked about, and is never invoked twice by us.
fn settle_action(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    match &report.ending {
        Ending::Done => done("the meter carried it out", "its answer says so"),
        Ending::Rejected { reason, .. } => rejected(reason),
        Ending::NotSent { reason } => act_again(attempt, reason),
        Ending::Unknown { reason } => {
            one(CommandState::Unknown, format!("{reason}; {NEVER_AGAIN}"), Then::Finish)
        }
    }
}

/// What becomes of an action whose answer was lost.
pub const NEVER_AGAIN: &str =
    "nobody knows whether it was carried out, and it is not sent again: look at the meter";

/// Whether a relay is as the command wants it. A reconnected meter may wait for a person to close it (N03).
fn as_wanted(kind: CommandKind, relay: RelayState) -> bool {
    match kind {
        CommandKind::Disconnect => !relay.output_closed,
        _ => relay.output_closed || relay.control_state == Some(2),
    }
}

fn settle_switch(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    match (&report.ending, report.facts.relay) {
        (Ending::Done, Some(relay)) if as_wanted(attempt.kind, relay) => {
            done("the meter accepted the command", describe(&report.facts))
        }
        (Ending::Done, _) => one(
            CommandState::Accepted,
            "the meter accepted the command; the relay is not yet as wanted",
            Then::Ask(pause(attempt.tries)),
        ),
        (Ending::Rejected { reason, .. }, _) => rejected(reason),
        (Ending::NotSent { reason }, _) => act_again(attempt, reason),
        (Ending::Unknown { reason }, _) => {
            one(CommandState::Unknown, format!("{reason}; the relay will be read"), Then::Ask(pause(0)))
        }
    }
}

fn settle_relay_question(attempt: &Attempt<'_>, report: &Report) -> Verdict {
    match (&report.ending, report.facts.relay) {
        (Ending::Done, Some(relay)) if as_wanted(attempt.kind, relay) => {
            let seen = describe(&report.facts);
            if attempt.state == CommandState::Accepted {
                return one(CommandState::Verified, seen, Then::Finish);
            }
            done("asked: the relay is as wanted", seen)
        }
        (Ending::Done, Some(_)) if attempt.tries >= RELAY_TRIES => {
            rejected(format!("the relay does not follow: {}", describe(&report.facts)))
        }
        (Ending::Done, Some(_)) => act_again(attempt, "asked: the relay is not as wanted; commanded again"),
        (Ending::Done, None) => ask_again(attempt, "the relay could not be sensed"),
        (Ending::Rejected { reason, .. } | Ending::NotSent { reason } | Ending::Unknown { reason }, _) => {
            ask_again(attempt, reason)
        }
    }
}

/// What was read, in one line.
#[must_use]
pub fn describe(facts: &Facts) -> String {
    let mut parts = Vec::new();
    if let Some(relay) = facts.relay {
        let control = match relay.control_state {
            Some(0) => ", disconnected",
            Some(1) => ", connected",
            Some(2) => ", ready for reconnection",
            _ => "",
        };
        let contact = if relay.output_closed { "closed" } else { "open" };
        parts.push(format!("relay sensed {contact}{control}"));
    }
    if let Some(reason) = &facts.relay_reason {
        parts.push(format!("reason {reason}"));
    }
    if let Some(credit) = facts.credit_wh {
        parts.push(format!("credit {credit} Wh"));
    }
    if let Some(import) = facts.import_wh {
        parts.push(format!("import {import} Wh"));
    }
    if let Some(power) = facts.power_w {
        parts.push(format!("power {power} W"));
    }
    if let Some(prepaid) = facts.prepaid {
        parts.push((if prepaid { "prepayment mode" } else { "credit mode" }).to_owned());
    }
    if let Some(offset) = facts.clock_offset_s {
        parts.push(format!("clock off by {offset} s"));
    }
    if parts.is_empty() { "read back".to_owned() } else { format!("read back: {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests;
