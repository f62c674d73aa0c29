//! Accounts in money, tariffs that come into force.

use super::{TID, board, decoder_key, digits_of, pass, personalisation, token};
use crate::objects::client;
use crate::test_board::TestBoard;
use crate::{Meter, Money};
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, SliceWriter};
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::clock::date_time;
use protocol::cosem::obis;
use protocol::cosem::tariff::{Step, Tariff};
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::dlms::model::{Attribute, Caller, ObjectModel};
use protocol::sts::meter::TokenResult;
use protocol::sts::{CurrencyCode, Service, Tid, Token};
use protocol::time::Instant;

/// An account in tenths of a cent that starts with 1.000 and pays 0.250 a kilowatt-hour.
fn money_meter() -> Meter<TestBoard> {
    let mut who = personalisation();
    who.options.money = Some(Money { code: *b"EUR", scale: -3 });
    who.options.price_per_kwh = Some(250);
    Meter::new(board(), who, Instant::ZERO).unwrap()
}

fn money_token(amount: i128, minute: u32) -> std::string::String {
    let (_, key, _) = decoder_key(1);
    let amount = CurrencyCode::round_for_customer(amount).unwrap();
    let tid = Tid::from_minutes(TID + minute).unwrap();
    digits_of(&Token::CurrencyCredit { service: Service::Electricity, amount, tid }, &key)
}

#[test]
fn a_money_account_takes_money_tokens_and_pays_per_kilowatt_hour() {
    let mut meter = money_meter();
    pass(&mut meter, 3_600);
    assert_eq!((meter.status().import_wh, meter.status().credit_wh), (1_000, 750));
    // 12.34567 of the currency: 12,345 units, and the rest is kept.
    let result = meter.receive_token(money_token(1_234_567, 1).as_bytes(), DeliveryMethod::Remote);
    assert_eq!(result, TokenResult::Accept);
    let carried = CurrencyCode::round_for_customer(1_234_567).unwrap().amount();
    assert_eq!(i128::from(meter.status().credit_wh - 750), carried / 100);
    assert_eq!(i128::from(meter.record.token_remainder), carried % 100);
    let energy = meter.receive_token(token(10, 2).as_bytes(), DeliveryMethod::Remote);
    assert_eq!(energy, TokenResult::Function, "an energy token is not for this meter");
    assert!(meter.ledger().balances());
}

#[test]
fn a_passive_tariff_comes_into_force_at_its_time_even_over_a_restart() {
    let mut meter = money_meter();
    let begin = meter.board().utc_s.unwrap();
    let mut tariff = Tariff::flat(0);
    tariff.steps =
        heapless::Vec::from_slice(&[Step { up_to_kwh: 2, price: 500 }, Step { up_to_kwh: 0, price: 1_000 }])
            .unwrap();
    let management = Caller { client_sap: client::MANAGEMENT, authenticated: true };
    let at = |name| Attribute { class_id: 1, logical_name: name, index: 2 };
    let mut buffer = [0; 256];
    let mut w = SliceWriter::new(&mut buffer);
    tariff.encode(&mut w).unwrap();
    let value = Data::from_bytes_in(w.as_slice()).unwrap();
    let vending = Caller { client_sap: client::VENDING, authenticated: true };
    assert_eq!(
        meter.set(vending, at(obis::TARIFF_PASSIVE), None, value),
        Err(DataAccessResult::ReadWriteDenied)
    );
    meter.set(management, at(obis::TARIFF_PASSIVE), None, value).unwrap();
    let time = date_time(begin + 3_600, 60, 0).to_bytes();
    meter.set(management, at(obis::TARIFF_ACTIVATION), None, Data::OctetString(&time)).unwrap();
    pass(&mut meter, 3_599);
    assert_eq!(meter.status().credit_wh, 1_000 - 249, "still the old price");
    meter.receive_token(money_token(1_000_000, 1).as_bytes(), DeliveryMethod::Remote);
    let board = meter.into_board();
    let mut who = personalisation();
    who.options.money = Some(Money { code: *b"EUR", scale: -3 });
    let now = Instant::from_millis(board.now_ms);
    let mut meter = Meter::new(board, who, now).unwrap();
    pass(&mut meter, 1);
    let before = meter.status();
    pass(&mut meter, 7_200);
    let after = meter.status();
    assert_eq!(after.import_wh - before.import_wh, 2_000);
    // The month has used 1,000 Wh: one kilowatt-hour more at 500, one at 1,000.
    let paid = before.credit_wh - after.credit_wh;
    assert!((1_499..=1_501).contains(&paid), "{paid}");
}

#[test]
fn an_unsound_tariff_is_refused_and_nothing_changes() {
    let mut meter = money_meter();
    let management = Caller { client_sap: client::MANAGEMENT, authenticated: true };
    let at = Attribute { class_id: 1, logical_name: obis::TARIFF_PASSIVE, index: 2 };
    let mut tariff = Tariff::flat(10);
    tariff.steps.clear();
    let mut buffer = [0; 64];
    let mut w = SliceWriter::new(&mut buffer);
    tariff.encode(&mut w).unwrap();
    let before = meter.tariffs.clone();
    let value = Data::from_bytes_in(w.as_slice()).unwrap();
    assert_eq!(meter.set(management, at, None, value), Err(DataAccessResult::OtherReason));
    assert_eq!(meter.set(management, at, None, Data::Null), Err(DataAccessResult::TypeUnmatched));
    assert_eq!(meter.tariffs, before);
}
