//! Modbus register maps.

pub mod reference;
