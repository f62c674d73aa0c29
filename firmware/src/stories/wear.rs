//! How evenly the storage wears.

use super::{board, pass, start, token};
use crate::Layout;
use crate::counters::COUNTER_PLACE_BYTES;
use crate::journal::PLACE_BYTES;
use protocol::cosem::token_gateway::DeliveryMethod;
use std::vec;
use std::vec::Vec;

/// Writes to the first byte of each of `places` places of `bytes` from `base` on.
fn writes(wear: &[u32], base: u32, places: u32, bytes: usize) -> Vec<u32> {
    (0..places as usize).map(|place| wear[base as usize + place * bytes]).collect()
}

#[test]
fn the_places_of_a_journal_and_the_rows_of_a_ring_are_written_equally_often() {
    let mut board = board();
    board.storage.wear = Some(vec![0; board.storage.bytes.len()]);
    let mut meter = start(board);
    for day in 0..40 {
        meter.receive_token(token(100, day + 1).as_bytes(), DeliveryMethod::Remote);
        pass(&mut meter, 3_600);
    }
    let layout = Layout::for_capacity(meter.board().storage.bytes.len() as u32).unwrap();
    let sequence = meter.status().journal_sequence;
    let wear = meter.board().storage.wear.clone().unwrap();
    let state = writes(&wear, 0, Layout::STATE_PLACES, PLACE_BYTES);
    let events = writes(&wear, layout.events_base, Layout::EVENT_ROWS, 15);
    let profile = writes(&wear, layout.profile_base, 160, 25);
    for (what, counts) in [("state journal", state), ("event log", events), ("load profile", profile)] {
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        std::println!(
            "{what}: {most} writes to the busiest place, {least} to the idlest, {sequence} records"
        );
        assert!(most - least <= 1, "{what}: {counts:?}");
        assert!(*most > 0);
    }
    // Nothing is written more often than a place of the state journal.
    let busiest = wear.iter().max().unwrap();
    assert!(u64::from(*busiest) <= u64::from(sequence).div_ceil(u64::from(Layout::STATE_PLACES)));
    assert_eq!(
        writes(&wear, layout.counters_base, 4, COUNTER_PLACE_BYTES),
        [0; 4],
        "no protected request yet"
    );
}
