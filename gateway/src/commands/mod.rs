//! Commands: from a recorded intent to a verified effect. What follows from a report is decided by pure functions
//! ([`life`], [`schedule`]); [`engine`] and [`reader`] carry it out.

pub mod desk;
pub mod engine;
pub mod life;
pub mod measures;
pub mod observe;
mod outcome;
pub mod reader;
pub mod router;
pub mod schedule;
pub mod used;
