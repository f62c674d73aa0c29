//! What meters say against themselves: a mode that was switched in silence, a welded relay, credit from nowhere. The alarm stays open
//! until evidence or a person closes it.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::{GatewayProcess, Street};

const METERS: usize = 4;
const WITHIN: Duration = Duration::from_secs(90);

struct Scene {
    street: Street,
    gateway: GatewayProcess,
    serials: Vec<String>,
}

impl Scene {
    /// Meters are read every second and audited every two.
    fn start() -> Self {
        let street = Street::start(METERS as u32, "wrapper", &[]);
        let gateway = GatewayProcess::start_with(|_| {
            "[schedule]\nread_interval_s = 1\naudit_interval_s = 2\n".to_owned()
        });
        let serials: Vec<String> = (1..=METERS)
            .map(|number| street.meter(number)["serial"].as_str().expect("a serial number").to_owned())
            .collect();
        for (at, serial) in serials.iter().enumerate() {
            gateway.add_meter(serial, &format!("{}:{}", street.host(at + 1), street.port), "wrapper");
        }
        serials.iter().for_each(|serial| gateway.until_commissioned(serial));
        Self { street, gateway, serials }
    }

    fn open(&self, serial: &str) -> Vec<Value> {
        self.gateway.get(&format!("/alarms?serial={serial}")).as_array().expect("a list").clone()
    }

    fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} in time\n{}", self.gateway.process.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn alarm(&self, serial: &str, kind: &str) -> Value {
        self.until(kind, || self.open(serial).into_iter().find(|alarm| alarm["kind"] == kind))
    }

    fn fault(&self, number: usize, fault: &Value) {
        self.street.act(&format!("/meters/{number}/faults"), fault);
    }
}

#[test]
fn a_mode_switched_in_silence_is_an_alarm_until_it_is_put_right_and_read_back() {
    let scene = Scene::start();
    let serial = &scene.serials[0];
    scene.fault(1, &json!({"fault": "switched_to_postpaid"}));
    let alarm = scene.alarm(serial, "not_prepaid");
    assert!(alarm["detail"].as_str().is_some_and(|detail| detail.contains("not paid for")), "{alarm}");
    let listed = scene.gateway.must(&["alarm", "list"]);
    assert!(listed.contains(&format!("{serial} not_prepaid")) && listed.contains("1 alarms"), "{listed}");

    // A person may say that it is so no more; the next audit knows better.
    let id = alarm["id"].to_string();
    let closed = scene.gateway.must(&["alarm", "close", &id, "--text", "seen to"]);
    assert!(closed.contains("by admin: seen to"), "{closed}");
    let again = scene.alarm(serial, "not_prepaid");
    assert_ne!(again["id"].to_string(), id, "opened anew");
    let (code, said) = scene.gateway.run(&["alarm", "close", &id, "--text", "twice"]);
    assert_eq!(code, Some(65), "{said}");
    let events = scene.gateway.must(&["export", "events", "--format", "json"]);
    let events: Value = serde_json::from_str(&events).expect("an array");
    let alarms = events.as_array().expect("an array").iter().filter(|event| event["kind"] == "alarm").count();
    assert_eq!(alarms, 3, "opened, closed, opened again: each is a fact");
    for serial in &scene.serials[1..] {
        assert!(scene.open(serial).is_empty(), "{serial}: {:?}", scene.open(serial));
    }
}

#[test]
fn a_relay_that_does_not_open_is_an_alarm_until_it_was_seen_open() {
    let scene = Scene::start();
    let serial = &scene.serials[1];
    scene.fault(2, &json!({"fault": "relay_welded", "for": "20s"}));
    let (code, said) = scene.gateway.run(&["disconnect", serial, "--reason", "fault"]);
    assert_eq!(code, Some(1), "{said}");
    let alarm = scene.alarm(serial, "does_not_act");
    assert!(
        alarm["detail"].as_str().is_some_and(|detail| detail.contains("contact is sensed closed")),
        "{alarm}"
    );
    scene.until("the weld to end and the relay to open", || {
        // A relay whose logic is disconnected already is told to connect first.
        let _ = scene.gateway.run(&["reconnect", serial]);
        let (code, _) = scene.gateway.run(&["disconnect", serial, "--reason", "fault"]);
        (code == Some(0)).then_some(())
    });
    scene.until("the alarm to be closed by evidence", || scene.open(serial).is_empty().then_some(()));
    let all = scene.gateway.get(&format!("/alarms?serial={serial}&all=true"));
    assert!(
        all[0]["closed_by"].is_null() && all[0]["closing"].as_str().is_some_and(|line| line.contains("open")),
        "{all}"
    );
}

#[test]
fn a_balance_is_explained_by_what_was_bought_and_used_and_flagged_when_credit_comes_from_elsewhere() {
    let scene = Scene::start();
    let serial = &scene.serials[2];
    let audits = || scene.gateway.get(&format!("/meters/{serial}/balance-audits?limit=1000"));
    let compared = |wanted: &dyn Fn(&Value) -> bool| {
        audits().as_array().expect("a list").iter().find(|audit| wanted(audit)).cloned()
    };
    scene.until("a first audit", || compared(&|_| true));
    let (code, said) = scene.gateway.top_up(serial, "1000");
    assert_eq!(code, Some(0), "{said}");
    let bought = scene.until("an audit with what was bought", || {
        compared(&|audit| audit["accepted_wh"].as_i64().is_some_and(|wh| wh > 0))
    });
    assert!(bought["verdict"].as_str().is_some_and(|line| line.starts_with("explained")), "{bought}");
    assert!(scene.open(serial).is_empty(), "{:?}", scene.open(serial));

    // A token that no gateway sold, typed at the keypad.
    let token = scene.street.token(3, 7_000, 90);
    scene.street.act("/meters/3/keypad", &json!({ "keys": token }));
    let alarm = scene.alarm(serial, "balance_difference");
    let detail = alarm["detail"].as_str().expect("text");
    assert!(detail.starts_with("not explained") && detail.contains("are left over"), "{detail}");
    let flagged = scene.until("the audit that says so", || {
        compared(&|audit| audit["difference_wh"].as_i64().is_some_and(|wh| wh.abs() > 100))
    });
    assert_eq!(flagged["difference_wh"], 7_000, "{flagged}");
}

#[test]
fn load_class_and_plan_come_with_the_import_and_a_shortage_is_answered_at_the_command_line() {
    let street = Street::start(2, "wrapper", &[]);
    let gateway = GatewayProcess::start();
    let serials: Vec<String> = (1..=2)
        .map(|number| street.meter(number)["serial"].as_str().expect("a serial number").to_owned())
        .collect();
    let mut rows = "serial,line,address,model,sgc,ek,ak,load_class,rated_w,plan_w\n".to_owned();
    for (at, load) in ["4,100000,20000", "1,5000,"].into_iter().enumerate() {
        let place = format!("{}:{}", street.host(at + 1), street.port);
        let keys = "000102030405060708090A0B0C0D0E0F,D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF";
        rows += &format!("{},street,{place},reference-dlms,123457,{keys},{load}\n", serials[at]);
    }
    let other = Street::start(3, "wrapper", &[]);
    let unused = other.meter(3)["serial"].as_str().expect("a serial number").to_owned();
    rows += &format!("{unused},street,127.1.0.9:1,reference-dlms,123457,00,00,4,1000,20\n");
    let file = gateway.folder().file("meters.csv", &rows);
    let (code, said) = gateway.run(&["meter", "import", file.to_str().expect("a path of ours is text")]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("plan_w 20 is below 200: that is a disconnection"), "{said}");
    serials.iter().for_each(|serial| gateway.until_commissioned(serial));
    let shown = gateway.get(&format!("/meters/{}", serials[0]));
    assert_eq!(
        (&shown["load_class"], &shown["rated_w"], &shown["plan_w"]),
        (&json!(4), &json!(100_000), &json!(20_000))
    );
    gateway.must(&["read", &serials[1]]);
    let said = gateway.must(&["curtail", "1000", "--text", "a line is down", "--measured-within-s", "60"]);
    assert!(said.contains(&format!("{} is left alone: ", serials[1])), "nobody of class 1 is cut: {said}");
    assert!(said.contains(" W are still missing"), "{said}");
    let (code, said) = gateway.run(&["curtail", "0", "--text", "nothing is missing"]);
    assert_eq!(code, Some(65), "{said}");
}
