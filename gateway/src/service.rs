//! The running gateway: puts the parts together, starts the tasks, and stops them in order.

mod inboxes;
pub mod log;
pub mod reload;
mod sinks;
mod systemd;

use crate::api::{self, App};
use crate::clock::Clock;
use crate::commands::bulk::{self, Bulk};
use crate::commands::clock::ClockKeeper;
use crate::commands::desk::{Desk, Said};
use crate::commands::engine::{Engine, Policy};
use crate::commands::reader::Reader;
use crate::commands::router::Router;
use crate::commands::visits::Visits;
use crate::config::{ChannelSecret, Config, Live};
use crate::listen::{Judge, Listener};
use crate::metrics::{HttpCounts, Metrics, Sources};
use crate::northbound::inbox::Inboxes;
use crate::reading::collector::Collector;
use crate::reading::discovery::Discoveries;
use crate::session::directory::Directory;
use crate::session::meter_keys::MeterKeys;
use crate::session::model::Models;
use crate::session::record::Recordings;
use crate::session::work::Serial;
use crate::session::{self, Arrival, Context};
use crate::store::Store;
use crate::store::access::ApiToken;
use crate::store::keeper::Keeper;
use crate::vault::{self, Vault};
use crate::vending::{Vending, follow_up};
use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use log::LogLevels;
use prometheus_client::registry::Registry;
use reload::{Reached, Reloader};
use sinks::Sinks;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

/// How the running gateway is told what to do besides its API.
#[derive(Debug)]
pub struct Control {
    /// The configuration file, to be read again.
    pub path: PathBuf,
    /// When to do that.
    pub hangups: Signal,
    /// What is logged.
    pub log: LogLevels,
}

/// Runs the gateway until `stop` resolves or a task fails; then stops it in order.
///
/// # Errors
/// What kept it from starting, or what broke.
pub async fn run(
    config: Config,
    models: Models,
    vault: Arc<dyn Vault>,
    control: Control,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    check_secrets(&config, vault.as_ref())?;
    let listener = TcpListener::bind(config.api.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.api.listen))?;
    let store = Store::open_at(&config.store).await?;
    let clock = config.clock.clock(Timestamp::now());
    let directory = Directory::default();
    let recordings = Recordings::default();
    // Once for everybody who begins with them.
    let meters = store.all_meters().await?;
    for (meter, _) in &meters {
        if config.line(&meter.line).is_none() {
            tracing::warn!(meter = meter.serial.0, line = meter.line, "its line is not configured");
        }
        directory.put(meter.endpoint());
    }
    bootstrap(&store, &config.api.bootstrap_token_file).await?;
    let vending = Vending::new(store.clone(), vault.clone(), clock, config.price.clone());
    let made = vending.resume().await?;
    if made > 0 {
        tracing::info!(tokens = made, "made the tokens of payments that were booked before the last stop");
    }
    let keys: Arc<dyn MeterKeys> = Arc::new(vault.clone());
    let waits = session::waits();
    let context = Context {
        directory: directory.clone(),
        models: models.clone(),
        keys,
        counters: Arc::new(store.clone()),
        clock,
        system_title: store.system_title().await?,
        recordings: recordings.clone(),
        waits: waits.clone(),
    };
    let lines = session::spawn(&config.lines, &context);
    let judge = Judge {
        directory: directory.clone(),
        models: models.clone(),
        keys: context.keys.clone(),
        counters: context.counters.clone(),
        system_title: context.system_title,
    };
    let router = Router::new(Arc::new(lines.clone()));
    let (tell_stop, stopped) = watch::channel(false);
    let (commissioned, ready) = mpsc::unbounded_channel();
    let (desk, said) = Desk::new();
    let policy = Live::new(Policy::of(&config));
    let schedule = Live::new(config.schedule);
    let engine =
        Engine::new(store.clone(), vending.clone(), clock, router.clone(), policy.clone(), commissioned)
            .hearing(lines.arrivals());
    let mut collector = Collector::new(
        store.clone(),
        clock,
        router.clone(),
        models.clone(),
        schedule.clone(),
        policy.clone(),
    );
    let clocks = ClockKeeper::new(store.clone(), clock, router.clone(), models.clone(), policy.clone());
    let (of_the_reader, visits) = Visits::pair();
    let (of_reader, of_policy) = (schedule.clone(), policy.clone());
    let reader =
        Reader::new(store.clone(), clock, router.clone(), of_reader, of_policy, clocks, of_the_reader);
    let http = HttpCounts::default();
    let metrics = Metrics::new(
        Registry::with_prefix(crate::metrics::PREFIX),
        Sources {
            lines: lines.clone(),
            waits,
            steps: engine.steps(),
            store: store.measures(),
            vends: vending.vends(),
            http: http.clone(),
        },
    );
    let bulk = Bulk {
        store: store.clone(),
        clock,
        models: models.clone(),
        rules: Arc::default(),
        limits: config.bulk,
        command_expiry: SignedDuration::ZERO,
        approval_expiry: SignedDuration::ZERO,
    };
    let bulk = Live::new(bulk.under(&config));
    let (pacer, pacer_desk) = (bulk.clone(), desk.clone());
    let waiting = vending.clone();
    let address = listener.local_addr()?;
    let listeners = config.listeners.clone();
    let alarms = store.clone();
    let gateway: String = store.system_title().await?.iter().map(|byte| format!("{byte:02x}")).collect();
    let (tell_inboxes, inboxes) = watch::channel(config.inboxes.clone());
    let (broken, mut broke) = mpsc::unbounded_channel();
    let sinks = Arc::new(Sinks::new(store.clone(), clock, gateway.clone(), broken));
    sinks.change_to(&config.sinks).await;
    let (place, keep) = (config.store.clone(), config.keep);
    let settings = Live::new(config);
    let configured = settings.clone();
    let names = move || configured.now().sinks.iter().map(|sink| sink.name.clone()).collect();
    let keeper = Keeper::new(store.clone(), place, keep, names);
    let reached = Reached {
        settings: settings.clone(),
        lines: lines.clone(),
        policy,
        schedule,
        vending: vending.clone(),
        sinks: sinks.clone(),
        bulk: bulk.clone(),
        inboxes: tell_inboxes,
    };
    let reloader = Arc::new(Reloader::new(control.path, models.clone(), vault.clone(), clock, reached));
    let feeding = systemd::feed_watchdog(store.clone(), desk.clone(), stopped.clone());
    let arrivals = (lines.arrivals(), lines.arrivals(), lines.arrivals());
    let discoveries = Discoveries::new(router, directory.clone(), clock);
    let app = App {
        discoveries,
        store,
        vending,
        vault,
        clock,
        settings,
        reloader: reloader.clone(),
        log: control.log,
        directory,
        models,
        recordings,
        desk,
        lines,
        metrics,
        http,
        bulk,
        inboxes: Inboxes::default(),
        stop: stopped.clone(),
    };
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    tasks.spawn(engine_task(engine, said, stopped.clone()));
    let (ready_to_read, ready_to_collect) = both(ready);
    collector.load(&meters).await.context("the collector")?;
    let read = meters.into_iter().filter(|(_, state)| state.commissioned_at.is_some());
    let read = read.map(|(meter, _)| meter.serial).collect();
    tasks.spawn(reader_task(reader, read, ready_to_read, arrivals.1, stopped.clone()));
    let stop_collecting = stopped.clone();
    tasks.spawn(async move {
        collector.run(ready_to_collect, visits, arrivals.2, stop_collecting).await.context("the collector")
    });
    let stop_waiting = stopped.clone();
    tasks.spawn(async move {
        follow_up::run(waiting, stop_waiting).await;
        Ok(())
    });
    let stop_pacing = stopped.clone();
    tasks.spawn(async move {
        bulk::run(pacer, pacer_desk, stop_pacing).await;
        Ok(())
    });
    let mut stop_feeding = stopped.clone();
    tasks.spawn(reload_task(control.hangups, reloader, stopped.clone()));
    tasks.spawn(async move {
        feeding.await;
        stop_feeding.wait_for(|stop| *stop).await?;
        Ok(())
    });
    for listen in listeners {
        let listener = Listener::new(&listen, judge.clone(), alarms.clone(), clock);
        tasks.spawn(listener.run(listen, stopped.clone()));
    }
    let (taker, stop_taking) = (app.clone(), stopped.clone());
    tasks.spawn(async move {
        inboxes::run(taker, gateway, inboxes, stop_taking).await;
        Ok(())
    });
    let introduced = Listener::of_calls(judge, alarms, clock);
    tasks.spawn(introduced.run_calls(arrivals.0, stopped.clone()));
    tasks.spawn(keeper_task(keeper, clock, stopped.clone()));
    tasks.spawn(http_task(listener, app, stopped));
    tracing::info!(%address, "listening");
    systemd::ready();
    let ended = tokio::select! {
        () = stop => Ok(()),
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("a task ended by itself")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
        Some(error) = broke.recv() => Err(error),
    };
    tracing::info!("stopping");
    systemd::stopping();
    tell_stop.send_replace(true);
    ended?;
    sinks.stop().await;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    tracing::info!("stopped");
    Ok(())
}

/// A channel whose secret the vault lacks could never pay, and a principal never command: better said now than to the first customer.
fn check_secrets(config: &Config, vault: &dyn Vault) -> anyhow::Result<()> {
    let channels = config.channels.iter().map(|channel| ("payment channel", &channel.id, &channel.secret));
    let principals = config.inboxes.iter().flat_map(|inbox| &inbox.principals);
    let principals = principals.map(|principal| ("principal", &principal.name, &principal.secret));
    for (what, name, secret) in channels.chain(principals) {
        match secret {
            ChannelSecret::Vault(secret) => {
                vault.verify_signature(secret, &[], &[]).with_context(|| format!("{what} {name}"))?;
            }
            ChannelSecret::Plain(_) => tracing::warn!(
                what,
                name,
                "the secret is outside the vault, which is meant for tests: take it in with `meter-gateway secret import`"
            ),
        }
    }
    Ok(())
}

/// The reader and the collector both hear of meters that were commissioned.
fn both(
    mut ready: mpsc::UnboundedReceiver<Serial>,
) -> (mpsc::UnboundedReceiver<Serial>, mpsc::UnboundedReceiver<Serial>) {
    let (to_reader, reader) = mpsc::unbounded_channel();
    let (to_collector, collector) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(serial) = ready.recv().await {
            // Who does not listen any more has stopped.
            let _ = to_reader.send(serial.clone());
            let _ = to_collector.send(serial);
        }
    });
    (reader, collector)
}

async fn engine_task(
    engine: Engine,
    said: mpsc::Receiver<Said>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    engine.run(said, stop).await.context("the command engine")
}

async fn reader_task(
    reader: Reader,
    meters: Vec<Serial>,
    ready: mpsc::UnboundedReceiver<Serial>,
    arrivals: broadcast::Receiver<Arrival>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    reader.run(meters, ready, arrivals, stop).await.context("the reader")
}

/// Reads the configuration again with each hangup.
async fn reload_task(
    mut hangups: Signal,
    reloader: Arc<Reloader>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    loop {
        let hung_up = tokio::select! {
            hung_up = hangups.recv() => hung_up.is_some(),
            // An error means that nobody can tell us any more, which is a stop too.
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        if hung_up {
            systemd::reloading();
            reloader.reload().await;
            systemd::ready();
        }
    }
}

async fn keeper_task(keeper: Keeper, clock: Clock, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    keeper.run(clock, stop).await.context("the keeper of the store")
}

async fn http_task(listener: TcpListener, app: App, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    api::serve::serve(listener, api::service(app), api::serve::Limits::default(), stop).await;
    Ok(())
}

/// Makes a first administrator token when there is none. The file is there whole or not at all, and before the store knows the
/// token: a stop in between leaves a file that the next start replaces, never a store that nobody can talk to.
async fn bootstrap(store: &Store, path: &Path) -> anyhow::Result<()> {
    if store.has_api_tokens().await? {
        return Ok(());
    }
    let token = format!("mgw_{}", api::new_secret()?);
    let written = vault::replace(path, format!("{token}\n").as_bytes());
    written.with_context(|| format!("cannot write the first token to {}", path.display()))?;
    let entry = ApiToken { name: "admin".to_owned(), scopes: api::Scope::Admin.to_string() };
    store.add_api_token(entry, api::hash_of(&token), Timestamp::now()).await?;
    tracing::info!(file = %path.display(), "wrote the first administrator token");
    Ok(())
}
