//! Associations that nobody opens, notifications that are confirmed, and APDUs that fit to the byte.

use std::time::Duration;

use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Decode, Encode};
use protocol::codec::xdlms::{Conformance, LongInvokeId};
use protocol::dlms::LONG_INVOKE_ID_CONFIRMED;
use protocol::dlms::client::{self, Config, Error, Failure, StartError};
use protocol::dlms::security::{Form, Key, Refusal, SecurityPolicy, SecuritySuite};
use protocol::dlms::server::{Association, Event, PreEstablished};

use crate::meter::*;

/// The client that needs no AARQ.
const METERING: u8 = 33;

fn pre_established(policy: SecurityPolicy) -> PreEstablished {
    PreEstablished {
        association: Association {
            client_sap: METERING,
            mechanism: AuthMechanism::None,
            policy,
            conformance: Conformance::all(),
            key_set: 0,
            instance: 5,
            inactivity: Duration::from_secs(120),
        },
        client_title: CLIENT_TITLE,
        client_max_pdu: 256,
    }
}

/// A client and a meter that were configured alike.
fn metering(policy: SecurityPolicy, form: Form) -> Pair<256, 256> {
    let config = Config {
        policy,
        form,
        mechanism: AuthMechanism::None,
        server_title: Some(METER_TITLE),
        ..config(WAYS[3])
    };
    let mut pair = Pair::new(config, METERING);
    pair.meter.rows = 100;
    pair.meter.pre_established = Some(pre_established(policy));
    pair.client.pre_established(Conformance::all(), 256).unwrap();
    pair
}

const SEALED: SecurityPolicy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);

#[test]
fn a_pre_established_association_needs_no_aarq_plain_or_protected() {
    for (policy, form, tag) in [
        (SecurityPolicy::NONE, Form::Plain, 0xC0),
        (SEALED, Form::Glo, 0xC8),
        (SEALED, Form::GeneralGlo, 0xDB),
    ] {
        let mut pair = metering(policy, form);
        let Outcome::Value(value) = pair.get(NAME) else { panic!("{form:?}") };
        assert_eq!(octets(&value).unwrap(), b"MGW0000000000001");
        assert_eq!(pair.wire[0].1[0], tag);
        let Outcome::Value(value) = pair.get(PROFILE) else { panic!("{form:?}") };
        assert_eq!(Data::from_bytes(&value).unwrap().as_array().unwrap().len(), 100);
        assert!(pair.wire.iter().all(|(_, apdu)| apdu.len() <= 256));
        // It ends as others do, and the next request finds it open again.
        pair.server.link_down();
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
    }
}

#[test]
fn a_pre_established_association_refuses_what_it_was_not_configured_for() {
    // A plain request where protection is demanded, and a recorded one after the link was down.
    let mut pair = metering(SEALED, Form::Glo);
    pair.client.action(pair.now, COUNT, None).unwrap();
    assert_eq!(pair.run(), Outcome::Done);
    let recorded = pair.wire[0].1.clone();
    pair.server.link_down();
    let plain = [0xC3, 1, 0xC1, 0, 9, 0, 0, 10, 0, 0, 255, 1, 0];
    for request in [&recorded[..], &plain] {
        pair.server.handle_bytes(pair.now, pair.peer, request, &mut pair.meter);
        assert_eq!(pair.meter.count, 1);
        while pair.server.poll_transmit().is_some() {}
    }
    // Another client, who has no such association.
    let mut pair = metering(SecurityPolicy::NONE, Form::Plain);
    pair.peer.client_sap = METERING + 1;
    let Outcome::Failed(Failure { error: Error::Exception { .. }, .. }) = pair.get(NAME) else { panic!() };
    // A client whose configuration needs an AARQ.
    let mut hls: Pair<256, 256> = Pair::new(config(WAYS[3]), VENDING);
    assert_eq!(hls.client.pre_established(Conformance::all(), 256), Err(StartError::Configuration));
}

#[test]
fn a_notification_is_confirmed_when_the_client_says_so_and_not_before() {
    let id = LongInvokeId(7 | LONG_INVOKE_ID_CONFIRMED);
    for (policy, form, tag) in [(SecurityPolicy::NONE, Form::Plain, 16), (SEALED, Form::Glo, 0xDB)] {
        let mut pair = metering(policy, form);
        pair.meter.pre_established = Some(pre_established(policy));
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
        while pair.server.poll_event().is_some() {}
        // The rows of clients 17 and 18 protect the same way.
        let sap = if policy.is_none() { READER } else { VENDING };
        pair.server.notify(&mut pair.meter, sap, id, None, |w| Data::Unsigned(42).encode(w)).unwrap();
        let push = pair.server.poll_transmit().unwrap().to_vec();
        pair.client.handle_bytes(pair.now, &push);
        let Some(client::Event::Notification { notification, .. }) = pair.client.poll_event() else {
            panic!()
        };
        let taken = notification.long_invoke_id;
        assert_eq!(taken, id);
        assert!(pair.client.poll_transmit().is_none());
        pair.client.confirm(taken).unwrap();
        assert_eq!(pair.client.confirm(taken), Err(StartError::Busy));
        let confirm = pair.client.poll_transmit().unwrap().to_vec();
        assert_eq!(confirm[0], tag);
        if policy.is_none() {
            assert_eq!(confirm, [16, 0x40, 0, 0, 7, 0]);
        }
        pair.server.handle_bytes(pair.now, pair.peer, &confirm, &mut pair.meter);
        let confirmed = Event::NotificationConfirmed { client_sap: METERING, long_invoke_id: id };
        assert_eq!(pair.server.poll_event(), Some(confirmed));
        assert!(pair.server.poll_transmit().is_none(), "a confirmation has no answer");
        // A damaged or unprotected one confirms nothing where protection is demanded.
        for bad in [&[16, 0x40][..], &[16], &[0xDB, 8]] {
            pair.server.handle_bytes(pair.now, pair.peer, bad, &mut pair.meter);
            while pair.server.poll_transmit().is_some() {}
            while let Some(event) = pair.server.poll_event() {
                assert!(!matches!(event, Event::NotificationConfirmed { .. }));
            }
        }
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
    }
}

#[test]
fn a_value_goes_whole_when_it_fills_the_clients_apdu_and_in_blocks_when_it_is_one_byte_longer() {
    for way in [WAYS[1], WAYS[3], WAYS[4]] {
        let (mut whole, mut longest_whole, mut shortest_cut) = (0, 0, usize::MAX);
        for len in 40..240 {
            let mut pair: Pair<512, 512> = Pair::new(Config { max_pdu: 200, ..config(way) }, way.client_sap);
            pair.meter.note = vec![7; len];
            assert_eq!(pair.associate(), Outcome::Associated);
            let before = pair.wire.len();
            let Outcome::Value(value) = pair.get(NOTE) else { panic!("{way:?} {len}") };
            assert_eq!(octets(&value).unwrap().len(), len);
            let answers: Vec<usize> = pair.wire[before..]
                .iter()
                .filter(|(client, _)| !client)
                .map(|(_, apdu)| apdu.len())
                .collect();
            assert!(answers.iter().all(|n| *n <= 200), "{way:?} {len}: {answers:?}");
            if let [one] = answers[..] {
                whole = whole.max(one);
                longest_whole = len;
            } else {
                shortest_cut = shortest_cut.min(len);
                assert!(answers[0] >= 198, "a block that others follow is full: {way:?} {len}: {answers:?}");
            }
        }
        // Not a byte is given away, but where the length field itself grows.
        assert!(whole >= 199, "{way:?}: {whole}");
        assert_eq!(shortest_cut, longest_whole + 1, "{way:?}");
    }
}

/// Under the key that many have: a push, and requests in the three forms that can say so.
#[test]
fn the_broadcast_key_is_used_where_it_is_configured_and_nowhere_else() {
    let shared = SEALED.with_broadcast(true);
    for (form, tag) in [(Form::Glo, 0xC8), (Form::GeneralGlo, 0xDB), (Form::General, 0xDD)] {
        let configured = Config {
            policy: shared,
            form,
            mechanism: AuthMechanism::None,
            server_title: Some(METER_TITLE),
            encryption_key: Some(Key::new(BROADCAST_KEY)),
            ..config(WAYS[3])
        };
        let mut pair: Pair<256, 256> = Pair::new(configured.clone(), METERING);
        assert_eq!(pair.client.associate(pair.now, b"0123456789abcdef"), Err(StartError::Configuration));
        pair.meter.pre_established = Some(pre_established(shared));
        pair.client.pre_established(Conformance::all(), 256).unwrap();
        let Outcome::Value(value) = pair.get(NAME) else { panic!("{form:?}") };
        assert_eq!(octets(&value).unwrap(), b"MGW0000000000001");
        let request = pair.wire[0].1.clone();
        assert_eq!(request[0], tag);
        if form == Form::General {
            // Transaction-id, our title, nobody's title, no time, no information, identified key 1.
            assert_eq!(request[10..25], *b"\x08MDMHES01\0\0\0\x01\0\x01");
        }
        // The same request where the unicast key is configured, and the unicast key where the broadcast key is.
        for (policy, key) in [(SEALED, BROADCAST_KEY), (shared, EK)] {
            let mut other: Pair<256, 256> =
                Pair::new(Config { encryption_key: Some(Key::new(key)), ..configured.clone() }, METERING);
            other.meter.pre_established = Some(pre_established(policy));
            other.client.pre_established(Conformance::all(), 256).unwrap();
            other.client.action(other.now, COUNT, None).unwrap();
            assert!(matches!(other.run(), Outcome::Failed(_)));
            assert_eq!(other.meter.count, 0);
        }
    }
}

#[test]
fn a_push_under_the_broadcast_key_is_read_by_all_who_have_it() {
    let shared = SEALED.with_broadcast(true);
    let mut pair = metering(SEALED, Form::Glo);
    pair.meter.policy = shared;
    pair.server
        .notify(&mut pair.meter, VENDING, LongInvokeId(7), None, |w| Data::Unsigned(42).encode(w))
        .unwrap();
    let push = pair.server.poll_transmit().unwrap().to_vec();
    assert_eq!((push[0], push[11]), (0xDB, 0x70), "general-glo, the bit of the broadcast key set");
    for _ in 0..2 {
        let many = Config {
            policy: shared,
            encryption_key: Some(Key::new(BROADCAST_KEY)),
            server_title: Some(METER_TITLE),
            mechanism: AuthMechanism::None,
            ..config(WAYS[3])
        };
        let mut one: Pair<256, 256> = Pair::new(many, METERING);
        one.client.pre_established(Conformance::all(), 256).unwrap();
        one.client.handle_bytes(one.now, &push);
        let Some(client::Event::Notification { protected: true, .. }) = one.client.poll_event() else {
            panic!()
        };
        // A recorded one is not news.
        one.client.handle_bytes(one.now, &push);
        assert!(matches!(one.client.poll_event(), Some(client::Event::Alarm(_))));
    }
    pair.client.handle_bytes(pair.now, &push);
    assert!(matches!(pair.client.poll_event(), Some(client::Event::Alarm(_))), "who expects the unicast key");
    // A client that proves who it is cannot do so with a key that many have.
    let mut hls: Pair<256, 256> = Pair::new(config(WAYS[3]), VENDING);
    hls.meter.policy = shared;
    assert!(matches!(hls.associate(), Outcome::Failed(_)));
}

#[test]
fn a_command_whose_counter_cannot_be_stored_is_refused_and_may_come_again() {
    for way in [WAYS[3], WAYS[4], WAYS[7]] {
        let mut pair: Pair<256, 256> = Pair::new(config(way), VENDING);
        pair.meter.storage_fails = true;
        assert!(matches!(pair.associate(), Outcome::Failed(_)), "nor is an association opened");
        pair.meter.storage_fails = false;
        assert_eq!(pair.associate(), Outcome::Associated);
        while pair.server.poll_event().is_some() {}
        pair.meter.storage_fails = true;
        pair.client.action(pair.now, COUNT, None).unwrap();
        let request = pair.client.poll_transmit().unwrap().to_vec();
        pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
        let refusal = Refusal::CounterNotStored;
        assert_eq!(pair.server.poll_event(), Some(Event::SecurityAlarm { client_sap: VENDING, refusal }));
        assert_eq!((pair.meter.count, pair.server.associated()), (0, Some(VENDING)));
        let exception = pair.server.poll_transmit().unwrap().to_vec();
        assert_eq!(exception, [0xD8, 1, 3], "service not allowed, other reason");
        // The storage works again: the same request counts once.
        pair.meter.storage_fails = false;
        for _ in 0..2 {
            pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
            while pair.server.poll_transmit().is_some() {}
        }
        assert_eq!(pair.meter.count, 1);
    }
}
