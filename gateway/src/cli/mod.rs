//! The command line: one file per subcommand. Each has an `Args` and a `run(Args) -> Result<(), Failure>`.

pub mod check_config;
pub mod explain;
pub mod failure;
pub mod token;

use clap::{Parser, Subcommand};
pub use failure::Failure;
use std::process::ExitCode;

/// Prepaid meters of a substation: reads them, sells credit, pushes tokens, switches supply, and proves each step.
#[derive(Debug, Parser)]
#[command(name = "meter-gateway", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

// One variant per file below; keep the file's name and the subcommand's name the same.
#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file and say what it describes.
    CheckConfig(check_config::Args),
    /// Explain captured bytes layer by layer, with offsets and names; deciphers where keys are given.
    Explain(explain::Args),
    /// Make, read, test and explain STS tokens.
    Token(token::Args),
}

impl Cli {
    /// Runs the subcommand; the exit code says how it went (see [`Failure`]).
    #[must_use]
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::CheckConfig(args) => check_config::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Token(args) => token::run(&args),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("meter-gateway: {failure}");
                failure.exit_code()
            }
        }
    }
}
