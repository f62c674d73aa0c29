//! Class 112, credit (version 0).

use super::{Attr, FromData, Meth, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Encode, Result, Writer};

/// Interface class.
pub const CLASS: u16 = 112;
/// What is left of it, in the account's unit.
pub const CURRENT_CREDIT_AMOUNT: Attr<i32> = Attr::new(CLASS, 2);
/// What kind of credit.
pub const CREDIT_TYPE: Attr<CreditType> = Attr::new(CLASS, 3);
/// Lower is used sooner.
pub const PRIORITY: Attr<u8> = Attr::new(CLASS, 4);
/// Warn below it.
pub const WARNING_THRESHOLD: Attr<i32> = Attr::new(CLASS, 5);
/// Used up at it.
pub const LIMIT: Attr<i32> = Attr::new(CLASS, 6);
/// Five configuration bits.
pub const CREDIT_CONFIGURATION: i8 = 7;
/// Where it is in its life.
pub const CREDIT_STATUS: Attr<CreditStatus> = Attr::new(CLASS, 8);
/// Amount it starts with when invoked.
pub const PRESET_CREDIT_AMOUNT: Attr<i32> = Attr::new(CLASS, 9);
/// Offered below this available credit.
pub const CREDIT_AVAILABLE_THRESHOLD: Attr<i32> = Attr::new(CLASS, 10);
/// Period of time-based credit.
pub const PERIOD: Attr<DateTime> = Attr::new(CLASS, 11);
/// Adds (double-long).
pub const UPDATE_AMOUNT: Meth = Meth::new(CLASS, 1);
/// Sets (double-long).
pub const SET_AMOUNT_TO_VALUE: Meth = Meth::new(CLASS, 2);
/// Takes an offered credit into use.
pub const INVOKE_CREDIT: Meth = Meth::new(CLASS, 3);

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
