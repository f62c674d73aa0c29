//! What is logged, per module, exchanged while the gateway runs.

use crate::config::Live;
use std::fmt;
use std::io::stderr;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::reload::Handle;

type Exchange = dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync;

/// The levels in force: a level, or levels per module (`info,gateway::session=debug`). Cloning shares them.
#[derive(Clone)]
pub struct LogLevels {
    exchange: Arc<Exchange>,
    now: Live<String>,
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevels").field(&self.now.now()).finish()
    }
}

/// Longest text of levels taken.
const LEVELS_MAX: usize = 1024;

fn filter(levels: &str) -> Result<EnvFilter, String> {
    if levels.trim().is_empty() || levels.len() > LEVELS_MAX {
        return Err(format!(
            "log levels have 1 to {LEVELS_MAX} characters, like \"info,gateway::session=debug\""
        ));
    }
    // Taken literally, a word alone would be a module of that name, with everything it says.
    let level =
        |part: &str| part.rsplit_once('=').map_or(part, |(_, level)| level).trim().parse::<LevelFilter>();
    if let Some(wrong) = levels.split(',').find(|part| level(part).is_err()) {
        return Err(format!(
            "log levels {levels:?}: {wrong:?} has no level; they are like \"info,gateway::session=debug\""
        ));
    }
    EnvFilter::builder().parse(levels).map_err(|error| {
        format!("log levels {levels:?}: {error}; they are like \"info,gateway::session=debug\"")
    })
}

fn handed<S: 'static>(handle: Handle<EnvFilter, S>) -> Arc<Exchange> {
    Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
}

impl LogLevels {
    /// Levels that this function puts in force.
    #[must_use]
    pub fn new(
        levels: &str,
        exchange: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { exchange: Arc::new(exchange), now: Live::new(levels.to_owned()) }
    }

    /// Starts the log of the process, to standard error, so that standard output stays for answers.
    ///
    /// # Errors
    /// What is wrong with the levels, or that there is a log already.
    pub fn start(levels: &str, json: bool) -> Result<Self, String> {
        let log = tracing_subscriber::fmt().with_env_filter(filter(levels)?).with_writer(stderr);
        let (exchange, started) = if json {
            let log = log.json().with_filter_reloading();
            (handed(log.reload_handle()), log.try_init())
        } else {
            let log = log.with_ansi(false).with_filter_reloading();
            (handed(log.reload_handle()), log.try_init())
        };
        started.map_err(|error| format!("cannot start the log: {error}"))?;
        Ok(Self { exchange, now: Live::new(levels.to_owned()) })
    }

    /// The levels in force.
    #[must_use]
    pub fn now(&self) -> String {
        self.now.now().as_ref().clone()
    }

    /// Puts others in force.
    ///
    /// # Errors
    /// What is wrong with them; those before stay.
    pub fn set(&self, levels: &str) -> Result<(), String> {
        (self.exchange)(filter(levels)?)?;
        self.now.set(levels.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn levels_that_make_no_sense_leave_those_before_in_force() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let exchanged = seen.clone();
        let levels = LogLevels::new("info", move |filter| {
            exchanged.lock().unwrap().push(filter.to_string());
            Ok(())
        });
        for wrong in ["", "loud", "gateway=deafening", &"x".repeat(2_000)] {
            let error = levels.set(wrong).expect_err(wrong);
            assert!(error.contains("gateway::session=debug"), "says how: {error}");
        }
        assert_eq!((levels.now().as_str(), seen.lock().unwrap().len()), ("info", 0));
        levels.set("warn,gateway::session=trace").expect("good levels");
        assert_eq!(levels.now(), "warn,gateway::session=trace");
        assert!(seen.lock().unwrap()[0].contains("gateway::session=trace"));
    }
}
