//! The seam between decisions and sessions: what a line may be asked to do to a meter, and what it can answer.

use super::clock_check::ClockTerms;
use super::model::Ability;
use super::order::Order;
use crate::vault::KeyMark;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

/// A meter as the gateway knows it: its serial number (DRN for STS meters). One name in API, store and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Serial(pub String);

/// The 20 digits of a token. They are money: [`std::fmt::Debug`] shows none but the last four.
#[derive(Clone, PartialEq, Eq, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct TokenDigits(String);

impl TokenDigits {
    /// Takes exactly 20 decimal digits.
    #[must_use]
    pub fn new(digits: &str) -> Option<Self> {
        (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| Self(digits.to_owned()))
    }

    /// The digits, for the wire and the receipt. Never for a log.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a log or an event may show: `…1234`.
    #[must_use]
    pub fn masked(&self) -> String {
        format!("…{}", self.0.get(16..).unwrap_or(""))
    }
}

impl std::fmt::Debug for TokenDigits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked())
    }
}

/// Tries in vain after which a priority decays.
const TRIES_TO_DECAY: u32 = 3;

/// Lower is sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Relay and token commands.
    Command,
    /// Somebody waits for the answer.
    OnDemand,
    /// Billing reads.
    Billing,
    /// Profiles and other scheduled reads.
    Scheduled,
    /// Intervals that were missed: whenever nothing else is to do.
    Backfill,
}

impl Priority {
    /// Every priority, most urgent first.
    pub const ALL: [Self; 5] =
        [Self::Command, Self::OnDemand, Self::Billing, Self::Scheduled, Self::Backfill];

    /// Its place among them.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::OnDemand => "on-demand",
            Self::Billing => "billing",
            Self::Scheduled => "scheduled",
            Self::Backfill => "backfill",
        }
    }

    /// What becomes of it when the work was tried in vain again and again: it no longer holds up what is as urgent and may
    /// succeed. What somebody waits for stays urgent all the same.
    #[must_use]
    pub const fn after_tries(self, tries: u32) -> Self {
        match self {
            Self::Command if tries >= TRIES_TO_DECAY => Self::OnDemand,
            Self::Billing if tries >= TRIES_TO_DECAY => Self::Scheduled,
            same => same,
        }
    }

    /// Somebody waits for it: a command or an on-demand read.
    #[must_use]
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Command | Self::OnDemand)
    }
}

/// What to do. Everything a session does to a meter is one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Open an association, read identity and prepaid mode, set the clock, sense the relay.
    Commission,
    /// Read registers, credit and relay state.
    Read,
    /// The same, with what is audited once a day: payment mode, available credit, what charges have taken.
    Audit,
    /// Push this token, then read status, credit and relay back.
    DeliverToken(TokenDigits),
    /// Read the signs of tampering, and push this token, which clears them, where none of them lasts.
    ClearTamper(TokenDigits),
    /// The answer to a delivery was lost: ask the meter whether it took this token. Never enters it.
    AskToken(TokenDigits),
    /// Open the relay, then read output and control state back.
    Disconnect,
    /// Close (or arm) the relay, then read output and control state back.
    Reconnect,
    /// Give the meter new global keys, and prove them by an association.
    RotateKeys,
    /// A key rotation was cut: find out which keys the meter has. Changes nothing at the meter.
    AskKeys,
    /// Give the meter a setting, then look whether it has it.
    Carry(Order),
    /// The answer to a setting was lost: look whether the meter has it. Changes nothing at the meter.
    Check(Order),
    /// Read rows of a profile.
    ReadProfile(RowsWanted),
    /// Say who is there, without an association of trust: for addresses of which nothing is known.
    Identify,
    /// See how far the clock is off, and correct it on these terms.
    CorrectClock(ClockTerms),
}

/// Which rows of which profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsWanted {
    /// The profile's name in the meter's model.
    pub profile: String,
    /// Rows of this time and later.
    pub from: Timestamp,
    /// Rows of this time and earlier.
    pub to: Timestamp,
}

/// A correction of a clock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClockStep {
    /// How far it was off before, in seconds; none when it had no time.
    pub before_s: Option<i64>,
    /// Shifted, not set.
    pub shifted: bool,
    /// It went over the end of an interval or a day.
    pub crosses: bool,
}

/// One row of a profile as the meter has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProfileRow {
    /// Its time: for load profiles the end of the interval.
    pub at: Timestamp,
    /// The status the meter gave it.
    pub status: Option<u32>,
    /// The meter says that it estimated.
    pub estimated: bool,
    /// A value for each channel; none where the meter has none.
    pub cells: Vec<Option<i64>>,
}

/// Rows that were read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProfileRows {
    /// What the cells are: name and unit.
    pub channels: Vec<(String, String)>,
    /// Oldest first as the meter gives them, none outside what was asked for.
    pub rows: Vec<ProfileRow>,
}

impl Work {
    /// Its name in logs and events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Commission => "commission",
            Self::Read => "read",
            Self::Audit => "audit",
            Self::DeliverToken(_) => "deliver token",
            Self::ClearTamper(_) => "clear tamper",
            Self::AskToken(_) => "ask about token",
            Self::Disconnect => "disconnect",
            Self::Reconnect => "reconnect",
            Self::RotateKeys => "rotate keys",
            Self::AskKeys => "ask about keys",
            Self::Carry(order) => order.name(),
            Self::Check(_) => "look at a setting",
            Self::ReadProfile(_) => "read profile",
            Self::CorrectClock(_) => "correct clock",
            Self::Identify => "identify",
        }
    }

    /// It reads and changes nothing: whoever asked for it stores what came, or nothing came of it.
    #[must_use]
    pub const fn is_stored_by_its_asker(&self) -> bool {
        matches!(self, Self::Read | Self::Audit | Self::ReadProfile(_))
    }

    /// What a meter must be able to do for it.
    #[must_use]
    pub const fn needs(&self) -> Ability {
        match self {
            Self::Commission | Self::Read | Self::Audit | Self::Identify => Ability::Read,
            Self::ReadProfile(_) => Ability::RecordProfiles,
            Self::CorrectClock(_) => Ability::SetClock,
            Self::DeliverToken(_) | Self::ClearTamper(_) | Self::AskToken(_) => Ability::TakeTokens,
            Self::Disconnect | Self::Reconnect => Ability::SwitchRelay,
            Self::RotateKeys | Self::AskKeys => Ability::ChangeKeys,
            Self::Carry(order) | Self::Check(order) => order.needs(),
        }
    }
}

/// One piece of work for one meter.
#[derive(Debug)]
pub struct Job {
    /// Which meter.
    pub meter: Serial,
    /// What to do.
    pub work: Work,
    /// When, compared with other jobs on the same line.
    pub priority: Priority,
    /// Not to be started after this time.
    pub not_after: Option<Timestamp>,
    /// From the API call down to the frame, in every log line.
    pub correlation: String,
    /// Where the report goes. Dropped receivers are fine: the work is done all the same.
    pub report: oneshot::Sender<Report>,
    /// Sent once, just before the first byte of a state-changing request leaves.
    pub sending: Option<oneshot::Sender<()>>,
}

/// The way to a line's task. Boxed: a channel keeps room for 32 of what it carries, and every meter of a network has one.
pub type LineSender = mpsc::Sender<Box<Job>>;

/// Sensed and logical state of a relay (class 70 attributes 2 and 3, or a coil and its contact input).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RelayState {
    /// What the contact says: closed.
    pub output_closed: bool,
    /// What the logic wants: 0 disconnected, 1 connected, 2 ready for reconnection. `None` where the meter has no such state.
    pub control_state: Option<u8>,
}

/// How far a firmware image is at a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ImageProgress {
    /// So many of its blocks have come.
    Transferred {
        /// How many.
        done: usize,
        /// Of how many.
        blocks: usize,
    },
    /// All blocks have come, and the meter checks the whole.
    Checking,
    /// Checked, and on its way to be started.
    Activated,
    /// It runs.
    Runs,
}

/// How a relay was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RelayTested {
    /// It was opened, nothing flowed, and it was closed again, or armed for a person.
    Operated,
    /// It was open already, and nothing flows.
    SeenOpen,
    /// It was looked at: its contact is where its logic wants it.
    Sensed,
}

/// Whether a calendar that a meter has applies already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CalendarProgress {
    /// It is the one to come.
    ToCome {
        /// When.
        at: Timestamp,
    },
    /// It is the one in force.
    InForce,
}

/// What was read from a meter, each value only if it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// Serial number the meter gave.
    pub serial: Option<String>,
    /// How far a firmware image is.
    pub image: Option<ImageProgress>,
    /// How its relay was tested.
    pub relay_tested: Option<RelayTested>,
    /// Whether the calendar that was ordered applies.
    pub calendar: Option<CalendarProgress>,
    /// Logical device name the meter gave.
    pub device_name: Option<String>,
    /// Firmware identifier the meter gave.
    pub firmware: Option<String>,
    /// Account mode is prepayment (class 111 attribute 2).
    pub prepaid: Option<bool>,
    /// Active energy import in watt-hours.
    pub import_wh: Option<i64>,
    /// Credit the meter holds, in watt-hours for energy accounts.
    pub credit_wh: Option<i64>,
    /// Credit that is available, with what the meter lends, in watt-hours for energy accounts.
    pub available_wh: Option<i64>,
    /// Everything that the account's charges have taken so far, in watt-hours for energy accounts.
    pub charged_wh: Option<i64>,
    /// Relay.
    pub relay: Option<RelayState>,
    /// Why the relay is open, in the meter's own code and words (`no credit`, `remote`, …).
    pub relay_reason: Option<String>,
    /// Active power in watts, to see that energy stopped.
    pub power_w: Option<i64>,
    /// Meter clock minus gateway clock, in seconds.
    pub clock_offset_s: Option<i64>,
    /// Token gateway status (class 115 attribute 6): status code and the STS result code in data_value.
    pub token_status: Option<(u8, u8)>,
    /// The token the status is about (class 115 attribute 2), when it is the one asked for.
    pub token_is_ours: Option<bool>,
    /// What was done to the clock; `clock_offset_s` is what it was off afterwards.
    pub clock: Option<ClockStep>,
    /// Transformer ratios, in the order of the model.
    pub ratios: Option<Vec<i64>>,
    /// Rows of a profile.
    pub profile: Option<Box<ProfileRows>>,
}

impl Facts {
    /// Whether nothing was read but rows of a profile, and the serial number that every association begins with.
    #[must_use]
    pub const fn are_rows_alone(&self) -> bool {
        matches!(
            self,
            Self {
                image: None,
                relay_tested: None,
                calendar: None,
                device_name: None,
                firmware: None,
                prepaid: None,
                import_wh: None,
                credit_wh: None,
                available_wh: None,
                charged_wh: None,
                relay: None,
                relay_reason: None,
                power_w: None,
                clock_offset_s: None,
                token_status: None,
                token_is_ours: None,
                clock: None,
                ratios: None,
                serial: _,
                profile: _,
            }
        )
    }
}

/// How a piece of work ended. "No answer" and "unknown" are different things: after `Unknown` the meter may have acted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The meter did it, and what was read back says so.
    Done,
    /// The meter refused, in its own words and code.
    Rejected {
        /// A person can read this.
        reason: String,
        /// STS result code or DLMS result, as a number.
        code: Option<u8>,
    },
    /// The state-changing request never left: nothing happened at the meter.
    NotSent {
        /// Why.
        reason: String,
    },
    /// The request left, the answer did not come back. The meter has to be asked.
    Unknown {
        /// What was waited for.
        reason: String,
    },
}

/// An invocation counter heard from a meter under some keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Under which.
    pub keys: KeyMark,
    /// The highest.
    pub counter: u32,
}

/// The answer to a [`Job`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// What was read on the way.
    pub facts: Facts,
    /// The highest invocation counter heard from the meter, where it is for whoever stores the facts to keep: in the same write,
    /// so that no answer counts that could be given once more.
    pub heard: Option<Heard>,
    /// When the work began and ended.
    pub started: Timestamp,
    /// See above.
    pub ended: Timestamp,
    /// What was sent and read, one line each, without keys or token digits.
    pub evidence: Vec<String>,
}
