//! `meter-gateway`: the service and its command line.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::cli::Cli::parse().run()
}
