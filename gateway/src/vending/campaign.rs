//! Campaigns: one key change (rollover to a new base date, tariff index, supply group, key revision) for many meters. Each
//! meter gets a set of its own, tracked like any other key change; a campaign starts them, so many at once.

use super::key_change;
use super::special::{self, REASON_MAX, SpecialAction, SpecialError};
use super::top_up::Vending;
use crate::bulk::{self, AT_ONCE_MAX, Asking, BulkError, Excluded, METERS_MAX, Selection, Verb};
use crate::session::work::Serial;
use crate::store::campaign::{self as store, Campaign, CampaignKind, CampaignState, Place};
use crate::store::meter::{BalanceHolder, Meter};
use crate::store::{StoreError, event};
use crate::vault::Vault;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// A set that did not move for this long does not count as on the way: its meter does not answer.
const STALLED: SignedDuration = SignedDuration::from_secs(60);
/// A meter with another key change under way is looked at again after this.
const POSTPONED: SignedDuration = SignedDuration::from_secs(60);

/// What a campaign is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignRequest {
    /// A key change.
    pub action: SpecialAction,
    /// For which meters.
    pub selection: Selection,
    /// Why.
    pub reason: String,
    /// Sets on the way at once.
    pub sets_max: u32,
    /// How many meters a preview said would take part; another number now is refused.
    pub expected: Option<usize>,
}

/// What a campaign would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Preview {
    /// Meters that take part.
    pub included: Vec<String>,
    /// Meters that were asked for and do not.
    pub excluded: Vec<Excluded>,
}

impl Vending {
    /// Says which meters a campaign would change, and which not and why.
    ///
    /// # Errors
    /// When it is not a key change, or the store fails.
    pub async fn preview_campaign(
        &self,
        action: &SpecialAction,
        selection: &Selection,
    ) -> Result<Preview, BulkError> {
        if !matches!(action, SpecialAction::KeyChange { .. }) {
            return Err(BulkError::Request("a campaign is a key change".into()));
        }
        let chosen: Vec<Meter> =
            selection.choose(&self.store).await?.into_iter().map(|(meter, _)| meter).collect();
        let changing = self.store.serials_with_key_change().await?;
        let (action, vault, now) = (action.clone(), self.vault.clone(), self.clock.now());
        // Two derivations a meter, in a hardware token perhaps: not on a task that serves others.
        let preview = tokio::task::spawn_blocking(move || {
            let mut preview = Preview::default();
            for meter in chosen {
                let under_way = changing.contains(&meter.serial.0);
                match obstacle(&meter, &action, under_way, vault.as_ref(), now) {
                    Some(why) => preview.excluded.push(Excluded { serial: meter.serial.0, why }),
                    None => preview.included.push(meter.serial.0),
                }
            }
            preview
        });
        preview.await.map_err(|error| StoreError::Corrupt(error.to_string()).into())
    }

    /// Starts a campaign.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn start_campaign(
        &self,
        request: CampaignRequest,
        asking: Asking,
    ) -> Result<Campaign, BulkError> {
        let refuse = |why: String| Err(BulkError::Request(why));
        let reason = request.reason.trim().to_owned();
        if reason.is_empty() || reason.len() > REASON_MAX {
            return refuse(SpecialError::Reason.to_string());
        }
        if !(1..=AT_ONCE_MAX).contains(&request.sets_max) {
            return refuse(format!("sets_max {} is not 1 to {AT_ONCE_MAX}", request.sets_max));
        }
        let preview = self.preview_campaign(&request.action, &request.selection).await?;
        let taking_part = preview.included.len();
        if let Some(expected) = request.expected.filter(|expected| *expected != taking_part) {
            return refuse(format!(
                "{taking_part} meters would take part, not {expected}: look at the preview again"
            ));
        }
        if taking_part == 0 {
            return refuse("no meter would take part; the preview says why".into());
        }
        if taking_part + preview.excluded.len() > METERS_MAX {
            return refuse(format!(
                "more than {METERS_MAX} meters: make it several campaigns, by area for example"
            ));
        }
        let included = preview.included.into_iter().map(Place::of);
        let excluded = preview.excluded.into_iter().map(|meter| Place::excluded(meter.serial, meter.why));
        let meters: Vec<_> = included.chain(excluded).collect();
        let now = self.clock.now();
        let mut campaign = Campaign {
            id: 0,
            kind: CampaignKind::KeyChange,
            action: serde_json::to_string(&request.action)?,
            selection: serde_json::to_string(&request.selection)?,
            reason,
            requested_by: asking.actor,
            decided_by: None,
            sets_max: request.sets_max,
            per_minute: None,
            area_per_minute: None,
            canary: None,
            state: CampaignState::Running,
            correlation: asking.correlation,
            at: now,
            updated_at: now,
        };
        let new = campaign.clone();
        campaign.id = self
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    let id = store::insert(conn, &new, &meters).await?;
                    let subject = format!("campaign {id}");
                    event::audit(conn, now, &new.requested_by, "start", &subject, &new.correlation).await?;
                    Ok(id)
                })
            })
            .await?;
        Ok(campaign)
    }

    /// Pauses, resumes, stops a campaign, or tries its refused sets again.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn change_campaign(&self, id: i64, verb: Verb, asking: Asking) -> Result<Campaign, BulkError> {
        let changed =
            bulk::change(&self.store, self.clock, (CampaignKind::KeyChange, id), verb, &asking).await?;
        if verb == Verb::Retry {
            self.retry_refused(id, &asking).await?;
        }
        Ok(changed)
    }

    async fn retry_refused(&self, id: i64, asking: &Asking) -> Result<(), BulkError> {
        let sets = self
            .store
            .write::<_, StoreError, _>(move |conn| Box::pin(async move { store::refused(conn, id).await }))
            .await?;
        for set in sets {
            match self.retry_special(set, asking.clone()).await {
                Err(SpecialError::Superseded) => {
                    self.store
                        .write::<_, StoreError, _>(move |conn| {
                            Box::pin(async move { store::wait_again(conn, set).await })
                        })
                        .await?;
                }
                Err(SpecialError::Store(error)) => return Err(error.into()),
                // Somebody was faster, or another key change is under way: this one stays refused and says so.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Starts as many sets of a campaign as it may have on the way, and ends it when all have ended.
    pub(super) async fn advance_campaign(&self, campaign: &Campaign) -> Result<(), StoreError> {
        let (now, id) = (self.clock.now(), campaign.id);
        let since = now.saturating_sub(STALLED).unwrap_or(Timestamp::MIN);
        let busy = self.store.campaign_busy(id, since).await?;
        let room = campaign.sets_max.saturating_sub(busy);
        for serial in self.store.campaign_waiting(id, now, room).await? {
            self.begin_set(campaign, Serial(serial), now).await?;
        }
        self.store.write(move |conn| Box::pin(async move { store::end_if_over(conn, id, now).await })).await
    }

    async fn begin_set(&self, campaign: &Campaign, serial: Serial, now: Timestamp) -> Result<(), StoreError> {
        let action: SpecialAction = serde_json::from_str(&campaign.action)?;
        let (id, vault, meter) = (campaign.id, self.vault.clone(), serial.clone());
        let asking =
            Asking { actor: campaign.requested_by.clone(), correlation: campaign.correlation.clone() };
        let reason = format!("campaign {id}: {}", campaign.reason);
        let begun = self
            .store
            .write(move |conn| {
                Box::pin(async move {
                    // A stop or a pause may have come since.
                    let running = store::find(conn, id).await?.map(|campaign| campaign.state);
                    if running == Some(CampaignState::Running) {
                        let set = special::request(conn, &vault, meter.clone(), action, reason, asking, now)
                            .await?;
                        store::begin(conn, id, &meter, set.id).await?;
                    }
                    Ok::<_, SpecialError>(())
                })
            })
            .await;
        let why = match begun {
            Ok(()) => return Ok(()),
            Err(SpecialError::Store(error)) => return Err(error),
            Err(SpecialError::KeyChangeOpen) => None,
            Err(error) => Some(error.to_string()),
        };
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    match why {
                        Some(why) => store::exclude(conn, id, &serial, &why).await,
                        None => {
                            let then = now.saturating_add(POSTPONED).unwrap_or(Timestamp::MAX);
                            store::postpone(conn, id, &serial, then).await
                        }
                    }
                })
            })
            .await
    }
}

/// Why a meter cannot take part.
fn obstacle(
    meter: &Meter,
    action: &SpecialAction,
    changing: bool,
    vault: &dyn Vault,
    now: Timestamp,
) -> Option<String> {
    let from = match (meter.balance, &meter.sts) {
        (BalanceHolder::Gateway, _) => {
            return Some("its balance is held by the gateway: it takes no tokens".into());
        }
        (BalanceHolder::Meter, Some(sts)) => sts,
        _ => return Some("it takes no STS tokens".into()),
    };
    let to = action.target(from)?;
    if to == *from {
        return Some("it is there already".into());
    }
    if changing {
        return Some(SpecialError::KeyChangeOpen.to_string());
    }
    key_change::tokens(vault, from.clone(), to, now).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests;
