//! A walk over an A-XDR value: every node once, in order, without recursion, memory of its own or a second look at a byte.
//!
//! ```
//! use protocol::dlms::walk::{Node, Walk};
//! use protocol::codec::axdr::Data;
//! // structure { unsigned 7, array of one boolean }
//! let bytes = [2, 2, 17, 7, 1, 1, 3, 1];
//! let nodes: Vec<_> = Walk::new(&bytes).map(|step| step.unwrap()).map(|s| (s.depth, s.node)).collect();
//! assert_eq!(nodes[0], (0, Node::Structure(2)));
//! assert_eq!(nodes[1], (1, Node::Value(Data::Unsigned(7))));
//! assert_eq!(nodes[2], (1, Node::Array(1)));
//! assert_eq!(nodes[3], (2, Node::Value(Data::Boolean(true))));
//! ```

use crate::codec::axdr::{Data, DataTag};
use crate::codec::codec::{Decode, Error, ErrorKind, Reader, Result};

/// Deepest nesting followed. The deepest in use (an object list's access rights) is five.
pub const DEPTH_MAX: usize = 16;

/// One node of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node<'a> {
    /// A structure of so many elements, which follow one level deeper.
    Structure(usize),
    /// An array of so many elements, which follow one level deeper.
    Array(usize),
    /// A value without elements; a compact array is one too.
    Value(Data<'a>),
}

/// A node and where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step<'a> {
    /// How many structures and arrays it is in.
    pub depth: usize,
    /// Its place in the one it is in, from 0.
    pub index: usize,
    /// Offset of its tag in the bytes given to [`Walk::new`].
    pub offset: usize,
    /// The node.
    pub node: Node<'a>,
}

/// The walk: an iterator over [`Step`]s. An error, with its byte offset, is the last item; bytes after the value are one.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    reader: Reader<'a>,
    /// Per level: how many elements there are, and how many have begun.
    levels: [(usize, usize); DEPTH_MAX],
    depth: usize,
    begun: bool,
    ended: bool,
}

impl<'a> Walk<'a> {
    /// A walk over the one value in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader::new(bytes), levels: [(0, 0); DEPTH_MAX], depth: 0, begun: false, ended: false }
    }

    /// The place of the next node: `None` after the last.
    fn place(&mut self) -> Option<usize> {
        if !self.begun {
            self.begun = true;
            return Some(0);
        }
        while let Some(level) = self.depth.checked_sub(1).and_then(|d| self.levels.get_mut(d)) {
            let (count, begun) = *level;
            if begun < count {
                level.1 = begun + 1;
                return Some(begun);
            }
            self.depth -= 1;
        }
        None
    }

    fn node(&mut self) -> Result<Node<'a>> {
        let tag = self.reader.peek_u8()?;
        let structure = tag == DataTag::Structure.as_u8();
        if !structure && tag != DataTag::Array.as_u8() {
            return Data::decode(&mut self.reader).map(Node::Value);
        }
        self.reader.skip(1)?;
        let count = self.reader.length()?;
        // Every element has a tag at least: a count that cannot be true is refused before anything is done with it.
        if count > self.reader.remaining() {
            return Err(self.reader.err(ErrorKind::InvalidLength));
        }
        let deep = Error::new(ErrorKind::DepthExceeded, self.reader.offset());
        *self.levels.get_mut(self.depth).ok_or(deep)? = (count, 0);
        self.depth += 1;
        Ok(if structure { Node::Structure(count) } else { Node::Array(count) })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Step<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Some(index) = self.place() else {
            self.ended = true;
            let left = self.reader.remaining();
            return (left > 0).then(|| Err(self.reader.err(ErrorKind::InvalidLength)));
        };
        let (depth, offset) = (self.depth, self.reader.offset());
        match self.node() {
            Ok(node) => Some(Ok(Step { depth, index, offset, node })),
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// What the codec's own decoder finds, walked recursively.
    fn recursively<'a>(data: Data<'a>, depth: usize, out: &mut Vec<(usize, Node<'a>)>) {
        match data {
            Data::Structure(seq) => {
                out.push((depth, Node::Structure(seq.len())));
                seq.iter().for_each(|d| recursively(d.unwrap(), depth + 1, out));
            }
            Data::Array(seq) => {
                out.push((depth, Node::Array(seq.len())));
                seq.iter().for_each(|d| recursively(d.unwrap(), depth + 1, out));
            }
            other => out.push((depth, Node::Value(other))),
        }
    }

    const TELEGRAM: &[u8] = &[
        2, 4, 9, 6, 1, 0, 1, 8, 0, 255, 6, 0, 1, 2, 3, 2, 2, 15, 0xFD, 22, 30, 1, 3, 2, 1, 17, 1, 2, 0, 2, 2,
        1, 0, 3, 1,
    ];

    #[test]
    fn the_walk_finds_what_the_codec_finds() {
        let mut expected = Vec::new();
        recursively(Data::from_bytes(TELEGRAM).unwrap(), 0, &mut expected);
        let got: Vec<_> = Walk::new(TELEGRAM).map(|s| s.unwrap()).map(|s| (s.depth, s.node)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn truncated_and_prolonged_values_end_in_an_error_at_the_right_byte() {
        for n in 0..TELEGRAM.len() {
            let last = Walk::new(&TELEGRAM[..n]).last().unwrap();
            assert!(last.unwrap_err().offset <= n, "{n}");
        }
        let longer = [TELEGRAM, &[0]].concat();
        let error = Walk::new(&longer).last().unwrap().unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::InvalidLength, TELEGRAM.len()));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let deep = [[2, 1]; 40].concat();
        let error = Walk::new(&deep).last().unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::DepthExceeded);
    }

    #[test]
    fn a_count_larger_than_what_follows_is_refused_at_once() {
        let steps: Vec<_> = Walk::new(&[1, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 0]).collect();
        assert_eq!(steps.len(), 1);
        assert!(steps[0].is_err());
    }
}
