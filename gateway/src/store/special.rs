//! Tokens nobody paid for: free issue, engineering tokens, and the ordered tokens of a key change.

use super::command::{Breach, Command, CommandEvent, CommandKind, CommandState, NewCommand};
use super::sql::{self, Connection, Numbered, Row};
use super::text::words;
use super::{Store, StoreError, command, event, meter, ms, time};
use crate::session::work::Serial;
use crate::vault::StsIdentity;
use jiff::Timestamp;
use serde_json::json;

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
        /// The meter refused a token, and those after it are not sent; or it keeps forgetting parts of a key change.
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
    /// Tokens the meter has taken in this round.
    pub taken: u32,
    /// How often delivery was begun: more than once where the meter forgot a part.
    pub rounds: u32,
    /// The last word about it, for a person.
    pub outcome: Option<String>,
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

fn special_of(row: &Row) -> Result<Special, StoreError> {
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
        rounds: count("rounds")?,
        outcome: row.try_get("outcome")?,
        correlation: row.try_get("correlation")?,
        at: time(row.try_get("at")?)?,
        updated_at: time(row.try_get("updated_at")?)?,
    })
}

/// Writes a request; its id in `special` is ignored.
///
/// # Errors
/// Store failures.
pub async fn insert(conn: &mut Connection, special: &Special) -> Result<i64, StoreError> {
    let id = sql::query_scalar(
        "INSERT INTO special (serial, kind, action, reason, requested_by, state, correlation, at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) RETURNING id",
    )
    .bind(&special.serial.0)
    .bind(special.kind.as_str())
    .bind(&special.action)
    .bind(&special.reason)
    .bind(&special.requested_by)
    .bind(special.state.as_str())
    .bind(&special.correlation)
    .bind(ms(special.at))
    .fetch_one(conn)
    .await?;
    Ok(id)
}

/// One request.
///
/// # Errors
/// Store failures.
pub async fn find(conn: &mut Connection, id: i64) -> Result<Option<Special>, StoreError> {
    let row = sql::query("SELECT * FROM special WHERE id = ?1").bind(id).fetch_optional(conn).await?;
    row.as_ref().map(special_of).transpose()
}

/// Writes what changed of a request: state, decision, counts.
///
/// # Errors
/// Store failures.
pub async fn update(conn: &mut Connection, special: &Special, at: Timestamp) -> Result<(), StoreError> {
    sql::query(
        "UPDATE special SET state = ?2, decided_by = ?3, tokens = ?4, taken = ?5, rounds = ?6, outcome = ?7, updated_at = ?8
         WHERE id = ?1",
    )
    .bind(special.id)
    .bind(special.state.as_str())
    .bind(&special.decided_by)
    .bind(special.tokens)
    .bind(special.taken)
    .bind(special.rounds)
    .bind(&special.outcome)
    .bind(ms(at))
    .later(conn);
    let detail = json!({
        "special_id": special.id, "kind": special.kind, "state": special.state,
        "tokens": special.tokens, "taken": special.taken, "rounds": special.rounds, "outcome": special.outcome,
    });
    event::record(conn, at, "special_token", Some(&special.serial.0), &detail).await
}

/// Reserves a token id for a request.
///
/// # Errors
/// Store failures.
pub async fn reserve_tid(
    conn: &mut Connection,
    special: &Special,
    (base_year, tid): (u16, u32),
    at: Timestamp,
) -> Result<(), StoreError> {
    sql::query(
        "INSERT INTO tid_reservation (serial, base_year, tid, special_id, at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(&special.serial.0)
    .bind(base_year)
    .bind(tid)
    .bind(special.id)
    .bind(ms(at))
    .later(conn);
    Ok(())
}

/// Writes one token of a request.
///
/// # Errors
/// Store failures.
pub async fn insert_token(
    conn: &mut Connection,
    special: &Special,
    token: &SpecialToken,
    tid: Option<u32>,
    at: Timestamp,
) -> Result<i64, StoreError> {
    let id = conn.next_number(Numbered::Token).await?;
    sql::query(
        "INSERT INTO token (special_id, position, serial, tid, tenths_kwh, sealed, at, id)
         VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)",
    )
    .bind(token.special_id)
    .bind(token.position)
    .bind(&special.serial.0)
    .bind(tid)
    .bind(&token.sealed)
    .bind(ms(at))
    .bind(id)
    .later(conn);
    Ok(id)
}

/// Records the delivery of the token at a position. Clearing a tamper condition is a kind of command of its own: it says who
/// looked at the meter, and why.
///
/// # Errors
/// Store failures.
pub async fn deliver(
    conn: &mut Connection,
    special: &Special,
    position: u32,
    inspection: Option<Breach>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let token_id: i64 = sql::query_scalar("SELECT id FROM token WHERE special_id = ?1 AND position = ?2")
        .bind(special.id)
        .bind(position)
        .fetch_one(&mut *conn)
        .await?;
    let request = NewCommand {
        serial: special.serial.clone(),
        kind: match special.kind {
            SpecialKind::ClearTamper => CommandKind::ClearTamper,
            _ => CommandKind::DeliverToken,
        },
        reason: None,
        reason_text: Some(match special.kind {
            SpecialKind::ClearTamper => special.reason.clone(),
            kind => format!("{kind}, token {} of {}", position + 1, special.tokens),
        }),
        breach: inspection,
        actor: special.requested_by.clone(),
        correlation: special.correlation.clone(),
        token_id: Some(token_id),
        action: None,
        not_after: None,
    };
    command::insert(conn, &request, at).await.map(drop)
}

/// Goes on with a request after a step of one of its deliveries: the next token of the set, or its end. A key change that is
/// done gives the meter's record its new attributes in the same transaction.
///
/// The meter's `result` (IEC 62055-52) says whether it has its new key: 1 with the part that completes the set, 2 or 3 while
/// others are outstanding. A set whose last token was taken while parts are outstanding is not done: the meter forgot the
/// early ones and keeps its old key, so the same tokens are delivered again from the first, which may complete it at once.
///
/// # Errors
/// Store failures.
pub async fn follow(
    conn: &mut Connection,
    command: &Command,
    token_id: i64,
    step: &CommandEvent,
    result: Option<u8>,
) -> Result<(), StoreError> {
    let corrupt = || StoreError::Corrupt(format!("token {token_id} of command {}", command.id));
    let row = sql::query("SELECT special_id, position FROM token WHERE id = ?1 AND special_id IS NOT NULL")
        .bind(token_id)
        .fetch_optional(&mut *conn)
        .await?
        .ok_or_else(corrupt)?;
    let mut special = find(conn, row.try_get("special_id")?).await?.ok_or_else(corrupt)?;
    let position: i64 = row.try_get("position")?;
    special.taken = u32::try_from(position).map_err(|_| corrupt())? + 1;
    let key_change = special.kind == SpecialKind::KeyChange;
    let complete = key_change && result == Some(STS_ACCEPT);
    let outstanding = key_change && result.is_some_and(|result| STS_OUTSTANDING.contains(&result));
    if step.state == CommandState::Rejected {
        special.taken -= 1;
        special.state = SpecialState::Refused;
        special.outcome = step.evidence.last().cloned();
    } else if special.taken < special.tokens && !complete {
        update(conn, &special, step.at).await?;
        return go_on(conn, &special, step.at).await;
    } else if outstanding && special.rounds.is_multiple_of(ROUNDS_AT_ONCE) {
        special.state = SpecialState::Refused;
        special.outcome =
            Some(format!("the meter forgot a part of the set in each of {} rounds", special.rounds));
    } else if outstanding {
        return begin_again(conn, special, "the meter forgot a part of the set", step.at).await;
    } else {
        special.state = SpecialState::Done;
        special.outcome = None;
        if key_change {
            let target: Target = serde_json::from_str(&special.action)?;
            meter::set_sts(conn, &special.serial, &target.to).await?;
        }
    }
    update(conn, &special, step.at).await
}

/// Result code `Accept`: the set is complete.
const STS_ACCEPT: u8 = 1;
/// Result codes `1stKCT` and `2ndKCT`: the token was taken, other parts of its key change are still missing.
const STS_OUTSTANDING: [u8; 2] = [2, 3];

/// Rounds without anybody asking for them. A line that is down for longer than a meter remembers parts makes one necessary;
/// a meter that needs more than this has another trouble, for a person to look at.
const ROUNDS_AT_ONCE: u32 = 3;

/// Delivers the tokens of a set again, in order, from the first. They carry no identifier, so the meter takes the same ones.
///
/// # Errors
/// Store failures.
pub async fn begin_again(
    conn: &mut Connection,
    mut special: Special,
    why: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    special.state = SpecialState::OnTheWay;
    special.taken = 0;
    special.rounds += 1;
    special.outcome = Some(format!("{why}; the same tokens are delivered again from the first"));
    update(conn, &special, at).await?;
    go_on(conn, &special, at).await
}

/// The part of a key change's action that the meter's record takes over.
#[derive(serde::Deserialize)]
struct Target {
    to: StsIdentity,
}

/// Records the delivery of a request's next token. One that may bring the new key waits until every other token for the meter
/// has arrived: they were made under the key that it ends. In the first round that is the last token; later the meter may
/// hold the other parts already.
async fn go_on(conn: &mut Connection, special: &Special, at: Timestamp) -> Result<(), StoreError> {
    let ends = special.taken + 1 == special.tokens || special.rounds > 1;
    if special.kind == SpecialKind::KeyChange && ends && others_open(conn, special).await? {
        return Ok(());
    }
    deliver(conn, special, special.taken, None, at).await
}

/// Goes on with a key change whose last token waited for another token of the meter, which has ended now.
///
/// # Errors
/// Store failures.
pub async fn go_on_after_another(
    conn: &mut Connection,
    serial: &Serial,
    at: Timestamp,
) -> Result<(), StoreError> {
    let row = sql::query(
        "SELECT * FROM special WHERE serial = ?1 AND state = 'on_the_way' AND kind = 'key_change' AND NOT EXISTS (
             SELECT 1 FROM token JOIN command ON command.token_id = token.id
             WHERE token.special_id = special.id AND command.state NOT IN ('verified', 'rejected', 'expired', 'cancelled'))",
    )
    .bind(&serial.0)
    .fetch_optional(&mut *conn)
    .await?;
    match row.as_ref().map(special_of).transpose()? {
        Some(special) => go_on(conn, &special, at).await,
        None => Ok(()),
    }
}

/// Whether another token for this meter is not yet made or not yet delivered. A payment without a reserved token id is none:
/// it waits for the key change.
async fn others_open(conn: &mut Connection, special: &Special) -> Result<bool, StoreError> {
    let open: i64 = sql::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM payment WHERE serial = ?1 AND (state = 'on_the_way' OR (state = 'recorded'
                        AND EXISTS (SELECT 1 FROM tid_reservation WHERE payment_id = payment.id))))
             OR EXISTS (SELECT 1 FROM special WHERE serial = ?1 AND state = 'on_the_way' AND id <> ?2)",
    )
    .bind(&special.serial.0)
    .bind(special.id)
    .fetch_one(conn)
    .await?;
    Ok(open != 0)
}

/// How far a meter's key change is, for tokens that are asked for meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange {
    /// There is none.
    None,
    /// The meter has its old key for certain: tokens under it arrive before the last part.
    Begun,
    /// A part that may bring the new key is on the way: nobody knows which key the meter has.
    Ending,
}

/// How far the key change of this meter is.
///
/// # Errors
/// Store failures.
pub async fn key_change(conn: &mut Connection, serial: &Serial) -> Result<KeyChange, StoreError> {
    let ending: Option<i64> = sql::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM token JOIN command ON command.token_id = token.id
             WHERE token.special_id = special.id AND (token.position = special.tokens - 1 OR special.rounds > 1)
               AND command.state NOT IN ('verified', 'rejected', 'expired', 'cancelled'))
         FROM special WHERE serial = ?1 AND state = 'on_the_way' AND kind = 'key_change'",
    )
    .bind(&serial.0)
    .fetch_optional(conn)
    .await?;
    Ok(match ending {
        None => KeyChange::None,
        Some(0) => KeyChange::Begun,
        Some(_) => KeyChange::Ending,
    })
}

impl Store {
    /// One request.
    ///
    /// # Errors
    /// Store failures.
    pub async fn special(&self, id: i64) -> Result<Option<Special>, StoreError> {
        find(&mut self.readers.acquire().await?, id).await
    }

    /// The newest requests, at most `limit`, of one meter or of all.
    ///
    /// # Errors
    /// Store failures.
    pub async fn specials(&self, serial: Option<&str>, limit: u32) -> Result<Vec<Special>, StoreError> {
        let rows =
            sql::query("SELECT * FROM special WHERE ?1 IS NULL OR serial = ?1 ORDER BY id DESC LIMIT ?2")
                .bind(serial)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(special_of).collect()
    }

    /// Meters with a key change under way.
    ///
    /// # Errors
    /// Store failures.
    pub async fn serials_with_key_change(&self) -> Result<std::collections::HashSet<String>, StoreError> {
        let serials: Vec<String> = sql::query_scalar(
            "SELECT serial FROM special WHERE state = 'on_the_way' AND kind = 'key_change'",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(serials.into_iter().collect())
    }

    /// A token that nobody paid for.
    ///
    /// # Errors
    /// Store failures.
    pub async fn special_token(&self, id: i64) -> Result<Option<SpecialToken>, StoreError> {
        let row = sql::query(
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
