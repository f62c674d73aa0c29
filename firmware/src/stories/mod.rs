//! The meter's life as stories, on a board in memory.

mod accounting;
mod clock;
mod credit;
mod display;
mod image;
mod metrology;
mod modbus;
#[cfg(feature = "all-objects")]
mod objects;
mod optical;
mod panel;
mod power_cut;
mod profile;
mod protection;
mod push;
mod relay;
mod run_area;
mod security;
mod self_test;
#[cfg(feature = "ecdsa")]
mod suite1;
mod tamper;
mod tariff;
mod terms;
mod two_profiles;
mod wear;
mod whole_life;
mod wire;

use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::{ControlMode, RelayReason};
use protocol::cosem::events::{Event, EventRow};
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::sts::meter::{Effect, MeterTokenState, TokenResult};
use protocol::sts::{
    AmountCode, BaseDate, DecoderKey, Drn, EncryptionAlgorithm, KeyAttributes, KeyRevision, KeyType,
    MeterPan, Rnd, SAMPLE, Service, SetLength, SupplyGroup, TariffIndex, Tid, Token, TokenCipher, VendingKey,
    derive, key_change_set,
};
use protocol::time::Instant;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::ledger::EnergyCount;
use crate::profile::Progress;
use crate::protection::{Limits, Tripped};
use crate::record::{LastToken, Peak, Record};
use crate::ring::Span;
use crate::terms::{Emergency, FriendlyHours, PerDay};
use crate::test_board::TestBoard;
use crate::{AccountSetup, Keys, Layout, Meter, Options, Personalisation};

/// The vending key of the public vectors.
const VENDING_KEY: [u8; 20] = [
    0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0x94, 0x94, 0x94, 0x94, 0x94, 0x94, 0x94, 0x94, 0x01,
    0x23, 0x45, 0x67,
];
/// A minute after every test board's start, on the 2014 base.
const TID: u32 = 6_400_000;

fn decoder_key(serial: u32) -> (MeterPan, DecoderKey, KeyAttributes) {
    let attributes = KeyAttributes {
        supply_group: SupplyGroup::try_from(123_457).unwrap(),
        tariff_index: TariffIndex::try_from(1).unwrap(),
        key_revision: KeyRevision::try_from(1).unwrap(),
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    };
    let pan = MeterPan::from_drn(&Drn::from_parts(1, serial).unwrap());
    let vending = VendingKey::from_bytes(&VENDING_KEY).unwrap();
    (pan, derive(&vending, EncryptionAlgorithm::Ea11, &pan, &attributes).unwrap(), attributes)
}

/// Twenty digits for meter `serial` worth `units` of 0.1 kWh, issued `minute` minutes after [`TID`].
fn token_for(serial: u32, units: u16, minute: u32) -> String {
    let (_, key, _) = decoder_key(serial);
    digits_of(&credit_token(units, minute), &key)
}

/// The token's twenty digits under a key.
fn digits_of(token: &Token, key: &DecoderKey) -> String {
    let digits = token.encode(&TokenCipher::new(key, &SAMPLE)).digits();
    core::str::from_utf8(digits.as_bytes()).unwrap().to_string()
}

fn credit_token(units: u16, minute: u32) -> Token {
    Token::Credit {
        service: Service::Electricity,
        amount: AmountCode::from_field(units),
        rnd: Rnd::new(5),
        tid: Tid::from_minutes(TID + minute).unwrap(),
    }
}

/// As [`token_for`], for the meter of these stories.
fn token(units: u16, minute: u32) -> String {
    token_for(1, units, minute)
}

fn personalisation() -> Personalisation {
    let (pan, key, attributes) = decoder_key(1);
    Personalisation {
        tokens: MeterTokenState::new(pan, key, attributes.into(), Tid::from_minutes(TID - 1)),
        system_title: *b"MGW\0\0\0\0\x01",
        logical_device_name: heapless::String::try_from("MGW0000000000001").unwrap(),
        keys: Keys {
            encryption: core::array::from_fn(|i| i as u8),
            authentication: core::array::from_fn(|i| 0xD0 + i as u8),
            master: [0x4D; 16],
            reader_password: heapless::Vec::from_slice(b"Reader01").unwrap(),
        },
        account: AccountSetup {
            payment_mode: PaymentMode::Prepayment,
            initial_credit_wh: 1_000,
            low_credit_wh: 500,
        },
        control_mode: ControlMode::ARM_AND_CLOSE_LOCALLY,
        return_automatically: true,
        utc_offset_minutes: 60,
        profile_period_s: 900,
        sample_period_ms: 1_000,
        options: Options {
            modbus_switches: true,
            #[cfg(feature = "ecdsa")]
            suite1: Some(suite1::FACTORY),
            ..Options::default()
        },
    }
}

fn board() -> TestBoard {
    TestBoard::new(Layout::bytes_for(300) as usize)
}

fn start(board: TestBoard) -> Meter<TestBoard> {
    let now = Instant::from_millis(board.now_ms);
    Meter::new(board, personalisation(), now).unwrap()
}

/// Lets time pass in steps of a second.
fn pass(meter: &mut Meter<TestBoard>, seconds: u64) {
    for _ in 0..seconds {
        meter.board().pass(1_000);
        let now = Instant::from_millis(meter.board().now_ms);
        meter.tick(now);
    }
}

/// Every event in the log, oldest first.
fn events(meter: &mut Meter<TestBoard>) -> Vec<Event> {
    let rows = meter.events.rows(meter.record.events);
    let row = |n| -> Option<EventRow> { meter.events.get(&mut meter.board.storage, n) };
    rows.filter_map(row).filter_map(|row| Event::from_u8(row.code)).collect()
}

/// The key after the key change of these stories: revision 2.
fn new_key() -> (DecoderKey, KeyAttributes) {
    let (pan, _, old) = decoder_key(1);
    let new = KeyAttributes { key_revision: KeyRevision::try_from(2).unwrap(), ..old };
    let vending = VendingKey::from_bytes(&VENDING_KEY).unwrap();
    (derive(&vending, EncryptionAlgorithm::Ea11, &pan, &new).unwrap(), new)
}

/// The four tokens of that key change.
fn key_change() -> Vec<Token> {
    let (key, new) = new_key();
    key_change_set(&key, &new, 255, false, SetLength::Two).into_iter().collect()
}

/// As [`token`], under the new key.
fn new_key_token(units: u16, minute: u32) -> String {
    digits_of(&credit_token(units, minute), &new_key().0)
}

/// A record with every list full and every number long.
pub fn full_record() -> Record {
    let mut record = Record::new(&personalisation());
    for minute in 0..60 {
        let tid = Tid::from_minutes(Tid::MAX.minutes() - minute).unwrap();
        record.tokens.tids.remember(tid);
    }
    for section in key_change().into_iter().take(3) {
        let Token::KeySection(section) = section else { panic!("a key change is made of key sections") };
        record.tokens.apply(&Effect::KeySection { section, at_ms: u64::MAX });
    }
    let long = EnergyCount::default();
    record.import = long;
    record.import.add(u64::MAX);
    record.export = record.import;
    record.ledger.consume(u64::MAX);
    record.ledger.charge(u64::MAX);
    record.last_token = Some(LastToken {
        digits: *b"12345678901234567890",
        utc_s: u32::MAX,
        delivery: DeliveryMethod::Manual,
        result: TokenResult::Lockout,
        kind: Some((3, 15)),
        units: i64::MIN,
    });
    let per_day = PerDay {
        active: u32::MAX,
        passive: u32::MAX,
        activation_utc_s: u32::MAX,
        last_amount: u32::MAX,
        last_utc_s: u32::MAX,
        total: u64::MAX,
    };
    record.terms.daily = per_day;
    record.terms.instalment = per_day;
    record.terms.debt = u32::MAX;
    record.terms.emergency = Emergency { preset: u32::MAX, offered_at: i32::MIN, taken: true };
    record.terms.friendly = FriendlyHours { from_minute: 1439, to_minute: 1439, days: 127, limit: u32::MAX };
    record.limits = Limits {
        normal_w: u32::MAX,
        emergency_w: u32::MAX,
        over_s: u32::MAX,
        under_s: u32::MAX,
        emergency_id: u16::MAX,
        emergency_from_utc_s: u32::MAX,
        emergency_duration_s: u32::MAX,
        emergency_group: u16::MAX,
        over_current_ma: u32::MAX,
        under_voltage_mv: u32::MAX,
        over_voltage_mv: u32::MAX,
        voltage_s: u32::MAX,
        trips_max: u8::MAX,
    };
    record.tripped = Tripped { reason: Some(RelayReason::LockedOut), count: u8::MAX, first_utc_s: u32::MAX };
    let rows = Span { first: u32::MAX, next: u32::MAX };
    record.profile = Progress { rows, ordered_from: u32::MAX, period: u32::MAX };
    (record.events, record.daily, record.monthly) = (rows, rows, rows);
    record.snapshot_day = u32::MAX;
    record.rating.month_wh = u64::MAX;
    record.token_remainder = u32::MAX;
    record.utc_s = u32::MAX;
    record.peak = Peak { watts: u32::MAX, utc_s: u32::MAX };
    (record.configuration_changes, record.low_credit) = (u32::MAX, i64::MIN);
    record
}
