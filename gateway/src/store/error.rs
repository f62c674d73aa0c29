//! What can go wrong in the store.

/// A store failure. The caller cannot mend it; it is logged where it is handled, and the API answers 500.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused or failed.
    #[error("store: {0}")]
    Sql(String),
    /// A row holds what the code never writes.
    #[error("store: {0} is not what it should be")]
    Corrupt(String),
    /// The entries of a posting do not sum to zero. A defect of the caller, refused before it is written.
    #[error("store: a posting of kind {0} does not balance")]
    Unbalanced(String),
    /// The writer task has stopped.
    #[error("store: closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error.to_string())
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
