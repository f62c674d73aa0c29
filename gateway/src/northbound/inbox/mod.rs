//! Commands as messages: a durable consumer of a JetStream stream. A message is one command, in the words of the API, signed by a
//! principal of the configuration; guards, second person and audit are those of the API, because it is the API's own way in.
//!
//! A message is answered once, and the answer is kept in the transaction that records its command: one that is delivered again, to a
//! gateway that was killed before it could acknowledge, or because the acknowledgement was lost, gets the same answer and does nothing.

mod message;
mod state;

pub use state::{InboxState, Inboxes};

use super::{SinkError, nats, whole};
use crate::api::{App, Caller, Problem, commands};
use crate::config::InboxConfig;
use crate::store::StoreError;
use crate::store::message::{self as kept, Answer, Message};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Config as StreamConfig;
use async_nats::jetstream::{self, AckKind, Message as Delivered};
use axum::http::StatusCode;
use futures_util::StreamExt;
use message::Incoming;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A server that is not there is tried again after this time, doubling up to the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// A message that the store could not take is delivered again after this time.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// How long the server may take to confirm an acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence of the server after which the connection is opened anew.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Messages of nobody known are told at most so often, with how many there were.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Messages delivered and not acknowledged at once: they are worked on one after the other.
const PENDING_MAX: i64 = 64;

/// The header of an answer that names the message.
const IN_REPLY_TO: &str = "X-In-Reply-To";
/// The header of an answer that was given before.
const REPLAYED: &str = "X-Replayed";

/// Takes messages until told to stop.
pub async fn run(config: InboxConfig, gateway: String, app: App, mut stop: watch::Receiver<bool>) {
    app.inboxes.change(&config.name, |state| *state = InboxState::default());
    let mut inbox = Inbox { config, gateway, app, told: None };
    tokio::select! {
        () = inbox.take_for_ever() => {}
        // An error means that nobody can tell us any more, which is a stop too.
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

struct Inbox {
    config: InboxConfig,
    gateway: String,
    app: App,
    /// When messages of nobody known were last told.
    told: Option<Instant>,
}

/// What becomes of a message.
enum Done {
    /// It was answered.
    Answered { to: String, id: String, answer: Answer, replayed: bool },
    /// Nobody known: no answer, and it is not to come again.
    Nobody,
    /// It is to come again.
    Again,
}

impl Inbox {
    async fn take_for_ever(&mut self) {
        let mut pause = PAUSE_FIRST;
        loop {
            let begun = Instant::now();
            let Err(error) = self.take_messages().await;
            if begun.elapsed() > PAUSE_LONGEST {
                pause = PAUSE_FIRST;
            }
            let found = (error.to_string(), self.app.clock.now());
            self.app.inboxes.change(&self.config.name, |state| {
                state.taking_since = None;
                (state.problem, state.problem_at) = (Some(found.0), Some(found.1));
            });
            tracing::warn!(inbox = self.config.name, %error, pause_s = pause.as_secs(), "messages wait at the server");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    /// Where messages for this gateway are published.
    fn subject(&self) -> String {
        format!("{}.{}", self.config.server.subject, self.gateway)
    }

    async fn take_messages(&mut self) -> Result<std::convert::Infallible, SinkError> {
        let unreachable = |error: &dyn std::error::Error| SinkError::Unreachable(whole(error));
        let client = nats::connect(&self.config.server).await?;
        let consumer = self.consumer(&client).await?;
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(usize::try_from(PENDING_MAX).unwrap_or(1))
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| unreachable(&error))?;
        let since = self.app.clock.now();
        self.app.inboxes.change(&self.config.name, |state| {
            (state.taking_since, state.problem, state.problem_at) = (Some(since), None, None);
        });
        tracing::info!(inbox = self.config.name, subject = self.subject(), "messages are taken");
        while let Some(delivered) = messages.next().await {
            let delivered = delivered.map_err(|error| unreachable(&error))?;
            let ack = match self.take(&delivered).await {
                Done::Answered { to, id, answer, replayed } => {
                    self.answer(&client, &to, &id, &answer, replayed).await?;
                    if answer.status < 300 { AckKind::Ack } else { AckKind::Term }
                }
                Done::Nobody => AckKind::Term,
                Done::Again => AckKind::Nak(Some(STORE_PAUSE)),
            };
            let acknowledged = tokio::time::timeout(ACK_TIMEOUT, delivered.double_ack_with(ack)).await;
            match acknowledged {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(SinkError::Unreachable(format!("an acknowledgement: {error}"))),
                Err(_) => {
                    return Err(SinkError::Unreachable("an acknowledgement was not confirmed".to_owned()));
                }
            }
        }
        Err(SinkError::Unreachable("the server ended the consumer".to_owned()))
    }

    /// The durable consumer of this inbox; it and the stream are made when they are not there.
    async fn consumer(&self, client: &async_nats::Client) -> Result<PullConsumer, SinkError> {
        let refused = |what: String, error: &dyn std::error::Error| {
            SinkError::Refused(format!("{what}: {}", whole(error)))
        };
        let server = &self.config.server;
        let context = jetstream::new(client.clone());
        let wanted = StreamConfig {
            name: server.stream.clone(),
            subjects: vec![format!("{}.>", server.subject)],
            ..StreamConfig::default()
        };
        let stream = context.get_or_create_stream(wanted).await;
        let stream = stream.map_err(|error| refused(format!("stream {}", server.stream), &error))?;
        let name = format!("{}-{}", self.config.name, self.gateway);
        let wanted = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: self.subject(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.config.ack_wait,
            max_ack_pending: PENDING_MAX,
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer(&name, wanted).await;
        consumer.map_err(|error| refused(format!("consumer {name}"), &error))
    }

    /// Does what a message says, or says why not.
    async fn take(&mut self, delivered: &Delivered) -> Done {
        let incoming = Incoming {
            subject: delivered.subject.as_str(),
            headers: delivered.headers.as_ref(),
            body: &delivered.payload,
        };
        let known = incoming.authenticate(&self.config.principals, self.app.vault.as_ref());
        let (principal, id, not_after) = match known {
            Ok(known) => known,
            Err(problem) if is_ours(&problem) => return Done::Again,
            Err(problem) => {
                self.tell_refused(&problem.detail).await;
                return Done::Nobody;
            }
        };
        let message = incoming.remembered(principal, id, not_after);
        let caller = Caller::new(&principal.name, &principal.scopes);
        let done = self.once(&message, &caller, not_after, incoming.body).await;
        match done {
            Ok((answer, replayed)) => {
                if !replayed && answer.status == StatusCode::CONFLICT.as_u16() {
                    self.tell_refused("a message id was used for another message").await;
                }
                tracing::info!(
                    inbox = self.config.name,
                    principal = message.principal,
                    message = message.message_id,
                    status = answer.status,
                    replayed,
                    "a message is answered"
                );
                Done::Answered { to: message.principal, id: message.message_id, answer, replayed }
            }
            Err(problem) => {
                tracing::error!(
                    inbox = self.config.name,
                    why = problem.detail,
                    "a message could not be stored"
                );
                Done::Again
            }
        }
    }

    /// The answer to a message, and whether it was given before.
    async fn once(
        &self,
        message: &Message,
        caller: &Caller,
        not_after: &str,
        body: &[u8],
    ) -> Result<(Answer, bool), Problem> {
        let app = &self.app;
        if let Some((digest, answer)) =
            app.store.message_answer(&message.principal, &message.message_id).await?
        {
            if digest == message.digest {
                return Ok((answer, true));
            }
            let detail = format!("message id {:?} was used for another message", message.message_id);
            return Ok((refusal(&Problem::new(StatusCode::CONFLICT, "id-used", detail)), false));
        }
        let recorded = match message::timely(not_after, app.clock.now()) {
            Ok(()) => commands::record_message(app, caller, body, message).await,
            Err(problem) => Err(problem),
        };
        let problem = match recorded {
            Ok(answer) => return Ok((answer, false)),
            Err(problem) => problem,
        };
        if is_ours(&problem) {
            return Err(problem);
        }
        let (answer, message, now) = (refusal(&problem), message.clone(), app.clock.now());
        let keep = answer.clone();
        app.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { kept::keep(conn, &message, None, &keep, now).await })
            })
            .await?;
        Ok((answer, false))
    }

    async fn answer(
        &self,
        client: &async_nats::Client,
        to: &str,
        id: &str,
        answer: &Answer,
        replayed: bool,
    ) -> Result<(), SinkError> {
        let mut headers = HeaderMap::new();
        headers.insert(IN_REPLY_TO, id);
        if replayed {
            headers.insert(REPLAYED, "true");
        }
        let subject = format!("{}.{}.{to}", self.config.replies, self.gateway);
        let body = json!({"message_id": id, "status": answer.status, "answer": answer.body}).to_string();
        let sent = client.publish_with_headers(subject, headers, body.into()).await;
        sent.map_err(|error| SinkError::Unreachable(whole(&error)))?;
        let now = self.app.clock.now();
        self.app.inboxes.change(&self.config.name, |state| {
            (state.answered, state.answered_at) = (state.answered + 1, Some(now));
        });
        Ok(())
    }

    /// Counts a message of nobody known, and tells of it, not too often.
    async fn tell_refused(&mut self, why: &str) {
        let refused = self.app.inboxes.change(&self.config.name, |state| {
            state.refused += 1;
            state.refused
        });
        tracing::debug!(inbox = self.config.name, why, "a message was refused");
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        tracing::warn!(inbox = self.config.name, why, refused, "messages are refused");
        let (name, why, now) = (self.config.name.clone(), why.to_owned(), self.app.clock.now());
        let told = self
            .app
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { kept::refused(conn, &name, &why, refused, now).await })
            })
            .await;
        if let Err(error) = told {
            tracing::error!(%error, "that a message was refused could not be stored");
        }
    }
}

/// The gateway's own failure: the message is not to blame.
fn is_ours(problem: &Problem) -> bool {
    problem.status >= 500
}

fn refusal(problem: &Problem) -> Answer {
    // A structure of text and numbers always has a JSON form.
    Answer { status: problem.status, body: serde_json::to_value(problem).unwrap_or(Value::Null) }
}
