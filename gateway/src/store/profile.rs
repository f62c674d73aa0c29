//! Profiles as they were read: rows, what contradicts them, and the gap ledger.

use super::sql::{self, Connection, Row};
use super::text::words;
use super::{PART, Store, StoreError, event, ms, time};
use crate::reading::gaps::{Gap, GivenUp};
use crate::session::work::{ProfileRows, Serial};
use crate::store::observation::Quality;
use jiff::Timestamp;
use serde_json::json;

mod rows;

pub(super) use rows::release;
pub use rows::{Judging, Kept, keep};

/// One profile of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its number in the store.
    pub id: i64,
    /// The meter.
    pub serial: Serial,
    /// The profile's name in the meter's model.
    pub profile: String,
    /// The first slot that is due.
    pub due_from: Timestamp,
    /// The last slot that was asked for when it was due.
    pub asked_to: Timestamp,
    /// Why the meter refuses to give it.
    pub problem: Option<String>,
}

words! {
    /// Whether a gap is still asked for.
    GapState {
        /// It is.
        Open = "open",
        /// It is not.
        GivenUp = "given_up",
    }
}

/// A gap as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGap {
    /// Which profile.
    pub profile: String,
    /// The gap.
    pub gap: Gap,
    /// Why it was given up, if it was.
    pub given_up: Option<String>,
}

/// A row as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// Its time.
    pub at: Timestamp,
    /// What it is worth.
    pub quality: Quality,
    /// The status the meter gave it.
    pub status: Option<u32>,
    /// Name, unit and value of each channel.
    pub values: Vec<(String, String, Option<i64>)>,
    /// The meter said something else of it later.
    pub disputed: bool,
    /// The doubt that holds it, if one does: then it counts for nothing.
    pub doubt_id: Option<i64>,
    /// When it was read.
    pub read_at: Timestamp,
}

/// What is there of one meter's profile, by quality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Which meter.
    pub serial: Serial,
    /// Which profile.
    pub profile: String,
    /// When its first slot was due.
    pub due_from: Timestamp,
    /// Its rows.
    pub rows: Vec<CountedRow>,
}

/// A row as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedRow {
    /// Its time.
    pub at: Timestamp,
    /// What it is worth.
    pub quality: Quality,
    /// The meter said something else of it later.
    pub disputed: bool,
    /// A doubt holds it.
    pub held: bool,
}

/// The series of a meter's profile; begun with `due_from` when there is none.
///
/// # Errors
/// Store failures.
pub async fn series(
    conn: &mut Connection,
    serial: &Serial,
    profile: &str,
    due_from: Timestamp,
) -> Result<Series, StoreError> {
    sql::query(
        "INSERT INTO profile_series (serial, profile, due_from, asked_to) VALUES (?1, ?2, ?3, ?3)
         ON CONFLICT (serial, profile) DO NOTHING",
    )
    .bind(&serial.0)
    .bind(profile)
    .bind(ms(due_from))
    .later(conn);
    let row = sql::query("SELECT * FROM profile_series WHERE serial = ?1 AND profile = ?2")
        .bind(&serial.0)
        .bind(profile)
        .fetch_one(conn)
        .await?;
    series_of(&row)
}

fn series_of(row: &Row) -> Result<Series, StoreError> {
    Ok(Series {
        id: row.try_get("id")?,
        serial: Serial(row.try_get("serial")?),
        profile: row.try_get("profile")?,
        due_from: time(row.try_get("due_from")?)?,
        asked_to: time(row.try_get("asked_to")?)?,
        problem: row.try_get("problem")?,
    })
}

/// Removes the rows of a series up to a time, with all that belongs to them, and says how many there were. Nothing before that
/// time is due any more.
///
/// # Errors
/// Store failures.
pub(super) async fn forget(conn: &mut Connection, series: i64, last: i64) -> Result<u64, StoreError> {
    for of_rows in [
        "DELETE FROM profile_dispute WHERE series_id = ?1 AND at <= ?2",
        "DELETE FROM profile_gap WHERE series_id = ?1 AND to_at <= ?2 AND given_up IS NOT NULL",
        "UPDATE profile_series SET due_from = ?2 WHERE id = ?1 AND due_from < ?2",
    ] {
        sql::query(of_rows).bind(series).bind(last).later(conn);
    }
    let rows =
        sql::query("DELETE FROM profile_row WHERE series_id = ?1 AND at <= ?2").bind(series).bind(last);
    Ok(rows.execute(conn).await?.rows_affected())
}

/// Times of the rows from one time to another, both included.
///
/// # Errors
/// Store failures.
pub async fn times(
    conn: &mut Connection,
    series: i64,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Timestamp>, StoreError> {
    let times: Vec<i64> =
        sql::query_scalar("SELECT at FROM profile_row WHERE series_id = ?1 AND at BETWEEN ?2 AND ?3")
            .bind(series)
            .bind(ms(from))
            .bind(ms(to))
            .fetch_all(conn)
            .await?;
    times.into_iter().map(time).collect()
}

/// Keeps how far a profile was asked for, what is missing of it and why the meter refuses it. `before` is what was missing so far.
///
/// # Errors
/// Store failures.
pub async fn keep_ledger(
    conn: &mut Connection,
    series: &Series,
    before: &[Gap],
    open: &[Gap],
    given_up: &[GivenUp],
) -> Result<(), StoreError> {
    sql::query("UPDATE profile_series SET asked_to = ?2, problem = ?3 WHERE id = ?1")
        .bind(series.id)
        .bind(ms(series.asked_to))
        .bind(&series.problem)
        .later(conn);
    if !before.is_empty() {
        sql::query("DELETE FROM profile_gap WHERE series_id = ?1 AND given_up IS NULL")
            .bind(series.id)
            .later(conn);
    }
    for given_up in given_up {
        put_gap(conn, series.id, &given_up.gap, Some(given_up.why.text()));
    }
    for gap in open {
        put_gap(conn, series.id, gap, None);
    }
    Ok(())
}

fn put_gap(conn: &mut Connection, series: i64, gap: &Gap, given_up: Option<&str>) {
    sql::query(
        "INSERT INTO profile_gap (series_id, from_at, to_at, seen_at, attempts, answered, next_at, told, given_up)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (series_id, from_at) DO UPDATE SET to_at = excluded.to_at, attempts = excluded.attempts,
            answered = excluded.answered, next_at = excluded.next_at, told = excluded.told, given_up = excluded.given_up",
    )
    .bind(series)
    .bind(ms(gap.from))
    .bind(ms(gap.to))
    .bind(ms(gap.seen_at))
    .bind(i64::from(gap.attempts))
    .bind(i64::from(gap.answered))
    .bind(ms(gap.next_at))
    .bind(i64::from(gap.told))
    .bind(given_up)
    .later(conn);
}

fn gap_of(row: &Row) -> Result<Gap, StoreError> {
    let count = |column: &str| -> Result<u32, StoreError> {
        let count: i64 = row.try_get(column)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    };
    Ok(Gap {
        from: time(row.try_get("from_at")?)?,
        to: time(row.try_get("to_at")?)?,
        seen_at: time(row.try_get("seen_at")?)?,
        attempts: count("attempts")?,
        answered: count("answered")?,
        next_at: time(row.try_get("next_at")?)?,
        told: row.try_get::<i64, _>("told")? != 0,
    })
}

/// Tells that a meter refuses a profile, or gives it again.
///
/// # Errors
/// Store failures.
pub async fn tell_problem(
    conn: &mut Connection,
    series: &Series,
    problem: Option<&str>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let detail = json!({"profile": series.profile, "problem": problem});
    event::record(conn, at, "profile_problem", Some(&series.serial.0), &detail).await
}

/// Tells what came of an attempt: new rows, contradictions, gaps that were given up or whose deadline has passed.
///
/// # Errors
/// Store failures.
pub async fn tell(
    conn: &mut Connection,
    series: &Series,
    read: &ProfileRows,
    kept: &Kept,
    ledger: &crate::reading::gaps::Ledger,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (serial, profile) = (Some(series.serial.0.as_str()), &series.profile);
    rows::tell(conn, series, read, &kept.new, at).await?;
    if !kept.disputed.is_empty() {
        let detail = json!({"profile": profile, "at": kept.disputed});
        event::record(conn, at, "profile_disputed", serial, &detail).await?;
    }
    for given_up in &ledger.given_up {
        let Gap { from, to, .. } = given_up.gap;
        let detail = json!({"profile": profile, "from": from, "to": to, "given_up": given_up.why.text()});
        event::record(conn, at, "profile_gap", serial, &detail).await?;
    }
    for (from, to) in &ledger.overdue {
        let detail = json!({"profile": profile, "from": from, "to": to});
        event::record(conn, at, "billing_overdue", serial, &detail).await?;
    }
    Ok(())
}

impl Store {
    /// Every series, for the start.
    ///
    /// # Errors
    /// Store failures.
    pub async fn all_series(&self) -> Result<Vec<Series>, StoreError> {
        let mut all: Vec<Series> = Vec::new();
        loop {
            let rows = sql::query("SELECT * FROM profile_series WHERE id > ?1 ORDER BY id LIMIT ?2")
                .bind(all.last().map_or(0, |series| series.id))
                .bind(PART)
                .fetch_all(&self.readers)
                .await?;
            all.reserve(rows.len());
            for row in &rows {
                all.push(series_of(row)?);
            }
            if rows.len() < PART as usize {
                return Ok(all);
            }
        }
    }

    /// Every gap that is still asked for, with the number of its series, oldest first.
    ///
    /// # Errors
    /// Store failures.
    pub async fn open_gaps(&self) -> Result<Vec<(i64, Gap)>, StoreError> {
        let rows = sql::query("SELECT * FROM profile_gap WHERE given_up IS NULL ORDER BY series_id, from_at")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok((row.try_get("series_id")?, gap_of(row)?))).collect()
    }

    /// When the first row of a meter's profile was due; none when it was never read.
    ///
    /// # Errors
    /// Store failures.
    pub async fn due_from(&self, serial: &str, profile: &str) -> Result<Option<Timestamp>, StoreError> {
        let due: Option<i64> =
            sql::query_scalar("SELECT due_from FROM profile_series WHERE serial = ?1 AND profile = ?2")
                .bind(serial)
                .bind(profile)
                .fetch_optional(&self.readers)
                .await?;
        super::time_opt(due)
    }

    /// The newest gaps of a meter, at most `limit`.
    ///
    /// # Errors
    /// Store failures.
    pub async fn gaps(&self, serial: &str, limit: u32) -> Result<Vec<StoredGap>, StoreError> {
        let rows = sql::query(
            "SELECT g.*, s.profile AS profile FROM profile_gap g JOIN profile_series s ON s.id = g.series_id
             WHERE s.serial = ?1 ORDER BY g.from_at DESC, s.profile LIMIT ?2",
        )
        .bind(serial)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(stored_gap).collect()
    }

    /// What is asked for again, of every meter.
    ///
    /// # Errors
    /// Store failures.
    pub async fn all_gaps(&self) -> Result<Vec<(Serial, StoredGap)>, StoreError> {
        let rows = sql::query(
            "SELECT g.*, s.serial AS serial, s.profile AS profile FROM profile_gap g
                JOIN profile_series s ON s.id = g.series_id
             WHERE g.given_up IS NULL ORDER BY s.serial, s.profile, g.from_at",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| Ok((Serial(row.try_get("serial")?), stored_gap(row)?))).collect()
    }

    /// The rows of a meter's profile from one time to another, both included, oldest first, at most `limit`.
    ///
    /// # Errors
    /// Store failures.
    pub async fn profile_rows(
        &self,
        serial: &str,
        profile: &str,
        from: Timestamp,
        to: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let rows = sql::query(
            "SELECT r.*, l.channels AS channels FROM profile_series s JOIN profile_row r ON r.series_id = s.id
                JOIN profile_layout l ON l.id = r.layout_id
             WHERE s.serial = ?1 AND s.profile = ?2 AND r.at BETWEEN ?3 AND ?4 ORDER BY r.at LIMIT ?5",
        )
        .bind(serial)
        .bind(profile)
        .bind(ms(from))
        .bind(ms(to))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(row_of).collect()
    }

    /// What is there, from one time to another, of the profiles of one meter, or of all meters of an area, as `count` sums it up.
    ///
    /// # Errors
    /// Store failures.
    pub async fn coverage<T>(
        &self,
        of: Covered<'_>,
        from: Timestamp,
        to: Timestamp,
        count: impl Fn(Counted) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let (statement, value) = match of {
            Covered::Meter(serial) => (SERIES_OF_METER, serial),
            Covered::Area(area) => (SERIES_OF_AREA, area),
        };
        let mut conn = self.readers.acquire().await?;
        let series = sql::query(statement).bind(value).fetch_all(&mut conn).await?;
        let mut counted = Vec::with_capacity(series.len());
        // One after the other: an area's rows of a day all at once would take hundreds of megabytes.
        for series in &series {
            let rows = sql::query(
                "SELECT at, quality, disputed, doubt_id FROM profile_row WHERE series_id = ?1 AND at BETWEEN ?2 AND ?3 ORDER BY at",
            )
            .bind(series.try_get::<i64, _>("id")?)
            .bind(ms(from))
            .bind(ms(to))
            .fetch_all(&mut conn)
            .await?;
            let rows = rows.iter().map(|row| {
                Ok(CountedRow {
                    at: time(row.try_get("at")?)?,
                    quality: Quality::from_store(row.try_get("quality")?)?,
                    disputed: row.try_get::<i64, _>("disputed")? != 0,
                    held: row.try_get::<Option<i64>, _>("doubt_id")?.is_some(),
                })
            });
            counted.extend(count(Counted {
                serial: Serial(series.try_get("serial")?),
                profile: series.try_get("profile")?,
                due_from: time(series.try_get("due_from")?)?,
                rows: rows.collect::<Result<_, StoreError>>()?,
            }));
        }
        Ok(counted)
    }
}

const SERIES_OF_METER: &str = "SELECT * FROM profile_series WHERE serial = ?1 ORDER BY profile";
const SERIES_OF_AREA: &str = "SELECT s.* FROM meter m JOIN profile_series s ON s.serial = m.serial
     WHERE m.area = ?1 ORDER BY s.serial, s.profile";

/// Whose coverage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covered<'a> {
    /// One meter's.
    Meter(&'a str),
    /// An area's.
    Area(&'a str),
}

fn stored_gap(row: &Row) -> Result<StoredGap, StoreError> {
    Ok(StoredGap { profile: row.try_get("profile")?, gap: gap_of(row)?, given_up: row.try_get("given_up")? })
}

fn row_of(row: &Row) -> Result<StoredRow, StoreError> {
    let channels: Vec<(String, String)> = serde_json::from_str(row.try_get("channels")?)?;
    let mut values = rows::cells(row.try_get("cells")?);
    let status: Option<i64> = row.try_get("status")?;
    Ok(StoredRow {
        at: time(row.try_get("at")?)?,
        quality: Quality::from_store(row.try_get("quality")?)?,
        status: status.and_then(|status| u32::try_from(status).ok()),
        values: channels.into_iter().map(|(name, unit)| (name, unit, values.next().flatten())).collect(),
        disputed: row.try_get::<i64, _>("disputed")? != 0,
        doubt_id: row.try_get("doubt_id")?,
        read_at: time(row.try_get("read_at")?)?,
    })
}

#[cfg(test)]
mod tests;
