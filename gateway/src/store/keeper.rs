//! The keeper: a task that removes old history in small batches, and sees to it that a full disk costs readings first.
//!
//! History is readings, rows of profiles, settled doubts, relay observations, events and the steps of commands. Payments, postings,
//! tokens, commands, notices and the audit trail are never removed; nor are an event about a payment, a step of a token's
//! delivery or of a command that is not finished, and an event that a configured sink has not acknowledged.
//!
//! While little room is left on the store's disk ([`Keep::free_min`]) or up to its largest size, history is not stored:
//! [`super::Connection::stores_history`] says so to whoever writes some. The latest values of each meter still are, and all that
//! is money. Freed pages of an SQLite file are used again; the file does not shrink.

use super::{Place, Store, StoreError, event, ms, profile, sql};
use crate::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

/// Rows looked at in one batch: one short write, between which everything else goes on.
const BATCH: i64 = 500;
/// Between batches.
const BREATH: Duration = Duration::from_millis(20);
/// Between looks at the room that is left.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Looks between two rounds of pruning.
const LOOKS_PER_PRUNING: u32 = 6;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What the operator decides about history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// How long readings, rows of profiles and relay observations are kept.
    pub readings: SignedDuration,
    /// How long events are kept, at least.
    pub events: SignedDuration,
    /// How long the steps of finished commands are kept.
    pub command_steps: SignedDuration,
    /// With less room than this, in bytes, history is not stored.
    pub free_min: u64,
    /// The largest size of the store's file, in bytes.
    pub size_max: Option<u64>,
}

/// A table of history whose rows are numbered: the next rows above a number, and their removal up to another one.
struct History {
    table: &'static str,
    next: &'static str,
    remove: &'static str,
    age: fn(&Keep) -> SignedDuration,
    /// The sinks have to have it before.
    outbox: bool,
}

const HISTORY: [History; 7] = [
    History {
        table: "reading",
        next: "SELECT id, at FROM reading WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        remove: "DELETE FROM reading WHERE id > ?1 AND id <= ?2",
        age: |keep| keep.readings,
        outbox: false,
    },
    History {
        table: "relay_observation",
        next: "SELECT id, at FROM relay_observation WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        remove: "DELETE FROM relay_observation WHERE id > ?1 AND id <= ?2",
        age: |keep| keep.readings,
        outbox: false,
    },
    // One that is still held keeps none that came after it.
    History {
        table: "doubt",
        next: "SELECT id, CASE WHEN state = 'held' THEN first_at ELSE last_at END FROM doubt
               WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        remove: "DELETE FROM doubt WHERE id > ?1 AND id <= ?2 AND state <> 'held'",
        age: |keep| keep.readings,
        outbox: false,
    },
    // An open one stays.
    History {
        table: "alarm",
        next: "SELECT id, COALESCE(closed_at, opened_at) FROM alarm WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        remove: "DELETE FROM alarm WHERE id > ?1 AND id <= ?2 AND closed_at IS NOT NULL",
        age: |keep| keep.events,
        outbox: false,
    },
    History {
        table: "balance_audit",
        next: "SELECT id, at FROM balance_audit WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        remove: "DELETE FROM balance_audit WHERE id > ?1 AND id <= ?2",
        age: |keep| keep.readings,
        outbox: false,
    },
    History {
        table: "event",
        next: "SELECT id, at FROM event WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        remove: "DELETE FROM event WHERE id > ?1 AND id <= ?2 AND kind <> 'payment'",
        age: |keep| keep.events,
        outbox: true,
    },
    History {
        table: "command_event",
        next: "SELECT id, at FROM command_event WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        remove: "DELETE FROM command_event WHERE id > ?1 AND id <= ?2 AND command_id IN (
                     SELECT id FROM command WHERE token_id IS NULL AND state IN ('verified', 'rejected', 'expired', 'cancelled'))",
        age: |keep| keep.command_steps,
        outbox: false,
    },
];

/// The next series above a number that has old rows, and the time of the last of its oldest rows.
const NEXT_SERIES: &str = "
    SELECT s.id, (SELECT MAX(old.at) FROM (SELECT r.at AS at FROM profile_row r WHERE r.series_id = s.id AND r.at < ?2
                                           ORDER BY r.at LIMIT ?3) AS old)
    FROM profile_series s
    WHERE s.id > ?1 AND EXISTS (SELECT 1 FROM profile_row r WHERE r.series_id = s.id AND r.at < ?2)
    ORDER BY s.id LIMIT 1";

/// The keeper; [`Keeper::run`] is its task.
pub struct Keeper {
    store: Store,
    place: Place,
    keep: Keep,
    sinks: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Up to where each kind of history was looked through since the start: what stays for good is looked at once.
    passed: [i64; HISTORY.len()],
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("place", &self.place).field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Over these; events stay until each of `sinks`, as they are configured at the time, has acknowledged them.
    #[must_use]
    pub fn new(
        store: Store,
        place: Place,
        keep: Keep,
        sinks: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        Self { store, place, keep, sinks: Box::new(sinks), passed: [0; HISTORY.len()] }
    }

    /// Runs until `stop` becomes true.
    ///
    /// # Errors
    /// Store failures at the start; later ones are logged and tried again.
    pub async fn run(mut self, clock: Clock, mut stop: watch::Receiver<bool>) -> Result<(), StoreError> {
        if let Some(size) = self.keep.size_max {
            self.store.set_size_max(size).await?;
        }
        let mut looks = 0u32;
        while !*stop.borrow() {
            let room = self.look(clock.now()).await;
            let pruned = match looks % LOOKS_PER_PRUNING {
                0 => self.prune(clock.now()).await.map(drop),
                _ => Ok(()),
            };
            for error in [room.err(), pruned.err()].into_iter().flatten() {
                tracing::error!(%error, "the store could not be kept tidy");
            }
            looks = looks.wrapping_add(1);
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.changed() => {}
            }
        }
        Ok(())
    }

    /// Measures the room that is left, and has history stored or not. A change is a fact.
    ///
    /// # Errors
    /// Store failures.
    pub async fn look(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Place::File(path) = &self.place else { return Ok(()) };
        let on_disk = free_on_disk(path).await.unwrap_or(u64::MAX);
        let in_file = match self.keep.size_max {
            Some(size) => size.saturating_sub(self.store.bytes_used().await?),
            None => u64::MAX,
        };
        let free = on_disk.min(in_file);
        self.store.measures.set_room(free);
        let tight = self.store.is_tight();
        // What was freed has to last for a while, or it would be on and off.
        let enough = if tight {
            self.keep.free_min.saturating_add(self.keep.free_min / 4)
        } else {
            self.keep.free_min
        };
        if tight == (free < enough) {
            return Ok(());
        }
        self.store.set_tight(!tight);
        if tight {
            tracing::info!(free, "there is room again: readings are stored");
        } else {
            tracing::error!(free, "little room is left: readings are not stored, what is money still is");
        }
        let detail = json!({"tight": !tight, "free_bytes": free});
        self.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { event::record(conn, now, "store_space", None, &detail).await })
            })
            .await
    }

    /// Removes history that is older than it is kept, and gives the number of rows removed.
    ///
    /// # Errors
    /// Store failures.
    pub async fn prune(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let mut acknowledged = i64::MAX;
        for sink in (self.sinks)() {
            acknowledged = acknowledged.min(self.store.sink_position(&sink).await?);
        }
        let mut removed = 0;
        for (kind, history) in HISTORY.iter().enumerate() {
            let before = self.before(now, (history.age)(&self.keep));
            let up_to = if history.outbox { acknowledged } else { i64::MAX };
            while let Some((last, rows)) = self.batch(history, self.passed[kind], up_to, before).await? {
                self.passed[kind] = last;
                removed += rows;
                tracing::debug!(table = history.table, rows, "removed old history");
                tokio::time::sleep(BREATH).await;
            }
        }
        removed += self.prune_profiles(now).await?;
        if removed > 0 {
            tracing::info!(rows = removed, "removed old history");
        }
        Ok(removed)
    }

    fn before(&self, now: Timestamp, age: SignedDuration) -> Timestamp {
        now.saturating_sub(age).unwrap_or(Timestamp::MIN)
    }

    /// Removes old rows of profiles, once a day's worth of a series is old. What is gone is not due any more.
    async fn prune_profiles(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = ms(self.before(now, self.keep.readings));
        let before = before - before.rem_euclid(DAY_MS);
        let (mut series, mut removed) = (0, 0);
        loop {
            let next = sql::query(NEXT_SERIES).bind(series).bind(before).bind(BATCH);
            let Some(row) = next.fetch_optional(&self.store.readers).await? else { return Ok(removed) };
            let (id, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            // What is left of it comes in the next round of this loop.
            series = id - 1;
            removed += self
                .store
                .write::<_, StoreError, _>(move |conn| {
                    Box::pin(async move { profile::forget(conn, id, last).await })
                })
                .await?;
            tokio::time::sleep(BREATH).await;
        }
    }

    /// One batch: the number of its last row and how many were removed; `None` when the next row is not old enough.
    async fn batch(
        &self,
        history: &History,
        after: i64,
        up_to: i64,
        before: Timestamp,
    ) -> Result<Option<(i64, u64)>, StoreError> {
        let rows = sql::query(history.next)
            .bind(after)
            .bind(up_to)
            .bind(BATCH)
            .fetch_all(&self.store.readers)
            .await?;
        let mut last = None;
        for row in rows {
            if row.try_get::<i64, _>(1)? >= ms(before) {
                break;
            }
            last = Some(row.try_get::<i64, _>(0)?);
        }
        let Some(last) = last else { return Ok(None) };
        let remove = history.remove;
        let done = self
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { sql::query(remove).bind(after).bind(last).execute(conn).await })
            })
            .await?;
        Ok(Some((last, done.rows_affected())))
    }
}

/// Room on the disk of a file, as `df` (POSIX) says; `None` where there is no such program.
async fn free_on_disk(path: &Path) -> Option<u64> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let said = tokio::process::Command::new("df").arg("-Pk").arg(directory).output().await.ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests;
