//! Starts the tasks of the lines and says how they are doing.

use super::bus::{Bus, Pace};
use super::counters::Counters;
use super::directory::Directory;
use super::dlms::DlmsTalker;
use super::modbus::{self, ModbusTalker, Wire};
use super::model::Models;
use super::network::Network;
use super::talker::Talker;
use super::work::LineSender;
use crate::clock::Clock;
use crate::config::{LineConfig, LineKind, Parity, SerialProtocol};
use crate::driver::{self, ByteCounters, Endpoint, SerialEndpoint, TcpEndpoint, Traffic};
use crate::vault::Vault;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Jobs that may be on their way to a line's task, not yet in its queue.
const INBOX: usize = 256;
/// How long a TCP connection may take: three times the longest round trip of a good mobile network, and a retransmission.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// EIA-485 drivers of common meters let go of the line within three characters at 9,600 baud.
const TURNAROUND_CHARACTERS: u32 = 4;

/// What every session needs from outside.
#[derive(Clone)]
pub struct Context {
    /// Where meters are.
    pub directory: Directory,
    /// How to speak to them.
    pub models: Models,
    /// Their keys.
    pub vault: Arc<dyn Vault>,
    /// Invocation counters.
    pub counters: Arc<dyn Counters>,
    /// Civil time, to stamp reports and set meter clocks by.
    pub clock: Clock,
    /// System title of this gateway: a manufacturer's three letters and five bytes of its own. Unique among all clients of
    /// its meters, because it is part of every initialisation vector.
    pub system_title: [u8; 8],
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("system_title", &self.system_title).finish_non_exhaustive()
    }
}

/// What a line counts while it works.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub bytes: Arc<ByteCounters>,
    pub waiting: AtomicUsize,
    pub silent: AtomicUsize,
}

/// How a line is doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LineStatus {
    /// Its name.
    pub line: String,
    /// Bytes that crossed it.
    pub traffic: Traffic,
    /// Jobs waiting for it.
    pub jobs_waiting: usize,
    /// Meters that it has stopped asking for now, because they were silent several times in a row.
    pub meters_silent: usize,
}

/// All lines, by name. The tasks end when the last sender to them is dropped.
#[derive(Debug, Clone, Default)]
pub struct Lines(BTreeMap<String, (LineSender, Arc<Gauges>)>);

/// Starts one task per line. A line that cannot be opened now is opened when it is used.
#[must_use]
pub fn spawn(lines: &[LineConfig], context: &Context) -> Lines {
    Lines(lines.iter().map(|line| (line.name.clone(), start(line, context))).collect())
}

fn start(line: &LineConfig, context: &Context) -> (LineSender, Arc<Gauges>) {
    let (sender, jobs) = mpsc::channel(INBOX);
    let gauges = Arc::new(Gauges::default());
    let bytes = gauges.bytes.clone();
    let bus = |talker| Bus::new(line.name.clone(), talker, context.clone(), gauges.clone(), Pace::bus());
    match &line.kind {
        LineKind::Tcp { connections_max } => {
            let network = Network::new(line.name.clone(), *connections_max, context.clone(), gauges.clone());
            tokio::spawn(network.run(jobs));
        }
        LineKind::Serial { port, baud, parity, protocol } => {
            let endpoint = Endpoint::Serial(serial(port, *baud, *parity));
            let talker = match protocol {
                SerialProtocol::DlmsHdlc => Talker::Dlms(DlmsTalker::bus(endpoint, bytes)),
                SerialProtocol::ModbusRtu => {
                    Talker::Modbus(ModbusTalker::new(Wire::new(endpoint, modbus::Framing::Rtu, bytes)))
                }
            };
            tokio::spawn(bus(talker).run(jobs));
        }
        LineKind::ModbusTcp { address } => {
            let tcp = TcpEndpoint { address: *address, connect_timeout: CONNECT_TIMEOUT, source: None };
            let wire = Wire::new(Endpoint::Tcp(tcp), modbus::Framing::Tcp, bytes);
            tokio::spawn(bus(Talker::Modbus(ModbusTalker::new(wire))).run(jobs));
        }
    }
    (sender, gauges)
}

fn serial(port: &str, baud: u32, parity: Parity) -> SerialEndpoint {
    let parity = match parity {
        Parity::None => driver::Parity::None,
        Parity::Even => driver::Parity::Even,
        Parity::Odd => driver::Parity::Odd,
    };
    let mut endpoint =
        SerialEndpoint { port: port.into(), baud, parity, stop_bits: 1, turnaround: Duration::ZERO };
    endpoint.turnaround = endpoint.pacing().byte_time * TURNAROUND_CHARACTERS;
    endpoint
}

impl Lines {
    /// The way to each line.
    #[must_use]
    pub fn senders(&self) -> HashMap<String, LineSender> {
        self.0.iter().map(|(line, (sender, _))| (line.clone(), sender.clone())).collect()
    }

    /// How every line is doing, by name.
    #[must_use]
    pub fn status(&self) -> Vec<LineStatus> {
        let status = |(line, (_, gauges)): (&String, &(LineSender, Arc<Gauges>))| LineStatus {
            line: line.clone(),
            traffic: gauges.bytes.traffic(),
            jobs_waiting: gauges.waiting.load(Ordering::Relaxed),
            meters_silent: gauges.silent.load(Ordering::Relaxed),
        };
        self.0.iter().map(status).collect()
    }
}
