//! What meters said by themselves.

use super::sql::Connection;
use super::{StoreError, counter, event};
use crate::session::work::Serial;
use crate::vault::KeyMark;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Keeps a notification and the counter it came with, in one write: what is kept cannot be played back. False when that counter
/// was heard before: nothing is kept then. While history is not stored this fails, so that it is not confirmed. `by` is the listener's name and where it came from.
///
/// # Errors
/// Store failures.
pub async fn keep(
    conn: &mut Connection,
    serial: &Serial,
    said: &Value,
    counter: Option<(KeyMark, u32)>,
    by: (&str, IpAddr),
    at: Timestamp,
) -> Result<bool, StoreError> {
    if !conn.stores_history() {
        return Err(StoreError::Full("notifications are kept again when there is".to_owned()));
    }
    let mut detail = json!({"listener": by.0, "from": by.1, "protected": counter.is_some()});
    if let (Some(detail), Some(said)) = (detail.as_object_mut(), said.as_object()) {
        detail.extend(said.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    if let Some((mark, counter)) = counter
        && !counter::hear(conn, serial, mark, counter).await?
    {
        return Ok(false);
    }
    event::record(conn, at, "notification", Some(&serial.0), &detail).await?;
    Ok(true)
}

/// Tells that notifications are refused: why the last one was, and how many there were from nobody known and from others. Not
/// while history is not stored.
///
/// # Errors
/// Store failures.
pub async fn refused(
    conn: &mut Connection,
    by: (&str, IpAddr),
    why: &str,
    (unknown, refused): (u64, u64),
    at: Timestamp,
) -> Result<(), StoreError> {
    if !conn.stores_history() {
        return Ok(());
    }
    let detail = json!({"listener": by.0, "from": by.1, "why": why, "unknown": unknown, "refused": refused});
    event::record(conn, at, "push_refused", None, &detail).await
}
