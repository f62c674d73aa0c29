//! `check-config`: reads a configuration and its model files as `run` would, and starts nothing.

use super::Failure;
use crate::config::{Config, System};
use crate::session::model::Models;
use std::path::PathBuf;

/// Arguments of `check-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, default_value = "gateway.toml")]
    config: PathBuf,
}

/// Runs it.
///
/// # Errors
/// The first thing wrong with the file or with a model.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, &System)?;
    let models = Models::load(config.models.as_deref())?;
    println!(
        "{}: good. {} lines, {} payment channels, API on {}",
        args.config.display(),
        config.lines.len(),
        config.channels.len(),
        config.api.listen
    );
    for (name, model) in models.iter() {
        println!("model {name}, version {}: {}", model.version(), model.description());
    }
    Ok(())
}
