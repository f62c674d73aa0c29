//! Class 112, credit (version 0).

use super::class::{Nothing, class};
use super::values::ShortBits;
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Encode, Result, Writer};

class! {
    /// Credit.
    Credit = 112, version 0;
    attributes {
        /// What is left of it, in the account's unit.
        2 CURRENT_CREDIT_AMOUNT: (i32), current_credit_amount;
        /// What kind of credit.
        3 CREDIT_TYPE: (CreditType), credit_type;
        /// Lower is used sooner.
        4 PRIORITY: (u8), priority;
        /// Warn below it.
        5 WARNING_THRESHOLD: (i32), warning_threshold, set_warning_threshold;
        /// Used up at it.
        6 LIMIT: (i32), limit;
        /// Bits of [`configuration`].
        7 CREDIT_CONFIGURATION: (ShortBits<5>), credit_configuration;
        /// Where it is in its life.
        8 CREDIT_STATUS: (CreditStatus), credit_status;
        /// Amount it starts with when invoked.
        9 PRESET_CREDIT_AMOUNT: (i32), preset_credit_amount, set_preset_credit_amount;
        /// Offered below this available credit.
        10 CREDIT_AVAILABLE_THRESHOLD: (i32), credit_available_threshold, set_credit_available_threshold;
        /// Period of time-based credit.
        11 PERIOD: (DateTime), period;
    }
    methods {
        /// Adds.
        1 UPDATE_AMOUNT: (i32), update_amount;
        /// Sets.
        2 SET_AMOUNT_TO_VALUE: (i32), set_amount_to_value;
        /// Takes an offered credit into use.
        3 INVOKE_CREDIT: (Nothing), invoke_credit;
    }
}

/// Bits of attribute 7, bit 0 first.
pub mod configuration {
    /// Shown to the customer.
    pub const VISUAL: u8 = 1;
    /// Needs the customer's confirmation.
    pub const CONFIRMATION: u8 = 1 << 1;
    /// Has to be paid back.
    pub const PAID_BACK: u8 = 1 << 2;
    /// May be reset.
    pub const RESETTABLE: u8 = 1 << 3;
    /// Tokens add to it.
    pub const RECEIVES_FROM_TOKENS: u8 = 1 << 4;
}

macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vmeta])* $variant = $code,)* }

        impl Encode for $name {
            fn encode(&self, w: &mut dyn Writer) -> Result<()> {
                w.write_bytes(&[22, *self as u8])
            }
        }

        $crate::cosem::class::encoded!($name);

        impl FromData<'_> for $name {
            fn from_data(d: Data<'_>) -> Result<Self> {
                match d {
                    $(Data::Enum($code) => Ok(Self::$variant),)*
                    _ => Err(bad_value()),
                }
            }
        }
    };
}
pub(crate) use wire_enum;

wire_enum! {
    /// Attribute 3.
    CreditType {
        /// Bought with tokens.
        Token = 0,
        /// Reserved credit.
        Reserved = 1,
        /// Offered when nothing else is left, repaid first.
        Emergency = 2,
        /// Given by time.
        TimeBased = 3,
        /// Given by consumption.
        ConsumptionBased = 4,
    }
}

wire_enum! {
    /// Attribute 8.
    CreditStatus {
        /// May be used.
        Enabled = 0,
        /// Offered to the customer.
        Selectable = 1,
        /// Chosen.
        Invoked = 2,
        /// In use.
        InUse = 3,
        /// Used up.
        Consumed = 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_outside_the_class_are_refused() {
        assert_eq!(CREDIT_STATUS.decode_bytes(&[22, 3]).unwrap(), CreditStatus::InUse);
        assert!(CREDIT_STATUS.decode_bytes(&[22, 5]).is_err());
        assert!(CREDIT_TYPE.decode_bytes(&[17, 2]).is_err(), "an unsigned is not an enum");
    }
}
