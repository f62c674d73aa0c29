//! Read and Write of meters that speak short names: requests as `gurux-dlms` makes them, and what the client makes of each answer.

use protocol::codec::acse::Referencing;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::Decode;
use protocol::codec::xdlms::{DataAccessResult, GetDataResult, List};
use protocol::dlms::client::{Client, Config, Error, Event, Failure, Outcome, SHORT_NAMES, selection};
use protocol::dlms::security::CounterBlock;
use protocol::time::Instant;

type Narrow = Client<256, 64>;

const NOW: Instant = Instant::ZERO;

/// A client whose association is open, of at most so many blocks a value.
fn client(blocks_max: u32) -> Narrow {
    let config = Config {
        referencing: Referencing::ShortName,
        conformance: SHORT_NAMES,
        blocks_max,
        ..Config::default()
    };
    let mut client: Narrow = Client::new(config, CounterBlock::new(1, 10));
    client.pre_established(SHORT_NAMES, 256).unwrap();
    client
}

fn sent(client: &mut Narrow) -> Vec<u8> {
    client.poll_transmit().unwrap().to_vec()
}

/// `gurux-dlms` 1.0.203, `GXDLMSSecureClient(False, …)` with `InterfaceType.PDU`: `read`, `readList`, `readRowsByEntry` of four rows
/// from the eleventh on, `readRowsByRange` of the first hour of a day without deviation. Objects at 0x0100, 0x0200 and 0x3000.
#[test]
fn requests_are_those_that_another_implementation_makes() {
    let mut one = client(100);
    one.read(NOW, 0x0108, None).unwrap();
    assert_eq!(sent(&mut one), [5, 1, 2, 1, 8]);

    let mut list = client(100);
    list.read_list(NOW, &[0x0108, 0x0208]).unwrap();
    assert_eq!(sent(&mut list), [5, 2, 2, 1, 8, 2, 2, 8]);

    let mut buffer = [0; 128];
    let mut entries = client(100);
    let selected = selection::by_entry(&mut buffer, 11, 14, 1, 0).unwrap();
    entries.read(NOW, 0x3008, Some(selected)).unwrap();
    assert_eq!(
        sent(&mut entries),
        [5, 1, 4, 0x30, 8, 2, 2, 4, 6, 0, 0, 0, 11, 6, 0, 0, 0, 14, 0x12, 0, 1, 0x12, 0, 0]
    );

    let hour = |hour| DateTime::from_bytes([7, 0xEA, 11, 1, 0xFF, hour, 0, 0, 0, 0x80, 0, 0]);
    let mut range = client(100);
    let selected = selection::by_clock(&mut buffer, hour(0), hour(1), &[]).unwrap();
    range.read(NOW, 0x3008, Some(selected)).unwrap();
    let mut expected =
        vec![5, 1, 4, 0x30, 8, 1, 2, 4, 2, 4, 0x12, 0, 8, 9, 6, 0, 0, 1, 0, 0, 0xFF, 15, 2, 0x12, 0, 0];
    for hour in [0, 1] {
        expected.extend([9, 12, 7, 0xEA, 11, 1, 0xFF, hour, 0, 0, 0, 0x80, 0, 0]);
    }
    expected.extend([1, 0]);
    assert_eq!(sent(&mut range), expected);
}

/// What one answer to a Read comes to.
fn answered(list: bool, answer: &[u8]) -> Result<Vec<u8>, Error> {
    let mut client = client(100);
    match list {
        true => client.read_list(NOW, &[0x0108]).unwrap(),
        false => client.read(NOW, 0x0108, None).unwrap(),
    }
    sent(&mut client);
    client.handle_bytes(NOW, answer);
    match client.poll_event() {
        Some(Event::Value { bytes, last: true }) => Ok(bytes.to_vec()),
        Some(Event::Failed(Failure { error, outcome: Outcome::NotDone })) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_error_of_a_read_is_the_one_the_meter_gave() {
    for code in [1, 2, 3, 4, 9, 11, 12, 13, 14, 15, 16, 19, 250] {
        let error = DataAccessResult::from_u8(code);
        assert_eq!(error.as_u8(), code);
        assert_eq!(answered(false, &[12, 1, 1, code]), Err(Error::DataAccess(error)));
        // In a list, one of one too, it is the result of its attribute and not of the request.
        let results = answered(true, &[12, 1, 1, code]).unwrap();
        let results: List<'_, GetDataResult<'_>> = List::from_bytes(&results).unwrap();
        assert_eq!(results.iter().next().unwrap().unwrap(), GetDataResult::Error(error));
    }
    let two = answered(true, &[12, 2, 0, 17, 5, 1, 4]).unwrap();
    let two: List<'_, GetDataResult<'_>> = List::from_bytes(&two).unwrap();
    let two: Vec<_> = two.iter().map(Result::unwrap).collect();
    let undefined = GetDataResult::Error(DataAccessResult::ObjectUndefined);
    assert_eq!(two, [GetDataResult::Data(Data::Unsigned(5)), undefined]);
    // More results than were asked for, none, and an answer that is cut short.
    assert_eq!(answered(false, &[12, 2, 0, 17, 5, 1, 4]), Err(Error::Unexpected));
    assert_eq!(answered(false, &[12, 0]), Err(Error::Unexpected));
    assert!(matches!(answered(false, &[12, 1, 0, 17]), Err(Error::Malformed(_))));
}

#[test]
fn every_error_of_a_write_is_the_one_the_meter_gave() {
    for (answer, expected) in [
        (&[13, 1, 0][..], Ok(())),
        (&[13, 1, 1, 3], Err(Error::DataAccess(DataAccessResult::ReadWriteDenied))),
        (&[13, 1, 1, 12], Err(Error::DataAccess(DataAccessResult::TypeUnmatched))),
        (&[13, 2, 0, 0], Err(Error::Unexpected)),
    ] {
        let mut client = client(100);
        client.write(NOW, 0x0108, Data::Unsigned(7)).unwrap();
        assert_eq!(sent(&mut client), [6, 1, 2, 1, 8, 1, 17, 7]);
        client.handle_bytes(NOW, answer);
        match client.poll_event() {
            Some(Event::Done) => assert_eq!(expected, Ok(())),
            Some(Event::Failed(failure)) => {
                assert_eq!(expected, Err(failure.error));
                // A refusal is an answer; what cannot be understood leaves open whether the meter wrote.
                let refused = matches!(failure.error, Error::DataAccess(_));
                assert_eq!(failure.outcome == Outcome::NotDone, refused);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A block of a Read's answer.
fn block(number: u16, last: bool, raw: &[u8]) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    [&[12, 1, 2, u8::from(last), high, low, raw.len() as u8], raw].concat()
}

#[test]
fn blocks_are_asked_for_in_turn_and_a_copy_of_one_does_no_harm() {
    let mut client = client(100);
    client.read(NOW, 0x3008, None).unwrap();
    sent(&mut client);
    let mut value = Vec::new();
    for number in 1..=300u16 {
        let raw = number.to_be_bytes();
        for _copy in 0..2 {
            client.handle_bytes(NOW, &block(number, number == 300, &raw));
            if let Some(Event::Value { bytes, last }) = client.poll_event() {
                value.extend_from_slice(bytes);
                assert_eq!(last, number == 300);
            }
            if let Some(next) = client.poll_transmit() {
                let [high, low] = raw;
                assert_eq!(next, [5, 1, 5, high, low], "the block after this one is asked for, once");
            }
        }
        if number == 99 {
            break;
        }
    }
    let expected: Vec<u8> = (1..=99u16).flat_map(u16::to_be_bytes).collect();
    assert_eq!(value, expected);
    // The hundredth is one too many for this client's bound.
    client.handle_bytes(NOW, &block(100, false, &[0]));
    let Some(Event::Failed(Failure { error: Error::TooLong, .. })) = client.poll_event() else { panic!() };
}

#[test]
fn a_block_out_of_order_ends_the_read_and_an_error_instead_of_one_is_told() {
    let endings: [(Vec<u8>, Error); 3] = [
        (block(3, false, &[1]), Error::Unexpected),
        (vec![12, 1, 1, 19], Error::DataAccess(DataAccessResult::DataBlockNumberInvalid)),
        (vec![12, 1, 0, 17, 5], Error::Unexpected),
    ];
    for (answer, expected) in endings {
        let mut client = client(100);
        client.read(NOW, 0x3008, None).unwrap();
        sent(&mut client);
        client.handle_bytes(NOW, &block(1, false, &[1, 2]));
        assert!(matches!(client.poll_event(), Some(Event::Value { last: false, .. })));
        sent(&mut client);
        client.handle_bytes(NOW, &answer);
        let Some(Event::Failed(failure)) = client.poll_event() else { panic!() };
        assert_eq!(failure.error, expected);
    }
}
