//! What meters send by themselves: alarms and other notifications, received on TCP and UDP in the wrapper.
//!
//! A notification is believed as far as its sender's model demands: where the meter's APDUs are protected it has to be, under the
//! meter's keys and with a counter above the last one. Whoever is not known, or does not have the keys, is counted and told,
//! and nothing of it is stored. What is believed becomes a fact, and where `alarm` says so it opens or closes an alarm in the same write.

mod alarm;
mod judge;
mod task;

pub use judge::{Judge, Refused, Taken};
pub use task::{Counts, Listener};
