//! A network line: every meter has its own address and its own task; the line limits how many talk at once.

use super::bus::{Bus, Pace, Places};
use super::dlms::DlmsTalker;
use super::gauges::Gauges;
use super::lines::Context;
use super::talker::Talker;
use super::work::{Job, LineSender, Serial};
use crate::driver::Callers;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Jobs on their way to one meter's task.
const METER_INBOX: usize = 16;
/// A connection is cheap to open again, and another meter may wait for its place.
const IDLE_RELEASE: Duration = Duration::from_millis(500);
/// The longest one piece of work may take on a network.
const WORK_TIMEOUT: Duration = Duration::from_secs(45);

/// Hands jobs to the tasks of its meters.
#[derive(Debug)]
pub(super) struct Network {
    name: String,
    context: Context,
    gauges: Arc<Gauges>,
    pace: Pace,
    meters: HashMap<Serial, LineSender>,
    reached: Reached,
}

/// How the meters of a network are reached.
#[derive(Debug, Clone)]
pub(super) enum Reached {
    /// We connect to them.
    Connections,
    /// By datagrams.
    Datagrams,
    /// They connect to us.
    Calls(Callers),
}

impl Network {
    /// At most `connections_max` meters talk at once; a quarter of that is kept for urgent work, so that a command never
    /// waits for a sweep.
    pub(super) fn new(name: String, connections_max: usize, context: Context, gauges: Arc<Gauges>) -> Self {
        let urgent = connections_max / 4;
        let places = Some(Places::new(urgent, connections_max.max(1) - urgent));
        let pace = Pace { work_timeout: WORK_TIMEOUT, idle_release: IDLE_RELEASE, places };
        Self { name, context, gauges, pace, meters: HashMap::new(), reached: Reached::Connections }
    }

    /// Its meters are reached in this way.
    pub(super) fn by(self, reached: Reached) -> Self {
        Self { reached, ..self }
    }

    /// Runs until every sender is gone, or until `closing` becomes true and what its meters are at is finished.
    pub(super) async fn run(
        mut self,
        mut jobs: mpsc::Receiver<Box<Job>>,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut tasks = JoinSet::new();
        loop {
            let job = tokio::select! {
                Some(job) = jobs.recv() => job,
                // An error means that nobody can tell us any more, which is an end too.
                _ = closing.wait_for(|closing| *closing) => break,
                else => break,
            };
            let inbox = self.meters.entry(job.meter.clone()).or_insert_with(|| {
                let (sender, inbox) = mpsc::channel(METER_INBOX);
                let bytes = self.gauges.bytes.clone();
                let talker = match &self.reached {
                    Reached::Connections => DlmsTalker::network(bytes),
                    Reached::Datagrams => DlmsTalker::datagrams(bytes),
                    Reached::Calls(callers) => DlmsTalker::called(callers.clone(), bytes),
                };
                let talker = Talker::Dlms(talker);
                let (name, pace) = (self.name.clone(), self.pace.clone());
                let bus = Bus::new(name, talker, self.context.clone(), self.gauges.clone(), pace);
                tasks.spawn(bus.run(inbox, closing.clone()));
                sender
            });
            // A meter with a full inbox must not hold up the others: its task takes the job when it can.
            if let Err(mpsc::error::TrySendError::Full(job)) = inbox.try_send(job) {
                let inbox = inbox.clone();
                tokio::spawn(async move { inbox.send(job).await });
            }
        }
        self.meters.clear();
        while tasks.join_next().await.is_some() {}
    }
}
