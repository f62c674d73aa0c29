//! What was read from meters: the latest per meter, and the history.

use super::meter::{Meter, Role};
use super::sql::{self, Connection};
use super::text::words;
use super::{Store, StoreError, doubt, event, ms, time, time_opt};
use crate::reading::plausibility::{DoubtKind, Known};
use crate::session::work::{Facts, Serial};
use crate::units::WattHours;
use jiff::Timestamp;
use serde_json::json;

words! {
    /// What a reading is worth. A number a person sees says which (N30).
    Quality {
        /// Read from the meter when it was due.
        Measured = "measured",
        /// The last reading is older than it should be.
        Late = "late",
        /// The meter itself said it estimated.
        Estimated = "estimated",
        /// There is none.
        Missing = "missing",
    }
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// When the answer came.
    pub at: Timestamp,
    /// What it is worth.
    pub quality: Quality,
    /// Energy import.
    pub import_wh: Option<WattHours>,
    /// Active power in watts.
    pub power_w: Option<i64>,
    /// Credit the meter holds.
    pub credit_wh: Option<WattHours>,
    /// The doubt that holds it, if one does: then it counts for nothing.
    pub doubt_id: Option<i64>,
}

/// Stores what was read: the latest values, a row of history, and an event where the relay moved. A value that was not read
/// leaves the last one standing with its own time.
///
/// # Errors
/// Store failures.
pub async fn apply(
    conn: &mut Connection,
    serial: &Serial,
    facts: &Facts,
    at: Timestamp,
) -> Result<(), StoreError> {
    let read_at = facts.import_wh.map(|_| ms(at));
    let credit_at = facts.credit_wh.map(|_| ms(at));
    let relay_at = facts.relay.map(|_| ms(at));
    let ratios = facts.ratios.as_ref().map(serde_json::to_string).transpose()?;
    let before: Option<i64> = sql::query_scalar("SELECT relay_closed FROM meter_state WHERE serial = ?1")
        .bind(&serial.0)
        .fetch_one(&mut *conn)
        .await?;
    sql::query(
        "UPDATE meter_state SET
            prepaid = COALESCE(?2, prepaid), read_at = COALESCE(?3, read_at), import_wh = COALESCE(?4, import_wh),
            power_w = COALESCE(?5, power_w), credit_wh = COALESCE(?6, credit_wh), credit_at = COALESCE(?7, credit_at),
            relay_closed = COALESCE(?8, relay_closed),
            relay_control = CASE WHEN ?8 IS NULL THEN relay_control ELSE ?9 END,
            relay_reason = CASE WHEN ?8 IS NULL THEN relay_reason ELSE ?10 END,
            relay_at = COALESCE(?11, relay_at), clock_offset_s = COALESCE(?12, clock_offset_s),
            moved_at = CASE WHEN ?4 IS NULL OR ?4 = import_wh THEN moved_at ELSE ?3 END,
            ratios = COALESCE(ratios, ?13)
         WHERE serial = ?1",
    )
    .bind(&serial.0)
    .bind(facts.prepaid.map(i64::from))
    .bind(read_at)
    .bind(facts.import_wh)
    .bind(facts.power_w)
    .bind(facts.credit_wh)
    .bind(credit_at)
    .bind(facts.relay.map(|relay| i64::from(relay.output_closed)))
    .bind(facts.relay.and_then(|relay| relay.control_state))
    .bind(&facts.relay_reason)
    .bind(relay_at)
    .bind(facts.clock_offset_s)
    .bind(ratios)
    .later(conn);
    if conn.stores_history() && (facts.import_wh.is_some() || facts.credit_wh.is_some()) {
        insert_reading(conn, serial, facts, None, at).await?;
        let detail =
            json!({"import_wh": facts.import_wh, "power_w": facts.power_w, "credit_wh": facts.credit_wh});
        event::record(conn, at, "reading", Some(&serial.0), &detail).await?;
    }
    if let Some(relay) = facts.relay
        && before != Some(i64::from(relay.output_closed))
    {
        insert_relay(conn, serial, facts, at).await?;
    }
    Ok(())
}

async fn insert_reading(
    conn: &mut Connection,
    serial: &Serial,
    facts: &Facts,
    doubt: Option<i64>,
    at: Timestamp,
) -> Result<(), StoreError> {
    if !conn.stores_history() {
        return Ok(());
    }
    sql::query(
        "INSERT INTO reading (serial, at, quality, import_wh, power_w, credit_wh, doubt_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(&serial.0)
    .bind(ms(at))
    .bind(Quality::Measured.as_str())
    .bind(facts.import_wh)
    .bind(facts.power_w)
    .bind(facts.credit_wh)
    .bind(doubt)
    .later(conn);
    Ok(())
}

/// Stores a reading that is held: it is history and counts for nothing.
///
/// # Errors
/// Store failures.
pub async fn hold(
    conn: &mut Connection,
    serial: &Serial,
    facts: &Facts,
    doubt: i64,
    at: Timestamp,
) -> Result<(), StoreError> {
    if facts.import_wh.is_none() {
        return Ok(());
    }
    let held = Facts { import_wh: facts.import_wh, power_w: facts.power_w, ..Facts::default() };
    insert_reading(conn, serial, &held, Some(doubt), at).await
}

/// What a reading is compared with.
///
/// # Errors
/// Store failures.
pub async fn known(conn: &mut Connection, meter: &Meter) -> Result<Known, StoreError> {
    let row = sql::query("SELECT import_wh, read_at, moved_at, ratios FROM meter_state WHERE serial = ?1")
        .bind(&meter.serial.0)
        .fetch_one(&mut *conn)
        .await?;
    let ratios: Option<&str> = row.try_get("ratios")?;
    Ok(Known {
        serial: meter.serial.0.clone(),
        is_feeder: meter.role == Role::Feeder,
        import: row.try_get::<Option<i64>, _>("import_wh")?.map(WattHours),
        read_at: time_opt(row.try_get("read_at")?)?,
        moved_at: time_opt(row.try_get("moved_at")?)?,
        ratios: ratios.map(serde_json::from_str).transpose()?,
        ratio_in_doubt: doubt::is_open(conn, &meter.serial, DoubtKind::OtherRatio).await?,
    })
}

/// Takes what was held for what is: from here on readings are compared with it. The fact is told as every reading is.
///
/// # Errors
/// Store failures.
pub async fn believe(
    conn: &mut Connection,
    serial: &Serial,
    import: Option<WattHours>,
    ratios: Option<&[i64]>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let ratios = ratios.map(serde_json::to_string).transpose()?;
    sql::query("UPDATE meter_state SET ratios = COALESCE(?2, ratios) WHERE serial = ?1")
        .bind(&serial.0)
        .bind(ratios)
        .later(conn);
    let Some(import) = import else { return Ok(()) };
    sql::query("UPDATE meter_state SET import_wh = ?2, read_at = ?3, moved_at = ?3 WHERE serial = ?1")
        .bind(&serial.0)
        .bind(import.0)
        .bind(ms(at))
        .later(conn);
    event::record(conn, at, "reading", Some(&serial.0), &json!({"import_wh": import, "released": true})).await
}

async fn insert_relay(
    conn: &mut Connection,
    serial: &Serial,
    facts: &Facts,
    at: Timestamp,
) -> Result<(), StoreError> {
    let Some(relay) = facts.relay else { return Ok(()) };
    sql::query(
        "INSERT INTO relay_observation (serial, at, output_closed, control_state, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(&serial.0)
    .bind(ms(at))
    .bind(i64::from(relay.output_closed))
    .bind(relay.control_state)
    .bind(&facts.relay_reason)
    .later(conn);
    let detail = json!({
        "output_closed": relay.output_closed, "control_state": relay.control_state, "reason": facts.relay_reason,
    });
    event::record(conn, at, "relay", Some(&serial.0), &detail).await
}

/// Notes that somebody tried to reach the meter, and what went wrong if something did.
///
/// # Errors
/// Store failures.
pub async fn tried(
    conn: &mut Connection,
    serial: &Serial,
    problem: Option<&str>,
    at: Timestamp,
) -> Result<(), StoreError> {
    // Nearly always everything is as it was.
    let as_before = sql::query(
        "UPDATE meter_state SET tried_at = ?2 WHERE serial = ?1 AND problem IS NOT DISTINCT FROM ?3",
    )
    .bind(&serial.0)
    .bind(ms(at))
    .bind(problem)
    .execute(&mut *conn)
    .await?;
    if as_before.rows_affected() > 0 {
        return Ok(());
    }
    let before: Option<String> = sql::query_scalar("SELECT problem FROM meter_state WHERE serial = ?1")
        .bind(&serial.0)
        .fetch_one(&mut *conn)
        .await?;
    sql::query("UPDATE meter_state SET tried_at = ?2, problem = ?3 WHERE serial = ?1")
        .bind(&serial.0)
        .bind(ms(at))
        .bind(problem)
        .later(conn);
    if before.as_deref() != problem {
        event::record(conn, at, "meter", Some(&serial.0), &json!({"problem": problem})).await?;
    }
    Ok(())
}

/// Notes that commissioning was verified.
///
/// # Errors
/// Store failures.
pub async fn commissioned(conn: &mut Connection, serial: &Serial, at: Timestamp) -> Result<(), StoreError> {
    sql::query("UPDATE meter_state SET commissioned_at = ?2 WHERE serial = ?1")
        .bind(&serial.0)
        .bind(ms(at))
        .later(conn);
    Ok(())
}

/// Moves the register up to which a gateway-held balance has been charged.
///
/// # Errors
/// Store failures.
pub async fn set_rated(conn: &mut Connection, serial: &Serial, rated: WattHours) -> Result<(), StoreError> {
    sql::query("UPDATE meter_state SET rated_wh = ?2 WHERE serial = ?1")
        .bind(&serial.0)
        .bind(rated.0)
        .later(conn);
    Ok(())
}

/// One meter's first and last energy registers within a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Which meter.
    pub serial: Serial,
    /// Its first reading at or after the window's begin.
    pub first: Option<(Timestamp, WattHours)>,
    /// Its last reading at or before the window's end.
    pub last: Option<(Timestamp, WattHours)>,
}

impl Store {
    /// The newest readings of a meter, at most `limit`.
    ///
    /// # Errors
    /// Store failures.
    pub async fn readings(&self, serial: &str, limit: u32) -> Result<Vec<Reading>, StoreError> {
        let rows = sql::query("SELECT * FROM reading WHERE serial = ?1 ORDER BY at DESC, id DESC LIMIT ?2")
            .bind(serial)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Reading {
                    at: time(row.try_get("at")?)?,
                    quality: Quality::from_store(row.try_get("quality")?)?,
                    import_wh: row.try_get::<Option<i64>, _>("import_wh")?.map(WattHours),
                    power_w: row.try_get("power_w")?,
                    credit_wh: row.try_get::<Option<i64>, _>("credit_wh")?.map(WattHours),
                    doubt_id: row.try_get("doubt_id")?,
                })
            })
            .collect()
    }

    /// First and last energy registers of every meter of an area within a window.
    ///
    /// # Errors
    /// Store failures.
    pub async fn spans(
        &self,
        area: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Role, Span)>, StoreError> {
        let rows = sql::query(
            "SELECT m.serial, m.role,
                (SELECT at FROM reading r WHERE r.serial = m.serial AND r.import_wh IS NOT NULL AND r.doubt_id IS NULL AND r.at BETWEEN ?2 AND ?3
                 ORDER BY at LIMIT 1) AS first_at,
                (SELECT import_wh FROM reading r WHERE r.serial = m.serial AND r.import_wh IS NOT NULL AND r.doubt_id IS NULL AND r.at BETWEEN ?2 AND ?3
                 ORDER BY at LIMIT 1) AS first_wh,
                (SELECT at FROM reading r WHERE r.serial = m.serial AND r.import_wh IS NOT NULL AND r.doubt_id IS NULL AND r.at BETWEEN ?2 AND ?3
                 ORDER BY at DESC LIMIT 1) AS last_at,
                (SELECT import_wh FROM reading r WHERE r.serial = m.serial AND r.import_wh IS NOT NULL AND r.doubt_id IS NULL AND r.at BETWEEN ?2 AND ?3
                 ORDER BY at DESC LIMIT 1) AS last_wh
             FROM meter m WHERE m.area = ?1 ORDER BY m.serial",
        )
        .bind(area)
        .bind(ms(from))
        .bind(ms(to))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let pair = |at: &str, wh: &str| -> Result<_, StoreError> {
                    let wh: Option<i64> = row.try_get(wh)?;
                    Ok(time_opt(row.try_get(at)?)?.zip(wh.map(WattHours)))
                };
                let span = Span {
                    serial: Serial(row.try_get("serial")?),
                    first: pair("first_at", "first_wh")?,
                    last: pair("last_at", "last_wh")?,
                };
                Ok((Role::from_store(row.try_get("role")?)?, span))
            })
            .collect()
    }
}
