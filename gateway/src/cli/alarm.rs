//! `alarm`: what is wrong, and a person's word that it is not any more.

use super::Failure;
use super::client::{Connection, segment};
use clap::Subcommand;
use serde_json::{Value, json};

/// Arguments of `alarm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List open alarms, newest first: the list of meters to be put right.
    List {
        /// Only of this meter.
        #[arg(long)]
        serial: Option<String>,
        /// Closed ones too.
        #[arg(long)]
        all: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Close one by your word; it opens again when the meter says so again.
    Close {
        /// Its id.
        id: i64,
        /// What was found or done.
        #[arg(long)]
        text: String,
    },
}

/// Runs it.
///
/// # Errors
/// What the gateway refused.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::List { serial, all, json } => list(&args.connection, serial.as_deref(), *all, *json),
        Action::Close { id, text } => {
            let path = format!("/api/v1/alarms/{}/close", segment(&id.to_string()));
            let body = json!({ "words": text }).to_string();
            let closed: Value = args.connection.post(&path, "application/json", &[], body.as_bytes())?;
            show(&closed);
            Ok(())
        }
    }
}

fn list(connection: &Connection, serial: Option<&str>, all: bool, json: bool) -> Result<(), Failure> {
    let of = serial.map(|serial| format!("&serial={}", segment(serial))).unwrap_or_default();
    let alarms: Vec<Value> = connection.get(&format!("/api/v1/alarms?limit=1000&all={all}{of}"))?;
    if json {
        println!("{:#}", Value::Array(alarms));
        return Ok(());
    }
    alarms.iter().for_each(show);
    println!("{} alarms", alarms.len());
    Ok(())
}

fn show(alarm: &Value) {
    let text = |name: &str| alarm[name].as_str().unwrap_or_default().to_owned();
    let closed = match (alarm["closed_at"].as_str(), alarm["closed_by"].as_str()) {
        (Some(at), Some(by)) => format!("; closed {at} by {by}: {}", text("closing")),
        (Some(at), None) => format!("; closed {at}: {}", text("closing")),
        (None, _) => String::new(),
    };
    println!(
        "alarm {} {} {} since {}: {}{closed}",
        alarm["id"],
        text("serial"),
        text("kind"),
        text("opened_at"),
        text("detail")
    );
}
