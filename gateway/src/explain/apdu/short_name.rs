//! Short-name services: Read, Write, UnconfirmedWrite, InformationReport.

use super::super::Session;
use super::super::octets::{Cursor, Step};
use super::super::tree::{Node, hex};
use super::super::value::data;
use super::services::list;
use super::{ACCESS_RESULTS, coded};

/// Variable-Access-Specification.
fn variable(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, i: usize) -> Step {
    let start = c.pos();
    let choice = c.u8("the choice of access")?;
    match choice {
        2 | 4 => {
            let name = c.u16("the short name")?;
            node.children.push(c.node(start, format!("[{i}] short name"), format!("{name} (0x{name:04X})")));
            if choice == 4 {
                coded(c, node, "selector", &[(1, "range"), (2, "entry")])?;
                data(c, node, "parameter", &mut session.nodes)?;
            }
            Ok(())
        }
        5 => {
            let number = c.u16("the block number")?;
            node.children.push(c.node(start, format!("[{i}] block number"), number.to_string()));
            Ok(())
        }
        6 | 7 => {
            let last = c.u8("last-block")? != 0;
            let number = c.u16("the block number")?;
            node.children.push(c.node(start, format!("[{i}] block"), format!("{number}, last {last}")));
            if choice == 6 {
                let length = c.length("the block length")?;
                let at = c.pos();
                let bytes = hex(c.take(length, "the block")?);
                node.children.push(c.node(at, "raw-data", bytes));
            }
            Ok(())
        }
        other => c.broken_at(start, format!("{other} is no variable access")),
    }
}

pub(super) fn request(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, tag: u8) -> Step {
    list(c, node, "variables", |c, node, i| variable(c, node, session, i))?;
    if tag == 0x05 {
        return Ok(());
    }
    list(c, node, "data", |c, node, i| data(c, node, &format!("[{i}]"), &mut session.nodes))
}

pub(super) fn response(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, tag: u8) -> Step {
    list(c, node, "results", |c, node, i| {
        let start = c.pos();
        match (tag, c.u8("the choice of result")?) {
            (0x0C, 0) => data(c, node, &format!("[{i}]"), &mut session.nodes),
            (0x0D, 0) => {
                node.children.push(c.node(start, format!("[{i}]"), "success"));
                Ok(())
            }
            (_, 1) => coded(c, node, &format!("[{i}] data-access-error"), ACCESS_RESULTS).map(|_| ()),
            (_, 2) => {
                let last = c.u8("last-block")? != 0;
                let number = c.u16("the block number")?;
                let length = if tag == 0x0C { c.length("the block length")? } else { 0 };
                let bytes = hex(c.take(length, "the block")?);
                let text = format!("{number}, last {last}: {bytes}");
                node.children.push(c.node(start, format!("[{i}] block"), text));
                Ok(())
            }
            (_, other) => c.broken_at(start, format!("{other} is no choice of result")),
        }
    })
}

pub(super) fn report(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    let start = c.pos();
    if c.u8("the time flag")? != 0 {
        let length = c.length("the time length")?;
        let text = String::from_utf8_lossy(c.take(length, "the time")?).into_owned();
        node.children.push(c.node(start, "time", text));
    }
    list(c, node, "variables", |c, node, i| variable(c, node, session, i))?;
    list(c, node, "data", |c, node, i| data(c, node, &format!("[{i}]"), &mut session.nodes))
}
