//! Facts on their way to other systems: MQTT brokers, NATS JetStream, webhooks.
//!
//! The outbox is the store's `event` table: an event is written in the transaction of its fact, so there is none without the
//! other. One [`courier`] a sink delivers the events in order and remembers in the store how far the other side has
//! acknowledged them. A cut connection, a restarted broker or a killed gateway therefore leads to a repetition, never to a
//! gap; each fact carries `gateway` and `id`, by which the other side tells a repetition. JetStream does that by itself.

mod courier;
mod fact;
pub mod inbox;
mod mqtt;
mod nats;
mod webhook;

pub use courier::{Pauses, run};
pub use fact::Fact;

use crate::config::{SinkConfig, SinkKind};

/// Why a sink did not take facts. None of them counts as delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The other side cannot be reached, or the connection broke. It may have taken some.
    #[error("{0}")]
    Unreachable(String),
    /// The other side said no.
    #[error("{0}")]
    Refused(String),
}

/// One way out of the gateway.
pub trait Sink: Send {
    /// The id of the last fact of ours the other side is known to have; `None` where it cannot be asked.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn last_taken(&mut self) -> impl Future<Output = Result<Option<i64>, SinkError>> + Send;

    /// Delivers facts in order. `Ok` only when the other side has acknowledged every one of them as stored.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn deliver(&mut self, facts: &[Fact]) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// There was nothing to deliver for a while: a connection may be closed.
    fn rest(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A configured sink, of whichever kind.
#[derive(Debug)]
pub enum AnySink {
    /// An MQTT broker.
    Mqtt(Box<mqtt::Mqtt>),
    /// A JetStream stream.
    Nats(Box<nats::Nats>),
    /// An HTTP endpoint.
    Webhook(webhook::Webhook),
}

impl AnySink {
    /// The sink that the configuration describes; nothing is connected yet. `gateway` names this gateway to the other side.
    #[must_use]
    pub fn new(config: &SinkConfig, gateway: &str) -> Self {
        match &config.kind {
            SinkKind::Mqtt(broker) => Self::Mqtt(Box::new(mqtt::Mqtt::new(broker, &config.name, gateway))),
            SinkKind::Nats(server) => Self::Nats(Box::new(nats::Nats::new(server, gateway))),
            SinkKind::Webhook(endpoint) => Self::Webhook(webhook::Webhook::new(endpoint)),
        }
    }
}

impl Sink for AnySink {
    async fn last_taken(&mut self) -> Result<Option<i64>, SinkError> {
        match self {
            Self::Mqtt(sink) => sink.last_taken().await,
            Self::Nats(sink) => sink.last_taken().await,
            Self::Webhook(sink) => sink.last_taken().await,
        }
    }

    async fn deliver(&mut self, facts: &[Fact]) -> Result<(), SinkError> {
        match self {
            Self::Mqtt(sink) => sink.deliver(facts).await,
            Self::Nats(sink) => sink.deliver(facts).await,
            Self::Webhook(sink) => sink.deliver(facts).await,
        }
    }

    async fn rest(&mut self) {
        match self {
            Self::Mqtt(sink) => sink.rest().await,
            Self::Nats(sink) => sink.rest().await,
            Self::Webhook(sink) => sink.rest().await,
        }
    }
}

/// What a system error says, with what lies below it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        below = error.source();
    }
    text
}
