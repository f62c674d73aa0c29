//! The concentrator gateway.
//!
//! Layers, each importing only what is below it: `api`, `web` → decisions (`vending`, `commands`) → `store` (the only SQL) and
//! `session` → `driver`.

pub mod clock;
pub mod session;
