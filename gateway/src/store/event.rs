//! Events: what happened, in order, for pages and other systems. Written in the same transaction as the fact.

use super::sql::{self, Connection};
use super::{Store, StoreError, ms, time};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Event {
    /// Ever rising.
    pub id: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What kind: `command`, `payment`, `reading`, `relay`, `meter`, `doubtful_reading`, `profile`, `profile_gap`,
    /// `billing_overdue`, ….
    pub kind: String,
    /// The meter it is about.
    pub serial: Option<String>,
    /// The rest; its fields depend on the kind.
    pub detail: serde_json::Value,
}

/// Writes an event.
///
/// # Errors
/// Store failures.
pub async fn record(
    conn: &mut Connection,
    at: Timestamp,
    kind: &str,
    serial: Option<&str>,
    detail: &impl Serialize,
) -> Result<(), StoreError> {
    sql::query("INSERT INTO event (at, kind, serial, detail) VALUES (?1, ?2, ?3, ?4)")
        .bind(ms(at))
        .bind(kind)
        .bind(serial)
        .bind(serde_json::to_string(detail)?)
        .later(conn);
    Ok(())
}

/// Writes an audit line: who did what to whom.
///
/// # Errors
/// Store failures.
pub async fn audit(
    conn: &mut Connection,
    at: Timestamp,
    actor: &str,
    action: &str,
    subject: &str,
    correlation: &str,
) -> Result<(), StoreError> {
    sql::query("INSERT INTO audit (at, actor, action, subject, correlation) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(ms(at))
        .bind(actor)
        .bind(action)
        .bind(subject)
        .bind(correlation)
        .later(conn);
    Ok(())
}

impl Store {
    /// At most `limit` events after `id`, oldest first.
    ///
    /// # Errors
    /// Store failures.
    pub async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let rows =
            sql::query("SELECT id, at, kind, serial, detail FROM event WHERE id > ?1 ORDER BY id LIMIT ?2")
                .bind(id)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        rows.iter()
            .map(|row| {
                Ok(Event {
                    id: row.try_get("id")?,
                    at: time(row.try_get("at")?)?,
                    kind: row.try_get("kind")?,
                    serial: row.try_get("serial")?,
                    detail: serde_json::from_str(row.try_get("detail")?)?,
                })
            })
            .collect()
    }

    /// The newest event's id; 0 when there is none.
    ///
    /// # Errors
    /// Store failures.
    pub async fn last_event_id(&self) -> Result<i64, StoreError> {
        sql::query_scalar("SELECT COALESCE(MAX(id), 0) FROM event").fetch_one(&self.readers).await
    }
}
