//! A street as a whole: the same every time, saved and resumed, and on real connections.
#![expect(clippy::unwrap_used, reason = "a test")]

use simulator::clock::SimClock;
use simulator::fault_entry::{FaultEntry, FaultName};
use simulator::scenario;
use simulator::street::{Street, StreetConfig};
use simulator::vendor::credit_token;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const START_UTC_S: u32 = 1_767_636_000;

/// A directory that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meter-simulator-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const DAY: &str = r#"
[street]
line = 12
modbus = 6
seed = 7
past_rows = 4

[time]
start = 2026-01-05T18:00:00Z

[feeder]
theft = [{ share = "10%", percent = 50 }]

[[fault]]
at = "2h"
for = "30m"
share = "20%"
fault = "power_off"

[[fault]]
at = "5h"
share = "20%"
fault = "power_cut_at_write"
writes = 3

[[fault]]
at = "6h"
for = "1h"
share = "10%"
fault = "hang"

[[fault]]
at = "7h"
meters = [3]
fault = "meter_exchanged"
"#;

/// Digest of the street after a simulated day, in which one token is typed at meter 1.
async fn after_a_day(seed: u64) -> u64 {
    let mut config = scenario::parse(DAY).unwrap();
    config.seed = seed;
    config.clock = SimClock::held_at(START_UTC_S);
    let street = Street::start(config).await.unwrap();
    street.advance(10 * 3_600_000, 60_000);
    let token = credit_token(&street.config().keys, 1, 50, i64::from(START_UTC_S)).unwrap();
    street.meter(1).unwrap().at_panel(|meter| meter.type_token(&token)).unwrap();
    street.advance(14 * 3_600_000, 60_000);
    street.digest()
}

#[tokio::test]
async fn a_day_of_the_same_street_is_the_same_to_the_last_byte_and_of_another_seed_another() {
    let first = after_a_day(7).await;
    assert_eq!(first, after_a_day(7).await);
    assert_ne!(first, after_a_day(8).await);
}

#[tokio::test]
async fn a_street_that_stopped_goes_on_where_it_was() {
    let folder = Folder::new("resume");
    let config = |clock| StreetConfig {
        line_meters: 3,
        modbus_meters: 1,
        clock,
        credit_wh: Some(50_000),
        state: Some(folder.0.clone()),
        ..StreetConfig::default()
    };
    let street = Street::start(config(SimClock::held_at(START_UTC_S))).await.unwrap();
    let token = credit_token(&street.config().keys, 1, 50, i64::from(START_UTC_S)).unwrap();
    street.meter(1).unwrap().at_panel(|meter| meter.type_token(&token)).unwrap();
    let entry = |name| FaultEntry { meters: Some(vec![2]), ..FaultEntry::new(name) };
    street.ask(&entry(FaultName::Silence)).unwrap();
    street.ask(&entry(FaultName::MeterExchanged)).unwrap();
    street.ask(&entry(FaultName::WrappedBuffer)).unwrap();
    street.meter(3).unwrap().set_extra_load_w(5_000);
    street.advance(2 * 3_600_000, 10_000);
    let before: Vec<_> = (1..=4).map(|index| street.truth(index).unwrap()).collect();
    let (feeder, utc_ms) =
        (street.feeder().truth().status.unwrap().import_wh, street.config().clock.utc_ms());
    let second = Street::start(config(SimClock::held_at(START_UTC_S))).await.unwrap_err();
    assert!(format!("{second:#}").contains("is another simulator using it?"), "{second:#}");
    drop(street);

    let street = Street::start(config(SimClock::held_at(START_UTC_S))).await.unwrap();
    assert_eq!(street.config().clock.utc_ms(), utc_ms);
    for (index, before) in (1..).zip(before) {
        let after = street.truth(index).unwrap();
        assert_eq!(after.lives, before.lives + 1, "meter {index} was without power");
        assert_eq!(after.status.unwrap().credit_wh, before.status.unwrap().credit_wh, "meter {index}");
        assert_eq!(after.status.unwrap().import_wh, before.status.unwrap().import_wh, "meter {index}");
    }
    assert_eq!(street.feeder().truth().status.unwrap().import_wh, feeder);
    let faults = street.meter(2).unwrap().faults();
    assert_eq!(faults, [FaultName::Silence, FaultName::MeterExchanged, FaultName::WrappedBuffer]);
    let again = street.meter(1).unwrap().at_panel(|meter| meter.typed(&token).as_str().to_owned()).unwrap();
    assert!(again.contains("used on this meter before"), "{again}");
    street.advance(3_600_000, 10_000);
    let rose_wh = street.truth(3).unwrap().status.unwrap().import_wh;
    drop(street);
    let other = StreetConfig { seed: 2, ..config(SimClock::held_at(START_UTC_S)) };
    let refused = Street::start(other).await.unwrap_err();
    assert!(format!("{refused:#}").contains("the state is of a street with 4 meters, seed 1"), "{refused:#}");
    assert!(rose_wh > 5_000, "the load was on again: {rose_wh}");
}

#[tokio::test]
async fn modbus_meters_that_no_longer_fit_behind_the_feeders_address_are_behind_the_next_one() {
    let config = StreetConfig {
        modbus_tcp_meters: 250,
        modbus_tcp: Some(([127, 0, 0, 1], 0).into()),
        past_rows: 0,
        ..StreetConfig::default()
    };
    let street = Street::start(config).await.unwrap();
    let feeder = street.modbus_tcp().unwrap();
    for (index, server, unit) in [(1, 0, 2), (246, 0, 247), (247, 1, 2), (250, 1, 5)] {
        let entry = &street.roll()[index - 1];
        assert_eq!((entry.server, entry.address.clone()), (Some(server), unit.to_string()), "meter {index}");
        let mut client =
            TcpStream::connect((Ipv4Addr::new(127, 0, 0, 1 + server), feeder.port())).await.unwrap();
        client.write_all(&[0, 1, 0, 0, 0, 6, unit, 4, 0, 0, 0, 8]).await.unwrap();
        let mut answer = [0; 25];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..9 + entry.serial.len()], entry.serial.as_bytes(), "meter {index}");
    }
}

#[tokio::test]
async fn a_single_session_meter_hangs_up_on_the_second_client() {
    let config = StreetConfig { meters: 1, port: 0, past_rows: 0, ..StreetConfig::default() };
    let street = Street::start(config).await.unwrap();
    street.ask(&FaultEntry::new(FaultName::SingleSession)).unwrap();
    let dial = async || TcpStream::connect(("127.1.0.1", street.port())).await.unwrap();
    let hung_up = async |stream: &mut TcpStream| {
        tokio::time::timeout(Duration::from_millis(300), stream.read(&mut [0; 8])).await.is_ok()
    };
    let mut first = dial().await;
    assert!(!hung_up(&mut first).await);
    let mut second = dial().await;
    assert!(hung_up(&mut second).await);
    assert!(!hung_up(&mut first).await, "the first one stays");
}

/// The simulator as a process of its own.
struct Program {
    child: Child,
    control: String,
    /// Kept, so that it can go on talking.
    _lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Program {
    /// Two meters whose state is kept in `folder`.
    fn serve(folder: &Folder) -> Self {
        let state = folder.0.to_str().unwrap();
        Self::start(&["serve", "--meters", "2", "--balance-wh", "1000", "--state", state])
    }

    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_meter-simulator"))
            .args(arguments)
            .args(["--port", "0", "--control", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let control = lines.find_map(|line| line.unwrap().strip_prefix("control at ").map(str::to_owned));
        Self { child, control: control.unwrap(), _lines: lines }
    }

    fn meter(&self) -> serde_json::Value {
        ureq::get(format!("{}/api/meters/1", self.control)).call().unwrap().body_mut().read_json().unwrap()
    }

    fn type_token(&self, token: &str) -> serde_json::Value {
        let keys = serde_json::json!({ "keys": token });
        let mut answer = ureq::post(format!("{}/api/meters/1/keypad", self.control)).send_json(keys).unwrap();
        answer.body_mut().read_json().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_simulator_loses_what_a_power_cut_would_and_no_token() {
    let folder = Folder::new("killed");
    let tokens =
        (0..6).map(|n| credit_token(&Default::default(), 1, 10, i64::from(START_UTC_S) + 60 * n).unwrap());
    let mut taken = 0;
    for token in tokens {
        // Dropped with SIGKILL, in the moment after the display said that the token was accepted.
        let program = Program::serve(&folder);
        assert_eq!(program.meter()["credited_wh"], taken);
        assert_eq!(program.type_token(&token)["accepted"], true);
        drop(program);
        taken += 1_000;
        let program = Program::serve(&folder);
        let meter = program.meter();
        assert_eq!(meter["credited_wh"], taken);
        let credit_wh = meter["credit_wh"].as_i64().unwrap();
        assert!((taken + 900..=taken + 1_000).contains(&credit_wh), "{credit_wh}");
        assert_eq!(program.type_token(&token)["accepted"], false);
    }
}

#[test]
fn a_cases_street_is_served_for_a_person_who_trains_beside_a_gateway() {
    let program = Program::start(&["train", "N01"]);
    let meter = program.meter();
    let credit_wh = meter["credit_wh"].as_i64().unwrap();
    assert!((290..=300).contains(&credit_wh), "{credit_wh}");
}

#[test]
fn a_control_address_for_everybody_has_to_be_asked_for() {
    let output = Command::new(env!("CARGO_BIN_EXE_meter-simulator"))
        .args(["serve", "--meters", "0", "--modbus-meters", "1", "--control", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("add --control-from-anywhere"), "{said}");
}

#[test]
fn a_scenario_that_is_wrong_is_refused_with_file_and_line() {
    let folder = Folder::new("wrong");
    std::fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("wrong.toml");
    std::fs::write(&path, "[street]\nwrapper = 1\nmeters = 3\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_meter-simulator"))
        .args(["serve", "--scenario"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("wrong.toml: line 3: unknown field `meters`, expected one of `wrapper`"), "{said}");
}

/// Every example runs: what it plans happens, and nobody panics.
#[tokio::test]
async fn the_examples_run_for_an_hour() {
    for name in ["evening", "stubborn", "loss"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.toml"));
        let mut config = scenario::load(&path, Default::default()).unwrap();
        config.clock = SimClock::held_at(START_UTC_S);
        config.port = 0;
        let street = Street::start(config).await.unwrap();
        let planned = street.planned();
        street.advance(3_600_000, 10_000);
        assert!(street.planned() < planned || planned == 0, "{name}: nothing happened");
        assert!(street.feeder().truth().status.unwrap().import_wh > 0, "{name}");
    }
}

#[tokio::test]
async fn a_meter_with_three_whole_days_of_profile_takes_less_than_24_kib() {
    let clock = SimClock::held_at(START_UTC_S);
    let past_rows = simulator::street::PROFILE_ROWS + 1;
    let config = StreetConfig { line_meters: 4, clock, past_rows, ..StreetConfig::default() };
    let street = Street::start(config).await.unwrap();
    let each = street.held_bytes() / 4;
    println!("{each} bytes each");
    // More than the profile alone: it was recorded.
    assert!((288 * 25..=24 * 1024).contains(&each), "{each} bytes");
}
