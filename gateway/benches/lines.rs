//! `cargo bench -p gateway --bench lines`: how fast the lines read a street of simulated meters over loopback, both ends in
//! this process. Options after `--`: `--meters N` (1000), `--seconds S` (5).
//!
//! One session is: TCP connection, association with HLS-GMAC, identity, one reading of seven values (energy, power, credit,
//! contact, control state, reason, clock), release. Everything is ciphered. Load profiles are not part of a reading here.

use gateway::clock::Clock;
use gateway::config::{LineConfig, LineKind};
use gateway::session::counters::MemoryCounters;
use gateway::session::directory::{Directory, Endpoint, Framing};
use gateway::session::meter_keys::MeterKeys;
use gateway::session::model::Models;
use gateway::session::work::{Ending, Job, Priority, Serial, Work};
use gateway::session::{Context, Router, spawn};
use gateway::vault::{DlmsKeys, VaultError};
use simulator::street::{Street, StreetConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Meters talked to at the same time.
const CONNECTIONS_MAX: usize = 128;
/// Sessions a second that we want, both ends on two cores.
const SESSIONS_BAR: u64 = 5_000;
/// What 10,000 meters may take, and so ten times what 1,000 may.
const TEN_THOUSAND_METERS_BAR: Duration = Duration::from_secs(15);

/// The published test keys of the simulated meters.
struct TestKeys;

impl MeterKeys for TestKeys {
    fn dlms_keys(&self, _: &Serial) -> Result<DlmsKeys, VaultError> {
        Ok(DlmsKeys::new(std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 0xD0 + i as u8)))
    }
}

fn option(name: &str, default: u64) -> u64 {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
}

fn main() -> anyhow::Result<()> {
    let meters = u32::try_from(option("--meters", 1_000))?;
    let seconds = option("--seconds", 5);
    tokio::runtime::Runtime::new()?.block_on(bench(meters, Duration::from_secs(seconds)))
}

async fn bench(meters: u32, patience: Duration) -> anyhow::Result<()> {
    let config = StreetConfig { meters, port: 0, ..StreetConfig::default() };
    let started = Instant::now();
    let street = Street::start(config).await?;
    println!("{meters} simulated meters started in {} ms", started.elapsed().as_millis());
    let router = lines(&street)?;
    let serials: Arc<[Serial]> = street.roll().iter().map(|entry| Serial(entry.serial.clone())).collect();

    let first = sweep(&router, &serials).await?;
    let again = sweep(&router, &serials).await?;
    let (sessions, took) = keep_sweeping(&router, &serials, patience).await?;
    let per_second = sessions * 1_000 / u64::try_from(took.as_millis()).unwrap_or(1).max(1);
    let share = TEN_THOUSAND_METERS_BAR * meters / 10_000;

    println!("{:<58} {:>12} {:>12} {:>8}", "what", "measured", "bar", "ratio");
    let row = |what: &str, measured: String, bar: String, percent: u64| {
        println!("{what:<58} {measured:>12} {bar:>12} {:>5} %", percent);
    };
    for (what, time) in [("first reading of all meters", first), ("reading of all meters again", again)] {
        let percent = share.as_millis() * 100 / time.as_millis().max(1);
        let (measured, bar) = (format!("{} ms", time.as_millis()), format!("{} ms", share.as_millis()));
        row(&format!("{what} ({meters}, {CONNECTIONS_MAX} at once)"), measured, bar, u64::try_from(percent)?);
    }
    let (measured, bar) = (format!("{per_second} /s"), format!("{SESSIONS_BAR} /s"));
    row("GMAC sessions with a reading, sustained", measured, bar, per_second * 100 / SESSIONS_BAR);
    let traffic = router.status().first().map(|line| line.traffic).unwrap_or_default();
    let json = serde_json::json!({
        "meters": meters, "first_ms": first.as_millis() as u64, "again_ms": again.as_millis() as u64,
        "sessions_per_second": per_second, "sent_bytes": traffic.sent_bytes, "received_bytes": traffic.received_bytes,
    });
    println!("{json}");
    Ok(())
}

fn lines(street: &Street) -> anyhow::Result<Router> {
    let directory = Directory::default();
    for entry in street.roll() {
        directory.put(Endpoint {
            serial: Serial(entry.serial.clone()),
            line: "street".into(),
            address: format!("{}:{}", entry.address, street.port()),
            framing: Framing::Wrapper,
            model: "reference-dlms".into(),
        });
    }
    let context = Context {
        directory,
        models: Models::load(None)?,
        keys: Arc::new(TestKeys),
        counters: Arc::new(MemoryCounters::default()),
        clock: Clock::real(),
        system_title: *b"MGWBENCH",
        waits: gateway::session::waits(),
        recordings: gateway::session::record::Recordings::default(),
    };
    let kind = LineKind::Tcp { connections_max: CONNECTIONS_MAX };
    Ok(spawn(&[LineConfig { name: "street".into(), kind, area: None }], &context))
}

/// Reads every meter once.
async fn sweep(router: &Router, serials: &[Serial]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut answers = Vec::with_capacity(serials.len());
    for serial in serials {
        let (report, answer) = oneshot::channel();
        let job = Job {
            meter: serial.clone(),
            work: Work::Read,
            priority: Priority::Billing,
            not_after: None,
            correlation: String::new(),
            report,
            sending: None,
        };
        router.line_of(serial)?.send(Box::new(job)).await?;
        answers.push(answer);
    }
    for answer in answers {
        let report = answer.await?;
        anyhow::ensure!(report.ending == Ending::Done, "{:?}: {:?}", report.ending, report.evidence);
    }
    Ok(began.elapsed())
}

/// Reads every meter again and again until time is up; gives how many sessions that were.
async fn keep_sweeping(
    router: &Router,
    serials: &[Serial],
    patience: Duration,
) -> anyhow::Result<(u64, Duration)> {
    let began = Instant::now();
    let mut sessions = 0;
    while began.elapsed() < patience {
        sweep(router, serials).await?;
        sessions += serials.len() as u64;
    }
    Ok((sessions, began.elapsed()))
}
