//! The journal: the meter's whole state in one record, written to two or more places in turn.
//!
//! A write goes to the place that holds the oldest record, so a cut in it leaves the newest one whole; at start the record
//! with the highest sequence number whose check code fits is the state. Money and used token identifiers are in the same
//! record: they change together or not at all.

use core::marker::PhantomData;

use hardware::board::Storage;
use protocol::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of one place of the state journal. The longest record with all its lists full is below it (`record::tests`
/// measures that).
pub const PLACE_BYTES: usize = 768;

/// The record could not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalError {
    /// The storage failed: whether the record is there is not known, the previous one is.
    Storage,
    /// The record is longer than a place.
    TooLong,
}

/// Records of type `T` in `places` places of `PLACE` bytes from `base` on.
#[derive(Debug)]
pub struct Journal<T, const PLACE: usize> {
    base: u32,
    places: u32,
    sequence: u32,
    record: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned, const PLACE: usize> Journal<T, PLACE> {
    /// Finds the newest whole record. `places` is at least 2; more places spread the wear.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the storage cannot be read: a meter must not start from nothing then.
    pub fn recover<S: Storage>(
        storage: &mut S,
        base: u32,
        places: u32,
    ) -> Result<(Self, Option<T>), JournalError> {
        let mut journal = Self { base, places: places.max(2), sequence: 0, record: PhantomData };
        let mut bytes = [0; PLACE];
        let mut newest: Option<(u32, u32)> = None;
        for place in 0..journal.places {
            storage.read(journal.address(place), &mut bytes).map_err(|_| JournalError::Storage)?;
            if let Ok((sequence, _)) = wire::unseal(&bytes)
                && newest.is_none_or(|(best, _)| sequence > best)
            {
                newest = Some((sequence, place));
            }
        }
        let Some((sequence, place)) = newest else { return Ok((journal, None)) };
        storage.read(journal.address(place), &mut bytes).map_err(|_| JournalError::Storage)?;
        journal.sequence = sequence;
        Ok((journal, wire::open(&bytes).ok().map(|(_, value)| value)))
    }

    /// Stores the record. When this returns `Ok`, a power cut cannot undo it.
    ///
    /// # Errors
    /// See [`JournalError`]; the previous record stays the valid one.
    pub fn write<S: Storage>(&mut self, storage: &mut S, record: &T) -> Result<(), JournalError> {
        // One record a second for 136 years.
        let sequence = self.sequence.wrapping_add(1);
        let mut bytes = [0; PLACE];
        let len = wire::seal(sequence, record, &mut bytes).map_err(|_| JournalError::TooLong)?;
        storage
            .write(self.address(sequence % self.places), &bytes[..len])
            .map_err(|_| JournalError::Storage)?;
        self.sequence = sequence;
        Ok(())
    }

    /// How many records were written in the meter's life.
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        self.sequence
    }

    const fn address(&self, place: u32) -> u32 {
        // A place is far below u32::MAX.
        self.base + place * PLACE as u32
    }
}
