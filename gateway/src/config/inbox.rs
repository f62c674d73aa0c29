//! `[[inbox]]`: where commands come from as messages, and whose messages are taken.

use super::raw::Checker;
use super::sink::{self, RawSink};
use super::{ChannelSecret, ConfigError, NatsServer, SinkKind, Surroundings};
use crate::store::access::Scope;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

/// One inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxConfig {
    /// Its name in events and logs, and of its consumer at the server.
    pub name: String,
    /// The server, its stream, and the subject: messages are read from `SUBJECT.GATEWAY`.
    pub server: NatsServer,
    /// Answers go to `REPLIES.GATEWAY.PRINCIPAL`.
    pub replies: String,
    /// What was not acknowledged after so long is delivered again.
    pub ack_wait: Duration,
    /// Whose messages are taken.
    pub principals: Vec<Principal>,
    /// The server's address, without user or password: for people.
    pub address: String,
}

/// Somebody who may send commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name that commands are recorded under.
    pub name: String,
    /// What they may do, as of a bearer token.
    pub scopes: Vec<Scope>,
    /// What they sign with.
    pub secret: ChannelSecret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInbox {
    name: Spanned<String>,
    url: Spanned<String>,
    #[serde(default)]
    stream: Option<Spanned<String>>,
    #[serde(default)]
    subject: Option<Spanned<String>>,
    #[serde(default)]
    replies: Option<Spanned<String>>,
    #[serde(default)]
    ack_wait_s: Option<u64>,
    #[serde(default)]
    user: Option<Spanned<String>>,
    #[serde(default)]
    password_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    password_env: Option<Spanned<String>>,
    #[serde(default)]
    ca_file: Option<Spanned<PathBuf>>,
    #[serde(default, rename = "principal")]
    principals: Vec<Spanned<RawPrincipal>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrincipal {
    name: Spanned<String>,
    scopes: Vec<Spanned<String>>,
    #[serde(default)]
    secret: Option<Spanned<String>>,
    #[serde(default)]
    secret_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    secret_env: Option<Spanned<String>>,
}

/// Stream and subject where nothing is said.
const STREAM: &str = "meter-gateway-commands";
/// Where answers go where nothing is said.
const REPLIES: &str = "meter-gateway-replies";
/// Recording a command takes milliseconds; a store that is busy takes seconds.
const ACK_WAIT_S: u64 = 30;

pub(super) fn inboxes<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &[Spanned<RawInbox>],
) -> Result<Vec<InboxConfig>, ConfigError> {
    let mut inboxes: Vec<InboxConfig> = Vec::with_capacity(raw.len());
    for spanned in raw {
        let inbox = inbox(checker, spanned.get_ref())?;
        if inboxes.iter().any(|other| other.name == inbox.name) {
            let message = format!("inbox name {:?} is used twice", inbox.name);
            return Err(checker.at(&spanned.get_ref().name.span(), message));
        }
        inboxes.push(inbox);
    }
    Ok(inboxes)
}

fn inbox<S: Surroundings>(checker: &Checker<'_, S>, raw: &RawInbox) -> Result<InboxConfig, ConfigError> {
    let name = word(checker, "inbox name", &raw.name)?;
    let (address, server) = server(checker, raw)?;
    let replies = sink::words(checker, raw.replies.as_ref(), "replies", '.', REPLIES)?;
    if replies == server.subject || replies.starts_with(&format!("{}.", server.subject)) {
        let message =
            format!("replies {replies:?} lies within subject {:?}: answers are no commands", server.subject);
        let span = raw.replies.as_ref().map_or_else(|| raw.name.span(), Spanned::span);
        return Err(checker.at(&span, message));
    }
    let mut principals: Vec<Principal> = Vec::with_capacity(raw.principals.len());
    for spanned in &raw.principals {
        let principal = principal(checker, spanned.get_ref())?;
        if principals.iter().any(|other| other.name == principal.name) {
            let message = format!("principal {:?} is named twice", principal.name);
            return Err(checker.at(&spanned.get_ref().name.span(), message));
        }
        principals.push(principal);
    }
    if principals.is_empty() {
        let message =
            format!("inbox {name:?} needs an [[inbox.principal]]: nobody's messages are taken otherwise");
        return Err(checker.at(&raw.name.span(), message));
    }
    let ack_wait = Duration::from_secs(raw.ack_wait_s.unwrap_or(ACK_WAIT_S).max(1));
    Ok(InboxConfig { name, server, replies, ack_wait, principals, address })
}

/// The server, checked as that of a sink.
fn server<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &RawInbox,
) -> Result<(String, NatsServer), ConfigError> {
    let or = |given: &Option<Spanned<String>>| {
        given.clone().or_else(|| Some(Spanned::new(raw.name.span(), STREAM.to_owned())))
    };
    let as_sink = RawSink {
        name: raw.name.clone(),
        url: raw.url.clone(),
        topic: None,
        stream: or(&raw.stream),
        subject: or(&raw.subject),
        user: raw.user.clone(),
        password_file: raw.password_file.clone(),
        password_env: raw.password_env.clone(),
        secret_file: None,
        secret_env: None,
        ca_file: raw.ca_file.clone(),
    };
    let wrong = || checker.at(&raw.url.span(), "an inbox's url begins with nats: or nats+tls:");
    if !raw.url.get_ref().starts_with("nats:") && !raw.url.get_ref().starts_with("nats+tls:") {
        return Err(wrong());
    }
    let sink = sink::sink(checker, &as_sink, raw.name.get_ref().clone())?;
    match sink.kind {
        SinkKind::Nats(server) => Ok((sink.address, server)),
        _ => Err(wrong()),
    }
}

fn principal<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &RawPrincipal,
) -> Result<Principal, ConfigError> {
    let name = word(checker, "principal name", &raw.name)?;
    let mut scopes = Vec::with_capacity(raw.scopes.len());
    for word in &raw.scopes {
        let scope = Scope::parse(word.get_ref()).ok_or_else(|| {
            let message = format!("scope {:?} is none of read, operate, top-up, admin", word.get_ref());
            checker.at(&word.span(), message)
        })?;
        scopes.push(scope);
    }
    let keys = (raw.secret.as_ref(), raw.secret_file.as_ref(), raw.secret_env.as_ref());
    let secret = checker.signing_secret((format!("principal {name:?}"), raw.name.span()), keys)?;
    Ok(Principal { name, scopes, secret })
}

/// One level of a subject.
fn word<S: Surroundings>(
    checker: &Checker<'_, S>,
    what: &str,
    raw: &Spanned<String>,
) -> Result<String, ConfigError> {
    let word = raw.get_ref();
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        let message = format!("{what} {word:?} must be letters, digits, '-' and '_'");
        return Err(checker.at(&raw.span(), message));
    }
    Ok(word.clone())
}
