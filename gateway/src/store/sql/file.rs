//! The connection that writes to a file. A statement is a function call on the writer's own thread: handing each to another
//! thread and back costs more than most statements.

use super::{FileRow, Row, Value};
use crate::store::StoreError;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, ToSql};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long another connection may hold the lock (a backup being begun, a former gateway that ends).
pub(in crate::store) const BUSY_PATIENCE: Duration = Duration::from_secs(5);
/// Statements kept prepared: more than there are.
pub(in crate::store) const PREPARED_MAX: usize = 256;

/// What is committed is on the disk (full sync of the log). 16 MiB of pages are kept, so that the indexes of a substation's meters
/// are in memory; the log is copied back after 16 MiB, in which most pages were written several times.
const TERMS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
    PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4096;";

/// An open file.
#[derive(Debug)]
pub(in crate::store) struct File {
    /// A lock that nobody takes: with it a reference to the file may be held while a future waits.
    conn: Mutex<rusqlite::Connection>,
    /// The names of the columns that a statement gives.
    columns: HashMap<&'static str, Arc<[String]>>,
}

impl File {
    /// Opens a file that is there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let conn = rusqlite::Connection::open(path)?;
        conn.busy_timeout(BUSY_PATIENCE)?;
        conn.set_prepared_statement_cache_capacity(PREPARED_MAX);
        conn.execute_batch(TERMS)?;
        Ok(Self { conn: Mutex::new(conn), columns: HashMap::new() })
    }

    /// Several statements without values.
    pub fn script(&mut self, text: &str) -> Result<(), StoreError> {
        Ok(conn(&mut self.conn).execute_batch(text)?)
    }

    /// Runs a statement; the number of rows that it affected.
    pub fn execute(&mut self, text: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        self.rows(text, values, usize::MAX)?;
        Ok(conn(&mut self.conn).changes())
    }

    /// The row a statement gives.
    pub fn fetch_one(&mut self, text: &'static str, values: &[Value]) -> Result<Row, StoreError> {
        self.fetch_optional(text, values)?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// The row a statement gives, if there is one.
    pub fn fetch_optional(
        &mut self,
        text: &'static str,
        values: &[Value],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(text, values, 1)?.pop())
    }

    /// All the rows a statement gives.
    pub fn fetch_all(&mut self, text: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.rows(text, values, usize::MAX)
    }

    /// At most so many of the rows a statement gives.
    fn rows(&mut self, text: &'static str, values: &[Value], most: usize) -> Result<Vec<Row>, StoreError> {
        let mut statement = conn(&mut self.conn).prepare_cached(text)?;
        for (place, value) in values.iter().enumerate() {
            statement.raw_bind_parameter(place + 1, value)?;
        }
        let columns = match self.columns.get(text) {
            Some(columns) => columns.clone(),
            None => {
                let names: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
                self.columns.insert(text, names.clone());
                names
            }
        };
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while found.len() < most {
            let Some(row) = rows.next()? else { break };
            let values = (0..columns.len()).map(|place| row.get(place)).collect::<Result<_, _>>()?;
            found.push(Row::File(FileRow { columns: columns.clone(), values }));
        }
        Ok(found)
    }
}

fn conn(lock: &mut Mutex<rusqlite::Connection>) -> &rusqlite::Connection {
    lock.get_mut().unwrap_or_else(PoisonError::into_inner)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(Some(integer)) => ValueRef::Integer(*integer),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Integer(None) | Self::Text(None) | Self::Bytes(None) => ValueRef::Null,
        }))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error.to_string()),
            _ => Self::Sql(error.to_string()),
        }
    }
}
