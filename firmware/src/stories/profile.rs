//! The load profile as management wants it.

use super::wire::{MANAGEMENT, READER, VENDING, act, get};
use super::{board, events, pass, start};
use crate::Meter;
use crate::test_board::TestBoard;
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::codec::xdlms::{DataAccessResult, SelectiveAccess};
use protocol::cosem::class::{Items, ToData};
use protocol::cosem::events::Event;
use protocol::cosem::obis::LOAD_PROFILE;
use protocol::cosem::profile::{
    BUFFER, CAPTURE_OBJECTS, CAPTURE_PERIOD, CaptureObject, ENTRIES_IN_USE, EntryDescriptor,
    LOAD_CAPTURE_OBJECTS, RESET,
};
use protocol::dlms::model::{Caller, ObjectModel};
use protocol::time::Instant;
use std::vec::Vec;

fn choose(
    meter: &mut Meter<TestBoard>,
    caller: Caller,
    columns: &[CaptureObject],
) -> Result<(), DataAccessResult> {
    let mut buffer = [0xA5; 256];
    let mut w = SliceWriter::new(&mut buffer);
    Items::Held(columns).put(&mut w).unwrap();
    let value = Data::from_bytes_in(w.as_slice()).unwrap();
    meter.set(caller, CAPTURE_OBJECTS.of(LOAD_PROFILE), None, value)
}

fn every(meter: &mut Meter<TestBoard>, seconds: u32) -> Result<(), DataAccessResult> {
    meter.set(MANAGEMENT, CAPTURE_PERIOD.of(LOAD_PROFILE), None, Data::DoubleLongUnsigned(seconds))
}

/// How many fields each row of the buffer has.
fn widths(meter: &mut Meter<TestBoard>, selection: Option<SelectiveAccess<'_>>) -> Vec<usize> {
    let bytes = get(meter, READER, BUFFER.of(LOAD_PROFILE), selection).unwrap();
    let rows = BUFFER.decode_bytes(&bytes).unwrap();
    rows.iter().map(|row| row.unwrap().as_structure().unwrap().len()).collect()
}

#[test]
fn management_chooses_period_and_columns_and_the_profile_begins_anew() {
    let mut meter = start(board());
    pass(&mut meter, 2_000);
    assert_eq!(widths(&mut meter, None), [6, 6]);
    every(&mut meter, 300).unwrap();
    assert_eq!(widths(&mut meter, None), [0_usize; 0], "rows of two periods are not mixed");
    assert!(events(&mut meter).contains(&Event::ParametersChanged));
    pass(&mut meter, 1_000);
    let rows = widths(&mut meter, None).len();
    assert!((3..=4).contains(&rows), "{rows} rows in 1,000 seconds");

    let [clock, _, import, .., voltage] = LOAD_CAPTURE_OBJECTS;
    choose(&mut meter, MANAGEMENT, &[clock, import, voltage]).unwrap();
    assert_eq!(widths(&mut meter, None), [0_usize; 0]);
    pass(&mut meter, 700);
    let rows = widths(&mut meter, None);
    assert!((2..=3).contains(&rows.len()) && rows.iter().all(|fields| *fields == 3), "{rows:?}");
    let listed = get(&mut meter, READER, CAPTURE_OBJECTS.of(LOAD_PROFILE), None).unwrap();
    let listed = CAPTURE_OBJECTS.decode_bytes(&listed).unwrap();
    assert!(listed.iter().map(Result::unwrap).eq([clock, import, voltage]));

    // The second column is now the import register.
    let (mut scratch, mut import_wh) = ([0; 128], Vec::new());
    let column = EntryDescriptor { from_entry: 1, to_entry: 0, from_value: 2, to_value: 2 };
    let selection = column.to_selective_access(&mut scratch).unwrap();
    let bytes = get(&mut meter, READER, BUFFER.of(LOAD_PROFILE), Some(selection)).unwrap();
    for row in BUFFER.decode_bytes(&bytes).unwrap().iter() {
        let row = row.unwrap();
        assert_eq!(row.as_structure().unwrap().len(), 1);
        import_wh.push(row.field(0).unwrap().as_i64().unwrap());
    }
    assert!(import_wh.len() == rows.len() && import_wh.is_sorted() && import_wh[0] > 0, "{import_wh:?}");

    // It holds over a restart.
    let mut board = meter.into_board();
    board.pass(1_000);
    let mut meter = start(board);
    assert_eq!(widths(&mut meter, None), rows);
    pass(&mut meter, 700);
    let more = widths(&mut meter, None);
    assert!(more.len() > rows.len() && more.iter().all(|fields| *fields == 3), "{more:?}");
}

#[test]
fn a_profile_this_meter_cannot_capture_is_refused_and_nothing_is_lost() {
    let mut meter = start(board());
    pass(&mut meter, 2_000);
    let refused = Err(DataAccessResult::OtherReason);
    for seconds in [0, 1, 59, 7_000, 86_401, u32::MAX] {
        assert_eq!(every(&mut meter, seconds), refused, "{seconds}");
    }
    let [clock, status, import, ..] = LOAD_CAPTURE_OBJECTS;
    let strange = CaptureObject { attribute_index: 3, ..import };
    for columns in [&[][..], &[import], &[import, clock], &[clock, clock], &[clock, strange]] {
        assert_eq!(choose(&mut meter, MANAGEMENT, columns), refused, "{columns:?}");
    }
    let denied = Err(DataAccessResult::ReadWriteDenied);
    assert_eq!(choose(&mut meter, VENDING, &[clock, status]), denied);
    assert_eq!(widths(&mut meter, None), [6, 6]);
    act(&mut meter, MANAGEMENT, RESET.of(LOAD_PROFILE), Data::Integer(0)).unwrap();
    let rows = get(&mut meter, READER, ENTRIES_IN_USE.of(LOAD_PROFILE), None).unwrap();
    assert_eq!(ENTRIES_IN_USE.decode_bytes(&rows).unwrap(), 0);
    assert!(meter.next_tick() > Instant::from_millis(0));
}
