//! The requests of the API.

use super::problem::{Problem, json};
use super::view::{MeterView, Window};
use crate::fault_entry::{FaultEntry, FaultName};
use crate::faults::Fault;
use crate::meter::SimMeter;
use crate::street::Street;
use crate::units::Span;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json as object};
use std::sync::Arc;

type Shared = State<Arc<Street>>;
type Answer = Result<Json<Value>, Problem>;

/// What stands in a path, if it can be read.
pub(super) fn part<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Problem> {
    path.map(|Path(part)| part).map_err(|error| Problem::malformed(error.body_text()))
}

pub(super) fn window(query: Result<Query<Window>, QueryRejection>) -> Result<Window, Problem> {
    query.map(|Query(window)| window).map_err(|error| Problem::malformed(error.body_text()))
}

fn meter_of(street: &Street, index: u32) -> Result<&Arc<SimMeter>, Problem> {
    street.meter(index).ok_or_else(|| Problem::unknown_meter(index, street.roll().len()))
}

pub(super) fn view(street: &Street, index: u32) -> Result<MeterView, Problem> {
    let entry = street.roll().iter().find(|entry| entry.index == index);
    entry
        .and_then(|entry| MeterView::of(street, entry))
        .ok_or_else(|| Problem::unknown_meter(index, street.roll().len()))
}

pub(super) async fn street(State(street): Shared) -> Json<Value> {
    let clock = &street.config().clock;
    street.tick();
    let feeder = street.feeder().truth().status;
    Json(object!({
        "meters": street.roll().len(),
        "utc_ms": clock.utc_ms(),
        "speed": clock.speed(),
        "port": street.port(),
        "line": street.line_path(),
        "modbus_line": street.modbus_line_path(),
        "modbus_tcp": street.modbus_tcp().map(|at| at.to_string()),
        "feeder": {
            "serial": street.feeder_serial(),
            "import_wh": feeder.map(|status| status.import_wh),
            "power_w": feeder.map(|status| status.sample.active_power_mw / 1000),
        },
        "planned": street.planned(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pass {
    advance: Span,
}

/// Most time that passes with one request, and in one step of it.
const PASS_MS_MAX: u64 = 86_400_000;
const PASS_STEP_MS: u64 = 10_000;

pub(super) async fn let_time_pass(State(street): Shared, body: Bytes) -> Answer {
    let Pass { advance } = field(&body)?;
    if advance.ms > PASS_MS_MAX {
        return Err(Problem::refused("a day at most passes at once: ask again for more"));
    }
    let passing = Arc::clone(&street);
    let passed = tokio::task::spawn_blocking(move || passing.advance(advance.ms, PASS_STEP_MS)).await;
    passed.map_err(|_| Problem::refused("time did not pass: a meter's thread panicked"))?;
    Ok(Json(object!({ "utc_ms": street.config().clock.utc_ms() })))
}

pub(super) async fn meters(State(street): Shared, query: Result<Query<Window>, QueryRejection>) -> Answer {
    let (meters, next) = window(query)?.meters(&street);
    Ok(Json(object!({ "meters": meters, "next": next })))
}

pub(super) async fn meter(
    State(street): Shared,
    path: Result<Path<u32>, PathRejection>,
) -> Result<Json<MeterView>, Problem> {
    view(&street, part(path)?).map(Json)
}

pub(super) async fn press_button(State(street): Shared, path: Result<Path<u32>, PathRejection>) -> Answer {
    let pressed = meter_of(&street, part(path)?)?.at_panel(|firmware| firmware.press_button());
    Ok(Json(match pressed.ok_or_else(Problem::dark)? {
        Ok(()) => object!({ "closed": true }),
        Err(held) => object!({
            "closed": false,
            "control_state": held.state as u8,
            "held_by": held.held_by.map(|reason| reason.to_string()),
        }),
    }))
}

/// A body with one field.
fn field<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    json(body)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: String,
}

/// The display answers; `accepted` says of a token whether the meter took it.
pub(super) async fn type_keys(
    State(street): Shared,
    path: Result<Path<u32>, PathRejection>,
    body: Bytes,
) -> Answer {
    let meter = meter_of(&street, part(path)?)?;
    let Keys { keys } = field(&body)?;
    let before = meter.truth().credited_wh;
    let typed = meter.at_panel(|firmware| firmware.typed(&keys).as_str().to_owned());
    let display = typed.ok_or_else(Problem::dark)?;
    let accepted = meter.truth().credited_wh != before;
    Ok(Json(object!({ "display": display, "accepted": accepted })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Power {
    on: bool,
}

pub(super) async fn switch_power(
    State(street): Shared,
    path: Result<Path<u32>, PathRejection>,
    body: Bytes,
) -> Result<Json<MeterView>, Problem> {
    let Power { on } = field(&body)?;
    change(&street, part(path)?, Fault::Power { on })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cover {
    open: bool,
}

pub(super) async fn move_cover(
    State(street): Shared,
    path: Result<Path<u32>, PathRejection>,
    body: Bytes,
) -> Result<Json<MeterView>, Problem> {
    let Cover { open } = field(&body)?;
    change(&street, part(path)?, Fault::Cover { open })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    watts: u32,
}

pub(super) async fn set_load(
    State(street): Shared,
    path: Result<Path<u32>, PathRejection>,
    body: Bytes,
) -> Result<Json<MeterView>, Problem> {
    let index = part(path)?;
    let Load { watts } = field(&body)?;
    meter_of(&street, index)?.set_extra_load_w(watts);
    view(&street, index).map(Json)
}

fn change(street: &Street, index: u32, fault: Fault) -> Result<Json<MeterView>, Problem> {
    meter_of(street, index)?.inject(fault);
    view(street, index).map(Json)
}

pub(super) async fn begin_fault(
    State(street): Shared,
    path: Result<Path<u32>, PathRejection>,
    body: Bytes,
) -> Result<Json<MeterView>, Problem> {
    let index = part(path)?;
    meter_of(&street, index)?;
    let mut entry: FaultEntry = json(&body)?;
    if entry.meters.is_some() || entry.share.is_some() {
        return Err(Problem::refused("the path says which meter: `meters` and `share` are for /api/faults"));
    }
    entry.meters = Some(vec![index]);
    street.ask(&entry).map_err(Problem::refused)?;
    view(&street, index).map(Json)
}

pub(super) async fn end_fault(
    State(street): Shared,
    path: Result<Path<(u32, FaultName)>, PathRejection>,
) -> Result<Json<MeterView>, Problem> {
    let (index, name) = part(path)?;
    if !meter_of(&street, index)?.end(name) {
        return Err(Problem::refused(format!("{name} has happened; it does not go on")));
    }
    view(&street, index).map(Json)
}

pub(super) async fn fault_names() -> Json<Value> {
    let names = FaultName::ALL.iter().map(|name| {
        object!({ "fault": name, "text": name.text(), "lasts": name.lasts(), "parameters": name.parameters() })
    });
    Json(Value::Array(names.collect()))
}

pub(super) async fn begin_faults(State(street): Shared, body: Bytes) -> Answer {
    let entry: FaultEntry = json(&body)?;
    let meters = street.ask(&entry).map_err(Problem::refused)?;
    Ok(Json(object!({ "meters": meters })))
}
