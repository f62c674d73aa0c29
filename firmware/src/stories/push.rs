//! Alarms that the meter sends by itself: where to, how often it tries, and the last word.

use super::wire::{MANAGEMENT, READER, VENDING, act, get};
use super::{board, pass, start};
use crate::test_board::TestBoard;
use crate::{Meter, Port};
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::class::ToData;
use protocol::cosem::events::Event;
use protocol::cosem::obis::PUSH_ON_ALARM;
use protocol::cosem::push_setup as class;
use protocol::cosem::push_setup::{MessageType, SendDestinationAndMethod, TransportService};
use protocol::dlms::model::{Attribute, Caller, ObjectModel};
use protocol::link::wrapper::{self, Wrapper};
use protocol::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

fn set(
    meter: &mut Meter<TestBoard>,
    caller: Caller,
    index: i8,
    value: &impl ToData,
) -> Result<(), DataAccessResult> {
    let mut buffer = [0xA5; 80];
    let mut w = SliceWriter::new(&mut buffer);
    value.put(&mut w).unwrap();
    let at = Attribute { class_id: class::CLASS, logical_name: PUSH_ON_ALARM, index };
    meter.set(caller, at, None, Data::from_bytes_in(w.as_slice()).unwrap())
}

fn head_end(destination: &[u8]) -> SendDestinationAndMethod<'_> {
    let (transport_service, message) = (TransportService::Tcp, MessageType::AXdr);
    SendDestinationAndMethod { transport_service, destination, message }
}

/// A meter that pushes to a head-end, tries again twice, after a minute each time.
fn pushing() -> Meter<TestBoard> {
    let mut meter = start(board());
    set(&mut meter, MANAGEMENT, 3, &head_end(b"10.0.0.7:4059")).unwrap();
    set(&mut meter, MANAGEMENT, 6, &2_u8).unwrap();
    set(&mut meter, MANAGEMENT, 7, &60_u16).unwrap();
    while meter.next_alarm().is_some() {}
    meter
}

#[test]
fn management_says_where_alarms_go_and_it_survives() {
    let mut meter = pushing();
    assert_eq!(set(&mut meter, VENDING, 6, &9_u8), Err(DataAccessResult::ReadWriteDenied));
    let by_mail = SendDestinationAndMethod { transport_service: TransportService::Smtp, ..head_end(b"x") };
    assert_eq!(set(&mut meter, MANAGEMENT, 3, &by_mail), Err(DataAccessResult::OtherReason));
    assert_eq!(set(&mut meter, MANAGEMENT, 3, &head_end(&[b'x'; 60])), Err(DataAccessResult::OtherReason));
    let mut meter = start(meter.into_board());
    assert_eq!(meter.push_destination(), b"10.0.0.7:4059");
    let at = Attribute { class_id: class::CLASS, logical_name: PUSH_ON_ALARM, index: 3 };
    let bytes = get(&mut meter, READER, at, None).unwrap();
    let told = class::SEND_DESTINATION_AND_METHOD.decode_bytes(&bytes).unwrap();
    assert_eq!(told.destination, b"10.0.0.7:4059");
    let at = Attribute { index: 2, ..at };
    let bytes = get(&mut meter, READER, at, None).unwrap();
    assert_eq!(Data::from_bytes_in(&bytes).unwrap().as_array().unwrap().len(), 4);
}

#[test]
fn an_alarm_is_tried_again_after_its_delay_and_given_up_after_its_retries() {
    let mut meter = pushing();
    meter.board().cover = true;
    pass(&mut meter, 2);
    let began = meter.now();
    for attempt in 0..3 {
        let at = began + Duration::from_secs(60 * attempt);
        let alarm = meter.due_alarm(at).expect("it is due");
        assert_eq!(alarm.event, Event::CoverOpened);
        meter.alarm_told(at, false);
        assert_eq!(meter.due_alarm(at + Duration::from_secs(59)), None, "patience");
    }
    assert_eq!(meter.due_alarm(began + Duration::from_secs(3_600)), None, "given up");
    // The next one begins anew.
    meter.board().cover = false;
    meter.board().magnet = true;
    pass(&mut meter, 2);
    let at = began + Duration::from_secs(3_600);
    assert_eq!(meter.due_alarm(at).map(|alarm| alarm.event), Some(Event::MagnetOn));
    meter.alarm_told(at, true);
    assert_eq!(meter.due_alarm(at), None);
    // Where nobody is named, nothing is due.
    let mut silent = start(board());
    silent.board().cover = true;
    pass(&mut silent, 2);
    assert_eq!(silent.due_alarm(at), None);
}

#[test]
fn cover_relay_and_the_last_word_go_out_as_protected_notifications() {
    let mut meter = pushing();
    let buffer = || vec![0; 600];
    let now = Instant::from_millis(1);
    let mut port = Port::new(Wrapper::new(wrapper::Config::server(Some(1)), buffer(), buffer()), now);
    let mut sent = |meter: &mut Meter<TestBoard>, seconds: u64| {
        let now = Instant::from_millis(seconds * 1_000);
        assert!(port.push_due(now, meter), "an alarm goes out");
        let (mut out, mut bytes) = ([0; 600], Vec::new());
        while let Some(n) = port.poll_transmit(now, &mut out) {
            bytes.extend_from_slice(&out[..n]);
        }
        bytes
    };
    meter.board().cover = true;
    pass(&mut meter, 2);
    let cover = sent(&mut meter, 100);
    // Wrapper, then general-glo-ciphering with the meter's system title.
    assert_eq!((&cover[..2], cover[8]), (&[0, 1][..], 0xDB));
    assert_eq!(cover[10..18], *b"MGW\0\0\0\0\x01");
    pass(&mut meter, 3_700);
    // Low credit, and the relay that opened for it.
    let mut events = Vec::new();
    while let Some(alarm) = meter.due_alarm(Instant::from_millis(200_000)) {
        events.push(alarm.event);
        assert!(!sent(&mut meter, 200).is_empty());
    }
    assert!(events.contains(&Event::LocalDisconnection), "{events:?}");
    meter.board().supply_failing = true;
    meter.watch_supply();
    assert_eq!(
        meter.due_alarm(Instant::from_millis(300_000)).map(|alarm| alarm.event),
        Some(Event::PowerDown)
    );
    assert!(!sent(&mut meter, 300).is_empty());
    // Asked for: the newest event again.
    act(&mut meter, MANAGEMENT, class::PUSH.of(PUSH_ON_ALARM), Data::Integer(0)).unwrap();
    assert!(!sent(&mut meter, 400).is_empty());
}
