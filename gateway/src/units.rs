//! Money and energy: integers with their unit in the type.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Neg, Sub};
use utoipa::ToSchema;

/// Money in the currency's minor unit (cents). Zero is nothing; negative amounts exist in ledger entries only.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct MinorUnits(pub i64);

/// Energy in watt-hours. A credit of zero or less means supply ends.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct WattHours(pub i64);

macro_rules! arithmetic {
    ($name:ident) => {
        impl Add for $name {
            type Output = Self;
            /// Saturates; nothing the gateway counts comes near the ends.
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl Sub for $name {
            type Output = Self;
            /// Saturates.
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl Neg for $name {
            type Output = Self;
            /// Saturates.
            fn neg(self) -> Self {
                Self(self.0.saturating_neg())
            }
        }
    };
}
arithmetic!(MinorUnits);
arithmetic!(WattHours);
