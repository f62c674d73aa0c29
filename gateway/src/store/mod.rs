//! The store: the only SQL. SQLite in WAL mode with full sync; one task writes, several connections read.
//!
//! Functions that take a connection are pieces of one write; methods of [`Store`] are whole reads or whole writes.

pub mod access;
pub mod backup;
pub mod bulk;
pub mod campaign;
pub mod command;
mod counter;
pub mod credit_before;
mod error;
pub mod event;
pub mod ledger;
mod measure;
pub mod meter;
pub mod notice;
pub mod observation;
pub mod payment;
pub mod sink;
pub mod special;
mod text;
mod writer;

pub use error::StoreError;
pub use measure::Measures;
pub(crate) use text::words;
pub use writer::Writing;

use jiff::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection};
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

/// Reading connections. SQLite readers never block each other; more than this only costs memory.
const READERS_MAX: u32 = 4;

/// The open store. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    readers: SqlitePool,
    writer: writer::Writer,
    committed: watch::Receiver<u64>,
    measures: Measures,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the file, making it if need be, checks it, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or is of a newer schema than this program knows.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(256)
            .disable_statement_logging();
        let mut conn = options.connect().await?;
        let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut conn).await?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt(format!("{}: {verdict}", path.display())));
        }
        sqlx::migrate!("./migrations").run(&mut conn).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_with(options.read_only(true))
            .await?;
        let (tell, committed) = watch::channel(0);
        let measures = Measures::default();
        let writer = writer::Writer::spawn(conn, tell, measures.clone());
        Ok(Self { readers, writer, committed, measures })
    }

    /// Does one write: all of it or, on `Err`, none of it. Returns after it is durable.
    ///
    /// # Errors
    /// What the work returned, or a [`StoreError`] when the commit failed.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.writer.write(work).await
    }

    /// Changes after every commit: wait on it, then look at what concerns you.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }
}

/// A time as stored.
pub(crate) fn ms(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// A stored time.
pub(crate) fn time(ms: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|_| StoreError::Corrupt(format!("time {ms}")))
}

/// A stored time that may be absent.
pub(crate) fn time_opt(ms: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    ms.map(time).transpose()
}

#[cfg(test)]
pub(crate) mod tests;
