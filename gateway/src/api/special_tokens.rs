//! Tokens nobody paid for, and explanations of refused ones.

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::newest::Newest;
use super::problem::{Params, Problem, json};
use super::{App, problem};
use crate::bulk::Asking;
use crate::store::special::{Special, SpecialKind, SpecialState};
use crate::vault::{Difference, Explanation};
use crate::vending::{SpecialAction, SpecialError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A token to be made without a payment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpecialRequest {
    /// For which meter.
    serial: String,
    /// What it does.
    action: SpecialAction,
    /// Why, in your own words.
    reason: String,
}

/// A decision of the second person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Whether the tokens shall be made.
    agreed: bool,
}

/// A request and how far it has got. Token digits are never shown: the gateway delivers them.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpecialView {
    /// Its id.
    id: i64,
    /// For which meter.
    serial: String,
    /// What kind.
    kind: SpecialKind,
    /// How far it has got.
    state: SpecialState,
    /// Why.
    reason: String,
    /// Who asked for it.
    requested_by: String,
    /// Who agreed or declined.
    decided_by: Option<String>,
    /// Tokens made.
    tokens: u32,
    /// Tokens the meter has taken in this round.
    taken: u32,
    /// How often delivery was begun: more than once where the meter forgot a part of a key change.
    rounds: u32,
    /// The last word about it.
    outcome: Option<String>,
    /// From this call down to the frame.
    correlation: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When it last moved.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Special> for SpecialView {
    fn from(special: Special) -> Self {
        Self {
            id: special.id,
            serial: special.serial.0,
            kind: special.kind,
            state: special.state,
            reason: special.reason,
            requested_by: special.requested_by,
            decided_by: special.decided_by,
            tokens: special.tokens,
            taken: special.taken,
            rounds: special.rounds,
            outcome: special.outcome,
            correlation: special.correlation,
            at: special.at,
            updated_at: special.updated_at,
        }
    }
}

impl From<SpecialError> for Problem {
    fn from(error: SpecialError) -> Self {
        let detail = error.to_string();
        match error {
            SpecialError::UnknownMeter(serial) => Self::unknown_meter(&serial),
            SpecialError::Unknown(_) => Self::not_found(detail),
            SpecialError::NoTokens(_) => Self::refused("not-prepaid", detail),
            SpecialError::Reason => Self::refused("missing-reason", detail),
            SpecialError::NotInspected | SpecialError::OwnInspection(_) => {
                Self::refused("not-inspected", detail)
            }
            SpecialError::SamePerson(_) => Self::new(StatusCode::FORBIDDEN, "second-person-needed", detail),
            SpecialError::NotWaiting(_) => Self::refused("not-waiting", detail),
            SpecialError::KeyChangeOpen => Self::refused("tokens-on-the-way", detail),
            SpecialError::NotRefused { .. } => Self::refused("not-refused", detail),
            SpecialError::Superseded => Self::refused("superseded", detail),
            SpecialError::NothingChanges => Self::refused("nothing-changes", detail),
            SpecialError::Tid(_) => Self::refused("no-token-id", detail),
            SpecialError::Vault(_) => Self::refused("no-token", detail),
            SpecialError::Store(error) => error.into(),
        }
    }
}

/// Records a request: free issue, clear credit, clear tamper, limits or a key change, always with a reason. Needs scope
/// operate. Free issue and clear credit wait for a second person; everything else is on its way at once.
#[utoipa::path(post, path = "/api/v1/special-tokens", tag = "special-tokens", security(("bearer" = [])),
    request_body = SpecialRequest,
    responses((status = 202, body = SpecialView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<(StatusCode, Json<SpecialView>), Problem> {
    caller.needs(Scope::Operate)?;
    let request: SpecialRequest = json(&body)?;
    let asking = Asking { actor: caller.name, correlation };
    let special =
        app.vending.request_special(&request.serial, request.action, &request.reason, asking).await?;
    Ok((StatusCode::ACCEPTED, Json(special.into())))
}

/// Agrees to a request or declines it. Needs scope operate; whoever asked for it cannot agree.
#[utoipa::path(post, path = "/api/v1/special-tokens/{id}/decision", tag = "special-tokens", security(("bearer" = [])),
    params(("id" = i64, Path,)), request_body = Decision,
    responses((status = 200, body = SpecialView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn decide(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<SpecialView>, Problem> {
    caller.needs(Scope::Operate)?;
    let decision: Decision = json(&body)?;
    let id = number(&id)?;
    let asking = Asking { actor: caller.name, correlation };
    let special = if decision.agreed {
        app.vending.approve_special(id, asking).await?
    } else {
        app.vending.decline_special(id, asking).await?
    };
    Ok(Json(special.into()))
}

/// Delivers the tokens of a key change that the meter refused once more: the same ones, in order. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/special-tokens/{id}/retry", tag = "special-tokens", security(("bearer" = [])),
    params(("id" = i64, Path,)),
    responses((status = 202, body = SpecialView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<SpecialView>), Problem> {
    caller.needs(Scope::Operate)?;
    let asking = Asking { actor: caller.name, correlation };
    let special = app.vending.retry_special(number(&id)?, asking).await?;
    Ok((StatusCode::ACCEPTED, Json(special.into())))
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::not_found(format!("there is no special token {id}")))
}

/// Shows a request. Needs scope read.
#[utoipa::path(get, path = "/api/v1/special-tokens/{id}", tag = "special-tokens", security(("bearer" = [])),
    params(("id" = i64, Path,)),
    responses((status = 200, body = SpecialView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<SpecialView>, Problem> {
    caller.needs(Scope::Read)?;
    let id = number(&id)?;
    let special = app.store.special(id).await?.ok_or(SpecialError::Unknown(id))?;
    Ok(Json(special.into()))
}

/// Lists requests, newest first. Needs scope read.
#[utoipa::path(get, path = "/api/v1/special-tokens", tag = "special-tokens", security(("bearer" = [])), params(Newest),
    responses((status = 200, body = Vec<SpecialView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Newest>,
) -> Result<Json<Vec<SpecialView>>, Problem> {
    caller.needs(Scope::Read)?;
    let specials = app.store.specials(which.serial(), which.limit()).await?;
    Ok(Json(specials.into_iter().map(SpecialView::from).collect()))
}

/// A token that a meter refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusedToken {
    /// Its 20 digits.
    token: String,
}

/// Why a meter may have refused it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplanationView {
    /// In words.
    text: String,
    /// The parameters that do not fit, where some key of the vault fits.
    #[schema(value_type = Vec<Object>)]
    differences: Vec<Difference>,
}

/// Says which parameter of a refused token does not fit this meter, by trying the keys of the vault. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/meters/{serial}/token-explanation", tag = "special-tokens",
    security(("bearer" = [])), params(("serial" = String, Path,)), request_body = RefusedToken,
    responses((status = 200, body = ExplanationView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn explain(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
    body: Bytes,
) -> Result<Json<ExplanationView>, Problem> {
    caller.needs(Scope::Operate)?;
    let refused: RefusedToken = json(&body)?;
    let digits: String = refused.token.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let mut wanted = None;
    let mut others = Vec::new();
    for (meter, _) in app.store.all_meters().await? {
        if meter.serial.0 == serial {
            wanted = Some(meter.sts);
        } else if let Some(sts) = meter.sts {
            others.push(sts);
        }
    }
    let meter = wanted.ok_or_else(|| Problem::unknown_meter(&serial))?;
    let meter = meter.ok_or(SpecialError::NoTokens(serial))?;
    let vault = app.vault.clone();
    // Up to 300 derivations a vending key and one for each meter: not on a task that serves others.
    let explanation = tokio::task::spawn_blocking(move || vault.explain(&meter, &digits, &others))
        .await
        .map_err(|error| Problem::internal(&error))?
        .map_err(SpecialError::Vault)?;
    let text = explanation.to_string();
    let differences = match explanation {
        Explanation::Mismatch { differences, .. } => differences,
        _ => Vec::new(),
    };
    Ok(Json(ExplanationView { text, differences }))
}
