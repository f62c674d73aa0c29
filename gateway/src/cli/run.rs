//! `run`: the service.

use super::Failure;
use crate::config::{Config, System};
use crate::service;
use crate::session::model::Models;
use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, default_value = "gateway.toml")]
    config: PathBuf,
    /// What is logged: a level, or levels per module (`info,gateway::session=debug`).
    #[arg(long, env = "METER_GATEWAY_LOG", default_value = "info")]
    log: String,
    /// Log lines as JSON objects.
    #[arg(long)]
    log_json: bool,
}

/// Runs it until SIGTERM or SIGINT.
///
/// # Errors
/// What is wrong with the configuration, or what broke.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, &System)?;
    let models = Models::load(config.models.as_deref())?;
    start_log(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let vault = crate::vault::open(&config.vault).context("cannot open the vault")?;
        let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let stop = async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        service::run(config, models, Arc::new(vault), stop).await
    })?;
    Ok(())
}

/// The log goes to standard error, so that standard output stays for answers.
fn start_log(args: &Args) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| Failure::Data(format!("log filter {:?}: {error}", args.log)))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if args.log_json { log.json().try_init() } else { log.with_ansi(false).try_init() };
    started.map_err(|error| Failure::Internal(anyhow::anyhow!("cannot start the log: {error}")))
}
