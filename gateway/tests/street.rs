//! The lines against a simulated street: every kind of meter is commissioned, read, switched, and compared with the truth.
#![cfg(feature = "demo")]

#[path = "street/calls.rs"]
mod calls;
mod common;
#[path = "street/discovery.rs"]
mod discovery;

use common::{TestKeys, endpoint};
use gateway::clock::Clock;
use gateway::config::{LineConfig, LineKind, Parity, SerialProtocol};
use gateway::session::calendar::CalendarOrder;
use gateway::session::counters::MemoryCounters;
use gateway::session::directory::{Directory, Endpoint, Framing};
use gateway::session::model::Models;
use gateway::session::order::{
    AdHoc, ChargeOrder, EmergencyLimit, LoadLimit, Order, PriceRow, Target, TariffOrder,
};
use gateway::session::record::{Recordings, replay};
use gateway::session::relay_test::RelayTest;
use gateway::session::work::{
    CalendarProgress, Ending, Job, Priority, RelayTested, Report, Serial, TokenDigits, Work,
};
use gateway::session::{Context, Router, spawn};
use protocol::cosem::obis;
use protocol::cosem::tariff::{Switch, Tariff};
use simulator::clock::SimClock;
use simulator::faults::{Damage, Fault, On};
use simulator::identity::{FEEDER, drn};
use simulator::roll::{Entry, Place};
use simulator::street::{Street, StreetConfig};
use simulator::wiring::Mechanics;
use std::sync::Arc;
use tokio::sync::oneshot;

struct Bench {
    street: Street,
    router: Router,
    recordings: Recordings,
    directory: Directory,
}

impl Bench {
    /// Two meters with the wrapper, two with HDLC over TCP, two on a bus, two on a Modbus bus, one on Modbus TCP, at a speed of `speed`.
    async fn start(speed: u32) -> Self {
        let config = StreetConfig {
            meters: 4,
            hdlc_meters: 2,
            port: 0,
            line_meters: 2,
            modbus_meters: 2,
            modbus_tcp_meters: 1,
            modbus_tcp: Some(([127, 0, 0, 1], 0).into()),
            clock: SimClock::starting_now(speed),
            credit_wh: Some(5_000),
            ..StreetConfig::default()
        };
        let street = Street::start(config).await.expect("a street");
        let directory = Directory::default();
        for entry in street.roll() {
            directory.put(endpoint(entry));
        }
        directory.put(Endpoint {
            serial: Serial(feeder()),
            line: "feeder".into(),
            address: "1".into(),
            framing: Framing::Wrapper,
            model: "feeder-modbus".into(),
        });
        let origin =
            jiff::Timestamp::from_millisecond(street.config().clock.utc_ms() as i64).expect("in range");
        let context = Context {
            directory,
            models: Models::load(None).expect("built-in models"),
            keys: Arc::new(TestKeys),
            counters: Arc::new(MemoryCounters::default()),
            clock: Clock::simulated(origin, speed),
            system_title: *b"MGWGW001",
            recordings: Recordings::default(),
            waits: gateway::session::waits(),
        };
        let router = spawn(&lines(&street), &context);
        Self { street, router, recordings: context.recordings, directory: context.directory }
    }

    async fn perform(&self, serial: &str, work: Work) -> Report {
        let (report, answer) = oneshot::channel();
        let meter = Serial(serial.into());
        let job = Job {
            meter: meter.clone(),
            work,
            priority: Priority::Command,
            not_after: None,
            correlation: "test".into(),
            report,
            sending: None,
        };
        self.router
            .line_of(&meter)
            .expect("a known meter")
            .send(Box::new(job))
            .await
            .expect("a running line");
        answer.await.expect("a report")
    }

    fn entries(&self) -> Vec<Entry> {
        self.street.roll().to_vec()
    }

    fn closed(&self, index: u32) -> bool {
        self.street.truth(index).expect("a meter").contact_closed
    }
}

/// Serial number of the feeder's check meter.
fn feeder() -> String {
    drn(FEEDER).expect("a serial number").as_str().to_owned()
}

fn lines(street: &Street) -> Vec<LineConfig> {
    let serial = |port: Option<&str>, protocol| LineKind::Serial {
        port: port.expect("a serial line").into(),
        baud: 9_600,
        parity: Parity::None,
        protocol,
    };
    let line = |name: &str, kind| LineConfig { name: name.into(), kind, area: None };
    vec![
        line("street", LineKind::Tcp { connections_max: 16 }),
        line("bus", serial(street.line_path(), SerialProtocol::DlmsHdlc)),
        line("modbus", serial(street.modbus_line_path(), SerialProtocol::ModbusRtu)),
        line("feeder", LineKind::ModbusTcp { address: street.modbus_tcp().expect("a feeder") }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_meter_is_commissioned_read_switched_and_read_back() {
    let bench = Bench::start(1).await;
    for entry in bench.entries() {
        let serial = &entry.serial;
        let commissioned = bench.perform(serial, Work::Commission).await;
        assert_eq!(commissioned.ending, Ending::Done, "{entry:?}: {:?}", commissioned.evidence);
        assert_eq!(commissioned.facts.serial.as_ref(), Some(serial));
        let off = bench.perform(serial, Work::Disconnect).await;
        assert_eq!(off.ending, Ending::Done, "{entry:?}: {:?}", off.evidence);
        assert_eq!(off.facts.relay.map(|relay| relay.output_closed), Some(false));
        assert_eq!(off.facts.power_w, Some(0));
        assert!(!bench.closed(entry.index), "the contact itself is open");
        let on = bench.perform(serial, Work::Reconnect).await;
        assert_eq!(on.ending, Ending::Done, "{entry:?}: {:?}", on.evidence);
        assert!(bench.closed(entry.index), "the contact itself is closed");
        let read = bench.perform(serial, Work::Read).await;
        assert_eq!(read.ending, Ending::Done, "{entry:?}: {:?}", read.evidence);
    }
    let check_meter = bench.perform(&feeder(), Work::Commission).await;
    assert_eq!(check_meter.ending, Ending::Done, "{:?}", check_meter.evidence);
    let refused = bench.perform(&feeder(), Work::Disconnect).await;
    assert!(matches!(refused.ending, Ending::Rejected { .. }), "{:?}", refused.ending);
}

/// A converter: whoever connects has the serial line's bytes, one caller at a time.
async fn convert(listener: tokio::net::TcpListener, path: String) {
    use tokio_serial::SerialPortBuilderExt;
    while let Ok((mut caller, _)) = listener.accept().await {
        let mut wire =
            tokio_serial::new(&path, 9_600).exclusive(false).open_native_async().expect("the line");
        let _ = tokio::io::copy_bidirectional(&mut caller, &mut wire).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_behind_converters_are_worked_on_as_if_they_were_here() {
    let bench = Bench::start(1).await;
    let mut lines = Vec::new();
    for (name, path, protocol) in [
        ("bus", bench.street.line_path(), SerialProtocol::DlmsHdlc),
        ("modbus", bench.street.modbus_line_path(), SerialProtocol::ModbusRtu),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(convert(listener, path.expect("a serial line").to_owned()));
        let kind = LineKind::Converter { address, baud: 9_600, parity: Parity::None, protocol };
        lines.push(LineConfig { name: name.into(), kind, area: None });
    }
    bench.router.change_to(&lines).await;
    for entry in bench
        .entries()
        .into_iter()
        .filter(|entry| matches!(entry.place(), Place::Line(_) | Place::ModbusLine(_)))
    {
        for work in [Work::Commission, Work::Disconnect, Work::Reconnect, Work::Read] {
            let report = bench.perform(&entry.serial, work).await;
            assert_eq!(report.ending, Ending::Done, "{entry:?}: {:?}", report.evidence);
        }
    }
    let budgets: Vec<_> = bench.router.status().iter().map(|line| line.budget_bytes_per_s).collect();
    assert_eq!(budgets, [Some(960), Some(960)], "the pace is the line's, not the network's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_relay_command_is_unknown_on_every_kind_of_line() {
    let bench = Bench::start(1).await;
    for entry in bench.entries() {
        let lost = Fault::Answer { damage: Damage::Lost, on: On::RelayMoved, count: 1 };
        assert!(bench.street.inject(entry.index, lost));
        let off = bench.perform(&entry.serial, Work::Disconnect).await;
        assert!(matches!(off.ending, Ending::Unknown { .. }), "{entry:?}: {:?}", off);
        let read = bench.perform(&entry.serial, Work::Read).await;
        assert_eq!(read.ending, Ending::Done, "{entry:?}: {:?}", read.evidence);
        assert_eq!(read.facts.relay.map(|relay| relay.output_closed), Some(bench.closed(entry.index)));
        assert!(!bench.closed(entry.index), "the command was carried out, only its answer was lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_never_taken_for_the_next_ones() {
    let bench = Bench::start(1).await;
    // One meter on each kind of line. The answer comes when it has been given up and the next question is under way.
    for (index, delay_ms) in [(1, 4_000), (3, 4_000), (5, 10_000), (7, 2_000), (9, 4_000)] {
        let entry = bench.entries()[index - 1].clone();
        let late = Fault::Answer { damage: Damage::Late { delay_ms }, on: On::RelayMoved, count: 1 };
        assert!(bench.street.inject(entry.index, late));
        let off = bench.perform(&entry.serial, Work::Disconnect).await;
        // A slow line may be patient enough to hear it; what counts is that nothing wrong is believed.
        let fits = matches!(off.ending, Ending::Unknown { .. }) || off.ending == Ending::Done;
        assert!(fits, "{entry:?}: {off:?}");
        let mut reads = Vec::new();
        for _ in 0..4 {
            let read = bench.perform(&entry.serial, Work::Read).await;
            if read.ending == Ending::Done {
                assert_eq!(
                    read.facts.relay.map(|relay| relay.output_closed),
                    Some(false),
                    "{:?}",
                    read.evidence
                );
                assert!(read.facts.import_wh.is_some_and(|import| import < 1_000_000), "{:?}", read.evidence);
            } else {
                // On a shared wire the meter is still talking to somebody who has hung up.
                assert!(matches!(read.ending, Ending::NotSent { .. }), "{entry:?}: {read:?}");
            }
            reads.push(read.ending);
        }
        assert_eq!(reads.last(), Some(&Ending::Done), "{entry:?}: {reads:?}");
    }
}

/// The text is left in the target directory, to be kept among `tests/recordings` when the session is meant to change.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_simulated_meters_are_recorded_and_go_the_same_way_again() {
    let bench = Bench::start(1).await;
    let models = Models::load(None).expect("built-in models");
    for (index, name) in [(0, "wrapper"), (2, "hdlc"), (4, "bus")] {
        let entry = bench.entries()[index].clone();
        let serial = Serial(entry.serial.clone());
        let minute = std::time::Duration::from_secs(60);
        bench.recordings.start(&serial, "reference-dlms", jiff::Timestamp::now(), minute).expect("room");
        let token = TokenDigits::new("01234567890123456789").expect("twenty digits");
        for work in [Work::Commission, Work::DeliverToken(token), Work::Disconnect, Work::Reconnect] {
            bench.perform(&entry.serial, work).await;
        }
        // The association is released when nothing more comes.
        let release = |text: &str| text.contains(" received glo 63 ");
        let mut text = bench.recordings.text(&serial).expect("recorded").0;
        for _ in 0..100 {
            if release(&text) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            text = bench.recordings.text(&serial).expect("recorded").0;
        }
        let replayed = replay(&text, &models).await;
        assert_eq!(replayed.map(|replayed| replayed.works), Ok(4), "{name}:\n{text}");
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("simulator-{name}.txt"));
        std::fs::write(file, text).expect("written");
    }
}

fn limit(limit_w: u32) -> Order {
    Order::LimitLoad(LoadLimit { limit_w, over_s: 90, under_s: 120 })
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_given_read_back_and_not_asked_of_meters_that_have_none() {
    let bench = Bench::start(1).await;
    for entry in bench.entries() {
        let modbus = matches!(entry.place(), Place::ModbusLine(_) | Place::ModbusTcp(..));
        for (order, wrong) in [(Order::SetClock, Order::SetClock), (limit(4_000), limit(4_001))] {
            let report = bench.perform(&entry.serial, Work::Carry(order.clone())).await;
            if modbus {
                let Ending::Rejected { reason, .. } = &report.ending else { panic!("{report:?}") };
                assert!(reason.contains("says nothing about a"), "{reason}");
                continue;
            }
            assert_eq!(report.ending, Ending::Done, "{entry:?}: {:?}", report.evidence);
            let look = bench.perform(&entry.serial, Work::Check(order.clone())).await;
            assert_eq!(look.ending, Ending::Done, "{entry:?}: {:?}", look.evidence);
            if wrong != order {
                let look = bench.perform(&entry.serial, Work::Check(wrong)).await;
                assert!(matches!(look.ending, Ending::Rejected { .. }), "{entry:?}: {:?}", look.evidence);
            }
        }
    }
}

/// The meter restarts at each request of the dialogue in turn. Whatever the gateway makes of it, a look afterwards says what
/// the meter has, and giving it once more ends well.
#[tokio::test(flavor = "multi_thread")]
async fn a_setting_cut_at_any_request_is_looked_at_and_given_again() {
    let bench = Bench::start(1).await;
    let entry = bench.entries()[0].clone();
    let serial = entry.serial;
    let (mut unknown, mut not_sent) = (0, 0);
    for requests in 1..24 {
        let order = limit(1_000 + requests);
        assert!(bench.street.inject(entry.index, Fault::RebootInTransfer { requests }));
        let report = bench.perform(&serial, Work::Carry(order.clone())).await;
        match report.ending {
            Ending::Done => break,
            Ending::Unknown { .. } => unknown += 1,
            Ending::NotSent { .. } => not_sent += 1,
            Ending::Rejected { .. } => panic!("a restart is no refusal: {report:?}"),
        }
        let mut look = bench.perform(&serial, Work::Check(order.clone())).await;
        for _ in 0..80 {
            if !matches!(look.ending, Ending::NotSent { .. }) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            look = bench.perform(&serial, Work::Check(order.clone())).await;
        }
        if let Ending::Rejected { reason, .. } = &look.ending {
            assert!(reason.contains("limit is not"), "{reason}");
            let again = bench.perform(&serial, Work::Carry(order.clone())).await;
            assert_eq!(again.ending, Ending::Done, "{:?}", again.evidence);
            look = bench.perform(&serial, Work::Check(order)).await;
        }
        assert_eq!(look.ending, Ending::Done, "{requests}: {:?}", look.evidence);
    }
    assert!(unknown >= 3 && not_sent >= 3, "{unknown} unknown, {not_sent} not sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_tariffs_and_an_engineers_values_are_given_and_read_back() {
    let bench = Bench::start(1).await;
    let serial = bench.entries()[0].serial.clone();
    let later = jiff::Timestamp::now().round(jiff::Unit::Minute).expect("in range")
        + jiff::SignedDuration::from_hours(48);
    let prices = |price, activate_at| {
        let rows = vec![PriceRow { index: 1, price }];
        Order::SetPrices(ChargeOrder { charge: 1, rows, activate_at })
    };
    let mut tariff = Tariff::flat(250);
    tariff.rates.extend([300, 120]);
    tariff.days.extend([[Switch { from_minute: 0, rate: 1 }, Switch { from_minute: 420, rate: 0 }]
        .into_iter()
        .collect()]);
    let tariff = Order::SetTariff(Box::new(TariffOrder { tariff, activate_at: later }));
    let column = Target { class_id: 40, name: obis::PUSH_ON_ALARM, index: 7 };
    let set = Order::AdHoc(AdHoc::Set(column, vec![0x12, 0x00, 0x07]));
    for order in [prices(30, Some(later)), prices(25, None), tariff, set] {
        let given = bench.perform(&serial, Work::Carry(order.clone())).await;
        assert_eq!(given.ending, Ending::Done, "{order:?}: {:?}", given.evidence);
        let look = bench.perform(&serial, Work::Check(order)).await;
        assert_eq!(look.ending, Ending::Done, "{:?}", look.evidence);
    }
    let other = bench.perform(&serial, Work::Check(prices(26, None))).await;
    assert!(matches!(other.ending, Ending::Rejected { .. }), "{:?}", other.evidence);
    let import = Target { class_id: 3, name: obis::IMPORT_ENERGY, index: 2 };
    let read = bench.perform(&serial, Work::Carry(Order::AdHoc(AdHoc::Get(import)))).await;
    assert_eq!(read.ending, Ending::Done);
    assert!(read.evidence.iter().any(|line| line.contains("DoubleLongUnsigned")), "{:?}", read.evidence);
    let refused = Order::AdHoc(AdHoc::Set(import, vec![0x06, 0, 0, 0, 1]));
    let refused = bench.perform(&serial, Work::Carry(refused)).await;
    assert!(matches!(refused.ending, Ending::Rejected { .. }), "{:?}", refused.evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_reads_mode_available_credit_and_every_charge() {
    let bench = Bench::start(1).await;
    for entry in bench.entries() {
        let audit = bench.perform(&entry.serial, Work::Audit).await;
        assert_eq!(audit.ending, Ending::Done, "{entry:?}: {:?}", audit.evidence);
        if matches!(entry.place(), Place::ModbusLine(_) | Place::ModbusTcp(..)) {
            continue;
        }
        let facts = &audit.facts;
        assert_eq!(facts.prepaid, Some(true));
        assert!(facts.available_wh >= facts.credit_wh && facts.charged_wh.is_some(), "{facts:?}");
        assert!(facts.import_wh.is_some() && facts.relay.is_some(), "{facts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_with_its_special_days_is_given_read_back_and_in_force_when_it_is_activated() {
    let bench = Bench::start(1).await;
    let serial = bench.entries()[0].serial.clone();
    // Prices by time of use come with the tariff; the calendar says when each applies.
    let mut tariff = Tariff::flat(250);
    tariff.rates.extend([300, 120]);
    tariff.days.extend([[Switch { from_minute: 0, rate: 0 }].into_iter().collect()]);
    let later = jiff::Timestamp::now().round(jiff::Unit::Minute).expect("in range")
        + jiff::SignedDuration::from_hours(48);
    let tariff = Order::SetTariff(Box::new(TariffOrder { tariff, activate_at: later }));
    let given = bench.perform(&serial, Work::Carry(tariff)).await;
    assert_eq!(given.ending, Ending::Done, "{:?}", given.evidence);

    let calendar = |activate_at: Option<jiff::Timestamp>| {
        let order: CalendarOrder = serde_json::from_value(serde_json::json!({
            "days": [
                {"id": 1, "switches": [{"from_minute": 0, "script": 2}, {"from_minute": 420, "script": 1}]},
                {"id": 2, "switches": [{"from_minute": 0, "script": 2}]},
            ],
            "weeks": [{"name": "1", "days": [1, 1, 1, 1, 1, 2, 2]}],
            "seasons": [{"name": "1", "month": 1, "day": 1, "week": "1"}],
            "special_days": [{"month": 5, "day": 1, "day_id": 2}, {"month": 12, "day": 25, "day_id": 2}],
            "activate_at": activate_at,
        }))
        .expect("a calendar");
        assert_eq!(order.flaw(), None);
        order
    };
    let to_come = Order::SetCalendar(Box::new(calendar(Some(later))));
    let given = bench.perform(&serial, Work::Carry(to_come.clone())).await;
    assert_eq!(given.ending, Ending::Done, "{:?}", given.evidence);
    assert_eq!(given.facts.calendar, Some(CalendarProgress::ToCome { at: later }));
    let at_once = Order::SetCalendar(Box::new(calendar(None)));
    let not_yet = bench.perform(&serial, Work::Check(at_once.clone())).await;
    assert!(matches!(not_yet.ending, Ending::Rejected { .. }), "{:?}", not_yet.evidence);
    let given = bench.perform(&serial, Work::Carry(at_once.clone())).await;
    assert_eq!(given.ending, Ending::Done, "{:?}", given.evidence);
    assert_eq!(given.facts.calendar, Some(CalendarProgress::InForce));

    // A script that the meter's tariff does not have: the meter refuses, and the one in force stays.
    let mut other = calendar(None);
    other.days[1].switches[0].script = 9;
    let other = Order::SetCalendar(Box::new(other));
    let refused = bench.perform(&serial, Work::Carry(other)).await;
    assert!(matches!(refused.ending, Ending::Rejected { .. }), "{:?}", refused.evidence);
    let look = bench.perform(&serial, Work::Check(at_once)).await;
    assert_eq!(look.ending, Ending::Done, "{:?}", look.evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_for_a_time_applies_at_once_or_from_its_time_on_and_one_that_is_over_is_refused() {
    let bench = Bench::start(1).await;
    let serial = bench.entries()[0].serial.clone();
    let now = jiff::Timestamp::now().round(jiff::Unit::Second).expect("in range");
    let hours = |hours| now + jiff::SignedDuration::from_hours(hours);
    let limit = |limit_w, from, until| Order::LimitEmergency(EmergencyLimit { limit_w, from, until });
    for order in [limit(3_000, None, hours(2)), limit(1_500, Some(hours(24)), hours(26))] {
        let given = bench.perform(&serial, Work::Carry(order.clone())).await;
        assert_eq!(given.ending, Ending::Done, "{order:?}: {:?}", given.evidence);
        let look = bench.perform(&serial, Work::Check(order)).await;
        assert_eq!(look.ending, Ending::Done, "{:?}", look.evidence);
    }
    let other = bench.perform(&serial, Work::Check(limit(3_000, None, hours(2)))).await;
    assert!(matches!(other.ending, Ending::Rejected { .. }), "{:?}", other.evidence);
    let over = bench.perform(&serial, Work::Carry(limit(3_000, None, hours(-1)))).await;
    assert!(matches!(over.ending, Ending::Rejected { .. }), "{:?}", over.evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_tested_by_operating_it_with_consent_and_by_looking_at_it_without() {
    let bench = Bench::start(1).await;
    let agreed = || RelayTest { consent: Some("the customer, at the door".into()), withheld: None };
    let test = |test| Work::Carry(Order::TestRelay(test));
    for entry in bench.entries() {
        let serial = &entry.serial;
        let protected = RelayTest { withheld: Some("the customer is protected".into()), ..agreed() };
        let looked = bench.perform(serial, test(protected)).await;
        assert_eq!(looked.ending, Ending::Done, "{entry:?}: {:?}", looked.evidence);
        assert_eq!(looked.facts.relay_tested, Some(RelayTested::Sensed), "{:?}", looked.evidence);
        assert!(bench.closed(entry.index), "it was not operated");
        let operated = bench.perform(serial, test(agreed())).await;
        assert_eq!(operated.ending, Ending::Done, "{entry:?}: {:?}", operated.evidence);
        assert_eq!(operated.facts.relay_tested, Some(RelayTested::Operated), "{:?}", operated.evidence);
        let relay = operated.facts.relay.expect("it was sensed");
        assert!(relay.output_closed || relay.control_state == Some(2), "supply is back: {relay:?}");
    }
    // A welded one shows itself only when it is operated.
    let modbus = |entry: &&Entry| matches!(entry.place(), Place::ModbusLine(_));
    let entries = bench.entries();
    let welded = entries.iter().find(modbus).expect("a meter that closes its relay on command");
    assert!(bench.street.inject(welded.index, Fault::Relay { mechanics: Mechanics::Welded }));
    let looked = bench.perform(&welded.serial, test(RelayTest::default())).await;
    assert!(looked.facts.relay_tested.is_none_or(|how| how == RelayTested::Sensed), "{:?}", looked.evidence);
    let found = bench.perform(&welded.serial, test(agreed())).await;
    assert!(matches!(found.ending, Ending::Rejected { .. }), "{:?}", found.evidence);
    assert!(bench.closed(welded.index));
}
