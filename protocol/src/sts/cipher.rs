//! A decoder key ready for use: one of the two ciphers with its schedule made.

use super::ea07::{Ea07, StaTables};
use super::key::DecoderKey;
use super::misty1::Misty1;

/// Enciphers and deciphers the blocks of one meter. Make it once per key and keep it while it is in use.
#[derive(Debug, Clone)]
pub enum TokenCipher<'t> {
    /// EA07 with a table set.
    Ea07(Ea07<'t>),
    /// EA11.
    Ea11(Misty1),
}

impl<'t> TokenCipher<'t> {
    /// The cipher of a decoder key. `tables` are used by EA07 alone.
    #[must_use]
    pub fn new(key: &DecoderKey, tables: &'t StaTables) -> Self {
        match key {
            DecoderKey::Ea07(key) => Self::Ea07(Ea07::new(*key, tables)),
            DecoderKey::Ea11(key) => Self::Ea11(Misty1::new(key)),
        }
    }

    /// Enciphers a 64-bit data block.
    #[must_use]
    pub fn encrypt(&self, block: u64) -> u64 {
        match self {
            Self::Ea07(cipher) => cipher.encrypt(block),
            Self::Ea11(cipher) => cipher.encrypt(block),
        }
    }

    /// Deciphers a 64-bit block.
    #[must_use]
    pub fn decrypt(&self, block: u64) -> u64 {
        match self {
            Self::Ea07(cipher) => cipher.decrypt(block),
            Self::Ea11(cipher) => cipher.decrypt(block),
        }
    }
}
