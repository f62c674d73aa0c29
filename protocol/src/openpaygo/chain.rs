//! The chain of token numbers.

use super::siphash::siphash_2_4;
use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A device's 128-bit key: wiped when dropped, prints nothing.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, serde::Serialize, serde::Deserialize)]
pub struct PaygoKey([u8; 16]);

impl PaygoKey {
    /// From 16 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for PaygoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaygoKey(..)")
    }
}

/// The last three digits carry the value.
pub(super) const BASE: u32 = 1_000;
/// Token numbers have nine digits.
pub(super) const NUMBER_MAX: u32 = 999_999_999;

/// Puts three digits at the end of a number.
pub(super) const fn with_base(number: u32, base: u32) -> u32 {
    number - number % BASE + base % BASE
}

/// The number after `number`: 64 bits of SipHash over the number twice, folded to 30 bits, folded to nine digits.
pub(super) fn following(key: &PaygoKey, number: u32) -> u32 {
    let once = number.to_be_bytes();
    let mut twice = [0u8; 8];
    twice[..4].copy_from_slice(&once);
    twice[4..].copy_from_slice(&once);
    let hash = siphash_2_4(&key.0, twice);
    let folded = ((hash >> 32) as u32 ^ hash as u32) >> 2;
    // 2^30 - 1 - 73741825 = 999999998: one subtraction is enough.
    if folded > NUMBER_MAX { folded - 73_741_825 } else { folded }
}
