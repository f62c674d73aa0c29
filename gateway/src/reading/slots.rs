//! When rows of a profile are due. A slot is one row's place: for a load profile the end of its interval, for a snapshot the
//! begin of its local day or month.

use crate::session::model::Cadence;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// The slots of one profile in its meter's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// How often.
    pub cadence: Cadence,
    /// The meter's zone: days and months begin by it.
    pub zone: TimeZone,
}

impl Slots {
    /// The slot that a row of this time fills; none for a load profile's row beside the grid, which is kept but fills no slot.
    #[must_use]
    pub fn of(&self, row: Timestamp) -> Option<Timestamp> {
        let slot = self.last(row);
        match self.cadence {
            Cadence::Every(_) => (slot == row).then_some(slot),
            Cadence::Daily | Cadence::Monthly => Some(slot),
        }
    }

    /// The last slot at or before this time.
    #[must_use]
    pub fn last(&self, now: Timestamp) -> Timestamp {
        match self.cadence {
            Cadence::Every(seconds) => {
                let second = now.as_second();
                let slot = second - second.rem_euclid(i64::from(seconds.max(1)));
                Timestamp::from_second(slot).unwrap_or(now)
            }
            Cadence::Daily => self.begin(self.date(now)),
            Cadence::Monthly => self.begin(self.date(now).first_of_month()),
        }
    }

    /// The slot after this one.
    #[must_use]
    pub fn after(&self, slot: Timestamp) -> Timestamp {
        self.step(slot, 1)
    }

    /// The slot before this one.
    #[must_use]
    pub fn before(&self, slot: Timestamp) -> Timestamp {
        self.step(slot, -1)
    }

    /// The slot so many places later, or earlier.
    #[must_use]
    pub fn step(&self, slot: Timestamp, places: i32) -> Timestamp {
        let moved = match self.cadence {
            Cadence::Every(seconds) => {
                return slot
                    .checked_add(SignedDuration::from_secs(i64::from(seconds) * i64::from(places)))
                    .unwrap_or(slot);
            }
            Cadence::Daily => self.date(slot).checked_add(Span::new().days(places)),
            Cadence::Monthly => self.date(slot).checked_add(Span::new().months(places)),
        };
        moved.map_or(slot, |date| self.begin(date))
    }

    /// Every slot from the first to the last, both included.
    pub fn between(&self, first: Timestamp, last: Timestamp) -> impl Iterator<Item = Timestamp> {
        let mut next = first;
        std::iter::from_fn(move || {
            let slot = (next <= last).then_some(next)?;
            next = self.after(slot);
            // At the end of time there is no slot after the last one.
            (next > slot).then_some(slot)
        })
    }

    /// The last time that a row of this slot may have.
    #[must_use]
    pub fn end(&self, slot: Timestamp) -> Timestamp {
        match self.cadence {
            Cadence::Every(_) => slot,
            Cadence::Daily | Cadence::Monthly => {
                self.after(slot).checked_sub(SignedDuration::from_secs(1)).unwrap_or(slot)
            }
        }
    }

    fn date(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone.clone()).date()
    }

    fn begin(&self, date: Date) -> Timestamp {
        date.to_zoned(self.zone.clone()).map_or(Timestamp::MIN, |begin| begin.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn slots(cadence: Cadence) -> Slots {
        Slots { cadence, zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone") }
    }

    #[test]
    fn the_day_on_which_daylight_saving_ends_has_a_hundred_quarter_hours_and_the_one_on_which_it_begins_92() {
        let (quarters, days) = (slots(Cadence::Every(900)), slots(Cadence::Daily));
        for (noon, count) in
            [("2026-10-25T12:00:00Z", 100), ("2026-03-29T12:00:00Z", 92), ("2026-11-22T12:00:00Z", 96)]
        {
            let day = days.last(at(noon));
            let first = quarters.after(day);
            assert_eq!(quarters.between(first, days.after(day)).count(), count, "{noon}");
        }
    }

    #[test]
    fn a_snapshot_fills_its_local_day_or_month_and_a_row_beside_the_grid_fills_nothing() {
        let late = at("2026-11-01T05:12:00Z");
        assert_eq!(slots(Cadence::Daily).of(late), Some(at("2026-10-31T23:00:00Z")));
        assert_eq!(slots(Cadence::Monthly).of(late), Some(at("2026-10-31T23:00:00Z")));
        assert_eq!(slots(Cadence::Monthly).before(at("2026-10-31T23:00:00Z")), at("2026-09-30T22:00:00Z"));
        assert_eq!(slots(Cadence::Every(900)).of(late), None);
        assert_eq!(
            slots(Cadence::Every(900)).of(at("2026-11-01T05:15:00Z")),
            Some(at("2026-11-01T05:15:00Z"))
        );
        assert_eq!(slots(Cadence::Every(900)).last(late), at("2026-11-01T05:00:00Z"));
    }
}
