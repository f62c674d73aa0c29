//! Association: AARQ, AARE, RLRQ, RLRE (BER) and the initiate services inside (A-XDR).

use super::super::Session;
use super::super::octets::{Cursor, Step};
use super::super::tree::{Node, hex};
use super::within;

/// The fields of an association APDU behind its tag.
pub(super) fn explain(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    tag: u8,
    depth: usize,
) -> Step {
    let length = c.length("the APDU length")?;
    let there = c.left();
    let mut body = c.part_up_to(length);
    let mut mechanism = 0;
    while body.left() > 0 {
        field(&mut body, node, session, (tag, &mut mechanism), depth)?;
    }
    if there < length {
        return c.broken(format!("the APDU says {length} bytes, {} of them are missing", length - there));
    }
    Ok(())
}

fn field(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    (apdu, mechanism): (u8, &mut u8),
    depth: usize,
) -> Step {
    let start = c.pos();
    let tag = c.u8("a field tag")?;
    let length = c.length("a field length")?;
    let missing = length.saturating_sub(c.left());
    let mut body = c.part_up_to(length);
    let request = apdu == 0x60;
    let value = innermost(&body);
    let (label, text) = match (apdu, tag) {
        (0x60 | 0x61, 0x80) => ("protocol-version", hex(&value)),
        (0x60 | 0x61, 0xA1) => ("application-context-name", context(&value)),
        (0x60, 0xA2) => ("called-AP-title", hex(&value)),
        (0x61, 0xA2) => ("result", result(&value)),
        (0x61, 0xA3) => ("result-source-diagnostic", diagnostic(body.rest(), &value)),
        (0x60, 0xA6) | (0x61, 0xA4) => (
            if request { "calling-AP-title" } else { "responding-AP-title" },
            learn_title(session, request, &value),
        ),
        (0x60, 0xA7) | (0x61, 0xA5) => ("AE-qualifier (certificate)", hex(&value)),
        (0x60, 0xA9) | (0x61, 0xA7) => ("AE-invocation-id (user)", hex(&value)),
        (0x60, 0x8A) | (0x61, 0x88) => ("ACSE requirements", "authentication".into()),
        (0x60, 0x8B) | (0x61, 0x89) => {
            *mechanism = value.last().copied().unwrap_or(0);
            ("mechanism-name", mechanism_name(*mechanism))
        }
        (0x60, 0xAC) | (0x61, 0xAA) => ("authentication-value", secret(&value, *mechanism)),
        (0x62 | 0x63, 0x80) => ("reason", release_reason(&value)),
        (_, 0xBE) => {
            let mut information = c.node(start, "user-information", format!("{length} bytes"));
            let outcome = user_information(&mut body, &mut information, session, depth);
            node.children.push(information);
            return match missing {
                0 => outcome,
                _ => c.broken(format!("the field says {length} bytes, {missing} of them are missing")),
            };
        }
        _ => ("field", format!("{tag:02X}: {}", hex(&value))),
    };
    node.children.push(c.node(start, label, text));
    match missing {
        0 => Ok(()),
        _ => c.broken(format!("the field says {length} bytes, {missing} of them are missing")),
    }
}

/// The contents within nested BER headers: behind `A1 09 06 07` the seven bytes of the name.
fn innermost(c: &Cursor<'_>) -> Vec<u8> {
    let mut bytes = c.rest();
    while let [tag, length, rest @ ..] = bytes {
        let constructed_or_known = matches!(tag, 0x02 | 0x04 | 0x06 | 0x80 | 0x30 | 0xA0..=0xA3);
        if !constructed_or_known || usize::from(*length) != rest.len() {
            break;
        }
        bytes = rest;
    }
    bytes.to_vec()
}

/// The last arc of `2.16.756.5.8.1.n`.
fn context(name: &[u8]) -> String {
    let text = match name.last() {
        Some(1) => "logical names, no ciphering",
        Some(2) => "short names, no ciphering",
        Some(3) => "logical names, with ciphering",
        Some(4) => "short names, with ciphering",
        _ => "unknown",
    };
    format!("{} ({text})", hex(name))
}

fn mechanism_name(id: u8) -> String {
    let text = match id {
        0 => "none",
        1 => "low level: password",
        2 => "high level, manufacturer's own",
        3 => "high level: MD5",
        4 => "high level: SHA-1",
        5 => "high level: GMAC",
        6 => "high level: SHA-256",
        7 => "high level: ECDSA",
        _ => "unknown",
    };
    format!("{id} ({text})")
}

/// A password is a key: it is not shown. A challenge is no secret.
fn secret(value: &[u8], mechanism: u8) -> String {
    if mechanism >= 2 {
        format!("challenge {}", hex(value))
    } else {
        format!("password of {} bytes, not shown", value.len())
    }
}

fn learn_title(session: &mut Session, request: bool, value: &[u8]) -> String {
    if let Ok(title) = <[u8; 8]>::try_from(value) {
        let known = if request { &mut session.client_title } else { &mut session.server_title };
        *known = Some(title);
    }
    title_text(value)
}

/// A system title: three letters of the manufacturer, then its own number.
pub(super) fn title_text(title: &[u8]) -> String {
    match title.get(..3) {
        Some(maker) if title.len() == 8 && maker.iter().all(u8::is_ascii_alphanumeric) => {
            format!("{} ({})", hex(title), String::from_utf8_lossy(maker))
        }
        _ => hex(title),
    }
}

fn result(value: &[u8]) -> String {
    match value.last() {
        Some(0) => "0: accepted".into(),
        Some(1) => "1: rejected permanently".into(),
        Some(2) => "2: rejected for now".into(),
        _ => hex(value),
    }
}

fn diagnostic(field: &[u8], value: &[u8]) -> String {
    let code = value.last().copied().unwrap_or(0);
    let user = field.first() == Some(&0xA1);
    let text = match (user, code) {
        (_, 0) => "null",
        (_, 1) => "no reason given",
        (true, 2) => "application context name not supported",
        (true, 3) => "calling AP title not recognized",
        (true, 11) => "authentication mechanism name not recognised",
        (true, 12) => "authentication mechanism name required",
        (true, 13) => "authentication failure",
        (true, 14) => "authentication required",
        (false, 2) => "no common ACSE version",
        _ => "not defined",
    };
    format!("{} {code}: {text}", if user { "user" } else { "provider" })
}

fn release_reason(value: &[u8]) -> String {
    match value.last() {
        Some(0) => "0: normal".into(),
        Some(1) => "1: urgent / not finished".into(),
        Some(30) => "30: user defined".into(),
        _ => hex(value),
    }
}

/// An octet string with an APDU in it.
fn user_information(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, depth: usize) -> Step {
    if c.peek() == Some(0x04) {
        c.u8("the octet string")?;
        let length = c.length("the user information length")?;
        if length > c.left() {
            let (left, pos) = (c.left(), c.pos());
            let mut part = c.part_up_to(usize::MAX);
            within(&mut part, node, session, depth + 1);
            return c
                .broken_at(pos - 1, format!("the user information says {length} bytes, {left} are there"));
        }
        let mut part = c.part(length, "the user information")?;
        within(&mut part, node, session, depth + 1);
        return Ok(());
    }
    let mut part = c.part_up_to(usize::MAX);
    within(&mut part, node, session, depth + 1);
    Ok(())
}

/// InitiateRequest behind its tag. A dedicated key in it deciphers what follows.
pub(super) fn initiate_request(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    if c.u8("the dedicated key flag")? != 0 {
        let start = c.pos();
        let length = c.length("the dedicated key length")?;
        session.keys.dedicated = Some(c.take(length, "the dedicated key")?.to_vec());
        node.children.push(c.node(
            start,
            "dedicated-key",
            format!("{length} bytes, used from here on, not shown"),
        ));
    }
    if c.u8("the response-allowed flag")? != 0 {
        let allowed = c.u8("response-allowed")? != 0;
        node.children.push(c.node(c.pos() - 1, "response-allowed", allowed.to_string()));
    }
    if c.u8("the quality-of-service flag")? != 0 {
        let quality = c.u8("the quality of service")?;
        node.children.push(c.node(c.pos() - 1, "proposed-quality-of-service", quality.to_string()));
    }
    negotiated(c, node, "client-max-receive-pdu-size")
}

/// InitiateResponse behind its tag.
pub(super) fn initiate_response(c: &mut Cursor<'_>, node: &mut Node) -> Step {
    if c.u8("the quality-of-service flag")? != 0 {
        let quality = c.u8("the quality of service")?;
        node.children.push(c.node(c.pos() - 1, "negotiated-quality-of-service", quality.to_string()));
    }
    negotiated(c, node, "server-max-receive-pdu-size")?;
    let name = c.u16("the VAA name")?;
    let kind = match name {
        0x0007 => " (logical names)",
        0xFA00 => " (short names)",
        _ => "",
    };
    node.children.push(c.node(c.pos() - 2, "vaa-name", format!("{name:04X}{kind}")));
    Ok(())
}

fn negotiated(c: &mut Cursor<'_>, node: &mut Node, size: &str) -> Step {
    let version = c.u8("the DLMS version")?;
    node.children.push(c.node(c.pos() - 1, "dlms-version", version.to_string()));
    let start = c.pos();
    // Green Book: the conformance block keeps its BER tag [APPLICATION 31]; some peers leave out the second byte.
    let tag = c.u8("the conformance tag")?;
    if tag != 0x5F {
        return c.broken_at(start, format!("{tag:02X} where the conformance block (5F 1F) belongs"));
    }
    if c.peek() == Some(0x1F) {
        c.u8("the conformance tag")?;
    }
    let header = c.take(2, "the conformance length")?;
    if header.first() != Some(&4) {
        return c.broken_at(c.pos() - 2, "the conformance block is four bytes long: 04 00 and its 24 bits");
    }
    let bits = c.number(3, "the conformance block")?;
    node.children.push(c.node(start, "conformance", conformance(bits)));
    let pdu = c.u16("the PDU size")?;
    let note = if pdu == 0 { " (no limit)" } else { "" };
    node.children.push(c.node(c.pos() - 2, size, format!("{pdu}{note}")));
    Ok(())
}

/// Bit 0 is sent first.
fn conformance(bits: u64) -> String {
    const NAMES: [&str; 24] = [
        "reserved-zero",
        "general-protection",
        "general-block-transfer",
        "read",
        "write",
        "unconfirmed-write",
        "delta-value-encoding",
        "reserved-seven",
        "attribute0-set",
        "priority-mgmt",
        "attribute0-get",
        "block-transfer-get-or-read",
        "block-transfer-set-or-write",
        "block-transfer-action",
        "multiple-references",
        "information-report",
        "data-notification",
        "access",
        "parameterized-access",
        "get",
        "set",
        "selective-access",
        "event-notification",
        "action",
    ];
    let set: Vec<_> =
        NAMES.iter().enumerate().filter(|(i, _)| bits >> (23 - i) & 1 == 1).map(|(_, n)| *n).collect();
    format!("{bits:06X}: {}", set.join(", "))
}
