//! The store: the only SQL. SQLite in WAL mode with full sync, or PostgreSQL; one task writes, several connections read.
//!
//! Functions that take a connection are pieces of one write; methods of [`Store`] are whole reads or whole writes.

pub mod access;
pub mod alarm;
pub mod backup;
pub mod balance_audit;
pub mod bulk;
pub mod campaign;
pub mod clock;
pub mod command;
pub mod counter;
pub mod credit_before;
pub mod doubt;
mod error;
pub mod event;
pub mod export;
pub mod image;
pub mod keeper;
pub mod ledger;
mod measure;
pub mod message;
pub mod meter;
mod migrate;
pub mod notice;
pub mod observation;
pub mod payment;
mod postgres;
pub mod profile;
pub mod push;
pub mod sink;
pub mod special;
mod sql;
mod text;
mod writer;

pub use error::StoreError;
pub use measure::Measures;
pub use postgres::Server;
pub use sql::Connection;
pub(crate) use sql::{IntoValue, Value};
pub(crate) use text::words;
pub use writer::Writing;

use jiff::Timestamp;
use postgres::Session;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use writer::Way;

/// Reading connections. SQLite readers never block each other; more than this only costs memory.
const READERS_MAX: u32 = 4;
/// Rows fetched at a time where all of a table are wanted: a fetched row takes many times what is made of it.
const PART: u32 = 500;

/// Where a store is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// In a database of a server.
    Server(Server),
}

impl Place {
    /// The size of the file and its log; 0 for a database of a server, whose disk is not ours.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let Self::File(path) = self else { return 0 };
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        size(path).saturating_add(size(log.as_ref()))
    }
}

/// The open store. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    readers: sql::Pool,
    writer: writer::Writer,
    committed: watch::Receiver<u64>,
    measures: Measures,
    /// Little room is left: history is not stored.
    tight: Arc<AtomicBool>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the store where it is, making it if need be, checks it, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, is of a newer schema than this program knows, or another gateway writes to it.
    pub async fn open_at(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::File(path) => Self::open(path).await,
            Place::Server(server) => Self::open_on(server).await,
        }
    }

    /// Opens the file: see [`Store::open_at`].
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
            .busy_timeout(sql::BUSY_PATIENCE)
            .statement_cache_capacity(sql::PREPARED_MAX)
            .disable_statement_logging();
        let mut conn = options.connect().await?;
        let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut conn).await?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt(format!("{}: {verdict}", path.display())));
        }
        migrate::sqlite(&mut conn).await?;
        conn.close().await?;
        let file = sql::File::open(path)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            // A file does not go away as a server does: asking first would double every read.
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await?;
        Self::over(readers.into(), Way::File(Box::new(file.into())))
    }

    /// Opens the store for a look at it beside the gateway that writes to it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open_to_read(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::File(path) => Self::open(path).await,
            Place::Server(server) => {
                let (_, committed) = watch::channel(0);
                let (writer, measures) = (writer::Writer::nobody(), Measures::default());
                Ok(Self { readers: server.readers(), writer, committed, measures, tight: Arc::default() })
            }
        }
    }

    async fn open_on(server: &Server) -> Result<Self, StoreError> {
        let session = Session::open(server.clone()).await?;
        Self::over(server.readers(), Way::Server(Box::new(session)))
    }

    fn over(readers: sql::Pool, way: Way) -> Result<Self, StoreError> {
        let (tell, committed) = watch::channel(0);
        let measures = Measures::default();
        let tight = Arc::new(AtomicBool::new(false));
        let writer = writer::Writer::spawn(way, tell, measures.clone(), tight.clone())?;
        Ok(Self { readers, writer, committed, measures, tight })
    }

    /// Does one write: all of it or, on `Err`, none of it. Returns after it is durable.
    ///
    /// # Errors
    /// What the work returned, or a [`StoreError`] when the commit failed.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(&'c mut Connection) -> Writing<'c, Result<T, E>> + Send + 'static,
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

    /// Whether so little room is left that history is not stored.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.tight.load(Ordering::Relaxed)
    }

    fn set_tight(&self, tight: bool) {
        self.tight.store(tight, Ordering::Relaxed);
    }

    /// Limits the size of the store's file. What is there already stays. A server's database has no limit here.
    async fn set_size_max(&self, bytes: u64) -> Result<(), StoreError> {
        if matches!(self.readers, sql::Pool::Postgres(_)) {
            return Ok(());
        }
        let page = sql::query_scalar::<i64>("PRAGMA page_size").fetch_one(&self.readers).await?;
        let pages = bytes / u64::try_from(page).unwrap_or(4096).max(1);
        let limit = format!("PRAGMA max_page_count = {pages}");
        self.write(move |conn| Box::pin(async move { sql::script(&limit, conn).await })).await
    }

    /// Bytes in use in the store's file, without those that are free to be used again.
    async fn bytes_used(&self) -> Result<u64, StoreError> {
        let used: i64 = sql::query_scalar(
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(u64::try_from(used).unwrap_or(0))
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sql::query("SELECT 1").execute(&self.readers).await?;
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
