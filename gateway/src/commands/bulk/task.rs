//! The task that records the commands of running bulk commands, at their pace. Everything it needs is in the store, so it goes
//! on after a kill where it was.

use super::pace::{self, Pace};
use super::{Bulk, BulkAction, KIND};
use crate::commands::desk::{Desk, DeskError, Word};
use crate::commands::order;
use crate::config::Live;
use crate::session::work::Serial;
use crate::store::StoreError;
use crate::store::bulk as rows;
use crate::store::campaign::{self, Campaign, CampaignState, MeterProgress};
use crate::store::command::{CommandKind, NewCommand};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::watch;

/// The least time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(200);
/// The most, when nothing is waiting for its turn.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// A command that did not move for this long does not count as on the way: its meter does not answer.
const STALLED: SignedDuration = SignedDuration::from_secs(60);
/// Who takes back what a stop left over.
const STOPPED_BY: &str = "the stop of its bulk command";

/// Runs until `stop` becomes true.
pub async fn run(bulk: impl Into<Live<Bulk>>, desk: Desk, mut stop: watch::Receiver<bool>) {
    let bulk = bulk.into();
    let mut commits = bulk.now().store.commits();
    // Told once each: one in its line's queue ends when its line gives it back.
    let mut told = HashSet::new();
    while !*stop.borrow() {
        commits.borrow_and_update();
        let hurry = match look(&bulk.now(), &desk, &mut told).await {
            Ok(hurry) => hurry,
            Err(error) => {
                tracing::error!(%error, "bulk commands could not be looked at");
                false
            }
        };
        tokio::select! {
            () = tokio::time::sleep(LOOK_MIN) => {}
            _ = stop.changed() => break,
        }
        if hurry {
            continue;
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(LOOK_MAX) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Does what is due; true when some meter waits for its turn.
async fn look(bulk: &Bulk, desk: &Desk, told: &mut HashSet<i64>) -> Result<bool, StoreError> {
    let left_over = bulk.store.commands_of_stopped().await?;
    told.retain(|command| left_over.contains(command));
    for command in left_over {
        if !told.insert(command) {
            continue;
        }
        match desk.say(command, Word::Cancel, STOPPED_BY).await {
            // What is under way goes on to its end.
            Ok(()) | Err(DeskError::NotOpen(_) | DeskError::UnderWay(_)) => {}
            Err(DeskError::Store(error)) => return Err(error),
            Err(DeskError::Stopping) => return Ok(false),
            Err(error) => {
                tracing::warn!(command, %error, "a command of a stopped bulk could not be taken back")
            }
        }
    }
    let now = bulk.clock.now();
    let asked = now.saturating_sub(bulk.approval_expiry).unwrap_or(Timestamp::MIN);
    for id in bulk.store.bulk_waiting_since(asked).await? {
        let declined = CampaignState::Declined;
        bulk.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { campaign::set_state(conn, id, declined, now).await })
            })
            .await?;
    }
    let mut hurry = false;
    for campaign in bulk.store.running_campaigns(KIND).await? {
        hurry |= advance(bulk, &campaign).await?;
    }
    Ok(hurry)
}

/// Records as many commands as pace and room allow, and ends the bulk when all have ended.
async fn advance(bulk: &Bulk, campaign: &Campaign) -> Result<bool, StoreError> {
    let (now, id) = (bulk.clock.now(), campaign.id);
    let since = now.saturating_sub(STALLED).unwrap_or(Timestamp::MIN);
    let busy = bulk.store.bulk_busy(id, since).await?;
    let mut at_most = campaign.sets_max.saturating_sub(busy);
    if let Some(canary) = campaign.canary {
        let counts = bulk.store.campaign_counts(id).await?;
        match after_canary(canary, &counts) {
            Canary::Room(room) => at_most = at_most.min(room),
            Canary::Passed => {}
            Canary::Failed => {
                let paused = CampaignState::Paused;
                bulk.store
                    .write::<_, StoreError, _>(move |conn| {
                        Box::pin(async move {
                            // Whoever resumes it has decided that the others may follow.
                            rows::forget_canary(&mut *conn, id).await?;
                            campaign::set_state(conn, id, paused, now).await
                        })
                    })
                    .await?;
                return Ok(false);
            }
        }
    }
    // As many of each area as could be started altogether: one area's turn does not depend on how many wait in another.
    let waiting = bulk.store.bulk_waiting(id, campaign.sets_max).await?;
    let hurry = !waiting.is_empty();
    let pace = Pace {
        per_minute: campaign.per_minute.unwrap_or(bulk.limits.per_minute),
        area_per_minute: campaign.area_per_minute,
    };
    let last = bulk.store.bulk_last_starts(id).await?;
    let chosen = pace::choose(waiting, &last, pace, at_most, now);
    let action: BulkAction = serde_json::from_str(&campaign.action)?;
    // What all are told was checked when it was previewed; a meter may have its own.
    let parameters =
        action.parameters.as_ref().map(|_| order::checked(action.kind, action.parameters.as_ref()));
    let parameters = parameters.transpose().map_err(StoreError::Corrupt)?.flatten();
    let commands: Vec<NewCommand> = chosen
        .into_iter()
        .map(|meter| {
            let parameters = meter.parameters.or_else(|| parameters.clone());
            command(bulk, campaign, &action, parameters, meter.serial, now)
        })
        .collect();
    let approved_by = campaign.decided_by.clone();
    bulk.store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                // A stop or a pause may have come since.
                let running = campaign::find(&mut *conn, id).await?.map(|campaign| campaign.state);
                if running != Some(CampaignState::Running) {
                    return Ok(());
                }
                for command in &commands {
                    rows::begin_command(&mut *conn, id, command, approved_by.as_deref(), now).await?;
                }
                campaign::end_if_over(conn, id, now).await
            })
        })
        .await?;
    Ok(hurry)
}

/// What the first meters of a bulk allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Canary {
    /// So many more of the first may be told.
    Room(u32),
    /// All of the first are done.
    Passed,
    /// All have ended, and not every one is done.
    Failed,
}

fn after_canary(canary: u32, counts: &[(MeterProgress, u64)]) -> Canary {
    let count = |wanted: MeterProgress| {
        let found = counts.iter().find(|(progress, _)| *progress == wanted);
        u32::try_from(found.map_or(0, |(_, meters)| *meters)).unwrap_or(u32::MAX)
    };
    let (done, refused) = (count(MeterProgress::Done), count(MeterProgress::Refused));
    let begun = done.saturating_add(refused).saturating_add(count(MeterProgress::OnTheWay));
    if done >= canary {
        Canary::Passed
    } else if begun < canary {
        Canary::Room(canary - begun)
    } else if done + refused >= canary {
        Canary::Failed
    } else {
        Canary::Room(0)
    }
}

fn command(
    bulk: &Bulk,
    campaign: &Campaign,
    action: &BulkAction,
    parameters: Option<String>,
    serial: String,
    now: Timestamp,
) -> NewCommand {
    NewCommand {
        serial: Serial(serial),
        kind: action.kind,
        reason: action.reason.filter(|_| action.kind == CommandKind::Disconnect),
        reason_text: Some(format!("bulk command {}: {}", campaign.id, campaign.reason)),
        breach: None,
        actor: campaign.requested_by.clone(),
        correlation: campaign.correlation.clone(),
        token_id: None,
        action: parameters,
        not_after: now.checked_add(bulk.command_expiry).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_follow_when_every_canary_is_done_and_not_before() {
        let counts = |done, refused, on_the_way| {
            vec![
                (MeterProgress::Done, done),
                (MeterProgress::Refused, refused),
                (MeterProgress::OnTheWay, on_the_way),
                (MeterProgress::Waiting, 40),
            ]
        };
        assert_eq!(after_canary(3, &counts(0, 0, 0)), Canary::Room(3));
        assert_eq!(after_canary(3, &counts(1, 0, 1)), Canary::Room(1));
        assert_eq!(after_canary(3, &counts(2, 0, 1)), Canary::Room(0));
        assert_eq!(after_canary(3, &counts(3, 0, 0)), Canary::Passed);
        assert_eq!(after_canary(3, &counts(2, 1, 0)), Canary::Failed);
        assert_eq!(after_canary(3, &counts(30, 1, 5)), Canary::Passed);
    }
}
