//! The demo as a caller of the gateway's API: an administrator and a payment channel.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::net::SocketAddr;
use std::time::Duration;

/// The payment channel that the demo plays.
pub const CHANNEL: &str = "demo-shop";

/// An answer: status, the one header that matters here, and the body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Idempotent-Replayed: true` was there.
    pub replayed: bool,
    /// The body; null when it was no JSON.
    pub body: Value,
}

impl Answer {
    /// The body when the status is a success.
    ///
    /// # Errors
    /// Status and detail of the problem.
    pub fn ok(self) -> Result<Value, String> {
        if (200..300).contains(&self.status) { Ok(self.body) } else { Err(self.problem()) }
    }

    /// What the gateway objects to.
    #[must_use]
    pub fn problem(&self) -> String {
        format!("{}: {}", self.status, self.body["detail"].as_str().unwrap_or("no detail"))
    }
}

/// Talks to one gateway.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    bearer: String,
    channel_secret: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A caller with the administrator's token and a channel's secret.
    #[must_use]
    pub fn new(address: SocketAddr, bearer: String, channel_secret: String) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .new_agent();
        Self { agent, base: format!("http://{address}"), bearer, channel_secret }
    }

    /// GET of a path below `/api/v1`.
    ///
    /// # Errors
    /// The gateway cannot be reached, or refuses.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        let url = format!("{}/api/v1{path}", self.base);
        let sent = self.agent.get(&url).header("Authorization", &self.authorization()).call();
        answer(sent)?.ok()
    }

    /// POST below `/api/v1`.
    ///
    /// # Errors
    /// The gateway cannot be reached.
    pub fn post(&self, path: &str, media_type: &str, body: &str) -> Result<Answer, String> {
        let url = format!("{}/api/v1{path}", self.base);
        let request = self.agent.post(&url).header("Authorization", &self.authorization());
        answer(request.header("Content-Type", media_type).send(body))
    }

    /// Records a command and gives its id.
    ///
    /// # Errors
    /// The gateway refuses it.
    pub fn command(&self, serial: &str, kind: &str, reason: Option<&str>) -> Result<i64, String> {
        let answer = self.command_answer(serial, kind, reason)?.ok()?;
        answer["id"].as_i64().ok_or_else(|| "the command has no id".into())
    }

    /// Records a command and gives the whole answer, refusals too.
    ///
    /// # Errors
    /// The gateway cannot be reached.
    pub fn command_answer(&self, serial: &str, kind: &str, reason: Option<&str>) -> Result<Answer, String> {
        let mut body = json!({ "serial": serial, "kind": kind });
        if let Some(reason) = reason {
            body["reason"] = reason.into();
            body["reason_text"] = "demo".into();
        }
        self.post("/commands", "application/json", &body.to_string())
    }

    /// Sends a signed payment.
    ///
    /// # Errors
    /// The gateway cannot be reached.
    pub fn pay(&self, serial: &str, amount_minor: i64, key: &str) -> Result<Answer, String> {
        const PATH: &str = "/api/v1/top-ups";
        let body = json!({ "serial": serial, "amount_minor": amount_minor }).to_string();
        let now = jiff::Timestamp::now().as_second();
        let text = format!("{now}.POST.{PATH}.{key}.{body}");
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(self.channel_secret.as_bytes())
            .map_err(|error| error.to_string())?;
        mac.update(text.as_bytes());
        let tag: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let sent = self
            .agent
            .post(format!("{}{PATH}", self.base))
            .header("Authorization", &self.authorization())
            .header("Content-Type", "application/json")
            .header("X-Channel", CHANNEL)
            .header("Idempotency-Key", key)
            .header("X-Signature", &format!("t={now},v1={tag}"))
            .send(&body);
        answer(sent)
    }

    /// The gateway is up and its store answers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let sent = self.agent.get(format!("{}/api/v1/ready", self.base)).call();
        answer(sent).is_ok_and(|answer| answer.status == 200)
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.bearer)
    }
}

fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
    let mut response = sent.map_err(|error| format!("the gateway cannot be reached: {error}"))?;
    let status = response.status().as_u16();
    let replayed = response.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
    let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
    Ok(Answer { status, replayed, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
}
