//! The firmware library on virtual boards, by the thousand.
#![forbid(unsafe_code)]

pub mod board;
pub mod clock;
pub mod faults;
pub mod load;
pub mod modbus_meter;
pub mod paced;
pub mod random;
