//! What the network sees: the object model asked directly, and our own client through a link.

use super::{TID, board, events, pass, start, token, token_for};
use crate::objects::client;
use crate::test_board::TestBoard;
use crate::{Meter, Port};
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult, SelectiveAccess};
use protocol::cosem::clock::date_time;
use protocol::cosem::disconnect::{self, ControlState, RelayReason};
use protocol::cosem::events::{Event, EventRow};
use protocol::cosem::profile::{EntryDescriptor, LoadRow, RangeDescriptor};
use protocol::cosem::token_gateway::{self, TokenStatus, TokenStatusCode};
use protocol::cosem::{FromData, account, credit, obis, register};
use protocol::dlms::client::{Client, Config, Event as Told};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, PIECE_MAX, Piece};
use protocol::dlms::security::{CounterBlock, Key, Secret, SecurityPolicy, SecuritySuite, SystemTitle};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{Event as Linked, Link};
use protocol::time::Instant;
use std::vec;
use std::vec::Vec;

pub(super) const READER: Caller = Caller { client_sap: client::READER, authenticated: false };
pub(super) const VENDING: Caller = Caller { client_sap: client::VENDING, authenticated: true };
pub(super) const MANAGEMENT: Caller = Caller { client_sap: client::MANAGEMENT, authenticated: true };

/// All pieces of an attribute, joined.
pub(super) fn get(
    meter: &mut Meter<TestBoard>,
    caller: Caller,
    at: Attribute,
    selection: Option<SelectiveAccess<'_>>,
) -> Result<Vec<u8>, DataAccessResult> {
    let mut whole = Vec::new();
    for piece in 0.. {
        let mut buffer = [0xa5; PIECE_MAX];
        let mut w = SliceWriter::new(&mut buffer);
        let end = meter.get(caller, at, selection, piece, &mut w)?;
        whole.extend_from_slice(w.as_slice());
        if end == Piece::Last {
            break;
        }
    }
    Ok(whole)
}

pub(super) fn act(
    meter: &mut Meter<TestBoard>,
    caller: Caller,
    at: Method,
    parameter: Data<'_>,
) -> Result<bool, ActionResult> {
    let mut buffer = [0; 16];
    meter.action(caller, at, Some(parameter), &mut SliceWriter::new(&mut buffer))
}

#[test]
fn every_attribute_the_object_list_promises_is_a_whole_value_within_the_piece_bound() {
    let mut meter = start(board());
    pass(&mut meter, 1_000);
    meter.receive_token(token(10, 1).as_bytes(), token_gateway::DeliveryMethod::Remote);
    let own = Attribute { class_id: 15, logical_name: obis::ASSOCIATION, index: 2 };
    let list = get(&mut meter, MANAGEMENT, own, None).unwrap();
    let list = Data::from_bytes_in(&list).unwrap().as_array().unwrap();
    assert!(list.len() > 30);
    for object in list.iter() {
        let object = object.unwrap();
        let class_id = u16::from_data(object.field(0).unwrap()).unwrap();
        let logical_name = Obis::from_data(object.field(2).unwrap()).unwrap();
        let attributes = object.field(3).unwrap().field(0).unwrap().as_array().unwrap();
        for right in attributes.iter() {
            let right = right.unwrap();
            let index = i8::from_data(right.field(0).unwrap()).unwrap();
            // The association's own attributes but the object list are the engine's.
            if right.field(1).unwrap() == Data::Enum(0) || (class_id == 15 && index != 2 && index != 1) {
                continue;
            }
            let at = Attribute { class_id, logical_name, index };
            let bytes = get(&mut meter, MANAGEMENT, at, None).unwrap_or_else(|e| panic!("{at:?}: {e:?}"));
            assert!(Data::from_bytes_in(&bytes).is_ok(), "{at:?}: {bytes:02x?}");
        }
    }
}

#[test]
fn energy_credit_and_relay_are_read_with_the_types_both_ends_share() {
    let mut meter = start(board());
    pass(&mut meter, 360);
    let mut read = |at: Attribute| get(&mut meter, READER, at, None).unwrap();
    let bytes = read(register::VALUE.of(obis::IMPORT_ENERGY));
    assert_eq!(register::VALUE.decode_bytes(&bytes).unwrap(), Data::DoubleLongUnsigned(100));
    let bytes = read(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT));
    assert_eq!(credit::CURRENT_CREDIT_AMOUNT.decode_bytes(&bytes).unwrap(), 900);
    let bytes = read(account::MODE_AND_STATUS.of(obis::ACCOUNT));
    let mode = account::MODE_AND_STATUS.decode_bytes(&bytes).unwrap();
    assert_eq!(mode.payment_mode, account::PaymentMode::Prepayment);
    let bytes = read(disconnect::OUTPUT_STATE.of(obis::DISCONNECT));
    assert!(disconnect::OUTPUT_STATE.decode_bytes(&bytes).unwrap());
    let bytes = read(Attribute { class_id: 1, logical_name: obis::RELAY_REASON, index: 2 });
    assert_eq!(RelayReason::from_data(Data::from_bytes_in(&bytes).unwrap()).unwrap(), RelayReason::None);
}

#[test]
fn a_reader_can_neither_switch_nor_enter_tokens_nor_set_the_clock() {
    let mut meter = start(board());
    let off = disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT);
    assert_eq!(act(&mut meter, READER, off, Data::Integer(0)), Err(ActionResult::ReadWriteDenied));
    let pretender = Caller { client_sap: client::VENDING, authenticated: false };
    assert_eq!(act(&mut meter, pretender, off, Data::Integer(0)), Err(ActionResult::ObjectUndefined));
    let digits = token(10, 1);
    let enter = token_gateway::ENTER.of(obis::TOKEN_GATEWAY);
    let entered = act(&mut meter, READER, enter, Data::OctetString(digits.as_bytes()));
    assert_eq!(entered, Err(ActionResult::ReadWriteDenied));
    let clock = Attribute { class_id: 8, logical_name: obis::CLOCK, index: 2 };
    let time = date_time(1_800_000_000, 0, 0).to_bytes();
    assert_eq!(
        meter.set(READER, clock, None, Data::OctetString(&time)),
        Err(DataAccessResult::ReadWriteDenied)
    );
    assert_eq!(meter.set(VENDING, clock, None, Data::OctetString(&time)), Ok(()));
    assert_eq!(meter.board().utc_s, Some(1_800_000_000));
}

#[test]
fn the_load_profile_is_read_whole_by_time_by_entry_and_by_column() {
    let mut meter = start(board());
    let begin = meter.board().utc_s.unwrap();
    pass(&mut meter, 4 * 3_600);
    let buffer = Attribute { class_id: 7, logical_name: obis::LOAD_PROFILE, index: 2 };
    let rows = |bytes: &[u8]| -> Vec<LoadRow> {
        let array = Data::from_bytes_in(bytes).unwrap().as_array().unwrap();
        array.iter().map(|row| LoadRow::from_data(row.unwrap()).unwrap()).collect()
    };
    let all = rows(&get(&mut meter, READER, buffer, None).unwrap());
    assert_eq!(all.len(), 16, "every quarter of four hours");
    assert_eq!(all[0].utc_s, begin + 900);
    assert_eq!((all[0].import_wh, all[3].import_wh), (250, 1_000));

    let mut scratch = [0; 128];
    let range = RangeDescriptor::by_clock(date_time(begin + 1_800, 60, 0), date_time(begin + 3_600, 60, 0));
    let selection = range.to_selective_access(&mut scratch).unwrap();
    let some = rows(&get(&mut meter, READER, buffer, Some(selection)).unwrap());
    assert_eq!(some, all[1..4]);

    let mut scratch = [0; 128];
    let selection = EntryDescriptor::entries(15, 0).to_selective_access(&mut scratch).unwrap();
    assert_eq!(rows(&get(&mut meter, READER, buffer, Some(selection)).unwrap()), all[14..]);

    let mut scratch = [0; 128];
    let column = EntryDescriptor { from_entry: 1, to_entry: 1, from_value: 3, to_value: 3 };
    let selection = column.to_selective_access(&mut scratch).unwrap();
    let bytes = get(&mut meter, READER, buffer, Some(selection)).unwrap();
    assert_eq!(bytes, [1, 1, 2, 1, 6, 0, 0, 0, 250]);
}

#[test]
fn the_event_log_is_evidence_nobody_clears() {
    let mut meter = start(board());
    pass(&mut meter, 3_600);
    let log = Attribute { class_id: 7, logical_name: obis::EVENT_LOG, index: 2 };
    let bytes = get(&mut meter, READER, log, None).unwrap();
    let array = Data::from_bytes_in(&bytes).unwrap().as_array().unwrap();
    let last = EventRow::from_data(array.get(array.len() - 1).unwrap()).unwrap();
    assert_eq!((last.code, last.detail), (Event::LocalDisconnection as u8, RelayReason::NoCredit as i32));
    let clear = Method { class_id: 7, logical_name: obis::EVENT_LOG, index: 1 };
    assert_eq!(act(&mut meter, MANAGEMENT, clear, Data::Integer(0)), Err(ActionResult::ReadWriteDenied));
}

/// Our own client on one end of a wrapper link, a port of the meter on the other.
pub(super) struct Wire {
    pub(super) meter: Meter<TestBoard>,
    pub(super) port: Port<Wrapper<Vec<u8>>>,
    link: Wrapper<Vec<u8>>,
    pub(super) client: Client<512, 128>,
    now: Instant,
    /// Every frame the client sent.
    pub(super) sent: Vec<Vec<u8>>,
}

/// A value read, a result, or the failure.
pub(super) type Answer = Result<Vec<u8>, protocol::dlms::client::Error>;

impl Wire {
    pub(super) fn new(meter: Meter<TestBoard>, sap: u16, config: Config, first_counter: u32) -> Self {
        let now = Instant::from_millis(1);
        let buffer = || vec![0; 600];
        let mut link = Wrapper::new(wrapper::Config::client(sap, 1), buffer(), buffer());
        link.open(now);
        Self {
            meter,
            port: Port::new(Wrapper::new(wrapper::Config::server(Some(1)), buffer(), buffer()), now),
            link,
            client: Client::new(config, CounterBlock::new(first_counter, 1_000)),
            now,
            sent: Vec::new(),
        }
    }

    /// Carries bytes until both ends are quiet; gives what the client was told.
    pub(super) fn settle(&mut self) -> Answer {
        let mut value = Vec::new();
        loop {
            let mut quiet = true;
            while let Some(event) = self.client.poll_event() {
                quiet = false;
                match event {
                    Told::Value { bytes, .. } => value.extend_from_slice(bytes),
                    Told::Failed(failure) => return Err(failure.error),
                    _ => {}
                }
            }
            while let Some(apdu) = self.client.poll_transmit() {
                quiet = false;
                self.link.send(self.now, apdu).unwrap();
            }
            let mut bytes = [0; 700];
            while let Some(n) = self.link.poll_transmit(self.now, &mut bytes) {
                quiet = false;
                self.sent.push(bytes[..n].to_vec());
                // One byte at a time: the port must not care.
                for byte in &bytes[..n] {
                    self.port.handle_bytes(self.now, &[*byte], &mut self.meter);
                }
            }
            while let Some(n) = self.port.poll_transmit(self.now, &mut bytes) {
                quiet = false;
                let mut rest = &bytes[..n];
                while !rest.is_empty() {
                    let taken = self.link.handle_bytes(self.now, rest);
                    rest = &rest[taken..];
                    while let Some(event) = self.link.poll_event() {
                        if let Linked::Apdu(apdu) = event {
                            self.client.handle_bytes(self.now, apdu);
                        }
                    }
                }
            }
            if quiet {
                return Ok(value);
            }
        }
    }

    /// A stranger sends what was recorded; nobody looks at the answer.
    pub(super) fn replay(&mut self, frame: &[u8]) {
        self.port.handle_bytes(self.now, frame, &mut self.meter);
        let mut out = [0; 700];
        while self.port.poll_transmit(self.now, &mut out).is_some() {}
    }

    pub(super) fn release(&mut self) -> Answer {
        self.client.release(self.now).unwrap();
        self.settle()
    }

    pub(super) fn associate(&mut self) -> Answer {
        let mut random = [7; 32];
        random[0] = 9;
        self.client.associate(self.now, &random).unwrap();
        self.settle()
    }

    pub(super) fn get(&mut self, at: Attribute) -> Answer {
        self.client.get(self.now, at, None).unwrap();
        self.settle()
    }

    pub(super) fn action(&mut self, at: Method, parameter: Data<'_>) -> Answer {
        self.client.action(self.now, at, Some(parameter)).unwrap();
        self.settle()
    }
}

pub(super) fn secured() -> Config {
    Config {
        mechanism: AuthMechanism::HighGmac,
        policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0),
        system_title: SystemTitle(*b"GWY\0\0\0\0\x01"),
        encryption_key: Some(Key::new(core::array::from_fn(|i| i as u8))),
        authentication_key: Some(Key::new(core::array::from_fn(|i| 0xD0 + i as u8))),
        ..Config::default()
    }
}

#[test]
fn the_gateway_pushes_a_token_and_reads_back_what_it_did() {
    let mut meter = start(board());
    pass(&mut meter, 3_700);
    assert!(!meter.board().closed);
    let mut wire = Wire::new(meter, 18, secured(), 1);
    wire.associate().unwrap();
    let digits = token(100, 1);
    let enter = token_gateway::ENTER.of(obis::TOKEN_GATEWAY);
    wire.action(enter, Data::OctetString(digits.as_bytes())).unwrap();
    let status = wire.get(token_gateway::TOKEN_STATUS.of(obis::TOKEN_GATEWAY)).unwrap();
    let status = token_gateway::TOKEN_STATUS.decode_bytes(&status).unwrap();
    assert_eq!(status, TokenStatus { code: TokenStatusCode::ExecutionOk, data_value: 1 });
    let amount = wire.get(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT)).unwrap();
    assert_eq!(credit::CURRENT_CREDIT_AMOUNT.decode_bytes(&amount).unwrap(), 10_000);
    let state = wire.get(disconnect::CONTROL_STATE.of(obis::DISCONNECT)).unwrap();
    assert_eq!(disconnect::CONTROL_STATE.decode_bytes(&state).unwrap(), ControlState::Connected);
    let output = wire.get(disconnect::OUTPUT_STATE.of(obis::DISCONNECT)).unwrap();
    assert!(disconnect::OUTPUT_STATE.decode_bytes(&output).unwrap());

    // The same token again: delivered, and refused by the meter as used.
    wire.action(enter, Data::OctetString(digits.as_bytes())).unwrap();
    let status = wire.get(token_gateway::TOKEN_STATUS.of(obis::TOKEN_GATEWAY)).unwrap();
    let status = token_gateway::TOKEN_STATUS.decode_bytes(&status).unwrap();
    assert_eq!(status, TokenStatus { code: TokenStatusCode::ValidationFailure, data_value: 10 });
    let foreign = token_for(2, 5, 3);
    wire.action(enter, Data::OctetString(foreign.as_bytes())).unwrap();
    let status = wire.get(token_gateway::TOKEN_STATUS.of(obis::TOKEN_GATEWAY)).unwrap();
    assert_eq!(
        token_gateway::TOKEN_STATUS.decode_bytes(&status).unwrap().code,
        TokenStatusCode::AuthenticationFailure
    );
    let kept = wire.get(Attribute { class_id: 115, logical_name: obis::TOKEN_GATEWAY, index: 2 }).unwrap();
    assert_eq!(Data::from_bytes_in(&kept).unwrap(), Data::OctetString(foreign.as_bytes()));
}

#[test]
fn a_long_profile_comes_in_blocks() {
    let mut meter = start(board());
    pass(&mut meter, 8 * 3_600);
    let config = Config {
        mechanism: AuthMechanism::Low,
        secret: Some(Secret::new(b"Reader01").unwrap()),
        ..Config::default()
    };
    let mut wire = Wire::new(meter, 17, config, 0);
    wire.associate().unwrap();
    let bytes = wire.get(Attribute { class_id: 7, logical_name: obis::LOAD_PROFILE, index: 2 }).unwrap();
    assert!(bytes.len() > 900, "more than an APDU holds");
    let rows = Data::from_bytes_in(&bytes).unwrap().as_array().unwrap();
    assert_eq!(rows.len(), 32);
    assert!(rows.iter().all(|row| LoadRow::from_data(row.unwrap()).is_ok()));
}

#[test]
fn a_wrong_password_or_key_opens_nothing() {
    let wrong_password = Config {
        mechanism: AuthMechanism::Low,
        secret: Some(Secret::new(b"Reader02").unwrap()),
        ..Config::default()
    };
    let mut wire = Wire::new(start(board()), 17, wrong_password, 0);
    assert!(wire.associate().is_err());
    let wrong_key = Config { encryption_key: Some(Key::new([9; 16])), ..secured() };
    let mut wire = Wire::new(start(board()), 18, wrong_key, 1);
    assert!(wire.associate().is_err());
    assert_eq!(wire.port.associated(), None);
    assert!(wire.port.refused() > 0);
    let log = events(&mut wire.meter);
    assert!(log.contains(&Event::AssociationRefused) || log.contains(&Event::FrameRefused), "{log:?}");
}

#[test]
fn recorded_counters_are_refused_even_after_a_restart() {
    let mut wire = Wire::new(start(board()), 18, secured(), 100);
    wire.associate().unwrap();
    let counter = Attribute { class_id: 1, logical_name: obis::INVOCATION_COUNTER, index: 2 };
    wire.get(counter).unwrap();
    let restarted = start(wire.meter.into_board());
    let public = Caller { client_sap: client::PUBLIC, authenticated: false };
    let mut meter = restarted;
    let bytes = get(&mut meter, public, counter, None).unwrap();
    let seen = u32::from_data(Data::from_bytes_in(&bytes).unwrap()).unwrap();
    assert!(seen >= 102, "AARQ, challenge and request used three: {seen}");
    let mut replay = Wire::new(meter, 18, secured(), 100);
    assert!(replay.associate().is_err());
    let mut fresh = Wire::new(replay.meter, 18, secured(), seen + 1);
    assert!(fresh.associate().is_ok());
}

#[test]
fn garbage_at_the_port_neither_stops_nor_changes_the_meter() {
    let meter = start(board());
    let config = Config { secret: None, ..Config::default() };
    let mut wire = Wire::new(meter, 16, config, 0);
    let mut seed = u64::from(TID);
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chunk = seed.to_be_bytes();
        wire.port.handle_bytes(wire.now, &chunk[..(seed % 8) as usize], &mut wire.meter);
        let mut out = [0; 700];
        while wire.port.poll_transmit(wire.now, &mut out).is_some() {}
    }
    // A port under a flood is hung up by its owner; the meter has not noticed.
    assert_eq!(wire.meter.status().credit_wh, 1_000);
    assert!(!events(&mut wire.meter).contains(&Event::TokenAccepted));
    let mut again = Wire::new(wire.meter, 16, Config::default(), 0);
    again.associate().unwrap();
    let name = Attribute { class_id: 1, logical_name: obis::LOGICAL_DEVICE_NAME, index: 2 };
    let bytes = again.get(name).unwrap();
    assert_eq!(Data::from_bytes_in(&bytes).unwrap(), Data::OctetString(b"MGW0000000000001"));
}

#[test]
fn management_sets_the_daily_charge_and_a_debt_and_nobody_else_does() {
    use protocol::cosem::charge;
    let mut meter = start(board());
    // Array of one row {index, 250 units}.
    let row = [1, 1, 2, 2, 9, 1, 1, 16, 0, 250];
    let amount = Data::from_bytes_in(&row).unwrap();
    let update = charge::UPDATE_UNIT_CHARGE.of(obis::DAILY_CHARGE);
    assert_eq!(act(&mut meter, VENDING, update, amount), Err(ActionResult::ReadWriteDenied));
    assert_eq!(act(&mut meter, MANAGEMENT, update, amount), Ok(false));
    let activate = charge::ACTIVATE_PASSIVE_UNIT_CHARGE.of(obis::DAILY_CHARGE);
    assert_eq!(act(&mut meter, MANAGEMENT, activate, Data::Integer(0)), Ok(false));
    let bytes = get(&mut meter, READER, charge::UNIT_CHARGE_ACTIVE.of(obis::DAILY_CHARGE), None).unwrap();
    let table = charge::UNIT_CHARGE_ACTIVE.decode_bytes(&bytes).unwrap();
    assert_eq!((table.rows[0].charge_per_unit, table.price_scale), (250, 0));

    let owe = charge::SET_TOTAL_AMOUNT_REMAINING.of(obis::DEBT_CHARGE);
    assert_eq!(act(&mut meter, MANAGEMENT, owe, Data::DoubleLong(-1)), Err(ActionResult::OtherReason));
    assert_eq!(act(&mut meter, MANAGEMENT, owe, Data::DoubleLong(5_000)), Ok(false));
    let bytes = get(&mut meter, READER, account::AGGREGATED_DEBT.of(obis::ACCOUNT), None).unwrap();
    assert_eq!(account::AGGREGATED_DEBT.decode_bytes(&bytes).unwrap(), 5_000);
    let changes = Attribute { class_id: 1, logical_name: obis::CONFIGURATION_CHANGES, index: 2 };
    let bytes = get(&mut meter, READER, changes, None).unwrap();
    assert_eq!(u32::from_data(Data::from_bytes_in(&bytes).unwrap()).unwrap(), 3);
    assert!(events(&mut meter).contains(&Event::ParametersChanged));
}

#[test]
fn a_meter_whose_clock_stopped_says_so_and_goes_on_selling() {
    let mut dark = board();
    dark.utc_s = None;
    let mut meter = start(dark);
    pass(&mut meter, 2_000);
    assert_eq!(meter.status().credit_wh, 1_000 - 555);
    assert_eq!(meter.receive_token(token(10, 1).as_bytes(), token_gateway::DeliveryMethod::Remote).code(), 1);
    assert!(events(&mut meter).contains(&Event::ClockInvalid));
    let clock = Attribute { class_id: 8, logical_name: obis::CLOCK, index: 4 };
    let status = get(&mut meter, READER, clock, None).unwrap();
    assert_eq!(status, [17, protocol::cosem::clock::INVALID]);
    let rows = Attribute { class_id: 7, logical_name: obis::LOAD_PROFILE, index: 7 };
    assert_eq!(get(&mut meter, READER, rows, None).unwrap(), [6, 0, 0, 0, 0], "no row without a time");
    // It is set, and the profile begins.
    let time = date_time(1_800_000_000, 0, 0).to_bytes();
    let at = Attribute { class_id: 8, logical_name: obis::CLOCK, index: 2 };
    meter.set(VENDING, at, None, Data::OctetString(&time)).unwrap();
    pass(&mut meter, 1_900);
    assert_eq!(get(&mut meter, READER, rows, None).unwrap(), [6, 0, 0, 0, 2]);
}
