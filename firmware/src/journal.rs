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
pub const PLACE_BYTES: usize = 1024;

/// The record could not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalError {
    /// The storage failed: whether the record is there is not known, the previous one is.
    Storage,
    /// The record is longer than a place.
    TooLong,
    /// There are records, and none of them can be read: damaged, or of another firmware's format. Not a new meter.
    Unreadable,
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
    /// Over whatever lies there.
    #[must_use]
    pub const fn blank(base: u32, places: u32) -> Self {
        Self { base, places: if places < 2 { 2 } else { places }, sequence: 0, record: PhantomData }
    }

    /// Finds the newest whole record; `None` in a memory that never held one (all ones or all zeros, but for one place whose
    /// very first write may have been cut). `places` is at least 2; more places spread the wear.
    ///
    /// # Errors
    /// [`JournalError::Storage`] or [`JournalError::Unreadable`]: a meter must not start from nothing then.
    pub fn recover<S: Storage>(
        storage: &mut S,
        base: u32,
        places: u32,
    ) -> Result<(Self, Option<T>), JournalError> {
        let mut journal = Self::blank(base, places);
        let mut bytes = [0; PLACE];
        let Some(sequence) = newest(storage, base, journal.places, &mut bytes)? else {
            return Ok((journal, None));
        };
        journal.sequence = sequence;
        let (_, value) = wire::open(&bytes).map_err(|_| JournalError::Unreadable)?;
        Ok((journal, Some(value)))
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

/// Looks through places of `bytes.len()` bytes for the newest whole record: its sequence number, and itself in `bytes`. In flash
/// once, whatever is in the record.
#[inline(never)]
fn newest<S: Storage>(
    storage: &mut S,
    base: u32,
    places: u32,
    bytes: &mut [u8],
) -> Result<Option<u32>, JournalError> {
    // A place is far below u32::MAX.
    let place_bytes = bytes.len() as u32;
    let mut newest: Option<(u32, u32)> = None;
    let mut written = 0;
    for at in (0..places).map(|place| base + place * place_bytes) {
        storage.read(at, bytes).map_err(|_| JournalError::Storage)?;
        written += u32::from(!bytes.iter().all(|b| *b == 0xff) && !bytes.iter().all(|b| *b == 0));
        if let Ok((sequence, _)) = wire::unseal(bytes)
            && newest.is_none_or(|(best, _)| sequence > best)
        {
            newest = Some((sequence, at));
        }
    }
    match newest {
        Some((sequence, at)) => {
            storage.read(at, bytes).map_err(|_| JournalError::Storage)?;
            Ok(Some(sequence))
        }
        None if written > 1 => Err(JournalError::Unreadable),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_board::Memory;

    type Numbers = Journal<u32, 64>;

    #[test]
    fn the_newest_whole_record_is_found_however_far_the_writing_got() {
        for cut in 0..16 {
            let mut memory = Memory::new(256);
            let (mut journal, none) = Numbers::recover(&mut memory, 0, 4).unwrap();
            assert_eq!(none, None);
            for n in 0..9 {
                journal.write(&mut memory, &n).unwrap();
            }
            memory.cut_after_writes(0, cut);
            let written = journal.write(&mut memory, &9);
            assert!(written.is_err());
            memory.power_up();
            let (_, found) = Numbers::recover(&mut memory, 0, 4).unwrap();
            // Eleven bytes are the whole record: length, sequence, one byte of value, check.
            assert_eq!(found, Some(if cut < 11 { 8 } else { 9 }), "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_damaged_journal_is_not_taken_for_a_new_meter() {
        let mut memory = Memory::new(256);
        let (mut journal, _) = Numbers::recover(&mut memory, 0, 4).unwrap();
        memory.cut_after_writes(0, 4);
        let _ = journal.write(&mut memory, &1);
        memory.power_up();
        assert!(
            Numbers::recover(&mut memory, 0, 4).is_ok_and(|(_, found)| found.is_none()),
            "cut at the factory"
        );
        for n in 0..4 {
            journal.write(&mut memory, &n).unwrap();
        }
        for place in 0..4 {
            memory.bytes[place * 64 + 3] ^= 1;
        }
        assert_eq!(Numbers::recover(&mut memory, 0, 4).err(), Some(JournalError::Unreadable));
        // A record of another type is not this meter's.
        let mut memory = Memory::new(256);
        let (mut other, _) = Journal::<[u8; 3], 64>::recover(&mut memory, 0, 4).unwrap();
        other.write(&mut memory, &[0xff, 0xff, 0xff]).unwrap();
        assert_eq!(Journal::<bool, 64>::recover(&mut memory, 0, 4).err(), Some(JournalError::Unreadable));
    }
}
