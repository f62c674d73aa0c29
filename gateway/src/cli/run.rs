//! `run`: the service.

use super::Failure;
use crate::config::{Config, System};
use crate::service::log::LogLevels;
use crate::service::{self, Control};
use crate::session::model::Models;
use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

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

/// Runs it until SIGTERM or SIGINT. SIGHUP has it read its configuration again.
///
/// # Errors
/// What is wrong with the configuration, or what broke.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, &System)?;
    let models = Models::load(config.models.as_deref())?;
    let log = LogLevels::start(&args.log, args.log_json).map_err(Failure::Data)?;
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
        let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let control = Control { path: args.config.clone(), hangups, log };
        service::run(config, models, Arc::new(vault), control, stop).await
    })?;
    Ok(())
}
