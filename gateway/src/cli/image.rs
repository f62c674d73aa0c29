//! `image`: firmware images for meters.

use super::Failure;
use super::client::{Connection, segment};
use super::command::Follow;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `image`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring an image to the gateway. It is never changed: another one has another name.
    Add {
        /// Its name there.
        name: String,
        /// The file.
        file: PathBuf,
        /// What a meter is told it is called.
        #[arg(long)]
        identifier: String,
        /// What a meter says its firmware is, once it runs.
        #[arg(long)]
        version: String,
    },
    /// List images.
    List,
    /// Send one to a meter and follow it until the meter runs it. For many meters: bulk preview update_image.
    Send {
        /// Its name.
        name: String,
        /// Serial number of the meter.
        serial: String,
        #[command(flatten)]
        follow: Follow,
    },
}

/// Runs it.
///
/// # Errors
/// What the gateway or the meter refused.
pub fn run(args: &Args) -> Result<(), Failure> {
    let connection = &args.connection;
    match &args.action {
        Action::Add { name, file, identifier, version } => {
            let bytes =
                std::fs::read(file).map_err(|error| Failure::Data(format!("{}: {error}", file.display())))?;
            let path = format!(
                "/api/v1/images/{}?identifier={}&version={}",
                segment(name),
                segment(identifier),
                segment(version)
            );
            let added: Value = connection.post(&path, "application/octet-stream", &[], &bytes)?;
            println!("image {name}: {} bytes", added["size"]);
        }
        Action::List => {
            let images: Vec<Value> = connection.get("/api/v1/images")?;
            for image in images {
                let text = |name: &str| image[name].as_str().unwrap_or_default().to_owned();
                println!(
                    "{} {} version {}, {} bytes",
                    text("name"),
                    text("identifier"),
                    text("version"),
                    image["size"]
                );
            }
        }
        Action::Send { name, serial, follow } => {
            let body = json!({"serial": serial, "kind": "update_image", "parameters": {"image": name}});
            let view: Value =
                connection.post("/api/v1/commands", "application/json", &[], body.to_string().as_bytes())?;
            return follow.command(connection, view["id"].as_i64().unwrap_or_default());
        }
    }
    Ok(())
}
