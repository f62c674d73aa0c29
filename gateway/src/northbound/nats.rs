//! A NATS JetStream stream as a sink. Each fact carries its id as `Nats-Msg-Id`: a repetition is acknowledged as a duplicate,
//! which is success. After a break the stream itself is asked for the last fact it has, so that not even a repetition from
//! beyond its window for duplicates is stored twice.

use super::{Fact, Sink, SinkError, fact, whole};
use crate::config::NatsServer;
use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::stream::{Config as StreamConfig, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use std::future::IntoFuture;

/// The connection, and what it needs to be opened.
#[derive(Debug)]
pub struct Nats {
    server: NatsServer,
    gateway: String,
    open: Option<Open>,
}

#[derive(Debug, Clone)]
struct Open {
    context: Context,
    stream: Stream,
}

/// Connects once; reconnecting is the courier's business.
pub(super) async fn connect(server: &NatsServer) -> Result<Client, SinkError> {
    let mut options = ConnectOptions::new().name("meter-gateway").max_reconnects(1);
    if let Some(login) = &server.login {
        options = options.user_and_password(login.user.clone(), login.password.reveal().to_owned());
    }
    if let Some(tls) = &server.tls {
        options = options.require_tls(true).tls_client_config((*tls.client()).clone());
    }
    let address = format!("nats://{}:{}", server.host, server.port);
    options.connect(address).await.map_err(|error| SinkError::Unreachable(whole(&error)))
}

impl Nats {
    pub(super) fn new(server: &NatsServer, gateway: &str) -> Self {
        Self { server: server.clone(), gateway: gateway.to_owned(), open: None }
    }

    /// The stream, made if there is none of this name. One that is there is used as it is.
    async fn open(&mut self) -> Result<Open, SinkError> {
        if let Some(open) = &self.open {
            return Ok(open.clone());
        }
        let context = jetstream::new(connect(&self.server).await?);
        let wanted = StreamConfig {
            name: self.server.stream.clone(),
            subjects: vec![format!("{}.>", self.server.subject)],
            ..StreamConfig::default()
        };
        let stream = context.get_or_create_stream(wanted).await.map_err(|error| {
            SinkError::Refused(format!("stream {}: {}", self.server.stream, whole(&error)))
        })?;
        Ok(self.open.insert(Open { context, stream }).clone())
    }

    async fn publish(&mut self, facts: &[Fact]) -> Result<(), SinkError> {
        let open = self.open().await?;
        let mut acknowledgements = Vec::with_capacity(facts.len());
        for fact in facts {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, fact.message_id());
            let subject = format!("{}.{}", self.server.subject, fact.levels().join("."));
            let sent = open.context.publish_with_headers(subject, headers, fact.json().into()).await;
            acknowledgements.push(sent.map_err(|error| SinkError::Unreachable(whole(&error)))?);
        }
        for acknowledgement in acknowledgements {
            // A duplicate is acknowledged like the first: the stream has it.
            let _ = acknowledgement.into_future().await.map_err(|error| SinkError::Refused(whole(&error)))?;
        }
        Ok(())
    }
}

impl Sink for Nats {
    async fn last_taken(&mut self) -> Result<Option<i64>, SinkError> {
        self.open = None;
        let open = self.open().await?;
        let ours = format!("{}.{}.>", self.server.subject, self.gateway);
        match open.stream.get_last_raw_message_by_subject(&ours).await {
            Ok(message) => {
                let id = message.headers.get(NATS_MESSAGE_ID);
                Ok(id.and_then(|id| fact::event_id(&self.gateway, id.as_str())))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(SinkError::Unreachable(whole(&error))),
        }
    }

    async fn deliver(&mut self, facts: &[Fact]) -> Result<(), SinkError> {
        self.publish(facts).await
    }

    async fn rest(&mut self) {
        self.open = None;
    }
}
