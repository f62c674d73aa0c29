//! Class 113, charge (version 0).

use super::credit::wire_enum;
use super::values::{fields, put_obis, put_structure};
use super::{Attr, FromData, Meth, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::obis::Obis;

/// Interface class.
pub const CLASS: u16 = 113;
/// Everything collected so far, in the account's unit.
pub const TOTAL_AMOUNT_PAID: Attr<i32> = Attr::new(CLASS, 2);
/// What it is collected by.
pub const CHARGE_TYPE: Attr<ChargeType> = Attr::new(CLASS, 3);
/// Lower is collected sooner.
pub const PRIORITY: Attr<u8> = Attr::new(CLASS, 4);
/// Prices in force.
pub const UNIT_CHARGE_ACTIVE: i8 = 5;
/// Prices to come.
pub const UNIT_CHARGE_PASSIVE: i8 = 6;
/// When they come.
pub const UNIT_CHARGE_ACTIVATION_TIME: Attr<DateTime> = Attr::new(CLASS, 7);
/// Seconds between collections.
pub const PERIOD: Attr<u32> = Attr::new(CLASS, 8);
/// Two configuration bits.
pub const CHARGE_CONFIGURATION: i8 = 9;
/// When it was last collected.
pub const LAST_COLLECTION_TIME: Attr<DateTime> = Attr::new(CLASS, 10);
/// How much was collected then.
pub const LAST_COLLECTION_AMOUNT: Attr<i32> = Attr::new(CLASS, 11);
/// What is still owed (debts).
pub const TOTAL_AMOUNT_REMAINING: Attr<i32> = Attr::new(CLASS, 12);
/// Share of a payment that goes here, in hundredths of a percent.
pub const PROPORTION: Attr<u16> = Attr::new(CLASS, 13);
/// Replaces the passive prices.
pub const UPDATE_UNIT_CHARGE: Meth = Meth::new(CLASS, 1);
/// Makes the passive prices the active ones.
pub const ACTIVATE_PASSIVE_UNIT_CHARGE: Meth = Meth::new(CLASS, 2);
/// Collects now.
pub const COLLECT: Meth = Meth::new(CLASS, 3);
/// Adds to what is owed.
pub const UPDATE_TOTAL_AMOUNT_REMAINING: Meth = Meth::new(CLASS, 4);
/// Sets what is owed.
pub const SET_TOTAL_AMOUNT_REMAINING: Meth = Meth::new(CLASS, 5);

wire_enum! {
    /// Attribute 3.
    ChargeType {
        /// By units used.
        ConsumptionBased = 0,
        /// By time.
        TimeBased = 1,
        /// By payment.
        PaymentEventBased = 2,
    }
}

/// One row of a charge table: the price of one commodity unit for a tariff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeTableElement {
    /// Tariff index, one byte on the reference meter.
    pub index: u8,
    /// Price per commodity unit, scaled by the table's price scale.
    pub charge_per_unit: i16,
}

/// Attributes 5 and 6 with up to [`ChargeTable::MAX`] rows: price = `charge_per_unit * 10^price_scale` account units per
/// `10^commodity_scale` units of the referenced register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeTable {
    /// Power of ten of the commodity unit.
    pub commodity_scale: i8,
    /// Power of ten of the price.
    pub price_scale: i8,
    /// What is counted: class, logical name, attribute.
    pub commodity: (u16, Obis, i8),
    /// The rows; only the first `len` count.
    pub rows: [ChargeTableElement; Self::MAX],
    /// How many rows count.
    pub len: usize,
}

impl ChargeTable {
    /// Rows of the largest table: eight tariffs.
    pub const MAX: usize = 8;
}

impl Encode for ChargeTable {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_structure(w, 3)?;
        put_structure(w, 2)?;
        w.write_bytes(&[15, self.commodity_scale.to_be_bytes()[0], 15, self.price_scale.to_be_bytes()[0]])?;
        put_structure(w, 3)?;
        Data::LongUnsigned(self.commodity.0).encode(w)?;
        put_obis(w, self.commodity.1)?;
        Data::Integer(self.commodity.2).encode(w)?;
        let rows = self.rows.get(..self.len).unwrap_or(&self.rows);
        super::values::put_array(w, rows.len())?;
        for row in rows {
            put_structure(w, 2)?;
            Data::OctetString(&[row.index]).encode(w)?;
            Data::Long(row.charge_per_unit).encode(w)?;
        }
        Ok(())
    }
}

impl FromData<'_> for ChargeTable {
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [scaling, reference, table] = fields(d)?;
        let [commodity_scale, price_scale] = fields(scaling)?;
        let [class, name, attribute] = fields(reference)?;
        let seq = table.as_array().ok_or_else(bad_value)?;
        if seq.len() > Self::MAX {
            return Err(bad_value());
        }
        let mut rows = [ChargeTableElement { index: 0, charge_per_unit: 0 }; Self::MAX];
        for (row, item) in rows.iter_mut().zip(seq.iter()) {
            let [index, price] = fields(item?)?;
            let [index] = index.as_bytes().ok_or_else(bad_value)? else { return Err(bad_value()) };
            *row = ChargeTableElement { index: *index, charge_per_unit: i16::from_data(price)? };
        }
        Ok(Self {
            commodity_scale: i8::from_data(commodity_scale)?,
            price_scale: i8::from_data(price_scale)?,
            commodity: (u16::from_data(class)?, Obis::from_data(name)?, i8::from_data(attribute)?),
            rows,
            len: seq.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::SliceWriter;

    #[test]
    fn a_charge_table_survives_the_wire_and_too_many_rows_are_refused() {
        let mut rows = [ChargeTableElement { index: 0, charge_per_unit: 0 }; ChargeTable::MAX];
        rows[0] = ChargeTableElement { index: 1, charge_per_unit: 150 };
        rows[1] = ChargeTableElement { index: 2, charge_per_unit: -3 };
        let value = ChargeTable {
            commodity_scale: 3,
            price_scale: -2,
            commodity: (3, super::super::obis::IMPORT_ENERGY, 2),
            rows,
            len: 2,
        };
        let mut buffer = [0xa5; 200];
        let mut w = SliceWriter::new(&mut buffer);
        value.encode(&mut w).unwrap();
        let data = Data::from_bytes_in(w.as_slice()).unwrap();
        assert_eq!(ChargeTable::from_data(data).unwrap(), value);
    }
}
