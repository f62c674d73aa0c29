//! How fast commands of a bulk are started: so many in a minute altogether, and so many in one area, evenly. A whole street's
//! inrush at the same second is what a reconnection after an outage must not make.

use crate::store::bulk::Waiting;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A minute in milliseconds.
const MINUTE_MS: i64 = 60_000;

/// How fast it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// In a minute, altogether.
    pub per_minute: u32,
    /// In a minute, in one area; without one that is no limit.
    pub area_per_minute: Option<u32>,
}

/// How many may be started at `now`, when the last was at `last`: what the time since then allows, and never more than a second
/// allows, so that a pause is not followed by a burst.
#[must_use]
pub fn room(per_minute: u32, last: Option<Timestamp>, now: Timestamp) -> u32 {
    let in_a_second = (per_minute / 60).max(1);
    let Some(last) = last else { return in_a_second };
    let passed_ms = now.as_millisecond().saturating_sub(last.as_millisecond());
    // A clock that was set back allows one: the next will be counted from there.
    if passed_ms < 0 {
        return 1;
    }
    let due = passed_ms.saturating_mul(i64::from(per_minute)) / MINUTE_MS;
    u32::try_from(due).unwrap_or(u32::MAX).min(in_a_second)
}

/// The meters to start now, in their order, at most `at_most`. `last` says when the last command was started in each area.
#[must_use]
pub fn choose(
    waiting: Vec<Waiting>,
    last: &BTreeMap<String, Timestamp>,
    pace: Pace,
    at_most: u32,
    now: Timestamp,
) -> Vec<Waiting> {
    let mut left = room(pace.per_minute, last.values().max().copied(), now).min(at_most);
    let mut areas: BTreeMap<String, u32> = BTreeMap::new();
    let mut chosen = Vec::new();
    for meter in waiting {
        if left == 0 {
            break;
        }
        if let Some(per_minute) = pace.area_per_minute {
            let area = areas
                .entry(meter.area.clone())
                .or_insert_with(|| room(per_minute, last.get(&meter.area).copied(), now));
            if *area == 0 {
                continue;
            }
            *area -= 1;
        }
        left -= 1;
        chosen.push(meter);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    /// A substation with this many meters in each of these areas, run in steps of 200 ms; gives when each was started.
    fn run(areas: &[(&str, u32)], pace: Pace, pause: std::ops::Range<i64>) -> Vec<(i64, String)> {
        let mut waiting: Vec<Waiting> = areas
            .iter()
            .flat_map(|(area, meters)| {
                (0..*meters).map(move |n| Waiting {
                    serial: format!("{area}-{n}"),
                    area: (*area).to_owned(),
                    parameters: None,
                })
            })
            .collect();
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut last = BTreeMap::new();
        let mut started = Vec::new();
        for step in 0.. {
            if waiting.is_empty() {
                break;
            }
            let at_ms = step * 200;
            if pause.contains(&at_ms) {
                continue;
            }
            let now = start.checked_add(at_ms.milliseconds()).unwrap();
            let chosen = choose(waiting.clone(), &last, pace, 256, now);
            waiting.retain(|meter| !chosen.contains(meter));
            for meter in chosen {
                last.insert(meter.area.clone(), now);
                started.push((at_ms, meter.area));
            }
        }
        started
    }

    fn most_in(started: &[(i64, String)], window_ms: i64, area: Option<&str>) -> usize {
        let of: Vec<i64> =
            started.iter().filter(|(_, of)| area.is_none_or(|area| area == of)).map(|(at, _)| *at).collect();
        of.iter()
            .map(|from| of.iter().filter(|at| (*from..from + window_ms).contains(*at)).count())
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn no_minute_and_no_second_has_more_than_it_may() {
        for per_minute in [1, 7, 60, 90, 600, 3_000] {
            let pace = Pace { per_minute, area_per_minute: None };
            let started = run(&[("T1", 150), ("T2", 50)], pace, 0..0);
            assert_eq!(started.len(), 200);
            let minute = most_in(&started, 60_000, None);
            // The first is started at once, the rest at the pace.
            assert!(
                minute <= per_minute as usize + (per_minute as usize / 60).max(1),
                "{minute} at {per_minute}"
            );
            let second = most_in(&started, 1_000, None);
            assert!(second <= 2 * (per_minute as usize / 60).max(1), "{second} in a second at {per_minute}");
        }
    }

    #[test]
    fn a_pause_is_not_followed_by_a_burst() {
        let pace = Pace { per_minute: 600, area_per_minute: None };
        let started = run(&[("T1", 300)], pace, 5_000..65_000);
        assert!(most_in(&started, 1_000, None) <= 20);
    }

    #[test]
    fn one_area_does_not_hold_up_another_and_has_its_own_inrush() {
        let pace = Pace { per_minute: 600, area_per_minute: Some(30) };
        let started = run(&[("T1", 40), ("T2", 40), ("T3", 40)], pace, 0..0);
        for area in ["T1", "T2", "T3"] {
            assert!(most_in(&started, 60_000, Some(area)) <= 31, "{area}");
        }
        let ends = started.iter().map(|(at, _)| *at).max().unwrap();
        assert!(
            (78_000..=82_000).contains(&ends),
            "40 meters at 30 a minute, three areas side by side: {ends} ms"
        );
        assert_eq!(
            started[..3].iter().map(|(_, area)| area.as_str()).collect::<Vec<_>>(),
            ["T1", "T2", "T3"]
        );
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_it() {
        let last: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let now: Timestamp = "2026-03-01T11:00:00Z".parse().unwrap();
        assert_eq!(room(60, Some(last), now), 1);
        assert_eq!(room(60, Some(now), now), 0);
        assert_eq!(room(60, Some(now), last), 1, "an hour is not sixty at once");
    }
}
