//! Hands at the meter, hangs and gaps: each leaves its event, and the rows of that time say so.

use super::{board, events, pass, personalisation, start};
use crate::Meter;
use crate::test_board::TestBoard;
use hardware::board::ResetCause;
use protocol::cosem::account::PaymentMode;
use protocol::cosem::events::{Event, EventRow};
use protocol::cosem::profile::row_status;
use protocol::time::Instant;
use std::vec::Vec;

/// Events with their details, oldest first.
fn log(meter: &mut Meter<TestBoard>) -> Vec<(Event, i32)> {
    let rows = meter.events.rows(meter.record.events);
    let row = |n| -> Option<EventRow> { meter.events.get(&mut meter.board.storage, n) };
    rows.filter_map(row).filter_map(|row| Some((Event::from_u8(row.code)?, row.detail))).collect()
}

fn consumer() -> Meter<TestBoard> {
    let mut who = personalisation();
    who.account.payment_mode = PaymentMode::Credit;
    who.options.imports_only = true;
    Meter::new(board(), who, Instant::ZERO).unwrap()
}

#[test]
fn each_sign_of_tampering_has_its_event_its_alarm_and_its_mark_in_the_profile() {
    type Hand = fn(&mut TestBoard);
    // A kilowatt is 4,347 mA.
    let cases: [(Hand, Event, i32); 5] = [
        (|board| board.cover = true, Event::CoverOpened, 0),
        (|board| board.magnet = true, Event::MagnetOn, 0),
        (|board| board.reversed = true, Event::ReverseEnergy, -1_000),
        (|board| board.neutral_ma = Some(0), Event::NeutralMissing, 4_347),
        (|board| board.neutral_ma = Some(2_000), Event::CurrentImbalance, 2_347),
    ];
    for (hand, event, detail) in cases {
        let mut meter = consumer();
        pass(&mut meter, 900);
        hand(meter.board());
        pass(&mut meter, 901);
        let told = log(&mut meter);
        assert_eq!(told.iter().filter(|(what, _)| *what == event).collect::<Vec<_>>(), [&(event, detail)]);
        let alarms: Vec<_> = core::iter::from_fn(|| meter.next_alarm()).map(|alarm| alarm.event).collect();
        assert_eq!(alarms.iter().filter(|alarm| **alarm == event).count(), 1);
        let newest = meter.loads[0].rows(meter.record.profile.rows).next_back().unwrap();
        let row = meter.loads[0].get(&mut meter.board.storage, newest).unwrap();
        assert_eq!(row.status & row_status::TAMPER, row_status::TAMPER, "{event:?}");
    }
}

#[test]
fn a_hang_is_ended_by_the_watchdog_and_the_log_says_why_and_how_long() {
    let mut meter = start(board());
    pass(&mut meter, 100);
    assert!(meter.board().watchdog_fed >= 100, "fed with every sample");
    // Near a microwave oven: the processor stands still, and its clock runs on.
    let mut board = meter.into_board();
    board.pass(42_000);
    board.reset_cause = ResetCause::Watchdog;
    let mut meter = start(board);
    let (event, gap) = *log(&mut meter).last().unwrap();
    assert_eq!(event, Event::Watchdog);
    assert!((42..=46).contains(&gap), "{gap} seconds since the last record");
    assert_eq!(meter.next_alarm().map(|alarm| alarm.event), Some(Event::Watchdog));
    // What it used meanwhile waited in the front end.
    pass(&mut meter, 8);
    assert_eq!(meter.status().import_wh, 150 * 1_000 / 3_600);
}

#[test]
fn the_last_word_before_the_dark_is_stored_and_waits_to_be_pushed() {
    let mut meter = start(board());
    pass(&mut meter, 10);
    let before = meter.status().journal_sequence;
    meter.board().supply_failing = true;
    meter.watch_supply();
    meter.watch_supply();
    assert_eq!(meter.next_alarm().map(|alarm| alarm.event), Some(Event::PowerDown));
    assert_eq!(meter.next_alarm(), None, "once");
    assert_eq!(meter.status().journal_sequence, before + 1);
    let mut board = meter.into_board();
    board.supply_failing = false;
    board.pass(3_600_000);
    let mut meter = start(board);
    assert_eq!(log(&mut meter)[log_len(&mut meter) - 2..], [(Event::PowerDown, 0), (Event::PowerUp, 3_600)]);
    // A dip that the capacitors bridged.
    meter.board().supply_failing = true;
    meter.watch_supply();
    meter.board().pass(2_000);
    meter.board().supply_failing = false;
    meter.watch_supply();
    assert_eq!(log(&mut meter).last(), Some(&(Event::PowerUp, 2)));
}

fn log_len(meter: &mut Meter<TestBoard>) -> usize {
    events(meter).len()
}

#[test]
fn a_stored_credit_that_does_not_balance_is_told_at_start() {
    let mut meter = start(board());
    pass(&mut meter, 30);
    let mut record = meter.record.clone();
    record.ledger = record.ledger.unbalanced();
    let mut board = meter.into_board();
    let (mut journal, _) =
        crate::journal::Journal::<crate::record::Record, { crate::journal::PLACE_BYTES }>::recover(
            &mut board.storage,
            0,
            4,
        )
        .unwrap();
    journal.write(&mut board.storage, &record).unwrap();
    let mut meter = start(board);
    assert!(events(&mut meter).contains(&Event::LedgerMismatch));
}
