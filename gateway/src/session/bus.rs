//! The task of one pipe: takes jobs, orders them, does one at a time.

use super::attempt::Attempt;
use super::breaker::Breaker;
use super::gauges::{Gauges, PriorityLabel, Went};
use super::lines::Context;
use super::queue::JobQueue;
use super::talker::Talker;
use super::trouble::Trouble;
use super::work::{Ending, Job, Report, Serial, Work};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tracing::Instrument;

/// The places of a network: how many of its meters may be talked to at once.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// For work that somebody waits for.
    urgent: Arc<Pool>,
    /// For the rest.
    rest: Arc<Pool>,
}

impl Places {
    /// So many for work that somebody waits for, and so many for the rest; none for one kind means that it shares the other's.
    pub(super) fn new(urgent: usize, rest: usize) -> Self {
        let rest = Arc::new(Pool::new(rest));
        let urgent = if urgent == 0 { rest.clone() } else { Arc::new(Pool::new(urgent)) };
        Self { urgent, rest }
    }

    async fn take(&self, urgent: bool) -> Option<Place> {
        if urgent { self.urgent.take().await } else { self.rest.take().await }
    }
}

/// Places that are interchangeable.
#[derive(Debug)]
struct Pool {
    places: Arc<Semaphore>,
    /// How many wait for one.
    waiting: AtomicUsize,
    /// Somebody has begun to wait: of those that only keep one warm the one that has for longest gives it up.
    wanted: Notify,
}

impl Pool {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0), wanted: Notify::new() }
    }

    async fn take(self: &Arc<Self>) -> Option<Place> {
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waits = Waits::begin(&self.waiting);
                self.wanted.notify_one();
                // The semaphores are never closed.
                self.places.clone().acquire_owned().await.ok()?
            }
        };
        Some(Place { _permit: permit, pool: self.clone() })
    }
}

/// A place that is taken.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    pool: Arc<Pool>,
}

impl Place {
    /// Until somebody else wants it.
    async fn wanted(&self) {
        if self.pool.waiting.load(Ordering::Relaxed) == 0 {
            self.pool.wanted.notified().await;
        }
    }
}

/// Counted among those that wait, for as long as it lives.
struct Waits<'w>(&'w AtomicUsize);

impl<'w> Waits<'w> {
    fn begin(waiting: &'w AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
    pub places: Option<Places>,
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
    place: Option<Place>,
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
        Self { name, talker, context, gauges, pace, queue, breakers, place: None }
    }

    /// Runs until every sender is gone and the queue is empty, or until `closing` becomes true and the work under way is done.
    pub(super) async fn run(
        mut self,
        mut jobs: mpsc::Receiver<Box<Job>>,
        mut closing: watch::Receiver<bool>,
    ) {
        while !*closing.borrow() {
            while self.queue.has_room()
                && let Ok(job) = jobs.try_recv()
            {
                self.take(job);
            }
            for job in self.queue.expired(self.context.clock.now()) {
                self.gauges.waiting(job.priority, -1);
                self.turn_away(*job, "its time was over before the line was free");
            }
            match self.queue.pop(self.talker.open_meter(), Instant::now()) {
                Some((job, waited)) => {
                    self.gauges.waiting(job.priority, -1);
                    let label = PriorityLabel { priority: job.priority.name() };
                    self.context.waits.get_or_create(&label).observe(waited.as_secs_f64());
                    self.work(job, &mut jobs).await;
                }
                None => match self.idle(&mut jobs, &mut closing).await {
                    Some(job) => self.take(job),
                    None => break,
                },
            }
        }
        jobs.close();
        while let Some(job) = jobs.recv().await {
            self.take(job);
        }
        for job in self.queue.take_out(|_| true) {
            self.gauges.waiting(job.priority, -1);
            self.turn_away(*job, "its line was taken out of the configuration");
        }
        self.rest().await;
        tracing::debug!(line = self.name, "line stopped");
    }

    /// Waits for a job; releases the association when none comes soon, or when another meter wants its place. Nothing when the
    /// line is to end.
    async fn idle(
        &mut self,
        jobs: &mut mpsc::Receiver<Box<Job>>,
        closing: &mut watch::Receiver<bool>,
    ) -> Option<Box<Job>> {
        if self.talker.is_open() || self.place.is_some() {
            tokio::select! {
                job = jobs.recv() => return job,
                // An error means that nobody can tell us any more, which is an end too.
                _ = closing.wait_for(|closing| *closing) => return None,
                () = wanted(self.place.as_ref()) => {}
                () = tokio::time::sleep(self.pace.idle_release) => {}
            }
            self.rest().await;
        }
        if let Some(idle) = self.talker.keeps_for() {
            tokio::select! {
                job = jobs.recv() => return job,
                _ = closing.wait_for(|closing| *closing) => return None,
                () = tokio::time::sleep(idle) => self.talker.abandon(true),
            }
        }
        tokio::select! {
            job = jobs.recv() => job,
            _ = closing.wait_for(|closing| *closing) => None,
        }
    }

    async fn rest(&mut self) {
        Box::pin(self.talker.release()).await;
        self.place = None;
    }

    fn take(&mut self, job: Box<Job>) {
        if let Err(job) = accept(&mut self.queue, &self.gauges, job) {
            self.turn_away(*job, "the line's queue is full");
        }
    }

    /// Answers a job that was never started.
    fn turn_away(&self, job: Job, reason: &str) {
        self.gauges.turned_away();
        let now = self.context.clock.now();
        let ending = Ending::NotSent { reason: reason.into() };
        let (facts, heard, evidence) = Default::default();
        let report = Report { ending, facts, heard, started: now, ended: now, evidence };
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

    /// Does one piece of work; what comes in meanwhile is put in its place at once.
    async fn work(&mut self, job: Box<Job>, jobs: &mut mpsc::Receiver<Box<Job>>) {
        // Nobody expects an answer of a stranger.
        let stranger = job.work == Work::Identify;
        let breaker = self.breakers.get(&job.meter).copied().unwrap_or_default();
        if let Err(left) = breaker.admit(job.priority, Instant::now()) {
            let seconds = left.as_secs() + 1;
            return self
                .turn_away(*job, &format!("the meter was silent several times; asked again in {seconds} s"));
        }
        self.acquire(&job).await;
        let begun = Instant::now();
        let mut attempt = Attempt::begin(self.context.clock, job.sending);
        let span =
            tracing::info_span!("work", line = self.name, meter = job.meter.0, correlation = job.correlation);
        let outcome = {
            let Self { talker, context, pace, queue, gauges, .. } = self;
            // Boxed, as it is large and thousands of meters have a task each of which few work at a time.
            let doing =
                Box::pin(talker.perform(context, &mut attempt, &job.meter, &job.work)).instrument(span);
            let mut doing = pin!(tokio::time::timeout(pace.work_timeout, doing));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut doing => break outcome,
                    Some(job) = jobs.recv(), if queue.has_room() => {
                        // There is room.
                        let _ = accept(queue, gauges, job);
                    }
                }
            }
        };
        let outcome = outcome.unwrap_or_else(|_elapsed| {
            Err(Trouble::Silent {
                waited_for: "the whole piece of work".into(),
                waited: self.pace.work_timeout,
            })
        });
        if let Err(trouble) = &outcome
            && trouble.breaks_session()
        {
            self.talker.abandon(trouble.breaks_pipe());
        }
        if !stranger {
            self.judge(&job.meter, breaker, &outcome);
        }
        self.count(begun.elapsed(), &attempt, &outcome);
        let report = attempt.end(outcome);
        let (meter, correlation) = (&job.meter.0, &job.correlation);
        tracing::info!(line = self.name, meter, correlation, work = job.work.name(), ending = ?report.ending, "job done");
        let _ = job.report.send(report);
    }

    fn count(&self, took: Duration, attempt: &Attempt, outcome: &Result<Ending, Trouble>) {
        let went = match outcome {
            Err(Trouble::NotReady(_)) => Went::NotAsked,
            Err(trouble) if trouble.is_silence() => Went::Silent,
            _ => Went::Answered,
        };
        self.gauges.worked(took, went, attempt.associations);
        // On a network each meter has its own connection: that of one says nothing about the line.
        if self.pace.places.is_none() && went != Went::NotAsked {
            self.gauges.port(outcome.as_ref().is_err_and(Trouble::breaks_pipe));
        }
    }

    /// A share of the network for this piece of work; a bus has no need of it.
    async fn acquire(&mut self, job: &Job) {
        if let (None, Some(places)) = (&self.place, &self.pace.places) {
            self.place = places.take(job.priority.is_urgent()).await;
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

/// Puts a job in its place in the queue; gives it back when the queue is full.
fn accept(queue: &mut JobQueue, gauges: &Gauges, job: Box<Job>) -> Result<(), Box<Job>> {
    let priority = job.priority;
    queue.push(job, Instant::now())?;
    gauges.waiting(priority, 1);
    Ok(())
}

/// Until somebody else wants the place; on a bus, which has none, for ever.
async fn wanted(place: Option<&Place>) {
    match place {
        Some(place) => place.wanted().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
