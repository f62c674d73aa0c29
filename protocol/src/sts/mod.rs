//! Standard Transfer Specification tokens (IEC 62055-41): both ends.
//!
//! - Vending: [`derive`] a meter's [`DecoderKey`], make its [`TokenCipher`] once, [`Token::encode`] as many tokens as needed.
//!   [`Tid::next`] is the rule for identifiers, [`AmountCode`] says what a token really carries.
//! - Meter: [`meter::evaluate`] judges a token number against a [`meter::MeterTokenState`] and gives the result code and
//!   the effect; the caller stores both together with its credit in one record.
//!
//! What each clause asks, what is done here, where it comes from and what is unverified: `protocol/SPEC.md`.

mod amount;
mod attributes;
mod cipher;
mod crc;
mod dkga;
mod ea07;
mod identity;
mod key;
mod key_section;
pub mod meter;
mod misty1;
mod misty1_tables;
mod number;
mod scheme;
mod tid;
mod token;

pub use amount::{AmountCode, CurrencyCode};
pub use attributes::{AttributeRange, KeyAttributes, KeyRevision, KeyType, SupplyGroup, TariffIndex};
pub use cipher::TokenCipher;
pub use crc::{block_crc, crc};
pub use dkga::{Derivation, DeriveError, derive, dkga04_key, dkga04_message};
pub use ea07::{Ea07, SAMPLE, StaTables, TableError, TableSet};
pub use identity::{Drn, IdentityError, MeterPan, luhn_digit};
pub use key::{DecoderKey, EncryptionAlgorithm, KeyError, RefusedAlgorithm, VendingKey};
pub use key_section::{KeySection, KeyWord, NewKey, PartialKey, SetLength, key_change_set};
pub use misty1::Misty1;
pub use number::{DIGITS, NumberError, TokenDigits, TokenNumber};
pub use scheme::{Sts, StsMeter};
pub use tid::{BaseDate, Tid, TidRange};
pub use token::{CreditRegister, DecodeError, Management, Rnd, Service, TestToken, Token};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;
