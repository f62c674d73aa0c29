//! `record`: what a meter and the gateway say to each other, into a file without secrets; `replay` runs it again.

use super::Failure;
use super::client::{Connection, segment};
use crate::session::model::Models;
use crate::session::record;
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// How often a recording is looked at.
const POLL: Duration = Duration::from_millis(500);

/// Arguments of `record`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Serial number of the meter.
    serial: String,
    /// For how long: seconds, or with a unit (90s, 10m, 1h). It ends with the work under way.
    #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "10m")]
    time: Duration,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// A file that `record` wrote.
    file: PathBuf,
    /// A directory with further meter models.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct View {
    running: bool,
    text: String,
}

fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| match unit {
        "h" => number.checked_mul(3_600),
        "m" => number.checked_mul(60),
        _ => Some(number),
    });
    let seconds = seconds.filter(|seconds| (1..=record::FOR_MAX.as_secs()).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("a time is 1s to {}m, like 90s or 10m", record::FOR_MAX.as_secs() / 60))
}

/// Runs `record`.
///
/// # Errors
/// A refusal, or a file that cannot be written.
pub fn record(args: &Args) -> Result<(), Failure> {
    let path = format!("/api/v1/meters/{}/recording", segment(&args.serial));
    let body = json!({"for_s": args.time.as_secs()}).to_string();
    let mut view: View = args.connection.post(&path, "application/json", &[], body.as_bytes())?;
    println!("recording meter {} for {} s", args.serial, args.time.as_secs());
    while view.running {
        std::thread::sleep(POLL);
        view = args.connection.get(&path)?;
    }
    std::fs::write(&args.out, &view.text)
        .map_err(|error| Failure::Data(format!("{}: {error}", args.out.display())))?;
    let apdus = view.text.lines().filter(|line| line.starts_with('+')).count();
    println!("{}: {apdus} APDUs", args.out.display());
    Ok(())
}

/// Runs `replay`.
///
/// # Errors
/// [`Failure::Refused`] with the first difference; [`Failure::Data`] when the file cannot be read.
pub fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let name = args.file.display();
    let text =
        std::fs::read_to_string(&args.file).map_err(|error| Failure::Data(format!("{name}: {error}")))?;
    record::Recording::parse(&text).map_err(|error| Failure::Data(format!("{name}: {error}")))?;
    let models = Models::load(args.models.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(error.into()))?;
    let replayed = runtime
        .block_on(record::replay(&text, &models))
        .map_err(|difference| Failure::Refused(format!("{name}: {difference}")))?;
    println!("{name}: {} requests and {} pieces of work as recorded", replayed.requests, replayed.works);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_a_bound() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3_600)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "0", "2h", "m", "10d", "-1s", "18446744073709551615m"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
