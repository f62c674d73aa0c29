//! Starts the tasks of the lines and says how they are doing.

use super::bus::{Bus, Pace};
use super::counters::Counters;
use super::directory::Directory;
use super::dlms::DlmsTalker;
use super::meter_keys::MeterKeys;
use super::modbus::{self, ModbusTalker, Wire};
use super::model::Models;
use super::network::Network;
use super::record::Recordings;
use super::talker::Talker;
use super::work::{LineSender, Serial};
use crate::clock::Clock;
use crate::config::{LineConfig, LineKind, Parity, SerialProtocol};
use crate::driver::{self, ByteCounters, Endpoint, SerialEndpoint, TcpEndpoint, Traffic};
use std::collections::BTreeMap;
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
    pub keys: Arc<dyn MeterKeys>,
    /// Invocation counters.
    pub counters: Arc<dyn Counters>,
    /// Civil time, to stamp reports and set meter clocks by.
    pub clock: Clock,
    /// System title of this gateway: a manufacturer's three letters and five bytes of its own. Unique among all clients of
    /// its meters, because it is part of every initialisation vector.
    pub system_title: [u8; 8],
    /// Meters whose sessions are being recorded.
    pub recordings: Recordings,
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

/// Why there is no way to a meter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The directory does not know the meter.
    #[error("meter {0} is not known")]
    UnknownMeter(String),
    /// The meter refers to a line that the configuration does not have.
    #[error("meter {meter} is on line {line:?}, which is not configured")]
    UnknownLine {
        /// The meter.
        meter: String,
        /// The line it names.
        line: String,
    },
}

/// All lines, and which meter is on which. Cloning shares them; the tasks end when the last clone is dropped.
#[derive(Debug, Clone, Default)]
pub struct Router {
    lines: Arc<BTreeMap<String, (LineSender, Arc<Gauges>)>>,
    directory: Directory,
}

/// Starts one task per line. A line that cannot be opened now is opened when it is used.
#[must_use]
pub fn spawn(lines: &[LineConfig], context: &Context) -> Router {
    let lines = lines.iter().map(|line| (line.name.clone(), start(line, context))).collect();
    Router { lines: Arc::new(lines), directory: context.directory.clone() }
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

impl Router {
    /// The way to the meter's line.
    ///
    /// # Errors
    /// Meter or line unknown.
    pub fn line_of(&self, meter: &Serial) -> Result<LineSender, RouteError> {
        let endpoint = self.directory.find(meter).ok_or_else(|| RouteError::UnknownMeter(meter.0.clone()))?;
        match self.lines.get(&endpoint.line) {
            Some((sender, _)) => Ok(sender.clone()),
            None => Err(RouteError::UnknownLine { meter: meter.0.clone(), line: endpoint.line }),
        }
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
        self.lines.iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::directory::{Endpoint as MeterEndpoint, Framing};
    use crate::session::work::{Ending, Job, Priority, Report, Work};
    use crate::vault::{DlmsKeys, KeyMark, VaultError};
    use jiff::Timestamp;
    use std::ops::Range;
    use std::pin::Pin;
    use tokio::sync::oneshot;

    struct Nothing;

    impl MeterKeys for Nothing {
        fn dlms_keys(&self, serial: &Serial) -> Result<DlmsKeys, VaultError> {
            Err(VaultError::NoKey(serial.0.clone()))
        }
    }

    impl std::fmt::Debug for Nothing {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Nothing")
        }
    }

    impl Counters for Nothing {
        fn reserve(
            &self,
            _: &Serial,
            _: u8,
            _: u32,
            _: u32,
        ) -> Pin<Box<dyn Future<Output = Result<Range<u32>, String>> + Send + '_>> {
            Box::pin(async { Err("no store".to_owned()) })
        }

        fn heard(
            &self,
            _: &Serial,
            _: KeyMark,
        ) -> Pin<Box<dyn Future<Output = Result<Option<u32>, String>> + Send + '_>> {
            Box::pin(async { Err("no store".to_owned()) })
        }

        fn keep_heard(
            &self,
            _: &Serial,
            _: KeyMark,
            _: u32,
        ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
            Box::pin(async { Err("no store".to_owned()) })
        }
    }

    /// A Modbus TCP line to an address where nobody listens, with two meters, and a meter on a line that is not there.
    fn router() -> Router {
        let directory = Directory::default();
        for (serial, line, address) in [("A", "feeder", "1"), ("B", "feeder", "2"), ("C", "nowhere", "1")] {
            directory.put(MeterEndpoint {
                serial: Serial(serial.into()),
                line: line.into(),
                address: address.into(),
                framing: Framing::default(),
                model: "reference-modbus".into(),
            });
        }
        let context = Context {
            directory,
            models: Models::load(None).expect("built-in models"),
            keys: Arc::new(Nothing),
            counters: Arc::new(Nothing),
            clock: Clock::real(),
            system_title: *b"MGWGW001",
            recordings: Recordings::default(),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let kind = LineKind::ModbusTcp { address };
        spawn(&[LineConfig { name: "feeder".into(), kind, area: None }], &context)
    }

    async fn perform(
        router: &Router,
        meter: &str,
        priority: Priority,
        not_after: Option<Timestamp>,
    ) -> Report {
        let (report, answer) = oneshot::channel();
        let meter = Serial(meter.into());
        let line = router.line_of(&meter).expect("a line");
        let job = Job {
            meter,
            work: Work::Read,
            priority,
            not_after,
            correlation: String::new(),
            report,
            sending: None,
        };
        line.send(job).await.expect("a running line");
        answer.await.expect("a report")
    }

    fn reason(report: &Report) -> &str {
        match &report.ending {
            Ending::NotSent { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_silent_meter_is_left_alone_after_the_third_time_and_its_neighbour_is_not() {
        let router = router();
        for _ in 0..3 {
            let report = perform(&router, "A", Priority::Scheduled, None).await;
            assert!(reason(&report).contains("refused"), "{report:?}");
        }
        let turned_away = perform(&router, "A", Priority::Scheduled, None).await;
        assert!(reason(&turned_away).starts_with("the meter was silent several times; asked again in"));
        let neighbour = perform(&router, "B", Priority::Scheduled, None).await;
        assert!(reason(&neighbour).contains("refused"), "tried, not turned away");
        assert_eq!(router.status()[0].meters_silent, 1);
        assert_eq!(router.status()[0].jobs_waiting, 0);
    }

    #[tokio::test]
    async fn a_job_past_its_time_is_not_started() {
        let router = router();
        let report = perform(&router, "A", Priority::Command, Some(Timestamp::UNIX_EPOCH)).await;
        assert_eq!(reason(&report), "its time was over before the line was free");
    }

    #[tokio::test]
    async fn a_meter_on_no_line_is_named() {
        let error = router().line_of(&Serial("C".into())).expect_err("no such line");
        assert_eq!(error.to_string(), "meter C is on line \"nowhere\", which is not configured");
        let error = router().line_of(&Serial("D".into())).expect_err("no such meter");
        assert_eq!(error.to_string(), "meter D is not known");
    }
}
