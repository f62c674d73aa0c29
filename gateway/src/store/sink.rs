//! How far each northbound sink has got in the events.

use super::sql;
use super::{Store, StoreError, ms, time_opt};
use jiff::Timestamp;

/// Where a sink stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkState {
    /// Every event up to this one was acknowledged by the other side; 0 before the first.
    pub delivered_id: i64,
    /// When the last acknowledgement came.
    pub delivered_at: Option<Timestamp>,
    /// What keeps it from delivering.
    pub problem: Option<String>,
    /// Since when.
    pub problem_at: Option<Timestamp>,
    /// Events not yet acknowledged.
    pub behind: i64,
    /// When the oldest of them happened.
    pub oldest_at: Option<Timestamp>,
}

impl Store {
    /// The last event this sink's other side acknowledged; 0 before the first.
    ///
    /// # Errors
    /// Store failures.
    pub async fn sink_position(&self, name: &str) -> Result<i64, StoreError> {
        let position: Option<i64> = sql::query_scalar("SELECT delivered_id FROM sink WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        Ok(position.unwrap_or(0))
    }

    /// Everything up to `id` was acknowledged. Never moves back.
    ///
    /// # Errors
    /// Store failures.
    pub async fn sink_delivered(&self, name: &str, id: i64, at: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                sql::query(
                    "INSERT INTO sink (name, delivered_id, delivered_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT (name) DO UPDATE SET
                         delivered_id = CASE WHEN sink.delivered_id > excluded.delivered_id THEN sink.delivered_id ELSE excluded.delivered_id END,
                         delivered_at = excluded.delivered_at, problem = NULL, problem_at = NULL",
                )
                .bind(name)
                .bind(id)
                .bind(ms(at))
                .execute(conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Something keeps a sink from delivering. The time of the first such word is kept until a delivery.
    ///
    /// # Errors
    /// Store failures.
    pub async fn sink_problem(&self, name: &str, problem: String, at: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                sql::query(
                    "INSERT INTO sink (name, delivered_id, problem, problem_at) VALUES (?1, 0, ?2, ?3)
                     ON CONFLICT (name) DO UPDATE SET problem = excluded.problem,
                         problem_at = COALESCE(sink.problem_at, excluded.problem_at)",
                )
                .bind(name)
                .bind(problem)
                .bind(ms(at))
                .execute(conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Where a sink stands, with what is still to be delivered.
    ///
    /// # Errors
    /// Store failures.
    pub async fn sink_state(&self, name: &str) -> Result<SinkState, StoreError> {
        let row = sql::query(
            "SELECT COALESCE(MAX(delivered_id), 0) AS delivered_id, MAX(delivered_at) AS delivered_at,
                    MAX(problem) AS problem, MAX(problem_at) AS problem_at FROM sink WHERE name = ?1",
        )
        .bind(name)
        .fetch_one(&self.readers)
        .await?;
        let delivered_id: i64 = row.try_get("delivered_id")?;
        let waiting = sql::query("SELECT COUNT(*), MIN(at) FROM event WHERE id > ?1")
            .bind(delivered_id)
            .fetch_one(&self.readers)
            .await?;
        Ok(SinkState {
            delivered_id,
            delivered_at: time_opt(row.try_get("delivered_at")?)?,
            problem: row.try_get("problem")?,
            problem_at: time_opt(row.try_get("problem_at")?)?,
            behind: waiting.try_get(0)?,
            oldest_at: time_opt(waiting.try_get(1)?)?,
        })
    }
}
