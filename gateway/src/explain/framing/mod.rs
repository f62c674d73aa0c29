//! What carries the APDUs: finds HDLC frames, M-Bus frames, wrapper headers, sign-on lines and bare APDUs in a stream.

mod hdlc;
mod mbus;

use super::input::Stream;
use super::octets::{Cursor, Octets, Step};
use super::tree::{Node, hex};
use super::{Part, Session, apdu};

/// Explains one stream from its first byte to its last.
#[must_use]
pub fn explain_stream(stream: &Stream, session: &mut Session) -> Node {
    let octets = Octets::input(&stream.bytes, 0);
    let title = if stream.title.is_empty() { "input" } else { &stream.title };
    let mut root = Node::new(
        octets.cursor().space(),
        0,
        stream.bytes.len(),
        title,
        format!("{} bytes", stream.bytes.len()),
    );
    let mut whole = octets.cursor();
    let mut ends: Vec<usize> = stream.datagrams.iter().skip(1).copied().collect();
    ends.push(stream.bytes.len());
    for end in ends {
        let mut c = whole.part_up_to(end.saturating_sub(whole.pos()));
        while c.left() > 0 {
            next(&mut c, &mut root, session);
        }
    }
    root
}

/// Says of every APDU that was begun and never ended what is missing.
pub(super) fn unfinished(session: &Session, node: &mut Node) {
    let mut parts: Vec<_> = session.parts.iter().collect();
    parts.sort_by_key(|(_, (octets, _))| octets.cursor().offset());
    for (part, (octets, _)) in parts {
        let mut c = octets.cursor();
        let how = match part {
            Part::Hdlc(..) => "HDLC segments",
            Part::Mbus(..) => "M-Bus segments",
            Part::Blocks { .. } => "blocks",
        };
        c.part_up_to(usize::MAX);
        let why = format!(
            "the input ends in the middle of an APDU in {how}: {} bytes of it are there",
            octets.bytes().len()
        );
        node.break_at(c.space(), c.offset(), why);
    }
}

/// What begins at the cursor. Takes at least one byte.
fn next(c: &mut Cursor<'_>, root: &mut Node, session: &mut Session) {
    let before = c.left();
    match *c.rest() {
        // Flags between frames are fill.
        [0x7E, 0x7E, ..] => skip(c, 1),
        [0x7E] if root.children.last().is_some_and(|n| n.label.starts_with("HDLC")) => skip(c, 1),
        [0x7E, 0xA0..=0xAF, ..] => hdlc::frame(c, root, session),
        [0x68, a, b, 0x68, ..] if a == b => mbus::long_frame(c, root, session),
        [0x10, _, _, _, 0x16, ..] => mbus::short_frame(c, root),
        [0xE5] | [0xE5, 0x68 | 0xE5 | 0x10, ..] => {
            skip(c, 1);
            root.children.push(c.node(c.pos() - 1, "M-Bus acknowledge", ""));
        }
        [0, 1, _, _, _, _, _, _, ..] => wrapper(c, root, session),
        [b'/', ..] => sign_on(c, root),
        [0x06, b'0'..=b'9', b'0'..=b'9' | b'A'..=b'Z', b'0'..=b'9', b'\r', b'\n', ..] => acknowledge(c, root),
        [0xE6, 0xE6 | 0xE7, 0x00, ..] => {
            root.children.push(Node::new(
                c.space(),
                c.offset(),
                3,
                "LLC header",
                hex(c.rest().get(..3).unwrap_or(&[])),
            ));
            skip(c, 3);
            bare(c, root, session);
        }
        [tag, ..] if apdu::is_tag(tag) && begins(c, root) => bare(c, root, session),
        _ => garbage(c, root),
    }
    if c.left() == before {
        skip(c, 1);
    }
}

fn skip(c: &mut Cursor<'_>, n: usize) {
    c.part_up_to(n);
}

/// Nothing but the cursor's first byte has been looked at yet, or another bare APDU came before.
fn begins(c: &Cursor<'_>, root: &Node) -> bool {
    c.pos() == 0 || root.children.last().is_some_and(|n| n.label == "APDU" || n.label == "LLC header")
}

/// Bytes that begin nothing: up to where something may begin.
fn garbage(c: &mut Cursor<'_>, root: &mut Node) {
    let bytes = c.rest();
    let starts = |tail: &[u8]| {
        matches!(tail, [0x7E, 0xA0..=0xAF, ..] | [0, 1, 0, _, 0, _, _, _, _, ..])
            || matches!(tail, [0x68, a, b, 0x68, ..] if a == b)
    };
    let n = (1..bytes.len()).find(|&i| bytes.get(i..).is_some_and(starts)).unwrap_or(bytes.len());
    let start = c.pos();
    skip(c, n);
    let mut node = c.node(start, "unknown", hex(bytes.get(..n).unwrap_or(bytes)));
    let offset = c.offset_of(start);
    let why = match n {
        1 => "1 byte belongs to no frame and begins no APDU".into(),
        _ => format!("{n} bytes belong to no frame and begin no APDU"),
    };
    node.break_at(c.space(), offset, why);
    root.children.push(node);
}

/// An APDU without any framing; another may follow it.
fn bare(c: &mut Cursor<'_>, root: &mut Node, session: &mut Session) {
    apdu::explain_one(c, root, session);
}

/// IEC 62056-47, clause 5.3.
fn wrapper(c: &mut Cursor<'_>, root: &mut Node, session: &mut Session) {
    let start = c.pos();
    let mut node = c.node(start, "wrapper", "");
    let mut decode = |c: &mut Cursor<'_>, node: &mut Node| -> Step {
        c.u16("the version")?;
        node.children.push(c.node(c.pos() - 2, "version", "1"));
        let source = c.u16("the source wPort")?;
        node.children.push(c.node(c.pos() - 2, "source wPort", source.to_string()));
        let destination = c.u16("the destination wPort")?;
        node.children.push(c.node(c.pos() - 2, "destination wPort", destination.to_string()));
        let length = usize::from(c.u16("the length")?);
        node.children.push(c.node(c.pos() - 2, "length", length.to_string()));
        node.value = format!("{source} -> {destination}, APDU of {length} bytes");
        let missing = length.saturating_sub(c.left());
        let mut body = c.part_up_to(length);
        apdu::explain(&mut body, node, session);
        if missing > 0 {
            return c
                .broken(format!("the header says {length} bytes of APDU, {missing} of them are missing"));
        }
        Ok(())
    };
    if let Err(broken) = decode(c, &mut node) {
        node.break_at(broken.space, broken.offset, broken.why);
    }
    node.length = c.pos() - start;
    root.children.push(node);
}

/// IEC 62056-21: a request or an identification line.
fn sign_on(c: &mut Cursor<'_>, root: &mut Node) {
    let start = c.pos();
    let length = c.rest().iter().position(|b| *b == b'\n').map_or(c.left(), |i| i + 1);
    let line = String::from_utf8_lossy(c.rest().get(..length).unwrap_or(&[])).trim_end().to_owned();
    skip(c, length);
    let value = match line.strip_prefix("/?") {
        Some(address) => format!(
            "{line:?}: request to {}",
            match address.trim_end_matches('!') {
                "" => "any device",
                address => address,
            }
        ),
        None => identification(&line),
    };
    root.children.push(c.node(start, "sign-on (IEC 62056-21)", value));
}

/// `/XXXZident`: manufacturer, highest baud rate, `\2` for HDLC.
fn identification(line: &str) -> String {
    let rate = line.chars().nth(4).and_then(baud).unwrap_or("unknown rate");
    let maker: String = line.chars().skip(1).take(3).collect();
    let mode = if line.contains("\\2") { ", HDLC (mode E) offered" } else { "" };
    format!("{line:?}: {maker}, up to {rate} baud{mode}")
}

fn baud(digit: char) -> Option<&'static str> {
    let rates = ["300", "600", "1200", "2400", "4800", "9600", "19200", "38400", "57600", "115200"];
    rates.get(usize::try_from(digit.to_digit(10)?).ok()?).copied()
}

/// IEC 62056-21: acknowledgement and option select.
fn acknowledge(c: &mut Cursor<'_>, root: &mut Node) {
    let start = c.pos();
    let bytes = c.rest().get(1..4).unwrap_or(&[]);
    let rate = bytes.get(1).and_then(|b| baud(char::from(*b))).unwrap_or("unknown rate");
    let mode = if bytes.first() == Some(&b'2') { "HDLC (mode E)" } else { "another protocol" };
    let value = format!("{:?}: {mode} at {rate} baud", String::from_utf8_lossy(bytes));
    skip(c, 6);
    root.children.push(c.node(start, "acknowledgement (IEC 62056-21)", value));
}
