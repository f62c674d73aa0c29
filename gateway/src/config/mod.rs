//! What the operator decides: one TOML file, checked whole before anything starts.
//!
//! An unknown key, a wrong type or a contradiction is refused with the line it stands on; nothing is guessed. Paths in the
//! file are relative to the file.

mod bulk;
mod disconnection;
mod error;
mod inbox;
mod line;
mod listen;
mod live;
mod plausibility;
mod price;
mod raw;
mod sink;
mod store;

pub use disconnection::DisconnectionConfig;
pub use error::ConfigError;
pub use inbox::{InboxConfig, Principal};
pub use line::{Hello, LineConfig, LineKind, Parity, SerialProtocol};
pub use listen::{ListenConfig, ListenKind};
pub use live::Live;
pub use price::Price;
pub use sink::{Login, MqttBroker, NatsServer, Secret, SinkConfig, SinkKind, Tls, WebhookEndpoint};

use crate::store::Place;
use crate::store::keeper::Keep;
use crate::vault::MasterKeySource;
use jiff::{SignedDuration, Timestamp};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The API and the page.
    pub api: ApiConfig,
    /// Where the store is.
    pub store: Place,
    /// What is kept in it, and for how long.
    pub keep: Keep,
    /// Where the keys are.
    pub vault: VaultConfig,
    /// Civil time: real, or simulated for a demo.
    pub clock: ClockConfig,
    /// What energy costs.
    pub price: Price,
    /// When meters are read.
    pub schedule: ScheduleConfig,
    /// What has to be on record before supply is cut.
    pub disconnection: DisconnectionConfig,
    /// How fast commands for many meters are started, and when a second person has to agree.
    pub bulk: crate::commands::bulk::Limits,
    /// What a reading has to look like to be believed.
    pub plausibility: crate::reading::plausibility::Thresholds,
    /// How far off a meter's clock may be, and what is done about it.
    pub clock_check: crate::session::clock_check::ClockTerms,
    /// Model files of meters, besides those built in.
    pub models: Option<PathBuf>,
    /// The lines, in file order. Names are unique.
    pub lines: Vec<LineConfig>,
    /// Where notifications of meters are received.
    pub listeners: Vec<ListenConfig>,
    /// Who may send signed top-ups. Ids are unique.
    pub channels: Vec<ChannelConfig>,
    /// Where facts go. Names are unique.
    pub sinks: Vec<SinkConfig>,
    /// Where commands come from as messages.
    pub inboxes: Vec<InboxConfig>,
}

/// The API and the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A first administrator token is written here (mode 0600) when the store holds no token yet.
    pub bootstrap_token_file: PathBuf,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultConfig {
    /// The sealed file with every other key. Begun with the first key.
    pub file: PathBuf,
    /// Where the master key is that seals it.
    pub master_key: MasterKeySource,
    /// The hardware token with the vending keys; without one they are in the sealed file.
    #[cfg(feature = "pkcs11")]
    pub hardware_token: Option<crate::vault::HardwareToken>,
}

/// Civil time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockConfig {
    /// Simulated seconds per second; 1 is real time.
    pub speed: u32,
    /// Simulated time at `started`; both are needed when `speed` is not 1.
    pub origin: Timestamp,
    /// Real time at which the simulated time was `origin`: it stays the same over a restart, so time does not jump back.
    pub started: Timestamp,
}

impl ClockConfig {
    /// The clock this describes, running on from where it would be had it never stopped.
    #[must_use]
    pub fn clock(&self, real_now: Timestamp) -> crate::clock::Clock {
        if self.speed == 1 {
            return crate::clock::Clock::real();
        }
        let passed = real_now.duration_since(self.started).max(SignedDuration::ZERO);
        let simulated = passed.saturating_mul(i32::try_from(self.speed).unwrap_or(i32::MAX));
        let now = self.origin.saturating_add(simulated).unwrap_or(Timestamp::MAX);
        crate::clock::Clock::simulated(now, self.speed)
    }
}

/// When meters are read. Intervals are in the gateway's civil time, so a demo's fast clock reads as often per simulated day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// Time between two scheduled reads of one meter.
    pub read_interval: Duration,
    /// Time between two audits of one meter: payment mode, relay, balance. An audit takes the place of a read.
    pub audit_interval: Duration,
    /// Over how much of it the reads of all meters are spread.
    pub read_spread: Duration,
    /// Meters that are read at once as scheduled, over all lines; and as many whose profiles are.
    pub reads_in_flight_max: usize,
    /// How long a disconnect or reconnect may wait for its meter before it expires.
    pub command_expiry: Duration,
    /// Over how long the reads of one interval's profile rows are spread.
    pub profile_spread: Duration,
    /// A profile row that comes later than this after its interval is late.
    pub profile_late: Duration,
    /// When load profiles may be read, in the customers' zone (`[disconnection]`); always without it.
    pub profile_hours: Option<(jiff::civil::Time, jiff::civil::Time)>,
    /// How long after its day or month began a billing snapshot has to be there.
    pub billing_deadline: Duration,
}

/// A payment channel: an outlet, bank or web shop that signs its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfig {
    /// Its name in requests, ledger and log.
    pub id: String,
    /// The secret both sides sign with.
    pub secret: ChannelSecret,
}

/// Where the secret of a payment channel or a principal is.
#[derive(Clone, PartialEq, Eq)]
pub enum ChannelSecret {
    /// In the vault, under this name: it is used there and never comes out.
    Vault(String),
    /// Read from a file or the environment, for tests: whoever reads the gateway's memory or that file has it.
    Plain(Vec<u8>),
}

impl std::fmt::Debug for ChannelSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vault(name) => write!(f, "Vault({name:?})"),
            Self::Plain(_) => f.write_str("Plain(hidden)"),
        }
    }
}

/// What the file's surroundings offer; an argument, so that tests need neither environment nor disk.
pub trait Surroundings {
    /// The text of a file.
    ///
    /// # Errors
    /// Why it could not be read.
    fn read(&self, path: &Path) -> std::io::Result<String>;
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// Whether a serial port is there.
    fn has_port(&self, path: &str) -> bool;
}

/// The real environment and disk.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Surroundings for System {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
    fn has_port(&self, path: &str) -> bool {
        Path::new(path).exists()
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The first thing wrong, with its line.
    pub fn load(path: &Path, around: &impl Surroundings) -> Result<Self, ConfigError> {
        let text = around
            .read(path)
            .map_err(|error| ConfigError::at_file(path, format!("cannot be read: {error}")))?;
        Self::parse(&text, path, around)
    }

    /// Checks the text of a file that stands at `path`.
    ///
    /// # Errors
    /// The first thing wrong, with its line.
    pub fn parse(text: &str, path: &Path, around: &impl Surroundings) -> Result<Self, ConfigError> {
        raw::check(text, path, around)
    }

    /// The line of that name.
    #[must_use]
    pub fn line(&self, name: &str) -> Option<&LineConfig> {
        self.lines.iter().find(|line| line.name == name)
    }
}

#[cfg(test)]
mod tests;
