//! Simulated time: one origin, one speed, shared by every board of a street and by whoever reads the meters.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Civil time of a simulation: `speed` simulated seconds in every real one, from an origin on. The origin may lie before the
/// start, so that meters have a past.
#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    started: Instant,
    origin_utc_ms: u64,
    lead_ms: u64,
    speed: u32,
}

impl SimClock {
    /// Starts now, at `start_utc_s` (seconds since 1970). A speed of zero counts as one.
    #[must_use]
    pub fn starting_at(start_utc_s: u32, speed: u32) -> Self {
        let origin_utc_ms = u64::from(start_utc_s) * 1000;
        Self { started: Instant::now(), origin_utc_ms, lead_ms: 0, speed: speed.max(1) }
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

    /// Simulated milliseconds between the origin and the start: the length of the past.
    #[must_use]
    pub fn past_ms(&self) -> u64 {
        self.lead_ms
    }

    /// Simulated milliseconds since the origin.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        let real_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.lead_ms.saturating_add(real_us.saturating_mul(u64::from(self.speed)) / 1000)
    }

    /// Real milliseconds since the start: what a link measures its timeouts with, whatever the speed.
    #[must_use]
    pub fn real_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
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
        let with_past = plain.with_past(3_600_000);
        assert_eq!(with_past.origin_utc_ms() + 3_600_000, plain.origin_utc_ms());
        assert!(with_past.elapsed_ms() >= 3_600_000);
        assert!(with_past.utc_ms() - plain.utc_ms() < 60_000, "only the time between the two calls");
    }
}
