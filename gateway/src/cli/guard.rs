//! What stands between a request and an open relay: shown, put on record, and a second person's word.

use super::Failure;
use super::client::{Connection, segment};
use super::command::Follow;
use serde::Deserialize;
use serde_json::{Value, json};

/// Arguments of `guards`.
#[derive(Debug, clap::Args)]
pub struct Guards {
    /// Serial number of the meter.
    serial: String,
    /// Why supply would be cut: planned, fault, peak_avoidance, breach_of_contract, arrears; no_credit for the gateway's own cut.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Deserialize)]
struct GuardsView {
    allowed: bool,
    protection: Option<String>,
    unmet: Vec<Unmet>,
}

#[derive(Debug, Deserialize)]
struct Unmet {
    guard: String,
    detail: String,
    remedy: String,
}

/// Runs `guards`.
///
/// # Errors
/// An unknown meter or reason, or guards that are not satisfied.
pub fn guards(args: &Guards) -> Result<(), Failure> {
    let path = format!("/api/v1/meters/{}/guards?reason={}", segment(&args.serial), segment(&args.reason));
    let view: GuardsView = args.connection.get(&path)?;
    if let Some(protection) = &view.protection {
        println!("protected: {protection}");
    }
    for unmet in &view.unmet {
        println!("{}: {}\n    {}", unmet.guard, unmet.detail, unmet.remedy);
    }
    if view.allowed {
        println!("meter {} may be disconnected for {} now", args.serial, args.reason);
        return Ok(());
    }
    Err(Failure::Refused(format!("{} guards are not satisfied", view.unmet.len())))
}

/// Arguments of `notice`.
#[derive(Debug, clap::Args)]
pub struct Notice {
    #[command(subcommand)]
    what: NoticeVerb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Subcommand)]
enum NoticeVerb {
    /// Put a notice that reached the customer on record.
    Record(Box<NewNotice>),
    /// List what a customer was told, as JSON.
    List {
        /// Serial number of the meter.
        serial: String,
    },
}

#[derive(Debug, clap::Args)]
struct NewNotice {
    /// Serial number of the meter.
    serial: String,
    /// demand, settlement, disconnection or restoration.
    #[arg(long)]
    kind: String,
    /// A disconnection notice: why supply will be cut.
    #[arg(long)]
    reason: Option<String>,
    /// A disconnection notice: supply may be cut from then on, as 2026-03-18T08:00:00Z.
    #[arg(long)]
    effective_from: Option<String>,
    /// A demand: the debt is overdue since then.
    #[arg(long)]
    overdue_since: Option<String>,
    /// A demand: the debt in minor units.
    #[arg(long)]
    amount_minor: Option<i64>,
    /// When it reached the customer.
    #[arg(long)]
    delivered_at: String,
    /// By what way: letter, message, visit.
    #[arg(long)]
    way: String,
    /// Where the proof of delivery is.
    #[arg(long)]
    reference: Option<String>,
}

/// Runs `notice`.
///
/// # Errors
/// What the gateway refused.
pub fn notice(args: &Notice) -> Result<(), Failure> {
    match &args.what {
        NoticeVerb::List { serial } => {
            let list: Value = args.connection.get(&format!("/api/v1/meters/{}/notices", segment(serial)))?;
            println!("{list:#}");
        }
        NoticeVerb::Record(new) => {
            let body = json!({
                "kind": new.kind, "reason": new.reason, "effective_from": new.effective_from,
                "overdue_since": new.overdue_since, "amount_minor": new.amount_minor,
                "delivered_at": new.delivered_at, "way": new.way, "reference": new.reference,
            });
            let path = format!("/api/v1/meters/{}/notices", segment(&new.serial));
            let recorded: Value =
                args.connection.post(&path, "application/json", &[], body.to_string().as_bytes())?;
            println!("notice {} recorded", recorded["id"]);
        }
    }
    Ok(())
}

/// Arguments of `protect`.
#[derive(Debug, clap::Args)]
pub struct Protect {
    /// Serial number of the meter.
    serial: String,
    /// Why: load_class_1, load_class_2, load_class_3, hospital, no_backup_supply or vulnerable.
    #[arg(long, required_unless_present = "end", conflicts_with = "end")]
    kind: Option<String>,
    /// A note for the record.
    #[arg(long)]
    note: Option<String>,
    /// End the protection; needs scope admin.
    #[arg(long)]
    end: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `protect`.
///
/// # Errors
/// What the gateway refused.
pub fn protect(args: &Protect) -> Result<(), Failure> {
    let path = format!("/api/v1/meters/{}/protection", segment(&args.serial));
    match &args.kind {
        None => args.connection.delete(&path)?,
        Some(kind) => {
            let body = json!({"kind": kind, "note": args.note}).to_string();
            args.connection.put(&path, "application/json", body.as_bytes())?;
        }
    }
    println!("meter {}: {}", args.serial, args.kind.as_deref().unwrap_or("not protected"));
    Ok(())
}

/// Arguments of `command`.
#[derive(Debug, clap::Args)]
pub struct Command {
    #[command(subcommand)]
    what: CommandVerb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Subcommand)]
enum CommandVerb {
    /// Agree to a command that waits for a second person, and follow it.
    Approve {
        /// Its id.
        id: i64,
        #[command(flatten)]
        follow: Follow,
    },
    /// Decline a command that waits for a second person.
    Decline {
        /// Its id.
        id: i64,
    },
    /// Take a command back, if nothing of it can have reached the meter.
    Cancel {
        /// Its id.
        id: i64,
    },
    /// Show a command and its steps as JSON.
    Show {
        /// Its id.
        id: i64,
    },
}

/// Runs `command`.
///
/// # Errors
/// What the gateway refused, or a command that was not verified.
pub fn command(args: &Command) -> Result<(), Failure> {
    let connection = &args.connection;
    let say = |id: i64, verb: &str, body: &Value| -> Result<Value, Failure> {
        let path = format!("/api/v1/commands/{id}/{verb}");
        connection.post(&path, "application/json", &[], body.to_string().as_bytes())
    };
    let view = match &args.what {
        CommandVerb::Approve { id, follow } => {
            say(*id, "decision", &json!({"agreed": true}))?;
            return follow.command(connection, *id);
        }
        CommandVerb::Decline { id } => say(*id, "decision", &json!({"agreed": false}))?,
        CommandVerb::Cancel { id } => say(*id, "cancel", &json!({}))?,
        CommandVerb::Show { id } => {
            let view: Value = connection.get(&format!("/api/v1/commands/{id}"))?;
            println!("{view:#}");
            return Ok(());
        }
    };
    println!("command {}: {}", view["id"], view["state"].as_str().unwrap_or_default());
    Ok(())
}
