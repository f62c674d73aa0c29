//! A street as a TOML file: its meters, its feeder, its time, and what goes wrong when.

use crate::clock::SimClock;
use crate::fault_entry::{FaultEntry, FaultName};
use crate::identity::StreetKeys;
use crate::line::BAUD;
use crate::load::Mix;
use crate::plan::meters_of;
use crate::setup::Setup;
use crate::street::{LOSS_PERMILLE, PAST_ROWS, PORT, PROFILE_ROWS, StreetConfig};
use crate::units::Share;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use toml::Spanned;

/// What is wrong with a scenario, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ScenarioError {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) street: Spanned<StreetPart>,
    #[serde(default)]
    pub(crate) time: TimePart,
    #[serde(default)]
    pub(crate) meter: Setup,
    #[serde(default)]
    pub(crate) households: Option<Spanned<Mix>>,
    #[serde(default)]
    pub(crate) feeder: FeederPart,
    #[serde(default)]
    pub(crate) fault: Vec<Spanned<FaultEntry>>,
}

/// Which meters, and what they begin with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreetPart {
    #[serde(default)]
    wrapper: u32,
    #[serde(default)]
    hdlc: u32,
    #[serde(default)]
    line: u32,
    #[serde(default)]
    modbus: u32,
    #[serde(default)]
    modbus_tcp: u32,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    baud: Option<u32>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    credit_wh: Option<i64>,
    #[serde(default)]
    credit_of: BTreeMap<String, i64>,
    #[serde(default)]
    profile_rows: Option<u32>,
    #[serde(default)]
    past_rows: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimePart {
    start: Option<Spanned<toml::Value>>,
    speed: Option<u32>,
}

/// The feeder, and what is wrong with it from the beginning.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeederPart {
    losses: Option<Share>,
    modbus_tcp: Option<SocketAddr>,
    #[serde(default)]
    theft: Vec<Spanned<Part>>,
    #[serde(default)]
    low_voltage: Vec<Spanned<Part>>,
    #[serde(default)]
    broken_neutral: Vec<Spanned<Part>>,
}

/// Part of the feeder's meters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    meters: Option<Vec<u32>>,
    share: Option<Share>,
    percent: Option<u16>,
    volts: Option<u32>,
}

/// Reads a scenario.
///
/// # Errors
/// What is wrong at which line, and what is allowed there.
pub fn parse(text: &str) -> Result<StreetConfig, ScenarioError> {
    let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    config(text, file)
}

/// Reads a scenario file, with the keys of the meters if they are not the published ones.
///
/// # Errors
/// The file cannot be read, or see [`parse`].
pub fn load(path: &Path, keys: StreetKeys) -> anyhow::Result<StreetConfig> {
    use anyhow::Context;
    let named = || format!("scenario {}", path.display());
    let text = std::fs::read_to_string(path).with_context(named)?;
    let mut config = parse(&text).with_context(named)?;
    config.keys = keys;
    Ok(config)
}

pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> ScenarioError {
    let at = error.span().map_or(0, |span| span.start);
    ScenarioError { line: line_at(text, at), message: error.message().to_owned() }
}

pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

pub(crate) fn config(text: &str, file: File) -> Result<StreetConfig, ScenarioError> {
    let wrong = |offset: usize, message: String| ScenarioError { line: line_at(text, offset), message };
    let street_at = file.street.span().start;
    let street = file.street.into_inner();
    let mut config = StreetConfig {
        meters: street.wrapper.saturating_add(street.hdlc),
        hdlc_meters: street.hdlc,
        port: street.port.unwrap_or(PORT),
        line_meters: street.line,
        modbus_meters: street.modbus,
        modbus_tcp_meters: street.modbus_tcp,
        modbus_tcp: file.feeder.modbus_tcp,
        baud: street.baud.unwrap_or(BAUD),
        seed: street.seed.unwrap_or(1),
        clock: clock(&file.time).map_err(|(at, message)| wrong(at, message))?,
        past_rows: street.past_rows.unwrap_or(PAST_ROWS),
        credit_wh: street.credit_wh,
        profile_rows: street.profile_rows.unwrap_or(PROFILE_ROWS),
        setup: file.meter,
        loss_permille: file.feeder.losses.map_or(LOSS_PERMILLE, |share| u32::from(share.permille)),
        ..StreetConfig::default()
    };
    for (meter, credit_wh) in &street.credit_of {
        let index = meter.parse().map_err(|_| {
            wrong(street_at, format!("credit_of: `{meter}` is no meter's number; write 3 = 500"))
        })?;
        config.credit_of.insert(index, *credit_wh);
    }
    if let Some(mix) = file.households {
        if mix.get_ref().total() == 0 {
            return Err(wrong(mix.span().start, "[households]: at least one kind has a share".into()));
        }
        config.mix = mix.into_inner();
    }
    config.check().map_err(|error| wrong(street_at, format!("[street]: {error:#}")))?;
    let feeder = feeder_faults(file.feeder);
    let entries = feeder.into_iter().chain(file.fault.into_iter().map(|f| (f.span().start, f.into_inner())));
    for (number, (at, entry)) in (0..).zip(entries) {
        entry.meaning().map_err(|message| wrong(at, message))?;
        meters_of(&entry, config.all_meters(), config.seed, number).map_err(|message| wrong(at, message))?;
        config.faults.push(entry);
    }
    Ok(config)
}

fn clock(time: &TimePart) -> Result<SimClock, (usize, String)> {
    let speed = time.speed.unwrap_or(1);
    let Some(start) = &time.start else { return Ok(SimClock::starting_now(speed)) };
    let text = match start.get_ref() {
        toml::Value::String(text) if text == "now" => return Ok(SimClock::starting_now(speed)),
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let utc_s = text.parse::<jiff::Timestamp>().ok().and_then(|at| u32::try_from(at.as_second()).ok());
    let wanted = || format!("`{text}` is no start: \"now\" or a time with its zone, 2026-01-05T18:00:00Z");
    utc_s.map(|utc_s| SimClock::starting_at(utc_s, speed)).ok_or_else(|| (start.span().start, wanted()))
}

/// What is wrong on the feeder from the beginning, as faults that begin at once, with where they stand in the file.
fn feeder_faults(feeder: FeederPart) -> Vec<(usize, FaultEntry)> {
    let of = |name, parts: Vec<Spanned<Part>>| {
        parts.into_iter().map(move |part| {
            let at = part.span().start;
            let Part { meters, share, percent, volts } = part.into_inner();
            (at, FaultEntry { meters, share, percent, volts, ..FaultEntry::new(name) })
        })
    };
    of(FaultName::Theft, feeder.theft)
        .chain(of(FaultName::LowVoltage, feeder.low_voltage))
        .chain(of(FaultName::BrokenNeutral, feeder.broken_neutral))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    const WHOLE: &str = r#"
[street]
wrapper = 20
hdlc = 20
line = 8
modbus = 6
modbus_tcp = 2
port = 0
baud = 9600
seed = 7
credit_wh = 5000
credit_of = { 3 = 500 }
profile_rows = 96
past_rows = 4

[time]
start = 2026-01-05T18:00:00Z
speed = 60

[households]
small = 1
family = 2

[feeder]
losses = "5%"
modbus_tcp = "127.0.0.1:0"
theft = [{ share = "3%", percent = 60 }]

[[feeder.low_voltage]]
meters = [38, 39]
volts = 184

[[fault]]
at = "00:10"
for = "5m"
share = "2%"
fault = "silence"
"#;

    #[test]
    fn a_scenario_says_what_the_street_is_and_what_happens_there() {
        let config = parse(
            &WHOLE
                .replace("[[feeder.low", "#[[feeder.low")
                .replace("meters = [38", "#")
                .replace("volts = 184", ""),
        )
        .unwrap();
        assert_eq!((config.meters, config.hdlc_meters, config.line_meters), (40, 20, 8));
        assert_eq!((config.modbus_meters, config.modbus_tcp_meters, config.all_meters()), (6, 2, 56));
        assert_eq!((config.credit_wh(1), config.credit_wh(3)), (5000, 500));
        assert_eq!(config.loss_permille, 50);
        assert_eq!(config.clock.origin_utc_ms(), 1_767_636_000_000);
        assert_eq!(config.mix, Mix { small: 1, family: 2, business: 0 });
        let [theft, silence] = &config.faults[..] else { panic!("{:?}", config.faults) };
        assert_eq!((theft.fault, theft.percent), (FaultName::Theft, Some(60)));
        assert_eq!((silence.at, silence.lasts_for), (Span::parse("10m"), Span::parse("5m")));
    }

    fn wrong(change: (&str, &str)) -> (usize, String) {
        let text = WHOLE.replace("theft = [{ share = \"3%\", percent = 60 }]\n", "");
        let changed = text.replace(change.0, change.1);
        assert_ne!(changed, text, "{change:?}");
        let error = parse(&changed).unwrap_err();
        (error.line, error.message)
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_what_is_allowed() {
        let (line, message) = wrong(("wrapper = 20", "wraper = 20"));
        assert_eq!(line, 3);
        assert!(
            message.starts_with("unknown field `wraper`, expected one of `wrapper`, `hdlc`"),
            "{message}"
        );
        let (line, message) = wrong(("line = 8", "line = 33"));
        assert_eq!((line, message.as_str()), (2, "[street]: a line carries at most 32 meters"));
        let (line, message) = wrong(("\"00:10\"", "\"soon\""));
        assert_eq!(line, 33);
        assert!(message.contains("`soon` is no length of time: 90s, 5m"), "{message}");
        let (line, message) = wrong(("\"silence\"", "\"silent\""));
        assert_eq!(line, 36);
        assert!(
            message.contains("unknown variant `silent`, expected one of `silence`, `lost_answer`"),
            "{message}"
        );
        let (line, message) = wrong(("[38, 39]", "[38, 99]"));
        assert_eq!((line, message.as_str()), (28, "there is no meter 99: the street has meters 1 to 56"));
        let (line, message) = wrong(("2026-01-05T18:00:00Z", "2026-01-05"));
        assert_eq!(line, 17);
        assert!(message.contains("a time with its zone"), "{message}");
        let (line, message) = wrong(("small = 1\nfamily = 2", "small = 0"));
        assert_eq!((line, message.as_str()), (20, "[households]: at least one kind has a share"));
        let (line, message) = wrong(("volts = 184", "volts = 184\npercent = 3"));
        assert_eq!((line, message.as_str()), (28, "low_voltage has no `percent`; it takes volts"));
        let (line, message) = wrong(("modbus_tcp = \"127.0.0.1:0\"", ""));
        assert_eq!(line, 2);
        assert!(message.contains("give the feeder an address"), "{message}");
        assert_eq!(parse("").unwrap_err().message, "missing field `street`");
    }

    #[test]
    fn the_examples_are_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut count = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            load(&path, StreetKeys::default()).unwrap_or_else(|error| panic!("{error:#}"));
            count += 1;
        }
        assert!(count >= 3, "{count} examples");
    }
}
