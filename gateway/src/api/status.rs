//! How the gateway and its lines are doing, for people and for monitoring systems.

use super::access::{Caller, Scope};
use super::{App, Problem, health, problem};
use crate::session::LineStatus;
use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use serde::Serialize;
use utoipa::ToSchema;

/// Facts that wait longer than this for a sink are worth a person's attention.
const SINK_LATE: SignedDuration = SignedDuration::from_mins(15);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics, in OpenMetrics text. Needs scope read.
#[utoipa::path(get, path = "/metrics", tag = "health", security(("bearer" = [])),
    responses((status = 200, body = String), (status = "4XX", body = problem::Problem)))]
pub(super) async fn metrics(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    caller.needs(Scope::Read)?;
    let text = app.metrics.text(&app.store, &app.config(), app.clock.now()).await?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// Counts every answer.
pub(super) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.http.answered(response.status().as_u16());
    response
}

/// How the lines are doing. Needs scope read.
#[utoipa::path(get, path = "/api/v1/lines", tag = "health", security(("bearer" = [])),
    responses((status = 200, body = Vec<LineStatus>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn lines(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<LineStatus>>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(Json(app.lines.status()))
}

/// How the gateway is doing.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusView {
    /// Its version.
    version: &'static str,
    /// Its system title, as it stands in facts and subjects: 16 hexadecimal digits.
    gateway: String,
    /// It can work: what `/api/v1/ready` says.
    ready: bool,
    /// What a person should look at, one sentence each.
    problems: Vec<String>,
}

/// How the gateway is doing: what keeps it from working, lines that are down, a configuration that was refused, facts that wait. Needs
/// scope read.
#[utoipa::path(get, path = "/api/v1/status", tag = "health", security(("bearer" = [])),
    responses((status = 200, body = StatusView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn status(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<StatusView>, Problem> {
    caller.needs(Scope::Read)?;
    let obstacle = health::obstacle(&app).await;
    let ready = obstacle.is_none();
    let mut problems: Vec<String> = obstacle.into_iter().collect();
    if app.store.is_tight() {
        problems.push(
            "little room is left for the store: readings are not stored, what is money still is; make room"
                .to_owned(),
        );
    }
    for line in app.lines.status() {
        if !line.up {
            problems.push(format!("line {:?} is down: its port or connection broke", line.line));
        }
    }
    if let Some(refused) = app.reloader.last().filter(|last| !last.taken) {
        problems.push(format!("the configuration of {:.0} was refused: {}", refused.at, refused.said));
    }
    for sink in &app.config().sinks {
        let state = app.store.sink_state(&sink.name).await?;
        if let Some(oldest) = state.oldest_at.filter(|at| app.clock.now().duration_since(*at) > SINK_LATE) {
            problems.push(format!("sink {:?} has facts waiting since {oldest:.0}", sink.name));
        }
    }
    let gateway = app.store.system_title().await?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Json(StatusView { version: env!("CARGO_PKG_VERSION"), gateway, ready, problems }))
}
