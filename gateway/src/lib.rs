//! The concentrator gateway.
//!
//! Layers, each importing only what is below it: `api`, `web` → decisions (`vending`, `commands`) → `store` (the only SQL) and
//! `session` → `driver`. Keys live behind `vault`.

#[cfg(test)]
mod bench;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod driver;
pub mod explain;
pub mod session;
pub mod store;
pub mod units;
pub mod vault;
pub mod vending;
