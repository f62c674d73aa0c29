//! What can go wrong in the store.

/// A store failure. The caller cannot mend it; it is logged where it is handled, and the API answers 500.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("store: {0}")]
    Sql(String),
    /// A row holds what the code never writes.
    #[error("store: {0} is not what it should be")]
    Corrupt(String),
    /// The entries of a posting do not sum to zero. A defect of the caller, refused before it is written.
    #[error("store: a posting of kind {0} does not balance")]
    Unbalanced(String),
    /// The database server cannot be reached, or was lost on the way. Nothing was written.
    #[error("store: the database is away: {0}")]
    Unreachable(String),
    /// The disk is full, or the file has its largest size. Nothing was written.
    #[error("store: there is no room left: {0}")]
    Full(String),
    /// Another gateway writes to the same database.
    #[error(
        "store: another gateway is at work on {0}; two on one database are refused. Stop the other, or give this one a database of its own"
    )]
    Taken(String),
    /// The writer task has stopped.
    #[error("store: closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let away = match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
            // SQLSTATE classes: 08 is a connection that failed, 57P01 to 57P03 a server that stops or starts.
            sqlx::Error::Database(error) => error
                .code()
                .is_some_and(|code| code.len() == 5 && (code.starts_with("08") || code.starts_with("57P"))),
            _ => false,
        };
        // SQLite's SQLITE_FULL, PostgreSQL's disk_full.
        let full = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        if full.is_some_and(|code| code == "13" || code == "53100") {
            return Self::Full(error.to_string());
        }
        if away { Self::Unreachable(error.to_string()) } else { Self::Sql(error.to_string()) }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Sql(error.to_string())
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}
