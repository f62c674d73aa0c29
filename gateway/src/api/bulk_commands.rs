//! Bulk commands: looked at, started by the number of what was looked at, followed meter by meter, stopped.

use super::access::{Caller, Scope};
use super::campaigns::{CampaignMeterView, Change};
use super::commands::CommandDecision;
use super::correlation::Correlation;
use super::meters::{self as meter_list, Page};
use super::newest::Newest;
use super::problem::{Params, Problem, json};
use super::{App, problem};
use crate::bulk::{self, Asking, Selection};
use crate::commands::bulk::{BulkAction, BulkRequest, Curtailment, Plan, Shortage};
use crate::store::campaign::{Campaign, CampaignKind, CampaignState};
use crate::store::command::CommandKind;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Commands on the way at once where nothing else is said.
const AT_ONCE_DEFAULT: u32 = 32;

/// A bulk command to be looked at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBulkCommand {
    /// What each meter is told.
    action: BulkAction,
    /// For which meters; all when nothing is said.
    #[serde(default)]
    selection: Selection,
    /// Why, in your own words.
    #[serde(default)]
    reason: String,
    /// So many meters first; the others are told only when every one of these is done, and when one is not, it pauses.
    #[serde(default)]
    canary: Option<u32>,
    /// Commands on the way at once, 1 to 256.
    #[serde(default = "at_once")]
    at_once: u32,
    /// Commands started in a minute.
    #[serde(default)]
    per_minute: Option<u32>,
    /// Commands started in a minute in one area.
    #[serde(default)]
    area_per_minute: Option<u32>,
}

fn at_once() -> u32 {
    AT_ONCE_DEFAULT
}

/// A preview: started by its id within an hour, if the street is still like that.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkPreview {
    /// Its id.
    id: i64,
    /// Commands started in a minute.
    per_minute: Option<u32>,
    /// Commands started in a minute in one area.
    area_per_minute: Option<u32>,
    /// Who takes part and who not.
    #[serde(flatten)]
    plan: Plan,
}

/// A bulk command and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkView {
    /// Its id.
    id: i64,
    /// Where it is.
    state: CampaignState,
    /// What each meter is told.
    action: BulkAction,
    /// Which meters were asked for.
    selection: Selection,
    /// Why.
    reason: String,
    /// Who started it.
    requested_by: String,
    /// The second person, where one decided.
    decided_by: Option<String>,
    /// So many meters first; the others when every one of these is done. None once somebody has resumed it after that.
    canary: Option<u32>,
    /// Commands on the way at once.
    at_once: u32,
    /// Commands started in a minute.
    per_minute: Option<u32>,
    /// Commands started in a minute in one area.
    area_per_minute: Option<u32>,
    /// Meters by how far they are: `excluded`, `waiting`, `on_the_way`, `done`, `refused`, `stopped`.
    meters: BTreeMap<&'static str, u64>,
    /// From the API call down to the frames.
    correlation: String,
    /// When it was looked at.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When its state last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

async fn view(app: &App, campaign: Campaign) -> Result<BulkView, Problem> {
    let counts = app.store.campaign_counts(campaign.id).await?;
    let damaged = |error: serde_json::Error| Problem::internal(&error);
    Ok(BulkView {
        id: campaign.id,
        state: campaign.state,
        action: serde_json::from_str(&campaign.action).map_err(damaged)?,
        selection: serde_json::from_str(&campaign.selection).map_err(damaged)?,
        reason: campaign.reason,
        requested_by: campaign.requested_by,
        decided_by: campaign.decided_by,
        canary: campaign.canary,
        at_once: campaign.sets_max,
        per_minute: campaign.per_minute,
        area_per_minute: campaign.area_per_minute,
        meters: counts.into_iter().map(|(progress, meters)| (progress.as_str(), meters)).collect(),
        correlation: campaign.correlation,
        at: campaign.at,
        updated_at: campaign.updated_at,
    })
}

async fn find(app: &App, id: &str) -> Result<Campaign, Problem> {
    Ok(bulk::find(&app.store, CampaignKind::Command, number(id)?).await?)
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::not_found(format!("there is no bulk command {id}")))
}

/// Says which meters a bulk command would reach, which not and why, and whether a second person has to agree. Nothing is
/// sent; the answer's id starts it. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/bulk-commands/preview", tag = "bulk commands", security(("bearer" = [])),
    request_body = NewBulkCommand,
    responses((status = 201, body = BulkPreview), (status = "4XX", body = problem::Problem)))]
pub(super) async fn preview(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<(StatusCode, Json<BulkPreview>), Problem> {
    caller.needs(Scope::Operate)?;
    let new: NewBulkCommand = json(&body)?;
    if new.action.kind == CommandKind::UpdateImage {
        caller.needs(Scope::Engineer)?;
    }
    let request = BulkRequest {
        action: new.action,
        selection: new.selection,
        each: BTreeMap::new(),
        reason: new.reason,
        canary: new.canary,
        at_once: new.at_once,
        per_minute: new.per_minute,
        area_per_minute: new.area_per_minute,
    };
    let (campaign, plan) =
        app.bulk.now().preview(request, Asking { actor: caller.name, correlation }).await?;
    let (per_minute, area_per_minute) = (campaign.per_minute, campaign.area_per_minute);
    Ok((StatusCode::CREATED, Json(BulkPreview { id: campaign.id, per_minute, area_per_minute, plan })))
}

/// Starts what was previewed, if the street is still as it was shown: else 409 with the differences. Waits for a second person
/// where the preview said so. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/bulk-commands/{id}/start", tag = "bulk commands", security(("bearer" = [])),
    params(("id" = i64, Path,)),
    responses((status = 202, body = BulkView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<BulkView>), Problem> {
    caller.needs(Scope::Operate)?;
    let campaign = app.bulk.now().start(number(&id)?, Asking { actor: caller.name, correlation }).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&app, campaign).await?)))
}

/// Agrees to a bulk command that waits for a second person, or declines it. Needs scope operate; whoever started it cannot
/// agree.
#[utoipa::path(post, path = "/api/v1/bulk-commands/{id}/decision", tag = "bulk commands", security(("bearer" = [])),
    params(("id" = i64, Path,)), request_body = CommandDecision,
    responses((status = 200, body = BulkView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn decide(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<BulkView>, Problem> {
    caller.needs(Scope::Operate)?;
    let decision: CommandDecision = json(&body)?;
    let asking = Asking { actor: caller.name, correlation };
    let campaign = app.bulk.now().decide(number(&id)?, decision.agreed, asking).await?;
    Ok(Json(view(&app, campaign).await?))
}

/// Pauses, resumes or stops a bulk command. A stop takes back the commands that nothing was sent of; what is under way goes on
/// to its end. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/bulk-commands/{id}/verb", tag = "bulk commands", security(("bearer" = [])),
    params(("id" = i64, Path,)), request_body = Change,
    responses((status = 200, body = BulkView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<BulkView>, Problem> {
    caller.needs(Scope::Operate)?;
    let change: Change = json(&body)?;
    let asking = Asking { actor: caller.name, correlation };
    let campaign = app.bulk.now().change(number(&id)?, change.verb, &asking).await?;
    Ok(Json(view(&app, campaign).await?))
}

/// Shows a bulk command or a preview, and how many of its meters are how far. Needs scope read.
#[utoipa::path(get, path = "/api/v1/bulk-commands/{id}", tag = "bulk commands", security(("bearer" = [])),
    params(("id" = i64, Path,)),
    responses((status = 200, body = BulkView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<BulkView>, Problem> {
    caller.needs(Scope::Read)?;
    let campaign = find(&app, &id).await?;
    Ok(Json(view(&app, campaign).await?))
}

/// Lists the meters of a bulk command in the order of their serials. Needs scope read.
#[utoipa::path(get, path = "/api/v1/bulk-commands/{id}/meters", tag = "bulk commands", security(("bearer" = [])),
    params(("id" = i64, Path,), Page),
    responses((status = 200, body = Vec<CampaignMeterView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn meters(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(page): Params<Page>,
) -> Result<Json<Vec<CampaignMeterView>>, Problem> {
    caller.needs(Scope::Read)?;
    let campaign = find(&app, &id).await?;
    let meters = app.store.campaign_meters(campaign.id, &page.after, page.limit()).await?;
    Ok(Json(meters.into_iter().map(CampaignMeterView::from).collect()))
}

/// Lists bulk commands that were started, newest first. Needs scope read.
#[utoipa::path(get, path = "/api/v1/bulk-commands", tag = "bulk commands", security(("bearer" = [])), params(Newest),
    responses((status = 200, body = Vec<BulkView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Newest>,
) -> Result<Json<Vec<BulkView>>, Problem> {
    caller.needs(Scope::Read)?;
    let mut views = Vec::new();
    for campaign in app.store.campaigns(CampaignKind::Command, which.serial(), which.limit()).await? {
        views.push(view(&app, campaign).await?);
    }
    Ok(Json(views))
}

/// A shortage.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCurtailment {
    /// Kilowatts to be saved.
    target_kw: u32,
    /// Among which meters; all customers when nothing is said.
    #[serde(default)]
    selection: Selection,
    /// A power measured longer ago than this many seconds counts as not measured; two read intervals where nothing is said.
    #[serde(default)]
    measured_within_s: Option<u32>,
    /// When it ends: limits end by themselves then, and nobody has to take them back.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Why, in your own words.
    #[serde(default)]
    reason: String,
}

/// Makes a curtailment list for a shortage, and previews of the bulk commands that carry it out: the limits, to be started first,
/// and the disconnections. Nothing is sent. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/curtailments", tag = "bulk commands", security(("bearer" = [])),
    request_body = NewCurtailment,
    responses((status = 201, body = Curtailment), (status = "4XX", body = problem::Problem)))]
pub(super) async fn curtail(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<(StatusCode, Json<Curtailment>), Problem> {
    caller.needs(Scope::Operate)?;
    let new: NewCurtailment = json(&body)?;
    let measured_within = new.measured_within_s.map_or_else(
        || meter_list::late_after(&app),
        |seconds| SignedDuration::from_secs(i64::from(seconds)),
    );
    let shortage = Shortage {
        target_w: i64::from(new.target_kw) * 1_000,
        selection: new.selection,
        measured_within,
        until: new.until,
        reason: new.reason,
    };
    let made = app.bulk.now().curtail(shortage, Asking { actor: caller.name, correlation }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
