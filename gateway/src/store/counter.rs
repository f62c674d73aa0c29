//! Invocation counters, in durable blocks.

use super::sql::{self, Connection};
use super::{Store, StoreError};
use crate::session::counters::Counters;
use crate::session::work::{Heard, Serial};
use crate::vault::KeyMark;
use std::ops::Range;
use std::pin::Pin;

impl Counters for Store {
    fn reserve(
        &self,
        meter: &Serial,
        client_sap: u8,
        at_least: u32,
        count: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Range<u32>, String>> + Send + '_>> {
        let meter = meter.clone();
        Box::pin(async move {
            self.reserve_counters(meter, client_sap, at_least, count).await.map_err(|error| error.to_string())
        })
    }

    fn heard(
        &self,
        meter: &Serial,
        keys: KeyMark,
    ) -> Pin<Box<dyn Future<Output = Result<Option<u32>, String>> + Send + '_>> {
        let meter = meter.clone();
        Box::pin(async move { self.heard_counter(&meter, keys).await.map_err(|error| error.to_string()) })
    }

    fn keep_heard(
        &self,
        meter: &Serial,
        keys: KeyMark,
        counter: u32,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        let meter = meter.clone();
        Box::pin(async move {
            self.keep_heard_counter(meter, keys, counter).await.map_err(|error| error.to_string())
        })
    }
}

/// First three bytes of the gateway's system title: a manufacturer's letters (Green Book, system title). Ours are not
/// registered with the FLAG association.
const TITLE_LETTERS: [u8; 3] = *b"MGG";

impl Store {
    /// The gateway's system title, made with five random bytes the first time.
    ///
    /// # Errors
    /// Store failures; when no random numbers are to be had.
    pub async fn system_title(&self) -> Result<[u8; 8], StoreError> {
        self.write(|conn| {
            Box::pin(async move {
                let known: Option<Vec<u8>> =
                    sql::query_scalar("SELECT system_title FROM gateway").fetch_optional(&mut *conn).await?;
                if let Some(known) = known {
                    return known.try_into().map_err(|_| StoreError::Corrupt("the system title".to_owned()));
                }
                let mut title = [0u8; 8];
                getrandom::fill(&mut title)
                    .map_err(|error| StoreError::Sql(format!("no random numbers: {error}")))?;
                title[..3].copy_from_slice(&TITLE_LETTERS);
                sql::query("INSERT INTO gateway (system_title) VALUES (?1)")
                    .bind(title.to_vec())
                    .execute(conn)
                    .await?;
                Ok(title)
            })
        })
        .await
    }

    /// Reserves successive counters, none ever reserved before and none below `at_least`.
    async fn reserve_counters(
        &self,
        meter: Serial,
        client_sap: u8,
        at_least: u32,
        count: u32,
    ) -> Result<Range<u32>, StoreError> {
        self.write(move |conn| {
            Box::pin(async move {
                let next: Option<i64> =
                    sql::query_scalar("SELECT next FROM counter_block WHERE serial = ?1 AND client_sap = ?2")
                        .bind(&meter.0)
                        .bind(client_sap)
                        .fetch_optional(&mut *conn)
                        .await?;
                let first = next.unwrap_or(0).max(i64::from(at_least));
                let exhausted = || {
                    StoreError::Corrupt(format!("the invocation counters of meter {} are used up", meter.0))
                };
                let first = u32::try_from(first).map_err(|_| exhausted())?;
                // Green Book: a key whose invocation counter is at its maximum must not be used any more.
                let end = first.checked_add(count).ok_or_else(exhausted)?;
                sql::query(
                    "INSERT INTO counter_block (serial, client_sap, next) VALUES (?1, ?2, ?3)
                     ON CONFLICT (serial, client_sap) DO UPDATE SET next = excluded.next",
                )
                .bind(&meter.0)
                .bind(client_sap)
                .bind(end)
                .execute(conn)
                .await?;
                Ok(first..end)
            })
        })
        .await
    }

    async fn heard_counter(&self, meter: &Serial, keys: KeyMark) -> Result<Option<u32>, StoreError> {
        let heard: Option<i64> =
            sql::query_scalar("SELECT counter FROM heard_counter WHERE serial = ?1 AND key_mark = ?2")
                .bind(&meter.0)
                .bind(keys.0.to_vec())
                .fetch_optional(&self.readers)
                .await?;
        let corrupt = |_| StoreError::Corrupt(format!("the counter heard from meter {}", meter.0));
        heard.map(|heard| u32::try_from(heard).map_err(corrupt)).transpose()
    }

    async fn keep_heard_counter(&self, meter: Serial, keys: KeyMark, counter: u32) -> Result<(), StoreError> {
        self.write(move |conn| {
            Box::pin(async move {
                keep(conn, &meter, &Heard { keys, counter });
                Ok(())
            })
        })
        .await
    }
}

/// Keeps a counter that was heard; false when one as high was heard before.
///
/// # Errors
/// Store failures.
pub async fn hear(
    conn: &mut Connection,
    meter: &Serial,
    keys: KeyMark,
    counter: u32,
) -> Result<bool, StoreError> {
    Ok(hearing(meter, &Heard { keys, counter }).execute(conn).await?.rows_affected() > 0)
}

/// Keeps a counter that was heard, where none as high was heard before.
pub fn keep(conn: &mut Connection, meter: &Serial, heard: &Heard) {
    hearing(meter, heard).later(conn);
}

fn hearing(meter: &Serial, heard: &Heard) -> sql::Query {
    sql::query(
        "INSERT INTO heard_counter (serial, key_mark, counter) VALUES (?1, ?2, ?3)
         ON CONFLICT (serial, key_mark) DO UPDATE SET counter = excluded.counter
            WHERE heard_counter.counter < excluded.counter",
    )
    .bind(&meter.0)
    .bind(heard.keys.0.to_vec())
    .bind(heard.counter)
}
