//! Board traits: what the firmware asks of a meter's hardware; and the boards that implement them. The only crate that
//! may contain `unsafe`.
#![no_std]
#[cfg(test)]
extern crate std;

pub mod board;
#[cfg(all(any(feature = "mps2-an386", feature = "stm32f405"), target_arch = "arm", target_os = "none"))]
mod cortex_m4;
pub mod drivers;
pub mod place;
pub mod ring;

#[cfg(all(feature = "mps2-an386", target_arch = "arm", target_os = "none"))]
pub mod mps2_an386;
#[cfg(all(feature = "stm32f405", target_arch = "arm", target_os = "none"))]
pub mod stm32f405;
