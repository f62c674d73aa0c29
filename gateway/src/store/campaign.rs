//! Campaigns: one key change for many meters. How far a meter is follows from its set; nothing is written twice.

use super::command::CommandState;
use super::text::words;
use super::{Store, StoreError, event, ms, time};
use crate::session::work::Serial;
use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

words! {
    /// Where a campaign is.
    CampaignState {
        /// Sets are started as others end.
        Running = "running",
        /// No set is started; those on the way go on, because a meter with half a set is no better off.
        Paused = "paused",
        /// Ended by a person: meters that wait are left as they are.
        Stopped = "stopped",
        /// Every meter has its new key or refused it.
        Done = "done",
    }
}

words! {
    /// How far one meter of a campaign is.
    MeterProgress {
        /// Not taken in, and why is said.
        Excluded = "excluded",
        /// Its set is not made yet.
        Waiting = "waiting",
        /// Its set is being delivered.
        OnTheWay = "on_the_way",
        /// It has its new key.
        Done = "done",
        /// It refused a token of its set, or keeps forgetting parts.
        Refused = "refused",
        /// The campaign was stopped before its set was made.
        Stopped = "stopped",
    }
}

/// A campaign as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its id.
    pub id: i64,
    /// The key change, JSON.
    pub action: String,
    /// Which meters were asked for, JSON.
    pub selection: String,
    /// Why, in somebody's words.
    pub reason: String,
    /// Who started it.
    pub requested_by: String,
    /// Sets on the way at once.
    pub sets_max: u32,
    /// Where it is.
    pub state: CampaignState,
    /// From the API call down to the frames.
    pub correlation: String,
    /// When it was started.
    pub at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// One meter of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignMeter {
    /// Which.
    pub serial: Serial,
    /// How far it is.
    pub progress: MeterProgress,
    /// Why it is excluded, or the last word about its set.
    pub outcome: Option<String>,
    /// Its set, once that is made.
    pub special_id: Option<i64>,
    /// Tokens in the set, and how many the meter has taken in this round.
    pub tokens: u32,
    /// See above.
    pub taken: u32,
    /// How often delivery of the set was begun.
    pub rounds: u32,
    /// Where the newest delivery is.
    pub command_state: Option<CommandState>,
}

/// A query over campaign `c`, its meters `m` and their sets `s`, with how far each meter is in column `progress`.
macro_rules! over_meters {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            ", CASE WHEN m.excluded IS NOT NULL THEN 'excluded' WHEN s.state IS NOT NULL THEN s.state
                    WHEN c.state = 'stopped' THEN 'stopped' ELSE 'waiting' END AS progress
             FROM campaign c JOIN campaign_meter m ON m.campaign_id = c.id LEFT JOIN special s ON s.id = m.special_id ",
            $rest
        )
    };
}

fn campaign_of(row: &SqliteRow) -> Result<Campaign, StoreError> {
    let sets_max: i64 = row.try_get("sets_max")?;
    Ok(Campaign {
        id: row.try_get("id")?,
        action: row.try_get("action")?,
        selection: row.try_get("selection")?,
        reason: row.try_get("reason")?,
        requested_by: row.try_get("requested_by")?,
        sets_max: u32::try_from(sets_max).map_err(|_| StoreError::Corrupt(format!("sets_max {sets_max}")))?,
        state: CampaignState::from_store(row.try_get("state")?)?,
        correlation: row.try_get("correlation")?,
        at: time(row.try_get("at")?)?,
        updated_at: time(row.try_get("updated_at")?)?,
    })
}

fn meter_of(row: &SqliteRow) -> Result<CampaignMeter, StoreError> {
    let count = |column: &str| -> Result<u32, StoreError> {
        let value: Option<i64> = row.try_get(column)?;
        u32::try_from(value.unwrap_or(0)).map_err(|_| StoreError::Corrupt(format!("{column} {value:?}")))
    };
    Ok(CampaignMeter {
        serial: Serial(row.try_get("serial")?),
        progress: MeterProgress::from_store(row.try_get("progress")?)?,
        outcome: row.try_get("outcome")?,
        special_id: row.try_get("special_id")?,
        tokens: count("tokens")?,
        taken: count("taken")?,
        rounds: count("rounds")?,
        command_state: row
            .try_get::<Option<&str>, _>("command_state")?
            .map(CommandState::from_store)
            .transpose()?,
    })
}

/// Writes a campaign with its meters; its id in `campaign` is ignored. A meter with a reason is excluded.
///
/// # Errors
/// Store failures.
pub async fn insert(
    conn: &mut SqliteConnection,
    campaign: &Campaign,
    meters: &[(String, Option<String>)],
) -> Result<i64, StoreError> {
    let id = sqlx::query(
        "INSERT INTO campaign (action, selection, reason, requested_by, sets_max, state, correlation, at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
    )
    .bind(&campaign.action)
    .bind(&campaign.selection)
    .bind(&campaign.reason)
    .bind(&campaign.requested_by)
    .bind(campaign.sets_max)
    .bind(campaign.state.as_str())
    .bind(&campaign.correlation)
    .bind(ms(campaign.at))
    .execute(&mut *conn)
    .await?
    .last_insert_rowid();
    for (serial, excluded) in meters {
        sqlx::query("INSERT INTO campaign_meter (campaign_id, serial, excluded) VALUES (?1, ?2, ?3)")
            .bind(id)
            .bind(serial)
            .bind(excluded)
            .execute(&mut *conn)
            .await?;
    }
    tell(conn, id, campaign.state, campaign.at).await?;
    Ok(id)
}

async fn tell(
    conn: &mut SqliteConnection,
    id: i64,
    state: CampaignState,
    at: Timestamp,
) -> Result<(), StoreError> {
    event::record(conn, at, "campaign", None, &json!({"campaign_id": id, "state": state})).await
}

/// One campaign.
///
/// # Errors
/// Store failures.
pub async fn find(conn: &mut SqliteConnection, id: i64) -> Result<Option<Campaign>, StoreError> {
    let row = sqlx::query("SELECT * FROM campaign WHERE id = ?1").bind(id).fetch_optional(conn).await?;
    row.as_ref().map(campaign_of).transpose()
}

/// Moves a campaign on.
///
/// # Errors
/// Store failures.
pub async fn set_state(
    conn: &mut SqliteConnection,
    id: i64,
    state: CampaignState,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE campaign SET state = ?2, updated_at = ?3 WHERE id = ?1")
        .bind(id)
        .bind(state.as_str())
        .bind(ms(at))
        .execute(&mut *conn)
        .await?;
    tell(conn, id, state, at).await
}

/// Ends a running campaign in which no meter waits and no set is on the way.
///
/// # Errors
/// Store failures.
pub async fn end_if_over(conn: &mut SqliteConnection, id: i64, at: Timestamp) -> Result<(), StoreError> {
    let open: i64 = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM campaign_meter WHERE campaign_id = ?1 AND special_id IS NULL AND excluded IS NULL)
             OR EXISTS (SELECT 1 FROM special JOIN campaign_meter m ON m.special_id = special.id
                        WHERE special.state = 'on_the_way' AND m.campaign_id = ?1)",
    )
    .bind(id)
    .fetch_one(&mut *conn)
    .await?;
    let running = find(conn, id).await?.is_some_and(|campaign| campaign.state == CampaignState::Running);
    if open == 0 && running { set_state(conn, id, CampaignState::Done, at).await } else { Ok(()) }
}

/// Gives a waiting meter its set.
///
/// # Errors
/// Store failures.
pub async fn begin(
    conn: &mut SqliteConnection,
    id: i64,
    serial: &Serial,
    special_id: i64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE campaign_meter SET special_id = ?3 WHERE campaign_id = ?1 AND serial = ?2")
        .bind(id)
        .bind(&serial.0)
        .bind(special_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Excludes a waiting meter.
///
/// # Errors
/// Store failures.
pub async fn exclude(
    conn: &mut SqliteConnection,
    id: i64,
    serial: &Serial,
    why: &str,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE campaign_meter SET excluded = ?3 WHERE campaign_id = ?1 AND serial = ?2")
        .bind(id)
        .bind(&serial.0)
        .bind(why)
        .execute(conn)
        .await?;
    Ok(())
}

/// Leaves a waiting meter alone until then.
///
/// # Errors
/// Store failures.
pub async fn postpone(
    conn: &mut SqliteConnection,
    id: i64,
    serial: &Serial,
    not_before: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE campaign_meter SET not_before = ?3 WHERE campaign_id = ?1 AND serial = ?2")
        .bind(id)
        .bind(&serial.0)
        .bind(ms(not_before))
        .execute(conn)
        .await?;
    Ok(())
}

/// Has a meter whose set is worthless wait for a new one.
///
/// # Errors
/// Store failures.
pub async fn wait_again(conn: &mut SqliteConnection, special_id: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE campaign_meter SET special_id = NULL WHERE special_id = ?1")
        .bind(special_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// The refused sets of a campaign.
///
/// # Errors
/// Store failures.
pub async fn refused(conn: &mut SqliteConnection, id: i64) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT s.id FROM campaign_meter m JOIN special s ON s.id = m.special_id
         WHERE m.campaign_id = ?1 AND s.state = 'refused' ORDER BY m.serial",
    )
    .bind(id)
    .fetch_all(conn)
    .await?)
}

impl Store {
    /// One campaign.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaign(&self, id: i64) -> Result<Option<Campaign>, StoreError> {
        find(&mut *self.readers.acquire().await?, id).await
    }

    /// The newest campaigns, at most `limit`, with one meter or all.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaigns(&self, serial: Option<&str>, limit: u32) -> Result<Vec<Campaign>, StoreError> {
        let with_meter = "SELECT * FROM campaign WHERE ?1 IS NULL OR EXISTS (
            SELECT 1 FROM campaign_meter WHERE campaign_id = campaign.id AND serial = ?1) ORDER BY id DESC LIMIT ?2";
        let rows = sqlx::query(with_meter).bind(serial).bind(limit).fetch_all(&self.readers).await?;
        rows.iter().map(campaign_of).collect()
    }

    /// Campaigns that are running, oldest first.
    ///
    /// # Errors
    /// Store failures.
    pub async fn running_campaigns(&self) -> Result<Vec<Campaign>, StoreError> {
        let rows = sqlx::query("SELECT * FROM campaign WHERE state = 'running' ORDER BY id")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(campaign_of).collect()
    }

    /// Meters of a campaign that wait for their set and may be tried at `now`, at most `limit`.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaign_waiting(
        &self,
        id: i64,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT serial FROM campaign_meter WHERE campaign_id = ?1 AND special_id IS NULL AND excluded IS NULL
             AND (not_before IS NULL OR not_before <= ?2) ORDER BY serial LIMIT ?3",
        )
        .bind(id)
        .bind(ms(now))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?)
    }

    /// Sets of a campaign that are on the way and moved since then. A meter that does not answer holds no other meter up.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaign_busy(&self, id: i64, since: Timestamp) -> Result<u32, StoreError> {
        let busy: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM special s JOIN campaign_meter m ON m.special_id = s.id
             WHERE s.state = 'on_the_way' AND m.campaign_id = ?1 AND EXISTS (
                 SELECT 1 FROM token t JOIN command k ON k.token_id = t.id WHERE t.special_id = s.id AND k.updated_at >= ?2)",
        )
        .bind(id)
        .bind(ms(since))
        .fetch_one(&self.readers)
        .await?;
        Ok(u32::try_from(busy).unwrap_or(u32::MAX))
    }

    /// How many meters of a campaign are how far.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaign_counts(&self, id: i64) -> Result<Vec<(MeterProgress, u64)>, StoreError> {
        let rows = sqlx::query(over_meters!("COUNT(*) AS meters", "WHERE c.id = ?1 GROUP BY progress"))
            .bind(id)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                let meters: i64 = row.try_get("meters")?;
                Ok((MeterProgress::from_store(row.try_get("progress")?)?, u64::try_from(meters).unwrap_or(0)))
            })
            .collect()
    }

    /// Meters of a campaign in the order of their serials, after the given one, at most `limit`.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaign_meters(
        &self,
        id: i64,
        after: &str,
        limit: u32,
    ) -> Result<Vec<CampaignMeter>, StoreError> {
        let rows = sqlx::query(over_meters!(
            "m.serial, m.special_id, s.tokens, s.taken, s.rounds, k.state AS command_state,
             COALESCE(m.excluded, s.outcome, k.outcome) AS outcome",
            "LEFT JOIN command k ON k.id = (SELECT MAX(command.id) FROM command JOIN token ON token.id = command.token_id
                                            WHERE token.special_id = s.id)
             WHERE c.id = ?1 AND m.serial > ?2 ORDER BY m.serial LIMIT ?3"
        ))
        .bind(id)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(meter_of).collect()
    }

    /// Payments that wait for a key change: no token id was reserved for them.
    ///
    /// # Errors
    /// Store failures.
    pub async fn payments_without_tid(&self) -> Result<Vec<super::payment::Payment>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM payment WHERE state = 'recorded'
             AND NOT EXISTS (SELECT 1 FROM tid_reservation WHERE payment_id = payment.id) ORDER BY id",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(super::payment::payment_of).collect()
    }
}
