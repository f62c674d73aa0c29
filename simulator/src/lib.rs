//! The firmware library on virtual boards, by the thousand.
#![forbid(unsafe_code)]

pub mod banks;
pub mod board;
pub mod bus;
pub mod client;
pub mod clock;
pub mod control;
pub mod fault_entry;
pub mod faults;
pub mod identity;
pub mod line;
pub mod load;
mod memory;
pub mod meter;
pub mod modbus_server;
pub mod nvm;
pub mod paced;
pub mod plan;
pub mod push;
pub mod random;
pub mod roll;
pub mod scenario;
pub mod scene;
pub mod session;
pub mod setup;
pub mod state;
pub mod street;
pub mod tcp;
pub mod train;
pub mod units;
pub mod vendor;
pub mod wiring;
