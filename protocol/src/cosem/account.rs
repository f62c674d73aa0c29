//! Class 111, account (version 0).

use super::class::{Nothing, ToData, Value, class, structure};
use super::values::{ShortBits, fields, put_bits, put_structure, take_bits};
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::obis::Obis;

structure! {
    /// Which charge takes from which credit.
    CreditChargeConfigurationElement {
        /// The credit.
        credit_reference: Obis,
        /// The charge.
        charge_reference: Obis,
        /// When it is collected beside normal times: bit 0 while disconnected, 1 in load limiting, 2 in friendly hours.
        collection_configuration: ShortBits<3>,
    }
}

structure! {
    /// Which credit gets how much of a token.
    TokenGatewayConfigurationElement {
        /// The credit.
        credit_reference: Obis,
        /// Its share, percent.
        token_proportion: u8,
    }
}

class! {
    /// Account.
    Account = 111, version 0;
    attributes {
        /// Payment mode and account status.
        2 MODE_AND_STATUS: (ModeAndStatus), account_mode_and_status, set_account_mode_and_status;
        /// Place in the credit list of the credit in use, from 1.
        3 CURRENT_CREDIT_IN_USE: (u8), current_credit_in_use;
        /// How the credit stands.
        4 CURRENT_CREDIT_STATUS: (CreditStatusBits), current_credit_status;
        /// Sum of what the customer may use, in the account's unit.
        5 AVAILABLE_CREDIT: (i32), available_credit;
        /// What has to be paid before supply returns.
        6 AMOUNT_TO_CLEAR: (i32), amount_to_clear;
        /// Credit that has to be reached again.
        7 CLEARANCE_THRESHOLD: (i32), clearance_threshold;
        /// Sum of the debts.
        8 AGGREGATED_DEBT: (i32), aggregated_debt;
        /// The credits, the one used first first.
        9 CREDIT_REFERENCE_LIST: [Obis], credit_reference_list;
        /// The charges.
        10 CHARGE_REFERENCE_LIST: [Obis], charge_reference_list;
        /// Which charge takes from which credit.
        11 CREDIT_CHARGE_CONFIGURATION: [CreditChargeConfigurationElement], credit_charge_configuration;
        /// How tokens are spread.
        12 TOKEN_GATEWAY_CONFIGURATION: [TokenGatewayConfigurationElement], token_gateway_configuration;
        /// When the account became active.
        13 ACTIVATION_TIME: (DateTime), account_activation_time;
        /// When the account was closed.
        14 CLOSURE_TIME: (DateTime), account_closure_time;
        /// The account's unit.
        15 CURRENCY: (Currency<'static>), currency;
        /// Warning threshold.
        16 LOW_CREDIT_THRESHOLD: (i32), low_credit_threshold, set_low_credit_threshold;
        /// Below it the next credit may be chosen.
        17 NEXT_CREDIT_AVAILABLE_THRESHOLD: (i32), next_credit_available_threshold;
        /// Largest debt instalment.
        18 MAX_PROVISION: (u16), max_provision;
        /// Period of that, seconds.
        19 MAX_PROVISION_PERIOD: (i32), max_provision_period;
    }
    methods {
        /// Makes the account active.
        1 ACTIVATE: (Nothing), activate_account;
        /// Closes it.
        2 CLOSE: (Nothing), close_account;
        /// Clears it.
        3 RESET: (Nothing), reset_account;
    }
}

/// How the customer pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PaymentMode {
    /// Pays later; the meter does not open its relay for credit.
    Credit = 1,
    /// Pays first.
    Prepayment = 2,
}

/// Life of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AccountStatus {
    /// Not in use yet.
    New = 1,
    /// In use.
    Active = 2,
    /// Closed.
    Closed = 3,
}

/// Attribute 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModeAndStatus {
    /// How the customer pays.
    pub payment_mode: PaymentMode,
    /// Life of the account.
    pub account_status: AccountStatus,
}

impl Encode for ModeAndStatus {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_structure(w, 2)?;
        w.write_bytes(&[22, self.payment_mode as u8, 22, self.account_status as u8])
    }
}

impl FromData<'_> for ModeAndStatus {
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [mode, status] = fields(d)?;
        let payment_mode = match mode {
            Data::Enum(1) => PaymentMode::Credit,
            Data::Enum(2) => PaymentMode::Prepayment,
            _ => return Err(bad_value()),
        };
        let account_status = match status {
            Data::Enum(1) => AccountStatus::New,
            Data::Enum(2) => AccountStatus::Active,
            Data::Enum(3) => AccountStatus::Closed,
            _ => return Err(bad_value()),
        };
        Ok(Self { payment_mode, account_status })
    }
}

/// Attribute 4: a bit string of eight bits, bit 0 first on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreditStatusBits(pub u8);

impl CreditStatusBits {
    /// There is credit.
    pub const IN_CREDIT: u8 = 1;
    /// Below the warning threshold.
    pub const LOW_CREDIT: u8 = 1 << 1;
    /// The next credit is enabled.
    pub const NEXT_CREDIT_ENABLED: u8 = 1 << 2;
    /// The next credit may be chosen by the customer.
    pub const NEXT_CREDIT_SELECTABLE: u8 = 1 << 3;
    /// The credit list is not empty.
    pub const CREDIT_REFERENCE_LIST: u8 = 1 << 4;
    /// A chosen (emergency) credit is in use.
    pub const SELECTABLE_CREDIT_IN_USE: u8 = 1 << 5;
    /// Nothing left.
    pub const OUT_OF_CREDIT: u8 = 1 << 6;
}

impl Encode for CreditStatusBits {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_bits(w, self.0, 8)
    }
}

impl FromData<'_> for CreditStatusBits {
    fn from_data(d: Data<'_>) -> Result<Self> {
        take_bits(d).map(Self)
    }
}

/// Attribute 15, unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CurrencyUnit {
    /// Minutes.
    Time = 0,
    /// Energy.
    Consumption = 1,
    /// Money.
    Monetary = 2,
}

/// Attribute 15: `value * 10^scale name`. An energy account in watt-hours is `{"Wh", 0, Consumption}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency<'a> {
    /// Name of the unit, UTF-8.
    pub name: &'a str,
    /// Power of ten.
    pub scale: i8,
    /// What it counts.
    pub unit: CurrencyUnit,
}

impl Encode for Currency<'_> {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_structure(w, 3)?;
        Data::Utf8String(self.name.as_bytes()).encode(w)?;
        w.write_bytes(&[15, self.scale.to_be_bytes()[0], 22, self.unit as u8])
    }
}

impl<'a> FromData<'a> for Currency<'a> {
    fn from_data(d: Data<'a>) -> Result<Self> {
        let [name, scale, unit] = fields(d)?;
        let unit = match unit {
            Data::Enum(0) => CurrencyUnit::Time,
            Data::Enum(1) => CurrencyUnit::Consumption,
            Data::Enum(2) => CurrencyUnit::Monetary,
            _ => return Err(bad_value()),
        };
        Ok(Self { name: name.as_str().ok_or_else(bad_value)?, scale: i8::from_data(scale)?, unit })
    }
}

impl Value for Currency<'static> {
    type Of<'a> = Currency<'a>;
}

impl ToData for Currency<'_> {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        self.encode(w)
    }
}

super::class::encoded!(ModeAndStatus, CreditStatusBits);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::SliceWriter;

    #[test]
    fn mode_and_status_is_a_structure_of_two_enums() {
        let value =
            ModeAndStatus { payment_mode: PaymentMode::Prepayment, account_status: AccountStatus::Active };
        let mut buffer = [0xa5; 16];
        let mut w = SliceWriter::new(&mut buffer);
        value.encode(&mut w).unwrap();
        assert_eq!(w.as_slice(), [0x02, 0x02, 0x16, 0x02, 0x16, 0x02]);
        assert_eq!(MODE_AND_STATUS.decode_bytes(&[2, 2, 22, 2, 22, 2]).unwrap(), value);
        assert!(MODE_AND_STATUS.decode_bytes(&[2, 2, 22, 9, 22, 2]).is_err());
    }

    #[test]
    fn a_currency_keeps_its_name_scale_and_unit() {
        let value = Currency { name: "Wh", scale: 0, unit: CurrencyUnit::Consumption };
        let mut buffer = [0xa5; 32];
        let mut w = SliceWriter::new(&mut buffer);
        value.encode(&mut w).unwrap();
        assert_eq!(w.as_slice(), [2, 3, 12, 2, b'W', b'h', 15, 0, 22, 1]);
        let bytes = [2, 3, 12, 2, b'W', b'h', 15, 0, 22, 1];
        assert_eq!(Currency::from_data(Data::from_bytes_in(&bytes).unwrap()).unwrap(), value);
    }
}
