//! Class 113, charge (version 0).

use super::class::{Array, Nothing, ToData, class, structure};
use super::credit::wire_enum;
use super::values::{ShortBits, fields, put_obis, put_structure};
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::obis::Obis;

structure! {
    /// A new price for a row of the passive table.
    UnitCharge<'a> {
        /// The row.
        index: &'a [u8],
        /// Long by the class; the reference meter takes any integer that its amounts hold.
        charge_per_unit: Data<'a>,
    }
}

class! {
    /// Charge.
    Charge = 113, version 0;
    attributes {
        /// Everything collected so far, in the account's unit.
        2 TOTAL_AMOUNT_PAID: (i32), total_amount_paid;
        /// What it is collected by.
        3 CHARGE_TYPE: (ChargeType), charge_type;
        /// Lower is collected sooner.
        4 PRIORITY: (u8), priority;
        /// Prices in force.
        5 UNIT_CHARGE_ACTIVE: (ChargeTable), unit_charge_active;
        /// Prices to come.
        6 UNIT_CHARGE_PASSIVE: (ChargeTable), unit_charge_passive;
        /// When they come.
        7 UNIT_CHARGE_ACTIVATION_TIME: (DateTime), unit_charge_activation_time, set_unit_charge_activation_time;
        /// Seconds between collections.
        8 PERIOD: (u32), period;
        /// Bit 0: a share of each payment; bit 1: collected as it is used.
        9 CHARGE_CONFIGURATION: (ShortBits<2>), charge_configuration;
        /// When it was last collected.
        10 LAST_COLLECTION_TIME: (DateTime), last_collection_time;
        /// How much was collected then.
        11 LAST_COLLECTION_AMOUNT: (i32), last_collection_amount;
        /// What is still owed (debts).
        12 TOTAL_AMOUNT_REMAINING: (i32), total_amount_remaining;
        /// Share of a payment that goes here, in hundredths of a percent.
        13 PROPORTION: (u16), proportion, set_proportion;
    }
    methods {
        /// Replaces passive prices.
        1 UPDATE_UNIT_CHARGE: (Array<UnitCharge<'static>>), update_unit_charge;
        /// Makes the passive prices the active ones.
        2 ACTIVATE_PASSIVE_UNIT_CHARGE: (Nothing), activate_passive_unit_charge;
        /// Collects now.
        3 COLLECT: (Nothing), collect;
        /// Adds to what is owed.
        4 UPDATE_TOTAL_AMOUNT_REMAINING: (i32), update_total_amount_remaining;
        /// Sets what is owed.
        5 SET_TOTAL_AMOUNT_REMAINING: (i32), set_total_amount_remaining;
    }
}

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
        self.commodity.0.put(w)?;
        put_obis(w, self.commodity.1)?;
        self.commodity.2.put(w)?;
        let rows = self.rows.get(..self.len).unwrap_or(&self.rows);
        super::values::put_array(w, rows.len())?;
        for row in rows {
            put_structure(w, 2)?;
            Data::OctetString(&[row.index]).encode(w)?;
            row.charge_per_unit.put(w)?;
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

super::class::encoded!(ChargeTable);

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
