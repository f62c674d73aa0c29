//! The firmware library on virtual boards, by the thousand.
#![forbid(unsafe_code)]

pub mod board;
pub mod clock;
pub mod control;
pub mod faults;
pub mod identity;
pub mod line;
pub mod load;
pub mod meter;
pub mod modbus_server;
pub mod paced;
pub mod random;
pub mod roll;
pub mod session;
pub mod street;
pub mod tcp;
