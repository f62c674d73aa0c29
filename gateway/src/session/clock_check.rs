//! Whether a meter's clock is corrected, and how. Pure: how far it is off, what time it is, and the operator's terms.
//!
//! A step of the clock over the end of a profile's interval makes a row short, long, twice or missing; over midnight it does the
//! same to a billing day and to tariffs. So a step is taken where it crosses neither, if it is small enough to fit between two,
//! and told where it is not.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The operator's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockTerms {
    /// Up to so many seconds off, nothing is done.
    pub tolerance_s: i64,
    /// Up to so many, the clock is shifted; beyond it, it is set.
    pub shift_max_s: i64,
    /// Beyond so many it is left to a person.
    pub set_max_s: i64,
}

impl Default for ClockTerms {
    /// Ten seconds are a ninetieth of a quarter hour; 900 s is what class 8 can shift; a day off is no drift.
    fn default() -> Self {
        Self { tolerance_s: 10, shift_max_s: 900, set_max_s: 86_400 }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// Nothing.
    Keep,
    /// To be done at this time, when it crosses nothing.
    Wait(Timestamp),
    /// Shift by so many seconds (class 8, method 6).
    Shift {
        /// Forwards, or backwards where negative.
        seconds: i16,
        /// It goes over the end of an interval or a day, which cannot be helped.
        crosses: bool,
    },
    /// Set the time.
    Set {
        /// See above.
        crosses: bool,
    },
    /// Too far off: a person has to look at it.
    Leave,
}

/// Seconds that nothing is done before and after a boundary: a request takes some, and offsets are known to a second.
const MARGIN_S: i64 = 5;
const DAY_S: i64 = 86_400;

/// What is to be done about a clock that is `offset_s` seconds ahead (behind where negative). `period_s` is the shortest period
/// of the meter's profiles, `zone` the meter's.
#[must_use]
pub fn decide(
    offset_s: i64,
    now: Timestamp,
    period_s: u32,
    zone: &TimeZone,
    terms: &ClockTerms,
) -> Correction {
    let off = offset_s.saturating_abs();
    if off <= terms.tolerance_s {
        return Correction::Keep;
    }
    if off > terms.set_max_s {
        return Correction::Leave;
    }
    let period_s = i64::from(period_s.max(1));
    let fits = off + 2 * (MARGIN_S + 1) < period_s;
    let boundary = boundary_within(offset_s, now, period_s, zone);
    match boundary {
        // Both the meter's time and ours have left it behind then.
        Some(boundary) if fits => {
            let wait = SignedDuration::from_secs(MARGIN_S + 1 + (-offset_s).max(0));
            Correction::Wait(boundary.saturating_add(wait).unwrap_or(Timestamp::MAX))
        }
        crossed => {
            let crosses = crossed.is_some();
            match i16::try_from(-offset_s) {
                Ok(seconds) if off <= terms.shift_max_s => Correction::Shift { seconds, crosses },
                _ => Correction::Set { crosses },
            }
        }
    }
}

/// The last end of an interval, or of a local day, that a correction now would cross or come near.
fn boundary_within(offset_s: i64, now: Timestamp, period_s: i64, zone: &TimeZone) -> Option<Timestamp> {
    let ours = now.as_second();
    let first = ours.min(ours.saturating_add(offset_s)) - MARGIN_S;
    let last = ours.max(ours.saturating_add(offset_s)) + MARGIN_S;
    // Days are counted in local time; a change of daylight saving within the step does not matter to where midnight is.
    let local = i64::from(zone.to_offset(now).seconds());
    let interval = last - last.rem_euclid(period_s);
    let midnight = last - (last + local).rem_euclid(DAY_S);
    let boundary = interval.max(midnight);
    (boundary >= first).then(|| Timestamp::from_second(boundary).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn at_utc(offset_s: i64, now: &str) -> Correction {
        decide(offset_s, at(now), 900, &TimeZone::UTC, &ClockTerms::default())
    }

    #[test]
    fn little_is_left_alone_and_too_much_is_for_a_person() {
        for (offset_s, expected) in [
            (10, Correction::Keep),
            (-10, Correction::Keep),
            (11, Correction::Shift { seconds: -11, crosses: false }),
            (-300, Correction::Shift { seconds: 300, crosses: false }),
            (86_401, Correction::Leave),
            (i64::MIN, Correction::Leave),
        ] {
            assert_eq!(at_utc(offset_s, "2026-11-22T10:07:00Z"), expected, "{offset_s}");
        }
    }

    #[test]
    fn a_step_waits_until_it_crosses_no_end_of_an_interval() {
        // The meter is two minutes behind: at 10:16 it has not ended the interval that ended a minute ago.
        let wait = at_utc(-120, "2026-11-22T10:16:00Z");
        assert_eq!(wait, Correction::Wait(at("2026-11-22T10:17:06Z")));
        let Correction::Wait(until) = wait else { panic!() };
        let then = decide(-120, until, 900, &TimeZone::UTC, &ClockTerms::default());
        assert_eq!(then, Correction::Shift { seconds: 120, crosses: false }, "{until}");
        // Two minutes ahead: at 10:14 it has ended it already.
        let Correction::Wait(until) = at_utc(120, "2026-11-22T10:14:00Z") else { panic!("it waits") };
        let then = decide(120, until, 900, &TimeZone::UTC, &ClockTerms::default());
        assert_eq!(then, Correction::Shift { seconds: -120, crosses: false }, "{until}");
    }

    #[test]
    fn every_second_of_an_hour_a_small_step_crosses_nothing_or_waits_for_a_time_when_it_does_not() {
        let terms = ClockTerms::default();
        for offset_s in [-880, -400, -60, -11, 11, 60, 400, 880] {
            for second in 0..3_600 {
                let now = at("2026-11-22T23:30:00Z")
                    .saturating_add(SignedDuration::from_secs(second))
                    .expect("in range");
                let mut correction = decide(offset_s, now, 900, &TimeZone::UTC, &terms);
                let mut when = now;
                for _ in 0..3 {
                    if let Correction::Wait(until) = correction {
                        assert!(until > when, "{offset_s} at {now}");
                        when = until;
                        correction = decide(offset_s, when, 900, &TimeZone::UTC, &terms);
                    }
                }
                let Correction::Shift { crosses: false, seconds } = correction else {
                    panic!("{offset_s} at {now}: {correction:?}")
                };
                let (from, to) =
                    (when.as_second() + offset_s, when.as_second() + offset_s + i64::from(seconds));
                assert_eq!(from.div_euclid(900), to.div_euclid(900), "{offset_s} at {now}");
            }
        }
    }

    #[test]
    fn a_step_that_is_longer_than_an_interval_says_that_it_crosses_one() {
        assert_eq!(at_utc(1_800, "2026-11-22T10:07:00Z"), Correction::Set { crosses: true });
        assert_eq!(at_utc(-895, "2026-11-22T10:07:00Z"), Correction::Shift { seconds: 895, crosses: true });
        // Without profiles there is midnight, in the meter's zone.
        let zone = TimeZone::posix("CST-8").expect("a zone");
        let terms = ClockTerms::default();
        let before = decide(-600, at("2026-11-22T15:55:00Z"), 86_400, &zone, &terms);
        assert_eq!(before, Correction::Shift { seconds: 600, crosses: false });
        let after = decide(-600, at("2026-11-22T16:05:00Z"), 86_400, &zone, &terms);
        assert!(matches!(after, Correction::Wait(_)), "{after:?}");
    }
}
