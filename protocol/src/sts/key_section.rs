//! Key change tokens: the sections of a new decoder key, each under the old one (IEC 62055-41 6.2.7, 6.2.8).

use super::attributes::{KeyAttributes, KeyRevision, KeyType, SupplyGroup, TariffIndex};
use super::key::DecoderKey;
use super::token::{DecodeError, Token};
use core::fmt;
use heapless::Vec;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 bits of a key: wiped when dropped, prints nothing.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, serde::Serialize, serde::Deserialize)]
pub struct KeyWord(u32);

impl KeyWord {
    /// From 32 bits of a key.
    #[must_use]
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn expose(&self) -> u32 {
        self.0
    }
}

impl fmt::Debug for KeyWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyWord(..)")
    }
}

/// One section of a key change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum KeySection {
    /// Subclass 3.
    First {
        /// High four bits of the new expiry number.
        expiry_high: u8,
        /// New key revision.
        key_revision: KeyRevision,
        /// RO: the identifiers remembered are forgotten, because a new base date begins.
        rollover: bool,
        /// 3KCT: a third token with the supply group belongs to a 64-bit set.
        third_follows: bool,
        /// New key type.
        key_type: KeyType,
        /// NKHO: key bits 63..32 or 127..96.
        key: KeyWord,
    },
    /// Subclass 4.
    Second {
        /// Low four bits of the new expiry number.
        expiry_low: u8,
        /// New tariff index.
        tariff_index: TariffIndex,
        /// NKLO: key bits 31..0.
        key: KeyWord,
    },
    /// Subclass 8.
    Third {
        /// SGCLO: low twelve bits of the new supply group.
        group_low: u16,
        /// NKMO2: key bits 95..64; in a three-token set see [`key_change_set`].
        key: KeyWord,
    },
    /// Subclass 9.
    Fourth {
        /// SGCHO: high twelve bits of the new supply group.
        group_high: u16,
        /// NKMO1: key bits 63..32.
        key: KeyWord,
    },
}

impl KeySection {
    /// The class 2 subclass.
    #[must_use]
    pub const fn subclass(&self) -> u8 {
        match self {
            Self::First { .. } => 3,
            Self::Second { .. } => 4,
            Self::Third { .. } => 8,
            Self::Fourth { .. } => 9,
        }
    }

    pub(super) fn content(&self) -> u64 {
        match self {
            Self::First { expiry_high, key_revision, rollover, third_follows, key_type, key } => {
                (u64::from(expiry_high & 15) << 40)
                    | (u64::from(key_revision.get()) << 36)
                    | (u64::from(*rollover) << 35)
                    | (u64::from(*third_follows) << 34)
                    | (u64::from(key_type.code()) << 32)
                    | u64::from(key.0)
            }
            Self::Second { expiry_low, tariff_index, key } => {
                (u64::from(expiry_low & 15) << 40) | (u64::from(tariff_index.get()) << 32) | u64::from(key.0)
            }
            Self::Third { group_low: part, key } | Self::Fourth { group_high: part, key } => {
                (u64::from(part & 0xFFF) << 32) | u64::from(key.0)
            }
        }
    }

    pub(super) fn from_content(subclass: u8, content: u64) -> Result<Self, DecodeError> {
        let key = KeyWord(content as u32);
        let nibble = (content >> 40) as u8 & 15;
        let group = (content >> 32) as u16 & 0xFFF;
        Ok(match subclass {
            3 => Self::First {
                expiry_high: nibble,
                key_revision: KeyRevision::try_from((content >> 36) as u32 & 15)
                    .map_err(|_| DecodeError::Field("the key revision"))?,
                rollover: content >> 35 & 1 == 1,
                third_follows: content >> 34 & 1 == 1,
                key_type: KeyType::from_code((content >> 32) as u8 & 3)
                    .ok_or(DecodeError::Field("the key type"))?,
                key,
            },
            4 => Self::Second {
                expiry_low: nibble,
                tariff_index: TariffIndex::try_from((content >> 32) as u32 & 0xFF)
                    .map_err(|_| DecodeError::Field("the tariff index"))?,
                key,
            },
            8 => Self::Third { group_low: group, key },
            9 => Self::Fourth { group_high: group, key },
            _ => return Err(DecodeError::Subclass { class: 2, subclass }),
        })
    }
}

/// How a 64-bit key change names the supply group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetLength {
    /// Two tokens: the meter's supply group becomes unknown to it.
    Two,
    /// Three tokens: the third carries the supply group.
    Three,
}

/// The tokens of a key change, in the order they are usually entered: subclasses 3, 4, 8, 9. Encode each under the
/// **old** key. A 128-bit key always takes four tokens; `length` decides between two and three for a 64-bit key.
///
/// The third token of a three-token set carries the supply group as 24 bits and 20 zero bits. That layout is inferred,
/// not published; see `protocol/SPEC.md`.
#[must_use]
pub fn key_change_set(
    new_key: &DecoderKey,
    new: &KeyAttributes,
    expiry: u8,
    rollover: bool,
    length: SetLength,
) -> Vec<Token, 4> {
    let word = |i: usize| {
        let mut bytes = [0u8; 4];
        bytes.copy_from_slice(&new_key.expose()[4 * i..4 * i + 4]);
        KeyWord(u32::from_be_bytes(bytes))
    };
    let (last, long) = match new_key {
        DecoderKey::Ea07(_) => (1, false),
        DecoderKey::Ea11(_) => (3, true),
    };
    let third_follows = !long && length == SetLength::Three;
    let mut sections: Vec<KeySection, 4> = Vec::new();
    // Never more than four, so no push fails.
    let _ = sections.push(KeySection::First {
        expiry_high: expiry >> 4,
        key_revision: new.key_revision,
        rollover,
        third_follows,
        key_type: new.key_type,
        key: word(0),
    });
    let _ = sections.push(KeySection::Second {
        expiry_low: expiry & 15,
        tariff_index: new.tariff_index,
        key: word(last),
    });
    let group = new.supply_group.get();
    if long {
        let _ = sections.push(KeySection::Third { group_low: (group & 0xFFF) as u16, key: word(1) });
        let _ = sections.push(KeySection::Fourth { group_high: (group >> 12) as u16, key: word(2) });
    } else if third_follows {
        let _ = sections
            .push(KeySection::Third { group_low: (group >> 12) as u16, key: KeyWord((group & 0xFFF) << 20) });
    }
    sections.into_iter().map(Token::KeySection).collect()
}

/// What a complete set says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewKey {
    /// The key.
    pub key: DecoderKey,
    /// Its type.
    pub key_type: KeyType,
    /// Tariff index.
    pub tariff_index: TariffIndex,
    /// Revision.
    pub key_revision: KeyRevision,
    /// Expiry number.
    pub expiry: u8,
    /// Supply group; `None` after a two-token set.
    pub supply_group: Option<SupplyGroup>,
    /// RO.
    pub rollover: bool,
}

/// Sections received so far, in any order; a repeated section replaces the earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartialKey {
    sections: [Option<KeySection>; 4],
}

impl PartialKey {
    /// Remembers a section.
    pub fn insert(&mut self, section: KeySection) {
        let place = match section {
            KeySection::First { .. } => 0,
            KeySection::Second { .. } => 1,
            KeySection::Third { .. } => 2,
            KeySection::Fourth { .. } => 3,
        };
        self.sections[place] = Some(section);
    }

    /// Whether nothing was received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sections.iter().all(Option::is_none)
    }

    /// Sections received, at most four.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sections.iter().flatten().count()
    }

    /// The new key once every section is there: all four for a meter with 128-bit keys, else two, or three when the
    /// first says so. `Ok(None)` while sections are missing.
    ///
    /// # Errors
    /// The supply group the sections give together is not a six-digit number.
    pub fn assemble(&self, long_key: bool) -> Result<Option<NewKey>, DecodeError> {
        let [
            Some(KeySection::First {
                expiry_high,
                key_revision,
                rollover,
                third_follows,
                key_type,
                key: first,
            }),
            Some(KeySection::Second { expiry_low, tariff_index, key: last }),
            third,
            fourth,
        ] = &self.sections
        else {
            return Ok(None);
        };
        let (key, group) = match (long_key, third, fourth) {
            (
                true,
                Some(KeySection::Third { group_low, key: second }),
                Some(KeySection::Fourth { group_high, key: third }),
            ) => {
                let words = [first.0, second.0, third.0, last.0];
                let mut bytes = [0u8; 16];
                for (chunk, word) in bytes.chunks_mut(4).zip(words) {
                    chunk.copy_from_slice(&word.to_be_bytes());
                }
                (DecoderKey::Ea11(bytes), Some(u32::from(*group_high) << 12 | u32::from(*group_low)))
            }
            (false, Some(KeySection::Third { group_low: high, key: low }), _) if *third_follows => {
                (short_key(first, last), Some(u32::from(*high) << 12 | low.0 >> 20))
            }
            (false, ..) if !third_follows => (short_key(first, last), None),
            _ => return Ok(None),
        };
        let supply_group = group
            .map(SupplyGroup::try_from)
            .transpose()
            .map_err(|_| DecodeError::Field("the supply group code"))?;
        Ok(Some(NewKey {
            key,
            key_type: *key_type,
            tariff_index: *tariff_index,
            key_revision: *key_revision,
            expiry: expiry_high << 4 | expiry_low,
            supply_group,
            rollover: *rollover,
        }))
    }
}

fn short_key(high: &KeyWord, low: &KeyWord) -> DecoderKey {
    DecoderKey::Ea07((u64::from(high.0) << 32 | u64::from(low.0)).to_be_bytes())
}
