//! Rows in a ring in storage: load profiles and event logs. Each row carries its number and a check code, so a torn row is a
//! missing row and never a wrong one, and rows written after the last journal record are found again at start.

use core::marker::PhantomData;

use hardware::board::Storage;
use protocol::wire::crc16;
use serde::{Deserialize, Serialize};

/// A row with a fixed number of payload bytes.
pub trait Row: Copy {
    /// Payload bytes; at most [`PAYLOAD_MAX`].
    const BYTES: usize;
    /// Writes exactly [`Row::BYTES`] bytes.
    fn put(&self, out: &mut [u8]);
    /// Reads what [`Row::put`] wrote.
    fn take(bytes: &[u8]) -> Option<Self>;
}

/// The largest payload of a row.
pub const PAYLOAD_MAX: usize = 26;
/// Row number and check code.
const FRAME: usize = 4 + 2;

/// Which rows of a ring exist; part of the journal record. `first..next` are in use, as far as they still fit the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// The oldest row not cleared.
    pub first: u32,
    /// The number the next row gets.
    pub next: u32,
}

/// Where a ring lies.
#[derive(Debug)]
pub struct Ring<R> {
    base: u32,
    capacity: u32,
    row: PhantomData<fn() -> R>,
}

// Derived, they would ask the same of the rows.
impl<R> Clone for Ring<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Ring<R> {}

impl<R: Row> Ring<R> {
    /// Bytes of one row in storage.
    pub const ROW_BYTES: u32 = (R::BYTES + FRAME) as u32;

    /// `capacity` rows (at least one) from `base` on.
    #[must_use]
    pub const fn new(base: u32, capacity: u32) -> Self {
        Self { base, capacity: if capacity == 0 { 1 } else { capacity }, row: PhantomData }
    }

    /// Rows the ring holds.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The numbers of the rows in use.
    #[must_use]
    pub fn rows(&self, span: Span) -> core::ops::Range<u32> {
        span.first.max(span.next.saturating_sub(self.capacity))..span.next
    }

    fn address(&self, number: u32) -> u32 {
        self.base + (number % self.capacity) * Self::ROW_BYTES
    }

    /// Row `number`, if it is there and whole.
    pub fn get<S: Storage>(&self, storage: &mut S, number: u32) -> Option<R> {
        let mut bytes = [0; PAYLOAD_MAX + FRAME];
        let bytes = bytes.get_mut(..R::BYTES + FRAME)?;
        storage.read(self.address(number), bytes).ok()?;
        let (covered, check) = bytes.split_at(R::BYTES + 4);
        if crc16(covered).to_le_bytes() != check || number.to_le_bytes() != covered[..4] {
            return None;
        }
        R::take(&covered[4..])
    }

    /// Writes the next row; `span` moves when it is durable.
    ///
    /// # Errors
    /// The storage failed: the row may be missing, no other is harmed but the one it replaces.
    pub fn push<S: Storage>(&self, storage: &mut S, span: &mut Span, row: R) -> Result<(), S::Error> {
        let mut bytes = [0; PAYLOAD_MAX + FRAME];
        let end = R::BYTES + 4;
        bytes[..4].copy_from_slice(&span.next.to_le_bytes());
        row.put(&mut bytes[4..end]);
        let check = crc16(&bytes[..end]);
        bytes[end..end + 2].copy_from_slice(&check.to_le_bytes());
        storage.write(self.address(span.next), &bytes[..end + 2])?;
        span.next = span.next.wrapping_add(1);
        Ok(())
    }

    /// Takes in the rows that were written after the record that holds `span`.
    pub fn recover<S: Storage>(&self, storage: &mut S, span: &mut Span) {
        for _ in 0..self.capacity {
            if self.get(storage, span.next).is_none() {
                return;
            }
            span.next = span.next.wrapping_add(1);
        }
    }
}

impl Row for protocol::cosem::profile::LoadRow {
    const BYTES: usize = 19;
    fn put(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.utc_s.to_le_bytes());
        out[4] = self.status;
        out[5..9].copy_from_slice(&self.import_wh.to_le_bytes());
        out[9..13].copy_from_slice(&self.export_wh.to_le_bytes());
        out[13..17].copy_from_slice(&self.credit.to_le_bytes());
        out[17..19].copy_from_slice(&self.voltage_dv.to_le_bytes());
    }
    fn take(b: &[u8]) -> Option<Self> {
        let word = |at: usize| b.get(at..at + 4).and_then(|w| w.try_into().ok());
        Some(Self {
            utc_s: u32::from_le_bytes(word(0)?),
            status: *b.get(4)?,
            import_wh: u32::from_le_bytes(word(5)?),
            export_wh: u32::from_le_bytes(word(9)?),
            credit: i32::from_le_bytes(word(13)?),
            voltage_dv: u16::from_le_bytes([*b.get(17)?, *b.get(18)?]),
        })
    }
}

impl Row for protocol::cosem::events::EventRow {
    const BYTES: usize = 9;
    fn put(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.utc_s.to_le_bytes());
        out[4] = self.code;
        out[5..9].copy_from_slice(&self.detail.to_le_bytes());
    }
    fn take(b: &[u8]) -> Option<Self> {
        let word = |at: usize| b.get(at..at + 4).and_then(|w| w.try_into().ok());
        Some(Self {
            utc_s: u32::from_le_bytes(word(0)?),
            code: *b.get(4)?,
            detail: i32::from_le_bytes(word(5)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_board::Memory;
    use protocol::cosem::events::EventRow;

    fn row(n: u32) -> EventRow {
        EventRow { utc_s: n * 60, code: 2, detail: -1 }
    }

    #[test]
    fn the_oldest_row_gives_way_when_the_ring_is_full() {
        let mut memory = Memory::new(200);
        let ring = Ring::<EventRow>::new(10, 5);
        let mut span = Span::default();
        for n in 0..12 {
            ring.push(&mut memory, &mut span, row(n)).unwrap();
        }
        assert_eq!(ring.rows(span), 7..12);
        assert_eq!(ring.get(&mut memory, 7), Some(row(7)));
        assert_eq!(ring.get(&mut memory, 6), None);
    }

    #[test]
    fn rows_newer_than_the_record_are_found_and_a_torn_one_is_missing() {
        let mut memory = Memory::new(200);
        let ring = Ring::<EventRow>::new(0, 8);
        let mut span = Span::default();
        for n in 0..3 {
            ring.push(&mut memory, &mut span, row(n)).unwrap();
        }
        memory.cut_after_writes(0, 7);
        assert!(ring.push(&mut memory, &mut span, row(3)).is_err());
        memory.power_up();
        let mut recovered = Span { first: 0, next: 1 };
        ring.recover(&mut memory, &mut recovered);
        assert_eq!(recovered.next, 3);
        assert_eq!(ring.get(&mut memory, 3), None);
    }
}
