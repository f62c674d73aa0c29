//! Where people have a word about commands that are not finished. The engine alone moves commands, so it is asked.

use crate::guards::{self, Unmet};
use crate::store::StoreError;
use crate::store::command::CommandState;
use tokio::sync::{mpsc, oneshot};

/// Questions waiting for the engine; people ask few.
const WAITING_MAX: usize = 64;

/// What somebody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// A second person agrees.
    Approve,
    /// A second person does not.
    Decline,
    /// It is taken back.
    Cancel,
}

/// Why it is not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Finished, or never recorded.
    #[error("command {0} is finished or was never recorded")]
    NotOpen(i64),
    /// It waits for nobody.
    #[error("it is {0}, not waiting for a second person")]
    NotWaiting(CommandState),
    /// The same person asked and agreed.
    #[error("{0} asked for it: a second person has to agree")]
    SamePerson(String),
    /// Other guards are not satisfied now.
    #[error("it cannot be approved now: {}", guards::list(.0))]
    Guards(Vec<Unmet>),
    /// It may have reached the meter.
    #[error(
        "it is {0} and may have reached the meter: what it did is undone by another command, not by taking it back"
    )]
    UnderWay(CommandState),
    /// A token's delivery goes with its payment or its request.
    #[error(
        "the delivery of a token is not taken back: it was paid for, or belongs to a set that has to be whole"
    )]
    Token,
    /// The gateway stops.
    #[error("the gateway is stopping")]
    Stopping,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One word, and where the answer goes.
#[derive(Debug)]
pub struct Said {
    /// About which command.
    pub id: i64,
    /// What.
    pub word: Word,
    /// Who says it.
    pub by: String,
    /// Whether it was done.
    pub answer: oneshot::Sender<Result<(), DeskError>>,
}

/// The way to the engine. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Desk(mpsc::Sender<Said>);

impl Desk {
    /// The desk, and what the engine listens to.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Said>) {
        let (tell, said) = mpsc::channel(WAITING_MAX);
        (Self(tell), said)
    }

    /// Whether the engine listens. What it is asked changes nothing: no command has the number 0.
    pub async fn is_alive(&self) -> bool {
        !matches!(self.say(0, Word::Cancel, "").await, Ok(()) | Err(DeskError::Stopping))
    }

    /// Says a word; durable when this returns.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub async fn say(&self, id: i64, word: Word, by: &str) -> Result<(), DeskError> {
        let (answer, done) = oneshot::channel();
        let said = Said { id, word, by: by.to_owned(), answer };
        self.0.send(said).await.map_err(|_| DeskError::Stopping)?;
        done.await.unwrap_or(Err(DeskError::Stopping))
    }
}
