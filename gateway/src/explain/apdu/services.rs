//! GET, SET and ACTION: normal, with blocks, with lists.

use super::super::octets::{Cursor, Octets, Step};
use super::super::tree::{Datum, Node, hex};
use super::super::value::{attribute_text, data, scaled, scaler_unit};
use super::super::{Asked, INPUT_MAX, Part, Session};
use super::{ACCESS_RESULTS, ACTION_RESULTS, attribute, coded, invoke, method};

/// GET, SET or ACTION request behind its tag.
pub(super) fn request(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, tag: u8) -> Step {
    let kind = kind(c, node, &request_kinds(tag))?;
    let id = invoke(c, node)?;
    match (tag, kind) {
        (0xC0, 1) => {
            let asked = attribute(c, node, "attribute")?;
            selection(c, node, session)?;
            session.asked.insert(id, vec![asked]);
            Ok(())
        }
        (0xC0, 2) | (0xC3, 5) => block_number(c, node).map(|_| ()),
        (0xC0, 3) => {
            let asked = attributes(c, node, session)?;
            session.asked.insert(id, asked);
            Ok(())
        }
        (0xC1, 1) => {
            attribute(c, node, "attribute")?;
            selection(c, node, session)?;
            data(c, node, "value", &mut session.nodes)
        }
        (0xC1, 2) => {
            attribute(c, node, "attribute")?;
            selection(c, node, session)?;
            block(c, node, session, Carries::Data)
        }
        (0xC1, 3) => block(c, node, session, Carries::Data),
        (0xC1, 4) => {
            attributes(c, node, session)?;
            list(c, node, "values", |c, node, i| data(c, node, &format!("[{i}]"), &mut session.nodes))
        }
        (0xC1, 5) => {
            attributes(c, node, session)?;
            block(c, node, session, Carries::Bytes)
        }
        (0xC3, 1) => {
            method(c, node, "method")?;
            parameters(c, node, session)
        }
        (0xC3, 3) => {
            list(c, node, "methods", |c, node, i| method(c, node, &format!("[{i}]")))?;
            list(c, node, "parameters", |c, node, i| data(c, node, &format!("[{i}]"), &mut session.nodes))
        }
        (0xC3, 4) => {
            method(c, node, "method")?;
            block(c, node, session, Carries::Data)
        }
        (0xC3, 6) => block(c, node, session, Carries::Data),
        (0xC3, _) => c.broken("ACTION with list and block is not explained"),
        _ => c.broken_at(c.pos() - 2, format!("{kind} is no kind of this service")),
    }
}

/// GET, SET or ACTION response behind its tag.
pub(super) fn response(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, tag: u8) -> Step {
    let kind = kind(c, node, &response_kinds(tag))?;
    let id = invoke(c, node)?;
    match (tag, kind) {
        (0xC4, 1) => {
            let asked = session.asked.get(&id).and_then(|asked| asked.first().copied());
            get_result(c, node, session, "result", asked)
        }
        (0xC4, 2) => {
            let last = c.u8("last-block")? != 0;
            node.children.push(c.node(c.pos() - 1, "last-block", last.to_string()));
            let number = block_number(c, node)?;
            if coded(c, node, "result", &[(0, "raw-data"), (1, "data-access-result")])? == 0 {
                raw_data(c, node, session, (number, last), Carries::Data)
            } else {
                coded(c, node, "data-access-result", ACCESS_RESULTS).map(|_| ())
            }
        }
        (0xC4, 3) => {
            let asked = session.asked.get(&id).cloned().unwrap_or_default();
            list(c, node, "results", |c, node, i| {
                get_result(c, node, session, &format!("[{i}]"), asked.get(i).copied())
            })
        }
        (0xC5, 1) => coded(c, node, "result", ACCESS_RESULTS).map(|_| ()),
        (0xC5, 2) => block_number(c, node).map(|_| ()),
        (0xC5, 3) => {
            coded(c, node, "result", ACCESS_RESULTS)?;
            block_number(c, node).map(|_| ())
        }
        (0xC5, 4 | 5) => {
            list(c, node, "results", |c, node, i| {
                coded(c, node, &format!("[{i}]"), ACCESS_RESULTS).map(|_| ())
            })?;
            if kind == 4 { block_number(c, node).map(|_| ()) } else { Ok(()) }
        }
        (0xC7, 1) => action_result(c, node, session),
        (0xC7, 2) => block(c, node, session, Carries::Data),
        (0xC7, 3) => list(c, node, "results", |c, node, _| action_result(c, node, session)),
        (0xC7, 4) => block_number(c, node).map(|_| ()),
        _ => c.broken_at(c.pos() - 2, format!("{kind} is no kind of this service")),
    }
}

fn request_kinds(tag: u8) -> Vec<(u8, &'static str)> {
    match tag {
        0xC0 => vec![(1, "normal"), (2, "next"), (3, "with-list")],
        0xC1 => vec![
            (1, "normal"),
            (2, "with-first-datablock"),
            (3, "with-datablock"),
            (4, "with-list"),
            (5, "with-list-and-first-datablock"),
        ],
        _ => vec![
            (1, "normal"),
            (3, "with-list"),
            (4, "with-first-pblock"),
            (5, "next-pblock"),
            (6, "with-pblock"),
            (7, "with-list-and-first-pblock"),
        ],
    }
}

fn response_kinds(tag: u8) -> Vec<(u8, &'static str)> {
    match tag {
        0xC4 => vec![(1, "normal"), (2, "with-datablock"), (3, "with-list")],
        0xC5 => vec![
            (1, "normal"),
            (2, "datablock"),
            (3, "last-datablock"),
            (4, "last-datablock-with-list"),
            (5, "with-list"),
        ],
        _ => vec![(1, "normal"), (2, "with-pblock"), (3, "with-list"), (4, "next-pblock")],
    }
}

fn kind(c: &mut Cursor<'_>, node: &mut Node, kinds: &[(u8, &str)]) -> Step<u8> {
    let kind = coded(c, node, "kind", kinds)?;
    if let Some((_, name)) = kinds.iter().find(|(number, _)| *number == kind) {
        node.value = format!("{} {name}", node.value);
    }
    Ok(kind)
}

/// `count` of something, each decoded by `each`.
pub(super) fn list(
    c: &mut Cursor<'_>,
    parent: &mut Node,
    label: &str,
    mut each: impl FnMut(&mut Cursor<'_>, &mut Node, usize) -> Step,
) -> Step {
    let start = c.pos();
    let count = c.length("the list length")?;
    let mut node = c.node(start, label, count.to_string());
    let mut outcome = Ok(());
    for i in 0..count {
        outcome = each(c, &mut node, i);
        if outcome.is_err() {
            break;
        }
    }
    node.length = c.pos() - start;
    parent.children.push(node);
    outcome
}

fn attributes(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step<Vec<Asked>> {
    let mut all = Vec::new();
    list(c, node, "attributes", |c, node, i| {
        all.push(attribute(c, node, &format!("[{i}]"))?);
        selection(c, node, session)
    })?;
    Ok(all)
}

/// Selective access: an optional selector and its parameters.
fn selection(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    if c.u8("the selective access flag")? == 0 {
        return Ok(());
    }
    coded(c, node, "selector", &[(1, "range"), (2, "entry"), (3, "class list"), (4, "object id list")])?;
    data(c, node, "selection", &mut session.nodes)
}

fn parameters(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    match c.u8("the parameter flag")? {
        0 => Ok(()),
        _ => data(c, node, "parameters", &mut session.nodes),
    }
}

fn block_number(c: &mut Cursor<'_>, node: &mut Node) -> Step<u32> {
    let start = c.pos();
    let number = c.u32("the block number")?;
    node.children.push(c.node(start, "block number", number.to_string()));
    Ok(number)
}

/// What the blocks carry when they are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    Data,
    Bytes,
}

/// Last-block flag, number, raw data: SET and ACTION.
fn block(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, carries: Carries) -> Step {
    let last = c.u8("last-block")? != 0;
    node.children.push(c.node(c.pos() - 1, "last-block", last.to_string()));
    let number = block_number(c, node)?;
    raw_data(c, node, session, (number, last), carries)
}

/// Raw data of one block; with the last the value they make together.
fn raw_data(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    (number, last): (u32, bool),
    carries: Carries,
) -> Step {
    let start = c.pos();
    let length = c.length("the block length")?;
    let there = c.left();
    let mut raw = c.part_up_to(length);
    let part = Part::Blocks { general: false, response: node.value.contains("Response") };
    // Block 1 begins anew, whatever became of the value before.
    let begun = session.parts.remove(&part).filter(|_| number > 1);
    let (mut octets, count) = begun.unwrap_or_default();
    octets.append(&raw.to_octets());
    let total = octets.bytes().len();
    raw.part_up_to(usize::MAX);
    node.children.push(c.node(
        start,
        format!("raw-data {}", count + 1),
        format!("{length} bytes, {total} so far"),
    ));
    if there < length {
        return c.broken(format!("the block says {length} bytes, {} of them are missing", length - there));
    }
    if !last && total <= INPUT_MAX {
        session.parts.insert(part, (octets, count + 1));
        return Ok(());
    }
    assembled(&octets, node, session, carries)
}

fn assembled(octets: &Octets, node: &mut Node, session: &mut Session, carries: Carries) -> Step {
    let mut c = octets.cursor();
    if carries == Carries::Bytes {
        node.children.push(Node::new(c.space(), c.offset(), 0, "values", hex(c.rest())));
        return Ok(());
    }
    data(&mut c, node, "value", &mut session.nodes)?;
    match c.left() {
        0 => Ok(()),
        left => c.broken(format!("{left} bytes are left over behind the value in the blocks")),
    }
}

/// Get-Data-Result: data or an access result.
fn get_result(
    c: &mut Cursor<'_>,
    node: &mut Node,
    session: &mut Session,
    label: &str,
    asked: Option<Asked>,
) -> Step {
    let start = c.pos();
    match c.u8("the choice of result")? {
        0 => {
            let label = match asked {
                Some(a) => format!("{label} {}", attribute_text(a.class_id, a.logical_name, a.attribute)),
                None => label.to_owned(),
            };
            data(c, node, &label, &mut session.nodes)?;
            if let (Some(asked), Some(value)) = (asked, node.children.last_mut()) {
                learn(session, asked, value);
            }
            Ok(())
        }
        1 => coded(c, node, &format!("{label} data-access-result"), ACCESS_RESULTS).map(|_| ()),
        other => c.broken_at(start, format!("{other} is neither data (0) nor data-access-result (1)")),
    }
}

/// Registers: a scaler_unit read earlier in the capture applies to values read later.
fn learn(session: &mut Session, asked: Asked, value: &mut Node) {
    if !matches!(asked.class_id, 3..=5) {
        return;
    }
    match (asked.attribute, value.datum, scaler_unit(value)) {
        (3 | 4, _, Some(pair)) => {
            session.scalers.insert(asked.logical_name, pair);
        }
        (2 | 3, Datum::Number(number), _) => {
            if let Some(&(scaler, unit)) = session.scalers.get(&asked.logical_name) {
                value.value = format!("{} = {}", value.value, scaled(number, scaler, unit));
            }
        }
        _ => {}
    }
}

fn action_result(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    coded(c, node, "result", ACTION_RESULTS)?;
    match c.u8("the return parameter flag")? {
        0 => Ok(()),
        _ => get_result(c, node, session, "return parameters", None),
    }
}
