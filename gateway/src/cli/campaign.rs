//! `campaign`: one key change for many meters, through the running gateway.

use super::Failure;
use super::client::{Connection, segment};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Meters shown at a time.
const PAGE: usize = 1000;

/// Arguments of `campaign`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say which meters would be changed, and which not and why; changes nothing.
    Preview(Change),
    /// Start it: each meter gets an ordered set of key-change tokens, pushed one after the other.
    Start(Start),
    /// List campaigns, newest first.
    List,
    /// Show a campaign and each of its meters.
    Show {
        /// Its id.
        id: i64,
    },
    /// Start no further set; those on the way go on.
    Pause {
        /// Its id.
        id: i64,
    },
    /// Go on after a pause.
    Resume {
        /// Its id.
        id: i64,
    },
    /// End it; meters that wait are left as they are, sets on the way go on.
    Stop {
        /// Its id.
        id: i64,
    },
    /// Deliver the sets that were refused once more.
    Retry {
        /// Its id.
        id: i64,
    },
}

/// What is to be changed, for which meters.
#[derive(Debug, clap::Args)]
struct Change {
    /// New supply group code.
    #[arg(long)]
    to_sgc: Option<u32>,
    /// New tariff index.
    #[arg(long)]
    to_ti: Option<u8>,
    /// New key revision number.
    #[arg(long)]
    to_krn: Option<u8>,
    /// New key type: 1 default, 2 unique.
    #[arg(long)]
    to_kt: Option<u8>,
    /// New key expiry number.
    #[arg(long)]
    to_ken: Option<u8>,
    /// New base date, which makes it a rollover: the meters forget their token ids.
    #[arg(long)]
    to_base_date: Option<u16>,
    /// Only meters with these serials, one a line in a file.
    #[arg(long)]
    serials: Option<PathBuf>,
    /// Only meters of this transformer area.
    #[arg(long)]
    area: Option<String>,
    /// Only meters on this line.
    #[arg(long)]
    line: Option<String>,
    /// Only meters of this supply group.
    #[arg(long)]
    sgc: Option<u32>,
    /// Only meters with this tariff index.
    #[arg(long)]
    ti: Option<u8>,
    /// Only meters with this key revision.
    #[arg(long)]
    krn: Option<u8>,
    /// Only meters with this base date.
    #[arg(long)]
    base_date: Option<u16>,
}

#[derive(Debug, clap::Args)]
struct Start {
    #[command(flatten)]
    change: Change,
    /// Why. Without a reason it is refused.
    #[arg(long)]
    reason: Option<String>,
    /// Sets on the way at once.
    #[arg(long, default_value_t = 16)]
    sets_max: u32,
    /// How many meters the preview said; when the number is another by now, nothing is done.
    #[arg(long)]
    expect: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Preview {
    included: Vec<String>,
    excluded: Vec<Excluded>,
}

#[derive(Debug, Deserialize)]
struct Excluded {
    serial: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct View {
    id: i64,
    state: String,
    reason: String,
    meters: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Meter {
    serial: String,
    progress: String,
    outcome: Option<String>,
    tokens: u32,
    taken: u32,
    rounds: u32,
    command_state: Option<String>,
}

/// The serials of a file, one a line; none when there is no file.
///
/// # Errors
/// A file that cannot be read, or is empty.
pub(super) fn serials_of(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Data(format!("{}: {error}", file.display())))?;
    let serials: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if serials.is_empty() {
        return Err(Failure::Data("the file with serials is empty".into()));
    }
    Ok(serials)
}

impl Change {
    fn body(&self) -> Result<Value, Failure> {
        let serials = serials_of(self.serials.as_deref())?;
        Ok(json!({
            "action": {
                "kind": "key_change", "sgc": self.to_sgc, "ti": self.to_ti, "krn": self.to_krn, "kt": self.to_kt,
                "ken": self.to_ken, "base_year": self.to_base_date,
            },
            "selection": {
                "serials": serials, "area": self.area, "line": self.line, "sgc": self.sgc, "ti": self.ti,
                "krn": self.krn, "base_year": self.base_date,
            },
        }))
    }
}

/// Runs it.
///
/// # Errors
/// What the gateway refused.
pub fn run(args: &Args) -> Result<(), Failure> {
    let connection = &args.connection;
    match &args.action {
        Action::Preview(change) => preview(connection, change),
        Action::Start(start) => begin(connection, start),
        Action::List => {
            let campaigns: Vec<View> = connection.get("/api/v1/campaigns")?;
            campaigns.iter().for_each(show_one);
            Ok(())
        }
        Action::Show { id } => show(connection, *id),
        Action::Pause { id } => verb(connection, *id, "pause"),
        Action::Resume { id } => verb(connection, *id, "resume"),
        Action::Stop { id } => verb(connection, *id, "stop"),
        Action::Retry { id } => verb(connection, *id, "retry"),
    }
}

fn preview(connection: &Connection, change: &Change) -> Result<(), Failure> {
    let body = change.body()?.to_string();
    let preview: Preview =
        connection.post("/api/v1/campaigns/preview", "application/json", &[], body.as_bytes())?;
    for serial in &preview.included {
        println!("{serial} takes part");
    }
    for meter in &preview.excluded {
        println!("{} is excluded: {}", meter.serial, meter.why);
    }
    println!("{} meters take part, {} are excluded", preview.included.len(), preview.excluded.len());
    Ok(())
}

fn begin(connection: &Connection, start: &Start) -> Result<(), Failure> {
    let mut body = start.change.body()?;
    body["reason"] = json!(start.reason.clone().unwrap_or_default());
    body["sets_max"] = json!(start.sets_max);
    body["expected"] = json!(start.expect);
    let body = body.to_string();
    let view: View = connection.post("/api/v1/campaigns", "application/json", &[], body.as_bytes())?;
    show_one(&view);
    Ok(())
}

fn path(id: i64) -> String {
    format!("/api/v1/campaigns/{}", segment(&id.to_string()))
}

fn verb(connection: &Connection, id: i64, verb: &str) -> Result<(), Failure> {
    let body = json!({ "verb": verb }).to_string();
    let view: View =
        connection.post(&format!("{}/verb", path(id)), "application/json", &[], body.as_bytes())?;
    show_one(&view);
    Ok(())
}

fn show(connection: &Connection, id: i64) -> Result<(), Failure> {
    show_campaign(connection, &path(id))?;
    show_one(&connection.get(&path(id))?);
    Ok(())
}

/// Shows each meter of what stands at that path.
///
/// # Errors
/// What the gateway refused.
pub(super) fn show_campaign(connection: &Connection, path: &str) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page: Vec<Meter> =
            connection.get(&format!("{path}/meters?limit={PAGE}&after={}", segment(&after)))?;
        for meter in &page {
            show_meter(meter);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.serial.clone(),
            _ => return Ok(()),
        }
    }
}

fn show_meter(meter: &Meter) {
    let mut text = format!("{} {}", meter.serial, meter.progress);
    if meter.tokens > 0 {
        text += &format!(", {} of {} tokens taken", meter.taken, meter.tokens);
    }
    if meter.rounds > 1 {
        text += &format!(", round {}", meter.rounds);
    }
    if let Some(state) = &meter.command_state {
        text += &format!(", newest {state}");
    }
    if let Some(outcome) = &meter.outcome {
        text += &format!(": {outcome}");
    }
    println!("{text}");
}

fn show_one(view: &View) {
    let counts: Vec<String> = view
        .meters
        .iter()
        .map(|(progress, meters)| format!("{meters} {}", progress.replace('_', " ")))
        .collect();
    println!("campaign {} {} ({}): {}", view.id, view.state, view.reason, counts.join(", "));
}
