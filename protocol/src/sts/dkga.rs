//! Decoder key generation: from a vending key to the key of one meter.

use super::attributes::{KeyAttributes, KeyType};
use super::identity::MeterPan;
use super::key::{DecoderKey, EncryptionAlgorithm, RefusedAlgorithm, VendingKey};
use core::fmt;
use des::cipher::{BlockEncrypt, KeyInit};
use hmac::Mac;
use zeroize::Zeroize;

/// The derivations offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Derivation {
    /// DKGA02: one DES encryption, a 64-bit key for EA07.
    Dkga02,
    /// DKGA04: HMAC-SHA-256 over the meter's attributes.
    Dkga04,
}

impl Derivation {
    /// From the code 2 or 4.
    ///
    /// # Errors
    /// DKGA01, DKGA03 and unknown codes, by name.
    pub const fn from_code(code: u8) -> Result<Self, RefusedAlgorithm> {
        match code {
            2 => Ok(Self::Dkga02),
            4 => Ok(Self::Dkga04),
            1 => Err(RefusedAlgorithm::Dkga01),
            3 => Err(RefusedAlgorithm::Dkga03),
            _ => Err(RefusedAlgorithm::Unknown(code)),
        }
    }

    /// The code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Dkga02 => 2,
            Self::Dkga04 => 4,
        }
    }
}

/// Why no key is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeriveError {
    /// DKGA02 gives 64 bits: it cannot make a key for EA11.
    TooShortForEa11,
}

impl fmt::Display for DeriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DKGA02 makes 64-bit keys, EA11 needs 128 bits: use DKGA04 and a 160-bit vending key")
    }
}

impl core::error::Error for DeriveError {}

/// Bytes of the message: every field has a fixed length.
pub const DKGA04_MESSAGE: usize = 49;

/// The message DKGA04 authenticates (IEC 62055-41 6.5.3.6): field count, length-prefixed ASCII fields, and the number of
/// key bits. Public because a hardware token computes the HMAC itself.
#[must_use]
pub fn dkga04_message(
    algorithm: EncryptionAlgorithm,
    pan: &MeterPan,
    attributes: &KeyAttributes,
) -> [u8; DKGA04_MESSAGE] {
    fn decimal<const N: usize>(value: u32) -> [u8; N] {
        let mut digits = [b'0'; N];
        let mut rest = value;
        for place in digits.iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        digits
    }
    let index: [u8; 2] = decimal(u32::from(attributes.tariff_index.get()));
    let group: [u8; 6] = decimal(attributes.supply_group.get());
    let cipher: [u8; 2] = decimal(u32::from(algorithm.code()));
    let key_type: [u8; 1] = decimal(u32::from(attributes.key_type.code()));
    let revision: [u8; 1] = decimal(u32::from(attributes.key_revision.get()));
    // The second count separates the label from the context.
    let parts: [&[u8]; 20] = [
        &[4],
        &[2],
        b"04",
        &[2],
        attributes.base_date.code(),
        &[2],
        &cipher,
        &[2],
        &index,
        &[0],
        &[4],
        &[6],
        &group,
        &[1],
        &key_type,
        &[1],
        &revision,
        &[18],
        pan.as_bytes(),
        &algorithm.key_bits().to_be_bytes(),
    ];
    let mut message = [0u8; DKGA04_MESSAGE];
    let mut end = 0;
    for part in parts {
        message[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    message
}

/// The decoder key in the leftmost bits of DKGA04's HMAC.
#[must_use]
pub fn dkga04_key(algorithm: EncryptionAlgorithm, hmac: &[u8; 32]) -> DecoderKey {
    match algorithm {
        EncryptionAlgorithm::Ea07 => {
            let mut key = [0u8; 8];
            key.copy_from_slice(&hmac[..8]);
            DecoderKey::Ea07(key)
        }
        EncryptionAlgorithm::Ea11 => {
            let mut key = [0u8; 16];
            key.copy_from_slice(&hmac[..16]);
            DecoderKey::Ea11(key)
        }
    }
}

/// Derives a meter's decoder key; the vending key's kind selects DKGA02 or DKGA04.
///
/// # Errors
/// [`DeriveError::TooShortForEa11`].
pub fn derive(
    key: &VendingKey,
    algorithm: EncryptionAlgorithm,
    pan: &MeterPan,
    attributes: &KeyAttributes,
) -> Result<DecoderKey, DeriveError> {
    match (key, algorithm) {
        (VendingKey::Des(_), EncryptionAlgorithm::Ea11) => Err(DeriveError::TooShortForEa11),
        (VendingKey::Des(key), EncryptionAlgorithm::Ea07) => Ok(dkga02(key, pan, attributes)),
        (VendingKey::Hmac(key), algorithm) => {
            let mut mac = hmac_sha256(key, &dkga04_message(algorithm, pan, attributes));
            let derived = dkga04_key(algorithm, &mac);
            mac.zeroize();
            Ok(derived)
        }
    }
}

fn hmac_sha256(key: &[u8; 20], message: &[u8]) -> [u8; 32] {
    let mut mac = <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(key)
        .expect("HMAC takes keys of every length, so 20 bytes are accepted");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// IEC 62055-41 6.5.3.4: DES of the xor of PANBlock and ControlBlock, xored with that and with the key.
fn dkga02(key: &[u8; 8], pan: &MeterPan, attributes: &KeyAttributes) -> DecoderKey {
    let input = pan.pan_block(attributes.key_type == KeyType::Dctk) ^ attributes.control_block();
    let mut block = des::cipher::Block::<des::Des>::from(input.to_be_bytes());
    des::Des::new(key.into()).encrypt_block(&mut block);
    let mut derived = [0u8; 8];
    for (((out, &ciphered), &plain), &key) in
        derived.iter_mut().zip(block.iter()).zip(&input.to_be_bytes()).zip(key)
    {
        *out = ciphered ^ plain ^ key;
    }
    block.as_mut_slice().zeroize();
    DecoderKey::Ea07(derived)
}

#[cfg(test)]
mod tests {
    use super::super::attributes::{KeyRevision, SupplyGroup, TariffIndex};
    use super::super::tid::BaseDate;
    use super::*;

    fn attributes(group: u32, base_date: BaseDate) -> KeyAttributes {
        KeyAttributes {
            supply_group: SupplyGroup::try_from(group).unwrap(),
            tariff_index: TariffIndex::try_from(1).unwrap(),
            key_revision: KeyRevision::try_from(1).unwrap(),
            key_type: KeyType::Dutk,
            base_date,
        }
    }

    fn hex(text: &str) -> std::vec::Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn published_keys_are_derived() {
        let pan = MeterPan::parse(b"600727000000000009").unwrap();
        let long = VendingKey::from_bytes(&hex("abababababababab949494949494949401234567")).unwrap();
        let short = VendingKey::from_bytes(&[0xab; 8]).unwrap();
        use EncryptionAlgorithm::{Ea07, Ea11};
        for (key, algorithm, group, base, expected) in [
            (&long, Ea11, 123_457, BaseDate::Year1993, "f94b6ed353c3bfdb113e2d3a7ea3c41d"),
            (&long, Ea11, 201_457, BaseDate::Year2014, "929bd3a415c9420a05ec5ee9f3ce91c3"),
            (&long, Ea07, 201_457, BaseDate::Year2014, "87f3ecbb2e46b48f"),
            (&short, Ea07, 123_456, BaseDate::Year1993, "e653341f9d5bf36f"),
        ] {
            let derived = derive(key, algorithm, &pan, &attributes(group, base)).unwrap();
            assert_eq!(derived.expose(), hex(expected));
        }
    }

    #[test]
    fn a_des_key_cannot_serve_ea11_and_legacy_derivations_are_refused_by_name() {
        let pan = MeterPan::parse(b"600727000000000009").unwrap();
        let short = VendingKey::from_bytes(&[0xab; 8]).unwrap();
        let refused = derive(&short, EncryptionAlgorithm::Ea11, &pan, &attributes(1, BaseDate::Year2014));
        assert_eq!(refused.err(), Some(DeriveError::TooShortForEa11));
        assert_eq!(Derivation::from_code(1), Err(RefusedAlgorithm::Dkga01));
        assert_eq!(Derivation::from_code(3), Err(RefusedAlgorithm::Dkga03));
    }
}
