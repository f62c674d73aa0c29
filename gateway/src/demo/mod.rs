//! `meter-gateway demo`: a simulated street, a real gateway process beside it, and the story of a prepaid meter told with
//! evidence. Each step is verified twice: by reading the meter back through the gateway, and against what the simulator
//! itself knows.

mod cast;
mod client;
mod gateway;
mod stage;
pub mod steps;
mod teller;

pub use cast::{Actor, Cast, METERS_MIN};
pub use client::{Answer, Client};
pub use stage::{Options, Stage, wait};

use anyhow::Context;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

/// Simulated seconds per second when nothing else is asked for: a day in 24 minutes.
const SPEED: u32 = 60;

/// Arguments of `demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Tell the story and exit: 0 when every step was verified, 1 when one was not.
    #[arg(long)]
    once: bool,
    /// DLMS meters on TCP, half of them HDLC. The street has 8 more on an RS-485 line and 6 Modbus meters.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(i64::from(METERS_MIN)..=1000))]
    meters: u32,
    /// Simulated seconds per second.
    #[arg(long, default_value_t = SPEED, value_parser = clap::value_parser!(u32).range(1..=600))]
    speed: u32,
    /// Data directory; a new temporary one without this.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where API and page listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Households, balances and challenges follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Why the demo did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// It could not be started.
    #[error("{0:#}")]
    Start(anyhow::Error),
    /// A step was not verified.
    #[error("step {number} ({title}) failed: {why}")]
    Step {
        /// Which, from 1.
        number: usize,
        /// Its title.
        title: &'static str,
        /// Why.
        why: String,
    },
    /// The gateway ended while its page was being served.
    #[error("{0}")]
    Ended(String),
}

/// Runs the demo.
///
/// # Errors
/// [`DemoError`]; a failing step is named.
pub fn run(args: &Args) -> Result<(), DemoError> {
    let options = options(args).map_err(DemoError::Start)?;
    println!(
        "A substation: {} DLMS meters on TCP, {} on an RS-485 line, {} Modbus meters, a feeder; time runs {} times faster.",
        options.meters, options.line_meters, options.modbus_meters, options.speed
    );
    println!("Data and the gateway's log: {}", options.data.display());
    let mut stage = Stage::start(&options).map_err(DemoError::Start)?;
    tell(&mut stage)?;
    println!("\nEvery step was verified.");
    if args.once {
        return Ok(());
    }
    let link = stage.page_link().map_err(DemoError::Ended)?;
    println!("\nThe page (this link opens it once): {link}\nCtrl-C ends the demo.");
    stage.until_interrupted().map_err(DemoError::Ended)
}

/// Tells the whole story.
///
/// # Errors
/// The first step that was not verified.
pub fn tell(stage: &mut Stage) -> Result<(), DemoError> {
    for (at, step) in steps::STEPS.iter().enumerate() {
        let number = at + 1;
        stage.teller.step(number, step.title);
        (step.act)(stage).map_err(|why| DemoError::Step { number, title: step.title, why })?;
    }
    Ok(())
}

/// Port 0 is whichever is free: the gateway is started twice and has to be found again at the same place.
fn with_a_port(listen: SocketAddr) -> anyhow::Result<SocketAddr> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    let free = TcpListener::bind(listen).with_context(|| format!("cannot listen on {}", listen.ip()))?;
    Ok(free.local_addr()?)
}

fn options(args: &Args) -> anyhow::Result<Options> {
    let data = match &args.data {
        Some(data) => data.clone(),
        // Random, so that it is new whatever earlier demos left behind.
        None => std::env::temp_dir().join(format!("meter-gateway-demo-{}", &stage::secret()?[..8])),
    };
    Ok(Options {
        meters: args.meters,
        line_meters: 8,
        modbus_meters: 6,
        meter_port: simulator::street::PORT,
        feeder: SocketAddr::from(([127, 0, 0, 1], 5020)),
        speed: args.speed,
        starts_at_s: None,
        seed: args.seed,
        data,
        listen: with_a_port(args.listen)?,
        program: std::env::current_exe()?,
        quiet: false,
    })
}
