//! A shortage: the curtailment list, and the previews of the bulk commands that carry it out. Nothing is sent before somebody
//! starts them: the limits first.

use super::{Bulk, BulkAction, BulkRequest};
use crate::bulk::{Asking, BulkError, Selection};
use crate::commands::curtail::{self, Candidate, List, Measure, Standing};
use crate::commands::order;
use crate::session::model::Ability;
use crate::store::command::{CommandKind, DisconnectReason};
use crate::store::ledger::Account;
use crate::store::meter::{BalanceHolder, Role};
use crate::store::notice::NoticeKind;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Watts to be saved.
    pub target_w: i64,
    /// Among which meters.
    pub selection: Selection,
    /// A power measured longer ago than this counts as not measured.
    pub measured_within: SignedDuration,
    /// When it ends, where that is known: limits end by themselves then.
    pub until: Option<Timestamp>,
    /// Why, in somebody's own words.
    pub reason: String,
}

/// A curtailment list with the previews that carry it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Curtailment {
    /// The list.
    #[serde(flatten)]
    pub list: List,
    /// What is still missing when all of it is done.
    pub short_w: i64,
    /// The preview of the limits: to be started first. None when nobody is limited.
    pub limits: Option<i64>,
    /// The preview of the disconnections, which pass every guard. None when nobody is cut.
    pub disconnections: Option<i64>,
}

impl Bulk {
    /// Makes the list, and previews of what carries it out.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn curtail(&self, shortage: Shortage, asking: Asking) -> Result<Curtailment, BulkError> {
        if shortage.target_w <= 0 {
            return Err(BulkError::Request(format!("a target of {} W saves nothing", shortage.target_w)));
        }
        if shortage.until.is_some_and(|until| until <= self.clock.now()) {
            return Err(BulkError::Request("it is over already".into()));
        }
        let list = curtail::list(self.candidates(&shortage).await?, shortage.target_w);
        let mut limits = BTreeMap::new();
        let (mut limited, mut cut) = (Vec::new(), Vec::new());
        for line in &list.cuts {
            match line.measure {
                Measure::LimitTo { watts } => {
                    let mut limit = json!({ "limit_w": watts });
                    if let Some(until) = shortage.until {
                        limit["until"] = json!(until);
                    }
                    limits.insert(line.serial.clone(), limit);
                    limited.push(line.serial.clone());
                }
                Measure::Disconnect => cut.push(line.serial.clone()),
            }
        }
        let request = |kind, reason, serials: Vec<String>, each| BulkRequest {
            action: BulkAction { kind, reason, parameters: None },
            selection: Selection { serials, ..Selection::default() },
            each,
            canary: None,
            reason: shortage.reason.clone(),
            at_once: 32,
            per_minute: None,
            area_per_minute: None,
        };
        let mut curtailment = Curtailment {
            short_w: (shortage.target_w - list.saves_w).max(0),
            list,
            limits: None,
            disconnections: None,
        };
        if !limited.is_empty() {
            let kind =
                if shortage.until.is_some() { CommandKind::LimitEmergency } else { CommandKind::LimitLoad };
            let request = request(kind, None, limited, limits);
            curtailment.limits = Some(self.preview(request, asking.clone()).await?.0.id);
        }
        if !cut.is_empty() {
            let reason = Some(DisconnectReason::PeakAvoidance);
            let request = request(CommandKind::Disconnect, reason, cut, BTreeMap::new());
            curtailment.disconnections = Some(self.preview(request, asking).await?.0.id);
        }
        Ok(curtailment)
    }

    async fn candidates(&self, shortage: &Shortage) -> Result<Vec<Candidate>, BulkError> {
        let now = self.clock.now();
        let mut candidates = Vec::new();
        for (meter, state) in shortage.selection.choose(&self.store).await? {
            if meter.role != Role::Customer || state.relay.is_some_and(|relay| !relay.output_closed) {
                continue;
            }
            let standing = self.store.standing(&meter.serial).await?;
            let settled = standing.notices.iter().rposition(|notice| notice.kind == NoticeKind::Settlement);
            let since = standing.notices.iter().skip(settled.map_or(0, |at| at + 1));
            let in_debt = since.into_iter().any(|notice| notice.kind == NoticeKind::Demand);
            let credit = match meter.balance {
                BalanceHolder::Gateway => Some(self.store.account(Account::Held, &meter.serial.0).await?.1),
                _ => state.credit_wh,
            };
            let fresh = state.read_at.is_some_and(|at| now.duration_since(at) <= shortage.measured_within);
            let model = self.models.find(&meter.model);
            let no_switch = order::obstacle(CommandKind::Disconnect, &meter, model.as_deref());
            let no_limiter = match &model {
                Some(model) => model.lacks(Ability::LimitLoad),
                None => Some("its model is not known".to_owned()),
            };
            candidates.push(Candidate {
                serial: meter.serial.0,
                load: meter.load,
                standing: Standing::of(in_debt, credit),
                credit,
                power_w: state.power_w.filter(|_| fresh),
                protected: standing.protection.is_some(),
                no_limiter,
                no_switch,
            });
        }
        Ok(candidates)
    }
}
