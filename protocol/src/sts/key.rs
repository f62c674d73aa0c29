//! Keys. They are wiped when dropped and print nothing of themselves.

use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Why bytes are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// Not one of the lengths a key can have.
    Length {
        /// How many bytes there were.
        found: usize,
    },
    /// A DES vending key with a byte of even parity.
    Parity {
        /// Which byte.
        offset: usize,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => write!(f, "no key has {found} bytes here"),
            Self::Parity { offset } => write!(f, "byte {offset} of the DES key has even parity"),
        }
    }
}

impl core::error::Error for KeyError {}

/// A vending key, which decoder keys are derived from.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub enum VendingKey {
    /// 64 bits with odd parity, for DKGA02.
    Des([u8; 8]),
    /// 160 bits, for DKGA04.
    Hmac([u8; 20]),
}

impl VendingKey {
    /// From 8 bytes (DKGA02) or 20 bytes (DKGA04).
    ///
    /// # Errors
    /// Another length; even parity in a DES key. Whether the parity bits take part in DKGA02's last xor cannot be told
    /// from published vectors, so keys without odd parity are refused rather than guessed about.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if let Ok(des) = <[u8; 8]>::try_from(bytes) {
            return match des.iter().position(|byte| byte.count_ones() % 2 == 0) {
                Some(offset) => Err(KeyError::Parity { offset }),
                None => Ok(Self::Des(des)),
            };
        }
        <[u8; 20]>::try_from(bytes).map(Self::Hmac).map_err(|_| KeyError::Length { found: bytes.len() })
    }
}

impl fmt::Debug for VendingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Des(_) => "VendingKey::Des(..)",
            Self::Hmac(_) => "VendingKey::Hmac(..)",
        })
    }
}

/// A decoder key: what a meter deciphers its tokens with. Serialises into the meter's own journal only.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, serde::Serialize, serde::Deserialize)]
pub enum DecoderKey {
    /// 64 bits, for EA07.
    Ea07([u8; 8]),
    /// 128 bits, for EA11.
    Ea11([u8; 16]),
}

impl DecoderKey {
    /// From 8 bytes (EA07) or 16 bytes (EA11), most significant first.
    ///
    /// # Errors
    /// Another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = <[u8; 8]>::try_from(bytes) {
            return Ok(Self::Ea07(key));
        }
        <[u8; 16]>::try_from(bytes).map(Self::Ea11).map_err(|_| KeyError::Length { found: bytes.len() })
    }

    /// The bytes, for a place that may hold them: a meter's memory at its manufacture.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Ea07(key) => key,
            Self::Ea11(key) => key,
        }
    }

    /// The cipher the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> EncryptionAlgorithm {
        match self {
            Self::Ea07(_) => EncryptionAlgorithm::Ea07,
            Self::Ea11(_) => EncryptionAlgorithm::Ea11,
        }
    }
}

impl fmt::Debug for DecoderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ea07(_) => "DecoderKey::Ea07(..)",
            Self::Ea11(_) => "DecoderKey::Ea11(..)",
        })
    }
}

/// Encryption algorithm (IEC 62055-41 6.1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum EncryptionAlgorithm {
    /// Standard Transfer Algorithm, with tables that are licensed to members of the STS Association.
    Ea07,
    /// MISTY1.
    Ea11,
}

/// An algorithm that exists in the standard and is not offered, or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedAlgorithm {
    /// EA09, DEA: withdrawn by IEC 62055-41 edition 3.
    Ea09,
    /// DKGA01: for legacy supply groups and ranges only.
    Dkga01,
    /// DKGA03: withdrawn by IEC 62055-41 edition 3.
    Dkga03,
    /// No such code.
    Unknown(u8),
}

impl fmt::Display for RefusedAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ea09 => f.write_str("EA09 (DEA) is withdrawn from the standard and not offered"),
            Self::Dkga01 => f.write_str("DKGA01 is for listed legacy meters only and not offered"),
            Self::Dkga03 => {
                f.write_str("DKGA03 (two-key triple DES) is withdrawn from the standard and not offered")
            }
            Self::Unknown(code) => write!(f, "no algorithm has the code {code:02}"),
        }
    }
}

impl core::error::Error for RefusedAlgorithm {}

impl EncryptionAlgorithm {
    /// From the code 7 or 11.
    ///
    /// # Errors
    /// EA09 and unknown codes, by name.
    pub const fn from_code(code: u8) -> Result<Self, RefusedAlgorithm> {
        match code {
            7 => Ok(Self::Ea07),
            11 => Ok(Self::Ea11),
            9 => Err(RefusedAlgorithm::Ea09),
            _ => Err(RefusedAlgorithm::Unknown(code)),
        }
    }

    /// The code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ea07 => 7,
            Self::Ea11 => 11,
        }
    }

    /// Bits of its decoder key.
    #[must_use]
    pub const fn key_bits(self) -> u32 {
        match self {
            Self::Ea07 => 64,
            Self::Ea11 => 128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_des_key_with_even_parity_is_refused_with_the_byte() {
        assert!(VendingKey::from_bytes(&[0xab; 8]).is_ok());
        assert_eq!(
            VendingKey::from_bytes(&[0xab, 0xab, 0xaa, 0xab, 0xab, 0xab, 0xab, 0xab]).err(),
            Some(KeyError::Parity { offset: 2 })
        );
        assert_eq!(VendingKey::from_bytes(&[0; 16]).err(), Some(KeyError::Length { found: 16 }));
    }

    #[test]
    fn withdrawn_algorithms_are_refused_by_name() {
        assert!(std::format!("{}", EncryptionAlgorithm::from_code(9).unwrap_err()).contains("EA09"));
        assert_eq!(EncryptionAlgorithm::from_code(8), Err(RefusedAlgorithm::Unknown(8)));
    }

    #[test]
    fn keys_print_nothing_of_themselves() {
        let text = std::format!("{:?} {:?}", VendingKey::Hmac([0x5a; 20]), DecoderKey::Ea11([0x5a; 16]));
        assert!(!text.contains("5a") && !text.contains("90"));
    }
}
