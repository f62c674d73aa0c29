//! The writer task: the only connection that writes. Whatever has queued up is committed as one group.

use super::{Measures, StoreError};
use sqlx::SqliteConnection;
use std::pin::Pin;
use tokio::sync::{mpsc, oneshot, watch};

/// What a write does with the connection. Boxed, because it borrows the connection.
pub type Writing<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// Writes in one commit at most. Large enough to spread one fsync over a burst, small enough that the first of the
/// group does not wait noticeably for the last.
const GROUP_MAX: usize = 128;

/// Writes that may wait. A full queue makes callers wait, which is the back-pressure.
const QUEUE_MAX: usize = 1024;

/// One write, its result type erased.
trait Job: Send {
    /// Does the work; true when it shall be kept.
    fn run<'c>(&'c mut self, conn: &'c mut SqliteConnection) -> Writing<'c, bool>;
    /// Tells the caller. `committed` is the fate of the group.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Write<F, T, E> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Job for Write<F, T, E>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, Result<T, E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run<'c>(&'c mut self, conn: &'c mut SqliteConnection) -> Writing<'c, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            let outcome = work(conn).await;
            let keep = outcome.is_ok();
            self.outcome = Some(outcome);
            keep
        })
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (self.outcome, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (None, Ok(())) => Err(StoreError::Closed.into()),
        };
        // The caller may have gone; the write stands all the same.
        let _ = self.reply.send(result);
    }
}

/// The way to the writer task.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Box<dyn Job>>);

impl Writer {
    /// Starts the task on its connection. It tells `committed` after every group and ends when the last sender is dropped.
    pub(super) fn spawn(conn: SqliteConnection, committed: watch::Sender<u64>, measures: Measures) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_groups(conn, receiver, committed, measures));
        Self(sender)
    }

    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let job = Box::new(Write { work: Some(work), outcome: None, reply });
        self.0.send(job).await.map_err(|_| StoreError::Closed)?;
        result.await.map_err(|_| StoreError::Closed)?
    }
}

async fn write_groups(
    mut conn: SqliteConnection,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    committed: watch::Sender<u64>,
    measures: Measures,
) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.recv_many(&mut group, GROUP_MAX).await > 0 {
        let begun = std::time::Instant::now();
        let fate = run_group(&mut conn, &mut group).await;
        measures.commit.observe(begun.elapsed().as_secs_f64());
        measures.group.observe(f64::from(u32::try_from(group.len()).unwrap_or(u32::MAX)));
        if let Err(error) = &fate {
            tracing::error!(%error, writes = group.len(), "a group of writes was lost");
            // Nothing is left half-done; if there is no transaction to roll back, this fails harmlessly.
            let _ = sqlx::query("ROLLBACK").execute(&mut conn).await;
        }
        // The state is told before the callers, so that whoever they wake finds it already seen.
        committed.send_modify(|generation| *generation = generation.wrapping_add(1));
        for job in group.drain(..) {
            job.finish(fate.clone());
        }
    }
}

async fn run_group(conn: &mut SqliteConnection, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    for job in group {
        // Each write stands or falls alone: one that fails must not take its neighbours with it.
        sqlx::query("SAVEPOINT one").execute(&mut *conn).await?;
        if !job.run(conn).await {
            sqlx::query("ROLLBACK TO one").execute(&mut *conn).await?;
        }
        sqlx::query("RELEASE one").execute(&mut *conn).await?;
    }
    sqlx::query("COMMIT").execute(&mut *conn).await?;
    Ok(())
}
