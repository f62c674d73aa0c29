//! A walk over A-XDR data (Green Book, A-XDR; Blue Book, data types) without recursion, allocation or second looks: each node
//! once, in the order of the bytes. For telegrams that are read once and kept in no tree.
//!
//! ```
//! use protocol::dlms::axdr_walk::{Value, Walk};
//!
//! let bytes = [2, 2, 18, 0, 3, 15, 0xFE];
//! let nodes: Vec<_> = Walk::new(&bytes).map(|node| node.map(|node| (node.depth, node.value))).collect();
//! assert_eq!(nodes, [Ok((0, Value::Structure(2))), Ok((1, Value::Unsigned(3))), Ok((1, Value::Signed(-2)))]);
//! ```

use core::fmt;

/// How deep arrays and structures may nest. No class of the Blue Book comes near.
pub const DEPTH_MAX: usize = 16;

/// One node of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// Nesting: 0 is the value itself.
    pub depth: u8,
    /// Where its tag stands, from the start of the bytes given.
    pub offset: usize,
    /// What it is.
    pub value: Value<'a>,
}

/// A value; of an array or structure only its element count, for the elements come as nodes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// null-data; also don't-care.
    Null,
    /// An array of so many elements.
    Array(usize),
    /// A structure of so many elements.
    Structure(usize),
    /// boolean.
    Boolean(bool),
    /// bit-string: the number of bits, and the bytes that hold them, first bit first.
    Bits(usize, &'a [u8]),
    /// integer, long, double-long, long64 and the signed deltas.
    Signed(i64),
    /// unsigned, long-unsigned, double-long-unsigned, long64-unsigned and the unsigned deltas.
    Unsigned(u64),
    /// octet-string.
    Octets(&'a [u8]),
    /// visible-string or utf8-string, as it came.
    Text(&'a [u8]),
    /// bcd.
    Bcd(u8),
    /// enum.
    Enum(u8),
    /// float32, its bits.
    Float32(u32),
    /// float64, its bits.
    Float64(u64),
    /// date-time (12 bytes), date (5) or time (4).
    Time(&'a [u8]),
    /// compact-array: its type description and contents, to be read by who wants them.
    Compact(&'a [u8]),
}

/// Why a walk ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkError {
    /// What is wrong.
    pub kind: WalkErrorKind,
    /// At which byte.
    pub offset: usize,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkErrorKind {
    /// The bytes end inside a value.
    Short,
    /// No data type has this tag.
    Tag(u8),
    /// A length in a form that A-XDR does not have, or beyond the bytes.
    Length,
    /// Deeper than [`DEPTH_MAX`].
    Depth,
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            WalkErrorKind::Short => write!(f, "byte {}: the bytes end inside a value", self.offset),
            WalkErrorKind::Tag(tag) => write!(f, "byte {}: {tag:02X} is no data tag", self.offset),
            WalkErrorKind::Length => write!(f, "byte {}: a length that cannot be", self.offset),
            WalkErrorKind::Depth => write!(f, "byte {}: nested deeper than {DEPTH_MAX}", self.offset),
        }
    }
}

impl core::error::Error for WalkError {}

/// A walk over one value. It ends behind that value's last node, or with its first error.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    /// Everything, for offsets.
    bytes: &'a [u8],
    /// What has not been given.
    rest: &'a [u8],
    /// Elements still to come at this depth, and at each depth above it.
    left: usize,
    above: [usize; DEPTH_MAX],
    depth: usize,
}

impl<'a> Walk<'a> {
    /// A walk over the value at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, rest: bytes, left: 1, above: [0; DEPTH_MAX], depth: 0 }
    }

    /// How many bytes the nodes given so far take: after the last one, the length of the value.
    #[must_use]
    pub const fn consumed(&self) -> usize {
        self.bytes.len().saturating_sub(self.rest.len())
    }

    #[cold]
    const fn short<T>(&self) -> Result<T, WalkError> {
        Err(WalkError { kind: WalkErrorKind::Short, offset: self.bytes.len() })
    }

    #[cold]
    const fn fail<T>(kind: WalkErrorKind, offset: usize) -> Result<T, WalkError> {
        Err(WalkError { kind, offset })
    }

    #[inline]
    fn take(&mut self, n: usize) -> Result<&'a [u8], WalkError> {
        match self.rest.split_at_checked(n) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => self.short(),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WalkError> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => self.short(),
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, WalkError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A-XDR: below 0x80 the length itself, else 0x80 and how many bytes of length follow, here at most four.
    #[inline]
    fn length(&mut self) -> Result<usize, WalkError> {
        let first = self.byte()?;
        if first < 0x80 { Ok(first.into()) } else { self.long_length(first) }
    }

    #[cold]
    fn long_length(&mut self, first: u8) -> Result<usize, WalkError> {
        let at = self.consumed().saturating_sub(1);
        if !(0x81..=0x84).contains(&first) {
            return Self::fail(WalkErrorKind::Length, at);
        }
        let bytes = self.take(usize::from(first & 0x7F))?;
        Ok(bytes.iter().fold(0, |sum, b| (sum << 8) | usize::from(*b)))
    }

    #[inline]
    fn string(&mut self) -> Result<&'a [u8], WalkError> {
        let length = self.length()?;
        self.take(length)
    }

    /// The elements of an array or structure come next.
    #[inline]
    fn enter(&mut self, at: usize) -> Result<usize, WalkError> {
        let count = self.length()?;
        // Every element has a tag at least: a count beyond the bytes is a lie, and is told at once.
        if count > self.rest.len() {
            return Self::fail(WalkErrorKind::Length, at);
        }
        match self.above.get_mut(self.depth) {
            Some(above) => {
                *above = self.left;
                self.left = count;
                self.depth += 1;
                Ok(count)
            }
            None => Self::fail(WalkErrorKind::Depth, at),
        }
    }

    /// A compact array: a type description, a length, the contents.
    fn compact(&mut self) -> Result<&'a [u8], WalkError> {
        let start = self.consumed();
        let mut types = 1_usize;
        while types > 0 {
            types -= 1;
            let at = self.consumed();
            match self.byte()? {
                1 => {
                    self.take(2)?;
                    types += 1;
                }
                2 => types += self.length()?,
                tag if is_simple(tag) => {}
                tag => return Self::fail(WalkErrorKind::Tag(tag), at),
            }
            if types > self.bytes.len() {
                return Self::fail(WalkErrorKind::Length, at);
            }
        }
        self.string()?;
        Ok(self.bytes.get(start..self.consumed()).unwrap_or(&[]))
    }

    #[inline]
    fn value(&mut self, at: usize) -> Result<Value<'a>, WalkError> {
        Ok(match self.byte()? {
            0 | 255 => Value::Null,
            1 => Value::Array(self.enter(at)?),
            2 => Value::Structure(self.enter(at)?),
            3 => Value::Boolean(self.byte()? != 0),
            4 => {
                let bits = self.length()?;
                Value::Bits(bits, self.take(bits.div_ceil(8))?)
            }
            5 | 30 => Value::Signed(i32::from_be_bytes(self.array()?).into()),
            6 | 33 => Value::Unsigned(u32::from_be_bytes(self.array()?).into()),
            9 => Value::Octets(self.string()?),
            10 | 12 => Value::Text(self.string()?),
            13 => Value::Bcd(self.byte()?),
            15 | 28 => Value::Signed(i8::from_be_bytes(self.array()?).into()),
            16 | 29 => Value::Signed(i16::from_be_bytes(self.array()?).into()),
            17 | 31 => Value::Unsigned(self.byte()?.into()),
            18 | 32 => Value::Unsigned(u16::from_be_bytes(self.array()?).into()),
            19 => Value::Compact(self.compact()?),
            20 => Value::Signed(i64::from_be_bytes(self.array()?)),
            21 => Value::Unsigned(u64::from_be_bytes(self.array()?)),
            22 => Value::Enum(self.byte()?),
            23 => Value::Float32(u32::from_be_bytes(self.array()?)),
            24 => Value::Float64(u64::from_be_bytes(self.array()?)),
            25 => Value::Time(self.take(12)?),
            26 => Value::Time(self.take(5)?),
            27 => Value::Time(self.take(4)?),
            tag => return Self::fail(WalkErrorKind::Tag(tag), at),
        })
    }
}

/// Types a compact array's elements may have besides arrays and structures.
const fn is_simple(tag: u8) -> bool {
    matches!(tag, 0 | 3..=6 | 9 | 10 | 12 | 13 | 15..=18 | 20..=33 | 255)
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Node<'a>, WalkError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // Leave every array and structure whose last element has been given.
        while self.left == 0 {
            self.depth = self.depth.checked_sub(1)?;
            self.left = *self.above.get(self.depth)?;
        }
        self.left -= 1;
        let (depth, offset) = (self.depth, self.consumed());
        match self.value(offset) {
            Ok(value) => Some(Ok(Node { depth: depth.to_le_bytes()[0], offset, value })),
            Err(error) => {
                (self.left, self.depth) = (0, 0);
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::axdr::Data;
    use crate::codec::codec::{Decode, Reader};
    use std::vec::Vec;

    /// The body of a push telegram of a Kaifa meter: 81 nodes (origin in vectors/link/telegram.txt).
    fn telegram() -> Vec<u8> {
        let text = include_str!("../../vectors/link/telegram.txt");
        let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
        (0..line.len() / 2).map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    /// What another author's decoder makes of the same bytes, in the same order.
    fn others(data: Data<'_>, into: &mut Vec<std::string::String>) {
        into.push(match data {
            Data::Array(seq) => std::format!("Array({})", seq.len()),
            Data::Structure(seq) => std::format!("Structure({})", seq.len()),
            Data::OctetString(bytes) => std::format!("Octets({bytes:?})"),
            Data::DoubleLongUnsigned(v) => std::format!("Unsigned({v})"),
            Data::LongUnsigned(v) => std::format!("Unsigned({v})"),
            Data::Integer(v) => std::format!("Signed({v})"),
            Data::Enum(v) => std::format!("Enum({v})"),
            other => panic!("not in this telegram: {other:?}"),
        });
        if let Data::Array(seq) | Data::Structure(seq) = data {
            seq.iter().for_each(|element| others(element.unwrap(), into));
        }
    }

    #[test]
    fn a_telegram_gives_the_same_81_nodes_as_another_authors_decoder() {
        let apdu = telegram();
        // Behind the tag, the long invoke id and the date-time.
        let body = &apdu[18..];
        let mut walk = Walk::new(body);
        let ours: Vec<_> = walk.by_ref().map(|node| std::format!("{:?}", node.unwrap().value)).collect();
        let mut theirs = Vec::new();
        others(Data::decode(&mut Reader::new(body)).unwrap(), &mut theirs);
        assert_eq!(ours, theirs);
        assert_eq!((ours.len(), walk.consumed()), (81, body.len()));
    }

    #[test]
    fn every_cut_ends_with_an_error_within_the_bytes() {
        let apdu = telegram();
        let body = &apdu[18..];
        for cut in 0..body.len() {
            let last = Walk::new(&body[..cut]).last().unwrap();
            assert!(last.is_err_and(|e| e.offset <= cut), "cut at {cut}");
        }
    }

    #[test]
    fn depth_counts_and_lengths_are_bounded() {
        let deep = [1, 1].repeat(DEPTH_MAX + 2);
        assert_eq!(Walk::new(&deep).last(), Some(Err(WalkError { kind: WalkErrorKind::Depth, offset: 32 })));
        for (bytes, kind, offset) in [
            (&[1, 0x84, 0xFF, 0xFF, 0xFF, 0xFF][..], WalkErrorKind::Length, 0),
            (&[9, 0x84, 0xFF, 0xFF, 0xFF, 0xFF], WalkErrorKind::Short, 6),
            (&[9, 0x80], WalkErrorKind::Length, 1),
            (&[7], WalkErrorKind::Tag(7), 0),
            (&[2, 1, 7, 0], WalkErrorKind::Tag(7), 2),
            (&[], WalkErrorKind::Short, 0),
            (&[19, 2, 2, 17, 99, 0], WalkErrorKind::Tag(99), 4),
        ] {
            assert_eq!(Walk::new(bytes).last(), Some(Err(WalkError { kind, offset })), "{bytes:?}");
        }
    }

    #[test]
    fn every_type_is_read_with_its_sign() {
        let nodes = |bytes: &'static [u8]| Walk::new(bytes).map(|n| n.unwrap().value).collect::<Vec<_>>();
        assert_eq!(nodes(&[5, 0xFF, 0xFF, 0xFF, 0xFE]), [Value::Signed(-2)]);
        assert_eq!(nodes(&[16, 0x80, 0]), [Value::Signed(-32_768)]);
        assert_eq!(nodes(&[20, 0x80, 0, 0, 0, 0, 0, 0, 0]), [Value::Signed(i64::MIN)]);
        assert_eq!(nodes(&[21, 0xFF, 0, 0, 0, 0, 0, 0, 0]), [Value::Unsigned(0xFF00_0000_0000_0000)]);
        assert_eq!(nodes(&[4, 9, 0xAA, 0x80]), [Value::Bits(9, &[0xAA, 0x80])]);
        assert_eq!(nodes(&[19, 2, 2, 17, 18, 3, 1, 0, 2]), [Value::Compact(&[2, 2, 17, 18, 3, 1, 0, 2])]);
        assert_eq!(nodes(&[2, 0]), [Value::Structure(0)]);
        assert_eq!(nodes(&[1, 2, 0, 255]), [Value::Array(2), Value::Null, Value::Null]);
    }
}
