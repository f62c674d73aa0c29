//! The stage: a simulated street, a real gateway process beside it, and the means to watch both.

use super::cast::{self, Cast};
use super::client::Client;
use super::gateway::{Gateway, Place, tail};
use super::teller::Teller;
use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::Value;
use simulator::clock::SimClock;
use simulator::street::{Street, StreetConfig};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// How often something is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(100);
/// How long a gateway may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(20);
/// How long one command may take, with its place in the queue of a 9,600-baud line behind a whole sweep.
pub const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// Somebody told the demo to end: whatever waits does no longer, and the gateway ends with the stage.
static TOLD_TO_END: AtomicBool = AtomicBool::new(false);

/// What the stage is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// DLMS meters on TCP, half of them HDLC.
    pub meters: u32,
    /// DLMS meters on the RS-485 line.
    pub line_meters: u32,
    /// Modbus RTU meters.
    pub modbus_meters: u32,
    /// Port of the meters on TCP; 0 takes a free one.
    pub meter_port: u16,
    /// Where the feeder's meter answers; port 0 takes a free one.
    pub feeder: SocketAddr,
    /// Simulated seconds per second.
    pub speed: u32,
    /// Simulated time at the start, in seconds since 1970; this machine's time without one.
    pub starts_at_s: Option<u32>,
    /// Households, balances and challenges follow from it.
    pub seed: u64,
    /// Data directory.
    pub data: PathBuf,
    /// Where API and page listen.
    pub listen: SocketAddr,
    /// The gateway's program.
    pub program: PathBuf,
    /// Say nothing in the terminal.
    pub quiet: bool,
}

/// Everything of a running demo.
#[derive(Debug)]
pub struct Stage {
    /// The street, as nobody but the demo can see it.
    pub street: Street,
    /// Who plays what.
    pub cast: Cast,
    /// The way to the gateway's API.
    pub client: Client,
    /// Says what happens.
    pub teller: Teller,
    /// What was paid so far.
    pub paid_minor: i64,
    /// Credit that all meters had taken by tokens before the story began.
    pub taken_before_wh: i64,
    /// When every meter had been commissioned, on the gateway's clock.
    pub commissioned_at: Option<Timestamp>,
    place: Place,
    gateway: Option<Gateway>,
    speed: u32,
    payments: u32,
    // Last, so that the street's tasks outlive what uses them.
    runtime: Runtime,
}

impl Stage {
    /// Starts street and gateway, and waits until the gateway answers.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        ensure!(
            options.meters >= cast::METERS_MIN,
            "the story needs at least {} meters on TCP",
            cast::METERS_MIN
        );
        ensure!(
            options.line_meters >= 1 && options.modbus_meters >= 1,
            "the story needs a meter on each line"
        );
        let teller = Teller::new(options.quiet);
        let runtime = Runtime::new().context("no runtime")?;
        runtime.block_on(heed_termination())?;
        let config = StreetConfig {
            meters: options.meters,
            hdlc_meters: options.meters / 2,
            port: options.meter_port,
            line_meters: options.line_meters,
            modbus_meters: options.modbus_meters,
            modbus_tcp: Some(options.feeder),
            clock: match options.starts_at_s {
                Some(start) => SimClock::starting_at(start, options.speed),
                None => SimClock::starting_now(options.speed),
            },
            seed: options.seed,
            credit_of: cast::credits(options.meters),
            ..StreetConfig::default()
        };
        let street = runtime.block_on(Street::start(config)).context("the street did not start")?;
        let origin = i64::try_from(street.config().clock.utc_ms()).unwrap_or(i64::MAX);
        let origin = Timestamp::from_millisecond(origin).context("the street's time")?;
        let place =
            Place { data: options.data.clone(), listen: options.listen, program: options.program.clone() };
        let secret = secret()?;
        place.prepare(&street, &secret, origin)?;
        let cast = Cast::of(&street)?;
        let mut gateway = place.start()?;
        let bearer = wait("the gateway's first token", UP_WITHIN, || match gateway.ended() {
            Some(status) => Err(format!("the gateway ended ({status}):\n{}", tail(&place.log()))),
            None => Ok(place.admin_token().ok()),
        })
        .map_err(anyhow::Error::msg)?;
        let client = Client::new(options.listen, bearer, secret);
        let mut stage = Self {
            street,
            cast,
            client,
            teller,
            paid_minor: 0,
            taken_before_wh: 0,
            commissioned_at: None,
            place,
            gateway: Some(gateway),
            speed: options.speed,
            payments: 0,
            runtime,
        };
        stage.taken_before_wh = stage.taken_wh();
        stage.until_ready().map_err(anyhow::Error::msg)?;
        Ok(stage)
    }

    fn until_ready(&mut self) -> Result<(), String> {
        let (client, gateway, log) = (&self.client, &mut self.gateway, self.place.log());
        wait("the gateway to be ready", UP_WITHIN, || match gateway.as_mut().and_then(Gateway::ended) {
            Some(status) => Err(format!("the gateway ended ({status}):\n{}", tail(&log))),
            None => Ok(client.is_ready().then_some(())),
        })
    }

    /// The gateway's process id, while it runs.
    #[must_use]
    pub fn gateway_id(&self) -> Option<u32> {
        self.gateway.as_ref().map(Gateway::id)
    }

    /// Kills the gateway with SIGKILL.
    ///
    /// # Errors
    /// It was not running, or cannot be killed.
    pub fn kill_gateway(&mut self) -> Result<(), String> {
        let gateway = self.gateway.take().ok_or("the gateway is not running")?;
        gateway.kill().map_err(|error| format!("the gateway cannot be killed: {error}"))
    }

    /// Starts the gateway again, over the same data.
    ///
    /// # Errors
    /// It does not come up.
    pub fn restart_gateway(&mut self) -> Result<(), String> {
        self.gateway = Some(self.place.start().map_err(|error| format!("{error:#}"))?);
        self.until_ready()
    }

    /// Waits for Ctrl-C or a termination, or for the gateway to end by itself.
    ///
    /// # Errors
    /// How the gateway ended.
    pub fn until_interrupted(&mut self) -> Result<(), String> {
        let gateway = self.gateway.as_mut().ok_or("the gateway is not running")?;
        self.runtime.block_on(async {
            let interrupted = tokio::signal::ctrl_c();
            tokio::pin!(interrupted);
            while !TOLD_TO_END.load(Ordering::Relaxed) {
                tokio::select! {
                    _ = &mut interrupted => return Ok(()),
                    () = tokio::time::sleep(LOOK) => {}
                }
                if let Some(status) = gateway.ended() {
                    return Err(format!("the gateway ended ({status})"));
                }
            }
            Ok(())
        })
    }

    /// Where the data are.
    #[must_use]
    pub fn data(&self) -> &std::path::Path {
        &self.place.data
    }

    /// The page's address with a secret that opens it once.
    ///
    /// # Errors
    /// The gateway does not give one.
    pub fn page_link(&self) -> Result<String, String> {
        let link = self.client.post("/page-links", "application/json", "")?.ok()?;
        let path = link["path"].as_str().ok_or("the page link has no path")?;
        Ok(format!("http://{}{path}", self.place.listen))
    }

    /// The meter as the gateway shows it.
    ///
    /// # Errors
    /// The gateway does not know it.
    pub fn meter(&self, serial: &str) -> Result<Value, String> {
        self.client.get(&format!("/meters/{serial}"))
    }

    /// Every meter as the gateway shows it.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub fn meters(&self) -> Result<Vec<Value>, String> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().and_then(|meter| meter["serial"].as_str()).unwrap_or_default();
            let page = self.client.get(&format!("/meters?limit=1000&after={after}"))?;
            match page.as_array() {
                Some(page) if !page.is_empty() => all.extend(page.iter().cloned()),
                _ => return Ok(all),
            }
        }
    }

    /// Waits until a command is finished.
    ///
    /// # Errors
    /// It is not finished in time.
    pub fn finished(&self, id: i64) -> Result<Value, String> {
        wait(&format!("command {id} to finish"), COMMAND_WITHIN, || {
            let command = self.client.get(&format!("/commands/{id}"))?;
            Ok((command["finished"] == true).then_some(command))
        })
    }

    /// Waits until a command is finished, and insists on it having been verified.
    ///
    /// # Errors
    /// It ended otherwise.
    pub fn verified(&self, id: i64) -> Result<Value, String> {
        let command = self.finished(id)?;
        if command["state"] == "verified" {
            return Ok(command);
        }
        Err(format!("command {id} ended {}: {}", command["state"], command["outcome"]))
    }

    /// Records a command, waits until it is verified, and shows its evidence.
    ///
    /// # Errors
    /// It is refused, or ends otherwise.
    pub fn carry_out(&self, serial: &str, kind: &str, reason: Option<&str>) -> Result<Value, String> {
        let id = self.client.command(serial, kind, reason)?;
        self.verified(id)
    }

    /// Has a meter read now, and gives it as the gateway shows it then.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, serial: &str) -> Result<Value, String> {
        self.carry_out(serial, "read", None)?;
        self.meter(serial)
    }

    /// Has every meter read, the feeder's too, and waits until all are. Those on the slow line come first, so that all others
    /// and the feeder are read within a moment and no scheduled reading comes after that. Done twice in the same way, the
    /// readings of each meter are equally far apart.
    ///
    /// # Errors
    /// A meter cannot be read.
    pub fn read_all(&self) -> Result<usize, String> {
        let meters = self.meters()?;
        let (slow, others): (Vec<_>, Vec<_>) = meters.iter().partition(|meter| meter["line"] == "bus");
        for round in [slow, others] {
            let mut open = Vec::with_capacity(round.len());
            for meter in round {
                open.push(self.client.command(meter["serial"].as_str().unwrap_or_default(), "read", None)?);
            }
            for id in open {
                self.verified(id)?;
            }
        }
        Ok(meters.len())
    }

    /// Pays, with a key of its own, and gives the receipt.
    ///
    /// # Errors
    /// The gateway refuses the payment.
    pub fn pay(&mut self, serial: &str, amount_minor: i64) -> Result<(Value, String), String> {
        self.payments += 1;
        let key = format!("demo-{}", self.payments);
        let receipt = self.client.pay(serial, amount_minor, &key)?.ok()?;
        self.paid_minor += amount_minor;
        Ok((receipt, key))
    }

    /// Shows the evidence of a command's steps.
    pub fn show_steps(&self, command: &Value) {
        for step in command["steps"].as_array().into_iter().flatten() {
            let at = step["at"].as_str().unwrap_or_default();
            self.teller
                .evidence([format!("{} at {at}", step["state"].as_str().unwrap_or_default()).as_str()]);
            let lines = step["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str);
            self.teller.evidence(
                lines.map(|line| format!("    {line}")).collect::<Vec<_>>().iter().map(String::as_str),
            );
        }
    }

    /// The contact of a meter, as the simulator knows it.
    #[must_use]
    pub fn contact_closed(&self, index: u32) -> bool {
        self.street.truth(index).is_some_and(|truth| truth.contact_closed)
    }

    /// Credit that a meter has taken by tokens, as the simulator knows it.
    ///
    /// # Errors
    /// The meter has no power, or takes no tokens.
    pub fn credited_wh(&self, index: u32) -> Result<i64, String> {
        let credited = self.street.truth(index).and_then(|truth| truth.credited_wh);
        credited.ok_or_else(|| format!("simulated meter {index} shows no credit"))
    }

    /// Credit that all meters with token gateways have taken by tokens, as the simulator knows it.
    #[must_use]
    pub fn taken_wh(&self) -> i64 {
        let config = self.street.config();
        (1..=config.meters + config.line_meters).filter_map(|index| self.credited_wh(index).ok()).sum()
    }

    /// Switches a constant load on at a meter, in watts.
    pub fn set_load(&self, index: u32, watts: u32) {
        if let Some(meter) = self.street.meter(index) {
            meter.set_extra_load_w(watts);
        }
    }

    /// Simulated seconds per second.
    #[must_use]
    pub const fn speed(&self) -> u32 {
        self.speed
    }
}

/// SIGTERM ends the demo in good order: with the stage the gateway's process ends too.
async fn heed_termination() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::spawn(async move {
        terminated.recv().await;
        TOLD_TO_END.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Looks every tenth of a second until there is something, an error, or no time left.
///
/// # Errors
/// What the look says, what was waited for in vain, or that the demo was told to end.
pub fn wait<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if TOLD_TO_END.load(Ordering::Relaxed) {
            return Err("the demo was told to end".to_owned());
        }
        if began.elapsed() > patience {
            return Err(format!("waited {} s in vain for {what}", patience.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
}

/// A secret for the payment channel: 32 hexadecimal digits.
pub(super) fn secret() -> anyhow::Result<String> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
