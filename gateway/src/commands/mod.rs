//! Commands: from a recorded intent to a verified effect. What follows from a report is decided by pure functions
//! ([`life`], [`schedule`]); [`engine`] and [`reader`] carry it out.

pub mod audit;
pub mod bulk;
pub mod clock;
pub mod curtail;
pub mod desk;
pub mod doubts;
pub mod engine;
pub mod life;
pub mod measures;
pub mod observe;
pub mod order;
mod outcome;
pub mod reader;
pub mod router;
pub mod schedule;
pub mod used;
pub mod visits;
