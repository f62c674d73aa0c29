//! The gap ledger: intervals that are due and not there. Pure: what was asked for and what is there afterwards say what is
//! missing, when it is asked for again, and when that has no more use (N30).

use super::slots::Slots;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// A run of slots that are due and not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Its first slot.
    pub from: Timestamp,
    /// Its last slot.
    pub to: Timestamp,
    /// When it was first seen to be missing.
    pub seen_at: Timestamp,
    /// How often it was asked for.
    pub attempts: u32,
    /// How often the meter answered without it.
    pub answered: u32,
    /// When it is asked for again.
    pub next_at: Timestamp,
    /// That its deadline passed was told.
    pub told: bool,
}

/// A gap that nobody asks for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// It.
    pub gap: Gap,
    /// Why.
    pub why: WhyGivenUp,
}

/// Why a gap is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyGivenUp {
    /// It is older than the meter's buffer.
    Overwritten,
    /// The meter answered several times that it has no such rows.
    NotRecorded,
}

impl WhyGivenUp {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Overwritten => "the meter's buffer no longer holds it",
            Self::NotRecorded => "the meter has no rows of it",
        }
    }
}

/// What was asked for, in slots, and whether the meter answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The first slot.
    pub from: Timestamp,
    /// The last one.
    pub to: Timestamp,
    /// The meter answered, with whatever rows.
    pub answered: bool,
}

/// How gaps are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What is older than this has gone from the meter's buffer.
    pub held_from: Timestamp,
    /// The longest pause between two attempts for what still has a deadline ahead.
    pub deadline: Option<SignedDuration>,
}

/// The gaps afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Still asked for, oldest first.
    pub open: Vec<Gap>,
    /// Given up just now.
    pub given_up: Vec<GivenUp>,
    /// Whose deadline has passed just now: first and last slot.
    pub overdue: Vec<(Timestamp, Timestamp)>,
}

/// A meter that answered so often without a row does not have it: its own clock may lag, and a row may be written while we ask.
const ANSWERS_MAX: u32 = 3;
/// The pauses between attempts; the last one for all further ones. Our own choice: quick for a lost answer, then less and less
/// of a line's time for a meter that stays away.
const PAUSES_MIN: [i64; 8] = [1, 5, 15, 60, 180, 360, 720, 1_440];
/// The first pauses where nobody answered: a lost frame costs two or three minutes, and a row is late after ten. For a row that the
/// meter answered without, the pauses above: it may be written later.
const UNANSWERED_MIN: [i64; 3] = [1, 1, 3];
/// What has a deadline ahead is asked for at least this often.
const URGENT_MIN: i64 = 15;

/// The pause after so many attempts, the last of which the meter answered, or not.
#[must_use]
pub fn pause(attempts: u32, answered: bool) -> SignedDuration {
    let at = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let quick = UNANSWERED_MIN.get(at).filter(|_| !answered);
    SignedDuration::from_mins(*quick.unwrap_or(&PAUSES_MIN[at.min(PAUSES_MIN.len() - 1)]))
}

/// What is missing after an attempt. `there` are the slots within what was asked for that are filled now.
#[must_use]
pub fn settle(
    slots: &Slots,
    before: &[Gap],
    asked: &Asked,
    there: &BTreeSet<Timestamp>,
    terms: &Terms,
    now: Timestamp,
) -> Ledger {
    let mut pieces = outside(slots, before, asked);
    if asked.answered {
        // The meter is there again: what it was not there for need not wait any longer.
        for gap in pieces.iter_mut().filter(|gap| gap.answered == 0) {
            gap.next_at = gap.next_at.min(now);
        }
    }
    pieces.extend(missing(slots, before, asked, there, terms, now));
    pieces.sort_by_key(|gap| gap.from);
    let mut ledger = Ledger::default();
    for gap in pieces {
        match split(slots, gap, terms.held_from, &mut ledger.given_up) {
            Some(gap) if gap.answered >= ANSWERS_MAX => {
                give_up(slots, &mut ledger.given_up, gap, WhyGivenUp::NotRecorded);
            }
            Some(gap) => join(slots, &mut ledger.open, gap),
            None => {}
        }
    }
    if let Some(deadline) = terms.deadline {
        for gap in ledger.open.iter_mut().filter(|gap| !gap.told && passed(gap.to, deadline, now)) {
            gap.told = true;
            ledger.overdue.push((gap.from, gap.to));
        }
    }
    ledger
}

fn passed(slot: Timestamp, deadline: SignedDuration, now: Timestamp) -> bool {
    slot.checked_add(deadline).is_ok_and(|limit| limit <= now)
}

/// What was not asked for stays as it was.
fn outside(slots: &Slots, before: &[Gap], asked: &Asked) -> Vec<Gap> {
    let mut kept = Vec::new();
    for gap in before {
        if gap.from < asked.from {
            kept.push(Gap { to: gap.to.min(slots.before(asked.from)), ..gap.clone() });
        }
        if gap.to > asked.to {
            kept.push(Gap { from: gap.from.max(slots.after(asked.to)), ..gap.clone() });
        }
    }
    kept
}

/// What was asked for and is not there, slot by slot with its history, in runs.
fn missing(
    slots: &Slots,
    before: &[Gap],
    asked: &Asked,
    there: &BTreeSet<Timestamp>,
    terms: &Terms,
    now: Timestamp,
) -> Vec<Gap> {
    let mut found: Vec<Gap> = Vec::new();
    for slot in slots.between(asked.from, asked.to).filter(|slot| !there.contains(slot)) {
        let known = before.iter().find(|gap| gap.from <= slot && slot <= gap.to);
        let attempts = known.map_or(0, |gap| gap.attempts) + 1;
        let mut wait = pause(attempts, asked.answered);
        if terms.deadline.is_some_and(|deadline| !passed(slot, deadline, now)) {
            wait = wait.min(SignedDuration::from_mins(URGENT_MIN));
        }
        let gap = Gap {
            from: slot,
            to: slot,
            seen_at: known.map_or(now, |gap| gap.seen_at),
            attempts,
            answered: known.map_or(0, |gap| gap.answered) + u32::from(asked.answered),
            next_at: now.saturating_add(wait).unwrap_or(Timestamp::MAX),
            told: known.is_some_and(|gap| gap.told),
        };
        join(slots, &mut found, gap);
    }
    found
}

/// Appends a gap, as part of the one before it where both are in the same state. What a silent meter owes is one gap, however
/// often it was asked for.
fn join(slots: &Slots, gaps: &mut Vec<Gap>, gap: Gap) {
    if let Some(last) = gaps.last_mut()
        && slots.after(last.to) == gap.from
        && last.answered == gap.answered
        && (last.attempts == gap.attempts || gap.answered == 0)
        && last.told == gap.told
    {
        last.to = gap.to;
        last.seen_at = last.seen_at.min(gap.seen_at);
        last.attempts = last.attempts.max(gap.attempts);
        last.next_at = last.next_at.max(gap.next_at);
        return;
    }
    gaps.push(gap);
}

/// Gives up what the buffer no longer holds; the rest, if there is any.
fn split(slots: &Slots, gap: Gap, held_from: Timestamp, given_up: &mut Vec<GivenUp>) -> Option<Gap> {
    if gap.from >= held_from {
        return Some(gap);
    }
    let last = slots.last(held_from);
    let last_gone = if last < held_from { last } else { slots.before(last) };
    let gone = Gap { to: gap.to.min(last_gone), ..gap.clone() };
    give_up(slots, given_up, gone, WhyGivenUp::Overwritten);
    (gap.to > last_gone).then(|| Gap { from: slots.after(last_gone), ..gap })
}

fn give_up(slots: &Slots, given_up: &mut Vec<GivenUp>, gap: Gap, why: WhyGivenUp) {
    match given_up.last_mut() {
        Some(last) if last.why == why && slots.after(last.gap.to) == gap.from => last.gap.to = gap.to,
        _ => given_up.push(GivenUp { gap, why }),
    }
}

#[cfg(test)]
mod tests;
