//! `meter`: add one, import a file, list, show.

use super::Failure;
use super::client::{Connection, segment};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Arguments of `meter`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Add one meter and have it commissioned.
    Add(Box<Add>),
    /// Add the meters of a CSV file. Good rows are taken, bad ones reported.
    Import {
        /// The file; its head line names the columns as the options of `meter add`.
        file: PathBuf,
    },
    /// List all meters.
    List {
        /// As JSON, one array.
        #[arg(long)]
        json: bool,
    },
    /// Show one meter as JSON.
    Show {
        /// Its serial number.
        serial: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Serial number; the DRN of a meter that takes tokens.
    #[arg(long)]
    serial: String,
    /// The configured line it is on.
    #[arg(long)]
    line: String,
    /// `address:port` on a tcp line; HDLC physical address or Modbus unit id elsewhere.
    #[arg(long)]
    address: String,
    /// Model name.
    #[arg(long)]
    model: String,
    /// wrapper or hdlc, on tcp lines.
    #[arg(long)]
    framing: Option<String>,
    /// Who holds the balance: meter, gateway or none.
    #[arg(long)]
    balance: Option<String>,
    /// customer or feeder.
    #[arg(long)]
    role: Option<String>,
    /// Transformer area.
    #[arg(long)]
    area: Option<String>,
    /// Supply group code, 6 digits.
    #[arg(long)]
    sgc: Option<String>,
    /// Tariff index.
    #[arg(long)]
    ti: Option<String>,
    /// Key revision number.
    #[arg(long)]
    krn: Option<String>,
    /// Key type.
    #[arg(long)]
    kt: Option<String>,
    /// Key expiry number.
    #[arg(long)]
    ken: Option<String>,
    /// Base date of token ids: 1993, 2014 or 2035.
    #[arg(long)]
    base_year: Option<String>,
    /// Encryption algorithm: 7 or 11.
    #[arg(long)]
    ea: Option<String>,
    /// DLMS encryption key; from the environment, so that it does not stand in the process list.
    #[arg(long, env = "METER_EK", hide_env_values = true)]
    ek: Option<String>,
    /// DLMS authentication key.
    #[arg(long, env = "METER_AK", hide_env_values = true)]
    ak: Option<String>,
    /// DLMS master key, under which new keys travel to the meter.
    #[arg(long, env = "METER_MK", hide_env_values = true)]
    mk: Option<String>,
    /// DLMS password or shared secret: text, or hexadecimal digits after 0x.
    #[arg(long, env = "METER_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Our signing key for this meter (HLS-ECDSA), hexadecimal.
    #[arg(long, env = "METER_SIGNING_KEY", hide_env_values = true)]
    signing_key: Option<String>,
    /// The meter's public signing key, x and y, hexadecimal.
    #[arg(long)]
    meter_public_key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Entered {
    serial: String,
    command_id: i64,
}

#[derive(Debug, Deserialize)]
struct BadRow {
    line: u64,
    serial: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Imported {
    entered: Vec<Entered>,
    bad: Vec<BadRow>,
}

/// Runs it.
///
/// # Errors
/// A refusal; bad rows of an import, after the good ones were taken.
pub fn run(args: &Args) -> Result<(), Failure> {
    let connection = &args.connection;
    match &args.what {
        What::Add(add) => {
            let body = add.body().to_string();
            let entered: Entered =
                connection.post("/api/v1/meters", "application/json", &[], body.as_bytes())?;
            println!("meter {} entered; command {} commissions it", entered.serial, entered.command_id);
            Ok(())
        }
        What::Import { file } => import(connection, file),
        What::List { json } => list(connection, *json),
        What::Show { serial } => {
            let meter: Value = connection.get(&format!("/api/v1/meters/{}", segment(serial)))?;
            println!("{meter:#}");
            Ok(())
        }
    }
}

impl Add {
    fn body(&self) -> Value {
        let fields = [
            ("serial", Some(&self.serial)),
            ("line", Some(&self.line)),
            ("address", Some(&self.address)),
            ("model", Some(&self.model)),
            ("framing", self.framing.as_ref()),
            ("balance", self.balance.as_ref()),
            ("role", self.role.as_ref()),
            ("area", self.area.as_ref()),
            ("sgc", self.sgc.as_ref()),
            ("ti", self.ti.as_ref()),
            ("krn", self.krn.as_ref()),
            ("kt", self.kt.as_ref()),
            ("ken", self.ken.as_ref()),
            ("base_year", self.base_year.as_ref()),
            ("ea", self.ea.as_ref()),
            ("ek", self.ek.as_ref()),
            ("ak", self.ak.as_ref()),
            ("mk", self.mk.as_ref()),
            ("password", self.password.as_ref()),
            ("signing_key", self.signing_key.as_ref()),
            ("meter_public_key", self.meter_public_key.as_ref()),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?.clone()))));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

fn import(connection: &Connection, file: &PathBuf) -> Result<(), Failure> {
    let text = std::fs::read(file).map_err(|error| Failure::Data(format!("{}: {error}", file.display())))?;
    let imported: Imported = connection.post("/api/v1/meters/import", "text/csv", &[], &text)?;
    println!("{} meters entered", imported.entered.len());
    for row in &imported.bad {
        println!("{}:{}: {}: {}", file.display(), row.line, row.serial, row.reason);
    }
    match imported.bad.len() {
        0 => Ok(()),
        bad => Err(Failure::Data(format!("{bad} rows of {} were not taken", file.display()))),
    }
}

fn list(connection: &Connection, json: bool) -> Result<(), Failure> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().and_then(|meter| meter["serial"].as_str()).unwrap_or_default();
        let part: Vec<Value> =
            connection.get(&format!("/api/v1/meters?limit=1000&after={}", segment(after)))?;
        if part.is_empty() {
            break;
        }
        all.extend(part);
    }
    if json {
        println!("{:#}", Value::Array(all));
        return Ok(());
    }
    println!("{:<14} {:<10} {:>12} {:<28} LAST READING", "SERIAL", "LINE", "CREDIT WH", "SUPPLY");
    for meter in &all {
        println!(
            "{:<14} {:<10} {:>12} {:<28} {}",
            meter["serial"].as_str().unwrap_or_default(),
            meter["line"].as_str().unwrap_or_default(),
            meter["balance"]["credit_wh"]
                .as_i64()
                .map_or_else(|| "-".to_owned(), |credit| credit.to_string()),
            supply(&meter["relay"]),
            reading(&meter["reading"]),
        );
    }
    Ok(())
}

fn supply(relay: &Value) -> String {
    match (relay["output_closed"].as_bool(), relay["reason"].as_str()) {
        (None, _) => "not sensed".to_owned(),
        (Some(true), _) => "on".to_owned(),
        (Some(false), Some(reason)) => format!("off: {reason}"),
        (Some(false), None) => "off".to_owned(),
    }
}

fn reading(reading: &Value) -> String {
    let quality = reading["quality"].as_str().unwrap_or_default();
    match (reading["at"].as_str(), reading["import_wh"].as_i64()) {
        (Some(at), Some(import)) => format!("{import} Wh at {at}, {quality}"),
        _ => quality.to_owned(),
    }
}
