//! Tokens nobody paid for: free issue, engineering tokens, and the ordered tokens of a key change.

use super::command::{Command, CommandEvent, CommandKind, CommandState, NewCommand};
use super::text::words;
use super::{Store, StoreError, command, event, ms, time};
use crate::session::work::Serial;
use crate::vault::StsIdentity;
use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

words! {
    /// What kind of token it is.
    SpecialKind {
        /// Credit without a payment.
        FreeIssue = "free_issue",
        /// The meter's credit is set to zero.
        ClearCredit = "clear_credit",
        /// The tamper condition is cleared.
        ClearTamper = "clear_tamper",
        /// The power is limited.
        PowerLimit = "power_limit",
        /// The difference between phases is limited.
        PhaseUnbalanceLimit = "phase_unbalance_limit",
        /// A new decoder key: an ordered set of tokens.
        KeyChange = "key_change",
    }
}

words! {
    /// How far it has got.
    SpecialState {
        /// A second person has to agree.
        Waiting = "waiting",
        /// Its tokens are made and being delivered, one after the other.
        OnTheWay = "on_the_way",
        /// The meter has taken every token.
        Done = "done",
        /// The meter refused a token, and those after it are not sent; or it forgot a part of a key change.
        Refused = "refused",
        /// The second person said no.
        Declined = "declined",
    }
}

/// One request, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    /// Its id.
    pub id: i64,
    /// For which meter.
    pub serial: Serial,
    /// What kind.
    pub kind: SpecialKind,
    /// The kind and its numbers, JSON.
    pub action: String,
    /// Why, in somebody's words.
    pub reason: String,
    /// Who asked for it.
    pub requested_by: String,
    /// Who agreed or declined.
    pub decided_by: Option<String>,
    /// How far it has got.
    pub state: SpecialState,
    /// Tokens made.
    pub tokens: u32,
    /// Tokens the meter has taken.
    pub taken: u32,
    /// From the API call down to the frame.
    pub correlation: String,
    /// When it was asked for.
    pub at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
}

/// A token of a request, closed by the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// The request.
    pub special_id: i64,
    /// Its place in the set, from zero.
    pub position: u32,
    /// Closed by the vault.
    pub sealed: Vec<u8>,
}

fn special_of(row: &SqliteRow) -> Result<Special, StoreError> {
    let count = |column: &str| -> Result<u32, StoreError> {
        let value: i64 = row.try_get(column)?;
        u32::try_from(value).map_err(|_| StoreError::Corrupt(format!("{column} {value}")))
    };
    Ok(Special {
        id: row.try_get("id")?,
        serial: Serial(row.try_get("serial")?),
        kind: SpecialKind::from_store(row.try_get("kind")?)?,
        action: row.try_get("action")?,
        reason: row.try_get("reason")?,
        requested_by: row.try_get("requested_by")?,
        decided_by: row.try_get("decided_by")?,
        state: SpecialState::from_store(row.try_get("state")?)?,
        tokens: count("tokens")?,
        taken: count("taken")?,
        correlation: row.try_get("correlation")?,
        at: time(row.try_get("at")?)?,
        updated_at: time(row.try_get("updated_at")?)?,
    })
}

/// Writes a request; its id in `special` is ignored.
///
/// # Errors
/// Store failures.
pub async fn insert(conn: &mut SqliteConnection, special: &Special) -> Result<i64, StoreError> {
    let id = sqlx::query(
        "INSERT INTO special (serial, kind, action, reason, requested_by, state, correlation, at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
    )
    .bind(&special.serial.0)
    .bind(special.kind.as_str())
    .bind(&special.action)
    .bind(&special.reason)
    .bind(&special.requested_by)
    .bind(special.state.as_str())
    .bind(&special.correlation)
    .bind(ms(special.at))
    .execute(conn)
    .await?
    .last_insert_rowid();
    Ok(id)
}

/// One request.
///
/// # Errors
/// Store failures.
pub async fn find(conn: &mut SqliteConnection, id: i64) -> Result<Option<Special>, StoreError> {
    let row = sqlx::query("SELECT * FROM special WHERE id = ?1").bind(id).fetch_optional(conn).await?;
    row.as_ref().map(special_of).transpose()
}

/// Writes what changed of a request: state, decision, counts.
///
/// # Errors
/// Store failures.
pub async fn update(conn: &mut SqliteConnection, special: &Special, at: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE special SET state = ?2, decided_by = ?3, tokens = ?4, taken = ?5, updated_at = ?6 WHERE id = ?1",
    )
    .bind(special.id)
    .bind(special.state.as_str())
    .bind(&special.decided_by)
    .bind(special.tokens)
    .bind(special.taken)
    .bind(ms(at))
    .execute(&mut *conn)
    .await?;
    let detail = json!({
        "special_id": special.id, "kind": special.kind, "state": special.state,
        "tokens": special.tokens, "taken": special.taken,
    });
    event::record(conn, at, "special_token", Some(&special.serial.0), &detail).await
}

/// Reserves a token id for a request.
///
/// # Errors
/// Store failures.
pub async fn reserve_tid(
    conn: &mut SqliteConnection,
    special: &Special,
    (base_year, tid): (u16, u32),
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tid_reservation (serial, base_year, tid, special_id, at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(&special.serial.0)
    .bind(base_year)
    .bind(tid)
    .bind(special.id)
    .bind(ms(at))
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes one token of a request.
///
/// # Errors
/// Store failures.
pub async fn insert_token(
    conn: &mut SqliteConnection,
    special: &Special,
    token: &SpecialToken,
    tid: Option<u32>,
    at: Timestamp,
) -> Result<i64, StoreError> {
    let id = sqlx::query(
        "INSERT INTO token (special_id, position, serial, tid, tenths_kwh, sealed, at)
         VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)",
    )
    .bind(token.special_id)
    .bind(token.position)
    .bind(&special.serial.0)
    .bind(tid)
    .bind(&token.sealed)
    .bind(ms(at))
    .execute(conn)
    .await?
    .last_insert_rowid();
    Ok(id)
}

/// Records the delivery of the token at a position.
///
/// # Errors
/// Store failures.
pub async fn deliver(
    conn: &mut SqliteConnection,
    special: &Special,
    position: u32,
    at: Timestamp,
) -> Result<(), StoreError> {
    let token_id: i64 = sqlx::query_scalar("SELECT id FROM token WHERE special_id = ?1 AND position = ?2")
        .bind(special.id)
        .bind(position)
        .fetch_one(&mut *conn)
        .await?;
    let request = NewCommand {
        serial: special.serial.clone(),
        kind: CommandKind::DeliverToken,
        reason: None,
        reason_text: Some(format!("{}, token {} of {}", special.kind, position + 1, special.tokens)),
        actor: special.requested_by.clone(),
        correlation: special.correlation.clone(),
        token_id: Some(token_id),
        not_after: None,
    };
    command::insert(conn, &request, at).await.map(drop)
}

/// Goes on with a request after a step of one of its deliveries: the next token of the set, or its end. A key change that is
/// done gives the meter's record its new attributes in the same transaction. One whose last token was taken while the meter
/// says that parts are `outstanding` is not done: the meter forgot the early ones and keeps its old key.
///
/// # Errors
/// Store failures.
pub async fn follow(
    conn: &mut SqliteConnection,
    command: &Command,
    token_id: i64,
    step: &CommandEvent,
    outstanding: bool,
) -> Result<(), StoreError> {
    let corrupt = || StoreError::Corrupt(format!("token {token_id} of command {}", command.id));
    let row = sqlx::query("SELECT special_id, position FROM token WHERE id = ?1 AND special_id IS NOT NULL")
        .bind(token_id)
        .fetch_optional(&mut *conn)
        .await?
        .ok_or_else(corrupt)?;
    let mut special = find(conn, row.try_get("special_id")?).await?.ok_or_else(corrupt)?;
    let position: i64 = row.try_get("position")?;
    let next = u32::try_from(position).map_err(|_| corrupt())? + 1;
    if step.state == CommandState::Rejected {
        special.state = SpecialState::Refused;
        return update(conn, &special, step.at).await;
    }
    special.taken = special.taken.max(next);
    if next < special.tokens {
        update(conn, &special, step.at).await?;
        return deliver(conn, &special, next, step.at).await;
    }
    if special.kind == SpecialKind::KeyChange && outstanding {
        special.state = SpecialState::Refused;
        return update(conn, &special, step.at).await;
    }
    special.state = SpecialState::Done;
    if special.kind == SpecialKind::KeyChange {
        let target: Target = serde_json::from_str(&special.action)?;
        sqlx::query("UPDATE meter SET sts = ?2 WHERE serial = ?1")
            .bind(&special.serial.0)
            .bind(serde_json::to_string(&target.to)?)
            .execute(&mut *conn)
            .await?;
    }
    update(conn, &special, step.at).await
}

/// The part of a key change's action that the meter's record takes over.
#[derive(serde::Deserialize)]
struct Target {
    to: StsIdentity,
}

/// Whether a key change of this meter is waiting for deliveries.
///
/// # Errors
/// Store failures.
pub async fn key_change_open(conn: &mut SqliteConnection, serial: &Serial) -> Result<bool, StoreError> {
    let open: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM special WHERE serial = ?1 AND kind = 'key_change' AND state = 'on_the_way'",
    )
    .bind(&serial.0)
    .fetch_one(conn)
    .await?;
    Ok(open > 0)
}

/// Whether a token for this meter is not yet made or not yet delivered.
///
/// # Errors
/// Store failures.
pub async fn tokens_open(conn: &mut SqliteConnection, serial: &Serial) -> Result<bool, StoreError> {
    let open: i64 = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM payment WHERE serial = ?1 AND state IN ('recorded', 'on_the_way'))
              + (SELECT COUNT(*) FROM special WHERE serial = ?1 AND state = 'on_the_way')",
    )
    .bind(&serial.0)
    .fetch_one(conn)
    .await?;
    Ok(open > 0)
}

impl Store {
    /// One request.
    ///
    /// # Errors
    /// Store failures.
    pub async fn special(&self, id: i64) -> Result<Option<Special>, StoreError> {
        find(&mut *self.readers.acquire().await?, id).await
    }

    /// The newest requests, at most `limit`, of one meter or of all.
    ///
    /// # Errors
    /// Store failures.
    pub async fn specials(&self, serial: Option<&str>, limit: u32) -> Result<Vec<Special>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM special WHERE ?1 IS NULL OR serial = ?1 ORDER BY id DESC LIMIT ?2")
                .bind(serial)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(special_of).collect()
    }

    /// A token that nobody paid for.
    ///
    /// # Errors
    /// Store failures.
    pub async fn special_token(&self, id: i64) -> Result<Option<SpecialToken>, StoreError> {
        let row = sqlx::query(
            "SELECT special_id, position, sealed FROM token WHERE id = ?1 AND special_id IS NOT NULL",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            let position: i64 = row.try_get("position")?;
            Ok(SpecialToken {
                special_id: row.try_get("special_id")?,
                position: u32::try_from(position)
                    .map_err(|_| StoreError::Corrupt(format!("position {position}")))?,
                sealed: row.try_get("sealed")?,
            })
        })
        .transpose()
    }
}
