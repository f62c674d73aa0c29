//! Faults on demand, seen from a client: what it is told, what the meter did, and what it finds out by asking.
#![expect(clippy::unwrap_used, reason = "a test")]

use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::Decode;
use protocol::cosem::{credit, disconnect, obis, register, token_gateway};
use protocol::dlms::client::{self, Client, Config, Event, Outcome};
use protocol::dlms::model::Attribute;
use protocol::dlms::security::{CounterBlock, Key, SecurityPolicy, SecuritySuite, SystemTitle};
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{self, Hdlc};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{AnyLink, Link};
use protocol::sts::{
    AmountCode, BaseDate, Drn, EncryptionAlgorithm, KeyAttributes, KeyRevision, KeyType, MeterPan, Rnd,
    SAMPLE, Service, SupplyGroup, TariffIndex, Tid, Token, TokenCipher, VendingKey, derive,
};
use protocol::time::Instant;
use simulator::board::{Flow, Mechanics, Nvm, StreetLoad, VirtualBoard};
use simulator::clock::SimClock;
use simulator::faults::{Damage, Fault, On};
use simulator::identity::{self, StreetKeys};
use simulator::load::Household;
use simulator::meter::SimMeter;
use simulator::session::{Framing, Session};
use std::sync::Arc;

/// 2026-01-05T18:00:00Z.
const START_UTC_S: u32 = 1_767_636_000;
const VENDING_CLIENT: u8 = 18;
const VENDING_KEY: &[u8] =
    b"\xab\xab\xab\xab\xab\xab\xab\xab\x94\x94\x94\x94\x94\x94\x94\x94\x01\x23\x45\x67";

fn meter(credit_wh: i64) -> Arc<SimMeter> {
    let clock = SimClock::starting_at(START_UTC_S, 1);
    let who = identity::personalisation(1, &StreetKeys::default()).unwrap();
    let nvm = Nvm::blank(firmware::Layout::bytes_for(16));
    let flow = Flow::Household(Household::of(1, 1));
    let board = VirtualBoard::new(clock, flow, nvm, 1, Arc::new(StreetLoad::default()));
    Arc::new(SimMeter::start(1, clock, board, who, credit_wh).unwrap())
}

/// Twenty digits worth `units` of 0.1 kWh, as a vending clerk issues them `minute` minutes after the start.
fn token(units: u16, minute: i64) -> String {
    let pan = MeterPan::from_drn(&Drn::from_parts(1, 1).unwrap());
    let attributes = KeyAttributes {
        supply_group: SupplyGroup::try_from(123_457).unwrap(),
        tariff_index: TariffIndex::try_from(1).unwrap(),
        key_revision: KeyRevision::try_from(1).unwrap(),
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    };
    let vending = VendingKey::from_bytes(VENDING_KEY).unwrap();
    let key = derive(&vending, EncryptionAlgorithm::Ea11, &pan, &attributes).unwrap();
    let tid = Tid::at(BaseDate::Year2014, i64::from(START_UTC_S) + 60 * minute).unwrap();
    let amount = AmountCode::from_field(units);
    let token = Token::Credit { service: Service::Electricity, amount, rnd: Rnd::new(5), tid };
    let digits = token.encode(&TokenCipher::new(&key, &SAMPLE)).digits();
    String::from_utf8(digits.as_bytes().to_vec()).unwrap()
}

/// How a request ended for the client.
#[derive(Debug, PartialEq)]
enum End {
    Open,
    Value(Vec<u8>),
    Done,
    /// Nothing done, or nobody knows.
    Failed(Outcome),
    Silence,
}

/// A vending client on a connection of its own, and the time it believes in.
struct Till {
    now: Instant,
    link: AnyLink<Vec<u8>, Vec<u8>>,
    client: Client<1024, 512>,
    session: Session,
    counters: u32,
}

impl Till {
    fn connect(meter: &Arc<SimMeter>, framing: Framing, counters: u32) -> Self {
        let now = Instant::ZERO;
        let link = match framing {
            Framing::Wrapper => {
                let config = wrapper::Config::client(u16::from(VENDING_CLIENT), 1);
                AnyLink::Wrapper(Wrapper::new(config, vec![0; 1024], vec![0; 1024]))
            }
            Framing::Hdlc => {
                let config = hdlc::Config::client(VENDING_CLIENT, Address::One(1));
                AnyLink::Hdlc(Hdlc::new(config, vec![0; 256], vec![0; 1024], vec![0; 1024]))
            }
        };
        let config = Config {
            mechanism: AuthMechanism::HighGmac,
            policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0),
            system_title: SystemTitle(*b"TILL\0\0\0\x01"),
            encryption_key: Some(Key::new(std::array::from_fn(|i| i as u8))),
            authentication_key: Some(Key::new(std::array::from_fn(|i| 0xD0 + i as u8))),
            max_pdu: 1024,
            ..Config::default()
        };
        let client = Client::new(config, CounterBlock::new(counters, 100));
        let session = Session::on_tcp(Arc::clone(meter), framing, now);
        let mut till = Self { now, link, client, session, counters };
        till.link.open(now);
        till.carry();
        till
    }

    /// A new connection, with counters that were never used.
    fn reconnect(self, meter: &Arc<SimMeter>, framing: Framing) -> Self {
        Self::connect(meter, framing, self.counters + 100)
    }

    fn associate(&mut self) -> End {
        self.client.associate(self.now, &[7; 16]).unwrap();
        self.wait()
    }

    fn get(&mut self, at: Attribute) -> End {
        self.client.get(self.now, at, None).unwrap();
        self.wait()
    }

    fn enter(&mut self, token: &str) -> End {
        let method = token_gateway::ENTER.of(obis::TOKEN_GATEWAY);
        self.client.action(self.now, method, Some(Data::OctetString(token.as_bytes()))).unwrap();
        self.wait()
    }

    /// Carries bytes between the two ends until both are quiet. True when anything moved.
    fn carry(&mut self) -> bool {
        let mut moved = false;
        loop {
            let mut wire = vec![0; 2048];
            let mut progress = false;
            while let Some(length) = self.link.poll_transmit(self.now, &mut wire) {
                progress = true;
                let outcome = self.session.handle_bytes(self.now, &wire[..length]);
                self.now = self.now + outcome.delay;
                self.hear(&outcome.bytes);
            }
            while let Some(apdu) = self.client.poll_transmit() {
                progress = true;
                let _ = self.link.send(self.now, apdu);
            }
            if !progress {
                return moved;
            }
            moved = true;
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        loop {
            let taken = self.link.handle_bytes(self.now, bytes);
            bytes = &bytes[taken..];
            let mut apdus = Vec::new();
            let mut progress = taken > 0;
            while let Some(event) = self.link.poll_event() {
                progress = true;
                match event {
                    protocol::link::Event::Apdu(apdu) => apdus.push(apdu.to_vec()),
                    protocol::link::Event::Down(_) => self.client.link_down(),
                    _ => {}
                }
            }
            for apdu in &apdus {
                self.client.handle_bytes(self.now, apdu);
            }
            if bytes.is_empty() || !progress {
                return;
            }
        }
    }

    /// Lets bytes and time pass until the request has ended.
    fn wait(&mut self) -> End {
        let mut value = Vec::new();
        for _ in 0..200 {
            self.carry();
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::Associated(_) => return End::Open,
                    Event::Value { bytes, last } => {
                        value.extend_from_slice(bytes);
                        if last {
                            return End::Value(value);
                        }
                    }
                    Event::Done => return End::Done,
                    Event::Failed(client::Failure { outcome, .. }) => return End::Failed(outcome),
                    _ => {}
                }
            }
            let deadlines = [self.link.poll_timeout(), self.client.poll_timeout()];
            let Some(next) = deadlines.into_iter().flatten().min() else { return End::Silence };
            self.now = self.now.max(next);
            self.link.handle_timeout(self.now);
            self.hear(&[]);
            self.client.handle_timeout(self.now);
        }
        End::Silence
    }
}

fn number(end: End) -> i64 {
    let End::Value(bytes) = end else { panic!("no value: {end:?}") };
    Data::from_bytes(&bytes).unwrap().as_i64().unwrap()
}

const BOTH: [Framing; 2] = [Framing::Wrapper, Framing::Hdlc];

#[test]
fn a_token_whose_answer_is_lost_is_taken_and_the_client_finds_that_out_by_asking() {
    for framing in BOTH {
        let meter = meter(500);
        let mut till = Till::connect(&meter, framing, 1);
        assert_eq!(till.associate(), End::Open);
        meter.inject(Fault::Answer { damage: Damage::Lost, on: On::TokenAccepted, count: 1 });
        let twenty = token(50, 1);
        assert_eq!(till.enter(&twenty), End::Failed(Outcome::Unknown), "{framing:?}");
        assert_eq!(meter.truth().credited_wh, Some(5_000));

        let mut till = till.reconnect(&meter, framing);
        assert_eq!(till.associate(), End::Open);
        let credit_wh = number(till.get(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT)));
        assert!((5_400..=5_500).contains(&credit_wh), "{credit_wh}");
        till.enter(&twenty);
        assert_eq!(meter.truth().credited_wh, Some(5_000), "the same token again gives nothing");
    }
}

#[test]
fn a_late_answer_comes_after_the_client_gave_up_and_is_not_taken_for_the_next_one() {
    let meter = meter(500);
    let mut till = Till::connect(&meter, Framing::Wrapper, 1);
    assert_eq!(till.associate(), End::Open);
    meter.inject(Fault::Answer { damage: Damage::Late { delay_ms: 15_000 }, on: On::Any, count: 1 });
    let end = till.get(register::VALUE.of(obis::IMPORT_ENERGY));
    assert!(matches!(end, End::Value(_) | End::Failed(Outcome::NotDone)), "{end:?}");
    let credit_wh = number(till.get(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT)));
    assert!((490..=500).contains(&credit_wh), "{credit_wh}");
}

#[test]
fn hdlc_repeats_a_frame_that_was_corrupted_cut_short_or_doubled_and_the_client_never_knows() {
    for damage in [Damage::Corrupted, Damage::Truncated, Damage::Duplicated] {
        let meter = meter(500);
        let mut till = Till::connect(&meter, Framing::Hdlc, 1);
        assert_eq!(till.associate(), End::Open);
        meter.inject(Fault::Answer { damage, on: On::Any, count: 1 });
        let end = till.enter(&token(50, 1));
        assert!(matches!(end, End::Done | End::Value(_)), "{damage:?}: {end:?}");
        assert_eq!(meter.truth().credited_wh, Some(5_000), "{damage:?}");
    }
}

#[test]
fn a_meter_that_reboots_forgets_the_association_and_keeps_the_credit() {
    for framing in BOTH {
        let meter = meter(500);
        let mut till = Till::connect(&meter, framing, 1);
        assert_eq!(till.associate(), End::Open);
        till.enter(&token(50, 1));
        meter.inject(Fault::Reboot);
        let end = till.get(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT));
        assert!(matches!(end, End::Failed(_) | End::Silence), "{framing:?}: {end:?}");
        let mut till = till.reconnect(&meter, framing);
        assert_eq!(till.associate(), End::Open);
        let credit_wh = number(till.get(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT)));
        assert!((5_400..=5_500).contains(&credit_wh), "{credit_wh}");
    }
}

#[test]
fn power_cut_at_any_write_of_a_top_up_leaves_the_credit_of_before_or_after() {
    let mut before = 0;
    let mut after = 0;
    for cut in 0..12 {
        let meter = meter(500);
        let mut till = Till::connect(&meter, Framing::Wrapper, 1);
        assert_eq!(till.associate(), End::Open);
        meter.inject(Fault::CutAtWrite { after: cut });
        till.enter(&token(50, 1));
        match meter.truth().credited_wh {
            Some(0) => before += 1,
            Some(5_000) => after += 1,
            other => panic!("cut after {cut} writes: {other:?}"),
        }
        // Whatever it was, and wherever the cut is still to come, the same token ends in the same state.
        for _ in 0..4 {
            till = till.reconnect(&meter, Framing::Wrapper);
            if till.associate() == End::Open {
                till.enter(&token(50, 1));
            }
        }
        assert_eq!(meter.truth().credited_wh, Some(5_000), "cut after {cut} writes");
        assert_eq!(meter.truth().lives, 2, "cut after {cut} writes: it was cut once");
    }
    assert!(before > 0 && after > 0, "{before} before, {after} after: the cuts fell on both sides");
}

#[test]
fn a_silent_meter_is_not_heard_until_it_speaks_again() {
    let meter = meter(500);
    let mut till = Till::connect(&meter, Framing::Wrapper, 1);
    meter.inject(Fault::Silence { on: true });
    assert!(matches!(till.associate(), End::Failed(_)));
    meter.inject(Fault::Silence { on: false });
    let mut till = till.reconnect(&meter, Framing::Wrapper);
    assert_eq!(till.associate(), End::Open);
}

#[test]
fn a_stuck_relay_accepts_the_command_and_the_sensed_contact_tells_the_truth() {
    let meter = meter(500);
    let mut till = Till::connect(&meter, Framing::Hdlc, 1);
    assert_eq!(till.associate(), End::Open);
    meter.inject(Fault::Relay { mechanics: Mechanics::Stuck });
    let disconnect = disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT);
    till.client.action(till.now, disconnect, Some(Data::Integer(0))).unwrap();
    assert_eq!(till.wait(), End::Done);
    let End::Value(output) = till.get(disconnect::OUTPUT_STATE.of(obis::DISCONNECT)) else { panic!() };
    assert_eq!(Data::from_bytes(&output).unwrap(), Data::Boolean(true), "still closed");
    assert!(meter.truth().contact_closed);
}

#[test]
fn without_power_nothing_is_answered_and_nothing_is_forgotten() {
    let meter = meter(500);
    let before = meter.truth();
    meter.inject(Fault::Power { on: false });
    assert!(!meter.truth().powered);
    let mut till = Till::connect(&meter, Framing::Wrapper, 1);
    assert!(matches!(till.associate(), End::Failed(_)));
    assert!(meter.at_panel(|firmware| firmware.type_token(&token(50, 1))).is_none());
    meter.inject(Fault::Power { on: true });
    let after = meter.truth();
    assert_eq!(after.lives, before.lives + 1);
    assert_eq!(after.status.unwrap().credit_wh, before.status.unwrap().credit_wh);
}
