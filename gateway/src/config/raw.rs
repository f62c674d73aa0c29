//! The file as written, and the checks that turn it into a [`Config`].

use super::bulk::{self, RawBulk};
use super::disconnection::{self, RawDisconnection};
use super::inbox::{self, RawInbox};
use super::listen::{self, RawListen};
use super::plausibility::{RawClockCheck, RawPlausibility};
use super::sink::{self, RawSink};
use super::store::{self, RawStore};
use super::{
    ApiConfig, ChannelConfig, ChannelSecret, ClockConfig, Config, ConfigError, Hello, LineConfig, LineKind,
    Parity, Price, ScheduleConfig, SerialProtocol, Surroundings, VaultConfig,
};
use crate::session::directory::Framing;
use crate::vault::{MasterKeySource, SECRET_LEN_MIN};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    api: RawApi,
    store: Spanned<RawStore>,
    vault: Spanned<RawVault>,
    #[serde(default)]
    clock: Option<Spanned<RawClock>>,
    price: Spanned<RawPrice>,
    #[serde(default)]
    schedule: RawSchedule,
    #[serde(default)]
    disconnection: RawDisconnection,
    #[serde(default)]
    bulk: RawBulk,
    #[serde(default)]
    plausibility: RawPlausibility,
    #[serde(default)]
    clock_check: RawClockCheck,
    #[serde(default)]
    models: Option<PathBuf>,
    #[serde(default, rename = "line")]
    lines: Vec<Spanned<RawLine>>,
    #[serde(default, rename = "listen")]
    listeners: Vec<Spanned<RawListen>>,
    #[serde(default, rename = "channel")]
    channels: Vec<Spanned<RawChannel>>,
    #[serde(default, rename = "sink")]
    sinks: Vec<Spanned<RawSink>>,
    #[serde(default, rename = "inbox")]
    inboxes: Vec<Spanned<RawInbox>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApi {
    listen: Spanned<String>,
    #[serde(default = "default_bootstrap_token_file")]
    bootstrap_token_file: PathBuf,
}

fn default_bootstrap_token_file() -> PathBuf {
    PathBuf::from("admin.token")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVault {
    #[serde(default = "default_vault_file")]
    file: PathBuf,
    #[serde(default)]
    master_key_file: Option<PathBuf>,
    #[serde(default)]
    master_key_env: Option<String>,
    #[serde(default)]
    master_key_credential: Option<String>,
    #[serde(default)]
    pkcs11_module: Option<PathBuf>,
    #[serde(default)]
    pkcs11_token: Option<String>,
    #[serde(default)]
    pkcs11_pin_file: Option<PathBuf>,
}

fn default_vault_file() -> PathBuf {
    PathBuf::from("vault.sealed")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClock {
    speed: u32,
    #[serde(default)]
    origin: Option<String>,
    #[serde(default)]
    started: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    currency: String,
    #[serde(default = "two")]
    minor_digits: u32,
    minor_per_kwh: String,
}

fn two() -> u32 {
    2
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSchedule {
    read_interval_s: u64,
    audit_interval_s: u64,
    read_spread_s: Option<u64>,
    reads_in_flight_max: usize,
    command_expiry_s: u64,
    profile_spread_s: u64,
    profile_late_s: u64,
    profile_hours: Option<Spanned<String>>,
    billing_deadline_s: u64,
}

/// Where a secret may stand: its name in the vault, a file, a variable of the environment.
type SecretPlaces<'a> =
    (Option<&'a Spanned<String>>, Option<&'a Spanned<PathBuf>>, Option<&'a Spanned<String>>);

impl Default for RawSchedule {
    fn default() -> Self {
        // A quarter of an hour is the usual load-profile period; an hour is our own bound for a relay command. Five minutes
        // spread leave as much again until a row is late; a bill run begins at six at the earliest.
        Self {
            read_interval_s: 900,
            audit_interval_s: 86_400,
            read_spread_s: None,
            reads_in_flight_max: 64,
            command_expiry_s: 3600,
            profile_spread_s: 300,
            profile_late_s: 600,
            profile_hours: None,
            billing_deadline_s: 21_600,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine {
    name: Spanned<String>,
    kind: Spanned<String>,
    #[serde(default)]
    area: Option<String>,
    #[serde(default)]
    connections_max: Option<Spanned<usize>>,
    #[serde(default)]
    port: Option<Spanned<String>>,
    #[serde(default)]
    baud: Option<Spanned<u32>>,
    #[serde(default)]
    parity: Option<Spanned<Parity>>,
    #[serde(default)]
    protocol: Option<Spanned<SerialProtocol>>,
    #[serde(default)]
    address: Option<Spanned<String>>,
    #[serde(default)]
    hello: Option<Spanned<HelloWord>>,
    #[serde(default)]
    model: Option<Spanned<String>>,
    #[serde(default)]
    framing: Option<Spanned<Framing>>,
    #[serde(default)]
    idle_s: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChannel {
    id: Spanned<String>,
    #[serde(default)]
    secret: Option<Spanned<String>>,
    #[serde(default)]
    secret_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    secret_env: Option<Spanned<String>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum HelloWord {
    Line,
    Ip,
    Title,
    Name,
}

/// A connection of a meter that dials in is kept for a day: it may be the one over which it is read once a day.
const CALL_IDLE_S: u64 = 86_400;

/// What a line can be.
const LINE_KINDS: [&str; 6] = ["tcp", "tcp-in", "udp", "serial", "serial-over-tcp", "modbus-tcp"];

/// The file being checked: turns a place in it into an error with a line.
pub(super) struct Checker<'a, S> {
    text: &'a str,
    path: &'a Path,
    pub(super) around: &'a S,
}

pub(super) fn check(text: &str, path: &Path, around: &impl Surroundings) -> Result<Config, ConfigError> {
    let checker = Checker { text, path, around };
    let raw: RawConfig = toml::from_str(text).map_err(|error| match error.span() {
        Some(span) => checker.at(&span, error.message()),
        None => ConfigError::at_file(path, error.message()),
    })?;
    let listen = raw.api.listen.get_ref();
    let price = raw.price.get_ref();
    Ok(Config {
        api: ApiConfig {
            listen: listen.parse().map_err(|_| {
                checker.at(&raw.api.listen.span(), format!("listen {listen:?} is not address:port"))
            })?,
            bootstrap_token_file: checker.beside(&raw.api.bootstrap_token_file),
        },
        store: store::place(&checker, &raw.store)?,
        keep: store::keep(&checker, &raw.store)?,
        vault: checker.vault(&raw.vault)?,
        clock: checker.clock(raw.clock.as_ref())?,
        price: Price::new(&price.currency, price.minor_digits, &price.minor_per_kwh)
            .map_err(|message| checker.at(&raw.price.span(), message))?,
        schedule: ScheduleConfig {
            read_interval: Duration::from_secs(raw.schedule.read_interval_s.max(1)),
            audit_interval: Duration::from_secs(raw.schedule.audit_interval_s.max(1)),
            read_spread: Duration::from_secs(
                raw.schedule.read_spread_s.unwrap_or(u64::MAX).min(raw.schedule.read_interval_s.max(1)),
            ),
            reads_in_flight_max: raw.schedule.reads_in_flight_max.max(1),
            command_expiry: Duration::from_secs(raw.schedule.command_expiry_s.max(1)),
            profile_spread: Duration::from_secs(raw.schedule.profile_spread_s),
            profile_late: Duration::from_secs(raw.schedule.profile_late_s),
            profile_hours: raw
                .schedule
                .profile_hours
                .as_ref()
                .map(|hours| disconnection::hours(&checker, "profile_hours", hours))
                .transpose()?,
            billing_deadline: Duration::from_secs(raw.schedule.billing_deadline_s.max(1)),
        },
        disconnection: disconnection::check(&checker, &raw.disconnection)?,
        bulk: bulk::check(&checker, &raw.bulk)?,
        plausibility: raw.plausibility.thresholds(),
        clock_check: raw.clock_check.terms(),
        models: raw.models.as_deref().map(|models| checker.beside(models)),
        lines: checker.lines(&raw.lines)?,
        listeners: listen::listeners(&checker, &raw.listeners)?,
        channels: checker.channels(&raw.channels)?,
        sinks: sink::sinks(&checker, &raw.sinks)?,
        inboxes: inbox::inboxes(&checker, &raw.inboxes)?,
    })
}

impl<S> Checker<'_, S> {
    pub(super) fn at(&self, span: &Range<usize>, message: impl Into<String>) -> ConfigError {
        ConfigError::at_offset(self.path, self.text, span.start, message)
    }
}

impl<S: Surroundings> Checker<'_, S> {
    /// A path of the file, relative to the file.
    pub(super) fn beside(&self, relative: &Path) -> PathBuf {
        match self.path.parent() {
            Some(parent) => parent.join(relative),
            None => relative.to_owned(),
        }
    }

    fn vault(&self, raw: &Spanned<RawVault>) -> Result<VaultConfig, ConfigError> {
        let vault = raw.get_ref();
        let master_key = match (&vault.master_key_file, &vault.master_key_env, &vault.master_key_credential) {
            (Some(file), None, None) => MasterKeySource::File(self.beside(file)),
            (None, Some(name), None) => MasterKeySource::Environment(name.clone()),
            (None, None, Some(name)) => MasterKeySource::Credential(name.clone()),
            _ => {
                return Err(self.at(
                        &raw.span(),
                        "the vault needs exactly one of master_key_file, master_key_env and master_key_credential",
                    ));
            }
        };
        #[cfg(feature = "pkcs11")]
        let hardware_token = match (&vault.pkcs11_module, &vault.pkcs11_token, &vault.pkcs11_pin_file) {
            (None, None, None) => None,
            (Some(module), Some(label), Some(pin_file)) => Some(crate::vault::HardwareToken {
                module: self.beside(module),
                label: label.clone(),
                pin_file: self.beside(pin_file),
            }),
            _ => {
                return Err(self.at(
                    &raw.span(),
                    "a hardware token needs pkcs11_module, pkcs11_token and pkcs11_pin_file together",
                ));
            }
        };
        #[cfg(not(feature = "pkcs11"))]
        if vault.pkcs11_module.is_some() || vault.pkcs11_token.is_some() || vault.pkcs11_pin_file.is_some() {
            return Err(self.at(&raw.span(), "this program was built without support for hardware tokens"));
        }
        Ok(VaultConfig {
            file: self.beside(&vault.file),
            master_key,
            #[cfg(feature = "pkcs11")]
            hardware_token,
        })
    }

    fn clock(&self, raw: Option<&Spanned<RawClock>>) -> Result<ClockConfig, ConfigError> {
        let Some(raw) = raw else {
            return Ok(ClockConfig {
                speed: 1,
                origin: Timestamp::UNIX_EPOCH,
                started: Timestamp::UNIX_EPOCH,
            });
        };
        let clock = raw.get_ref();
        let time = |name: &str, value: &Option<String>| match value {
            Some(text) => text
                .parse::<Timestamp>()
                .map_err(|error| self.at(&raw.span(), format!("clock {name} {text:?}: {error}"))),
            None if clock.speed == 1 => Ok(Timestamp::UNIX_EPOCH),
            None => Err(self.at(&raw.span(), format!("clock {name} is needed when speed is not 1"))),
        };
        if clock.speed == 0 {
            return Err(self.at(&raw.span(), "clock speed must be at least 1"));
        }
        Ok(ClockConfig {
            speed: clock.speed,
            origin: time("origin", &clock.origin)?,
            started: time("started", &clock.started)?,
        })
    }

    fn lines(&self, raw: &[Spanned<RawLine>]) -> Result<Vec<LineConfig>, ConfigError> {
        let mut names: HashMap<String, Range<usize>> = HashMap::new();
        let mut places: HashMap<String, (String, Range<usize>)> = HashMap::new();
        let mut lines = Vec::with_capacity(raw.len());
        for spanned in raw {
            let (line, place) = self.line(spanned)?;
            let name = &spanned.get_ref().name;
            if let Some(first) = names.insert(line.name.clone(), name.span()) {
                let first = self.at(&first, "").line.unwrap_or(0);
                return Err(self
                    .at(&name.span(), format!("line name {:?} is already used on line {first}", line.name)));
            }
            if let Some((place, span)) = place
                && let Some((other, first)) = places.insert(place.clone(), (line.name.clone(), span.clone()))
            {
                let first = self.at(&first, "").line.unwrap_or(0);
                return Err(self.at(
                    &span,
                    format!("{place} already belongs to line {other:?} (line {first}); a wire has one owner"),
                ));
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// One line, and the wire it owns if no other line may own it too.
    #[expect(clippy::type_complexity, reason = "one private return value")]
    fn line(
        &self,
        spanned: &Spanned<RawLine>,
    ) -> Result<(LineConfig, Option<(String, Range<usize>)>), ConfigError> {
        let raw = spanned.get_ref();
        let name = raw.name.get_ref().clone();
        let missing = |key: &str| {
            self.at(&raw.kind.span(), format!("line {name:?} of kind {:?} needs {key}", raw.kind.get_ref()))
        };
        self.only_fitting_keys(raw)?;
        if name.is_empty() {
            return Err(self.at(&raw.name.span(), "a line's name must not be empty"));
        }
        let (kind, place) = match raw.kind.get_ref().as_str() {
            "tcp" => {
                let connections_max = raw.connections_max.as_ref().map_or(64, |max| *max.get_ref()).max(1);
                (LineKind::Tcp { connections_max }, None)
            }
            "udp" => {
                let connections_max = raw.connections_max.as_ref().map_or(64, |max| *max.get_ref()).max(1);
                (LineKind::Udp { connections_max }, None)
            }
            "tcp-in" => {
                let (address, place) =
                    self.line_address(raw.address.as_ref().ok_or_else(|| missing("address"))?)?;
                let hello = self.hello(raw, raw.hello.as_ref().ok_or_else(|| missing("hello"))?)?;
                let connections_max = raw.connections_max.as_ref().map_or(64, |max| *max.get_ref()).max(1);
                let idle = raw.idle_s.as_ref().map_or(CALL_IDLE_S, |idle| *idle.get_ref()).max(1);
                let idle = Duration::from_secs(idle);
                (LineKind::TcpIn { address, hello, connections_max, idle }, Some(place))
            }
            "serial-over-tcp" => {
                let (address, place) =
                    self.line_address(raw.address.as_ref().ok_or_else(|| missing("address"))?)?;
                let kind = LineKind::Converter {
                    address,
                    baud: self.baud(raw.baud.as_ref())?,
                    parity: raw.parity.as_ref().map_or(Parity::None, |parity| *parity.get_ref()),
                    protocol: *raw.protocol.as_ref().ok_or_else(|| missing("protocol"))?.get_ref(),
                };
                (kind, Some(place))
            }
            "serial" => {
                let port = raw.port.as_ref().ok_or_else(|| missing("port"))?;
                let protocol = *raw.protocol.as_ref().ok_or_else(|| missing("protocol"))?.get_ref();
                if !self.around.has_port(port.get_ref()) {
                    return Err(
                        self.at(&port.span(), format!("serial port {} does not exist", port.get_ref()))
                    );
                }
                let kind = LineKind::Serial {
                    port: port.get_ref().clone(),
                    baud: self.baud(raw.baud.as_ref())?,
                    parity: raw.parity.as_ref().map_or(Parity::None, |parity| *parity.get_ref()),
                    protocol,
                };
                (kind, Some((format!("serial port {}", port.get_ref()), port.span())))
            }
            "modbus-tcp" => {
                let (address, place) =
                    self.line_address(raw.address.as_ref().ok_or_else(|| missing("address"))?)?;
                (LineKind::ModbusTcp { address }, Some(place))
            }
            other => {
                return Err(self.at(
                    &raw.kind.span(),
                    format!("line kind {other:?} is unknown; it is one of {}", LINE_KINDS.join(", ")),
                ));
            }
        };
        Ok((LineConfig { name, kind, area: raw.area.clone() }, place))
    }

    /// A key that means nothing on this kind of line is as wrong as an unknown one.
    fn only_fitting_keys(&self, raw: &RawLine) -> Result<(), ConfigError> {
        let kind = raw.kind.get_ref().as_str();
        let (networks, wires) = (["tcp", "tcp-in", "udp"], ["serial", "serial-over-tcp"]);
        let given = [
            ("connections_max", raw.connections_max.as_ref().map(Spanned::span), &networks[..]),
            ("port", raw.port.as_ref().map(Spanned::span), &["serial"]),
            ("baud", raw.baud.as_ref().map(Spanned::span), &wires),
            ("parity", raw.parity.as_ref().map(Spanned::span), &wires),
            ("protocol", raw.protocol.as_ref().map(Spanned::span), &wires),
            (
                "address",
                raw.address.as_ref().map(Spanned::span),
                &["modbus-tcp", "serial-over-tcp", "tcp-in"],
            ),
            ("hello", raw.hello.as_ref().map(Spanned::span), &["tcp-in"]),
            ("model", raw.model.as_ref().map(Spanned::span), &["tcp-in"]),
            ("framing", raw.framing.as_ref().map(Spanned::span), &["tcp-in"]),
            ("idle_s", raw.idle_s.as_ref().map(Spanned::span), &["tcp-in"]),
        ];
        for (key, span, fits) in given {
            if let Some(span) = span
                && !fits.contains(&kind)
                && LINE_KINDS.contains(&kind)
            {
                let fits = fits.join(" or ");
                return Err(
                    self.at(&span, format!("{key} belongs to lines of kind {fits}, this one is {kind}"))
                );
            }
        }
        Ok(())
    }

    /// How meters that dial in say who they are.
    fn hello(&self, raw: &RawLine, word: &Spanned<HelloWord>) -> Result<Hello, ConfigError> {
        if let HelloWord::Name = word.get_ref() {
            let model = raw.model.as_ref().map_or("reference-dlms", |model| model.get_ref()).to_owned();
            let framing = raw.framing.as_ref().map_or(Framing::Wrapper, |framing| *framing.get_ref());
            return Ok(Hello::Name { model, framing });
        }
        let given = [
            ("model", raw.model.as_ref().map(Spanned::span)),
            ("framing", raw.framing.as_ref().map(Spanned::span)),
        ];
        if let Some((key, span)) = given.into_iter().find_map(|(key, span)| Some((key, span?))) {
            return Err(self.at(&span, format!("{key} belongs to hello = \"name\": nobody else is asked")));
        }
        Ok(match word.get_ref() {
            HelloWord::Line => Hello::Line,
            HelloWord::Ip => Hello::Ip,
            HelloWord::Title | HelloWord::Name => Hello::Title,
        })
    }

    /// Where a line's only peer listens, and that place for whoever else might want it.
    fn line_address(
        &self,
        address: &Spanned<String>,
    ) -> Result<(std::net::SocketAddr, (String, Range<usize>)), ConfigError> {
        let text = address.get_ref();
        let parsed = text
            .parse()
            .map_err(|_| self.at(&address.span(), format!("address {text:?} is not address:port")))?;
        Ok((parsed, (format!("address {text}"), address.span())))
    }

    fn baud(&self, raw: Option<&Spanned<u32>>) -> Result<u32, ConfigError> {
        /// IEC 62056-46 rates, and the usual ones above.
        const RATES: [u32; 11] = [300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115_200, 230_400];
        match raw {
            None => Ok(9600),
            Some(baud) if RATES.contains(baud.get_ref()) => Ok(*baud.get_ref()),
            Some(baud) => {
                Err(self.at(&baud.span(), format!("baud {} is not one of {RATES:?}", baud.get_ref())))
            }
        }
    }

    fn channels(&self, raw: &[Spanned<RawChannel>]) -> Result<Vec<ChannelConfig>, ConfigError> {
        let mut channels: Vec<ChannelConfig> = Vec::with_capacity(raw.len());
        for spanned in raw {
            let channel = spanned.get_ref();
            let id = self.id("channel id", &channel.id)?;
            if channels.iter().any(|other| other.id == id) {
                return Err(self.at(&channel.id.span(), format!("channel id {id:?} is used twice")));
            }
            channels.push(ChannelConfig { secret: self.secret(&id, spanned)?, id });
        }
        Ok(channels)
    }

    fn secret(&self, id: &str, spanned: &Spanned<RawChannel>) -> Result<ChannelSecret, ConfigError> {
        let channel = spanned.get_ref();
        let keys = (channel.secret.as_ref(), channel.secret_file.as_ref(), channel.secret_env.as_ref());
        self.signing_secret((format!("channel {id:?}"), channel.id.span()), keys)
    }

    /// What somebody signs with: in the vault under a name, or in a file or the environment. `owner` is who, and where they stand.
    pub(super) fn signing_secret(
        &self,
        (owner, span): (String, Range<usize>),
        (vault, file, variable): SecretPlaces<'_>,
    ) -> Result<ChannelSecret, ConfigError> {
        let given = [vault.is_some(), file.is_some(), variable.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            let message = format!("{owner} needs exactly one of secret, secret_file and secret_env");
            return Err(self.at(&span, message));
        }
        if let Some(name) = vault {
            return Ok(ChannelSecret::Vault(name.get_ref().clone()));
        }
        let place = file.map_or_else(|| span.clone(), Spanned::span);
        let secret =
            self.secret_text(("secret_file", "secret_env"), (file, variable), (owner.clone(), span))?;
        if secret.len() < SECRET_LEN_MIN {
            return Err(
                self.at(&place, format!("the secret of {owner} is shorter than {SECRET_LEN_MIN} bytes"))
            );
        }
        Ok(ChannelSecret::Plain(secret.into_bytes()))
    }

    /// A name that goes into requests, topics and logs.
    pub(super) fn id(&self, what: &str, raw: &Spanned<String>) -> Result<String, ConfigError> {
        let id = raw.get_ref();
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            let message = format!("{what} {id:?} must be letters, digits, '-', '_' or '.'");
            return Err(self.at(&raw.span(), message));
        }
        Ok(id.clone())
    }

    /// A secret from a file or from the environment, without the blanks around it. `owner` is who needs it, and where it stands.
    pub(super) fn secret_text(
        &self,
        names: (&str, &str),
        keys: (Option<&Spanned<PathBuf>>, Option<&Spanned<String>>),
        owner: (String, Range<usize>),
    ) -> Result<String, ConfigError> {
        let text = match keys {
            (Some(file), None) => {
                let path = self.beside(file.get_ref());
                self.around.read(&path).map_err(|error| {
                    self.at(&file.span(), format!("{} {}: {error}", names.0, path.display()))
                })?
            }
            (None, Some(name)) => self.around.variable(name.get_ref()).ok_or_else(|| {
                self.at(&name.span(), format!("environment variable {} is not set", name.get_ref()))
            })?,
            _ => {
                let message = format!("{} needs exactly one of {} and {}", owner.0, names.0, names.1);
                return Err(self.at(&owner.1, message));
            }
        };
        Ok(text.trim().to_owned())
    }
}
