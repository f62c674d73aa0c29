//! Protected APDUs: what they say of themselves, and what is inside where the keys are given.

use super::super::Session;
use super::super::octets::{Cursor, Octets, Step};
use super::super::tree::{Node, hex};
use super::super::value::{date_time, is_date_time};
use super::acse::title_text;
use super::within;
use protocol::codec::xdlms::SecurityControl;
use protocol::dlms::security::{Cipher, Key, SecuritySuite, cipher::TAG_LEN};

/// general-glo-, general-ded- and general-ciphering, and general-signing, behind their tags.
pub(super) fn general(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    tag: u8,
    depth: usize,
) -> Step {
    let title = match tag {
        0xDB | 0xDC => string(c, node, "system-title", title_text)?,
        _ => {
            string(c, node, "transaction-id", hex)?;
            let originator = string(c, node, "originator-system-title", title_text)?;
            string(c, node, "recipient-system-title", title_text)?;
            string(c, node, "date-time", |b| if is_date_time(b) { date_time(b) } else { hex(b) })?;
            string(c, node, "other-information", hex)?;
            originator
        }
    };
    if tag == 0xDF {
        let length = c.length("the content length")?;
        let mut content = c.part(length, "the signed content")?;
        within(&mut content, node, session, depth + 1);
        return string(c, node, "signature", hex).map(|_| ());
    }
    if tag == 0xDD && c.u8("the key information flag")? != 0 {
        key_information(c, node)?;
    }
    let title = <[u8; 8]>::try_from(title.as_slice()).ok();
    let which = if tag == 0xDC { Which::Dedicated } else { Which::Global };
    ciphered(c, node, session, (which, title), depth)
}

/// A glo- or ded- service behind its tag.
pub(super) fn service(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    tag: u8,
    depth: usize,
) -> Step {
    let dedicated = matches!(tag, 0x41..=0x58 | 0xD0..=0xD7);
    let from_server = matches!(
        tag,
        0x28 | 0x2C
            | 0x2D
            | 0x2E
            | 0x38
            | 0x48
            | 0x4C
            | 0x4D
            | 0x4E
            | 0x58
            | 0xCA
            | 0xCC
            | 0xCD
            | 0xCF
            | 0xD2
            | 0xD4
            | 0xD5
            | 0xD7
    );
    let title = if from_server { session.server_title } else { session.client_title };
    let which = if dedicated { Which::Dedicated } else { Which::Global };
    ciphered(c, node, session, (which, title), depth)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Global,
    Dedicated,
}

/// A length and as many bytes.
fn string(c: &mut Cursor<'_>, node: &mut Node, label: &str, text: impl Fn(&[u8]) -> String) -> Step<Vec<u8>> {
    let start = c.pos();
    let length = c.length(label)?;
    let bytes = c.take(length, label)?;
    let value = if bytes.is_empty() { "empty".into() } else { text(bytes) };
    node.children.push(c.node(start, label, value));
    Ok(bytes.to_vec())
}

fn key_information(c: &mut Cursor<'_>, node: &mut Node) -> Step {
    let start = c.pos();
    match c.u8("the kind of key")? {
        0 => {
            let id = c.u8("the key id")?;
            let name = if id == 0 { "global unicast" } else { "global broadcast" };
            node.children.push(c.node(start, "key", format!("identified: {id} ({name})")));
        }
        1 => {
            let id = c.u8("the KEK id")?;
            let length = c.length("the wrapped key length")?;
            c.take(length, "the wrapped key")?;
            node.children.push(c.node(
                start,
                "key",
                format!("wrapped with key {id} (0: master), {length} bytes"),
            ));
        }
        2 => {
            let length = c.length("the key parameters length")?;
            let parameters = hex(c.take(length, "the key parameters")?);
            let length = c.length("the key data length")?;
            c.take(length, "the key data")?;
            let text = format!("agreed: parameters {parameters}, {length} bytes of data");
            node.children.push(c.node(start, "key", text));
        }
        other => return c.broken_at(start, format!("{other} is no kind of key information")),
    }
    Ok(())
}

/// Length, security control, invocation counter, text, tag.
fn ciphered(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    (which, title): (Which, Option<[u8; 8]>),
    depth: usize,
) -> Step {
    let start = c.pos();
    let length = c.length("the length of the ciphered text")?;
    node.children.push(c.node(start, "length", length.to_string()));
    if length < 5 {
        return c.broken_at(start, format!("{length} bytes cannot hold a security header"));
    }
    let missing = length.saturating_sub(c.left());
    let mut body = c.part_up_to(length);
    let control = SecurityControl(body.u8("the security control")?);
    node.children.push(body.node(body.pos() - 1, "security-control", control_text(control)));
    let at = body.pos();
    let counter = body.u32("the invocation counter")?;
    node.children.push(body.node(at, "invocation-counter", counter.to_string()));
    if missing > 0 {
        return c.broken(format!("the ciphered text says {length} bytes, {missing} of them are missing"));
    }
    let title = title.or(session.keys.system_title);
    let tag_len = if control.authenticated() { TAG_LEN } else { 0 };
    let Some(text_len) = body.left().checked_sub(tag_len) else {
        return body.broken("no room for the authentication tag");
    };
    let at = body.pos();
    let text = body.take(text_len, "the text")?.to_vec();
    let tag_at = body.pos();
    let tag = body.take(tag_len, "the tag")?.to_vec();
    let label = if control.encrypted() { "ciphered text" } else { "text" };
    let mut inner = body.node(at, label, format!("{text_len} bytes"));
    inner.length = text_len;
    let outcome = open(session, which, title, (control, counter), text.clone(), &tag);
    let tag_node = (tag_len > 0).then(|| body.node(tag_at, "authentication tag", hex(&tag)));
    match outcome {
        Opened::Plain { text, note } => {
            inner.value = format!("{}, {note}", inner.value);
            let octets = Octets::plain(text);
            let plain_tag = octets.bytes().first().copied().unwrap_or(0);
            if super::is_tag(plain_tag) {
                within(&mut octets.cursor(), &mut inner, session, depth + 1);
            } else {
                let offset = body.offset_of(at);
                let why = format!(
                    "deciphered it begins with {plain_tag:02X}, which begins no APDU: another key or system title"
                );
                inner.break_at(body.space(), offset, why);
            }
        }
        Opened::Clear => within(&mut octets_of(&body, at, text_len).cursor(), &mut inner, session, depth + 1),
        Opened::Closed(why) => inner.value = format!("{}: {why}", inner.value),
        Opened::Forged(why) => {
            let offset = body.offset_of(tag_at);
            inner.break_at(body.space(), offset, why);
        }
    }
    node.children.push(inner);
    node.children.extend(tag_node);
    Ok(())
}

/// The bytes from `at` with their origins.
fn octets_of(body: &Cursor<'_>, at: usize, length: usize) -> Octets {
    body.stretch(at, length).to_octets()
}

fn control_text(control: SecurityControl) -> String {
    let mut parts = vec![format!("suite {}", control.suite())];
    for (set, name) in [
        (control.authenticated(), "authenticated"),
        (control.encrypted(), "encrypted"),
        (control.broadcast_key(), "broadcast key"),
        (control.compressed(), "compressed"),
    ] {
        if set {
            parts.push(name.into());
        }
    }
    format!("{:02X}: {}", control.0, parts.join(", "))
}

enum Opened {
    /// Deciphered, and how sure that is.
    Plain { text: Vec<u8>, note: &'static str },
    /// It was never encrypted: what is there can be read in place.
    Clear,
    /// It stays closed, and why.
    Closed(&'static str),
    /// The tag does not verify.
    Forged(&'static str),
}

/// Opens a text as far as the keys allow.
fn open(
    session: &Session,
    which: Which,
    title: Option<[u8; 8]>,
    (control, counter): (SecurityControl, u32),
    mut text: Vec<u8>,
    tag: &[u8],
) -> Opened {
    if control.compressed() {
        return Opened::Closed("compressed, which is not explained");
    }
    let key = match which {
        Which::Global => session.keys.encryption.as_ref(),
        Which::Dedicated => session.keys.dedicated.as_ref().or(session.keys.encryption.as_ref()),
    };
    let Some(key) = key else {
        return if control.encrypted() { Opened::Closed("no key given (--key)") } else { Opened::Clear };
    };
    let Some(title) = title else {
        return Opened::Closed("the sender's system title is not known (--system-title)");
    };
    let (Ok(suite), Ok(encryption)) = (SecuritySuite::from_id(control.suite()), Key::from_slice(key)) else {
        return Opened::Closed("the security suite is not known");
    };
    let authentication = session.keys.authentication.as_ref().and_then(|key| Key::from_slice(key).ok());
    let verify = authentication.is_some();
    let Some(cipher) = Cipher::new(suite, &encryption, &authentication.unwrap_or_else(|| encryption.clone()))
    else {
        return Opened::Closed("the keys have another length than the suite's");
    };
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&title);
    nonce[8..].copy_from_slice(&counter.to_be_bytes());
    if control.authenticated() && verify {
        let tag = <&[u8; TAG_LEN]>::try_from(tag).ok();
        return if cipher.open(control, &nonce, &mut text, tag) {
            Opened::Plain { text, note: "verified" }
        } else {
            Opened::Forged("the authentication tag does not verify: another key or title, or damaged bytes")
        };
    }
    let unverified = SecurityControl::new(control.suite(), false, control.encrypted());
    // Without a tag to check, opening cannot fail.
    let _ = cipher.open(unverified, &nonce, &mut text, None);
    match (control.encrypted(), control.authenticated()) {
        (true, true) => Opened::Plain { text, note: "deciphered, not verified: no authentication key given" },
        (true, false) => Opened::Plain { text, note: "deciphered; it carries no authentication" },
        (false, _) => Opened::Clear,
    }
}
