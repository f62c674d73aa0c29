//! The same meter on a Modbus line.

use super::{board, pass, personalisation, start};
use crate::{Meter, RtuServer};
use protocol::modbus::{Exception, PREPAID_METER, Quantity, Table};
use protocol::time::Instant;
use std::vec::Vec;

fn ask(
    rtu: &mut RtuServer,
    meter: &mut Meter<crate::test_board::TestBoard>,
    frame: &[u8],
) -> Option<Vec<u8>> {
    let now = Instant::from_millis(meter.board().now_ms);
    rtu.handle_bytes(now, frame, meter);
    rtu.poll_transmit().map(<[u8]>::to_vec)
}

/// Puts the check on a frame.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = body.to_vec();
    frame.extend_from_slice(&protocol::wire::crc16(body).to_le_bytes());
    frame
}

#[test]
fn a_master_reads_energy_switches_the_relay_and_senses_the_contact() {
    let mut meter = start(board());
    pass(&mut meter, 360);
    let mut rtu = RtuServer::new(1);
    // Modbus over serial line: station 1, function 4, address 16, four registers.
    let answer = ask(&mut rtu, &mut meter, &framed(&[1, 4, 0, 16, 0, 4])).unwrap();
    assert_eq!(answer, framed(&[1, 4, 8, 0, 0, 0, 0, 0, 0, 0, 100]));
    let answer = ask(&mut rtu, &mut meter, &framed(&[1, 5, 0, 0, 0, 0])).unwrap();
    assert_eq!(answer, framed(&[1, 5, 0, 0, 0, 0]));
    let answer = ask(&mut rtu, &mut meter, &framed(&[1, 2, 0, 0, 0, 1])).unwrap();
    assert_eq!(answer, framed(&[1, 2, 1, 0]), "the contact is open");
    assert!(!meter.board().closed);
    ask(&mut rtu, &mut meter, &framed(&[1, 15, 0, 0, 0, 1, 1, 1])).unwrap();
    assert!(meter.board().closed);
}

#[test]
fn a_frame_in_pieces_is_a_frame_and_one_for_another_station_is_not_ours() {
    let mut meter = start(board());
    let mut rtu = RtuServer::new(7);
    let frame = framed(&[7, 1, 0, 0, 0, 1]);
    for byte in &frame[..frame.len() - 1] {
        assert_eq!(ask(&mut rtu, &mut meter, &[*byte]), None);
    }
    assert_eq!(ask(&mut rtu, &mut meter, &frame[frame.len() - 1..]), Some(framed(&[7, 1, 1, 1])));
    assert_eq!(ask(&mut rtu, &mut meter, &framed(&[8, 1, 0, 0, 0, 1])), None);
    // A frame that broke off is forgotten after a silence.
    assert_eq!(ask(&mut rtu, &mut meter, &frame[..4]), None);
    meter.board().now_ms += 100;
    assert!(ask(&mut rtu, &mut meter, &frame).is_some());
}

#[test]
fn what_is_not_in_the_map_is_refused_by_its_exception() {
    let mut meter = start(board());
    let mut rtu = RtuServer::new(1);
    for (request, exception) in [
        (&[1, 3, 0, 0, 0, 1][..], Exception::IllegalFunction),
        (&[1, 4, 0, 26, 0, 1], Exception::IllegalDataAddress),
        (&[1, 4, 0, 0, 0, 126], Exception::IllegalDataValue),
        (&[1, 4, 0xff, 0xff, 0, 2], Exception::IllegalDataAddress),
        (&[1, 5, 0, 1, 0xff, 0], Exception::IllegalDataAddress),
        (&[1, 5, 0, 0, 0x12, 0], Exception::IllegalDataValue),
    ] {
        let answer = ask(&mut rtu, &mut meter, &framed(request)).unwrap();
        assert_eq!(answer, framed(&[1, request[1] | 0x80, exception as u8]), "{request:02x?}");
    }
    // A frame with a wrong check is nobody's.
    let mut wrong = framed(&[1, 4, 0, 16, 0, 4]);
    wrong[7] ^= 1;
    assert_eq!(ask(&mut rtu, &mut meter, &wrong), None);
    assert!(ask(&mut rtu, &mut meter, &framed(&[1, 4, 0, 16, 0, 4])).is_some());
    let mut who = personalisation();
    who.options.modbus_switches = false;
    let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
    assert_eq!(meter.modbus_write_coil(0, false), Err(Exception::IllegalFunction));
}

#[test]
fn every_entry_of_the_published_map_gives_the_meters_value() {
    let mut meter = start(board());
    pass(&mut meter, 720);
    let mut value = |quantity| {
        let entry = PREPAID_METER.iter().find(|e| e.quantity == quantity).unwrap();
        let mut words = [0; 8];
        let words = &mut words[..usize::from(entry.kind.registers())];
        meter.modbus_read(entry.table, entry.address, words).unwrap();
        (entry.value(words), words.to_vec())
    };
    assert_eq!(value(Quantity::ImportEnergy).0, Some(200));
    assert_eq!(value(Quantity::Voltage).0, Some(230_000));
    assert_eq!(value(Quantity::Power).0, Some(1_000));
    assert_eq!(value(Quantity::Credit).0, Some(800));
    assert_eq!(value(Quantity::RelaySensed).0, Some(1));
    let (_, serial) = value(Quantity::Serial);
    let bytes: Vec<u8> = serial.iter().flat_map(|w| w.to_be_bytes()).take_while(|b| *b != 0).collect();
    assert_eq!(bytes, meter.serial().as_str().as_bytes());
    assert_eq!(meter.modbus_read(Table::Holding, 0, &mut [0]), Err(Exception::IllegalDataAddress));
}

#[test]
fn sizes_stay_within_the_meters_memory() {
    let meter = size_of::<Meter<crate::test_board::TestBoard>>() - size_of::<crate::test_board::TestBoard>();
    let port = size_of::<crate::Port<protocol::link::wrapper::Wrapper<[u8; crate::APDU_MAX]>>>();
    std::println!("meter {meter} bytes, port over the wrapper {port} bytes");
    assert!(meter <= 4 * 1024, "{meter}");
}
