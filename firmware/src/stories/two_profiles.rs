//! Two load profiles beside each other: each with its own period and columns, neither in the other's way.

use super::clock::rows_of;
use super::wire::{MANAGEMENT, READER, act, get};
use super::{board, events, pass, personalisation, start};
use crate::Meter;
use crate::layout::Layout;
use crate::profile::LoadProfile::{self, First, Second};
use crate::test_board::TestBoard;
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::SelectiveAccess;
use protocol::cosem::class::{Items, ToData, Value};
use protocol::cosem::clock::date_time;
use protocol::cosem::events::Event;
use protocol::cosem::obis::{LOAD_PROFILE, LOAD_PROFILE_2};
use protocol::cosem::profile::{
    BUFFER, CAPTURE, CAPTURE_OBJECTS, CAPTURE_PERIOD, ENTRIES_IN_USE, EntryDescriptor, LOAD_CAPTURE_OBJECTS,
    LoadRow, PROFILE_ENTRIES, RESET, RangeDescriptor, row_status,
};
use protocol::cosem::{Attr, FromData};
use protocol::dlms::model::ObjectModel;
use protocol::time::Instant;
use std::vec::Vec;

/// When every board here begins: 2026-01-01T00:00:00Z.
const BEGIN: u32 = 1_767_225_600;

fn every(meter: &mut Meter<TestBoard>, profile: Obis, seconds: u32) {
    let period = Data::DoubleLongUnsigned(seconds);
    meter.set(MANAGEMENT, CAPTURE_PERIOD.of(profile), None, period).unwrap();
}

fn number<T>(meter: &mut Meter<TestBoard>, at: Attr<T>, profile: Obis) -> u32
where
    T: for<'a> Value<Of<'a> = u32>,
{
    at.decode_bytes(&get(meter, READER, at.of(profile), None).unwrap()).unwrap()
}

/// The times of the rows that a client gets, which have all columns.
fn times(meter: &mut Meter<TestBoard>, profile: Obis, selection: Option<SelectiveAccess<'_>>) -> Vec<u32> {
    let bytes = get(meter, READER, BUFFER.of(profile), selection).unwrap();
    let rows = BUFFER.decode_bytes(&bytes).unwrap();
    rows.iter().map(|row| LoadRow::from_data(row.unwrap()).unwrap().utc_s).collect()
}

fn multiples(of: u32, up_to: u32) -> Vec<u32> {
    (1..=up_to / of).map(|n| BEGIN + n * of).collect()
}

#[test]
fn each_profile_has_rows_at_its_own_period_and_gives_them_by_range_and_by_entry() {
    let mut meter = start(board());
    assert_eq!(number(&mut meter, CAPTURE_PERIOD, LOAD_PROFILE_2), 3_600, "the factory's");
    assert_eq!(number(&mut meter, PROFILE_ENTRIES, LOAD_PROFILE_2), 300 / 8 + 1);
    every(&mut meter, LOAD_PROFILE_2, 600);
    pass(&mut meter, 7_260);
    let (quarters, tens) = (multiples(900, 7_200), multiples(600, 7_200));
    assert_eq!(times(&mut meter, LOAD_PROFILE, None), quarters);
    assert_eq!(times(&mut meter, LOAD_PROFILE_2, None), tens);
    assert_eq!(number(&mut meter, ENTRIES_IN_USE, LOAD_PROFILE_2), 12);

    let mut scratch = [0; 128];
    let hour = RangeDescriptor::by_clock(date_time(BEGIN + 1_800, 0, 0), date_time(BEGIN + 3_700, 0, 0));
    let hour = hour.to_selective_access(&mut scratch).unwrap();
    assert_eq!(times(&mut meter, LOAD_PROFILE, Some(hour)), quarters[1..4]);
    assert_eq!(times(&mut meter, LOAD_PROFILE_2, Some(hour)), tens[2..6]);
    let mut scratch = [0; 128];
    let some = EntryDescriptor { from_entry: 3, to_entry: 5, from_value: 1, to_value: 0 };
    let some = some.to_selective_access(&mut scratch).unwrap();
    assert_eq!(times(&mut meter, LOAD_PROFILE, Some(some)), quarters[2..5]);
    assert_eq!(times(&mut meter, LOAD_PROFILE_2, Some(some)), tens[2..5]);

    // Both go on after a restart.
    let mut board = meter.into_board();
    board.pass(1_000);
    let mut meter = start(board);
    pass(&mut meter, 1_800);
    assert_eq!(times(&mut meter, LOAD_PROFILE, None), multiples(900, 9_000));
    assert_eq!(times(&mut meter, LOAD_PROFILE_2, None), multiples(600, 9_000));
}

#[test]
fn what_is_done_to_one_profile_leaves_the_other_as_it_was() {
    let mut meter = start(board());
    every(&mut meter, LOAD_PROFILE_2, 600);
    pass(&mut meter, 3_660);
    let digest = |meter: &Meter<TestBoard>| {
        meter.record.configuration_digest(&meter.who, &meter.settings, &meter.second, &meter.tariffs)
    };
    let before = digest(&meter);
    // Fewer columns for the second one, which begins anew.
    let columns = &LOAD_CAPTURE_OBJECTS[..3];
    let mut buffer = [0xA5; 256];
    let mut w = SliceWriter::new(&mut buffer);
    Items::Held(columns).put(&mut w).unwrap();
    let value = Data::from_bytes_in(w.as_slice()).unwrap();
    meter.set(MANAGEMENT, CAPTURE_OBJECTS.of(LOAD_PROFILE_2), None, value).unwrap();
    assert_ne!(digest(&meter), before);
    assert_eq!(events(&mut meter).iter().filter(|event| **event == Event::ParametersChanged).count(), 2);
    assert_eq!(times(&mut meter, LOAD_PROFILE_2, None), []);
    assert_eq!(times(&mut meter, LOAD_PROFILE, None).len(), 4);
    pass(&mut meter, 1_200);
    let bytes = get(&mut meter, READER, BUFFER.of(LOAD_PROFILE_2), None).unwrap();
    let widths: Vec<_> = BUFFER
        .decode_bytes(&bytes)
        .unwrap()
        .iter()
        .map(|row| row.unwrap().as_structure().unwrap().len())
        .collect();
    assert_eq!(widths, [3, 3]);

    // Rows by hand and an emptied buffer are the named profile's too.
    act(&mut meter, MANAGEMENT, CAPTURE.of(LOAD_PROFILE_2), Data::Integer(0)).unwrap();
    assert_eq!(number(&mut meter, ENTRIES_IN_USE, LOAD_PROFILE_2), 3);
    let firsts = times(&mut meter, LOAD_PROFILE, None);
    act(&mut meter, MANAGEMENT, RESET.of(LOAD_PROFILE_2), Data::Integer(0)).unwrap();
    assert_eq!(number(&mut meter, ENTRIES_IN_USE, LOAD_PROFILE_2), 0);
    assert_eq!(times(&mut meter, LOAD_PROFILE, None), firsts);
    every(&mut meter, LOAD_PROFILE, 300);
    pass(&mut meter, 1_200);
    assert_eq!(times(&mut meter, LOAD_PROFILE, None).len(), 4);
    assert_eq!(number(&mut meter, ENTRIES_IN_USE, LOAD_PROFILE_2), 2);
}

#[test]
fn a_cover_opened_in_the_first_quarter_is_told_by_that_quarter_and_by_the_hour() {
    let mut meter = start(board());
    pass(&mut meter, 100);
    meter.board().cover = true;
    pass(&mut meter, 10);
    meter.board().cover = false;
    pass(&mut meter, 3_600);
    let tampered = |rows: Vec<LoadRow>| -> Vec<bool> {
        rows.iter().map(|row| row.status & row_status::TAMPER != 0).collect()
    };
    assert_eq!(tampered(rows_of(&mut meter, First)), [true, false, false, false]);
    assert_eq!(tampered(rows_of(&mut meter, Second)), [true]);
}

/// A meter with both profiles due at the next tick.
fn about_to_capture() -> Meter<TestBoard> {
    let mut meter = start(board());
    every(&mut meter, LOAD_PROFILE_2, 1_800);
    pass(&mut meter, 3_599);
    meter
}

#[test]
fn power_cut_at_every_write_while_both_are_due_loses_no_row_and_doubles_none() {
    let mut meter = about_to_capture();
    let before = meter.board().storage.writes();
    pass(&mut meter, 1);
    let writes = meter.board().storage.writes() - before;
    assert!(writes >= 4, "two rows and what is known of them: {writes}");
    let mut cuts = 0;
    for after in 0..writes {
        for torn in [0, 1, 4, 13, 24, 30, 200, 100_000] {
            let mut meter = about_to_capture();
            meter.board().storage.cut_after_writes(after, torn);
            pass(&mut meter, 1);
            assert!(meter.board().storage.is_off(), "cut after {after}");
            let mut board = meter.into_board();
            board.storage.power_up();
            let mut meter = start(board);
            pass(&mut meter, 3_600);
            for (which, period) in [(First, 900), (Second, 1_800)] {
                let found: Vec<u32> = rows_of(&mut meter, which).iter().map(|row| row.utc_s).collect();
                assert_eq!(found, multiples(period, 7_200), "{which:?}, cut after {after}, {torn} bytes");
            }
            assert!(meter.ledger().balances());
            cuts += 1;
        }
    }
    std::println!("{writes} writes of the second in which both are due, {cuts} cuts");
}

#[test]
fn a_period_changed_under_a_cut_is_the_old_one_or_the_new_one_with_rows_of_its_own() {
    for after in 0..8 {
        for torn in [0, 3, 20, 40, 100_000] {
            let mut meter = about_to_capture();
            meter.board().storage.cut_after_writes(after, torn);
            let period = Data::DoubleLongUnsigned(300);
            let _ = meter.set(MANAGEMENT, CAPTURE_PERIOD.of(LOAD_PROFILE_2), None, period);
            let mut board = meter.into_board();
            board.storage.power_up();
            let mut meter = start(board);
            let period = number(&mut meter, CAPTURE_PERIOD, LOAD_PROFILE_2);
            let rows = rows_of(&mut meter, Second);
            match period {
                1_800 => assert_eq!(rows.len(), 1, "cut after {after}, {torn}"),
                300 => assert_eq!(rows, [], "cut after {after}, {torn}"),
                _ => panic!("a period of {period} s"),
            }
            assert_eq!(rows_of(&mut meter, First).len(), 3);
        }
    }
}

/// The former firmware had rows of its only profile up to the end of the storage.
#[test]
fn a_meter_from_before_the_second_profile_keeps_its_account_and_rows_and_begins_the_second_one() {
    let mut meter = start(board());
    pass(&mut meter, 4_000);
    let (firsts, credit) = (rows_of(&mut meter, First), meter.status().credit_wh);
    let mut board = meter.into_board();
    let layout = Layout::for_capacity(board.storage.bytes.len() as u32).unwrap();
    board.storage.bytes[layout.second_base as usize..].fill(0x55);
    let now = Instant::from_millis(board.now_ms);
    let mut meter = Meter::new(board, personalisation(), now).unwrap();
    assert_eq!((rows_of(&mut meter, First), meter.status().credit_wh), (firsts, credit));
    assert_eq!(rows_of(&mut meter, Second), []);
    pass(&mut meter, 2 * 3_600);
    let mut meter = start(meter.into_board());
    let hours: Vec<u32> = rows_of(&mut meter, Second).iter().map(|row| row.utc_s).collect();
    assert_eq!(hours, [BEGIN + 7_200, BEGIN + 10_800]);
    assert_eq!(LoadProfile::BOTH.map(|which| meter.capture_of(which).period_s), [900, 3_600]);
}
