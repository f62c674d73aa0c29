//! `cargo bench -p gateway --bench baud`: how much of a 9,600-baud line bulk reads use, as a share of what its characters take. DLMS over
//! HDLC against a simulated meter that gives a week of its load profile, Modbus RTU against a responder with 125 registers; both on
//! pseudo terminals that carry a byte in the time that the rate gives it, both ends in this process.
//! Option after `--`: `--seconds S` (20 for each).
//!
//! What is not a character on the wire is lost time: the turnarounds that both standards ask for, and whatever we take to think.

use gateway::clock::Clock;
use gateway::config::{LineConfig, LineKind, Parity, SerialProtocol};
use gateway::driver::{self, ByteCounters, SerialEndpoint};
use gateway::session::counters::MemoryCounters;
use gateway::session::directory::{Directory, Endpoint, Framing};
use gateway::session::meter_keys::MeterKeys;
use gateway::session::modbus::{self, ReadRequest, Wire};
use gateway::session::model::{Models, Table};
use gateway::session::work::{Ending, Job, Priority, RowsWanted, Serial, Work};
use gateway::session::{Context, spawn};
use gateway::vault::{DlmsKeys, VaultError};
use jiff::{SignedDuration, Timestamp};
use protocol::wire::crc16;
use simulator::paced::Paced;
use simulator::street::{Street, StreetConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_serial::{SerialPort, SerialStream};

const BAUD: u32 = 9_600;
/// Start, eight data bits, stop.
const BITS: u64 = 10;
/// Hundredths of a percent of the line's rate that we want.
const BAR: u64 = 9_500;
/// A week of quarter hours.
const ROWS: u32 = 672;
/// The most registers that one answer holds (MODBUS Application Protocol V1.1b3, 6.3).
const REGISTERS: u16 = 125;

struct TestKeys;

impl MeterKeys for TestKeys {
    fn dlms_keys(&self, _: &Serial) -> Result<DlmsKeys, VaultError> {
        Ok(DlmsKeys::new(std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 0xD0 + i as u8)))
    }
}

/// Hundredths of a percent of the line's time that these bytes needed.
fn share(bytes: u64, time: Duration) -> u64 {
    let needed_ns = u128::from(bytes) * u128::from(BITS) * 1_000_000_000 / u128::from(BAUD);
    u64::try_from(needed_ns * 10_000 / time.as_nanos().max(1)).unwrap_or(u64::MAX)
}

async fn dlms(time: Duration) -> anyhow::Result<u64> {
    let config =
        StreetConfig { line_meters: 1, past_rows: ROWS, profile_rows: ROWS, ..StreetConfig::default() };
    let street = Street::start(config).await?;
    let serial = Serial(street.roll()[0].serial.clone());
    let directory = Directory::default();
    directory.put(Endpoint {
        serial: serial.clone(),
        line: "bus".into(),
        address: street.roll()[0].address.clone(),
        framing: Framing::Hdlc,
        model: "reference-dlms".into(),
    });
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
    let port = street.line_path().unwrap_or_default().to_owned();
    let (parity, protocol) = (Parity::None, SerialProtocol::DlmsHdlc);
    let kind = LineKind::Serial { port, baud: BAUD, parity, protocol };
    let router = spawn(&[LineConfig { name: "bus".into(), kind, area: None }], &context);
    let now = Timestamp::now();
    let from = now - SignedDuration::from_hours(7 * 24);
    let line = router.line_of(&serial)?;
    let (mut begun, mut bytes_before) = (Instant::now(), 0);
    let mut reads = 0;
    while reads < 2 || begun.elapsed() < time {
        let (report, answer) = oneshot::channel();
        let wanted = RowsWanted { profile: "load".into(), from, to: now };
        line.send(Box::new(Job {
            meter: serial.clone(),
            work: Work::ReadProfile(wanted),
            priority: Priority::Billing,
            not_after: None,
            correlation: String::new(),
            report,
            sending: None,
        }))
        .await?;
        let report = answer.await?;
        let rows = report.facts.profile.as_ref().map_or(0, |profile| profile.rows.len());
        anyhow::ensure!(report.ending == Ending::Done && rows >= 600, "{rows} rows: {:?}", report.evidence);
        reads += 1;
        if reads == 1 {
            // The association is open from here on, and the layout known.
            (begun, bytes_before) = (Instant::now(), bytes(&router));
        }
    }
    Ok(share(bytes(&router) - bytes_before, begun.elapsed()))
}

fn bytes(router: &gateway::session::Router) -> u64 {
    router.status().iter().map(|line| line.traffic.sent_bytes + line.traffic.received_bytes).sum()
}

/// Answers reads of registers, once the line was quiet for three and a half characters.
async fn respond(near: SerialStream) -> std::io::Result<()> {
    let mut line = Paced::new(near, BAUD);
    let mut request = [0; 8];
    loop {
        line.read_exact(&mut request).await?;
        tokio::time::sleep(Duration::from_nanos(35 * BITS * 100_000_000 / u64::from(BAUD))).await;
        let bytes = u16::from_be_bytes([request[4], request[5]]) * 2;
        let mut answer = vec![request[0], request[1], bytes as u8];
        answer.resize(3 + usize::from(bytes), 0);
        answer.extend(crc16(&answer).to_le_bytes());
        line.write_all(&answer).await?;
    }
}

async fn modbus(time: Duration) -> anyhow::Result<u64> {
    let (near, mut far) = SerialStream::pair()?;
    far.set_exclusive(false)?;
    let port = far.name().ok_or_else(|| anyhow::anyhow!("the pseudo terminal has no path"))?;
    tokio::spawn(respond(near));
    let mut endpoint = SerialEndpoint {
        port,
        baud: BAUD,
        parity: driver::Parity::None,
        stop_bits: 1,
        turnaround: Duration::ZERO,
    };
    endpoint.turnaround = endpoint.pacing().byte_time * 4;
    let counters = Arc::<ByteCounters>::default();
    let mut wire = Wire::new(driver::Endpoint::Serial(endpoint), modbus::Framing::Rtu, counters.clone());
    let request = ReadRequest { table: Table::Holding, address: 0, count: REGISTERS };
    let begun = Instant::now();
    while begun.elapsed() < time {
        let read = wire.read(1, request, Duration::from_secs(1)).await;
        read.map_err(|trouble| anyhow::anyhow!("{trouble}"))?;
    }
    let traffic = counters.traffic();
    drop(far);
    Ok(share(traffic.sent_bytes + traffic.received_bytes, begun.elapsed()))
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let seconds = arguments.iter().position(|argument| argument == "--seconds");
    let seconds = seconds.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(20);
    let time = Duration::from_secs(seconds);
    let runtime = tokio::runtime::Runtime::new()?;
    let (dlms, modbus) = (runtime.block_on(dlms(time))?, runtime.block_on(modbus(time))?);
    println!(
        "{{\"bench\":\"baud\",\"baud\":{BAUD},\"dlms_hdlc_per_10000\":{dlms},\"modbus_rtu_per_10000\":{modbus},\"bar\":{BAR}}}"
    );
    anyhow::ensure!(dlms >= BAR && modbus >= BAR, "below {BAR} of 10,000 parts of the line's rate");
    Ok(())
}
