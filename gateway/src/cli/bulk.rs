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
    /// disconnect, reconnect, arm, read, set_clock, limit_load, limit_emergency, set_prices, set_tariff, set_calendar, test_relay or update_image.
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
    /// update_image: the image's name.
    #[arg(long, conflicts_with = "limit_w")]
    image: Option<String>,
    /// Any kind: its parameters as JSON.
    #[arg(long, conflicts_with_all = ["limit_w", "image"])]
    parameters: Option<String>,
    /// So many meters first; the others only when every one of these is done.
    #[arg(long)]
    canary: Option<u32>,
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
        let given = self.parameters.as_deref().map(serde_json::from_str).transpose();
        let given: Option<Value> =
            given.map_err(|error| Failure::Data(format!("the parameters are not JSON: {error}")))?;
        let image = self.image.as_ref().map(|image| json!({ "image": image }));
        let limit = self.limit_w.map(|limit_w| {
            let mut parameters = json!({ "limit_w": limit_w });
            for (name, value) in [("over_s", self.over_s), ("under_s", self.under_s)] {
                if let Some(value) = value {
                    parameters[name] = json!(value);
                }
            }
            parameters
        });
        let parameters = limit.or(image).or(given);
        Ok(json!({
            "action": {"kind": self.kind, "reason": self.reason, "parameters": parameters},
            "selection": {
                "serials": serials_of(self.serials.as_deref())?, "area": self.area, "line": self.line,
                "model": self.model, "supply_on": self.supply_on,
            },
            "reason": self.text, "at_once": self.at_once, "per_minute": self.per_minute,
            "area_per_minute": self.area_per_minute, "canary": self.canary,
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

/// Arguments of `curtail`.
#[derive(Debug, clap::Args)]
pub struct Curtail {
    /// Kilowatts to be saved.
    target_kw: u32,
    /// Why, in your own words.
    #[arg(long)]
    text: String,
    /// Only meters of this transformer area.
    #[arg(long)]
    area: Option<String>,
    /// A power measured longer ago than this many seconds counts as not measured.
    #[arg(long)]
    measured_within_s: Option<u32>,
    /// When it ends, as 2026-03-01T20:00:00Z: limits end by themselves then.
    #[arg(long)]
    until: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `curtail`.
///
/// # Errors
/// What the gateway refused.
pub fn curtail(args: &Curtail) -> Result<(), Failure> {
    let body = json!({
        "target_kw": args.target_kw, "reason": args.text, "selection": {"area": args.area},
        "measured_within_s": args.measured_within_s, "until": args.until,
    });
    let body = body.to_string();
    let made: Value =
        args.connection.post("/api/v1/curtailments", "application/json", &[], body.as_bytes())?;
    for cut in made["cuts"].as_array().into_iter().flatten() {
        let what = match cut["measure"]["limit_to"]["watts"].as_u64() {
            Some(watts) => format!("limited to {watts} W"),
            None => "disconnected".to_owned(),
        };
        println!(
            "{} is {what}, saves {} W (load class {}, {})",
            cut["serial"].as_str().unwrap_or_default(),
            cut["saves_w"],
            cut["load_class"],
            cut["standing"].as_str().unwrap_or_default().replace('_', " ")
        );
    }
    for left in made["left"].as_array().into_iter().flatten() {
        let text = |name: &str| left[name].as_str().unwrap_or_default().to_owned();
        println!("{} is left alone: {}", text("serial"), text("why"));
    }
    println!("saves {} W, {} W are still missing", made["saves_w"], made["short_w"]);
    for (name, what) in [("limits", "the limits first"), ("disconnections", "the disconnections")] {
        if let Some(id) = made[name].as_i64() {
            println!("{what}: meter-gateway bulk show {id}, then meter-gateway bulk start {id}");
        }
    }
    Ok(())
}
