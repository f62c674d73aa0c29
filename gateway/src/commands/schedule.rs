//! When meters are read: a pure schedule over civil time.

use crate::session::work::Serial;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// A read that was not answered is tried again after these times, in seconds, and then at its next turn: a lost frame costs a minute,
/// and a silent meter little.
const PAUSES_S: [i64; 3] = [60, 60, 240];

/// Who is read next, and when.
#[derive(Debug)]
pub struct Schedule {
    interval: SignedDuration,
    in_flight_max: usize,
    /// Everybody, with the time of the next read; none while one is under way.
    known: HashMap<Serial, Option<Timestamp>>,
    due: BTreeSet<(Timestamp, Serial)>,
    in_flight: HashMap<Serial, Turn>,
    /// Whose last read was not answered and is tried again.
    again: HashMap<Serial, Turn>,
    /// Whose last read was never sent: it is made up when the meter calls.
    missed: HashSet<Serial>,
}

/// A meter's turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Its place in the interval.
    due: Timestamp,
    /// How often it was tried in vain.
    failures: usize,
}

impl Schedule {
    /// Reads each meter every `interval`, at most `in_flight_max` at once.
    #[must_use]
    pub fn new(interval: Duration, in_flight_max: usize) -> Self {
        let interval = SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX);
        Self {
            interval,
            in_flight_max,
            known: HashMap::new(),
            due: BTreeSet::new(),
            in_flight: HashMap::new(),
            again: HashMap::new(),
            missed: HashSet::new(),
        }
    }

    /// From now on reads each meter every `interval`, at most `in_flight_max` at once. A shorter interval is kept at once: whoever
    /// would wait longer than that from `now` is read within it, still at its own place.
    pub fn change_to(&mut self, interval: Duration, in_flight_max: usize, now: Timestamp) {
        self.interval = SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX);
        self.in_flight_max = in_flight_max;
        let latest = now.saturating_add(self.interval).unwrap_or(Timestamp::MAX);
        let late = self.due.split_off(&(latest, Serial(String::new())));
        for (_, serial) in late {
            let first = now.saturating_add(offset(&serial, interval)).unwrap_or(now);
            self.plan(&serial, first);
        }
    }

    /// A meter to be read, first at `first`. One that is scheduled already stays as it is.
    pub fn add(&mut self, serial: Serial, first: Timestamp) {
        if !self.known.contains_key(&serial) {
            self.plan(&serial, first);
        }
    }

    /// Gives a meter its next time, in place of the one that it had.
    fn plan(&mut self, serial: &Serial, at: Timestamp) {
        if let Some(Some(before)) = self.known.insert(serial.clone(), Some(at)) {
            self.due.remove(&(before, serial.clone()));
        }
        self.due.insert((at, serial.clone()));
    }

    /// The next meter to read now; it counts as under way until [`Schedule::done`].
    pub fn next(&mut self, now: Timestamp) -> Option<Serial> {
        if self.in_flight.len() >= self.in_flight_max {
            return None;
        }
        let (due, _) = self.due.first()?;
        if *due > now {
            return None;
        }
        let (due, serial) = self.due.pop_first()?;
        self.begin(&serial, due);
        Some(serial)
    }

    /// Whether this meter is to be read now, out of turn, as it is being visited; if so it counts as under way.
    pub fn visited(&mut self, serial: &Serial, now: Timestamp) -> bool {
        let Some(due) = self.known.get(serial).copied().flatten().filter(|due| *due <= now) else {
            return false;
        };
        self.due.remove(&(due, serial.clone()));
        self.begin(serial, due);
        true
    }

    fn begin(&mut self, serial: &Serial, due: Timestamp) {
        self.known.insert(serial.clone(), None);
        self.missed.remove(serial);
        let turn = self.again.remove(serial).unwrap_or(Turn { due, failures: 0 });
        self.in_flight.insert(serial.clone(), turn);
    }

    /// The read of this meter has ended, with an answer or without. Its next is one interval after this one was due, so that
    /// reads keep their places in the interval; times that have passed meanwhile are skipped, not caught up with. One that was
    /// not answered is tried again before that, a few times.
    pub fn done(&mut self, serial: &Serial, answered: bool, now: Timestamp) {
        let Some(turn) = self.in_flight.remove(serial) else { return };
        let next = turn.due.saturating_add(self.interval).unwrap_or(Timestamp::MAX);
        let pause = PAUSES_S.get(turn.failures).filter(|_| !answered);
        if let Some(again) = pause.and_then(|pause| now.checked_add(SignedDuration::from_secs(*pause)).ok())
            && again < next
        {
            self.plan(serial, again);
            self.again.insert(serial.clone(), Turn { failures: turn.failures + 1, ..turn });
            return;
        }
        let next =
            if next > now { next } else { now.saturating_add(self.interval).unwrap_or(Timestamp::MAX) };
        self.plan(serial, next);
    }

    /// The read of this meter came to nothing because it was not there: it is made up when it comes.
    pub fn missed(&mut self, serial: &Serial) {
        self.missed.insert(serial.clone());
    }

    /// The meter has come. A read that it missed is due now, and the next one an interval later.
    pub fn came(&mut self, serial: &Serial, now: Timestamp) {
        if self.missed.remove(serial) {
            self.again.remove(serial);
            self.plan(serial, now);
        }
    }

    /// The read could not start; try again after `pause`.
    pub fn put_back(&mut self, serial: &Serial, now: Timestamp, pause: SignedDuration) {
        if let Some(turn) = self.in_flight.remove(serial) {
            if turn.failures > 0 {
                self.again.insert(serial.clone(), turn);
            }
            let again = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
            self.plan(serial, again);
        }
    }
}

/// Spreads first reads over the interval, by serial, so that a start does not read everybody at once and then nobody.
#[must_use]
pub fn offset(serial: &Serial, interval: Duration) -> SignedDuration {
    // FNV-1a, 32 bits: any even spread will do.
    let hash = serial
        .0
        .bytes()
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX).max(1);
    SignedDuration::from_secs(i64::from(hash) % seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_that_is_visited_for_another_reason_is_read_with_it_if_it_is_due_and_keeps_its_place() {
        let mut schedule = Schedule::new(Duration::from_secs(900), 1);
        let (first, second) = (Serial("1".into()), Serial("2".into()));
        schedule.add(first.clone(), at(0));
        schedule.add(second.clone(), at(10));
        assert!(!schedule.visited(&second, at(9)), "not due");
        assert_eq!(schedule.next(at(10)), Some(first.clone()));
        assert!(
            schedule.visited(&second, at(10)),
            "beyond what is read at once: it costs no visit of its own"
        );
        assert!(!schedule.visited(&second, at(10)) && !schedule.visited(&first, at(10)), "under way");
        assert!(!schedule.visited(&Serial("3".into()), at(10)), "nobody's");
        schedule.done(&first, true, at(12));
        schedule.done(&second, true, at(12));
        assert_eq!(schedule.next(at(899)), None);
        assert_eq!(schedule.next(at(900)), Some(first));
        assert!(schedule.visited(&second, at(910)), "one interval after it was due");
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn serial(text: &str) -> Serial {
        Serial(text.into())
    }

    #[test]
    fn a_meter_is_read_every_interval_at_its_own_place() {
        let mut schedule = Schedule::new(Duration::from_secs(900), 8);
        schedule.add(serial("a"), at(100));
        assert_eq!(schedule.next(at(99)), None);
        assert_eq!(schedule.next(at(100)), Some(serial("a")));
        assert_eq!(schedule.next(at(2_000)), None, "it is under way");
        schedule.done(&serial("a"), true, at(130));
        assert_eq!(schedule.next(at(999)), None);
        assert_eq!(schedule.next(at(1_000)), Some(serial("a")));
    }

    #[test]
    fn missed_times_are_skipped_not_caught_up_with() {
        let mut schedule = Schedule::new(Duration::from_secs(900), 8);
        schedule.add(serial("a"), at(0));
        assert_eq!(schedule.next(at(0)), Some(serial("a")));
        schedule.done(&serial("a"), true, at(5_000));
        assert_eq!(schedule.next(at(5_899)), None);
        assert_eq!(schedule.next(at(5_900)), Some(serial("a")));
    }

    #[test]
    fn a_read_that_was_not_answered_is_tried_again_a_few_times_and_then_at_its_next_turn() {
        let mut schedule = Schedule::new(Duration::from_secs(900), 8);
        schedule.add(serial("a"), at(100));
        for (turn, ended) in [(100, 103), (163, 166), (226, 229)] {
            assert_eq!(schedule.next(at(turn - 1)), None);
            assert_eq!(schedule.next(at(turn)), Some(serial("a")));
            schedule.put_back(&serial("a"), at(turn), SignedDuration::ZERO);
            assert_eq!(schedule.next(at(turn)), Some(serial("a")), "a full line does not count as a try");
            schedule.done(&serial("a"), false, at(ended));
        }
        assert_eq!(schedule.next(at(469)), Some(serial("a")), "the last try");
        schedule.done(&serial("a"), false, at(472));
        assert_eq!(schedule.next(at(999)), None);
        assert_eq!(schedule.next(at(1_000)), Some(serial("a")), "its own place");
        schedule.done(&serial("a"), true, at(1_003));
        assert_eq!(schedule.next(at(1_899)), None, "what was answered waits for its next turn");
    }

    #[test]
    fn a_read_is_not_tried_again_when_its_next_turn_comes_first() {
        let mut schedule = Schedule::new(Duration::from_secs(60), 8);
        schedule.add(serial("a"), at(0));
        assert_eq!(schedule.next(at(0)), Some(serial("a")));
        schedule.done(&serial("a"), false, at(3));
        assert_eq!(schedule.next(at(59)), None);
        assert_eq!(schedule.next(at(60)), Some(serial("a")));
    }

    #[test]
    fn only_so_many_at_once_and_the_longest_waiting_first() {
        let mut schedule = Schedule::new(Duration::from_secs(900), 2);
        for (name, first) in [("c", 3), ("a", 1), ("b", 2)] {
            schedule.add(serial(name), at(first));
        }
        schedule.add(serial("a"), at(0));
        assert_eq!((schedule.next(at(10)), schedule.next(at(10))), (Some(serial("a")), Some(serial("b"))));
        assert_eq!(schedule.next(at(10)), None);
        schedule.done(&serial("a"), true, at(11));
        assert_eq!(schedule.next(at(11)), Some(serial("c")));
    }

    #[test]
    fn a_read_that_could_not_start_comes_back_soon() {
        let mut schedule = Schedule::new(Duration::from_secs(900), 2);
        schedule.add(serial("a"), at(0));
        schedule.next(at(0)).unwrap();
        schedule.put_back(&serial("a"), at(0), SignedDuration::from_secs(5));
        assert_eq!(schedule.next(at(4)), None);
        assert_eq!(schedule.next(at(5)), Some(serial("a")));
    }

    #[test]
    fn a_shorter_interval_is_kept_at_once_and_a_longer_one_from_the_next_read() {
        let mut schedule = Schedule::new(Duration::from_secs(900), 8);
        schedule.add(serial("a"), at(50));
        schedule.add(serial("b"), at(800));
        schedule.change_to(Duration::from_secs(60), 8, at(0));
        let mut both: Vec<_> = std::iter::from_fn(|| schedule.next(at(60))).map(|serial| serial.0).collect();
        both.sort();
        assert_eq!(both, ["a", "b"], "who would wait longer than a minute is read within it");
        schedule.done(&serial("a"), true, at(61));
        assert_eq!(schedule.next(at(109)), None, "it keeps its place");
        assert_eq!(schedule.next(at(110)), Some(serial("a")));
        schedule.change_to(Duration::from_secs(3_600), 8, at(110));
        schedule.done(&serial("a"), true, at(111));
        assert_eq!(schedule.next(at(3_709)), None);
        assert_eq!(schedule.next(at(3_710)), Some(serial("a")));
    }

    #[test]
    fn offsets_stay_within_the_interval() {
        for i in 0..1_000 {
            let offset = offset(&Serial(format!("{i:011}")), Duration::from_secs(900));
            assert!((0..900).contains(&offset.as_secs()));
        }
    }

    #[test]
    fn what_a_meter_missed_is_read_when_it_comes_and_nothing_is_read_twice() {
        let mut schedule = Schedule::new(Duration::from_secs(900), 8);
        schedule.add(serial("a"), at(0));
        schedule.came(&serial("a"), at(0));
        schedule.came(&serial("unknown"), at(0));
        assert_eq!(schedule.next(at(0)), Some(serial("a")));
        schedule.done(&serial("a"), false, at(2));
        schedule.missed(&serial("a"));
        assert_eq!(schedule.next(at(29)), None);
        schedule.came(&serial("a"), at(30));
        schedule.came(&serial("a"), at(31));
        assert_eq!(schedule.next(at(31)), Some(serial("a")), "it was away, and is here now");
        schedule.done(&serial("a"), true, at(32));
        schedule.came(&serial("a"), at(33));
        assert_eq!(schedule.next(at(33)), None, "it missed nothing");
        assert_eq!(schedule.next(at(930)), Some(serial("a")));
    }
}
