//! Operators, buttons and bad contacts.

use super::wire::{READER, get};
use super::{board, events, pass, personalisation, start, token};
use crate::Meter;
use crate::display::Page;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::disconnect::{self, ControlMode, ControlState, RelayReason, Trigger};
use protocol::cosem::events::Event;
use protocol::cosem::obis;
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
    assert_eq!(meter.status().output_closed, Some(true), "what the contact says");
    assert!(meter.status().relay_faulty);
    let log = events(&mut meter);
    assert_eq!(log.iter().filter(|e| **e == Event::RelayFailure).count(), 1);
    assert_eq!(log.iter().filter(|e| **e == Event::RelayWelded).count(), 1, "and current still flows");
}

#[test]
fn a_contact_that_cannot_be_asked_is_unknown_to_everybody_and_reported_once() {
    let mut meter = start(board());
    meter.board().senseless = true;
    pass(&mut meter, 20);
    assert_eq!((meter.status().output_closed, meter.status().relay_faulty), (None, true));
    assert_eq!(meter.page(Page::Relay).as_str(), "SUPPLY UNKNOWN");
    assert_eq!(
        get(&mut meter, READER, disconnect::OUTPUT_STATE.of(obis::DISCONNECT), None),
        Err(DataAccessResult::HardwareFault)
    );
    let mut answer = [0; crate::MODBUS_FRAME_MAX];
    let length = meter.modbus_pdu(&[2, 0, 0, 0, 1], &mut answer);
    assert_eq!(answer[..length], [0x82, 4], "server device failure");
    assert_eq!(events(&mut meter).iter().filter(|e| **e == Event::RelayFailure).count(), 1);
    // A command is carried out all the same; what it came to is seen when the contact answers again.
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    assert_eq!(meter.status().output_closed, None);
    meter.board().senseless = false;
    pass(&mut meter, 1);
    assert_eq!((meter.status().output_closed, meter.status().relay_faulty), (Some(false), false));
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

/// What each mode of class 70 does with each trigger, at the contact and in the states (Blue Book, table of the modes).
#[test]
fn every_control_mode_moves_the_contact_as_its_row_of_the_table_says() {
    // Mode; remote reconnection closes (else it arms); a person may open; the meter may close by itself.
    let table = [
        (1, false, true, false),
        (2, true, true, false),
        (3, false, false, false),
        (4, true, false, false),
        (5, false, true, true),
        (6, false, false, true),
    ];
    for (mode, closes, person_opens, returns) in table {
        let mut who = personalisation();
        who.control_mode = ControlMode::new(mode).unwrap();
        let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
        let state = |meter: &Meter<crate::test_board::TestBoard>| meter.status().control_state;
        // A remote command opens in every one of them, and a person cannot undo it.
        meter.command_relay(Trigger::RemoteDisconnect).unwrap();
        assert_eq!((state(&meter), meter.board().closed), (ControlState::Disconnected, false), "mode {mode}");
        assert!(meter.press_button().is_err(), "mode {mode}");
        meter.command_relay(Trigger::RemoteReconnect).unwrap();
        // Where it arms, a meter that may close by itself does so at once, for nothing holds it.
        let closed = closes || returns;
        assert_eq!(meter.board().closed, closed, "mode {mode}: after a remote reconnection");
        if !closed {
            assert_eq!(state(&meter), ControlState::ReadyForReconnection, "mode {mode}: armed");
            pass(&mut meter, 60);
            assert!(!meter.board().closed, "mode {mode}: until a person comes");
            meter.press_button().unwrap();
        }
        assert!(meter.board().closed, "mode {mode}");
        let log = events(&mut meter);
        assert_eq!(log.contains(&Event::RemoteConnection), closes, "mode {mode}");
        assert_eq!(log.contains(&Event::ReadyForReconnection), !closes, "mode {mode}");
        assert_eq!(log.contains(&Event::ManualConnection), !closed, "mode {mode}");

        // A person opens, and closes again.
        assert_eq!(meter.open_manually().is_ok(), person_opens, "mode {mode}");
        assert_eq!(meter.board().closed, !person_opens, "mode {mode}");
        if person_opens {
            assert_eq!(meter.status().reason, RelayReason::Manual, "mode {mode}");
            pass(&mut meter, 60);
            assert!(!meter.board().closed, "mode {mode}: what a person opened he closes");
            meter.press_button().unwrap();
        }
        // The credit runs out, and a token comes.
        pass(&mut meter, 4_000);
        let status = meter.status();
        assert_eq!(
            (status.control_state, status.reason),
            (ControlState::ReadyForReconnection, RelayReason::NoCredit)
        );
        assert!(meter.press_button().is_err(), "mode {mode}: no credit");
        meter.receive_token(token(10, 1).as_bytes(), DeliveryMethod::Remote);
        pass(&mut meter, 5);
        assert_eq!(meter.board().closed, returns, "mode {mode}: after a top-up");
        if !returns {
            meter.press_button().unwrap();
        }
        assert!(meter.board().closed && meter.status().reason == RelayReason::None, "mode {mode}");
    }
    // Mode 0 has no transition at all.
    let mut who = personalisation();
    who.control_mode = ControlMode::NONE;
    let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
    for trigger in [
        Trigger::RemoteDisconnect,
        Trigger::RemoteReconnect,
        Trigger::ManualDisconnect,
        Trigger::ManualReconnect,
    ] {
        assert!(meter.command_relay(trigger).is_err());
    }
    pass(&mut meter, 8_000);
    assert!(meter.board().closed && meter.status().credit_wh < 0, "supply goes on, and is counted");
}

#[test]
fn coil_pulses_are_given_three_times_and_not_for_ever() {
    let mut meter = start(board());
    let before = meter.board().pulses;
    meter.board().stuck = true;
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    pass(&mut meter, 600);
    assert_eq!(meter.board().pulses - before, 3);
    // A new command tries again.
    meter.board().stuck = false;
    meter.command_relay(Trigger::RemoteReconnect).unwrap();
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    pass(&mut meter, 5);
    assert!(!meter.board().closed && !meter.status().relay_faulty);
}
