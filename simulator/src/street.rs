//! A street: meters on TCP, on serial lines and on Modbus, the feeder that supplies them, and the time that passes there.

use crate::clock::SimClock;
use crate::fault_entry::FaultEntry;
use crate::faults::Fault;
use crate::identity::{FEEDER, METERS_MAX, StreetKeys, address, drn, initial_credit_wh};
use crate::line::{BAUD, Line};
use crate::load::Mix;
use crate::meter::{SimMeter, Truth};
use crate::modbus_server::{self, Station};
use crate::push;
use crate::random::hash;
use crate::roll::{Entry, Model, Place};
use crate::scene::{self, Scene};
use crate::session::{Framing, Session};
use crate::setup::Setup;
use crate::tcp::{self, Reachable, now};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The port of DLMS/COSEM.
pub const PORT: u16 = protocol::link::wrapper::PORT;
/// Three days of quarter hours.
pub const PROFILE_ROWS: u32 = 288;
/// Two hours of quarter hours, so that there is a profile to read at once.
pub const PAST_ROWS: u32 = 8;
/// Technical losses of the feeder, in permille of what the meters measure.
pub const LOSS_PERMILLE: u32 = 40;
/// HDLC address of the first meter on a serial line; the others follow.
pub const FIRST_PHYSICAL: u16 = 16;
/// Unit address of the feeder's check meter.
pub const FEEDER_UNIT: u8 = 1;
/// Ten years of quarter hours: a bound of ours.
pub const PROFILE_ROWS_MAX: u32 = 350_640;
/// How often the street's time is carried forward, in real time.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Unit addresses that a Modbus TCP server has besides the feeder's (MODBUS over Serial Line V1.02, 2.2: 1 to 247).
const TCP_UNITS_MAX: u32 = 246;
/// Modbus TCP servers of one street: a bound of ours.
const TCP_SERVERS_MAX: u32 = 8;
/// A line with more stations than this would be one no cable carries (TIA-485: 32 unit loads).
const LINE_MAX: u32 = 32;

/// What a street is made of.
#[derive(Debug, Clone)]
pub struct StreetConfig {
    /// DLMS meters on TCP, from meter 1.
    pub meters: u32,
    /// How many of those, the last ones, speak HDLC over TCP; the others use the wrapper.
    pub hdlc_meters: u32,
    /// Port of all of them; 0 takes any free one.
    pub port: u16,
    /// DLMS meters on one RS-485 line (HDLC, multi-drop), numbered after those on TCP.
    pub line_meters: u32,
    /// Modbus RTU meters with a relay on another line, numbered after those.
    pub modbus_meters: u32,
    /// Modbus meters with a relay behind the feeder's Modbus TCP address, and from the 247th on behind the IP addresses after it,
    /// numbered after those.
    pub modbus_tcp_meters: u32,
    /// Where the feeder's check meter answers over Modbus TCP.
    pub modbus_tcp: Option<SocketAddr>,
    /// Put the DLMS line on this serial device instead of a new pair of pseudo terminals.
    pub serial_device: Option<String>,
    /// Rate of the lines.
    pub baud: u32,
    /// Households, balances and challenges follow from it.
    pub seed: u64,
    /// Time of the street.
    pub clock: SimClock,
    /// Rows of load profile that the meters have recorded before they start.
    pub past_rows: u32,
    /// Credit of every meter at the start; `None` gives each its own.
    pub credit_wh: Option<i64>,
    /// Credit of single meters, by number.
    pub credit_of: BTreeMap<u32, i64>,
    /// Keys of the meters.
    pub keys: StreetKeys,
    /// Depth of the load profile, in rows.
    pub profile_rows: u32,
    /// Feeder's technical losses, in permille of the sum.
    pub loss_permille: u32,
    /// Settings of the DLMS meters.
    pub setup: Setup,
    /// Kinds of household.
    pub mix: Mix,
    /// What goes wrong, counted from the start.
    pub faults: Vec<FaultEntry>,
    /// Where the meters on TCP send their alarms, on this machine; nowhere without this.
    pub push_to: Option<SocketAddr>,
    /// Where the state is kept: every meter's memory, what lasts, and the time. Nowhere without this.
    pub state: Option<PathBuf>,
}

impl Default for StreetConfig {
    /// No meters, real time, port 4059.
    fn default() -> Self {
        Self {
            meters: 0,
            hdlc_meters: 0,
            port: PORT,
            line_meters: 0,
            modbus_meters: 0,
            modbus_tcp_meters: 0,
            modbus_tcp: None,
            serial_device: None,
            baud: BAUD,
            seed: 1,
            clock: SimClock::starting_now(1),
            past_rows: PAST_ROWS,
            credit_wh: None,
            credit_of: BTreeMap::new(),
            keys: StreetKeys::default(),
            profile_rows: PROFILE_ROWS,
            loss_permille: LOSS_PERMILLE,
            setup: Setup::default(),
            mix: Mix::default(),
            faults: Vec::new(),
            push_to: None,
            state: None,
        }
    }
}

impl StreetConfig {
    /// Credit of meter `index` at the start, in watt-hours.
    #[must_use]
    pub fn credit_wh(&self, index: u32) -> i64 {
        let own = self.credit_of.get(&index).copied().or(self.credit_wh);
        own.unwrap_or_else(|| initial_credit_wh(self.seed, index))
    }

    fn framing(&self, index: u32) -> Framing {
        if index + self.hdlc_meters > self.meters { Framing::Hdlc } else { Framing::Wrapper }
    }

    /// Meters of all kinds, the feeder's not counted. Their numbers are 1 to this.
    #[must_use]
    pub fn all_meters(&self) -> u32 {
        self.meters + self.line_meters + self.modbus_meters + self.modbus_tcp_meters
    }

    /// Whether the settings fit together.
    ///
    /// # Errors
    /// What does not, and what is allowed.
    pub fn check(&self) -> anyhow::Result<()> {
        let kinds = [self.meters, self.line_meters, self.modbus_meters, self.modbus_tcp_meters];
        let all: u64 = kinds.into_iter().map(u64::from).sum();
        ensure!(all <= u64::from(METERS_MAX), "a street has at most {METERS_MAX} meters");
        ensure!(self.hdlc_meters <= self.meters, "more meters with HDLC than meters");
        ensure!(self.line_meters <= LINE_MAX, "a line carries at most {LINE_MAX} meters");
        ensure!(self.modbus_meters <= LINE_MAX, "a line carries at most {LINE_MAX} meters");
        ensure!(
            self.modbus_tcp_meters <= TCP_UNITS_MAX * TCP_SERVERS_MAX,
            "a street has at most {} Modbus TCP meters besides the feeder's",
            TCP_UNITS_MAX * TCP_SERVERS_MAX
        );
        ensure!(
            self.modbus_tcp_meters == 0 || self.modbus_tcp.is_some(),
            "Modbus TCP meters are behind the feeder's address: give the feeder an address for Modbus TCP"
        );
        ensure!(self.baud >= 300, "no line is slower than 300 baud");
        ensure!(self.profile_rows >= 1, "a load profile has at least one row");
        ensure!(self.profile_rows <= PROFILE_ROWS_MAX, "a load profile has at most {PROFILE_ROWS_MAX} rows");
        ensure!(self.past_rows <= PROFILE_ROWS_MAX, "a past has at most {PROFILE_ROWS_MAX} rows");
        ensure!(self.loss_permille <= 1000, "a feeder loses at most all it carries");
        let no_meter = self.credit_of.keys().find(|index| !(1..=self.all_meters()).contains(*index));
        if let Some(index) = no_meter {
            anyhow::bail!("credit of meter {index}: the street has meters 1 to {}", self.all_meters());
        }
        Ok(())
    }

    /// Everything about the meters that does not depend on a running street, in order of their numbers.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn roll(&self) -> anyhow::Result<Vec<Entry>> {
        self.check()?;
        let tcp = (1..=self.meters).map(|i| (i, Model::Dlms, Place::Tcp(self.framing(i), self.port)));
        let line = (0..self.line_meters)
            .map(|k| (self.meters + 1 + k, Model::Dlms, Place::Line(FIRST_PHYSICAL + k as u16))); // 32 at most
        let first_modbus = self.meters + self.line_meters + 1;
        let modbus = (0..self.modbus_meters)
            .map(|k| (first_modbus + k, Model::Modbus, Place::ModbusLine(1 + k as u8))); // 32 at most
        let first_tcp = first_modbus + self.modbus_meters;
        let modbus_tcp = (0..self.modbus_tcp_meters).map(|k| {
            // 246 units on each of 8 servers at most.
            let place =
                Place::ModbusTcp((k / TCP_UNITS_MAX) as u8, FEEDER_UNIT + 1 + (k % TCP_UNITS_MAX) as u8);
            (first_tcp + k, Model::Modbus, place)
        });
        let entry =
            |(index, model, place)| Entry::new(index, model, place, self.credit_wh(index), &self.keys);
        tcp.chain(line).chain(modbus).chain(modbus_tcp).map(entry).collect()
    }
}

/// A running street. Dropping it ends it.
#[derive(Debug)]
pub struct Street {
    config: StreetConfig,
    roll: Vec<Entry>,
    scene: Arc<Scene>,
    feeder_serial: String,
    port: u16,
    modbus_tcp: Option<SocketAddr>,
    line_path: Option<String>,
    modbus_line_path: Option<String>,
    stop: Arc<AtomicBool>,
    time: Option<JoinHandle<()>>,
    tasks: JoinSet<()>,
}

impl Street {
    /// Starts every meter, and serves them until the street is dropped. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The settings contradict each other, a port is taken, the system gives no pseudo terminals, or a state that is to be
    /// resumed is of another street.
    pub async fn start(mut config: StreetConfig) -> anyhow::Result<Self> {
        let roll = config.roll()?;
        let scene = Arc::new(scene::start(&mut config, &roll)?);
        let mut street = Self {
            port: config.port,
            config,
            roll,
            scene,
            feeder_serial: drn(FEEDER)?.as_str().to_owned(),
            modbus_tcp: None,
            line_path: None,
            modbus_line_path: None,
            stop: Arc::default(),
            time: None,
            tasks: JoinSet::new(),
        };
        street.tick();
        street.serve_tcp().await?;
        street.serve_lines()?;
        street.serve_feeder().await?;
        if !street.config.clock.is_held() {
            street.keep_time();
        }
        Ok(street)
    }

    async fn serve_tcp(&mut self) -> anyhow::Result<()> {
        if self.config.meters == 0 {
            return Ok(());
        }
        // Every address of 127.0.0.0/8 ends here; peers from elsewhere are hung up on.
        let wanted = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.config.port));
        let listener = TcpListener::bind(wanted).await.with_context(|| format!("port {}", wanted.port()))?;
        self.port = listener.local_addr().context("local address")?.port();
        for entry in &mut self.roll {
            entry.set_port(self.port);
        }
        let reachable: Reachable = (1..=self.config.meters)
            .zip(self.scene.meters.iter())
            .map(|(index, meter)| (Arc::clone(meter), self.config.framing(index)))
            .collect();
        self.tasks.spawn(tcp::serve(listener, reachable, self.config.clock.clone()));
        if let Some(to) = self.config.push_to {
            ensure!(to.ip().is_loopback(), "the simulator sends to loopback addresses only, not {to}");
            let speaking: Vec<_> = (1..=self.config.meters)
                .zip(self.scene.meters.iter())
                .map(|(index, meter)| (address(index), Arc::clone(meter)))
                .collect();
            for (_, meter) in &speaking {
                ensure!(meter.push_to(to), "a meter refused {to} as the destination of its alarms");
            }
            self.tasks.spawn(push::serve(speaking));
        }
        Ok(())
    }

    fn serve_lines(&mut self) -> anyhow::Result<()> {
        let clock = self.config.clock.clone();
        if self.config.line_meters > 0 {
            let line = match &self.config.serial_device {
                Some(path) => Line::attach(path, self.config.baud)?,
                None => Line::open(self.config.baud)?,
            };
            self.line_path = Some(line.path().to_owned());
            let on_line =
                &self.scene.meters[self.config.meters as usize..][..self.config.line_meters as usize];
            let stations = (FIRST_PHYSICAL..)
                .zip(on_line)
                .map(|(physical, meter)| Session::on_line(Arc::clone(meter), physical, now(&clock)))
                .collect();
            self.tasks.spawn(async move { report("RS-485 line", line.serve_dlms(stations, clock).await) });
        }
        if self.config.modbus_meters > 0 {
            let line = Line::open(self.config.baud)?;
            self.modbus_line_path = Some(line.path().to_owned());
            let first = (self.config.meters + self.config.line_meters) as usize;
            let on_line = &self.scene.meters[first..][..self.config.modbus_meters as usize];
            let stations: Vec<Station> = (1..).zip(on_line.iter().map(Arc::clone)).collect();
            self.tasks.spawn(async move { report("Modbus line", line.serve_modbus(stations).await) });
        }
        Ok(())
    }

    async fn serve_feeder(&mut self) -> anyhow::Result<()> {
        let Some(wanted) = self.config.modbus_tcp else { return Ok(()) };
        let first = (self.config.all_meters() - self.config.modbus_tcp_meters) as usize;
        let mut behind = self.scene.meters[first..].chunks(TCP_UNITS_MAX as usize);
        let mut at = wanted;
        let mut feeder = Some((FEEDER_UNIT, Arc::clone(&self.scene.feeder)));
        loop {
            let meters = behind.next();
            if meters.is_none() && feeder.is_none() {
                return Ok(());
            }
            ensure!(at.ip().is_loopback(), "the simulator serves loopback addresses only, not {at}");
            let listener = TcpListener::bind(at).await.with_context(|| format!("Modbus TCP at {at}"))?;
            at = listener.local_addr().context("local address")?;
            self.modbus_tcp.get_or_insert(at);
            let units = (FEEDER_UNIT + 1..).zip(meters.into_iter().flatten().map(Arc::clone));
            let stations: Arc<[Station]> = feeder.take().into_iter().chain(units).collect();
            self.tasks.spawn(modbus_server::serve_tcp(listener, stations));
            at = after(at);
        }
    }

    /// One thread carries the time of all meters forward.
    fn keep_time(&mut self) {
        let (stop, scene) = (Arc::clone(&self.stop), Arc::clone(&self.scene));
        self.time = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let before = std::time::Instant::now();
                scene.tick();
                std::thread::sleep(TICK.saturating_sub(before.elapsed()));
            }
        }));
    }

    /// Carries the time of every meter, and the feeder's, forward to now.
    pub fn tick(&self) {
        self.scene.tick();
    }

    /// Lets `ms` simulated milliseconds pass at once, in steps of `step_ms` at most.
    pub fn advance(&self, ms: u64, step_ms: u64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(step_ms.max(1));
            self.config.clock.advance_ms(step);
            self.tick();
            left -= step;
        }
    }

    /// Has a fault happen as an entry says, its times counted from now. Gives how many meters it is about.
    ///
    /// # Errors
    /// What is wrong with the entry, and what is allowed.
    pub fn ask(&self, entry: &FaultEntry) -> Result<usize, String> {
        let count = self.scene.ask(entry, self.config.clock.elapsed_ms())?;
        self.tick();
        Ok(count)
    }

    /// How many beginnings and ends of faults are still to come.
    #[must_use]
    pub fn planned(&self) -> usize {
        self.scene.plan.len()
    }

    /// The meters: what a gateway has to know to reach them.
    #[must_use]
    pub fn roll(&self) -> &[Entry] {
        &self.roll
    }

    /// Settings, as they were given.
    #[must_use]
    pub fn config(&self) -> &StreetConfig {
        &self.config
    }

    /// Port of the meters on TCP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the feeder's check meter answers.
    #[must_use]
    pub fn modbus_tcp(&self) -> Option<SocketAddr> {
        self.modbus_tcp
    }

    /// The gateway's end of the DLMS line.
    #[must_use]
    pub fn line_path(&self) -> Option<&str> {
        self.line_path.as_deref()
    }

    /// The gateway's end of the Modbus line.
    #[must_use]
    pub fn modbus_line_path(&self) -> Option<&str> {
        self.modbus_line_path.as_deref()
    }

    /// Meter `index`, from 1: meters on TCP first, then those on the line, those on the Modbus line, those on Modbus TCP.
    #[must_use]
    pub fn meter(&self, index: u32) -> Option<&Arc<SimMeter>> {
        self.scene.meter(index)
    }

    /// The feeder's check meter.
    #[must_use]
    pub fn feeder(&self) -> &Arc<SimMeter> {
        &self.scene.feeder
    }

    /// Serial number of the feeder's check meter.
    #[must_use]
    pub fn feeder_serial(&self) -> String {
        self.feeder_serial.clone()
    }

    /// Number of the meter with this serial number.
    #[must_use]
    pub fn index_of_serial(&self, serial: &str) -> Option<u32> {
        self.roll.iter().find(|entry| entry.serial == serial).map(|entry| entry.index)
    }

    /// Makes something go wrong at meter `index`, or right again. False when there is no such meter.
    pub fn inject(&self, index: u32, fault: Fault) -> bool {
        self.meter(index).map(|meter| meter.inject(fault)).is_some()
    }

    /// How it really stands with meter `index`.
    #[must_use]
    pub fn truth(&self, index: u32) -> Option<Truth> {
        self.meter(index).map(|meter| meter.truth())
    }

    /// A number that depends on everything that lasts of every meter: memory, board, what is wrong. Two streets with the same
    /// one went through the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let all = self.scene.meters.iter().chain([&self.scene.feeder]);
        all.fold(self.config.clock.elapsed_ms(), |digest, meter| hash(digest, meter.digest()))
    }

    /// Host memory all meters take, in bytes, sessions not counted.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.scene.meters.iter().map(|meter| meter.held_bytes()).sum()
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(time) = self.time.take() {
            // It looks at the flag ten times a second; one that panicked has said so already.
            let _ = time.join();
        }
        self.scene.save();
    }
}

/// The same port at the next IP address.
fn after(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip).wrapping_add(1))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip).wrapping_add(1))),
    };
    SocketAddr::new(ip, at.port())
}

fn report(what: &str, end: std::io::Result<()>) {
    if let Err(error) = end {
        tracing::error!(%error, "the {what} ended");
    }
}
