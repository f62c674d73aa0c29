//! Starts the tasks of the lines and says how they are doing.

use super::bus::{Bus, Pace};
use super::counters::Counters;
use super::directory::Directory;
use super::dlms::DlmsTalker;
use super::gauges::{Gauges, LineStatus, Waits};
use super::greeting::Greeter;
use super::meter_keys::MeterKeys;
use super::modbus::{self, ModbusTalker, Wire};
use super::model::Models;
use super::network::{Network, Reached};
use super::record::Recordings;
use super::talker::Talker;
use super::work::{LineSender, Serial};
use crate::clock::Clock;
use crate::config::{LineConfig, LineKind, Parity, SerialProtocol};
use crate::driver::{self, ByteCounters, Callers, Endpoint, SerialEndpoint, TcpEndpoint};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

/// Jobs that may be on their way to a line's task, not yet in its queue: a few of each of some hundred meters at once.
const INBOX: usize = 1_024;
/// Arrivals that a listener may be behind.
const ARRIVALS: usize = 1_024;
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
    /// How long jobs waited is counted here.
    pub waits: Waits,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("system_title", &self.system_title).finish_non_exhaustive()
    }
}

/// A meter has called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Which, as far as it says.
    pub serial: Serial,
    /// From where.
    pub peer: SocketAddr,
    /// A notification that it introduced itself with.
    pub notification: Option<Vec<u8>>,
}

/// The next arrival; never where nobody can arrive any more.
pub async fn arrival(arrivals: &mut broadcast::Receiver<Arrival>) -> Arrival {
    loop {
        match arrivals.recv().await {
            Ok(arrival) => return arrival,
            // What was missed is done at its next time.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
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

/// A line at work.
#[derive(Debug)]
struct Running {
    config: LineConfig,
    jobs: LineSender,
    gauges: Arc<Gauges>,
    /// Becomes true when the line is taken out of the configuration.
    close: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// All lines, and which meter is on which. Cloning shares them; the tasks end when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Router {
    lines: Arc<RwLock<BTreeMap<String, Running>>>,
    context: Context,
    arrivals: broadcast::Sender<Arrival>,
    /// One change of the lines at a time.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// Starts one task per line. A line that cannot be opened now is opened when it is used.
#[must_use]
pub fn spawn(lines: &[LineConfig], context: &Context) -> Router {
    let (arrivals, _) = broadcast::channel(ARRIVALS);
    let lines = lines.iter().map(|line| (line.name.clone(), start(line, context, &arrivals))).collect();
    let (lines, context) = (Arc::new(RwLock::new(lines)), context.clone());
    Router { lines, context, arrivals, changing: Arc::default() }
}

fn start(line: &LineConfig, context: &Context, arrivals: &broadcast::Sender<Arrival>) -> Running {
    let (sender, jobs) = mpsc::channel(INBOX);
    let (close, closing) = watch::channel(false);
    let gauges = Arc::new(Gauges::default());
    let bytes = gauges.bytes.clone();
    let bus = |talker| Bus::new(line.name.clone(), talker, context.clone(), gauges.clone(), Pace::bus());
    let task = match &line.kind {
        LineKind::Tcp { connections_max } => {
            let network = Network::new(line.name.clone(), *connections_max, context.clone(), gauges.clone());
            tokio::spawn(network.run(jobs, closing))
        }
        LineKind::Udp { connections_max } => {
            let network = Network::new(line.name.clone(), *connections_max, context.clone(), gauges.clone());
            tokio::spawn(network.by(Reached::Datagrams).run(jobs, closing))
        }
        LineKind::TcpIn { address, hello, connections_max, idle } => {
            let network = Network::new(line.name.clone(), *connections_max, context.clone(), gauges.clone());
            let callers = Callers::new(*connections_max, *idle);
            let greeter = Greeter {
                line: line.name.clone(),
                hello: hello.clone(),
                context: context.clone(),
                arrivals: arrivals.clone(),
            };
            let listening = callers.clone().listen(*address, greeter);
            let network = network.by(Reached::Calls(callers));
            tokio::spawn(async move {
                tokio::select! {
                    () = network.run(jobs, closing) => {}
                    () = listening => {}
                }
            })
        }
        LineKind::Serial { port, baud, parity, protocol } => {
            let endpoint = Endpoint::Serial(serial(port, *baud, *parity));
            tokio::spawn(bus(station(*protocol, endpoint, bytes)).run(jobs, closing))
        }
        LineKind::Converter { address, baud, parity, protocol } => {
            let tcp = TcpEndpoint { address: *address, connect_timeout: CONNECT_TIMEOUT, source: None };
            let endpoint = Endpoint::Converter(tcp, serial("", *baud, *parity).pacing());
            tokio::spawn(bus(station(*protocol, endpoint, bytes)).run(jobs, closing))
        }
        LineKind::ModbusTcp { address } => {
            let tcp = TcpEndpoint { address: *address, connect_timeout: CONNECT_TIMEOUT, source: None };
            let wire = Wire::new(Endpoint::Tcp(tcp), modbus::Framing::Tcp, bytes);
            tokio::spawn(bus(Talker::Modbus(ModbusTalker::new(wire))).run(jobs, closing))
        }
    };
    Running { config: line.clone(), jobs: sender, gauges, close, task }
}

/// What speaks on a serial line.
fn station(protocol: SerialProtocol, endpoint: Endpoint, bytes: Arc<ByteCounters>) -> Talker {
    match protocol {
        SerialProtocol::DlmsHdlc => Talker::Dlms(DlmsTalker::bus(endpoint, bytes)),
        SerialProtocol::ModbusRtu => {
            Talker::Modbus(ModbusTalker::new(Wire::new(endpoint, modbus::Framing::Rtu, bytes)))
        }
    }
}

/// Bytes a second that a line can carry; nothing for a network, whose lines are not ours.
fn budget(line: &LineConfig) -> Option<u32> {
    let (LineKind::Serial { baud, parity, .. } | LineKind::Converter { baud, parity, .. }) = &line.kind
    else {
        return None;
    };
    let byte_time = serial("", *baud, *parity).pacing().byte_time;
    u32::try_from(Duration::from_secs(1).as_nanos() / byte_time.as_nanos().max(1)).ok()
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
        let endpoint =
            self.context.directory.find(meter).ok_or_else(|| RouteError::UnknownMeter(meter.0.clone()))?;
        match self.running().get(&endpoint.line) {
            Some(line) => Ok(line.jobs.clone()),
            None => Err(RouteError::UnknownLine { meter: meter.0.clone(), line: endpoint.line }),
        }
    }

    /// Meters that dial in, from now on. Whoever does not listen in time misses some: what is due is done later all the same.
    #[must_use]
    pub fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.arrivals.subscribe()
    }

    /// How every line is doing, by name.
    #[must_use]
    pub fn status(&self) -> Vec<LineStatus> {
        let lines = self.running();
        lines.iter().map(|(name, line)| line.gauges.status(name, budget(&line.config))).collect()
    }

    /// Makes the lines these: stops those that are gone, starts those that are new, and starts anew those that changed. A line
    /// that stops finishes the work it is at, which this waits for, and turns the rest away. Lines that stay as they were
    /// notice nothing.
    pub async fn change_to(&self, wanted: &[LineConfig]) {
        let _turn = self.changing.lock().await;
        let stopped: Vec<Running> = {
            let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<String> = lines
                .values()
                .filter(|line| !wanted.contains(&line.config))
                .map(|line| line.config.name.clone())
                .collect();
            gone.iter().filter_map(|name| lines.remove(name)).collect()
        };
        for line in &stopped {
            line.close.send_replace(true);
        }
        for line in stopped {
            tracing::info!(line = line.config.name, "stopping: the configuration no longer has it like this");
            if let Err(error) = line.task.await {
                tracing::error!(line = line.config.name, %error, "its task did not end by itself");
            }
        }
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        for line in wanted {
            if !lines.contains_key(&line.name) {
                tracing::info!(line = line.name, "starting");
                lines.insert(line.name.clone(), start(line, &self.context, &self.arrivals));
            }
        }
    }

    fn running(&self) -> RwLockReadGuard<'_, BTreeMap<String, Running>> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner)
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
            waits: super::super::waits(),
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
        line.send(Box::new(job)).await.expect("a running line");
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
        assert_eq!(router.status()[0].jobs(), 0);
        let status = &router.status()[0];
        assert_eq!((status.work, status.timeouts, status.turned_away, status.up), (4, 4, 1, false));
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

    #[tokio::test]
    async fn lines_come_and_go_and_those_that_stay_notice_nothing() {
        let router = router();
        let feeder = router.running()["feeder"].config.clone();
        let report = perform(&router, "A", Priority::Scheduled, None).await;
        assert!(reason(&report).contains("refused"), "{report:?}");
        let nowhere = LineConfig { name: "nowhere".into(), ..feeder.clone() };
        router.change_to(&[feeder.clone(), nowhere.clone()]).await;
        assert_eq!(router.status()[0].work, 1, "the first line goes on counting");
        let report = perform(&router, "C", Priority::Scheduled, None).await;
        assert!(reason(&report).contains("refused"), "the new line tries: {report:?}");
        router.change_to(&[nowhere]).await;
        let error = router.line_of(&Serial("A".into())).expect_err("its line is gone");
        assert_eq!(error.to_string(), "meter A is on line \"feeder\", which is not configured");
        let changed = LineConfig { name: "nowhere".into(), area: Some("T2".into()), ..feeder };
        router.change_to(&[changed]).await;
        assert_eq!(router.status()[0].work, 0, "a line that changed begins anew");
    }

    #[test]
    fn the_budget_of_a_wire_follows_from_its_speed() {
        let line = |baud, parity| LineConfig {
            name: "bus".into(),
            kind: LineKind::Serial {
                port: "/dev/ttyS9".into(),
                baud,
                parity,
                protocol: SerialProtocol::ModbusRtu,
            },
            area: None,
        };
        assert_eq!(budget(&line(9_600, Parity::None)), Some(960));
        assert_eq!(budget(&line(9_600, Parity::Even)), Some(872));
        assert_eq!(budget(&line(300, Parity::Even)), Some(27));
    }
}
