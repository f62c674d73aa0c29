//! Alarms: what is wrong until evidence or a person says that it is not; and the audits of balances that meters hold.

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::newest::Newest;
use super::problem::{self, Params, Problem, json};
use super::{App, meters};
use crate::store::alarm::{self, Alarm};
use crate::store::balance_audit::BalanceAudit;
use crate::store::{StoreError, event};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// The longest text, in bytes.
const TEXT_MAX: usize = 500;

/// Which ones.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Only of this meter.
    #[serde(default)]
    serial: Option<String>,
    /// Closed ones too.
    #[serde(default)]
    all: bool,
    /// At most this many, newest first, up to 1000.
    #[serde(default = "hundred")]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

/// A person's word that it is not so any more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// What was found or done.
    #[serde(default)]
    words: String,
}

/// Lists alarms, newest first; open ones where nothing else is said. Needs scope read.
#[utoipa::path(get, path = "/api/v1/alarms", tag = "alarms", security(("bearer" = [])), params(Which),
    responses((status = 200, body = Vec<Alarm>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Which>,
) -> Result<Json<Vec<Alarm>>, Problem> {
    caller.needs(Scope::Read)?;
    let limit = which.limit.min(meters::PAGE_MAX);
    Ok(Json(app.store.alarms(which.serial.as_deref(), !which.all, limit).await?))
}

/// Closes an alarm by a person's word, which is kept. It opens again when the meter says so again. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/alarms/{id}/close", tag = "alarms", security(("bearer" = [])),
    params(("id" = i64, Path,)), request_body = Closing,
    responses((status = 200, body = Alarm), (status = "4XX", body = problem::Problem)))]
pub(super) async fn close(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Alarm>, Problem> {
    caller.needs(Scope::Operate)?;
    let closing: Closing = json(&body)?;
    let words = closing.words.trim().to_owned();
    if words.is_empty() || words.len() > TEXT_MAX {
        return Err(Problem::refused(
            "bad-closing",
            format!("say what was found or done, in 1 to {TEXT_MAX} bytes"),
        ));
    }
    let unknown = || Problem::not_found(format!("there is no open alarm {id}"));
    let number: i64 = id.parse().map_err(|_| unknown())?;
    let (now, by) = (app.clock.now(), caller.name);
    let closed = app
        .store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let closed = alarm::close(&mut *conn, number, &by, &words, now).await?;
                if let Some(alarm) = &closed {
                    event::audit(conn, now, &by, "close_alarm", &alarm.serial, &correlation).await?;
                }
                Ok(closed)
            })
        })
        .await?;
    closed.map(Json).ok_or_else(unknown)
}

/// Lists the audits of a balance that a meter holds, newest first: what it should have changed by, and what it did. Needs scope
/// read.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/balance-audits", tag = "alarms", security(("bearer" = [])),
    params(("serial" = String, Path,), Newest),
    responses((status = 200, body = Vec<BalanceAudit>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn balance_audits(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
    Params(which): Params<Newest>,
) -> Result<Json<Vec<BalanceAudit>>, Problem> {
    caller.needs(Scope::Read)?;
    if app.store.meter(&serial).await?.is_none() {
        return Err(Problem::unknown_meter(&serial));
    }
    Ok(Json(app.store.balance_audits(&serial, which.limit()).await?))
}
