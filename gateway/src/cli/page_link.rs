//! `page-link`: a link that opens the page once.

use super::Failure;
use super::client::Connection;
use serde::Deserialize;

/// Arguments of `page-link`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Deserialize)]
struct Link {
    path: String,
    expires_at: String,
}

/// Runs it.
///
/// # Errors
/// A refusal.
pub fn run(args: &Args) -> Result<(), Failure> {
    let link: Link = args.connection.post("/api/v1/page-links", "application/json", &[], b"")?;
    println!("{}{}", args.connection.address(), link.path);
    eprintln!("opens once, until {}", link.expires_at);
    Ok(())
}
