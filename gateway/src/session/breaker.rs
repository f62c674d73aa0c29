//! The circuit breaker of one meter: after a few silent attempts in a row the line stops asking it for a while, so that a
//! dead meter costs its bus its own timeout now and then, and nothing more.

use super::work::Priority;
use std::time::Duration;
use tokio::time::Instant;

/// Silent attempts in a row before the breaker opens.
const FAILURES_TO_OPEN: u32 = 3;
/// The first cool-down; it doubles with every further failure.
const COOL_DOWN_MIN: Duration = Duration::from_secs(15);
/// The longest cool-down: a meter that comes back is noticed within ten minutes.
const COOL_DOWN_MAX: Duration = Duration::from_secs(600);
/// Somebody is waiting for a command or an on-demand read: such work may try again after this time, cooled down or not.
const URGENT_RETRY: Duration = Duration::from_secs(5);

/// What the line knows about a meter's silence.
#[derive(Debug, Clone, Copy, Default)]
pub struct Breaker {
    failures: u32,
    last_failure: Option<Instant>,
}

impl Breaker {
    /// Whether work of this priority may go to the meter now; if not, how long it has to wait.
    ///
    /// # Errors
    /// The time that is left to wait.
    pub fn admit(&self, priority: Priority, now: Instant) -> Result<(), Duration> {
        let Some(last) = self.last_failure.filter(|_| self.failures >= FAILURES_TO_OPEN) else {
            return Ok(());
        };
        let wait = match priority {
            Priority::Command | Priority::OnDemand => self.cool_down().min(URGENT_RETRY),
            Priority::Billing | Priority::Scheduled | Priority::Backfill => self.cool_down(),
        };
        let left = (last + wait).saturating_duration_since(now);
        if left.is_zero() { Ok(()) } else { Err(left) }
    }

    /// The meter answered anything at all: it is alive.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// The meter was silent until its timeout, or could not be connected.
    pub fn silent(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
    }

    /// The breaker is open: scheduled work is being turned away.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.failures >= FAILURES_TO_OPEN
    }

    /// Nothing is held against the meter.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.failures == 0
    }

    fn cool_down(&self) -> Duration {
        let doublings = self.failures.saturating_sub(FAILURES_TO_OPEN).min(16);
        COOL_DOWN_MIN.saturating_mul(1 << doublings).min(COOL_DOWN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_at_the_third_silence_and_closes_with_the_first_answer() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_TO_OPEN {
            assert!(breaker.admit(Priority::Scheduled, start).is_ok());
            breaker.silent(start);
        }
        assert_eq!(breaker.admit(Priority::Scheduled, start), Err(COOL_DOWN_MIN));
        assert_eq!(breaker.admit(Priority::Command, start), Err(URGENT_RETRY));
        assert!(
            breaker.admit(Priority::Command, start + URGENT_RETRY).is_ok(),
            "somebody waits: ask again soon"
        );
        assert!(breaker.admit(Priority::Scheduled, start + URGENT_RETRY).is_err());
        assert!(breaker.admit(Priority::Scheduled, start + COOL_DOWN_MIN).is_ok());
        breaker.answered();
        assert!(breaker.admit(Priority::Scheduled, start).is_ok());
    }

    #[test]
    fn the_cool_down_doubles_and_stays_within_its_bound() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        let mut waits = Vec::new();
        for _ in 0..40 {
            breaker.silent(start);
            waits.push(breaker.admit(Priority::Billing, start).err().unwrap_or_default());
        }
        assert_eq!(waits[2..5], [COOL_DOWN_MIN, COOL_DOWN_MIN * 2, COOL_DOWN_MIN * 4]);
        assert_eq!(waits[39], COOL_DOWN_MAX);
    }
}
