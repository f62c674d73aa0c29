//! How much memory a process takes over time.

use crate::process::resident_kb;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// Looks at a process until it is told to stop, or dropped.
#[derive(Debug)]
pub struct Sampler {
    seen: Arc<Mutex<Vec<(u64, u64)>>>,
    over: Arc<AtomicBool>,
    looking: Option<JoinHandle<()>>,
}

/// What was seen: milliseconds since the first look, and kilobytes.
#[derive(Debug, Clone)]
pub struct Seen(Vec<(u64, u64)>);

impl Sampler {
    /// Begins with this process.
    #[must_use]
    pub fn of(process: u32) -> Self {
        let (seen, over) = (Arc::<Mutex<Vec<(u64, u64)>>>::default(), Arc::<AtomicBool>::default());
        let (into, stop, begun) = (Arc::clone(&seen), Arc::clone(&over), Instant::now());
        let looking = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let at = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                into.lock().unwrap_or_else(PoisonError::into_inner).push((at, resident_kb(process)));
                std::thread::sleep(EVERY);
            }
        });
        Self { seen, over, looking: Some(looking) }
    }

    /// Ends it.
    #[must_use]
    pub fn stop(mut self) -> Seen {
        self.end();
        Seen(std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            // It panics when the process is gone, which whoever needs the process notices too.
            let _ = looking.join();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

impl Seen {
    /// The most.
    #[must_use]
    pub fn peak_kb(&self) -> u64 {
        self.0.iter().map(|(_, kb)| *kb).max().unwrap_or(0)
    }

    /// The median of one of the quarters of the time, 0 to 3.
    #[must_use]
    pub fn quarter_kb(&self, quarter: usize) -> u64 {
        let length = self.0.len().div_ceil(4).max(1);
        let mut part: Vec<u64> =
            self.0.chunks(length).nth(quarter).unwrap_or_default().iter().map(|(_, kb)| *kb).collect();
        part.sort_unstable();
        part.get(part.len() / 2).copied().unwrap_or(0)
    }

    /// The slope of the straight line that fits all but the first quarter best, in kilobytes an hour.
    #[must_use]
    pub fn slope_kb_per_hour(&self) -> i64 {
        let steady = &self.0[self.0.len() / 4..];
        let count = i128::try_from(steady.len()).unwrap_or(0).max(1);
        let sum = |of: fn(&(u64, u64)) -> u64| steady.iter().map(|seen| i128::from(of(seen))).sum::<i128>();
        let (times, sizes) = (sum(|(at, _)| *at), sum(|(_, kb)| *kb));
        let mut together = 0i128;
        let mut alone = 0i128;
        for (at, kb) in steady {
            // Distances from the means, times the count so that they stay integers.
            let (t, s) = (i128::from(*at) * count - times, i128::from(*kb) * count - sizes);
            together += t * s;
            alone += t * t;
        }
        i64::try_from(together * 3_600_000 / alone.max(1)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn the_slope_is_that_of_the_line_and_nothing_for_what_stays() {
        let line = |step: u64| Seen((0..100).map(|at| (at * 1_000, 5_000 + at * step)).collect());
        assert_eq!(line(0).slope_kb_per_hour(), 0);
        assert_eq!(line(2).slope_kb_per_hour(), 7_200);
        assert_eq!((line(2).peak_kb(), line(2).quarter_kb(3)), (5_198, 5_174));
    }
}
