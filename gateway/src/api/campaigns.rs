//! Campaigns: one key change for many meters, looked at before it is started, and followed meter by meter.

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::meters::Page;
use super::newest::Newest;
use super::problem::{Params, Problem, json};
use super::{App, problem};
use crate::bulk::{self, Asking, BulkError, Selection, Verb};
use crate::store::campaign::{Campaign, CampaignKind, CampaignMeter, CampaignState, MeterProgress};
use crate::store::command::CommandState;
use crate::vending::{CampaignRequest, Preview, SpecialAction};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Sets on the way at once where nothing else is said.
const SETS_DEFAULT: u32 = 16;

/// A campaign to be started.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCampaign {
    /// A key change, as for special tokens.
    action: SpecialAction,
    /// For which meters; all when nothing is said.
    #[serde(default)]
    selection: Selection,
    /// Why, in your own words.
    #[serde(default)]
    reason: String,
    /// Sets on the way at once, 1 to 256.
    #[serde(default = "sixteen")]
    sets_max: u32,
    /// How many meters the preview said would take part. When it is given and the number is another by now, nothing is done.
    #[serde(default)]
    expected: Option<usize>,
}

fn sixteen() -> u32 {
    SETS_DEFAULT
}

/// What is to be done to a campaign.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// `pause`, `resume`, `stop`; `retry` for key changes.
    pub(super) verb: Verb,
}

/// A campaign and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignView {
    /// Its id.
    id: i64,
    /// Where it is.
    state: CampaignState,
    /// The key change.
    #[schema(value_type = SpecialAction)]
    action: serde_json::Value,
    /// Which meters were asked for.
    #[schema(value_type = Selection)]
    selection: serde_json::Value,
    /// Why.
    reason: String,
    /// Who started it.
    requested_by: String,
    /// Sets on the way at once.
    sets_max: u32,
    /// Meters by how far they are: `excluded`, `waiting`, `on_the_way`, `done`, `refused`, `stopped`.
    meters: BTreeMap<&'static str, u64>,
    /// From the API call down to the frames.
    correlation: String,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When its state last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A meter of a campaign.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignMeterView {
    /// Which.
    serial: String,
    /// How far it is.
    progress: MeterProgress,
    /// Why it is excluded, or the last word about its set.
    outcome: Option<String>,
    /// Its set, once that is made: a special token.
    special_id: Option<i64>,
    /// Its command, once that is recorded.
    command_id: Option<i64>,
    /// Tokens in the set.
    tokens: u32,
    /// Tokens that the meter has taken in this round.
    taken: u32,
    /// How often delivery of the set was begun.
    rounds: u32,
    /// Where its command or the newest delivery is.
    command_state: Option<CommandState>,
}

impl From<CampaignMeter> for CampaignMeterView {
    fn from(meter: CampaignMeter) -> Self {
        Self {
            serial: meter.serial.0,
            progress: meter.progress,
            outcome: meter.outcome,
            special_id: meter.special_id,
            command_id: meter.command_id,
            tokens: meter.tokens,
            taken: meter.taken,
            rounds: meter.rounds,
            command_state: meter.command_state,
        }
    }
}

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        let detail = error.to_string();
        match error {
            BulkError::Unknown { .. } => Self::not_found(detail),
            BulkError::Request(_) => Self::refused("bad-campaign", detail),
            BulkError::State { .. } => Self::refused("campaign-state", detail),
            BulkError::Changed(_) => Self::new(StatusCode::CONFLICT, "changed-since-preview", detail),
            BulkError::SamePerson(_) => Self::new(StatusCode::CONFLICT, "same-person", detail),
            BulkError::Store(error) => error.into(),
        }
    }
}

async fn view(app: &App, campaign: Campaign) -> Result<CampaignView, Problem> {
    let counts = app.store.campaign_counts(campaign.id).await?;
    let value = |text: &str| serde_json::from_str(text).map_err(|error| Problem::internal(&error));
    Ok(CampaignView {
        id: campaign.id,
        state: campaign.state,
        action: value(&campaign.action)?,
        selection: value(&campaign.selection)?,
        reason: campaign.reason,
        requested_by: campaign.requested_by,
        sets_max: campaign.sets_max,
        meters: counts.into_iter().map(|(progress, meters)| (progress.as_str(), meters)).collect(),
        correlation: campaign.correlation,
        at: campaign.at,
        updated_at: campaign.updated_at,
    })
}

/// Says which meters a campaign would change, and which not and why; changes nothing. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/campaigns/preview", tag = "campaigns", security(("bearer" = [])),
    request_body = NewCampaign,
    responses((status = 200, body = Preview), (status = "4XX", body = problem::Problem)))]
pub(super) async fn preview(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Preview>, Problem> {
    caller.needs(Scope::Operate)?;
    let new: NewCampaign = json(&body)?;
    Ok(Json(app.vending.preview_campaign(&new.action, &new.selection).await?))
}

/// Starts a campaign: each meter gets an ordered set of key-change tokens, pushed one after the other. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/campaigns", tag = "campaigns", security(("bearer" = [])),
    request_body = NewCampaign,
    responses((status = 202, body = CampaignView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<(StatusCode, Json<CampaignView>), Problem> {
    caller.needs(Scope::Operate)?;
    let new: NewCampaign = json(&body)?;
    let request = CampaignRequest {
        action: new.action,
        selection: new.selection,
        reason: new.reason,
        sets_max: new.sets_max,
        expected: new.expected,
    };
    let campaign = app.vending.start_campaign(request, Asking { actor: caller.name, correlation }).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&app, campaign).await?)))
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::not_found(format!("there is no campaign {id}")))
}

async fn find(app: &App, id: &str) -> Result<Campaign, Problem> {
    let id = number(id)?;
    Ok(bulk::find(&app.store, CampaignKind::KeyChange, id).await?)
}

/// Pauses, resumes or stops a campaign, or delivers its refused sets once more. Sets on the way always go on: a meter with
/// half a set is no better off. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/campaigns/{id}/verb", tag = "campaigns", security(("bearer" = [])),
    params(("id" = i64, Path,)), request_body = Change,
    responses((status = 200, body = CampaignView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<CampaignView>, Problem> {
    caller.needs(Scope::Operate)?;
    let change: Change = json(&body)?;
    let asking = Asking { actor: caller.name, correlation };
    let campaign = app.vending.change_campaign(number(&id)?, change.verb, asking).await?;
    Ok(Json(view(&app, campaign).await?))
}

/// Shows a campaign and how many of its meters are how far. Needs scope read.
#[utoipa::path(get, path = "/api/v1/campaigns/{id}", tag = "campaigns", security(("bearer" = [])),
    params(("id" = i64, Path,)),
    responses((status = 200, body = CampaignView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<CampaignView>, Problem> {
    caller.needs(Scope::Read)?;
    let campaign = find(&app, &id).await?;
    Ok(Json(view(&app, campaign).await?))
}

/// Lists the meters of a campaign in the order of their serials. Needs scope read.
#[utoipa::path(get, path = "/api/v1/campaigns/{id}/meters", tag = "campaigns", security(("bearer" = [])),
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

/// Lists campaigns, newest first. Needs scope read.
#[utoipa::path(get, path = "/api/v1/campaigns", tag = "campaigns", security(("bearer" = [])), params(Newest),
    responses((status = 200, body = Vec<CampaignView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Newest>,
) -> Result<Json<Vec<CampaignView>>, Problem> {
    caller.needs(Scope::Read)?;
    let mut views = Vec::new();
    for campaign in app.store.campaigns(CampaignKind::KeyChange, which.serial(), which.limit()).await? {
        views.push(view(&app, campaign).await?);
    }
    Ok(Json(views))
}
