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
    if register < before {
        return doubt(
            DoubtKind::WentBack,
            json!({"register_wh": register, "went_back_wh": before - register}),
        );
    }
    let used = register - before;
    let most = most_used(known, at.duration_since(read_at), thresholds);
    if used > most {
        let detail = json!({"register_wh": register, "advanced_wh": used, "most_wh": most});
        return doubt(DoubtKind::Jumped, detail);
    }
    still(known, facts, used, at, thresholds)
}

/// The most energy that can have been used in this time.
fn most_used(known: &Known, passed: SignedDuration, thresholds: &Thresholds) -> WattHours {
    let power = if known.is_feeder { thresholds.feeder_power_max_w } else { thresholds.customer_power_max_w };
    let seconds = passed.saturating_add(SLACK).as_secs().max(0);
    WattHours(power.saturating_mul(seconds) / 3_600)
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
