//! `meter-simulator`: a street of meters as a process of its own.
#![forbid(unsafe_code)]

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use simulator::clock::SimClock;
use simulator::control;
use simulator::identity::StreetKeys;
use simulator::roll::as_text;
use simulator::street::{LOSS_PERMILLE, PAST_ROWS, PORT, PROFILE_ROWS, Street, StreetConfig};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A street of simulated prepaid meters on loopback addresses: the firmware on virtual boards.
#[derive(Debug, Parser)]
#[command(name = "meter-simulator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the street until interrupted.
    Serve(Serve),
    /// Print the meters that `serve` with the same options would serve.
    List(List),
}

#[derive(Debug, Args)]
struct Which {
    /// DLMS meters on TCP: meter 1 at 127.1.0.1, meter 2 at 127.1.0.2 …
    #[arg(long, default_value_t = 40)]
    meters: u32,
    /// How they frame APDUs; `mixed`: the second half HDLC, the others the wrapper.
    #[arg(long, value_enum, default_value = "wrapper")]
    framing: Framings,
    /// Port of all of them.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// DLMS meters on one RS-485 line (HDLC addresses from 16).
    #[arg(long, default_value_t = 0)]
    line_meters: u32,
    /// Modbus RTU meters on another line (unit addresses from 1).
    #[arg(long, default_value_t = 0)]
    modbus_meters: u32,
    /// Households, balances and challenges follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Credit of every meter at the start, in watt-hours; each has its own without this.
    #[arg(long)]
    balance_wh: Option<i64>,
    /// JSON object with `encryption_key_hex`, `authentication_key_hex`, `master_key_hex`, `vending_key_hex`, `reader_password`.
    #[arg(long)]
    keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    which: Which,
    /// Put a DLMS line on this serial device (one meter unless --line-meters says more) instead of a new pseudo terminal.
    #[arg(long)]
    serial: Option<String>,
    /// Rate of the serial lines.
    #[arg(long, default_value_t = simulator::line::BAUD)]
    baud: u32,
    /// Serve the feeder's check meter over Modbus TCP at this loopback address, unit 1.
    #[arg(long)]
    modbus_tcp: Option<SocketAddr>,
    /// Simulated seconds in every second.
    #[arg(long, default_value_t = 1)]
    speed: u32,
    /// Simulated time at the start, in seconds since 1970; now without this.
    #[arg(long)]
    start_utc_s: Option<u32>,
    /// Depth of the load profile in rows of 15 minutes.
    #[arg(long, default_value_t = PROFILE_ROWS)]
    profile_rows: u32,
    /// Rows of load profile recorded before the start.
    #[arg(long, default_value_t = PAST_ROWS)]
    past_rows: u32,
    /// Technical losses of the feeder in permille.
    #[arg(long, default_value_t = LOSS_PERMILLE)]
    loss_permille: u32,
    /// Take JSON requests at this loopback address: faults, keypad, button, true state.
    #[arg(long)]
    control: Option<SocketAddr>,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The same as `--format json`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Framings {
    Wrapper,
    Hdlc,
    Mixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Csv,
}

impl Which {
    fn config(&self) -> anyhow::Result<StreetConfig> {
        let keys = match &self.keys {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("key file {}", path.display()))?;
                StreetKeys::from_json(&text).with_context(|| format!("key file {}", path.display()))?
            }
            None => StreetKeys::default(),
        };
        Ok(StreetConfig {
            meters: self.meters,
            hdlc_meters: match self.framing {
                Framings::Wrapper => 0,
                Framings::Hdlc => self.meters,
                Framings::Mixed => self.meters / 2,
            },
            port: self.port,
            line_meters: self.line_meters,
            modbus_meters: self.modbus_meters,
            seed: self.seed,
            credit_wh: self.balance_wh,
            keys,
            ..StreetConfig::default()
        })
    }
}

impl Serve {
    fn config(&self) -> anyhow::Result<StreetConfig> {
        let mut config = self.which.config()?;
        if self.serial.is_some() && config.line_meters == 0 {
            config.line_meters = 1;
        }
        config.serial_device.clone_from(&self.serial);
        config.baud = self.baud;
        config.modbus_tcp = self.modbus_tcp;
        config.clock = match self.start_utc_s {
            Some(utc_s) => SimClock::starting_at(utc_s, self.speed),
            None => SimClock::starting_now(self.speed),
        };
        config.past_rows = self.past_rows;
        config.profile_rows = self.profile_rows;
        config.loss_permille = self.loss_permille;
        Ok(config)
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::List(list) => print_list(&list),
        Command::Serve(arguments) => serve(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meter-simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_list(list: &List) -> anyhow::Result<()> {
    let roll = list.which.config()?.roll()?;
    let format = if list.json { Format::Json } else { list.format };
    match format {
        Format::Text => print!("{}", as_text(&roll)),
        Format::Json => println!("{}", serde_json::to_string_pretty(&roll)?),
        Format::Csv => print!("{}", simulator::roll::as_csv(&roll)),
    }
    Ok(())
}

#[tokio::main]
async fn serve(arguments: &Serve) -> anyhow::Result<()> {
    let before = std::time::Instant::now();
    let street = Arc::new(Street::start(arguments.config()?).await?);
    println!(
        "{} meters started in {} ms, {} bytes of memory each",
        street.roll().len(),
        before.elapsed().as_millis(),
        street.held_bytes() / street.roll().len().max(1),
    );
    if let Some(path) = street.line_path() {
        println!("RS-485 line with DLMS meters at {path}");
    }
    if let Some(path) = street.modbus_line_path() {
        println!("RS-485 line with Modbus meters at {path}");
    }
    if let Some(at) = street.modbus_tcp() {
        println!("feeder check meter on Modbus TCP at {at}");
    }
    if let Some(at) = arguments.control {
        anyhow::ensure!(at.ip().is_loopback(), "the simulator serves loopback addresses only, not {at}");
        let listener = TcpListener::bind(at).await.with_context(|| format!("control address {at}"))?;
        println!("control at {}", listener.local_addr()?);
        tokio::spawn(control::serve(listener, Arc::clone(&street)));
    }
    if street.config().meters > 0 {
        println!("listening on port {}, meter 1 at 127.1.0.1", street.port());
    } else {
        println!("listening");
    }
    tokio::signal::ctrl_c().await.context("signal")
}
