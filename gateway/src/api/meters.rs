//! Meters: listed, shown, entered one by one or by CSV.

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::intake::{Intake, NewMeter};
use super::problem::{Params, Problem, json};
use super::{App, problem};
use crate::session::directory::Framing;
use crate::store::command::{self, CommandKind, NewCommand};
use crate::store::ledger::Account;
use crate::store::meter::{self, BalanceHolder, InsertMeterError, Meter, MeterState, Role};
use crate::store::observation::Quality;
use crate::store::{StoreError, event};
use crate::units::WattHours;
use crate::vault::VaultError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use sqlx::SqliteConnection;
use utoipa::{IntoParams, ToSchema};

/// A value and when it was read. A missing value has no time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LastReading {
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// What it is worth: measured, late when it is older than two read intervals, missing when there is none.
    pub quality: Quality,
    /// Energy import in watt-hours.
    pub import_wh: Option<WattHours>,
    /// Active power in watts.
    pub power_w: Option<i64>,
}

/// A balance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Balance {
    /// Who holds it.
    pub holder: BalanceHolder,
    /// Credit in watt-hours.
    pub credit_wh: Option<WattHours>,
    /// When it was read; now, for gateway-held balances.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
}

/// A relay as sensed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Relay {
    /// What the contact says.
    pub output_closed: bool,
    /// What the logic wants: 0 disconnected, 1 connected, 2 ready for reconnection.
    pub control_state: Option<u8>,
    /// Why it is open.
    pub reason: Option<String>,
    /// When it was sensed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
}

/// A meter and the latest of what is known about it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MeterView {
    /// Serial number.
    pub serial: String,
    /// Its line.
    pub line: String,
    /// Its address there.
    pub address: String,
    /// Framing.
    pub framing: Framing,
    /// Model.
    pub model: String,
    /// What it measures.
    pub role: Role,
    /// Transformer area.
    pub area: String,
    /// When commissioning was verified; until then the meter is not read on schedule.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub commissioned_at: Option<Timestamp>,
    /// Prepayment mode, as read back.
    pub prepaid: Option<bool>,
    /// Last reading.
    pub reading: LastReading,
    /// Balance.
    pub balance: Balance,
    /// Relay, once sensed.
    pub relay: Option<Relay>,
    /// Meter clock minus gateway clock.
    pub clock_offset_s: Option<i64>,
    /// When somebody last tried to reach it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub tried_at: Option<Timestamp>,
    /// Why that failed, if it did.
    pub problem: Option<String>,
}

impl MeterView {
    /// From what the store has. `held` is the gateway-held balance.
    #[must_use]
    pub fn of(
        meter: Meter,
        state: MeterState,
        held: WattHours,
        now: Timestamp,
        late_after: SignedDuration,
    ) -> Self {
        let quality = match state.read_at {
            None => Quality::Missing,
            Some(at) if now.duration_since(at) > late_after => Quality::Late,
            Some(_) => Quality::Measured,
        };
        let (credit_wh, credit_at) = match meter.balance {
            BalanceHolder::Meter => (state.credit_wh, state.credit_at),
            BalanceHolder::Gateway => (Some(held), Some(now)),
            BalanceHolder::None => (None, None),
        };
        Self {
            serial: meter.serial.0,
            line: meter.line,
            address: meter.address,
            framing: meter.framing,
            model: meter.model,
            role: meter.role,
            area: meter.area,
            commissioned_at: state.commissioned_at,
            prepaid: state.prepaid,
            reading: LastReading {
                at: state.read_at,
                quality,
                import_wh: state.import_wh,
                power_w: state.power_w,
            },
            balance: Balance { holder: meter.balance, credit_wh, at: credit_at },
            relay: state.relay.map(|relay| Relay {
                output_closed: relay.output_closed,
                control_state: relay.control_state,
                reason: if relay.output_closed { None } else { state.relay_reason },
                at: state.relay_at,
            }),
            clock_offset_s: state.clock_offset_s,
            tried_at: state.tried_at,
            problem: state.problem,
        }
    }
}

/// A reading older than two intervals is late.
pub(crate) fn late_after(app: &App) -> SignedDuration {
    SignedDuration::try_from(app.config.schedule.read_interval)
        .unwrap_or(SignedDuration::MAX)
        .saturating_mul(2)
}

pub(crate) async fn view(app: &App, meter: Meter, state: MeterState) -> Result<MeterView, Problem> {
    let (_, held) = app.store.account(Account::Held, &meter.serial.0).await?;
    Ok(MeterView::of(meter, state, held, app.clock.now(), late_after(app)))
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Only meters whose serial comes after this one.
    #[serde(default)]
    after: String,
    /// At most this many, up to 1000.
    #[serde(default = "hundred")]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

/// The longest page of any list.
pub(super) const PAGE_MAX: u32 = 1000;

/// Lists meters by serial. Needs scope read.
#[utoipa::path(get, path = "/api/v1/meters", tag = "meters", security(("bearer" = [])), params(Page),
    responses((status = 200, body = Vec<MeterView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(page): Params<Page>,
) -> Result<Json<Vec<MeterView>>, Problem> {
    caller.needs(Scope::Read)?;
    let mut views = Vec::new();
    for (meter, state) in app.store.meters_after(&page.after, page.limit.min(PAGE_MAX)).await? {
        views.push(view(&app, meter, state).await?);
    }
    Ok(Json(views))
}

/// Shows a meter. Needs scope read.
#[utoipa::path(get, path = "/api/v1/meters/{serial}", tag = "meters", security(("bearer" = [])),
    params(("serial" = String, Path,)),
    responses((status = 200, body = MeterView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(serial): Path<String>,
) -> Result<Json<MeterView>, Problem> {
    caller.needs(Scope::Read)?;
    match app.store.meter(&serial).await? {
        Some((meter, state)) => Ok(Json(view(&app, meter, state).await?)),
        None => Err(Problem::unknown_meter(&serial)),
    }
}

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
    let serial = intake.meter.serial.0.clone();
    match enter(&app, intake, &caller.name, &correlation).await {
        Ok(command_id) => Ok((StatusCode::CREATED, Json(Entered { serial, command_id }))),
        Err(EnterError::Insert(InsertMeterError::Store(error))) => Err(error.into()),
        Err(EnterError::Insert(error)) => {
            Err(Problem::new(StatusCode::CONFLICT, "meter-exists", error.to_string()))
        }
        Err(EnterError::Vault(error)) => Err(Problem::internal(&error)),
    }
}

#[derive(Debug, thiserror::Error)]
enum EnterError {
    #[error(transparent)]
    Insert(#[from] InsertMeterError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for EnterError {
    fn from(error: StoreError) -> Self {
        Self::Insert(InsertMeterError::Store(error))
    }
}

/// Keys first, unless the serial is taken: a key without a meter opens nothing, a meter without its key cannot be reached.
async fn enter(app: &App, intake: Intake, actor: &str, correlation: &str) -> Result<i64, EnterError> {
    let Intake { meter, keys } = intake;
    if let Some(keys) = keys
        && app.store.meter(&meter.serial.0).await?.is_none()
    {
        app.vault.set_dlms_keys(&meter.serial, &keys)?;
    }
    let (actor, correlation) = (actor.to_owned(), correlation.to_owned());
    let written = meter.clone();
    let command_id = app
        .store
        .write(move |conn| Box::pin(async move { write_meter(conn, &written, &actor, &correlation).await }))
        .await?;
    app.directory.put(meter.endpoint());
    Ok(command_id)
}

async fn write_meter(
    conn: &mut SqliteConnection,
    meter: &Meter,
    actor: &str,
    correlation: &str,
) -> Result<i64, EnterError> {
    let at = meter.added_at;
    meter::insert(conn, meter).await?;
    event::audit(conn, at, actor, "enter_meter", &meter.serial.0, correlation).await?;
    event::record(conn, at, "meter", Some(&meter.serial.0), &value!({"entered": true})).await?;
    let request = NewCommand {
        serial: meter.serial.clone(),
        kind: CommandKind::Commission,
        reason: None,
        reason_text: None,
        actor: actor.to_owned(),
        correlation: correlation.to_owned(),
        token_id: None,
        not_after: None,
    };
    Ok(command::insert(conn, &request, at).await?)
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
    let mut done = Imported { entered: Vec::new(), bad: Vec::new() };
    for row in reader.into_records() {
        match row {
            Ok(row) => {
                let line = row.position().map_or(0, csv::Position::line);
                if let Err(bad) = import_row(&app, &head, &row, &caller, &correlation, &mut done).await? {
                    done.bad.push(BadRow { line, ..bad });
                }
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                done.bad.push(BadRow { line, serial: String::new(), reason: row_error(&error) });
            }
        }
    }
    Ok(Json(done))
}

async fn import_row(
    app: &App,
    head: &csv::StringRecord,
    row: &csv::StringRecord,
    caller: &Caller,
    correlation: &str,
    done: &mut Imported,
) -> Result<Result<(), BadRow>, Problem> {
    let bad = |serial: &str, reason: String| Ok(Err(BadRow { line: 0, serial: serial.to_owned(), reason }));
    let new: NewMeter = match row.deserialize(Some(head)) {
        Ok(new) => new,
        Err(error) => return bad(row.get(0).unwrap_or_default(), row_error(&error)),
    };
    let intake = match new.check(app, app.clock.now()) {
        Ok(intake) => intake,
        Err(reason) => return bad(new.serial(), reason),
    };
    match enter(app, intake, &caller.name, correlation).await {
        Ok(command_id) => {
            done.entered.push(Entered { serial: new.serial().to_owned(), command_id });
            Ok(Ok(()))
        }
        Err(EnterError::Insert(InsertMeterError::Store(error))) => Err(error.into()),
        Err(EnterError::Insert(error)) => bad(new.serial(), error.to_string()),
        Err(EnterError::Vault(error)) => Err(Problem::internal(&error)),
    }
}

fn check_head(head: &csv::StringRecord) -> Result<(), Problem> {
    const NEEDED: [&str; 4] = ["serial", "line", "address", "model"];
    const MORE: [&str; 14] = [
        "framing",
        "balance",
        "role",
        "area",
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
