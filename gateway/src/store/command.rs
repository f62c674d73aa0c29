//! Commands and the events of their lives. A command is written before anything is sent, and every step after it.

use super::sql::{self, Connection, Numbered, Row};
use super::text::words;
use super::{Store, StoreError, event, ms, time, time_opt};
use crate::session::work::Serial;
use jiff::Timestamp;
use serde_json::json;

words! {
    /// What is to be done to a meter.
    CommandKind {
        /// Open an association, read identity and mode, set the clock, sense the relay.
        Commission = "commission",
        /// Read now.
        Read = "read",
        /// Push a credit token.
        DeliverToken = "deliver_token",
        /// Open the relay.
        Disconnect = "disconnect",
        /// Close or arm the relay.
        Reconnect = "reconnect",
        /// Give the meter new DLMS keys.
        RotateKeys = "rotate_keys",
        /// Set the meter's clock to ours.
        SetClock = "set_clock",
        /// Make the relay ready for a person to close.
        Arm = "arm",
        /// Limit the load.
        LimitLoad = "limit_load",
        /// Give a charge new prices.
        SetPrices = "set_prices",
        /// Give the meter a tariff to come.
        SetTariff = "set_tariff",
        /// Give the meter a calendar, at once or to come.
        SetCalendar = "set_calendar",
        /// Test the relay: operate it where that is allowed, look at it otherwise.
        TestRelay = "test_relay",
        /// Read the signs of tampering and clear them.
        ClearTamper = "clear_tamper",
        /// Limit the load for a time.
        LimitEmergency = "limit_emergency",
        /// Give the meter new firmware.
        UpdateImage = "update_image",
        /// An engineer reads an attribute.
        Get = "get",
        /// An engineer sets an attribute.
        Set = "set",
        /// An engineer invokes a method.
        Invoke = "invoke",
    }
}

words! {
    /// Where a command is in its life.
    CommandState {
        /// A second person has to agree first.
        Waiting = "waiting",
        /// Stored; nobody has looked at it yet.
        Recorded = "recorded",
        /// Waiting for its line.
        Queued = "queued",
        /// The request is leaving.
        Sending = "sending",
        /// The answer was lost: the meter may have acted and has to be asked.
        Unknown = "unknown",
        /// The meter said yes; not yet seen to have done it.
        Accepted = "accepted",
        /// Read back and as wanted.
        Verified = "verified",
        /// The meter said no.
        Rejected = "rejected",
        /// Given up before anything was sent.
        Expired = "expired",
        /// Taken back by a person before anything was sent, or declined by the second one.
        Cancelled = "cancelled",
    }
}

impl CommandState {
    /// Nothing more will happen.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Verified | Self::Rejected | Self::Expired | Self::Cancelled)
    }
}

words! {
    /// Why supply is cut. The five causes are kept apart (N20); a zero balance is a different thing from arrears (N21).
    DisconnectReason {
        /// Planned work.
        Planned = "planned",
        /// A fault.
        Fault = "fault",
        /// Peak avoidance.
        PeakAvoidance = "peak_avoidance",
        /// Breach of contract.
        BreachOfContract = "breach_of_contract",
        /// Arrears.
        Arrears = "arrears",
        /// A gateway-held balance is used up. Given by the gateway itself only.
        NoCredit = "no_credit",
    }
}

/// A breach of contract that was found, not suspected (N23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The case.
    pub case_id: String,
    /// The inspector.
    pub confirmed_by: String,
}

/// A command to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand {
    /// To which meter.
    pub serial: Serial,
    /// What.
    pub kind: CommandKind,
    /// Why: always given for a disconnect.
    pub reason: Option<DisconnectReason>,
    /// In somebody's own words.
    pub reason_text: Option<String>,
    /// Given with a breach of contract.
    pub breach: Option<Breach>,
    /// Who wants it: an API token's name, a channel, or `gateway`.
    pub actor: String,
    /// From the API call down to the frame.
    pub correlation: String,
    /// The token to deliver.
    pub token_id: Option<i64>,
    /// What exactly, JSON, where the kind does not say all.
    pub action: Option<String>,
    /// Not to be started after this time.
    pub not_after: Option<Timestamp>,
}

/// A command as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id.
    pub id: i64,
    /// As requested.
    pub request: NewCommand,
    /// Where it is.
    pub state: CommandState,
    /// The second person, if there is one.
    pub approved_by: Option<String>,
    /// Handed to a line: the meter may have acted, whatever the state says after a crash.
    pub dispatched: bool,
    /// The last word about it, for a person.
    pub outcome: Option<String>,
    /// When it was recorded.
    pub at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
}

impl Command {
    /// Nothing more will happen. An engineer's action whose answer was lost stays unknown: it cannot be asked about, and it is
    /// never sent again.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let lost = self.request.kind == CommandKind::Invoke && self.state == CommandState::Unknown;
        self.state.is_final() || lost
    }
}

/// One step in a command's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEvent {
    /// The state from here on.
    pub state: CommandState,
    /// Since when.
    pub at: Timestamp,
    /// What was sent, read back, or went wrong, one line each.
    pub evidence: Vec<String>,
}

/// Writes a command and its first step.
///
/// # Errors
/// Store failures.
pub async fn insert(conn: &mut Connection, request: &NewCommand, at: Timestamp) -> Result<i64, StoreError> {
    let step = CommandEvent { state: CommandState::Recorded, at, evidence: Vec::new() };
    insert_at(conn, request, &step).await
}

/// Writes a command and its first step, which is `recorded`, or `waiting` with what it waits for.
///
/// # Errors
/// Store failures.
pub async fn insert_at(
    conn: &mut Connection,
    request: &NewCommand,
    step: &CommandEvent,
) -> Result<i64, StoreError> {
    let breach = request.breach.as_ref();
    let id = conn.next_number(Numbered::Command).await?;
    sql::query("INSERT INTO command (serial, kind, state, reason, reason_text, case_id, confirmed_by, actor, correlation, token_id,
                              action, outcome, not_after, at, updated_at, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?14, ?15)")
    .bind(&request.serial.0)
    .bind(request.kind.as_str())
    .bind(step.state.as_str())
    .bind(request.reason.map(DisconnectReason::as_str))
    .bind(&request.reason_text)
    .bind(breach.map(|breach| &breach.case_id))
    .bind(breach.map(|breach| &breach.confirmed_by))
    .bind(&request.actor)
    .bind(&request.correlation)
    .bind(request.token_id)
    .bind(&request.action)
    .bind(step.evidence.last())
    .bind(request.not_after.map(ms))
    .bind(ms(step.at)).bind(id).later(conn);
    insert_event(conn, id, &request.serial, request.kind, step).await?;
    Ok(id)
}

/// A second person's agreement: from here on it is a recorded command, with a new time to be started by.
///
/// # Errors
/// Store failures.
pub async fn approve(
    conn: &mut Connection,
    command: &Command,
    by: &str,
    not_after: Option<Timestamp>,
    step: &CommandEvent,
) -> Result<(), StoreError> {
    sql::query("UPDATE command SET approved_by = ?2, not_after = ?3 WHERE id = ?1")
        .bind(command.id)
        .bind(by)
        .bind(not_after.map(ms))
        .later(conn);
    advance(conn, command, step, false).await
}

/// Moves a command on and writes the step. `dispatched` is set when the command is handed to a line, and stays set until the
/// meter is known not to have acted.
///
/// # Errors
/// Store failures.
pub async fn advance(
    conn: &mut Connection,
    command: &Command,
    step: &CommandEvent,
    dispatched: bool,
) -> Result<(), StoreError> {
    sql::query("UPDATE command SET state = ?2, dispatched = ?3, outcome = ?4, updated_at = ?5 WHERE id = ?1")
        .bind(command.id)
        .bind(step.state.as_str())
        .bind(i64::from(dispatched))
        .bind(step.evidence.last())
        .bind(ms(step.at))
        .later(conn);
    insert_event(conn, command.id, &command.request.serial, command.request.kind, step).await
}

/// Ends the time in which a command may be started.
///
/// # Errors
/// Store failures.
pub async fn set_not_after(conn: &mut Connection, id: i64, not_after: Timestamp) -> Result<(), StoreError> {
    sql::query("UPDATE command SET not_after = ?2 WHERE id = ?1").bind(id).bind(ms(not_after)).later(conn);
    Ok(())
}

/// Notes whether a command is in a line's hands, without a step in its life: it was queued before and still is.
///
/// # Errors
/// Store failures.
pub async fn set_dispatched(conn: &mut Connection, id: i64, dispatched: bool) -> Result<(), StoreError> {
    sql::query("UPDATE command SET dispatched = ?2 WHERE id = ?1")
        .bind(id)
        .bind(i64::from(dispatched))
        .later(conn);
    Ok(())
}

async fn insert_event(
    conn: &mut Connection,
    id: i64,
    serial: &Serial,
    kind: CommandKind,
    step: &CommandEvent,
) -> Result<(), StoreError> {
    sql::query("INSERT INTO command_event (command_id, state, at, evidence) VALUES (?1, ?2, ?3, ?4)")
        .bind(id)
        .bind(step.state.as_str())
        .bind(ms(step.at))
        .bind(serde_json::to_string(&step.evidence)?)
        .later(conn);
    let detail = json!({"command_id": id, "kind": kind, "state": step.state, "evidence": step.evidence});
    event::record(conn, step.at, "command", Some(&serial.0), &detail).await
}

/// Whether a relay command for this meter is still under way. One that waits for a second person is not.
///
/// # Errors
/// Store failures.
pub async fn relay_command_open(conn: &mut Connection, serial: &Serial) -> Result<bool, StoreError> {
    let open: i64 = sql::query_scalar(
        "SELECT COUNT(*) FROM command WHERE serial = ?1 AND kind IN ('disconnect', 'reconnect', 'arm')
         AND state NOT IN ('waiting', 'verified', 'rejected', 'expired', 'cancelled')",
    )
    .bind(&serial.0)
    .fetch_one(conn)
    .await?;
    Ok(open > 0)
}

/// The reason of the last verified disconnect, unless a reconnect was verified since.
///
/// # Errors
/// Store failures.
pub async fn standing_disconnect(
    conn: &mut Connection,
    serial: &Serial,
) -> Result<Option<DisconnectReason>, StoreError> {
    let row = sql::query(
        "SELECT kind, reason FROM command WHERE serial = ?1 AND kind IN ('disconnect', 'reconnect') AND state = 'verified'
         ORDER BY id DESC LIMIT 1",
    )
    .bind(&serial.0)
    .fetch_optional(conn)
    .await?;
    match row {
        Some(row) if row.try_get::<&str, _>("kind")? == "disconnect" => {
            row.try_get::<Option<&str>, _>("reason")?.map(DisconnectReason::from_store).transpose()
        }
        _ => Ok(None),
    }
}

fn breach_of(row: &Row) -> Result<Option<Breach>, StoreError> {
    let case_id: Option<String> = row.try_get("case_id")?;
    let confirmed_by: Option<String> = row.try_get("confirmed_by")?;
    Ok(case_id.zip(confirmed_by).map(|(case_id, confirmed_by)| Breach { case_id, confirmed_by }))
}

fn command_of(row: &Row) -> Result<Command, StoreError> {
    Ok(Command {
        id: row.try_get("id")?,
        request: NewCommand {
            serial: Serial(row.try_get("serial")?),
            kind: CommandKind::from_store(row.try_get("kind")?)?,
            reason: row
                .try_get::<Option<&str>, _>("reason")?
                .map(DisconnectReason::from_store)
                .transpose()?,
            reason_text: row.try_get("reason_text")?,
            breach: breach_of(row)?,
            actor: row.try_get("actor")?,
            correlation: row.try_get("correlation")?,
            token_id: row.try_get("token_id")?,
            action: row.try_get("action")?,
            not_after: time_opt(row.try_get("not_after")?)?,
        },
        state: CommandState::from_store(row.try_get("state")?)?,
        approved_by: row.try_get("approved_by")?,
        dispatched: row.try_get::<i64, _>("dispatched")? != 0,
        outcome: row.try_get("outcome")?,
        at: time(row.try_get("at")?)?,
        updated_at: time(row.try_get("updated_at")?)?,
    })
}

impl Store {
    /// Commands that are not finished, newer than `id`, oldest first.
    ///
    /// # Errors
    /// Store failures.
    pub async fn open_commands_after(&self, id: i64) -> Result<Vec<Command>, StoreError> {
        let rows = sql::query(
            "SELECT * FROM command WHERE state NOT IN ('verified', 'rejected', 'expired', 'cancelled') AND id > ?1 ORDER BY id",
        )
        .bind(id)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(command_of).collect()
    }

    /// One command and its steps.
    ///
    /// # Errors
    /// Store failures.
    pub async fn command(&self, id: i64) -> Result<Option<(Command, Vec<CommandEvent>)>, StoreError> {
        let Some(row) =
            sql::query("SELECT * FROM command WHERE id = ?1").bind(id).fetch_optional(&self.readers).await?
        else {
            return Ok(None);
        };
        let rows =
            sql::query("SELECT state, at, evidence FROM command_event WHERE command_id = ?1 ORDER BY id")
                .bind(id)
                .fetch_all(&self.readers)
                .await?;
        let events = rows
            .iter()
            .map(|row| {
                Ok(CommandEvent {
                    state: CommandState::from_store(row.try_get("state")?)?,
                    at: time(row.try_get("at")?)?,
                    evidence: serde_json::from_str(row.try_get("evidence")?)?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Some((command_of(&row)?, events)))
    }

    /// The newest commands, at most `limit`, of one meter or of all.
    ///
    /// # Errors
    /// Store failures.
    pub async fn commands(&self, serial: Option<&str>, limit: u32) -> Result<Vec<Command>, StoreError> {
        let rows =
            sql::query("SELECT * FROM command WHERE ?1 IS NULL OR serial = ?1 ORDER BY id DESC LIMIT ?2")
                .bind(serial)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(command_of).collect()
    }

    /// The newest command for a request of special tokens.
    ///
    /// # Errors
    /// Store failures.
    pub async fn command_of_special(&self, special_id: i64) -> Result<Option<i64>, StoreError> {
        sql::query_scalar(
            "SELECT MAX(k.id) FROM command k JOIN token t ON t.id = k.token_id WHERE t.special_id = ?1",
        )
        .bind(special_id)
        .fetch_one(&self.readers)
        .await
    }

    /// The command that delivers a token.
    ///
    /// # Errors
    /// Store failures.
    pub async fn command_of_token(&self, token_id: i64) -> Result<Option<i64>, StoreError> {
        sql::query_scalar("SELECT id FROM command WHERE token_id = ?1 ORDER BY id DESC LIMIT 1")
            .bind(token_id)
            .fetch_optional(&self.readers)
            .await
    }
}
