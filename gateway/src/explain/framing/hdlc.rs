//! HDLC frames of format type 3, field by field; broken ones as far as they go.

use super::super::octets::{Cursor, Step};
use super::super::tree::{Node, hex};
use super::super::{Part, Session, apdu};
use protocol::link::hdlc::Parameters;
use protocol::link::hdlc::frame::{Control, fcs16};

/// Explains the frame at the cursor and moves behind it; its closing flag stays when it opens the next frame.
pub(super) fn frame(c: &mut Cursor<'_>, root: &mut Node, session: &mut Session) {
    let start = c.pos();
    let mut node = c.node(start, "HDLC frame", "");
    let (mut body, problem) = extent(c);
    let complete = problem.is_none();
    if let Some((pos, why)) = problem {
        let offset = c.offset_of(pos);
        node.break_at(c.space(), offset, why);
    }
    if let Err(broken) = fields(&mut body, &mut node, session, complete) {
        node.break_at(broken.space, broken.offset, broken.why);
    }
    node.length = c.pos() - start;
    root.children.push(node);
}

/// The bytes of the frame without its flags, and what is wrong with its extent. The cursor moves behind them.
fn extent<'a>(c: &mut Cursor<'a>) -> (Cursor<'a>, Option<(usize, String)>) {
    let start = c.pos();
    let bytes = c.rest();
    let length = match bytes {
        [_, high, low, ..] => usize::from(high & 7) << 8 | usize::from(*low),
        _ => 0,
    };
    // Without a flag where the length says, the frame is taken up to the next place where one may begin.
    let resume = || {
        let next = (3..bytes.len()).find(|&i| {
            bytes.get(i) == Some(&0x7E) && matches!(bytes.get(i + 1), None | Some(0x7E | 0xA0..=0xAF))
        });
        next.unwrap_or(bytes.len())
    };
    let (take, problem) = match bytes.get(length + 1) {
        Some(0x7E) if length >= 7 => (length, None),
        Some(_) if length >= 7 => {
            let at = resume();
            let why = format!("no flag 7E where the length ({length}) says the frame ends");
            (at.saturating_sub(1), Some((start + length + 1, why)))
        }
        Some(_) => {
            (resume().saturating_sub(1), Some((start + 1, format!("a frame of {length} bytes cannot be"))))
        }
        None => {
            let there = bytes.len().saturating_sub(1);
            let why = format!(
                "the input ends inside the frame: its length says {length} bytes and a flag, {there} are there"
            );
            (there, Some((start + bytes.len(), why)))
        }
    };
    c.part_up_to(1);
    let body = c.part_up_to(take);
    // The closing flag; kept for the next frame when another opens right behind it without its own.
    if c.peek() == Some(0x7E) && !matches!(c.rest().get(1), Some(0xA0..=0xAF)) {
        c.part_up_to(1);
    }
    (body, problem)
}

/// The fields between the flags. Of a frame that is not complete, what stands last is taken for information.
fn fields(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, complete: bool) -> Step {
    let start = c.pos();
    let format = c.u16("the frame format")?;
    let segmented = format & 0x0800 != 0;
    let more = if segmented { ", segmented: more follows" } else { "" };
    node.children.push(c.node(start, "format", format!("type 3, length {}{more}", format & 0x7FF)));
    let (to_upper, destination) = address(c, node, "destination")?;
    let (from_upper, source) = address(c, node, "source")?;
    let at = c.pos();
    let (control, poll_final) = Control::from_wire(c.u8("the control field")?);
    let text = control_text(control, poll_final);
    node.value = format!("{source} -> {destination}, {text}");
    node.children.push(c.node(at, "control", text));
    if c.left() > 2 {
        let expected = fcs16(c.octets_between(start, c.pos()));
        check(c, node, "header check sequence", expected)?;
    }
    let information = if complete { c.left().saturating_sub(2) } else { c.left() };
    let mut body = c.part_up_to(information);
    let expected = fcs16(c.octets_between(start, c.pos()));
    information_field(&mut body, node, session, control, segmented, (from_upper, to_upper));
    if complete { check(c, node, "frame check sequence", expected) } else { Ok(()) }
}

/// Two bytes, low first, that must be `expected`. A wrong sum is marked and decoding goes on.
fn check(c: &mut Cursor<'_>, node: &mut Node, what: &str, expected: u16) -> Step {
    let start = c.pos();
    let found = c.u16(what)?.swap_bytes();
    let good = if found == expected { "good" } else { "WRONG" };
    node.children.push(c.node(start, what, format!("{:04X} {good}", found.swap_bytes())));
    if found != expected {
        let offset = c.offset_of(start);
        let why =
            format!("{what} is {:04X}, the bytes give {:04X}", found.swap_bytes(), expected.swap_bytes());
        node.break_at(c.space(), offset, why);
    }
    Ok(())
}

/// One, two or four bytes: its upper half, and it in words.
fn address(c: &mut Cursor<'_>, node: &mut Node, what: &str) -> Step<(u16, String)> {
    let start = c.pos();
    let mut parts = Vec::new();
    loop {
        let byte = c.u8(what)?;
        parts.push(u16::from(byte >> 1));
        if byte & 1 == 1 {
            break;
        }
        if parts.len() == 4 {
            return c.broken_at(start, format!("the {what} address does not end after four bytes"));
        }
    }
    let (upper, text) = match *parts.as_slice() {
        [one] => (one, one.to_string()),
        [upper, lower] => (upper, format!("{upper}/{lower}")),
        [a, b, d, e] => (a << 7 | b, format!("{}/{}", a << 7 | b, d << 7 | e)),
        _ => return c.broken_at(start, format!("a {what} address of three bytes is not defined")),
    };
    node.children.push(c.node(start, format!("{what} address"), text.clone()));
    Ok((upper, text))
}

fn control_text(control: Control, poll_final: bool) -> String {
    let name = match control {
        Control::Information { ns, nr } => format!("I N(S)={ns} N(R)={nr}"),
        Control::Rr(nr) => format!("RR N(R)={nr}"),
        Control::Rnr(nr) => format!("RNR N(R)={nr}"),
        Control::Rej(nr) => format!("REJ N(R)={nr}"),
        Control::Snrm => "SNRM".into(),
        Control::Disc => "DISC".into(),
        Control::Ua => "UA".into(),
        Control::Dm => "DM".into(),
        Control::Frmr => "FRMR".into(),
        Control::Ui => "UI".into(),
        Control::Unknown(byte) => format!("unknown ({byte:02X})"),
    };
    if poll_final { format!("{name} P/F") } else { name }
}

fn information_field(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    control: Control,
    segmented: bool,
    ends: (u16, u16),
) {
    if c.left() == 0 {
        return;
    }
    match control {
        Control::Snrm | Control::Ua => {
            let p = Parameters::decode(c.rest());
            let text = format!(
                "sends up to {} and receives up to {} bytes, windows {} and {}",
                p.info_transmit, p.info_receive, p.window_transmit, p.window_receive
            );
            let start = c.pos();
            c.part_up_to(usize::MAX);
            node.children.push(c.node(start, "parameters", text));
        }
        Control::Information { .. } | Control::Ui => segment(c, node, session, segmented, ends),
        _ => {
            let (start, text) = (c.pos(), hex(c.rest()));
            c.part_up_to(usize::MAX);
            node.children.push(c.node(start, "information", text));
        }
    }
}

/// A piece of an APDU, or a whole one.
fn segment(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    segmented: bool,
    (from, to): (u16, u16),
) {
    let part = Part::Hdlc(from, to);
    let begun = session.parts.remove(&part);
    if begun.is_none()
        && let [0xE6, 0xE6 | 0xE7, 0x00, ..] = c.rest()
    {
        let start = c.pos();
        let llc = c.part_up_to(3);
        node.children.push(c.node(start, "LLC header", hex(llc.rest())));
    }
    if begun.is_none() && !segmented {
        apdu::explain(c, node, session);
        return;
    }
    let (mut octets, count) = begun.unwrap_or_default();
    let (start, length) = (c.pos(), c.left());
    octets.append(&c.to_octets());
    c.part_up_to(usize::MAX);
    let total = octets.bytes().len();
    node.children.push(c.node(
        start,
        format!("segment {}", count + 1),
        format!("{length} bytes, {total} so far"),
    ));
    if segmented && total <= super::super::INPUT_MAX {
        session.parts.insert(part, (octets, count + 1));
    } else {
        apdu::explain(&mut octets.cursor(), node, session);
    }
}
