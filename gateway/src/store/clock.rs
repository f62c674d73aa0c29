//! What was done to the clocks of meters.

use super::sql::{self, Connection};
use super::{StoreError, event};
use crate::session::work::{ClockStep, Serial};
use jiff::Timestamp;
use serde_json::json;

/// Keeps a correction: how far the clock was off before and after it.
///
/// # Errors
/// Store failures.
pub async fn corrected(
    conn: &mut Connection,
    serial: &Serial,
    step: &ClockStep,
    after_s: Option<i64>,
    at: Timestamp,
) -> Result<(), StoreError> {
    sql::query("UPDATE meter_state SET clock_offset_s = COALESCE(?2, clock_offset_s), clock_left_s = NULL WHERE serial = ?1")
        .bind(&serial.0)
        .bind(after_s)
        .later(conn);
    let how = if step.shifted { "shifted" } else { "set" };
    let detail =
        json!({"before_s": step.before_s, "after_s": after_s, "how": how, "crosses_boundary": step.crosses});
    event::record(conn, at, "clock", Some(&serial.0), &detail).await
}

/// Keeps that a clock is too far off to be corrected, and tells it once; or that it is not any more.
///
/// # Errors
/// Store failures.
pub async fn set_left(
    conn: &mut Connection,
    serial: &Serial,
    offset_s: Option<i64>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let before: Option<i64> = sql::query_scalar("SELECT clock_left_s FROM meter_state WHERE serial = ?1")
        .bind(&serial.0)
        .fetch_one(&mut *conn)
        .await?;
    if before == offset_s {
        return Ok(());
    }
    sql::query("UPDATE meter_state SET clock_left_s = ?2 WHERE serial = ?1")
        .bind(&serial.0)
        .bind(offset_s)
        .later(conn);
    match (before, offset_s) {
        (None, Some(offset_s)) => {
            let detail = json!({"before_s": offset_s, "how": "left", "why": "too far off to be corrected"});
            event::record(conn, at, "clock", Some(&serial.0), &detail).await
        }
        _ => Ok(()),
    }
}
