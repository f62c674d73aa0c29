//! The connection that writes to a file. A statement is a function call on the writer's own thread: handing each to another
//! thread and back costs more than most statements.

use super::{FileRow, Query, Row, Value};
use crate::store::StoreError;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, ToSql};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// SQLite would take the write lock with the first change only otherwise, and could then find the store changed.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
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
    /// What the transaction under way has changed so far, in order: what has to be done again when the write at its end is taken
    /// back. Savepoints would have every page copied before it is changed, for every write; one that is taken back is rare.
    done: Vec<Query>,
    /// How much of it was done before the write under way.
    mark: usize,
}

impl File {
    /// Opens a file that is there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let conn = rusqlite::Connection::open(path)?;
        conn.busy_timeout(BUSY_PATIENCE)?;
        conn.set_prepared_statement_cache_capacity(PREPARED_MAX);
        conn.execute_batch(TERMS)?;
        Ok(Self { conn: Mutex::new(conn), columns: HashMap::new(), done: Vec::new(), mark: 0 })
    }

    /// Several statements without values.
    pub fn script(&mut self, text: &str) -> Result<(), StoreError> {
        Ok(conn(&mut self.conn).execute_batch(text)?)
    }

    /// Begins a transaction.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        conn(&mut self.conn).prepare_cached(BEGIN)?.raw_execute()?;
        self.done.clear();
        self.set_mark();
        Ok(())
    }

    /// Begins one write of a transaction.
    pub fn set_mark(&mut self) {
        self.mark = self.done.len();
    }

    /// Takes the write under way back, and leaves those before it as they were.
    pub fn undo_to_mark(&mut self) -> Result<(), StoreError> {
        let conn = conn(&mut self.conn);
        // An error, a full disk's for one, may have ended the transaction.
        let ended = conn.is_autocommit();
        if self.done.len() == self.mark && !ended {
            return Ok(());
        }
        if !ended {
            conn.prepare_cached("ROLLBACK")?.raw_execute()?;
        }
        conn.prepare_cached(BEGIN)?.raw_execute()?;
        self.done.truncate(self.mark);
        for Query { text, values } in &self.done {
            let mut statement = conn.prepare_cached(text)?;
            bind(&mut statement, values)?;
            run(&mut statement)?;
        }
        Ok(())
    }

    /// Runs a statement; the number of rows that it affected.
    pub fn execute(&mut self, text: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let conn = conn(&mut self.conn);
        let mut statement = conn.prepare_cached(text)?;
        bind(&mut statement, &values)?;
        if !statement.readonly() {
            in_transaction(conn)?;
            // Before it runs: one that fails may have done a part of it.
            self.done.push(Query { text, values });
        }
        run(&mut statement)?;
        drop(statement);
        Ok(conn.changes())
    }

    /// The row a statement gives.
    pub fn fetch_one(&mut self, text: &'static str, values: Vec<Value>) -> Result<Row, StoreError> {
        self.fetch_optional(text, values)?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// The row a statement gives, if there is one.
    pub fn fetch_optional(
        &mut self,
        text: &'static str,
        values: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(text, values, 1)?.pop())
    }

    /// All the rows a statement gives.
    pub fn fetch_all(&mut self, text: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.rows(text, values, usize::MAX)
    }

    /// At most so many of the rows a statement gives.
    fn rows(&mut self, text: &'static str, values: Vec<Value>, most: usize) -> Result<Vec<Row>, StoreError> {
        let conn = conn(&mut self.conn);
        let mut statement = conn.prepare_cached(text)?;
        bind(&mut statement, &values)?;
        if !statement.readonly() {
            in_transaction(conn)?;
            self.done.push(Query { text, values });
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

/// Runs a statement whose values are bound to its end, whatever it gives.
fn run(statement: &mut rusqlite::Statement<'_>) -> Result<(), StoreError> {
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

/// A change outside a transaction would stand alone, whatever became of the write that it belongs to.
fn in_transaction(conn: &rusqlite::Connection) -> Result<(), StoreError> {
    match conn.is_autocommit() {
        false => Ok(()),
        true => Err(StoreError::Sql("an error before it ended the transaction".to_owned())),
    }
}

fn bind(statement: &mut rusqlite::Statement<'_>, values: &[Value]) -> Result<(), StoreError> {
    for (place, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(place + 1, value)?;
    }
    Ok(())
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
