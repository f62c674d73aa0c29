//! What customers were told, who is protected, and why a used-up balance does not cut supply now.

use super::command::DisconnectReason;
use super::sql::{self, Connection, Executor, Row};
use super::text::words;
use super::{Store, StoreError, event, ms, time, time_opt};
use crate::session::work::Serial;
use crate::units::MinorUnits;
use jiff::Timestamp;
use serde_json::json;

words! {
    /// What a customer was told.
    NoticeKind {
        /// A debt is to be paid.
        Demand = "demand",
        /// The debt is paid: demands before it count no more.
        Settlement = "settlement",
        /// Supply will be cut, why, and from when on.
        Disconnection = "disconnection",
        /// Supply is or will be restored, or later than was said.
        Restoration = "restoration",
    }
}

words! {
    /// Why a customer is never cut off by a program (N22).
    Protection {
        /// Load of class 1.
        LoadClass1 = "load_class_1",
        /// Load of class 2.
        LoadClass2 = "load_class_2",
        /// Load of class 3.
        LoadClass3 = "load_class_3",
        /// A hospital.
        Hospital = "hospital",
        /// No supply but this one, where one is needed.
        NoBackupSupply = "no_backup_supply",
        /// Somebody to whom an outage is a danger.
        Vulnerable = "vulnerable",
    }
}

/// A notice that reached a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its id; ignored when it is written.
    pub id: i64,
    /// Whose meter.
    pub serial: Serial,
    /// What was told.
    pub kind: NoticeKind,
    /// A disconnection notice: why.
    pub reason: Option<DisconnectReason>,
    /// A disconnection notice: supply may be cut from then on.
    pub effective_from: Option<Timestamp>,
    /// A demand: the debt is overdue since then.
    pub overdue_since: Option<Timestamp>,
    /// A demand: the debt.
    pub amount: Option<MinorUnits>,
    /// When it reached the customer.
    pub delivered_at: Timestamp,
    /// By what way: letter, message, visit.
    pub way: String,
    /// Where the proof of delivery is.
    pub reference: Option<String>,
    /// Who put it on record.
    pub recorded_by: String,
    /// From the API call.
    pub correlation: String,
    /// When it was put on record.
    pub at: Timestamp,
}

/// What is on record about a customer.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Whether a program must leave them alone.
    pub protection: Option<Protection>,
    /// What they were told, oldest first.
    pub notices: Vec<Notice>,
}

/// Puts a notice on record.
///
/// # Errors
/// Store failures.
pub async fn insert(conn: &mut Connection, notice: &Notice) -> Result<i64, StoreError> {
    let id = sql::query_scalar(
        "INSERT INTO notice (serial, kind, reason, effective_from, overdue_since, amount_minor, delivered_at, way,
                             reference, recorded_by, correlation, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) RETURNING id",
    )
    .bind(&notice.serial.0)
    .bind(notice.kind.as_str())
    .bind(notice.reason.map(DisconnectReason::as_str))
    .bind(notice.effective_from.map(ms))
    .bind(notice.overdue_since.map(ms))
    .bind(notice.amount.map(|amount| amount.0))
    .bind(ms(notice.delivered_at))
    .bind(&notice.way)
    .bind(&notice.reference)
    .bind(&notice.recorded_by)
    .bind(&notice.correlation)
    .bind(ms(notice.at))
    .fetch_one(&mut *conn).await?;
    let detail = json!({
        "notice_id": id, "kind": notice.kind, "reason": notice.reason, "delivered_at": notice.delivered_at, "way": notice.way,
    });
    event::record(conn, notice.at, "notice", Some(&notice.serial.0), &detail).await?;
    Ok(id)
}

/// Protects a customer, or no longer.
///
/// # Errors
/// Store failures.
pub async fn set_protection(
    conn: &mut Connection,
    serial: &Serial,
    protection: Option<Protection>,
    note: Option<&str>,
    actor: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    sql::query("DELETE FROM protection WHERE serial = ?1").bind(&serial.0).execute(&mut *conn).await?;
    if let Some(protection) = protection {
        sql::query("INSERT INTO protection (serial, kind, note, set_by, at) VALUES (?1, ?2, ?3, ?4, ?5)")
            .bind(&serial.0)
            .bind(protection.as_str())
            .bind(note)
            .bind(actor)
            .bind(ms(at))
            .execute(&mut *conn)
            .await?;
    }
    let detail = json!({"protection": protection, "note": note, "by": actor});
    event::record(conn, at, "protection", Some(&serial.0), &detail).await
}

/// Writes why a used-up balance does not cut supply now, and tells it once.
///
/// # Errors
/// Store failures.
pub async fn set_withheld(
    conn: &mut Connection,
    serial: &Serial,
    why: Option<&str>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let changed =
        sql::query("UPDATE meter_state SET disconnect_withheld = ?2 WHERE serial = ?1 AND disconnect_withheld IS DISTINCT FROM ?2")
            .bind(&serial.0)
            .bind(why)
            .execute(&mut *conn)
            .await?
            .rows_affected();
    if changed == 0 {
        return Ok(());
    }
    event::record(conn, at, "disconnect_withheld", Some(&serial.0), &json!({"guards": why})).await
}

/// What is on record about a customer.
///
/// # Errors
/// Store failures.
pub async fn standing(conn: &mut Connection, serial: &Serial) -> Result<Standing, StoreError> {
    Ok(Standing { protection: protection(&mut *conn, serial).await?, notices: notices(conn, serial).await? })
}

async fn protection(on: impl Into<Executor<'_>>, serial: &Serial) -> Result<Option<Protection>, StoreError> {
    let word: Option<String> = sql::query_scalar("SELECT kind FROM protection WHERE serial = ?1")
        .bind(&serial.0)
        .fetch_optional(on)
        .await?;
    word.as_deref().map(Protection::from_store).transpose()
}

async fn notices(on: impl Into<Executor<'_>>, serial: &Serial) -> Result<Vec<Notice>, StoreError> {
    let rows = sql::query("SELECT * FROM notice WHERE serial = ?1 ORDER BY id")
        .bind(&serial.0)
        .fetch_all(on)
        .await?;
    rows.iter().map(notice_of).collect()
}

fn notice_of(row: &Row) -> Result<Notice, StoreError> {
    Ok(Notice {
        id: row.try_get("id")?,
        serial: Serial(row.try_get("serial")?),
        kind: NoticeKind::from_store(row.try_get("kind")?)?,
        reason: row.try_get::<Option<&str>, _>("reason")?.map(DisconnectReason::from_store).transpose()?,
        effective_from: time_opt(row.try_get("effective_from")?)?,
        overdue_since: time_opt(row.try_get("overdue_since")?)?,
        amount: row.try_get::<Option<i64>, _>("amount_minor")?.map(MinorUnits),
        delivered_at: time(row.try_get("delivered_at")?)?,
        way: row.try_get("way")?,
        reference: row.try_get("reference")?,
        recorded_by: row.try_get("recorded_by")?,
        correlation: row.try_get("correlation")?,
        at: time(row.try_get("at")?)?,
    })
}

impl Store {
    /// What is on record about a customer.
    ///
    /// # Errors
    /// Store failures.
    pub async fn standing(&self, serial: &Serial) -> Result<Standing, StoreError> {
        Ok(Standing {
            protection: protection(&self.readers, serial).await?,
            notices: notices(&self.readers, serial).await?,
        })
    }
}
