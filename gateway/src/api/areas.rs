//! Energy of a transformer area: its feeder, the sum of its customers, and the loss between them (N32).

use super::access::{Caller, Scope};
use super::problem::{Params, Problem};
use super::{App, problem};
use crate::store::meter::Role;
use crate::store::observation::Span;
use crate::units::WattHours;
use axum::Json;
use axum::extract::{Extension, Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// An area.
#[derive(Debug, Serialize, ToSchema)]
pub struct Area {
    /// Its name.
    area: String,
    /// Feeder meters in it.
    feeders: usize,
    /// Customers' meters in it.
    customers: usize,
}

/// Lists areas. Needs scope read.
#[utoipa::path(get, path = "/api/v1/areas", tag = "areas", security(("bearer" = [])),
    responses((status = 200, body = Vec<Area>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<Area>>, Problem> {
    caller.needs(Scope::Read)?;
    let mut areas: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (meter, _) in app.store.all_meters().await? {
        let (feeders, customers) = areas.entry(meter.area).or_default();
        match meter.role {
            Role::Feeder => *feeders += 1,
            Role::Customer => *customers += 1,
        }
    }
    let view = |(area, (feeders, customers))| Area { area, feeders, customers };
    Ok(Json(areas.into_iter().map(view).collect()))
}

/// The window.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Begin, RFC 3339. Default: the beginning of time.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// End, RFC 3339. Default: now.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
}

/// One meter's energy within the window.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MeterEnergy {
    /// Which meter.
    serial: String,
    /// What it measures.
    role: Role,
    /// Energy between its first and its last reading in the window; absent when there are not two.
    energy_wh: Option<WattHours>,
    /// When its first reading was taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// When its last reading was taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

/// An area's energy.
#[derive(Debug, Serialize, ToSchema)]
pub struct AreaEnergy {
    /// The area.
    area: String,
    /// The feeders' energy.
    pub(crate) feeder_wh: WattHours,
    /// The sum of the customers' energy.
    pub(crate) meters_wh: WattHours,
    /// The feeders' energy minus the sum.
    pub(crate) loss_wh: WattHours,
    /// The loss in hundredths of a percent of the feeders' energy; absent when that is zero.
    pub(crate) loss_per_10000: Option<i64>,
    /// Meters with fewer than two readings in the window: their energy is missing from the sum, and the loss is too large.
    missing: Vec<String>,
    /// Each meter. Readings are not taken at the same instant; the times say how far apart.
    meters: Vec<MeterEnergy>,
}

fn sum(spans: &[(Role, Span)]) -> AreaEnergy {
    let meters: Vec<MeterEnergy> = spans
        .iter()
        .map(|(role, span)| {
            let pair = span.first.zip(span.last).filter(|((first, _), (last, _))| last > first);
            MeterEnergy {
                serial: span.serial.0.clone(),
                role: *role,
                energy_wh: pair.map(|((_, first), (_, last))| last - first),
                from: pair.map(|((at, _), _)| at),
                to: pair.map(|(_, (at, _))| at),
            }
        })
        .collect();
    let total = |role: Role| {
        let energies = meters.iter().filter(|meter| meter.role == role).filter_map(|meter| meter.energy_wh);
        energies.fold(WattHours(0), |sum, energy| sum + energy)
    };
    let (feeder_wh, meters_wh) = (total(Role::Feeder), total(Role::Customer));
    let loss_wh = feeder_wh - meters_wh;
    AreaEnergy {
        area: String::new(),
        feeder_wh,
        meters_wh,
        loss_wh,
        loss_per_10000: loss_wh.0.checked_mul(10_000).and_then(|loss| loss.checked_div(feeder_wh.0)),
        missing: meters
            .iter()
            .filter(|meter| meter.energy_wh.is_none())
            .map(|meter| meter.serial.clone())
            .collect(),
        meters,
    }
}

/// Feeder energy, sum of meters and loss of an area. Needs scope read.
#[utoipa::path(get, path = "/api/v1/areas/{area}/energy", tag = "areas", security(("bearer" = [])),
    params(("area" = String, Path,), Window),
    responses((status = 200, body = AreaEnergy), (status = "4XX", body = problem::Problem)))]
pub(super) async fn energy(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(area): Path<String>,
    Params(window): Params<Window>,
) -> Result<Json<AreaEnergy>, Problem> {
    caller.needs(Scope::Read)?;
    let from = window.from.unwrap_or(Timestamp::UNIX_EPOCH);
    let to = window.to.unwrap_or_else(|| app.clock.now());
    Ok(Json(energy_of(&app, &area, from, to).await?))
}

/// An area's energy within a window.
///
/// # Errors
/// 404 when no meter is in the area.
pub(crate) async fn energy_of(
    app: &App,
    area: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<AreaEnergy, Problem> {
    let spans = app.store.spans(area, from, to).await?;
    if spans.is_empty() {
        return Err(Problem::not_found(format!("there is no area {area:?}")));
    }
    Ok(AreaEnergy { area: area.to_owned(), ..sum(&spans) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::work::Serial;

    fn span(serial: &str, role: Role, readings: Option<(i64, i64)>) -> (Role, Span) {
        let at = |second, wh| (Timestamp::from_second(second).unwrap(), WattHours(wh));
        let span = Span {
            serial: Serial(serial.into()),
            first: readings.map(|(first, _)| at(0, first)),
            last: readings.map(|(_, last)| at(900, last)),
        };
        (role, span)
    }

    #[test]
    fn the_loss_is_what_the_feeder_saw_and_the_meters_did_not() {
        let energy = sum(&[
            span("F", Role::Feeder, Some((10_000, 20_300))),
            span("A", Role::Customer, Some((500, 4_500))),
            span("B", Role::Customer, Some((0, 6_000))),
        ]);
        assert_eq!(
            (energy.feeder_wh, energy.meters_wh, energy.loss_wh),
            (WattHours(10_300), WattHours(10_000), WattHours(300))
        );
        assert_eq!(energy.loss_per_10000, Some(291));
        assert!(energy.missing.is_empty());
    }

    #[test]
    fn a_meter_without_two_readings_is_named_and_nothing_is_invented() {
        let one = Span {
            serial: Serial("B".into()),
            first: Some((Timestamp::UNIX_EPOCH, WattHours(7))),
            last: Some((Timestamp::UNIX_EPOCH, WattHours(7))),
        };
        let energy = sum(&[
            span("A", Role::Customer, None),
            (Role::Customer, one),
            span("F", Role::Feeder, Some((5, 5))),
        ]);
        assert_eq!(energy.missing, ["A", "B"]);
        assert_eq!(energy.loss_per_10000, None);
    }
}
