//! The charges of the account (class 113): consumption, a fixed amount per day, and a debt.

use hardware::board::Board;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Encode, Result as Encoded, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::charge::{ChargeTable, ChargeTableElement, ChargeType};
use protocol::cosem::tariff::Tariff;
use protocol::cosem::values::{fields, put_bits, put_date_time};
use protocol::cosem::{FromData, obis};

use super::full;
use super::payment::clamp;
use crate::meter::Meter;
use crate::terms::{DAY_S, PerDay};
use crate::zone::Zone;

/// Bits of attribute 9, bit 0 first: a share of each payment; collected as it is used.
const PERCENTAGE_COLLECTION: u8 = 1;
/// See above.
const CONTINUOUS_COLLECTION: u8 = 1 << 1;

impl<B: Board> Meter<B> {
    pub(super) fn get_charge(
        &mut self,
        name: Obis,
        index: i8,
        out: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        let (terms, zone) = (&self.record.terms, &self.settings.zone);
        let debt = i64::from(terms.debt);
        match (name, index) {
            (obis::DAILY_CHARGE, 3) => ChargeType::TimeBased.encode(out).map_err(full),
            (obis::DAILY_CHARGE, 4) => Data::Unsigned(2).encode(out).map_err(full),
            (obis::DAILY_CHARGE, 9) => put_bits(out, 0, 2).map_err(full),
            (obis::DAILY_CHARGE, 12) => Data::DoubleLong(0).encode(out).map_err(full),
            (obis::DAILY_CHARGE, 13) => Data::LongUnsigned(0).encode(out).map_err(full),
            (obis::DAILY_CHARGE, _) => get_per_day(&terms.daily, zone, index, out),
            (obis::DEBT_CHARGE, 3) => {
                let by_payment = terms.debt_share > 0;
                let kind = if by_payment { ChargeType::PaymentEventBased } else { ChargeType::TimeBased };
                kind.encode(out).map_err(full)
            }
            (obis::DEBT_CHARGE, 4) => Data::Unsigned(3).encode(out).map_err(full),
            (obis::DEBT_CHARGE, 9) => put_bits(out, PERCENTAGE_COLLECTION, 2).map_err(full),
            (obis::DEBT_CHARGE, 12) => Data::DoubleLong(clamp(debt)).encode(out).map_err(full),
            (obis::DEBT_CHARGE, 13) => Data::LongUnsigned(terms.debt_share).encode(out).map_err(full),
            (obis::DEBT_CHARGE, _) => get_per_day(&terms.instalment, zone, index, out),
            _ => self.get_consumption_charge(index, out),
        }
    }

    fn get_consumption_charge(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let zone = &self.settings.zone;
        match index {
            2 => Data::DoubleLong(clamp(self.record.ledger.consumed())).encode(out),
            3 => ChargeType::ConsumptionBased.encode(out),
            4 => Data::Unsigned(1).encode(out),
            5 => prices(&self.tariffs.active).encode(out),
            6 => prices(&self.tariffs.passive).encode(out),
            7 => put_date_time(out, zone.moment(self.tariffs.activation_utc_s)),
            8 => Data::DoubleLongUnsigned(0).encode(out),
            9 => put_bits(out, CONTINUOUS_COLLECTION, 2),
            10 => put_date_time(out, zone.show(self.record.utc_s, 0)),
            // It is collected unit by unit.
            11 => Data::DoubleLong(1).encode(out),
            12 => Data::DoubleLong(0).encode(out),
            13 => Data::LongUnsigned(0).encode(out),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    /// Writes the activation time of a passive amount (7), or the debt's share of each payment (13).
    pub(super) fn set_charge(
        &mut self,
        name: Obis,
        index: i8,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        let mut next = self.record.clone();
        match (name, index) {
            (obis::DAILY_CHARGE | obis::DEBT_CHARGE, 7) => {
                let time = DateTime::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
                per_day(&mut next, name).activation_utc_s = self.moment(time)?;
            }
            (obis::DEBT_CHARGE, 13) => {
                let share = u16::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
                if share > 10_000 {
                    return Err(DataAccessResult::OtherReason);
                }
                next.terms.debt_share = share;
            }
            _ => return Err(DataAccessResult::ReadWriteDenied),
        }
        self.configure(next)
    }

    /// Methods 1 (new passive amount), 2 (make it active), 4 and 5 (add to or set what is owed).
    pub(super) fn invoke_charge(
        &mut self,
        name: Obis,
        index: i8,
        parameter: Data<'_>,
    ) -> Result<(), ActionResult> {
        let mut next = self.record.clone();
        match (name, index) {
            (obis::DAILY_CHARGE | obis::DEBT_CHARGE, 1) => {
                per_day(&mut next, name).passive = amount_of(parameter).ok_or(ActionResult::TypeUnmatched)?;
            }
            (obis::DAILY_CHARGE | obis::DEBT_CHARGE, 2) => per_day(&mut next, name).activate(),
            (obis::DEBT_CHARGE, 4 | 5) => {
                let value = i32::from_data(parameter).map_err(|_| ActionResult::TypeUnmatched)?;
                let from = if index == 4 { i64::from(next.terms.debt) } else { 0 };
                let owed = u32::try_from(from + i64::from(value)).map_err(|_| ActionResult::OtherReason)?;
                next.terms.debt = owed;
            }
            _ => return Err(ActionResult::ReadWriteDenied),
        }
        self.configure(next).map_err(|_| ActionResult::TemporaryFailure)
    }
}

fn per_day(record: &mut crate::record::Record, name: Obis) -> &mut PerDay {
    if name == obis::DAILY_CHARGE { &mut record.terms.daily } else { &mut record.terms.instalment }
}

fn get_per_day(
    charge: &PerDay,
    zone: &Zone,
    index: i8,
    out: &mut dyn Writer,
) -> Result<(), DataAccessResult> {
    let time = |utc_s: u32, out: &mut dyn Writer| -> Encoded<()> { put_date_time(out, zone.moment(utc_s)) };
    match index {
        2 => Data::DoubleLong(clamp(i64::try_from(charge.total).unwrap_or(i64::MAX))).encode(out),
        5 => amount_table(charge.active).encode(out),
        6 => amount_table(charge.passive).encode(out),
        7 => time(charge.activation_utc_s, out),
        8 => Data::DoubleLongUnsigned(DAY_S).encode(out),
        10 => time(charge.last_utc_s, out),
        11 => Data::DoubleLong(clamp(i64::from(charge.last_amount))).encode(out),
        _ => return Err(DataAccessResult::ObjectUnavailable),
    }
    .map_err(full)
}

/// An amount per day as a charge table. The class has sixteen bits and a power of ten; an amount that needs more is shown
/// rounded down to them.
fn amount_table(units: u32) -> ChargeTable {
    let (mut value, mut scale) = (units, 0);
    while i16::try_from(value).is_err() {
        value /= 10;
        scale += 1;
    }
    // The loop ended because it fits.
    table(value as i16, scale)
}

/// The prices of a tariff, per kilowatt-hour: one row for each rate, or for each step. Rounded as [`amount_table`] does.
fn prices(tariff: &Tariff) -> ChargeTable {
    let mut out = table(0, 0);
    out.commodity_scale = 3;
    let steps = tariff.steps.iter().map(|step| step.price);
    let largest = steps.clone().chain(tariff.rates.iter().copied()).max().unwrap_or(0);
    let mut divisor = 1;
    while i16::try_from(largest / divisor).is_err() {
        divisor *= 10;
        out.price_scale += 1;
    }
    out.len = 0;
    let mut row = |price: u32| {
        if let Some(slot) = out.rows.get_mut(out.len) {
            // The divisor was chosen so that the largest fits.
            *slot =
                ChargeTableElement { index: out.len as u8 + 1, charge_per_unit: (price / divisor) as i16 };
            out.len += 1;
        }
    };
    if tariff.rates.is_empty() {
        steps.for_each(&mut row);
    } else {
        tariff.rates.iter().copied().for_each(&mut row);
    }
    out
}

fn table(charge_per_unit: i16, price_scale: i8) -> ChargeTable {
    let mut rows = [ChargeTableElement { index: 0, charge_per_unit: 0 }; ChargeTable::MAX];
    rows[0] = ChargeTableElement { index: 1, charge_per_unit };
    let commodity = (3, obis::IMPORT_ENERGY, 2);
    ChargeTable { commodity_scale: 0, price_scale, commodity, rows, len: 1 }
}

/// The units per day that method 1 gives: array of one structure {index octet-string, charge_per_unit long}.
fn amount_of(parameter: Data<'_>) -> Option<u32> {
    let rows = parameter.as_array().filter(|rows| rows.len() == 1)?;
    let [_, price] = fields(rows.get(0).ok()?).ok()?;
    u32::from_data(price).ok()
}
