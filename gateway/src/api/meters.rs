//! Meters: listed and shown.

use super::access::{Caller, Scope};
use super::problem::{Params, Problem};
use super::{App, problem};
use crate::session::directory::Framing;
use crate::store::ledger::Account;
use crate::store::meter::{BalanceHolder, LoadRecord, Meter, MeterState, Role};
use crate::store::observation::Quality;
use crate::units::WattHours;
use axum::Json;
use axum::extract::{Extension, Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
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
    /// What is known about the load.
    #[serde(flatten)]
    pub load: LoadRecord,
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
            load: meter.load,
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
    SignedDuration::try_from(app.config().schedule.read_interval)
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
    pub(super) after: String,
    /// At most this many, up to 1000.
    #[serde(default = "hundred")]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

impl Page {
    /// How many at most.
    pub(super) fn limit(&self) -> u32 {
        self.limit.min(PAGE_MAX)
    }
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
    for (meter, state) in app.store.meters_after(&page.after, page.limit()).await? {
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
