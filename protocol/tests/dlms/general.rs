//! General-ciphering and general-signing between both ends.

use protocol::codec::acse::AuthMechanism;
use protocol::codec::codec::Writer;
use protocol::codec::xdlms::{DataAccessResult, KeyInfo, SecurityControl};
use protocol::dlms::client::{Config, ContentKey, Error, Event as Told, Failure, StartError};
use protocol::dlms::security::general::{Address, General, Signed, agreed_key, identified_key, static_key};
use protocol::dlms::security::{
    Cipher, Form, Frame, Key, Refusal, SecurityPolicy, SecuritySuite, agreement, ecdsa,
};
use protocol::dlms::server::Event;

use crate::meter::*;

type Whole = Pair<700, 700>;

/// The key the meter wraps under.
const MASTER: Key = Key::new(MASTER_KEY);

fn suite1() -> Config {
    let suite = SecuritySuite::Suite1;
    Config {
        policy: SecurityPolicy::authenticated_encrypted(suite),
        form: Form::General,
        mechanism: AuthMechanism::HighGmac,
        signing_key: signing_key(suite, CLIENT_SIGNS),
        agreement_key: signing_key(suite, CLIENT_AGREES),
        server_public_key: signing_key(suite, METER_SIGNS).map(|key| key.public_key()),
        ..config(WAYS[3])
    }
}

/// Every way to name the key, each signed and not.
fn ways() -> Vec<Config> {
    let suite = SecuritySuite::Suite1;
    let ephemeral = signing_key(suite, 0x66).unwrap();
    let server = signing_key(suite, METER_AGREES).unwrap().public_key();
    let keys = [
        ContentKey::Global,
        ContentKey::Wrapped { master: MASTER, key: Key::new([0x99; 16]) },
        ContentKey::Agreed { ephemeral, server: server.clone() },
        ContentKey::Static { server },
    ];
    let mut ways = Vec::new();
    for content_key in keys {
        for signed in [false, true] {
            ways.push(Config { content_key: content_key.clone(), signed, ..suite1() });
        }
    }
    // A signature around other forms.
    ways.push(Config { form: Form::Glo, signed: true, ..suite1() });
    ways.push(Config { form: Form::GeneralGlo, signed: true, ..suite1() });
    ways
}

fn pair(config: Config) -> Whole {
    let policy = config.policy;
    let mut pair: Whole = Pair::new(config, VENDING);
    pair.meter.policy = policy;
    pair.meter.rows = 60;
    pair
}

#[test]
fn every_way_to_name_the_key_carries_every_kind_of_service() {
    for config in ways() {
        let (form, signed) = (config.form, config.signed);
        let mut pair = pair(config);
        assert_eq!(pair.associate(), Outcome::Associated, "{form:?} {signed}");
        let Outcome::Value(value) = pair.get(NOTE) else { panic!("{form:?} {signed}") };
        assert_eq!(octets(&value).unwrap(), b"hello");
        // Sixty rows come in blocks, five hundred bytes leave in blocks.
        let Outcome::Value(rows) = pair.get(PROFILE) else { panic!("{form:?} {signed}") };
        assert!(rows.len() > 700);
        let note = vec![7; 500];
        let value = protocol::codec::axdr::Data::OctetString(&note);
        pair.client.set(pair.now, NOTE, None, value).unwrap();
        assert_eq!(pair.run(), Outcome::Done);
        assert_eq!(pair.meter.note, note);
        pair.client.action(pair.now, COUNT, None).unwrap();
        assert_eq!(pair.run(), Outcome::Done);
        let outer = if signed { 0xDF } else { 0xDD };
        let services = pair.wire.iter().skip(2);
        assert!(services.clone().all(|(_, apdu)| apdu[0] == outer && apdu.len() <= 700), "{form:?} {signed}");
        pair.client.release(pair.now).unwrap();
        assert_eq!(pair.run(), Outcome::Released);
    }
}

#[test]
fn a_recorded_command_is_refused_whatever_key_it_brings() {
    for config in ways() {
        let mut pair = pair(config);
        pair.associate();
        pair.client.action(pair.now, COUNT, None).unwrap();
        assert_eq!(pair.run(), Outcome::Done);
        let recorded = pair.wire[pair.wire.len() - 2].1.clone();
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
        for _ in 0..2 {
            pair.server.handle_bytes(pair.now, pair.peer, &recorded, &mut pair.meter);
            while pair.server.poll_transmit().is_some() {}
            assert_eq!(pair.meter.count, 1);
            pair.client.link_down();
            pair.server.link_down();
            assert_eq!(pair.associate(), Outcome::Associated);
        }
    }
}

#[test]
fn no_changed_byte_of_a_request_or_an_answer_gets_through() {
    for config in ways() {
        let mut recorded = pair(config);
        recorded.associate();
        recorded.client.action(recorded.now, COUNT, None).unwrap();
        let request = recorded.client.poll_transmit().unwrap().to_vec();
        let counters = recorded.meter.seen.clone();
        for at in 0..request.len() {
            let mut changed = request.clone();
            changed[at] ^= 1;
            recorded.server.handle_bytes(recorded.now, recorded.peer, &changed, &mut recorded.meter);
            while recorded.server.poll_transmit().is_some() {}
            while recorded.server.poll_event().is_some() {}
            assert_eq!(recorded.meter.count, 0, "byte {at}");
            recorded.server.handle_bytes(recorded.now, recorded.peer, &request[..at], &mut recorded.meter);
            while recorded.server.poll_transmit().is_some() {}
        }
        assert_eq!(recorded.meter.seen, counters, "and none moved the counter");
        recorded.server.handle_bytes(recorded.now, recorded.peer, &request, &mut recorded.meter);
        let answer = recorded.server.poll_transmit().unwrap().to_vec();
        assert_eq!(recorded.meter.count, 1);
        for at in 0..answer.len() {
            let mut changed = answer.clone();
            changed[at] ^= 1;
            recorded.client.handle_bytes(recorded.now, &changed);
            assert!(recorded.client.is_busy(), "byte {at}");
            while recorded.client.poll_event().is_some() {}
        }
        recorded.client.handle_bytes(recorded.now, &answer);
        assert_eq!(recorded.client.poll_event(), Some(Told::Done));
    }
}

#[test]
fn keys_of_strangers_and_weaker_frames_are_refused() {
    let suite = SecuritySuite::Suite1;
    let server = signing_key(suite, METER_AGREES).unwrap().public_key();
    let ephemeral = signing_key(suite, 0x66).unwrap();
    let fixed = ContentKey::Static { server: server.clone() };
    let agreed = ContentKey::Agreed { ephemeral, server };
    let stranger = signing_key(suite, 0x58);
    let wrapped = ContentKey::Wrapped { master: Key::new([0x4E; 16]), key: Key::new([0x99; 16]) };
    for (wrong, refusal) in [
        (Config { content_key: wrapped, ..suite1() }, Refusal::BadTag),
        (Config { content_key: fixed, agreement_key: stranger.clone(), ..suite1() }, Refusal::BadTag),
        (Config { content_key: agreed, signing_key: stranger.clone(), ..suite1() }, Refusal::BadSignature),
        (Config { signed: true, signing_key: stranger, ..suite1() }, Refusal::BadSignature),
    ] {
        let mut pair = pair(wrong);
        assert!(matches!(pair.associate(), Outcome::Failed(_)));
        let alarm = Event::SecurityAlarm { client_sap: VENDING, refusal };
        assert_eq!(pair.server.poll_event(), Some(alarm));
        assert_eq!(pair.server.associated(), None);
    }
    // Authenticated only, where both are demanded.
    let mut pair = pair(suite1());
    pair.associate();
    let mut weak = suite1();
    weak.policy.encrypted = false;
    let mut other: Whole = Pair::new(weak, VENDING);
    other.meter.policy = SecurityPolicy { encrypted: false, ..pair.meter.policy };
    other.associate();
    other.client.action(other.now, COUNT, None).unwrap();
    let request = other.client.poll_transmit().unwrap().to_vec();
    while pair.server.poll_event().is_some() {}
    pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
    let alarm = Event::SecurityAlarm { client_sap: VENDING, refusal: Refusal::Weak };
    assert_eq!((pair.server.poll_event(), pair.meter.count), (Some(alarm), 0));
}

#[test]
fn an_attribute_that_demands_signatures_is_given_to_who_signs() {
    for signed in [false, true] {
        let mut pair = pair(Config { signed, ..suite1() });
        pair.associate();
        let got = pair.get(SEALED);
        if signed {
            assert!(matches!(got, Outcome::Value(_)));
        } else {
            let error = Error::DataAccess(DataAccessResult::ReadWriteDenied);
            let outcome = protocol::dlms::client::Outcome::NotDone;
            assert_eq!(got, Outcome::Failed(Failure { error, outcome }));
        }
    }
}

#[test]
fn an_unsigned_answer_to_a_signed_request_is_no_answer() {
    let mut pair = pair(Config { signed: true, form: Form::GeneralGlo, ..suite1() });
    pair.associate();
    pair.client.get(pair.now, NOTE, None).unwrap();
    let request = pair.client.poll_transmit().unwrap().to_vec();
    pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
    let answer = pair.server.poll_transmit().unwrap().to_vec();
    // The signature taken off.
    let signed = Signed::parse(&answer).unwrap().unwrap();
    let inner = signed.content;
    assert_eq!(inner[0], 0xDB);
    pair.client.handle_bytes(pair.now, inner);
    assert_eq!(pair.client.poll_event(), Some(Told::Alarm(Refusal::Weak)));
    assert!(pair.client.is_busy());
}

#[test]
fn a_client_that_lacks_a_key_for_its_form_does_not_start() {
    let suite = SecuritySuite::Suite1;
    let agreed = || ContentKey::Agreed {
        ephemeral: signing_key(suite, 0x66).unwrap(),
        server: signing_key(suite, METER_AGREES).unwrap().public_key(),
    };
    let fixed = || ContentKey::Static { server: signing_key(suite, METER_AGREES).unwrap().public_key() };
    assert!(ecdsa::Curve::of_suite(SecuritySuite::Suite0).is_none());
    let suite0 = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
    for wrong in [
        Config { signed: true, signing_key: None, ..suite1() },
        Config { signed: true, server_public_key: None, ..suite1() },
        Config { signed: true, policy: suite0, ..suite1() },
        Config { content_key: agreed(), signing_key: None, ..suite1() },
        Config { content_key: fixed(), agreement_key: None, ..suite1() },
        Config { content_key: fixed(), policy: suite0, ..suite1() },
        Config { policy: SecurityPolicy::with_broadcast(suite1().policy, true), ..suite1() },
        Config { content_key: agreed(), policy: suite0, ..suite1() },
        Config {
            content_key: ContentKey::Wrapped { master: MASTER, key: Key::new_256([1; 32]) },
            ..suite1()
        },
        Config { policy: SecurityPolicy::NONE, ..suite1() },
    ] {
        let mut pair: Whole = Pair::new(wrong, VENDING);
        assert_eq!(pair.client.associate(pair.now, b"0123456789abcdef"), Err(StartError::Configuration));
    }
}

/// A meter may bring the key of its answer too: the Green Book's example does.
#[test]
fn an_answer_under_a_key_that_the_meter_agrees_on_is_opened() {
    let suite = SecuritySuite::Suite1;
    let server = || signing_key(suite, METER_AGREES).unwrap().public_key();
    let one_pass = ContentKey::Agreed { ephemeral: signing_key(suite, 0x66).unwrap(), server: server() };
    for content_key in [one_pass, ContentKey::Static { server: server() }] {
        let fixed = matches!(content_key, ContentKey::Static { .. });
        let mut pair = pair(Config { content_key, ..suite1() });
        pair.associate();
        pair.client.action(pair.now, COUNT, None).unwrap();
        let request = pair.client.poll_transmit().unwrap().to_vec();
        let transaction_id = General::parse(&request).unwrap().unwrap().header.transaction_id;
        let answer = |signer: u8| {
            let agrees = signing_key(suite, METER_AGREES).unwrap();
            let client = signing_key(suite, CLIENT_AGREES).unwrap().public_key();
            let (key, key_info) = if fixed {
                let z = agrees.agree(&client).unwrap();
                let key =
                    agreement::static_content_key(suite, &z, &METER_TITLE, transaction_id, &CLIENT_TITLE);
                (key, static_key())
            } else {
                let ephemeral = signing_key(suite, 0x22).unwrap();
                let z = ephemeral.agree(&client).unwrap();
                let key = agreement::content_key(suite, &z, &METER_TITLE, &CLIENT_TITLE);
                let signer = signing_key(suite, signer).unwrap();
                (key, agreed_key(&ephemeral, |parts| signer.sign(parts)).unwrap())
            };
            let cipher = Cipher::new(suite, &key.unwrap(), &Key::new(AK)).unwrap();
            let mut frame = Frame::<512>::new();
            // The second request of the association: the HLS answer was the first.
            frame.build(|w| w.write_bytes(&[0xC7, 1, 0x42, 0, 0])).unwrap();
            let address =
                Address { transaction_id, originator: &METER_TITLE, recipient: Some(&CLIENT_TITLE) };
            let control = SecurityControl::new(1, true, true);
            frame.protect_general(&cipher, control, 9_000, address, &key_info).unwrap();
            frame.finished().to_vec()
        };
        let (good, stranger) = (answer(METER_SIGNS), answer(0x58));
        if !fixed {
            pair.client.handle_bytes(pair.now, &stranger);
            assert_eq!(pair.client.poll_event(), Some(Told::Alarm(Refusal::BadSignature)));
        }
        pair.client.handle_bytes(pair.now, &good);
        assert_eq!(pair.client.poll_event(), Some(Told::Done));
    }
}

/// Some meters' answers name no transaction; those of another one are another's.
#[test]
fn an_answer_without_a_transaction_is_taken_and_one_of_another_transaction_is_not() {
    let suite = SecuritySuite::Suite1;
    let mut pair = pair(suite1());
    pair.associate();
    pair.client.action(pair.now, COUNT, None).unwrap();
    let request = pair.client.poll_transmit().unwrap().to_vec();
    let mut another = General::parse(&request).unwrap().unwrap().header.transaction_id.to_vec();
    another[0] ^= 1;
    let answer = |transaction_id: &[u8], counter: u32| {
        let cipher = Cipher::new(suite, &Key::new(EK), &Key::new(AK)).unwrap();
        let mut frame = Frame::<512>::new();
        frame.build(|w| w.write_bytes(&[0xC7, 1, 0x42, 0, 0])).unwrap();
        let address = Address { transaction_id, originator: &METER_TITLE, recipient: Some(&CLIENT_TITLE) };
        let control = SecurityControl::new(1, true, true);
        frame.protect_general(&cipher, control, counter, address, &identified_key(0)).unwrap();
        frame.finished().to_vec()
    };
    pair.client.handle_bytes(pair.now, &answer(&another, 9_000));
    assert_eq!(pair.client.poll_event(), Some(Told::Alarm(Refusal::WrongTransaction)));
    assert!(pair.client.is_busy());
    pair.client.handle_bytes(pair.now, &answer(&[], 9_001));
    assert_eq!(pair.client.poll_event(), Some(Told::Done));
}

#[test]
fn an_answer_names_its_key_as_its_request_did_and_agrees_on_one_of_its_own() {
    for config in ways().into_iter().filter(|config| config.form == Form::General && !config.signed) {
        for forgetful in [false, true] {
            let mut pair = pair(config.clone());
            pair.meter.forgetful = forgetful;
            if forgetful && matches!(config.content_key, ContentKey::Static { .. }) {
                assert!(matches!(pair.associate(), Outcome::Failed(_)), "whose key is not known");
                continue;
            }
            assert_eq!(pair.associate(), Outcome::Associated);
            assert!(matches!(pair.get(NOTE), Outcome::Value(_)));
            let [.., (true, request), (false, answer)] = &pair.wire[..] else { panic!() };
            let request = General::parse(request).unwrap().unwrap();
            let answer = General::parse(answer).unwrap().unwrap();
            match (request.key_info, answer.key_info) {
                (None, None) | (Some(KeyInfo::Agreed { .. }), None) => {
                    assert!(request.key_info.is_none() || forgetful);
                }
                (asked @ Some(KeyInfo::Wrapped { .. }), named) => assert_eq!(asked, named),
                (
                    Some(KeyInfo::Agreed { parameters: asked, ciphered_key: theirs }),
                    Some(KeyInfo::Agreed { parameters: named, ciphered_key: ours }),
                ) => assert!(
                    asked == named && theirs.len() == ours.len() && (ours.is_empty() || ours != theirs)
                ),
                other => panic!("{other:?}"),
            }
        }
    }
}
