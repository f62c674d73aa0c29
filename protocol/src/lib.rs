//! What both ends of the wire must agree on. `no_std`, no allocator, no `unsafe`; imports nothing of ours.
#![no_std]
#![forbid(unsafe_code)]
#[cfg(test)]
extern crate std;

pub mod cosem;
pub mod dlms;
pub mod link;
pub mod modbus;
pub mod openpaygo;
pub mod scheme;
pub mod sts;
pub mod time;
pub mod wire;

/// The codec our engines stand on, re-exported so that every crate names one version of it.
pub use dlms_cosem_rs as codec;
