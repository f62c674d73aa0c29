//! M-Bus frames (EN 13757-2 link layer) carrying DLMS (EN 13757-1 transport: CI 00..1F, two transport addresses).

use super::super::octets::{Cursor, Octets, Step};
use super::super::tree::{Node, hex};
use super::super::{Part, Session, apdu};

/// Explains a frame `68 L L 68 ... CS 16`.
pub(super) fn long_frame(c: &mut Cursor<'_>, root: &mut Node, session: &mut Session) {
    let start = c.pos();
    let mut node = c.node(start, "M-Bus frame", "");
    if let Err(broken) = fields(c, &mut node, session) {
        node.break_at(broken.space, broken.offset, broken.why);
    }
    node.length = c.pos() - start;
    root.children.push(node);
}

fn fields(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    let start = c.pos();
    let head = c.take(4, "the start of the frame")?;
    let written = head.get(1).copied().unwrap_or(0);
    let length = length_meant(written, c.rest());
    let meant = if length > 0xFF { format!(", which means {length}: it ran over") } else { String::new() };
    node.children.push(c.node(start, "start", format!("length {written}, twice{meant}")));
    node.value = format!("{length} bytes");
    let missing = length.saturating_sub(c.left());
    let body_start = c.pos();
    let mut body = c.part_up_to(length);
    let sum = c.octets_between(body_start, c.pos()).iter().fold(0_u8, |sum, b| sum.wrapping_add(*b));
    let outcome = user_data(&mut body, node, session);
    if missing > 0 {
        return c.broken(format!("the length says {length} bytes, {missing} of them are missing"));
    }
    if let Err(broken) = outcome {
        node.break_at(broken.space, broken.offset, broken.why);
    }
    let at = c.pos();
    let found = c.u8("the checksum")?;
    let good = if found == sum { "good" } else { "WRONG" };
    node.children.push(c.node(at, "checksum", format!("{found:02X} {good}")));
    if found != sum {
        let offset = c.offset_of(at);
        node.break_at(c.space(), offset, format!("checksum is {found:02X}, the bytes give {sum:02X}"));
    }
    match c.peek() {
        Some(0x16) => {
            c.part_up_to(1);
            Ok(())
        }
        Some(other) => c.broken(format!("{other:02X} where the stop byte 16 belongs")),
        None => c.broken("the stop byte 16 is missing"),
    }
}

/// The length that a frame really has. Some Sagemcom meters (T210-D) send frames of 256 bytes and more, whose length runs over
/// its byte: such a frame has a good checksum and its stop byte 256 bytes further on, and not where the length says.
fn length_meant(written: u8, body: &[u8]) -> usize {
    let ends_at = |length: usize| {
        let sum = body.get(..length)?.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b));
        Some(body.get(length..length + 2)? == [sum, 0x16])
    };
    let length = usize::from(written);
    let ran_over = ends_at(length) != Some(true) && ends_at(length + 256) == Some(true);
    if ran_over { length + 256 } else { length }
}

fn user_data(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    let control = c.u8("the control field")?;
    let name = match control & !0x30 {
        0x43 => "SND-UD",
        0x40 => "SND-NKE",
        0x4B | 0x4A => "REQ-UD",
        0x08 => "RSP-UD",
        _ => "other",
    };
    node.children.push(c.node(c.pos() - 1, "control", format!("{control:02X} ({name})")));
    let address = c.u8("the address")?;
    let who = match address {
        0xFF => " (broadcast, not answered)",
        0xFE => " (broadcast, answered)",
        0xFD => " (by secondary address)",
        _ => "",
    };
    node.children.push(c.node(c.pos() - 1, "address", format!("{address}{who}")));
    let information = c.u8("the control information")?;
    let at = c.pos() - 1;
    if information > 0x1F {
        node.children.push(c.node(
            at,
            "control information",
            format!("{information:02X}: no DLMS transport"),
        ));
        let (start, text) = (c.pos(), hex(c.rest()));
        c.part_up_to(usize::MAX);
        node.children.push(c.node(start, "data", text));
        return Ok(());
    }
    let (last, sequence) = (information & 0x10 != 0, information & 0x0F);
    let more = if last { "last" } else { "more follow" };
    node.children.push(c.node(
        at,
        "control information",
        format!("DLMS transport, segment {sequence}, {more}"),
    ));
    let source = c.u8("the source transport address")?;
    node.children.push(c.node(c.pos() - 1, "source (STSAP)", source.to_string()));
    let destination = c.u8("the destination transport address")?;
    node.children.push(c.node(c.pos() - 1, "destination (DTSAP)", destination.to_string()));
    segment(c, node, session, Part::Mbus(source, destination), u32::from(sequence), last)
}

fn segment(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    part: Part,
    sequence: u32,
    last: bool,
) -> Step {
    let begun = session.parts.remove(&part).or_else(|| other_ends(session, node, sequence));
    if begun.is_none() && last {
        apdu::explain(c, node, session);
        return Ok(());
    }
    let (mut octets, expected) = begun.unwrap_or_default();
    let (start, length) = (c.pos(), c.left());
    let lost = sequence != expected & 0x0F;
    octets.append(&c.to_octets());
    c.part_up_to(usize::MAX);
    let total = octets.bytes().len();
    node.children.push(c.node(
        start,
        format!("segment {sequence}"),
        format!("{length} bytes, {total} so far"),
    ));
    if last || total > super::super::INPUT_MAX {
        apdu::explain(&mut octets.cursor(), node, session);
    } else {
        session.parts.insert(part, (octets, sequence + 1));
    }
    if lost {
        return c
            .broken_at(start, format!("segment {sequence} came where segment {} was due", expected & 0x0F));
    }
    Ok(())
}

/// Some meters write other transport addresses in the segments that follow: the one transfer that waits for this number.
fn other_ends(session: &mut Session, node: &mut Node, sequence: u32) -> Option<(Octets, u32)> {
    let mut waiting = session.parts.iter().filter(|(part, _)| matches!(part, Part::Mbus(..)));
    let (&part, &(_, expected)) = waiting.next()?;
    if sequence == 0 || waiting.next().is_some() || expected & 0x0F != sequence {
        return None;
    }
    node.value = format!("{}, other transport addresses than the segment before", node.value);
    session.parts.remove(&part)
}

/// Explains a frame `10 C A CS 16`.
pub(super) fn short_frame(c: &mut Cursor<'_>, root: &mut Node) {
    let start = c.pos();
    let bytes = c.part_up_to(5);
    let mut node = c.node(start, "M-Bus short frame", hex(bytes.rest()));
    if let &[_, control, address, sum, _] = bytes.rest()
        && control.wrapping_add(address) != sum
    {
        let offset = c.offset_of(start + 3);
        let expected = control.wrapping_add(address);
        node.break_at(c.space(), offset, format!("checksum is {sum:02X}, the bytes give {expected:02X}"));
    }
    root.children.push(node);
}
