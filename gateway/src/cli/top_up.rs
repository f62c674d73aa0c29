//! `top-up`: a signed payment, as a payment channel would send it.

use super::Failure;
use super::client::Connection;
use super::command::Follow;
use crate::api::new_secret;
use crate::api::signature::{Signed, sign};
use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;

const PATH: &str = "/api/v1/top-ups";

/// Arguments of `top-up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Serial number of the meter.
    serial: String,
    /// The amount paid, in minor units of the currency.
    #[arg(allow_hyphen_values = true)]
    amount: String,
    /// Id of the payment channel.
    #[arg(long)]
    channel: String,
    /// File with the channel's secret.
    #[arg(long, required_unless_present = "secret")]
    secret_file: Option<PathBuf>,
    /// The channel's secret.
    #[arg(long, env = "METER_GATEWAY_CHANNEL_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Idempotency key: the same key with the same payment is one payment. Default: a new one.
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Deserialize)]
struct TopUp {
    id: i64,
    state: String,
    billed_minor: i64,
    change_minor: i64,
    energy_wh: i64,
    token: Option<String>,
    command_id: Option<i64>,
}

/// Runs it.
///
/// # Errors
/// A refusal, or a token that was not delivered and verified.
pub fn run(args: &Args) -> Result<(), Failure> {
    let secret = match (&args.secret_file, &args.secret) {
        (Some(file), _) => std::fs::read_to_string(file)
            .map_err(|error| Failure::Permission(format!("{}: {error}", file.display())))?,
        (None, secret) => secret.clone().unwrap_or_default(),
    };
    let key = match &args.key {
        Some(key) => key.clone(),
        None => new_secret().map_err(anyhow::Error::from)?,
    };
    let body = json!({"serial": args.serial, "amount_minor": args.amount}).to_string();
    let now = u64::try_from(Timestamp::now().as_second()).context("the clock is before 1970")?;
    let signed = Signed { method: "POST", path: PATH, key: &key, body: body.as_bytes() };
    let headers = [
        ("idempotency-key", key.clone()),
        ("x-channel", args.channel.clone()),
        ("x-signature", sign(secret.trim().as_bytes(), now, &signed)),
    ];
    let top_up: TopUp = args.connection.post(PATH, "application/json", &headers, body.as_bytes())?;
    println!(
        "payment {}: {} Wh for {}, change {}, key {key}",
        top_up.id, top_up.energy_wh, top_up.billed_minor, top_up.change_minor
    );
    let top_up = if top_up.state == "recorded" {
        println!("the meter's key is being changed: the token is made as soon as the meter has answered");
        args.follow.until_made(
            || args.connection.get(&format!("{PATH}/{}", top_up.id)),
            |top_up: &TopUp| top_up.state != "recorded",
        )?
    } else {
        top_up
    };
    if let Some(token) = &top_up.token {
        let groups: Vec<_> =
            token.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
        println!("token {}", groups.join(" "));
    }
    match top_up.command_id {
        Some(id) => args.follow.command(&args.connection, id),
        None if top_up.state == "refused" => Err(Failure::Refused(format!(
            "no token could be made for payment {}: the money is owed back",
            top_up.id
        ))),
        None => Ok(()),
    }
}
