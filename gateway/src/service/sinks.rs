//! The couriers of the configured sinks; they come and go with the configuration.

use crate::clock::Clock;
use crate::config::SinkConfig;
use crate::northbound::{self, AnySink, Pauses};
use crate::store::Store;
use anyhow::Context;
use std::collections::BTreeMap;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

#[derive(Debug)]
struct Courier {
    config: SinkConfig,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// One courier a sink.
#[derive(Debug)]
pub(super) struct Sinks {
    store: Store,
    clock: Clock,
    /// How this gateway is named to the other sides.
    gateway: String,
    /// Told what a courier broke on: only a store that fails breaks one.
    broken: mpsc::UnboundedSender<anyhow::Error>,
    couriers: Mutex<BTreeMap<String, Courier>>,
}

impl Sinks {
    /// None yet.
    pub(super) fn new(
        store: Store,
        clock: Clock,
        gateway: String,
        broken: mpsc::UnboundedSender<anyhow::Error>,
    ) -> Self {
        Self { store, clock, gateway, broken, couriers: Mutex::default() }
    }

    /// Makes them these: stops couriers of sinks that are gone or changed, and starts what is missing. One that stops leaves what was
    /// not acknowledged for its successor: it may come twice, and is never lost.
    pub(super) async fn change_to(&self, wanted: &[SinkConfig]) {
        let mut couriers = self.couriers.lock().await;
        let gone: Vec<String> = couriers
            .values()
            .filter(|courier| !wanted.contains(&courier.config))
            .map(|courier| courier.config.name.clone())
            .collect();
        for name in gone {
            if let Some(courier) = couriers.remove(&name) {
                tracing::info!(sink = name, "stopping: the configuration no longer has it like this");
                end(courier).await;
            }
        }
        for sink in wanted {
            if !couriers.contains_key(&sink.name) {
                couriers.insert(sink.name.clone(), self.start(sink));
            }
        }
    }

    /// Stops all.
    pub(super) async fn stop(&self) {
        let couriers = std::mem::take(&mut *self.couriers.lock().await);
        for courier in couriers.into_values() {
            end(courier).await;
        }
    }

    fn start(&self, sink: &SinkConfig) -> Courier {
        let (stop, stopped) = watch::channel(false);
        let (store, clock, gateway, broken) =
            (self.store.clone(), self.clock, self.gateway.clone(), self.broken.clone());
        let config = sink.clone();
        let task = tokio::spawn(async move {
            let way = AnySink::new(&config, &gateway);
            let ended =
                northbound::run(&config.name, way, &gateway, &store, clock, Pauses::default(), stopped).await;
            if let Err(error) = ended.with_context(|| format!("the sink {}", config.name)) {
                // Nobody listens only when the gateway stops.
                let _ = broken.send(error);
            }
        });
        Courier { config: sink.clone(), stop, task }
    }
}

async fn end(courier: Courier) {
    courier.stop.send_replace(true);
    if let Err(error) = courier.task.await {
        tracing::error!(sink = courier.config.name, %error, "its courier did not end by itself");
    }
}
