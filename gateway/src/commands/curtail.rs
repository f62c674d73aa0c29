//! Who goes down in a shortage, and in what order (N24): large users first, by their own plan and by a limit; then by load class, the
//! least important first, and within a class by credit standing. Important and protected customers are limited where they have a
//! plan, and never cut (N22). One pure function of what was last measured.

use crate::store::meter::LoadRecord;
use crate::units::WattHours;
use serde::Serialize;
use std::cmp::Reverse;
use utoipa::ToSchema;

/// The class of a customer nobody has given one: the least important.
pub const CLASS_ORDINARY: u8 = 9;
/// Customers up to this class are never cut by a list (N22).
pub const CLASS_IMPORTANT_MAX: u8 = 3;

/// How a customer stands with what it owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Demands for an overdue debt are on record.
    InDebt,
    /// Nothing is left.
    UsedUp,
    /// There is credit.
    InCredit,
}

impl Standing {
    /// From what is on record and what is left.
    #[must_use]
    pub fn of(in_debt: bool, credit: Option<WattHours>) -> Self {
        match credit {
            _ if in_debt => Self::InDebt,
            Some(credit) if credit.0 <= 0 => Self::UsedUp,
            _ => Self::InCredit,
        }
    }
}

/// A customer that may go down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its meter.
    pub serial: String,
    /// Its load, as entered.
    pub load: LoadRecord,
    /// How it stands.
    pub standing: Standing,
    /// What is left of its credit.
    pub credit: Option<WattHours>,
    /// What it drew when it was last measured; `None` when that is too long ago.
    pub power_w: Option<i64>,
    /// On record as protected.
    pub protected: bool,
    /// Why its meter cannot be limited, if so.
    pub no_limiter: Option<String>,
    /// Why its meter cannot be cut, if so.
    pub no_switch: Option<String>,
}

/// What is done to one customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Its load is limited to its own plan.
    LimitTo {
        /// Watts.
        watts: u32,
    },
    /// It is disconnected, for peak avoidance.
    Disconnect,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cut {
    /// Whose.
    pub serial: String,
    /// What.
    pub measure: Measure,
    /// Its load class.
    pub load_class: u8,
    /// How it stands.
    pub standing: Standing,
    /// What that saves, by what was last measured.
    pub saves_w: i64,
}

/// A customer that is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Left {
    /// Whose.
    pub serial: String,
    /// Why.
    pub why: String,
}

/// A curtailment list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct List {
    /// In the order in which they go down.
    pub cuts: Vec<Cut>,
    /// Who does not, and why.
    pub left: Vec<Left>,
    /// What all of it saves.
    pub saves_w: i64,
}

fn class(candidate: &Candidate) -> u8 {
    candidate.load.class.unwrap_or(CLASS_ORDINARY)
}

/// The list that saves `target_w`, or as much as there is.
#[must_use]
pub fn list(candidates: Vec<Candidate>, target_w: i64) -> List {
    let mut list = List::default();
    let mut measured = Vec::new();
    for candidate in candidates {
        match candidate.power_w {
            None => list.leave(&candidate, "it was not measured lately"),
            Some(power) if power <= 0 => list.leave(&candidate, "it draws nothing"),
            Some(power) => measured.push((candidate, power)),
        }
    }
    // Large users by their own plan, the largest saving first.
    let mut planned = Vec::new();
    let mut others = Vec::new();
    for (candidate, power) in measured {
        match candidate.load.plan_w.map(|plan| (plan, power - i64::from(plan))) {
            Some((plan, saving)) if saving > 0 && candidate.no_limiter.is_none() => {
                planned.push((candidate, plan, saving));
            }
            _ => others.push((candidate, power)),
        }
    }
    planned.sort_by_key(|(candidate, _, saving)| (Reverse(*saving), candidate.serial.clone()));
    for (candidate, watts, saving) in planned {
        if list.saves_w >= target_w {
            list.leave(&candidate, "the target is reached without it");
            continue;
        }
        list.cut(&candidate, Measure::LimitTo { watts }, saving);
    }
    others.sort_by_key(|(candidate, _)| {
        (
            Reverse(class(candidate)),
            candidate.standing,
            candidate.credit.map(|credit| credit.0),
            candidate.serial.clone(),
        )
    });
    for (candidate, power) in others {
        if let Some(why) = never_cut(&candidate) {
            list.leave(&candidate, &why);
        } else if list.saves_w >= target_w {
            list.leave(&candidate, "the target is reached without it");
        } else {
            list.cut(&candidate, Measure::Disconnect, power);
        }
    }
    list
}

/// Why a customer is not cut, whatever the target.
fn never_cut(candidate: &Candidate) -> Option<String> {
    let kept = if candidate.protected {
        Some("it is protected".to_owned())
    } else {
        (class(candidate) <= CLASS_IMPORTANT_MAX).then(|| format!("its load class is {}", class(candidate)))
    };
    let Some(kept) = kept else { return candidate.no_switch.clone() };
    let plan = match (&candidate.no_limiter, candidate.load.plan_w) {
        (Some(why), Some(_)) => format!("cannot be limited: {why}"),
        (_, None) => "has no plan of its own to be limited to".to_owned(),
        (None, Some(plan)) => format!("draws no more than its plan of {plan} W"),
    };
    Some(format!("{kept}, and it {plan}"))
}

impl List {
    fn leave(&mut self, candidate: &Candidate, why: &str) {
        self.left.push(Left { serial: candidate.serial.clone(), why: why.to_owned() });
    }

    fn cut(&mut self, candidate: &Candidate, measure: Measure, saves_w: i64) {
        self.saves_w = self.saves_w.saturating_add(saves_w);
        self.cuts.push(Cut {
            serial: candidate.serial.clone(),
            measure,
            load_class: class(candidate),
            standing: candidate.standing,
            saves_w,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(serial: &str, power: i64, credit: i64) -> Candidate {
        Candidate {
            serial: serial.into(),
            load: LoadRecord::default(),
            standing: Standing::of(false, Some(WattHours(credit))),
            credit: Some(WattHours(credit)),
            power_w: Some(power),
            protected: false,
            no_limiter: None,
            no_switch: None,
        }
    }

    fn works(serial: &str, power: i64, plan: u32) -> Candidate {
        let load = LoadRecord { class: Some(4), rated_w: Some(100_000), plan_w: Some(plan) };
        Candidate { load, ..home(serial, power, 500_000) }
    }

    fn order(list: &List) -> Vec<&str> {
        list.cuts.iter().map(|cut| cut.serial.as_str()).collect()
    }

    fn why<'a>(list: &'a List, serial: &str) -> &'a str {
        &list.left.iter().find(|left| left.serial == serial).unwrap().why
    }

    #[test]
    fn large_users_go_to_their_own_plan_before_anybody_is_cut() {
        let all =
            vec![home("home", 2_000, 100), works("mill", 60_000, 40_000), works("foundry", 90_000, 20_000)];
        let list = list(all.clone(), 80_000);
        assert_eq!(order(&list), ["foundry", "mill"], "the largest saving first");
        assert_eq!(list.cuts[0].measure, Measure::LimitTo { watts: 20_000 });
        assert_eq!((list.cuts[0].saves_w, list.saves_w), (70_000, 90_000));
        assert_eq!(why(&list, "home"), "the target is reached without it");
        let more = super::list(all, 91_000);
        assert_eq!(order(&more), ["foundry", "mill", "home"]);
        assert_eq!(more.cuts[2].measure, Measure::Disconnect);
    }

    #[test]
    fn then_the_least_important_class_and_within_it_who_stands_worst() {
        let class = |class, candidate: Candidate| Candidate {
            load: LoadRecord { class: Some(class), ..candidate.load },
            ..candidate
        };
        let all = vec![
            home("rich", 1_000, 90_000),
            class(6, home("shop", 1_000, 10)),
            Candidate {
                standing: Standing::of(true, Some(WattHours(50_000))),
                ..home("debtor", 1_000, 50_000)
            },
            home("poor", 1_000, 300),
            home("empty", 1_000, -5),
        ];
        let list = list(all, 1_000_000);
        assert_eq!(order(&list), ["debtor", "empty", "poor", "rich", "shop"]);
        assert_eq!(list.saves_w, 5_000, "as much as there is");
    }

    #[test]
    fn important_and_protected_customers_are_limited_and_never_cut() {
        let class = |class, candidate: Candidate| Candidate {
            load: LoadRecord { class: Some(class), ..candidate.load },
            ..candidate
        };
        let no_limiter = Some("a meter has no limiter".to_owned());
        let all = vec![
            class(1, home("hospital", 9_000, 100)),
            Candidate { protected: true, ..home("ventilator", 500, 100) },
            class(2, works("waterworks", 50_000, 30_000)),
            class(3, Candidate { no_limiter, ..works("station", 50_000, 30_000) }),
            Candidate { power_w: None, ..home("unread", 0, 0) },
            home("away", 0, 0),
            Candidate { no_switch: Some("a meter has no relay".into()), ..home("check", 700, 0) },
        ];
        let list = list(all, 1_000_000);
        assert_eq!(order(&list), ["waterworks"]);
        assert_eq!(
            why(&list, "hospital"),
            "its load class is 1, and it has no plan of its own to be limited to"
        );
        assert_eq!(
            why(&list, "ventilator"),
            "it is protected, and it has no plan of its own to be limited to"
        );
        assert_eq!(
            why(&list, "station"),
            "its load class is 3, and it cannot be limited: a meter has no limiter"
        );
        assert_eq!(why(&list, "unread"), "it was not measured lately");
        assert_eq!(why(&list, "away"), "it draws nothing");
        assert_eq!(why(&list, "check"), "a meter has no relay");
    }
}
