//! Faults that are to come: at which moment, at which meters, and when they end.

use crate::fault_entry::{FaultEntry, FaultName, Meant};
use crate::random::hash;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// One thing that is to happen at one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A fault begins.
    Begin(Meant),
    /// The fault of this name ends.
    End(FaultName),
}

/// What is to happen, by time. Whatever was planned for a moment happens in the order in which it was planned.
#[derive(Debug, Default)]
pub struct Plan {
    due: Mutex<Due>,
}

#[derive(Debug, Default)]
struct Due {
    /// By milliseconds after the origin, and the number of the planning.
    steps: BTreeMap<(u64, u64), (u32, Step)>,
    planned: u64,
}

impl Plan {
    /// Plans a fault for these meters, `from_ms` after the origin, and its end where it has one.
    pub fn add(&self, from_ms: u64, meters: &[u32], entry: &FaultEntry, meant: &Meant) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let begin_ms = from_ms.saturating_add(entry.at.map_or(0, |at| at.ms));
        for meter in meters {
            due.push(begin_ms, *meter, Step::Begin(meant.clone()));
            if let Some(lasts) = entry.lasts_for {
                due.push(begin_ms.saturating_add(lasts.ms), *meter, Step::End(entry.fault));
            }
        }
    }

    /// Takes what is due `now_ms` after the origin, in order.
    pub fn take_due(&self, now_ms: u64) -> Vec<(u32, Step)> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.steps.first_key_value().is_none_or(|((at_ms, _), _)| *at_ms > now_ms) {
            return Vec::new();
        }
        let later = due.steps.split_off(&(now_ms.saturating_add(1), 0));
        std::mem::replace(&mut due.steps, later).into_values().collect()
    }

    /// How many steps are still to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).steps.len()
    }

    /// Whether nothing is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Due {
    fn push(&mut self, at_ms: u64, meter: u32, step: Step) {
        self.planned += 1;
        self.steps.insert((at_ms, self.planned), (meter, step));
    }
}

/// The meters that an entry is about, of a street with meters 1 to `meters`. A share is drawn by the street's seed and the
/// entry's number.
///
/// # Errors
/// It names a meter that the street does not have.
pub fn meters_of(entry: &FaultEntry, meters: u32, seed: u64, number: u64) -> Result<Vec<u32>, String> {
    if let Some(named) = &entry.meters {
        return match named.iter().find(|index| !(1..=meters).contains(*index)) {
            Some(none) => Err(format!("there is no meter {none}: the street has meters 1 to {meters}")),
            None => Ok(named.clone()),
        };
    }
    let mut all: Vec<u32> = (1..=meters).collect();
    if let Some(share) = entry.share {
        let draw = hash(seed, 0x5348_4152 ^ number << 32);
        all.sort_by_key(|index| hash(draw, u64::from(*index)));
        all.truncate(share.count(all.len()));
        all.sort_unstable();
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Share, Span};

    fn silence() -> FaultEntry {
        FaultEntry::new(FaultName::Silence)
    }

    #[test]
    fn what_is_planned_happens_in_order_and_once() {
        let plan = Plan::default();
        let ms = |ms| Some(Span { ms });
        let entry = FaultEntry { at: ms(5_000), lasts_for: ms(2_000), ..silence() };
        let meant = entry.meaning().unwrap();
        plan.add(1_000, &[3, 4], &entry, &meant);
        assert_eq!((plan.len(), plan.take_due(5_999)), (4, vec![]));
        assert_eq!(plan.take_due(6_000), [(3, Step::Begin(meant.clone())), (4, Step::Begin(meant))]);
        assert_eq!(plan.take_due(60_000), [3, 4].map(|meter| (meter, Step::End(FaultName::Silence))));
        assert!(plan.is_empty());
    }

    #[test]
    fn a_share_is_the_same_meters_for_the_same_seed_and_others_for_another() {
        let share = FaultEntry { share: Some(Share { permille: 20 }), ..silence() };
        let chosen = |seed, number| meters_of(&share, 1000, seed, number).unwrap();
        assert_eq!(chosen(1, 0).len(), 20);
        assert_eq!(chosen(1, 0), chosen(1, 0));
        assert_ne!(chosen(1, 0), chosen(2, 0));
        assert_ne!(chosen(1, 0), chosen(1, 1));
        assert_eq!(meters_of(&silence(), 3, 1, 0).unwrap(), [1, 2, 3]);
        let named = FaultEntry { meters: Some(vec![2, 9]), ..silence() };
        assert_eq!(
            meters_of(&named, 3, 1, 0),
            Err("there is no meter 9: the street has meters 1 to 3".into())
        );
    }
}
