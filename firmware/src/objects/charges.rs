//! The charges of the account (class 113): consumption, a fixed amount per day, and a debt.

use hardware::board::Board;
use protocol::codec::axdr::DateTime;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::charge::{Charge, ChargeTable, ChargeTableElement, ChargeType, UnitCharge};
use protocol::cosem::class::{Access, Invoked, Items, Nothing};
use protocol::cosem::tariff::Tariff;
use protocol::cosem::values::ShortBits;
use protocol::cosem::{FromData, obis};

use super::payment::clamp;
use crate::meter::Meter;
use crate::terms::{DAY_S, PerDay};

/// Bits of attribute 9, bit 0 first: a share of each payment; collected as it is used.
const PERCENTAGE_COLLECTION: u8 = 1;
/// See above.
const CONTINUOUS_COLLECTION: u8 = 1 << 1;

/// What is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Consumption,
    Day,
    Debt,
}

/// The meter as one of its charges.
pub(super) struct ChargeObject<'m, B: Board> {
    meter: &'m mut Meter<B>,
    kind: Kind,
}

impl<'m, B: Board> ChargeObject<'m, B> {
    pub(super) fn of(meter: &'m mut Meter<B>, name: Obis) -> Self {
        let kind = match name {
            obis::DAILY_CHARGE => Kind::Day,
            obis::DEBT_CHARGE => Kind::Debt,
            _ => Kind::Consumption,
        };
        Self { meter, kind }
    }

    /// What is taken day by day; `None` for the charge for consumption.
    const fn per_day(&self) -> Option<&PerDay> {
        let terms = &self.meter.record.terms;
        match self.kind {
            Kind::Consumption => None,
            Kind::Day => Some(&terms.daily),
            Kind::Debt => Some(&terms.instalment),
        }
    }

    fn is_debt(&self) -> bool {
        self.kind == Kind::Debt
    }

    fn change_per_day(&mut self, change: &mut dyn FnMut(&mut PerDay)) -> Access<()> {
        let debt = self.is_debt();
        self.meter.reconfigure(&mut |next| {
            change(if debt { &mut next.terms.instalment } else { &mut next.terms.daily });
        })
    }

    fn owe(&mut self, units: i64) -> Invoked {
        let owed = u32::try_from(units).map_err(|_| ActionResult::OtherReason)?;
        self.meter.reconfigure(&mut |next| next.terms.debt = owed).map_err(unstored)
    }
}

fn unstored(_: DataAccessResult) -> ActionResult {
    ActionResult::TemporaryFailure
}

impl<B: Board> Charge for ChargeObject<'_, B> {
    fn total_amount_paid(&mut self) -> Access<i32> {
        let consumed = self.meter.record.ledger.consumed();
        let paid = self.per_day().map_or(consumed, |charge| i64::try_from(charge.total).unwrap_or(i64::MAX));
        Ok(clamp(paid))
    }

    fn charge_type(&mut self) -> Access<ChargeType> {
        Ok(match self.kind {
            Kind::Debt if self.meter.record.terms.debt_share > 0 => ChargeType::PaymentEventBased,
            Kind::Day | Kind::Debt => ChargeType::TimeBased,
            Kind::Consumption => ChargeType::ConsumptionBased,
        })
    }

    fn priority(&mut self) -> Access<u8> {
        Ok(1 + self.kind as u8)
    }

    fn unit_charge_active(&mut self) -> Access<ChargeTable> {
        let of_tariff = || prices(&self.meter.tariffs.active);
        Ok(self.per_day().map_or_else(of_tariff, |charge| amount_table(charge.active)))
    }

    fn unit_charge_passive(&mut self) -> Access<ChargeTable> {
        let of_tariff = || prices(&self.meter.tariffs.passive);
        Ok(self.per_day().map_or_else(of_tariff, |charge| amount_table(charge.passive)))
    }

    fn unit_charge_activation_time(&mut self) -> Access<DateTime> {
        let of_tariff = self.meter.tariffs.activation_utc_s;
        let utc_s = self.per_day().map_or(of_tariff, |charge| charge.activation_utc_s);
        Ok(self.meter.settings.zone.moment(utc_s))
    }

    fn set_unit_charge_activation_time(&mut self, time: DateTime) -> Access<()> {
        let utc_s = self.meter.moment(time)?;
        self.change_per_day(&mut |charge| charge.activation_utc_s = utc_s)
    }

    fn period(&mut self) -> Access<u32> {
        Ok(self.per_day().map_or(0, |_| DAY_S))
    }

    fn charge_configuration(&mut self) -> Access<ShortBits<2>> {
        Ok(ShortBits(match self.kind {
            Kind::Consumption => CONTINUOUS_COLLECTION,
            Kind::Day => 0,
            Kind::Debt => PERCENTAGE_COLLECTION,
        }))
    }

    fn last_collection_time(&mut self) -> Access<DateTime> {
        let zone = &self.meter.settings.zone;
        let of_consumption = || zone.show(self.meter.record.utc_s, 0);
        Ok(self.per_day().map_or_else(of_consumption, |charge| zone.moment(charge.last_utc_s)))
    }

    /// Consumption is collected unit by unit.
    fn last_collection_amount(&mut self) -> Access<i32> {
        Ok(self.per_day().map_or(1, |charge| clamp(i64::from(charge.last_amount))))
    }

    fn total_amount_remaining(&mut self) -> Access<i32> {
        Ok(if self.is_debt() { clamp(i64::from(self.meter.record.terms.debt)) } else { 0 })
    }

    fn proportion(&mut self) -> Access<u16> {
        Ok(if self.is_debt() { self.meter.record.terms.debt_share } else { 0 })
    }

    /// Hundredths of a percent.
    fn set_proportion(&mut self, share: u16) -> Access<()> {
        if share > 10_000 {
            return Err(DataAccessResult::OtherReason);
        }
        self.meter.reconfigure(&mut |next| next.terms.debt_share = share)
    }

    /// One row: the units of a day.
    fn update_unit_charge(&mut self, rows: Items<'_, UnitCharge<'_>>) -> Invoked {
        let row = rows.iter().next().filter(|_| rows.len() == 1);
        let row = row.and_then(Result::ok).ok_or(ActionResult::TypeUnmatched)?;
        let passive = u32::from_data(row.charge_per_unit).map_err(|_| ActionResult::TypeUnmatched)?;
        self.change_per_day(&mut |charge| charge.passive = passive).map_err(unstored)
    }

    fn activate_passive_unit_charge(&mut self, _: Nothing) -> Invoked {
        self.change_per_day(&mut PerDay::activate).map_err(unstored)
    }

    fn update_total_amount_remaining(&mut self, units: i32) -> Invoked {
        self.owe(i64::from(self.meter.record.terms.debt) + i64::from(units))
    }

    fn set_total_amount_remaining(&mut self, units: i32) -> Invoked {
        self.owe(i64::from(units))
    }
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
