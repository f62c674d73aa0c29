//! Commands as messages: each is recorded once, through restarts of the server, lost acknowledgements and kills of the gateway, and
//! only for those who have the key.

use super::ack_thief::AckThief;
use super::brokers::NatsServer;
use super::nats_wire::{NatsWire, Reply};
use super::{ARRIVAL_TIMEOUT, enter_meters, until_all_delivered};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::GatewayProcess;

/// The shortest time for which a server can remember ids.
const FORGETS_AFTER: Duration = Duration::from_millis(100);
const METER: &str = "01000000016";
const DISPATCHER: (&str, &str) = ("dispatcher", "the dispatcher's own secret");
const AUDITOR: (&str, &str) = ("auditor", "what the auditor signs with");

/// A gateway that takes commands of a dispatcher, and of an auditor who may look only, over the server's port or another way to it;
/// its facts go to the server.
fn gateway(server: &NatsServer, way: u16) -> GatewayProcess {
    GatewayProcess::start_with(|folder| {
        folder.file("dispatcher.secret", DISPATCHER.1);
        folder.file("auditor.secret", AUDITOR.1);
        let port = server.port();
        format!(
            "[[sink]]\nname = \"fleet\"\nurl = \"nats://127.0.0.1:{port}\"\nstream = \"facts\"\nsubject = \"facts\"\n{}",
            inbox(way, "")
        )
    })
}

fn inbox(port: u16, more: &str) -> String {
    format!(
        "[[inbox]]\nname = \"control\"\nurl = \"nats://127.0.0.1:{port}\"\nstream = \"orders\"\nsubject = \"orders\"\n\
         replies = \"answers\"\nack_wait_s = 2\n{more}\
         [[inbox.principal]]\nname = \"dispatcher\"\nscopes = [\"operate\"]\nsecret_file = \"dispatcher.secret\"\n\
         [[inbox.principal]]\nname = \"auditor\"\nscopes = [\"read\"]\nsecret_file = \"auditor.secret\"\n"
    )
}

/// Who sends, and to whom.
struct Sender {
    wire: NatsWire,
    subject: String,
}

impl Sender {
    /// Connects when the gateway has made its stream, and listens to its answers.
    fn new(server: &NatsServer, gateway: &GatewayProcess) -> Self {
        let mut wire = NatsWire::connect(server.port());
        wire.subscribe("answers.>");
        let title = gateway.get("/status")["gateway"].as_str().expect("it says who it is").to_owned();
        let deadline = Instant::now() + ARRIVAL_TIMEOUT;
        let consumer = format!("$JS.API.CONSUMER.INFO.orders.control-{title}");
        while wire.try_request(&consumer, "").is_err() {
            assert!(Instant::now() < deadline, "no consumer\n{}", gateway.process.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        Self { wire, subject: format!("orders.{title}") }
    }

    fn send(&mut self, (name, secret): (&str, &str), id: &str, not_after: &str, body: &str) {
        let text = format!("COMMAND\n{}\n{name}\n{id}\n{not_after}\n{body}", self.subject);
        let signature = format!("v1={}", hmac(secret, &text));
        self.send_signed(name, id, not_after, &signature, body);
    }

    fn send_signed(&mut self, name: &str, id: &str, not_after: &str, signature: &str, body: &str) {
        let headers = [
            ("Nats-Msg-Id", id),
            ("X-Principal", name),
            ("X-Not-After", not_after),
            ("X-Signature", signature),
        ];
        self.wire.publish(&self.subject, &headers, body);
    }

    fn answer(&mut self, id: &str) -> Reply {
        let answer = self.wire.reply(ARRIVAL_TIMEOUT);
        assert_eq!(answer.headers.get("X-In-Reply-To").map(String::as_str), Some(id), "{answer:?}");
        assert_eq!(answer.body["message_id"], id);
        answer
    }
}

/// HMAC-SHA-256 by another implementation.
fn hmac(secret: &str, text: &str) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is there");
    openssl.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let said = openssl.wait_with_output().expect("it ends").stdout;
    let said = String::from_utf8(said).expect("hexadecimal digits");
    said.trim().rsplit(' ').next().expect("a tag").to_owned()
}

fn in_an_hour() -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string()
}

fn read_of(serial: &str) -> String {
    json!({"serial": serial, "kind": "read"}).to_string()
}

/// Commands that came as messages: commissioning is the gateway's own.
fn commands(gateway: &GatewayProcess) -> Vec<Value> {
    let all = gateway.get("/commands?limit=100");
    all.as_array().expect("a list").iter().filter(|one| one["kind"] != "commission").cloned().collect()
}

/// The facts of a kind, as the server has them.
fn facts(server: &NatsServer, gateway: &GatewayProcess, kind: &str) -> Vec<Value> {
    until_all_delivered(gateway, 1);
    let all = NatsWire::connect(server.port()).stored("facts");
    all.into_iter().filter(|fact| fact["kind"] == kind).collect()
}

/// Waits until the inbox is so.
fn until_inbox(gateway: &GatewayProcess, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + ARRIVAL_TIMEOUT;
    loop {
        let inbox = gateway.get("/inboxes")[0].clone();
        if is_so(&inbox) {
            return inbox;
        }
        assert!(Instant::now() < deadline, "{inbox:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_signed_message_is_a_command_and_what_is_wrong_with_others_is_said_once() {
    let server = NatsServer::start();
    // A server drops what has an id that it saw in the last two minutes: this one forgets at once, so that the gateway hears it.
    let stream = json!({"name": "orders", "subjects": ["orders.>"], "duplicate_window": FORGETS_AFTER.as_nanos() as u64});
    let made = NatsWire::connect(server.port()).request("$JS.API.STREAM.CREATE.orders", &stream.to_string());
    assert!(made["error"].is_null(), "{made:#}");
    let gateway = gateway(&server, server.port());
    enter_meters(&gateway, &[METER]);
    let mut sender = Sender::new(&server, &gateway);
    let until = in_an_hour();
    sender.send(DISPATCHER, "m-1", &until, &read_of(METER));
    let taken = sender.answer("m-1");
    assert_eq!(
        (&taken.body["status"], &taken.body["answer"]["serial"]),
        (&json!(202), &json!(METER)),
        "{taken:?}"
    );
    let recorded = commands(&gateway);
    assert_eq!((recorded.len(), &recorded[0]["actor"]), (1, &json!("dispatcher")));
    assert_eq!(recorded[0]["id"], taken.body["answer"]["id"]);
    let limit = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
    let not_after = limit(recorded[0]["not_after"].as_str().expect("it has a limit"));
    assert!(not_after <= limit(&until), "{recorded:?}");

    // Guards hold: a protected reason without what it needs is refused, and a case needs its second person.
    let arrears = json!({"serial": METER, "kind": "disconnect", "reason": "arrears"}).to_string();
    sender.send(DISPATCHER, "m-2", &until, &arrears);
    let guarded = sender.answer("m-2");
    assert_eq!(guarded.body["status"], 422, "{guarded:?}");
    assert_eq!(guarded.body["answer"]["type"], "/problems/guards-not-satisfied");
    assert!(!guarded.body["answer"]["unmet"].as_array().expect("a list").is_empty());

    // Roles hold; what is no command is none; its time is over, or is far ahead, or is no time.
    let far = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30)).to_string();
    for (id, who, not_after, body, status, problem) in [
        ("m-3", AUDITOR, until.as_str(), read_of(METER), 403, "missing-scope"),
        ("m-4", DISPATCHER, until.as_str(), "{\"serial\":".to_owned(), 400, "malformed-request"),
        ("m-5", DISPATCHER, until.as_str(), read_of("01000000099"), 404, "unknown-meter"),
        ("m-6", DISPATCHER, "2020-01-01T00:00:00Z", read_of(METER), 410, "expired"),
        ("m-7", DISPATCHER, far.as_str(), read_of(METER), 422, "too-far-ahead"),
        ("m-8", DISPATCHER, "soon", read_of(METER), 400, "malformed-request"),
        ("m-1", DISPATCHER, until.as_str(), arrears.clone(), 409, "id-used"),
    ] {
        std::thread::sleep(FORGETS_AFTER);
        sender.send(who, id, not_after, &body);
        let answer = sender.answer(id);
        assert_eq!(answer.body["status"], status, "{id}: {answer:?}");
        assert_eq!(answer.body["answer"]["type"], format!("/problems/{problem}"));
    }
    // Who does not have the key gets no answer, and the gateway tells that there was somebody.
    let body = json!({"serial": METER, "kind": "disconnect", "reason": "fault"}).to_string();
    let good = hmac(AUDITOR.1, &format!("COMMAND\n{}\nauditor\nm-9\n{until}\n{body}", sender.subject));
    sender.send_signed("dispatcher", "m-9", &until, &format!("v1={good}"), &body);
    sender.send(("nobody", "x"), "m-10", &until, &body);
    let subject = sender.subject.clone();
    sender.wire.publish(&subject, &[], &body);
    sender.send(DISPATCHER, "m-11", &until, &read_of(METER));
    assert_eq!(sender.answer("m-11").body["status"], 202, "the next answer is to the next good message");

    assert_eq!(commands(&gateway).len(), 2, "{:?}", commands(&gateway));
    let told = facts(&server, &gateway, "command_message");
    let ids: Vec<&str> = told.iter().filter_map(|event| event["detail"]["message_id"].as_str()).collect();
    assert_eq!(ids, ["m-1", "m-2", "m-3", "m-4", "m-5", "m-6", "m-7", "m-8", "m-11"], "{told:?}");
    assert!(!facts(&server, &gateway, "command_message_refused").is_empty());
    let inbox = until_inbox(&gateway, |inbox| inbox["answered"] == 10);
    assert_eq!((&inbox["name"], &inbox["problem"]), (&json!("control"), &Value::Null), "{inbox}");
    // Nine answers and the one to an id that was used; three that nobody known signed, and that one is counted with them.
    assert_eq!(inbox["refused"], 4, "{inbox}");
    assert!(inbox["taking_since"].is_string() && inbox["answered_at"].is_string(), "{inbox}");
    // Nothing is left to be delivered again: neither what was taken nor what was refused.
    let title = sender.subject.rsplit('.').next().expect("a title").to_owned();
    let deadline = Instant::now() + ARRIVAL_TIMEOUT;
    loop {
        let info = sender.wire.request(&format!("$JS.API.CONSUMER.INFO.orders.control-{title}"), "");
        if info["num_ack_pending"] == 0 && info["num_pending"] == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{info:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn messages_are_taken_once_each_through_a_restart_of_the_server_and_of_the_gateway() {
    let mut server = NatsServer::start();
    let mut gateway = gateway(&server, server.port());
    enter_meters(&gateway, &[METER]);
    let until = in_an_hour();
    {
        let mut sender = Sender::new(&server, &gateway);
        for id in ["a-1", "a-2"] {
            sender.send(DISPATCHER, id, &until, &read_of(METER));
            assert_eq!(sender.answer(id).body["status"], 202);
        }
    }
    server.stop();
    let away = until_inbox(&gateway, |inbox| inbox["problem"].is_string());
    assert!(away["taking_since"].is_null() && away["problem_at"].is_string(), "{away}");
    server.start_again();
    {
        let mut sender = Sender::new(&server, &gateway);
        sender.send(DISPATCHER, "a-3", &until, &read_of(METER));
        assert_eq!(sender.answer("a-3").body["status"], 202);
        let _ = until_inbox(&gateway, |inbox| inbox["problem"].is_null() && inbox["answered"] == 3);
        // Sent while the gateway is dead: one waits for it, the time of the other is over when it is back.
        gateway.kill();
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
        sender.send(DISPATCHER, "a-4", &until, &read_of(METER));
        sender.send(DISPATCHER, "a-5", &soon.to_string(), &read_of(METER));
        std::thread::sleep(Duration::from_secs(2));
        gateway.start_again();
        assert_eq!(sender.answer("a-4").body["status"], 202);
        let expired = sender.answer("a-5");
        assert_eq!(
            (&expired.body["status"], &expired.body["answer"]["type"]),
            (&json!(410), &json!("/problems/expired"))
        );
    }
    assert_eq!(commands(&gateway).len(), 4);
    let told = facts(&server, &gateway, "command_message");
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(told[4]["detail"]["status"], 410, "{told:?}");
}

#[test]
fn a_message_whose_acknowledgement_is_lost_is_answered_again_and_not_done_again() {
    let server = NatsServer::start();
    let thief = AckThief::start(server.port());
    let gateway = gateway(&server, thief.port());
    enter_meters(&gateway, &[METER]);
    let mut sender = Sender::new(&server, &gateway);
    thief.steal(true);
    sender.send(DISPATCHER, "l-1", &in_an_hour(), &read_of(METER));
    let first = sender.answer("l-1");
    assert!(!first.headers.contains_key("X-Replayed"), "{first:?}");
    let second = sender.answer("l-1");
    assert_eq!(second.headers.get("X-Replayed").map(String::as_str), Some("true"), "{second:?}");
    assert_eq!(first.body, second.body);
    assert!(thief.stolen() >= 1);
    thief.steal(false);
    assert_eq!(commands(&gateway).len(), 1);
    assert_eq!(facts(&server, &gateway, "command_message").len(), 1);
}

#[test]
fn a_gateway_killed_between_recording_and_acknowledging_does_it_once() {
    let server = NatsServer::start();
    let thief = AckThief::start(server.port());
    let mut gateway = gateway(&server, thief.port());
    enter_meters(&gateway, &[METER]);
    let mut sender = Sender::new(&server, &gateway);
    for round in 1..=3 {
        thief.steal(true);
        let (id, before) = (format!("k-{round}"), thief.stolen());
        let body = json!({"serial": METER, "kind": "reconnect"}).to_string();
        sender.send(DISPATCHER, &id, &in_an_hour(), &body);
        let first = sender.answer(&id);
        let deadline = Instant::now() + ARRIVAL_TIMEOUT;
        while thief.stolen() == before {
            assert!(Instant::now() < deadline, "it is recorded, and about to be acknowledged");
            std::thread::sleep(Duration::from_millis(10));
        }
        gateway.kill();
        thief.steal(false);
        gateway.start_again();
        let again = sender.answer(&id);
        assert_eq!(again.headers.get("X-Replayed").map(String::as_str), Some("true"), "{again:?}");
        assert_eq!(first.body, again.body);
        assert_eq!(commands(&gateway).len(), round);
    }
    assert_eq!(facts(&server, &gateway, "command_message").len(), 3);
}

#[test]
fn an_inbox_comes_and_goes_with_the_configuration_and_a_wrong_one_is_refused_with_its_line() {
    let server = NatsServer::start();
    let gateway = GatewayProcess::start_with(|folder| {
        folder.file("dispatcher.secret", DISPATCHER.1);
        folder.file("auditor.secret", AUDITOR.1);
        String::new()
    });
    enter_meters(&gateway, &[METER]);
    let path = gateway.folder().path().join("gateway.toml");
    let without = std::fs::read_to_string(&path).expect("its configuration");
    std::fs::write(&path, format!("{without}{}", inbox(server.port(), "colour = \"red\"\n")))
        .expect("written");
    let (code, said) = gateway.run(&["check-config", "--config", path.to_str().expect("text")]);
    assert!(code != Some(0) && said.contains("colour") && said.contains("gateway.toml:"), "{said}");
    std::fs::write(&path, format!("{without}{}", inbox(server.port(), ""))).expect("written");
    let reloaded = gateway.post("/configuration/reload", &json!({}));
    assert_eq!((&reloaded["taken"], &reloaded["said"]), (&json!(true), &json!("inbox \"control\" added")));
    let mut sender = Sender::new(&server, &gateway);
    sender.send(DISPATCHER, "r-1", &in_an_hour(), &read_of(METER));
    assert_eq!(sender.answer("r-1").body["status"], 202);
    std::fs::write(&path, without).expect("written");
    let gone = gateway.post("/configuration/reload", &json!({}));
    assert_eq!(gone["said"], "inbox \"control\" removed", "{gone}");
    sender.send(DISPATCHER, "r-2", &in_an_hour(), &read_of(METER));
    assert!(sender.wire.try_reply(Duration::from_secs(4)).is_none(), "nobody takes it");
    assert_eq!(commands(&gateway).len(), 1);
}
