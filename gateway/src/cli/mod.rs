//! The command line: one file per subcommand. Each has an `Args` and a `run(Args) -> Result<(), Failure>`.

pub mod alarm;
pub mod backup;
pub mod bulk;
pub mod campaign;
pub mod check_config;
pub mod client;
pub mod command;
pub mod control;
pub mod discover;
pub mod doubt;
pub mod explain;
pub mod export;
pub mod failure;
pub mod guard;
pub mod image;
pub mod key;
pub mod meter;
pub mod page_link;
pub mod profile;
pub mod record;
pub mod run;
pub mod secret;
pub mod token;
pub mod top_up;

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
    /// Run the service until SIGTERM or SIGINT.
    Run(run::Args),
    /// Start a simulated substation with a real gateway, tell its story with evidence, and serve its page.
    #[cfg(feature = "demo")]
    Demo(crate::demo::Args),
    /// Check a configuration file and say what it describes.
    CheckConfig(check_config::Args),
    /// Explain captured bytes layer by layer, with offsets and names; deciphers where keys are given.
    Explain(explain::Args),
    /// Make, read, test and explain STS tokens.
    Token(token::Args),
    /// The vault's vending keys: import, list, rotate, key changes.
    Key(key::Args),
    /// Copy store and vault into a directory, while the gateway runs.
    Backup(backup::Args),
    /// Put store and vault of a backup where the configuration says, where there are none.
    Restore(backup::Args),
    /// The vault's secrets of payment channels: import, list, remove.
    Secret(secret::Args),
    /// Change the keys of many meters: preview, start, follow, stop.
    Campaign(campaign::Args),
    /// One command for many meters: preview, start, follow, stop.
    Bulk(bulk::Args),
    /// List what is wrong, and close an alarm by your word.
    Alarm(alarm::Args),
    /// A list for a shortage, and previews of what carries it out.
    Curtail(bulk::Curtail),
    /// Readings, payments, commands or events over a range of time, as CSV or JSON.
    Export(export::Args),
    /// Firmware images: bring, list, send to a meter.
    Image(image::Args),
    /// Send a command with parameters to a meter: any kind, its parameters as JSON.
    Order(command::Order),
    /// Add, import, list and show meters.
    Meter(meter::Args),
    /// Send a signed payment and follow its token to the meter.
    TopUp(top_up::Args),
    /// Cut a meter's supply, with a reason, and see it done.
    Disconnect(command::Disconnect),
    /// Say whether a meter could be disconnected now, and what is missing.
    Guards(guard::Guards),
    /// Put what a customer was told on record, or list it.
    Notice(guard::Notice),
    /// Protect a customer from being cut off by the gateway itself or by one person alone.
    Protect(guard::Protect),
    /// Approve, decline, cancel or show a command.
    Command(guard::Command),
    /// Restore a meter's supply and see it done.
    Reconnect(command::Plain),
    /// Have the running gateway read its configuration again.
    Reload(control::Reload),
    /// Show or change what the running gateway logs.
    LogLevel(control::LogLevel),
    /// Read a meter now.
    Read(command::Plain),
    /// Set a meter's clock to the gateway's and see it read back.
    SetClock(command::Plain),
    /// Make a meter's relay ready for a person to close, without closing it.
    Arm(command::Plain),
    /// Limit a meter's load and see the limit read back.
    LimitLoad(command::LimitLoad),
    /// Test whether a relay acts: opened and closed again where that is allowed, looked at otherwise.
    TestRelay(command::TestRelay),
    /// Read the signs of tampering of a meter that somebody looked at, and clear them.
    ClearTamper(command::ClearTamper),
    /// Show what a meter recorded: rows of a profile, those missing in their places.
    Profile(profile::Rows),
    /// Count how much of a meter's, or an area's, profiles is here.
    Coverage(profile::Coverage),
    /// Show what is missing of a meter's profiles, and what becomes of it.
    Gaps(profile::Gaps),
    /// Ask every address of a bus who is there, and write a file for `meter import`.
    Discover(discover::Args),
    /// Readings that are held: list them, say that they are right, or wrong.
    Doubt(doubt::Args),
    /// Give a meter new DLMS keys and see them proved; needs its master key and scope admin.
    RotateKeys(command::Plain),
    /// Record what a meter and the gateway say to each other, without secrets.
    Record(record::Args),
    /// Run a recorded session again and say where it differs.
    Replay(record::ReplayArgs),
    /// Make a link that opens the page once.
    PageLink(page_link::Args),
}

impl Cli {
    /// Runs the subcommand; the exit code says how it went (see [`Failure`]).
    #[must_use]
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Run(args) => run::run(&args),
            #[cfg(feature = "demo")]
            Command::Demo(args) => crate::demo::run(&args).map_err(Failure::from),
            Command::CheckConfig(args) => check_config::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Token(args) => token::run(&args),
            Command::Key(args) => key::run(&args),
            Command::Backup(args) => backup::back_up(&args),
            Command::Restore(args) => backup::restore(&args),
            Command::Secret(args) => secret::run(&args),
            Command::Campaign(args) => campaign::run(&args),
            Command::Bulk(args) => bulk::run(&args),
            Command::Alarm(args) => alarm::run(&args),
            Command::Image(args) => image::run(&args),
            Command::Order(args) => command::order(&args),
            Command::Curtail(args) => bulk::curtail(&args),
            Command::Export(args) => export::run(&args),
            Command::Meter(args) => meter::run(&args),
            Command::TopUp(args) => top_up::run(&args),
            Command::Disconnect(args) => command::disconnect(&args),
            Command::Guards(args) => guard::guards(&args),
            Command::Notice(args) => guard::notice(&args),
            Command::Protect(args) => guard::protect(&args),
            Command::Command(args) => guard::command(&args),
            Command::Reconnect(args) => command::plain("reconnect", &args),
            Command::Reload(args) => control::reload(&args),
            Command::LogLevel(args) => control::log_level(&args),
            Command::Read(args) => command::plain("read", &args),
            Command::SetClock(args) => command::plain("set_clock", &args),
            Command::Arm(args) => command::plain("arm", &args),
            Command::LimitLoad(args) => command::limit_load(&args),
            Command::TestRelay(args) => command::test_relay(&args),
            Command::ClearTamper(args) => command::clear_tamper(&args),
            Command::Profile(args) => profile::rows(&args),
            Command::Coverage(args) => profile::coverage(&args),
            Command::Gaps(args) => profile::gaps(&args),
            Command::Discover(args) => discover::run(&args),
            Command::Doubt(args) => doubt::run(&args),
            Command::RotateKeys(args) => command::plain("rotate_keys", &args),
            Command::Record(args) => record::record(&args),
            Command::Replay(args) => record::replay(&args),
            Command::PageLink(args) => page_link::run(&args),
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
