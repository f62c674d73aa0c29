//! Meters enter: one by one, or by CSV.

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::intake::{Intake, NewMeter};
use super::problem::{Problem, json};
use super::{App, problem};
use crate::session::work::Serial;
use crate::store::command::{self, CommandKind, NewCommand};
use crate::store::meter::{self, InsertMeterError, Meter};
use crate::store::{Connection, StoreError, event};
use crate::vault::DlmsKeys;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json as value;

use std::collections::HashSet;
use utoipa::ToSchema;

/// Meters written in one transaction: short enough that payments behind it do not wait noticeably.
const WRITE_MAX: usize = 200;

/// A meter that was entered.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entered {
    /// Its serial.
    serial: String,
    /// The command that commissions it.
    command_id: i64,
}

/// Enters a meter and has it commissioned. Needs scope admin.
#[utoipa::path(post, path = "/api/v1/meters", tag = "meters", security(("bearer" = [])), request_body = NewMeter,
    responses((status = 201, body = Entered), (status = "4XX", body = problem::Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<(StatusCode, Json<Entered>), Problem> {
    caller.needs(Scope::Admin)?;
    let new: NewMeter = json(&body)?;
    let intake = new.check(&app, app.clock.now()).map_err(|reason| Problem::refused("bad-meter", reason))?;
    let mut outcomes = enter(&app, vec![intake], &caller.name, &correlation).await?;
    match outcomes.pop() {
        Some(Ok(entered)) => Ok((StatusCode::CREATED, Json(entered))),
        Some(Err(reason)) => Err(Problem::new(StatusCode::CONFLICT, "meter-exists", reason)),
        None => Err(Problem::internal(&"a meter was lost on its way in")),
    }
}

/// Enters meters; the answers are in the order of `intakes`. Keys first, for serials that are not taken: a key without a
/// meter opens nothing, a meter without its key cannot be reached.
async fn enter(
    app: &App,
    intakes: Vec<Intake>,
    actor: &str,
    correlation: &str,
) -> Result<Vec<Result<Entered, String>>, Problem> {
    set_keys(app, &intakes).await?;
    let mut outcomes = Vec::with_capacity(intakes.len());
    for part in intakes.chunks(WRITE_MAX) {
        let meters: Vec<Meter> = part.iter().map(|intake| intake.meter.clone()).collect();
        let (actor, correlation) = (actor.to_owned(), correlation.to_owned());
        let written = app
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let mut written = Vec::with_capacity(meters.len());
                    for meter in &meters {
                        written.push(write_meter(conn, meter, &actor, &correlation).await?);
                    }
                    Ok(written)
                })
            })
            .await?;
        for (intake, outcome) in part.iter().zip(written) {
            if outcome.is_ok() {
                app.directory.put(intake.meter.endpoint());
            }
            let serial = intake.meter.serial.0.clone();
            outcomes.push(outcome.map(|command_id| Entered { serial, command_id }));
        }
    }
    Ok(outcomes)
}

async fn set_keys(app: &App, intakes: &[Intake]) -> Result<(), Problem> {
    let mut keys: Vec<(Serial, DlmsKeys)> = Vec::new();
    let mut seen = HashSet::new();
    for Intake { meter, keys: given } in intakes {
        // Of two rows with one serial the first is taken, so its keys are.
        if let Some(given) = given
            && seen.insert(&meter.serial)
            && app.store.meter(&meter.serial.0).await?.is_none()
        {
            keys.push((meter.serial.clone(), given.clone()));
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let vault = app.vault.clone();
    let set = tokio::task::spawn_blocking(move || vault.set_dlms_keys(&keys)).await;
    set.map_err(|error| Problem::internal(&error))?.map_err(|error| Problem::internal(&error))
}

/// The command that commissions the meter, or why the meter was not taken. A refused meter has written nothing.
async fn write_meter(
    conn: &mut Connection,
    meter: &Meter,
    actor: &str,
    correlation: &str,
) -> Result<Result<i64, String>, StoreError> {
    let at = meter.added_at;
    match meter::insert(conn, meter).await {
        Ok(()) => {}
        Err(InsertMeterError::Store(error)) => return Err(error),
        Err(refusal) => return Ok(Err(refusal.to_string())),
    }
    event::audit(conn, at, actor, "enter_meter", &meter.serial.0, correlation).await?;
    event::record(conn, at, "meter", Some(&meter.serial.0), &value!({"entered": true})).await?;
    let request = NewCommand {
        serial: meter.serial.clone(),
        kind: CommandKind::Commission,
        reason: None,
        reason_text: None,
        breach: None,
        actor: actor.to_owned(),
        correlation: correlation.to_owned(),
        token_id: None,
        action: None,
        not_after: None,
    };
    Ok(Ok(command::insert(conn, &request, at).await?))
}

/// A row that was not taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct BadRow {
    /// Line of the file, from 1; the head is line 1.
    line: u64,
    /// The serial, as far as it could be read.
    serial: String,
    /// What is wrong with it.
    reason: String,
}

/// What became of an import.
#[derive(Debug, Serialize, ToSchema)]
pub struct Imported {
    /// The meters entered.
    entered: Vec<Entered>,
    /// The rows that were not taken.
    bad: Vec<BadRow>,
}

/// Enters meters from CSV with a head line. Good rows are taken, bad ones reported. Needs scope admin.
#[utoipa::path(post, path = "/api/v1/meters/import", tag = "meters", security(("bearer" = [])),
    request_body(content = String, content_type = "text/csv", description = "Columns as the fields of NewMeter"),
    responses((status = 200, body = Imported), (status = "4XX", body = problem::Problem)))]
pub(super) async fn import(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<Json<Imported>, Problem> {
    caller.needs(Scope::Admin)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(body.as_ref());
    let head = reader
        .headers()
        .map_err(|error| Problem::malformed(format!("the head line cannot be read: {error}")))?
        .clone();
    check_head(&head)?;
    let mut bad = Vec::new();
    let mut lines = Vec::new();
    let mut intakes = Vec::new();
    let now = app.clock.now();
    for row in reader.into_records() {
        match read_row(&app, &head, row, now) {
            Ok((line, intake)) => {
                lines.push(line);
                intakes.push(intake);
            }
            Err(row) => bad.push(row),
        }
    }
    let serials: Vec<String> = intakes.iter().map(|intake| intake.meter.serial.0.clone()).collect();
    let mut entered = Vec::with_capacity(intakes.len());
    let outcomes = enter(&app, intakes, &caller.name, &correlation).await?;
    for ((line, serial), outcome) in lines.into_iter().zip(serials).zip(outcomes) {
        match outcome {
            Ok(meter) => entered.push(meter),
            Err(reason) => bad.push(BadRow { line, serial, reason }),
        }
    }
    bad.sort_by_key(|row| row.line);
    Ok(Json(Imported { entered, bad }))
}

/// One row, checked, and the line it stands on.
fn read_row(
    app: &App,
    head: &csv::StringRecord,
    row: Result<csv::StringRecord, csv::Error>,
    now: Timestamp,
) -> Result<(u64, Intake), BadRow> {
    let at = |position: Option<&csv::Position>| position.map_or(0, csv::Position::line);
    let row = row.map_err(|error| BadRow {
        line: at(error.position()),
        serial: String::new(),
        reason: row_error(&error),
    })?;
    let line = at(row.position());
    let new: NewMeter = row.deserialize(Some(head)).map_err(|error| BadRow {
        line,
        serial: row.get(0).unwrap_or_default().to_owned(),
        reason: row_error(&error),
    })?;
    let intake =
        new.check(app, now).map_err(|reason| BadRow { line, serial: new.serial().to_owned(), reason })?;
    Ok((line, intake))
}

fn check_head(head: &csv::StringRecord) -> Result<(), Problem> {
    const NEEDED: [&str; 4] = ["serial", "line", "address", "model"];
    const MORE: [&str; 17] = [
        "framing",
        "balance",
        "role",
        "area",
        "load_class",
        "rated_w",
        "plan_w",
        "iin",
        "sgc",
        "ti",
        "krn",
        "kt",
        "ken",
        "base_year",
        "ea",
        "ek",
        "ak",
    ];
    if let Some(unknown) = head.iter().find(|name| !NEEDED.contains(name) && !MORE.contains(name)) {
        return Err(Problem::malformed(format!("line 1: column {unknown:?} is unknown")));
    }
    if let Some(missing) = NEEDED.iter().find(|name| !head.iter().any(|column| column == **name)) {
        return Err(Problem::malformed(format!("line 1: column {missing:?} is missing")));
    }
    Ok(())
}

fn row_error(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} fields, the head has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "the row is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}
