//! Board traits: what the firmware asks of a meter's hardware; and the boards that implement them. The only crate that
//! may contain `unsafe`.
#![no_std]
#[cfg(test)]
extern crate std;

pub mod board;
pub mod drivers;

#[cfg(all(feature = "mps2-an386", target_arch = "arm", target_os = "none"))]
pub mod mps2_an386;
