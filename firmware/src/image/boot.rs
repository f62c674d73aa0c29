//! Which image starts: the decision at each reset, from one small record with a journal of its own.
//!
//! ```text
//! confirmed, no trial ──activate──► trial wanted ──reset──► trial started ──confirms──► the other bank confirmed
//!        ▲                                                       │
//!        └──────────────── any reset before that ◄───────────────┘
//! ```

use hardware::board::{Bank, RunArea, Storage};
use serde::{Deserialize, Serialize};

use super::format::{HEADER_BYTES, Header, digest_of, header_of};
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
    decide(storage).0
}

/// The bank to start, and the one that is known to work.
fn decide<S: Storage>(storage: &mut S) -> (Bank, Bank) {
    let Ok((mut journal, mut record)) = recover(storage) else { return (Bank::A, Bank::A) };
    let confirmed = record.confirmed();
    let chosen = match record.trial {
        Trial::None => confirmed,
        Trial::Wanted => {
            record.trial = Trial::Started;
            match journal.write(storage, &record) {
                Ok(()) => confirmed.other(),
                Err(_) => confirmed,
            }
        }
        Trial::Started => {
            (record.trial, record.outcome) = (Trial::None, Outcome::RolledBack);
            // When this is not stored, the next reset rolls back again.
            let _ = journal.write(storage, &record);
            confirmed
        }
    };
    (chosen, confirmed)
}

/// What lies where programs run, when the start code has done its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPlace {
    /// The program of this bank.
    Of(Bank),
    /// What lay there before, as the program of this bank: neither the chosen bank nor the confirmed one, which is this one, has a
    /// whole program.
    AsBefore(Bank),
    /// Nothing that may be started: the memory failed.
    Nothing,
}

/// All that a start code does before it jumps: chooses a bank, and puts its program where programs run. A copy that a power cut
/// ended is made anew at the next reset. A program is copied only when its digest is its header's; where the chosen bank has no
/// such program, the confirmed one's is taken, and never one that nobody has verified.
pub fn bring_up<S: Storage, A: RunArea>(storage: &mut S, area: &mut A) -> InPlace {
    let (chosen, confirmed) = decide(storage);
    let mut failed = false;
    for bank in [chosen, confirmed] {
        let Ok(Header { length, digest, .. }) = header_of(area, bank) else { continue };
        let at = HEADER_BYTES as u32;
        if area.holds(bank, at, length).unwrap_or(false) {
            return InPlace::Of(bank);
        }
        if digest_of(area, bank, length) != Ok(digest) {
            continue;
        }
        if area.load(bank, at, length).is_ok() && area.holds(bank, at, length).unwrap_or(false) {
            return InPlace::Of(bank);
        }
        failed = true;
    }
    if failed { InPlace::Nothing } else { InPlace::AsBefore(confirmed) }
}
