//! A bus under full load in virtual time: who waits for whom. Every run has a seed, which a failure names.

use super::*;
use crate::clock::Clock;
use crate::driver::{Pacing, Pipe};
use crate::session::counters::MemoryCounters;
use crate::session::directory::{Directory, Endpoint, Framing};
use crate::session::meter_keys::MeterKeys;
use crate::session::modbus::{self, ModbusTalker, Wire};
use crate::session::model::Models;
use crate::session::record::Recordings;
use crate::session::work::{Priority, Work};
use crate::vault::{DlmsKeys, VaultError};
use std::collections::HashSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

/// Meters on the bus.
const METERS: u8 = 30;
/// Jobs of each priority below commands that always wait.
const WAITING: usize = 6;

#[derive(Debug)]
struct NoKeys;

impl MeterKeys for NoKeys {
    fn dlms_keys(&self, serial: &Serial) -> Result<DlmsKeys, VaultError> {
        Err(VaultError::NoKey(serial.0.clone()))
    }
}

/// A small random number generator (xorshift, 64 bits).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Meters that answer reads of registers with zeros after 20 to 220 ms; those in `dead` never do.
async fn serve(mut line: DuplexStream, mut dice: Dice, dead: HashSet<u8>) {
    let mut request = [0; 8];
    while line.read_exact(&mut request).await.is_ok() {
        if dead.contains(&request[0]) {
            continue;
        }
        tokio::time::sleep(Duration::from_millis(20 + dice.roll(200))).await;
        let bytes = request[5] * 2;
        let mut answer = vec![request[0], request[1], bytes];
        answer.resize(3 + usize::from(bytes), 0);
        answer.extend(protocol::wire::crc16(&answer).to_le_bytes());
        if line.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn name(unit: u8) -> Serial {
    Serial(format!("M{unit}"))
}

/// A running bus, and what comes of its jobs in the order in which they end.
struct Line {
    jobs: mpsc::Sender<Box<Job>>,
    ended: mpsc::UnboundedReceiver<(Priority, Serial, Ending)>,
    tell: mpsc::UnboundedSender<(Priority, Serial, Ending)>,
    dice: Dice,
    _close: watch::Sender<bool>,
}

impl Line {
    fn new(seed: u64, dead: &[u8]) -> Self {
        let directory = Directory::default();
        for unit in 1..=METERS {
            directory.put(Endpoint {
                serial: name(unit),
                line: "bus".into(),
                address: unit.to_string(),
                framing: Framing::default(),
                model: "feeder-modbus".into(),
            });
        }
        let context = Context {
            directory,
            models: Models::load(None).expect("built-in models"),
            keys: Arc::new(NoKeys),
            counters: Arc::new(MemoryCounters::default()),
            clock: Clock::real(),
            system_title: *b"MGWGW001",
            recordings: Recordings::default(),
            waits: crate::session::waits(),
        };
        let (ours, theirs) = tokio::io::duplex(512);
        let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        tokio::spawn(serve(theirs, Dice(seed ^ 0xFFFF), dead.iter().copied().collect()));
        let pacing = Pacing { byte_time: Duration::from_millis(1), turnaround: Duration::from_millis(4) };
        let wire = Wire::on(Pipe::new(ours, Arc::default(), Some(pacing)), modbus::Framing::Rtu);
        let talker = Talker::Modbus(ModbusTalker::new(wire));
        let bus = Bus::new("bus".into(), talker, context, Arc::default(), Pace::bus());
        let ((jobs, inbox), (close, closing)) = (mpsc::channel(256), watch::channel(false));
        tokio::spawn(bus.run(inbox, closing));
        let (tell, ended) = mpsc::unbounded_channel();
        Self { jobs, ended, tell, dice: Dice(seed), _close: close }
    }

    async fn add(&mut self, priority: Priority) {
        let meter = name(1 + self.dice.roll(u64::from(METERS)) as u8);
        let (report, answer) = oneshot::channel();
        let job = Job {
            meter: meter.clone(),
            work: Work::Read,
            priority,
            not_after: None,
            correlation: String::new(),
            report,
            sending: None,
        };
        self.jobs.send(Box::new(job)).await.expect("a running bus");
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let report = answer.await.expect("a report");
            let _ = tell.send((priority, meter, report.ending));
        });
    }

    /// The next job that ends, with another of its kind put in its place.
    async fn next(&mut self) -> (Priority, Serial, Ending) {
        let next = self.ended.recv().await.expect("jobs end");
        if next.0 != Priority::Command {
            self.add(next.0).await;
        }
        next
    }

    async fn load(&mut self) {
        for priority in &Priority::ALL[1..] {
            for _ in 0..WAITING {
                self.add(*priority).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_on_a_full_line_waits_for_two_jobs_at_most() {
    for seed in 1..=20 {
        let mut line = Line::new(seed, &[]);
        let began = Instant::now();
        line.load().await;
        for round in 0..20 {
            // It comes at any moment of the work under way.
            for _ in 0..line.dice.roll(12) {
                line.next().await;
            }
            let moment = Duration::from_millis(line.dice.roll(400));
            tokio::time::sleep(moment).await;
            // Whatever ends at this very moment has ended before.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            while line.ended.try_recv().is_ok() {}
            line.add(Priority::Command).await;
            let mut before = 0;
            while line.next().await.0 != Priority::Command {
                before += 1;
            }
            assert!(before <= 2, "seed {seed}, round {round}: {before} jobs went before the command");
            // What was thrown away above is put back, so that the line stays full.
            line.load().await;
        }
        println!("seed {seed}: 20 commands, {:?} of full load", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_meter_costs_its_bus_only_its_own_timeout() {
    for seed in 1..=5 {
        let mut line = Line::new(seed, &[7]);
        line.load().await;
        let began = Instant::now();
        let (mut silent, mut done) = (0, 0);
        while done < 300 {
            match line.next().await {
                (_, _, Ending::Done) => done += 1,
                (_, meter, Ending::NotSent { reason }) => {
                    assert_eq!(meter, name(7), "seed {seed}: {reason}");
                    silent += u64::from(!reason.contains("silent several times"));
                }
                (_, meter, other) => panic!("seed {seed}: {meter:?} {other:?}"),
            }
        }
        // The feeder's model reads with two requests of at most 220 ms and their bytes; a silent meter costs its second, and up to
        // two more when it is asked again while it may still speak.
        let bound = Duration::from_millis(600 * done + 4_000 * silent);
        assert!(
            began.elapsed() < bound,
            "seed {seed}: {:?} for {done} reads and {silent} silences",
            began.elapsed()
        );
        assert!(silent >= 3, "seed {seed}: {silent} silences");
        println!("seed {seed}: {done} reads, {silent} silences, {:?}", began.elapsed());
    }
}
