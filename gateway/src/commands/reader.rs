//! The reader: a task that reads every commissioned meter on schedule and stores what it said.

use super::clock::ClockKeeper;
use super::engine::Policy;
use super::observe;
use super::router::{NoPlace, Router};
use super::schedule::{self, Schedule};
use crate::clock::Clock;
use crate::config::{Live, ScheduleConfig};
use crate::guards::Rules;
use crate::reading::plausibility::Thresholds;
use crate::session::work::{Ending, Job, Priority, Report, Serial, Work};
use crate::store::{Store, StoreError, meter};
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How often the schedule is looked at, in real time. A demo's fast clock passes several seconds in one.
const TICK: Duration = Duration::from_millis(100);
/// A read whose line is full waits this long, in civil time.
const FULL_PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// The reader; [`Reader::run`] is its task.
#[derive(Debug)]
pub struct Reader {
    store: Store,
    clock: Clock,
    router: Router,
    config: Live<ScheduleConfig>,
    policy: Live<Policy>,
    clocks: ClockKeeper,
}

/// How a read ended.
struct Ended {
    serial: Serial,
    /// The meter said something.
    answered: bool,
}

impl Reader {
    /// Over these.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        router: Router,
        config: Live<ScheduleConfig>,
        policy: Live<Policy>,
        clocks: ClockKeeper,
    ) -> Self {
        Self { store, clock, router, config, policy, clocks }
    }

    /// Runs until `stop` becomes true. Meters commissioned from now on come through `commissioned`.
    ///
    /// # Errors
    /// Store failures at start.
    pub async fn run(
        self,
        mut commissioned: mpsc::UnboundedReceiver<Serial>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        let mut config = *self.config.now();
        let mut schedule = Schedule::new(config.read_interval, config.reads_in_flight_max);
        let (tell, mut ended) = mpsc::unbounded_channel::<Ended>();
        let started = self.clock.now();
        for (meter, state) in self.store.all_meters().await? {
            if state.commissioned_at.is_some() {
                let offset = schedule::offset(&meter.serial, config.read_spread);
                schedule.add(meter.serial, started.saturating_add(offset).unwrap_or(started));
            }
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !*stop.borrow() {
            let now = self.clock.now();
            if *self.config.now() != config {
                config = *self.config.now();
                schedule.change_to(config.read_interval, config.reads_in_flight_max, now);
            }
            while let Some(serial) = schedule.next(now) {
                match self.router.reserve(&serial) {
                    Ok(place) => self.read(serial, place, tell.clone()),
                    Err(NoPlace::Full) => schedule.put_back(&serial, now, FULL_PAUSE),
                    Err(NoPlace::Nobody(reason)) => {
                        tracing::warn!(meter = serial.0, reason, "cannot be read");
                        schedule.done(&serial, true, now);
                    }
                }
            }
            tokio::select! {
                _ = tick.tick() => {}
                Some(serial) = commissioned.recv() => schedule.add(serial, self.clock.now()),
                Some(end) = ended.recv() => schedule.done(&end.serial, end.answered, self.clock.now()),
                _ = stop.changed() => {}
            }
        }
        Ok(())
    }

    fn read(&self, meter: Serial, place: super::router::Place, tell: mpsc::UnboundedSender<Ended>) {
        let (report, answer) = oneshot::channel();
        let correlation = format!("read-{}-{}", meter.0, self.clock.now().as_second());
        place.send(Job {
            meter: meter.clone(),
            work: Work::Read,
            priority: Priority::Scheduled,
            not_after: None,
            correlation: correlation.clone(),
            report,
            sending: None,
        });
        let (store, policy) = (self.store.clone(), self.policy.now());
        let (rules, thresholds) = (policy.rules.clone(), policy.thresholds);
        let clocks = self.clocks.clone();
        tokio::spawn(async move {
            let (mut offset, mut answered) = (None, false);
            if let Ok(report) = answer.await {
                offset = report.facts.clock_offset_s;
                // A refusal is an answer too: the same question gets the same one.
                answered = matches!(report.ending, Ending::Done | Ending::Rejected { .. });
                if let Err(error) = keep(&store, &meter, report, correlation, rules, thresholds).await {
                    tracing::error!(meter = meter.0, %error, "a reading could not be stored");
                }
            }
            // The reader has gone only when the gateway stops.
            let _ = tell.send(Ended { serial: meter.clone(), answered });
            if let Some(offset) = offset {
                clocks.look(&meter, offset).await;
            }
        });
    }
}

/// Stores what a scheduled read brought.
async fn keep(
    store: &Store,
    serial: &Serial,
    report: Report,
    correlation: String,
    rules: Arc<Rules>,
    thresholds: Thresholds,
) -> Result<(), StoreError> {
    let serial = serial.clone();
    store
        .write(move |conn| {
            Box::pin(async move {
                let Some(meter) = meter::find(conn, &serial.0).await? else { return Ok(()) };
                observe::observe(conn, &meter, &report, &correlation, &rules, &thresholds).await
            })
        })
        .await
}
