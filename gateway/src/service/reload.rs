//! A configuration that is read again while the gateway runs: taken whole, or refused whole.

use super::sinks::Sinks;
use crate::clock::Clock;
use crate::commands::bulk::Bulk;
use crate::commands::engine::Policy;
use crate::config::{Config, InboxConfig, LineConfig, Live, ScheduleConfig, SinkConfig, System};
use crate::session;
use crate::session::model::Models;
use crate::vault::Vault;
use crate::vending::Vending;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// How the configuration came into force, or why a new one did not.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct Reloaded {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// It is in force; if not, the one before still is.
    pub taken: bool,
    /// What changed, or what is wrong, with its line.
    pub said: String,
}

/// What a reload reaches.
#[derive(Debug)]
pub(super) struct Reached {
    pub settings: Live<Config>,
    pub lines: session::Router,
    pub policy: Live<Policy>,
    pub schedule: Live<ScheduleConfig>,
    pub vending: Vending,
    pub sinks: Arc<Sinks>,
    pub bulk: Live<Bulk>,
    pub inboxes: watch::Sender<Vec<InboxConfig>>,
}

/// Reads the configuration again.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    models: Models,
    vault: Arc<dyn Vault>,
    clock: Clock,
    reached: Reached,
    last: Live<Option<Reloaded>>,
    turn: tokio::sync::Mutex<()>,
}

impl Reloader {
    pub(super) fn new(
        path: PathBuf,
        models: Models,
        vault: Arc<dyn Vault>,
        clock: Clock,
        reached: Reached,
    ) -> Self {
        Self {
            path,
            models,
            vault,
            clock,
            reached,
            last: Live::new(None),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Of a bench whose configuration has no file.
    #[cfg(test)]
    pub(crate) fn of_bench(
        bench: &crate::bench::Bench,
        config: &Config,
        lines: &session::Router,
        bulk: &Live<Bulk>,
    ) -> Arc<Self> {
        let (broken, _) = tokio::sync::mpsc::unbounded_channel();
        let clock = Clock::real();
        let reached = Reached {
            settings: Live::new(config.clone()),
            lines: lines.clone(),
            policy: Live::new(Policy::of(config)),
            schedule: Live::new(config.schedule),
            vending: bench.vending.clone(),
            bulk: bulk.clone(),
            inboxes: watch::channel(Vec::new()).0,
            sinks: Arc::new(Sinks::new(bench.store().clone(), clock, "bench".to_owned(), broken)),
        };
        let models = Models::load(None).unwrap_or_default();
        Arc::new(Self::new("none.toml".into(), models, bench.vault.clone(), clock, reached))
    }

    /// How the last attempt ended, if there was one.
    #[must_use]
    pub fn last(&self) -> Option<Reloaded> {
        self.last.now().as_ref().clone()
    }

    /// Reads the file and puts it in force. When anything is wrong with it, or it changes what cannot change while the gateway runs,
    /// nothing of it is taken.
    pub async fn reload(&self) -> Reloaded {
        let _turn = self.turn.lock().await;
        let judged = self.judge();
        let reloaded = match judged {
            Ok((config, changes)) => {
                self.put_in_force(config).await;
                Reloaded { at: self.clock.now(), taken: true, said: said(&changes) }
            }
            Err(refused) => Reloaded { at: self.clock.now(), taken: false, said: refused },
        };
        if reloaded.taken {
            tracing::info!(changes = reloaded.said, "the configuration was read again");
        } else {
            tracing::error!(
                reason = reloaded.said,
                "the new configuration is refused; the one before stays in force"
            );
        }
        self.last.set(Some(reloaded.clone()));
        reloaded
    }

    fn judge(&self) -> Result<(Config, Vec<String>), String> {
        let config = Config::load(&self.path, &System).map_err(|error| error.to_string())?;
        let models = Models::load(config.models.as_deref()).map_err(|error| error.to_string())?;
        super::check_secrets(&config, self.vault.as_ref()).map_err(|error| format!("{error:#}"))?;
        let changes = changes(&self.reached.settings.now(), &config)?;
        if models != self.models {
            return Err("model files changed, which needs a restart".to_owned());
        }
        Ok((config, changes))
    }

    async fn put_in_force(&self, config: Config) {
        let reached = &self.reached;
        reached.policy.set(Policy::of(&config));
        reached.bulk.set(reached.bulk.now().under(&config));
        reached.schedule.set(config.schedule);
        reached.vending.set_price(config.price.clone());
        reached.settings.set(config);
        let config = reached.settings.now();
        reached.lines.change_to(&config.lines).await;
        reached.sinks.change_to(&config.sinks).await;
        reached.inboxes.send_replace(config.inboxes.clone());
    }
}

fn said(changes: &[String]) -> String {
    if changes.is_empty() { "nothing changed".to_owned() } else { changes.join("; ") }
}

/// What differs, section by section.
///
/// # Errors
/// What differs and cannot change while the gateway runs.
fn changes(old: &Config, new: &Config) -> Result<Vec<String>, String> {
    // Every section has to be named here: whoever adds one decides whether it can change.
    let Config {
        api,
        store,
        keep,
        vault,
        clock,
        price,
        schedule,
        disconnection,
        bulk,
        plausibility,
        clock_check,
        models,
        lines,
        listeners,
        channels,
        sinks,
        inboxes,
    } = new;
    let fixed: Vec<&str> = [
        ("[api]", old.api != *api),
        // Shown, a place is its name without a password: one that changed is used from the next start on.
        ("[store]", format!("{:?}", old.store) != format!("{store:?}") || old.keep != *keep),
        ("[vault]", old.vault != *vault),
        ("[clock]", old.clock != *clock),
        ("models", old.models != *models),
        ("[[listen]]", old.listeners != *listeners),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(section, _)| section)
    .collect();
    if !fixed.is_empty() {
        return Err(format!("{} changed, which needs a restart", fixed.join(", ")));
    }
    let mut changes: Vec<String> = [
        ("[price]", old.price != *price),
        ("[schedule]", old.schedule != *schedule),
        ("[disconnection]", old.disconnection != *disconnection),
        ("[bulk]", old.bulk != *bulk),
        ("[plausibility]", old.plausibility != *plausibility),
        ("[clock_check]", old.clock_check != *clock_check),
        ("[[channel]]", old.channels != *channels),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(section, _)| section.to_owned())
    .collect();
    changes.extend(list("line", &old.lines, lines, |line: &LineConfig| &line.name));
    changes.extend(list("sink", &old.sinks, sinks, |sink: &SinkConfig| &sink.name));
    changes.extend(list("inbox", &old.inboxes, inboxes, |inbox: &InboxConfig| &inbox.name));
    Ok(changes)
}

/// What came, went and changed in a list of named things.
fn list<T: PartialEq>(what: &str, old: &[T], new: &[T], name: impl Fn(&T) -> &String) -> Vec<String> {
    let find = |list: &'_ [T], wanted: &T| list.iter().position(|thing| name(thing) == name(wanted));
    let gone = old
        .iter()
        .filter(|thing| find(new, thing).is_none())
        .map(|thing| format!("{what} {:?} removed", name(thing)));
    let others = new.iter().filter_map(|thing| match find(old, thing) {
        None => Some(format!("{what} {:?} added", name(thing))),
        Some(at) if old[at] != *thing => Some(format!("{what} {:?} changed", name(thing))),
        Some(_) => None,
    });
    gone.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const HEAD: &str =
        "[api]\nlisten = \"127.0.0.1:8080\"\n[store]\npath = \"s.db\"\n[vault]\nmaster_key_env = \"K\"\n";
    const PRICE: &str = "[price]\ncurrency = \"EUR\"\nminor_per_kwh = \"30\"\n";
    const LINE: &str = "[[line]]\nname = \"a\"\nkind = \"tcp\"\n";

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("gateway.toml"), &System).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_can_change_is_named_and_what_cannot_is_refused() {
        let old = config(&format!("{HEAD}{PRICE}{LINE}"));
        assert_eq!(changes(&old, &old.clone()), Ok(Vec::new()));
        let dearer = PRICE.replace("30", "31");
        let lines = "[[line]]\nname = \"b\"\nkind = \"tcp\"\n[[line]]\nname = \"c\"\nkind = \"tcp\"\n";
        let hook = "[[sink]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\nsecret_env = \"HOME\"\n";
        let new = config(&format!("{HEAD}{dearer}[schedule]\nread_interval_s = 5\n{lines}{hook}"));
        assert_eq!(
            changes(&old, &new).unwrap().join("; "),
            "[price]; [schedule]; line \"a\" removed; line \"b\" added; line \"c\" added; sink \"hook\" added"
        );
        let wider = config(&format!("{HEAD}{PRICE}{LINE}connections_max = 3\n"));
        assert_eq!(changes(&old, &wider).unwrap(), ["line \"a\" changed"]);
        let moved = config(&format!("{HEAD}{dearer}{LINE}").replace("8080", "8081").replace("s.db", "t.db"));
        assert_eq!(changes(&old, &moved), Err("[api], [store] changed, which needs a restart".to_owned()));
    }
}
