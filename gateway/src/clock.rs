//! The gateway's civil clock. Real time, or a demo's accelerated time shared with the simulator.

use jiff::{SignedDuration, Timestamp};
use std::time::Instant;

/// Civil time: the real clock at speed 1, or simulated time that runs `speed` times faster from a common origin.
/// Timeouts never use it; they use tokio's monotonic time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    origin: Timestamp,
    speed: u32,
}

impl Clock {
    /// The real clock.
    #[must_use]
    pub fn real() -> Self {
        Self::simulated(Timestamp::now(), 1)
    }

    /// Simulated time: `origin` is now, and `speed` simulated seconds pass per second.
    #[must_use]
    pub fn simulated(origin: Timestamp, speed: u32) -> Self {
        Self { started: Instant::now(), origin, speed }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        if self.speed == 1 {
            return Timestamp::now();
        }
        let passed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.origin
            .saturating_add(passed.saturating_mul(i32::try_from(self.speed).unwrap_or(i32::MAX)))
            .unwrap_or(Timestamp::MAX)
    }
}
