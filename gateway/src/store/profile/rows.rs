//! Rows of a profile, many in one statement: what a statement costs is paid once.

use crate::session::work::ProfileRow;
use crate::store::observation::Quality;
use crate::store::sql::{self, Connection};
use crate::store::{StoreError, ms};
use jiff::Timestamp;
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::LazyLock;

/// How many rows one statement takes: half a day of quarter hours, two hours, one.
const SIZES: [usize; 3] = [48, 8, 1];

static STATEMENTS: LazyLock<[String; SIZES.len()]> = LazyLock::new(|| SIZES.map(statement));

/// Series, layout and time of reading are the first three values, then four for each row.
fn statement(rows: usize) -> String {
    let mut text =
        "INSERT INTO profile_row (series_id, at, layout_id, quality, status, cells, read_at) VALUES "
            .to_owned();
    for row in 0..rows {
        let first = 4 + row * 4;
        let comma = if row == 0 { "" } else { ", " };
        // Writing into a string cannot fail.
        let _ = write!(text, "{comma}(?1, ?{first}, ?2, ?{}, ?{}, ?{}, ?3)", first + 1, first + 2, first + 3);
    }
    text + " ON CONFLICT (series_id, at) DO NOTHING RETURNING at"
}

/// A row as it is stored.
#[derive(Debug)]
pub(super) struct Keeping<'r> {
    pub row: &'r ProfileRow,
    pub quality: Quality,
    pub cells: String,
}

/// Inserts the rows that are not there yet; gives the times of these.
pub(super) async fn insert(
    conn: &mut Connection,
    series: i64,
    layout: i64,
    read_at: Timestamp,
    rows: &[Keeping<'_>],
) -> Result<HashSet<i64>, StoreError> {
    let mut inserted = HashSet::with_capacity(rows.len());
    let mut left = rows;
    for (size, text) in SIZES.into_iter().zip(STATEMENTS.iter()) {
        while let Some((part, rest)) = left.split_at_checked(size) {
            left = rest;
            let mut query = sql::query_scalar::<i64>(text).bind(series).bind(layout).bind(ms(read_at));
            for Keeping { row, quality, cells } in part {
                query = query.bind(ms(row.at)).bind(quality.as_str());
                query = query.bind(row.status.map(i64::from)).bind(cells);
            }
            inserted.extend(query.fetch_all(&mut *conn).await?);
        }
    }
    Ok(inserted)
}
