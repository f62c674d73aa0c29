//! Simulated time: one origin, one speed, shared by every board of a street and by whoever reads the meters.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Civil time of a simulation: `origin` when it started, and `speed` simulated seconds in every real one.
#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    started: Instant,
    origin_utc_ms: u64,
    speed: u32,
}

impl SimClock {
    /// Starts now, at `origin_utc_s` (seconds since 1970). A speed of zero counts as one.
    #[must_use]
    pub fn starting_at(origin_utc_s: u32, speed: u32) -> Self {
        Self { started: Instant::now(), origin_utc_ms: u64::from(origin_utc_s) * 1000, speed: speed.max(1) }
    }

    /// Starts now, at the time of this machine.
    #[must_use]
    pub fn starting_now(speed: u32) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_utc_s = u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX);
        Self::starting_at(origin_utc_s, speed)
    }

    /// Simulated milliseconds since the start.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        let real_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        real_us.saturating_mul(u64::from(self.speed)) / 1000
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

    /// When the simulation started, in simulated milliseconds since 1970, UTC.
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
