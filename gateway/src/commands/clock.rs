//! Keeps the clocks of meters: what a read found, whether it is corrected, and what that changed.

use super::engine::Policy;
use super::router::{NoPlace, Router};
use crate::clock::Clock;
use crate::config::Live;
use crate::session::clock_check::{Correction, decide};
use crate::session::model::{Model, Models};
use crate::session::work::{Job, Priority, Report, Serial, Work};
use crate::store::meter::Meter;
use crate::store::{Store, StoreError, clock};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::sync::oneshot;

/// How often a waiting correction looks at the time, in real time.
const LOOK: Duration = Duration::from_millis(100);
/// A correction that would have to wait longer is left to the next read.
const WAIT_MAX: SignedDuration = SignedDuration::from_mins(60);

/// Keeps clocks on the operator's terms. Cloning shares it.
#[derive(Debug, Clone)]
pub struct ClockKeeper {
    store: Store,
    clock: Clock,
    router: Router,
    models: Models,
    policy: Live<Policy>,
}

impl ClockKeeper {
    /// Over these.
    #[must_use]
    pub fn new(store: Store, clock: Clock, router: Router, models: Models, policy: Live<Policy>) -> Self {
        Self { store, clock, router, models, policy }
    }

    /// What is to be done about this meter's clock, which a read found so many seconds ahead; nothing where no clock is kept.
    #[must_use]
    pub fn judge(&self, meter: &Meter, offset_s: i64) -> Option<Correction> {
        let model = self.models.find(&meter.model);
        let Some(Model::Dlms(dlms)) = model.as_deref() else { return None };
        let (now, terms) = (self.clock.now(), &self.policy.now().clock_check);
        Some(decide(offset_s, now, dlms.shortest_period_s(), &dlms.clock.zone, terms))
    }

    /// Does what was judged, at a time when the step crosses no end of an interval or a day, and keeps what came of it.
    pub async fn act(&self, serial: &Serial, correction: Correction) {
        match correction {
            Correction::Keep | Correction::Leave => return,
            Correction::Wait(until) if until.duration_since(self.clock.now()) > WAIT_MAX => return,
            Correction::Wait(until) => self.wait(until).await,
            Correction::Shift { .. } | Correction::Set { .. } => {}
        }
        // Where nothing came of it the next read finds the same.
        let Some(report) = self.correct(serial).await else { return };
        if let Err(error) = self.keep(serial, report).await {
            tracing::error!(meter = serial.0, %error, "what was done to a clock could not be stored");
        }
    }

    async fn wait(&self, until: Timestamp) {
        while self.clock.now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn correct(&self, meter: &Serial) -> Option<Report> {
        let place = match self.router.reserve(meter) {
            Ok(place) => place,
            Err(NoPlace::Full | NoPlace::Nobody(_)) => return None,
        };
        let (report, answer) = oneshot::channel();
        place.send(Job {
            meter: meter.clone(),
            work: Work::CorrectClock(self.policy.now().clock_check),
            priority: Priority::Scheduled,
            not_after: None,
            correlation: format!("clock-{}-{}", meter.0, self.clock.now().as_second()),
            report,
            sending: None,
        });
        answer.await.ok()
    }

    async fn keep(&self, meter: &Serial, report: Report) -> Result<(), StoreError> {
        let Some(step) = report.facts.clock else { return Ok(()) };
        let (meter, after_s, at) = (meter.clone(), report.facts.clock_offset_s, report.ended);
        self.store
            .write(move |conn| {
                Box::pin(async move { clock::corrected(conn, &meter, &step, after_s, at).await })
            })
            .await
    }
}
