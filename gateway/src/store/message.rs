//! Commands that came as messages, with the answers they got: a message that comes again gets the same one.

use super::sql::{self, Connection};
use super::{Store, StoreError, event, ms};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A message is remembered so long beyond its own time: clocks of senders and ours may differ, and ours may be set back.
const KEPT_BEYOND: SignedDuration = SignedDuration::from_hours(24);

/// A message whose sender is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who signed it.
    pub principal: String,
    /// The id that they gave it.
    pub message_id: String,
    /// SHA-256 of what was signed.
    pub digest: Vec<u8>,
    /// Nothing is done about it after this time.
    pub not_after: Timestamp,
}

/// The answer a message got.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// As of HTTP.
    pub status: u16,
    /// The command, or the problem.
    pub body: Value,
}

/// Keeps a message with its answer, and tells of it. Fails when there is one of that principal and id already.
///
/// # Errors
/// Store failures.
pub async fn keep(
    conn: &mut Connection,
    message: &Message,
    command_id: Option<i64>,
    answer: &Answer,
    at: Timestamp,
) -> Result<(), StoreError> {
    let over = at.checked_sub(KEPT_BEYOND).unwrap_or(Timestamp::MIN);
    sql::query("DELETE FROM command_message WHERE not_after < ?1").bind(ms(over)).execute(&mut *conn).await?;
    sql::query(
        "INSERT INTO command_message (principal, message_id, digest, at, not_after, command_id, status, answer)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(&message.principal)
    .bind(&message.message_id)
    .bind(message.digest.as_slice())
    .bind(ms(at))
    .bind(ms(message.not_after))
    .bind(command_id)
    .bind(i64::from(answer.status))
    .bind(answer.body.to_string())
    .execute(&mut *conn)
    .await?;
    let serial = answer.body["serial"].as_str();
    let detail = json!({
        "principal": message.principal, "message_id": message.message_id, "status": answer.status,
        "command_id": command_id, "problem": answer.body["type"], "why": answer.body["detail"],
    });
    event::record(conn, at, "command_message", serial, &detail).await
}

/// Tells that messages are refused whose sender is not known: why the last one was, and how many there were.
///
/// # Errors
/// Store failures.
pub async fn refused(
    conn: &mut Connection,
    inbox: &str,
    why: &str,
    count: u64,
    at: Timestamp,
) -> Result<(), StoreError> {
    let detail = json!({"inbox": inbox, "why": why, "refused": count});
    event::record(conn, at, "command_message_refused", None, &detail).await
}

impl Store {
    /// What was answered to a message of this principal and id, with the digest of that message.
    ///
    /// # Errors
    /// Store failures.
    pub async fn message_answer(
        &self,
        principal: &str,
        message_id: &str,
    ) -> Result<Option<(Vec<u8>, Answer)>, StoreError> {
        let row = sql::query(
            "SELECT digest, status, answer FROM command_message WHERE principal = ?1 AND message_id = ?2",
        )
        .bind(principal)
        .bind(message_id)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let status: i64 = row.try_get("status")?;
        let body = serde_json::from_str(row.try_get("answer")?)?;
        let answer = Answer { status: u16::try_from(status).unwrap_or(500), body };
        Ok(Some((row.try_get("digest")?, answer)))
    }
}
