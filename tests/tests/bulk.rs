//! A whole street is disconnected and reconnected at the command line: looked at first, started by the number of what was looked
//! at, with the gateway killed in between.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tests::{GatewayProcess, Process, Street};

const METERS: usize = 8;
const EX_DATA: i32 = 65;
const OVER_WITHIN: Duration = Duration::from_secs(120);

struct Scene {
    street: Street,
    gateway: GatewayProcess,
    serials: Vec<String>,
}

impl Scene {
    fn start() -> Self {
        let street = Street::start(METERS as u32, "wrapper", &[]);
        let gateway = GatewayProcess::start();
        let serials: Vec<String> = (1..=METERS)
            .map(|number| street.meter(number)["serial"].as_str().expect("a serial number").to_owned())
            .collect();
        for (at, serial) in serials.iter().enumerate() {
            gateway.add_meter(serial, &format!("{}:{}", street.host(at + 1), street.port), "wrapper");
        }
        for serial in &serials {
            gateway.until_commissioned(serial);
        }
        Self { street, gateway, serials }
    }

    fn closed(&self) -> usize {
        (1..=METERS)
            .filter(|number| self.street.look(&format!("/meters/{number}"))["contact_closed"] == true)
            .count()
    }

    /// The id of a preview, from the line that says how it is started.
    fn id_of(said: &str) -> String {
        let line = said.lines().last().unwrap_or_default();
        line.rsplit(' ').next().expect("a line has a last word").to_owned()
    }

    fn until_done(&self, id: &str) -> Value {
        let deadline = Instant::now() + OVER_WITHIN;
        loop {
            let bulk = self.gateway.get(&format!("/bulk-commands/{id}"));
            if bulk["state"] == "done" {
                return bulk;
            }
            assert!(Instant::now() < deadline, "{bulk:#}\n{}", self.gateway.process.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn commands(&self) -> BTreeMap<String, usize> {
        let commands = self.gateway.get("/commands?limit=1000");
        let mut counts = BTreeMap::new();
        for command in commands.as_array().expect("a list") {
            *counts.entry(command["kind"].as_str().expect("a kind").to_owned()).or_default() += 1;
        }
        counts
    }
}

#[test]
fn a_street_is_disconnected_over_a_kill_and_reconnected_as_it_was_previewed() {
    let mut scene = Scene::start();
    let gateway = &scene.gateway;
    let planned = ["bulk", "preview", "disconnect", "--reason", "planned", "--text", "work on the feeder"];
    let said = gateway.must(&planned);
    assert!(said.contains("is excluded: notice: no notice of a disconnection for planned"), "{said}");
    assert!(said.contains(&format!("0 meters take part, {METERS} are excluded")), "{said}");
    let (code, said) = gateway.run(&["bulk", "start", &Scene::id_of(&said)]);
    assert_eq!(code, Some(EX_DATA), "{said}");
    assert!(said.contains("no meter would take part"), "{said}");

    let fault =
        ["bulk", "preview", "disconnect", "--reason", "fault", "--text", "a pole is down", "--at-once", "2"];
    let said = gateway.must(&[fault.as_slice(), &["--per-minute", "120"]].concat());
    assert!(said.contains(&format!("{METERS} meters take part, 0 are excluded")), "{said}");
    assert_eq!(scene.closed(), METERS, "a preview switches nobody");
    let id = Scene::id_of(&said);
    gateway.must(&["bulk", "start", &id]);
    let deadline = Instant::now() + OVER_WITHIN;
    while scene.closed() == METERS {
        assert!(Instant::now() < deadline, "{}", gateway.process.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.gateway.kill();
    scene.gateway.start_again();
    let done = scene.until_done(&id);
    assert_eq!(done["meters"], json!({"done": METERS}), "{done:#}");
    assert_eq!(scene.closed(), 0);
    assert_eq!(scene.commands()["disconnect"], METERS, "each meter was told once");

    // Somebody's supply came back meanwhile: what was looked at is not what would run.
    let again = ["bulk", "preview", "reconnect", "--reason", "fault", "--text", "the pole stands"];
    let said = scene.gateway.must(&again);
    let stale = Scene::id_of(&said);
    scene.gateway.must(&["reconnect", &scene.serials[0]]);
    let (code, said) = scene.gateway.run(&["bulk", "start", &stale]);
    assert_eq!(code, Some(EX_DATA), "{said}");
    assert!(said.contains("takes no part any more: its supply is on already"), "{said}");
    let said = scene.gateway.must(&again);
    let id = Scene::id_of(&said);
    scene.gateway.must(&["bulk", "start", &id]);
    let done = scene.until_done(&id);
    assert_eq!(done["meters"], json!({"done": METERS - 1, "excluded": 1}), "{done:#}");
    assert_eq!(scene.closed(), METERS);
    let shown = scene.gateway.must(&["bulk", "show", &id]);
    assert!(shown.contains("done, newest verified: read back"), "{shown}");
}

#[test]
fn n05_a_relay_test_of_a_street_that_is_killed_while_relays_are_open_leaves_nobody_in_the_dark() {
    let mut scene = Scene::start();
    // Two relays open, and nobody hears of it in time.
    let held = json!({"fault": "late_answer", "on": "relay_moved", "delay_ms": 60_000, "meters": [1, 2]});
    scene.street.act("/faults", &held);
    let said = scene.gateway.must(&[
        "bulk",
        "preview",
        "test_relay",
        "--text",
        "the yearly test",
        "--parameters",
        r#"{"consent": "the street was told by letter"}"#,
    ]);
    assert!(said.contains(&format!("{METERS} meters take part, 0 are excluded")), "{said}");
    let id = Scene::id_of(&said);
    scene.gateway.must(&["bulk", "start", &id]);
    let deadline = Instant::now() + OVER_WITHIN;
    let open = |number: usize| scene.street.look(&format!("/meters/{number}"))["contact_closed"] == false;
    let others_done = || scene.gateway.get(&format!("/bulk-commands/{id}"))["meters"]["done"] == METERS - 2;
    while !(open(1) && open(2) && others_done()) {
        assert!(Instant::now() < deadline, "{}", scene.gateway.process.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.gateway.kill();
    assert!(open(1) && open(2), "in the dark");
    scene.gateway.start_again();
    let done = scene.until_done(&id);
    assert_eq!(scene.closed(), METERS, "{done:#}");
    assert_eq!(scene.commands()["test_relay"], METERS, "nobody was tested again");
    for serial in &scene.serials[..2] {
        let explained = scene.gateway.get(&format!("/commands?serial={serial}"))[0].clone();
        assert_eq!((&explained["kind"], &explained["state"]), (&json!("test_relay"), &json!("rejected")));
        let outcome = explained["outcome"].as_str().unwrap_or_default();
        assert!(outcome.starts_with("the test was cut, and supply brought back"), "{explained:#}");
    }
    let verified = scene.gateway.get("/commands?limit=1000");
    let verified = verified
        .as_array()
        .expect("a list")
        .iter()
        .filter(|command| command["kind"] == "test_relay" && command["state"] == "verified");
    assert_eq!(verified.count(), METERS - 2, "{done:#}");
}

#[test]
fn a_limit_for_many_is_stopped_and_what_was_not_sent_is_taken_back() {
    let scene = Scene::start();
    let gateway = &scene.gateway;
    let limit =
        ["bulk", "preview", "limit_load", "--limit-w", "3000", "--text", "shortage", "--at-once", "1"];
    let said = gateway.must(&[limit.as_slice(), &["--per-minute", "30"]].concat());
    let id = Scene::id_of(&said);
    gateway.must(&["bulk", "start", &id]);
    let deadline = Instant::now() + OVER_WITHIN;
    while gateway.get(&format!("/bulk-commands/{id}"))["meters"]["done"].as_u64() < Some(2) {
        assert!(Instant::now() < deadline, "{}", gateway.process.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    let stopped = gateway.must(&["bulk", "stop", &id]);
    assert!(stopped.contains("stopped"), "{stopped}");
    let (done, left) = loop {
        let bulk = gateway.get(&format!("/bulk-commands/{id}"));
        let count = |progress: &str| bulk["meters"][progress].as_u64().unwrap_or(0);
        if count("on_the_way") == 0 {
            break (count("done"), count("stopped"));
        }
        assert!(Instant::now() < deadline, "{bulk:#}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(done + left, METERS as u64);
    assert!(left >= 3, "{done} done, {left} left as they were");
    let (code, said) = gateway.run(&["bulk", "resume", &id]);
    assert_eq!(code, Some(EX_DATA), "{said}");

    let second = gateway.post("/api-tokens", &json!({"name": "chief", "scopes": ["operate", "read"]}));
    let mut approve = gateway.command(&["bulk", "approve", &id]);
    approve.env("METER_GATEWAY_TOKEN", second["token"].as_str().expect("the new token"));
    let (code, said) = Process::start(&mut approve).finish(Duration::from_secs(30));
    assert_eq!(code, Some(EX_DATA), "it waits for nobody: {said}");

    gateway.must(&["limit-load", &scene.serials[0], "5000", "--over-s", "30"]);
    gateway.must(&["set-clock", &scene.serials[0]]);
    let (code, said) = gateway.run(&["limit-load", &scene.serials[0], "100"]);
    assert_eq!(code, Some(EX_DATA), "{said}");
    assert!(said.contains("that is a disconnection, which has its own guards"), "{said}");
}
