//! The task of one pipe: takes jobs, orders them, does one at a time.

use super::attempt::Attempt;
use super::breaker::Breaker;
use super::lines::{Context, Gauges};
use super::queue::JobQueue;
use super::talker::Talker;
use super::trouble::Trouble;
use super::work::{Ending, Job, Report, Serial};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

/// The places of a network: how many of its meters may be talked to at once.
#[derive(Debug)]
pub(super) struct Places {
    /// For work that somebody waits for.
    pub urgent: Arc<Semaphore>,
    /// For the rest.
    pub rest: Arc<Semaphore>,
    /// Somebody waits for a place: whoever only keeps one warm gives it up.
    pub wanted: Notify,
}

impl Places {
    async fn take(&self, urgent: bool) -> Option<OwnedSemaphorePermit> {
        let places = if urgent { &self.urgent } else { &self.rest };
        if let Ok(permit) = places.clone().try_acquire_owned() {
            return Some(permit);
        }
        self.wanted.notify_waiters();
        // The semaphores are never closed.
        places.clone().acquire_owned().await.ok()
    }

    fn are_taken(&self) -> bool {
        self.urgent.available_permits() == 0 || self.rest.available_permits() == 0
    }
}

/// The times of a pipe, and the share it has in its network.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// The longest one piece of work may take, whatever happens.
    pub work_timeout: Duration,
    /// How long an association is kept for the next job of the same meter.
    pub idle_release: Duration,
    /// The places of its network; a bus needs none.
    pub places: Option<Arc<Places>>,
}

impl Pace {
    /// A bus of its own. At 9,600 baud a full read with its association takes some three seconds, so a minute covers
    /// every piece of work with repetitions.
    pub(super) const fn bus() -> Self {
        Self { work_timeout: Duration::from_secs(60), idle_release: Duration::from_secs(2), places: None }
    }
}

/// One pipe with the meters on it.
#[derive(Debug)]
pub(super) struct Bus {
    name: String,
    talker: Talker,
    context: Context,
    gauges: Arc<Gauges>,
    pace: Pace,
    queue: JobQueue,
    breakers: HashMap<Serial, Breaker>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Bus {
    pub(super) fn new(
        name: String,
        talker: Talker,
        context: Context,
        gauges: Arc<Gauges>,
        pace: Pace,
    ) -> Self {
        let (queue, breakers) = (JobQueue::default(), HashMap::new());
        Self { name, talker, context, gauges, pace, queue, breakers, permit: None }
    }

    /// Runs until every sender is gone and the queue is empty.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            while let Ok(job) = jobs.try_recv() {
                self.take(job);
            }
            for job in self.queue.expired(self.context.clock.now()) {
                self.waiting(-1);
                self.turn_away(job, "its time was over before the line was free");
            }
            match self.queue.pop(self.talker.open_meter()) {
                Some(job) => {
                    self.waiting(-1);
                    self.work(job).await;
                }
                None => match self.idle(&mut jobs).await {
                    Some(job) => self.take(job),
                    None => break,
                },
            }
        }
        self.rest().await;
        tracing::debug!(line = self.name, "line stopped");
    }

    /// Waits for a job; releases the association when none comes soon, or when another meter wants its place.
    async fn idle(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
        if self.talker.is_open() || self.permit.is_some() {
            let places = self.pace.places.clone();
            if !places.as_ref().is_some_and(|places| places.are_taken()) {
                tokio::select! {
                    job = jobs.recv() => return job,
                    () = wanted(places.as_deref()) => {}
                    () = tokio::time::sleep(self.pace.idle_release) => {}
                }
            }
            self.rest().await;
        }
        jobs.recv().await
    }

    async fn rest(&mut self) {
        self.talker.release().await;
        self.permit = None;
    }

    fn waiting(&self, change: isize) {
        self.gauges.waiting.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    fn take(&mut self, job: Job) {
        match self.queue.push(job) {
            Ok(()) => self.waiting(1),
            Err(job) => self.turn_away(*job, "the line's queue is full"),
        }
    }

    /// Answers a job that was never started.
    fn turn_away(&self, job: Job, reason: &str) {
        let now = self.context.clock.now();
        let ending = Ending::NotSent { reason: reason.into() };
        let report =
            Report { ending, facts: Default::default(), started: now, ended: now, evidence: Vec::new() };
        tracing::info!(
            line = self.name,
            meter = job.meter.0,
            correlation = job.correlation,
            reason,
            "job turned away"
        );
        // The asker may have lost interest.
        let _ = job.report.send(report);
    }

    async fn work(&mut self, job: Job) {
        let breaker = self.breakers.get(&job.meter).copied().unwrap_or_default();
        if let Err(left) = breaker.admit(job.priority, Instant::now()) {
            let seconds = left.as_secs() + 1;
            return self
                .turn_away(job, &format!("the meter was silent several times; asked again in {seconds} s"));
        }
        self.acquire(&job).await;
        let mut attempt = Attempt::begin(self.context.clock, job.sending);
        let doing = self.talker.perform(&self.context, &mut attempt, &job.meter, &job.work);
        let outcome = match tokio::time::timeout(self.pace.work_timeout, doing).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Trouble::Silent {
                waited_for: "the whole piece of work".into(),
                waited: self.pace.work_timeout,
            }),
        };
        if let Err(trouble) = &outcome
            && trouble.breaks_session()
        {
            self.talker.abandon(trouble.breaks_pipe());
        }
        self.judge(&job.meter, breaker, &outcome);
        let report = attempt.end(outcome);
        let (meter, correlation) = (&job.meter.0, &job.correlation);
        tracing::info!(line = self.name, meter, correlation, work = job.work.name(), ending = ?report.ending, "job done");
        let _ = job.report.send(report);
    }

    /// A share of the network for this piece of work; a bus has no need of it.
    async fn acquire(&mut self, job: &Job) {
        if let (None, Some(places)) = (&self.permit, &self.pace.places) {
            self.permit = places.take(job.priority.is_urgent()).await;
        }
    }

    fn judge(&mut self, meter: &Serial, mut breaker: Breaker, outcome: &Result<Ending, Trouble>) {
        let was_open = breaker.is_open();
        match outcome {
            Err(Trouble::NotReady(_)) => return,
            Err(trouble) if trouble.is_silence() => breaker.silent(Instant::now()),
            _ => breaker.answered(),
        }
        let change = isize::from(breaker.is_open()) - isize::from(was_open);
        self.gauges.silent.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        match breaker.is_quiet() {
            true => self.breakers.remove(meter),
            false => self.breakers.insert(meter.clone(), breaker),
        };
    }
}

/// Until a place of the network is wanted; on a bus, for ever.
async fn wanted(places: Option<&Places>) {
    match places {
        Some(places) => places.wanted.notified().await,
        None => std::future::pending().await,
    }
}
