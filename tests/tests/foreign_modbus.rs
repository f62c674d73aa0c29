//! Other people's Modbus clients against our Modbus meters: `pymodbus` and `mbpoll` agree with each other and with us.

use serde_json::Value;
use std::process::Command;
use std::time::Duration;
use tests::{Process, Street, free_port, peers};

const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// A street with a Modbus TCP feeder meter: the street, and the feeder's port.
fn street_with_feeder() -> (Street, String) {
    let port = free_port().to_string();
    let street = Street::start(1, "wrapper", &["--modbus-tcp", &format!("127.0.0.1:{port}")]);
    (street, port)
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

/// Values that `mbpoll` prints as `[17]: 123`.
fn mbpoll(arguments: &[&str]) -> Vec<u64> {
    let output = Command::new("mbpoll")
        .args(arguments)
        .output()
        .expect("mbpoll is installed: run tests/run --install-only");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines()
        .filter(|line| line.starts_with('['))
        .filter_map(|line| line.split_once(':')?.1.split_whitespace().next()?.parse().ok())
        .collect()
}

#[test]
fn peer_pymodbus_reads_the_feeder_meter_over_tcp() {
    let (_street, port) = street_with_feeder();
    let seen = pymodbus(&["--port", &port, "--unit", "1"]);
    assert!(seen["read"]["import_wh"].as_u64().is_some(), "{seen}");
    assert!(!seen["read"]["serial"].as_str().unwrap_or_default().is_empty(), "{seen}");
    assert_eq!(seen["beyond the map"], 2, "an address beyond the map is an illegal data address: {seen}");
}

#[test]
fn mbpoll_reads_the_same_energy_as_pymodbus() {
    let (_street, port) = street_with_feeder();
    let before = pymodbus(&["--port", &port, "--unit", "1"])["read"]["import_wh"].as_u64().expect("energy");
    // Input registers 16..20, as mbpoll numbers them from 1; one poll, four 16-bit values.
    let words =
        mbpoll(&["-m", "tcp", "-p", &port, "-a", "1", "-t", "3", "-r", "17", "-c", "4", "-1", "127.0.0.1"]);
    let after = pymodbus(&["--port", &port, "--unit", "1"])["read"]["import_wh"].as_u64().expect("energy");
    assert_eq!(words.len(), 4, "{words:?}");
    let energy = words.iter().fold(0, |value, word| value << 16 | (word & 0xFFFF));
    assert!((before..=after).contains(&energy), "{before} <= {energy} <= {after}");
}
