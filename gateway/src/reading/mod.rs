//! Reading what meters recorded by themselves: which intervals are due, which are there, which are missing and asked for again.
//!
//! [`slots`], [`gaps`], [`plan`], [`coverage`] and [`plausibility`] decide and know neither store nor line; [`collector`] is the task;
//! [`discovery`] finds meters that nobody entered yet.

pub mod collector;
pub mod coverage;
pub mod discovery;
pub mod gaps;
pub mod plan;
pub mod plausibility;
pub mod slots;
