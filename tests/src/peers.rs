//! Other people's implementations, from the virtual environment that `tests/install` makes.

use crate::process::{Process, START_TIMEOUT, project_root, target_directory};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a foreign client may take for its story; one of them ciphers in Python.
const STORY_TIMEOUT: Duration = Duration::from_secs(120);

/// The Python that has the peers installed.
///
/// # Panics
/// When they are not installed.
#[must_use]
pub fn python() -> Command {
    let path = target_directory().join("peers/bin/python");
    assert!(path.exists(), "the foreign peers are not installed: run tests/run --install-only");
    let mut command = Command::new(path);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The path of one of our scripts in `tests/peers`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    project_root().join("tests/peers").join(name)
}

/// Runs a foreign client's story: its exit code, its one line of JSON, and everything it said.
///
/// # Panics
/// When it does not end in time or does not say a line of JSON.
#[must_use]
pub fn story(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let client = Process::start(python().arg(script("client.py")).args(arguments));
    let (code, said) = client.finish(STORY_TIMEOUT);
    let line = said.lines().rfind(|line| line.starts_with("{\"peer\"")).unwrap_or_default().to_owned();
    let outcome = serde_json::from_str(&line)
        .unwrap_or_else(|_| panic!("no outcome from the client; it said:\n{said}"));
    (code, outcome, said)
}

/// Runs the foreign client that signs: its exit code and everything it said.
///
/// # Panics
/// When it does not end in time.
#[must_use]
pub fn signing_client(host: &str, port: &str, meter_title_hex: &str) -> (Option<i32>, String) {
    let arguments = ["--host", host, "--port", port, "--meter-title-hex", meter_title_hex];
    Process::start(python().arg(script("signing_client.py")).args(arguments)).finish(STORY_TIMEOUT)
}

/// A foreign prepaid meter (`tests/peers/prepay_meter.py`), serving on loopback.
#[derive(Debug)]
pub struct ForeignMeter {
    /// The process; its events can be waited for.
    pub process: Process,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
}

impl ForeignMeter {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = Process::start(python().arg(script("prepay_meter.py")).args(arguments));
        let port = process.expect("the foreign meter to listen", START_TIMEOUT, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == "listening").then(|| event["port"].as_u64())?
        });
        Self { process, port: u16::try_from(port).expect("a port has 16 bits") }
    }

    /// Waits for an event of this kind and gives it.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn event(&mut self, kind: &str, timeout: Duration) -> Value {
        self.process.expect(kind, timeout, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == kind).then_some(event)
        })
    }
}
