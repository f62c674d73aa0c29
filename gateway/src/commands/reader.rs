//! The reader: a task that reads every commissioned meter on schedule and stores what it said.

use super::clock::ClockKeeper;
use super::engine::Policy;
use super::observe;
use super::router::{NoPlace, Router};
use super::schedule::{self, Schedule};
use crate::clock::Clock;
use crate::config::{Live, ScheduleConfig};
use crate::session::clock_check::Correction;
use crate::session::work::{Job, Priority, Report, Serial, Work};
use crate::store::{Store, StoreError, clock};
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
        let (tell, mut ended) = mpsc::unbounded_channel::<Serial>();
        let started = self.clock.now();
        for (meter, state) in self.store.all_meters().await? {
            if state.commissioned_at.is_some() {
                let offset = schedule::offset(&meter.serial, config.read_interval);
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
                        schedule.done(&serial, now);
                    }
                }
            }
            tokio::select! {
                _ = tick.tick() => {}
                Some(serial) = commissioned.recv() => schedule.add(serial, self.clock.now()),
                Some(serial) = ended.recv() => schedule.done(&serial, self.clock.now()),
                _ = stop.changed() => {}
            }
        }
        Ok(())
    }

    fn read(&self, meter: Serial, place: super::router::Place, tell: mpsc::UnboundedSender<Serial>) {
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
        let keeping = Keeping {
            store: self.store.clone(),
            policy: self.policy.now(),
            clocks: self.clocks.clone(),
            meter,
            correlation,
        };
        tokio::spawn(async move {
            let correction = match answer.await {
                Ok(report) => keeping.keep(report).await,
                Err(_) => None,
            };
            // The reader has gone only when the gateway stops.
            let _ = tell.send(keeping.meter.clone());
            if let Some(correction) = correction {
                keeping.clocks.act(&keeping.meter, correction).await;
            }
        });
    }
}

/// What is needed to store what a scheduled read brought.
struct Keeping {
    store: Store,
    policy: Arc<Policy>,
    clocks: ClockKeeper,
    meter: Serial,
    correlation: String,
}

impl Keeping {
    /// Stores a read; what is to be done about the meter's clock.
    async fn keep(&self, report: Report) -> Option<Correction> {
        self.store_it(report)
            .await
            .inspect_err(
                |error| tracing::error!(meter = self.meter.0, %error, "a reading could not be stored"),
            )
            .ok()
            .flatten()
    }

    /// One write: facts, and whether the clock is left as it is for a person.
    async fn store_it(&self, report: Report) -> Result<Option<Correction>, StoreError> {
        let Some((meter, _)) = self.store.meter(&self.meter.0).await? else { return Ok(None) };
        // Another meter's clock is nobody's business here.
        let itself = report.facts.serial.as_ref().is_none_or(|found| *found == meter.serial.0);
        let offset = report.facts.clock_offset_s.filter(|_| itself);
        let found = offset.and_then(|offset| Some((offset, self.clocks.judge(&meter, offset)?)));
        let (policy, correlation) = (self.policy.clone(), self.correlation.clone());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    let Policy { rules, thresholds, .. } = &*policy;
                    observe::observe(conn, &meter, &report, &correlation, rules, thresholds).await?;
                    let Some((offset, correction)) = found else { return Ok(None) };
                    let left = (correction == Correction::Leave).then_some(offset);
                    clock::set_left(conn, &meter.serial, left, report.ended).await?;
                    Ok(Some(correction))
                })
            })
            .await
    }
}
