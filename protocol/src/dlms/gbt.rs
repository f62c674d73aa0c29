//! General block transfer (Green Book 9.3.5 and 9.4.6.13): an APDU of any service cut into blocks, several of which may
//! be under way at once.
//!
//! The window in a block says how many blocks its sender is ready to take in a row. A block with the streaming bit is
//! followed by more of its window; the one without it hands over the turn. Whoever takes a window acknowledges the last
//! block that came in order; the other side goes on after that one, so a lost block costs its window and nothing else.
//! The client alone watches the time: it acknowledges again when the server falls silent.

use core::num::NonZeroUsize;

use super::security::Frame;
use crate::codec::codec::Result;
use crate::codec::xdlms::{ApduTag, BlockControl, GeneralBlockTransfer};
use crate::dlms::apdu::put;
use crate::dlms::bytes::copy;

/// Blocks a meter takes in a row: few enough that a lost one is cheap, enough to fill a line with delay.
pub const WINDOW: u8 = 8;

/// What stands in front of a block's data: tag, control, number, acknowledged number, and a length of up to three bytes.
pub const HEADER_MAX: usize = 9;

/// An APDU coming in blocks; its bytes are collected in a buffer of the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Incoming {
    len: usize,
    number: u16,
    complete: bool,
}

/// What a block came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// More of its window comes without being asked for.
    Wait,
    /// The window has ended: acknowledge, and the next one comes.
    Acknowledge,
    /// The APDU is whole, so many bytes.
    Whole(usize),
    /// The buffer is too small for it; the transfer is over. A value that may be longer is passed on block by block.
    TooLong,
}

impl Incoming {
    /// Nothing has come.
    pub const NEW: Self = Self { len: 0, number: 0, complete: false };

    /// The last block that came in order.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Bytes that have come.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// No bytes have come.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Some blocks have come, and more are missing.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.number > 0 && !self.complete
    }

    /// Takes a block. One out of order, or once more, is left alone: the acknowledgement says where to go on.
    pub fn take(&mut self, block: &GeneralBlockTransfer<'_>, buffer: &mut [u8]) -> Taken {
        if self.complete && block.block_number == 1 {
            *self = Self::default();
        }
        if self.expects(block) {
            let end = self.len.saturating_add(block.block_data.len());
            let Some(room) = buffer.get_mut(self.len..end) else {
                *self = Self::default();
                return Taken::TooLong;
            };
            copy(room, block.block_data);
        }
        self.pass(block)
    }

    /// The block is the next one in order.
    #[must_use]
    pub fn expects(&self, block: &GeneralBlockTransfer<'_>) -> bool {
        self.number.checked_add(1) == Some(block.block_number) && !self.complete
    }

    /// As [`Incoming::take`], of a block whose data the owner puts somewhere else.
    pub fn pass(&mut self, block: &GeneralBlockTransfer<'_>) -> Taken {
        if self.expects(block) {
            self.len = self.len.saturating_add(block.block_data.len());
            self.number = block.block_number;
            if block.control.last_block() {
                self.complete = true;
                return Taken::Whole(self.len);
            }
        }
        if block.control.streaming() { Taken::Wait } else { Taken::Acknowledge }
    }
}

/// An APDU going out in blocks from a buffer of the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    len: usize,
    fragment: NonZeroUsize,
    /// The last block sent.
    sent: u16,
    /// Blocks that may still leave before the other side has its turn.
    turn: u8,
}

impl Outgoing {
    /// An APDU of `len` bytes in blocks whose APDUs are at most `max_pdu` bytes. `window` is what the other side is ready
    /// to take; 1 before it has said. `None` when it does not come out even in 65,535 blocks.
    #[must_use]
    pub fn new(len: usize, max_pdu: usize, window: u8) -> Option<Self> {
        let fragment = max_pdu.checked_sub(HEADER_MAX).and_then(NonZeroUsize::new)?;
        u16::try_from(fragments(len, fragment)).ok()?;
        Some(Self { len, fragment, sent: 0, turn: window.max(1) })
    }

    /// How many blocks there are.
    #[must_use]
    pub fn blocks(&self) -> u16 {
        // Checked in `new`; at least one, for an empty APDU is not sent.
        u16::try_from(fragments(self.len, self.fragment)).unwrap_or(u16::MAX).max(1)
    }

    /// The last block sent.
    #[must_use]
    pub const fn sent(&self) -> u16 {
        self.sent
    }

    /// A block may leave now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.turn > 0 && self.sent < self.blocks()
    }

    /// All blocks have left.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.sent >= self.blocks()
    }

    /// The other side has everything up to `number`, and takes `window` more.
    pub fn acknowledged(&mut self, number: u16, window: u8) {
        self.sent = number.min(self.blocks());
        self.turn = window.max(1);
    }

    /// Builds the next block of `apdu` in `frame` and marks it ready. `own_window` is how many blocks
    /// in a row we take, `ack` the last block that came from the other side.
    ///
    /// # Errors
    /// When `frame` is too small.
    pub fn build<const N: usize>(
        &mut self,
        apdu: &[u8],
        own_window: u8,
        ack: u16,
        frame: &mut Frame<N>,
    ) -> Result<()> {
        let from = usize::from(self.sent) * self.fragment.get();
        let end = from.saturating_add(self.fragment.get()).min(self.len);
        let number = self.sent.saturating_add(1);
        let last = number == self.blocks();
        let streaming = self.turn > 1 && !last;
        let block = GeneralBlockTransfer {
            control: BlockControl::new(last, streaming, own_window),
            block_number: number,
            block_number_ack: ack,
            block_data: apdu.get(from..end).unwrap_or(&[]),
        };
        encode(&block, frame)?;
        self.sent = number;
        self.turn = if streaming { self.turn - 1 } else { 0 };
        Ok(())
    }
}

/// How many fragments `len` bytes make: a division that cannot fail, for its divisor cannot be zero.
fn fragments(len: usize, fragment: NonZeroUsize) -> usize {
    len / fragment + usize::from(len % fragment > 0)
}

/// Builds an acknowledgement: no data, our next block number, what has come, and how many blocks we take in a row.
///
/// # Errors
/// When `frame` is too small.
pub fn acknowledge<const N: usize>(
    number: u16,
    ack: u16,
    own_window: u8,
    frame: &mut Frame<N>,
) -> Result<()> {
    let block = GeneralBlockTransfer {
        control: BlockControl::new(true, false, own_window),
        block_number: number,
        block_number_ack: ack,
        block_data: &[],
    };
    encode(&block, frame)
}

fn encode<const N: usize>(block: &GeneralBlockTransfer<'_>, frame: &mut Frame<N>) -> Result<()> {
    frame.build(|w| put(ApduTag::GeneralBlockTransfer, block, w))?;
    frame.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::Decode;
    use std::vec::Vec;

    /// Sends `apdu` over a pipe that drops the blocks whose running number is in `lost`.
    fn carry(apdu: &[u8], lost: &[usize]) -> (Vec<u8>, usize) {
        let mut out = Outgoing::new(apdu.len(), 64, 1).unwrap();
        let mut incoming = Incoming::default();
        let mut buffer = [0xA5; 2048];
        let mut frame = Frame::<128>::new();
        let mut count = 0;
        loop {
            while out.is_ready() {
                out.build(apdu, WINDOW, 0, &mut frame).unwrap();
                let bytes = frame.take().unwrap().to_vec();
                assert!(bytes.len() <= 64);
                count += 1;
                assert!(count < 1000);
                if lost.contains(&count) {
                    continue;
                }
                let block = GeneralBlockTransfer::from_bytes(&bytes[1..]).unwrap();
                if let Taken::Whole(n) = incoming.take(&block, &mut buffer) {
                    return (buffer[..n].to_vec(), count);
                }
            }
            // The receiver's turn, or its patience is at an end: either way it says what it has.
            out.acknowledged(incoming.number(), WINDOW);
        }
    }

    #[test]
    fn an_apdu_of_any_length_arrives_whole() {
        for len in 1..1200u16 {
            let apdu: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert_eq!(carry(&apdu, &[]).0, apdu);
        }
    }

    #[test]
    fn a_lost_block_is_recovered_wherever_it_was() {
        let apdu: Vec<u8> = (0..1000u16).map(|i| (i * 3) as u8).collect();
        let (_, blocks) = carry(&apdu, &[]);
        for first in 1..=blocks {
            for second in first + 1..=blocks + 2 {
                let (got, count) = carry(&apdu, &[first, second]);
                assert_eq!(got, apdu);
                assert!(count <= blocks + 2 * usize::from(WINDOW), "{first} {second}: {count}");
            }
        }
    }

    #[test]
    fn an_apdu_larger_than_the_buffer_ends_the_transfer() {
        let block = |n| GeneralBlockTransfer {
            control: BlockControl::new(false, true, 1),
            block_number: n,
            block_number_ack: 0,
            block_data: &[0; 60],
        };
        let mut incoming = Incoming::default();
        let mut buffer = [0; 100];
        assert_eq!(incoming.take(&block(1), &mut buffer), Taken::Wait);
        assert_eq!(incoming.take(&block(2), &mut buffer), Taken::TooLong);
    }
}
