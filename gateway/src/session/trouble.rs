//! What can go wrong while a session talks to a meter, sorted by what it says about the meter.

use crate::driver::OpenError;
use std::time::Duration;

/// Why an exchange with a meter came to nothing. Whether the meter may have acted is not decided here: see
/// [`super::attempt::Attempt`].
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The pipe could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nothing came back in time.
    #[error("no answer to {waited_for} within {} ms", .waited.as_millis())]
    Silent {
        /// What was waited for.
        waited_for: String,
        /// For how long.
        waited: Duration,
    },
    /// The pipe broke or the peer closed it.
    #[error("connection lost while waiting for {waited_for}: {why}")]
    Broken {
        /// What was waited for.
        waited_for: String,
        /// What the system or the link says.
        why: String,
    },
    /// The peer answered something that the protocol does not allow here.
    #[error("{0}")]
    Protocol(String),
    /// The meter did not let us in, or is not the one whose keys we have.
    #[error("no association: {0}")]
    Association(String),
    /// The meter refused, in its own words.
    #[error("{reason}")]
    Refused {
        /// A person can read this.
        reason: String,
        /// The protocol's number for it.
        code: Option<u8>,
    },
    /// We cannot even ask: no key, no counter, no such model.
    #[error("{0}")]
    NotReady(String),
}

impl Trouble {
    /// The meter gave no sign of life: counts towards its circuit breaker.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Silent { .. } | Self::Broken { .. })
    }

    /// The pipe itself is of no more use.
    #[must_use]
    pub const fn breaks_pipe(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Broken { .. })
    }

    /// What is left on the wire may be out of step: the pipe, or at least the association, is of no more use.
    #[must_use]
    pub const fn breaks_session(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::NotReady(_))
    }
}
