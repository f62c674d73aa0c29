//! What a meter's own answers say against it: three pure judgements, and the alarms and audits that follow from them. Part of the
//! write that stores the answers.
//!
//! | alarm | opened by | closed by |
//! |---|---|---|
//! | `not_prepaid` (N04) | a payment mode other than prepayment, read back | prepayment, read back |
//! | `does_not_act` (N05) | contact and logic that differ; power or energy with the contact open; supply with nothing available; a disconnection refused with the contact closed | the contact sensed open, with no power and no energy; a relay test that operated it |
//! | `balance_difference` | a credit that changed by other than accepted tokens and charges | a person |
//!
//! What a meter says of itself unasked (`no_supply`, `tamper`, `meter_fault`, and a relay that it knows does not follow) comes by
//! [`crate::listen`]; a meter that is read has supply.

use crate::session::work::{Facts, Serial};
use crate::store::alarm::{self, AlarmKind};
use crate::store::balance_audit::{self, Accepted, BalanceAudit, Point};
use crate::store::meter::{BalanceHolder, Meter, MeterState};
use crate::store::{Connection, StoreError};
use crate::units::WattHours;
use jiff::Timestamp;

/// Energy that may advance between two readings of an open relay before it counts: what flows while the first reading is on its
/// way and the contact is still moving. Our own choice.
const OPEN_WH_MAX: i64 = 20;
/// What a balance may differ by unexplained: what is used while its values are read one after the other, where a meter does not
/// give them of one moment. Our own choice.
const DIFFERENCE_WH_MAX: i64 = 100;

/// What a report says about whether a relay acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acts {
    /// Nothing.
    Silent,
    /// It was seen open, and nothing flows.
    Yes(String),
    /// It does not, and how that shows.
    No(String),
}

/// Whether the relay acts, by what was just read and what was known before. `refused` is a disconnection that the meter did not
/// carry out.
#[must_use]
pub fn acts(before: &MeterState, facts: &Facts, refused: Option<&str>) -> Acts {
    let Some(relay) = facts.relay else { return Acts::Silent };
    if relay.output_closed {
        if let Some(reason) = refused {
            return Acts::No(format!("told to disconnect, its contact is sensed closed: {reason}"));
        }
        if relay.control_state == Some(0) {
            return Acts::No("its logic says disconnected, its contact is sensed closed".into());
        }
        return match facts.available_wh {
            Some(available) if available <= 0 && facts.prepaid != Some(false) => {
                Acts::No(format!("{available} Wh are available, and its contact is sensed closed"))
            }
            _ => Acts::Silent,
        };
    }
    if let Some(power) = facts.power_w.filter(|power| *power != 0) {
        return Acts::No(format!("its contact is sensed open, and {power} W flow"));
    }
    let was_open = before.relay.is_some_and(|relay| !relay.output_closed);
    let advanced = match (before.import_wh, facts.import_wh) {
        (Some(before), Some(now)) if was_open => now - before.0,
        _ => 0,
    };
    if advanced > OPEN_WH_MAX {
        return Acts::No(format!("its contact is sensed open, and its register advanced by {advanced} Wh"));
    }
    if relay.control_state == Some(1) {
        return Acts::No("its logic says connected, its contact is sensed open".into());
    }
    Acts::Yes("its contact is sensed open, and nothing flows".into())
}

/// The audit of a balance: what it should have changed by since the audit before.
#[must_use]
pub fn reconcile(before: Option<&Point>, now: Point, accepted: &Accepted) -> BalanceAudit {
    let open = |verdict: &str| BalanceAudit {
        point: now,
        accepted_wh: None,
        taken_wh: None,
        difference_wh: None,
        verdict: verdict.to_owned(),
    };
    let Some(before) = before else { return open("the first audit: there is nothing to compare with") };
    if accepted.cleared {
        return open("the credit was set to zero by a token: compared from here on");
    }
    let used = now.import_wh.zip(before.import_wh).map(|(now, before)| now.0 - before.0);
    let charged = now.charged_wh.zip(before.charged_wh).map(|(now, before)| now.0 - before.0);
    let Some(taken) = charged.or(used) else { return open("the meter says nothing about what it takes") };
    if taken < 0 || used.is_some_and(|used| used < 0) {
        return open("a register went back: compared from here on");
    }
    let changed = now.credit_wh.0 - before.credit_wh.0;
    let difference = changed.saturating_sub(accepted.wh).saturating_add(taken);
    let consumption = match (charged, used) {
        (Some(charged), Some(used)) if charged != used => {
            format!("{used} Wh used, {} Wh of other charges", charged - used)
        }
        _ => format!("{taken} Wh taken"),
    };
    let sums = format!("credit changed by {changed} Wh: {} Wh accepted, {consumption}", accepted.wh);
    let verdict = match difference {
        0 => format!("explained: {sums}"),
        _ if difference.abs() <= DIFFERENCE_WH_MAX => {
            format!("explained: {sums}; {difference} Wh while it was read")
        }
        _ => format!("not explained: {sums}; {difference} Wh are left over"),
    };
    BalanceAudit {
        point: now,
        accepted_wh: Some(WattHours(accepted.wh)),
        taken_wh: Some(WattHours(taken)),
        difference_wh: Some(WattHours(difference)),
        verdict,
    }
}

/// Judges what was just read from a commissioned meter; `before` is what was known, `refused` a disconnection that it did not
/// carry out. The reading began and ended at these times.
///
/// # Errors
/// Store failures.
pub async fn look(
    conn: &mut Connection,
    meter: &Meter,
    before: &MeterState,
    facts: &Facts,
    refused: Option<&str>,
    times: (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    if before.commissioned_at.is_none() {
        return Ok(());
    }
    let (serial, at) = (&meter.serial, times.1);
    if facts.import_wh.is_some() {
        alarm::clear(conn, serial, AlarmKind::NoSupply, "the meter was read", times).await?;
    }
    if meter.balance == BalanceHolder::Meter {
        match facts.prepaid {
            Some(true) => {
                let kind = AlarmKind::NotPrepaid;
                alarm::clear(conn, serial, kind, "prepayment mode was read back", times).await?;
            }
            Some(false) => {
                let detail = "its payment mode was read as credit: what is used is not paid for";
                alarm::raise(conn, serial, AlarmKind::NotPrepaid, detail, at).await?;
            }
            None => {}
        }
    }
    match acts(before, facts, refused) {
        Acts::Silent => {}
        Acts::Yes(evidence) => alarm::clear(conn, serial, AlarmKind::DoesNotAct, &evidence, times).await?,
        Acts::No(detail) => alarm::raise(conn, serial, AlarmKind::DoesNotAct, &detail, at).await?,
    }
    // The balance is audited with the mode: once a day.
    match (meter.balance, facts.prepaid, facts.credit_wh) {
        (BalanceHolder::Meter, Some(_), Some(credit)) => {
            let point = Point {
                at,
                credit_wh: WattHours(credit),
                charged_wh: facts.charged_wh.map(WattHours),
                import_wh: facts.import_wh.map(WattHours),
            };
            audit_balance(conn, serial, point).await
        }
        _ => Ok(()),
    }
}

async fn audit_balance(conn: &mut Connection, serial: &Serial, now: Point) -> Result<(), StoreError> {
    let before = balance_audit::last(conn, serial).await?.map(|audit| audit.point);
    let accepted = match &before {
        Some(before) => balance_audit::accepted(conn, serial, before.at, now.at).await?,
        None => Accepted::default(),
    };
    // Nobody knows whether the meter has it: compared at the next audit, with this time in it.
    if accepted.under_way {
        return Ok(());
    }
    let audit = reconcile(before.as_ref(), now, &accepted);
    balance_audit::insert(conn, serial, &audit).await?;
    match audit.difference_wh {
        Some(difference) if difference.0.abs() > DIFFERENCE_WH_MAX => {
            alarm::raise(conn, serial, AlarmKind::BalanceDifference, &audit.verdict, now.at).await
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::work::RelayState;
    use crate::store::tests::{NOON, at};

    fn relay(output_closed: bool, control: u8) -> Option<RelayState> {
        Some(RelayState { output_closed, control_state: Some(control) })
    }

    fn facts(output_closed: bool, control: u8) -> Facts {
        Facts { relay: relay(output_closed, control), power_w: Some(0), ..Facts::default() }
    }

    fn no(before: &MeterState, facts: &Facts, refused: Option<&str>) -> String {
        match acts(before, facts, refused) {
            Acts::No(detail) => detail,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_relay_acts_when_it_was_seen_open_with_nothing_flowing_and_not_before() {
        let before = MeterState::default();
        assert_eq!(acts(&before, &Facts::default(), Some("refused")), Acts::Silent, "nothing was sensed");
        assert_eq!(acts(&before, &facts(true, 1), None), Acts::Silent, "closed and told to be");
        assert!(matches!(acts(&before, &facts(false, 0), None), Acts::Yes(_)));
        assert!(matches!(acts(&before, &facts(false, 2), None), Acts::Yes(_)), "armed");
        assert!(no(&before, &facts(true, 0), None).contains("logic says disconnected"));
        assert!(no(&before, &facts(false, 1), None).contains("logic says connected"));
        assert!(no(&before, &facts(true, 1), Some("5 s later closed")).contains("told to disconnect"));
        let flows = Facts { power_w: Some(740), ..facts(false, 0) };
        assert!(no(&before, &flows, None).contains("740 W flow"));
    }

    #[test]
    fn energy_that_advances_behind_an_open_contact_does_not_act_whatever_power_is_shown() {
        let open =
            MeterState { relay: relay(false, 0), import_wh: Some(WattHours(5_000)), ..MeterState::default() };
        let after = |import| Facts { import_wh: Some(import), ..facts(false, 0) };
        assert!(matches!(acts(&open, &after(5_000 + OPEN_WH_MAX), None), Acts::Yes(_)));
        assert!(no(&open, &after(5_500), None).contains("advanced by 500 Wh"));
        let closed = MeterState { relay: relay(true, 1), ..open };
        assert!(matches!(acts(&closed, &after(5_500), None), Acts::Yes(_)), "it was closed until now");
    }

    #[test]
    fn supply_with_nothing_available_does_not_act_but_emergency_credit_is_available() {
        let before = MeterState::default();
        let with = |available, prepaid| Facts {
            available_wh: Some(available),
            prepaid: Some(prepaid),
            credit_wh: Some(-300),
            ..facts(true, 1)
        };
        assert!(no(&before, &with(0, true), None).contains("0 Wh are available"));
        assert_eq!(acts(&before, &with(1_700, true), None), Acts::Silent);
        assert_eq!(acts(&before, &with(-50, false), None), Acts::Silent, "that is the mode's alarm");
    }

    fn point(credit: i64, charged: Option<i64>, import: i64) -> Point {
        Point {
            at: at(NOON),
            credit_wh: WattHours(credit),
            charged_wh: charged.map(WattHours),
            import_wh: Some(WattHours(import)),
        }
    }

    #[test]
    fn a_balance_is_explained_to_the_last_watt_hour_or_flagged_with_what_is_left_over() {
        let accepted = |wh| Accepted { wh, ..Accepted::default() };
        let first = point(10_000, Some(2_000), 50_000);
        let audit = reconcile(None, first, &accepted(0));
        assert_eq!(audit.difference_wh, None);
        // 5 kWh bought, 3 kWh used, 200 Wh of a daily charge.
        let good = reconcile(Some(&first), point(11_800, Some(5_200), 53_000), &accepted(5_000));
        assert_eq!(good.difference_wh, Some(WattHours(0)));
        assert_eq!(
            good.verdict,
            "explained: credit changed by 1800 Wh: 5000 Wh accepted, 3000 Wh used, 200 Wh of other charges"
        );
        let more = reconcile(Some(&first), point(21_800, Some(5_200), 53_000), &accepted(5_000));
        assert_eq!(more.difference_wh, Some(WattHours(10_000)));
        assert!(more.verdict.starts_with("not explained"), "{}", more.verdict);
        // A meter that says nothing about its charges is compared by its register.
        let bare = point(10_000, None, 50_000);
        let less = reconcile(Some(&bare), point(6_800, None, 53_000), &accepted(0));
        assert_eq!(less.difference_wh, Some(WattHours(-200)));
        let near = reconcile(Some(&bare), point(7_040, None, 53_000), &accepted(0));
        assert!(near.verdict.contains("40 Wh while it was read"), "{}", near.verdict);
    }

    #[test]
    fn what_cannot_be_compared_is_said_and_not_flagged() {
        let first = point(10_000, Some(2_000), 50_000);
        let none = Accepted::default();
        let back = reconcile(Some(&first), point(9_000, Some(1_000), 50_000), &none);
        assert_eq!((back.difference_wh, back.verdict.contains("went back")), (None, true));
        let cleared = Accepted { cleared: true, ..Accepted::default() };
        assert_eq!(reconcile(Some(&first), point(0, Some(2_500), 50_500), &cleared).difference_wh, None);
    }
}
