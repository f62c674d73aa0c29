//! One task a sink: takes events from the store in order, hands them over, remembers what was acknowledged.

use super::{Fact, Sink, SinkError};
use crate::clock::Clock;
use crate::store::event::Event;
use crate::store::{Store, StoreError};
use jiff::Timestamp;
use std::time::Duration;
use tokio::sync::watch;

/// Facts handed over at once. The store is told once a batch, so a kill repeats at most these.
pub const BATCH_MAX: u32 = 200;

/// How long the other side may take to acknowledge a batch.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// The pauses between tries, doubling from the first to the longest.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

impl Pauses {
    /// The pause after so many failures in a row, the first being 1.
    fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.longest)
    }
}

/// After this long without anything to deliver a connection is given up; the next fact opens it again.
const REST_AFTER: Duration = Duration::from_secs(30);

/// What a courier needs of the store: the events, and a place in them.
pub trait Outbox: Sync {
    /// The last event that the sink's other side acknowledged; 0 before the first.
    ///
    /// # Errors
    /// Store failures, as of all of these.
    fn position(&self, sink: &str) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// At most `limit` events after `id`, oldest first.
    ///
    /// # Errors
    /// Store failures.
    fn events_after(
        &self,
        id: i64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Event>, StoreError>> + Send;
    /// The newest event's id; 0 when there is none.
    ///
    /// # Errors
    /// Store failures.
    fn last_event_id(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// Everything up to this event was acknowledged.
    ///
    /// # Errors
    /// Store failures.
    fn delivered(
        &self,
        sink: &str,
        id: i64,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// What keeps the sink from delivering.
    ///
    /// # Errors
    /// Store failures.
    fn problem(
        &self,
        sink: &str,
        problem: String,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Changes after every commit.
    fn commits(&self) -> watch::Receiver<u64>;
}

impl Outbox for Store {
    async fn position(&self, sink: &str) -> Result<i64, StoreError> {
        self.sink_position(sink).await
    }

    async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.events_after(id, limit).await
    }

    async fn last_event_id(&self) -> Result<i64, StoreError> {
        self.last_event_id().await
    }

    async fn delivered(&self, sink: &str, id: i64, at: Timestamp) -> Result<(), StoreError> {
        self.sink_delivered(sink, id, at).await
    }

    async fn problem(&self, sink: &str, problem: String, at: Timestamp) -> Result<(), StoreError> {
        self.sink_problem(sink, problem, at).await
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.commits()
    }
}

/// Delivers until told to stop. What was handed over but not acknowledged by then is handed over again after the next start.
///
/// # Errors
/// Store failures. A sink's failures are waited out, and shown in the store.
pub async fn run(
    name: &str,
    mut sink: impl Sink,
    gateway: &str,
    store: &impl Outbox,
    clock: Clock,
    pauses: Pauses,
    mut stop: watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let mut courier = Courier { name, gateway, store, clock, pauses, position: store.position(name).await? };
    tokio::select! {
        ended = courier.deliver_whatever_the_store_does(&mut sink) => ended,
        // An error means that nobody can tell us any more, which is a stop too.
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    }
}

struct Courier<'a, O> {
    name: &'a str,
    gateway: &'a str,
    store: &'a O,
    clock: Clock,
    pauses: Pauses,
    /// The last event that was acknowledged.
    position: i64,
}

impl<O: Outbox> Courier<'_, O> {
    /// A store that is away for a while is waited for: its facts wait too.
    async fn deliver_whatever_the_store_does(&mut self, sink: &mut impl Sink) -> Result<(), StoreError> {
        loop {
            match self.deliver_for_ever(sink).await {
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    tracing::error!(sink = self.name, %error, "facts cannot be read or marked as delivered");
                    tokio::time::sleep(self.pauses.after(1)).await;
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn deliver_for_ever(&mut self, sink: &mut impl Sink) -> Result<(), StoreError> {
        let mut commits = self.store.commits();
        let mut failures = 0;
        let mut asked = false;
        // What was handed over once is handed over again as it was, until it is acknowledged.
        let mut facts = Vec::new();
        loop {
            commits.borrow_and_update();
            facts.retain(|fact: &Fact| fact.event.id > self.position);
            if facts.is_empty() {
                facts = self.next().await?;
            }
            let Some(last) = facts.last().map(|fact| fact.event.id) else {
                if tokio::time::timeout(REST_AFTER, commits.changed()).await.is_err() {
                    sink.rest().await;
                    // From here on only a commit ends the wait.
                    if commits.changed().await.is_err() {
                        return Ok(());
                    }
                }
                continue;
            };
            let taken = if asked {
                within(sink.deliver(&facts)).await.map(|()| Some(last))
            } else {
                within(sink.last_taken()).await
            };
            match taken {
                Ok(taken) => {
                    if asked {
                        failures = 0;
                    }
                    asked = true;
                    self.acknowledged(taken).await?;
                }
                Err(error) => {
                    // Something may have been taken: ask before the same facts go out again.
                    asked = false;
                    failures += 1;
                    let pause = self.pauses.after(failures);
                    self.failed(&error, failures, pause).await?;
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn next(&self) -> Result<Vec<Fact>, StoreError> {
        let events = self.store.events_after(self.position, BATCH_MAX).await?;
        Ok(events.into_iter().map(|event| Fact { gateway: self.gateway.to_owned(), event }).collect())
    }

    /// The other side has everything up to this event. More than there is would be another store's, such as one from before a
    /// backup was put back: that says nothing about these events.
    async fn acknowledged(&mut self, taken: Option<i64>) -> Result<(), StoreError> {
        let Some(taken) = taken.filter(|taken| *taken > self.position) else { return Ok(()) };
        if taken > self.store.last_event_id().await? {
            tracing::error!(
                sink = self.name,
                taken,
                "the other side has facts this store never had; sending ours"
            );
            return Ok(());
        }
        self.store.delivered(self.name, taken, self.clock.now()).await?;
        self.position = taken;
        Ok(())
    }

    async fn failed(&self, error: &SinkError, failures: u32, pause: Duration) -> Result<(), StoreError> {
        tracing::warn!(sink = self.name, %error, failures, pause_s = pause.as_secs(), "facts wait in the store");
        self.store.problem(self.name, error.to_string(), self.clock.now()).await
    }
}

async fn within<T>(work: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
    tokio::time::timeout(ACK_TIMEOUT, work).await.unwrap_or_else(|_| {
        Err(SinkError::Unreachable(format!("no acknowledgement within {} s", ACK_TIMEOUT.as_secs())))
    })
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
