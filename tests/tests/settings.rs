//! What is given to meters by the command line, and what stands in the way: a calendar to come, a limit that ends by itself, and a
//! tamper condition that is cleared when somebody has looked and nothing of it lasts.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::{GatewayProcess, Street};

const WITHIN: Duration = Duration::from_secs(90);

struct Scene {
    street: Street,
    gateway: GatewayProcess,
    serial: String,
}

impl Scene {
    fn start() -> Self {
        let street = Street::start(1, "wrapper", &[]);
        let gateway = GatewayProcess::start();
        let serial = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
        gateway.add_meter(&serial, &format!("{}:{}", street.host(1), street.port), "wrapper");
        gateway.until_commissioned(&serial);
        Self { street, gateway, serial }
    }

    /// The rows of the meter's event log, as an engineer reads them.
    fn rows(&self) -> String {
        let rows = json!({"class_id": 7, "name": "0.0.99.98.0.255", "index": 7}).to_string();
        let said = self.gateway.must(&["order", "get", &self.serial, "--parameters", &rows]);
        let value = said.split_once("DoubleLongUnsigned(").expect("a number of rows").1;
        value.split(')').next().expect("a number").to_owned()
    }

    /// Has something done that the meter puts into its log when it comes to it.
    fn logged(&self, act: impl FnOnce()) {
        let (before, deadline) = (self.rows(), Instant::now() + WITHIN);
        act();
        while self.rows() == before {
            assert!(Instant::now() < deadline, "a row of the log in time");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The newest command, whole.
    fn newest(&self) -> Value {
        let commands = self.gateway.get("/commands?limit=1");
        self.gateway.get(&format!("/commands/{}", commands[0]["id"]))
    }
}

#[test]
fn a_tamper_condition_is_cleared_with_its_evidence_when_somebody_has_looked_and_nothing_of_it_lasts() {
    let scene = Scene::start();
    let (gateway, serial) = (&scene.gateway, scene.serial.as_str());
    let clear = |by| {
        let found = ["--case", "T-7", "--confirmed-by", by, "--text", "seal broken by builders, sealed anew"];
        gateway.run(&[["clear-tamper", serial].as_slice(), &found].concat())
    };
    let (code, said) = clear("admin");
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("confirmed by another person"), "{said}");
    let (code, said) = clear(" ");
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("an alarm is a suspicion"), "{said}");

    scene.logged(|| drop(scene.street.act("/meters/1/faults", &json!({"fault": "cover_open"}))));
    let (code, said) = clear("inspector Bo");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it lasts: Cover opened"), "{said}");
    scene.logged(|| drop(scene.street.delete("/meters/1/faults/cover_open")));
    let (code, said) = clear("inspector Bo");
    assert_eq!(code, Some(0), "{said}");
    let command = scene.newest();
    assert_eq!(
        (&command["kind"], &command["state"], &command["case_id"], &command["confirmed_by"]),
        (&json!("clear_tamper"), &json!("verified"), &json!("T-7"), &json!("inspector Bo")),
        "{command:#}"
    );
    let evidence = command["steps"].to_string();
    for sign in ["Cover opened", "Cover closed", "the meter accepted the token"] {
        assert!(evidence.contains(sign), "{sign}: {command:#}");
    }
}

#[test]
fn a_limit_ends_by_itself_and_a_calendar_is_verified_when_its_time_has_come() {
    let scene = Scene::start();
    let (gateway, serial) = (&scene.gateway, scene.serial.as_str());
    let (code, said) = gateway.run(&["limit-load", serial, "2000", "--until", "2020-01-01T00:00:00Z"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is over"), "{said}");
    let said = gateway.must(&["limit-load", serial, "2000", "--until", "2090-01-01T00:00:00Z"]);
    assert!(said.contains("applies now: true"), "{said}");

    let day = |rate: u8| json!([{"from_minute": 0, "rate": rate}]);
    let tariff = json!({
        "tariff": {
            "steps": [{"up_to_kwh": 0, "price": 250}], "rates": [300, 120], "days": [day(0)],
            "week": [0, 0, 0, 0, 0, 0, 0], "special_days": [],
        },
        "activate_at": "2090-01-01T00:00:00Z",
    });
    gateway.must(&["order", "set_tariff", serial, "--parameters", &tariff.to_string()]);
    let calendar = |week: &str, activate_at: Option<&str>| {
        json!({
            "days": [{"id": 1, "switches": [{"from_minute": 0, "script": 2}, {"from_minute": 360, "script": 1}]}],
            "weeks": [{"name": "1", "days": [1, 1, 1, 1, 1, 1, 1]}],
            "seasons": [{"name": "1", "month": 1, "day": 1, "week": week}],
            "special_days": [{"month": 12, "day": 25, "day_id": 1}],
            "activate_at": activate_at,
        })
        .to_string()
    };
    let give = |calendar: &str| gateway.run(&["order", "set_calendar", serial, "--parameters", calendar]);
    let (code, said) = give(&calendar("2", None));
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("there are none"), "{said}");
    let (code, said) = give(&calendar("1", Some("2090-01-01T00:00:00Z")));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("it is verified when its time has come"), "{said}");
    let waiting = scene.newest();
    assert_eq!(waiting["state"], "accepted", "{waiting:#}");
    // It holds nothing up: the same calendar at once goes before it, and so does what is read meanwhile.
    gateway.must(&["read", serial]);
    let (code, said) = give(&calendar("1", None));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("it is in force"), "{said}");
}
