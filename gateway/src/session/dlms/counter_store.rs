//! What is known of a meter's invocation counters, ours and its own, between associations.

use crate::session::lines::Context;
use crate::session::trouble::Trouble;
use crate::session::work::{Heard, Serial};
use crate::vault::KeyMark;
use protocol::dlms::security::CounterBlock;
use std::ops::Range;

/// Counters reserved at a time. A top-up with its association takes about twenty, so a restart wastes little and the store
/// is asked once in ten sessions.
const COUNTER_BLOCK: u32 = 256;
/// Counters that must be left before a piece of work begins; the longest takes about sixty, with its polling.
pub(super) const COUNTERS_LOW: u32 = 96;

/// Invocation counters of one meter that are reserved and not used yet, between associations.
#[derive(Debug, Default)]
pub(super) struct CounterStore {
    free: Range<u32>,
    floor: Option<u32>,
    /// The highest counter heard from the meter under these keys, as the store has it or is about to.
    heard: Option<(KeyMark, Option<u32>)>,
}

impl CounterStore {
    /// Takes enough counters for a piece of work, reserving more where too few are left. They are out of the store's hands
    /// until [`CounterStore::put_back`], so that none is used twice whatever happens meanwhile.
    pub(super) async fn take(
        &mut self,
        context: &Context,
        meter: &Serial,
        client_sap: u8,
    ) -> Result<CounterBlock, Trouble> {
        let mut free = std::mem::take(&mut self.free);
        let too_low = self.floor.is_some_and(|floor| free.start < floor);
        if free.len() < COUNTERS_LOW as usize || too_low {
            let at_least = self.floor.unwrap_or(1);
            free = context
                .counters
                .reserve(meter, client_sap, at_least, COUNTER_BLOCK)
                .await
                .map_err(|error| Trouble::NotReady(format!("no invocation counters: {error}")))?;
        }
        self.free = free.end..free.end;
        Ok(CounterBlock::new(free.start, free.end - free.start))
    }

    /// Takes back what an association has left of its block, which ends where it was reserved to end.
    pub(super) fn put_back(&mut self, left: u32) {
        self.free.start = self.free.end.saturating_sub(left);
    }

    /// Nothing below this may be used: the meter has seen higher counters than we know of.
    pub(super) fn raise(&mut self, floor: u32) {
        self.floor = Some(self.floor.map_or(floor, |old| old.max(floor)));
    }

    /// The highest counter ever heard from the meter under these keys.
    pub(super) async fn heard(
        &mut self,
        context: &Context,
        meter: &Serial,
        keys: KeyMark,
    ) -> Result<Option<u32>, Trouble> {
        match self.heard {
            Some((known, heard)) if known == keys => Ok(heard),
            _ => {
                let heard = context.counters.heard(meter, keys).await.map_err(|error| {
                    Trouble::NotReady(format!("the counters heard from the meter are not known: {error}"))
                })?;
                self.heard = Some((keys, heard));
                Ok(heard)
            }
        }
    }

    /// The next counter that would be used.
    pub(super) fn next(&self) -> u32 {
        self.free.start
    }

    /// The highest counter heard from the meter, where it is higher than what was kept.
    fn higher(&self, heard: Option<u32>) -> Option<Heard> {
        let ((keys, before), counter) = (self.heard?, heard?);
        before.is_none_or(|before| counter > before).then_some(Heard { keys, counter })
    }

    /// The highest counter heard from the meter, for whoever stores what was read. When that fails nothing was read, so that
    /// nothing counts that could be heard again.
    pub(super) fn hand_over(&mut self, heard: Option<u32>) -> Option<Heard> {
        let new = self.higher(heard)?;
        self.heard = Some((new.keys, Some(new.counter)));
        Some(new)
    }

    /// Keeps the highest counter heard from the meter.
    pub(super) async fn keep_heard(&mut self, context: &Context, meter: &Serial, heard: Option<u32>) {
        let Some(Heard { keys, counter }) = self.higher(heard) else { return };
        match context.counters.keep_heard(meter, keys, counter).await {
            Ok(()) => self.heard = Some((keys, Some(counter))),
            // The next time will do; until then an answer of this session might be believed again after a restart.
            Err(error) => tracing::warn!(meter = meter.0, error, "the counter heard could not be kept"),
        }
    }
}
