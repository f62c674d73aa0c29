//! Invocation counters come from the store in durable blocks, reserved before use: a counter is never used twice with one key.

use super::work::Serial;
use std::ops::Range;
use std::pin::Pin;

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
}
