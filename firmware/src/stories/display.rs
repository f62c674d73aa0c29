//! A person at the meter.

use super::{board, pass, personalisation, start, token};
use crate::Meter;
use crate::display::Page;
use crate::terms::{Emergency, Terms};
use protocol::cosem::disconnect::ControlMode;
use protocol::time::Instant;

#[test]
fn the_pages_say_what_a_call_centre_asks_for() {
    let mut meter = start(board());
    pass(&mut meter, 360);
    for (page, text) in [
        (Page::Credit, "CREDIT 900 Wh"),
        (Page::Energy, "ENERGY 0.100 kWh"),
        (Page::Power, "POWER 1000 W"),
        (Page::Supply, "230.0 V 4.34 A"),
        (Page::Relay, "SUPPLY ON"),
        (Page::LastToken, "NO TOKEN YET"),
        (Page::Clock, "2026-01-01 01:06"),
        (Page::Serial, "METER 01000000016"),
        (Page::Vending, "SG 123457 KRN 1 TI 01"),
        (Page::Debt, "DEBT 0 DAILY 0"),
        (Page::Emergency, "NO EMERGENCY CREDIT"),
    ] {
        assert_eq!(meter.page(page), text);
        assert_eq!(meter.typed(&std::format!("#{}#", page as u8)), text);
    }
    assert_eq!(meter.typed("#77#"), "NO SUCH CODE");
    assert_eq!(meter.typed("#999999#"), "NO SUCH CODE");
    assert_eq!(meter.typed("##"), "NO SUCH CODE");
}

#[test]
fn a_customer_without_credit_reads_why_takes_what_is_offered_and_types_a_token() {
    let mut who = personalisation();
    who.control_mode = ControlMode::CLOSE_REMOTELY;
    let emergency = Emergency { preset: 200, offered_at: 0, taken: false };
    who.options.terms = Terms { emergency, ..Terms::default() };
    let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
    pass(&mut meter, 3_600);
    assert_eq!(meter.page(Page::Relay), "SUPPLY OFF: no credit");
    assert_eq!(meter.typed("#91#"), "NOT NOW: no credit");
    assert_eq!(meter.page(Page::Emergency), "EMERGENCY CREDIT: #90#");
    assert_eq!(meter.typed("#90#"), "EMERGENCY LEFT 200 Wh");
    assert_eq!(meter.typed("#90#"), "NO EMERGENCY CREDIT");
    assert_eq!(meter.typed("#91#"), "SUPPLY ON");
    let digits = token(20, 1);
    let answer = meter.typed(&digits);
    assert!(answer.starts_with("CREDIT 2000 Wh"), "{answer}");
    assert!(meter.typed(&digits).starts_with("refused: the token was used"));
    assert!(meter.typed("12").starts_with("refused: not a token"));
}
