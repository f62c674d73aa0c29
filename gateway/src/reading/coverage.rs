//! What of a profile is there, and what is not. Pure.

use super::slots::Slots;
use crate::session::model::Cadence;
use crate::store::observation::Quality;
use crate::store::profile::CountedRow;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Slots of a profile within a window, by what they are worth. Their sum is what was due: nothing is invented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Coverage {
    /// Rows that were due.
    pub due: u32,
    /// Rows that came when they were due.
    pub measured: u32,
    /// Rows that came late.
    pub late: u32,
    /// Rows that the meter estimated.
    pub estimated: u32,
    /// Rows that are not there.
    pub missing: u32,
    /// Of those that are there: rows of which the meter said something else later.
    pub disputed: u32,
    /// Of those that are there: rows that a doubt holds.
    pub held: u32,
}

impl Coverage {
    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.measured += other.measured;
        self.late += other.late;
        self.estimated += other.estimated;
        self.missing += other.missing;
        self.disputed += other.disputed;
        self.held += other.held;
    }
}

/// The slots that are due within a window. An interval belongs to the window in which it ends; a snapshot to the one in which
/// its day or month begins.
#[must_use]
pub fn due(
    slots: &Slots,
    due_from: Timestamp,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Vec<Timestamp> {
    let (at_from, last) = (slots.last(from), slots.last(to.min(now)));
    let (first, last) = match slots.cadence {
        Cadence::Every(_) => (slots.after(at_from), last),
        Cadence::Daily | Cadence::Monthly => (
            if at_from == from { from } else { slots.after(at_from) },
            if last == to { slots.before(last) } else { last },
        ),
    };
    slots.between(first.max(slots.after(slots.last(due_from))), last).collect()
}

/// Counts rows against the slots that are due.
#[must_use]
pub fn count(slots: &Slots, due: &[Timestamp], rows: &[CountedRow]) -> Coverage {
    let there: BTreeMap<Timestamp, &CountedRow> =
        rows.iter().filter_map(|row| Some((slots.of(row.at)?, row))).collect();
    let mut coverage = Coverage::default();
    for slot in due {
        coverage.due += 1;
        let row = there.get(slot);
        match row.map_or(Quality::Missing, |row| row.quality) {
            Quality::Measured => coverage.measured += 1,
            Quality::Late => coverage.late += 1,
            Quality::Estimated => coverage.estimated += 1,
            Quality::Missing => coverage.missing += 1,
        }
        coverage.disputed += u32::from(row.is_some_and(|row| row.disputed));
        coverage.held += u32::from(row.is_some_and(|row| row.held));
    }
    coverage
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn every_interval_that_is_due_is_counted_once_and_what_is_beside_the_grid_fills_none() {
        let slots = Slots { cadence: Cadence::Every(900), zone: TimeZone::UTC };
        let (from, to) = (at("2026-11-22T00:00:00Z"), at("2026-11-23T00:00:00Z"));
        let due = due(&slots, at("2026-11-21T00:00:00Z"), from, to, at("2026-11-22T01:20:00Z"));
        assert_eq!((due.len(), due[0]), (5, at("2026-11-22T00:15:00Z")));
        let row = |time, quality| CountedRow { at: at(time), quality, disputed: false, held: false };
        let rows = [
            row("2026-11-22T00:00:00Z", Quality::Measured),
            CountedRow { held: true, ..row("2026-11-22T00:15:00Z", Quality::Measured) },
            CountedRow { disputed: true, ..row("2026-11-22T00:30:00Z", Quality::Late) },
            row("2026-11-22T00:37:12Z", Quality::Measured),
            row("2026-11-22T01:00:00Z", Quality::Estimated),
        ];
        let coverage = count(&slots, &due, &rows);
        let expected =
            Coverage { due: 5, measured: 1, late: 1, estimated: 1, missing: 2, disputed: 1, held: 1 };
        assert_eq!(coverage, expected);
    }

    #[test]
    fn what_was_recorded_before_the_meter_was_ours_is_not_due() {
        let slots = Slots { cadence: Cadence::Every(900), zone: TimeZone::UTC };
        let (from, to) = (at("2026-11-22T00:00:00Z"), at("2026-11-23T00:00:00Z"));
        let due = due(&slots, at("2026-11-22T23:15:00Z"), from, to, at("2026-11-24T00:00:00Z"));
        assert_eq!(due, [at("2026-11-22T23:30:00Z"), at("2026-11-22T23:45:00Z"), to]);
    }

    #[test]
    fn a_months_worth_of_snapshots_is_due_on_its_days() {
        let slots = Slots { cadence: Cadence::Daily, zone: TimeZone::UTC };
        let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        let due = due(&slots, at("2026-10-01T00:00:00Z"), from, to, at("2026-12-05T00:00:00Z"));
        assert_eq!((due.len(), due[0], due[29]), (30, from, at("2026-11-30T00:00:00Z")));
    }
}
