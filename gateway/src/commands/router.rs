//! A place in a line's queue, so that an intent can be stored before its job is handed over.

use crate::session::work::{Job, LineSender, Serial};
use std::sync::Arc;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::mpsc::error::TrySendError;

/// What the router needs of the lines. `session::Router` is the real one.
pub trait Lines: Send + Sync + std::fmt::Debug {
    /// The way to the meter's line.
    ///
    /// # Errors
    /// Why nobody serves this meter, for a person.
    fn line_of(&self, meter: &Serial) -> Result<LineSender, String>;
}

impl Lines for crate::session::Router {
    fn line_of(&self, meter: &Serial) -> Result<LineSender, String> {
        crate::session::Router::line_of(self, meter).map_err(|error| error.to_string())
    }
}

/// Routes jobs to lines. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Router(Arc<dyn Lines>);

/// A reserved place in a line's queue.
#[derive(Debug)]
pub struct Place(OwnedPermit<Box<Job>>);

impl Place {
    /// Hands the job over.
    pub fn send(self, job: Job) {
        self.0.send(Box::new(job));
    }
}

/// Why there is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The line's queue is full: later.
    #[error("the queue of the line is full")]
    Full,
    /// Nobody serves this meter.
    #[error("{0}")]
    Nobody(String),
}

impl Router {
    /// Over these lines.
    #[must_use]
    pub fn new(lines: Arc<dyn Lines>) -> Self {
        Self(lines)
    }

    /// Reserves a place in the queue of the meter's line.
    ///
    /// # Errors
    /// When the queue is full or nobody serves the meter.
    pub fn reserve(&self, serial: &Serial) -> Result<Place, NoPlace> {
        let line = self.0.line_of(serial).map_err(NoPlace::Nobody)?;
        match line.try_reserve_owned() {
            Ok(permit) => Ok(Place(permit)),
            Err(TrySendError::Full(_)) => Err(NoPlace::Full),
            Err(TrySendError::Closed(_)) => Err(NoPlace::Nobody("the task of the line has ended".to_owned())),
        }
    }
}
