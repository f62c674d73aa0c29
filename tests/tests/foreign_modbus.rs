//! Other people's Modbus clients against our Modbus meters: `pymodbus` and `mbpoll` agree with each other and with us, read
//! registers and switch relays, over TCP and on a serial line.

use serde_json::Value;
use std::process::Command;
use std::time::Duration;
use tests::{Process, Street, free_port, peers};

const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// A street with a Modbus TCP server: unit 1 is the feeder's meter, unit 2 the household of meter 3; and with a Modbus RTU line,
/// where unit 1 is meter 2. The street, and the server's port.
fn street_with_modbus() -> (Street, String) {
    let port = free_port().to_string();
    let more =
        ["--modbus-tcp", &format!("127.0.0.1:{port}"), "--modbus-tcp-meters", "1", "--modbus-meters", "1"];
    let street = Street::start(1, "wrapper", &more);
    (street, port)
}

/// The serial device of the street's Modbus line.
fn line_of(street: &Street) -> String {
    street.look("/street")["modbus_line"].as_str().expect("the street has a Modbus line").to_owned()
}

/// Where the contact of a meter really is.
fn contact_closed(street: &Street, number: u32) -> bool {
    street.look(&format!("/meters/{number}"))["contact_closed"].as_bool().expect("a contact")
}

fn pymodbus(arguments: &[&str]) -> Value {
    let client = Process::start(peers::python().arg(peers::script("modbus_client.py")).args(arguments));
    let (code, said) = client.finish(PEER_TIMEOUT);
    assert_eq!(code, Some(0), "{said}");
    said.lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("no JSON in:\n{said}"))
}

/// What `mbpoll` says, once, when it succeeds.
fn mbpoll_says(arguments: &[&str]) -> String {
    let output = Command::new("mbpoll")
        .args(arguments)
        .output()
        .expect("mbpoll is installed: run tests/run --install-only");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Values that `mbpoll` prints as `[17]: 123`.
fn mbpoll(arguments: &[&str]) -> Vec<u64> {
    mbpoll_says(arguments)
        .lines()
        .filter(|line| line.starts_with('['))
        .filter_map(|line| line.split_once(':')?.1.split_whitespace().next()?.parse().ok())
        .collect()
}

#[test]
fn peer_pymodbus_reads_the_feeder_meter_over_tcp() {
    let (_street, port) = street_with_modbus();
    let seen = pymodbus(&["--port", &port, "--unit", "1"]);
    assert!(seen["read"]["import_wh"].as_u64().is_some(), "{seen}");
    assert!(!seen["read"]["serial"].as_str().unwrap_or_default().is_empty(), "{seen}");
    assert_eq!(seen["beyond the map"], 2, "an address beyond the map is an illegal data address: {seen}");
}

#[test]
fn mbpoll_reads_the_same_energy_as_pymodbus() {
    let (_street, port) = street_with_modbus();
    let before = pymodbus(&["--port", &port, "--unit", "1"])["read"]["import_wh"].as_u64().expect("energy");
    // Input registers 16..20, as mbpoll numbers them from 1; one poll, four 16-bit values.
    let words =
        mbpoll(&["-m", "tcp", "-p", &port, "-a", "1", "-t", "3", "-r", "17", "-c", "4", "-1", "127.0.0.1"]);
    let after = pymodbus(&["--port", &port, "--unit", "1"])["read"]["import_wh"].as_u64().expect("energy");
    assert_eq!(words.len(), 4, "{words:?}");
    let energy = words.iter().fold(0, |value, word| value << 16 | (word & 0xFFFF));
    assert!((before..=after).contains(&energy), "{before} <= {energy} <= {after}");
}

/// `mbpoll` writes a coil when a value follows the device; `-t 0` is a coil, `-t 1` a discrete input.
#[test]
fn mbpoll_opens_and_closes_a_relay_over_tcp_and_on_a_serial_line_and_senses_its_contact() {
    let (street, port) = street_with_modbus();
    let line = line_of(&street);
    let over_tcp = (3, vec!["-m", "tcp", "-p", &port, "-a", "2"], "127.0.0.1");
    let on_line = (2, vec!["-m", "rtu", "-b", "9600", "-P", "none", "-a", "1"], line.as_str());
    for (number, way, device) in [over_tcp, on_line] {
        let asks = |kind| [&way[..], &["-t", kind, "-r", "1", "-1", "-o", "3", device]].concat();
        let reads = |kind| mbpoll(&asks(kind));
        assert_eq!(reads("1"), [1], "meter {number} is closed");
        for (value, closed) in [("0", false), ("1", true)] {
            mbpoll_says(&[&asks("0")[..], &[value]].concat());
            assert_eq!(contact_closed(&street, number), closed, "meter {number}");
            assert_eq!(reads("1"), [u64::from(closed)], "its contact, as it is sensed");
            assert_eq!(reads("0"), [u64::from(closed)], "its coil, as it was commanded");
        }
    }
}

#[test]
fn peer_pymodbus_opens_and_closes_a_relay_over_tcp_and_on_a_serial_line() {
    let (street, port) = street_with_modbus();
    let line = line_of(&street);
    let ways = [["--port", port.as_str(), "--unit", "2"], ["--serial", line.as_str(), "--unit", "1"]];
    for way in ways {
        let seen = pymodbus(&[&way[..], &["--switch"]].concat());
        let state = |word: &str| (seen[word]["coil"].as_bool(), seen[word]["contact"].as_bool());
        assert_eq!(state("opened"), (Some(false), Some(false)), "{way:?}: {seen}");
        assert_eq!(state("closed"), (Some(true), Some(true)), "{way:?}: {seen}");
    }
}

#[test]
fn peer_pymodbus_notices_an_answer_with_the_wrong_transaction_number() {
    let (street, port) = street_with_modbus();
    street.act("/meters/3/faults", &serde_json::json!({ "fault": "wrong_transaction", "count": 10 }));
    let mut client = Process::start(
        peers::python().arg(peers::script("modbus_client.py")).args(["--port", &port, "--unit", "2"]),
    );
    let noticed = |line: &str| line.contains("ask for transaction_id=1 but got id=2").then_some(());
    client.expect("pymodbus to notice", PEER_TIMEOUT, noticed);
}
