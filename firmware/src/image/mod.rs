//! New firmware over the wire (class 18): an image comes block by block into the bank that does not run, is checked, is
//! started on trial, and has to confirm itself. Whatever goes wrong, wherever power is cut: one whole image starts.
//!
//! - [`format`] says what a signed image looks like and when it is refused.
//! - [`p256`] is the check of its signature.
//! - [`boot`] is the decision at each reset; the board's start code calls it before anything else.
//! - `transfer` holds what must survive: which blocks have come and how far it is.

pub mod boot;
pub mod format;
pub mod p256;
mod transfer;

pub(crate) use transfer::{BLOCK_BYTES, TRANSFER_PLACE_BYTES, Update};

/// Whose images a meter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// The public key that images are signed for, P-256, `x || y`.
    pub signing_key: [u8; 64],
    /// The model this meter is.
    pub model: format::Model,
}
