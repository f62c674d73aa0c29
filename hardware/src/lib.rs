//! Board traits: what the firmware asks of a meter's hardware. The only crate that may contain `unsafe`.
#![no_std]

pub mod board;
