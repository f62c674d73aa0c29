//! Buying, using, running out.

use super::{board, events, pass, personalisation, start, token, token_for};
use crate::test_board::TestBoard;
use crate::{Meter, digits_of};
use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::{ControlState, RelayReason};
use protocol::cosem::events::Event;
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::sts::meter::TokenResult;
use protocol::time::Instant;

fn push(meter: &mut Meter<TestBoard>, digits: &str) -> TokenResult {
    meter.receive_token(digits.as_bytes(), DeliveryMethod::Remote)
}

#[test]
fn a_household_runs_out_buys_and_has_supply_again() {
    let mut meter = start(board());
    // One kilowatt uses the thousand watt-hours in an hour.
    pass(&mut meter, 3_599);
    assert_eq!(meter.status().output_closed, Some(true));
    assert_eq!(meter.status().credit_wh, 1);
    pass(&mut meter, 1);
    let status = meter.status();
    assert_eq!((status.credit_wh, status.import_wh), (0, 1_000));
    assert_eq!(
        (status.control_state, status.reason),
        (ControlState::ReadyForReconnection, RelayReason::NoCredit)
    );
    assert!(!meter.board().closed, "the contact is open");

    pass(&mut meter, 600);
    assert_eq!(meter.status().import_wh, 1_000, "nothing is used any more");

    assert_eq!(push(&mut meter, &token(100, 1)), TokenResult::Accept);
    let status = meter.status();
    assert_eq!((status.credit_wh, status.reason), (10_000, RelayReason::None));
    assert!(meter.board().closed);
    pass(&mut meter, 3_600);
    assert_eq!(meter.status().credit_wh, 9_000);
    let log = events(&mut meter);
    for event in [
        Event::LowCredit,
        Event::CreditExhausted,
        Event::LocalDisconnection,
        Event::TokenAccepted,
        Event::LocalReconnection,
    ] {
        assert_eq!(log.iter().filter(|e| **e == event).count(), 1, "{event:?} in {log:?}");
    }
}

#[test]
fn the_alarm_of_an_empty_account_waits_to_be_pushed() {
    let mut meter = start(board());
    pass(&mut meter, 3_600);
    let alarms: std::vec::Vec<_> = core::iter::from_fn(|| meter.next_alarm()).map(|a| a.event).collect();
    assert_eq!(alarms, [Event::LowCredit, Event::CreditExhausted, Event::LocalDisconnection]);
}

#[test]
fn a_token_works_once_however_it_comes() {
    let mut meter = start(board());
    let digits = token(50, 1);
    assert_eq!(push(&mut meter, &digits), TokenResult::Accept);
    assert_eq!(push(&mut meter, &digits), TokenResult::Used);
    assert_eq!(meter.type_token(&digits), TokenResult::Used);
    assert_eq!(meter.status().credit_wh, 6_000);
}

#[test]
fn a_token_for_another_meter_is_refused_and_the_refusal_says_so() {
    let mut meter = start(board());
    let result = push(&mut meter, &token_for(2, 50, 1));
    assert_eq!(result, TokenResult::Crc);
    let text = protocol::cosem::token_gateway::sts_text(result.code());
    assert!(text.contains("for another meter"), "{text}");
    assert_eq!(meter.status().credit_wh, 1_000);
}

#[test]
fn tokens_come_in_any_order_and_one_from_before_manufacture_is_old() {
    let mut meter = start(board());
    assert_eq!(push(&mut meter, &token(10, 9)), TokenResult::Accept);
    assert_eq!(push(&mut meter, &token(10, 3)), TokenResult::Accept);
    let (_, key, _) = super::decoder_key(1);
    let old = protocol::sts::Token::Credit {
        service: protocol::sts::Service::Electricity,
        amount: protocol::sts::AmountCode::from_field(10),
        rnd: protocol::sts::Rnd::new(5),
        tid: protocol::sts::Tid::from_minutes(super::TID - 500).unwrap(),
    };
    let cipher = protocol::sts::TokenCipher::new(&key, &protocol::sts::SAMPLE);
    assert_eq!(
        meter.receive_token(old.encode(&cipher).digits().as_bytes(), DeliveryMethod::Remote),
        TokenResult::Old
    );
}

#[test]
fn a_token_that_would_overflow_the_register_is_refused_and_works_later() {
    let mut who = personalisation();
    who.account.initial_credit_wh = crate::ledger::CREDIT_MAX - 500;
    let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
    let digits = token(6, 1);
    assert_eq!(push(&mut meter, &digits), TokenResult::Overflow);
    pass(&mut meter, 3_600);
    assert_eq!(push(&mut meter, &digits), TokenResult::Accept);
}

#[test]
fn typing_takes_digits_with_spaces_and_locks_after_three_wrong_ones() {
    let mut meter = start(board());
    let good = token(10, 1);
    let spaced: std::string::String = good
        .as_bytes()
        .chunks(4)
        .map(|c| core::str::from_utf8(c).unwrap())
        .collect::<std::vec::Vec<_>>()
        .join(" ");
    let wrong = "00000000000000000001";
    for _ in 0..3 {
        assert_ne!(meter.type_token(wrong), TokenResult::Accept);
    }
    assert_eq!(meter.type_token(&spaced), TokenResult::Lockout);
    // The network is not locked out by a person at the keypad.
    assert_eq!(push(&mut meter, &token(20, 2)), TokenResult::Accept);
    assert_eq!(meter.type_token(&spaced), TokenResult::Accept, "an accepted token opened the keypad again");
    assert_eq!(meter.status().credit_wh, 4_000);
}

#[test]
fn in_credit_mode_the_supply_stays_on() {
    let mut who = personalisation();
    who.account.payment_mode = PaymentMode::Credit;
    let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
    pass(&mut meter, 7_200);
    assert_eq!(meter.status().credit_wh, -1_000);
    assert!(meter.board().closed);
}

#[test]
fn a_token_in_nine_bytes_is_the_same_token() {
    let digits = token(10, 1);
    let value: u128 = digits.parse().unwrap();
    let bytes: [u8; 9] = value.to_be_bytes()[7..].try_into().unwrap();
    assert_eq!(digits_of(&bytes).unwrap(), *digits.as_bytes());
    assert_eq!(digits_of(&[0xff; 9]), None, "beyond twenty digits");
    assert_eq!(digits_of(b"1234"), None);
    assert_eq!(digits_of(b"1234567890123456789x"), None);
}
