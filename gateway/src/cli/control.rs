//! `reload` and `log-level`: what an administrator changes while the gateway runs.

use super::Failure;
use super::client::Connection;
use serde_json::{Value, json};

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub struct Reload {
    #[command(flatten)]
    connection: Connection,
}

/// Arguments of `log-level`.
#[derive(Debug, clap::Args)]
pub struct LogLevel {
    /// What to log from now on: a level, or levels per module (`info,gateway::session=debug`). Without it, says what is logged.
    levels: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `reload`.
///
/// # Errors
/// What is wrong with the configuration, or a refusal.
pub fn reload(args: &Reload) -> Result<(), Failure> {
    let path = "/api/v1/configuration/reload";
    let reloaded: Value = args.connection.post(path, "application/json", &[], b"")?;
    println!("{}", reloaded["said"].as_str().unwrap_or_default());
    Ok(())
}

/// Runs `log-level`.
///
/// # Errors
/// Levels that make no sense, or a refusal.
pub fn log_level(args: &LogLevel) -> Result<(), Failure> {
    let path = "/api/v1/log-levels";
    if let Some(levels) = &args.levels {
        let body = json!({ "levels": levels }).to_string();
        args.connection.put(path, "application/json", body.as_bytes())?;
    }
    let now: Value = args.connection.get(path)?;
    println!("{}", now["levels"].as_str().unwrap_or_default());
    Ok(())
}
