//! Counters and histograms in the text format that monitoring systems collect (OpenMetrics 1.0).
//!
//! Each part of the gateway counts for itself; [`Metrics::new`] puts their counters into a registry that it is given, and
//! [`Metrics::text`] asks the store for what is counted there. Labels name lines, sinks, priorities and states: things that the
//! operator configures or the program knows, never meters, so that their number stays small.

mod lines;
#[cfg(test)]
pub(crate) mod tests;

use crate::commands::measures::{CommandSteps, StateLabel};
use crate::config::Config;
use crate::session::{self, Waits};
use crate::store::{Measures, Store, StoreError};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Every name begins with it.
pub const PREFIX: &str = "meter_gateway";

/// What HTTP requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// First digit of the status: `2xx`.
    pub status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

/// What the HTTP service counts. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct HttpCounts {
    /// Requests answered, by status.
    pub requests: Family<StatusLabel, Counter>,
    /// Requests without a token or session that is known here.
    pub refused_logins: Counter,
}

impl HttpCounts {
    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        let status = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&StatusLabel { status }).inc();
    }
}

/// Where the numbers come from.
#[derive(Debug)]
pub struct Sources {
    /// The lines.
    pub lines: session::Router,
    /// How long jobs waited for their lines.
    pub waits: Waits,
    /// Steps of commands.
    pub steps: CommandSteps,
    /// What the store's writer measures.
    pub store: Measures,
    /// Payments taken.
    pub vends: Counter,
    /// What the HTTP service counts.
    pub http: HttpCounts,
}

/// What is looked up when it is asked for.
#[derive(Debug, Default)]
struct Looked {
    open_commands: Family<StateLabel, Gauge>,
    unsent: Family<SinkLabel, Gauge>,
    oldest: Family<SinkLabel, Gauge>,
    store_bytes: Gauge,
}

/// The gateway's metrics. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    looked: Arc<Looked>,
    /// One look at a time: values that are looked up are set and then written.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Metrics {
    /// Puts all into this registry.
    #[must_use]
    pub fn new(mut registry: Registry, sources: Sources) -> Self {
        let looked = Looked::default();
        registry.register_collector(Box::new(lines::Lines(sources.lines)));
        let mut add = Adding(&mut registry);
        add.put(
            "job_waiting_seconds",
            "Time from a job's arrival in its line's queue to its begin",
            sources.waits,
        );
        add.put("command_steps", "Steps of commands, by the state they led to", sources.steps);
        add.put("commands_open", "Commands that are not finished, by state", looked.open_commands.clone());
        add.put("vends", "Payments booked", sources.vends);
        add.put("store_group_writes", "Writes in one commit", sources.store.group);
        add.put(
            "store_commit_seconds",
            "Time of one commit, from its first write until it is durable",
            sources.store.commit,
        );
        add.put("store_file_bytes", "Size of the embedded store's files", looked.store_bytes.clone());
        add.put("store_room_bytes", "What the embedded store may still take of its disk", sources.store.room);
        add.put("sink_unsent_facts", "Facts that a sink has not acknowledged", looked.unsent.clone());
        add.put(
            "sink_oldest_unsent_seconds",
            "Age of the oldest of them; 0 without one",
            looked.oldest.clone(),
        );
        add.put("http_requests", "Requests answered, by status", sources.http.requests);
        add.put(
            "http_refused_logins",
            "Requests without a known token or session",
            sources.http.refused_logins,
        );
        let turn = Arc::default();
        Self { registry: Arc::new(registry), looked: Arc::new(looked), turn }
    }

    /// All of them as text.
    ///
    /// # Errors
    /// Store failures.
    pub async fn text(&self, store: &Store, config: &Config, now: Timestamp) -> Result<String, StoreError> {
        let _turn = self.turn.lock().await;
        self.looked.open_commands.clear();
        for (state, count) in store.open_command_counts().await? {
            self.looked.open_commands.get_or_create(&StateLabel { state: state.as_str() }).set(count);
        }
        self.looked.unsent.clear();
        self.looked.oldest.clear();
        for sink in &config.sinks {
            let state = store.sink_state(&sink.name).await?;
            let label = SinkLabel { sink: sink.name.clone() };
            let age = state.oldest_at.map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0));
            self.looked.unsent.get_or_create(&label).set(state.behind);
            self.looked.oldest.get_or_create(&label).set(age);
        }
        self.looked.store_bytes.set(i64::try_from(config.store.file_bytes()).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        Ok(text)
    }
}

struct Adding<'a>(&'a mut Registry);

impl Adding<'_> {
    fn put(&mut self, name: &str, help: &str, metric: impl prometheus_client::registry::Metric) {
        self.0.register(name, help, metric);
    }
}
