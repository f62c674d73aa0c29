//! `discover`: finds the meters on a bus and writes them as `meter import` takes them.

use super::Failure;
use super::client::{Connection, segment};
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// How often progress is looked at.
const POLL: Duration = Duration::from_millis(500);

/// Arguments of `discover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configured line.
    line: String,
    /// How to speak to what is there: a model's name. On a Modbus line all that have a serial number, without it.
    #[arg(long)]
    model: Option<String>,
    /// The first address; 1 without it.
    #[arg(long)]
    from: Option<u32>,
    /// The last address; 247 on Modbus lines and 126 on DLMS lines without it.
    #[arg(long)]
    to: Option<u32>,
    /// Write what was found into this file, for `meter import`.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Stop the search that is under way there.
    #[arg(long)]
    stop: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Deserialize)]
struct Progress {
    line: String,
    problem: Option<String>,
    from: u32,
    to: u32,
    asked: u32,
    running: bool,
    found: Vec<Found>,
}

#[derive(Debug, Deserialize)]
struct Found {
    address: u32,
    models: Vec<String>,
    serial: Option<String>,
    device_name: Option<String>,
    firmware: Option<String>,
    entered: Option<String>,
    note: Option<String>,
}

/// Runs it.
///
/// # Errors
/// What the gateway refused, or that it could not be reached.
pub fn run(args: &Args) -> Result<(), Failure> {
    let path = format!("/api/v1/lines/{}/discovery", segment(&args.line));
    if args.stop {
        return args.connection.delete(&path);
    }
    let body = json!({"model": args.model, "from": args.from, "to": args.to}).to_string();
    let mut progress: Progress = args.connection.post(&path, "application/json", &[], body.as_bytes())?;
    let mut shown = 0;
    loop {
        for found in progress.found.iter().skip(shown) {
            println!("{}", found.line());
        }
        shown = progress.found.len();
        if !progress.running {
            break;
        }
        std::thread::sleep(POLL);
        progress = args.connection.get(&path)?;
    }
    println!(
        "line {}: {} of {} addresses asked, {} answered",
        progress.line,
        progress.asked,
        progress.to - progress.from + 1,
        progress.found.len()
    );
    if let Some(problem) = &progress.problem {
        return Err(Failure::Data(format!("the search could not go on: {problem}")));
    }
    match &args.csv {
        None => Ok(()),
        Some(file) => std::fs::write(file, progress.csv())
            .map_err(|error| Failure::Data(format!("{}: {error}", file.display()))),
    }
}

impl Found {
    fn line(&self) -> String {
        let mut who = match (&self.serial, &self.entered) {
            (Some(serial), _) => serial.clone(),
            (_, Some(entered)) => format!("{entered}, entered already"),
            _ => {
                let told = self.device_name.as_deref().or(self.note.as_deref());
                format!("{}; no serial number for strangers", told.unwrap_or("somebody"))
            }
        };
        if let Some(firmware) = &self.firmware {
            who.push_str(&format!(", firmware {firmware}"));
        }
        if self.models.len() > 1 {
            who.push_str(&format!(", fits {}", self.models.join(" and ")));
        }
        format!("{:>5}  {who}", self.address)
    }
}

impl Progress {
    /// What `meter import` takes: those that said who they are. Keys and balances are for a person to fill in.
    fn csv(&self) -> String {
        let mut text = "serial,line,address,model\n".to_owned();
        for found in &self.found {
            if let (Some(serial), Some(model)) = (&found.serial, found.models.first()) {
                text.push_str(&format!("{serial},{},{},{model}\n", self.line, found.address));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_those_that_said_who_they_are_and_nobody_else() {
        let found = |address, serial: Option<&str>, entered: Option<&str>| Found {
            address,
            models: vec!["reference-dlms".into()],
            firmware: None,
            serial: serial.map(Into::into),
            device_name: None,
            entered: entered.map(Into::into),
            note: None,
        };
        let progress = Progress {
            line: "bus".into(),
            problem: None,
            from: 1,
            to: 20,
            asked: 20,
            running: false,
            found: vec![
                found(16, Some("01000000017"), None),
                found(17, None, Some("01000000025")),
                found(18, None, None),
            ],
        };
        assert_eq!(progress.csv(), "serial,line,address,model\n01000000017,bus,16,reference-dlms\n");
        assert_eq!(progress.found[1].line(), "   17  01000000025, entered already");
        assert_eq!(progress.found[2].line(), "   18  somebody; no serial number for strangers");
    }
}
