//! Bulk commands: one kind of command for many meters, looked at before it is started. What was previewed is stored with each
//! meter, and that is what runs: a street that has changed since is shown, not acted on. Each meter gets a command of its own,
//! with the guards, the states and the evidence of any other; this part only records them, at a pace.

pub mod pace;
pub mod plan;
mod shortage;
mod task;

pub use shortage::{Curtailment, Shortage};
pub use task::run;

use super::order;
use crate::bulk::{self, AT_ONCE_MAX, Asking, BulkError, Excluded, METERS_MAX, Selection, Verb};
use crate::clock::Clock;
use crate::config::Config;
use crate::guards::Rules;
use crate::session::model::Models;
use crate::session::work::Serial;
use crate::store::bulk as bulk_rows;
use crate::store::campaign::{self, Campaign, CampaignKind, CampaignState, Place};
use crate::store::command::{CommandKind, DisconnectReason};
use crate::store::ledger::Account;
use crate::store::meter::BalanceHolder;
use crate::store::notice::Standing;
use crate::store::{Store, StoreError, event};
use jiff::SignedDuration;
use plan::Known;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

const KIND: CampaignKind = CampaignKind::Command;
/// The longest reason in somebody's own words, in bytes.
const REASON_MAX: usize = 500;
/// A preview that was not started is good for so long: what it was made from grows old.
const PREVIEW_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// A preview that was not started is kept for so long.
const PREVIEW_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Differences that are named; the rest is counted.
const NAMED_MAX: usize = 10;
/// The fastest pace: what a substation's lines cannot exceed anyway.
pub const PER_MINUTE_MAX: u32 = 60_000;

/// What each meter is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkAction {
    /// `disconnect`, `reconnect`, `arm`, `read`, `set_clock`, `limit_load`, `limit_emergency`, `set_prices`, `set_tariff`,
    /// `set_calendar`, `test_relay` or `update_image`.
    pub kind: CommandKind,
    /// A disconnect: why. A reconnect: only meters that are disconnected for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DisconnectReason>,
    /// What exactly, as for a single command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
}

/// A bulk command to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkRequest {
    /// What.
    pub action: BulkAction,
    /// For which meters.
    pub selection: Selection,
    /// What exactly a meter is told, where that is not what all are told.
    pub each: BTreeMap<String, serde_json::Value>,
    /// Why, in somebody's own words.
    pub reason: String,
    /// So many meters first; the others are told only when every one of these is done.
    pub canary: Option<u32>,
    /// Commands on the way at once.
    pub at_once: u32,
    /// Commands started in a minute; the configured number where nothing is said.
    pub per_minute: Option<u32>,
    /// The same in one area; for reconnections the configured number where nothing is said.
    pub area_per_minute: Option<u32>,
}

/// A meter that takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Included {
    /// Which.
    pub serial: String,
    /// What there is to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a bulk command would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Plan {
    /// Meters that take part, in the order in which they will be told.
    pub included: Vec<Included>,
    /// Meters that were asked for and do not.
    pub excluded: Vec<Excluded>,
    /// Why a second person has to agree, if one has to.
    pub second_person: Option<String>,
}

/// What the operator decides about bulk commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Commands that change something for more meters than this need a second person.
    pub second_person_above: usize,
    /// Commands started in a minute, where a request says nothing.
    pub per_minute: u32,
    /// Reconnections started in a minute in one area, where a request says nothing: the inrush of a feeder.
    pub reconnects_per_area: u32,
}

/// Our own choice: a street lamp's worth of customers is one person's decision, ten a second is what a TCP street takes without
/// being noticed, and a reconnected household draws its inrush within the first seconds.
impl Default for Limits {
    fn default() -> Self {
        Self { second_person_above: 50, per_minute: 600, reconnects_per_area: 60 }
    }
}

/// Previews, starts and changes bulk commands. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Bulk {
    /// The store.
    pub store: Store,
    /// Civil time.
    pub clock: Clock,
    /// What meters can do.
    pub models: Models,
    /// The guards of a disconnection.
    pub rules: Arc<Rules>,
    /// What the operator decides.
    pub limits: Limits,
    /// How long a command may wait for its meter.
    pub command_expiry: SignedDuration,
    /// How long it may wait for a second person.
    pub approval_expiry: SignedDuration,
}

impl Bulk {
    /// The same under what this configuration says.
    #[must_use]
    pub fn under(&self, config: &Config) -> Self {
        let span = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        Self {
            rules: Arc::new(config.disconnection.rules.clone()),
            limits: config.bulk,
            command_expiry: span(config.schedule.command_expiry),
            approval_expiry: span(config.disconnection.approval_expiry),
            ..self.clone()
        }
    }

    /// Says who would take part and who not and why, and keeps that: it can be started by its number.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn preview(&self, request: BulkRequest, asking: Asking) -> Result<(Campaign, Plan), BulkError> {
        let reason = request.reason.trim().to_owned();
        check(&request, &reason).map_err(BulkError::Request)?;
        if request.each.is_empty() {
            let (kind, parameters) = (request.action.kind, request.action.parameters.as_ref());
            order::checked_in(&self.store, kind, parameters).await.map_err(BulkError::Request)?;
        }
        let mut each = BTreeMap::new();
        for (serial, parameters) in &request.each {
            let parameters = order::checked(request.action.kind, Some(parameters));
            each.insert(serial.clone(), parameters.map_err(BulkError::Request)?);
        }
        let per_minute = request.per_minute.unwrap_or(self.limits.per_minute);
        let reconnects = matches!(request.action.kind, CommandKind::Reconnect);
        let area = request.area_per_minute.or(reconnects.then_some(self.limits.reconnects_per_area));
        for (name, pace) in [("per_minute", Some(per_minute)), ("area_per_minute", area)] {
            if let Some(pace) = pace.filter(|pace| !(1..=PER_MINUTE_MAX).contains(pace)) {
                return Err(BulkError::Request(format!("{name} {pace} is not 1 to {PER_MINUTE_MAX}")));
            }
        }
        let plan = self.plan(&request.action, &request.selection).await?;
        if plan.included.len() + plan.excluded.len() > METERS_MAX {
            let detail = format!("more than {METERS_MAX} meters: make it several, by area for example");
            return Err(BulkError::Request(detail));
        }
        let now = self.clock.now();
        let mut campaign = Campaign {
            id: 0,
            kind: KIND,
            action: serde_json::to_string(&request.action)?,
            selection: serde_json::to_string(&request.selection)?,
            reason,
            requested_by: asking.actor,
            decided_by: None,
            sets_max: request.at_once,
            per_minute: Some(per_minute),
            area_per_minute: area,
            canary: request.canary.filter(|canary| *canary > 0),
            state: CampaignState::Previewed,
            correlation: asking.correlation,
            at: now,
            updated_at: now,
        };
        let included = plan.included.iter().map(|meter| Place {
            note: meter.note.clone(),
            parameters: each.get(&meter.serial).cloned().flatten(),
            ..Place::of(meter.serial.clone())
        });
        let excluded =
            plan.excluded.iter().map(|meter| Place::excluded(meter.serial.clone(), meter.why.clone()));
        let places: Vec<Place> = included.chain(excluded).collect();
        let (new, old) = (campaign.clone(), now.saturating_sub(PREVIEW_KEPT).unwrap_or(now));
        campaign.id = self
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    bulk_rows::forget_previews(conn, old).await?;
                    campaign::insert(conn, &new, &places).await
                })
            })
            .await?;
        Ok((campaign, plan))
    }

    /// Starts what was previewed, if the street is still as it was shown; a second person may have to agree first.
    ///
    /// # Errors
    /// See [`BulkError`]; [`BulkError::Changed`] names the differences.
    pub async fn start(&self, id: i64, asking: Asking) -> Result<Campaign, BulkError> {
        let mut campaign = bulk::find(&self.store, KIND, id).await?;
        let now = self.clock.now();
        if campaign.state != CampaignState::Previewed {
            return Err(BulkError::State { kind: KIND, id, state: campaign.state });
        }
        if now.duration_since(campaign.at) > PREVIEW_LIFE {
            return Err(BulkError::Changed(format!(
                "it was looked at {}, more than an hour ago",
                campaign.at
            )));
        }
        let action: BulkAction = serde_json::from_str(&campaign.action)?;
        let selection: Selection = serde_json::from_str(&campaign.selection)?;
        let plan = self.plan(&action, &selection).await?;
        let shown = self.store.campaign_places(id).await?;
        if let Some(difference) = difference(&shown, &plan) {
            return Err(BulkError::Changed(difference));
        }
        if plan.included.is_empty() {
            return Err(BulkError::Request("no meter would take part; the preview says why".into()));
        }
        campaign.state =
            if plan.second_person.is_some() { CampaignState::Waiting } else { CampaignState::Running };
        campaign.requested_by.clone_from(&asking.actor);
        campaign.updated_at = now;
        let started = campaign.clone();
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    // Somebody may have been faster.
                    let state = campaign::find(&mut *conn, id).await?.map(|campaign| campaign.state);
                    if let Some(state) = state.filter(|state| *state != CampaignState::Previewed) {
                        return Err(BulkError::State { kind: KIND, id, state });
                    }
                    let subject = format!("{} {id}", KIND.noun());
                    event::audit(conn, now, &asking.actor, "start", &subject, &asking.correlation).await?;
                    bulk_rows::set_requested_by(&mut *conn, id, &asking.actor).await?;
                    campaign::set_state(conn, id, started.state, now).await?;
                    Ok(())
                })
            })
            .await?;
        Ok(campaign)
    }

    /// The second person's word.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn decide(&self, id: i64, agreed: bool, asking: Asking) -> Result<Campaign, BulkError> {
        let now = self.clock.now();
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    let found =
                        campaign::find(&mut *conn, id).await?.filter(|campaign| campaign.kind == KIND);
                    let mut campaign = found.ok_or(BulkError::Unknown { kind: KIND, id })?;
                    if campaign.state != CampaignState::Waiting {
                        return Err(BulkError::State { kind: KIND, id, state: campaign.state });
                    }
                    if agreed && campaign.requested_by == asking.actor {
                        return Err(BulkError::SamePerson(asking.actor));
                    }
                    campaign.state = if agreed { CampaignState::Running } else { CampaignState::Declined };
                    let word = if agreed { "approve" } else { "decline" };
                    let subject = format!("{} {id}", KIND.noun());
                    event::audit(conn, now, &asking.actor, word, &subject, &asking.correlation).await?;
                    bulk_rows::set_decided_by(&mut *conn, id, &asking.actor).await?;
                    campaign::set_state(conn, id, campaign.state, now).await?;
                    campaign.decided_by = Some(asking.actor);
                    Ok(campaign)
                })
            })
            .await
    }

    /// Pauses, resumes or stops one. A stop takes back what nothing was sent of.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn change(&self, id: i64, verb: Verb, asking: &Asking) -> Result<Campaign, BulkError> {
        bulk::change(&self.store, self.clock, (KIND, id), verb, asking).await
    }

    /// Who takes part now.
    async fn plan(&self, action: &BulkAction, selection: &Selection) -> Result<Plan, BulkError> {
        let meters = selection.choose(&self.store).await?;
        let now = self.clock.now();
        let disconnected = self.store.standing_disconnects().await?;
        let open = self.store.relay_commands_open().await?;
        let mut plan = Plan::default();
        for (meter, state) in &meters {
            // What is on record about the customer concerns disconnections alone.
            let standing = match action.kind {
                CommandKind::Disconnect => self.store.standing(&meter.serial).await?,
                _ => Standing::default(),
            };
            let held = match meter.balance {
                BalanceHolder::Gateway => self.store.account(Account::Held, &meter.serial.0).await?.1,
                _ => crate::units::WattHours(0),
            };
            let model = self.models.find(&meter.model);
            let known = Known {
                meter,
                state,
                model: model.as_deref(),
                standing: &standing,
                held,
                disconnected_for: disconnected.get(&meter.serial.0).copied(),
                relay_command_open: open.contains(&meter.serial.0),
            };
            let Serial(serial) = meter.serial.clone();
            match plan::part(action, &known, &self.rules, now) {
                Err(why) => plan.excluded.push(Excluded { serial, why }),
                Ok(part) => {
                    if plan.second_person.is_none() {
                        plan.second_person =
                            part.second_person.clone().map(|why| format!("meter {serial}: {why}"));
                    }
                    plan.included.push(Included { serial, note: part.second_person });
                }
            }
        }
        let (taking_part, above) = (plan.included.len(), self.limits.second_person_above);
        if plan.second_person.is_none() && action.kind != CommandKind::Read && taking_part > above {
            plan.second_person = Some(format!(
                "{taking_part} meters: for more than {above} somebody other than who asked has to agree"
            ));
        }
        Ok(plan)
    }
}

/// What is wrong with a request.
fn check(request: &BulkRequest, reason: &str) -> Result<(), String> {
    const KINDS: [CommandKind; 12] = [
        CommandKind::Disconnect,
        CommandKind::Reconnect,
        CommandKind::Arm,
        CommandKind::Read,
        CommandKind::SetClock,
        CommandKind::LimitLoad,
        CommandKind::SetPrices,
        CommandKind::SetTariff,
        CommandKind::SetCalendar,
        CommandKind::LimitEmergency,
        CommandKind::TestRelay,
        CommandKind::UpdateImage,
    ];
    let (action, at_once) = (&request.action, request.at_once);
    if !KINDS.contains(&action.kind) {
        return Err(format!("kind {} is none of {}", action.kind, KINDS.map(CommandKind::as_str).join(", ")));
    }
    match (action.kind, action.reason) {
        (CommandKind::Disconnect, None) => {
            return Err(format!("a disconnect needs a reason: one of {}", order::REASONS));
        }
        (CommandKind::Disconnect, Some(DisconnectReason::BreachOfContract)) => {
            return Err("a breach of contract is one customer's case: disconnect that meter alone".into());
        }
        (CommandKind::Disconnect | CommandKind::Reconnect, Some(reason)) => {
            order::reason(reason.as_str())?;
        }
        (CommandKind::Reconnect, None) => {}
        (kind, Some(_)) => return Err(format!("a {kind} takes no reason; say it in your own words")),
        (_, None) => {}
    }
    if reason.is_empty() || reason.len() > REASON_MAX {
        return Err(format!("say why, in 1 to {REASON_MAX} bytes"));
    }
    if !(1..=AT_ONCE_MAX).contains(&at_once) {
        return Err(format!("at_once {at_once} is not 1 to {AT_ONCE_MAX}"));
    }
    Ok(())
}

/// How the street differs from what was shown.
fn difference(shown: &[Place], plan: &Plan) -> Option<String> {
    let mut before: BTreeMap<&str, bool> =
        shown.iter().map(|place| (place.serial.as_str(), place.excluded.is_none())).collect();
    let mut lines = Vec::new();
    for meter in &plan.included {
        if before.remove(meter.serial.as_str()) != Some(true) {
            lines.push(format!("{} takes part now", meter.serial));
        }
    }
    for meter in &plan.excluded {
        if before.remove(meter.serial.as_str()) == Some(true) {
            lines.push(format!("{} takes no part any more: {}", meter.serial, meter.why));
        }
    }
    let gone = before.into_iter().filter(|(_, included)| *included);
    lines.extend(gone.map(|(serial, _)| format!("{serial} is not among the chosen any more")));
    if lines.is_empty() {
        return None;
    }
    let more = lines.len().saturating_sub(NAMED_MAX);
    lines.truncate(NAMED_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Some(lines.join("; "))
}

#[cfg(test)]
mod tests;
