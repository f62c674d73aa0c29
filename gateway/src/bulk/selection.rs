//! Which meters: by list, by area or line, by what is known about them.

use super::BulkError;
use crate::store::Store;
use crate::store::meter::{Meter, MeterState, Role};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use utoipa::ToSchema;

/// Which meters are asked for. What is left out does not restrict it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Only these serials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub serials: Vec<String>,
    /// Only meters of this transformer area: what its feeder supplies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area: Option<String>,
    /// Only meters on this line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Only meters of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only customers' meters, or only feeders'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Only meters whose relay was last sensed closed (true) or open (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supply_on: Option<bool>,
    /// Only meters that take tokens of this supply group now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sgc: Option<u32>,
    /// Only meters with this tariff index now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ti: Option<u8>,
    /// Only meters with this key revision now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub krn: Option<u8>,
    /// Only meters with this base date now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_year: Option<u16>,
}

impl Selection {
    /// Whether a meter is asked for. What is said about keys restricts only meters that have one.
    fn takes(&self, meter: &Meter, state: &MeterState) -> bool {
        let keyed = meter.sts.as_ref().is_none_or(|sts| {
            self.sgc.is_none_or(|sgc| sgc == sts.sgc)
                && self.ti.is_none_or(|ti| ti == sts.ti)
                && self.krn.is_none_or(|krn| krn == sts.krn)
                && self.base_year.is_none_or(|year| year == sts.base_year)
        });
        let on = state.relay.map(|relay| relay.output_closed);
        keyed
            && self.area.as_ref().is_none_or(|area| *area == meter.area)
            && self.line.as_ref().is_none_or(|line| *line == meter.line)
            && self.model.as_ref().is_none_or(|model| *model == meter.model)
            && self.role.is_none_or(|role| role == meter.role)
            && (self.supply_on.is_none() || self.supply_on == on)
    }

    /// The meters that are asked for, in the order of the list if there is one, else of their serials.
    ///
    /// # Errors
    /// When one of the serials is unknown, or the store fails.
    pub async fn choose(&self, store: &Store) -> Result<Vec<(Meter, MeterState)>, BulkError> {
        let meters = store.all_meters().await?;
        let wanted: HashSet<&str> = self.serials.iter().map(String::as_str).collect();
        let known: HashSet<&str> = meters.iter().map(|(meter, _)| meter.serial.0.as_str()).collect();
        if let Some(unknown) = self.serials.iter().find(|serial| !known.contains(serial.as_str())) {
            return Err(BulkError::Request(format!("there is no meter {unknown}")));
        }
        let mut chosen: Vec<(Meter, MeterState)> = meters
            .iter()
            .filter(|(meter, _)| wanted.is_empty() || wanted.contains(meter.serial.0.as_str()))
            .filter(|(meter, state)| self.takes(meter, state))
            .cloned()
            .collect();
        if !self.serials.is_empty() {
            let order: std::collections::HashMap<&str, usize> =
                self.serials.iter().enumerate().map(|(at, serial)| (serial.as_str(), at)).collect();
            chosen.sort_by_key(|(meter, _)| order.get(meter.serial.0.as_str()).copied());
        }
        Ok(chosen)
    }
}
