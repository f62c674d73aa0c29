use super::*;
use crate::session::model::Model;
use protocol::codec::codec::{Encode, SliceWriter};
use protocol::cosem::profile::{LOAD_CAPTURE_OBJECTS, LoadRow, row_status};
use protocol::cosem::values::put_array;

const MODEL: &str = include_str!("../../../../models/reference-dlms.toml");

fn model() -> crate::session::model::DlmsModel {
    match Model::parse("m.toml", MODEL).expect("a good model") {
        Model::Dlms(model) => model,
        Model::Modbus(_) => panic!("the reference model is a DLMS model"),
    }
}

fn layout(objects: &[CaptureObject], period_s: u32) -> Layout {
    let mut space = [0; 512];
    let mut w = SliceWriter::new(&mut space);
    put_array(&mut w, objects.len()).expect("room");
    for object in objects {
        object.encode(&mut w).expect("room");
    }
    let objects = Data::from_bytes_in(w.as_slice()).expect("an array");
    let model = model();
    Layout::of(objects, Data::DoubleLongUnsigned(period_s), &model.profiles[0]).expect("a layout")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn wanted(from: &str, to: &str) -> RowsWanted {
    RowsWanted { profile: "load".into(), from: at(from), to: at(to) }
}

fn buffer(rows: &[Option<LoadRow>], columns: u32) -> Vec<u8> {
    let mut space = [0; 2_048];
    let mut w = SliceWriter::new(&mut space);
    put_array(&mut w, rows.len()).expect("room");
    for row in rows {
        match row {
            Some(row) => row.encode(&mut w, columns, 60).expect("room"),
            None => {
                let count = columns.count_ones().min(6) as usize;
                protocol::cosem::values::put_structure(&mut w, count).expect("room");
                (0..count).for_each(|_| Data::Null.encode(&mut w).expect("room"));
            }
        }
    }
    w.as_slice().to_vec()
}

fn row(time: &str, import_wh: u32) -> LoadRow {
    let utc_s = u32::try_from(at(time).as_second()).expect("in range");
    LoadRow { utc_s, import_wh, credit: -40, voltage_dv: 2_301, ..LoadRow::default() }
}

#[test]
fn a_row_is_taken_by_what_the_meter_says_it_captures_and_a_lost_one_is_left_out() {
    let model = model();
    let layout = layout(&LOAD_CAPTURE_OBJECTS, 900);
    let failed = LoadRow { status: row_status::MEASUREMENT_FAILED, ..row("2026-11-22T10:30:00Z", 120) };
    let bytes = buffer(&[Some(row("2026-11-22T10:00:00Z", 100)), None, Some(failed)], u32::MAX);
    let wanted = wanted("2026-11-22T10:00:00Z", "2026-11-22T10:30:00Z");
    let (rows, lost) = rows(&bytes, &model.profiles[0], &layout, &model.clock, &wanted).expect("rows");
    assert_eq!(lost, 1);
    assert_eq!(rows.iter().map(|row| row.at).collect::<Vec<_>>(), [wanted.from, wanted.to]);
    assert_eq!(rows[0].cells, [Some(100), Some(0), Some(-40), Some(2_301)]);
    assert_eq!((rows[0].estimated, rows[1].estimated), (false, true));
    assert_eq!(rows[1].status, Some(u32::from(row_status::MEASUREMENT_FAILED)));
}

/// Rows of time, status and import; `None` is null-data.
fn compressed(rows: &[(Option<&str>, Option<u8>, Option<u32>)]) -> Vec<u8> {
    let mut space = [0; 512];
    let mut w = SliceWriter::new(&mut space);
    put_array(&mut w, rows.len()).expect("room");
    for (time, status, import_wh) in rows {
        protocol::cosem::values::put_structure(&mut w, 3).expect("room");
        match time {
            Some(time) => {
                let utc_s = u32::try_from(at(time).as_second()).expect("in range");
                protocol::cosem::values::put_date_time(&mut w, clock::date_time(utc_s, 0, 0)).expect("room");
            }
            None => Data::Null.encode(&mut w).expect("room"),
        }
        status.map_or(Data::Null, Data::Unsigned).encode(&mut w).expect("room");
        import_wh.map_or(Data::Null, Data::DoubleLongUnsigned).encode(&mut w).expect("room");
    }
    w.as_slice().to_vec()
}

#[test]
fn null_data_of_a_meter_that_compresses_stands_for_the_row_before_it_and_for_nothing_elsewhere() {
    let model = model();
    let mut profile = ProfileModel::clone(&model.profiles[0]);
    let layout = layout(&LOAD_CAPTURE_OBJECTS[..3], 900);
    let estimated = row_status::MEASUREMENT_FAILED;
    let bytes = compressed(&[
        (None, Some(0), Some(90)),
        (Some("2026-11-22T10:00:00Z"), Some(0), Some(100)),
        (None, None, Some(107)),
        (None, Some(estimated), None),
        (Some("2026-11-22T12:00:00Z"), None, None),
    ]);
    let wanted = wanted("2026-11-22T09:00:00Z", "2026-11-22T12:00:00Z");
    let taken = |profile: &ProfileModel| {
        let (rows, lost) = rows(&bytes, profile, &layout, &model.clock, &wanted).expect("rows");
        let rows: Vec<_> =
            rows.into_iter().map(|row| (row.at.to_string(), row.status, row.cells[0])).collect();
        (rows, lost)
    };
    let (rows, lost) = taken(&profile);
    assert_eq!((rows.len(), lost), (2, 3));
    assert_eq!(rows[1], ("2026-11-22T12:00:00Z".to_owned(), None, None), "it is not known to compress");
    profile.compressed = true;
    let (rows, lost) = taken(&profile);
    assert_eq!(lost, 1, "the first has nothing before it");
    let estimated = Some(u32::from(estimated));
    assert_eq!(
        rows,
        [
            ("2026-11-22T10:00:00Z".to_owned(), Some(0), Some(100)),
            ("2026-11-22T10:15:00Z".to_owned(), Some(0), Some(107)),
            ("2026-11-22T10:30:00Z".to_owned(), estimated, Some(107)),
            ("2026-11-22T12:00:00Z".to_owned(), estimated, Some(107)),
        ]
    );
}

#[test]
fn columns_that_the_meter_does_not_capture_have_no_value_and_rows_from_elsewhere_are_not_taken() {
    let model = model();
    let some = [LOAD_CAPTURE_OBJECTS[0], LOAD_CAPTURE_OBJECTS[5], LOAD_CAPTURE_OBJECTS[2]];
    let layout = layout(&some, 900);
    // The meter sends its columns in the order of its own row: time, voltage and import here.
    let mut space = [0; 64];
    let mut w = SliceWriter::new(&mut space);
    put_array(&mut w, 1).expect("room");
    protocol::cosem::values::put_structure(&mut w, 3).expect("room");
    let time =
        clock::date_time(u32::try_from(at("2026-11-22T10:15:00Z").as_second()).expect("in range"), 0, 0);
    protocol::cosem::values::put_date_time(&mut w, time).expect("room");
    Data::LongUnsigned(2_299).encode(&mut w).expect("room");
    Data::DoubleLongUnsigned(77).encode(&mut w).expect("room");
    let bytes = w.as_slice().to_vec();
    let profile = &model.profiles[0];
    let inside = wanted("2026-11-22T10:00:00Z", "2026-11-22T10:30:00Z");
    let (found, _) = rows(&bytes, profile, &layout, &model.clock, &inside).expect("rows");
    assert_eq!(found[0].cells, [Some(77), None, None, Some(2_299)]);
    assert_eq!(found[0].status, None);
    let before = wanted("2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z");
    assert_eq!(rows(&bytes, profile, &layout, &model.clock, &before).expect("rows").0, []);
}

#[test]
fn rows_of_another_width_are_refused_whole_and_a_profile_without_time_or_with_another_period_too() {
    let model = model();
    let profile = &model.profiles[0];
    let bytes = buffer(&[Some(row("2026-11-22T10:00:00Z", 1))], 0b111);
    let wanted = wanted("2026-11-22T10:00:00Z", "2026-11-22T10:30:00Z");
    assert!(rows(&bytes, profile, &layout(&LOAD_CAPTURE_OBJECTS, 900), &model.clock, &wanted).is_err());
    let half_hours = layout(&LOAD_CAPTURE_OBJECTS, 1_800).misfit(profile).expect("another period");
    assert_eq!(half_hours, "profile load captures every 1800 s, its model says 900 s");
    let timeless = layout(&LOAD_CAPTURE_OBJECTS[1..], 900).misfit(profile).expect("no time");
    assert_eq!(timeless, "the rows of profile load have no time");
}

#[test]
fn a_clock_without_deviation_is_asked_for_more_so_that_the_doubtful_hour_is_certain() {
    let manner = ClockManner {
        deviation: false,
        zone: jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"),
    };
    let wanted = wanted("2026-10-25T01:30:00Z", "2026-10-25T01:30:00Z");
    let mut space = [0; SELECTION];
    let asked = by_range(&manner, &wanted, &mut space).expect("a selection");
    let edges: Vec<DateTime> = [1, 2]
        .map(|field| DateTime::from_data(asked.parameters.field(field).expect("an edge")).expect("a time"))
        .into();
    // 23:30 UTC is 01:30 in summer time, 03:30 UTC is 04:30 in winter time.
    assert_eq!(edges.iter().map(|edge| (edge.hour, edge.minute)).collect::<Vec<_>>(), [(1, 30), (4, 30)]);
}
