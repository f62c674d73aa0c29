//! One life with everything in it that must survive: top-ups, consumption, daily charges, a change of the token key, and new
//! firmware. Power is cut before, after and in the middle of every write of it, to storage and to the image bank.

use super::image::{carry_on, newer, reset, updatable};
use super::{decoder_key, digits_of, key_change, new_key_token, token};
use crate::Meter;
use crate::image::format::Version;
use crate::test_board::TestBoard;
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::sts::meter::TokenResult;
use protocol::time::Instant;
use std::string::String;
use std::vec::Vec;

/// 2026-01-01T22:30:00Z, half past eleven local time.
const EVENING: u32 = 1_767_306_600;
/// When every life is looked at: after one midnight.
const END: u32 = EVENING + 6 * 3_600;
const DAILY: u32 = 50;
const UNITS: [u16; 3] = [20, 35, 50];

/// What the world was told.
#[derive(Debug, Default)]
struct Told {
    accepted: [bool; 3],
    import_wh: u64,
    charged: i64,
    key_changed: bool,
    updated: bool,
}

/// The first token is under the old key, the others are under the new one.
fn digits(i: usize) -> String {
    let minute = i as u32 + 1;
    if i == 0 { token(UNITS[0], minute) } else { new_key_token(UNITS[i], minute) }
}

fn newborn() -> Meter<TestBoard> {
    let mut board = updatable();
    (board.utc_s, board.load_mw) = (Some(EVENING), 300_000);
    let mut meter = reset(board);
    let mut record = meter.record.clone();
    record.terms.daily.active = DAILY;
    meter.commit(record).unwrap();
    meter
}

fn off(meter: &mut Meter<TestBoard>) -> bool {
    meter.board().storage.is_off()
}

fn live(meter: &mut Meter<TestBoard>, ticks: u32, seconds: u64, told: &mut Told) {
    for _ in 0..ticks {
        if off(meter) {
            return;
        }
        meter.board().pass(seconds * 1_000);
        let now = Instant::from_millis(meter.board().now_ms);
        meter.tick(now);
        if !off(meter) {
            told.import_wh = meter.status().import_wh;
            told.charged = meter.ledger().charged();
        }
    }
}

fn top_up(meter: &mut Meter<TestBoard>, i: usize, told: &mut Told) {
    if off(meter) {
        return;
    }
    let result = meter.receive_token(digits(i).as_bytes(), DeliveryMethod::Remote);
    told.accepted[i] |= result == TokenResult::Accept;
}

fn change_key(meter: &mut Meter<TestBoard>, told: &mut Told) {
    let (_, old_key, _) = decoder_key(1);
    for section in key_change() {
        if off(meter) {
            return;
        }
        meter.receive_token(digits_of(&section, &old_key).as_bytes(), DeliveryMethod::Remote);
    }
    told.key_changed |= !off(meter) && meter.record.tokens.attributes.key_revision.get() == 2;
}

fn update(mut meter: Meter<TestBoard>, told: &mut Told) -> Meter<TestBoard> {
    if off(&mut meter) {
        return meter;
    }
    carry_on(&mut meter, &newer());
    if meter.restart_wanted() && !off(&mut meter) {
        meter = reset(meter.into_board());
    }
    live(&mut meter, 12, 10, told);
    told.updated |= !off(&mut meter) && meter.firmware_version() == Version(1, 0, 2);
    meter
}

fn story(mut meter: Meter<TestBoard>, told: &mut Told) -> Meter<TestBoard> {
    live(&mut meter, 2, 600, told);
    top_up(&mut meter, 0, told);
    live(&mut meter, 3, 600, told);
    change_key(&mut meter, told);
    top_up(&mut meter, 1, told);
    let mut meter = update(meter, told);
    top_up(&mut meter, 2, told);
    live(&mut meter, 2, 600, told);
    meter
}

#[test]
fn a_whole_life_cut_anywhere_loses_and_doubles_nothing_keeps_a_whole_key_and_starts() {
    let mut meter = newborn();
    let factory_writes = meter.board().storage.writes();
    let mut told = Told::default();
    let mut meter = story(meter, &mut told);
    let writes = meter.board().storage.writes() - factory_writes;
    assert!(told.accepted == [true; 3] && told.key_changed && told.updated, "{told:?}");
    let (mut cuts, mut cut_before_key, mut cut_before_image) = (0, 0, 0);
    for after in 0..writes {
        // Before the write, a little of it, in the middle, most of it, and after it.
        for torn in [0, 1, 13, 90, 260, 100_000] {
            let mut meter = newborn();
            meter.board().storage.cut_after_writes(after, torn);
            let mut told = Told::default();
            let mut meter = story(meter, &mut told);
            assert!(meter.board().storage.was_cut(), "cut after {after} writes");
            cut_before_key += u32::from(!told.key_changed);
            cut_before_image += u32::from(!told.updated);
            let at = std::format!("cut after {after} writes, {torn} bytes into the next");
            check(meter.into_board(), told, &at);
            cuts += 1;
        }
    }
    std::println!(
        "{writes} writes, {cuts} cuts: {cut_before_key} before the new key was whole, {cut_before_image} before the new \
         firmware ran; nothing lost, nothing doubled, no half key, no brick"
    );
}

fn check(mut board: TestBoard, mut told: Told, at: &str) {
    board.storage.power_up();
    board.pending_mws = 0; // the front end lost what it had not handed over
    let mut meter = reset(board);
    let (ledger, status) = (*meter.ledger(), meter.status());
    assert!(ledger.balances(), "{at}");
    assert!(status.import_wh >= told.import_wh && ledger.charged() >= told.charged, "{at}: went back");
    assert!(
        meter.record.tokens.attributes.key_revision.get() == 2 || !told.key_changed,
        "{at}: the key went back"
    );
    assert!(meter.firmware_version() == Version(1, 0, 2) || !told.updated, "{at}: the firmware went back");
    // Credited is what was told, and at most the one token that was being entered.
    let sum =
        |accepted: [bool; 3]| (0..3).filter(|i| accepted[*i]).map(|i| i64::from(UNITS[i]) * 100).sum::<i64>();
    let mut one_more = told.accepted;
    if let Some(next) = one_more.iter_mut().find(|taken| !**taken) {
        *next = true;
    }
    let credited = ledger.credited();
    assert!([sum(told.accepted), sum(one_more)].contains(&credited), "{at}: {credited}, {told:?}");

    // Whoever was interrupted goes on.
    let before = told.accepted;
    for i in 0..3 {
        if i == 1 {
            // The old key or the new one: a token of it works, or was taken.
            change_key(&mut meter, &mut told);
            assert!(told.key_changed, "{at}: half a key");
        }
        let had = meter.ledger().credited();
        let result = meter.receive_token(digits(i).as_bytes(), DeliveryMethod::Remote);
        let gained = meter.ledger().credited() - had;
        match result {
            TokenResult::Accept => assert_eq!(gained, i64::from(UNITS[i]) * 100, "{at}"),
            // The key may have changed since it was taken.
            TokenResult::Used | TokenResult::Crc => assert_eq!(gained, 0, "{at}"),
            other => panic!("{at}: token {i}: {other:?}"),
        }
        assert!(!(before[i] && result == TokenResult::Accept), "{at}: token {i} twice");
    }
    let all: Vec<_> = UNITS.iter().map(|units| i64::from(*units) * 100).collect();
    assert_eq!(meter.ledger().credited(), all.iter().sum::<i64>(), "{at}: every token exactly once");
    for _ in 0..3 {
        meter = update(meter, &mut told);
    }
    assert!(told.updated, "{at}: no update");
    while meter.board().utc_s < Some(END) {
        live(&mut meter, 1, 600, &mut told);
    }
    assert_eq!(meter.ledger().charged(), i64::from(DAILY), "{at}: one midnight, one charge");
    let used = i64::try_from(meter.status().import_wh).unwrap();
    assert_eq!(meter.ledger().consumed(), used, "{at}");
    assert!(meter.ledger().balances(), "{at}");
    let again = reset(meter.into_board());
    assert_eq!(
        (again.ledger().credited(), again.firmware_version()),
        (all.iter().sum(), Version(1, 0, 2)),
        "{at}"
    );
}
