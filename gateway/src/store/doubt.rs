//! Readings that are held, each with its doubt, until a later one fits or a person decides.

use super::sql::{self, Connection, Row};
use super::text::words;
use super::{Store, StoreError, event, ms, profile, time, time_opt};
use crate::reading::plausibility::{Doubt, DoubtKind};
use crate::session::work::{Facts, Serial};
use crate::units::WattHours;
use jiff::Timestamp;
use serde_json::json;

words! {
    /// What became of a doubt.
    DoubtState {
        /// Its readings are held.
        Held = "held",
        /// A person said that they are right.
        Released = "released",
        /// A person said that they are wrong.
        Rejected = "rejected",
        /// A later reading fits what was before: the held ones were wrong.
        Passed = "passed",
    }
}

/// A doubt as stored: one case, however many readings it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDoubt {
    /// Its number.
    pub id: i64,
    /// The meter.
    pub serial: Serial,
    /// What is wrong.
    pub kind: DoubtKind,
    /// The numbers behind the first reading's doubt.
    pub detail: serde_json::Value,
    /// What became of it.
    pub state: DoubtState,
    /// The first reading held.
    pub first_at: Timestamp,
    /// The last one.
    pub last_at: Timestamp,
    /// How many, rows of profiles too.
    pub readings: i64,
    /// The energy register in the last reading; none where only rows of profiles are held.
    pub import: Option<WattHours>,
    /// The transformer ratios that are in doubt.
    pub ratios: Option<Vec<i64>>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// What they said.
    pub note: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
}

/// Holds readings, or rows of a profile: opens a case and tells it, or adds to the open one. Gives the case. `facts` are those of the
/// last reading; a row of a profile is history and moves no register of the meter's state.
///
/// # Errors
/// Store failures.
pub async fn hold(
    conn: &mut Connection,
    serial: &Serial,
    doubt: &Doubt,
    readings: i64,
    facts: &Facts,
    at: Timestamp,
) -> Result<i64, StoreError> {
    let ratios = facts.ratios.as_ref().map(serde_json::to_string).transpose()?;
    let open: Option<i64> =
        sql::query_scalar("SELECT id FROM doubt WHERE serial = ?1 AND kind = ?2 AND state = 'held'")
            .bind(&serial.0)
            .bind(doubt.kind.as_str())
            .fetch_optional(&mut *conn)
            .await?;
    if let Some(id) = open {
        sql::query(
            "UPDATE doubt SET last_at = ?2, import_wh = COALESCE(?3, import_wh), ratios = COALESCE(?4, ratios),
                readings = readings + ?5 WHERE id = ?1",
        )
        .bind(id)
        .bind(ms(at))
        .bind(facts.import_wh)
        .bind(ratios)
        .bind(readings)
        .later(conn);
        return Ok(id);
    }
    let id: i64 = sql::query_scalar(
        "INSERT INTO doubt (serial, kind, detail, state, first_at, last_at, readings, import_wh, ratios)
         VALUES (?1, ?2, ?3, 'held', ?4, ?4, ?7, ?5, ?6) RETURNING id",
    )
    .bind(&serial.0)
    .bind(doubt.kind.as_str())
    .bind(doubt.detail.to_string())
    .bind(ms(at))
    .bind(facts.import_wh)
    .bind(ratios)
    .bind(readings)
    .fetch_one(&mut *conn)
    .await?;
    let detail = json!({"doubt_id": id, "doubt": doubt.kind, "detail": doubt.detail});
    event::record(conn, at, "doubtful_reading", Some(&serial.0), &detail).await?;
    Ok(id)
}

/// A reading fits: what was held for want of that is settled. A case that holds rows of a profile stays, as nobody reads those again:
/// a person decides about them, and about no register any more.
///
/// # Errors
/// Store failures.
pub async fn pass(conn: &mut Connection, serial: &Serial, at: Timestamp) -> Result<(), StoreError> {
    sql::query(
        "UPDATE doubt SET import_wh = CASE WHEN EXISTS (SELECT 1 FROM profile_row r WHERE r.doubt_id = doubt.id)
                THEN NULL ELSE import_wh END,
            decided_at = CASE WHEN EXISTS (SELECT 1 FROM profile_row r WHERE r.doubt_id = doubt.id)
                THEN NULL ELSE ?3 END,
            state = CASE WHEN EXISTS (SELECT 1 FROM profile_row r WHERE r.doubt_id = doubt.id)
                THEN 'held' ELSE 'passed' END
         WHERE serial = ?1 AND kind <> ?2 AND state = 'held'",
    )
        .bind(&serial.0)
        .bind(DoubtKind::OtherRatio.as_str())
        .bind(ms(at))
        .later(conn);
    Ok(())
}

/// Whether a doubt of this kind is open.
///
/// # Errors
/// Store failures.
pub async fn is_open(conn: &mut Connection, serial: &Serial, kind: DoubtKind) -> Result<bool, StoreError> {
    let open: Option<i64> =
        sql::query_scalar("SELECT id FROM doubt WHERE serial = ?1 AND kind = ?2 AND state = 'held'")
            .bind(&serial.0)
            .bind(kind.as_str())
            .fetch_optional(conn)
            .await?;
    Ok(open.is_some())
}

/// One case.
///
/// # Errors
/// Store failures.
pub async fn find(conn: &mut Connection, id: i64) -> Result<Option<StoredDoubt>, StoreError> {
    let row = sql::query("SELECT * FROM doubt WHERE id = ?1").bind(id).fetch_optional(conn).await?;
    row.as_ref().map(doubt_of).transpose()
}

/// Writes what a person decided. Released readings count as good from now on.
///
/// # Errors
/// Store failures.
pub async fn decide(
    conn: &mut Connection,
    doubt: &StoredDoubt,
    state: DoubtState,
    actor: &str,
    note: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    sql::query("UPDATE doubt SET state = ?2, decided_by = ?3, note = ?4, decided_at = ?5 WHERE id = ?1")
        .bind(doubt.id)
        .bind(state.as_str())
        .bind(actor)
        .bind(note)
        .bind(ms(at))
        .later(conn);
    if state == DoubtState::Released {
        sql::query("UPDATE reading SET doubt_id = NULL WHERE doubt_id = ?1").bind(doubt.id).later(conn);
        profile::release(conn, doubt.id, &doubt.serial, at).await?;
    }
    let detail = json!({
        "doubt_id": doubt.id, "doubt": doubt.kind, "state": state, "readings": doubt.readings,
        "import_wh": doubt.import, "by": actor, "note": note,
    });
    event::record(conn, at, "doubt_decided", Some(&doubt.serial.0), &detail).await
}

fn doubt_of(row: &Row) -> Result<StoredDoubt, StoreError> {
    let ratios: Option<&str> = row.try_get("ratios")?;
    Ok(StoredDoubt {
        id: row.try_get("id")?,
        serial: Serial(row.try_get("serial")?),
        kind: DoubtKind::from_store(row.try_get("kind")?)?,
        detail: serde_json::from_str(row.try_get("detail")?)?,
        state: DoubtState::from_store(row.try_get("state")?)?,
        first_at: time(row.try_get("first_at")?)?,
        last_at: time(row.try_get("last_at")?)?,
        readings: row.try_get("readings")?,
        import: row.try_get::<Option<i64>, _>("import_wh")?.map(WattHours),
        ratios: ratios.map(serde_json::from_str).transpose()?,
        decided_by: row.try_get("decided_by")?,
        note: row.try_get("note")?,
        decided_at: time_opt(row.try_get("decided_at")?)?,
    })
}

impl Store {
    /// The newest doubts, of one meter or of all, at most `limit`.
    ///
    /// # Errors
    /// Store failures.
    pub async fn doubts(&self, serial: Option<&str>, limit: u32) -> Result<Vec<StoredDoubt>, StoreError> {
        let rows = match serial {
            Some(serial) => {
                sql::query("SELECT * FROM doubt WHERE serial = ?1 ORDER BY id DESC LIMIT ?2").bind(serial)
            }
            None => sql::query("SELECT * FROM doubt ORDER BY id DESC LIMIT ?1"),
        };
        let rows = rows.bind(i64::from(limit)).fetch_all(&self.readers).await?;
        rows.iter().map(doubt_of).collect()
    }
}
