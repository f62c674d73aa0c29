//! Streets of thousands of meters with a gateway beside them, both on one clock that runs faster than ours.

pub mod memory;
pub mod sink;

use crate::{GatewayProcess, Street};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Rows of one file for `meter import`.
const IMPORT_ROWS: usize = 1_000;
/// How often it is asked whether something has come to an end.
const LOOK: Duration = Duration::from_millis(200);

/// The time of a street, as everybody on it has it.
#[derive(Debug, Clone, Copy)]
pub struct SimTime {
    /// Simulated seconds a second.
    pub speed: u32,
    origin: Timestamp,
    started: Timestamp,
    asked: Instant,
}

impl SimTime {
    /// The street's own.
    ///
    /// # Panics
    /// When the simulator does not say it.
    #[must_use]
    pub fn of(street: &Street) -> Self {
        let looked = street.look("/street");
        let (asked, started) = (Instant::now(), Timestamp::now());
        let origin = looked["utc_ms"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let speed = looked["speed"].as_u64().and_then(|speed| u32::try_from(speed).ok());
        let (origin, speed) = (origin.expect("a street has a time"), speed.expect("a street has a speed"));
        Self { speed, origin, started, asked }
    }

    /// What time it is there.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.asked.elapsed()).unwrap_or(SignedDuration::ZERO);
        self.origin + passed * i32::try_from(self.speed).unwrap_or(i32::MAX)
    }

    /// How long it takes here until it is that time there; nothing when it has been.
    #[must_use]
    pub fn until(&self, time: Timestamp) -> Duration {
        let left = time.duration_since(self.now()).max(SignedDuration::ZERO);
        Duration::try_from(left).unwrap_or_default() / self.speed
    }

    /// The gateway's `[clock]` for it.
    #[must_use]
    pub fn settings(&self) -> String {
        let Self { speed, origin, started, .. } = self;
        format!("[clock]\nspeed = {speed}\norigin = \"{origin}\"\nstarted = \"{started}\"\n")
    }
}

/// Meters as `meter import` takes them: all on these lines, by the number of the Modbus TCP server that they are behind.
///
/// # Panics
/// When the simulator's list lacks something.
#[must_use]
pub fn rows(street: &Street, dlms_model: &str, modbus_model: &str) -> Vec<String> {
    let text = |meter: &Value, field: &str| meter[field].as_str().expect("a text").to_owned();
    let row = |number: usize| {
        let meter = street.meter(number);
        let (serial, address) = (text(meter, "serial"), text(meter, "address"));
        match meter["server"].as_u64() {
            Some(server) => format!("{serial},modbus-{server},{address},{modbus_model},,none,,,"),
            None => {
                let (address, framing) = (format!("{address}:{}", street.port), text(meter, "transport"));
                format!("{serial},street,{address},{dlms_model},{framing},meter,123457,{EK},{AK}")
            }
        }
    };
    (1..=street.count()).map(row).collect()
}

const COLUMNS: &str = "serial,line,address,model,framing,balance,sgc,ek,ak";
/// Keys of the simulated meters: the Green Book's examples.
const EK: &str = "000102030405060708090A0B0C0D0E0F";
const AK: &str = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF";

/// Enters meters, and waits until all are commissioned.
///
/// # Panics
/// When one is refused, or is not commissioned in `patience`.
pub fn commission(gateway: &GatewayProcess, rows: &[String], patience: Duration) {
    for part in rows.chunks(IMPORT_ROWS) {
        let file = gateway.folder().file("meters.csv", &format!("{COLUMNS}\n{}\n", part.join("\n")));
        gateway.must(&["meter", "import", file.to_str().expect("a path of ours is text")]);
    }
    let begun = Instant::now();
    loop {
        let missing = meters(gateway).iter().filter(|meter| !meter["commissioned_at"].is_string()).count();
        if missing == 0 {
            return;
        }
        assert!(begun.elapsed() < patience, "{missing} meters are not commissioned\n{}", tail(gateway));
        std::thread::sleep(LOOK * 5);
    }
}

/// Every meter as the API shows it.
///
/// # Panics
/// When the API does not answer.
#[must_use]
pub fn meters(gateway: &GatewayProcess) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().and_then(|meter| meter["serial"].as_str()).unwrap_or_default().to_owned();
        let part = gateway.get(&format!("/meters?limit=1000&after={after}"));
        match part.as_array() {
            Some(part) if !part.is_empty() => all.extend(part.iter().cloned()),
            _ => return all,
        }
    }
}

/// Sum over all lines of a count that `/lines` shows.
///
/// # Panics
/// When the API does not answer.
#[must_use]
pub fn lines(gateway: &GatewayProcess, field: &str) -> u64 {
    let lines = gateway.get("/lines");
    lines.as_array().expect("lines are an array").iter().filter_map(|line| line[field].as_u64()).sum()
}

/// A number of `/metrics`, without labels; 0 where there is none.
///
/// # Panics
/// When the API does not answer.
#[must_use]
pub fn metric(gateway: &GatewayProcess, name: &str) -> u64 {
    let text = gateway.text("/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.split('.').next()?.parse().ok()).unwrap_or(0)
}

/// The end of what the gateway said.
#[must_use]
pub fn tail(gateway: &GatewayProcess) -> String {
    let said = gateway.process.said();
    let lines: Vec<&str> = said.lines().collect();
    let mut text = String::new();
    for line in &lines[lines.len().saturating_sub(20)..] {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

/// A share in hundredths of a percent, as text: `99.53 %`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let share = part * 10_000 / whole.max(1);
    format!("{}.{:02} %", share / 100, share % 100)
}
