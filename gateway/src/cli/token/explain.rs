//! `token explain`: why a meter may have refused a token.

use super::super::Failure;
use crate::config::{Config, System};
use crate::store::{Place, Store};
use crate::vault::{self, Explanation, StsIdentity, Vault, VaultError};
use std::io::Read;
use std::path::PathBuf;

/// Arguments of `token explain`. The token itself comes on standard input, so that it stays out of the process list.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The gateway's configuration.
    #[arg(long, default_value = "gateway.toml")]
    config: PathBuf,
    /// The meter that refused it, by serial number.
    #[arg(long)]
    meter: String,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Characters of a token with its separators.
const INPUT_MAX: u64 = 200;

pub fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, &System)?;
    let mut typed = String::new();
    std::io::stdin()
        .lock()
        .take(INPUT_MAX)
        .read_to_string(&mut typed)
        .map_err(|error| Failure::Data(format!("standard input: {error}")))?;
    let digits: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let (meter, others) = meters(&config, &args.meter)?;
    let vault = vault::open(&config.vault).map_err(|error| Failure::Internal(error.into()))?;
    let explanation = vault.explain(&meter, &digits, &others).map_err(|error| match error {
        VaultError::Request(message) => Failure::Data(message),
        other => Failure::Internal(other.into()),
    })?;
    if args.json {
        println!("{}", json(&explanation));
    } else {
        println!("{explanation}");
    }
    Ok(())
}

/// The meter in question and all others with tokens, from the store.
pub fn meters(config: &Config, serial: &str) -> Result<(StsIdentity, Vec<StsIdentity>), Failure> {
    if let Place::File(path) = &config.store
        && !path.exists()
    {
        return Err(Failure::Data(format!("there is no store at {}", path.display())));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(error.into()))?;
    let all = runtime
        .block_on(async { Store::open_to_read(&config.store).await?.all_meters().await })
        .map_err(|error| Failure::Internal(error.into()))?;
    let mut wanted = None;
    let mut others = Vec::new();
    for (meter, _) in all {
        if meter.serial.0 == serial {
            wanted = Some(meter.sts);
        } else if let Some(sts) = meter.sts {
            others.push(sts);
        }
    }
    match wanted {
        None => Err(Failure::Data(format!("there is no meter {serial}"))),
        Some(None) => Err(Failure::Data(format!("meter {serial} takes no tokens"))),
        Some(Some(sts)) => Ok((sts, others)),
    }
}

fn json(explanation: &Explanation) -> serde_json::Value {
    let (verdict, differences) = match explanation {
        Explanation::NotAToken(_) => ("not_a_token", &[][..]),
        Explanation::ForThisMeter { .. } => ("for_this_meter", &[][..]),
        Explanation::ForAnyMeter { .. } => ("for_any_meter", &[][..]),
        Explanation::Mismatch { differences, .. } => ("mismatch", differences.as_slice()),
        Explanation::Odd(_) => ("not_a_token_of_the_standard", &[][..]),
        Explanation::Unknown { .. } => ("no_key_fits", &[][..]),
    };
    serde_json::json!({ "verdict": verdict, "text": explanation.to_string(), "differences": differences })
}
