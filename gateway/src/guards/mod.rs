//! What must be on record before supply is cut, as one pure function. A refusal says what is missing and what would satisfy it.
//!
//! | guard | applies to | satisfied by | need |
//! |---|---|---|---|
//! | `notice` | the reasons the rules give a notice time | a delivered notice for this reason whose time has come | N25 |
//! | `overdue` | arrears | a debt more than so many days old | N21 |
//! | `demands` | arrears | so many demands delivered since the debt fell due | N21 |
//! | `case` | breach of contract | a case id and the inspector who confirmed it | N23 |
//! | `quiet_hours` | arrears, breach of contract, no credit | waiting | our own rule |
//! | `protected_customer` | every cut by the gateway itself | nothing: limit the load, or let a person decide | N22 |
//! | `second_person` | protected customers, and the reasons the rules name | somebody else's word | N21, N22 |

use crate::store::command::{Breach, DisconnectReason};
use crate::store::notice::{Notice, NoticeKind, Standing};
use crate::store::words;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

words! {
    /// What stands between a request and an open relay.
    Guard {
        /// The customer was told in time.
        Notice = "notice",
        /// The debt is old enough.
        Overdue = "overdue",
        /// The debt was asked for.
        Demands = "demands",
        /// An inspector confirmed the breach.
        Case = "case",
        /// Nobody is cut off now.
        QuietHours = "quiet_hours",
        /// Never cut off by a program.
        ProtectedCustomer = "protected_customer",
        /// A second person agreed.
        SecondPerson = "second_person",
    }
}

/// What the operator decides about cutting supply.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The customers' zone, in which hours and days are meant.
    pub zone: TimeZone,
    /// When nobody is cut off for money, every day: from, until. Over midnight when it ends before it begins.
    pub quiet_hours: Option<(Time, Time)>,
    /// Whole days of the week of that kind.
    pub quiet_days: Vec<Weekday>,
    /// Whole dates of that kind.
    pub quiet_dates: Vec<Date>,
    /// A debt must be more than so many days overdue.
    pub overdue_days: u32,
    /// So many demands must have been delivered since it fell due.
    pub demands_min: usize,
    /// Hours between the delivery of a notice and the time it gives, per reason. A reason that is not here needs none.
    pub notice_hours: BTreeMap<&'static str, u32>,
    /// A notice is good for so many days from the time it gives.
    pub notice_valid_days: u32,
    /// Reasons that need a second person for every customer.
    pub second_person: Vec<DisconnectReason>,
}

/// Where the operator says nothing. Overdue days and demands are N21's. The notice times are our own choice, the law of the place
/// decides: a week for planned work, three days for arrears, a day for a breach of contract.
impl Default for Rules {
    fn default() -> Self {
        let notice_hours = [
            (DisconnectReason::Planned, 7 * 24),
            (DisconnectReason::Arrears, 3 * 24),
            (DisconnectReason::BreachOfContract, 24),
        ];
        Self {
            zone: TimeZone::UTC,
            quiet_hours: None,
            quiet_days: Vec::new(),
            quiet_dates: Vec::new(),
            overdue_days: 30,
            demands_min: 2,
            notice_hours: notice_hours.map(|(reason, hours)| (reason.as_str(), hours)).into(),
            notice_valid_days: 30,
            second_person: vec![DisconnectReason::Arrears],
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Why.
    pub reason: DisconnectReason,
    /// The case of a breach of contract, and who confirmed it.
    pub breach: Option<&'a Breach>,
    /// A second person agreed.
    pub approved: bool,
}

/// A guard that is not satisfied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unmet {
    /// Which.
    pub guard: Guard,
    /// What is on record.
    pub detail: String,
    /// What would satisfy it.
    pub remedy: String,
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.guard, self.detail, self.remedy)
    }
}

/// Guards in one line, for a person.
#[must_use]
pub fn list(unmet: &[Unmet]) -> String {
    unmet.iter().map(ToString::to_string).collect::<Vec<_>>().join(". ")
}

/// The guards that are not satisfied at `now`, in a fixed order. None: supply may be cut.
#[must_use]
pub fn unmet(asked: &Asked<'_>, standing: &Standing, rules: &Rules, now: Timestamp) -> Vec<Unmet> {
    let by_gateway = asked.reason == DisconnectReason::NoCredit;
    let mut unmet = Vec::new();
    if asked.reason == DisconnectReason::Arrears {
        unmet.extend(debt(standing, rules, now));
    }
    if let Some(hours) = rules.notice_hours.get(asked.reason.as_str()) {
        unmet.extend(notice(asked.reason, *hours, standing, rules, now));
    }
    if asked.reason == DisconnectReason::BreachOfContract && asked.breach.is_none() {
        unmet.push(Unmet {
            guard: Guard::Case,
            detail: "an alarm is a suspicion, not a finding".into(),
            remedy: "give case_id, and in confirmed_by the inspector who confirmed the breach".into(),
        });
    }
    unmet.extend(quiet(asked.reason, rules, now));
    if let Some(protection) = standing.protection
        && by_gateway
    {
        unmet.push(Unmet {
            guard: Guard::ProtectedCustomer,
            detail: format!(
                "the customer is protected ({protection}) and never cut off by the gateway itself"
            ),
            remedy: "limit the load, or let two people decide".into(),
        });
    }
    if !by_gateway && !asked.approved {
        unmet.extend(second_person(asked.reason, standing, rules));
    }
    unmet
}

fn days(count: u32) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(count))
}

/// The demands since the last settlement, and what they say about the debt.
fn debt(standing: &Standing, rules: &Rules, now: Timestamp) -> Vec<Unmet> {
    let settled = standing.notices.iter().rposition(|notice| notice.kind == NoticeKind::Settlement);
    let demands: Vec<&Notice> = standing.notices[settled.map_or(0, |at| at + 1)..]
        .iter()
        .filter(|notice| notice.kind == NoticeKind::Demand && notice.delivered_at <= now)
        .collect();
    let mut unmet = Vec::new();
    let since = demands.iter().filter_map(|demand| demand.overdue_since).min();
    match since {
        None => unmet.push(Unmet {
            guard: Guard::Overdue,
            detail: "no overdue debt is on record".into(),
            remedy: format!("record the demands for a debt more than {} days overdue", rules.overdue_days),
        }),
        Some(since) if now.duration_since(since) <= days(rules.overdue_days) => unmet.push(Unmet {
            guard: Guard::Overdue,
            detail: format!(
                "the debt is overdue since {since}, {} days",
                now.duration_since(since).as_hours() / 24
            ),
            remedy: format!("wait until it is more than {} days", rules.overdue_days),
        }),
        Some(_) => {}
    }
    let counted =
        demands.iter().filter(|demand| since.is_some_and(|since| demand.delivered_at >= since)).count();
    if counted < rules.demands_min {
        unmet.push(Unmet {
            guard: Guard::Demands,
            detail: format!("{counted} of {} demands delivered since the debt fell due", rules.demands_min),
            remedy: "deliver the demand and record its delivery".into(),
        });
    }
    unmet
}

fn notice(
    reason: DisconnectReason,
    hours: u32,
    standing: &Standing,
    rules: &Rules,
    now: Timestamp,
) -> Option<Unmet> {
    let unmet = |detail: String, remedy: String| Some(Unmet { guard: Guard::Notice, detail, remedy });
    let newest = standing.notices.iter().rev().find_map(|notice| {
        (notice.kind == NoticeKind::Disconnection && notice.reason == Some(reason))
            .then_some((notice.delivered_at, notice.effective_from?))
    });
    let deliver = format!("deliver one at least {hours} h before the time it gives, and record its delivery");
    let Some((delivered, from)) = newest else {
        return unmet(format!("no notice of a disconnection for {reason} is on record"), deliver);
    };
    if from.duration_since(delivered) < SignedDuration::from_hours(i64::from(hours)) {
        return unmet(
            format!("the notice for {from} was delivered at {delivered}, less than {hours} h before"),
            deliver,
        );
    }
    if now < from {
        return unmet(format!("the notice lets supply be cut from {from} on"), "wait until then".into());
    }
    if now.duration_since(from) > days(rules.notice_valid_days) {
        return unmet(
            format!("the notice for {from} is older than {} days", rules.notice_valid_days),
            deliver,
        );
    }
    None
}

fn second_person(reason: DisconnectReason, standing: &Standing, rules: &Rules) -> Option<Unmet> {
    let detail = match standing.protection {
        Some(protection) => {
            format!("the customer is protected ({protection}): consider limiting the load instead")
        }
        None if rules.second_person.contains(&reason) => {
            format!("a disconnection for {reason} is not one person's decision")
        }
        None => return None,
    };
    Some(Unmet {
        guard: Guard::SecondPerson,
        detail,
        remedy: "somebody other than who asked approves it".into(),
    })
}

fn quiet(reason: DisconnectReason, rules: &Rules, now: Timestamp) -> Option<Unmet> {
    let for_money = matches!(
        reason,
        DisconnectReason::Arrears | DisconnectReason::BreachOfContract | DisconnectReason::NoCredit
    );
    if !for_money || !rules.is_quiet(now) {
        return None;
    }
    let remedy = rules.quiet_until(now).map_or_else(
        || "change the rules: they never allow it".to_owned(),
        |until| format!("wait until {until}"),
    );
    Some(Unmet {
        guard: Guard::QuietHours,
        detail: "nobody is cut off for money at this time".into(),
        remedy,
    })
}

/// How far ahead the end of a quiet time is looked for, in days: longer than any holiday.
const QUIET_DAYS_MAX: i32 = 60;

impl Rules {
    /// Whether nobody is cut off for money at this time.
    fn is_quiet(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(self.zone.clone());
        if self.quiet_days.contains(&local.weekday()) || self.quiet_dates.contains(&local.date()) {
            return true;
        }
        self.quiet_hours.is_some_and(|(from, until)| {
            let time = local.time();
            if from <= until { from <= time && time < until } else { time >= from || time < until }
        })
    }

    /// When the quiet time ends that `at` is in. Quiet times end at midnight or when the hours end.
    fn quiet_until(&self, at: Timestamp) -> Option<Timestamp> {
        let today = at.to_zoned(self.zone.clone()).date();
        let ends = [Some(Time::midnight()), self.quiet_hours.map(|(_, until)| until)];
        (0..QUIET_DAYS_MAX)
            .filter_map(|ahead| today.checked_add(ahead.days()).ok())
            .flat_map(|day| ends.into_iter().flatten().map(move |time| day.to_datetime(time)))
            .filter_map(|local| local.to_zoned(self.zone.clone()).ok())
            .map(|local| local.timestamp())
            .find(|end| *end > at && !self.is_quiet(*end))
    }
}

#[cfg(test)]
mod tests;
