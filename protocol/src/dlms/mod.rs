//! DLMS/COSEM application layer: association engines and services for both ends, on the codec of `dlms-cosem-rs`.
//!
//! Both engines are sans-IO: whole APDUs and the time go in; whole APDUs, events and a deadline come out. The links of
//! [`crate::link`] carry the APDUs.

mod apdu;
pub mod axdr_walk;
mod bytes;
pub mod client;
pub mod gbt;
pub mod model;
pub mod security;
pub mod server;

/// Bit 30 of a long-invoke-id-and-priority: service class confirmed (Green Book, xDLMS APDUs). The codec's own helper sets bit 29,
/// which is the processing option.
pub const LONG_INVOKE_ID_CONFIRMED: u32 = 1 << 30;

/// Tag of data-notification-confirm (Green Book, xDLMS APDUs), which the codec does not name.
const DATA_NOTIFICATION_CONFIRM: u8 = 16;
