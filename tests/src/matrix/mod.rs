//! The interop matrix: every way of associating, with every implementation we have, in both directions.
//!
//! A [`Cell`] is one operation over one association. What is not green has to be explained beforehand in
//! `tests/peers/limits.json`; what is explained there and turns out green makes that file wrong. The outcome of a run is
//! written to `target/interop/`, and `tests/interop.py` makes the table `target/interop.md` of it.

pub mod aside;
pub mod client;
mod engines;
pub mod meter;
mod operations;
pub mod serve;
pub mod short_names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::peers::{ForeignMeter, python, script};
use crate::process::{Process, project_root, target_directory};
use crate::street::credit_token;
use aside::{ASIDE, EXCEPTION, GENERAL_BLOCKS, PRE_ESTABLISHED, PUSH_CONFIRMED, Place};
use client::OurClient;
use meter::{WideMeter, client_sap};
use protocol::dlms::security::SystemTitle;

/// What each token of the matrix is worth.
pub const TOKEN_WH: u32 = 100;
/// Rows of the load profile.
pub const ROWS: u32 = 10_000;
/// How long one implementation may take with one framing.
const RUN_TIMEOUT: Duration = Duration::from_secs(900);

/// Protections, in the order of the table.
pub const PROTECTIONS: [&str; 5] = ["plain", "glo", "ded", "general-glo", "general-ded"];
/// What is done in every association.
pub const OPERATIONS: [&str; 10] = [
    "GET",
    "GET with-list",
    "GET in blocks",
    "SET",
    "SET in blocks",
    "ACTION",
    "by entry",
    "by range",
    "token entry",
    "disconnect",
];
/// What depends on framing and protection alone, and is done in one association of each.
pub const PROFILE: &str = "10,000 rows";
/// See [`PROFILE`].
pub const PUSH: &str = "push";

/// One way of associating.
#[derive(Debug, Clone)]
pub struct Way {
    /// Authentication mechanism, 0 to 7.
    pub mechanism: u8,
    /// One of [`PROTECTIONS`].
    pub protection: &'static str,
    /// Security suite.
    pub suite: u8,
    /// What is done there.
    pub operations: Vec<&'static str>,
}

/// Forms that name both ends: general-ciphering with each way to name its key, and general-signing around glo-ciphering. Those from
/// the third on need a curve.
pub const NAMED: [&str; 5] = [
    "general-ciphering",
    "general-ciphering (wrapped key)",
    "general-ciphering (one-pass)",
    "general-ciphering (static keys)",
    "general-signing",
];

/// Every mechanism up to 6 with every protection of suite 0; GMAC with the other suites too, and ECDSA with both that have a
/// curve. General-ciphering and general-signing with few operations: what is inside does not depend on them.
#[must_use]
pub fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for mechanism in 0..=6 {
        for protection in PROTECTIONS {
            let mut operations = OPERATIONS.to_vec();
            if mechanism == 5 {
                operations.push(PROFILE);
            }
            if mechanism == 5 && ["plain", "general-glo"].contains(&protection) {
                operations.extend([PUSH, PUSH_CONFIRMED]);
            }
            if mechanism == 5 {
                operations.extend([GENERAL_BLOCKS, EXCEPTION]);
            }
            if mechanism == 0 && ["plain", "glo", "general-glo"].contains(&protection) {
                operations.push(PRE_ESTABLISHED);
            }
            ways.push(Way { mechanism, protection, suite: 0, operations });
        }
    }
    for suite in [1, 2] {
        for protection in &PROTECTIONS[1..] {
            ways.push(Way { mechanism: 5, protection, suite, operations: OPERATIONS.to_vec() });
        }
    }
    // Signatures need a suite with a curve.
    for suite in [1, 2] {
        for protection in &PROTECTIONS[1..] {
            ways.push(Way { mechanism: 7, protection, suite, operations: OPERATIONS.to_vec() });
        }
    }
    let few = ["GET", "GET in blocks", "SET", "ACTION"];
    for suite in 0..=2 {
        for protection in NAMED.into_iter().take(if suite == 0 { 2 } else { NAMED.len() }) {
            ways.push(Way { mechanism: 5, protection, suite, operations: few.to_vec() });
        }
    }
    ways
}

/// The ways that go over a serial device too: what is inside HDLC does not depend on the device, so a few do, with one profile.
fn serial_ways() -> Vec<Way> {
    let mut ways = ways();
    ways.retain(|way| way.mechanism == 5 && way.suite == 0 && !NAMED.contains(&way.protection));
    for way in &mut ways {
        way.operations.retain(|operation| {
            let aside = *operation == PUSH || ASIDE.contains(operation);
            !aside && (*operation != PROFILE || way.protection == "glo")
        });
    }
    ways
}

/// What one operation over one association came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Who was at the other end.
    pub peer: String,
    /// `wrapper` or `hdlc` over TCP, `serial` (HDLC on a pseudo terminal), or `-` where APDUs were exchanged in memory.
    pub framing: String,
    /// Authentication mechanism.
    pub mechanism: u8,
    /// One of [`PROTECTIONS`].
    pub protection: String,
    /// Security suite.
    pub suite: u8,
    /// One of [`OPERATIONS`], [`PROFILE`], [`PUSH`].
    pub operation: String,
    /// Green: it did what it must.
    pub green: bool,
    /// What was said when it is not green.
    pub said: String,
}

/// Runs a foreign client over every way against a meter of its own, and gives what came of it.
///
/// # Panics
/// When the client does not come to its end, or applied other tokens than it says.
#[must_use]
pub fn foreign_client(peer: &str, framing: &'static str, index: u32) -> Vec<Cell> {
    let meter = WideMeter::start(index, ROWS);
    let port = serve::serve(Arc::clone(&meter), if framing == "serial" { "hdlc" } else { framing });
    let ways = if framing == "serial" && peer != "dlms-cosem" { serial_ways() } else { ways() };
    let planned: Vec<Value> =
        ways.iter().enumerate().map(|(place, way)| planned(&meter, way, place)).collect();
    let plan = json!({ "peer": peer, "framing": framing, "host": meter.host().to_string(), "port": port,
        "rows": ROWS, "worth_wh": TOKEN_WH, "system_title_hex": system_title_hex(index), "ways": planned });
    let folder = crate::Folder::new("matrix");
    let plan = folder.file("plan.json", &plan.to_string());
    let mut client = Process::start(python().arg(script("matrix.py")).arg(&plan));
    let (mut cells, mut spent) = (Vec::new(), BTreeMap::new());
    let deadline = Instant::now() + RUN_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = client.expect("the next cell", left, |line| {
            serde_json::from_str::<Value>(line).ok().filter(|line| line["matrix"].is_string())
        });
        match line["matrix"].as_str() {
            Some("cell") => {
                let (operation, ms) = (line["operation"].as_str().unwrap_or_default(), line["ms"].as_u64());
                let spent = spent.entry(operation.to_owned()).or_insert(0);
                *spent += ms.unwrap_or_default();
                cells.push(cell(&line, peer, framing));
            }
            Some("listening") => {
                let (sap, port) = (line["sap"].as_u64(), line["port"].as_u64());
                let whole =
                    sap.and_then(|sap| u8::try_from(sap).ok()).zip(port.and_then(|p| p.try_into().ok()));
                let (sap, port) = whole.expect("a client address and a port");
                serve::push(&meter, sap, port);
            }
            _ => {
                println!("{peer} over {framing}: {} s of processor; milliseconds: {spent:?}", line["cpu_s"]);
                break;
            }
        }
    }
    let wanted: usize = ways.iter().map(|way| way.operations.len()).sum();
    assert_eq!(cells.len(), wanted, "a cell is missing; {peer} said:\n{}", client.said());
    assert_credited(&meter, &cells);
    cells
}

/// Runs our client over every way against the foreign meter, and gives what came of it.
///
/// # Panics
/// When the meter does not come up, or applied other tokens than the client saw.
#[must_use]
pub fn our_client(framing: &'static str) -> Vec<Cell> {
    let (worth, rows) = (TOKEN_WH.to_string(), ROWS.to_string());
    let mut meter =
        ForeignMeter::start(&["--framing", framing, "--any-token-wh", &worth, "--rows", &rows, "--wide"]);
    let mut cells = Vec::new();
    let offered = |way: &Way| way.suite == 0 && way.protection != NAMED[1];
    for (place, way) in (0..).zip(ways().into_iter().filter(offered)) {
        let suite = (way.protection != "plain").then_some(way.suite);
        let (sap, title) = (client_sap(way.mechanism, suite), SystemTitle(*b"MGWTESTS"));
        let mut opened =
            OurClient::open(meter.port, framing, sap, client::config(&way, title), 1 + 100_000 * place);
        let token = format!("{:020}", 7_000_000 + place);
        cells.extend(operate_all(&mut opened, ("pydlms meter", framing), &way, &token));
        if let Ok(client) = opened
            && let Err(why) = client.release()
        {
            println!("{way:?}: release: {why}");
        }
        // Counters that the association above did not come to, for each of these a thousand.
        for (n, operation) in (1..).zip(aside_of(&way)) {
            let counter = 1 + 100_000 * place + 50_000 + 1_000 * n;
            let at = Place { port: meter.port, framing, sap, counter, meter: SystemTitle(*b"PYDMETER") };
            let came = aside::with_our_client(at, client::config(&way, title), operation);
            cells.push(cell_of(("pydlms meter", framing), &way, operation, came));
        }
    }
    let taken = cells.iter().filter(|cell| cell.operation == "token entry" && cell.green).count();
    meter.process.kill();
    let said = meter.process.said();
    let entered = said.lines().filter(|line| line.contains("\"event\": \"token\"")).count();
    assert_eq!(entered, taken, "over {framing}: every token once; the meter said:\n{said}");
    cells
}

/// Every operation of a way over one association.
fn operate_all(
    opened: &mut Result<impl operations::Conversation, String>,
    (peer, framing): (&str, &str),
    way: &Way,
    token: &str,
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for operation in way.operations.iter().filter(|operation| !ASIDE.contains(operation)) {
        let came = match opened {
            Ok(client) => operations::operate(client, operation, token),
            Err(why) => Err(why.clone()),
        };
        cells.push(cell_of((peer, framing), way, operation, came));
    }
    cells
}

fn cell_of((peer, framing): (&str, &str), way: &Way, operation: &str, came: client::Done<()>) -> Cell {
    Cell {
        peer: peer.to_owned(),
        framing: framing.to_owned(),
        mechanism: way.mechanism,
        protection: way.protection.to_owned(),
        suite: way.suite,
        operation: operation.to_owned(),
        green: came.is_ok(),
        said: came.err().unwrap_or_default(),
    }
}

/// What a way has of [`ASIDE`].
fn aside_of(way: &Way) -> impl Iterator<Item = &'static str> {
    way.operations.iter().copied().filter(|operation| ASIDE.contains(operation))
}

/// The ways of suite 0 without a push, which the engines in this process have no connection for.
fn ways_in_process() -> Vec<Way> {
    let mut ways = ways();
    ways.retain(|way| way.suite == 0 && way.protection != NAMED[1]);
    ways.iter_mut().for_each(|way| way.operations.retain(|o| ![PUSH, PUSH_CONFIRMED].contains(o)));
    ways
}

/// Runs the client engine of `dlms-cosem-rs` over every way with our server engine, in memory.
///
/// # Panics
/// When the meter applied other tokens than the client saw.
#[must_use]
pub fn their_engine() -> Vec<Cell> {
    let meter = WideMeter::start(11, ROWS);
    let mut cells = Vec::new();
    for (place, way) in (0..).zip(ways_in_process()) {
        let mut opened = engines::TheirClient::open(&meter, &way, 100_000 * (place + 1));
        let token = credit_token(meter.serial(), TOKEN_WH, u64::from(place));
        cells.extend(operate_all(&mut opened, ("dlms-cosem-rs", "-"), &way, &token));
        for operation in aside_of(&way) {
            let came = match &mut opened {
                Ok(client) if operation == EXCEPTION => client.exception(way.protection != "plain"),
                Ok(_) => Err(format!("not offered: {operation}")),
                Err(why) => Err(why.clone()),
            };
            cells.push(cell_of(("dlms-cosem-rs", "-"), &way, operation, came));
        }
    }
    assert_credited(&meter, &cells);
    cells
}

/// Runs our client over every way with the server engine of `dlms-cosem-rs`, over TCP.
///
/// # Panics
/// When the meter applied other tokens than the client saw.
#[must_use]
pub fn their_server() -> Vec<Cell> {
    let meter = WideMeter::start(12, ROWS);
    let mut cells = Vec::new();
    for (place, way) in (0..).zip(ways_in_process()) {
        let config = || client::config(&way, SystemTitle(*b"MGWTESTS"));
        let port = engines::serve_theirs(&meter, &way);
        let mut opened = OurClient::open(port, "wrapper", 16, config(), 100_000 * (place + 1));
        let token = credit_token(meter.serial(), TOKEN_WH, u64::from(place));
        cells.extend(operate_all(&mut opened, ("dlms-cosem-rs meter", "wrapper"), &way, &token));
        for operation in aside_of(&way) {
            let came = match &mut opened {
                Ok(client) if operation == EXCEPTION && way.protection != "plain" => client.used_counter(),
                _ => {
                    // Their engine serves one connection.
                    let (port, meter) = (engines::serve_theirs(&meter, &way), engines::TITLE);
                    let at = Place { port, framing: "wrapper", sap: 16, counter: 1, meter };
                    aside::with_our_client(at, config(), operation)
                }
            };
            cells.push(cell_of(("dlms-cosem-rs meter", "wrapper"), &way, operation, came));
        }
    }
    assert_credited(&meter, &cells);
    cells
}

/// Every token once: the meter's own account of what tokens brought.
fn assert_credited(meter: &WideMeter, cells: &[Cell]) {
    let taken = cells.iter().filter(|cell| cell.operation == "token entry" && cell.green).count();
    let credited = meter.truth().credited_wh.expect("the meter has power");
    assert_eq!(credited, i64::from(TOKEN_WH) * taken as i64, "every token counts once");
}

fn planned(meter: &WideMeter, way: &Way, place: usize) -> Value {
    let suite = (way.protection != "plain").then_some(way.suite);
    json!({
        "sap": client_sap(way.mechanism, suite), "mechanism": way.mechanism, "protection": way.protection,
        "suite": way.suite, "operations": way.operations,
        "token": credit_token(meter.serial(), TOKEN_WH, place as u64),
    })
}

fn system_title_hex(index: u32) -> String {
    simulator::identity::to_hex(&simulator::identity::system_title(index))
}

fn cell(line: &Value, peer: &str, framing: &str) -> Cell {
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let number = |field: &str| line[field].as_u64().and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX);
    Cell {
        peer: peer.to_owned(),
        framing: framing.to_owned(),
        mechanism: number("mechanism"),
        protection: text("protection"),
        suite: number("suite"),
        operation: text("operation"),
        green: line["green"].as_bool() == Some(true),
        said: text("said"),
    }
}

/// Something that a peer, or we, cannot do: which cells, what they say, and whose it is.
fn limits() -> Vec<Value> {
    let text = std::fs::read_to_string(script("limits.json")).expect("the limits are written down");
    serde_json::from_str::<Vec<Value>>(&text).expect("the limits are a JSON list")
}

fn applies(limit: &Value, cell: &Cell) -> bool {
    let among = |field: &str, value: Value| limit[field].as_array().is_none_or(|list| list.contains(&value));
    limit["peer"] == cell.peer.as_str()
        && among("framing", json!(cell.framing))
        && among("mechanism", json!(cell.mechanism))
        && among("protection", json!(cell.protection))
        && among("suite", json!(cell.suite))
        && among("operation", json!(cell.operation))
}

/// Writes what came of a run to `target/interop/NAME.json`, and holds it against what is known.
///
/// # Panics
/// When a cell is not green and nothing explains it, or is green where an explanation says that it cannot be.
pub fn judge(name: &str, cells: &[Cell]) {
    let limits = limits();
    let mut wrong = Vec::new();
    let mut lines = Vec::new();
    for cell in cells {
        let known = limits.iter().find(|limit| applies(limit, cell));
        let explained = known.filter(|limit| cell.said.contains(limit["says"].as_str().unwrap_or("?")));
        match (cell.green, known, explained) {
            (true, Some(limit), _) => {
                wrong.push(format!("green, and {} says it is not: {cell:?}", limit["id"]))
            }
            (false, _, None) => wrong.push(format!("not green: {cell:?}")),
            _ => {}
        }
        lines.push(json!({
            "peer": cell.peer, "framing": cell.framing, "mechanism": cell.mechanism,
            "protection": cell.protection, "suite": cell.suite, "operation": cell.operation,
            "green": cell.green, "limit": explained.map(|limit| limit["id"].clone()),
        }));
    }
    let folder = target_directory().join("interop");
    std::fs::create_dir_all(&folder).expect("target/interop can be made");
    let text = serde_json::to_string_pretty(&lines).expect("cells are JSON");
    std::fs::write(folder.join(format!("{name}.json")), text).expect("results can be written");
    assert!(
        wrong.is_empty(),
        "{name}: {} of {} cells differ from {}:\n{}",
        wrong.len(),
        cells.len(),
        project_root().join("tests/peers/limits.json").display(),
        wrong.join("\n")
    );
}
