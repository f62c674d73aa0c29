//! An MQTT 5 broker as a sink. Version 5, because only there a broker says that it did not take a message: brokers of version
//! 3.1.1 acknowledge what their access rules throw away.

use super::{Fact, Sink, SinkError, whole};
use crate::config::MqttBroker;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing, Transport};
use std::time::Duration;

/// How often a quiet connection is checked.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Unacknowledged messages at once, as far as the broker allows it.
const INFLIGHT_MAX: u16 = 100;

/// The connection, and what it needs to be opened.
#[derive(Debug)]
pub struct Mqtt {
    options: MqttOptions,
    topic: String,
    open: Option<Open>,
}

struct Open {
    client: AsyncClient,
    events: EventLoop,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

impl Mqtt {
    pub(super) fn new(broker: &MqttBroker, name: &str, gateway: &str) -> Self {
        let mut options =
            MqttOptions::new(format!("meter-gateway-{gateway}-{name}"), &broker.host, broker.port);
        options.set_keep_alive(KEEP_ALIVE);
        // What was not acknowledged is still in our store; the broker need not remember us.
        options.set_clean_start(true);
        options.set_outgoing_inflight_upper_limit(INFLIGHT_MAX);
        if let Some(login) = &broker.login {
            options.set_credentials(&login.user, login.password.reveal());
        }
        if let Some(tls) = &broker.tls {
            options.set_transport(Transport::tls_with_config((*tls.client()).clone().into()));
        }
        Self { options, topic: broker.topic.clone(), open: None }
    }

    fn open(&mut self) -> &mut Open {
        let options = &self.options;
        self.open.get_or_insert_with(|| {
            let capacity = usize::try_from(super::courier::BATCH_MAX).unwrap_or(usize::MAX);
            let (client, events) = AsyncClient::new(options.clone(), capacity);
            Open { client, events }
        })
    }

    async fn publish(&mut self, facts: &[Fact]) -> Result<(), SinkError> {
        let topic = self.topic.clone();
        let open = self.open();
        for fact in facts {
            let topic = format!("{topic}/{}", fact.levels().join("/"));
            let sent = open.client.try_publish(topic, QoS::AtLeastOnce, false, fact.json());
            sent.map_err(|error| SinkError::Unreachable(whole(&error)))?;
        }
        open.acknowledgements(facts.len()).await
    }
}

impl Open {
    /// Waits until the broker has acknowledged so many messages. Nothing else was ever sent on this connection without having
    /// been waited for, so they are ours.
    async fn acknowledgements(&mut self, mut wanted: usize) -> Result<(), SinkError> {
        while wanted > 0 {
            let event = self.events.poll().await.map_err(|error| SinkError::Unreachable(whole(&error)))?;
            match event {
                Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => wanted -= 1,
                    reason => {
                        return Err(SinkError::Refused(format!(
                            "the broker does not take facts: {reason:?}"
                        )));
                    }
                },
                Event::Incoming(Packet::Disconnect(bye)) => {
                    return Err(SinkError::Unreachable(format!(
                        "the broker ended it: {:?}",
                        bye.reason_code
                    )));
                }
                Event::Outgoing(Outgoing::Disconnect) => {
                    return Err(SinkError::Unreachable("the connection was closed".to_owned()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Sink for Mqtt {
    async fn last_taken(&mut self) -> Result<Option<i64>, SinkError> {
        // Whatever the last connection still held is in the store too.
        self.open = None;
        Ok(None)
    }

    async fn deliver(&mut self, facts: &[Fact]) -> Result<(), SinkError> {
        self.publish(facts).await
    }

    async fn rest(&mut self) {
        if let Some(mut open) = self.open.take()
            && open.client.try_disconnect().is_ok()
        {
            // A polite end; if the broker has gone, so be it.
            let _ = tokio::time::timeout(Duration::from_secs(1), async {
                while !matches!(open.events.poll().await, Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_))
                {
                }
            })
            .await;
        }
    }
}
