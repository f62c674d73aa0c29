//! `backup` and `restore`: the store and the sealed vault, as files in a directory.

use super::Failure;
use crate::config::{Config, System};
use crate::store::{Place, backup};
use anyhow::Context;
use std::path::{Path, PathBuf};

/// The store's file in a backup.
const STORE: &str = "store.db";
/// The vault's file in a backup. It opens only with the master key, which is never copied.
const VAULT: &str = "vault.sealed";

/// Arguments of `backup` and `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The gateway's configuration.
    #[arg(long, default_value = "gateway.toml")]
    config: PathBuf,
    /// The directory of the backup.
    directory: PathBuf,
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot start the runtime")?)
}

/// Copies store and vault, while the gateway runs.
///
/// # Errors
/// When the directory holds a backup already, or something cannot be copied.
pub fn back_up(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, &System)?;
    let store =
        file(&config, "a backup of it is made with PostgreSQL's own pg_dump, or its point-in-time recovery")?;
    let to = &args.directory;
    std::fs::create_dir_all(to).map_err(|error| Failure::Data(format!("{}: {error}", to.display())))?;
    runtime()?
        .block_on(backup::back_up(store, &to.join(STORE)))
        .map_err(|error| Failure::Data(error.to_string()))?;
    copy(&config.vault.file, &to.join(VAULT))?;
    println!("store and vault are in {}; the master key is not: keep it elsewhere", to.display());
    Ok(())
}

/// Puts store and vault where the configuration says, where there are none.
///
/// # Errors
/// When there is a store or a vault already, or the backup is not sound.
pub fn restore(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, &System)?;
    let store = file(
        &config,
        "pg_restore puts a pg_dump back into an empty database; then run `DELETE FROM counter_block; DELETE FROM gateway;` \
         in it, so that no invocation counter is used twice, before the gateway is started",
    )?;
    let from = &args.directory;
    if config.vault.file.exists() {
        let there = config.vault.file.display();
        return Err(Failure::Data(format!("there is a vault at {there} already: move it away")));
    }
    runtime()?
        .block_on(backup::restore(&from.join(STORE), store))
        .map_err(|error| Failure::Data(error.to_string()))?;
    copy(&from.join(VAULT), &config.vault.file)?;
    println!(
        "restored. The gateway has a new system title, so invocation counters begin anew. What was paid after the backup \
         was made is not in it: compare each channel's payments before selling again"
    );
    Ok(())
}

/// The store's file; a store on a server is for its server's own tools.
fn file<'a>(config: &'a Config, instead: &str) -> Result<&'a Path, Failure> {
    match &config.store {
        Place::File(path) => Ok(path),
        Place::Server(server) => Err(Failure::Data(format!(
            "the store is {}: {instead}. The vault is {}: copy that file too",
            server.name(),
            config.vault.file.display()
        ))),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let bytes = std::fs::read(from).map_err(|error| Failure::Data(format!("{}: {error}", from.display())))?;
    crate::vault::write_new(to, &bytes).map_err(|error| Failure::Data(format!("{}: {error}", to.display())))
}
