//! `key`: the vault's vending keys. No secret is ever printed.

use super::Failure;
use super::token::fields::{Object, need, number, of};
use super::token::keys::{base_date, pan};
use crate::config::{Config, System};
use crate::vault::ceremony::{Component, KeyBytes, combine};
use crate::vault::{
    self, Actor, KeyChangeRequest, KeyVault, MasterKey, MasterKeySource, StsIdentity, Vault, VaultError,
    VendingKeyImport,
};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use protocol::sts::KeyType;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Arguments of `key`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The gateway's configuration.
    #[arg(long, default_value = "gateway.toml", global = true)]
    config: PathBuf,
    /// Who does it, for the audit.
    #[arg(long, env = "USER", default_value = "unknown", global = true)]
    actor: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Take in a vending key: its components come on standard input, one `HEX CHECKVALUE` a line, at least two.
    Import(Import),
    /// List the vending keys, without secrets.
    List {
        /// Print a JSON list instead of text.
        #[arg(long)]
        json: bool,
        /// Print what was done to keys instead.
        #[arg(long)]
        audit: bool,
    },
    /// Take a vending key out of use in favour of a newer revision.
    Rotate(Rotate),
    /// Seal the vault under a new master key, read from a file that is made if it is missing.
    RotateMaster {
        /// The file with the new master key. The configuration has to name it afterwards.
        #[arg(long)]
        new_master_key_file: PathBuf,
    },
    /// Print the ordered tokens of a meter's key change.
    ChangeSet(ChangeSet),
    /// Say the check value of one component, read from standard input.
    CheckValue,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Initialisation.
    Ditk,
    /// Default.
    Ddtk,
    /// Unique.
    Dutk,
    /// Common.
    Dctk,
}

impl From<Kind> for KeyType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Ditk => Self::Ditk,
            Kind::Ddtk => Self::Ddtk,
            Kind::Dutk => Self::Dutk,
            Kind::Dctk => Self::Dctk,
        }
    }
}

#[derive(Debug, clap::Args)]
struct Import {
    /// Supply group code.
    #[arg(long)]
    sgc: u32,
    /// Key revision number, 1 to 9.
    #[arg(long)]
    krn: u8,
    /// Type of the keys made from it.
    #[arg(long, default_value = "dutk")]
    kind: Kind,
    /// Key expiry number; 255 is never.
    #[arg(long, default_value_t = 255)]
    ken: u8,
    /// Not to be used from this time on, such as 2035-01-01T00:00:00Z.
    #[arg(long)]
    expires_at: Option<Timestamp>,
    /// The supply group's fixed offset from UTC for token ids, in minutes east, with no daylight saving: 120 is two hours.
    /// Said with the group's first key; UTC otherwise.
    #[arg(long, allow_hyphen_values = true)]
    utc_offset_minutes: Option<i16>,
    /// The key's own check value.
    #[arg(long)]
    check_value: String,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    /// Supply group code.
    #[arg(long)]
    sgc: u32,
    /// The revision to take out of use.
    #[arg(long)]
    krn: u8,
    /// The revision that takes its place; it has to be there already.
    #[arg(long)]
    to_krn: u8,
    /// Type of the keys made from it.
    #[arg(long, default_value = "dutk")]
    kind: Kind,
}

#[derive(Debug, clap::Args)]
struct ChangeSet {
    /// The meter's serial number, looked up in the store.
    #[arg(long, conflicts_with = "record", required_unless_present = "record")]
    meter: Option<String>,
    /// A JSON file with the meter as it is: pan (or iin and iain), sgc, ti, krn, kt, ken, base_date, ea.
    #[arg(long)]
    record: Option<PathBuf>,
    /// New supply group code.
    #[arg(long)]
    sgc: Option<u32>,
    /// New tariff index.
    #[arg(long)]
    ti: Option<u8>,
    /// New key revision number.
    #[arg(long)]
    krn: Option<u8>,
    /// New key type.
    #[arg(long)]
    kind: Option<Kind>,
    /// New key expiry number.
    #[arg(long)]
    ken: Option<u8>,
    /// New base date: sets RO, so that the meter forgets its token ids.
    #[arg(long)]
    base_date: Option<u16>,
    /// Three tokens instead of two for a 64-bit key, so that the meter learns its supply group. The layout of the third
    /// token is not verified against other makers' meters.
    #[arg(long)]
    three: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// What was wrong with the input, exactly; nothing is changed then.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Action::CheckValue = args.action {
        let line = lines()?.into_iter().next().unwrap_or_default();
        println!("{}", component_bytes(&line)?.check_value());
        return Ok(());
    }
    let config = Config::load(&args.config, &System)?;
    let mut vault = vault::open(&config.vault).map_err(of_vault)?;
    let actor = Actor { name: args.actor.clone(), at: Timestamp::now() };
    match &args.action {
        Action::Import(import) => run_import(&vault, import, &actor),
        Action::List { json, audit } => list(&vault, *json, *audit),
        Action::Rotate(rotate) => run_rotate(&vault, rotate, &actor),
        Action::RotateMaster { new_master_key_file } => {
            let master =
                MasterKey::load(&MasterKeySource::File(new_master_key_file.clone())).map_err(of_vault)?;
            vault.change_master_key(&master, &actor).map_err(of_vault)?;
            println!("the vault is sealed under {} now", new_master_key_file.display());
            Ok(())
        }
        Action::ChangeSet(change) => run_change_set(&config, &vault, change),
        Action::CheckValue => Ok(()),
    }
}

pub(super) fn of_vault(error: VaultError) -> Failure {
    match error {
        VaultError::NoKey(message) | VaultError::Request(message) => Failure::Data(message),
        broken @ VaultError::Broken(_) => Failure::Internal(broken.into()),
    }
}

/// Lines of standard input that are not empty, wiped when dropped.
fn lines() -> Result<Vec<Zeroizing<String>>, Failure> {
    /// More components than any ceremony has people.
    const MOST: usize = 16;
    let mut lines = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = Zeroizing::new(line.map_err(|error| Failure::Data(format!("standard input: {error}")))?);
        if !line.trim().is_empty() {
            lines.push(line);
        }
        if lines.len() > MOST {
            return Err(Failure::Data(format!("more than {MOST} components")));
        }
    }
    Ok(lines)
}

fn component_bytes(line: &str) -> Result<KeyBytes, Failure> {
    let hex = line.split_whitespace().next().unwrap_or_default();
    KeyBytes::from_hex(hex).map_err(|error| Failure::Data(error.to_string()))
}

fn run_import(vault: &KeyVault, import: &Import, actor: &Actor) -> Result<(), Failure> {
    let mut components = Vec::new();
    for (i, line) in lines()?.iter().enumerate() {
        let bytes = component_bytes(line)?;
        let check_value = line
            .split_whitespace()
            .nth(1)
            .ok_or_else(|| Failure::Data(format!("component {} has no check value", i + 1)))?
            .to_owned();
        components.push(Component { bytes, check_value });
    }
    let key = combine(&components, &import.check_value).map_err(|error| Failure::Data(error.to_string()))?;
    let import = VendingKeyImport {
        sgc: import.sgc,
        krn: import.krn,
        key_type: import.kind.into(),
        ken: import.ken,
        expires_at: import.expires_at,
        utc_offset_minutes: import.utc_offset_minutes,
        key,
    };
    let check_value = vault.import_vending_key(&import, actor).map_err(of_vault)?;
    println!(
        "vending key for supply group {:06}, revision {}, type {} taken in, check value {check_value}",
        import.sgc,
        import.krn,
        import.key_type.name()
    );
    Ok(())
}

fn list(vault: &KeyVault, json: bool, audit: bool) -> Result<(), Failure> {
    let internal = |error: serde_json::Error| Failure::Internal(error.into());
    if audit {
        for entry in vault.audit() {
            if json {
                println!("{}", serde_json::to_string(&entry).map_err(internal)?);
            } else {
                println!("{} {} {}: {}", entry.at, entry.actor, entry.action, entry.subject);
            }
        }
        return Ok(());
    }
    let keys = vault.vending_keys();
    if json {
        println!("{}", serde_json::to_string(&keys).map_err(internal)?);
        return Ok(());
    }
    println!("EA07 tables: {}", vault.table_set().name());
    for key in keys {
        let expires = key.expires_at.map_or("never".to_owned(), |at| at.to_string());
        let state = if key.retired { "retired" } else { "in use" };
        println!(
            "supply group {:06}, revision {}, {}, DKGA{}, expiry number {}, expires {expires}, token ids {} min from UTC, check value {}, {state}, in the {}",
            key.sgc,
            key.krn,
            key.key_type,
            key.dkga,
            key.ken,
            key.utc_offset_minutes,
            key.check_value,
            key.place
        );
    }
    Ok(())
}

fn run_rotate(vault: &KeyVault, rotate: &Rotate, actor: &Actor) -> Result<(), Failure> {
    let key_type = KeyType::from(rotate.kind);
    let successor = vault.vending_keys().into_iter().find(|key| {
        key.sgc == rotate.sgc && key.krn == rotate.to_krn && key.key_type == key_type.name() && !key.retired
    });
    if rotate.to_krn == rotate.krn || successor.is_none() {
        return Err(Failure::Data(format!(
            "there is no other key in use for supply group {:06} with revision {}: import it first",
            rotate.sgc, rotate.to_krn
        )));
    }
    vault.retire_vending_key(rotate.sgc, rotate.krn, key_type, actor).map_err(of_vault)?;
    println!(
        "revision {} is out of use; its meters need a key change to revision {} before the next token",
        rotate.krn, rotate.to_krn
    );
    Ok(())
}

fn run_change_set(config: &Config, vault: &KeyVault, change: &ChangeSet) -> Result<(), Failure> {
    let from = match (&change.meter, &change.record) {
        (Some(serial), _) => super::token::explain::meters(config, serial)?.0,
        (None, Some(file)) => record(file)?,
        (None, None) => return Err(Failure::Data("--meter or --record is needed".into())),
    };
    let mut to = from.clone();
    to.sgc = change.sgc.unwrap_or(to.sgc);
    to.ti = change.ti.unwrap_or(to.ti);
    to.krn = change.krn.unwrap_or(to.krn);
    to.kt = change.kind.map_or(to.kt, |kind| KeyType::from(kind).code());
    to.ken = change.ken.unwrap_or(to.ken);
    to.base_year = change.base_date.unwrap_or(to.base_year);
    if to == from {
        return Err(Failure::Data("nothing changes: give at least one new attribute".into()));
    }
    let rollover = to.base_year != from.base_year;
    let request = KeyChangeRequest { from, to, rollover, with_supply_group: change.three };
    let tokens = vault.key_change(&request).map_err(of_vault)?;
    if change.json {
        let digits: Vec<&str> = tokens.iter().map(|token| token.reveal()).collect();
        println!("{}", serde_json::json!({ "tokens": digits, "ro": u8::from(rollover) }));
    } else {
        for token in &tokens {
            println!("{}", token.reveal());
        }
    }
    Ok(())
}

/// A meter's record from a JSON file.
fn record(file: &Path) -> Result<StsIdentity, Failure> {
    let wrong = |message: String| Failure::Data(format!("{}: {message}", file.display()));
    let content = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let object: Object = serde_json::from_str(&content).map_err(|error| wrong(error.to_string()))?;
    let pan = need(pan(&object)?, "pan")?;
    let small = |field: &str, max: u64| -> Result<u8, Failure> {
        // `max` is at most 255.
        Ok(need(number(&object, field, max)?, field)? as u8)
    };
    Ok(StsIdentity {
        iin: pan.issuer().to_owned(),
        drn: pan.drn().as_str().to_owned(),
        sgc: of("sgc", u32::try_from(need(number(&object, "sgc", 999_999)?, "sgc")?))?,
        ti: small("ti", 99)?,
        krn: small("krn", 9)?,
        kt: small("kt", 3)?,
        ken: number(&object, "ken", 255)?.unwrap_or(255) as u8,
        base_year: need(base_date(&object)?, "base_date")?.year(),
        ea: small("ea", 99)?,
    })
}
