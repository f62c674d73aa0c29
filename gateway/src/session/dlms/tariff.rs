//! Prices for a DLMS meter: a charge's passive table (class 113) or the reference meter's whole tariff, with the time from which they
//! apply. Nothing takes effect by half: what is to come is written first, its time last.

use super::meter::{Meter, present};
use crate::session::order::{ChargeOrder, TariffOrder};
use crate::session::trouble::Trouble;
use crate::session::work::Ending;
use jiff::Timestamp;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::obis::Obis;
use protocol::cosem::charge::{
    ACTIVATE_PASSIVE_UNIT_CHARGE, ChargeTable, UNIT_CHARGE_ACTIVATION_TIME, UNIT_CHARGE_ACTIVE,
    UNIT_CHARGE_PASSIVE, UPDATE_UNIT_CHARGE, UnitCharge,
};
use protocol::cosem::class::{Items, Nothing};
use protocol::cosem::data;
use protocol::cosem::tariff::Tariff;

impl Meter<'_> {
    /// Writes the prices to come of a charge, then when they come.
    pub(super) async fn give_prices(&mut self, order: &ChargeOrder) -> Result<Option<Ending>, Trouble> {
        let name = self.charge(order)?;
        let indices: Vec<[u8; 1]> = order.rows.iter().map(|row| [row.index]).collect();
        let rows: Vec<UnitCharge<'_>> = order
            .rows
            .iter()
            .zip(&indices)
            .map(|(row, index)| UnitCharge { index, charge_per_unit: Data::Long(row.price) })
            .collect();
        self.attempt.note(format!("ACTION {name} update of {} prices: sending", rows.len()));
        if let Some(refusal) =
            self.invoke(UPDATE_UNIT_CHARGE.of(name), &Items::Held(&rows), "the prices").await?
        {
            return Ok(Some(refusal));
        }
        match order.activate_at {
            Some(at) => {
                let time = self.meter_time(at)?;
                self.put(UNIT_CHARGE_ACTIVATION_TIME.of(name), time, "the time of the prices").await?;
                Ok(None)
            }
            None => {
                self.attempt.note(format!("ACTION {name} activate passive prices: sending"));
                self.invoke(ACTIVATE_PASSIVE_UNIT_CHARGE.of(name), &Nothing, "the activation").await
            }
        }
    }

    /// How the meter's prices differ from what was ordered.
    pub(super) async fn prices_difference(&mut self, order: &ChargeOrder) -> Result<Option<String>, Trouble> {
        let name = self.charge(order)?;
        let now = self.attempt.now();
        // Prices whose time has come are the ones in force.
        let (table, which) = match order.activate_at.filter(|at| *at > now) {
            Some(_) => (UNIT_CHARGE_PASSIVE.of(name), "to come"),
            None => (UNIT_CHARGE_ACTIVE.of(name), "in force"),
        };
        let rows = self.typed::<ChargeTable>(table, "the prices").await?;
        let shown: Vec<String> =
            rows.rows[..rows.len].iter().map(|row| row.charge_per_unit.to_string()).collect();
        self.attempt.note(format!(
            "GET {name} prices {which}: {} x 10^{}",
            shown.join(", "),
            rows.price_scale
        ));
        for row in &order.rows {
            let has = rows.rows[..rows.len].iter().any(|has| {
                (has.index == row.index || order.rows.len() == 1) && has.charge_per_unit == row.price
            });
            if !has || rows.price_scale != 0 {
                return Ok(Some(format!("the meter's prices {which} are not as ordered")));
            }
        }
        match order.activate_at.filter(|at| *at > now) {
            Some(at) => self.time_difference(UNIT_CHARGE_ACTIVATION_TIME.of(name), at).await,
            None => Ok(None),
        }
    }

    fn charge(&self, order: &ChargeOrder) -> Result<Obis, Trouble> {
        present(self.model.objects.charges.get(usize::from(order.charge)).copied().flatten())
    }

    /// Writes the tariff to come, then when it comes.
    pub(super) async fn give_tariff(&mut self, order: &TariffOrder) -> Result<Option<Ending>, Trouble> {
        let (passive, activation) = self.tariff_objects()?;
        self.put_encoded(data::VALUE.of(passive), &order.tariff, "the tariff to come").await?;
        let time = self.meter_time(order.activate_at)?;
        self.put(data::VALUE.of(activation), time, "the time of the tariff").await?;
        Ok(None)
    }

    /// How the meter's tariff to come differs from what was ordered.
    pub(super) async fn tariff_difference(&mut self, order: &TariffOrder) -> Result<Option<String>, Trouble> {
        let (passive, activation) = self.tariff_objects()?;
        if order.activate_at <= self.attempt.now() {
            let active = present(self.model.objects.tariff_active)?;
            let has = self.typed::<Tariff>(data::VALUE.of(active), "the tariff in force").await?;
            return Ok((has != order.tariff).then(|| "the tariff in force is not the one ordered".to_owned()));
        }
        let has = self.typed::<Tariff>(data::VALUE.of(passive), "the tariff to come").await?;
        if has != order.tariff {
            return Ok(Some("the tariff to come is not the one ordered".into()));
        }
        self.time_difference(data::VALUE.of(activation), order.activate_at).await
    }

    fn tariff_objects(&self) -> Result<(Obis, Obis), Trouble> {
        let objects = &self.model.objects;
        Ok((present(objects.tariff_passive)?, present(objects.tariff_activation)?))
    }

    /// A time as the meter takes it.
    pub(super) fn meter_time(&self, at: Timestamp) -> Result<DateTime, Trouble> {
        let time = self.model.clock.to_meter(at);
        time.ok_or_else(|| Trouble::NotReady(format!("{at} is a time that no meter can hold")))
    }

    pub(super) async fn time_difference(
        &mut self,
        at: protocol::dlms::model::Attribute,
        wanted: Timestamp,
    ) -> Result<Option<String>, Trouble> {
        let time = self.typed::<DateTime>(at, "the time from which it applies").await?;
        let has = self.model.clock.from_meter(time, self.attempt.now());
        let text = has.map_or_else(|| "none".to_owned(), |utc| utc.to_string());
        self.attempt.note(format!("GET {} the time from which it applies: {text}", at.logical_name));
        Ok((has != Some(wanted.as_second()))
            .then(|| "the time from which it applies is not as ordered".to_owned()))
    }
}
