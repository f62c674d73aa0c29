//! Finding the meters on a bus.

use super::access::{Caller, Scope};
use super::problem::{Problem, json};
use super::{App, problem};
use crate::config::{LineConfig, LineKind};
use crate::reading::discovery::{Progress, Search};
use crate::session::model::{Model, Role};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use std::ops::RangeInclusive;
use utoipa::ToSchema;

/// What to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// How to speak to what is there: a model's name. On a Modbus line it can be left out: then every model that has a register for
    /// a serial number is tried.
    #[serde(default)]
    model: Option<String>,
    /// The first address.
    #[serde(default)]
    from: Option<u32>,
    /// The last address.
    #[serde(default)]
    to: Option<u32>,
}

/// Addresses of a line: those that there can be, and those that are looked at where nothing is said.
fn addresses(line: &LineConfig) -> Option<(RangeInclusive<u32>, RangeInclusive<u32>)> {
    match line.kind {
        LineKind::Tcp { .. } | LineKind::TcpIn { .. } | LineKind::Udp { .. } => None,
        _ if line.kind.is_modbus() => Some((1..=247, 1..=247)),
        // HDLC physical addresses have 14 bits; those of one byte are the usual ones.
        LineKind::Serial { .. } | LineKind::Converter { .. } => Some((1..=16_382, 1..=126)),
        LineKind::ModbusTcp { .. } => Some((1..=247, 1..=247)),
    }
}

impl SearchBody {
    fn check(self, app: &App, line: &str) -> Result<Search, Problem> {
        let settings = app.config();
        let config =
            settings.line(line).ok_or_else(|| Problem::not_found(format!("there is no line {line:?}")))?;
        let (possible, usual) = addresses(config).ok_or_else(|| {
            Problem::malformed(format!("line {line:?} is a network: its meters have addresses of their own"))
        })?;
        let models = self.models(app, config)?;
        let (from, to) = (self.from.unwrap_or(*usual.start()), self.to.unwrap_or(*usual.end()));
        if from > to || !possible.contains(&from) || !possible.contains(&to) {
            return Err(Problem::malformed(format!(
                "from and to must be {} to {} on line {line:?}",
                possible.start(),
                possible.end()
            )));
        }
        Ok(Search { line: line.to_owned(), models, addresses: from..=to })
    }

    /// The models to try.
    fn models(&self, app: &App, line: &LineConfig) -> Result<Vec<String>, Problem> {
        let Some(name) = &self.model else {
            if !line.kind.is_modbus() {
                return Err(Problem::malformed(format!(
                    "line {:?} needs a model to be searched with",
                    line.name
                )));
            }
            let with_serial = app.models.iter().filter(|(_, model)| match model {
                Model::Modbus(model) => model.point(Role::Serial).is_some(),
                Model::Dlms(_) => false,
            });
            return Ok(with_serial.map(|(name, _)| name.to_owned()).collect());
        };
        let model = app.models.find(name);
        let fits = match model.as_deref() {
            None => return Err(Problem::malformed(format!("there is no model {name:?}"))),
            Some(Model::Modbus(_)) => line.kind.is_modbus(),
            Some(Model::Dlms(_)) => !line.kind.is_modbus(),
        };
        if !fits {
            return Err(Problem::malformed(format!(
                "model {name:?} does not speak what is spoken on line {:?}",
                line.name
            )));
        }
        Ok(vec![name.clone()])
    }
}

/// Begins to ask every address of a line who is there, behind all other work. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/lines/{line}/discovery", tag = "lines", security(("bearer" = [])),
    params(("line" = String, Path,)), request_body = SearchBody,
    responses((status = 202, body = Progress), (status = "4XX", body = problem::Problem)))]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(line): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Progress>), Problem> {
    caller.needs(Scope::Operate)?;
    let search = json::<SearchBody>(&body)?.check(&app, &line)?;
    match app.discoveries.start(search) {
        Some(progress) => Ok((StatusCode::ACCEPTED, Json(progress))),
        None => Err(Problem::new(
            StatusCode::CONFLICT,
            "under-way",
            format!("line {line:?} is being searched already; see how far, or stop it"),
        )),
    }
}

/// How far the last search on a line has come, and what it found. Needs scope read.
#[utoipa::path(get, path = "/api/v1/lines/{line}/discovery", tag = "lines", security(("bearer" = [])),
    params(("line" = String, Path,)),
    responses((status = 200, body = Progress), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(line): Path<String>,
) -> Result<Json<Progress>, Problem> {
    caller.needs(Scope::Read)?;
    let progress = app.discoveries.progress(&line);
    progress
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("line {line:?} was not searched since the start")))
}

/// Stops a search. What it found so far stays. Needs scope operate.
#[utoipa::path(delete, path = "/api/v1/lines/{line}/discovery", tag = "lines", security(("bearer" = [])),
    params(("line" = String, Path,)),
    responses((status = 204), (status = "4XX", body = problem::Problem)))]
pub(super) async fn stop(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(line): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Scope::Operate)?;
    match app.discoveries.stop(&line) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("line {line:?} is not being searched"))),
    }
}
