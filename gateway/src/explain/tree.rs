//! What the explainer says: a tree of labelled stretches of bytes.

use serde_json::{Value, json};
use std::fmt::Write as _;

/// Nodes in one explanation at most; input beyond is counted, not shown.
pub const NODES_MAX: usize = 400_000;

/// Which bytes an offset counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Space {
    /// The input.
    #[default]
    Input,
    /// The plaintext that was deciphered nearest above in the tree.
    Plain,
}

/// What a value is, where that matters to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Datum {
    Number(i128),
    Enum(u8),
    LogicalName([u8; 6]),
    /// Names the value behind it.
    Attribute,
    Other,
}

/// One labelled stretch of bytes.
#[derive(Debug, Clone)]
pub struct Node {
    /// Which bytes `offset` counts.
    pub space: Space,
    /// First byte.
    pub offset: usize,
    /// How many bytes.
    pub length: usize,
    /// What it is.
    pub label: String,
    /// Its value in words; may be empty.
    pub value: String,
    /// Here it breaks, and `value` says why.
    pub broken: bool,
    /// What it consists of.
    pub children: Vec<Self>,
    pub(super) datum: Datum,
}

impl Node {
    pub(super) fn new(
        space: Space,
        offset: usize,
        length: usize,
        label: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        Self {
            space,
            offset,
            length,
            label: label.into(),
            value: value.into(),
            broken: false,
            children: Vec::new(),
            datum: Datum::Other,
        }
    }

    pub(super) fn break_at(&mut self, space: Space, offset: usize, why: impl Into<String>) {
        let mut node = Self::new(space, offset, 0, "BROKEN", why);
        node.broken = true;
        self.children.push(node);
    }

    /// Every broken place in this tree, in order.
    pub fn collect_broken(&self, into: &mut Vec<(Space, usize, String)>) {
        if self.broken {
            into.push((self.space, self.offset, self.value.clone()));
        }
        for child in &self.children {
            child.collect_broken(into);
        }
    }

    /// The tree as indented lines, each with the offset of its first byte. Offsets within a plaintext carry a `+`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write_text(&mut out, 0);
        out
    }

    fn write_text(&self, out: &mut String, depth: usize) {
        let mark = if self.space == Space::Plain { '+' } else { ' ' };
        let indent = "  ".repeat(depth);
        let colon = if self.value.is_empty() { "" } else { ": " };
        let bang = if self.broken { "!! " } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{mark}{:06X}  {indent}{bang}{}{colon}{}", self.offset, self.label, self.value);
        for child in &self.children {
            child.write_text(out, depth + 1);
        }
    }

    /// The tree as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = json!({ "offset": self.offset, "length": self.length, "label": self.label });
        if let Some(map) = object.as_object_mut() {
            if self.space == Space::Plain {
                map.insert("plaintext".into(), true.into());
            }
            if !self.value.is_empty() {
                map.insert("value".into(), self.value.clone().into());
            }
            if self.broken {
                map.insert("broken".into(), true.into());
            }
            if !self.children.is_empty() {
                map.insert("children".into(), self.children.iter().map(Self::to_json).collect());
            }
        }
        object
    }
}

/// Bytes as upper-case hex without blanks; long ones are cut in the middle.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>();
    match bytes {
        [head @ .., _] if head.len() >= 64 => {
            let (first, last) = (bytes.get(..48).unwrap_or(&[]), bytes.get(bytes.len() - 8..).unwrap_or(&[]));
            format!("{}...{} ({} bytes)", digits(first), digits(last), bytes.len())
        }
        _ => digits(bytes),
    }
}
