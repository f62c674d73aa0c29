//! `profile`, `coverage` and `gaps`: what meters recorded, how much of it is here, and what is missing.

use super::Failure;
use super::client::{Connection, segment};
use serde_json::Value;

/// Arguments of `profile`.
#[derive(Debug, clap::Args)]
pub struct Rows {
    /// Serial number of the meter.
    serial: String,
    /// Which profile of its model.
    #[arg(long, default_value = "load")]
    profile: String,
    #[command(flatten)]
    window: Window,
    /// As JSON, one array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// From when to when.
#[derive(Debug, clap::Args)]
struct Window {
    /// Begin, RFC 3339; a day before the end without it.
    #[arg(long)]
    from: Option<String>,
    /// End, RFC 3339; now without it.
    #[arg(long)]
    to: Option<String>,
}

impl Window {
    fn query(&self) -> String {
        let parts = [("from", &self.from), ("to", &self.to)];
        let given: Vec<String> = parts
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))))
            .collect();
        if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
    }
}

/// Arguments of `coverage`.
#[derive(Debug, clap::Args)]
pub struct Coverage {
    /// Serial number of the meter; with --area, the name of an area.
    of: String,
    /// All meters of an area.
    #[arg(long)]
    area: bool,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    connection: Connection,
}

/// Arguments of `gaps`.
#[derive(Debug, clap::Args)]
pub struct Gaps {
    /// Serial number of the meter.
    serial: String,
    #[command(flatten)]
    connection: Connection,
}

/// Prints rows.
///
/// # Errors
/// What the gateway refused, or that it could not be reached.
pub fn rows(args: &Rows) -> Result<(), Failure> {
    let path = format!(
        "/api/v1/meters/{}/profiles/{}{}",
        segment(&args.serial),
        segment(&args.profile),
        args.window.query()
    );
    let rows: Vec<Value> = args.connection.get(&path)?;
    if args.json {
        println!("{:#}", Value::Array(rows));
        return Ok(());
    }
    for row in &rows {
        let values: Vec<String> = row["values"].as_array().into_iter().flatten().map(value).collect();
        let disputed = if row["disputed"] == true { " (the meter said something else later)" } else { "" };
        let held = row["doubt_id"].as_i64().map_or_else(String::new, |id| format!(" (held by doubt {id})"));
        println!(
            "{:<22} {:<10} {}{disputed}{held}",
            row["at"].as_str().unwrap_or_default(),
            row["quality"].as_str().unwrap_or_default(),
            values.join("  ")
        );
    }
    Ok(())
}

fn value(value: &Value) -> String {
    let shown = value["value"].as_i64().map_or_else(|| "-".to_owned(), |value| value.to_string());
    format!("{}={shown}", value["channel"].as_str().unwrap_or_default())
}

/// Prints counts.
///
/// # Errors
/// What the gateway refused, or that it could not be reached.
pub fn coverage(args: &Coverage) -> Result<(), Failure> {
    let (kind, window) = (if args.area { "areas" } else { "meters" }, args.window.query());
    let answer: Value =
        args.connection.get(&format!("/api/v1/{kind}/{}/coverage{window}", segment(&args.of)))?;
    println!(
        "{:<14} {:<10} {:>6} {:>9} {:>6} {:>10} {:>8} {:>9} {:>5}",
        "METER", "PROFILE", "DUE", "MEASURED", "LATE", "ESTIMATED", "MISSING", "DISPUTED", "HELD"
    );
    let lists = if args.area { vec![&answer["meters"], &answer["total"]] } else { vec![&answer] };
    for line in lists.into_iter().filter_map(Value::as_array).flatten() {
        let count = |name: &str| line[name].as_u64().unwrap_or_default();
        println!(
            "{:<14} {:<10} {:>6} {:>9} {:>6} {:>10} {:>8} {:>9} {:>5}",
            line["serial"].as_str().unwrap_or("all"),
            line["profile"].as_str().unwrap_or_default(),
            count("due"),
            count("measured"),
            count("late"),
            count("estimated"),
            count("missing"),
            count("disputed"),
            count("held")
        );
    }
    Ok(())
}

/// Prints what is missing.
///
/// # Errors
/// What the gateway refused, or that it could not be reached.
pub fn gaps(args: &Gaps) -> Result<(), Failure> {
    let gaps: Vec<Value> = args.connection.get(&format!("/api/v1/meters/{}/gaps", segment(&args.serial)))?;
    if gaps.is_empty() {
        println!("nothing is missing");
    }
    for gap in &gaps {
        let text = |name: &str| gap[name].as_str().unwrap_or_default();
        let fate = match gap["given_up"].as_str() {
            Some(why) => format!("given up: {why}"),
            None => format!("asked for again at {}", text("next_at")),
        };
        println!(
            "{:<10} {} to {}: seen {}, {} attempts, {fate}",
            text("profile"),
            text("from"),
            text("to"),
            text("seen_at"),
            gap["attempts"].as_u64().unwrap_or_default()
        );
    }
    Ok(())
}
