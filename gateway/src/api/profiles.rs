//! Profiles: rows, what is missing, and how much is there.

use super::access::{Caller, Scope};
use super::meters::PAGE_MAX;
use super::problem::{Params, Problem};
use super::{App, problem};
use crate::reading::coverage::{self, Coverage};
use crate::reading::slots::Slots;
use crate::session::model::{Model, Models, ProfileModel};
use crate::store::meter::Meter;
use crate::store::observation::Quality;
use crate::store::profile::{Counted, Covered, GapState, StoredRow};
use axum::Json;
use axum::extract::{Extension, Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use utoipa::{IntoParams, ToSchema};

/// One value of a row.
#[derive(Debug, Serialize, ToSchema)]
pub struct ValueView {
    /// The channel.
    channel: String,
    /// The value; none where the meter had none.
    value: Option<i64>,
    /// Its unit.
    unit: String,
}

/// One row.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowView {
    /// Its time: for load profiles the end of the interval.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What it is worth: measured, late, estimated by the meter, or missing.
    quality: Quality,
    /// The status the meter gave it.
    status: Option<u32>,
    /// The meter said something else of it later; this is what it said first.
    disputed: bool,
    /// The doubt that holds it, if one does: then it counts for nothing.
    doubt_id: Option<i64>,
    /// When it was read; none for one that is missing.
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
    /// Its values.
    values: Vec<ValueView>,
}

/// From when to when.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Begin, RFC 3339. Default: a day before the end.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// End, RFC 3339. Default: now.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
}

impl Window {
    fn of(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let to = self.to.unwrap_or(now);
        let day_before = to.checked_sub(SignedDuration::from_hours(24)).unwrap_or(to);
        (self.from.unwrap_or(day_before), to)
    }
}

/// A gap.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapView {
    /// Which profile.
    profile: String,
    /// Its first row.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Its last row.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Whether it is still asked for.
    state: GapState,
    /// Why not, if not.
    given_up: Option<String>,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// How often it was asked for.
    attempts: u32,
    /// When it is asked for again.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
}

/// How much of one meter's profile is there.
#[derive(Debug, Serialize, ToSchema)]
pub struct CoverageView {
    /// The meter.
    serial: String,
    /// The profile.
    profile: String,
    /// The counts.
    #[serde(flatten)]
    coverage: Coverage,
}

/// How much of an area's profiles is there.
#[derive(Debug, Serialize, ToSchema)]
pub struct AreaCoverage {
    /// The area.
    area: String,
    /// Sum of all meters, for each profile.
    total: Vec<ProfileCoverage>,
    /// Each meter and profile.
    meters: Vec<CoverageView>,
}

/// The sum for one profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProfileCoverage {
    /// The profile.
    profile: String,
    /// The counts.
    #[serde(flatten)]
    coverage: Coverage,
}

/// The profile of that name in the meter's model, and its slots.
pub(crate) fn profile_of(models: &Models, model: &str, name: &str) -> Option<(ProfileModel, Slots)> {
    let model = models.find(model)?;
    let Model::Dlms(dlms) = &*model else { return None };
    let profile = dlms.profile(name)?;
    Some((profile.clone(), Slots { cadence: profile.cadence, zone: dlms.clock.zone.clone() }))
}

async fn known(app: &App, serial: &str) -> Result<Meter, Problem> {
    app.store.meter(serial).await?.map(|(meter, _)| meter).ok_or_else(|| Problem::unknown_meter(serial))
}

/// Rows of a meter's profile, oldest first, at most 1000, with those that are due and missing in their places. Needs scope read.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/profiles/{profile}", tag = "profiles", security(("bearer" = [])),
    params(("serial" = String, Path,), ("profile" = String, Path,), Window),
    responses((status = 200, body = Vec<RowView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn rows(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((serial, profile)): Path<(String, String)>,
    Params(window): Params<Window>,
) -> Result<Json<Vec<RowView>>, Problem> {
    caller.needs(Scope::Read)?;
    let meter = known(&app, &serial).await?;
    let (_, slots) = profile_of(&app.models, &meter.model, &profile)
        .ok_or_else(|| Problem::not_found(format!("a {} has no profile {profile:?}", meter.model)))?;
    let now = app.clock.now();
    let (from, to) = window.of(now);
    let stored = app.store.profile_rows(&serial, &profile, from, to, PAGE_MAX).await?;
    // A page that is full says nothing about what comes after its last row.
    let to = match stored.last() {
        Some(last) if stored.len() >= PAGE_MAX as usize => last.at,
        _ => to,
    };
    let due_from = app.store.due_from(&serial, &profile).await?;
    let mut missing =
        due_from.map_or_else(Vec::new, |due_from| coverage::due(&slots, due_from, from, to, now));
    missing.retain(|slot| !stored.iter().any(|row| slots.of(row.at) == Some(*slot)));
    let mut views: Vec<RowView> = stored.into_iter().map(view).collect();
    views.extend(missing.into_iter().take(PAGE_MAX as usize).map(nothing));
    views.sort_by_key(|row| row.at);
    views.truncate(PAGE_MAX as usize);
    Ok(Json(views))
}

fn view(row: StoredRow) -> RowView {
    let value = |(channel, unit, value)| ValueView { channel, value, unit };
    RowView {
        at: row.at,
        quality: row.quality,
        status: row.status,
        disputed: row.disputed,
        doubt_id: row.doubt_id,
        read_at: Some(row.read_at),
        values: row.values.into_iter().map(value).collect(),
    }
}

fn nothing(at: Timestamp) -> RowView {
    let (quality, values) = (Quality::Missing, Vec::new());
    RowView { at, quality, status: None, disputed: false, doubt_id: None, read_at: None, values }
}

/// How much of a meter's profiles is there. Needs scope read.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/coverage", tag = "profiles", security(("bearer" = [])),
    params(("serial" = String, Path,), Window),
    responses((status = 200, body = Vec<CoverageView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn of_meter(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
    Params(window): Params<Window>,
) -> Result<Json<Vec<CoverageView>>, Problem> {
    caller.needs(Scope::Read)?;
    known(&app, &serial).await?;
    Ok(Json(covered(&app, Covered::Meter(&serial), &window).await?))
}

/// How much of the profiles of an area's meters is there. Needs scope read.
#[utoipa::path(get, path = "/api/v1/areas/{area}/coverage", tag = "profiles", security(("bearer" = [])),
    params(("area" = String, Path,), Window),
    responses((status = 200, body = AreaCoverage), (status = "4XX", body = problem::Problem)))]
pub(super) async fn of_area(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(area): Path<String>,
    Params(window): Params<Window>,
) -> Result<Json<AreaCoverage>, Problem> {
    caller.needs(Scope::Read)?;
    let meters = covered(&app, Covered::Area(&area), &window).await?;
    if meters.is_empty() {
        return Err(Problem::not_found(format!("no meter of an area {area:?} has a profile")));
    }
    let mut total: Vec<ProfileCoverage> = Vec::new();
    for meter in &meters {
        let at = total.iter().position(|sum| sum.profile == meter.profile).unwrap_or(total.len());
        if at == total.len() {
            total.push(ProfileCoverage { profile: meter.profile.clone(), coverage: Coverage::default() });
        }
        if let Some(sum) = total.get_mut(at) {
            sum.coverage.add(&meter.coverage);
        }
    }
    Ok(Json(AreaCoverage { area, total, meters }))
}

async fn covered(app: &App, of: Covered<'_>, window: &Window) -> Result<Vec<CoverageView>, Problem> {
    let now = app.clock.now();
    let (from, to) = window.of(now);
    let models: HashMap<String, String> = match of {
        Covered::Meter(serial) => HashMap::from([(serial.to_owned(), known(app, serial).await?.model)]),
        Covered::Area(_) => app
            .store
            .all_meters()
            .await?
            .into_iter()
            .map(|(meter, _)| (meter.serial.0, meter.model))
            .collect(),
    };
    let view = |counted: Counted| {
        let (_, slots) = profile_of(&app.models, models.get(&counted.serial.0)?, &counted.profile)?;
        let due = coverage::due(&slots, counted.due_from, from, to, now);
        let coverage = coverage::count(&slots, &due, &counted.rows);
        Some(CoverageView { serial: counted.serial.0, profile: counted.profile, coverage })
    };
    // A profile that the model no longer has is no longer due.
    Ok(app.store.coverage(of, from, to, view).await?)
}

/// What is missing of a meter's profiles, newest first, at most 1000. Needs scope read.
#[utoipa::path(get, path = "/api/v1/meters/{serial}/gaps", tag = "profiles", security(("bearer" = [])),
    params(("serial" = String, Path,)),
    responses((status = 200, body = Vec<GapView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn gaps(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
) -> Result<Json<Vec<GapView>>, Problem> {
    caller.needs(Scope::Read)?;
    known(&app, &serial).await?;
    let view = |stored: crate::store::profile::StoredGap| GapView {
        profile: stored.profile,
        from: stored.gap.from,
        to: stored.gap.to,
        state: if stored.given_up.is_some() { GapState::GivenUp } else { GapState::Open },
        next_at: stored.given_up.is_none().then_some(stored.gap.next_at),
        given_up: stored.given_up,
        seen_at: stored.gap.seen_at,
        attempts: stored.gap.attempts,
    };
    Ok(Json(app.store.gaps(&serial, PAGE_MAX).await?.into_iter().map(view).collect()))
}
