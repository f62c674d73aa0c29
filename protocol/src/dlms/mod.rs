//! DLMS/COSEM application layer: association engines and services for both ends, on the codec of `dlms-cosem-rs`.
//!
//! Both engines are sans-IO: whole APDUs and the time go in; whole APDUs, events and a deadline come out. The links of
//! [`crate::link`] carry the APDUs.

pub mod axdr_walk;
mod bytes;
pub mod client;
pub mod gbt;
pub mod model;
pub mod security;
pub mod server;
