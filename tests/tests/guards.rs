//! A customer in arrears: what the desk has to do, at the command line, before a relay opens.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tests::{GatewayProcess, Street};

const EX_DATA: i32 = 65;
const EX_UNAVAILABLE: i32 = 69;

fn days_ago(days: i64) -> String {
    (Timestamp::now() - SignedDuration::from_hours(24 * days)).to_string()
}

#[test]
fn a_relay_opens_for_arrears_after_two_demands_a_notice_and_a_second_person_and_not_before() {
    let street = Street::start(1, "wrapper", &[]);
    let serial = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
    let gateway = GatewayProcess::start();
    gateway.add_meter(&serial, &format!("{}:{}", street.host(1), street.port), "wrapper");
    gateway.until_commissioned(&serial);

    let arrears = ["disconnect", &serial, "--reason", "arrears"];
    let (code, said) = gateway.run(&arrears);
    assert_eq!(code, Some(EX_DATA), "{said}");
    for missing in ["overdue: no overdue debt is on record", "demands: 0 of 2", "notice: no notice"] {
        assert!(said.contains(missing), "{missing} in {said}");
    }

    let record = |fields: &[&str]| {
        let mut arguments = vec!["notice", "record", &serial, "--way", "letter"];
        arguments.extend(fields);
        gateway.must(&arguments);
    };
    let since = days_ago(60);
    for days in [50, 20] {
        let debt = ["--kind", "demand", "--overdue-since", &since, "--amount-minor", "12000"];
        record(&[debt.as_slice(), &["--delivered-at", &days_ago(days)]].concat());
    }
    let (delivered, from) = (days_ago(5), days_ago(1));
    let cut = ["--kind", "disconnection", "--reason", "arrears", "--effective-from", &from];
    record(&[cut.as_slice(), &["--delivered-at", &delivered, "--reference", "receipt 17"]].concat());
    let (code, said) = gateway.run(&["guards", &serial, "--reason", "arrears"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("second_person: a disconnection for arrears is not one person's decision"),
        "{said}"
    );

    let (code, said) = gateway.run(&arrears);
    assert_eq!(code, Some(EX_UNAVAILABLE), "{said}");
    assert!(said.contains("waits for a second person"), "{said}");
    let commands = gateway.get(&format!("/commands?serial={serial}&limit=1"));
    assert_eq!(commands[0]["state"], "waiting");
    let id = commands[0]["id"].to_string();
    let (_, said) = gateway.run(&["command", "approve", &id]);
    assert!(said.contains("admin asked for it: a second person has to agree"), "{said}");
    assert_eq!(street.look("/meters/1")["contact_closed"], true, "nothing has happened to the customer");

    let chief = gateway.post("/api-tokens", &json!({"name": "chief", "scopes": ["operate", "read"]}));
    let mut approve = gateway.command(&["command", "approve", &id]);
    approve.env("METER_GATEWAY_TOKEN", chief["token"].as_str().expect("the new token"));
    let (code, said) = tests::Process::start(&mut approve).finish(std::time::Duration::from_secs(60));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("approved by chief") && said.contains(" verified"), "{said}");
    assert_eq!(street.look("/meters/1")["contact_closed"], false);
}
