//! Alarms: opened by what a meter said or did, closed by evidence or by a person.

use super::sql::{self, Connection, Row};
use super::text::words;
use super::{Store, StoreError, event, ms, time, time_opt};
use crate::session::work::Serial;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

words! {
    /// What is wrong.
    AlarmKind {
        /// A meter that should be prepaid is not in prepayment mode (N04).
        NotPrepaid = "not_prepaid",
        /// The relay or its contact does not do what it is told, or energy flows although it is open (N05).
        DoesNotAct = "does_not_act",
        /// The balance that the meter holds changed by something that nobody can explain.
        BalanceDifference = "balance_difference",
        /// The meter said with its last word that its supply is gone.
        NoSupply = "no_supply",
        /// The meter told of a cover, a magnet, or current and energy that go another way: a suspicion (N23, N34).
        Tamper = "tamper",
        /// The meter told of a fault in its memory, its measurement or its program (N35).
        MeterFault = "meter_fault",
    }
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Alarm {
    /// Its id.
    pub id: i64,
    /// About which meter.
    pub serial: String,
    /// What is wrong.
    pub kind: AlarmKind,
    /// What was seen, for a person.
    pub detail: String,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When it was last seen.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
    /// When it was closed; an open one has none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
    /// The person who closed it; evidence where there is none.
    pub closed_by: Option<String>,
    /// The evidence, or the person's words.
    pub closing: Option<String>,
}

fn alarm_of(row: &Row) -> Result<Alarm, StoreError> {
    Ok(Alarm {
        id: row.try_get("id")?,
        serial: row.try_get("serial")?,
        kind: AlarmKind::from_store(row.try_get("kind")?)?,
        detail: row.try_get("detail")?,
        opened_at: time(row.try_get("opened_at")?)?,
        seen_at: time(row.try_get("seen_at")?)?,
        closed_at: time_opt(row.try_get("closed_at")?)?,
        closed_by: row.try_get("closed_by")?,
        closing: row.try_get("closing")?,
    })
}

/// Opens an alarm, or notes that it is still so. A fact goes out when it is opened.
///
/// # Errors
/// Store failures.
pub async fn raise(
    conn: &mut Connection,
    serial: &Serial,
    kind: AlarmKind,
    detail: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let open: Option<i64> =
        sql::query_scalar("SELECT id FROM alarm WHERE serial = ?1 AND kind = ?2 AND closed_at IS NULL")
            .bind(&serial.0)
            .bind(kind.as_str())
            .fetch_optional(&mut *conn)
            .await?;
    if let Some(id) = open {
        sql::query("UPDATE alarm SET detail = ?2, seen_at = ?3 WHERE id = ?1")
            .bind(id)
            .bind(detail)
            .bind(ms(at))
            .execute(conn)
            .await?;
        return Ok(());
    }
    sql::query("INSERT INTO alarm (serial, kind, detail, opened_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?4)")
        .bind(&serial.0)
        .bind(kind.as_str())
        .bind(detail)
        .bind(ms(at))
        .execute(&mut *conn)
        .await?;
    event::record(conn, at, "alarm", Some(&serial.0), &json!({"alarm": kind, "open": true, "detail": detail}))
        .await
}

/// Closes the open alarm of that kind by evidence, if there is one. The evidence is of the time from `began` to `at`: what was
/// seen since it began stays open.
///
/// # Errors
/// Store failures.
pub async fn clear(
    conn: &mut Connection,
    serial: &Serial,
    kind: AlarmKind,
    evidence: &str,
    times: (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    end(conn, serial, kind, (None, evidence), times).await
}

/// Closes the open alarm of that kind by a person's word, if there is one; times as for [`clear`].
///
/// # Errors
/// Store failures.
pub async fn settle(
    conn: &mut Connection,
    serial: &Serial,
    kind: AlarmKind,
    (by, words): (&str, &str),
    times: (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    end(conn, serial, kind, (Some(by), words), times).await
}

async fn end(
    conn: &mut Connection,
    serial: &Serial,
    kind: AlarmKind,
    (by, closing): (Option<&str>, &str),
    (began, at): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    let closed = sql::query(
        "UPDATE alarm SET closed_at = ?4, closing = ?3, closed_by = ?6
         WHERE serial = ?1 AND kind = ?2 AND closed_at IS NULL AND seen_at <= ?5",
    )
    .bind(&serial.0)
    .bind(kind.as_str())
    .bind(closing)
    .bind(ms(at))
    .bind(ms(began))
    .bind(by)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if closed == 0 {
        return Ok(());
    }
    let detail = json!({"alarm": kind, "open": false, "closed_by": by, "closing": closing});
    event::record(conn, at, "alarm", Some(&serial.0), &detail).await
}

/// Closes an open alarm by a person's word; `None` when there is no open one of that number.
///
/// # Errors
/// Store failures.
pub async fn close(
    conn: &mut Connection,
    id: i64,
    by: &str,
    words: &str,
    at: Timestamp,
) -> Result<Option<Alarm>, StoreError> {
    let row = sql::query("SELECT * FROM alarm WHERE id = ?1 AND closed_at IS NULL")
        .bind(id)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(mut alarm) = row.as_ref().map(alarm_of).transpose()? else { return Ok(None) };
    sql::query("UPDATE alarm SET closed_at = ?2, closed_by = ?3, closing = ?4 WHERE id = ?1")
        .bind(id)
        .bind(ms(at))
        .bind(by)
        .bind(words)
        .execute(&mut *conn)
        .await?;
    let detail = json!({"alarm": alarm.kind, "open": false, "closed_by": by, "closing": words});
    event::record(conn, at, "alarm", Some(&alarm.serial), &detail).await?;
    (alarm.closed_at, alarm.closed_by, alarm.closing) =
        (Some(at), Some(by.to_owned()), Some(words.to_owned()));
    Ok(Some(alarm))
}

impl Store {
    /// Alarms, newest first, at most `limit`: of one meter or of all, open ones or all.
    ///
    /// # Errors
    /// Store failures.
    pub async fn alarms(
        &self,
        serial: Option<&str>,
        open_only: bool,
        limit: u32,
    ) -> Result<Vec<Alarm>, StoreError> {
        let rows = sql::query(
            "SELECT * FROM alarm WHERE (?1 IS NULL OR serial = ?1) AND (?2 = 0 OR closed_at IS NULL)
             ORDER BY id DESC LIMIT ?3",
        )
        .bind(serial)
        .bind(i64::from(open_only))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(alarm_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{NOON, add, at, fresh, meter};
    use jiff::SignedDuration;

    #[tokio::test]
    async fn an_alarm_is_open_once_and_closed_by_what_was_seen_after_it() {
        let fresh = fresh().await;
        add(&fresh.store, meter("1", "1")).await.unwrap();
        let minute = |n| at(NOON) + SignedDuration::from_mins(n);
        fresh
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let (serial, kind) = (Serial("1".into()), AlarmKind::NoSupply);
                    raise(conn, &serial, kind, "dark", minute(0)).await?;
                    raise(conn, &serial, kind, "dark again", minute(5)).await?;
                    // This reading had begun when the meter went dark.
                    clear(conn, &serial, kind, "it was read", (minute(4), minute(6))).await
                })
            })
            .await
            .unwrap();
        let open = fresh.store.alarms(Some("1"), true, 10).await.unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].detail.as_str(), open[0].opened_at), ("dark again", minute(0)));
        let id = open[0].id;
        let closed = fresh
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let (serial, kind) = (Serial("1".into()), AlarmKind::NoSupply);
                    clear(conn, &serial, kind, "it was read", (minute(7), minute(8))).await?;
                    clear(conn, &serial, kind, "it was read", (minute(9), minute(9))).await?;
                    close(conn, id, "anna", "seen to", minute(9)).await
                })
            })
            .await
            .unwrap();
        assert_eq!(closed, None, "it is closed already");
        assert!(fresh.store.alarms(None, true, 10).await.unwrap().is_empty());
        let all = fresh.store.alarms(None, false, 10).await.unwrap();
        assert_eq!((all[0].closed_at, all[0].closed_by.as_deref()), (Some(minute(8)), None));
        let facts = fresh.store.events_after(0, 100).await.unwrap();
        assert_eq!(facts.iter().filter(|event| event.kind == "alarm").count(), 2, "opened and closed");
    }
}
