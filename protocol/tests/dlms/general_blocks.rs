//! General block transfer: requests and answers of every size, values that no buffer holds, and what a bad line does to them.

use protocol::codec::ErrorKind;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Decode, Reader};
use protocol::codec::xdlms::{Conformance, GetDataResult, List, ServiceError};
use protocol::dlms::client::{self, Error, Failure};
use protocol::dlms::security::Refusal;
use protocol::time::Instant;

use crate::meter::*;

/// A client that agrees to general blocks alone, and takes APDUs of 128 bytes.
fn pair_with<const C: usize, const S: usize, const CL: usize, const SL: usize>(
    way: Way,
    rows: u32,
) -> Pair<C, S, CL, SL> {
    let mut configured = config(way);
    configured.max_pdu = 128;
    configured.block_window = 8;
    configured.conformance = Conformance::GENERAL_BLOCK_TRANSFER
        | Conformance::GENERAL_PROTECTION
        | Conformance::GET
        | Conformance::SET
        | Conformance::ACTION
        | Conformance::ACCESS
        | Conformance::MULTIPLE_REFERENCES;
    let mut pair = Pair::new(configured, way.client_sap);
    pair.meter.rows = rows;
    assert_eq!(pair.associate(), Outcome::Associated);
    pair
}

fn general_blocks(way: Way) -> Pair<1024, 1024> {
    pair_with(way, 25)
}

/// Both ends with buffers for a dozen rows.
type Narrow = Pair<256, 256, 256, 128>;

/// The forms that stream: all but general-ciphering.
const STREAMED: [Way; 5] = [WAYS[1], WAYS[3], WAYS[4], WAYS[5], WAYS[6]];

/// Takes a profile apart row by row as it comes, and holds one row at most.
#[derive(Default)]
struct Rows {
    held: Vec<u8>,
    announced: Option<usize>,
    taken: u32,
}

impl Rows {
    fn part(&mut self, bytes: &[u8]) {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            let mut r = Reader::new(&held[used..]);
            if self.announced.is_none() {
                let Ok(tag) = r.u8() else { break };
                assert_eq!(tag, 1);
                let Ok(len) = r.length() else { break };
                self.announced = Some(len);
            } else {
                match Data::decode(&mut r) {
                    Ok(row) => self.row(&row),
                    Err(error) => {
                        assert!(matches!(error.kind, ErrorKind::Truncated { .. }), "{error}");
                        break;
                    }
                }
            }
            used += r.offset();
        }
        self.held = held.split_off(used);
        assert!(self.held.len() < 18, "less than a row is held");
    }

    fn row(&mut self, row: &Data<'_>) {
        let n = self.taken;
        assert_eq!(row.field(0).unwrap(), Data::DoubleLongUnsigned(1_700_000_000 + 900 * n));
        assert_eq!(row.field(1).unwrap(), Data::DoubleLongUnsigned(n * 17));
        assert_eq!(row.field(2).unwrap(), Data::OctetString(&n.to_be_bytes()));
        self.taken += 1;
    }

    /// All announced rows came, so many, and nothing behind them.
    fn assert_complete(&self, rows: u32) {
        assert_eq!((self.taken, self.announced), (rows, Some(rows as usize)));
        assert!(self.held.is_empty());
    }
}

#[test]
fn a_year_of_quarter_hours_goes_row_by_row_through_ends_that_hold_a_dozen_rows() {
    const YEAR: u32 = 35_040;
    for way in STREAMED {
        let mut pair: Narrow = pair_with(way, YEAR);
        let mut rows = Rows::default();
        pair.client.get(pair.now, PROFILE, None).unwrap();
        let (mut blocks, mut turns) = (0, 0);
        'transfer: loop {
            let request = pair.client.poll_transmit().unwrap().to_vec();
            turns += 1;
            pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
            while let Some(answer) = pair.next_answer() {
                assert!(answer.len() <= 128);
                blocks += 1;
                pair.client.handle_bytes(pair.now, &answer);
                match pair.client.poll_event() {
                    Some(client::Event::Value { bytes, last }) => {
                        rows.part(bytes);
                        if last {
                            break 'transfer;
                        }
                    }
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
            }
        }
        rows.assert_complete(YEAR);
        // 630,726 bytes, 119 in a block; eight blocks leave in a row.
        assert!((5300..5310).contains(&blocks), "{blocks}");
        assert!(turns < 670, "{turns}");
        // The association is as good as new.
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
    }
}

/// A line that loses, doubles and delays APDUs, in virtual time.
struct Line {
    state: u64,
    /// Of a hundred APDUs, so many are lost, doubled, delayed each.
    percent: u64,
    /// Arrival, running number, to the server, APDU.
    on_the_way: std::collections::BTreeMap<(u64, u64), (bool, Vec<u8>)>,
    count: u64,
}

impl Line {
    fn new(seed: u64, percent: u64) -> Self {
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { state, percent, on_the_way: std::collections::BTreeMap::new(), count: 0 }
    }

    fn chance(&mut self) -> bool {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % 100 < self.percent
    }

    fn send(&mut self, now_ms: u64, to_server: bool, apdu: &[u8]) {
        if self.chance() {
            return;
        }
        let copies = if self.chance() { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if self.chance() { 700 } else { 20 };
            self.count += 1;
            self.on_the_way.insert((now_ms + delay, self.count), (to_server, apdu.to_vec()));
        }
    }
}

/// Reads the profile over a line; true when it came whole. Whatever came, came in order and was right.
fn read_over(pair: &mut Narrow, line: &mut Line, now_ms: &mut u64, rows: u32) -> bool {
    let began = *now_ms;
    let mut came = Rows::default();
    pair.client.get(Instant::from_millis(*now_ms), PROFILE, None).unwrap();
    loop {
        while let Some(apdu) = pair.client.poll_transmit() {
            line.send(*now_ms, true, apdu);
        }
        let due = line.on_the_way.first_key_value().map(|(at, _)| at.0);
        let deadline = pair.client.poll_timeout().map(|at| at.as_millis());
        *now_ms = [due, deadline].into_iter().flatten().min().unwrap().max(*now_ms);
        assert!(*now_ms < began + 3_600_000, "nothing hangs");
        let now = Instant::from_millis(*now_ms);
        if due.is_none_or(|at| at > *now_ms) {
            pair.client.handle_timeout(now);
        } else {
            let (_, (to_server, apdu)) = line.on_the_way.pop_first().unwrap();
            if to_server {
                pair.server.handle_bytes(now, pair.peer, &apdu, &mut pair.meter);
                while let Some(answer) = pair.next_answer() {
                    line.send(*now_ms, false, &answer);
                }
                continue;
            }
            pair.client.handle_bytes(now, &apdu);
        }
        match pair.client.poll_event() {
            Some(client::Event::Value { bytes, last }) => {
                came.part(bytes);
                if last {
                    came.assert_complete(rows);
                    return true;
                }
            }
            // Reminded often enough without an answer; or a copy of an old request or block got in between.
            Some(client::Event::Failed(Failure { .. })) => return false,
            Some(client::Event::Alarm(_)) | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn values_larger_than_any_buffer_survive_a_line_that_loses_doubles_and_delays() {
    let (mut tried, mut whole) = (0, 0);
    for seed in 0..200 {
        for way in [WAYS[1], WAYS[3], WAYS[6]] {
            const ROWS: u32 = 400;
            let mut pair: Narrow = pair_with(way, ROWS);
            let mut line = Line::new(seed, 10);
            let mut now_ms = 1_000;
            let mut done = false;
            for _ in 0..20 {
                tried += 1;
                done = read_over(&mut pair, &mut line, &mut now_ms, ROWS);
                if done {
                    whole += 1;
                    break;
                }
            }
            assert!(done, "seed {seed}, {way:?}: twenty reads in a row failed");
        }
    }
    assert!(
        tried < whole * 3 / 2,
        "{tried} reads for {whole} values: losses are recovered, not only survived"
    );
}

#[test]
fn the_server_goes_on_after_whatever_block_is_acknowledged_with_the_same_bytes_as_before() {
    for way in STREAMED {
        let mut pair: Narrow = pair_with(way, 100);
        pair.client.get(pair.now, PROFILE, None).unwrap();
        let request = pair.client.poll_transmit().unwrap().to_vec();
        pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
        let acknowledge = |pair: &mut Narrow, number: u16, window: u8| -> Vec<(u16, Vec<u8>)> {
            let [high, low] = number.to_be_bytes();
            let ack = [0xE0, 0x80 | window, 0, 1, high, low, 0];
            pair.server.handle_bytes(pair.now, pair.peer, &ack, &mut pair.meter);
            let mut blocks = Vec::new();
            while let Some(block) = pair.next_answer() {
                // Number and data; the control byte says whether more of the window follows.
                blocks.push((u16::from_be_bytes([block[2], block[3]]), block[6..].to_vec()));
            }
            blocks
        };
        let first = pair.next_answer().unwrap();
        assert_eq!((first[1] & 0xC0, &first[2..4]), (0, &[0, 1][..]), "a client that said nothing takes one");
        assert!(pair.next_answer().is_none());
        let window = acknowledge(&mut pair, 1, 10);
        let numbers: Vec<u16> = window.iter().map(|b| b.0).collect();
        assert_eq!(numbers, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        // Everything behind the first is lost, then less and less of it.
        for kept in 1..11 {
            let again = acknowledge(&mut pair, kept, 63);
            assert_eq!(again[0].0, kept + 1);
            let overlap = 11 - usize::from(kept);
            assert_eq!(again[..overlap], window[usize::from(kept) - 1..], "{way:?} {kept}");
            // A late acknowledgement changes nothing.
            assert!(kept == 1 || acknowledge(&mut pair, kept - 1, 63).is_empty());
        }
    }
}

#[test]
fn a_list_with_a_long_value_in_it_streams_too() {
    for way in STREAMED {
        let mut pair: Narrow = pair_with(way, 300);
        pair.client
            .get_list(pair.now, &[(NAME, None), (NOTHING, None), (PROFILE, None), (NOTE, None)])
            .unwrap();
        let Outcome::Value(value) = pair.run() else { panic!("{way:?}") };
        let list: List<'_, GetDataResult<'_>> = List::from_bytes(&value).unwrap();
        let results: Vec<_> = list.iter().map(Result::unwrap).collect();
        let GetDataResult::Data(profile) = results[2] else { panic!() };
        assert_eq!(profile.as_array().unwrap().len(), 300);
        assert_eq!(results[3], GetDataResult::Data(Data::OctetString(b"hello")));
    }
}

/// The blocks of one read of the profile, and the pair after the last but one of them.
fn before_the_last(way: Way) -> (Narrow, Vec<u8>) {
    let mut pair: Narrow = pair_with(way, 60);
    pair.client.get(pair.now, PROFILE, None).unwrap();
    loop {
        let request = pair.client.poll_transmit().unwrap().to_vec();
        pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
        while let Some(answer) = pair.next_answer() {
            if answer[1] & 0x80 != 0 {
                return (pair, answer);
            }
            pair.client.handle_bytes(pair.now, &answer);
            assert!(matches!(
                pair.client.poll_event(),
                None | Some(client::Event::Value { last: false, .. })
            ));
        }
    }
}

#[test]
fn parts_that_were_forged_are_never_followed_by_a_last_one() {
    for way in &STREAMED[1..] {
        // A bit of the last block's text, of its tag; a tag cut short; bytes behind it.
        let damages: [fn(&mut Vec<u8>); 4] = [
            |block| block[7] ^= 1,
            |block| *block.last_mut().unwrap() ^= 1,
            |block| {
                block.pop();
                block[6] -= 1;
            },
            |block| {
                block.push(0);
                block[6] += 1;
            },
        ];
        for (n, damage) in damages.into_iter().enumerate() {
            let (mut pair, mut last) = before_the_last(*way);
            damage(&mut last);
            pair.client.handle_bytes(pair.now, &last);
            let Some(client::Event::Failed(failure)) = pair.client.poll_event() else {
                panic!("{way:?} {n}")
            };
            let expected = match n {
                0 | 1 => matches!(failure.error, Error::Protection(Refusal::BadTag)),
                2 => matches!(failure.error, Error::Malformed(_)),
                _ => failure.error == Error::Unexpected,
            };
            assert!(expected, "{way:?} {n}: {:?}", failure.error);
            assert!(matches!(pair.get(NAME), Outcome::Value(_)), "the association lives");
        }
    }
}

#[test]
fn a_long_answer_recorded_earlier_is_refused_with_its_first_part() {
    let mut pair: Narrow = pair_with(WAYS[3], 60);
    pair.get(PROFILE);
    let recorded: Vec<Vec<u8>> =
        pair.wire.iter().filter(|w| !w.0 && w.1[0] == 0xE0).map(|w| w.1.clone()).collect();
    pair.client.get(pair.now, PROFILE, None).unwrap();
    pair.client.poll_transmit().unwrap();
    for block in &recorded {
        pair.client.handle_bytes(pair.now, block);
        match pair.client.poll_event() {
            None => {}
            Some(client::Event::Failed(Failure {
                error: Error::Protection(Refusal::Replay { .. }), ..
            })) => {
                return;
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    panic!("the recording was taken");
}

#[test]
fn a_value_that_changes_while_it_goes_out_protected_is_broken_off() {
    for rows in [59, 61] {
        let (mut pair, _) = before_the_last(WAYS[3]);
        pair.meter.rows = rows;
        // The block before the last one is asked for once more, and with it everything behind it.
        let number = 9u16;
        let ack = [0xE0, 0x88, 0, 9, 0, number as u8, 0];
        pair.server.handle_bytes(pair.now, pair.peer, &ack, &mut pair.meter);
        let mut last = Vec::new();
        while let Some(answer) = pair.next_answer() {
            last = answer;
        }
        assert_eq!(last, [0xD8, 1, ServiceError::OtherReason.as_u8()], "{rows}");
        pair.client.handle_bytes(pair.now, &last);
        let Some(client::Event::Failed(failure)) = pair.client.poll_event() else { panic!() };
        assert!(matches!(failure.error, Error::Exception { .. }));
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
    }
}

#[test]
fn answers_larger_than_the_client_takes_come_in_general_blocks() {
    for way in &WAYS[1..] {
        let mut pair = general_blocks(*way);
        let Outcome::Value(value) = pair.get(PROFILE) else { panic!("{way:?}") };
        assert_eq!(Data::from_bytes(&value).unwrap().as_array().unwrap().len(), 25);
        let echo = vec![7u8; 700];
        pair.client.action(pair.now, ECHO, Some(Data::OctetString(&echo))).unwrap();
        let Outcome::Value(value) = pair.run() else { panic!("{way:?}") };
        assert_eq!(octets(&value).unwrap(), echo);
        let blocks = pair.wire.iter().filter(|w| !w.0 && w.1[0] == 0xE0).count();
        assert!(blocks >= 10, "{blocks}");
        assert!(pair.wire.iter().filter(|w| !w.0).all(|w| w.1.len() <= 128));
        // What fits goes as ever.
        pair.wire.clear();
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
        assert!(pair.wire.iter().all(|w| w.1[0] != 0xE0));
    }
}

#[test]
fn requests_larger_than_the_meter_takes_go_in_general_blocks_and_run_once() {
    for way in &WAYS[1..] {
        let configured = config(*way);
        let conformance =
            protocol::dlms::client::IMPLEMENTED.difference(Conformance::BLOCK_TRANSFER_WITH_SET_OR_WRITE);
        let mut pair: Pair<1024, 256> =
            Pair::new(client::Config { conformance, ..configured }, way.client_sap);
        assert_eq!(pair.associate(), Outcome::Associated);
        // The meter deciphers into 256 bytes: what a request may have, however it comes.
        let note = vec![3u8; 230];
        pair.client.set(pair.now, NOTE, None, Data::OctetString(&note)).unwrap();
        assert_eq!(pair.run(), Outcome::Done, "{way:?}");
        assert_eq!(pair.meter.note, note);
        let in_blocks = pair.wire.iter().any(|w| w.0 && w.1[0] == 0xE0);
        assert_eq!(in_blocks, way.client_sap == VENDING, "{way:?}");
    }
}

#[test]
fn a_lost_general_block_is_asked_for_again_wherever_it_was() {
    let blocks = {
        let mut pair = general_blocks(WAYS[3]);
        pair.wire.clear();
        pair.get(PROFILE);
        pair.wire.len()
    };
    for lost in 1..blocks {
        let mut pair = general_blocks(WAYS[3]);
        pair.client.get(pair.now, PROFILE, None).unwrap();
        let mut count = 0;
        let value = 'transfer: loop {
            let mut idle = true;
            while let Some(request) = pair.client.poll_transmit().map(<[u8]>::to_vec) {
                idle = false;
                count += 1;
                if count - 1 != lost {
                    pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
                }
            }
            while let Some(answer) = pair.next_answer() {
                idle = false;
                count += 1;
                if count - 1 == lost {
                    continue;
                }
                pair.client.handle_bytes(pair.now, &answer);
                match pair.client.poll_event() {
                    Some(client::Event::Value { bytes, last: true }) => break 'transfer bytes.to_vec(),
                    Some(other) => panic!("{lost}: {other:?}"),
                    None => {}
                }
            }
            if idle {
                pair.now = pair.client.poll_timeout().unwrap();
                pair.client.handle_timeout(pair.now);
                assert!(pair.client.is_busy(), "{lost}");
            }
        };
        assert_eq!(Data::from_bytes(&value).unwrap().as_array().unwrap().len(), 25);
        assert!(pair.now < Instant::from_millis(14_000), "{lost}: one reminder is enough");
    }
}

/// As `gurux-dlms` and `pydlms-client` propose it.
#[test]
fn each_service_goes_in_general_blocks_where_its_own_were_not_agreed_on() {
    let services = client::IMPLEMENTED.difference(Conformance::BLOCK_TRANSFER_WITH_GET_OR_READ);
    for way in &WAYS[1..] {
        let configured = client::Config { conformance: services, max_pdu: 128, ..config(*way) };
        let mut pair: Pair<1024, 1024> = Pair::new(configured, way.client_sap);
        pair.meter.rows = 25;
        assert_eq!(pair.associate(), Outcome::Associated);
        let Outcome::Value(value) = pair.get(PROFILE) else { panic!("{way:?}") };
        assert_eq!(Data::from_bytes(&value).unwrap().as_array().unwrap().len(), 25);
        assert!(pair.wire.iter().any(|w| !w.0 && w.1[0] == 0xE0), "{way:?}");
        pair.wire.clear();
        let echo = vec![7u8; 700];
        pair.client.action(pair.now, ECHO, Some(Data::OctetString(&echo))).unwrap();
        let Outcome::Value(value) = pair.run() else { panic!("{way:?}") };
        assert_eq!(octets(&value).unwrap(), echo);
        assert!(pair.wire.iter().all(|w| w.1[0] != 0xE0), "ACTION has blocks of its own");
    }
}
