//! Daylight saving, and clocks that are set: what becomes of tariffs, charges, profiles and snapshots.

use super::wire::{MANAGEMENT, READER, VENDING, act, get};
use super::{board, events, personalisation, start};
use crate::Meter;
use crate::profile::LoadProfile;
use crate::test_board::TestBoard;
use crate::zone::tests::{AUTUMN, SPRING, central_europe};
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::account::PaymentMode;
use protocol::cosem::clock::{INVALID, date_time};
use protocol::cosem::events::Event;
use protocol::cosem::profile::{LoadRow, RangeDescriptor, row_status};
use protocol::cosem::tariff::{Step, Tariff};
use protocol::cosem::{FromData, obis};
use protocol::dlms::model::{Attribute, Method, ObjectModel};
use protocol::time::Instant;
use std::vec::Vec;

const HOUR: u32 = 3_600;
const DAY: u32 = 86_400;

/// A meter in central Europe at `utc_s`, in credit mode, that charges 100 units a day and uses nothing.
fn meter_at(utc_s: u32) -> Meter<TestBoard> {
    let mut who = personalisation();
    who.account.payment_mode = PaymentMode::Credit;
    let mut board = board();
    (board.utc_s, board.load_mw) = (Some(utc_s), 0);
    let mut meter = Meter::new(board, who, Instant::ZERO).unwrap();
    meter.settings.zone = central_europe();
    let mut record = meter.record.clone();
    record.terms.daily.active = 100;
    meter.commit(record).unwrap();
    live(&mut meter, 60);
    meter
}

/// Lets time pass in steps of a minute.
fn live(meter: &mut Meter<TestBoard>, seconds: u32) {
    for _ in 0..seconds / 60 {
        meter.board().pass(60_000);
        let now = Instant::from_millis(meter.board().now_ms);
        meter.tick(now);
    }
}

fn set_to(meter: &mut Meter<TestBoard>, utc_s: u32) {
    let time = date_time(utc_s, 0, 0).to_bytes();
    meter.set(VENDING, clock(2), None, Data::OctetString(&time)).unwrap();
    live(meter, 60);
}

/// Moves the clock by so many seconds.
fn step(meter: &mut Meter<TestBoard>, seconds: i64) {
    let now = meter.board().utc_s.unwrap();
    set_to(meter, (i64::from(now) + seconds) as u32);
}

const fn clock(index: i8) -> Attribute {
    Attribute { class_id: 8, logical_name: obis::CLOCK, index }
}

const fn method(index: i8) -> Method {
    Method { class_id: 8, logical_name: obis::CLOCK, index }
}

fn shown(meter: &mut Meter<TestBoard>) -> DateTime {
    let bytes = get(meter, READER, clock(2), None).unwrap();
    DateTime::from_data(Data::from_bytes_in(&bytes).unwrap()).unwrap()
}

pub(super) fn rows_of(meter: &mut Meter<TestBoard>, which: LoadProfile) -> Vec<LoadRow> {
    let (ring, rows) = (meter.loads[which as usize], meter.progress(which).rows);
    ring.rows(rows).filter_map(|n| ring.get(&mut meter.board.storage, n)).collect()
}

fn rows(meter: &mut Meter<TestBoard>) -> Vec<LoadRow> {
    rows_of(meter, LoadProfile::First)
}

fn months(meter: &mut Meter<TestBoard>) -> Vec<LoadRow> {
    let rows = meter.monthly.rows(meter.record.monthly);
    rows.filter_map(|n| meter.monthly.get(&mut meter.board.storage, n)).collect()
}

fn days(meter: &mut Meter<TestBoard>) -> usize {
    meter.daily.rows(meter.record.daily).len()
}

#[test]
fn the_days_of_23_and_25_hours_are_charged_once_each_and_no_row_is_lost_or_doubled() {
    for change in [SPRING, AUTUMN] {
        let mut meter = meter_at(change - 12 * HOUR);
        assert_eq!(meter.ledger().charged(), 0);
        let before = shown(&mut meter).deviation;
        live(&mut meter, 36 * HOUR);
        assert_eq!(meter.ledger().charged(), 200, "two midnights");
        assert_eq!(days(&mut meter), 2);
        let rows = rows(&mut meter);
        assert!(rows.windows(2).all(|pair| pair[1].utc_s == pair[0].utc_s + 900), "each quarter once");
        assert!(rows.len() >= 143 && rows.iter().skip(1).all(|row| row.status == 0));
        assert_ne!(shown(&mut meter).deviation, before);
        let told = events(&mut meter).iter().filter(|e| **e == Event::DaylightChanged).count();
        assert_eq!(told, 1);
    }
}

#[test]
fn a_rate_that_begins_at_seven_begins_at_seven_on_both_sides_of_the_change() {
    use protocol::cosem::tariff::Switch;
    let switch = |from_minute, rate| Switch { from_minute, rate };
    let mut meter = meter_at(SPRING - 24 * HOUR);
    let mut tariff = Tariff::flat(0);
    tariff.steps.clear();
    tariff.rates.extend([300, 120]);
    let day = heapless::Vec::from_slice(&[switch(0, 1), switch(7 * 60, 0), switch(22 * 60, 1)]).unwrap();
    tariff.days.push(day).unwrap();
    meter.tariffs.active = tariff;
    let rate = Attribute { class_id: 1, logical_name: obis::TARIFF_RATE, index: 2 };
    // 07:00 is 06:00 UTC on Saturday and 05:00 UTC on Sunday.
    for (midnight, seven) in [(SPRING - 25 * HOUR, 6 * HOUR), (SPRING - HOUR, 5 * HOUR)] {
        for (at, number) in [(seven - 1, 2), (seven, 1)] {
            meter.board().utc_s = Some(midnight + at);
            assert_eq!(get(&mut meter, READER, rate, None).unwrap(), [17, number], "{midnight} + {at}");
        }
    }
}

#[test]
fn management_sets_zone_and_daylight_saving_and_they_survive() {
    let mut meter = start(board());
    meter.board().utc_s = Some(SPRING);
    let (begin, end) = central_europe().daylight.unwrap();
    let (begin, end) = (begin.to_date_time().to_bytes(), end.to_date_time().to_bytes());
    let values = [
        (3, Data::Long(-60)),
        (5, Data::OctetString(&begin)),
        (6, Data::OctetString(&end)),
        (7, Data::Integer(60)),
        (8, Data::Boolean(true)),
    ];
    for (index, value) in values {
        assert_eq!(meter.set(VENDING, clock(index), None, value), Err(DataAccessResult::ReadWriteDenied));
        assert_eq!(meter.set(MANAGEMENT, clock(index), None, value), Ok(()), "attribute {index}");
    }
    let mut meter = start(meter.into_board());
    assert_eq!(meter.settings.zone, central_europe());
    for (index, value) in values {
        let bytes = get(&mut meter, READER, clock(index), None).unwrap();
        assert_eq!(Data::from_bytes_in(&bytes).unwrap(), value, "attribute {index}");
    }
    let now = shown(&mut meter);
    assert_eq!((now.hour, now.deviation, now.status.0), (3, -120, 0x80));
    let open = DateTime::WILDCARD.to_bytes();
    for (index, value) in [
        (3, Data::Long(-900)),
        (5, Data::OctetString(&open)),
        (7, Data::Integer(121)),
        (3, Data::Long(i16::MIN)),
    ] {
        let refused = meter.set(MANAGEMENT, clock(index), None, value);
        assert_eq!(refused, Err(DataAccessResult::OtherReason), "attribute {index}");
    }
}

#[test]
fn a_clock_set_forward_leaves_a_flagged_row_and_one_set_back_a_little_doubles_none() {
    let mut meter = meter_at(SPRING + 10 * DAY);
    live(&mut meter, 2 * HOUR);
    step(&mut meter, 2 * i64::from(HOUR));
    live(&mut meter, HOUR);
    let after = rows(&mut meter);
    let gap = after.windows(2).position(|pair| pair[1].utc_s != pair[0].utc_s + 900).unwrap() + 1;
    assert_eq!(after[gap].status, row_status::CLOCK_SET, "set, not without power");
    assert!(after[gap + 1..].iter().all(|row| row.status == 0));
    assert!(after[gap].utc_s - after[gap - 1].utc_s >= 2 * HOUR);

    step(&mut meter, -1_800);
    live(&mut meter, HOUR);
    let all = rows(&mut meter);
    assert!(all.windows(2).all(|pair| pair[0].utc_s < pair[1].utc_s), "in order, none twice");
    assert_eq!(all[after.len()].status, row_status::CLOCK_SET);
    // A range still finds every row.
    let mut scratch = [0; 128];
    let range = RangeDescriptor::by_clock(date_time(SPRING, 0, 0), date_time(SPRING + 20 * DAY, 0, 0));
    let selection = range.to_selective_access(&mut scratch).unwrap();
    let buffer = Attribute { class_id: 7, logical_name: obis::LOAD_PROFILE, index: 2 };
    let bytes = get(&mut meter, READER, buffer, Some(selection)).unwrap();
    assert_eq!(Data::from_bytes_in(&bytes).unwrap().as_array().unwrap().len(), all.len());
}

#[test]
fn after_a_week_back_new_rows_come_at_once_and_the_old_ones_are_read_by_entry() {
    let mut meter = meter_at(SPRING + 10 * DAY);
    live(&mut meter, 3 * HOUR);
    let before = rows(&mut meter).len();
    step(&mut meter, -7 * i64::from(DAY));
    live(&mut meter, HOUR);
    let all = rows(&mut meter);
    assert_eq!(all.len(), before + 4);
    assert_eq!(all[before].status, row_status::CLOCK_SET);
    let found = meter.rows_between(LoadProfile::First, 0, u32::MAX);
    assert_eq!(found.len(), 4, "a range gives what is in order");
}

#[test]
fn the_second_profile_keeps_its_own_hours_over_days_of_23_and_25_hours_and_over_steps_of_the_clock() {
    for change in [SPRING, AUTUMN] {
        let mut meter = meter_at(change - 12 * HOUR);
        live(&mut meter, 36 * HOUR);
        let hours = rows_of(&mut meter, LoadProfile::Second);
        assert!(hours.windows(2).all(|pair| pair[1].utc_s == pair[0].utc_s + HOUR), "each hour once");
        assert!(
            hours.len() >= 35 && hours.iter().skip(1).all(|row| row.status == 0 && row.utc_s % HOUR == 0)
        );
    }
    let mut meter = meter_at(SPRING + 10 * DAY);
    live(&mut meter, 3 * HOUR);
    step(&mut meter, 2 * i64::from(HOUR));
    live(&mut meter, 2 * HOUR);
    let after = rows_of(&mut meter, LoadProfile::Second);
    let gap = after.windows(2).position(|pair| pair[1].utc_s != pair[0].utc_s + HOUR).unwrap() + 1;
    assert_eq!(after[gap].status, row_status::CLOCK_SET, "set, not without power");
    assert!(after[gap + 1..].iter().all(|row| row.status == 0));

    // Half an hour back doubles no hour; a week back begins a new order.
    step(&mut meter, -1_800);
    live(&mut meter, 2 * HOUR);
    let all = rows_of(&mut meter, LoadProfile::Second);
    assert!(all.len() > after.len() && all.windows(2).all(|pair| pair[0].utc_s < pair[1].utc_s));
    assert_eq!(meter.rows_between(LoadProfile::Second, 0, u32::MAX).len(), all.len());
    step(&mut meter, -7 * i64::from(DAY));
    live(&mut meter, 2 * HOUR);
    assert_eq!(rows_of(&mut meter, LoadProfile::Second).len(), all.len() + 2);
    assert_eq!(
        meter.rows_between(LoadProfile::Second, 0, u32::MAX).len(),
        2,
        "a range gives what is in order"
    );
}

#[test]
fn daily_charges_are_neither_doubled_nor_lost_when_the_clock_jumps() {
    // 23:30 local, an hour slow: the correction brings the next day, and its charge.
    let half_past_eleven = SPRING + 15 * DAY - 3 * HOUR - 1_800;
    let mut meter = meter_at(half_past_eleven);
    step(&mut meter, i64::from(HOUR));
    assert_eq!(meter.ledger().charged(), 100);
    // An hour fast after all: back over midnight, and over it again.
    step(&mut meter, -i64::from(HOUR));
    live(&mut meter, 2 * HOUR);
    assert_eq!(meter.ledger().charged(), 100, "once");
    assert_eq!(days(&mut meter), 1, "and one snapshot");
    // Ten days that nobody lived are not charged, neither on the way there nor on the way back.
    step(&mut meter, 10 * i64::from(DAY));
    assert_eq!(meter.ledger().charged(), 100);
    live(&mut meter, DAY);
    assert_eq!(meter.ledger().charged(), 200);
    step(&mut meter, -10 * i64::from(DAY));
    assert_eq!(meter.ledger().charged(), 200);
    live(&mut meter, 3 * DAY);
    assert_eq!(meter.ledger().charged(), 500, "each day that was lived once");
    assert!(meter.ledger().balances());
}

#[test]
fn a_months_steps_and_snapshot_survive_a_wrong_month() {
    // 2026-01-25T10:00 local.
    let january = 1_769_331_600;
    let mut meter = meter_at(january);
    let mut tariff = Tariff::flat(0);
    tariff.steps.clear();
    tariff.steps.extend([Step { up_to_kwh: 5, price: 1_000 }, Step { up_to_kwh: 0, price: 3_000 }]);
    meter.tariffs.active = tariff;
    meter.board().load_mw = 1_000_000;
    live(&mut meter, 6 * HOUR);
    assert_eq!(meter.ledger().consumed(), 5_000 + 3_000, "the sixth kilowatt-hour is dear");
    // Somebody mistakes the month, and corrects it two hours later.
    step(&mut meter, 35 * i64::from(DAY));
    live(&mut meter, 2 * HOUR);
    let wrong = months(&mut meter);
    assert_eq!((wrong.len(), wrong[0].status & row_status::CLOCK_SET), (1, row_status::CLOCK_SET), "flagged");
    step(&mut meter, -35 * i64::from(DAY));
    let consumed = meter.ledger().consumed();
    meter.board().load_mw = 0;
    live(&mut meter, 7 * DAY);
    assert_eq!(meter.ledger().consumed(), consumed);
    assert_eq!(months(&mut meter).len(), 2, "the real end of January");
    // February begins with the cheap step.
    meter.board().load_mw = 1_000_000;
    live(&mut meter, HOUR);
    assert_eq!(meter.ledger().consumed() - consumed, 1_000);
}

#[test]
fn a_clock_without_power_is_invalid_and_the_days_in_the_dark_are_charged_when_it_is_set() {
    let mut meter = meter_at(SPRING + 10 * DAY);
    live(&mut meter, HOUR);
    let known = meter.board().utc_s.unwrap();
    let mut board = meter.into_board();
    board.utc_s = None;
    let mut who = personalisation();
    who.account.payment_mode = PaymentMode::Credit;
    let now = Instant::from_millis(board.now_ms);
    let mut meter = Meter::new(board, who, now).unwrap();
    assert!(events(&mut meter).contains(&Event::ClockInvalid));
    assert_eq!(get(&mut meter, READER, clock(4), None).unwrap()[1] & INVALID, INVALID);
    let before = rows(&mut meter).len();
    live(&mut meter, 6 * HOUR);
    assert_eq!((rows(&mut meter).len(), meter.ledger().charged()), (before, 0), "no row without a time");
    assert_eq!(act(&mut meter, VENDING, method(6), Data::Long(5)), Err(ActionResult::TemporaryFailure));
    set_to(&mut meter, known + 2 * DAY);
    assert_eq!(get(&mut meter, READER, clock(4), None).unwrap()[1] & INVALID, 0);
    assert_eq!(meter.ledger().charged(), 200);
}

#[test]
fn the_clock_is_shifted_adjusted_and_preset_within_limits() {
    let noon = SPRING + 10 * DAY;
    let mut meter = meter_at(noon + 400);
    let at = |meter: &mut Meter<TestBoard>| meter.board().utc_s.unwrap();
    for (shift, answer) in [(900, Ok(false)), (-900, Ok(false)), (901, Err(ActionResult::OtherReason))] {
        let before = at(&mut meter);
        assert_eq!(act(&mut meter, VENDING, method(6), Data::Long(shift)), answer);
        let moved = i64::from(at(&mut meter)) - i64::from(before);
        assert_eq!(moved, if answer.is_ok() { i64::from(shift) } else { 0 });
    }
    for (from, index, to) in [(449, 1, 0), (450, 1, 900), (29, 3, 0), (30, 3, 60), (451, 2, 900)] {
        meter.board().utc_s = Some(noon + from);
        act(&mut meter, VENDING, method(index), Data::Integer(0)).unwrap();
        assert_eq!(at(&mut meter), noon + to, "method {index} at {from}");
    }
    // Preset for the next minute, taken at a word, once.
    assert_eq!(act(&mut meter, VENDING, method(4), Data::Integer(0)), Err(ActionResult::OtherReason));
    meter.board().utc_s = Some(noon);
    let time = |utc_s| date_time(utc_s, 0, 0).to_bytes();
    let mut preset = std::vec![2, 3];
    for moment in [time(noon + 7), time(noon - 5), time(noon + 60)] {
        preset.extend_from_slice(&[9, 12]);
        preset.extend_from_slice(&moment);
    }
    act(&mut meter, VENDING, method(5), Data::from_bytes_in(&preset).unwrap()).unwrap();
    act(&mut meter, VENDING, method(4), Data::Integer(0)).unwrap();
    assert_eq!(at(&mut meter), noon + 7);
    assert!(act(&mut meter, VENDING, method(4), Data::Integer(0)).is_err());
    act(&mut meter, VENDING, method(5), Data::from_bytes_in(&preset).unwrap()).unwrap();
    meter.board().utc_s = Some(noon + 61);
    assert!(act(&mut meter, VENDING, method(4), Data::Integer(0)).is_err(), "too late");
    let before_everything = date_time(1_500_000_000, 0, 0).to_bytes();
    let set = meter.set(VENDING, clock(2), None, Data::OctetString(&before_everything));
    assert_eq!(set, Err(DataAccessResult::OtherReason));
}
