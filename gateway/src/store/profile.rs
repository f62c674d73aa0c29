//! Profiles as they were read: rows, what contradicts them, and the gap ledger.

use super::sql::{self, Connection, Row};
use super::text::words;
use super::{Store, StoreError, event, ms, time};
use crate::reading::gaps::{Gap, GivenUp};
use crate::session::work::{ProfileRow, ProfileRows, Serial};
use crate::store::observation::Quality;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;

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
    /// When it was read.
    pub read_at: Timestamp,
}

/// What became of rows that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// New ones: their places among those that were read.
    pub new: Vec<(usize, Quality)>,
    /// Times of those that say something else than before.
    pub disputed: Vec<Timestamp>,
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
    /// Rows and their quality: time, quality, disputed.
    pub rows: Vec<(Timestamp, Quality, bool)>,
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

/// Keeps rows. One that is there already is the same fact; one that says something else is kept beside it as evidence, and the
/// row is marked. Nothing is overwritten; nothing is kept while history is not stored, and it stays missing. `quality` says what a row is worth that the meter did not estimate.
///
/// # Errors
/// Store failures.
pub async fn keep_rows(
    conn: &mut Connection,
    series: i64,
    read: &ProfileRows,
    read_at: Timestamp,
    quality: impl Fn(Timestamp) -> Quality,
) -> Result<Kept, StoreError> {
    let mut kept = Kept::default();
    let times = read.rows.iter().map(|row| row.at);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return Ok(kept) };
    if !conn.stores_history() {
        return Ok(kept);
    }
    let layout = layout(conn, &read.channels).await?;
    let mut there = stored(conn, series, first, last).await?;
    for (place, row) in read.rows.iter().enumerate() {
        let said = Said { layout, status: row.status.map(i64::from), cells: cells_text(&row.cells) };
        match there.get(&row.at) {
            Some(before) if *before == said => {}
            Some(_) => {
                dispute(conn, series, row.at, &said, read_at);
                kept.disputed.push(row.at);
            }
            None => {
                let quality = if row.estimated { Quality::Estimated } else { quality(row.at) };
                sql::query(
                    "INSERT INTO profile_row (series_id, at, layout_id, quality, status, cells, read_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .bind(series)
                .bind(ms(row.at))
                .bind(layout)
                .bind(quality)
                .bind(said.status)
                .bind(said.cells.clone())
                .bind(ms(read_at))
                .later(conn);
                kept.new.push((place, quality));
                there.insert(row.at, said);
            }
        }
    }
    Ok(kept)
}

/// What a meter said of an interval.
#[derive(PartialEq, Eq)]
struct Said {
    layout: i64,
    status: Option<i64>,
    cells: String,
}

/// What is there from one time to another, both included.
async fn stored(
    conn: &mut Connection,
    series: i64,
    first: Timestamp,
    last: Timestamp,
) -> Result<HashMap<Timestamp, Said>, StoreError> {
    let rows = sql::query(
        "SELECT at, layout_id, status, cells FROM profile_row WHERE series_id = ?1 AND at BETWEEN ?2 AND ?3",
    )
    .bind(series)
    .bind(ms(first))
    .bind(ms(last))
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let said = Said {
                layout: row.try_get("layout_id")?,
                status: row.try_get("status")?,
                cells: row.try_get("cells")?,
            };
            Ok((time(row.try_get("at")?)?, said))
        })
        .collect()
}

/// Keeps what a meter says of an interval of which it said something else before.
fn dispute(conn: &mut Connection, series: i64, at: Timestamp, said: &Said, read_at: Timestamp) {
    sql::query(
        "INSERT INTO profile_dispute (series_id, at, layout_id, status, cells, read_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (series_id, at, read_at) DO NOTHING",
    )
    .bind(series)
    .bind(ms(at))
    .bind(said.layout)
    .bind(said.status)
    .bind(&said.cells)
    .bind(ms(read_at))
    .later(conn);
    sql::query("UPDATE profile_row SET disputed = 1 WHERE series_id = ?1 AND at = ?2")
        .bind(series)
        .bind(ms(at))
        .later(conn);
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

/// The number of a list of channels.
async fn layout(conn: &mut Connection, channels: &[(String, String)]) -> Result<i64, StoreError> {
    let text = serde_json::to_string(channels)?;
    let known = sql::query_scalar("SELECT id FROM profile_layout WHERE channels = ?1").bind(&text);
    if let Some(known) = known.fetch_optional(&mut *conn).await? {
        return Ok(known);
    }
    sql::query("INSERT INTO profile_layout (channels) VALUES (?1) ON CONFLICT (channels) DO NOTHING")
        .bind(&text)
        .later(conn);
    sql::query_scalar("SELECT id FROM profile_layout WHERE channels = ?1").bind(&text).fetch_one(conn).await
}

fn cells_text(cells: &[Option<i64>]) -> String {
    let mut text = String::with_capacity(cells.len() * 8);
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        if let Some(cell) = cell {
            // Writing to a string cannot fail.
            let _ = write!(text, "{cell}");
        }
    }
    text
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

/// New rows as they are told: by far the longest event, so that it is written without a tree of its own.
#[derive(Serialize)]
struct ToldRows<'r> {
    profile: &'r str,
    channels: &'r [&'r str],
    rows: Vec<ToldRow<'r>>,
}

#[derive(Serialize)]
struct ToldRow<'r> {
    at: Timestamp,
    quality: Quality,
    status: Option<u32>,
    values: &'r [Option<i64>],
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
    if !kept.new.is_empty() {
        let names: Vec<&str> = read.channels.iter().map(|(name, _)| name.as_str()).collect();
        let rows = kept.new.iter().filter_map(|(place, quality)| {
            let ProfileRow { at, status, cells, .. } = read.rows.get(*place)?;
            Some(ToldRow { at: *at, quality: *quality, status: *status, values: cells })
        });
        let detail = ToldRows { profile, channels: &names, rows: rows.collect() };
        event::record(conn, at, "profile", serial, &detail).await?;
    }
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
        let rows = sql::query("SELECT * FROM profile_series ORDER BY id").fetch_all(&self.readers).await?;
        rows.iter().map(series_of).collect()
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

    /// What is there, from one time to another, of the profiles of one meter, or of all meters of an area.
    ///
    /// # Errors
    /// Store failures.
    pub async fn coverage(
        &self,
        of: Covered<'_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Counted>, StoreError> {
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
                "SELECT at, quality, disputed FROM profile_row WHERE series_id = ?1 AND at BETWEEN ?2 AND ?3 ORDER BY at",
            )
            .bind(series.try_get::<i64, _>("id")?)
            .bind(ms(from))
            .bind(ms(to))
            .fetch_all(&mut conn)
            .await?;
            let rows = rows.iter().map(|row| {
                let quality = Quality::from_store(row.try_get("quality")?)?;
                Ok((time(row.try_get("at")?)?, quality, row.try_get::<i64, _>("disputed")? != 0))
            });
            counted.push(Counted {
                serial: Serial(series.try_get("serial")?),
                profile: series.try_get("profile")?,
                due_from: time(series.try_get("due_from")?)?,
                rows: rows.collect::<Result<_, StoreError>>()?,
            });
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
    let cells: &str = row.try_get("cells")?;
    let mut values = cells.split(',').map(|cell| cell.parse::<i64>().ok());
    let status: Option<i64> = row.try_get("status")?;
    Ok(StoredRow {
        at: time(row.try_get("at")?)?,
        quality: Quality::from_store(row.try_get("quality")?)?,
        status: status.and_then(|status| u32::try_from(status).ok()),
        values: channels.into_iter().map(|(name, unit)| (name, unit, values.next().flatten())).collect(),
        disputed: row.try_get::<i64, _>("disputed")? != 0,
        read_at: time(row.try_get("read_at")?)?,
    })
}

#[cfg(test)]
mod tests;
