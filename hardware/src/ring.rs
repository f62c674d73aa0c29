//! A ring of bytes between one interrupt and one reader, without locks.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// Holds `N - 1` bytes. One side calls [`ByteRing::push`], the other [`ByteRing::take`]; either may interrupt the other.
#[derive(Debug)]
pub struct ByteRing<const N: usize> {
    bytes: [AtomicU8; N],
    /// Written by the side that pushes.
    head: AtomicUsize,
    /// Written by the side that takes.
    tail: AtomicUsize,
    lost: AtomicBool,
}

/// Bytes were lost: nobody took them for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BytesLost;

impl core::fmt::Display for BytesLost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("uart: receive overrun")
    }
}

impl core::error::Error for BytesLost {}

impl embedded_io::Error for BytesLost {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::Other
    }
}

impl<const N: usize> ByteRing<N> {
    /// An empty ring.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [const { AtomicU8::new(0) }; N],
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// Adds a byte; false (and noted as lost) when there is no room.
    pub fn push(&self, byte: u8) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        let next = (head + 1) % N;
        if next == self.tail.load(Ordering::Acquire) {
            self.note_lost();
            return false;
        }
        self.bytes[head].store(byte, Ordering::Relaxed);
        self.head.store(next, Ordering::Release);
        true
    }

    /// Takes the oldest byte.
    pub fn pop(&self) -> Option<u8> {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail == self.head.load(Ordering::Acquire) {
            return None;
        }
        let byte = self.bytes[tail].load(Ordering::Relaxed);
        self.tail.store((tail + 1) % N, Ordering::Release);
        Some(byte)
    }

    /// Takes as many of the oldest bytes as there are and `out` holds; gives their number.
    pub fn take(&self, out: &mut [u8]) -> usize {
        let mut taken = 0;
        for slot in out {
            let Some(byte) = self.pop() else { break };
            *slot = byte;
            taken += 1;
        }
        taken
    }

    /// Whether there is nothing to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == self.tail.load(Ordering::Acquire)
    }

    /// Whether the next [`ByteRing::push`] finds no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        (self.head.load(Ordering::Acquire) + 1) % N == self.tail.load(Ordering::Acquire)
    }

    /// Notes that bytes were lost before they reached the ring.
    pub fn note_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Whether bytes were lost since this was last asked.
    pub fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }
}

impl<const N: usize> Default for ByteRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in_around_the_end_too() {
        let ring = ByteRing::<4>::new();
        let mut seen = Vec::new();
        for round in 0..10_u8 {
            assert!(ring.push(2 * round) && ring.push(2 * round + 1));
            let mut out = [0; 8];
            let taken = ring.take(&mut out);
            seen.extend_from_slice(&out[..taken]);
        }
        assert_eq!(seen, (0..20).collect::<Vec<u8>>());
        assert!(ring.is_empty() && !ring.take_lost());
    }

    #[test]
    fn what_finds_no_room_is_reported_once_and_the_rest_stays() {
        let ring = ByteRing::<4>::new();
        let fitted: Vec<bool> = (0..5).map(|byte| ring.push(byte)).collect();
        assert_eq!(fitted, [true, true, true, false, false]);
        assert!(ring.is_full() && ring.take_lost() && !ring.take_lost());
        assert_eq!([ring.pop(), ring.pop(), ring.pop(), ring.pop()], [Some(0), Some(1), Some(2), None]);
    }

    #[test]
    fn a_thread_that_pushes_and_one_that_takes_agree() {
        static RING: ByteRing<16> = ByteRing::new();
        let pusher = std::thread::spawn(|| {
            for n in 0..10_000_u32 {
                while RING.is_full() {
                    std::thread::yield_now();
                }
                RING.push(n as u8);
            }
        });
        for n in 0..10_000_u32 {
            let byte = loop {
                match RING.pop() {
                    Some(byte) => break byte,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(byte, n as u8);
        }
        pusher.join().unwrap();
    }
}
