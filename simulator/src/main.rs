//! `meter-simulator`: a street of meters as a process of its own.
#![forbid(unsafe_code)]

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use firmware::image::format::{HEADER_BYTES, Version};
use simulator::banks::BANK_BYTES;
use simulator::clock::SimClock;
use simulator::control;
use simulator::identity::StreetKeys;
use simulator::roll::as_text;
use simulator::scenario;
use simulator::street::{LOSS_PERMILLE, PAST_ROWS, PORT, PROFILE_ROWS, Street, StreetConfig};
use simulator::train::{CASES, Case, play, text_of};
use simulator::vendor::firmware_image;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

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
    /// Play a training case and hold what the meters say against what is expected; without an id, list the cases.
    Train(Train),
    /// Make a firmware image that the meters take over the wire (class 18), signed with a published key.
    Image(Image),
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
    /// Modbus meters at the feeder's Modbus TCP address (--modbus-tcp; units from 2).
    #[arg(long, default_value_t = 0)]
    modbus_tcp_meters: u32,
    /// Serve the feeder's check meter over Modbus TCP at this loopback address, unit 1.
    #[arg(long)]
    modbus_tcp: Option<SocketAddr>,
    /// Households, balances and challenges follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Credit of every meter at the start, in watt-hours; each has its own without this.
    #[arg(long)]
    balance_wh: Option<i64>,
    /// JSON object with `encryption_key_hex`, `authentication_key_hex`, `master_key_hex`, `vending_key_hex`, `reader_password`.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Take the street, its time and what goes wrong there from this TOML file.
    #[arg(long, conflicts_with_all = ["meters", "framing", "port", "line_meters", "modbus_meters", "modbus_tcp_meters", "modbus_tcp", "seed", "balance_wh"])]
    scenario: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    which: Which,
    /// Keep the state in this directory: every meter's memory, what lasts, and the time. Resumed from there if it is.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Put a DLMS line on this serial device (one meter unless --line-meters says more) instead of a new pseudo terminal.
    #[arg(long, conflicts_with = "scenario")]
    serial: Option<String>,
    /// Rate of the serial lines.
    #[arg(long, default_value_t = simulator::line::BAUD, conflicts_with = "scenario")]
    baud: u32,
    /// Simulated seconds in every second.
    #[arg(long, default_value_t = 1, conflicts_with = "scenario")]
    speed: u32,
    /// Simulated time at the start, in seconds since 1970; now without this.
    #[arg(long, conflicts_with = "scenario")]
    start_utc_s: Option<u32>,
    /// Depth of the load profile in rows of 15 minutes.
    #[arg(long, default_value_t = PROFILE_ROWS, conflicts_with = "scenario")]
    profile_rows: u32,
    /// Rows of load profile recorded before the start.
    #[arg(long, default_value_t = PAST_ROWS, conflicts_with = "scenario")]
    past_rows: u32,
    /// Technical losses of the feeder in permille.
    #[arg(long, default_value_t = LOSS_PERMILLE, conflicts_with = "scenario")]
    loss_permille: u32,
    /// Serve the control page and its REST API at this loopback address: faults, keypad, button, power, true state.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// Allow a control address that is not a loopback one. There is no password.
    #[arg(long)]
    control_from_anywhere: bool,
}

#[derive(Debug, Args)]
struct Train {
    /// `N01` …
    id: Option<String>,
    /// A case of one's own, from a TOML file.
    #[arg(long, conflicts_with = "id")]
    file: Option<PathBuf>,
    /// Do not play the case: serve its street in real time, with the control page at this loopback address, for a person who
    /// carries out the steps beside a gateway.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// Port of the street's meters then.
    #[arg(long, default_value_t = PORT)]
    port: u16,
}

#[derive(Debug, Args)]
struct Image {
    /// Its version, `1.2.3`: not older than what runs.
    version: String,
    /// File to write.
    out: PathBuf,
    /// Bytes of program; the virtual board does not execute them.
    #[arg(long, default_value_t = 20_000)]
    bytes: usize,
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
        if let Some(path) = &self.scenario {
            return scenario::load(path, keys);
        }
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
            modbus_tcp_meters: self.modbus_tcp_meters,
            modbus_tcp: self.modbus_tcp,
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
        config.state.clone_from(&self.state);
        if self.which.scenario.is_some() {
            return Ok(config);
        }
        config.serial_device.clone_from(&self.serial);
        config.baud = self.baud;
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
        Command::Image(image) => write_image(&image),
        Command::Serve(arguments) => serve(&arguments),
        Command::Train(arguments) => train(&arguments),
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

fn write_image(image: &Image) -> anyhow::Result<()> {
    let parts: Vec<u16> =
        image.version.split('.').map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
    let [major, minor, patch] = parts[..] else {
        anyhow::bail!("`{}` is no version: three numbers, 1.2.3", image.version)
    };
    let most = BANK_BYTES as usize - HEADER_BYTES;
    anyhow::ensure!((1..=most).contains(&image.bytes), "a program has 1 to {most} bytes");
    let signed = firmware_image(Version(major, minor, patch), &vec![0; image.bytes])?;
    std::fs::write(&image.out, signed).with_context(|| format!("image {}", image.out.display()))
}

#[tokio::main]
async fn train(arguments: &Train) -> anyhow::Result<()> {
    let text = match (&arguments.id, &arguments.file) {
        (_, Some(path)) => {
            std::fs::read_to_string(path).with_context(|| format!("case {}", path.display()))?
        }
        (Some(id), None) => {
            let ids: Vec<&str> = CASES.iter().map(|(id, _)| *id).collect();
            let text = text_of(id).with_context(|| format!("no case {id}: there are {}", ids.join(", ")))?;
            text.to_owned()
        }
        (None, None) => {
            for (id, text) in CASES {
                println!("{id}  {}", Case::parse(text)?.title);
            }
            return Ok(());
        }
    };
    let case = Case::parse(&text)?;
    println!("{}", case.title);
    if arguments.control.is_some() {
        for (number, step) in (1..).zip(&case.steps) {
            println!("{number}. {}", step.say);
        }
        println!("On the gateway: {}", case.gateway);
        let clock = SimClock::starting_now(1);
        // A gateway finds the feeder's meter too.
        let modbus_tcp = case.street.modbus_tcp.or(Some(SocketAddr::from(([127, 0, 0, 1], 0))));
        let config = StreetConfig { clock, port: arguments.port, modbus_tcp, ..case.street };
        return serve_street(config, arguments.control, false).await;
    }
    let gateway = case.gateway.clone();
    let outcome = play(case, |line| println!("{line}")).await?;
    println!("With a gateway beside it: {gateway}");
    println!("{} expectations met, {} not", outcome.met, outcome.failed.len());
    anyhow::ensure!(outcome.failed.is_empty(), "not as expected: {}", outcome.failed.join("; "));
    Ok(())
}

#[tokio::main]
async fn serve(arguments: &Serve) -> anyhow::Result<()> {
    serve_street(arguments.config()?, arguments.control, arguments.control_from_anywhere).await
}

/// Serves a street until the process is told to stop.
async fn serve_street(
    config: StreetConfig,
    control: Option<SocketAddr>,
    from_anywhere: bool,
) -> anyhow::Result<()> {
    if let Some(at) = control {
        anyhow::ensure!(
            at.ip().is_loopback() || from_anywhere,
            "whoever reaches {at} could do anything to the meters: take a loopback address, or add --control-from-anywhere"
        );
    }
    let before = std::time::Instant::now();
    let street = Arc::new(Street::start(config).await?);
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
    if let Some(at) = control {
        let listener = TcpListener::bind(at).await.with_context(|| format!("control address {at}"))?;
        println!("control at http://{}", listener.local_addr()?);
        let street = Arc::clone(&street);
        tokio::spawn(async move {
            if let Err(error) = control::serve(listener, street).await {
                eprintln!("meter-simulator: control ended: {error}");
            }
        });
    }
    if street.config().meters > 0 {
        println!("listening on port {}, meter 1 at 127.1.0.1", street.port());
    } else {
        println!("listening");
    }
    until_stopped().await
}

/// Waits for SIGINT or SIGTERM.
async fn until_stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signal")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("signal"),
        _ = terminate.recv() => Ok(()),
    }
}
