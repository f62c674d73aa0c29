//! Power is cut before, in the middle of, and after every storage write of a story.

use super::{board, decoder_key, digits_of, key_change, new_key_token, personalisation, token};
use crate::Meter;
use crate::test_board::TestBoard;
use protocol::cosem::disconnect::{ControlState, Trigger};
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::sts::meter::TokenResult;
use protocol::time::Instant;
use std::vec::Vec;

/// What the world outside knows: what a cut must not contradict.
#[derive(Debug, Default, Clone, PartialEq)]
struct Known {
    /// Tokens whose acceptance was told, in order of entry.
    accepted: Vec<usize>,
    /// The highest energy register anybody could have read.
    import_wh: u64,
}

/// Entering the four tokens of a key change, wherever the power is cut: the old key or the new one works, never none.
#[test]
fn a_key_change_cut_anywhere_leaves_a_whole_key() {
    let (_, old_key, _) = decoder_key(1);
    let set: Vec<_> = key_change().iter().map(|t| digits_of(t, &old_key)).collect();
    let mut cuts = 0;
    for after in 0.. {
        let mut finished = false;
        for torn in [0, 7, 200, 100_000] {
            let mut meter = new_meter(board());
            meter.board().storage.cut_after_writes(after, torn);
            for digits in &set {
                meter.receive_token(digits.as_bytes(), DeliveryMethod::Remote);
            }
            finished = !meter.board().storage.is_off();
            let mut board = meter.into_board();
            board.storage.power_up();
            let mut meter = new_meter(board);
            // Whoever resumes enters the whole set again: what is held already is no harm.
            let revision = meter.record.tokens.attributes.key_revision.get();
            if revision == 1 {
                assert_eq!(
                    meter.receive_token(token(5, 1).as_bytes(), DeliveryMethod::Remote),
                    TokenResult::Accept
                );
                for digits in &set {
                    meter.receive_token(digits.as_bytes(), DeliveryMethod::Remote);
                }
            }
            assert_eq!(meter.record.tokens.attributes.key_revision.get(), 2, "cut after {after}, {torn}");
            assert_eq!(meter.receive_token(token(5, 2).as_bytes(), DeliveryMethod::Remote), TokenResult::Crc);
            let credit = meter.status().credit_wh;
            let new = new_key_token(5, 3);
            assert_eq!(meter.receive_token(new.as_bytes(), DeliveryMethod::Remote), TokenResult::Accept);
            assert_eq!(meter.status().credit_wh, credit + 500);
            cuts += 1;
        }
        if finished {
            break;
        }
    }
    std::println!("{cuts} cuts in a key change");
}

const TOKENS: [u16; 3] = [20, 35, 50];

/// Uses energy, runs out, buys three times, is disconnected and reconnected; stops when the power is gone.
fn story(meter: &mut Meter<TestBoard>, known: &mut Known) {
    let digits: Vec<_> = (1..).zip(TOKENS).map(|(minute, units)| token(units, minute)).collect();
    let live = |meter: &mut Meter<TestBoard>, seconds: u64, known: &mut Known| {
        for _ in 0..seconds / 60 {
            meter.board().pass(60_000);
            let now = Instant::from_millis(meter.board().now_ms);
            meter.tick(now);
            if meter.board().storage.is_off() {
                return;
            }
            known.import_wh = meter.status().import_wh;
        }
    };
    live(meter, 3_660, known);
    for (i, digits) in digits.iter().enumerate() {
        if meter.board().storage.is_off() {
            return;
        }
        if meter.receive_token(digits.as_bytes(), DeliveryMethod::Remote) == TokenResult::Accept {
            known.accepted.push(i);
        }
        live(meter, 1_800, known);
    }
    let _ = meter.command_relay(Trigger::RemoteDisconnect);
    live(meter, 300, known);
    let _ = meter.command_relay(Trigger::RemoteReconnect);
    live(meter, 1_200, known);
}

fn new_meter(board: TestBoard) -> Meter<TestBoard> {
    let now = Instant::from_millis(board.now_ms);
    Meter::new(board, personalisation(), now).unwrap()
}

#[test]
fn no_unit_of_credit_is_lost_or_doubled_wherever_the_power_is_cut() {
    // How many writes the whole story takes, first, and how long each place of it can be.
    let mut meter = new_meter(board());
    let factory_writes = meter.board().storage.writes();
    story(&mut meter, &mut Known::default());
    let writes = meter.board().storage.writes() - factory_writes;
    assert!(writes > 100, "the story writes {writes} times");

    let mut cuts = 0;
    for after in 0..writes {
        // Nothing of the write, a little, most of a record, all but its end; a row is shorter than the larger figures.
        for torn in [0, 1, 5, 14, 24, 150, 330, 100_000] {
            let mut meter = new_meter(board());
            meter.board().storage.cut_after_writes(after, torn);
            let mut known = Known::default();
            story(&mut meter, &mut known);
            assert!(meter.board().storage.is_off(), "cut after {after} writes");
            check_after_cut(meter.into_board(), &known, after, torn);
            cuts += 1;
        }
    }
    std::println!("{writes} writes, {cuts} cuts");
}

fn check_after_cut(mut board: TestBoard, known: &Known, after: u32, torn: usize) {
    let at = std::format!("cut after {after} writes, {torn} bytes into the next");
    board.storage.power_up();
    board.pending_mws = 0; // the front end lost what it had not handed over
    let mut meter = new_meter(board);
    let status = meter.status();
    assert!(meter.ledger().balances(), "{at}");
    assert!(status.import_wh >= known.import_wh, "{at}: the register went back");
    // What the ledger says was bought is the tokens told accepted, and at most the one that was being entered.
    let sum = |tokens: &[usize]| tokens.iter().map(|i| i64::from(TOKENS[*i]) * 100).sum::<i64>();
    let credited = meter.ledger().credited();
    let mut possible = known.accepted.clone();
    let told = sum(&possible);
    possible.push(possible.len().min(TOKENS.len() - 1));
    assert!(credited == told || credited == sum(&possible), "{at}: credited {credited}, told {told}");
    assert_eq!(1_000 + credited - i64::try_from(status.import_wh).unwrap(), status.credit_wh, "{at}");
    // Whatever was credited is used, and whatever was not is still good: nobody loses a token, nobody has it twice.
    for (i, units) in TOKENS.iter().enumerate() {
        let before = meter.status().credit_wh;
        let result = meter.receive_token(token(*units, i as u32 + 1).as_bytes(), DeliveryMethod::Remote);
        let gained = meter.status().credit_wh - before;
        match result {
            TokenResult::Accept => assert_eq!(gained, i64::from(*units) * 100, "{at}"),
            TokenResult::Used => assert_eq!(gained, 0, "{at}"),
            other => panic!("{at}: {other:?}"),
        }
        assert!(!(known.accepted.contains(&i) && result == TokenResult::Accept), "{at}: token {i} twice");
    }
    assert_eq!(meter.ledger().credited(), sum(&[0, 1, 2]), "{at}: every token exactly once");
    let mut again = new_meter(meter.into_board());
    assert_eq!(again.ledger().credited(), sum(&[0, 1, 2]), "{at}: and for good");
    let wanted = again.status().control_state == ControlState::Connected;
    assert_eq!(again.board().closed, wanted, "{at}");
}
