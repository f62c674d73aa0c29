//! A look at itself finds what is broken, and names it.

use super::{board, pass, start};
use crate::SelfTest;
use crate::test_board::TestBoard;

#[test]
fn a_look_at_itself_names_the_part_that_is_broken_and_no_other() {
    type Hand = fn(&mut TestBoard);
    type Part = fn(&SelfTest) -> bool;
    let cases: [(Hand, Part); 4] = [
        (|board| board.storage.bytes.fill(0), |found| found.storage),
        (|board| board.metering_fails = true, |found| found.metering),
        (|board| board.utc_s = None, |found| found.clock),
        (|board| board.closed = !board.closed, |found| found.relay),
    ];
    let parts: [Part; 5] = [|f| f.storage, |f| f.metering, |f| f.clock, |f| f.relay, |f| f.credit];
    for (hand, broken) in cases {
        let mut meter = start(board());
        pass(&mut meter, 10);
        assert!(meter.self_test().passed());
        hand(meter.board());
        let found = meter.self_test();
        assert!(!found.passed() && !broken(&found), "{found:?}");
        assert_eq!(parts.iter().filter(|part| !part(&found)).count(), 1, "{found:?}");
    }
}

#[test]
fn events_are_told_once_each_in_order_from_any_number_on() {
    let mut meter = start(board());
    let from = meter.events_logged();
    meter.board().cover = true;
    pass(&mut meter, 5);
    meter.board().cover = false;
    pass(&mut meter, 5);
    let mut next = from;
    let mut told = std::vec::Vec::new();
    while let Some((number, row)) = meter.event_from(next) {
        assert_eq!(number, next);
        told.push(row.code);
        next = number + 1;
    }
    assert_eq!(next, meter.events_logged());
    assert!(told.len() >= 2, "{told:?}");
}
