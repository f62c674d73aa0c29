//! Top-ups: signed payments in, receipts out.

use super::access::{Caller, Scope};
use super::correlation::Correlation;
use super::newest::Newest;
use super::problem::{Params, Problem, json};
use super::signature::{self, Signed};
use super::{App, amount, problem};
use crate::session::work::{Serial, TokenDigits};
use crate::store::command::CommandState;
use crate::store::payment::{NewPayment, Payment, PaymentState, StoredToken};
use crate::units::{MinorUnits, WattHours};
use crate::vending::TopUpError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// The longest Idempotency-Key, in characters.
const KEY_MAX: usize = 128;

/// A payment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopUpRequest {
    /// For which meter.
    serial: String,
    /// The amount paid: a whole number of minor units, as integer or text.
    #[schema(value_type = i64)]
    amount_minor: serde_json::Value,
}

/// A payment and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopUp {
    /// Its id.
    id: i64,
    /// For which meter.
    serial: String,
    /// Through which channel.
    channel: String,
    /// The channel's key.
    idempotency_key: String,
    /// What was paid.
    amount_minor: MinorUnits,
    /// What the credit costs.
    billed_minor: MinorUnits,
    /// Change held for the customer after this payment.
    change_minor: MinorUnits,
    /// The credit.
    energy_wh: WattHours,
    /// How far it has got.
    state: PaymentState,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The token's 20 digits, for scope top-up; others see the last four.
    token: Option<String>,
    /// Token id.
    tid: Option<u32>,
    /// The command that delivers the token.
    command_id: Option<i64>,
    /// Where that command is.
    command_state: Option<CommandState>,
}

async fn view(
    app: &App,
    payment: Payment,
    token: Option<(StoredToken, TokenDigits)>,
    caller: &Caller,
) -> Result<TopUp, Problem> {
    let command_id = match &token {
        Some((token, _)) => app.store.command_of_token(token.id).await?,
        None => None,
    };
    let command = match command_id {
        Some(id) => app.store.command(id).await?,
        None => None,
    };
    let tid = token.as_ref().map(|(token, _)| token.tid);
    let digits =
        token.map(
            |(_, digits)| {
                if caller.has(Scope::TopUp) { digits.reveal().to_owned() } else { digits.masked() }
            },
        );
    Ok(TopUp {
        id: payment.id,
        serial: payment.request.serial.0,
        channel: payment.request.channel,
        idempotency_key: payment.request.idempotency_key,
        amount_minor: payment.request.amount,
        billed_minor: payment.billed,
        change_minor: payment.change,
        energy_wh: payment.energy,
        state: payment.state,
        at: payment.at,
        token: digits,
        tid,
        command_id,
        command_state: command.map(|(command, _)| command.state),
    })
}

/// Takes a payment. Needs scope top-up, `X-Channel`, `Idempotency-Key` and `X-Signature`. The same key with the same body
/// returns the same token (status 200 and `Idempotent-Replayed: true`) and changes nothing.
#[utoipa::path(post, path = "/api/v1/top-ups", tag = "top-ups", security(("bearer" = [])), request_body = TopUpRequest,
    params(
        ("X-Channel" = String, Header, description = "Id of the payment channel"),
        ("Idempotency-Key" = String, Header, description = "The channel's own key for this payment, 1 to 128 characters"),
        ("X-Signature" = String, Header, description = "t=UNIX-SECONDS,v1=HEX: HMAC-SHA-256 under the channel's secret of t.METHOD.PATH.KEY.BODY"),
    ),
    responses((status = 201, body = TopUp), (status = 200, body = TopUp, description = "Had come before"),
        (status = "4XX", body = problem::Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.needs(Scope::TopUp)?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = text("idempotency-key").filter(|key| (1..=KEY_MAX).contains(&key.len())).ok_or_else(|| {
        Problem::malformed("a payment needs an Idempotency-Key header of 1 to 128 characters")
    })?;
    let channel = text("x-channel")
        .ok_or_else(|| Problem::unauthorized("missing-channel", "a payment needs an X-Channel header"))?;
    let config = app.config();
    let channel = config.channels.iter().find(|known| known.id == channel).ok_or_else(|| {
        Problem::unauthorized("unknown-channel", format!("there is no payment channel {channel:?}"))
    })?;
    let signed = Signed { method: method.as_str(), path: uri.path(), key, body: &body };
    // Signatures are made by other people's clocks: real time, whatever the demo's clock says.
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    signature::verify(app.vault.as_ref(), channel, text("x-signature"), now, &signed)?;
    let request: TopUpRequest = json(&body)?;
    let payment = NewPayment {
        channel: channel.id.clone(),
        idempotency_key: key.to_owned(),
        request_digest: Sha256::digest(&body).to_vec(),
        serial: Serial(request.serial),
        amount: amount::parse(&request.amount_minor, &app.config().price)?,
        correlation,
    };
    let receipt = app.vending.top_up(payment).await.map_err(problem_of)?;
    let status = if receipt.replayed { StatusCode::OK } else { StatusCode::CREATED };
    let replayed = receipt.replayed;
    let mut response =
        (status, Json(view(&app, receipt.payment, receipt.token, &caller).await?)).into_response();
    if replayed {
        response.headers_mut().insert("idempotent-replayed", axum::http::HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn problem_of(error: TopUpError) -> Problem {
    let detail = error.to_string();
    match error {
        TopUpError::UnknownMeter(serial) => Problem::unknown_meter(&serial),
        TopUpError::TakesNoTokens(_) => Problem::refused("takes-no-tokens", detail),
        TopUpError::NotPrepaid(_) => Problem::refused("not-prepaid", detail),
        TopUpError::KeyReused => Problem::refused("idempotency-key-reused", detail),
        TopUpError::Amount(_) => Problem::refused("bad-amount", detail),
        TopUpError::Tid(_) => Problem::refused("no-token-id", detail),
        TopUpError::Vault(_) => Problem::refused("no-token", detail),
        TopUpError::Later(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "token-later", detail),
        TopUpError::Store(error) => error.into(),
    }
}

/// Shows a payment. Needs scope read or top-up.
#[utoipa::path(get, path = "/api/v1/top-ups/{id}", tag = "top-ups", security(("bearer" = [])),
    params(("id" = i64, Path,)),
    responses((status = 200, body = TopUp), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<TopUp>, Problem> {
    if !caller.has(Scope::TopUp) {
        caller.needs(Scope::Read)?;
    }
    let unknown = || Problem::not_found(format!("there is no top-up {id}"));
    let number: i64 = id.parse().map_err(|_| unknown())?;
    let (payment, token) = app.store.payment(number).await?.ok_or_else(unknown)?;
    let token = match token {
        Some(token) => {
            let digits = app.vending.digits(&token).map_err(|error| Problem::internal(&error))?;
            Some((token, digits))
        }
        None => None,
    };
    Ok(Json(view(&app, payment, token, &caller).await?))
}

/// Lists payments, newest first, without tokens. Needs scope read or top-up.
#[utoipa::path(get, path = "/api/v1/top-ups", tag = "top-ups", security(("bearer" = [])), params(Newest),
    responses((status = 200, body = Vec<TopUp>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Newest>,
) -> Result<Json<Vec<TopUp>>, Problem> {
    if !caller.has(Scope::TopUp) {
        caller.needs(Scope::Read)?;
    }
    let mut views = Vec::new();
    for payment in app.store.payments(which.serial(), which.limit()).await? {
        views.push(view(&app, payment, None, &caller).await?);
    }
    Ok(Json(views))
}
