//! What a key belongs to: supply group, tariff index, revision, type, base date and expiry.

use super::tid::BaseDate;
use core::fmt;

/// A number outside the range of its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeRange(&'static str);

impl fmt::Display for AttributeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for AttributeRange {}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident($inner:ty), $range:expr, $message:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "u32", into = "u32")]
        pub struct $name($inner);

        impl $name {
            /// The number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<u32> for $name {
            type Error = AttributeRange;
            fn try_from(value: u32) -> Result<Self, AttributeRange> {
                if $range.contains(&value) {
                    <$inner>::try_from(value).map(Self).map_err(|_| AttributeRange($message))
                } else {
                    Err(AttributeRange($message))
                }
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> Self {
                Self::from(value.0)
            }
        }
    };
}

bounded!(
    /// Supply group code: six decimal digits (IEC 62055-41 6.1.6).
    SupplyGroup(u32), (0..=999_999u32), "a supply group code has six digits");
bounded!(
    /// Tariff index: two decimal digits (IEC 62055-41 6.1.7).
    TariffIndex(u8), (0..=99u32), "a tariff index is 0 to 99");
bounded!(
    /// Key revision number: 1 to 9 (IEC 62055-41 6.1.8).
    KeyRevision(u8), (1..=9u32), "a key revision is 1 to 9");

/// Key type (IEC 62055-41 6.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum KeyType {
    /// 0, initialisation: as it left the factory.
    Ditk,
    /// 1, default: not allocated to a supply group; refuses credit.
    Ddtk,
    /// 2, unique: the ordinary key of a meter in service.
    Dutk,
    /// 3, common: shared by a group, for erasable magnetic cards only.
    Dctk,
}

impl KeyType {
    /// From the two-bit code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Ditk),
            1 => Some(Self::Ddtk),
            2 => Some(Self::Dutk),
            3 => Some(Self::Dctk),
            _ => None,
        }
    }

    /// The two-bit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ditk => 0,
            Self::Ddtk => 1,
            Self::Dutk => 2,
            Self::Dctk => 3,
        }
    }

    /// The name of the standard.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ditk => "DITK",
            Self::Ddtk => "DDTK",
            Self::Dutk => "DUTK",
            Self::Dctk => "DCTK",
        }
    }

    /// Whether a meter may change from this type to `new` (IEC 62055-41 6.5.2.4). A common key needs erasable magnetic
    /// cards, which no meter here has, so a change to it is refused; there is no way back to an initialisation key.
    #[must_use]
    pub const fn may_become(self, new: Self) -> bool {
        match new {
            Self::Ditk => matches!(self, Self::Ditk),
            Self::Ddtk => true,
            Self::Dutk => matches!(self, Self::Ditk | Self::Ddtk | Self::Dutk),
            Self::Dctk => false,
        }
    }
}

/// What a decoder key is derived for, on the vending side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct KeyAttributes {
    /// Supply group.
    pub supply_group: SupplyGroup,
    /// Tariff index.
    pub tariff_index: TariffIndex,
    /// Key revision.
    pub key_revision: KeyRevision,
    /// Key type.
    pub key_type: KeyType,
    /// Base date of the identifiers under this key.
    pub base_date: BaseDate,
}

impl KeyAttributes {
    /// The ControlBlock of DKGA02: type, group, index, revision in BCD, then FFFFFF (IEC 62055-41 6.5.3.3).
    #[must_use]
    pub fn control_block(&self) -> u64 {
        let bcd = |value: u32, digits: u32| {
            (0..digits)
                .rev()
                .fold(0u64, |block, place| (block << 4) | u64::from(value / 10u32.pow(place) % 10))
        };
        let group = bcd(self.supply_group.get(), 6);
        let index = bcd(u32::from(self.tariff_index.get()), 2);
        (u64::from(self.key_type.code()) << 60)
            | (group << 36)
            | (index << 28)
            | (u64::from(self.key_revision.get()) << 24)
            | 0x00FF_FFFF
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_block_is_bcd_with_six_nibbles_of_ones() {
        let attributes = KeyAttributes {
            supply_group: SupplyGroup::try_from(123_456).unwrap(),
            tariff_index: TariffIndex::try_from(7).unwrap(),
            key_revision: KeyRevision::try_from(1).unwrap(),
            key_type: KeyType::Dutk,
            base_date: BaseDate::Year1993,
        };
        assert_eq!(attributes.control_block(), 0x2123_4560_71FF_FFFF);
    }

    #[test]
    fn ranges_are_those_of_the_standard() {
        assert!(SupplyGroup::try_from(1_000_000).is_err());
        assert!(TariffIndex::try_from(100).is_err());
        assert!(KeyRevision::try_from(0).is_err() && KeyRevision::try_from(10).is_err());
    }

    #[test]
    fn key_types_change_as_allowed_and_never_back_to_the_factory_key() {
        use KeyType::{Dctk, Ddtk, Ditk, Dutk};
        let allowed = [
            (Ditk, Ditk),
            (Ditk, Ddtk),
            (Ditk, Dutk),
            (Ddtk, Ddtk),
            (Ddtk, Dutk),
            (Dutk, Dutk),
            (Dutk, Ddtk),
            (Dctk, Ddtk),
        ];
        for from in [Ditk, Ddtk, Dutk, Dctk] {
            for to in [Ditk, Ddtk, Dutk, Dctk] {
                assert_eq!(
                    from.may_become(to),
                    allowed.contains(&(from, to)),
                    "{} to {}",
                    from.name(),
                    to.name()
                );
            }
        }
    }
}
