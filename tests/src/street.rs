//! A simulated street as a process of its own: `meter-simulator serve`.

use crate::folder::Folder;
use crate::process::{Process, START_TIMEOUT, program};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The vending key of the published vectors; the simulator's meters are keyed with it.
pub const VENDING_KEY: &str = "abababababababab949494949494949401234567";

/// Unix time of 2014-01-01T00:00:00Z, the base date of new meters.
const BASE_2014_UNIX_S: u64 = 1_388_534_400;

/// A simulator that serves meters 127.1.0.1, 127.1.0.2 … on one port.
#[derive(Debug)]
pub struct Street {
    /// The process.
    pub process: Process,
    /// The TCP port all its meters answer at.
    pub port: u16,
    meters: Vec<Value>,
    control: String,
}

impl Street {
    /// Starts `meters` DLMS meters with this framing (`wrapper`, `hdlc`) and whatever else is asked for.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(meters: u32, framing: &str, more: &[&str]) -> Self {
        Self::start_all(&["--meters", &meters.to_string(), "--framing", framing], more)
    }

    /// Starts the meters that `common` says (options of `serve` and of `list`), with more options of `serve`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_all(common: &[&str], more: &[&str]) -> Self {
        let mut serve = program("meter-simulator");
        let street = Self::running(serve.arg("serve").args(common).args(more));
        let listed = program("meter-simulator")
            .arg("list")
            .args(common)
            .arg("--json")
            .output()
            .expect("the simulator lists");
        let listed: Value = serde_json::from_slice(&listed.stdout).expect("the list is JSON");
        Self { meters: listed.as_array().expect("the list is an array").clone(), ..street }
    }

    /// Starts the street of a training case, in real time.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn train(case: &str) -> Self {
        let mut street = Self::running(program("meter-simulator").args(["train", case]));
        street.meters = street.look("/meters")["meters"].as_array().expect("the list is an array").clone();
        street
    }

    /// Runs the simulator with its control, on ports that the system gives; which meters there are is still to be found out.
    fn running(command: &mut Command) -> Self {
        let mut process = Process::start(command.args(["--port", "0", "--control", "127.0.0.1:0"]));
        let mut control = None;
        let port = process.expect("the simulator to listen", START_TIMEOUT, |line| {
            control = control.take().or_else(|| line.strip_prefix("control at ").map(str::to_owned));
            line.strip_prefix("listening on port ")?.split(',').next()?.parse().ok()
        });
        let control = control.expect("the control address is said before the port");
        Self { process, port, meters: Vec::new(), control }
    }

    /// How many meters there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.meters.len()
    }

    /// What `meter-simulator list` says of meter `number` (from 1).
    ///
    /// # Panics
    /// When there is no such meter.
    #[must_use]
    pub fn meter(&self, number: usize) -> &Value {
        &self.meters[number - 1]
    }

    /// The loopback address of meter `number` (from 1).
    #[must_use]
    pub fn host(&self, number: usize) -> String {
        format!("127.1.{}.{}", number >> 8, number & 0xFF)
    }

    /// Asks the simulator's API, `/meters/1`; see the simulator's `control`.
    ///
    /// # Panics
    /// When the simulator does not answer or refuses.
    #[must_use]
    pub fn look(&self, path: &str) -> Value {
        let mut answer = ureq::get(self.api(path)).call().expect("the simulator's control answers");
        answer.body_mut().read_json().expect("the answer is JSON")
    }

    /// Has the simulator do something: `("/meters/1/faults", {"fault": "silence"})`.
    ///
    /// # Panics
    /// When the simulator does not answer or refuses.
    pub fn act(&self, path: &str, body: &Value) -> Value {
        let mut answer = ureq::post(self.api(path)).send_json(body).expect("the simulator's control answers");
        answer.body_mut().read_json().expect("the answer is JSON")
    }

    /// Has the simulator change something: `("/meters/1/load", {"watts": 2000})`.
    ///
    /// # Panics
    /// When the simulator does not answer or refuses.
    pub fn put(&self, path: &str, body: &Value) -> Value {
        let mut answer = ureq::put(self.api(path)).send_json(body).expect("the simulator's control answers");
        answer.body_mut().read_json().expect("the answer is JSON")
    }

    /// Has the simulator end something: `/meters/1/faults/silence`.
    ///
    /// # Panics
    /// When the simulator does not answer or refuses.
    pub fn delete(&self, path: &str) -> Value {
        let mut answer = ureq::delete(self.api(path)).call().expect("the simulator's control answers");
        answer.body_mut().read_json().expect("the answer is JSON")
    }

    /// Where the page of its control is.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.control
    }

    fn api(&self, path: &str) -> String {
        format!("{}/api{path}", self.control)
    }

    /// A credit token for meter `number`, made by the gateway's command line as a vending clerk would. `minute` moves its
    /// token id, so that two tokens differ.
    #[must_use]
    pub fn token(&self, number: usize, watt_hours: u32, minute: u64) -> String {
        let serial = self.meter(number)["serial"].as_str().expect("a meter has a serial number");
        credit_token(serial, watt_hours, minute)
    }
}

/// Asks `meter-gateway token encode` for a credit token; watt-hours are a multiple of 100.
///
/// # Panics
/// When no token comes back.
#[must_use]
pub fn credit_token(serial: &str, watt_hours: u32, minute: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_secs();
    let wanted = json!({
        "ea": 11, "dkga": "04", "vending_key_hex": VENDING_KEY, "sgc": "123457", "krn": 1, "kt": 2, "ti": "01", "ken": 255,
        "pan": meter_pan(serial), "base_date": 2014, "class": 0, "subclass": 0, "rnd": 5,
        "tid": (now - BASE_2014_UNIX_S) / 60 + minute, "amount_units_0_1": watt_hours / 100,
    });
    let folder = Folder::new("token");
    let request = folder.file("request.json", &wanted.to_string());
    let encoded = program("meter-gateway")
        .args(["token", "encode", "--json"])
        .stdin(std::fs::File::open(request).expect("just written"))
        .output()
        .expect("the gateway's command line starts");
    let text = String::from_utf8_lossy(&encoded.stdout);
    assert!(encoded.status.success(), "{text}{}", String::from_utf8_lossy(&encoded.stderr));
    let encoded: Value = serde_json::from_str(&text).expect("the token is JSON");
    encoded["token"].as_str().expect("a token is text").to_owned()
}

/// The 18-digit meter PAN of an 11-digit serial number: IIN 600727, the number, and a Luhn digit over both.
#[must_use]
pub fn meter_pan(serial: &str) -> String {
    let body = format!("600727{serial}");
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') * if place % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::meter_pan;

    #[test]
    fn the_published_meter_pan_ends_with_its_luhn_digit() {
        // IEC 62055-41 compliance set: PAN 600727000000000009 belongs to serial 00000000000.
        assert_eq!(meter_pan("00000000000"), "600727000000000009");
    }
}
