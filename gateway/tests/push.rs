//! What simulated meters send by themselves: believed under their keys, once, and from them alone.
#![cfg(feature = "demo")]

mod common;

use common::{TestKeys, endpoint};
use gateway::clock::Clock;
use gateway::config::{ListenConfig, ListenKind};
use gateway::listen::{Counts, Judge, Listener, Refused};
use gateway::session::directory::{Directory, Endpoint, Framing};
use gateway::session::model::Models;
use gateway::session::work::Serial;
use gateway::store::Store;
use gateway::store::alarm::AlarmKind;
use gateway::store::meter::{self, BalanceHolder, LoadRecord, Role};
use protocol::codec::codec::Writer;
use protocol::codec::xdlms::SecurityControl;
use protocol::dlms::security::frame::{Frame, Protect, Sealed};
use protocol::dlms::security::{Cipher, Form, Key, SecurityPolicy, SecuritySuite, SystemTitle};
use serde_json::Value;
use simulator::clock::SimClock;
use simulator::faults::Fault;
use simulator::street::{Street, StreetConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::sync::watch;

struct Bench {
    street: Street,
    store: Store,
    counts: Arc<Counts>,
    tcp: SocketAddr,
    udp: SocketAddr,
    judge: Judge,
    dir: PathBuf,
    _stop: watch::Sender<bool>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A meter whose APDUs are not protected.
const OPEN: &str = "127.1.9.9:4059";

impl Bench {
    /// Two meters on TCP and a gateway that listens; with `pushing` the meters send what happens there by themselves.
    async fn start(pushing: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let (tcp, udp) = (listener.local_addr().expect("bound"), socket.local_addr().expect("bound"));
        let config = StreetConfig {
            meters: 2,
            port: 0,
            clock: SimClock::starting_now(10),
            credit_wh: Some(500_000),
            push_to: pushing.then_some(tcp),
            ..StreetConfig::default()
        };
        let street = Street::start(config).await.expect("a street");
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).expect("random numbers");
        let dir =
            std::env::temp_dir().join(format!("meter-gateway-push-{:016x}", u64::from_be_bytes(random)));
        std::fs::create_dir(&dir).expect("a directory");
        let reference = include_str!("../models/reference-dlms.toml");
        let open = "[security]\nauthentication = \"none\"\npolicy = \"none\"\n[objects]";
        std::fs::write(dir.join("open.toml"), reference.replace("[objects]", open)).expect("a model");
        let store = Store::open(&dir.join("store.db")).await.expect("a store");
        let directory = Directory::default();
        let open = Endpoint {
            serial: Serial("open".into()),
            line: "street".into(),
            address: OPEN.into(),
            framing: Framing::Wrapper,
            model: "open".into(),
        };
        for endpoint in street.roll().iter().map(endpoint).chain([open]) {
            enter(&store, &endpoint).await;
            directory.put(endpoint);
        }
        let judge = Judge {
            directory,
            models: Models::load(Some(&dir)).expect("good models"),
            keys: Arc::new(TestKeys),
            counters: Arc::new(store.clone()),
            system_title: *b"MGWGW001",
        };
        let config =
            ListenConfig { name: "alarms".into(), kind: ListenKind::Tcp, address: tcp, peers_max: 8 };
        let listening = Listener::new(&config, judge.clone(), store.clone(), Clock::real());
        let counts = listening.counts();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(listening.clone().serve(listener, config.peers_max, stopped.clone()));
        tokio::spawn(listening.receive(socket, stopped));
        Self { street, store, counts, tcp, udp, judge, dir, _stop: stop }
    }

    fn serial(&self, number: usize) -> String {
        self.street.roll()[number - 1].serial.clone()
    }

    async fn events(&self, kind: &str) -> Vec<(Option<String>, Value)> {
        let events = self.store.events_after(0, 1_000).await.expect("a store");
        events
            .into_iter()
            .filter(|event| event.kind == kind)
            .map(|event| (event.serial, event.detail))
            .collect()
    }

    /// Waits for a notification of this event from this meter.
    async fn said(&self, number: usize, event: &str) -> Value {
        let serial = self.serial(number);
        for _ in 0..600 {
            for (meter, detail) in self.events("notification").await {
                if meter.as_deref() == Some(&serial) && detail["event"] == event {
                    return detail;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no {event} of {serial}: {:?}", self.events("notification").await);
    }

    async fn until(&self, what: &str, so: impl Fn(&Counts) -> bool) {
        for _ in 0..600 {
            if so(&self.counts) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}: {:?}", self.counts);
    }

    /// Bytes that meter 1 would send now.
    fn captured(&self) -> Vec<u8> {
        let meter = self.street.meter(1).expect("meter 1");
        assert!(meter.push_to(self.tcp));
        while meter.next_push().is_some() {}
        assert!(self.street.inject(1, Fault::Cover { open: true }));
        for _ in 0..200 {
            if let Some(push) = meter.next_push() {
                assert_eq!(push.destination, self.tcp);
                return push.bytes;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("an opened cover is no alarm");
    }
}

async fn enter(store: &Store, endpoint: &Endpoint) {
    let entry = meter::Meter {
        serial: endpoint.serial.clone(),
        line: endpoint.line.clone(),
        address: endpoint.address.clone(),
        framing: endpoint.framing,
        model: endpoint.model.clone(),
        balance: BalanceHolder::Meter,
        role: Role::Customer,
        area: String::new(),
        sts: None,
        load: LoadRecord::default(),
        added_at: jiff::Timestamp::now(),
    };
    let entered = store.write(move |conn| Box::pin(async move { meter::insert(conn, &entry).await })).await;
    entered.expect("entered");
}

/// Says something from an address of this machine, and gives what is answered.
async fn say(from: &str, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("an address of this machine");
    let mut stream = socket.connect(to).await.expect("it listens");
    stream.write_all(bytes).await.expect("sent");
    stream.shutdown().await.expect("said all");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_whose_power_is_cut_has_its_last_word_in_the_gateways_events() {
    let bench = Bench::start(true).await;
    assert!(bench.street.inject(1, Fault::Power { on: false }));
    let gasp = bench.said(1, "PowerDown").await;
    assert_eq!((&gasp["protected"], &gasp["listener"]), (&Value::Bool(true), &Value::from("alarms")));
    assert_eq!(gasp["text"], "Supply lost: the last word before the meter goes dark");
    assert!(gasp["meter_at"].is_string(), "{gasp}");
    assert!(bench.street.inject(1, Fault::Power { on: true }));
    bench.said(1, "PowerUp").await;
    assert!(bench.street.inject(2, Fault::Cover { open: true }));
    bench.said(2, "CoverOpened").await;
    // The cut is over by the meter's own word; a suspicion is not.
    let alarms = bench.store.alarms(None, false, 10).await.expect("a store");
    let kinds: Vec<_> = alarms.iter().map(|alarm| (alarm.kind, alarm.closed_at.is_some())).collect();
    assert_eq!(kinds, [(AlarmKind::Tamper, false), (AlarmKind::NoSupply, true)]);
    assert_eq!(alarms[1].detail, "Supply lost: the last word before the meter goes dark");
    assert_eq!(bench.events("alarm").await.len(), 3, "opened, closed, opened: each is a fact");
    assert_eq!(bench.counts.refused.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_or_under_other_keys_or_by_nobody_known_is_counted_and_told_and_not_stored() {
    let bench = Bench::start(false).await;
    let bytes = bench.captured();
    say("127.1.0.1", bench.tcp, &bytes).await;
    bench.until("one is believed", |counts| counts.taken.load(Ordering::Relaxed) == 1).await;
    // The same again, and the same in a datagram.
    say("127.1.0.1", bench.tcp, &bytes).await;
    bench.until("it is a repetition", |counts| counts.refused.load(Ordering::Relaxed) == 1).await;
    let socket = UdpSocket::bind("127.1.0.1:0").await.expect("a free port");
    socket.send_to(&bytes, bench.udp).await.expect("sent");
    bench.until("it is one in a datagram too", |counts| counts.refused.load(Ordering::Relaxed) == 2).await;
    // A bit of the tag is wrong; and somebody else sends it.
    let mut forged = bytes.clone();
    *forged.last_mut().expect("bytes") ^= 1;
    say("127.1.0.2", bench.tcp, &forged).await;
    bench.until("it does not open", |counts| counts.refused.load(Ordering::Relaxed) == 3).await;
    say("127.0.0.77", bench.tcp, &bytes).await;
    bench.until("nobody knows the sender", |counts| counts.unknown.load(Ordering::Relaxed) == 1).await;
    assert_eq!(bench.events("notification").await.len(), 1, "one was stored");
    let told = bench.events("push_refused").await;
    assert_eq!(told.len(), 1, "told once a minute: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_known_by_its_system_title_wherever_it_sends_from() {
    let bench = Bench::start(false).await;
    let bytes = bench.captured();
    let (serial, elsewhere) = (Serial(bench.serial(1)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77)));
    let apdu = &bytes[8..];
    assert_eq!(bench.judge.judge(elsewhere, apdu).await, Err(Refused::Unknown));
    let title: [u8; 8] = apdu[2..10].try_into().expect("a title");
    bench.judge.directory.learn_title(&serial, title);
    let taken = bench.judge.judge(elsewhere, apdu).await.expect("it is known");
    assert_eq!((&taken.serial, taken.answer), (&serial, None));
    assert_eq!(taken.detail["event"], "CoverOpened");
    // Under the title of one meter and the keys of all: the other meter's title does not fit the tag.
    bench.judge.directory.learn_title(&Serial(bench.serial(2)), title);
    assert!(bench.judge.judge(elsewhere, apdu).await.is_ok(), "the street's meters share their keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_clear_is_believed_of_meters_that_speak_so_and_confirmed_where_they_ask() {
    let bench = Bench::start(false).await;
    // DataNotification, to be confirmed, without a time: a structure of one number.
    let apdu = [0x0F, 0x40, 0x00, 0x00, 0x2A, 0x00, 0x02, 0x01, 0x11, 0x07];
    let mut frame = vec![0, 1, 0, 1, 0, 18, 0, apdu.len() as u8];
    frame.extend(apdu);
    let answer = say("127.1.9.9", bench.tcp, &frame).await;
    // From client 18 to logical device 1: Data-Notification-Confirm with the same number.
    assert_eq!(answer, [0, 1, 0, 18, 0, 1, 0, 6, 0x10, 0x40, 0x00, 0x00, 0x2A, 0x00]);
    let heard = bench.events("notification").await;
    assert_eq!((heard.len(), heard[0].0.as_deref()), (1, Some("open")));
    assert!(heard[0].1["body"].is_string(), "{heard:?}");
    // A meter that protects what it says is not believed in the clear.
    let from = IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1));
    assert_eq!(bench.judge.judge(from, &apdu).await, Err(Refused::InTheClear(bench.serial(1))));
    // And what is none is none.
    for junk in [&[][..], &[0xDB, 0xFF], &[0xC8, 0x00]] {
        let refused = bench.judge.judge(from, junk).await.expect_err("junk");
        assert!(
            matches!(refused, Refused::NoNotification | Refused::NotAuthentic { .. }),
            "{junk:?}: {refused:?}"
        );
    }
}

/// The published test keys of the simulated meters.
fn cipher() -> Cipher {
    let encryption = Key::from_slice(&std::array::from_fn::<u8, 16, _>(|i| i as u8)).expect("16 bytes");
    let authentication =
        Key::from_slice(&std::array::from_fn::<u8, 16, _>(|i| 0xD0 + i as u8)).expect("16 bytes");
    Cipher::new(SecuritySuite::Suite0, &encryption, &authentication).expect("a cipher")
}

/// An APDU as a meter with the test keys protects it.
fn protected(title: SystemTitle, form: Form, counter: u32, plain: &[u8]) -> Vec<u8> {
    let mut frame = Frame::<256>::new();
    frame.build(|w| w.write_bytes(plain)).expect("room");
    let control = SecurityControl::new(0, true, true);
    frame.protect(&cipher(), Protect { form, control, title: &title, counter }).expect("room");
    frame.finished().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_meter_that_wants_to_hear_that_it_was_taken_hears_it_under_its_keys() {
    let bench = Bench::start(false).await;
    let title = SystemTitle(*b"MGW\0\0\0\0\x09");
    // DataNotification, to be confirmed: a structure of one number.
    let plain = [0x0F, 0x40, 0x00, 0x00, 0x2A, 0x00, 0x02, 0x01, 0x11, 0x07];
    let from = IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1));
    let mut counters = Vec::new();
    for counter in [1_000, 1_001] {
        let apdu = protected(title, Form::GeneralGlo, counter, &plain);
        let taken = bench.judge.judge(from, &apdu).await.expect("it is the meter's");
        let answer = taken.answer.expect("it asks for one");
        let sealed = Sealed::parse(&answer).expect("it parses").expect("it is protected");
        counters.push(sealed.counter);
        let mut opened = [0; 64];
        let policy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
        let length = sealed.open(&cipher(), policy, &SystemTitle(*b"MGWGW001"), None, &mut opened);
        let length = length.expect("it opens under the meter's keys and our title");
        assert_eq!(opened[..length], [0x10, 0x40, 0x00, 0x00, 0x2A, 0x00]);
    }
    assert!(counters[0] < counters[1], "no counter of ours is used twice: {counters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_that_a_meter_reports_by_event_notification_is_told_with_its_name_and_value() {
    let bench = Bench::start(false).await;
    let (serial, title) = (Serial(bench.serial(1)), SystemTitle(*b"MGW\0\0\0\0\x09"));
    // EventNotificationRequest without a time: class 3, 1.0.1.8.0.255, attribute 2, double-long-unsigned 12,345.
    let plain = [0xC2, 0, 0, 3, 1, 0, 1, 8, 0, 255, 2, 6, 0, 0, 0x30, 0x39];
    let apdu = protected(title, Form::Glo, 7, &plain);
    let from = IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1));
    // A service-specific form does not name its sender: the association did.
    assert!(matches!(bench.judge.judge(from, &apdu).await, Err(Refused::NotReady(_))));
    bench.judge.directory.learn_title(&serial, title.0);
    let taken = bench.judge.judge(from, &apdu).await.expect("it is the meter's");
    assert_eq!((&taken.serial, taken.answer.as_deref()), (&serial, None));
    assert_eq!(taken.detail["attribute"], "1-0:1.8.0*255/2");
    assert_eq!(taken.detail["class"], 3);
    assert!(taken.detail["value"].as_str().is_some_and(|value| value.contains("12345")), "{}", taken.detail);
}
