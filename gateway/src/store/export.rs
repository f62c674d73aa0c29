//! What goes out in one piece over a range of time: page by page, each bounded, in the order in which it was written.

use super::sql::{self, Row};
use super::text::words;
use super::{Store, StoreError, ms, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

words! {
    /// What can be exported.
    Table {
        /// Readings of meters.
        Readings = "readings",
        /// Payments.
        Payments = "payments",
        /// Commands.
        Commands = "commands",
        /// Events: everything that happened.
        Events = "events",
    }
}

/// Rows of one page.
const PAGE: u32 = 500;
/// Rows are written in the order of their times but for this much: answers of meters that were slow, and a clock that was set.
const OUT_OF_ORDER: SignedDuration = SignedDuration::from_hours(1);

impl Table {
    /// Its columns, in order.
    #[must_use]
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Readings => &["id", "at", "serial", "quality", "import_wh", "power_w", "credit_wh"],
            Self::Payments => &[
                "id",
                "at",
                "channel",
                "idempotency_key",
                "serial",
                "amount_minor",
                "billed_minor",
                "change_minor",
                "energy_wh",
                "state",
                "correlation",
            ],
            Self::Commands => &[
                "id",
                "at",
                "serial",
                "kind",
                "state",
                "reason",
                "reason_text",
                "case_id",
                "confirmed_by",
                "actor",
                "approved_by",
                "correlation",
                "outcome",
                "not_after",
                "updated_at",
            ],
            Self::Events => &["id", "at", "kind", "serial", "detail"],
        }
    }

    const fn page(self) -> &'static str {
        match self {
            Self::Readings => {
                "SELECT id, at, serial, quality, import_wh, power_w, credit_wh FROM reading
                 WHERE id > ?1 AND id <= ?2 AND at >= ?3 AND at < ?4 ORDER BY id LIMIT ?5"
            }
            Self::Payments => {
                "SELECT id, at, channel, idempotency_key, serial, amount_minor, billed_minor, change_minor, energy_wh, state,
                        correlation FROM payment
                 WHERE id > ?1 AND id <= ?2 AND at >= ?3 AND at < ?4 ORDER BY id LIMIT ?5"
            }
            Self::Commands => {
                "SELECT id, at, serial, kind, state, reason, reason_text, case_id, confirmed_by, actor, approved_by, correlation,
                        outcome, not_after, updated_at FROM command
                 WHERE id > ?1 AND id <= ?2 AND at >= ?3 AND at < ?4 ORDER BY id LIMIT ?5"
            }
            Self::Events => {
                "SELECT id, at, kind, serial, detail FROM event
                 WHERE id > ?1 AND id <= ?2 AND at >= ?3 AND at < ?4 ORDER BY id LIMIT ?5"
            }
        }
    }

    /// The newest id, and the time of the first row from an id on.
    const fn lookups(self) -> (&'static str, &'static str) {
        match self {
            Self::Readings => (
                "SELECT COALESCE(MAX(id), 0) FROM reading",
                "SELECT at FROM reading WHERE id >= ?1 ORDER BY id LIMIT 1",
            ),
            Self::Payments => (
                "SELECT COALESCE(MAX(id), 0) FROM payment",
                "SELECT at FROM payment WHERE id >= ?1 ORDER BY id LIMIT 1",
            ),
            Self::Commands => (
                "SELECT COALESCE(MAX(id), 0) FROM command",
                "SELECT at FROM command WHERE id >= ?1 ORDER BY id LIMIT 1",
            ),
            Self::Events => (
                "SELECT COALESCE(MAX(id), 0) FROM event",
                "SELECT at FROM event WHERE id >= ?1 ORDER BY id LIMIT 1",
            ),
        }
    }

    /// The values of a row, in the order of the columns.
    fn values(self, row: &Row) -> Result<Vec<Value>, StoreError> {
        let number =
            |column: &str| -> Result<Value, StoreError> { Ok(json!(row.try_get::<Option<i64>, _>(column)?)) };
        let text = |column: &str| -> Result<Value, StoreError> {
            Ok(json!(row.try_get::<Option<String>, _>(column)?))
        };
        let moment = |column: &str| -> Result<Value, StoreError> {
            let at: Option<i64> = row.try_get(column)?;
            Ok(json!(at.map(time).transpose()?))
        };
        self.columns()
            .iter()
            .map(|column| match *column {
                "at" | "not_after" | "updated_at" => moment(column),
                "id" | "import_wh" | "power_w" | "credit_wh" | "amount_minor" | "billed_minor"
                | "change_minor" | "energy_wh" => number(column),
                "detail" => Ok(serde_json::from_str(row.try_get(*column)?)?),
                _ => text(column),
            })
            .collect()
    }
}

/// An export under way.
#[derive(Debug, Clone)]
pub struct Export {
    table: Table,
    from: Timestamp,
    until: Timestamp,
    after_id: i64,
    last_id: i64,
}

impl Store {
    /// Begins an export of what was written from `from` on and before `until`, as far as it is in the store now.
    ///
    /// # Errors
    /// Store failures.
    pub async fn export(
        &self,
        table: Table,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Export, StoreError> {
        let last_id: i64 = sql::query_scalar(table.lookups().0).fetch_one(&self.readers).await?;
        let early = from.saturating_sub(OUT_OF_ORDER).unwrap_or(Timestamp::MIN);
        let late = until.saturating_add(OUT_OF_ORDER).unwrap_or(Timestamp::MAX);
        let after_id = self.first_id(table, early, last_id).await? - 1;
        let last_id = self.first_id(table, late, last_id).await?.min(last_id);
        Ok(Export { table, from, until, after_id, last_id })
    }

    /// The first id whose row is of that time or later; one more than the last where none is. A few look-ups instead of an index,
    /// which every reading would pay for.
    async fn first_id(&self, table: Table, at: Timestamp, last_id: i64) -> Result<i64, StoreError> {
        let (mut low, mut high) = (1, last_id + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let found: Option<i64> =
                sql::query_scalar(table.lookups().1).bind(middle).fetch_optional(&self.readers).await?;
            if found.is_none_or(|found| found >= ms(at)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }
}

impl Export {
    /// The next rows, each with its values in the order of [`Table::columns`]; none at the end.
    ///
    /// # Errors
    /// Store failures.
    pub async fn next(&mut self, store: &Store) -> Result<Vec<Vec<Value>>, StoreError> {
        let rows = sql::query(self.table.page())
            .bind(self.after_id)
            .bind(self.last_id)
            .bind(ms(self.from))
            .bind(ms(self.until))
            .bind(i64::from(PAGE))
            .fetch_all(&store.readers)
            .await?;
        if let Some(last) = rows.last() {
            self.after_id = last.try_get("id")?;
        }
        rows.iter().map(|row| self.table.values(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::event;
    use crate::store::tests::fresh;

    /// One event a minute for two days.
    #[tokio::test]
    async fn a_range_comes_whole_and_nothing_else_with_it() {
        let fresh = fresh().await;
        let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let minute = move |n: i64| start + SignedDuration::from_mins(n);
        fresh
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    for n in 0..2_880 {
                        // Some are written late.
                        let at =
                            if n % 7 == 0 { minute(n) - SignedDuration::from_mins(20) } else { minute(n) };
                        event::record(&mut *conn, at, "reading", None, &json!({ "n": n })).await?;
                    }
                    Ok(())
                })
            })
            .await
            .unwrap();
        let count = async |from: i64, until: i64| {
            let mut export = fresh.store.export(Table::Events, minute(from), minute(until)).await.unwrap();
            let mut rows = Vec::new();
            loop {
                let page = export.next(&fresh.store).await.unwrap();
                if page.is_empty() {
                    break rows;
                }
                assert!(page.len() <= PAGE as usize);
                rows.extend(page);
            }
        };
        for (from, until) in [(0, 2_880), (600, 1_800), (1_000, 1_001), (5_000, 6_000), (-50, 3)] {
            let wanted = (0..2_880)
                .filter(|n| {
                    let at = if n % 7 == 0 { n - 20 } else { *n };
                    (from..until).contains(&at)
                })
                .count();
            let rows = count(from, until).await;
            assert_eq!(rows.len(), wanted, "{from} to {until}");
            assert!(rows.iter().all(|row| row.len() == Table::Events.columns().len()));
        }
    }
}
