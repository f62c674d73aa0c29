//! Readings of a meter.

use super::access::{Caller, Scope};
use super::problem::{Params, Problem};
use super::{App, problem};
use crate::store::observation::Quality;
use crate::units::WattHours;
use axum::Json;
use axum::extract::{Extension, Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One reading.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadingView {
    /// When it was read.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What it is worth.
    quality: Quality,
    /// Energy import in watt-hours.
    import_wh: Option<WattHours>,
    /// Active power in watts.
    power_w: Option<i64>,
    /// Credit the meter holds, in watt-hours.
    credit_wh: Option<WattHours>,
    /// The doubt that holds it, if one does: then it counts for nothing.
    doubt_id: Option<i64>,
}

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// At most this many, newest first, up to 1000.
    #[serde(default = "hundred")]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

/// Lists a meter's readings, newest first. Needs scope read.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/readings", tag = "meters", security(("bearer" = [])),
    params(("serial" = String, Path,), Limit),
    responses((status = 200, body = Vec<ReadingView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
    Params(limit): Params<Limit>,
) -> Result<Json<Vec<ReadingView>>, Problem> {
    caller.needs(Scope::Read)?;
    if app.store.meter(&serial).await?.is_none() {
        return Err(Problem::unknown_meter(&serial));
    }
    let readings = app.store.readings(&serial, limit.limit.min(super::meters::PAGE_MAX)).await?;
    let view = |reading: crate::store::observation::Reading| ReadingView {
        at: reading.at,
        quality: reading.quality,
        import_wh: reading.import_wh,
        power_w: reading.power_w,
        credit_wh: reading.credit_wh,
        doubt_id: reading.doubt_id,
    };
    Ok(Json(readings.into_iter().map(view).collect()))
}
