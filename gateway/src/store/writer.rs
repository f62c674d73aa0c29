//! The writer task: the only connection that writes, to a file on a thread of its own. Whatever has queued up is committed as one group.

use super::postgres::{GROUP_PATIENCE, Session};
use super::sql::{self, Connection};
use super::{Measures, StoreError};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    fn run<'c>(&'c mut self, conn: &'c mut Connection) -> Writing<'c, bool>;
    /// It shall not be kept after all.
    fn fail(&mut self, error: StoreError);
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
    F: for<'c> FnOnce(&'c mut Connection) -> Writing<'c, Result<T, E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run<'c>(&'c mut self, conn: &'c mut Connection) -> Writing<'c, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            let outcome = work(conn).await;
            let keep = outcome.is_ok();
            self.outcome = Some(outcome);
            keep
        })
    }

    fn fail(&mut self, error: StoreError) {
        self.outcome = Some(Err(error.into()));
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

/// What the writer task writes with.
pub(super) enum Way {
    /// The one writing connection to a file.
    File(Box<Connection>),
    /// The writing session of a server.
    Server(Box<Session>),
}

impl Way {
    /// Writes a group and says what became of it.
    async fn write(&mut self, group: &mut [Box<dyn Job>], history: bool) -> Result<(), StoreError> {
        match self {
            Self::File(conn) => {
                conn.set_stores_history(history);
                let fate = async {
                    conn.begin().await?;
                    run_jobs(conn, group).await?;
                    commit(conn).await
                };
                let fate = fate.await;
                if fate.is_err() {
                    roll_back(conn).await;
                }
                fate
            }
            Self::Server(session) => write_to_server(session, group).await,
        }
    }
}

async fn write_to_server(session: &mut Session, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    let conn = session.connected().await?;
    let written = async {
        conn.begin().await?;
        run_jobs(conn, group).await?;
        sql::query_scalar::<String>("SELECT CAST(pg_current_xact_id() AS TEXT)").fetch_one(&mut *conn).await
    };
    let transaction = match in_time(written).await {
        Ok(transaction) => transaction,
        Err(error) => {
            session.after(&error).await;
            return Err(error);
        }
    };
    match in_time(commit(conn)).await {
        Err(StoreError::Unreachable(_)) => {
            session.conn = None;
            session.settle(&transaction).await
        }
        Err(error) => {
            session.after(&error).await;
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

impl Session {
    /// Leaves no transaction behind after an error: it is rolled back, or the connection is given up with it.
    async fn after(&mut self, error: &StoreError) {
        let clean = match (&mut self.conn, error) {
            (Some(conn), StoreError::Sql(_)) => in_time(query_roll_back(conn)).await.is_ok(),
            _ => false,
        };
        if !clean {
            self.conn = None;
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = || StoreError::Unreachable(format!("no answer in {} s", GROUP_PATIENCE.as_secs()));
    tokio::time::timeout(GROUP_PATIENCE, work).await.map_err(|_| late())?
}

async fn commit(conn: &mut Connection) -> Result<(), StoreError> {
    sql::query("COMMIT").execute(conn).await.map(drop)
}

async fn query_roll_back(conn: &mut Connection) -> Result<(), StoreError> {
    conn.forget_queued();
    sql::query("ROLLBACK").execute(conn).await.map(drop)
}

async fn roll_back(conn: &mut Connection) {
    // Nothing is left half-done; if there is no transaction to roll back, this fails harmlessly.
    let _ = query_roll_back(conn).await;
}

async fn run_jobs(conn: &mut Connection, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    for job in group {
        // Each write stands or falls alone: one that fails must not take its neighbours with it.
        conn.set_savepoint();
        if !job.run(conn).await {
            conn.undo_to_savepoint().await?;
            continue;
        }
        match conn.release_savepoint().await {
            Ok(()) => {}
            Err(away @ StoreError::Unreachable(_)) => return Err(away),
            Err(error) => {
                job.fail(error);
                conn.undo_to_savepoint().await?;
            }
        }
    }
    Ok(())
}

/// The way to the writer task.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Box<dyn Job>>);

impl Writer {
    /// Starts the task, which for a file has a thread of its own. It tells `committed` after every group and ends when the last
    /// sender is dropped.
    pub(super) fn spawn(
        way: Way,
        committed: watch::Sender<u64>,
        measures: Measures,
        tight: Arc<AtomicBool>,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let on_a_thread = matches!(way, Way::File(_));
        let writing = write_groups(way, receiver, committed, measures, tight);
        if on_a_thread {
            let runtime = tokio::runtime::Handle::current();
            let named = std::thread::Builder::new().name("store-writer".to_owned());
            named
                .spawn(move || runtime.block_on(writing))
                .map_err(|error| StoreError::Sql(format!("no thread for the writer: {error}")))?;
        } else {
            tokio::spawn(writing);
        }
        Ok(Self(sender))
    }

    /// A way to nobody: every write finds the store closed.
    pub(super) fn nobody() -> Self {
        Self(mpsc::channel(1).0)
    }

    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(&'c mut Connection) -> Writing<'c, Result<T, E>> + Send + 'static,
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
    mut way: Way,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    committed: watch::Sender<u64>,
    measures: Measures,
    tight: Arc<AtomicBool>,
) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.recv_many(&mut group, GROUP_MAX).await > 0 {
        let begun = std::time::Instant::now();
        let fate = way.write(&mut group, !tight.load(Ordering::Relaxed)).await;
        measures.commit.observe(begun.elapsed().as_secs_f64());
        measures.group.observe(f64::from(u32::try_from(group.len()).unwrap_or(u32::MAX)));
        if let Err(error) = &fate {
            tracing::error!(%error, writes = group.len(), "a group of writes was lost");
            if matches!(way, Way::File(_)) {
                // Most likely the disk is full: nothing but money until the keeper has looked.
                tight.store(true, Ordering::Relaxed);
            }
        }
        // The state is told before the callers, so that whoever they wake finds it already seen.
        committed.send_modify(|generation| *generation = generation.wrapping_add(1));
        for job in group.drain(..) {
            job.finish(fate.clone());
        }
    }
}
