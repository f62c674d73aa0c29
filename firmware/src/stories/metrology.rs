//! A meter on the bench: ratios, pulses, calibration; and a front end that falls silent.

use super::wire::{MANAGEMENT, READER, VENDING, get};
use super::{board, events, pass, personalisation, start};
use crate::Meter;
use crate::display::Page;
use crate::test_board::TestBoard;
use hardware::board::{Calibration, Correction};
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::account::PaymentMode;
use protocol::cosem::events::Event;
use protocol::cosem::obis;
use protocol::cosem::values::{put, put_structure};
use protocol::dlms::model::{Attribute, Caller, ObjectModel};
use protocol::modbus::{Exception, Quantity};
use protocol::time::Instant;

fn on_the_bench() -> Meter<TestBoard> {
    let mut who = personalisation();
    who.account.payment_mode = PaymentMode::Credit;
    let mut board = board();
    board.jumper = true;
    Meter::new(board, who, Instant::ZERO).unwrap()
}

const fn data(logical_name: Obis) -> Attribute {
    Attribute { class_id: 1, logical_name, index: 2 }
}

fn set(meter: &mut Meter<TestBoard>, caller: Caller, name: Obis, value: u16) -> Result<(), DataAccessResult> {
    meter.set(caller, data(name), None, Data::LongUnsigned(value))
}

/// The twelve numbers of the object, written by management.
fn calibrate(meter: &mut Meter<TestBoard>, numbers: &[i32]) -> Result<(), DataAccessResult> {
    let mut buffer = [0; 128];
    let mut w = SliceWriter::new(&mut buffer);
    put_structure(&mut w, numbers.len()).unwrap();
    for number in numbers {
        put(&mut w, Data::DoubleLong(*number)).unwrap();
    }
    let value = Data::from_bytes_in(w.as_slice()).unwrap();
    meter.set(MANAGEMENT, data(obis::CALIBRATION), None, value)
}

const NUMBERS: [i32; 12] = [1_000, 1, -2_000, -2, 3_000, 3, -4_000, -4, 5_000, 5, -6_000, 7_000];

fn calibration() -> Calibration {
    let by = |gain_ppm, offset| Correction { gain_ppm, offset };
    Calibration {
        voltage: by(1_000, 1),
        current: by(-2_000, -2),
        neutral: by(3_000, 3),
        active: by(-4_000, -4),
        reactive: by(5_000, 5),
        phase_ns: -6_000,
        neutral_phase_ns: 7_000,
    }
}

#[test]
fn a_calibration_is_in_force_at_once_and_after_every_restart() {
    let mut meter = on_the_bench();
    calibrate(&mut meter, &NUMBERS).unwrap();
    assert_eq!(meter.board().calibration, calibration());
    assert!(events(&mut meter).contains(&Event::ParametersChanged));
    let mut board = meter.into_board();
    board.calibration = Calibration::default();
    board.jumper = false;
    let mut meter = Meter::new(board, personalisation(), Instant::ZERO).unwrap();
    assert_eq!(meter.board().calibration, calibration());
}

#[test]
fn without_the_jumper_and_for_everybody_but_management_the_bench_is_closed() {
    let mut meter = on_the_bench();
    for caller in [READER, VENDING] {
        assert!(set(&mut meter, caller, obis::METER_CONSTANT, 500).is_err());
    }
    meter.board().jumper = false;
    let names = [
        obis::METER_CONSTANT,
        obis::CURRENT_RATIO_NUMERATOR,
        obis::CURRENT_RATIO_DENOMINATOR,
        obis::VOLTAGE_RATIO_NUMERATOR,
        obis::VOLTAGE_RATIO_DENOMINATOR,
    ];
    for name in names {
        assert_eq!(set(&mut meter, MANAGEMENT, name, 5), Err(DataAccessResult::ReadWriteDenied));
    }
    assert_eq!(calibrate(&mut meter, &NUMBERS), Err(DataAccessResult::ReadWriteDenied));
    assert_eq!(meter.settings.metrology, crate::metrology::Metrology::default());
    assert_eq!(meter.board().calibration, Calibration::default());
}

#[test]
fn what_makes_no_sense_is_refused_and_the_old_stays() {
    let mut meter = on_the_bench();
    calibrate(&mut meter, &NUMBERS).unwrap();
    let mut absurd = NUMBERS;
    absurd[0] = 1_000_000;
    assert_eq!(calibrate(&mut meter, &absurd), Err(DataAccessResult::OtherReason));
    assert_eq!(calibrate(&mut meter, &NUMBERS[..11]), Err(DataAccessResult::TypeUnmatched));
    assert_eq!(
        set(&mut meter, MANAGEMENT, obis::CURRENT_RATIO_DENOMINATOR, 0),
        Err(DataAccessResult::OtherReason)
    );
    assert_eq!(meter.board().calibration, calibration());
    assert_eq!(meter.settings.metrology.calibration, calibration());
}

#[test]
fn a_calibration_that_cannot_be_stored_is_taken_back() {
    let mut meter = on_the_bench();
    meter.board().storage.cut_after_writes(0, 0);
    assert_eq!(calibrate(&mut meter, &NUMBERS), Err(DataAccessResult::HardwareFault));
    assert_eq!(meter.board().calibration, Calibration::default());
    assert_eq!(meter.settings.metrology.calibration, Calibration::default());
}

#[test]
fn a_meter_behind_transformers_shows_and_bills_the_primary_side() {
    let mut meter = on_the_bench();
    set(&mut meter, MANAGEMENT, obis::CURRENT_RATIO_NUMERATOR, 200).unwrap();
    set(&mut meter, MANAGEMENT, obis::CURRENT_RATIO_DENOMINATOR, 5).unwrap();
    // A kilowatt on the secondary side for 36 seconds: 10 Wh, 400 Wh on the primary side.
    pass(&mut meter, 36);
    assert_eq!(meter.status().import_wh, 400);
    assert_eq!(meter.status().sample.active_power_mw, 40_000_000);
    assert_eq!(meter.board().pulses_given, 400);
}

#[test]
fn pulses_follow_the_register_over_restarts_and_a_new_constant() {
    let mut meter = on_the_bench();
    set(&mut meter, MANAGEMENT, obis::METER_CONSTANT, 3_200).unwrap();
    pass(&mut meter, 3_600);
    assert_eq!(meter.board().pulses_given, 3_200, "a kilowatt-hour");
    let mut meter = start(meter.into_board());
    pass(&mut meter, 900);
    assert_eq!(meter.board().pulses_given, 4_000);
    set(&mut meter, MANAGEMENT, obis::METER_CONSTANT, 800).unwrap();
    pass(&mut meter, 900);
    assert_eq!(meter.board().pulses_given, 4_200, "no burst for what is past");
}

#[test]
fn a_silent_front_end_is_told_and_never_reads_as_zero() {
    let mut meter = on_the_bench();
    let voltage = Attribute { class_id: 3, logical_name: obis::VOLTAGE, index: 2 };
    let unit = Attribute { index: 3, ..voltage };
    let energy = Attribute { logical_name: obis::IMPORT_ENERGY, ..voltage };
    let mut word = [0];
    let power = protocol::modbus::PREPAID_METER.iter().find(|e| e.quantity == Quantity::Voltage).unwrap();
    let read =
        |meter: &mut Meter<TestBoard>, word: &mut [u16]| meter.modbus_read(power.table, power.address, word);

    assert_eq!(
        get(&mut meter, READER, voltage, None).err(),
        Some(DataAccessResult::HardwareFault),
        "not measured yet"
    );
    assert_eq!(read(&mut meter, &mut word), Err(Exception::ServerDeviceFailure));
    pass(&mut meter, 10);
    assert!(get(&mut meter, READER, voltage, None).is_ok());
    assert_eq!(read(&mut meter, &mut word), Ok(()));
    meter.board().metering_fails = true;
    pass(&mut meter, 10);
    assert_eq!(get(&mut meter, READER, voltage, None).err(), Some(DataAccessResult::HardwareFault));
    assert_eq!(read(&mut meter, &mut word), Err(Exception::ServerDeviceFailure));
    assert!(get(&mut meter, READER, unit, None).is_ok() && get(&mut meter, READER, energy, None).is_ok());
    assert_eq!(meter.page(Page::Supply), "NO MEASUREMENT");
    assert!(events(&mut meter).contains(&Event::MeasurementError));
    meter.board().metering_fails = false;
    pass(&mut meter, 1);
    assert!(get(&mut meter, READER, voltage, None).is_ok());
}
