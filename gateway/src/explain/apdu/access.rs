//! ACCESS: lists of requests and their data in one APDU.

use super::super::Session;
use super::super::octets::{Cursor, Step};
use super::super::tree::Node;
use super::super::value::data;
use super::notify::optional_date_time;
use super::services::list;
use super::{ACCESS_RESULTS, attribute, coded, long_invoke, method};

pub(super) fn request(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    long_invoke(c, node)?;
    optional_date_time(c, node)?;
    list(c, node, "requests", |c, node, i| specification(c, node, session, i))?;
    list(c, node, "data", |c, node, i| data(c, node, &format!("[{i}]"), &mut session.nodes))
}

/// One request: get, set or action, the first two perhaps with a selection.
fn specification(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session, i: usize) -> Step {
    let start = c.pos();
    match c.u8("the choice of request")? {
        1 => attribute(c, node, &format!("[{i}] get")).map(|_| ()),
        2 => attribute(c, node, &format!("[{i}] set")).map(|_| ()),
        3 => method(c, node, &format!("[{i}] action")),
        choice @ (4 | 5) => {
            let what = if choice == 4 { "get" } else { "set" };
            attribute(c, node, &format!("[{i}] {what} with selection"))?;
            coded(c, node, "selector", &[(1, "range"), (2, "entry")])?;
            data(c, node, "selection", &mut session.nodes)
        }
        other => c.broken_at(start, format!("{other} is no choice of an ACCESS request")),
    }
}

pub(super) fn response(c: &mut Cursor<'_>, node: &mut Node, session: &mut Session) -> Step {
    long_invoke(c, node)?;
    optional_date_time(c, node)?;
    // The request may be repeated: optional, rarely there.
    if c.u8("the request flag")? != 0 {
        list(c, node, "requests", |c, node, i| specification(c, node, session, i))?;
    }
    list(c, node, "data", |c, node, i| data(c, node, &format!("[{i}]"), &mut session.nodes))?;
    list(c, node, "results", |c, node, i| {
        let kinds = [(1, "get"), (2, "set"), (3, "action")];
        coded(c, node, &format!("[{i}] service"), &kinds)?;
        coded(c, node, &format!("[{i}] result"), ACCESS_RESULTS).map(|_| ())
    })
}
