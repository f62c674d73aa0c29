//! What can be counted of the store and in it.

use super::command::CommandState;
use super::{Store, StoreError, sql, time_opt};
use jiff::Timestamp;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What the writer measures. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Measures {
    /// Writes in one commit.
    pub group: Histogram,
    /// Seconds of one commit, from its first write until it is durable.
    pub commit: Histogram,
    /// Bytes that the embedded store may still take; no value where the store is a server's.
    pub room: Family<Vec<(String, String)>, Gauge>,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            // 1 to 128, which is the largest group.
            group: Histogram::new(exponential_buckets(1.0, 2.0, 8)),
            // 0.25 ms (a group on a fast disk) to 4 s (a disk in trouble).
            commit: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            room: Family::default(),
        }
    }
}

impl Measures {
    /// So many bytes are left.
    pub(super) fn set_room(&self, bytes: u64) {
        self.room.get_or_create(&Vec::new()).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Store {
    /// What the writer measures.
    #[must_use]
    pub fn measures(&self) -> Measures {
        self.measures.clone()
    }

    /// When the latest event happened.
    ///
    /// # Errors
    /// Store failures.
    pub async fn last_event_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let last: Option<i64> = sql::query_scalar("SELECT at FROM event ORDER BY id DESC LIMIT 1")
            .fetch_optional(&self.readers)
            .await?;
        time_opt(last)
    }

    /// How many commands are in each state that is not final.
    ///
    /// # Errors
    /// Store failures.
    pub async fn open_command_counts(&self) -> Result<Vec<(CommandState, i64)>, StoreError> {
        let rows = sql::query(
            "SELECT state, COUNT(*) FROM command WHERE state NOT IN ('verified', 'rejected', 'expired', 'cancelled')
             GROUP BY state ORDER BY state",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| Ok((CommandState::from_store(row.try_get(0)?)?, row.try_get(1)?))).collect()
    }
}
