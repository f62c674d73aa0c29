//! `secret`: what payment channels sign with, in the vault. Nothing of it is ever printed.

use super::Failure;
use super::key::of_vault;
use crate::config::{Config, System};
use crate::vault::{self, Actor};
use clap::Subcommand;
use jiff::Timestamp;
use std::io::Read;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Bytes read from standard input at most.
const INPUT_MAX: u64 = 4096;

/// Arguments of `secret`.
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
    /// Take a secret in from standard input, under the name by which the configuration refers to it.
    Import {
        /// Its name.
        name: String,
        /// Take the place of one that is there already.
        #[arg(long)]
        replace: bool,
    },
    /// List the secrets by name and check value.
    List {
        /// Print a JSON list instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Remove a secret.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Runs it. A running gateway knows of changes after its next start.
///
/// # Errors
/// What is wrong with the configuration, the vault or the input.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, &System)?;
    let vault = vault::open(&config.vault).map_err(of_vault)?;
    let actor = Actor { name: args.actor.clone(), at: Timestamp::now() };
    match &args.action {
        Action::Import { name, replace } => {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin()
                .take(INPUT_MAX)
                .read_to_string(&mut text)
                .map_err(|error| Failure::Data(format!("standard input: {error}")))?;
            let check_value = vault.import_secret(name, &text, *replace, &actor).map_err(of_vault)?;
            println!("secret {name} taken in, check value {check_value}");
        }
        Action::List { json: true } => {
            let secrets = serde_json::to_string(&vault.secrets()).map_err(anyhow::Error::from)?;
            println!("{secrets}");
        }
        Action::List { json: false } => {
            for secret in vault.secrets() {
                println!("{}, check value {}, since {}", secret.name, secret.check_value, secret.imported_at);
            }
        }
        Action::Remove { name } => {
            vault.remove_secret(name, &actor).map_err(of_vault)?;
            println!("secret {name} removed");
        }
    }
    Ok(())
}
