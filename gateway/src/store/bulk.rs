//! Bulk commands: what they have beside what they share with key-change campaigns.

use super::campaign::Place;
use super::command::{self, CommandEvent, CommandState, DisconnectReason, NewCommand};
use super::sql::{self, Connection};
use super::{Store, StoreError, ms, time};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A meter whose command is not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub serial: String,
    /// Where.
    pub area: String,
    /// What exactly it is told, JSON, where that is not what all are told.
    pub parameters: Option<String>,
}

/// Forgets previews that were made before then and never started.
///
/// # Errors
/// Store failures.
pub async fn forget_previews(conn: &mut Connection, before: Timestamp) -> Result<(), StoreError> {
    sql::query(
        "DELETE FROM campaign_meter WHERE campaign_id IN (SELECT id FROM campaign WHERE state = 'previewed' AND at < ?1)",
    )
    .bind(ms(before))
    .execute(&mut *conn)
    .await?;
    sql::query("DELETE FROM campaign WHERE state = 'previewed' AND at < ?1")
        .bind(ms(before))
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes who started it.
///
/// # Errors
/// Store failures.
pub async fn set_requested_by(conn: &mut Connection, id: i64, by: &str) -> Result<(), StoreError> {
    sql::query("UPDATE campaign SET requested_by = ?2 WHERE id = ?1").bind(id).bind(by).execute(conn).await?;
    Ok(())
}

/// Writes who decided about it.
///
/// # Errors
/// Store failures.
pub async fn set_decided_by(conn: &mut Connection, id: i64, by: &str) -> Result<(), StoreError> {
    sql::query("UPDATE campaign SET decided_by = ?2 WHERE id = ?1").bind(id).bind(by).execute(conn).await?;
    Ok(())
}

/// Lets the others follow, whatever became of the first.
///
/// # Errors
/// Store failures.
pub async fn forget_canary(conn: &mut Connection, id: i64) -> Result<(), StoreError> {
    sql::query("UPDATE campaign SET canary = NULL WHERE id = ?1").bind(id).execute(conn).await?;
    Ok(())
}

/// Records the command of a waiting meter.
///
/// # Errors
/// Store failures.
pub async fn begin_command(
    conn: &mut Connection,
    id: i64,
    request: &NewCommand,
    approved_by: Option<&str>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let step = CommandEvent { state: CommandState::Recorded, at, evidence: Vec::new() };
    let command_id = command::insert_at(conn, request, &step).await?;
    sql::query("UPDATE command SET approved_by = ?2 WHERE id = ?1")
        .bind(command_id)
        .bind(approved_by)
        .execute(&mut *conn)
        .await?;
    sql::query("UPDATE campaign_meter SET command_id = ?3 WHERE campaign_id = ?1 AND serial = ?2")
        .bind(id)
        .bind(&request.serial.0)
        .bind(command_id)
        .execute(conn)
        .await?;
    Ok(())
}

impl Store {
    /// The meters of a preview in their order.
    ///
    /// # Errors
    /// Store failures.
    pub async fn campaign_places(&self, id: i64) -> Result<Vec<Place>, StoreError> {
        let rows = sql::query(
            "SELECT serial, excluded, note, parameters FROM campaign_meter WHERE campaign_id = ?1 ORDER BY position, serial",
        )
        .bind(id)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Place {
                    serial: row.try_get("serial")?,
                    excluded: row.try_get("excluded")?,
                    note: row.try_get("note")?,
                    parameters: row.try_get("parameters")?,
                })
            })
            .collect()
    }

    /// Meters whose command is not recorded yet, with their areas and parameters, in their order: at most so many of each area.
    ///
    /// # Errors
    /// Store failures.
    pub async fn bulk_waiting(&self, id: i64, of_each: u32) -> Result<Vec<Waiting>, StoreError> {
        let rows = sql::query(
            "SELECT serial, area, parameters FROM (
                 SELECT m.serial, t.area, m.position, m.parameters,
                        ROW_NUMBER() OVER (PARTITION BY t.area ORDER BY m.position, m.serial) AS turn
                 FROM campaign_meter m JOIN meter t ON t.serial = m.serial
                 WHERE m.campaign_id = ?1 AND m.special_id IS NULL AND m.command_id IS NULL AND m.excluded IS NULL
             ) AS waiting WHERE turn <= ?2 ORDER BY position, serial",
        )
        .bind(id)
        .bind(i64::from(of_each))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Waiting {
                    serial: row.try_get("serial")?,
                    area: row.try_get("area")?,
                    parameters: row.try_get("parameters")?,
                })
            })
            .collect()
    }

    /// When the last command was recorded in each area.
    ///
    /// # Errors
    /// Store failures.
    pub async fn bulk_last_starts(&self, id: i64) -> Result<BTreeMap<String, Timestamp>, StoreError> {
        let rows = sql::query(
            "SELECT t.area, MAX(k.at) AS last FROM campaign_meter m JOIN command k ON k.id = m.command_id
             JOIN meter t ON t.serial = m.serial WHERE m.campaign_id = ?1 GROUP BY t.area",
        )
        .bind(id)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| Ok((row.try_get("area")?, time(row.try_get("last")?)?))).collect()
    }

    /// Commands of a bulk that are not finished and moved since then.
    ///
    /// # Errors
    /// Store failures.
    pub async fn bulk_busy(&self, id: i64, since: Timestamp) -> Result<u32, StoreError> {
        let busy: i64 = sql::query_scalar(
            "SELECT COUNT(*) FROM campaign_meter m JOIN command k ON k.id = m.command_id
             WHERE m.campaign_id = ?1 AND k.state NOT IN ('verified', 'rejected', 'expired', 'cancelled') AND k.updated_at >= ?2",
        )
        .bind(id)
        .bind(ms(since))
        .fetch_one(&self.readers)
        .await?;
        Ok(u32::try_from(busy).unwrap_or(u32::MAX))
    }

    /// Commands of stopped bulks that nothing was sent of yet.
    ///
    /// # Errors
    /// Store failures.
    pub async fn commands_of_stopped(&self) -> Result<Vec<i64>, StoreError> {
        sql::query_scalar(
            "SELECT k.id FROM campaign c JOIN campaign_meter m ON m.campaign_id = c.id JOIN command k ON k.id = m.command_id
             WHERE c.kind = 'command' AND c.state = 'stopped' AND k.state IN ('recorded', 'queued') ORDER BY k.id",
        )
        .fetch_all(&self.readers)
        .await
    }

    /// Bulks that wait for a second person since before then.
    ///
    /// # Errors
    /// Store failures.
    pub async fn bulk_waiting_since(&self, before: Timestamp) -> Result<Vec<i64>, StoreError> {
        sql::query_scalar(
            "SELECT id FROM campaign WHERE kind = 'command' AND state = 'waiting' AND updated_at < ?1 ORDER BY id",
        )
        .bind(ms(before))
        .fetch_all(&self.readers)
        .await
    }

    /// Meters with a relay command under way. One that waits for a second person is not.
    ///
    /// # Errors
    /// Store failures.
    pub async fn relay_commands_open(&self) -> Result<HashSet<String>, StoreError> {
        let serials: Vec<String> = sql::query_scalar(
            "SELECT DISTINCT serial FROM command WHERE kind IN ('disconnect', 'reconnect', 'arm')
             AND state NOT IN ('waiting', 'verified', 'rejected', 'expired', 'cancelled')",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(serials.into_iter().collect())
    }

    /// The reason of the last verified disconnect of each meter that was not verified to be reconnected since.
    ///
    /// # Errors
    /// Store failures.
    pub async fn standing_disconnects(&self) -> Result<HashMap<String, DisconnectReason>, StoreError> {
        let rows = sql::query(
            "SELECT serial, reason FROM command WHERE kind = 'disconnect' AND reason IS NOT NULL AND id IN (
                 SELECT MAX(id) FROM command WHERE kind IN ('disconnect', 'reconnect') AND state = 'verified' GROUP BY serial)",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("serial")?, DisconnectReason::from_store(row.try_get("reason")?)?)))
            .collect()
    }
}
