//! What a stranger can send: recorded dialogues, damaged in every way a seeded generator thinks of, to both engines in
//! every state. Nothing panics, no answer is larger than the client said it takes, and the engines stay usable.
//!
//! `FUZZ_ROUNDS` raises the number of damaged APDUs per way of associating.

use protocol::codec::axdr::Data;
use protocol::dlms::client::{AccessItem, selection};

use crate::meter::*;

type Small = Pair<256, 256>;

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Every kind of request and answer once, as plain APDUs where the way has no ciphering.
fn record(way: Way) -> Vec<(bool, Vec<u8>)> {
    let mut pair: Small = Pair::new(config(way), way.client_sap);
    pair.meter.rows = 40;
    pair.associate();
    let note = vec![5u8; 400];
    let mut buffer = [0; 32];
    let entries = selection::by_entry(&mut buffer, 2, 30, 1, 0).unwrap();
    pair.get(NAME);
    pair.get(PROFILE);
    pair.client.get(pair.now, PROFILE, Some(entries)).unwrap();
    pair.run();
    pair.client.get_list(pair.now, &[(NAME, None), (PROFILE, None)]).unwrap();
    pair.run();
    for value in [&note[..20], &note] {
        pair.client.set(pair.now, NOTE, None, Data::OctetString(value)).unwrap();
        pair.run();
        pair.client.set_list(pair.now, &[(NOTE, Data::OctetString(value)), (NAME, Data::Null)]).unwrap();
        pair.run();
        pair.client.action(pair.now, ECHO, Some(Data::OctetString(&value[..value.len() / 2]))).unwrap();
        pair.run();
    }
    pair.client.action_list(pair.now, &[(COUNT, Data::Null), (ECHO, Data::Unsigned(1))]).unwrap();
    pair.run();
    pair.client
        .access(pair.now, &[AccessItem::Get(NAME, None), AccessItem::Action(COUNT, Data::Null)])
        .unwrap();
    let request = pair.client.poll_transmit().unwrap().to_vec();
    pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
    let answer = pair.server.poll_transmit().unwrap().to_vec();
    pair.wire.push((true, request));
    pair.wire.push((false, answer));
    pair.client.link_down();
    pair.wire
}

fn damage(apdu: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = apdu.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        match chance.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << chance.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFF][chance.below(8)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, chance.next() as u8),
            4 => {
                let from = chance.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            5 if !bytes.is_empty() => {
                bytes.remove(at);
            }
            _ => bytes.extend((0..chance.below(20)).map(|_| chance.next() as u8)),
        }
    }
    bytes
}

fn rounds() -> usize {
    std::env::var("FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4_000)
}

#[test]
fn damaged_apdus_neither_panic_nor_draw_an_answer_larger_than_agreed() {
    for (i, way) in WAYS.into_iter().enumerate() {
        let wire = record(if way.client_sap == PUBLIC { WAYS[1] } else { way });
        let plain = record(WAYS[1]);
        let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ (i as u64 + 1));
        let mut pair: Small = Pair::new(config(way), way.client_sap);
        pair.meter.rows = 40;
        for round in 0..rounds() {
            if round % 50 == 0 {
                pair.client.link_down();
                while pair.client.poll_event().is_some() {}
                pair.client = protocol::dlms::client::Client::new(
                    protocol::dlms::client::Config {
                        peer_counter: pair.client.peer_counter(),
                        ..config(way)
                    },
                    protocol::dlms::security::CounterBlock::new(round as u32 * 1000 + 1_000_000, 500),
                );
                // Sometimes the damage falls into the handshake.
                if chance.below(4) > 0 {
                    assert_eq!(pair.associate(), Outcome::Associated, "{way:?} {round}");
                }
            }
            let ciphered = way.client_sap == VENDING && chance.below(3) > 0;
            let source = if ciphered { &plain } else { &wire };
            let (from_client, apdu) = &source[chance.below(source.len())];
            let (_, other) = &source[chance.below(source.len())];
            let mut bytes = damage(apdu, other, &mut chance);
            let counter = round as u32 * 1000 + 1_000_600;
            if *from_client {
                if ciphered {
                    bytes = seal(&bytes, way.form, counter, &CLIENT_TITLE.0);
                }
                pair.server.handle_bytes(pair.now, pair.peer, &bytes, &mut pair.meter);
                if let Some(answer) = pair.server.poll_transmit() {
                    assert!(answer.len() <= 256);
                }
                while pair.server.poll_event().is_some() {}
            } else {
                if ciphered {
                    bytes = seal(&bytes, way.form, counter, &METER_TITLE.0);
                    pair.meter.counter = counter;
                }
                // With a request under way, so that answers are looked at.
                if chance.below(2) == 0 && !pair.client.is_busy() {
                    let _ = match chance.below(4) {
                        0 => pair.client.get(pair.now, NAME, None),
                        1 => pair.client.get_list(pair.now, &[(NAME, None)]),
                        2 => pair.client.set(pair.now, NOTE, None, Data::OctetString(&[1; 400])),
                        _ => pair.client.action(pair.now, ECHO, Some(Data::OctetString(&[1; 400]))),
                    };
                }
                pair.client.handle_bytes(pair.now, &bytes);
                let _ = pair.client.poll_event();
                if let Some(request) = pair.client.poll_transmit() {
                    assert!(request.len() <= 256);
                }
            }
        }
    }
}
