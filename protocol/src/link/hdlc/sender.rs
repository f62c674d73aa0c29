//! The outgoing APDU: cut in segments, numbered, and kept until acknowledged.

use super::super::{Storage, put};

/// One APDU on its way out, and the send sequence variables of ISO/IEC 13239: go-back-N.
pub(super) struct Sender<A> {
    buffer: A,
    /// Length of the LSDU (LLC header and APDU); 0 when there is none.
    total: usize,
    /// Size of a segment.
    info_max: usize,
    /// LSDU offset and number of the first segment that is not acknowledged.
    acked: usize,
    va: u8,
    /// The same of the next one to send.
    next: usize,
    vs: u8,
    /// The number after the last one ever sent.
    high: u8,
}

/// One segment ready to be framed.
pub(super) struct Segment<'a> {
    pub llc: &'a [u8],
    pub apdu: &'a [u8],
    pub ns: u8,
    /// More of this APDU follows.
    pub more: bool,
}

/// Modulo-8 distance from `from` up to `to`.
const fn distance(from: u8, to: u8) -> u8 {
    to.wrapping_sub(from) & 7
}

impl<A: Storage> Sender<A> {
    pub(super) const fn new(buffer: A) -> Self {
        Self { buffer, total: 0, info_max: 128, acked: 0, va: 0, next: 0, vs: 0, high: 0 }
    }

    /// Starts a new connection: numbers from zero, nothing queued.
    pub(super) fn reset(&mut self, info_max: u16) {
        self.total = 0;
        self.info_max = usize::from(info_max.max(4));
        (self.acked, self.next) = (0, 0);
        (self.va, self.vs, self.high) = (0, 0, 0);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(super) fn capacity(&self) -> usize {
        self.buffer.as_ref().len()
    }

    /// Queues an APDU; the caller has made sure that nothing is queued. `false` when it does not fit.
    pub(super) fn load(&mut self, llc: &[u8], apdu: &[u8]) -> bool {
        if !put(self.buffer.as_mut(), 0, apdu) {
            return false;
        }
        self.total = llc.len() + apdu.len();
        (self.acked, self.next) = (0, 0);
        true
    }

    /// Whether a segment may be sent now with this window.
    pub(super) const fn ready(&self, window: u8) -> bool {
        self.next < self.total && distance(self.va, self.vs) < window
    }

    /// Whether another segment may follow the next one.
    pub(super) const fn ready_after_next(&self, window: u8) -> bool {
        self.next.saturating_add(self.info_max) < self.total && distance(self.va, self.vs) + 1 < window
    }

    /// The number the next segment gets.
    pub(super) const fn next_ns(&self) -> u8 {
        self.vs
    }

    /// Segments that were sent and not acknowledged.
    pub(super) const fn unacknowledged(&self) -> bool {
        self.va != self.high
    }

    /// The next segment; it counts as sent.
    pub(super) fn take(&mut self, llc: &'static [u8]) -> Segment<'_> {
        let (start, end) = (self.next, self.next.saturating_add(self.info_max).min(self.total));
        let llc_part = llc.get(start.min(llc.len())..end.min(llc.len())).unwrap_or(&[]);
        let apdu = start.saturating_sub(llc.len())..end.saturating_sub(llc.len());
        let ns = self.vs;
        self.vs = (ns + 1) & 7;
        if distance(self.va, self.vs) > distance(self.va, self.high) {
            self.high = self.vs;
        }
        self.next = end;
        let more = end < self.total;
        Segment { llc: llc_part, apdu: self.buffer.as_ref().get(apdu).unwrap_or(&[]), ns, more }
    }

    /// Takes an acknowledgement: `None` when `nr` names a frame never sent, else whether anything new is acknowledged.
    pub(super) fn acknowledge(&mut self, nr: u8) -> Option<bool> {
        let count = distance(self.va, nr);
        if count > distance(self.va, self.high) {
            return None;
        }
        if count == 0 {
            return Some(false);
        }
        if count > distance(self.va, self.vs) {
            // An answer to frames sent before we went back: they need not go again.
            self.vs = nr;
            self.next = self.acked.saturating_add(usize::from(count) * self.info_max).min(self.total);
        }
        self.acked = self.acked.saturating_add(usize::from(count) * self.info_max).min(self.total);
        self.va = nr;
        if self.acked >= self.total {
            self.total = 0;
            (self.acked, self.next) = (0, 0);
        }
        Some(true)
    }

    /// Sends everything unacknowledged again.
    pub(super) const fn go_back(&mut self) -> bool {
        let repeats = self.va != self.vs;
        self.vs = self.va;
        self.next = self.acked;
        repeats
    }
}

/// The incoming APDU: segments put together, the LLC header taken off.
pub(super) struct Assembler<A> {
    buffer: A,
    len: usize,
    /// A first segment has come, the last has not.
    open: bool,
    /// The number of the next segment.
    pub vr: u8,
}

/// What became of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Assembled {
    /// More to come.
    Partial,
    /// An APDU of this length stands in the buffer.
    Whole(usize),
    /// No LLC header, or longer than the buffer.
    Broken,
}

impl<A: Storage> Assembler<A> {
    pub(super) const fn new(buffer: A) -> Self {
        Self { buffer, len: 0, open: false, vr: 0 }
    }

    pub(super) const fn reset(&mut self) {
        self.len = 0;
        self.open = false;
        self.vr = 0;
    }

    /// In the middle of an APDU.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn apdu(&self, len: usize) -> &[u8] {
        self.buffer.as_ref().get(..len).unwrap_or(&[])
    }

    /// Takes the segment with the expected number.
    pub(super) fn push(&mut self, information: &[u8], more: bool) -> Assembled {
        let part = if self.open {
            information
        } else {
            let Some(apdu) = without_llc(information) else { return Assembled::Broken };
            self.len = 0;
            apdu
        };
        if !put(self.buffer.as_mut(), self.len, part) {
            return Assembled::Broken;
        }
        self.len += part.len();
        self.vr = (self.vr + 1) & 7;
        self.open = more;
        if more { Assembled::Partial } else { Assembled::Whole(self.len) }
    }

    /// Takes an APDU that came outside the sequence; `None` while one is being put together, or when it does not fit.
    pub(super) fn push_unnumbered(&mut self, information: &[u8]) -> Option<usize> {
        if self.open {
            return None;
        }
        let apdu = without_llc(information)?;
        put(self.buffer.as_mut(), 0, apdu).then_some(apdu.len())
    }
}

/// Takes the LLC header off (IEC 62056-46, clause 5): destination E6, source E6 or E7, quality 00.
fn without_llc(information: &[u8]) -> Option<&[u8]> {
    match information {
        [0xE6, 0xE6 | 0xE7, 0x00, apdu @ ..] => Some(apdu),
        _ => None,
    }
}
