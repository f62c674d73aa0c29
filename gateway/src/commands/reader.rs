//! The reader: a task that reads every commissioned meter on schedule and stores what it said.

use super::clock::ClockKeeper;
use super::engine::Policy;
use super::observe;
use super::router::{NoPlace, Router};
use super::schedule::{self, Schedule};
use super::visits::Visits;
use crate::clock::Clock;
use crate::config::{Live, ScheduleConfig};
use crate::session::clock_check::Correction;
use crate::session::work::{Ending, Job, Priority, Report, Serial, Work};
use crate::session::{self, Arrival};
use crate::store::{Store, StoreError, clock, meter};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// How often the schedule is looked at, in real time. A demo's fast clock passes several seconds in one.
const TICK: Duration = Duration::from_millis(100);
/// A read whose line is full waits this long, in civil time.
const FULL_PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// A read, or an audit, that has ended.
struct Ended {
    meter: Serial,
    audits: bool,
    /// How, where its line said so.
    ending: Option<Ending>,
}

/// The reader; [`Reader::run`] is its task.
#[derive(Debug)]
pub struct Reader {
    store: Store,
    clock: Clock,
    router: Router,
    config: Live<ScheduleConfig>,
    policy: Live<Policy>,
    clocks: ClockKeeper,
    visits: Visits,
}

/// When each meter is audited: an audit takes the place of a read. After a start every meter is.
#[derive(Debug, Default)]
struct Audits(HashMap<Serial, Timestamp>);

impl Audits {
    fn is_due(&self, meter: &Serial, now: Timestamp) -> bool {
        self.0.get(meter).is_none_or(|due| *due <= now)
    }

    /// One has ended. After one that failed the meter is read once before it is audited again: a meter that does not bear to be
    /// audited is read all the same.
    fn ended(&mut self, meter: Serial, whole: bool, (audit, read): (Duration, Duration), now: Timestamp) {
        let wait = if whole { audit } else { read.saturating_mul(3) / 2 };
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        self.0.insert(meter, now.saturating_add(wait).unwrap_or(Timestamp::MAX));
    }
}

impl Reader {
    /// Over these; `visits` is shared with the collector.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        router: Router,
        config: Live<ScheduleConfig>,
        policy: Live<Policy>,
        clocks: ClockKeeper,
        visits: Visits,
    ) -> Self {
        Self { store, clock, router, config, policy, clocks, visits }
    }

    /// Reads these, which are commissioned, until `stop` becomes true. Meters commissioned from now on come through `commissioned`,
    /// and those that dial in through `arrivals`: what one missed is read when it comes.
    ///
    /// # Errors
    /// Store failures at start.
    pub async fn run(
        mut self,
        meters: Vec<Serial>,
        mut commissioned: mpsc::UnboundedReceiver<Serial>,
        mut arrivals: broadcast::Receiver<Arrival>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        let mut config = *self.config.now();
        let mut schedule = Schedule::new(config.read_interval, config.reads_in_flight_max);
        let (tell, mut ended) = mpsc::unbounded_channel::<Ended>();
        let mut audits = Audits::default();
        let started = self.clock.now();
        for serial in meters {
            let offset = schedule::offset(&serial, config.read_spread);
            schedule.add(serial, started.saturating_add(offset).unwrap_or(started));
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
                self.visits.tell(&serial);
                self.begin(serial, &mut schedule, &audits, now, &tell);
            }
            tokio::select! {
                _ = tick.tick() => {}
                Some(serial) = commissioned.recv() => schedule.add(serial, self.clock.now()),
                Some(Ended { meter, audits: audited, ending }) = ended.recv() => {
                    let now = self.clock.now();
                    if audited {
                        let waits = (config.audit_interval, config.read_interval);
                        audits.ended(meter.clone(), ending == Some(Ending::Done), waits, now);
                    }
                    // A refusal is an answer too: the same question gets the same one.
                    let answered = matches!(ending, Some(Ending::Done | Ending::Rejected { .. }));
                    schedule.done(&meter, answered, now);
                    if matches!(ending, Some(Ending::NotSent { .. })) {
                        schedule.missed(&meter);
                    }
                }
                serial = self.visits.heard() => {
                    let now = self.clock.now();
                    if schedule.visited(&serial, now) {
                        self.begin(serial, &mut schedule, &audits, now, &tell);
                    }
                }
                arrival = session::arrival(&mut arrivals) => schedule.came(&arrival.serial, self.clock.now()),
                _ = stop.changed() => {}
            }
        }
        Ok(())
    }

    /// Begins a read that counts as under way, or puts it off.
    fn begin(
        &self,
        serial: Serial,
        schedule: &mut Schedule,
        audits: &Audits,
        now: Timestamp,
        tell: &mpsc::UnboundedSender<Ended>,
    ) {
        match self.router.reserve(&serial) {
            Ok(place) => {
                let work = if audits.is_due(&serial, now) { Work::Audit } else { Work::Read };
                self.read(serial, work, place, tell.clone());
            }
            Err(NoPlace::Full) => schedule.put_back(&serial, now, FULL_PAUSE),
            Err(NoPlace::Nobody(reason)) => {
                tracing::warn!(meter = serial.0, reason, "cannot be read");
                schedule.done(&serial, true, now);
            }
        }
    }

    fn read(
        &self,
        meter: Serial,
        work: Work,
        place: super::router::Place,
        tell: mpsc::UnboundedSender<Ended>,
    ) {
        let (report, answer) = oneshot::channel();
        let audits = work == Work::Audit;
        let correlation = format!("read-{}-{}", meter.0, self.clock.now().as_second());
        place.send(Job {
            meter: meter.clone(),
            work,
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
            let (mut correction, mut ending) = (None, None);
            if let Ok(report) = answer.await {
                ending = Some(report.ending.clone());
                correction = keeping.keep(report).await;
            }
            // The reader has gone only when the gateway stops.
            let _ = tell.send(Ended { meter: keeping.meter.clone(), audits, ending });
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
        // Another meter's clock is nobody's business here.
        let itself = report.facts.serial.as_ref().is_none_or(|found| *found == self.meter.0);
        let offset = report.facts.clock_offset_s.filter(|_| itself);
        let (policy, clocks) = (self.policy.clone(), self.clocks.clone());
        let (serial, correlation) = (self.meter.clone(), self.correlation.clone());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    let Some(meter) = meter::find(conn, &serial.0).await? else { return Ok(None) };
                    let Policy { rules, thresholds, .. } = &*policy;
                    observe::observe(conn, &meter, &report, &correlation, rules, thresholds, None).await?;
                    let found = offset.and_then(|offset| Some((offset, clocks.judge(&meter, offset)?)));
                    let Some((offset, correction)) = found else { return Ok(None) };
                    let left = (correction == Correction::Leave).then_some(offset);
                    clock::set_left(conn, &meter.serial, left, report.ended).await?;
                    Ok(Some(correction))
                })
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_audited_once_an_interval_and_read_between_two_audits_that_fail() {
        let mut audits = Audits::default();
        let meter = Serial("1".into());
        let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let quarter = |n: i64| start + SignedDuration::from_mins(15 * n);
        let waits = (Duration::from_hours(24), Duration::from_mins(15));
        assert!(audits.is_due(&meter, start), "after a start every meter is");
        audits.ended(meter.clone(), false, waits, start);
        assert!(!audits.is_due(&meter, quarter(1)), "read");
        assert!(audits.is_due(&meter, quarter(2)));
        audits.ended(meter.clone(), true, waits, quarter(2));
        assert!(!audits.is_due(&meter, quarter(2 + 95)));
        assert!(audits.is_due(&meter, quarter(2 + 96)));
    }
}
