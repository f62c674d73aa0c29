//! A person types at the front of the meter.

use super::{board, pass, start, token};
use crate::Meter;
use crate::panel::Panel;
use crate::test_board::TestBoard;
use protocol::time::Instant;
use std::vec::Vec;

fn at(s: u64) -> Instant {
    Instant::from_millis(s * 1000)
}

fn press(panel: &mut Panel, meter: &mut Meter<TestBoard>, keys: &str) {
    for key in keys.chars() {
        panel.press(at(1), key, meter);
    }
}

#[test]
fn a_token_goes_in_with_its_last_digit_and_its_answer_gives_way_to_the_pages() {
    let mut meter = start(board());
    let token = token(10, 0);
    let before = meter.status().credit_wh;
    let mut panel = Panel::new(at(0));
    press(&mut panel, &mut meter, &token[..19]);
    assert_eq!(panel.text(at(1), &mut meter).as_str(), &token[..19]);
    assert_eq!(panel.digits(at(1), &mut meter).as_str(), &token[7..19]);
    press(&mut panel, &mut meter, &token[19..]);
    assert_eq!(meter.status().credit_wh, before + 1_000);
    assert_eq!(panel.text(at(2), &mut meter), "CREDIT 2000 Wh");
    assert_eq!(panel.digits(at(2), &mut meter), "2000", "an answer has no page number");
    assert_eq!(panel.digits(at(10), &mut meter), "01 2000", "the first page");
    assert_eq!(panel.text(at(20), &mut meter), "ENERGY 0.000 kWh");
}

#[test]
fn a_short_code_shows_its_page_and_the_star_takes_a_key_back() {
    let mut meter = start(board());
    let mut panel = Panel::new(at(0));
    press(&mut panel, &mut meter, "#1*77#");
    assert_eq!(panel.text(at(1), &mut meter), "NO SUCH CODE");
    assert_eq!(panel.digits(at(1), &mut meter), "---");
    press(&mut panel, &mut meter, "#19**8#");
    assert_eq!(panel.text(at(1), &mut meter), "METER 01000000016");
    assert_eq!(panel.digits(at(1), &mut meter), "01000000016");
}

#[test]
fn typing_that_stops_is_forgotten() {
    let mut meter = start(board());
    let mut panel = Panel::new(at(0));
    press(&mut panel, &mut meter, "1234x");
    assert_eq!(panel.text(at(60), &mut meter).as_str(), "1234");
    assert_eq!(panel.text(at(61), &mut meter), "ENERGY 0.000 kWh");
    press(&mut panel, &mut meter, "*");
    assert_eq!(panel.text(at(62), &mut meter), "ENERGY 0.000 kWh");
}

#[test]
fn every_page_fits_a_glass_of_digits() {
    let mut meter = start(board());
    pass(&mut meter, 1);
    let mut panel = Panel::new(at(0));
    let seen: Vec<_> = (0..12).map(|n| panel.digits(at(6 * n), &mut meter)).collect();
    assert_eq!(seen[0], "01 1000");
    assert_eq!(seen[3], "04 230.0");
    assert_eq!(seen[11], "01 1000");
    for text in seen {
        let cells = text.chars().filter(|c| *c != '.').count();
        assert!(cells <= 14 && text.chars().all(|c| c.is_ascii_digit() || " .-".contains(c)), "{text}");
    }
}
