//! Too much power, too much current, bad voltage.

use super::{board, credit_token, decoder_key, digits_of, events, pass, personalisation};
use crate::protection::Limits;
use crate::test_board::TestBoard;
use crate::{Meter, Personalisation};
use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::{RelayReason, Trigger};
use protocol::cosem::events::Event;
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::sts::{AmountCode, Management, Rnd, Tid, Token};
use protocol::time::Instant;

fn who(limits: Limits) -> Personalisation {
    let mut who = personalisation();
    who.account.payment_mode = PaymentMode::Credit;
    who.options.limits = limits;
    who
}

fn meter_with(limits: Limits) -> Meter<TestBoard> {
    Meter::new(board(), who(limits), Instant::ZERO).unwrap()
}

const LIMITER: Limits = Limits {
    normal_w: 3_000,
    emergency_w: 500,
    over_s: 30,
    under_s: 60,
    emergency_id: 7,
    emergency_from_utc_s: 1_767_225_600 + 1_000,
    emergency_duration_s: 600,
    emergency_group: 7,
    over_current_ma: 0,
    under_voltage_mv: 0,
    over_voltage_mv: 0,
    voltage_s: 0,
    trips_max: 3,
};

#[test]
fn overload_opens_after_its_time_and_closes_after_its_time() {
    let mut meter = meter_with(LIMITER);
    meter.board().load_mw = 4_000_000;
    pass(&mut meter, 30);
    assert!(meter.board().closed);
    pass(&mut meter, 1);
    assert!(!meter.board().closed);
    assert_eq!(meter.status().reason, RelayReason::Overload);
    meter.board().load_mw = 1_000_000;
    pass(&mut meter, 60);
    assert!(!meter.board().closed, "patience");
    pass(&mut meter, 1);
    assert!(meter.board().closed);
    pass(&mut meter, 300);
    assert!(meter.board().closed);
}

#[test]
fn the_third_trip_locks_out_until_somebody_commands_it_even_over_a_restart() {
    let mut meter = meter_with(LIMITER);
    meter.board().load_mw = 4_000_000;
    pass(&mut meter, 600);
    assert_eq!(meter.status().reason, RelayReason::LockedOut);
    assert_eq!(events(&mut meter).iter().filter(|e| **e == Event::OverloadTrip).count(), 3);
    meter.board().load_mw = 100_000;
    let board = meter.into_board();
    let now = Instant::from_millis(board.now_ms);
    let mut meter = Meter::new(board, who(LIMITER), now).unwrap();
    pass(&mut meter, 600);
    assert!(!meter.board().closed);
    assert!(meter.press_button().is_err());
    meter.command_relay(Trigger::RemoteDisconnect).unwrap();
    meter.command_relay(Trigger::RemoteReconnect).unwrap();
    assert!(meter.board().closed);
}

#[test]
fn in_an_emergency_the_lower_threshold_counts_and_only_then() {
    let mut meter = meter_with(LIMITER);
    pass(&mut meter, 999);
    assert!(meter.board().closed, "a kilowatt is allowed");
    pass(&mut meter, 40);
    assert_eq!(meter.status().reason, RelayReason::Overload);
    pass(&mut meter, 1_200);
    // It tried again twice in the emergency and is locked out by the third trip.
    assert_eq!(meter.status().reason, RelayReason::LockedOut);
    let mut other = meter_with(Limits { emergency_group: 8, ..LIMITER });
    pass(&mut other, 1_200);
    assert!(other.board().closed, "the emergency of another group");
}

#[test]
fn over_current_opens_within_two_samples_and_one_inrush_does_not() {
    let mut meter = meter_with(Limits { over_current_ma: 60_000, under_s: 60, ..Limits::default() });
    meter.board().load_mw = 20_000_000;
    pass(&mut meter, 1);
    meter.board().load_mw = 1_000_000;
    pass(&mut meter, 10);
    assert!(meter.board().closed);
    meter.board().load_mw = 20_000_000;
    pass(&mut meter, 2);
    assert_eq!(meter.status().reason, RelayReason::OverCurrent);
}

#[test]
fn bad_voltage_opens_and_good_voltage_closes_again() {
    let limits = Limits {
        under_voltage_mv: 180_000,
        over_voltage_mv: 265_000,
        voltage_s: 10,
        under_s: 60,
        ..Limits::default()
    };
    for bad in [150_000, 300_000] {
        let mut meter = meter_with(limits);
        meter.board().voltage_mv = bad;
        pass(&mut meter, 11);
        assert_eq!(meter.status().reason, RelayReason::Voltage);
        pass(&mut meter, 500);
        assert!(!meter.board().closed, "as long as it is bad");
        meter.board().voltage_mv = 230_000;
        pass(&mut meter, 62);
        assert!(meter.board().closed);
    }
}

#[test]
fn a_token_sets_the_power_limit() {
    let (_, key, _) = decoder_key(1);
    let mut meter = meter_with(Limits { over_s: 5, under_s: 60, ..Limits::default() });
    let Token::Credit { tid, .. } = credit_token(1, 1) else { panic!("a credit token") };
    let limit = |watts: u32, tid: Tid| {
        let action = Management::MaximumPowerLimit(AmountCode::round_up(watts).unwrap());
        digits_of(&Token::Management { action, rnd: Rnd::new(5), tid }, &key)
    };
    let result = meter.receive_token(limit(800, tid).as_bytes(), DeliveryMethod::Remote);
    assert_eq!(result.code(), 1);
    pass(&mut meter, 7);
    assert_eq!(meter.status().reason, RelayReason::Overload);
    let later = Tid::from_minutes(tid.minutes() + 5).unwrap();
    let result = meter.receive_token(limit(90_000, later).as_bytes(), DeliveryMethod::Remote);
    assert_eq!(result, protocol::sts::meter::TokenResult::Range);
}
