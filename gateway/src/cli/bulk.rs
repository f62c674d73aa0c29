//! `bulk`: one command for many meters, through the running gateway.

use super::Failure;
use super::campaign::{serials_of, show_campaign};
use super::client::{Connection, segment};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

const PATH: &str = "/api/v1/bulk-commands";

/// Arguments of `bulk`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say which meters would be told, which not and why; sends nothing. Its last line says how it is started.
    Preview(Box<Preview>),
    /// Start what was previewed, if the street is still as it was shown.
    Start {
        /// The preview's id.
        id: i64,
    },
    /// List bulk commands, newest first.
    List,
    /// Show one and each of its meters.
    Show {
        /// Its id.
        id: i64,
    },
    /// Agree to one that waits for a second person.
    Approve {
        /// Its id.
        id: i64,
    },
    /// Decline one that waits for a second person.
    Decline {
        /// Its id.
        id: i64,
    },
    /// Start no further command; those under way go on.
    Pause {
        /// Its id.
        id: i64,
    },
    /// Go on after a pause.
    Resume {
        /// Its id.
        id: i64,
    },
    /// End it: commands that nothing was sent of are taken back.
    Stop {
        /// Its id.
        id: i64,
    },
}

/// What each meter is told, and which meters.
#[derive(Debug, clap::Args)]
struct Preview {
    /// disconnect, reconnect, arm, read, set_clock or limit_load.
    kind: String,
    /// Why, in your own words.
    #[arg(long)]
    text: String,
    /// A disconnect: planned, fault, peak_avoidance or arrears. A reconnect: only meters disconnected for this reason.
    #[arg(long)]
    reason: Option<String>,
    /// limit_load: watts.
    #[arg(long)]
    limit_w: Option<u32>,
    /// limit_load: seconds above the limit before the meter acts.
    #[arg(long, requires = "limit_w")]
    over_s: Option<u32>,
    /// limit_load: seconds below the limit before supply comes back.
    #[arg(long, requires = "limit_w")]
    under_s: Option<u32>,
    /// Only meters with these serials, one a line in a file.
    #[arg(long)]
    serials: Option<PathBuf>,
    /// Only meters of this transformer area.
    #[arg(long)]
    area: Option<String>,
    /// Only meters on this line.
    #[arg(long)]
    line: Option<String>,
    /// Only meters of this model.
    #[arg(long)]
    model: Option<String>,
    /// Only meters with supply, or only those without.
    #[arg(long)]
    supply_on: Option<bool>,
    /// Commands under way at once.
    #[arg(long, default_value_t = 32)]
    at_once: u32,
    /// Commands started in a minute.
    #[arg(long)]
    per_minute: Option<u32>,
    /// Commands started in a minute in one area.
    #[arg(long)]
    area_per_minute: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Plan {
    id: i64,
    included: Vec<Included>,
    excluded: Vec<Excluded>,
    second_person: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Included {
    serial: String,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Excluded {
    serial: String,
    why: String,
}

impl Preview {
    fn body(&self) -> Result<Value, Failure> {
        let parameters = self.limit_w.map(|limit_w| {
            let mut parameters = json!({ "limit_w": limit_w });
            for (name, value) in [("over_s", self.over_s), ("under_s", self.under_s)] {
                if let Some(value) = value {
                    parameters[name] = json!(value);
                }
            }
            parameters
        });
        Ok(json!({
            "action": {"kind": self.kind, "reason": self.reason, "parameters": parameters},
            "selection": {
                "serials": serials_of(self.serials.as_deref())?, "area": self.area, "line": self.line,
                "model": self.model, "supply_on": self.supply_on,
            },
            "reason": self.text, "at_once": self.at_once, "per_minute": self.per_minute,
            "area_per_minute": self.area_per_minute,
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
        Action::Preview(wanted) => preview(connection, wanted),
        Action::Start { id } => post(connection, *id, "start", &json!({})),
        Action::List => {
            let all: Vec<Value> = connection.get(PATH)?;
            all.iter().for_each(show_one);
            Ok(())
        }
        Action::Show { id } => {
            show_campaign(connection, &path(*id))?;
            show_one(&connection.get(&path(*id))?);
            Ok(())
        }
        Action::Approve { id } => post(connection, *id, "decision", &json!({"agreed": true})),
        Action::Decline { id } => post(connection, *id, "decision", &json!({"agreed": false})),
        Action::Pause { id } => post(connection, *id, "verb", &json!({"verb": "pause"})),
        Action::Resume { id } => post(connection, *id, "verb", &json!({"verb": "resume"})),
        Action::Stop { id } => post(connection, *id, "verb", &json!({"verb": "stop"})),
    }
}

fn preview(connection: &Connection, wanted: &Preview) -> Result<(), Failure> {
    let body = wanted.body()?.to_string();
    let plan: Plan = connection.post(&format!("{PATH}/preview"), "application/json", &[], body.as_bytes())?;
    for meter in &plan.included {
        let note = meter.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        println!("{} takes part{note}", meter.serial);
    }
    for meter in &plan.excluded {
        println!("{} is excluded: {}", meter.serial, meter.why);
    }
    println!("{} meters take part, {} are excluded", plan.included.len(), plan.excluded.len());
    if let Some(why) = &plan.second_person {
        println!("a second person has to agree: {why}");
    }
    println!("start it within an hour: meter-gateway bulk start {}", plan.id);
    Ok(())
}

fn path(id: i64) -> String {
    format!("{PATH}/{}", segment(&id.to_string()))
}

fn post(connection: &Connection, id: i64, what: &str, body: &Value) -> Result<(), Failure> {
    let path = format!("{}/{what}", path(id));
    let view: Value = connection.post(&path, "application/json", &[], body.to_string().as_bytes())?;
    show_one(&view);
    Ok(())
}

fn show_one(view: &Value) {
    let counts: Vec<String> = view["meters"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(progress, meters)| format!("{meters} {}", progress.replace('_', " ")))
        .collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!(
        "bulk command {} {}, {} ({}): {}",
        view["id"],
        text(&view["state"]),
        text(&view["action"]["kind"]),
        text(&view["reason"]),
        counts.join(", ")
    );
}
