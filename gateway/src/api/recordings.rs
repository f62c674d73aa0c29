//! Recordings of what a meter and the gateway say to each other.

use super::App;
use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::problem::{self, Problem, json};
use crate::session::model::Model;
use crate::session::work::Serial;
use crate::store::{StoreError, event};
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::{Json, http::StatusCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// For how long to record.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingRequest {
    /// Seconds, up to 3600.
    for_s: u64,
}

/// A recording.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingView {
    /// More may come.
    running: bool,
    /// What was said so far: a text that `meter-gateway replay` and `explain` read.
    text: String,
}

/// Begins to record a DLMS meter; an older recording of it is dropped. It is kept in memory, without secrets. Needs scope
/// operate.
#[utoipa::path(post, path = "/api/v1/meters/{serial}/recording", tag = "meters", security(("bearer" = [])),
    params(("serial" = String, Path,)), request_body = RecordingRequest,
    responses((status = 202, body = RecordingView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(serial): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<RecordingView>), Problem> {
    caller.needs(Scope::Operate)?;
    let request: RecordingRequest = json(&body)?;
    let Some((meter, _)) = app.store.meter(&serial).await? else {
        return Err(Problem::unknown_meter(&serial));
    };
    if !matches!(app.models.find(&meter.model).as_deref(), Some(Model::Dlms(_))) {
        return Err(Problem::refused("bad-recording", "only sessions with DLMS meters are recorded"));
    }
    let (now, meter_serial) = (app.clock.now(), Serial(serial.clone()));
    app.recordings
        .start(&meter_serial, &meter.model, now, Duration::from_secs(request.for_s))
        .map_err(|refused| Problem::refused("bad-recording", refused.to_string()))?;
    let actor = caller.name.clone();
    app.store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { event::audit(conn, now, &actor, "record", &serial, &correlation).await })
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(view(&app, &meter_serial)?)))
}

/// Shows what was recorded of a meter so far. Needs scope operate.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/recording", tag = "meters", security(("bearer" = [])),
    params(("serial" = String, Path,)),
    responses((status = 200, body = RecordingView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
) -> Result<Json<RecordingView>, Problem> {
    caller.needs(Scope::Operate)?;
    Ok(Json(view(&app, &Serial(serial))?))
}

fn view(app: &App, serial: &Serial) -> Result<RecordingView, Problem> {
    let (text, running) = app
        .recordings
        .text(serial)
        .ok_or_else(|| Problem::not_found(format!("there is no recording of meter {}", serial.0)))?;
    Ok(RecordingView { running, text })
}
