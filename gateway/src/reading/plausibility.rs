//! Whether a reading can be true (N31). Pure: what is known, what was read, and the operator's thresholds.
//!
//! A doubtful reading is held: stored with its doubt, charged to nobody, passed on to nobody, until a later one fits or a person
//! decides.

use crate::session::work::Facts;
use crate::store::words;
use crate::units::WattHours;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

words! {
    /// What is wrong with a reading.
    DoubtKind {
        /// Another meter answered: exchanged, or wired to the wrong place.
        OtherMeter = "other_meter",
        /// The ratio of the current or voltage transformers is not what it was. Only a person can settle that.
        OtherRatio = "other_ratio",
        /// The energy register is lower than it was.
        WentBack = "went_back",
        /// The register advanced by more than can have been used.
        Jumped = "jumped",
        /// Power flows and the register stands still.
        Stuck = "stuck",
        /// Nothing was used for a long time though supply is on.
        NoUse = "no_use",
    }
}

/// A doubt and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What is wrong.
    pub kind: DoubtKind,
    /// The numbers behind it.
    pub detail: Value,
}

/// What the operator holds for possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// The most power a customer can draw, in watts.
    pub customer_power_max_w: i64,
    /// The most power a feeder can carry, in watts.
    pub feeder_power_max_w: i64,
    /// With at least this power flowing the register has to move.
    pub stuck_power_w: i64,
    /// How long it may stand still then.
    pub stuck_after: SignedDuration,
    /// How long nothing may be used while supply is on; zero where that is not looked at.
    pub no_use_after: SignedDuration,
}

impl Default for Thresholds {
    /// Our own choice: 125 A in three phases are 86 kW; a 1,600 kVA transformer; a meter counts its first watt-hour at 100 W
    /// within a minute; a month of holidays.
    fn default() -> Self {
        Self {
            customer_power_max_w: 100_000,
            feeder_power_max_w: 2_000_000,
            stuck_power_w: 100,
            stuck_after: SignedDuration::from_hours(6),
            no_use_after: SignedDuration::from_hours(30 * 24),
        }
    }
}

/// What is known of a meter before a reading: the last one that was not doubtful.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub serial: String,
    /// A whole area is behind it.
    pub is_feeder: bool,
    /// The energy register.
    pub import: Option<WattHours>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
    /// When the register was last seen to have moved.
    pub moved_at: Option<Timestamp>,
    /// Transformer ratios, as the meter gave them.
    pub ratios: Option<Vec<i64>>,
    /// A change of the ratio waits for a person.
    pub ratio_in_doubt: bool,
}

/// Two reads may be closer together than two updates of the meter's register.
const SLACK: SignedDuration = SignedDuration::from_mins(1);

/// What is doubtful about a reading; the worst of it.
#[must_use]
pub fn judge(known: &Known, facts: &Facts, at: Timestamp, thresholds: &Thresholds) -> Option<Doubt> {
    let doubt = |kind, detail| Some(Doubt { kind, detail });
    if let Some(found) = facts.serial.as_ref().filter(|found| **found != known.serial) {
        return doubt(DoubtKind::OtherMeter, json!({"found": found}));
    }
    if let (Some(before), Some(now)) = (&known.ratios, &facts.ratios)
        && before != now
    {
        return doubt(DoubtKind::OtherRatio, json!({"before": before, "now": now}));
    }
    let register = facts.import_wh.map(WattHours)?;
    if known.ratio_in_doubt {
        return doubt(DoubtKind::OtherRatio, json!({"register_wh": register}));
    }
    let (before, read_at) = known.import.zip(known.read_at)?;
    let passed = at.duration_since(read_at);
    if let Some(doubt) = advanced(before, register, passed, known.is_feeder, thresholds) {
        return Some(doubt);
    }
    let used = register - before;
    still(known, facts, used, at, thresholds)
}

/// What is doubtful about how far a register went in this time.
fn advanced(
    before: WattHours,
    register: WattHours,
    passed: SignedDuration,
    is_feeder: bool,
    thresholds: &Thresholds,
) -> Option<Doubt> {
    if register < before {
        let detail = json!({"register_wh": register, "went_back_wh": before - register});
        return Some(Doubt { kind: DoubtKind::WentBack, detail });
    }
    let (used, most) = (register - before, most_used(is_feeder, passed, thresholds));
    (used > most).then(|| Doubt {
        kind: DoubtKind::Jumped,
        detail: json!({"register_wh": register, "advanced_wh": used, "most_wh": most}),
    })
}

/// The most energy that can have been used in this time.
fn most_used(is_feeder: bool, passed: SignedDuration, thresholds: &Thresholds) -> WattHours {
    let power = if is_feeder { thresholds.feeder_power_max_w } else { thresholds.customer_power_max_w };
    let seconds = passed.saturating_add(SLACK).as_secs().max(0);
    WattHours(power.saturating_mul(seconds) / 3_600)
}

/// A row of a profile, as far as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its time.
    pub at: Timestamp,
    /// The energy register at that time.
    pub register: WattHours,
    /// It is in the store, and nobody doubts it.
    pub known: bool,
}

/// What is doubtful about rows that are new, by their times. `steps` are in the order of time, those that are known among them: a
/// row may neither go back behind the last good one, nor run ahead of one after it.
#[must_use]
pub fn judge_rows(steps: &[Step], is_feeder: bool, thresholds: &Thresholds) -> Vec<(Timestamp, Doubt)> {
    let mut doubts = Vec::new();
    let mut last: Option<&Step> = None;
    let mut known_after = steps.iter().filter(|step| step.known).peekable();
    for step in steps {
        if step.known {
            known_after.next();
            last = Some(step);
            continue;
        }
        let ahead = || {
            let after = known_after.peek().filter(|after| after.register < step.register)?;
            let detail = json!({"register_wh": step.register, "later_wh": after.register});
            Some(Doubt { kind: DoubtKind::Jumped, detail })
        };
        let since = |last: &Step| {
            let passed = step.at.duration_since(last.at);
            advanced(last.register, step.register, passed, is_feeder, thresholds)
        };
        match last.and_then(since).or_else(ahead) {
            Some(mut doubt) => {
                doubt.detail["at"] = json!(step.at);
                doubts.push((step.at, doubt));
            }
            None => last = Some(step),
        }
    }
    doubts
}

/// A register that does not move.
fn still(
    known: &Known,
    facts: &Facts,
    used: WattHours,
    at: Timestamp,
    thresholds: &Thresholds,
) -> Option<Doubt> {
    let since = known.moved_at.filter(|_| used == WattHours(0))?;
    let stood = at.duration_since(since);
    let flows = facts.power_w.is_some_and(|power| power >= thresholds.stuck_power_w);
    if flows && stood >= thresholds.stuck_after {
        let detail = json!({"register_wh": facts.import_wh, "power_w": facts.power_w, "since": since});
        return Some(Doubt { kind: DoubtKind::Stuck, detail });
    }
    let supplied = facts.relay.is_none_or(|relay| relay.output_closed);
    let looked_at = thresholds.no_use_after > SignedDuration::ZERO;
    (looked_at && supplied && stood >= thresholds.no_use_after).then(|| Doubt {
        kind: DoubtKind::NoUse,
        detail: json!({"register_wh": facts.import_wh, "since": since}),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::work::RelayState;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_795_342_020 + 60 * minutes).expect("in range")
    }

    fn known() -> Known {
        Known {
            serial: "1".into(),
            import: Some(WattHours(50_000)),
            read_at: Some(at(0)),
            moved_at: Some(at(0)),
            ratios: Some(vec![1, 1]),
            ..Known::default()
        }
    }

    fn reading(import: i64) -> Facts {
        Facts { serial: Some("1".into()), import_wh: Some(import), power_w: Some(500), ..Facts::default() }
    }

    fn kind(known: &Known, facts: &Facts, minutes: i64) -> Option<DoubtKind> {
        judge(known, facts, at(minutes), &Thresholds::default()).map(|doubt| doubt.kind)
    }

    #[test]
    fn a_reading_that_can_be_true_is_believed_and_so_is_the_first() {
        assert_eq!(kind(&known(), &reading(50_125), 15), None);
        assert_eq!(kind(&known(), &reading(50_000), 15), None, "a quarter of an hour without use is nothing");
        assert_eq!(kind(&Known { serial: "1".into(), ..Known::default() }, &reading(9_999_999), 0), None);
    }

    #[test]
    fn a_register_that_went_back_or_jumped_is_doubted() {
        assert_eq!(kind(&known(), &reading(49_999), 15), Some(DoubtKind::WentBack));
        // 100 kW for sixteen minutes are 26,666 Wh.
        assert_eq!(kind(&known(), &reading(76_666), 15), None);
        assert_eq!(kind(&known(), &reading(76_667), 15), Some(DoubtKind::Jumped));
        let feeder = Known { is_feeder: true, ..known() };
        assert_eq!(kind(&feeder, &reading(76_667), 15), None, "a feeder carries more");
        assert_eq!(kind(&known(), &reading(76_667), 24 * 60), None, "in a day it can be true");
    }

    #[test]
    fn a_register_that_stands_still_is_doubted_when_power_flows_and_after_a_month_without() {
        assert_eq!(kind(&known(), &reading(50_000), 6 * 60 - 1), None);
        assert_eq!(kind(&known(), &reading(50_000), 6 * 60), Some(DoubtKind::Stuck));
        let idle = Facts { power_w: Some(0), ..reading(50_000) };
        assert_eq!(kind(&known(), &idle, 29 * 24 * 60), None);
        assert_eq!(kind(&known(), &idle, 30 * 24 * 60), Some(DoubtKind::NoUse));
        let open = RelayState { output_closed: false, control_state: None };
        let off = Facts { relay: Some(open), ..idle };
        assert_eq!(kind(&known(), &off, 30 * 24 * 60), None, "without supply nothing is used");
    }

    /// Rows of every quarter of an hour from the first on, all new but those at these places; the minutes of those in doubt.
    fn doubted(registers: &[i64], known: &[usize]) -> Vec<(i64, DoubtKind)> {
        let step = |(place, register): (usize, &i64)| Step {
            at: at(15 * i64::try_from(place).expect("a few")),
            register: WattHours(*register),
            known: known.contains(&place),
        };
        let steps: Vec<Step> = registers.iter().enumerate().map(step).collect();
        let minutes = |time: Timestamp| time.duration_since(at(0)).as_mins();
        judge_rows(&steps, false, &Thresholds::default())
            .into_iter()
            .map(|(at, doubt)| (minutes(at), doubt.kind))
            .collect()
    }

    #[test]
    fn a_row_of_a_profile_is_compared_with_the_last_good_one_before_it() {
        assert_eq!(doubted(&[5_000_000, 5_000_250, 5_000_250, 5_001_000], &[]), [], "the first is believed");
        assert_eq!(doubted(&[1_000, 91_000, 1_200, 1_300], &[0]), [(15, DoubtKind::Jumped)], "one wrong row");
        assert_eq!(
            doubted(&[1_000, 400, 450, 1_100], &[0]),
            [(15, DoubtKind::WentBack), (30, DoubtKind::WentBack)],
            "until one fits"
        );
    }

    #[test]
    fn a_row_that_is_filled_in_later_does_not_run_ahead_of_those_after_it() {
        assert_eq!(doubted(&[1_000, 1_100, 1_200], &[0, 2]), []);
        assert_eq!(doubted(&[1_000, 1_300, 1_200], &[0, 2]), [(15, DoubtKind::Jumped)]);
        assert_eq!(
            doubted(&[1_300, 1_200], &[1]),
            [(0, DoubtKind::Jumped)],
            "before the first that is known"
        );
    }

    #[test]
    fn another_meter_and_another_ratio_are_worse_than_what_they_count() {
        let other = Facts { serial: Some("2".into()), ..reading(1) };
        assert_eq!(kind(&known(), &other, 15), Some(DoubtKind::OtherMeter));
        let ratio = Facts { ratios: Some(vec![100, 5]), ..Facts::default() };
        assert_eq!(kind(&known(), &ratio, 15), Some(DoubtKind::OtherRatio));
        let waiting = Known { ratio_in_doubt: true, ..known() };
        assert_eq!(
            kind(&waiting, &reading(50_010), 15),
            Some(DoubtKind::OtherRatio),
            "until a person has decided"
        );
    }
}
