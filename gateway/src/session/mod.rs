//! Sessions: one task per line (a bus, a listener, or one TCP meter) that owns its byte pipe and the protocol client on it.
//! A session knows no database: it takes [`work::Job`]s and answers each with a [`work::Report`].

pub mod breaker;
pub mod counters;
pub mod directory;
pub mod queue;
pub mod work;
