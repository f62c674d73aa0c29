//! Rows of profiles as they come: what is new is kept and told, what contradicts is kept as evidence, what cannot be true is held.

use super::{Series, event, ms, sql, time};
use crate::reading::plausibility::{Doubt, Step, Thresholds, judge_rows};
use crate::session::work::{Facts, ProfileRow, ProfileRows, Serial};
use crate::store::observation::Quality;
use crate::store::sql::Connection;
use crate::store::{StoreError, doubt};
use crate::units::WattHours;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// The channel that is judged: the energy register under the name it has in readings.
const REGISTER: (&str, &str) = ("import_wh", "Wh");
/// So many rows are told in one event when a doubt is settled: about a week's.
const TOLD_AT_ONCE: usize = 672;

/// What became of rows that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// New ones that can be true: their places among those that were read.
    pub new: Vec<(usize, Quality)>,
    /// New ones that are held.
    pub held: usize,
    /// Times of those that say something else than before.
    pub disputed: Vec<Timestamp>,
}

/// How rows are judged.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'t> {
    /// Rows of before this came late.
    pub late_before: Timestamp,
    /// A whole area is behind the meter.
    pub is_feeder: bool,
    /// What the operator holds for possible.
    pub thresholds: &'t Thresholds,
}

impl Judging<'_> {
    /// What a row is worth that nobody doubts.
    fn quality(&self, row: &ProfileRow) -> Quality {
        match row.estimated {
            true => Quality::Estimated,
            false if row.at < self.late_before => Quality::Late,
            false => Quality::Measured,
        }
    }
}

/// What a meter said of an interval.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    layout: i64,
    status: Option<i64>,
    cells: String,
}

/// An interval of which something is said.
struct Interval {
    said: Said,
    /// It was held when it came.
    held: bool,
    /// Its place among the rows that were read, when it is new.
    new: Option<usize>,
}

/// Keeps rows. One that is there already is the same fact; one that says something else is kept beside it as evidence, and the
/// row is marked. Nothing is overwritten; nothing is kept while history is not stored, and it stays missing. A new row that cannot
/// be true is kept with its doubt.
///
/// # Errors
/// Store failures.
pub async fn keep(
    conn: &mut Connection,
    series: &Series,
    read: &ProfileRows,
    read_at: Timestamp,
    judging: &Judging<'_>,
) -> Result<Kept, StoreError> {
    let mut kept = Kept::default();
    let times = read.rows.iter().map(|row| row.at);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return Ok(kept) };
    if !conn.stores_history() {
        return Ok(kept);
    }
    let layout = layout(conn, &read.channels).await?;
    let mut there = stored(conn, series.id, first, last).await?;
    let mut disputes = Vec::new();
    for (place, row) in read.rows.iter().enumerate() {
        let said = Said { layout, status: row.status.map(i64::from), cells: cells_text(&row.cells) };
        match there.get(&row.at) {
            Some(before) if before.said == said => {}
            Some(_) => disputes.push((row.at, said)),
            None => {
                there.insert(row.at, Interval { said, held: false, new: Some(place) });
            }
        }
    }
    let doubts = hold(conn, series, read, &there, (first, last, layout), read_at, judging).await?;
    for (at, interval) in there {
        let Some((place, row)) = interval.new.and_then(|place| Some((place, read.rows.get(place)?))) else {
            continue;
        };
        let (quality, doubt) = (judging.quality(row), doubts.get(&at).copied());
        insert(conn, series.id, at, interval.said, quality, doubt, read_at);
        match doubt {
            Some(_) => kept.held += 1,
            None => kept.new.push((place, quality)),
        }
    }
    for (at, said) in disputes {
        dispute(conn, series.id, at, &said, read_at);
        kept.disputed.push(at);
    }
    Ok(kept)
}

fn insert(
    conn: &mut Connection,
    series: i64,
    at: Timestamp,
    said: Said,
    quality: Quality,
    doubt: Option<i64>,
    read_at: Timestamp,
) {
    sql::query(
        "INSERT INTO profile_row (series_id, at, layout_id, quality, status, cells, read_at, doubt_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(series)
    .bind(ms(at))
    .bind(said.layout)
    .bind(quality)
    .bind(said.status)
    .bind(said.cells)
    .bind(ms(read_at))
    .bind(doubt)
    .later(conn);
}

/// What is there from one time to another, both included.
async fn stored(
    conn: &mut Connection,
    series: i64,
    first: Timestamp,
    last: Timestamp,
) -> Result<BTreeMap<Timestamp, Interval>, StoreError> {
    let rows = sql::query(
        "SELECT at, layout_id, status, cells, doubt_id FROM profile_row WHERE series_id = ?1 AND at BETWEEN ?2 AND ?3",
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
            let held = row.try_get::<Option<i64>, _>("doubt_id")?.is_some();
            Ok((time(row.try_get("at")?)?, Interval { said, held, new: None }))
        })
        .collect()
}

/// Opens a case for every kind of doubt about new rows, or adds to the one that is open, and says which rows which case holds.
async fn hold(
    conn: &mut Connection,
    series: &Series,
    read: &ProfileRows,
    there: &BTreeMap<Timestamp, Interval>,
    (first, last, layout): (Timestamp, Timestamp, i64),
    read_at: Timestamp,
    judging: &Judging<'_>,
) -> Result<HashMap<Timestamp, i64>, StoreError> {
    let is_register = |(name, unit): &(String, String)| (name.as_str(), unit.as_str()) == REGISTER;
    let Some(column) = read.channels.iter().position(is_register) else { return Ok(HashMap::new()) };
    let step = |at, cells: &str, known| Some(Step { at, register: cell(cells, column)?, known });
    let mut steps = Vec::with_capacity(there.len() + 2);
    if let Some((at, cells)) = neighbour(conn, BEFORE, series.id, first, layout).await? {
        steps.extend(step(at, &cells, true));
    }
    for (at, Interval { said, held, new }) in there {
        if said.layout == layout && !held {
            steps.extend(step(*at, &said.cells, new.is_none()));
        }
    }
    if let Some((at, cells)) = neighbour(conn, AFTER, series.id, last, layout).await? {
        steps.extend(step(at, &cells, true));
    }
    let mut cases: Vec<(Doubt, Vec<Timestamp>)> = Vec::new();
    for (at, doubt) in judge_rows(&steps, judging.is_feeder, judging.thresholds) {
        match cases.iter_mut().find(|(of, _)| of.kind == doubt.kind) {
            Some((_, times)) => times.push(at),
            None => cases.push((doubt, vec![at])),
        }
    }
    let mut held = HashMap::new();
    for (mut doubt, times) in cases {
        doubt.detail["profile"] = series.profile.as_str().into();
        let readings = i64::try_from(times.len()).unwrap_or(i64::MAX);
        let id = doubt::hold(conn, &series.serial, &doubt, readings, &Facts::default(), read_at).await?;
        held.extend(times.into_iter().map(|at| (at, id)));
    }
    Ok(held)
}

const BEFORE: &str = "SELECT at, cells FROM profile_row
     WHERE series_id = ?1 AND at < ?2 AND layout_id = ?3 AND doubt_id IS NULL ORDER BY at DESC LIMIT 1";
const AFTER: &str = "SELECT at, cells FROM profile_row
     WHERE series_id = ?1 AND at > ?2 AND layout_id = ?3 AND doubt_id IS NULL ORDER BY at LIMIT 1";

/// The row next to a time that nobody doubts.
async fn neighbour(
    conn: &mut Connection,
    which: &'static str,
    series: i64,
    at: Timestamp,
    layout: i64,
) -> Result<Option<(Timestamp, String)>, StoreError> {
    let row = sql::query(which).bind(series).bind(ms(at)).bind(layout).fetch_optional(conn).await?;
    row.map(|row| Ok((time(row.try_get("at")?)?, row.try_get("cells")?))).transpose()
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

/// A row's values as they are stored: integers in the order of the layout, nothing where there is none.
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

/// The values of a stored row.
pub(super) fn cells(text: &str) -> impl Iterator<Item = Option<i64>> {
    text.split(',').map(|cell| cell.parse().ok())
}

fn cell(text: &str, column: usize) -> Option<WattHours> {
    cells(text).nth(column).flatten().map(WattHours)
}

/// Rows as they are told: by far the longest event, so that it is written without a tree of its own.
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

/// Tells of new rows.
pub(super) async fn tell(
    conn: &mut Connection,
    series: &Series,
    read: &ProfileRows,
    new: &[(usize, Quality)],
    at: Timestamp,
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let channels: Vec<&str> = read.channels.iter().map(|(name, _)| name.as_str()).collect();
    let rows = new.iter().filter_map(|(place, quality)| {
        let ProfileRow { at, status, cells, .. } = read.rows.get(*place)?;
        Some(ToldRow { at: *at, quality: *quality, status: *status, values: cells })
    });
    let detail = ToldRows { profile: &series.profile, channels: &channels, rows: rows.collect() };
    event::record(conn, at, "profile", Some(&series.serial.0), &detail).await
}

/// A row that was held.
struct Released {
    profile: String,
    channels: String,
    at: Timestamp,
    quality: Quality,
    status: Option<u32>,
    values: Vec<Option<i64>>,
}

/// Rows that a doubt held count, and are told like those that nobody doubted.
pub(in crate::store) async fn release(
    conn: &mut Connection,
    doubt: i64,
    serial: &Serial,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows = sql::query(
        "SELECT r.at, r.quality, r.status, r.cells, s.profile, l.channels FROM profile_row r
            JOIN profile_series s ON s.id = r.series_id JOIN profile_layout l ON l.id = r.layout_id
         WHERE r.doubt_id = ?1 ORDER BY r.series_id, r.layout_id, r.at",
    )
    .bind(doubt)
    .fetch_all(&mut *conn)
    .await?;
    let rows = rows.iter().map(|row| {
        let status: Option<i64> = row.try_get("status")?;
        Ok(Released {
            profile: row.try_get("profile")?,
            channels: row.try_get("channels")?,
            at: time(row.try_get("at")?)?,
            quality: Quality::from_store(row.try_get("quality")?)?,
            status: status.and_then(|status| u32::try_from(status).ok()),
            values: cells(row.try_get("cells")?).collect(),
        })
    });
    let rows: Vec<Released> = rows.collect::<Result<_, StoreError>>()?;
    let of_one = |a: &Released, b: &Released| (&a.profile, &a.channels) == (&b.profile, &b.channels);
    for rows in rows.chunk_by(of_one).flat_map(|rows| rows.chunks(TOLD_AT_ONCE)) {
        let Some(Released { profile, channels, .. }) = rows.first() else { continue };
        let channels: Vec<(&str, &str)> = serde_json::from_str(channels)?;
        let channels: Vec<&str> = channels.into_iter().map(|(name, _)| name).collect();
        let rows = rows.iter().map(|row| {
            let Released { at, quality, status, ref values, .. } = *row;
            ToldRow { at, quality, status, values }
        });
        let detail = ToldRows { profile, channels: &channels, rows: rows.collect() };
        event::record(conn, now, "profile", Some(&serial.0), &detail).await?;
    }
    sql::query("UPDATE profile_row SET doubt_id = NULL WHERE doubt_id = ?1").bind(doubt).later(conn);
    Ok(())
}
