//! Operators, buttons and bad contacts.

use super::{board, events, pass, personalisation, start, token};
use crate::Meter;
use protocol::cosem::disconnect::{ControlMode, ControlState, RelayReason, Trigger};
use protocol::cosem::events::Event;
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::time::Instant;

#[test]
fn an_operator_disconnects_and_energy_stops_until_he_reconnects() {
    let mut meter = start(board());
    pass(&mut meter, 36);
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    assert!(!meter.board().closed, "at once");
    let before = meter.status();
    assert_eq!((before.control_state, before.reason), (ControlState::Disconnected, RelayReason::Remote));
    pass(&mut meter, 600);
    assert_eq!(meter.status().import_wh, before.import_wh);
    // A customer's payment does not undo it.
    meter.receive_token(token(10, 1).as_bytes(), DeliveryMethod::Remote);
    assert!(!meter.board().closed);
    assert!(meter.press_button().is_err());
    meter.command_relay(Trigger::RemoteReconnect).unwrap();
    assert!(meter.board().closed);
}

#[test]
fn where_supply_does_not_return_by_itself_a_person_presses_the_button_and_only_with_credit() {
    let mut who = personalisation();
    who.control_mode = ControlMode::CLOSE_REMOTELY;
    let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
    pass(&mut meter, 3_600);
    assert_eq!(meter.press_button().unwrap_err().held_by, Some(RelayReason::NoCredit));
    meter.receive_token(token(10, 1).as_bytes(), DeliveryMethod::Remote);
    pass(&mut meter, 10);
    assert!(!meter.board().closed, "armed, not closed");
    meter.press_button().unwrap();
    assert!(meter.board().closed);
    assert!(events(&mut meter).contains(&Event::ManualConnection));
}

#[test]
fn reconnecting_a_meter_without_credit_lifts_the_operators_block_and_leaves_the_other() {
    let mut who = personalisation();
    who.control_mode = ControlMode::CLOSE_REMOTELY;
    let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
    pass(&mut meter, 3_600);
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    let pulses = meter.board().pulses;
    meter.command_relay(Trigger::RemoteReconnect).unwrap();
    let status = meter.status();
    assert_eq!(
        (status.control_state, status.reason),
        (ControlState::ReadyForReconnection, RelayReason::NoCredit)
    );
    assert_eq!(meter.board().pulses, pulses, "the contact never closed in between");
}

#[test]
fn a_relay_that_accepts_and_does_not_move_is_sensed_and_reported_once() {
    let mut meter = start(board());
    meter.board().stuck = true;
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    pass(&mut meter, 20);
    assert_eq!(meter.status().control_state, ControlState::Disconnected);
    assert!(meter.status().output_closed, "what the contact says");
    assert!(meter.status().relay_faulty);
    let log = events(&mut meter);
    assert_eq!(log.iter().filter(|e| **e == Event::RelayFailure).count(), 1);
    assert_eq!(log.iter().filter(|e| **e == Event::RelayWelded).count(), 1, "and current still flows");
}

#[test]
fn current_through_an_open_contact_is_reported_as_welded() {
    let mut meter = start(board());
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    meter.board().bypassed = true;
    pass(&mut meter, 10);
    assert!(events(&mut meter).contains(&Event::RelayWelded));
    let before = meter.status().import_wh;
    pass(&mut meter, 36);
    assert_eq!(meter.status().import_wh, before + 10, "the energy is counted all the same");
}

#[test]
fn after_a_restart_the_contact_is_put_where_the_record_says() {
    let mut meter = start(board());
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    let mut board = meter.into_board();
    board.closed = true; // somebody moved the latch by hand while power was off
    let mut meter = start(board);
    assert!(!meter.board().closed);
}
