//! What an administrator changes while the gateway runs: the configuration it reads again, and what it logs.

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::problem::{Problem, json};
use super::{App, problem};
use crate::service::reload::Reloaded;
use crate::store::{StoreError, event};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Reads the configuration file again and puts it in force. 409 when it is refused: then the one before stays. Needs scope admin.
#[utoipa::path(post, path = "/api/v1/configuration/reload", tag = "control", security(("bearer" = [])),
    responses((status = 200, body = Reloaded), (status = "4XX", body = problem::Problem)))]
pub(super) async fn reload(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
) -> Result<Json<Reloaded>, Problem> {
    caller.needs(Scope::Admin)?;
    let reloaded = app.reloader.reload().await;
    if !reloaded.taken {
        return Err(Problem::new(StatusCode::CONFLICT, "configuration-refused", reloaded.said));
    }
    audit(&app, caller.name, "reload_configuration", reloaded.said.clone(), correlation).await?;
    Ok(Json(reloaded))
}

/// What is logged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// A level, or levels per module: `info,gateway::session=debug`.
    levels: String,
}

/// What is logged. Needs scope read.
#[utoipa::path(get, path = "/api/v1/log-levels", tag = "control", security(("bearer" = [])),
    responses((status = 200, body = Levels), (status = "4XX", body = problem::Problem)))]
pub(super) async fn log_levels(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Levels>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(Json(Levels { levels: app.log.now() }))
}

/// Changes what is logged, until the gateway stops. Needs scope admin.
#[utoipa::path(put, path = "/api/v1/log-levels", tag = "control", security(("bearer" = [])), request_body = Levels,
    responses((status = 200, body = Levels), (status = "4XX", body = problem::Problem)))]
pub(super) async fn set_log_levels(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<Json<Levels>, Problem> {
    caller.needs(Scope::Admin)?;
    let wanted: Levels = json(&body)?;
    app.log.set(&wanted.levels).map_err(|wrong| Problem::refused("bad-log-levels", wrong))?;
    audit(&app, caller.name, "set_log_levels", wanted.levels, correlation).await?;
    Ok(Json(Levels { levels: app.log.now() }))
}

async fn audit(
    app: &App,
    actor: String,
    action: &'static str,
    subject: String,
    correlation: String,
) -> Result<(), Problem> {
    let now = app.clock.now();
    app.store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { event::audit(conn, now, &actor, action, &subject, &correlation).await })
        })
        .await?;
    Ok(())
}
