//! Invocation counters come from the store in durable blocks, reserved before use: a counter is never used twice with one key.
//! What was heard from a meter is kept there too, so that an old answer is refused after a restart.

use super::work::Serial;
use crate::vault::KeyMark;
use std::collections::HashMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

/// Where blocks of counters come from. The store implements it; sessions only know this.
pub trait Counters: Send + Sync + std::fmt::Debug {
    /// Reserves `count` successive counters for a meter and client address, durably, none below `at_least` (what the meter's
    /// own invocation counter object says it has seen, plus one).
    fn reserve(
        &self,
        meter: &Serial,
        client_sap: u8,
        at_least: u32,
        count: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Range<u32>, String>> + Send + '_>>;

    /// The highest counter accepted from the meter under these keys.
    fn heard(
        &self,
        meter: &Serial,
        keys: KeyMark,
    ) -> Pin<Box<dyn Future<Output = Result<Option<u32>, String>> + Send + '_>>;

    /// Keeps it, durably when this returns. A lower one than before changes nothing; one under other keys replaces it.
    fn keep_heard(
        &self,
        meter: &Serial,
        keys: KeyMark,
        counter: u32,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// Counters for as long as a process lives: for replays, which use nobody's keys, and for tests and measurements.
#[derive(Debug, Default)]
pub struct MemoryCounters {
    given: Mutex<HashMap<(Serial, u8), u32>>,
    heard: Mutex<HashMap<(Serial, KeyMark), u32>>,
}

impl Counters for MemoryCounters {
    fn reserve(
        &self,
        meter: &Serial,
        client_sap: u8,
        at_least: u32,
        count: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Range<u32>, String>> + Send + '_>> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let next = given.entry((meter.clone(), client_sap)).or_insert(1);
        let first = (*next).max(at_least);
        *next = first.saturating_add(count);
        let end = *next;
        Box::pin(async move { Ok(first..end) })
    }

    fn heard(
        &self,
        meter: &Serial,
        keys: KeyMark,
    ) -> Pin<Box<dyn Future<Output = Result<Option<u32>, String>> + Send + '_>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = heard.get(&(meter.clone(), keys)).copied();
        Box::pin(async move { Ok(heard) })
    }

    fn keep_heard(
        &self,
        meter: &Serial,
        keys: KeyMark,
        counter: u32,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert((meter.clone(), keys), counter);
        Box::pin(async { Ok(()) })
    }
}
