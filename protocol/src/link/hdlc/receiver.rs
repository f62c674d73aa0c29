//! Finds frames in a stream of bytes and gets back in step after garbage.

use super::super::{Storage, put, within};
use core::cell::Cell;

use super::frame::{FLAG, Frame, FrameError, Header, total_len};

/// A frame finder over the caller's buffer. The buffer always begins with a flag, or is empty: everything that can no
/// longer become a frame is dropped and counted at once, so memory and work stay bounded.
pub(super) struct Receiver<F> {
    buffer: F,
    len: usize,
    /// Bytes at the front that were handed out as a frame and go with the next call (its closing flag stays: it may
    /// open the next frame).
    spent: usize,
    /// Header of the frame handed out, and where its information field stands.
    current: Option<(Header, usize, usize)>,
    noise: usize,
}

impl<F: Storage> Receiver<F> {
    pub(super) const fn new(buffer: F) -> Self {
        Self { buffer, len: 0, spent: 0, current: None, noise: 0 }
    }

    /// The largest frame that fits, flags included.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.as_ref().len()
    }

    /// Bytes of a frame that has begun but not ended.
    pub(super) const fn partial(&self) -> bool {
        self.len.saturating_sub(self.spent) > 1
    }

    /// Bytes behind the frame just handed out, which nobody has looked at yet. They come from a frame that turned out to
    /// be none.
    pub(super) const fn behind(&self) -> bool {
        self.spent > 0 && self.partial()
    }

    /// Bytes skipped since the last call.
    pub(super) const fn take_noise(&mut self) -> usize {
        core::mem::replace(&mut self.noise, 0)
    }

    pub(super) const fn clear(&mut self) {
        self.len = 0;
        self.spent = 0;
        self.current = None;
    }

    /// Takes bytes until a frame is whole or the input ends: how many were taken, and the frame's length in the buffer
    /// (ask [`Receiver::frame`]). Call again with the rest.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        self.forget_spent();
        let mut taken = 0;
        loop {
            if self.advance() {
                return (taken, true);
            }
            let rest = bytes.get(taken..).unwrap_or(&[]);
            if rest.is_empty() {
                return (taken, false);
            }
            taken += self.append(rest);
        }
    }

    /// The frame that [`Receiver::feed`] has just announced.
    pub(super) fn frame(&self) -> Option<Frame<'_>> {
        let (header, start, end) = self.current?;
        Some(Frame { header, information: self.buffer.as_ref().get(start..end)? })
    }

    /// Gives up on the frame that has begun: the peer paused too long inside it. Then feed again, with nothing.
    pub(super) fn give_up(&mut self) {
        self.forget_spent();
        if self.len > 1 {
            self.reject();
        }
    }

    fn forget_spent(&mut self) {
        let spent = core::mem::replace(&mut self.spent, 0);
        self.current = None;
        self.shift(spent);
    }

    /// Drops `n` bytes at the front.
    fn shift(&mut self, n: usize) {
        let n = n.min(self.len);
        if n > 0 {
            // Forward and a byte at a time: `copy_within` leaves a panic path in builds optimised for size.
            let cells = Cell::from_mut(self.buffer.as_mut()).as_slice_of_cells();
            let used = cells.get(..self.len).unwrap_or(&[]);
            for (to, from) in used.iter().zip(used.get(n..).unwrap_or(&[])) {
                to.set(from.get());
            }
            self.len -= n;
        }
    }

    /// Drops the flag at the front and everything up to the next one.
    fn reject(&mut self) {
        let used = self.buffer.as_ref().get(..self.len).unwrap_or(&[]);
        let next = used.iter().skip(1).position(|&b| b == FLAG).map_or(self.len, |i| i + 1);
        self.noise += next;
        self.shift(next);
    }

    /// Decides what is in the buffer as far as possible: `true` when a whole frame stands at its front.
    fn advance(&mut self) -> bool {
        while self.len > 0 {
            let used = self.buffer.as_ref().get(..self.len).unwrap_or(&[]);
            // Flags between frames are fill, not noise.
            if matches!(used, [FLAG, FLAG, ..]) {
                self.shift(1);
                continue;
            }
            match Frame::decode(used) {
                Ok(frame) => {
                    // Two bytes of FCS and the flag follow the information field.
                    let total = total_len(used).unwrap_or(0);
                    let end = total.saturating_sub(3);
                    self.current = Some((frame.header, end.saturating_sub(frame.information.len()), end));
                    self.spent = total.saturating_sub(1);
                    return true;
                }
                Err(FrameError::Short(needed)) if needed <= self.capacity() => return false,
                Err(_) => self.reject(),
            }
        }
        false
    }

    /// Copies as many bytes as the frame at the front still needs; drops what stands before a first flag.
    fn append(&mut self, bytes: &[u8]) -> usize {
        if self.len == 0 {
            let skipped = bytes.iter().position(|&b| b == FLAG).unwrap_or(bytes.len());
            self.noise += skipped;
            if skipped > 0 {
                return skipped;
            }
        }
        let used = self.buffer.as_ref().get(..self.len).unwrap_or(&[]);
        // Until the length is known, one byte at a time: any of them may be a flag.
        let missing = total_len(used).map_or(1, |total| total.saturating_sub(self.len));
        let wanted = within(missing, 1, bytes.len());
        let part = bytes.get(..wanted).unwrap_or(bytes);
        if put(self.buffer.as_mut(), self.len, part) {
            self.len += wanted;
            wanted
        } else {
            // Only a buffer shorter than the shortest frame gets here.
            self.noise += self.len + bytes.len();
            self.len = 0;
            bytes.len()
        }
    }
}
