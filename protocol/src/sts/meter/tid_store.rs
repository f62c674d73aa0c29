//! The identifiers a meter remembers, so that no token works twice.

use super::super::tid::Tid;
use heapless::Vec;

/// Identifiers remembered. The depth "at least 50" is a requirement on this meter; the standard's own figure was not at
/// hand.
pub const TID_STORE_DEPTH: usize = 50;

/// What the store says about an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TidJudgement {
    /// Never seen and not too old.
    New,
    /// Below every identifier remembered.
    Old,
    /// Remembered.
    Used,
}

/// The newest `N` identifiers and the floor below which every token is old.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TidStore<const N: usize> {
    floor: Option<Tid>,
    seen: Vec<Tid, N>,
}

impl<const N: usize> TidStore<N> {
    /// An empty store. Tokens issued before `floor` (usually the minute of manufacture) are old.
    #[must_use]
    pub const fn new(floor: Option<Tid>) -> Self {
        Self { floor, seen: Vec::new() }
    }

    /// Judges an identifier (IEC 62055-41 7.3.7): below the smallest remembered it is old, remembered it is used.
    #[must_use]
    pub fn judge(&self, tid: Tid) -> TidJudgement {
        if self.seen.contains(&tid) {
            TidJudgement::Used
        } else if self.lowest_accepted().is_some_and(|lowest| tid < lowest) {
            TidJudgement::Old
        } else {
            TidJudgement::New
        }
    }

    /// The smallest identifier that can still be accepted: the floor, or the smallest one remembered once the store is
    /// full. `None`: every one.
    #[must_use]
    pub fn lowest_accepted(&self) -> Option<Tid> {
        let smallest = if self.seen.is_full() { self.seen.iter().min().copied() } else { None };
        smallest.max(self.floor)
    }

    /// Remembers an identifier; when full, in the place of the smallest, below which everything is old from then on.
    pub fn remember(&mut self, tid: Tid) {
        if self.seen.contains(&tid) {
            return;
        }
        if let Err(tid) = self.seen.push(tid)
            && let Some(smallest) = self.seen.iter_mut().min()
        {
            // The one forgotten must stay refused even if the new one is smaller than the rest.
            self.floor = self.floor.max(Tid::from_minutes(smallest.minutes() + 1));
            *smallest = tid;
        }
    }

    /// Forgets everything: a rollover begins a new base date.
    pub fn clear(&mut self) {
        self.floor = None;
        self.seen.clear();
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// The largest remembered.
    #[must_use]
    pub fn newest(&self) -> Option<Tid> {
        self.seen.iter().max().copied()
    }
}
