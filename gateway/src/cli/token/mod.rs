//! `token`: STS tokens as JSON, without a meter, a vault or a service.

mod build;
mod check;
mod decode;
mod encode;
pub(super) mod explain;
pub(super) mod fields;
pub(super) mod keys;
mod show;

use super::Failure;
use clap::Subcommand;
use std::io::Read;
use std::path::PathBuf;

/// A request is one small JSON object; whatever is longer is not one.
const INPUT_MAX: u64 = 64 * 1024;

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token: reads one JSON object with its fields and key from standard input.
    Encode(Output),
    /// Read a token: reads one JSON object with `token` and a key from standard input.
    Decode(Output),
    /// Say why a meter may have refused a token, by trying the keys of the vault.
    Explain(explain::Args),
    /// Run a file of test vectors both ways and count what passed.
    TestVectors {
        /// A JSON file with `vectors` and `primitives`.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// What was wrong with the input, exactly; for `test-vectors` also when any vector failed.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Encode(output) => {
            let (made, text) = encode::encode(&input()?)?;
            print(output, &made, &text);
            Ok(())
        }
        Action::Decode(output) => {
            let (read, text) = decode::decode(&input()?)?;
            print(output, &read, &text);
            Ok(())
        }
        Action::Explain(args) => explain::run(args),
        Action::TestVectors { file } => check::run(file),
    }
}

fn print(output: &Output, object: &fields::Object, text: &str) {
    if output.json {
        println!("{}", serde_json::Value::Object(object.clone()));
    } else {
        println!("{text}");
    }
}

/// One JSON object from standard input.
fn input() -> Result<fields::Object, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(INPUT_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Data(format!("standard input: {error}")))?;
    if text.len() as u64 > INPUT_MAX {
        return Err(Failure::Data(format!("standard input is longer than {INPUT_MAX} bytes")));
    }
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::Data("standard input is not a JSON object".into())),
        Err(error) => Err(Failure::Data(format!(
            "standard input is not JSON: line {}, column {}",
            error.line(),
            error.column()
        ))),
    }
}

#[cfg(test)]
mod tests;
