//! Campaigns: key changes or bulk commands for many meters. How far a meter is follows from its set of tokens or its command;
//! nothing is written twice.

use super::command::CommandState;
use super::sql::{self, Connection, Row};
use super::text::words;
use super::{Store, StoreError, event, ms, time};
use crate::session::work::Serial;
use jiff::Timestamp;
use serde_json::json;

words! {
    /// What each meter of a campaign gets.
    CampaignKind {
        /// A set of key-change tokens.
        KeyChange = "key_change",
        /// A command.
        Command = "command",
    }
}

impl CampaignKind {
    /// What one is called.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::KeyChange => "campaign",
            Self::Command => "bulk command",
        }
    }
}

words! {
    /// Where a campaign is.
    CampaignState {
        /// Looked at, not started.
        Previewed = "previewed",
        /// A second person has to agree first.
        Waiting = "waiting",
        /// The second person did not agree, or not in time.
        Declined = "declined",
        /// Sets or commands are started as others end.
        Running = "running",
        /// Nothing is started; what is on the way goes on, because a meter with half a set is no better off.
        Paused = "paused",
        /// Ended by a person: meters that wait are left as they are.
        Stopped = "stopped",
        /// Each meter has ended.
        Done = "done",
    }
}

words! {
    /// How far one meter of a campaign is.
    MeterProgress {
        /// Not taken in, and why is said.
        Excluded = "excluded",
        /// Not begun yet.
        Waiting = "waiting",
        /// Its set is being delivered, its command is under way.
        OnTheWay = "on_the_way",
        /// It has its new key; its command was verified.
        Done = "done",
        /// It refused a token of its set or keeps forgetting parts; its command was rejected or expired.
        Refused = "refused",
        /// Stopped before its set was made, or its command taken back.
        Stopped = "stopped",
    }
}

/// A campaign as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its id.
    pub id: i64,
    /// What each meter gets.
    pub kind: CampaignKind,
    /// The key change or the command, JSON.
    pub action: String,
    /// Which meters were asked for, JSON.
    pub selection: String,
    /// Why, in somebody's words.
    pub reason: String,
    /// Who started it.
    pub requested_by: String,
    /// The second person, where one had to agree.
    pub decided_by: Option<String>,
    /// Sets or commands on the way at once.
    pub sets_max: u32,
    /// Commands started in a minute at most.
    pub per_minute: Option<u32>,
    /// The same, in one area.
    pub area_per_minute: Option<u32>,
    /// So many meters first; the others only when every one of these is done.
    pub canary: Option<u32>,
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
    /// Why it is excluded, or the last word about its set or command; before that, what the preview said.
    pub outcome: Option<String>,
    /// Its set, once that is made.
    pub special_id: Option<i64>,
    /// Its command, once that is recorded.
    pub command_id: Option<i64>,
    /// Tokens in the set, and how many the meter has taken in this round.
    pub tokens: u32,
    /// See above.
    pub taken: u32,
    /// How often delivery of the set was begun.
    pub rounds: u32,
    /// Where its command or the newest delivery is.
    pub command_state: Option<CommandState>,
}

/// A meter on its way into a campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub serial: String,
    /// Why it does not take part.
    pub excluded: Option<String>,
    /// What there is to say about a meter that does.
    pub note: Option<String>,
    /// What exactly it is told, JSON, where that is not what all are told.
    pub parameters: Option<String>,
}

impl Place {
    /// One that takes part.
    #[must_use]
    pub fn of(serial: String) -> Self {
        Self { serial, ..Self::default() }
    }

    /// One that does not.
    #[must_use]
    pub fn excluded(serial: String, why: String) -> Self {
        Self { serial, excluded: Some(why), ..Self::default() }
    }
}

/// A query over campaign `c`, its meters `m`, their sets `s` and commands `b`, with how far each meter is in column `progress`.
macro_rules! over_meters {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            ", CASE WHEN m.excluded IS NOT NULL THEN 'excluded' WHEN s.state IS NOT NULL THEN s.state
                    WHEN b.state = 'verified' THEN 'done' WHEN b.state IN ('rejected', 'expired') THEN 'refused'
                    WHEN b.state = 'cancelled' THEN 'stopped' WHEN b.state IS NOT NULL THEN 'on_the_way'
                    WHEN c.state IN ('stopped', 'declined') THEN 'stopped' ELSE 'waiting' END AS progress
             FROM campaign c JOIN campaign_meter m ON m.campaign_id = c.id LEFT JOIN special s ON s.id = m.special_id
             LEFT JOIN command b ON b.id = m.command_id ",
            $rest
        )
    };
}

fn campaign_of(row: &Row) -> Result<Campaign, StoreError> {
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| StoreError::Corrupt(format!("a campaign's number {value}")))
    };
    let limit = |column: &str| row.try_get::<Option<i64>, _>(column)?.map(number).transpose();
    Ok(Campaign {
        id: row.try_get("id")?,
        kind: CampaignKind::from_store(row.try_get("kind")?)?,
        action: row.try_get("action")?,
        selection: row.try_get("selection")?,
        reason: row.try_get("reason")?,
        requested_by: row.try_get("requested_by")?,
        decided_by: row.try_get("decided_by")?,
        sets_max: number(row.try_get("sets_max")?)?,
        per_minute: limit("per_minute")?,
        area_per_minute: limit("area_per_minute")?,
        canary: limit("canary")?,
        state: CampaignState::from_store(row.try_get("state")?)?,
        correlation: row.try_get("correlation")?,
        at: time(row.try_get("at")?)?,
        updated_at: time(row.try_get("updated_at")?)?,
    })
}

fn meter_of(row: &Row) -> Result<CampaignMeter, StoreError> {
    let count = |column: &str| -> Result<u32, StoreError> {
        let value: Option<i64> = row.try_get(column)?;
        u32::try_from(value.unwrap_or(0)).map_err(|_| StoreError::Corrupt(format!("{column} {value:?}")))
    };
    Ok(CampaignMeter {
        serial: Serial(row.try_get("serial")?),
        progress: MeterProgress::from_store(row.try_get("progress")?)?,
        outcome: row.try_get("outcome")?,
        special_id: row.try_get("special_id")?,
        command_id: row.try_get("command_id")?,
        tokens: count("tokens")?,
        taken: count("taken")?,
        rounds: count("rounds")?,
        command_state: row
            .try_get::<Option<&str>, _>("command_state")?
            .map(CommandState::from_store)
            .transpose()?,
    })
}

/// Writes a campaign with its meters in their order; its id in `campaign` is ignored.
///
/// # Errors
/// Store failures.
pub async fn insert(conn: &mut Connection, campaign: &Campaign, meters: &[Place]) -> Result<i64, StoreError> {
    let id: i64 = sql::query_scalar(
        "INSERT INTO campaign (kind, action, selection, reason, requested_by, sets_max, per_minute, area_per_minute, state,
                               correlation, at, updated_at, canary)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12) RETURNING id",
    )
    .bind(campaign.kind.as_str())
    .bind(&campaign.action)
    .bind(&campaign.selection)
    .bind(&campaign.reason)
    .bind(&campaign.requested_by)
    .bind(campaign.sets_max)
    .bind(campaign.per_minute)
    .bind(campaign.area_per_minute)
    .bind(campaign.state.as_str())
    .bind(&campaign.correlation)
    .bind(ms(campaign.at))
    .bind(campaign.canary)
    .fetch_one(&mut *conn)
    .await?;
    for (position, meter) in (0i64..).zip(meters) {
        sql::query(
            "INSERT INTO campaign_meter (campaign_id, serial, position, excluded, note, parameters)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(id)
        .bind(&meter.serial)
        .bind(position)
        .bind(&meter.excluded)
        .bind(&meter.note)
        .bind(&meter.parameters)
        .execute(&mut *conn)
        .await?;
    }
    // A preview is nobody's news.
    if campaign.state != CampaignState::Previewed {
        tell(conn, id, campaign.state, campaign.at).await?;
    }
    Ok(id)
}

async fn tell(conn: &mut Connection, id: i64, state: CampaignState, at: Timestamp) -> Result<(), StoreError> {
    event::record(conn, at, "campaign", None, &json!({"campaign_id": id, "state": state})).await
}

/// One campaign.
///
/// # Errors
/// Store failures.
pub async fn find(conn: &mut Connection, id: i64) -> Result<Option<Campaign>, StoreError> {
    let row = sql::query("SELECT * FROM campaign WHERE id = ?1").bind(id).fetch_optional(conn).await?;
    row.as_ref().map(campaign_of).transpose()
}

/// Moves a campaign on.
///
/// # Errors
/// Store failures.
pub async fn set_state(
    conn: &mut Connection,
    id: i64,
    state: CampaignState,
    at: Timestamp,
) -> Result<(), StoreError> {
    sql::query("UPDATE campaign SET state = ?2, updated_at = ?3 WHERE id = ?1")
        .bind(id)
        .bind(state.as_str())
        .bind(ms(at))
        .execute(&mut *conn)
        .await?;
    tell(conn, id, state, at).await
}

/// Ends a running campaign in which no meter waits and nothing is on the way.
///
/// # Errors
/// Store failures.
pub async fn end_if_over(conn: &mut Connection, id: i64, at: Timestamp) -> Result<(), StoreError> {
    let open: i64 = sql::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM campaign_meter WHERE campaign_id = ?1 AND special_id IS NULL AND command_id IS NULL
                                                      AND excluded IS NULL)
             OR EXISTS (SELECT 1 FROM special JOIN campaign_meter m ON m.special_id = special.id
                        WHERE special.state = 'on_the_way' AND m.campaign_id = ?1)
             OR EXISTS (SELECT 1 FROM command b JOIN campaign_meter m ON m.command_id = b.id
                        WHERE b.state NOT IN ('verified', 'rejected', 'expired', 'cancelled') AND m.campaign_id = ?1)",
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
    conn: &mut Connection,
    id: i64,
    serial: &Serial,
    special_id: i64,
) -> Result<(), StoreError> {
    sql::query("UPDATE campaign_meter SET special_id = ?3 WHERE campaign_id = ?1 AND serial = ?2")
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
pub async fn exclude(conn: &mut Connection, id: i64, serial: &Serial, why: &str) -> Result<(), StoreError> {
    sql::query("UPDATE campaign_meter SET excluded = ?3 WHERE campaign_id = ?1 AND serial = ?2")
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
    conn: &mut Connection,
    id: i64,
    serial: &Serial,
    not_before: Timestamp,
) -> Result<(), StoreError> {
    sql::query("UPDATE campaign_meter SET not_before = ?3 WHERE campaign_id = ?1 AND serial = ?2")
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
pub async fn wait_again(conn: &mut Connection, special_id: i64) -> Result<(), StoreError> {
    sql::query("UPDATE campaign_meter SET special_id = NULL WHERE special_id = ?1")
        .bind(special_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// The refused sets of a campaign.
///
/// # Errors
/// Store failures.
pub async fn refused(conn: &mut Connection, id: i64) -> Result<Vec<i64>, StoreError> {
    sql::query_scalar(
        "SELECT s.id FROM campaign_meter m JOIN special s ON s.id = m.special_id
         WHERE m.campaign_id = ?1 AND s.state = 'refused' ORDER BY m.serial",
    )
    .bind(id)
    .fetch_all(conn)
    .await
}

impl Store {
    /// One campaign.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaign(&self, id: i64) -> Result<Option<Campaign>, StoreError> {
        find(&mut self.readers.acquire().await?, id).await
    }

    /// The newest campaigns of a kind, at most `limit`, with one meter or all. Previews are none.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaigns(
        &self,
        kind: CampaignKind,
        serial: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Campaign>, StoreError> {
        let with_meter = "SELECT * FROM campaign WHERE kind = ?3 AND state <> 'previewed' AND (?1 IS NULL OR EXISTS (
            SELECT 1 FROM campaign_meter WHERE campaign_id = campaign.id AND serial = ?1)) ORDER BY id DESC LIMIT ?2";
        let query = sql::query(with_meter).bind(serial).bind(limit).bind(kind.as_str());
        let rows = query.fetch_all(&self.readers).await?;
        rows.iter().map(campaign_of).collect()
    }

    /// Campaigns of a kind that are running, oldest first.
    ///
    /// # Errors
    /// Store failures.
    pub async fn running_campaigns(&self, kind: CampaignKind) -> Result<Vec<Campaign>, StoreError> {
        let rows = sql::query("SELECT * FROM campaign WHERE state = 'running' AND kind = ?1 ORDER BY id")
            .bind(kind.as_str())
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
        sql::query_scalar(
            "SELECT serial FROM campaign_meter WHERE campaign_id = ?1 AND special_id IS NULL AND excluded IS NULL
             AND (not_before IS NULL OR not_before <= ?2) ORDER BY serial LIMIT ?3",
        )
        .bind(id)
        .bind(ms(now))
        .bind(limit)
        .fetch_all(&self.readers)
        .await
    }

    /// Sets of a campaign that are on the way and moved since then. A meter that does not answer holds no other meter up.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaign_busy(&self, id: i64, since: Timestamp) -> Result<u32, StoreError> {
        let busy: i64 = sql::query_scalar(
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
        let rows = sql::query(over_meters!("COUNT(*) AS meters", "WHERE c.id = ?1 GROUP BY progress"))
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
        let rows = sql::query(over_meters!(
            "m.serial, m.special_id, m.command_id, s.tokens, s.taken, s.rounds, COALESCE(b.state, k.state) AS command_state,
             COALESCE(m.excluded, s.outcome, b.outcome, k.outcome, m.note) AS outcome",
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

    /// Payments that wait for a key change, so that no token id was reserved for them; and those booked before then that have
    /// no token all the same.
    ///
    /// # Errors
    /// Store failures.
    pub async fn payments_left(&self, before: Timestamp) -> Result<Vec<super::payment::Payment>, StoreError> {
        let rows = sql::query(
            "SELECT * FROM payment WHERE state = 'recorded'
             AND (at < ?1 OR NOT EXISTS (SELECT 1 FROM tid_reservation WHERE payment_id = payment.id)) ORDER BY id",
        )
        .bind(ms(before))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(super::payment::payment_of).collect()
    }
}
