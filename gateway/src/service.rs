//! The running gateway: puts the parts together, starts the tasks, and stops them in order.

use crate::api::{self, App};
use crate::clock::Clock;
use crate::commands::bulk::{self, Bulk};
use crate::commands::desk::{Desk, Said};
use crate::commands::engine::{Engine, Policy};
use crate::commands::reader::Reader;
use crate::commands::router::Router;
use crate::config::{ChannelSecret, Config, SinkConfig};
use crate::metrics::{HttpCounts, Metrics, Sources};
use crate::northbound::{self, AnySink, Pauses};
use crate::session::directory::Directory;
use crate::session::meter_keys::MeterKeys;
use crate::session::model::Models;
use crate::session::record::Recordings;
use crate::session::{self, Context};
use crate::store::Store;
use crate::store::access::ApiToken;
use crate::vault::Vault;
use crate::vending::{Vending, follow_up};
use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::registry::Registry;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Runs the gateway until `stop` resolves or a task fails; then stops it in order.
///
/// # Errors
/// What kept it from starting, or what broke.
pub async fn run(
    config: Config,
    models: Models,
    vault: Arc<dyn Vault>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    check_channels(&config, vault.as_ref())?;
    let listener = TcpListener::bind(config.api.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.api.listen))?;
    let store = Store::open_at(&config.store).await?;
    let clock = config.clock.clock(Timestamp::now());
    let directory = Directory::default();
    let recordings = Recordings::default();
    for (meter, _) in store.all_meters().await? {
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
    let lines = session::spawn(
        &config.lines,
        &Context {
            directory: directory.clone(),
            models: models.clone(),
            keys,
            counters: Arc::new(store.clone()),
            clock,
            system_title: store.system_title().await?,
            recordings: recordings.clone(),
            waits: waits.clone(),
        },
    );
    let router = Router::new(Arc::new(lines.clone()));
    let (tell_stop, stopped) = watch::channel(false);
    let (commissioned, ready) = mpsc::unbounded_channel();
    let (desk, said) = Desk::new();
    let rules = Arc::new(config.disconnection.rules.clone());
    let command_expiry =
        SignedDuration::try_from(config.schedule.command_expiry).unwrap_or(SignedDuration::MAX);
    let policy = Policy { rules: rules.clone(), command_expiry };
    let engine = Engine::new(store.clone(), vending.clone(), clock, router.clone(), policy, commissioned);
    let reader = Reader::new(store.clone(), clock, router, config.schedule, rules);
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
        rules: Arc::new(config.disconnection.rules.clone()),
        limits: config.bulk,
        command_expiry,
        approval_expiry: SignedDuration::try_from(config.disconnection.approval_expiry)
            .unwrap_or(SignedDuration::MAX),
    };
    let (pacer, pacer_desk) = (bulk.clone(), desk.clone());
    let waiting = vending.clone();
    let address = listener.local_addr()?;
    let sinks = config.sinks.clone();
    let couriers = store.clone();
    let app = App {
        store,
        vending,
        vault,
        clock,
        config: Arc::new(config),
        directory,
        models,
        recordings,
        desk,
        lines,
        metrics,
        http,
        bulk,
        stop: stopped.clone(),
    };
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    tasks.spawn(engine_task(engine, said, stopped.clone()));
    tasks.spawn(reader_task(reader, ready, stopped.clone()));
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
    for sink in sinks {
        tasks.spawn(courier_task(sink, couriers.clone(), clock, stopped.clone()));
    }
    tasks.spawn(http_task(listener, app, stopped));
    tracing::info!(%address, "listening");
    tokio::select! {
        () = stop => tracing::info!("stopping"),
        Some(ended) = tasks.join_next() => {
            tell_stop.send_replace(true);
            ended??;
            anyhow::bail!("a task ended by itself");
        }
    }
    tell_stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    tracing::info!("stopped");
    Ok(())
}

/// A channel whose secret the vault lacks could never pay: better said now than to the first customer.
fn check_channels(config: &Config, vault: &dyn Vault) -> anyhow::Result<()> {
    for channel in &config.channels {
        match &channel.secret {
            ChannelSecret::Vault(name) => {
                vault
                    .verify_signature(name, &[], &[])
                    .with_context(|| format!("payment channel {}", channel.id))?;
            }
            ChannelSecret::Plain(_) => tracing::warn!(
                channel = channel.id,
                "its secret is outside the vault, which is meant for tests: take it in with `meter-gateway secret import`"
            ),
        }
    }
    Ok(())
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
    ready: mpsc::UnboundedReceiver<crate::session::work::Serial>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    reader.run(ready, stop).await.context("the reader")
}

async fn courier_task(
    sink: SinkConfig,
    store: Store,
    clock: Clock,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let gateway: String = store.system_title().await?.iter().map(|byte| format!("{byte:02x}")).collect();
    let way = AnySink::new(&sink, &gateway);
    northbound::run(&sink.name, way, &gateway, &store, clock, Pauses::default(), stop)
        .await
        .with_context(|| format!("the sink {}", sink.name))
}

async fn http_task(listener: TcpListener, app: App, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    api::serve::serve(listener, api::service(app), api::serve::Limits::default(), stop).await;
    Ok(())
}

/// Makes a first administrator token when there is none. The file is written before the store knows the token: a stop in
/// between leaves a file that the next start replaces, never a store that nobody can talk to.
async fn bootstrap(store: &Store, path: &Path) -> anyhow::Result<()> {
    if store.has_api_tokens().await? {
        return Ok(());
    }
    let token = format!("mgw_{}", api::new_secret()?);
    let written = (|| {
        let _ = std::fs::remove_file(path);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{token}")?;
        file.sync_all()
    })();
    written.with_context(|| format!("cannot write the first token to {}", path.display()))?;
    let entry = ApiToken { name: "admin".to_owned(), scopes: api::Scope::Admin.to_string() };
    store.add_api_token(entry, api::hash_of(&token), Timestamp::now()).await?;
    tracing::info!(file = %path.display(), "wrote the first administrator token");
    Ok(())
}
