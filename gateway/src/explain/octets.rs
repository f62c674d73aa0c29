//! Bytes that know where they came from, and a cursor over them.

use super::tree::{Node, Space};

/// Bytes put together from pieces of the input; each remembers its offset there.
#[derive(Debug, Clone, Default)]
pub struct Octets {
    bytes: Vec<u8>,
    origin: Vec<usize>,
    space: Space,
}

impl Octets {
    /// A stretch of the input that begins at `offset`.
    #[must_use]
    pub fn input(bytes: &[u8], offset: usize) -> Self {
        Self { bytes: bytes.to_vec(), origin: (offset..offset + bytes.len()).collect(), space: Space::Input }
    }

    /// Deciphered bytes, with offsets of their own.
    #[must_use]
    pub fn plain(bytes: Vec<u8>) -> Self {
        let origin = (0..bytes.len()).collect();
        Self { bytes, origin, space: Space::Plain }
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends another piece.
    pub fn append(&mut self, other: &Self) {
        self.space = other.space;
        self.bytes.extend_from_slice(&other.bytes);
        self.origin.extend_from_slice(&other.origin);
    }

    /// A cursor over everything.
    #[must_use]
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { octets: self, pos: 0, end: self.bytes.len() }
    }
}

/// Why decoding stopped, and where.
#[derive(Debug)]
pub(super) struct Broken {
    pub space: Space,
    pub offset: usize,
    pub why: String,
}

pub(super) type Step<T = ()> = Result<T, Broken>;

/// A position in [`Octets`]; every read is checked.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    octets: &'a Octets,
    pos: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Bytes left.
    pub(super) fn left(&self) -> usize {
        self.end - self.pos
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.octets.bytes.get(self.pos..self.end).unwrap_or(&[])
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    pub(super) fn space(&self) -> Space {
        self.octets.space
    }

    /// The input offset of position `pos`; behind the last byte, the offset after it.
    pub(super) fn offset_of(&self, pos: usize) -> usize {
        match self.octets.origin.get(pos) {
            Some(&offset) => offset,
            None => self.octets.origin.last().map_or(0, |last| last + 1),
        }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset_of(self.pos)
    }

    pub(super) fn broken<T>(&self, why: impl Into<String>) -> Step<T> {
        self.broken_at(self.pos, why)
    }

    pub(super) fn broken_at<T>(&self, pos: usize, why: impl Into<String>) -> Step<T> {
        Err(Broken { space: self.space(), offset: self.offset_of(pos), why: why.into() })
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize, what: &str) -> Step<&'a [u8]> {
        match self.rest().get(..n) {
            Some(bytes) => {
                self.pos += n;
                Ok(bytes)
            }
            None => self.broken_at(
                self.end,
                format!("the bytes end inside {what}: {n} needed, {} there", self.left()),
            ),
        }
    }

    pub(super) fn u8(&mut self, what: &str) -> Step<u8> {
        Ok(self.take(1, what)?.first().copied().unwrap_or(0))
    }

    pub(super) fn u16(&mut self, what: &str) -> Step<u16> {
        Ok(u16::try_from(self.number(2, what)?).unwrap_or(0))
    }

    pub(super) fn u32(&mut self, what: &str) -> Step<u32> {
        Ok(u32::try_from(self.number(4, what)?).unwrap_or(0))
    }

    /// A big-endian number of `n` bytes, at most 8.
    pub(super) fn number(&mut self, n: usize, what: &str) -> Step<u64> {
        Ok(self.take(n, what)?.iter().fold(0, |sum, &b| (sum << 8) | u64::from(b)))
    }

    /// An A-XDR or BER length: one byte below 0x80, or 0x81..0x84 and that many bytes.
    pub(super) fn length(&mut self, what: &str) -> Step<usize> {
        let start = self.pos;
        let first = self.u8(what)?;
        match first {
            0..=0x7F => Ok(usize::from(first)),
            0x81..=0x84 => {
                let n = usize::from(first & 0x7F);
                let length = self.number(n, what)?;
                usize::try_from(length)
                    .or_else(|_| self.broken_at(start, format!("a length of {length} bytes")))
            }
            _ => self.broken_at(start, format!("{first:02X} is no length ({what})")),
        }
    }

    /// A cursor over the next `n` bytes, which are skipped here.
    pub(super) fn part(&mut self, n: usize, what: &str) -> Step<Self> {
        let start = self.pos;
        self.take(n, what)?;
        Ok(Self { octets: self.octets, pos: start, end: self.pos })
    }

    /// A cursor over what is left, up to `n` bytes, which are skipped here.
    pub(super) fn part_up_to(&mut self, n: usize) -> Self {
        let start = self.pos;
        self.pos += n.min(self.left());
        Self { octets: self.octets, pos: start, end: self.pos }
    }

    /// Bytes between two positions, whatever has been read since.
    pub(super) fn octets_between(&self, start: usize, end: usize) -> &'a [u8] {
        self.octets.bytes.get(start..end).unwrap_or(&[])
    }

    /// A cursor over `length` bytes from `start` on, as many of them as there are.
    pub(super) fn stretch(&self, start: usize, length: usize) -> Self {
        let end = start.saturating_add(length).min(self.octets.bytes.len());
        Self { octets: self.octets, pos: start.min(end), end }
    }

    /// These bytes with their origins.
    pub(super) fn to_octets(&self) -> Octets {
        Octets {
            bytes: self.rest().to_vec(),
            origin: self.octets.origin.get(self.pos..self.end).unwrap_or(&[]).to_vec(),
            space: self.octets.space,
        }
    }

    /// A node for the bytes from `start` to here.
    pub(super) fn node(&self, start: usize, label: impl Into<String>, value: impl Into<String>) -> Node {
        Node::new(self.space(), self.offset_of(start), self.pos.saturating_sub(start), label, value)
    }
}
