//! Facts on their way to other people's programs, through cuts, restarts and kills on both sides.

mod ack_thief;
mod brokers;
mod commands;
mod hook;
mod nats_wire;

use brokers::{Mosquitto, NatsServer, certificates};
use hook::Hook;
use nats_wire::NatsWire;
use serde_json::Value;
use std::time::{Duration, Instant};
use tests::{Folder, GatewayProcess};

/// How long facts may take on a machine that is busy compiling. The longest pause between two tries is a minute.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(150);

/// Meters nobody answers for: each is a fact when it is entered, and more when it is not reached.
fn enter_meters(gateway: &GatewayProcess, serials: &[&str]) {
    for serial in serials {
        gateway.add_meter(serial, &format!("127.3.0.1:4{}", &serial[7..10]), "wrapper");
    }
}

fn until(what: &str, gateway: &GatewayProcess, reached: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + ARRIVAL_TIMEOUT;
    loop {
        let sinks = gateway.get("/sinks");
        if reached(&sinks[0]) {
            return sinks[0].clone();
        }
        assert!(Instant::now() < deadline, "{what}: {sinks:#}\n{}", gateway.process.said());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn until_all_delivered(gateway: &GatewayProcess, at_least: i64) -> i64 {
    let sink = until("everything delivered", gateway, |sink| {
        sink["behind"] == 0 && sink["delivered_id"].as_i64() >= Some(at_least)
    });
    sink["delivered_id"].as_i64().expect("a number")
}

fn ids(facts: &[Value]) -> Vec<i64> {
    facts.iter().map(|fact| fact["id"].as_i64().expect("a fact has an id")).collect()
}

/// Every id from 1 on is there, in order and once, up to this one at least: meters that nobody answers for go on making facts.
fn assert_each_once(ids: &[i64], at_least: i64) {
    let last = ids.last().copied().unwrap_or_default();
    assert!(last >= at_least, "up to {at_least}: {ids:?}");
    assert_eq!(ids, (1..=last).collect::<Vec<_>>());
}

/// Every id from 1 on is there; how often does not matter.
fn assert_no_gap(facts: &[Value], at_least: i64) {
    let mut ids = ids(facts);
    ids.sort_unstable();
    ids.dedup();
    assert_each_once(&ids, at_least);
}

const BEFORE: [&str; 2] = ["01000000016", "01000000024"];
const DURING: [&str; 2] = ["01000000032", "01000000040"];

#[test]
fn mosquitto_gets_every_fact_through_a_restart_of_the_broker_and_a_kill_of_the_gateway() {
    let mut broker = Mosquitto::start(None);
    let reader = broker.subscribe();
    let mut gateway = GatewayProcess::start_with(|_| {
        format!(
            "[[sink]]\nname = \"utility\"\nurl = \"mqtt://127.0.0.1:{}\"\ntopic = \"north/one\"\n",
            broker.port()
        )
    });
    enter_meters(&gateway, &BEFORE);
    until_all_delivered(&gateway, 2);

    broker.stop();
    enter_meters(&gateway, &DURING);
    let waiting = until("the sink has a problem", &gateway, |sink| !sink["problem"].is_null());
    assert!(waiting["behind"].as_i64() > Some(0), "{waiting:#}");
    gateway.kill();
    gateway.start_again();
    broker.start_again();

    let last = until_all_delivered(&gateway, 4);
    let facts = reader.until(ARRIVAL_TIMEOUT, |facts| ids(facts).contains(&last));
    assert_no_gap(&facts, last);
    let entered =
        facts.iter().find(|fact| fact["serial"] == BEFORE[0]).expect("the first meter's facts came");
    assert_eq!(entered["gateway"].as_str().map(str::len), Some(16), "{entered:#}");
    assert!(reader.topics().iter().all(|topic| topic.starts_with("north/one/")), "{:?}", reader.topics());
}

#[test]
fn mosquitto_that_does_not_allow_it_leaves_the_facts_here_and_is_named() {
    // Version 3.1.1 of the protocol could not tell: the broker acknowledges what it throws away.
    let broker = Mosquitto::start(Some("topic read #"));
    let gateway = GatewayProcess::start_with(|_| {
        format!("[[sink]]\nname = \"utility\"\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port())
    });
    enter_meters(&gateway, &BEFORE);
    let sink = until("the refusal is shown", &gateway, |sink| !sink["problem"].is_null());
    assert_eq!(sink["problem"], "the broker does not take facts: NotAuthorized", "{}", broker.said());
    assert_eq!(sink["delivered_id"], 0);
}

#[test]
fn mosquitto_is_spoken_to_over_tls_when_its_certificate_is_of_the_authority_named_and_not_otherwise() {
    let folder = Folder::new("certificates");
    let (ours, other) = (certificates(&folder, "ours"), certificates(&folder, "other"));
    let broker = Mosquitto::start_tls(&ours);
    let port = broker.port();
    let sink = |authority: &str| {
        format!(
            "[[sink]]\nname = \"utility\"\nurl = \"mqtts://localhost:{port}\"\nca_file = \"{authority}\"\n"
        )
    };
    let gateway = GatewayProcess::start_with(|_| sink(&ours.authority));
    enter_meters(&gateway, &BEFORE[..1]);
    until_all_delivered(&gateway, 1);
    drop(gateway);

    let mistaken = GatewayProcess::start_with(|_| sink(&other.authority));
    enter_meters(&mistaken, &BEFORE[..1]);
    let sink = until("the certificate is refused", &mistaken, |sink| !sink["problem"].is_null());
    assert!(sink["problem"].as_str().is_some_and(|said| said.contains("certificate")), "{sink:#}");
    assert_eq!(sink["delivered_id"], 0);
}

#[test]
fn nats_stores_every_fact_once_through_a_restart_of_the_server_and_a_kill_of_the_gateway() {
    let mut server = NatsServer::start();
    // A short memory for duplicates: what is not asked for after a break would be stored again.
    NatsWire::connect(server.port()).request(
        "$JS.API.STREAM.CREATE.facts",
        r#"{"name":"facts","subjects":["one.>"],"storage":"file","retention":"limits","duplicate_window":1000000000}"#,
    );
    let mut gateway = GatewayProcess::start_with(|_| {
        let port = server.port();
        format!(
            "[[sink]]\nname = \"fleet\"\nurl = \"nats://127.0.0.1:{port}\"\nstream = \"facts\"\nsubject = \"one\"\n"
        )
    });
    enter_meters(&gateway, &BEFORE);
    until_all_delivered(&gateway, 2);

    server.stop();
    enter_meters(&gateway, &DURING);
    until("the sink has a problem", &gateway, |sink| !sink["problem"].is_null());
    gateway.kill();
    gateway.start_again();
    server.start_again();
    until_all_delivered(&gateway, 4);

    // A kill between the server's acknowledgement and ours: the store forgets how far it had got.
    gateway.kill();
    forget_the_place(&gateway);
    gateway.start_again();
    enter_meters(&gateway, &["01000000057"]);
    let last = until_all_delivered(&gateway, 5);
    let stored = NatsWire::connect(server.port()).stored("facts");
    assert_each_once(&ids(&stored), last);
}

/// What the store would say had the kill come before the place was written.
fn forget_the_place(gateway: &GatewayProcess) {
    let store = gateway.folder().path().join("store.db");
    let said = std::process::Command::new("python3")
        .args(["-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('UPDATE sink SET delivered_id=1'); c.commit()"])
        .arg(store)
        .status()
        .expect("python3 is there for the peers already");
    assert!(said.success());
}

#[test]
fn a_webhook_is_posted_again_until_it_says_yes_and_can_check_who_posted() {
    let hook = Hook::start(&[503, 500]);
    let gateway = GatewayProcess::start_with(|folder| {
        folder.file("hook.secret", Hook::SECRET);
        format!("[[sink]]\nname = \"hook\"\nurl = \"{}\"\nsecret_file = \"hook.secret\"\n", hook.url())
    });
    enter_meters(&gateway, &BEFORE);
    let last = until_all_delivered(&gateway, 2);
    let posts = hook.posts();
    assert!(posts.iter().all(|post| post.signed), "every post is signed");
    assert_eq!(posts[0].key, posts[1].key, "the same facts have the same key when posted again");
    let taken: Vec<Value> =
        posts.iter().filter(|post| post.answered == 200).flat_map(|post| post.facts.clone()).collect();
    assert_each_once(&ids(&taken), last);
}
