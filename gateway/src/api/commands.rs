//! Commands: recorded here, carried out by the engine, shown step by step.

use super::access::{Caller, Scope};
use super::correlation::{self, Correlation};
use super::newest::Newest;
use super::problem::{Params, Problem, json};
use super::{App, problem};
use crate::bulk::Asking;
use crate::commands::desk::{DeskError, Word};
use crate::commands::order;
use crate::guards::{self, Asked, Guard};
use crate::session::work::Serial;
use crate::store::command::{
    self, Breach, Command, CommandEvent, CommandKind, CommandState, DisconnectReason, NewCommand,
};
use crate::store::message::{self, Answer, Message};
use crate::store::{StoreError, event};
use crate::vending::SpecialAction;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// The longest free text, in bytes.
const TEXT_MAX: usize = 500;

/// A command to be recorded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandRequest {
    /// To which meter.
    serial: String,
    /// `disconnect`, `reconnect`, `read`, `commission`, `rotate_keys`, `set_clock`, `arm`, `limit_load`,
    /// `limit_emergency`, `clear_tamper`, `test_relay`, `set_prices`, `set_tariff`, `set_calendar`; with scope engineer `update_image`, `get`, `set`, `invoke`.
    kind: String,
    /// Needed for a disconnect: `planned`, `fault`, `peak_avoidance`, `breach_of_contract` or `arrears`.
    #[serde(default)]
    reason: Option<String>,
    /// In your own words.
    #[serde(default)]
    reason_text: Option<String>,
    /// What exactly. `limit_load`: `limit_w`, `over_s`, `under_s`. `limit_emergency`: `limit_w`, `from`, `until`. `set_calendar`:
    /// `days` of `id` and `switches`, `weeks`, `seasons`, `special_days`, `activate_at`. `test_relay`: `consent`. `set_prices`: `charge`, `rows` of `index` and `price`,
    /// `activate_at`. `set_tariff`: `tariff`, `activate_at`. `update_image`: `image`. `get`, `set`, `invoke`: `class_id`, `name`,
    /// `index`, `value_hex` (A-XDR).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    parameters: Option<serde_json::Value>,
    /// Needed for a breach of contract: the case.
    #[serde(default)]
    case_id: Option<String>,
    /// Needed for a breach of contract: the inspector who confirmed it.
    #[serde(default)]
    confirmed_by: Option<String>,
}

/// A second person's word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandDecision {
    /// Whether it may go ahead.
    pub(super) agreed: bool,
}

/// One step in a command's life.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepView {
    /// The state from here on.
    state: CommandState,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What was sent, read back, or went wrong.
    evidence: Vec<String>,
}

/// A command.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommandView {
    /// Its id.
    id: i64,
    /// To which meter.
    serial: String,
    /// What.
    kind: CommandKind,
    /// Where it is.
    state: CommandState,
    /// Whether anything more will happen.
    finished: bool,
    /// Why supply is cut.
    reason: Option<DisconnectReason>,
    /// In somebody's own words.
    reason_text: Option<String>,
    /// What exactly, where the kind does not say all.
    #[schema(value_type = Option<Object>)]
    parameters: Option<serde_json::Value>,
    /// The case of a breach of contract.
    case_id: Option<String>,
    /// The inspector who confirmed it.
    confirmed_by: Option<String>,
    /// Who wants it.
    actor: String,
    /// The second person, if there is one.
    approved_by: Option<String>,
    /// From the API call down to the frame.
    correlation: String,
    /// The last word about it.
    outcome: Option<String>,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When it last moved.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Not to be started after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_after: Option<Timestamp>,
    /// Its steps; not in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepView>,
}

fn view(command: Command, steps: Vec<CommandEvent>) -> CommandView {
    let finished = command.is_finished();
    let (case_id, confirmed_by) =
        command.request.breach.map(|breach| (breach.case_id, breach.confirmed_by)).unzip();
    CommandView {
        id: command.id,
        serial: command.request.serial.0,
        kind: command.request.kind,
        state: command.state,
        finished,
        reason: command.request.reason,
        reason_text: command.request.reason_text,
        parameters: command.request.action.and_then(|action| serde_json::from_str(&action).ok()),
        case_id,
        confirmed_by,
        actor: command.request.actor,
        approved_by: command.approved_by,
        correlation: command.request.correlation,
        outcome: command.outcome,
        at: command.at,
        updated_at: command.updated_at,
        not_after: command.request.not_after,
        steps: steps
            .into_iter()
            .map(|step| StepView { state: step.state, at: step.at, evidence: step.evidence })
            .collect(),
    }
}

/// Records a command. Needs scope operate. Switching supply needs a reason (disconnect) and a customer's meter. A disconnect
/// that lacks nothing but a second person waits for one; one that lacks more is refused with what would satisfy the guards.
#[utoipa::path(post, path = "/api/v1/commands", tag = "commands", security(("bearer" = [])), request_body = CommandRequest,
    responses((status = 202, body = CommandView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Correlation(correlation): Correlation,
    body: Bytes,
) -> Result<(StatusCode, Json<CommandView>), Problem> {
    caller.needs(Scope::Operate)?;
    let request: CommandRequest = json(&body)?;
    if CommandKind::parse(&request.kind) == Some(CommandKind::ClearTamper) {
        return clear_tamper(&app, request, caller.name, correlation).await;
    }
    let now = app.clock.now();
    let (new, step) = checked(&app, &caller, request, correlation, now).await?;
    let id = app
        .store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let action = new.kind.as_str();
                event::audit(conn, now, &new.actor, action, &new.serial.0, &new.correlation).await?;
                command::insert_at(conn, &new, &step).await
            })
        })
        .await?;
    let (command, steps) = find(&app, id).await?;
    Ok((StatusCode::ACCEPTED, Json(view(command, steps))))
}

/// A tamper condition is cleared by a token: whoever makes tokens records the command.
async fn clear_tamper(
    app: &App,
    request: CommandRequest,
    actor: String,
    correlation: String,
) -> Result<(StatusCode, Json<CommandView>), Problem> {
    if request.reason.is_some() || request.parameters.is_some() {
        let detail = "a clear_tamper takes case_id, confirmed_by and reason_text, and nothing else";
        return Err(Problem::refused("bad-parameters", detail));
    }
    let action = SpecialAction::ClearTamper {
        case_id: request.case_id.unwrap_or_default(),
        confirmed_by: request.confirmed_by.unwrap_or_default(),
    };
    let why = request.reason_text.unwrap_or_default();
    let asking = Asking { actor, correlation };
    let special = app.vending.request_special(&request.serial, action, &why, asking).await?;
    let id = app.store.command_of_special(special.id).await?;
    let (command, steps) = find(app, id.ok_or_else(|| Problem::unknown_meter(&request.serial))?).await?;
    Ok((StatusCode::ACCEPTED, Json(view(command, steps))))
}

/// Records the command of a message, unless that message was answered before: command, answer and the memory of the message are one
/// write. Needs what [`create`] needs.
///
/// # Errors
/// As of [`create`]; then nothing is written.
pub(crate) async fn record_message(
    app: &App,
    caller: &Caller,
    body: &[u8],
    message: &Message,
) -> Result<Answer, Problem> {
    let (now, Correlation(correlation)) = (app.clock.now(), correlation::fresh());
    caller.needs(Scope::Operate)?;
    let (mut new, step) = checked(app, caller, json(body)?, correlation, now).await?;
    new.not_after = Some(new.not_after.map_or(message.not_after, |limit| limit.min(message.not_after)));
    let message = message.clone();
    let answer = app
        .store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let action = new.kind.as_str();
                event::audit(conn, now, &new.actor, action, &new.serial.0, &new.correlation).await?;
                let id = command::insert_at(conn, &new, &step).await?;
                let body = serde_json::json!({
                    "id": id, "serial": new.serial.0, "kind": new.kind, "state": step.state,
                    "correlation": new.correlation, "not_after": new.not_after,
                });
                let answer = Answer { status: StatusCode::ACCEPTED.as_u16(), body };
                message::keep(conn, &message, Some(id), &answer, now).await?;
                Ok(answer)
            })
        })
        .await?;
    Ok(answer)
}

/// The command that is to be recorded, with its first step.
async fn checked(
    app: &App,
    caller: &Caller,
    request: CommandRequest,
    correlation: String,
    now: Timestamp,
) -> Result<(NewCommand, CommandEvent), Problem> {
    let mut new = check(app, request, caller, correlation, now).await?;
    let step = first_step(app, &mut new, now).await?;
    Ok((new, step))
}

/// Recorded; or waiting, when a second person is all that is missing.
async fn first_step(app: &App, new: &mut NewCommand, now: Timestamp) -> Result<CommandEvent, Problem> {
    let recorded = CommandEvent { state: CommandState::Recorded, at: now, evidence: Vec::new() };
    let Some(reason) = new.reason else { return Ok(recorded) };
    let standing = app.store.standing(&new.serial).await?;
    let asked = Asked { reason, breach: new.breach.as_ref(), approved: false };
    let unmet = guards::unmet(&asked, &standing, &app.config().disconnection.rules, now);
    match unmet.as_slice() {
        [] => Ok(recorded),
        [only] if only.guard == Guard::SecondPerson => {
            new.not_after = Some(later(now, app.config().disconnection.approval_expiry));
            Ok(CommandEvent { state: CommandState::Waiting, at: now, evidence: vec![only.to_string()] })
        }
        _ => Err(Problem::guarded(unmet)),
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

async fn check(
    app: &App,
    request: CommandRequest,
    caller: &Caller,
    correlation: String,
    now: Timestamp,
) -> Result<NewCommand, Problem> {
    let kind = match CommandKind::parse(&request.kind) {
        Some(CommandKind::DeliverToken) => {
            return Err(Problem::refused(
                "bad-command",
                "a token is delivered by a top-up, not by a command",
            ));
        }
        Some(CommandKind::ClearTamper) => {
            return Err(Problem::refused(
                "bad-command",
                "a tamper condition is cleared by a token, which is asked for with POST /api/v1/commands",
            ));
        }
        Some(CommandKind::RotateKeys) => {
            caller.needs(Scope::Admin)?;
            CommandKind::RotateKeys
        }
        Some(
            kind @ (CommandKind::Get | CommandKind::Set | CommandKind::Invoke | CommandKind::UpdateImage),
        ) => {
            caller.needs(Scope::Engineer)?;
            kind
        }
        Some(kind) => kind,
        None => {
            let detail = format!("kind {:?} is none of {}", request.kind, order::words());
            return Err(Problem::refused("bad-command", detail));
        }
    };
    let action = order::checked_in(&app.store, kind, request.parameters.as_ref())
        .await
        .map_err(|detail| Problem::refused("bad-parameters", detail))?;
    let reason = reason(kind, request.reason.as_deref())?;
    if request.reason_text.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
        let detail = format!("reason_text is longer than {TEXT_MAX} bytes");
        return Err(Problem::refused("bad-reason", detail));
    }
    let breach = breach(reason, request.case_id, request.confirmed_by)?;
    let Some((meter, _)) = app.store.meter(&request.serial).await? else {
        return Err(Problem::unknown_meter(&request.serial));
    };
    if let Some(detail) = order::no_switch(kind, &meter) {
        return Err(Problem::refused("no-switch", detail));
    }
    if let Some(detail) = order::obstacle(kind, &meter, app.models.find(&meter.model).as_deref()) {
        return Err(Problem::refused("not-able", detail));
    }
    Ok(NewCommand {
        serial: Serial(request.serial),
        kind,
        reason,
        reason_text: request.reason_text,
        breach,
        actor: caller.name.clone(),
        correlation,
        token_id: None,
        action,
        // Commissioning has no hurry: the meter may not be installed yet.
        not_after: (kind != CommandKind::Commission)
            .then(|| later(now, app.config().schedule.command_expiry)),
    })
}

fn reason(kind: CommandKind, word: Option<&str>) -> Result<Option<DisconnectReason>, Problem> {
    match (kind, word) {
        (CommandKind::Disconnect, None | Some("")) => {
            let detail = format!("a disconnect needs a reason: one of {}", order::REASONS);
            Err(Problem::refused("missing-reason", detail))
        }
        (CommandKind::Disconnect, Some(word)) => {
            order::reason(word).map(Some).map_err(|detail| Problem::refused("bad-reason", detail))
        }
        (_, None | Some("")) => Ok(None),
        (_, Some(_)) => {
            Err(Problem::refused("bad-reason", format!("a {kind} takes no reason; say it in reason_text")))
        }
    }
}

/// Case and inspector: both or none, and only with a breach of contract. That they are missing is for the guard to say.
fn breach(
    reason: Option<DisconnectReason>,
    case_id: Option<String>,
    confirmed_by: Option<String>,
) -> Result<Option<Breach>, Problem> {
    let text = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match (text(case_id), text(confirmed_by)) {
        (None, None) => Ok(None),
        (Some(case_id), Some(confirmed_by)) if reason == Some(DisconnectReason::BreachOfContract) => {
            if case_id.len() > TEXT_MAX || confirmed_by.len() > TEXT_MAX {
                let detail = format!("case_id or confirmed_by is longer than {TEXT_MAX} bytes");
                return Err(Problem::refused("bad-case", detail));
            }
            Ok(Some(Breach { case_id, confirmed_by }))
        }
        _ => Err(Problem::refused(
            "bad-case",
            "case_id and confirmed_by go together, and with reason breach_of_contract only",
        )),
    }
}

/// Agrees to a command that waits for a second person, or declines it. Needs scope operate; whoever asked for it cannot agree.
#[utoipa::path(post, path = "/api/v1/commands/{id}/decision", tag = "commands", security(("bearer" = [])),
    params(("id" = i64, Path,)), request_body = CommandDecision,
    responses((status = 200, body = CommandView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn decide(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<CommandView>, Problem> {
    caller.needs(Scope::Operate)?;
    let decision: CommandDecision = json(&body)?;
    say(&app, &id, if decision.agreed { Word::Approve } else { Word::Decline }, &caller).await
}

/// Takes a command back, if nothing of it can have reached the meter. Needs scope operate.
#[utoipa::path(post, path = "/api/v1/commands/{id}/cancel", tag = "commands", security(("bearer" = [])),
    params(("id" = i64, Path,)),
    responses((status = 200, body = CommandView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<CommandView>, Problem> {
    caller.needs(Scope::Operate)?;
    say(&app, &id, Word::Cancel, &caller).await
}

async fn say(app: &App, id: &str, word: Word, caller: &Caller) -> Result<Json<CommandView>, Problem> {
    let id = number(id)?;
    find(app, id).await?;
    app.desk.say(id, word, &caller.name).await?;
    let (command, steps) = find(app, id).await?;
    Ok(Json(view(command, steps)))
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        let kind = match error {
            DeskError::Store(error) => return error.into(),
            DeskError::Guards(unmet) => return Self::guarded(unmet),
            DeskError::Stopping => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", error.to_string());
            }
            DeskError::SamePerson(_) => "same-person",
            DeskError::NotOpen(_) | DeskError::NotWaiting(_) => "not-waiting",
            DeskError::UnderWay(_) => "under-way",
            DeskError::Token => "not-cancellable",
        };
        Self::new(StatusCode::CONFLICT, kind, error.to_string())
    }
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::not_found(format!("there is no command {id}")))
}

async fn find(app: &App, id: i64) -> Result<(Command, Vec<CommandEvent>), Problem> {
    app.store.command(id).await?.ok_or_else(|| Problem::not_found(format!("there is no command {id}")))
}

/// Shows a command and its steps. Needs scope read.
#[utoipa::path(get, path = "/api/v1/commands/{id}", tag = "commands", security(("bearer" = [])),
    params(("id" = i64, Path,)),
    responses((status = 200, body = CommandView), (status = "4XX", body = problem::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<CommandView>, Problem> {
    caller.needs(Scope::Read)?;
    let (command, steps) = find(&app, number(&id)?).await?;
    Ok(Json(view(command, steps)))
}

/// Lists commands, newest first. Needs scope read.
#[utoipa::path(get, path = "/api/v1/commands", tag = "commands", security(("bearer" = [])), params(Newest),
    responses((status = 200, body = Vec<CommandView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Newest>,
) -> Result<Json<Vec<CommandView>>, Problem> {
    caller.needs(Scope::Read)?;
    let commands = app.store.commands(which.serial(), which.limit()).await?;
    Ok(Json(commands.into_iter().map(|command| view(command, Vec::new())).collect()))
}
