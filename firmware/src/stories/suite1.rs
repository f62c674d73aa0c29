//! A client that signs: HLS 7, keys agreed on, key pairs made anew, keys that both static keys make.

use super::wire::{MANAGEMENT, VENDING, Wire, act, get, secured};
use super::{board, events, personalisation, start, token};
use crate::Meter;
use crate::objects::client;
use crate::suite1::Suite1;
use crate::test_board::TestBoard;
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::codec::xdlms::ActionResult;
use protocol::cosem::class::ToData;
use protocol::cosem::events::Event;
use protocol::cosem::security_setup::{
    CLIENT_SYSTEM_TITLE, GENERATE_CERTIFICATE_REQUEST, GENERATE_KEY_PAIR, KEY_AGREEMENT, KEY_TRANSFER, KeyId,
    KeyPair, NewKeys, Parties, SECURITY_SUITE, put_key_agreement, put_key_transfer,
};
use protocol::cosem::{disconnect, obis, token_gateway};
use protocol::dlms::client::{Config, ContentKey, Error};
use protocol::dlms::model::ObjectModel;
use protocol::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey};
use protocol::dlms::security::{Form, Key, KeyUsage, SecurityPolicy, SecuritySuite, SystemTitle, pkcs10};
use protocol::dlms::server::Custody;
use protocol::time::Instant;
use std::vec::Vec;

const SUITE: SecuritySuite = SecuritySuite::Suite1;
const CLIENT: SystemTitle = SystemTitle(*b"MMM\0\0\xBC\x61\x4E");
const METER: SystemTitle = SystemTitle(*b"MGW\0\0\0\0\x01");

/// Green Book, tables C.1 and C.2: the client's key pairs, the meter's for agreement; and one for its signatures.
pub(super) const FACTORY: Suite1 = Suite1 {
    client_title: CLIENT.0,
    client_signing: *b"\xBA\xAF\xFD\xE0\x6A\x8C\xB1\xC9\xDA\xE8\xD9\x40\x23\xC6\x01\xDB\
\xBB\x24\x92\x54\xBA\x22\xED\xD8\x27\xE8\x20\xBC\xA2\xBC\xC6\x43\
\x62\xFB\xB8\x3D\x86\xA8\x2B\x87\xBB\x8B\x71\x61\xD2\xAA\xB5\x52\
\x19\x11\xA9\x46\xB9\x7A\x28\x4A\x90\xF7\x78\x5C\xD9\x04\x7D\x25",
    client_agreement: *b"\x07\xC5\x6D\xE2\xDC\xAF\x0F\xD7\x93\xEF\x29\xF0\x19\xC8\x9B\x4A\
\x0C\xC1\xE0\x01\xCE\x94\xF4\xFF\xBE\x10\xBC\x05\xE7\xE6\x6F\x76\
\x71\xA1\x3F\xBC\xF9\xE6\x62\xB9\x82\x6F\xFF\x6A\x69\x38\x54\x6D\
\x52\x4E\xD6\xD3\x40\x5F\x02\x02\x96\xBD\xE1\x6B\x04\xF7\xA7\xC2",
    signing: [0x3E; 32],
    agreement: *b"\xAA\xD3\xFD\x07\x32\xE9\x91\xCF\x52\xA7\x4C\x66\xC1\xF2\x82\x7D\
\xDC\x53\x52\x2A\x2E\x0A\x16\x9D\x7C\x4F\xFC\xC0\xFB\x5D\x6A\x4D",
};
const CLIENT_SIGNS: [u8; 32] = *b"\x41\x80\x73\xC2\x39\xFA\x61\x25\x01\x1D\xE4\xD6\xCD\x2E\x64\x57\
\x80\x28\x9F\x76\x1B\xB2\x1B\xFB\x08\x35\xCB\x55\x85\xE8\xB3\x73";
const CLIENT_AGREES: [u8; 32] = *b"\xA5\x1C\x16\xFF\x5C\x49\x8F\xCC\x89\x32\x3D\x4A\x92\x67\xCD\x71\
\xBF\x81\xFD\x6F\x6A\x89\x1C\xD2\x40\xDA\x7F\x3D\x6F\x28\x3E\x65";

fn private(number: &[u8]) -> PrivateKey {
    PrivateKey::from_bytes(Curve::P256, number).unwrap()
}

fn signs() -> Config {
    Config {
        mechanism: AuthMechanism::HighEcdsa,
        policy: SecurityPolicy::authenticated_encrypted(SUITE),
        signing_key: Some(private(&CLIENT_SIGNS)),
        agreement_key: Some(private(&CLIENT_AGREES)),
        server_public_key: Some(private(&FACTORY.signing).public_key()),
        system_title: CLIENT,
        ..secured()
    }
}

fn wire(meter: Meter<TestBoard>, config: Config, first_counter: u32) -> Wire {
    Wire::new(meter, u16::from(client::ECDSA), config, first_counter)
}

/// Symmetric keys of the set that signing clients use.
fn keys(meter: &Meter<TestBoard>) -> [Option<Key>; 2] {
    [KeyUsage::GlobalUnicastEncryption, KeyUsage::Authentication].map(|usage| meter.key(1, usage))
}

/// The parameter of a key agreement about unicast and authentication key, with these fresh keys.
fn offer(fresh: &[PrivateKey; 2], signing: &PrivateKey) -> Vec<u8> {
    let mut buffer = [0; 400];
    let mut w = SliceWriter::new(&mut buffer);
    put_key_agreement(&mut w, &sent(fresh), signing).unwrap();
    w.as_slice().to_vec()
}

fn sent(fresh: &[PrivateKey; 2]) -> [(KeyId, &PrivateKey); 2] {
    [(KeyId::Unicast, &fresh[0]), (KeyId::Authentication, &fresh[1])]
}

fn agreed(answer: &[u8], fresh: &[PrivateKey; 2]) -> Config {
    let parties = Parties { suite: SUITE, client: &CLIENT, server: &METER };
    let answer = Data::from_bytes_in(answer).unwrap();
    let meter = private(&FACTORY.signing).public_key();
    let keys = NewKeys::agreed_with(answer, parties, &sent(fresh), &meter).unwrap();
    Config {
        encryption_key: keys.get(KeyId::Unicast).cloned(),
        authentication_key: keys.get(KeyId::Authentication).cloned(),
        ..signs()
    }
}

#[test]
fn a_client_that_signs_does_what_vending_does_and_no_stranger_gets_in() {
    let mut wire = wire(start(board()), signs(), 1);
    wire.associate().unwrap();
    let digits = token(100, 1);
    let enter = token_gateway::ENTER.of(obis::TOKEN_GATEWAY);
    wire.action(enter, Data::OctetString(digits.as_bytes())).unwrap();
    wire.action(disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
    assert!(!wire.meter.board().closed);
    let suite = wire.get(SECURITY_SUITE.of(obis::SECURITY_SETUP_SUITE_1)).unwrap();
    assert_eq!(suite, [22, 1]);
    let title = wire.get(CLIENT_SYSTEM_TITLE.of(obis::SECURITY_SETUP_SUITE_1)).unwrap();
    assert_eq!(CLIENT_SYSTEM_TITLE.decode_bytes(&title).unwrap(), CLIENT.as_bytes());
    wire.release().unwrap();

    let mut meter = wire.meter;
    let stranger = private(&[0x58; 32]);
    for (first, wrong) in [
        Config { signing_key: Some(stranger.clone()), ..signs() },
        Config { system_title: SystemTitle(*b"MMM\0\0\xBC\x61\x4F"), ..signs() },
        Config { mechanism: AuthMechanism::HighGmac, ..signs() },
        Config {
            mechanism: AuthMechanism::HighGmac,
            policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0),
            ..signs()
        },
    ]
    .into_iter()
    .enumerate()
    {
        let mut wire = self::wire(meter, wrong, 1_000 * (first as u32 + 1));
        assert!(wire.associate().is_err(), "{first}");
        assert!(wire.port.associated().is_none());
        meter = wire.meter;
    }
    // A meter that is not the one whose key we know.
    let other = Config { server_public_key: Some(stranger.public_key()), ..signs() };
    assert_eq!(self::wire(meter, other, 9_000).associate(), Err(Error::NotAuthentic));
}

#[test]
fn a_meter_that_knows_no_signing_client_has_neither_the_association_nor_the_object() {
    let mut who = personalisation();
    who.options.suite1 = None;
    let mut meter = Meter::new(board(), who, Instant::ZERO).unwrap();
    assert!(meter.association(client::ECDSA).is_none());
    let suite = SECURITY_SUITE.of(obis::SECURITY_SETUP_SUITE_1);
    assert!(get(&mut meter, MANAGEMENT, suite, None).is_err());
    assert!(meter.attribute_access(MANAGEMENT, suite).is_empty());
    let pair = GENERATE_KEY_PAIR.of(obis::SECURITY_SETUP_SUITE_1);
    assert_eq!(act(&mut meter, MANAGEMENT, pair, Data::Enum(0)), Err(ActionResult::ObjectUndefined));
}

#[test]
fn every_form_of_general_ciphering_and_signing_reaches_the_meter() {
    let server = private(&FACTORY.agreement).public_key();
    let ephemeral = private(&[0x66; 32]);
    let keys = [
        ContentKey::Global,
        ContentKey::Wrapped { master: Key::new([0x4D; 16]), key: Key::new([0x99; 16]) },
        ContentKey::Agreed { ephemeral, server: server.clone() },
        ContentKey::Static { server },
    ];
    let mut meter = start(board());
    let mut first = 1;
    for content_key in keys {
        for signed in [false, true] {
            let config = Config { form: Form::General, content_key: content_key.clone(), signed, ..signs() };
            let mut wire = wire(meter, config, first);
            wire.associate().unwrap();
            let switch = if signed { disconnect::REMOTE_RECONNECT } else { disconnect::REMOTE_DISCONNECT };
            wire.action(switch.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
            wire.release().unwrap();
            (meter, first) = (wire.meter, first + 100);
        }
    }
}

#[test]
fn keys_that_both_agreed_on_count_from_the_next_association_and_survive_a_restart() {
    let fresh = [private(&[0x21; 32]), private(&[0x22; 32])];
    let mut wire = wire(start(board()), signs(), 1);
    let before = keys(&wire.meter);
    let set_0 = wire.meter.key(0, KeyUsage::GlobalUnicastEncryption);
    wire.associate().unwrap();
    let method = KEY_AGREEMENT.of(obis::SECURITY_SETUP_SUITE_1);
    let parameter = offer(&fresh, &private(&CLIENT_SIGNS));
    let answer = wire.action(method, Data::from_bytes_in(&parameter).unwrap()).unwrap();
    let next = agreed(&answer, &fresh);
    // The open association goes on as it began.
    wire.action(disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
    wire.release().unwrap();
    assert!(keys(&wire.meter) != before);
    assert_eq!(keys(&wire.meter), [next.encryption_key.clone(), next.authentication_key.clone()]);
    assert_eq!(wire.meter.key(0, KeyUsage::GlobalUnicastEncryption), set_0, "another set");
    assert!(events(&mut wire.meter).contains(&Event::KeysChanged));

    let mut old = self::wire(start(wire.meter.into_board()), signs(), 100);
    assert!(old.associate().is_err());
    let mut new = self::wire(old.meter, next, 200);
    new.associate().unwrap();

    // Who lost the answer agrees anew through management, whose keys are another set.
    let other = [private(&[0x23; 32]), private(&[0x24; 32])];
    let parameter = offer(&other, &private(&CLIENT_SIGNS));
    let mut management = Wire::new(new.meter, u16::from(client::MANAGEMENT), secured(), 1);
    management.associate().unwrap();
    let answer = management.action(method, Data::from_bytes_in(&parameter).unwrap()).unwrap();
    let mut again = self::wire(management.meter, agreed(&answer, &other), 300);
    again.associate().unwrap();
}

#[test]
fn nobody_else_agrees_on_keys_and_a_transfer_reaches_this_set_too() {
    let mut meter = start(board());
    let before = keys(&meter);
    let method = KEY_AGREEMENT.of(obis::SECURITY_SETUP_SUITE_1);
    let fresh = [private(&[0x21; 32]), private(&[0x22; 32])];
    let good = offer(&fresh, &private(&CLIENT_SIGNS));
    let stranger = offer(&fresh, &private(&[0x58; 32]));
    let mut buffer = [0; 400];
    let mut invoke = |meter: &mut Meter<TestBoard>, caller, parameter: &[u8]| {
        let mut w = SliceWriter::new(&mut buffer);
        meter.action(caller, method, Some(Data::from_bytes_in(parameter).unwrap()), &mut w)
    };
    assert_eq!(invoke(&mut meter, VENDING, &good), Err(ActionResult::ReadWriteDenied));
    assert_eq!(invoke(&mut meter, MANAGEMENT, &stranger), Err(ActionResult::ReadWriteDenied));
    assert_eq!(invoke(&mut meter, MANAGEMENT, &[9, 0]), Err(ActionResult::TypeUnmatched));
    // The suite of the other set has no curve.
    let suite_0 = KEY_AGREEMENT.of(obis::SECURITY_SETUP);
    let refused = act(&mut meter, MANAGEMENT, suite_0, Data::from_bytes_in(&good).unwrap());
    assert_eq!(refused, Err(ActionResult::ReadWriteDenied));
    assert_eq!(keys(&meter), before);
    assert_eq!(invoke(&mut meter, MANAGEMENT, &good), Ok(true));
    assert!(keys(&meter) != before);

    let (master, unicast) = (Key::new([0x4D; 16]), Key::new([0xA1; 16]));
    let mut w = SliceWriter::new(&mut buffer);
    put_key_transfer(&mut w, &master, &[(KeyId::Unicast, &unicast)]).unwrap();
    let transfer = w.as_slice().to_vec();
    let method = KEY_TRANSFER.of(obis::SECURITY_SETUP_SUITE_1);
    act(&mut meter, MANAGEMENT, method, Data::from_bytes_in(&transfer).unwrap()).unwrap();
    assert_eq!(keys(&meter)[0], Some(unicast));
    assert_ne!(meter.key(0, KeyUsage::GlobalUnicastEncryption), keys(&meter)[0]);
}

/// Cut at every byte of the write of an agreement: both keys are the old ones or both the new ones, and what was told accepted
/// holds.
#[test]
fn an_agreement_cut_anywhere_leaves_the_old_keys_or_the_new_ones() {
    let method = KEY_AGREEMENT.of(obis::SECURITY_SETUP_SUITE_1);
    let fresh = [private(&[0x21; 32]), private(&[0x22; 32])];
    let parameter = offer(&fresh, &private(&CLIENT_SIGNS));
    let old = keys(&start(board()));
    let (mut left_old, mut left_new) = (0, 0);
    for torn in (0..crate::layout::SUITE_1_PLACE_BYTES).step_by(5).chain([100_000]) {
        let mut meter = start(board());
        meter.board().storage.cut_after_writes(0, torn);
        let mut buffer = [0; 400];
        let mut w = SliceWriter::new(&mut buffer);
        let parameter = Data::from_bytes_in(&parameter).unwrap();
        let told = meter.action(MANAGEMENT, method, Some(parameter), &mut w);
        let mut board = meter.into_board();
        board.storage.power_up();
        let found = keys(&start(board));
        if found == old {
            assert!(told.is_err(), "{torn}");
            left_old += 1;
        } else {
            assert!(found[0] != old[0] && found[1] != old[1], "half a set after {torn} bytes");
            if told.is_ok() {
                let next = agreed(w.as_slice(), &fresh);
                assert_eq!(found, [next.encryption_key, next.authentication_key]);
            }
            left_new += 1;
        }
    }
    assert!(left_old > 10 && left_new > 1, "{left_old} {left_new}");
}

/// The public key that the meter says it has.
fn told_key(wire: &mut Wire, which: KeyPair) -> PublicKey {
    let method = GENERATE_CERTIFICATE_REQUEST.of(obis::SECURITY_SETUP_SUITE_1);
    let answer = wire.action(method, Data::Enum(which as u8)).unwrap();
    let Data::OctetString(request) = Data::from_bytes_in(&answer).unwrap() else { panic!() };
    let told = pkcs10::verify(Curve::P256, request).unwrap();
    assert_eq!(told.title, METER);
    told.key
}

#[test]
fn a_key_pair_made_anew_is_told_in_a_certificate_request_and_counts_at_once_and_for_good() {
    let mut wire = wire(start(board()), signs(), 1);
    wire.associate().unwrap();
    let factory = private(&FACTORY.signing).public_key();
    assert_eq!(told_key(&mut wire, KeyPair::DigitalSignature), factory);
    let generate = GENERATE_KEY_PAIR.of(obis::SECURITY_SETUP_SUITE_1);
    for which in [KeyPair::DigitalSignature, KeyPair::KeyAgreement] {
        let mut buffer = [0; 2];
        let mut w = SliceWriter::new(&mut buffer);
        which.put(&mut w).unwrap();
        wire.action(generate, Data::from_bytes_in(w.as_slice()).unwrap()).unwrap();
    }
    assert!(events(&mut wire.meter).contains(&Event::KeysChanged));
    let signing = told_key(&mut wire, KeyPair::DigitalSignature);
    let agreement = told_key(&mut wire, KeyPair::KeyAgreement);
    assert!(signing != factory && signing != agreement);

    // Whoever still has the old public key takes the meter for another one; whoever asks learns the new one.
    let mut old = self::wire(start(wire.meter.into_board()), signs(), 100);
    assert_eq!(old.associate(), Err(Error::NotAuthentic));
    let config = Config {
        server_public_key: Some(signing),
        form: Form::General,
        content_key: ContentKey::Static { server: agreement },
        ..signs()
    };
    let mut new = self::wire(old.meter, config, 200);
    new.associate().unwrap();
    new.action(disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
    assert!(!new.meter.board().closed);
    let mut meter = new.meter;
    // There is no transport layer security here, and certificates are nobody's.
    let request = GENERATE_CERTIFICATE_REQUEST.of(obis::SECURITY_SETUP_SUITE_1);
    for method in [generate, request] {
        let refused = act(&mut meter, MANAGEMENT, method, Data::Enum(KeyPair::Tls as u8));
        assert_eq!(refused, Err(ActionResult::ObjectUnavailable));
        assert_eq!(act(&mut meter, MANAGEMENT, method, Data::Enum(3)), Err(ActionResult::TypeUnmatched));
    }
    for index in 6..=8 {
        let mut method = generate;
        method.index = index;
        assert_eq!(act(&mut meter, MANAGEMENT, method, Data::Enum(0)), Err(ActionResult::ReadWriteDenied));
    }
}

#[test]
fn a_recorded_session_of_a_client_that_signs_opens_nothing_again() {
    let server = private(&FACTORY.agreement).public_key();
    for content_key in [ContentKey::Global, ContentKey::Static { server }] {
        let config = Config { form: Form::General, content_key, ..signs() };
        let mut wire = wire(start(board()), config.clone(), 1);
        wire.associate().unwrap();
        wire.action(disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
        let session = wire.sent.clone();
        wire.action(disconnect::REMOTE_RECONNECT.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
        let _ = wire.meter.press_button();
        assert!(wire.meter.board().closed);
        session.iter().for_each(|frame| wire.replay(frame));
        let mut rebooted = self::wire(start(wire.meter.into_board()), config, 100);
        session.iter().for_each(|frame| rebooted.replay(frame));
        rebooted.associate().unwrap();
        session.iter().for_each(|frame| rebooted.replay(frame));
        assert!(rebooted.meter.board().closed);
    }
}
