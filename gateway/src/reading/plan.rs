//! What is asked for next of one profile of one meter, and when. Pure.

use super::gaps::Gap;
use super::slots::Slots;
use crate::session::model::Purpose;
use crate::session::work::Priority;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Where one profile of one meter stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The last slot that was asked for when it was due.
    pub asked_to: Timestamp,
    /// What is missing, oldest first.
    pub gaps: Vec<Gap>,
}

/// When load profiles may be read: between these times of day, in this zone. Billing does not wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// From, until; the same twice is the whole day.
    pub hours: Option<(Time, Time)>,
    /// The zone.
    pub zone: TimeZone,
}

/// One request for rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The first slot.
    pub from: Timestamp,
    /// The last one.
    pub to: Timestamp,
    /// With which urgency.
    pub priority: Priority,
    /// Not to be started later.
    pub not_after: Option<Timestamp>,
}

/// The most rows asked for at once: a week of quarter hours. At 60 bytes a row that is less than a session takes.
pub const ROWS_MAX: i32 = 672;
/// Meters write a row a moment after its interval ended, and their clocks lag a little.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(15);
/// A gap that was asked for so often goes behind everything else.
const SOON: u32 = 3;

/// When there is something to ask for, and whether a window has to be open for it. `offset` is the meter's own place within the
/// spread, so that thousands of meters are not asked in one second.
#[must_use]
pub fn due_at(
    standing: &Standing,
    slots: &Slots,
    purpose: Purpose,
    window: &Window,
    offset: SignedDuration,
) -> Timestamp {
    let regular = regular_at(standing, slots, offset);
    let gap = standing.gaps.iter().map(|gap| gap.next_at).min();
    let due = gap.map_or(regular, |gap| gap.min(regular));
    match purpose {
        Purpose::Load => window.opens(due),
        Purpose::Billing => due,
    }
}

fn regular_at(standing: &Standing, slots: &Slots, offset: SignedDuration) -> Timestamp {
    let wait = SETTLE.saturating_add(offset);
    slots.after(standing.asked_to).saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// What to ask for now. What is newly due goes before what is missing; what is too much for one request becomes a gap.
#[must_use]
pub fn ask(
    standing: &mut Standing,
    slots: &Slots,
    purpose: Purpose,
    deadline: SignedDuration,
    offset: SignedDuration,
    now: Timestamp,
) -> Option<Ask> {
    if regular_at(standing, slots, offset) <= now {
        return Some(regular(standing, slots, purpose, deadline, now));
    }
    let gap = standing.gaps.iter().find(|gap| gap.next_at <= now)?;
    let to = slots.step(gap.from, ROWS_MAX - 1).min(gap.to);
    let priority = match purpose {
        _ if gap.attempts > SOON => Priority::Backfill,
        Purpose::Billing => Priority::Billing,
        Purpose::Load => Priority::Scheduled,
    };
    Some(Ask { from: gap.from, to, priority, not_after: None })
}

fn regular(
    standing: &mut Standing,
    slots: &Slots,
    purpose: Purpose,
    deadline: SignedDuration,
    now: Timestamp,
) -> Ask {
    let to = slots.last(now.saturating_sub(SETTLE).unwrap_or(now));
    let first = slots.after(standing.asked_to);
    let from = slots.step(to, 1 - ROWS_MAX).max(first);
    if from > first {
        // Missed long ago: asked for when there is time.
        let gap = Gap {
            from: first,
            to: slots.before(from),
            seen_at: now,
            attempts: 0,
            answered: 0,
            next_at: now,
            told: false,
        };
        standing.gaps.push(gap);
        standing.gaps.sort_by_key(|gap| gap.from);
    }
    standing.asked_to = to;
    let (priority, not_after) = match purpose {
        Purpose::Load => (Priority::Scheduled, None),
        Purpose::Billing => (Priority::Billing, to.checked_add(deadline).ok().filter(|limit| *limit > now)),
    };
    Ask { from, to, priority, not_after }
}

impl Window {
    /// This time, if the window is open then, else the next one at which it opens.
    #[must_use]
    pub fn opens(&self, at: Timestamp) -> Timestamp {
        let Some((from, until)) = self.hours.filter(|(from, until)| from != until) else { return at };
        let local = at.to_zoned(self.zone.clone());
        let time = local.time();
        let open = if from < until { (from..until).contains(&time) } else { time >= from || time < until };
        if open {
            return at;
        }
        let date = if time < from { Some(local.date()) } else { local.date().tomorrow().ok() };
        let opens = date.and_then(|date| date.to_datetime(from).to_zoned(self.zone.clone()).ok());
        opens.map_or(at, |opens| opens.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::model::Cadence;

    const NONE: SignedDuration = SignedDuration::ZERO;
    const HOURS_6: SignedDuration = SignedDuration::from_hours(6);

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn quarters() -> Slots {
        Slots { cadence: Cadence::Every(900), zone: TimeZone::UTC }
    }

    fn standing(asked_to: &str) -> Standing {
        Standing { asked_to: at(asked_to), gaps: Vec::new() }
    }

    const ALWAYS: Window = Window { hours: None, zone: TimeZone::UTC };

    #[test]
    fn a_row_is_asked_for_after_its_interval_at_the_meters_own_place() {
        let (standing, offset) = (standing("2026-11-22T10:00:00Z"), SignedDuration::from_secs(100));
        let due = due_at(&standing, &quarters(), Purpose::Load, &ALWAYS, offset);
        assert_eq!(due, at("2026-11-22T10:16:55Z"));
        let mut standing = standing;
        assert_eq!(
            ask(&mut standing, &quarters(), Purpose::Load, HOURS_6, offset, at("2026-11-22T10:16:00Z")),
            None
        );
        let asked = ask(&mut standing, &quarters(), Purpose::Load, HOURS_6, offset, due).expect("due");
        assert_eq!((asked.from, asked.to), (at("2026-11-22T10:15:00Z"), at("2026-11-22T10:15:00Z")));
        assert_eq!((asked.priority, asked.not_after), (Priority::Scheduled, None));
        assert_eq!(standing.asked_to, asked.to);
    }

    #[test]
    fn after_a_long_stop_the_newest_week_is_asked_for_and_the_rest_is_a_gap() {
        let mut standing = standing("2026-11-01T00:00:00Z");
        let now = at("2026-11-22T00:05:00Z");
        let asked = ask(&mut standing, &quarters(), Purpose::Load, HOURS_6, NONE, now).expect("due");
        assert_eq!((asked.from, asked.to), (at("2026-11-15T00:15:00Z"), at("2026-11-22T00:00:00Z")));
        let gap = &standing.gaps[0];
        assert_eq!((gap.from, gap.to), (at("2026-11-01T00:15:00Z"), at("2026-11-15T00:00:00Z")));
        let next = ask(&mut standing, &quarters(), Purpose::Load, HOURS_6, NONE, now).expect("the gap");
        assert_eq!((next.from, next.to), (at("2026-11-01T00:15:00Z"), at("2026-11-08T00:00:00Z")));
    }

    #[test]
    fn a_snapshot_is_asked_for_first_and_with_its_deadline_and_old_gaps_last() {
        let days = Slots { cadence: Cadence::Daily, zone: TimeZone::UTC };
        let mut standing = standing("2026-11-21T00:00:00Z");
        let now = at("2026-11-22T00:01:00Z");
        let asked = ask(&mut standing, &days, Purpose::Billing, HOURS_6, NONE, now).expect("due");
        assert_eq!(asked.from, at("2026-11-22T00:00:00Z"));
        assert_eq!((asked.priority, asked.not_after), (Priority::Billing, Some(at("2026-11-22T06:00:00Z"))));
        for (attempts, priority) in [(3, Priority::Billing), (4, Priority::Backfill)] {
            let from = at("2026-11-10T00:00:00Z");
            let gap = Gap { from, to: from, seen_at: now, attempts, answered: 0, next_at: now, told: false };
            standing.gaps = vec![gap];
            let asked = ask(&mut standing, &days, Purpose::Billing, HOURS_6, NONE, now).expect("the gap");
            assert_eq!((asked.priority, asked.not_after), (priority, None));
        }
    }

    #[test]
    fn a_read_window_moves_load_profiles_and_not_billing() {
        let night = (Time::constant(22, 0, 0, 0), Time::constant(6, 0, 0, 0));
        let window = Window {
            hours: Some(night),
            zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"),
        };
        for (now, opens) in [
            ("2026-11-22T10:00:00Z", "2026-11-22T21:00:00Z"),
            ("2026-11-22T23:30:00Z", "2026-11-22T23:30:00Z"),
            ("2026-11-22T04:59:59Z", "2026-11-22T04:59:59Z"),
            ("2026-11-22T05:00:00Z", "2026-11-22T21:00:00Z"),
        ] {
            assert_eq!(window.opens(at(now)), at(opens), "{now}");
        }
        let standing = standing("2026-11-22T10:00:00Z");
        let load = due_at(&standing, &quarters(), Purpose::Load, &window, NONE);
        assert_eq!(load, at("2026-11-22T21:00:00Z"));
        let billing = due_at(&standing, &quarters(), Purpose::Billing, &window, NONE);
        assert_eq!(billing, at("2026-11-22T10:15:15Z"));
    }
}
