//! Commands that act on a meter: recorded by the running gateway, then followed until they have ended.

use super::Failure;
use super::client::{Connection, segment};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often a command is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Following a command.
#[derive(Debug, Clone, clap::Args)]
pub struct Follow {
    /// Return when the command is recorded; do not follow it.
    #[arg(long)]
    no_wait: bool,
    /// Follow it for at most this many seconds. It goes on all the same.
    #[arg(long, default_value_t = 120)]
    wait_s: u64,
}

/// A command as the API shows it.
#[derive(Debug, Deserialize)]
struct View {
    id: i64,
    #[serde(default)]
    kind: String,
    state: String,
    finished: bool,
    outcome: Option<String>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    state: String,
    at: String,
    evidence: Vec<String>,
}

/// Arguments of `disconnect`.
#[derive(Debug, clap::Args)]
pub struct Disconnect {
    /// Serial number of the meter.
    serial: String,
    /// Why: planned, fault, peak_avoidance, breach_of_contract or arrears. Without one it is refused.
    #[arg(long)]
    reason: Option<String>,
    /// The reason in your own words.
    #[arg(long)]
    text: Option<String>,
    /// A breach of contract: the case.
    #[arg(long)]
    case: Option<String>,
    /// A breach of contract: the inspector who confirmed it.
    #[arg(long)]
    confirmed_by: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    connection: Connection,
}

/// Arguments of `reconnect`, `read`, `set-clock`, `arm` and `rotate-keys`.
#[derive(Debug, clap::Args)]
pub struct Plain {
    /// Serial number of the meter.
    serial: String,
    /// A note for the record.
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `disconnect`.
///
/// # Errors
/// A refusal, or a command that was not verified.
pub fn disconnect(args: &Disconnect) -> Result<(), Failure> {
    let body = json!({
        "serial": args.serial, "kind": "disconnect", "reason": args.reason, "reason_text": args.text,
        "case_id": args.case, "confirmed_by": args.confirmed_by,
    });
    send(&args.connection, &args.follow, &body)
}

/// Arguments of `clear-tamper`.
#[derive(Debug, clap::Args)]
pub struct ClearTamper {
    /// Serial number of the meter.
    serial: String,
    /// The case.
    #[arg(long)]
    case: String,
    /// Who looked at the meter; another person than you.
    #[arg(long)]
    confirmed_by: String,
    /// What was found.
    #[arg(long)]
    text: String,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `clear-tamper`.
///
/// # Errors
/// A refusal, or a command that was not verified.
pub fn clear_tamper(args: &ClearTamper) -> Result<(), Failure> {
    let body = json!({
        "serial": args.serial, "kind": "clear_tamper", "reason_text": args.text,
        "case_id": args.case, "confirmed_by": args.confirmed_by,
    });
    send(&args.connection, &args.follow, &body)
}

/// Arguments of `test-relay`.
#[derive(Debug, clap::Args)]
pub struct TestRelay {
    /// Serial number of the meter.
    serial: String,
    /// That supply may be off for a moment: who said so, and when. Without it a relay under load is only looked at.
    #[arg(long)]
    consent: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `test-relay`.
///
/// # Errors
/// A relay that does not act, or a test that could not be made.
pub fn test_relay(args: &TestRelay) -> Result<(), Failure> {
    let parameters = args.consent.as_ref().map(|consent| json!({ "consent": consent }));
    let body = json!({"serial": args.serial, "kind": "test_relay", "parameters": parameters});
    send(&args.connection, &args.follow, &body)
}

/// Runs a command that needs nothing but a meter.
///
/// # Errors
/// A refusal, or a command that was not verified.
pub fn plain(kind: &str, args: &Plain) -> Result<(), Failure> {
    let body = json!({"serial": args.serial, "kind": kind, "reason_text": args.text});
    send(&args.connection, &args.follow, &body)
}

/// Arguments of `order`.
#[derive(Debug, clap::Args)]
pub struct Order {
    /// set_prices, set_tariff, get, set, invoke, or any other kind of command.
    kind: String,
    /// Serial number of the meter.
    serial: String,
    /// Its parameters as JSON: {"class_id": 3, "name": "1.0.1.8.0.255", "index": 2} for a get.
    #[arg(long)]
    parameters: Option<String>,
    /// A note for the record.
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `order`.
///
/// # Errors
/// A refusal, or a command that was not verified.
pub fn order(args: &Order) -> Result<(), Failure> {
    let parameters: Option<Value> = args
        .parameters
        .as_deref()
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| Failure::Data(format!("the parameters are not JSON: {error}")))?;
    let body = json!({
        "serial": args.serial, "kind": args.kind, "reason_text": args.text, "parameters": parameters,
    });
    send(&args.connection, &args.follow, &body)
}

/// Arguments of `limit-load`.
#[derive(Debug, clap::Args)]
pub struct LimitLoad {
    /// Serial number of the meter.
    serial: String,
    /// Watts.
    limit_w: u32,
    /// Seconds above the limit before the meter acts.
    #[arg(long, default_value_t = 60)]
    over_s: u32,
    /// Seconds below the limit before the meter gives supply back, where it does.
    #[arg(long, default_value_t = 60)]
    under_s: u32,
    /// Only until this time, as 2026-03-01T20:00:00Z: the meter's emergency limit, which ends by itself.
    #[arg(long, conflicts_with_all = ["over_s", "under_s"])]
    until: Option<String>,
    /// With --until: only from this time on.
    #[arg(long, requires = "until")]
    from: Option<String>,
    /// A note for the record.
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `limit-load`.
///
/// # Errors
/// A refusal, or a command that was not verified.
pub fn limit_load(args: &LimitLoad) -> Result<(), Failure> {
    let (kind, parameters) = match &args.until {
        Some(until) => {
            ("limit_emergency", json!({"limit_w": args.limit_w, "from": args.from, "until": until}))
        }
        None => {
            ("limit_load", json!({"limit_w": args.limit_w, "over_s": args.over_s, "under_s": args.under_s}))
        }
    };
    let body = json!({
        "serial": args.serial, "kind": kind, "reason_text": args.text, "parameters": parameters,
    });
    send(&args.connection, &args.follow, &body)
}

fn send(connection: &Connection, follow: &Follow, body: &Value) -> Result<(), Failure> {
    let view: View =
        connection.post("/api/v1/commands", "application/json", &[], body.to_string().as_bytes())?;
    follow.command(connection, view.id)
}

impl Follow {
    /// Looks at something until it is as wanted, for no longer than is to be waited.
    ///
    /// # Errors
    /// What the look says, or that it is not as wanted in time.
    pub fn until_made<T>(
        &self,
        look: impl Fn() -> Result<T, Failure>,
        made: impl Fn(&T) -> bool,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + Duration::from_secs(self.wait_s);
        loop {
            let seen = look()?;
            if made(&seen) || self.no_wait {
                return Ok(seen);
            }
            if Instant::now() >= deadline {
                return Err(Failure::Unavailable(format!("nothing came in {} s; it goes on", self.wait_s)));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Follows a command and prints each step as it is taken.
    ///
    /// # Errors
    /// [`Failure::Refused`] when the meter refused, [`Failure::Unavailable`] when it could not be reached in time.
    pub fn command(&self, connection: &Connection, id: i64) -> Result<(), Failure> {
        println!("command {id} recorded");
        if self.no_wait {
            return Ok(());
        }
        let deadline = Instant::now() + Duration::from_secs(self.wait_s);
        let mut shown = 0;
        loop {
            let view: View = connection.get(&format!("/api/v1/commands/{}", segment(&id.to_string())))?;
            for step in view.steps.iter().skip(shown) {
                println!("{} {}", step.at, step.state);
                for line in &step.evidence {
                    println!("    {line}");
                }
            }
            shown = view.steps.len();
            if view.finished {
                return ending(&view);
            }
            if view.state == "waiting" {
                return Err(Failure::Unavailable(format!(
                    "command {id} waits for a second person, who says: meter-gateway command approve {id}"
                )));
            }
            if view.kind == "set_calendar" && view.state == "accepted" {
                println!("it is verified when its time has come: meter-gateway command show {id}");
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Failure::Unavailable(format!(
                    "command {id} is still {} after {} s; it goes on",
                    view.state, self.wait_s
                )));
            }
            std::thread::sleep(POLL);
        }
    }
}

fn ending(view: &View) -> Result<(), Failure> {
    let outcome = view.outcome.clone().unwrap_or_default();
    match view.state.as_str() {
        "verified" => Ok(()),
        "rejected" => Err(Failure::Refused(format!("command {} was rejected: {outcome}", view.id))),
        state => Err(Failure::Unavailable(format!("command {} {state}: {outcome}", view.id))),
    }
}
