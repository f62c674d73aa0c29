//! Exception-responses: which of them the meter gives for what, and what the client makes of each. Service errors by number:
//! 1 operation not possible, 2 service not supported, 3 other reason, 4 PDU too long, 5 deciphering error, 6 invocation counter
//! error with the counter that is expected. State errors: 1 service not allowed, 2 service unknown.

use protocol::codec::axdr::Data;
use protocol::codec::xdlms::{Conformance, ExceptionResponse, ServiceError, StateError};
use protocol::dlms::client::{self, AccessItem, Error, Failure, StartError, State};
use protocol::dlms::security::{CounterBlock, Form, Key, Refusal};

use crate::meter::*;

type Small = Pair<256, 256>;

fn open(way: Way) -> Small {
    let mut pair: Small = Pair::new(config(way), way.client_sap);
    assert_eq!(pair.associate(), Outcome::Associated);
    pair
}

/// What the meter answers to these bytes.
fn answer(pair: &mut Small, apdu: &[u8]) -> Option<Vec<u8>> {
    pair.server.handle_bytes(pair.now, pair.peer, apdu, &mut pair.meter);
    pair.next_answer()
}

/// The request the client would send.
fn request(pair: &mut Small, start: impl FnOnce(&mut Small) -> Result<(), StartError>) -> Vec<u8> {
    start(pair).unwrap();
    pair.client.poll_transmit().unwrap().to_vec()
}

const GET_NAME: [u8; 13] = [0xC0, 1, 0xC1, 0, 1, 0, 0, 42, 0, 0, 255, 2, 0];

#[test]
fn a_service_without_an_association_is_not_allowed() {
    let mut pair: Small = Pair::new(config(WAYS[1]), READER);
    for apdu in [&GET_NAME[..], &[0xC3, 1, 0xC1, 0, 9, 0, 0, 10, 0, 0, 255, 1, 0]] {
        assert_eq!(answer(&mut pair, apdu).unwrap(), [0xD8, 1, 1]);
    }
    assert_eq!(pair.meter.count, 0);
    // Another client's association is none for this one, and lives on.
    let mut pair = open(WAYS[1]);
    pair.peer.client_sap = PUBLIC;
    assert_eq!(answer(&mut pair, &GET_NAME).unwrap(), [0xD8, 1, 1]);
    pair.peer.client_sap = READER;
    assert!(matches!(pair.get(NAME), Outcome::Value(_)));
}

#[test]
fn a_service_that_was_not_agreed_on_is_not_supported() {
    let mut configured = config(WAYS[1]);
    configured.conformance = Conformance::GET;
    let mut pair: Small = Pair::new(configured, READER);
    pair.associate();
    let requests: [&[u8]; 7] = [
        // SET, ACTION, GET with-list, ACCESS, a general block, Read (short names), EventNotification (a meter's own).
        &[0xC1, 1, 0xC1, 0, 1, 0, 0, 96, 1, 0, 255, 2, 0, 0],
        &[0xC3, 1, 0xC1, 0, 9, 0, 0, 10, 0, 0, 255, 1, 0],
        &[0xC0, 3, 0xC1, 1, 0, 1, 0, 0, 42, 0, 0, 255, 2, 0],
        &[0xD9, 0x40, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 42, 0, 0, 255, 2, 1, 0],
        &[0xE0, 0x81, 0, 1, 0, 0, 1, 0xC0],
        &[5, 1, 2, 0, 8],
        &[0xC2, 0, 0, 1, 0, 0, 42, 0, 0, 255, 2, 0],
    ];
    for apdu in requests {
        assert_eq!(answer(&mut pair, apdu).unwrap(), [0xD8, 2, 2], "{apdu:02x?}");
    }
    assert_eq!((pair.meter.count, &pair.meter.note[..]), (0, &b"hello"[..]));
    // The client asks for none of these by itself.
    assert_eq!(pair.client.action(pair.now, COUNT, None), Err(StartError::NotNegotiated));
    assert_eq!(pair.client.access(pair.now, &[AccessItem::Get(NAME, None)]), Err(StartError::NotNegotiated));
    assert!(matches!(pair.get(NAME), Outcome::Value(_)));
}

#[test]
fn what_cannot_be_carried_out_as_it_was_asked_is_not_possible() {
    let mut pair = open(WAYS[1]);
    let requests: [&[u8]; 3] = [
        // A list of nothing; two methods with one parameter; an ACCESS with one operation and no datum for it.
        &[0xC0, 3, 0xC1, 0],
        &[0xC3, 3, 0xC1, 2, 0, 9, 0, 0, 10, 0, 0, 255, 1, 0, 9, 0, 0, 10, 0, 0, 255, 1, 1, 0],
        &[0xD9, 0x40, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 42, 0, 0, 255, 2, 0],
    ];
    for apdu in requests {
        assert_eq!(answer(&mut pair, apdu).unwrap(), [0xD8, 1, 1], "{apdu:02x?}");
    }
    assert_eq!(pair.meter.count, 0);
}

#[test]
fn a_request_that_does_not_parse_is_refused_for_another_reason() {
    let mut pair = open(WAYS[1]);
    for len in 1..GET_NAME.len() {
        assert_eq!(answer(&mut pair, &GET_NAME[..len]).unwrap(), [0xD8, 1, 3], "{len}");
    }
    let choice = [0xC1, 9, 0xC1, 0];
    assert_eq!(answer(&mut pair, &choice).unwrap(), [0xD8, 1, 3]);
    // Behind a cipher too, and in a general form the exception is protected like an answer.
    for (way, form) in [(WAYS[3], Form::Glo), (WAYS[4], Form::GeneralGlo)] {
        let mut pair = open(way);
        let sealed = seal(&GET_NAME[..9], form, 500, &CLIENT_TITLE.0);
        let exception = answer(&mut pair, &sealed).unwrap();
        if form == Form::Glo {
            assert_eq!(exception, [0xD8, 1, 3]);
        } else {
            assert_eq!(exception[0], 0xDB);
            pair.client.add_counters(CounterBlock::new(600, 10));
            pair.client.get(pair.now, NAME, None).unwrap();
            pair.client.poll_transmit().unwrap();
            pair.client.handle_bytes(pair.now, &exception);
            let Outcome::Failed(Failure { error: Error::Exception { response, protected: true }, .. }) =
                pair.run()
            else {
                panic!()
            };
            assert_eq!(response.service_error, ServiceError::OtherReason);
        }
    }
}

#[test]
fn an_apdu_longer_than_the_meter_said_it_takes_is_too_long() {
    for (way, form) in [(WAYS[3], Form::Glo), (WAYS[4], Form::GeneralGlo)] {
        let mut pair = open(way);
        let mut set = vec![0xC1, 1, 0xC1, 0, 1, 0, 0, 96, 1, 0, 255, 2, 0, 9, 0x82, 1, 44];
        set.resize(set.len() + 300, 7);
        let sealed = seal(&set, form, 500, &CLIENT_TITLE.0);
        assert_eq!(answer(&mut pair, &sealed).unwrap(), [0xD8, 1, 4]);
        // And the client does not send what the meter does not take.
        let long = vec![7; 230];
        assert_eq!(pair.client.get_list(pair.now, &[(NAME, None); 40]), Err(StartError::TooLong));
        pair.client.add_counters(CounterBlock::new(600, 100));
        pair.client.set(pair.now, NOTE, None, Data::OctetString(&long)).unwrap();
        assert_eq!(pair.run(), Outcome::Done);
        // In general blocks: longer than what the meter collects.
        let mut agreed = config(way);
        agreed.conformance = client::IMPLEMENTED;
        let mut pair: Small = Pair::new(agreed, VENDING);
        pair.associate();
        let block = |number: u8| {
            let mut block = vec![0xE0, 0x41, 0, number, 0, 0, 120];
            block.resize(127, 0);
            block
        };
        let last = (1..20).find_map(|number| answer(&mut pair, &block(number)));
        assert_eq!(last.unwrap(), [0xD8, 1, 4]);
        assert_eq!(pair.meter.note, b"hello");
    }
}

#[test]
fn what_cannot_be_deciphered_is_a_deciphering_error_and_changes_nothing() {
    for way in &WAYS[3..7] {
        let mut pair = open(*way);
        let good = request(&mut pair, |pair| pair.client.action(pair.now, COUNT, None));
        for at in [good.len() - 1, good.len() - 14] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(answer(&mut pair, &bad).unwrap(), [0xD8, 1, 5], "{way:?} {at}");
        }
        // Plain where protection is demanded; another client's title.
        assert_eq!(answer(&mut pair, &GET_NAME).unwrap(), [0xD8, 1, 5]);
        let stranger = seal(&GET_NAME, Form::GeneralGlo, 900_000, b"STRANGER");
        assert_eq!(answer(&mut pair, &stranger).unwrap(), [0xD8, 1, 5]);
        assert_eq!(pair.meter.count, 0);
        // A bad frame used nothing up: the good one is still taken.
        let done = answer(&mut pair, &good).unwrap();
        pair.client.handle_bytes(pair.now, &done);
        assert_eq!(pair.run(), Outcome::Done);
        assert_eq!(pair.meter.count, 1);
    }
}

#[test]
fn a_counter_that_was_used_is_refused_with_the_one_that_is_expected() {
    let mut pair = open(WAYS[3]);
    let old = request(&mut pair, |pair| pair.client.get(pair.now, NAME, None));
    let done = answer(&mut pair, &old).unwrap();
    pair.client.handle_bytes(pair.now, &done);
    pair.run();
    pair.get(NAME);
    let [.., b3, b2, b1, b0] = answer(&mut pair, &old).unwrap()[..] else { panic!() };
    let expected = u32::from_be_bytes([b3, b2, b1, b0]);
    assert_eq!(expected, pair.meter.seen[&CLIENT_TITLE.0] + 1);
}

/// The exceptions a meter may answer with, and the bytes of each.
fn exceptions() -> [(ExceptionResponse, Vec<u8>); 6] {
    use ServiceError as Service;
    [
        (StateError::ServiceNotAllowed, Service::OperationNotPossible, None),
        (StateError::ServiceUnknown, Service::ServiceNotSupported, None),
        (StateError::ServiceNotAllowed, Service::OtherReason, None),
        (StateError::ServiceNotAllowed, Service::PduTooLong, None),
        (StateError::ServiceNotAllowed, Service::DecipheringError, None),
        (StateError::ServiceNotAllowed, Service::InvocationCounterError, Some(5001)),
    ]
    .map(|(state_error, service_error, expected_invocation_counter)| {
        let mut bytes = vec![0xD8, state_error.as_u8(), service_error.as_u8()];
        bytes.extend(expected_invocation_counter.into_iter().flat_map(u32::to_be_bytes));
        (ExceptionResponse { state_error, service_error, expected_invocation_counter }, bytes)
    })
}

#[test]
fn each_exception_ends_the_request_with_what_it_said_and_the_association_goes_on() {
    for (response, bytes) in exceptions() {
        for (way, ciphered) in [(WAYS[1], false), (WAYS[3], true), (WAYS[4], true)] {
            for command in [false, true] {
                let mut pair = open(way);
                request(&mut pair, |pair| match command {
                    true => pair.client.action(pair.now, COUNT, None),
                    false => pair.client.get(pair.now, NAME, None),
                });
                let sealed = seal(&bytes, Form::GeneralGlo, 900_000, &METER_TITLE.0);
                let protected = way.form == Form::GeneralGlo;
                pair.client.handle_bytes(pair.now, if protected { &sealed } else { &bytes });
                // Without protection anybody may have said that a command was refused.
                let unknown = command && ciphered && !protected;
                let outcome = if unknown { client::Outcome::Unknown } else { client::Outcome::NotDone };
                let error = Error::Exception { response, protected };
                assert_eq!(pair.run(), Outcome::Failed(Failure { error, outcome }), "{way:?}");
                assert_eq!(pair.client.state(), State::Associated);
                assert!(!pair.client.is_busy() && pair.client.poll_timeout().is_none());
                pair.meter.counter = 900_000;
                assert!(matches!(pair.get(NAME), Outcome::Value(_)));
            }
        }
    }
}

#[test]
fn an_exception_instead_of_the_association_leaves_none() {
    for (response, bytes) in exceptions() {
        // In answer to the AARQ, and to the answer to the challenge.
        for exchanges in [0, 1] {
            let mut pair: Small = Pair::new(config(WAYS[3]), VENDING);
            pair.client.associate(pair.now, b"client's challenge").unwrap();
            for _ in 0..exchanges {
                let apdu = pair.client.poll_transmit().unwrap().to_vec();
                let aare = answer(&mut pair, &apdu).unwrap();
                pair.client.handle_bytes(pair.now, &aare);
            }
            pair.client.poll_transmit().unwrap();
            pair.client.handle_bytes(pair.now, &bytes);
            let error = Error::Exception { response, protected: false };
            let outcome = client::Outcome::NotDone;
            assert_eq!(pair.run(), Outcome::Failed(Failure { error, outcome }));
            assert_eq!(pair.client.state(), State::Idle);
        }
    }
}

#[test]
fn the_client_never_moves_its_counter_because_an_exception_said_so() {
    let mut pair = open(WAYS[3]);
    let before = request(&mut pair, |pair| pair.client.get(pair.now, NAME, None));
    let left = pair.client.counters_left();
    for expected in [0u32, 1, 5_000, u32::MAX] {
        let [b3, b2, b1, b0] = expected.to_be_bytes();
        pair.client.handle_bytes(pair.now, &[0xD8, 1, 6, b3, b2, b1, b0]);
        pair.run();
        assert_eq!(pair.client.counters_left(), left);
    }
    // The next request takes the next of the reserved counters: the bytes behind tag, length and control.
    let after = request(&mut pair, |pair| pair.client.get(pair.now, NAME, None));
    let counter = |apdu: &[u8]| u32::from_be_bytes(apdu[3..7].try_into().unwrap());
    assert_eq!(counter(&after), counter(&before) + 1);
    // Its owner, who knows what was reserved, may: the association goes on above what the meter has seen.
    pair.meter.seen.insert(CLIENT_TITLE.0, 5_000);
    let refused = answer(&mut pair, &after).unwrap();
    pair.client.handle_bytes(pair.now, &refused);
    let Outcome::Failed(Failure { error: Error::Exception { response, .. }, .. }) = pair.run() else {
        panic!()
    };
    let expected = response.expected_invocation_counter.unwrap();
    assert_eq!(expected, 5_001);
    pair.client.add_counters(CounterBlock::new(expected, 100));
    assert!(matches!(pair.get(NAME), Outcome::Value(_)));
}

#[test]
fn an_exception_nobody_waits_for_or_that_is_cut_short_ends_nothing_but_its_request() {
    let mut pair = open(WAYS[1]);
    pair.client.handle_bytes(pair.now, &[0xD8, 1, 1]);
    assert!(pair.client.poll_event().is_none());
    for cut in [&[0xD8][..], &[0xD8, 1]] {
        request(&mut pair, |pair| pair.client.get(pair.now, NAME, None));
        pair.client.handle_bytes(pair.now, cut);
        let Outcome::Failed(Failure { error: Error::Malformed(_), .. }) = pair.run() else {
            panic!("{cut:?}")
        };
    }
    // One without the counter, as the older editions have it; one with numbers nobody gave out.
    for (bytes, number) in [([0xD8, 1, 6], 6), ([0xD8, 9, 77], 77)] {
        request(&mut pair, |pair| pair.client.get(pair.now, NAME, None));
        pair.client.handle_bytes(pair.now, &bytes);
        let Outcome::Failed(Failure { error: Error::Exception { response, .. }, .. }) = pair.run() else {
            panic!()
        };
        assert_eq!(response.service_error.as_u8(), number);
        assert_eq!(response.expected_invocation_counter, None);
    }
    assert!(matches!(pair.get(NAME), Outcome::Value(_)));
}

#[test]
fn a_protected_exception_recorded_earlier_is_refused() {
    let mut pair = open(WAYS[4]);
    let sealed = seal(&[0xD8, 1, 1], Form::GeneralGlo, 1, &METER_TITLE.0);
    pair.get(NAME);
    request(&mut pair, |pair| pair.client.action(pair.now, COUNT, None));
    pair.client.handle_bytes(pair.now, &sealed);
    let Some(client::Event::Alarm(Refusal::Replay { .. })) = pair.client.poll_event() else { panic!() };
    assert!(pair.client.is_busy(), "the request goes on waiting");
}

#[test]
fn a_client_with_another_key_is_told_that_it_was_not_deciphered_and_learns_no_counter() {
    let mut pair = open(WAYS[4]);
    let other_key = client::Config {
        encryption_key: Some(Key::new([9; 16])),
        mechanism: protocol::codec::acse::AuthMechanism::None,
        server_title: Some(METER_TITLE),
        ..config(WAYS[4])
    };
    let mut other: Small = Pair::new(other_key, VENDING);
    other.client.add_counters(CounterBlock::new(1_000_000, 10));
    other.client.pre_established(Conformance::all(), 256).unwrap();
    let get = request(&mut other, |other| other.client.get(other.now, NAME, None));
    assert_eq!(answer(&mut pair, &get).unwrap(), [0xD8, 1, 5]);
    assert!(pair.meter.seen[&CLIENT_TITLE.0] < 1_000_000, "a forged counter is not remembered");
}
