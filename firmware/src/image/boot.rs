//! Which image starts: the decision at each reset, from one small record with a journal of its own.
//!
//! ```text
//! confirmed, no trial ──activate──► trial wanted ──reset──► trial started ──confirms──► the other bank confirmed
//!        ▲                                                       │
//!        └──────────────── any reset before that ◄───────────────┘
//! ```

use hardware::board::{Bank, Storage};
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, JournalError};
use crate::layout::Layout;

/// Bytes of one place of the boot journal.
pub const BOOT_PLACE_BYTES: usize = 32;

/// How far a trial is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Trial {
    /// There is none.
    #[default]
    None,
    /// At the next reset the other bank starts.
    Wanted,
    /// It was started, and has not confirmed itself.
    Started,
}

/// How the last trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Outcome {
    /// There was none since the last image was begun.
    #[default]
    None,
    /// The new image confirmed itself.
    Confirmed,
    /// It did not: the old one runs.
    RolledBack,
}

/// The record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BootRecord {
    /// The bank whose image confirmed itself last: B, else A.
    pub(super) confirmed_b: bool,
    /// The other bank's image on trial.
    pub(crate) trial: Trial,
    /// How the last one ended.
    pub(crate) outcome: Outcome,
}

impl BootRecord {
    /// The bank that is known to work.
    #[must_use]
    pub const fn confirmed(&self) -> Bank {
        if self.confirmed_b { Bank::B } else { Bank::A }
    }

    /// The image on trial works: its bank is the confirmed one from now on.
    pub(crate) const fn confirm(&mut self) {
        *self = Self { confirmed_b: !self.confirmed_b, trial: Trial::None, outcome: Outcome::Confirmed };
    }
}

pub(crate) type BootJournal = Journal<BootRecord, BOOT_PLACE_BYTES>;

pub(crate) fn recover<S: Storage>(storage: &mut S) -> Result<(BootJournal, BootRecord), JournalError> {
    let (journal, record) = Journal::recover(storage, Layout::BOOT_BASE, Layout::BOOT_PLACES)?;
    Ok((journal, record.unwrap_or_default()))
}

/// The bank to start now. The board's start code calls it once after each reset, whatever caused it, before it jumps.
///
/// An image on trial is started once: that is written down before it starts, so that a reset of any kind before it confirms
/// itself brings the old image back. A record that cannot be read or written starts no trial.
pub fn choose<S: Storage>(storage: &mut S) -> Bank {
    let Ok((mut journal, mut record)) = recover(storage) else { return Bank::A };
    match record.trial {
        Trial::None => record.confirmed(),
        Trial::Wanted => {
            record.trial = Trial::Started;
            match journal.write(storage, &record) {
                Ok(()) => record.confirmed().other(),
                Err(_) => record.confirmed(),
            }
        }
        Trial::Started => {
            (record.trial, record.outcome) = (Trial::None, Outcome::RolledBack);
            // When this is not stored, the next reset rolls back again.
            let _ = journal.write(storage, &record);
            record.confirmed()
        }
    }
}
