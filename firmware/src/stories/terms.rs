//! Emergency credit, friendly hours, daily charges and debts.

use super::{board, events, pass, personalisation, token};
use crate::terms::{Emergency, FriendlyHours, PerDay, Terms};
use crate::test_board::TestBoard;
use crate::{Meter, NotOffered};
use protocol::cosem::disconnect::RelayReason;
use protocol::cosem::events::Event;
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::time::Instant;

fn meter_with(terms: Terms) -> Meter<TestBoard> {
    let mut who = personalisation();
    who.options.terms = terms;
    Meter::new(board(), who, Instant::ZERO).unwrap()
}

fn push(meter: &mut Meter<TestBoard>, units: u16, minute: u32) {
    assert_eq!(meter.receive_token(token(units, minute).as_bytes(), DeliveryMethod::Remote).code(), 1);
}

#[test]
fn emergency_credit_is_offered_taken_used_and_paid_back_first() {
    let emergency = Emergency { preset: 500, offered_at: 100, taken: false };
    let mut meter = meter_with(Terms { emergency, ..Terms::default() });
    assert_eq!(meter.take_emergency_credit(), Err(NotOffered), "there is enough");
    pass(&mut meter, 3_600);
    assert_eq!(meter.status().reason, RelayReason::NoCredit);
    meter.take_emergency_credit().unwrap();
    assert!(meter.board().closed, "supply is back");
    assert_eq!(meter.take_emergency_credit(), Err(NotOffered), "once");
    pass(&mut meter, 1_799);
    assert!(meter.board().closed);
    pass(&mut meter, 1);
    assert!(!meter.board().closed, "half a kilowatt-hour later that is gone too");
    assert_eq!(meter.status().credit_wh, -500);
    push(&mut meter, 4, 1);
    assert_eq!(meter.status().credit_wh, -100);
    assert!(meter.board().closed, "what is paid back may be used again");
    push(&mut meter, 4, 2);
    assert_eq!(meter.status().credit_wh, 300, "the rest is credit, and the next emergency may come");
    pass(&mut meter, 3_600);
    assert!(!meter.board().closed, "not without asking again");
    assert!(events(&mut meter).contains(&Event::EmergencyCreditTaken));
}

#[test]
fn nobody_is_cut_off_in_friendly_hours_and_the_relay_opens_when_they_end() {
    // The board starts at midnight UTC, one o'clock local, of a Thursday: 2026-01-01.
    let friendly = FriendlyHours { from_minute: 60, to_minute: 180, days: 1 << 3, limit: 5_000 };
    let mut meter = meter_with(Terms { friendly, ..Terms::default() });
    pass(&mut meter, 2 * 3_600 - 10);
    assert!(meter.board().closed);
    assert_eq!(meter.status().credit_wh, 1_000 - 1_997);
    pass(&mut meter, 20);
    assert!(!meter.board().closed, "three o'clock");
    assert_eq!(meter.status().reason, RelayReason::NoCredit);
}

#[test]
fn the_daily_charge_is_taken_at_local_midnight_and_for_the_days_without_power() {
    let daily = PerDay { active: 200, ..PerDay::default() };
    let mut meter = meter_with(Terms { daily, ..Terms::default() });
    meter.board().load_mw = 0;
    pass(&mut meter, 1);
    meter.board().pass(23 * 3_600 * 1_000 - 3_000);
    pass(&mut meter, 1);
    assert_eq!(meter.status().credit_wh, 1_000);
    pass(&mut meter, 2);
    assert_eq!(meter.status().credit_wh, 800, "midnight in the meter's zone");
    let mut dark = meter.into_board();
    dark.pass(2 * 86_400 * 1_000);
    let now = Instant::from_millis(dark.now_ms);
    let mut meter = Meter::new(dark, personalisation(), now).unwrap();
    pass(&mut meter, 1);
    assert_eq!(meter.status().credit_wh, 400);
    assert!(meter.ledger().balances());
    pass(&mut meter, 10);
    assert_eq!(meter.status().credit_wh, 400);
}

#[test]
fn a_debt_takes_its_share_of_each_payment() {
    let mut meter = meter_with(Terms { debt: 1_500, debt_share: 5_000, ..Terms::default() });
    meter.board().load_mw = 0;
    push(&mut meter, 20, 1);
    assert_eq!((meter.status().credit_wh, meter.record.terms.debt), (2_000, 500));
    push(&mut meter, 20, 2);
    assert_eq!((meter.status().credit_wh, meter.record.terms.debt), (3_500, 0));
    assert!(meter.ledger().balances());
}

#[test]
fn a_snapshot_is_taken_each_midnight_and_each_month() {
    let mut meter = meter_with(Terms::default());
    meter.board().load_mw = 0;
    // Forty days from the first of January, a tick every hour.
    for _ in 0..40 * 24 {
        meter.board().pass(3_600_000 - 1_000);
        pass(&mut meter, 1);
    }
    let daily = meter.daily.rows(meter.record.daily);
    let monthly = meter.monthly.rows(meter.record.monthly);
    assert_eq!((daily.len(), monthly.len()), (40, 1));
    let first = monthly.start;
    let row = meter.monthly.get(&mut meter.board.storage, first).unwrap();
    // 2026-01-31T23:00:00Z is the first of February in the meter's zone.
    assert_eq!(row.utc_s, 1_769_900_400);
}

#[test]
fn memory_that_lost_its_credit_is_replaced_by_what_the_journal_says() {
    let mut meter = meter_with(Terms::default());
    pass(&mut meter, 360);
    meter.record.ledger = crate::ledger::Ledger::new(999_999);
    pass(&mut meter, 1);
    assert_eq!(meter.status().credit_wh, 900);
    assert!(events(&mut meter).contains(&Event::LedgerMismatch));
}

#[test]
fn the_configuration_digest_changes_with_the_configuration_and_not_with_use() {
    let mut meter = meter_with(Terms::default());
    let digest = |meter: &Meter<TestBoard>| {
        meter.record.configuration_digest(&meter.who, &meter.settings, &meter.second, &meter.tariffs)
    };
    let before = digest(&meter);
    pass(&mut meter, 500);
    push(&mut meter, 4, 1);
    assert_eq!(digest(&meter), before);
    let mut next = meter.record.clone();
    next.limits.normal_w = 5_000;
    meter.configure(next).unwrap();
    assert_ne!(digest(&meter), before);
}
