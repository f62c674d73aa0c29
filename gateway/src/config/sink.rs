//! Northbound sinks: where facts go, and how they get there.

use super::raw::Checker;
use super::{ConfigError, Surroundings};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use toml::Spanned;
use url::Url;
use zeroize::Zeroizing;

/// One sink.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkConfig {
    /// Its name in store, API and log. Its place in the events is remembered under it.
    pub name: String,
    /// What is at the other side.
    pub kind: SinkKind,
    /// Its address, without user or password: for people.
    pub address: String,
}

/// What is at the other side.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkKind {
    /// An MQTT 5 broker.
    Mqtt(MqttBroker),
    /// A NATS server with JetStream.
    Nats(NatsServer),
    /// An HTTP endpoint that takes signed posts.
    Webhook(WebhookEndpoint),
}

/// An MQTT 5 broker.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttBroker {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Facts go to `TOPIC/GATEWAY/KIND/SERIAL`.
    pub topic: String,
    /// User and password.
    pub login: Option<Login>,
    /// Set for `mqtts:`.
    pub tls: Option<Tls>,
}

/// A NATS server with JetStream.
#[derive(Debug, Clone, PartialEq)]
pub struct NatsServer {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The stream's name.
    pub stream: String,
    /// Facts go to `SUBJECT.GATEWAY.KIND.SERIAL`.
    pub subject: String,
    /// User and password.
    pub login: Option<Login>,
    /// Set for `nats+tls:`.
    pub tls: Option<Tls>,
}

/// An HTTP endpoint that takes signed posts.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookEndpoint {
    /// Where.
    pub url: Url,
    /// Signs each post.
    pub secret: Secret,
    /// Set for `https:`.
    pub tls: Option<Tls>,
}

/// User and password.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// TLS towards a sink: whom we trust.
#[derive(Debug, Clone)]
pub struct Tls {
    client: Arc<rustls::ClientConfig>,
    roots: Vec<CertificateDer<'static>>,
}

impl PartialEq for Tls {
    /// Whom it trusts is all that is configured.
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots
    }
}

impl Tls {
    /// Trusting these certificate authorities and no others.
    fn trusting(roots: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut store = rustls::RootCertStore::empty();
        for root in &roots {
            store.add(root.clone()).map_err(|error| error.to_string())?;
        }
        let client = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { client: Arc::new(client), roots })
    }

    /// For clients that take a rustls configuration.
    #[must_use]
    pub fn client(&self) -> Arc<rustls::ClientConfig> {
        self.client.clone()
    }

    /// For the HTTP client.
    #[must_use]
    pub fn ureq(&self) -> ureq::tls::TlsConfig {
        let roots: Vec<_> =
            self.roots.iter().map(|root| ureq::tls::Certificate::from_der(root).to_owned()).collect();
        ureq::tls::TlsConfig::builder()
            .provider(ureq::tls::TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(provider())
            .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
            .build()
    }
}

/// The one implementation of the ciphers, named wherever TLS is set up.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSink {
    pub name: Spanned<String>,
    pub url: Spanned<String>,
    #[serde(default)]
    pub topic: Option<Spanned<String>>,
    #[serde(default)]
    pub stream: Option<Spanned<String>>,
    #[serde(default)]
    pub subject: Option<Spanned<String>>,
    #[serde(default)]
    pub user: Option<Spanned<String>>,
    #[serde(default)]
    pub password_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub password_env: Option<Spanned<String>>,
    #[serde(default)]
    pub secret_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub secret_env: Option<Spanned<String>>,
    #[serde(default)]
    pub ca_file: Option<Spanned<PathBuf>>,
}

/// A scheme, whether it means TLS, its usual port, and the keys that belong to it.
const SCHEMES: [(&str, bool, u16, &[&str]); 6] = [
    ("mqtt", false, 1883, &["topic", "user", "password_file", "password_env"]),
    ("mqtts", true, 8883, &["topic", "user", "password_file", "password_env", "ca_file"]),
    ("nats", false, 4222, &["stream", "subject", "user", "password_file", "password_env"]),
    ("nats+tls", true, 4222, &["stream", "subject", "user", "password_file", "password_env", "ca_file"]),
    ("http", false, 80, &["secret_file", "secret_env"]),
    ("https", true, 443, &["secret_file", "secret_env", "ca_file"]),
];

pub(super) fn sinks<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &[Spanned<RawSink>],
) -> Result<Vec<SinkConfig>, ConfigError> {
    let mut sinks: Vec<SinkConfig> = Vec::with_capacity(raw.len());
    for spanned in raw {
        let raw = spanned.get_ref();
        let name = checker.id("sink name", &raw.name)?;
        if sinks.iter().any(|other| other.name == name) {
            return Err(checker.at(&raw.name.span(), format!("sink name {name:?} is used twice")));
        }
        sinks.push(sink(checker, raw, name)?);
    }
    Ok(sinks)
}

pub(super) fn sink<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &RawSink,
    name: String,
) -> Result<SinkConfig, ConfigError> {
    let wrong = |message: String| checker.at(&raw.url.span(), message);
    let url = Url::parse(raw.url.get_ref())
        .map_err(|error| wrong(format!("url {:?}: {error}", raw.url.get_ref())))?;
    let Some((scheme, encrypted, usual_port, keys)) =
        SCHEMES.into_iter().find(|known| known.0 == url.scheme())
    else {
        let known = SCHEMES.map(|known| known.0).join(", ");
        return Err(wrong(format!("a sink's url begins with one of {known}; {:?} is none", url.scheme())));
    };
    only_keys_of(checker, raw, scheme, keys)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "user and password belong into user and password_file, not into the url".to_owned(),
        ));
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    let host =
        host.ok_or_else(|| wrong("the url names no host".to_owned()))?.trim_matches(['[', ']']).to_owned();
    let port = url.port().unwrap_or(usual_port);
    let tls = if encrypted { Some(tls(checker, raw)?) } else { None };
    let kind = match scheme {
        "mqtt" | "mqtts" => {
            let topic = words(checker, raw.topic.as_ref(), "topic", '/', "meter-gateway")?;
            SinkKind::Mqtt(MqttBroker { host, port, topic, login: login(checker, raw)?, tls })
        }
        "nats" | "nats+tls" => {
            let subject = words(checker, raw.subject.as_ref(), "subject", '.', "meter-gateway")?;
            let stream = match &raw.stream {
                Some(stream) => checker.id("stream", stream)?,
                None => "meter-gateway".to_owned(),
            };
            SinkKind::Nats(NatsServer { host, port, stream, subject, login: login(checker, raw)?, tls })
        }
        _ => {
            let keys = (raw.secret_file.as_ref(), raw.secret_env.as_ref());
            let owner = (format!("sink {name:?}"), raw.url.span());
            let secret = checker.secret_text(("secret_file", "secret_env"), keys, owner)?;
            let secret = Secret(Zeroizing::new(secret));
            SinkKind::Webhook(WebhookEndpoint { url: url.clone(), secret, tls })
        }
    };
    Ok(SinkConfig { name, kind, address: url.to_string() })
}

/// A key that means nothing with this scheme is as wrong as an unknown one.
fn only_keys_of<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &RawSink,
    scheme: &str,
    keys: &[&str],
) -> Result<(), ConfigError> {
    let given = [
        ("topic", raw.topic.as_ref().map(Spanned::span)),
        ("stream", raw.stream.as_ref().map(Spanned::span)),
        ("subject", raw.subject.as_ref().map(Spanned::span)),
        ("user", raw.user.as_ref().map(Spanned::span)),
        ("password_file", raw.password_file.as_ref().map(Spanned::span)),
        ("password_env", raw.password_env.as_ref().map(Spanned::span)),
        ("secret_file", raw.secret_file.as_ref().map(Spanned::span)),
        ("secret_env", raw.secret_env.as_ref().map(Spanned::span)),
        ("ca_file", raw.ca_file.as_ref().map(Spanned::span)),
    ];
    for (key, span) in given {
        if let Some(span) = span
            && !keys.contains(&key)
        {
            let message = format!("{key} means nothing for {scheme}:, which takes {}", keys.join(", "));
            return Err(checker.at(&span, message));
        }
    }
    Ok(())
}

/// Levels of letters, digits, `-` and `_`: no wildcards, nothing empty.
pub(super) fn words<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: Option<&Spanned<String>>,
    key: &str,
    separator: char,
    default: &str,
) -> Result<String, ConfigError> {
    let Some(raw) = raw else { return Ok(default.to_owned()) };
    let good = |level: &str| {
        !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if raw.get_ref().split(separator).all(good) {
        return Ok(raw.get_ref().clone());
    }
    let message = format!(
        "{key} {:?} must be words of letters, digits, '-' and '_', separated by '{separator}'",
        raw.get_ref()
    );
    Err(checker.at(&raw.span(), message))
}

fn login<S: Surroundings>(checker: &Checker<'_, S>, raw: &RawSink) -> Result<Option<Login>, ConfigError> {
    let password = (raw.password_file.as_ref(), raw.password_env.as_ref());
    match (&raw.user, password) {
        (None, (None, None)) => Ok(None),
        (None, _) => Err(checker.at(&raw.name.span(), "a password needs a user")),
        (Some(user), password) => {
            let owner = (format!("user {:?}", user.get_ref()), user.span());
            let password = checker.secret_text(("password_file", "password_env"), password, owner)?;
            Ok(Some(Login { user: user.get_ref().clone(), password: Secret(Zeroizing::new(password)) }))
        }
    }
}

/// The authorities of `ca_file`, or else the system's.
fn tls<S: Surroundings>(checker: &Checker<'_, S>, raw: &RawSink) -> Result<Tls, ConfigError> {
    let (roots, span) = match &raw.ca_file {
        Some(file) => {
            let path = checker.beside(file.get_ref());
            let wrong =
                |message: String| checker.at(&file.span(), format!("ca_file {}: {message}", path.display()));
            let text = checker.around.read(&path).map_err(|error| wrong(error.to_string()))?;
            let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            let roots = roots.map_err(|error| wrong(error.to_string()))?;
            if roots.is_empty() {
                return Err(wrong("holds no certificate in PEM form".to_owned()));
            }
            (roots, file.span())
        }
        None => (rustls_native_certs::load_native_certs().certs, raw.url.span()),
    };
    if roots.is_empty() {
        let message = "this system has no certificate authorities; name one in ca_file";
        return Err(checker.at(&span, message));
    }
    Tls::trusting(roots).map_err(|message| checker.at(&span, message))
}
