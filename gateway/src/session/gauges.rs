//! What a line counts while it works, and how it is doing.

use super::work::Priority;
use crate::driver::{ByteCounters, Traffic};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What waiting times are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PriorityLabel {
    /// Its name.
    pub priority: &'static str,
}

/// How long jobs waited for their lines, in seconds, by priority.
pub type Waits = Family<PriorityLabel, Histogram, fn() -> Histogram>;

/// Nothing waited yet. Buckets from 10 ms (a slot on TCP) to 164 s (a bus with a long queue).
#[must_use]
pub fn waits() -> Waits {
    Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 15)))
}

/// Counters of one line. Shared by its task, the tasks of its meters, and whoever asks how it is doing.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub bytes: Arc<ByteCounters>,
    waiting: [AtomicUsize; Priority::ALL.len()],
    pub silent: AtomicUsize,
    work: AtomicU64,
    answered: AtomicU64,
    timeouts: AtomicU64,
    turned_away: AtomicU64,
    associations: AtomicU64,
    busy_ns: AtomicU64,
    port_broken: AtomicBool,
    since: Since,
}

/// When counting began.
#[derive(Debug)]
struct Since(Instant);

impl Default for Since {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// How a line is doing. Counts are since the gateway started.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct LineStatus {
    /// Its name.
    pub line: String,
    /// False when the last piece of work found the port or the connection of a bus broken; it is opened again for the next.
    pub up: bool,
    /// Bytes a second that the wire can carry, both directions together; nothing on a network.
    pub budget_bytes_per_s: Option<u32>,
    /// How much of that was used, in hundredths of a percent.
    pub used_per_10000: Option<i64>,
    /// Bytes that crossed it.
    pub traffic: Traffic,
    /// Jobs waiting for it, by priority, most urgent first.
    pub jobs_waiting: [usize; Priority::ALL.len()],
    /// Meters that it has stopped asking for now, because they were silent several times in a row.
    pub meters_silent: usize,
    /// Pieces of work begun.
    pub work: u64,
    /// Those in which the meter answered, yes or no.
    pub answered: u64,
    /// Those that ended because the meter was silent or could not be reached.
    pub timeouts: u64,
    /// Jobs answered without being begun: too late, no room, or a meter that is left alone.
    pub turned_away: u64,
    /// Associations opened with DLMS meters.
    pub associations: u64,
    /// Time spent on work, in nanoseconds. On a network the times of meters that are talked to at once add up.
    pub busy_ns: u64,
}

impl LineStatus {
    /// Jobs waiting, of every priority.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs_waiting.iter().sum()
    }
}

/// How a piece of work went, as far as the line is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    /// The meter said something.
    Answered,
    /// It was silent.
    Silent,
    /// Nobody was asked.
    NotAsked,
}

impl Gauges {
    pub(super) fn waiting(&self, priority: Priority, change: isize) {
        self.waiting[priority.index()].fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    pub(super) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// A piece of work has ended after so long.
    pub(super) fn worked(&self, took: Duration, went: Went, associations: u32) {
        self.associations.fetch_add(u64::from(associations), Ordering::Relaxed);
        self.work.fetch_add(1, Ordering::Relaxed);
        self.busy_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        match went {
            Went::Answered => self.answered.fetch_add(1, Ordering::Relaxed),
            Went::Silent => self.timeouts.fetch_add(1, Ordering::Relaxed),
            Went::NotAsked => 0,
        };
    }

    /// The port of a bus broke, or works.
    pub(super) fn port(&self, broken: bool) {
        self.port_broken.store(broken, Ordering::Relaxed);
    }

    /// How the line of this name is doing.
    pub(super) fn status(&self, line: &str, budget_bytes_per_s: Option<u32>) -> LineStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let traffic = self.bytes.traffic();
        let used = budget_bytes_per_s.map(|budget| share(&traffic, budget, self.since.0.elapsed()));
        LineStatus {
            line: line.to_owned(),
            up: !self.port_broken.load(Ordering::Relaxed),
            budget_bytes_per_s,
            used_per_10000: used,
            traffic,
            jobs_waiting: std::array::from_fn(|lane| self.waiting[lane].load(Ordering::Relaxed)),
            meters_silent: self.silent.load(Ordering::Relaxed),
            work: count(&self.work),
            answered: count(&self.answered),
            timeouts: count(&self.timeouts),
            turned_away: count(&self.turned_away),
            associations: count(&self.associations),
            busy_ns: count(&self.busy_ns),
        }
    }
}

/// Hundredths of a percent of what a wire of this budget could have carried in this time.
fn share(traffic: &Traffic, budget_bytes_per_s: u32, time: Duration) -> i64 {
    let carried = u128::from(traffic.sent_bytes) + u128::from(traffic.received_bytes);
    let could = u128::from(budget_bytes_per_s) * time.as_millis().max(1);
    i64::try_from(carried * 10_000 * 1_000 / could.max(1)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_wire_is_what_crossed_it_in_the_time_there_was() {
        let traffic = Traffic { sent_bytes: 80, received_bytes: 400 };
        assert_eq!(share(&traffic, 960, Duration::from_secs(1)), 5_000, "half of a second's 960 bytes");
        assert_eq!(share(&traffic, 960, Duration::from_secs(100)), 50);
        assert_eq!(share(&Traffic::default(), 960, Duration::ZERO), 0);
    }
}
