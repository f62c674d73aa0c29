//! Application layer PDUs (Green Book, ACSE and xDLMS).

mod access;
mod acse;
mod cipher;
mod notify;
mod services;
mod short_name;

use super::names::method_name;
use super::octets::{Cursor, Step};
use super::tree::{Node, hex};
use super::value::attribute_text;
use super::{Asked, Session};

/// How deep APDUs may lie within each other: ciphered in blocks in ciphered, no real peer goes beyond four.
const WITHIN_MAX: usize = 8;

/// Whether an APDU may begin with this byte.
pub(super) fn is_tag(tag: u8) -> bool {
    name(tag) != "unknown APDU"
}

/// The standard's word for a tag.
fn name(tag: u8) -> &'static str {
    match tag {
        0x01 => "InitiateRequest",
        0x05 => "ReadRequest",
        0x06 => "WriteRequest",
        0x08 => "InitiateResponse",
        0x0C => "ReadResponse",
        0x0D => "WriteResponse",
        0x0E => "ConfirmedServiceError",
        0x0F => "DataNotification",
        0x10 => "DataNotificationConfirm",
        0x16 => "UnconfirmedWriteRequest",
        0x18 => "InformationReportRequest",
        0x21 => "glo-InitiateRequest",
        0x25 => "glo-ReadRequest",
        0x26 => "glo-WriteRequest",
        0x28 => "glo-InitiateResponse",
        0x2C => "glo-ReadResponse",
        0x2D => "glo-WriteResponse",
        0x2E => "glo-ConfirmedServiceError",
        0x36 => "glo-UnconfirmedWriteRequest",
        0x38 => "glo-InformationReportRequest",
        0x41 => "ded-InitiateRequest",
        0x45 => "ded-ReadRequest",
        0x46 => "ded-WriteRequest",
        0x48 => "ded-InitiateResponse",
        0x4C => "ded-ReadResponse",
        0x4D => "ded-WriteResponse",
        0x4E => "ded-ConfirmedServiceError",
        0x56 => "ded-UnconfirmedWriteRequest",
        0x58 => "ded-InformationReportRequest",
        0x60 => "AARQ",
        0x61 => "AARE",
        0x62 => "RLRQ",
        0x63 => "RLRE",
        0xC0 => "GET-Request",
        0xC1 => "SET-Request",
        0xC2 => "EVENT-NOTIFICATION-Request",
        0xC3 => "ACTION-Request",
        0xC4 => "GET-Response",
        0xC5 => "SET-Response",
        0xC7 => "ACTION-Response",
        0xC8 => "glo-GET-Request",
        0xC9 => "glo-SET-Request",
        0xCA => "glo-EVENT-NOTIFICATION-Request",
        0xCB => "glo-ACTION-Request",
        0xCC => "glo-GET-Response",
        0xCD => "glo-SET-Response",
        0xCF => "glo-ACTION-Response",
        0xD0 => "ded-GET-Request",
        0xD1 => "ded-SET-Request",
        0xD2 => "ded-EVENT-NOTIFICATION-Request",
        0xD3 => "ded-ACTION-Request",
        0xD4 => "ded-GET-Response",
        0xD5 => "ded-SET-Response",
        0xD7 => "ded-ACTION-Response",
        0xD8 => "Exception-Response",
        0xD9 => "ACCESS-Request",
        0xDA => "ACCESS-Response",
        0xDB => "general-glo-ciphering",
        0xDC => "general-ded-ciphering",
        0xDD => "general-ciphering",
        0xDF => "general-signing",
        0xE0 => "general-block-transfer",
        0xE6 => "gateway request",
        0xE7 => "gateway response",
        _ => "unknown APDU",
    }
}

/// Explains the APDU that fills the cursor and puts it in `parent`, as far as it goes.
pub(super) fn explain(c: &mut Cursor<'_>, parent: &mut Node, session: &mut Session) {
    within(c, parent, session, 0);
}

/// Explains the APDU at the cursor and leaves what follows it, if an APDU may begin there.
pub(super) fn explain_one(c: &mut Cursor<'_>, parent: &mut Node, session: &mut Session) {
    place(c, parent, session, 0, true);
}

fn within(c: &mut Cursor<'_>, parent: &mut Node, session: &mut Session, depth: usize) {
    place(c, parent, session, depth, false);
}

fn place(c: &mut Cursor<'_>, parent: &mut Node, session: &mut Session, depth: usize, more: bool) {
    let start = c.pos();
    let Some(tag) = c.peek() else {
        let offset = c.offset();
        parent.break_at(c.space(), offset, "an APDU of no bytes");
        return;
    };
    let mut node = c.node(start, "APDU", name(tag));
    if let Err(broken) = decode(c, &mut node, session, depth) {
        node.break_at(broken.space, broken.offset, broken.why);
        // What lies behind the break belongs to this APDU and can't be read.
        c.part_up_to(usize::MAX);
    } else if c.left() > 0 && !(more && c.peek().is_some_and(is_tag)) {
        let (left, offset) = (c.left(), c.offset());
        node.break_at(c.space(), offset, format!("{left} bytes are left over behind the APDU"));
        c.part_up_to(usize::MAX);
    }
    node.length = c.pos() - start;
    parent.children.push(node);
}

fn decode(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, depth: usize) -> Step {
    if depth >= WITHIN_MAX {
        return c.broken(format!("APDUs within APDUs more than {WITHIN_MAX} deep"));
    }
    let tag = c.u8("the APDU tag")?;
    match tag {
        0x01 => acse::initiate_request(c, node, session),
        0x08 => acse::initiate_response(c, node),
        0x05 | 0x06 | 0x16 => short_name::request(c, node, session, tag),
        0x0C | 0x0D => short_name::response(c, node, session, tag),
        0x18 => short_name::report(c, node, session),
        0x0E => notify::confirmed_service_error(c, node),
        0x0F => notify::data_notification(c, node, session),
        0x10 => notify::data_notification_confirm(c, node),
        0x60..=0x63 => acse::explain(c, node, session, tag, depth),
        0xC0 | 0xC1 | 0xC3 => services::request(c, node, session, tag),
        0xC4 | 0xC5 | 0xC7 => services::response(c, node, session, tag),
        0xC2 => notify::event_notification(c, node, session),
        0xD8 => notify::exception(c, node),
        0xD9 => access::request(c, node, session),
        0xDA => access::response(c, node, session),
        0xE0 => notify::block(c, node, session, depth),
        0xE6 | 0xE7 => gateway(c, node, session, depth),
        0xDB..=0xDD | 0xDF => cipher::general(c, node, session, tag, depth),
        0x21..=0x38 | 0x41..=0x58 | 0xC8..=0xCF | 0xD0..=0xD7 if is_tag(tag) => {
            cipher::service(c, node, session, tag, depth)
        }
        _ => c.broken_at(c.pos() - 1, format!("{tag:02X} begins no APDU")),
    }
}

/// Green Book, gateway protocol: network, address, the APDU for the device behind.
fn gateway(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, depth: usize) -> Step {
    let network = c.u8("the network id")?;
    node.children.push(c.node(c.pos() - 1, "network id", network.to_string()));
    let start = c.pos();
    let length = c.length("the physical address length")?;
    let address = c.take(length, "the physical address")?;
    node.children.push(c.node(start, "physical device address", hex(address)));
    within(c, node, session, depth + 1);
    Ok(())
}

/// Invoke id and priority.
fn invoke(c: &mut Cursor<'_>, node: &mut Node) -> Step<u8> {
    let byte = c.u8("invoke-id-and-priority")?;
    let priority = if byte & 0x80 != 0 { "high" } else { "normal" };
    let confirmed = if byte & 0x40 != 0 { "confirmed" } else { "unconfirmed" };
    let text = format!("id {}, {priority} priority, {confirmed}", byte & 0x0F);
    node.children.push(c.node(c.pos() - 1, "invoke-id-and-priority", text));
    Ok(byte & 0x0F)
}

/// Long invoke id and priority.
fn long_invoke(c: &mut Cursor<'_>, node: &mut Node) -> Step {
    let start = c.pos();
    let word = c.u32("long-invoke-id-and-priority")?;
    let mut flags = Vec::new();
    for (bit, name) in
        [(31, "high priority"), (30, "confirmed"), (29, "break on error"), (28, "self-descriptive")]
    {
        if word >> bit & 1 == 1 {
            flags.push(name);
        }
    }
    let flags = if flags.is_empty() { String::new() } else { format!(", {}", flags.join(", ")) };
    let text = format!("id {}{flags}", word & 0x00FF_FFFF);
    node.children.push(c.node(start, "long-invoke-id-and-priority", text));
    Ok(())
}

/// Class, logical name, index of an attribute.
fn attribute(c: &mut Cursor<'_>, node: &mut Node, label: &str) -> Step<Asked> {
    let start = c.pos();
    let (class_id, logical_name, index) = descriptor(c)?;
    let text = attribute_text(class_id, logical_name, index);
    node.children.push(c.node(start, label, text));
    Ok(Asked { class_id, logical_name, attribute: index })
}

/// Class, logical name, index of a method.
fn method(c: &mut Cursor<'_>, node: &mut Node, label: &str) -> Step {
    let start = c.pos();
    let (class, name, index) = descriptor(c)?;
    let class_text = super::names::class_name(class).map_or_else(|| format!("class {class}"), str::to_owned);
    let method =
        method_name(class, index).map_or_else(|| format!("method {index}"), |m| format!("{m}() [{index}]"));
    let text = format!("{} {class_text}.{method}", super::names::obis_text(name));
    node.children.push(c.node(start, label, text));
    Ok(())
}

fn descriptor(c: &mut Cursor<'_>) -> Step<(u16, [u8; 6], i8)> {
    let class = c.u16("the class id")?;
    let name = c.take(6, "the logical name")?;
    let name = <[u8; 6]>::try_from(name).unwrap_or_default();
    Ok((class, name, c.u8("the attribute or method index")?.cast_signed()))
}

/// A one-byte result after its name in a table.
fn coded(c: &mut Cursor<'_>, node: &mut Node, label: &str, names: &[(u8, &str)]) -> Step<u8> {
    let code = c.u8(label)?;
    let text = names.iter().find(|(number, _)| *number == code).map_or("not defined", |(_, name)| name);
    node.children.push(c.node(c.pos() - 1, label, format!("{code}: {text}")));
    Ok(code)
}

/// Data-Access-Result.
const ACCESS_RESULTS: &[(u8, &str)] = &[
    (0, "success"),
    (1, "hardware-fault"),
    (2, "temporary-failure"),
    (3, "read-write-denied"),
    (4, "object-undefined"),
    (9, "object-class-inconsistent"),
    (11, "object-unavailable"),
    (12, "type-unmatched"),
    (13, "scope-of-access-violated"),
    (14, "data-block-unavailable"),
    (15, "long-get-aborted"),
    (16, "no-long-get-in-progress"),
    (17, "long-set-aborted"),
    (18, "no-long-set-in-progress"),
    (19, "data-block-number-invalid"),
    (250, "other-reason"),
];

/// Action-Result.
const ACTION_RESULTS: &[(u8, &str)] = &[
    (0, "success"),
    (1, "hardware-fault"),
    (2, "temporary-failure"),
    (3, "read-write-denied"),
    (4, "object-undefined"),
    (9, "object-class-inconsistent"),
    (11, "object-unavailable"),
    (12, "type-unmatched"),
    (13, "scope-of-access-violated"),
    (14, "data-block-unavailable"),
    (15, "long-action-aborted"),
    (16, "no-long-action-in-progress"),
    (250, "other-reason"),
];
