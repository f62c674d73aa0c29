//! Sessions: one task per line (a bus, a listener, or one TCP meter) that owns its byte pipe and the protocol client on it.
//! A session knows no database: it takes [`work::Job`]s and answers each with a [`work::Report`].

pub mod attempt;
pub mod breaker;
mod bus;
pub mod calendar;
pub mod clock_check;
pub mod counters;
pub mod directory;
pub mod dlms;
mod gauges;
mod greeting;
mod lines;
pub mod meter_keys;
pub mod modbus;
pub mod model;
mod network;
pub mod order;
pub mod queue;
pub mod record;
pub mod relay_test;
mod talker;
pub mod trouble;
pub mod work;

pub use gauges::{LineStatus, PriorityLabel, Waits, waits};
pub use lines::{Arrival, Context, RouteError, Router, arrival, spawn};
