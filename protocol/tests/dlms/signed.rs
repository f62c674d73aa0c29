//! HLS mechanism 7: both ends prove themselves with signatures.

use protocol::codec::acse::AuthMechanism;
use protocol::codec::xdlms::ActionResult;
use protocol::dlms::client::{Config, Error, Failure, Outcome as Fate, StartError};
use protocol::dlms::security::{Form, SecurityPolicy, SecuritySuite, SystemTitle, ecdsa};

use crate::meter::*;

type Whole = Pair<512, 512>;

const CHALLENGE: &[u8] = b"a client's challenge of 32 bytes";

/// The suites that this build has curves for.
fn suites() -> impl Iterator<Item = SecuritySuite> {
    [SecuritySuite::Suite1, SecuritySuite::Suite2]
        .into_iter()
        .filter(|suite| ecdsa::Curve::of_suite(*suite).is_some())
}

/// A client that signs, in the plain context or with everything protected.
fn signing(suite: SecuritySuite, ciphered: bool, form: Form) -> (Config, SecurityPolicy) {
    let policy =
        SecurityPolicy { authenticated: ciphered, encrypted: ciphered, suite, ..SecurityPolicy::NONE };
    let wide = suite == SecuritySuite::Suite2;
    let key = |byte, narrow: [u8; 16]| {
        Some(if wide { protocol::dlms::security::Key::new_256([byte; 32]) } else { narrow.into() })
    };
    let config = Config {
        mechanism: AuthMechanism::HighEcdsa,
        signing_key: signing_key(suite, CLIENT_SIGNS),
        server_public_key: signing_key(suite, METER_SIGNS).map(|key| key.public_key()),
        encryption_key: key(0x11, EK),
        authentication_key: key(0x22, AK),
        policy,
        form,
        ..config(WAYS[3])
    };
    (config, policy)
}

fn pair(config: Config, policy: SecurityPolicy) -> Whole {
    let mut pair: Whole = Pair::new(config, VENDING);
    pair.meter.vending = AuthMechanism::HighEcdsa;
    pair.meter.policy = policy;
    pair
}

fn associate(pair: &mut Whole) -> Outcome {
    pair.client.associate(pair.now, CHALLENGE).unwrap();
    pair.run()
}

fn refused() -> Outcome {
    let error = Error::Action(ActionResult::ReadWriteDenied);
    Outcome::Failed(Failure { error, outcome: Fate::NotDone })
}

#[test]
fn signatures_prove_both_ends_to_each_other_in_every_suite_and_form() {
    for suite in suites() {
        for (ciphered, form) in [(false, Form::Plain), (true, Form::Glo), (true, Form::GeneralGlo)] {
            let (config, policy) = signing(suite, ciphered, form);
            let mut pair = pair(config, policy);
            assert_eq!(associate(&mut pair), Outcome::Associated, "{suite:?} {form:?}");
            assert!(matches!(pair.get(NOTE), Outcome::Value(_)));
            assert_eq!(pair.server.associated(), Some(VENDING));
        }
    }
}

#[test]
fn who_signs_with_another_key_or_under_another_title_is_refused() {
    for suite in suites() {
        let (config, policy) = signing(suite, false, Form::Plain);
        let stranger = Config { signing_key: signing_key(suite, 0x58), ..config.clone() };
        assert_eq!(associate(&mut pair(stranger, policy)), refused());
        let title = SystemTitle(*b"MDMHES02");
        let other = Config { system_title: title, ..config };
        assert_eq!(associate(&mut pair(other, policy)), refused());
    }
}

#[test]
fn a_meter_that_signs_with_another_key_is_found_out() {
    for suite in suites() {
        let (config, policy) = signing(suite, true, Form::Glo);
        let key = signing_key(suite, 0x32).map(|key| key.public_key());
        let mut pair = pair(Config { server_public_key: key, ..config }, policy);
        let failure = Failure { error: Error::NotAuthentic, outcome: Fate::NotDone };
        assert_eq!(associate(&mut pair), Outcome::Failed(failure));
    }
}

#[test]
fn a_signature_recorded_in_one_association_opens_no_other() {
    let (config, policy) = signing(SecuritySuite::Suite1, false, Form::Plain);
    let mut pair = pair(config, policy);
    assert_eq!(associate(&mut pair), Outcome::Associated);
    let recorded: Vec<_> = pair.wire.iter().filter(|(out, _)| *out).map(|(_, apdu)| apdu.clone()).collect();
    pair.server.link_down();
    for apdu in recorded {
        pair.server.handle_bytes(pair.now, pair.peer, &apdu, &mut pair.meter);
        while pair.server.poll_transmit().is_some() {}
    }
    assert_eq!(pair.server.associated(), None, "the meter's challenge is another one");
}

#[test]
fn every_damaged_or_shortened_signature_is_refused() {
    let (config, policy) = signing(SecuritySuite::Suite1, false, Form::Plain);
    let mut recorded = pair(config, policy);
    recorded.client.associate(recorded.now, CHALLENGE).unwrap();
    let aarq = recorded.client.poll_transmit().unwrap().to_vec();
    recorded.server.handle_bytes(recorded.now, recorded.peer, &aarq, &mut recorded.meter);
    let aare = recorded.server.poll_transmit().unwrap().to_vec();
    recorded.client.handle_bytes(recorded.now, &aare);
    let reply = recorded.client.poll_transmit().unwrap().to_vec();
    // C3 01 C1, descriptor of nine bytes, 01, 09 40, the signature.
    let signature_at = reply.len() - 64;
    let random = recorded.meter.random;
    let mut attempts: Vec<Vec<u8>> = (signature_at..reply.len())
        .map(|at| {
            let mut bytes = reply.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    for len in 0..64 {
        let mut bytes = reply[..signature_at + len].to_vec();
        bytes[signature_at - 1] = len as u8;
        attempts.push(bytes);
    }
    for attempt in attempts {
        let mut server = protocol::dlms::server::Server::<512, 1024>::new();
        let mut meter = Meter { vending: AuthMechanism::HighEcdsa, policy, random: 0, ..Meter::default() };
        server.handle_bytes(recorded.now, recorded.peer, &aarq, &mut meter);
        assert_eq!(meter.random, random, "the same challenge");
        server.handle_bytes(recorded.now, recorded.peer, &attempt, &mut meter);
        assert_eq!(server.associated(), None);
    }
}

#[test]
fn a_client_without_keys_of_the_suites_curve_or_with_a_short_challenge_does_not_start() {
    let (config, _) = signing(SecuritySuite::Suite1, false, Form::Plain);
    for wrong in [
        Config { signing_key: None, ..config.clone() },
        Config { server_public_key: None, ..config.clone() },
        Config { policy: SecurityPolicy::NONE, ..config.clone() },
    ] {
        let mut pair: Whole = Pair::new(wrong, VENDING);
        assert_eq!(pair.client.associate(pair.now, CHALLENGE), Err(StartError::Configuration));
    }
    let mut pair: Whole = Pair::new(config, VENDING);
    assert_eq!(pair.client.associate(pair.now, &CHALLENGE[..31]), Err(StartError::Configuration));
}
