//! Simulated time: one origin, one speed, shared by every board of a street and by whoever reads the meters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Civil time of a simulation: `speed` simulated seconds in every real one, from an origin on; or held, so that it passes only
/// when somebody says so. Somebody may let time pass at once in either case. The origin may lie before the start, so that meters
/// have a past.
#[derive(Debug, Clone)]
pub struct SimClock {
    source: Source,
    /// Simulated milliseconds that passed at once.
    passed_ms: Arc<AtomicU64>,
    origin_utc_ms: u64,
    lead_ms: u64,
    speed: u32,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// Runs with this machine's time.
    Running(Instant),
    /// Stands still.
    Held,
}

impl SimClock {
    /// Starts now, at `start_utc_s` (seconds since 1970). A speed of zero counts as one.
    #[must_use]
    pub fn starting_at(start_utc_s: u32, speed: u32) -> Self {
        let source = Source::Running(Instant::now());
        let origin_utc_ms = u64::from(start_utc_s) * 1000;
        Self { source, passed_ms: Arc::default(), origin_utc_ms, lead_ms: 0, speed: speed.max(1) }
    }

    /// Stands still at `start_utc_s` (seconds since 1970) until [`SimClock::advance_ms`].
    #[must_use]
    pub fn held_at(start_utc_s: u32) -> Self {
        Self { source: Source::Held, ..Self::starting_at(start_utc_s, 1) }
    }

    /// Goes on where another clock of this origin (milliseconds since 1970) had come to, `elapsed_ms` after it.
    #[must_use]
    pub fn resuming(mut self, origin_utc_ms: u64, elapsed_ms: u64) -> Self {
        self.origin_utc_ms = origin_utc_ms;
        self.lead_ms = elapsed_ms;
        self
    }

    /// The same time, with an origin that lies `past_ms` further back.
    #[must_use]
    pub fn with_past(mut self, past_ms: u64) -> Self {
        let past_ms = past_ms.min(self.origin_utc_ms);
        self.origin_utc_ms -= past_ms;
        self.lead_ms += past_ms;
        self
    }

    /// Starts now, at the time of this machine.
    #[must_use]
    pub fn starting_now(speed: u32) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_utc_s = u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX);
        Self::starting_at(origin_utc_s, speed)
    }

    /// Lets so much time pass at once; every copy of the clock sees that.
    pub fn advance_ms(&self, ms: u64) {
        self.passed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Whether time passes only when somebody says so.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.source, Source::Held)
    }

    /// Simulated milliseconds between the origin and the start: the length of the past.
    #[must_use]
    pub fn past_ms(&self) -> u64 {
        self.lead_ms
    }

    /// Simulated milliseconds since the origin.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        let since_start = match &self.source {
            Source::Running(started) => {
                let real_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                real_us.saturating_mul(u64::from(self.speed)) / 1000
            }
            Source::Held => 0,
        };
        self.lead_ms.saturating_add(since_start).saturating_add(self.passed_ms.load(Ordering::SeqCst))
    }

    /// Real milliseconds since the start: what a link measures its timeouts with, whatever the speed. A clock that is held
    /// has no other than its own.
    #[must_use]
    pub fn real_ms(&self) -> u64 {
        match &self.source {
            Source::Running(started) => u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            Source::Held => self.passed_ms.load(Ordering::SeqCst),
        }
    }

    /// Simulated milliseconds since 1970, UTC.
    #[must_use]
    pub fn utc_ms(&self) -> u64 {
        self.origin_utc_ms.saturating_add(self.elapsed_ms())
    }

    /// The origin, in simulated milliseconds since 1970, UTC.
    #[must_use]
    pub fn origin_utc_ms(&self) -> u64 {
        self.origin_utc_ms
    }

    /// Simulated seconds per second.
    #[must_use]
    pub fn speed(&self) -> u32 {
        self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_moves_the_origin_and_not_the_time() {
        let plain = SimClock::starting_at(1_767_636_000, 1);
        let with_past = plain.clone().with_past(3_600_000);
        assert_eq!(with_past.origin_utc_ms() + 3_600_000, plain.origin_utc_ms());
        assert!(with_past.elapsed_ms() >= 3_600_000);
        assert!(with_past.utc_ms() - plain.utc_ms() < 60_000, "only the time between the two calls");
    }

    #[test]
    fn an_hour_passes_at_once_on_a_clock_that_runs_and_links_do_not_see_it() {
        let clock = SimClock::starting_at(1_767_636_000, 1);
        let (before_ms, real_ms) = (clock.clone().elapsed_ms(), clock.real_ms());
        clock.clone().advance_ms(3_600_000);
        assert!(clock.elapsed_ms() - before_ms >= 3_600_000);
        assert!(clock.real_ms() - real_ms < 3_600_000);
    }

    #[test]
    fn held_time_passes_for_every_copy_and_only_when_told() {
        let clock = SimClock::held_at(1_767_636_000).with_past(900_000);
        let copy = clock.clone();
        assert_eq!(copy.utc_ms(), 1_767_636_000_000);
        clock.advance_ms(1_500);
        assert_eq!((copy.utc_ms(), copy.elapsed_ms()), (1_767_636_001_500, 901_500));
        let resumed = SimClock::held_at(0).resuming(copy.origin_utc_ms(), copy.elapsed_ms());
        assert_eq!(resumed.utc_ms(), copy.utc_ms());
    }
}
