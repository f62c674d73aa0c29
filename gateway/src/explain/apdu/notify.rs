//! Notifications, errors and general block transfer.

use super::super::octets::{Cursor, Step};
use super::super::tree::{Node, hex};
use super::super::value::{data, date_time};
use super::super::{INPUT_MAX, Part, Session};
use super::{attribute, coded, long_invoke};

/// DataNotification: long invoke id, date-time, body.
pub(super) fn data_notification(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    long_invoke(c, node)?;
    optional_date_time(c, node)?;
    data(c, node, "notification-body", &mut session.nodes)
}

pub(super) fn data_notification_confirm(c: &mut Cursor<'_>, node: &mut Node) -> Step {
    long_invoke(c, node)?;
    optional_date_time(c, node)
}

/// A length and as many bytes: 0, or 12 of a date-time.
pub(super) fn optional_date_time(c: &mut Cursor<'_>, node: &mut Node) -> Step {
    let start = c.pos();
    let mut quirk = "";
    // Some Kaifa meters write a tag in front of the length, as if it were data.
    if let [9, 12, ..] = c.rest() {
        c.u8("the date-time")?;
        quirk = " (with a data tag that does not belong here)";
    }
    let length = c.length("the date-time length")?;
    let bytes = c.take(length, "the date-time")?;
    let text = match length {
        0 => "absent".to_owned(),
        12 => date_time(bytes),
        _ => hex(bytes),
    };
    node.children.push(c.node(start, "date-time", format!("{text}{quirk}")));
    Ok(())
}

/// EVENT-NOTIFICATION: optional time, attribute, value.
pub(super) fn event_notification(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    match c.u8("the time flag")? {
        0 => node.children.push(c.node(c.pos() - 1, "time", "absent")),
        _ => optional_date_time(c, node)?,
    }
    attribute(c, node, "attribute")?;
    data(c, node, "value", &mut session.nodes)
}

/// Exception-Response.
pub(super) fn exception(c: &mut Cursor<'_>, node: &mut Node) -> Step {
    coded(c, node, "state-error", &[(1, "service-not-allowed"), (2, "service-unknown")])?;
    let errors = [
        (1, "operation-not-possible"),
        (2, "service-not-supported"),
        (3, "other-reason"),
        (4, "pdu-too-long"),
        (5, "deciphering-error"),
        (6, "invocation-counter-error"),
    ];
    if coded(c, node, "service-error", &errors)? == 6 && c.left() >= 4 {
        let start = c.pos();
        let expected = c.u32("the expected invocation counter")?;
        node.children.push(c.node(start, "expected invocation counter", expected.to_string()));
    }
    Ok(())
}

/// ConfirmedServiceError: service, kind of error, error.
pub(super) fn confirmed_service_error(c: &mut Cursor<'_>, node: &mut Node) -> Step {
    coded(c, node, "service", &[(1, "initiateError"), (5, "read"), (6, "write")])?;
    let kinds = [
        (0, "application-reference"),
        (1, "hardware-resource"),
        (2, "vde-state-error"),
        (3, "service"),
        (4, "definition"),
        (5, "access"),
        (6, "initiate"),
        (7, "load-data-set"),
        (9, "task"),
    ];
    let kind = coded(c, node, "kind of error", &kinds)?;
    let errors: &[(u8, &str)] = match kind {
        5 => &[
            (0, "other"),
            (1, "scope-of-access-violated"),
            (2, "object-access-violated"),
            (3, "hardware-fault"),
            (4, "object-unavailable"),
        ],
        6 => &[
            (0, "other"),
            (1, "dlms-version-too-low"),
            (2, "incompatible-conformance"),
            (3, "pdu-size-too-short"),
            (4, "refused-by-the-VDE-Handler"),
        ],
        3 => &[(0, "other"), (1, "pdu-size"), (2, "service-unsupported")],
        _ => &[(0, "other")],
    };
    coded(c, node, "error", errors).map(|_| ())
}

/// General block transfer: control, numbers, a piece of an APDU.
pub(super) fn block(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, depth: usize) -> Step {
    let control = c.u8("the block control")?;
    let (last, streaming) = (control & 0x80 != 0, control & 0x40 != 0);
    let text = format!(
        "{}{}window {}",
        if last { "last block, " } else { "" },
        if streaming { "streaming, " } else { "" },
        control & 0x3F
    );
    node.children.push(c.node(c.pos() - 1, "block control", text));
    let number = u32::from(c.u16("the block number")?);
    node.children.push(c.node(c.pos() - 2, "block number", number.to_string()));
    let acknowledged = c.u16("the acknowledged block number")?;
    node.children.push(c.node(c.pos() - 2, "block number acknowledged", acknowledged.to_string()));
    let start = c.pos();
    let length = c.length("the block length")?;
    let there = c.left();
    let piece = c.part_up_to(length).to_octets();
    let part = Part::Blocks { general: true, response: true };
    let begun = session.parts.remove(&part);
    let (mut octets, count) = begun.unwrap_or_default();
    octets.append(&piece);
    let total = octets.bytes().len();
    node.children.push(c.node(start, "block data", format!("{length} bytes, {total} so far")));
    node.value = format!("{} {number}", node.value);
    if there < length {
        return c.broken(format!("the block says {length} bytes, {} of them are missing", length - there));
    }
    let lost = length > 0 && number != count + 1;
    if last && total > 0 {
        super::within(&mut octets.cursor(), node, session, depth + 1);
    } else if total > 0 && total <= INPUT_MAX {
        session.parts.insert(part, (octets, number));
    }
    if lost {
        return c.broken_at(start, format!("block {number} came where block {} was due", count + 1));
    }
    Ok(())
}
