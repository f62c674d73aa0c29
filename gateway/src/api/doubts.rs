//! Readings that are held, and what people decide about them (N31).

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::newest::Newest;
use super::problem::{Params, Problem, json};
use super::{App, problem};
use crate::commands::doubts::{Decision, DoubtError, decide};
use crate::reading::plausibility::DoubtKind;
use crate::store::doubt::{DoubtState, StoredDoubt};
use crate::units::WattHours;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A doubt: one case, however many readings it held.
#[derive(Debug, Serialize, ToSchema)]
pub struct DoubtView {
    /// Its number.
    id: i64,
    /// The meter.
    serial: String,
    /// What is wrong.
    kind: DoubtKind,
    /// The numbers behind it.
    #[schema(value_type = Object)]
    detail: serde_json::Value,
    /// What became of it.
    state: DoubtState,
    /// The first reading held.
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    /// The last one.
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// How many, rows of profiles too.
    readings: i64,
    /// The energy register in the last reading, in watt-hours; none where only rows of profiles are held.
    import_wh: Option<WattHours>,
    /// Who decided.
    decided_by: Option<String>,
    /// What they said.
    note: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
}

impl From<StoredDoubt> for DoubtView {
    fn from(doubt: StoredDoubt) -> Self {
        Self {
            id: doubt.id,
            serial: doubt.serial.0,
            kind: doubt.kind,
            detail: doubt.detail,
            state: doubt.state,
            first_at: doubt.first_at,
            last_at: doubt.last_at,
            readings: doubt.readings,
            import_wh: doubt.import,
            decided_by: doubt.decided_by,
            note: doubt.note,
            decided_at: doubt.decided_at,
        }
    }
}

/// What a person decides.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionBody {
    /// True: the readings are right and count. False: they are wrong and never do.
    release: bool,
    /// Why.
    note: String,
}

/// Lists doubts, newest first. Needs scope read.
#[utoipa::path(get, path = "/api/v1/doubts", tag = "doubts", security(("bearer" = [])), params(Newest),
    responses((status = 200, body = Vec<DoubtView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Newest>,
) -> Result<Json<Vec<DoubtView>>, Problem> {
    caller.needs(Scope::Read)?;
    let doubts = app.store.doubts(which.serial(), which.limit()).await?;
    Ok(Json(doubts.into_iter().map(DoubtView::from).collect()))
}

/// Decides about readings that are held. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/doubts/{id}/decision", tag = "doubts", security(("bearer" = [])),
    params(("id" = i64, Path,)), request_body = DecisionBody,
    responses((status = 200, body = DoubtView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn decision(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<DoubtView>, Problem> {
    caller.needs(Scope::Operate)?;
    let body: DecisionBody = json(&body)?;
    if body.note.trim().is_empty() {
        return Err(Problem::malformed("note: say why"));
    }
    let id = id.parse().map_err(|_| Problem::not_found(format!("there is no doubt {id}")))?;
    let decision = Decision { id, release: body.release, note: body.note, actor: caller.name, correlation };
    let (rules, now) = (app.config().disconnection.rules.clone(), app.clock.now());
    let doubt = app
        .store
        .write(move |conn| Box::pin(async move { decide(conn, &decision, &rules, now).await }))
        .await?;
    Ok(Json(doubt.into()))
}

impl From<DoubtError> for Problem {
    fn from(error: DoubtError) -> Self {
        match error {
            DoubtError::Unknown(_) => Self::not_found(error.to_string()),
            DoubtError::Decided { .. } | DoubtError::OtherMeter => {
                Self::new(StatusCode::CONFLICT, "not-decided", error.to_string())
            }
            DoubtError::Store(error) => error.into(),
        }
    }
}
