//! Policies: what both ends are configured to is applied in every suite and form, and nothing weaker gets through.

use protocol::dlms::client::{Config, ContentKey};
use protocol::dlms::security::{Form, Key, Refusal, SecurityPolicy, SecuritySuite};
use protocol::dlms::server::{Event, Server};

use crate::meter::*;

type Whole = Pair<700, 700>;

const SUITES: [SecuritySuite; 3] = [SecuritySuite::Suite0, SecuritySuite::Suite1, SecuritySuite::Suite2];
const FORMS: [Form; 3] = [Form::Glo, Form::GeneralGlo, Form::General];

/// Authentication only, encryption only, both; in each suite.
fn policies() -> impl Iterator<Item = SecurityPolicy> {
    SUITES.into_iter().flat_map(|suite| {
        [(true, false), (false, true), (true, true)].map(|(authenticated, encrypted)| SecurityPolicy {
            suite,
            authenticated,
            encrypted,
            ..SecurityPolicy::NONE
        })
    })
}

fn pair(policy: SecurityPolicy, form: Form, dedicated: bool) -> Whole {
    let wide = policy.suite == SecuritySuite::Suite2;
    let key = |byte, narrow: [u8; 16]| if wide { Key::new_256([byte; 32]) } else { Key::new(narrow) };
    let config = Config {
        encryption_key: Some(key(0x11, EK)),
        authentication_key: Some(key(0x22, AK)),
        dedicated_key: dedicated.then(|| key(0x5A, [0x5A; 16])),
        policy: policy.with_dedicated(dedicated),
        form,
        content_key: ContentKey::Global,
        ..config(WAYS[3])
    };
    let mut pair: Whole = Pair::new(config, VENDING);
    pair.meter.policy = policy;
    pair
}

/// The security control byte of an APDU.
fn control(apdu: &[u8]) -> u8 {
    match apdu[0] {
        // Tag, transaction-id, two titles, two empty fields, no key-info, length.
        0xDD => apdu[1 + 9 + 9 + 9 + 2 + 1 + 1],
        0xDB | 0xDC => apdu[1 + 9 + 1],
        _ => apdu[2],
    }
}

#[test]
fn each_policy_is_applied_both_ways_in_every_suite_and_form() {
    for policy in policies() {
        for form in FORMS {
            for dedicated in [false, true] {
                let mut pair = pair(policy, form, dedicated);
                assert_eq!(pair.associate(), Outcome::Associated, "{policy:?} {form:?}");
                assert!(matches!(pair.get(NAME), Outcome::Value(_)), "{policy:?} {form:?}");
                let expected = policy.control().0;
                assert!(pair.wire.iter().skip(2).all(|(_, apdu)| control(apdu) == expected));
            }
        }
    }
}

/// A request that another client protects, meant for a meter that demands something else.
fn request_under(policy: SecurityPolicy, form: Form, dedicated: bool) -> Vec<u8> {
    let mut other = pair(policy, form, dedicated);
    other.associate();
    other.client.action(other.now, COUNT, None).unwrap();
    other.client.poll_transmit().unwrap().to_vec()
}

#[test]
fn frames_of_every_other_policy_and_suite_are_refused_unless_they_are_stronger() {
    for demanded in policies() {
        for form in FORMS {
            for sent in policies().filter(|sent| *sent != demanded) {
                let mut pair = pair(demanded, form, false);
                assert_eq!(pair.associate(), Outcome::Associated);
                while pair.server.poll_event().is_some() {}
                let request = request_under(sent, form, false);
                // Only the counters of the other pair are as far: lift it over ours.
                pair.meter.seen.clear();
                pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
                let stronger = sent.suite == demanded.suite
                    && sent.authenticated >= demanded.authenticated
                    && sent.encrypted >= demanded.encrypted;
                let alarm = Event::SecurityAlarm { client_sap: VENDING, refusal: Refusal::Weak };
                let expected = (!stronger).then_some(alarm);
                assert_eq!(pair.server.poll_event(), expected, "{demanded:?} {sent:?} {form:?}");
                assert_eq!(pair.meter.count, u32::from(stronger));
            }
        }
    }
}

#[test]
fn a_dedicated_key_that_nobody_brought_opens_nothing() {
    let policy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
    for form in [Form::Glo, Form::GeneralGlo] {
        let mut pair = pair(policy, form, false);
        pair.associate();
        while pair.server.poll_event().is_some() {}
        let request = request_under(policy, form, true);
        pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
        let alarm = Event::SecurityAlarm { client_sap: VENDING, refusal: Refusal::Weak };
        assert_eq!((pair.server.poll_event(), pair.meter.count), (Some(alarm), 0));
    }
}

#[test]
fn a_client_takes_no_answer_that_is_protected_less_than_its_own_policy_says() {
    let both = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
    for form in FORMS {
        for (authenticated, encrypted) in [(true, false), (false, true)] {
            let mut pair = pair(both, form, false);
            pair.associate();
            // The meter's next answer under a weaker policy, with keys and counters in order.
            let weak = SecurityPolicy { authenticated, encrypted, ..both };
            let mut other = self::pair(weak, form, false);
            other.associate();
            other.meter.counter = pair.meter.counter + 10;
            other.client.get(other.now, NAME, None).unwrap();
            let request = other.client.poll_transmit().unwrap().to_vec();
            other.server.handle_bytes(other.now, other.peer, &request, &mut other.meter);
            let answer = other.server.poll_transmit().unwrap().to_vec();
            pair.client.get(pair.now, NAME, None).unwrap();
            pair.client.poll_transmit().unwrap();
            pair.client.handle_bytes(pair.now, &answer);
            let alarm = protocol::dlms::client::Event::Alarm(Refusal::Weak);
            assert_eq!(pair.client.poll_event(), Some(alarm), "{form:?}");
            assert!(pair.client.is_busy());
        }
    }
}

/// Said in `protocol/SPEC.md`: what one association costs, beside the buffers its owner chose.
#[test]
fn the_memory_of_an_association_is_bounded() {
    let server = size_of::<Server<512, 256>>();
    let client = size_of::<protocol::dlms::client::Client<1024, 1024>>();
    println!("server {server}, of it buffers {}; client {client}, of it buffers {}", 2 * 512 + 256, 3 * 1024);
    assert!(server - (2 * 512 + 256) <= SERVER_BYTES, "{server}");
    assert!(client - 3 * 1024 <= CLIENT_BYTES, "{client}");
}

/// Bytes of a server's association beside its buffers, on a 64-bit machine.
const SERVER_BYTES: usize = 5 * 1024;
/// The same of a client.
const CLIENT_BYTES: usize = 5 * 1024;
