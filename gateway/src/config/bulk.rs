//! `[bulk]`: what the operator decides about bulk commands.

use super::ConfigError;
use super::raw::Checker;
use crate::commands::bulk::{Limits, PER_MINUTE_MAX};
use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBulk {
    second_person_above: Option<usize>,
    per_minute: Option<Spanned<u32>>,
    reconnects_per_area_per_minute: Option<Spanned<u32>>,
}

pub(super) fn check<S>(checker: &Checker<'_, S>, raw: &RawBulk) -> Result<Limits, ConfigError> {
    let limits = Limits::default();
    let pace = |name: &str, raw: Option<&Spanned<u32>>, default: u32| match raw {
        None => Ok(default),
        Some(pace) if (1..=PER_MINUTE_MAX).contains(pace.get_ref()) => Ok(*pace.get_ref()),
        Some(pace) => {
            Err(checker.at(&pace.span(), format!("{name} {} is not 1 to {PER_MINUTE_MAX}", pace.get_ref())))
        }
    };
    Ok(Limits {
        second_person_above: raw.second_person_above.unwrap_or(limits.second_person_above),
        per_minute: pace("per_minute", raw.per_minute.as_ref(), limits.per_minute)?,
        reconnects_per_area: pace(
            "reconnects_per_area_per_minute",
            raw.reconnects_per_area_per_minute.as_ref(),
            limits.reconnects_per_area,
        )?,
    })
}
