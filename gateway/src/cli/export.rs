//! `export`: readings, payments, commands or events over a range of time, into a file or to the terminal.

use super::Failure;
use super::client::{Connection, segment};
use std::path::PathBuf;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// readings, payments, commands or events.
    table: String,
    /// From this time on, as 2026-03-01T00:00:00Z.
    #[arg(long)]
    from: Option<String>,
    /// Before this time.
    #[arg(long)]
    until: Option<String>,
    /// csv or json.
    #[arg(long, default_value = "csv")]
    format: String,
    /// Where to; the terminal where nothing is said. A file that is there is not overwritten.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs it.
///
/// # Errors
/// What the gateway refused, or an export that broke off: what is there of it is not whole.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut path = format!("/api/v1/export/{}?format={}", segment(&args.table), segment(&args.format));
    for (name, value) in [("from", &args.from), ("until", &args.until)] {
        if let Some(value) = value {
            path += &format!("&{name}={}", segment(value));
        }
    }
    let Some(file) = &args.out else {
        return args.connection.copy(&path, &mut std::io::stdout().lock()).map(drop);
    };
    let fail = |error: std::io::Error| Failure::Data(format!("{}: {error}", file.display()));
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(fail)?;
    let bytes = args.connection.copy(&path, &mut out)?;
    out.sync_all().map_err(fail)?;
    println!("{bytes} bytes in {}", file.display());
    Ok(())
}
