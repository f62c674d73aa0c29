//! `doubt`: readings that are held, and what becomes of them.

use super::Failure;
use super::client::{Connection, segment};
use serde_json::{Value, json};

/// Arguments of `doubt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Verb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List doubts, newest first.
    List {
        /// Only of this meter.
        serial: Option<String>,
    },
    /// The readings are right: they count from now on.
    Release {
        /// Number of the doubt.
        id: i64,
        /// Why.
        #[arg(long)]
        note: String,
    },
    /// The readings are wrong: they never count.
    Reject {
        /// Number of the doubt.
        id: i64,
        /// Why.
        #[arg(long)]
        note: String,
    },
}

/// Runs it.
///
/// # Errors
/// What the gateway refused, or that it could not be reached.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        Verb::List { serial } => {
            let which =
                serial.as_deref().map(|serial| format!("?serial={}", segment(serial))).unwrap_or_default();
            let doubts: Vec<Value> = args.connection.get(&format!("/api/v1/doubts{which}"))?;
            for doubt in &doubts {
                println!("{}", line(doubt));
            }
            Ok(())
        }
        Verb::Release { id, note } => decide(args, *id, true, note),
        Verb::Reject { id, note } => decide(args, *id, false, note),
    }
}

fn decide(args: &Args, id: i64, release: bool, note: &str) -> Result<(), Failure> {
    let body = json!({"release": release, "note": note}).to_string();
    let path = format!("/api/v1/doubts/{id}/decision");
    let doubt: Value = args.connection.post(&path, "application/json", &[], body.as_bytes())?;
    println!("{}", line(&doubt));
    Ok(())
}

fn line(doubt: &Value) -> String {
    let text = |name: &str| doubt[name].as_str().unwrap_or_default();
    format!(
        "{:<6} {:<14} {:<12} {:<9} {} readings, {} to {}: {}",
        doubt["id"],
        text("serial"),
        text("kind"),
        text("state"),
        doubt["readings"],
        text("first_at"),
        text("last_at"),
        doubt["detail"]
    )
}
