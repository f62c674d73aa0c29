//! What stands between a request and an open relay: shown before anybody asks, and put on record.

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::problem::{Params, Problem, json};
use super::{App, problem};
use crate::guards::{self, Asked, Unmet};
use crate::session::work::Serial;
use crate::store::command::DisconnectReason;
use crate::store::notice::{self, Notice, NoticeKind, Protection};
use crate::store::{StoreError, event};
use crate::units::MinorUnits;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The longest text, in bytes.
const TEXT_MAX: usize = 500;

/// For which disconnection.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ForReason {
    /// `planned`, `fault`, `peak_avoidance`, `breach_of_contract`, `arrears`, or `no_credit` for a cut by the gateway itself.
    reason: DisconnectReason,
}

/// Whether a disconnection would be allowed now.
#[derive(Debug, Serialize, ToSchema)]
pub struct GuardsView {
    /// Nothing stands against it.
    allowed: bool,
    /// Why the customer is never cut off by the gateway itself.
    protection: Option<Protection>,
    /// What stands against it, and what would satisfy it.
    unmet: Vec<Unmet>,
}

/// A notice that reached a customer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNotice {
    /// `demand`, `settlement`, `disconnection` or `restoration`.
    kind: NoticeKind,
    /// A disconnection notice: why.
    #[serde(default)]
    reason: Option<DisconnectReason>,
    /// A disconnection notice: supply may be cut from then on.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<Timestamp>,
    /// A demand: the debt is overdue since then.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    overdue_since: Option<Timestamp>,
    /// A demand: the debt in minor units.
    #[serde(default)]
    amount_minor: Option<MinorUnits>,
    /// When it reached the customer: not in the future.
    #[schema(value_type = String, format = DateTime)]
    delivered_at: Timestamp,
    /// By what way: letter, message, visit.
    way: String,
    /// Where the proof of delivery is.
    #[serde(default)]
    reference: Option<String>,
}

/// A notice on record.
#[derive(Debug, Serialize, ToSchema)]
pub struct NoticeView {
    /// Its id.
    id: i64,
    /// What was told.
    kind: NoticeKind,
    /// A disconnection notice: why.
    reason: Option<DisconnectReason>,
    /// A disconnection notice: supply may be cut from then on.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<Timestamp>,
    /// A demand: the debt is overdue since then.
    #[schema(value_type = Option<String>, format = DateTime)]
    overdue_since: Option<Timestamp>,
    /// A demand: the debt.
    amount_minor: Option<MinorUnits>,
    /// When it reached the customer.
    #[schema(value_type = String, format = DateTime)]
    delivered_at: Timestamp,
    /// By what way.
    way: String,
    /// Where the proof of delivery is.
    reference: Option<String>,
    /// Who put it on record.
    recorded_by: String,
    /// When it was put on record.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<Notice> for NoticeView {
    fn from(notice: Notice) -> Self {
        Self {
            id: notice.id,
            kind: notice.kind,
            reason: notice.reason,
            effective_from: notice.effective_from,
            overdue_since: notice.overdue_since,
            amount_minor: notice.amount,
            delivered_at: notice.delivered_at,
            way: notice.way,
            reference: notice.reference,
            recorded_by: notice.recorded_by,
            at: notice.at,
        }
    }
}

/// Why a customer is protected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProtection {
    /// `load_class_1` to `load_class_3`, `hospital`, `no_backup_supply` or `vulnerable`.
    kind: Protection,
    /// In your own words.
    #[serde(default)]
    note: Option<String>,
}

async fn known(app: &App, serial: String) -> Result<Serial, Problem> {
    match app.store.meter(&serial).await? {
        Some(_) => Ok(Serial(serial)),
        None => Err(Problem::unknown_meter(&serial)),
    }
}

/// Says whether a disconnection would be allowed now, and what is missing. Nothing is recorded. Needs scope read.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/guards", tag = "guards", security(("bearer" = [])),
    params(("serial" = String, Path,), ForReason),
    responses((status = 200, body = GuardsView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
    Params(wanted): Params<ForReason>,
) -> Result<Json<GuardsView>, Problem> {
    caller.needs(Scope::Read)?;
    let standing = app.store.standing(&known(&app, serial).await?).await?;
    let asked = Asked { reason: wanted.reason, breach: None, approved: false };
    let unmet = guards::unmet(&asked, &standing, &app.config().disconnection.rules, app.clock.now());
    Ok(Json(GuardsView { allowed: unmet.is_empty(), protection: standing.protection, unmet }))
}

/// Lists what a customer was told, oldest first. Needs scope read.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/notices", tag = "guards", security(("bearer" = [])),
    params(("serial" = String, Path,)),
    responses((status = 200, body = Vec<NoticeView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn notices(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
) -> Result<Json<Vec<NoticeView>>, Problem> {
    caller.needs(Scope::Read)?;
    let standing = app.store.standing(&known(&app, serial).await?).await?;
    Ok(Json(standing.notices.into_iter().map(NoticeView::from).collect()))
}

/// Puts a notice that reached a customer on record. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/meters/{serial}/notices", tag = "guards", security(("bearer" = [])),
    params(("serial" = String, Path,)), request_body = NewNotice,
    responses((status = 201, body = NoticeView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn record(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(serial): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<NoticeView>), Problem> {
    caller.needs(Scope::Operate)?;
    let new: NewNotice = json(&body)?;
    let at = app.clock.now();
    check(&new, at).map_err(|detail| Problem::refused("bad-notice", detail))?;
    let mut notice = Notice {
        id: 0,
        serial: known(&app, serial).await?,
        kind: new.kind,
        reason: new.reason,
        effective_from: new.effective_from,
        overdue_since: new.overdue_since,
        amount: new.amount_minor,
        delivered_at: new.delivered_at,
        way: new.way,
        reference: new.reference,
        recorded_by: caller.name,
        correlation,
        at,
    };
    let row = notice.clone();
    notice.id = app
        .store
        .write::<_, StoreError, _>(move |conn| Box::pin(async move { notice::insert(conn, &row).await }))
        .await?;
    Ok((StatusCode::CREATED, Json(notice.into())))
}

/// What belongs to a kind of notice has to be there, and nothing else.
fn check(new: &NewNotice, now: Timestamp) -> Result<(), String> {
    let disconnection = new.reason.is_some() && new.effective_from.is_some();
    let demand = new.overdue_since.is_some() && new.amount_minor.is_some_and(|amount| amount.0 > 0);
    let any_disconnection = new.reason.is_some() || new.effective_from.is_some();
    let any_demand = new.overdue_since.is_some() || new.amount_minor.is_some();
    match new.kind {
        NoticeKind::Disconnection if !disconnection || any_demand => {
            return Err(
                "a disconnection notice needs reason and effective_from, and nothing of a demand".into()
            );
        }
        NoticeKind::Demand if !demand || any_disconnection => {
            return Err(
                "a demand needs overdue_since and amount_minor, and nothing of a disconnection".into()
            );
        }
        NoticeKind::Settlement | NoticeKind::Restoration if any_disconnection || any_demand => {
            return Err(format!("a {} takes neither a reason nor a debt", new.kind));
        }
        _ => {}
    }
    if new.reason == Some(DisconnectReason::NoCredit) {
        return Err("a used-up balance needs no notice on record".into());
    }
    if new.delivered_at > now {
        return Err("delivered_at is in the future: a notice is put on record once it was delivered".into());
    }
    if new.overdue_since.is_some_and(|since| since > new.delivered_at) {
        return Err("overdue_since is after the delivery of the demand".into());
    }
    if new.way.trim().is_empty() || new.way.len() > TEXT_MAX {
        return Err(format!("way says how it reached the customer, in at most {TEXT_MAX} bytes"));
    }
    if new.reference.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
        return Err(format!("reference is longer than {TEXT_MAX} bytes"));
    }
    Ok(())
}

/// Protects a customer from being cut off by the gateway itself or by one person alone. Needs scope operate.
#[utoipa::path(put, path = "/api/v1/meters/{serial}/protection", tag = "guards", security(("bearer" = [])),
    params(("serial" = String, Path,)), request_body = NewProtection,
    responses((status = 204), (status = "4XX", body = problem::Problem)))]
pub(super) async fn protect(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(serial): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    caller.needs(Scope::Operate)?;
    let new: NewProtection = json(&body)?;
    if new.note.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
        return Err(Problem::refused("bad-protection", format!("note is longer than {TEXT_MAX} bytes")));
    }
    set(&app, serial, Some(new), caller.name, correlation).await
}

/// Ends a customer's protection. Needs scope admin.
#[utoipa::path(delete, path = "/api/v1/meters/{serial}/protection", tag = "guards", security(("bearer" = [])),
    params(("serial" = String, Path,)),
    responses((status = 204), (status = "4XX", body = problem::Problem)))]
pub(super) async fn unprotect(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(serial): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Scope::Admin)?;
    set(&app, serial, None, caller.name, correlation).await
}

async fn set(
    app: &App,
    serial: String,
    new: Option<NewProtection>,
    actor: String,
    correlation: String,
) -> Result<StatusCode, Problem> {
    let (serial, at) = (known(app, serial).await?, app.clock.now());
    let (kind, note) = new.map_or((None, None), |new| (Some(new.kind), new.note));
    app.store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let action = if kind.is_some() { "protect" } else { "unprotect" };
                event::audit(conn, at, &actor, action, &serial.0, &correlation).await?;
                notice::set_protection(conn, &serial, kind, note.as_deref(), &actor, at).await
            })
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
