//! Our client with our server.

use protocol::codec::acse::{Aare, Diagnostic, UserDiagnostic};
use protocol::codec::axdr::Data;
use protocol::codec::codec::Decode;
use protocol::codec::xdlms::{
    ActionResponseWithOptionalData, ActionResult, DataAccessResult, GetDataResult, List, ServiceError,
};
use protocol::dlms::client::{self, Error, Failure, selection};
use protocol::dlms::security::{Refusal, Secret};
use protocol::dlms::server::Event;

use crate::meter::*;

type Small = Pair<256, 256>;

fn pair(way: Way) -> Small {
    let mut pair = Pair::new(config(way), way.client_sap);
    pair.meter.rows = 500;
    pair
}

fn failed(error: Error) -> Outcome {
    Outcome::Failed(Failure { error, outcome: client::Outcome::NotDone })
}

#[test]
fn every_way_of_associating_reads_a_name_and_releases() {
    for way in WAYS {
        let mut pair = pair(way);
        assert_eq!(pair.associate(), Outcome::Associated, "{way:?}");
        let Outcome::Value(value) = pair.get(NAME) else { panic!("{way:?}") };
        assert_eq!(octets(&value).unwrap(), b"MGW0000000000001");
        pair.client.release(pair.now).unwrap();
        assert_eq!(pair.run(), Outcome::Released, "{way:?}");
        assert_eq!(pair.server.associated(), None);
    }
}

#[test]
fn the_aare_says_authentication_required_exactly_where_hls_follows() {
    for way in WAYS {
        let mut pair = pair(way);
        pair.associate();
        let aare = Aare::from_bytes(&pair.wire[1].1).unwrap();
        let expected = if matches!(way.client_sap, PUBLIC | READER) {
            UserDiagnostic::Null
        } else {
            UserDiagnostic::AuthenticationRequired
        };
        assert_eq!(aare.diagnostic, Diagnostic::User(expected), "{way:?}");
    }
}

#[test]
fn answers_come_in_the_form_of_the_request() {
    for way in WAYS {
        let mut pair = pair(way);
        pair.associate();
        pair.get(NAME);
        let tags: Vec<u8> = pair.wire.iter().rev().take(2).map(|(_, apdu)| apdu[0]).collect();
        let expected = match (way.client_sap, way.form, way.dedicated) {
            (VENDING, protocol::dlms::security::Form::Glo, false) => [0xCC, 0xC8],
            (VENDING, protocol::dlms::security::Form::Glo, true) => [0xD4, 0xD0],
            (VENDING, protocol::dlms::security::Form::General, _) => [0xDD, 0xDD],
            (VENDING, _, false) => [0xDB, 0xDB],
            (VENDING, _, true) => [0xDC, 0xDC],
            _ => [0xC4, 0xC0],
        };
        assert_eq!(tags, expected, "{way:?}");
    }
}

#[test]
fn a_profile_larger_than_both_ends_is_read_in_blocks_that_fill_the_apdu_and_never_exceed_it() {
    for way in &WAYS[1..] {
        let mut pair = pair(*way);
        assert_eq!(pair.associate(), Outcome::Associated);
        let Outcome::Value(value) = pair.get(PROFILE) else { panic!("{way:?}") };
        let rows = Data::from_bytes(&value).unwrap().as_array().unwrap();
        assert_eq!(rows.len(), 500);
        for (n, got) in rows.iter().enumerate() {
            assert_eq!(got.unwrap().field(1).unwrap().as_u64(), Some(n as u64 * 17));
        }
        let answers: Vec<usize> = pair.wire.iter().filter(|w| !w.0).map(|w| w.1.len()).collect();
        let full = answers.iter().filter(|n| **n == 256).count();
        assert!(answers.iter().all(|n| *n <= 256), "{way:?}: {answers:?}");
        // A server's own buffer keeps 44 bytes for the head, whatever the protection needs of it.
        assert!(full > 40 || answers.iter().filter(|n| **n > 210).count() > 40, "{way:?}: {answers:?}");
    }
}

#[test]
fn a_lost_block_is_sent_again_when_the_client_repeats_its_request() {
    let mut pair = pair(WAYS[1]);
    pair.associate();
    pair.client.get(pair.now, PROFILE, None).unwrap();
    let whole = {
        let Outcome::Value(value) = pair.run() else { panic!() };
        value
    };
    // The same read by hand: every get-next is sent twice.
    let blocks: Vec<Vec<u8>> =
        pair.wire.iter().filter(|w| w.0 && w.1.starts_with(&[0xC0])).map(|w| w.1.clone()).collect();
    let mut value = Vec::new();
    for request in &blocks {
        let mut answers = Vec::new();
        for _ in 0..2 {
            pair.server.handle_bytes(pair.now, pair.peer, request, &mut pair.meter);
            answers.push(pair.server.poll_transmit().unwrap().to_vec());
        }
        // The first request starts anew both times; a repeated "next" names the block before the last one sent.
        assert_eq!(answers[0], answers[1]);
        let raw = &answers[0];
        let Ok(protocol::codec::xdlms::Apdu::GetResponse(
            protocol::codec::xdlms::GetResponse::WithDataBlock { block, .. },
        )) = protocol::codec::xdlms::Apdu::from_bytes(raw)
        else {
            panic!()
        };
        value.extend_from_slice(block.result.unwrap());
    }
    assert_eq!(value, whole);
}

#[test]
fn rows_are_selected_by_entry() {
    let mut pair = pair(WAYS[4]);
    pair.associate();
    let mut buffer = [0; 32];
    let access = selection::by_entry(&mut buffer, 11, 300, 1, 0).unwrap();
    pair.client.get(pair.now, PROFILE, Some(access)).unwrap();
    let Outcome::Value(value) = pair.run() else { panic!() };
    let rows = Data::from_bytes(&value).unwrap().as_array().unwrap();
    assert_eq!(rows.len(), 290);
    assert_eq!(rows.get(0).unwrap().field(1).unwrap().as_u64(), Some(10 * 17));
}

#[test]
fn a_list_mixes_values_and_errors_and_may_span_blocks() {
    for rows in [0, 100] {
        let mut pair = pair(WAYS[3]);
        pair.meter.rows = rows;
        pair.associate();
        let items = [(NAME, None), (NOTHING, None), (PROFILE, None), (NOTE, None)];
        pair.client.get_list(pair.now, &items).unwrap();
        let Outcome::Value(value) = pair.run() else { panic!() };
        let list: List<'_, GetDataResult<'_>> = List::from_bytes(&value).unwrap();
        let results: Vec<_> = list.iter().map(Result::unwrap).collect();
        assert_eq!(results.len(), 4);
        assert_eq!(results[0], GetDataResult::Data(Data::OctetString(b"MGW0000000000001")));
        assert_eq!(results[1], GetDataResult::Error(DataAccessResult::ObjectUndefined));
        let GetDataResult::Data(profile) = results[2] else { panic!() };
        assert_eq!(profile.as_array().unwrap().len(), rows as usize);
        assert_eq!(results[3], GetDataResult::Data(Data::OctetString(b"hello")));
    }
}

#[test]
fn values_of_every_size_are_written_whole_or_in_blocks_and_read_back() {
    for way in &WAYS[1..] {
        let mut pair = pair(*way);
        pair.associate();
        for n in (0..900).step_by(37) {
            let note: Vec<u8> = (0..n).map(|i| i as u8).collect();
            pair.client.set(pair.now, NOTE, None, Data::OctetString(&note)).unwrap();
            assert_eq!(pair.run(), Outcome::Done, "{way:?} {n}");
            assert_eq!(pair.meter.note, note);
            let Outcome::Value(value) = pair.get(NOTE) else { panic!() };
            assert_eq!(octets(&value).unwrap(), note);
        }
        assert!(pair.wire.iter().all(|w| w.1.len() <= 256));
    }
}

#[test]
fn a_value_too_long_for_the_meter_is_refused_by_it_and_the_association_lives() {
    let mut pair = pair(WAYS[3]);
    pair.associate();
    let note = vec![7; 1500];
    pair.client.set(pair.now, NOTE, None, Data::OctetString(&note)).unwrap();
    assert_eq!(pair.run(), failed(Error::DataAccess(DataAccessResult::LongSetAborted)));
    assert!(matches!(pair.get(NAME), Outcome::Value(_)));
}

#[test]
fn several_attributes_are_written_in_one_request() {
    let mut pair = pair(WAYS[3]);
    pair.associate();
    let long = vec![9u8; 400];
    for note in [&b"one"[..], &long] {
        let items =
            [(NAME, Data::OctetString(b"no")), (NOTE, Data::OctetString(note)), (NOTHING, Data::Null)];
        pair.client.set_list(pair.now, &items).unwrap();
        assert_eq!(pair.run(), Outcome::Results(vec![3, 0, 4]));
        assert_eq!(pair.meter.note, note);
    }
}

#[test]
fn methods_run_once_and_return_values_of_every_size() {
    for way in &WAYS[1..] {
        let mut pair = pair(*way);
        pair.associate();
        pair.client.action(pair.now, COUNT, None).unwrap();
        assert_eq!(pair.run(), Outcome::Done);
        assert_eq!(pair.meter.count, 1);
        // 200 bytes are what the test server's buffer of 256 takes for an answer; longer parameters come in blocks.
        for n in (0..205).step_by(7) {
            let echo: Vec<u8> = (0..n).map(|i| i as u8).collect();
            pair.client.action(pair.now, ECHO, Some(Data::OctetString(&echo))).unwrap();
            let Outcome::Value(value) = pair.run() else { panic!("{way:?} {n}") };
            assert_eq!(octets(&value).unwrap(), echo);
        }
        let items = [(COUNT, Data::Null), (ECHO, Data::Unsigned(5)), (ECHO, Data::Null)];
        pair.client.action_list(pair.now, &items).unwrap();
        let Outcome::Value(value) = pair.run() else { panic!() };
        let list: List<'_, ActionResponseWithOptionalData<'_>> = List::from_bytes(&value).unwrap();
        let results: Vec<_> = list.iter().map(|r| r.unwrap()).collect();
        assert_eq!(results[0].result, ActionResult::Success);
        assert_eq!(results[1].return_parameters, Some(GetDataResult::Data(Data::Unsigned(5))));
        assert_eq!(results[2].result, ActionResult::TypeUnmatched);
        assert_eq!(pair.meter.count, 2);
    }
}

#[test]
fn a_long_parameter_and_a_long_return_value_both_go_in_blocks() {
    let mut pair: Pair<200, 1024> = Pair::new(config(WAYS[3]), VENDING);
    pair.associate();
    let echo: Vec<u8> = (0..900u16).map(|i| i as u8).collect();
    pair.client.action(pair.now, ECHO, Some(Data::OctetString(&echo))).unwrap();
    let Outcome::Value(value) = pair.run() else { panic!() };
    assert_eq!(octets(&value).unwrap(), echo);
    assert!(pair.wire.iter().filter(|w| !w.0).all(|w| w.1.len() <= 200));
}

#[test]
fn access_reads_writes_and_invokes_in_one_request() {
    use protocol::codec::xdlms::AccessResponseSpecification as Came;
    use protocol::dlms::client::AccessItem;
    for way in &WAYS[1..] {
        let mut pair = pair(*way);
        pair.associate();
        let items = [
            AccessItem::Get(NAME, None),
            AccessItem::Set(NOTE, Data::OctetString(b"new")),
            AccessItem::Get(NOTE, None),
            AccessItem::Action(COUNT, Data::Null),
            AccessItem::Action(ECHO, Data::Unsigned(7)),
            AccessItem::Get(NOTHING, None),
            // Five hundred rows never fit: the value is left out, the operation after it is not.
            AccessItem::Get(PROFILE, None),
            AccessItem::Get(COUNTED, None),
        ];
        pair.client.access(pair.now, &items).unwrap();
        let request = pair.client.poll_transmit().unwrap().to_vec();
        pair.server.handle_bytes(pair.now, pair.peer, &request, &mut pair.meter);
        let answer = pair.server.poll_transmit().unwrap().to_vec();
        pair.client.handle_bytes(pair.now, &answer);
        let Some(client::Event::Access { data, results }) = pair.client.poll_event() else {
            panic!("{way:?}")
        };
        let data: Vec<_> = data.iter().map(|d| d.unwrap()).collect();
        let results: Vec<_> = results.iter().map(|r| r.unwrap()).collect();
        assert_eq!(
            data,
            [
                Data::OctetString(b"MGW0000000000001"),
                Data::Null,
                Data::OctetString(b"new"),
                Data::Null,
                Data::Unsigned(7),
                Data::Null,
                Data::Null,
                Data::DoubleLongUnsigned(1)
            ]
        );
        let ok = DataAccessResult::Success;
        assert_eq!(
            results,
            [
                Came::Get(ok),
                Came::Set(ok),
                Came::Get(ok),
                Came::Action(ActionResult::Success),
                Came::Action(ActionResult::Success),
                Came::Get(DataAccessResult::ObjectUndefined),
                Came::Get(DataAccessResult::OtherReason),
                Came::Get(ok)
            ]
        );
        assert_eq!(pair.meter.count, 1);
    }
}

#[test]
fn suite_2_keys_of_256_bits_work_in_every_form() {
    use protocol::dlms::security::{Form, Key, SecuritySuite};
    for (form, dedicated) in
        [(Form::Glo, false), (Form::GeneralGlo, false), (Form::Glo, true), (Form::GeneralGlo, true)]
    {
        let mut configured = config(Way { client_sap: VENDING, form, dedicated });
        configured.policy.suite = SecuritySuite::Suite2;
        configured.encryption_key = Some(Key::new_256([0x11; 32]));
        configured.authentication_key = Some(Key::new_256([0x22; 32]));
        configured.dedicated_key = dedicated.then(|| Key::new_256([0x33; 32]));
        let mut pair: Small = Pair::new(configured, VENDING);
        pair.meter.policy.suite = SecuritySuite::Suite2;
        assert_eq!(pair.associate(), Outcome::Associated);
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
    }
}

#[test]
fn the_association_object_tells_about_itself() {
    use protocol::dlms::model::Attribute;
    let mut pair = pair(WAYS[3]);
    pair.associate();
    let current = |index| Attribute {
        class_id: 15,
        logical_name: protocol::codec::obis::Obis::new(0, 0, 40, 0, 0, 255),
        index,
    };
    let mut read = |index| match pair.get(current(index)) {
        Outcome::Value(value) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(3), [2, 2, 15, VENDING, 18, 0, 1]);
    assert_eq!(read(8), [22, 2]);
    assert_eq!(Data::from_bytes(&read(4)).unwrap().field(6).unwrap(), Data::Unsigned(3));
    assert_eq!(Data::from_bytes(&read(6)).unwrap().field(6).unwrap(), Data::Unsigned(5));
    assert_eq!(Data::from_bytes(&read(5)).unwrap().field(1).unwrap(), Data::LongUnsigned(256));
}

#[test]
fn the_public_client_may_read_only_what_the_model_grants() {
    let mut pair = pair(WAYS[0]);
    pair.associate();
    assert!(matches!(pair.get(NAME), Outcome::Value(_)));
    assert_eq!(pair.get(NOTE), failed(Error::DataAccess(DataAccessResult::ReadWriteDenied)));
    pair.client.action(pair.now, COUNT, None).unwrap();
    assert_eq!(pair.run(), failed(Error::Action(ActionResult::ObjectUndefined)));
    assert_eq!(pair.meter.count, 0);
}

fn diagnostic_of(config: client::Config, client_sap: u8) -> u8 {
    let mut pair: Small = Pair::new(config, client_sap);
    pair.client.associate(pair.now, b"12345678").unwrap();
    match pair.run() {
        Outcome::Failed(Failure {
            error: Error::Rejected { diagnostic: Diagnostic::User(d), .. }, ..
        }) => d.as_u8(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_carry_the_standards_diagnostics() {
    let mut wrong_password = config(WAYS[1]);
    wrong_password.secret = Some(Secret::new(b"Reader02").unwrap());
    assert_eq!(diagnostic_of(wrong_password, READER), 13);
    assert_eq!(diagnostic_of(config(WAYS[0]), READER), 14, "nobody gets in without the password");
    assert_eq!(diagnostic_of(config(WAYS[1]), GMAC_PLAIN), 11, "LLS where GMAC is demanded");
    assert_eq!(diagnostic_of(config(WAYS[2]), VENDING), 2, "no ciphering where it is demanded");
    assert_eq!(diagnostic_of(config(WAYS[3]), PUBLIC), 2);
    assert_eq!(diagnostic_of(config(WAYS[0]), 99), 1, "an unknown client address");
    let mut other_key = config(WAYS[3]);
    other_key.encryption_key = Some(protocol::dlms::security::Key::new([9; 16]));
    assert_eq!(diagnostic_of(other_key, VENDING), 13);
}

#[test]
fn a_wrong_answer_to_the_challenge_ends_the_attempt() {
    let mut other_key = config(WAYS[2]);
    other_key.encryption_key = Some(protocol::dlms::security::Key::new([9; 16]));
    let mut pair: Small = Pair::new(other_key, GMAC_PLAIN);
    assert_eq!(pair.associate(), failed(Error::Action(ActionResult::ReadWriteDenied)));
    assert_eq!(pair.server.associated(), None);
    let refused =
        Event::Refused { client_sap: GMAC_PLAIN, diagnostic: UserDiagnostic::AuthenticationFailure };
    assert_eq!(pair.server.poll_event(), Some(refused));
}

#[test]
fn the_hls_mechanisms_with_a_secret_prove_both_ends_to_each_other() {
    let mechanisms: &[u8] = if cfg!(feature = "hls-legacy") { &[2, 3, 4, 6] } else { &[2, 6] };
    for mechanism in mechanisms {
        let way = Way { client_sap: HLS + mechanism, ..WAYS[1] };
        let mut right = pair(way);
        assert_eq!(right.associate(), Outcome::Associated, "{mechanism}");
        assert!(matches!(right.get(NOTE), Outcome::Value(_)));

        let mut wrong = config(way);
        wrong.secret = Some(Secret::new(b"Reader02").unwrap());
        let mut wrong: Small = Pair::new(wrong, way.client_sap);
        assert_eq!(wrong.associate(), failed(Error::Action(ActionResult::ReadWriteDenied)));
    }
}

#[test]
fn a_meter_that_does_not_know_the_key_is_found_out() {
    let mut pair: Small = Pair::new(config(WAYS[2]), GMAC_PLAIN);
    pair.client.associate(pair.now, b"12345678").unwrap();
    let aarq = pair.client.poll_transmit().unwrap().to_vec();
    pair.server.handle_bytes(pair.now, pair.peer, &aarq, &mut pair.meter);
    let aare = pair.server.poll_transmit().unwrap().to_vec();
    pair.client.handle_bytes(pair.now, &aare);
    let reply = pair.client.poll_transmit().unwrap().to_vec();
    pair.server.handle_bytes(pair.now, pair.peer, &reply, &mut pair.meter);
    let mut answer = pair.server.poll_transmit().unwrap().to_vec();
    *answer.last_mut().unwrap() ^= 1;
    pair.client.handle_bytes(pair.now, &answer);
    assert_eq!(pair.run(), failed(Error::NotAuthentic));
}

#[test]
fn services_before_the_challenge_is_answered_are_refused() {
    let mut pair: Small = Pair::new(config(WAYS[2]), GMAC_PLAIN);
    pair.client.associate(pair.now, b"12345678").unwrap();
    let aarq = pair.client.poll_transmit().unwrap().to_vec();
    pair.server.handle_bytes(pair.now, pair.peer, &aarq, &mut pair.meter);
    let get = [0xC0, 1, 0x41, 0, 1, 0, 0, 42, 0, 0, 255, 2, 0];
    pair.server.handle_bytes(pair.now, pair.peer, &get, &mut pair.meter);
    assert_eq!(pair.server.poll_transmit().unwrap(), [0xD8, 1, 1]);
}

#[test]
fn a_recorded_command_is_refused_at_once_after_a_reconnect_and_after_a_reboot() {
    let mut pair = pair(WAYS[3]);
    pair.associate();
    pair.client.action(pair.now, COUNT, None).unwrap();
    assert_eq!(pair.run(), Outcome::Done);
    let recorded = pair.wire[pair.wire.len() - 2].1.clone();
    let replay = |pair: &mut Small, answered: bool| {
        pair.server.handle_bytes(pair.now, pair.peer, &recorded, &mut pair.meter);
        assert_eq!(pair.server.poll_transmit().is_some(), answered);
        assert_eq!(pair.meter.count, 1);
    };
    // An exact duplicate of the last frame gets no answer: an exception would be taken for the next request's.
    replay(&mut pair, false);
    pair.get(NAME);
    replay(&mut pair, true);

    pair.server.link_down();
    pair.client.link_down();
    replay(&mut pair, true);
    assert_eq!(pair.associate(), Outcome::Associated);
    replay(&mut pair, true);

    pair.server = protocol::dlms::server::Server::new();
    pair.client.link_down();
    assert_eq!(pair.associate(), Outcome::Associated);
    replay(&mut pair, true);
}

#[test]
fn a_command_recorded_under_a_dedicated_key_is_refused_when_the_client_brings_the_same_key_again() {
    let mut pair = pair(WAYS[5]);
    pair.associate();
    pair.client.action(pair.now, COUNT, None).unwrap();
    assert_eq!(pair.run(), Outcome::Done);
    let recorded = pair.wire[pair.wire.len() - 2].1.clone();
    assert_eq!(recorded[0], 0xD3);
    pair.get(NAME);
    pair.client.link_down();
    pair.server.link_down();
    assert_eq!(pair.associate(), Outcome::Associated);
    pair.server.handle_bytes(pair.now, pair.peer, &recorded, &mut pair.meter);
    assert_eq!(pair.server.poll_transmit().unwrap()[..3], [0xD8, 1, 6]);
    assert_eq!(pair.meter.count, 1);
}

#[test]
fn a_stale_counter_is_refused_with_the_counter_that_is_expected() {
    let mut pair = pair(WAYS[3]);
    pair.meter.seen.insert(CLIENT_TITLE.0, 5000);
    let Outcome::Failed(Failure { error: Error::Exception { response, protected: false }, .. }) =
        pair.associate()
    else {
        panic!()
    };
    assert_eq!(response.service_error, ServiceError::InvocationCounterError);
    assert_eq!(response.expected_invocation_counter, Some(5001));
}

#[test]
fn weaker_frames_than_the_policy_are_refused() {
    let mut pair = pair(WAYS[3]);
    pair.associate();
    while pair.server.poll_event().is_some() {}
    // Plain in a ciphered association.
    let action = [0xC3, 1, 0x41, 0, 9, 0, 0, 10, 0, 0, 255, 1, 0];
    pair.server.handle_bytes(pair.now, pair.peer, &action, &mut pair.meter);
    assert_eq!(pair.server.poll_transmit().unwrap(), [0xD8, 1, 5]);
    let alarm = Event::SecurityAlarm { client_sap: VENDING, refusal: Refusal::Weak };
    assert_eq!(pair.server.poll_event(), Some(alarm));
    assert_eq!(pair.meter.count, 0);

    // A client that authenticates only, where encryption is demanded.
    let mut weak = config(WAYS[3]);
    weak.policy.encrypted = false;
    assert_eq!(diagnostic_of(weak, VENDING), 13);
}

#[test]
fn authentication_only_and_encryption_only_policies_work_when_both_ends_are_configured_so() {
    for (authenticated, encrypted) in [(true, false), (false, true)] {
        let mut configured = config(WAYS[3]);
        configured.policy.authenticated = authenticated;
        configured.policy.encrypted = encrypted;
        let policy = configured.policy;
        let mut pair: Small = Pair::new(configured, VENDING);
        pair.meter.policy = policy;
        assert_eq!(pair.associate(), Outcome::Associated);
        assert!(matches!(pair.get(NAME), Outcome::Value(_)));
    }
}

#[test]
fn a_late_answer_is_thrown_away_and_never_taken_for_the_next_ones() {
    let mut pair = pair(WAYS[1]);
    pair.associate();
    pair.client.get(pair.now, NAME, None).unwrap();
    let first = pair.client.poll_transmit().unwrap().to_vec();
    pair.server.handle_bytes(pair.now, pair.peer, &first, &mut pair.meter);
    let late = pair.server.poll_transmit().unwrap().to_vec();
    pair.now = pair.client.poll_timeout().unwrap();
    pair.client.handle_timeout(pair.now);
    assert_eq!(pair.run(), failed(Error::Timeout));

    pair.client.get(pair.now, NOTE, None).unwrap();
    pair.client.handle_bytes(pair.now, &late);
    let Outcome::Value(value) = pair.run() else { panic!() };
    assert_eq!(octets(&value).unwrap(), b"hello");
}

#[test]
fn a_command_without_an_answer_is_unknown_and_a_read_is_not_done() {
    let mut pair = pair(WAYS[3]);
    pair.associate();
    for command in [true, false] {
        if command {
            pair.client.action(pair.now, COUNT, None).unwrap();
        } else {
            pair.client.get(pair.now, NAME, None).unwrap();
        }
        pair.client.poll_transmit().unwrap();
        pair.now = pair.client.poll_timeout().unwrap();
        pair.client.handle_timeout(pair.now);
        let outcome = if command { client::Outcome::Unknown } else { client::Outcome::NotDone };
        assert_eq!(pair.run(), Outcome::Failed(Failure { error: Error::Timeout, outcome }));
    }
}

#[test]
fn an_unprotected_exception_after_a_command_in_a_ciphered_association_proves_nothing() {
    let mut pair = pair(WAYS[3]);
    pair.associate();
    pair.client.action(pair.now, COUNT, None).unwrap();
    pair.client.poll_transmit().unwrap();
    pair.client.handle_bytes(pair.now, &[0xD8, 1, 1]);
    let Outcome::Failed(failure) = pair.run() else { panic!() };
    assert_eq!(failure.outcome, client::Outcome::Unknown);
}

#[test]
fn a_peer_without_rlre_is_released_when_the_deadline_passes() {
    let mut pair = pair(WAYS[0]);
    pair.associate();
    pair.client.release(pair.now).unwrap();
    pair.client.poll_transmit().unwrap();
    pair.now = pair.client.poll_timeout().unwrap();
    pair.client.handle_timeout(pair.now);
    assert_eq!(pair.run(), Outcome::Released);
}

#[test]
fn an_aare_without_user_information_is_survived() {
    let mut pair = pair(WAYS[0]);
    pair.client.associate(pair.now, &[]).unwrap();
    pair.client.poll_transmit().unwrap();
    // Accepted, diagnostic 0, nothing else.
    let aare = [
        0x61, 0x17, 0xA1, 0x09, 0x06, 0x07, 0x60, 0x85, 0x74, 0x05, 0x08, 0x01, 0x01, 0xA2, 0x03, 0x02, 0x01,
        0x00, 0xA3, 0x05, 0xA1, 0x03, 0x02, 0x01, 0x00,
    ];
    pair.client.handle_bytes(pair.now, &aare);
    let Some(client::Event::Associated(agreed)) = pair.client.poll_event() else { panic!() };
    assert!(agreed.user_information_missing);
    pair.client.get(pair.now, NAME, None).unwrap();
}

#[test]
fn an_association_nobody_uses_ends_at_its_deadline() {
    let mut pair = pair(WAYS[1]);
    pair.associate();
    pair.now = pair.server.poll_timeout().unwrap();
    pair.server.handle_timeout(pair.now);
    assert_eq!(pair.server.associated(), None);
    let Outcome::Failed(Failure { error: Error::Exception { .. }, .. }) = pair.get(NAME) else { panic!() };
}

#[test]
fn a_push_is_received_between_request_and_answer() {
    use protocol::codec::xdlms::LongInvokeId;
    for way in [WAYS[0], WAYS[3]] {
        let mut pair = pair(way);
        pair.associate();
        pair.server
            .notify(&mut pair.meter, way.client_sap, LongInvokeId::new(7), None, |w| {
                protocol::codec::codec::Encode::encode(&Data::Unsigned(42), w)
            })
            .unwrap();
        let push = pair.server.poll_transmit().unwrap().to_vec();
        pair.client.get(pair.now, NAME, None).unwrap();
        pair.client.handle_bytes(pair.now, &push);
        let Some(client::Event::Notification { notification, protected }) = pair.client.poll_event() else {
            panic!()
        };
        assert_eq!(protected, way.client_sap == VENDING);
        assert_eq!((notification.long_invoke_id.id(), notification.body), (7, Data::Unsigned(42)));
        assert!(matches!(pair.run(), Outcome::Value(_)));

        pair.server
            .notify_event(&mut pair.meter, way.client_sap, None, NOTE, |w| {
                protocol::codec::codec::Encode::encode(&Data::Unsigned(43), w)
            })
            .unwrap();
        let event = pair.server.poll_transmit().unwrap().to_vec();
        pair.client.handle_bytes(pair.now, &event);
        let Some(client::Event::EventNotification { notification, protected }) = pair.client.poll_event()
        else {
            panic!()
        };
        assert_eq!(protected, way.client_sap == VENDING);
        assert_eq!(notification.value, Data::Unsigned(43));
        assert_eq!(notification.descriptor.instance_id, NOTE.logical_name);
    }
}

#[test]
fn a_client_out_of_counters_says_so_before_anything_leaves() {
    use protocol::dlms::security::CounterBlock;
    let mut pair = pair(WAYS[3]);
    pair.associate();
    let next = 1000;
    pair.client.add_counters(CounterBlock::new(next, 1));
    assert!(matches!(pair.get(NAME), Outcome::Value(_)));
    assert_eq!(pair.client.get(pair.now, NAME, None), Err(client::StartError::CountersExhausted));
    assert!(pair.client.poll_transmit().is_none());
    pair.client.add_counters(CounterBlock::new(next + 1, 10));
    assert!(matches!(pair.get(NAME), Outcome::Value(_)));
}

#[test]
fn truncated_requests_of_every_length_are_answered_or_ignored_and_never_panic() {
    for way in WAYS {
        let mut recorded = pair(way);
        recorded.associate();
        recorded.get(NAME);
        let mut pair = pair(way);
        for (_, apdu) in recorded.wire {
            for n in 0..apdu.len() {
                pair.server.handle_bytes(pair.now, pair.peer, &apdu[..n], &mut pair.meter);
                let _ = pair.server.poll_transmit();
                pair.client.handle_bytes(pair.now, &apdu[..n]);
                let _ = pair.client.poll_event();
            }
        }
    }
}
