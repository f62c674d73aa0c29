//! Drivers of the reference meter's parts, generic over `embedded-hal` 1.0, each tested against a mock of its bus.
//! None of them has been run on silicon yet; see the README.

pub mod ade7953;
#[cfg(test)]
mod failing;
pub mod ht1621;
pub mod kept_clock;
pub mod keypad;
pub mod mb85rs;
pub mod pcf8563;
pub mod pulse;
pub mod relay;
pub mod rs485;
pub mod sector_banks;
pub mod soft_i2c;
