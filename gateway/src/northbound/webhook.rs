//! An HTTP endpoint as a sink: signed posts of JSON, taken when the answer is 2xx.

use super::{Fact, Sink, SinkError, courier, whole};
use crate::api::signature::{Signed, sign};
use crate::config::WebhookEndpoint;
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// The body of a post.
#[derive(Debug, Serialize)]
struct Delivery<'a> {
    facts: &'a [Fact],
}

/// The endpoint.
#[derive(Debug)]
pub struct Webhook {
    endpoint: Arc<WebhookEndpoint>,
    agent: ureq::Agent,
}

impl Webhook {
    pub(super) fn new(endpoint: &WebhookEndpoint) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(courier::ACK_TIMEOUT))
            .http_status_as_error(false)
            // A redirection would carry the facts to somebody nobody configured.
            .max_redirects(0)
            .max_redirects_will_error(false);
        let config = match &endpoint.tls {
            Some(tls) => config.tls_config(tls.ureq()),
            None => config,
        };
        Self { endpoint: Arc::new(endpoint.clone()), agent: ureq::Agent::new_with_config(config.build()) }
    }
}

/// Posts facts once. `Idempotency-Key` is the same for the same facts.
fn post(agent: &ureq::Agent, endpoint: &WebhookEndpoint, facts: &[Fact]) -> Result<(), SinkError> {
    let body =
        serde_json::to_vec(&Delivery { facts }).map_err(|error| SinkError::Refused(error.to_string()))?;
    let ends = |fact: Option<&Fact>| fact.map(Fact::message_id).unwrap_or_default();
    let key = format!("{}..{}", ends(facts.first()), ends(facts.last()));
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let signed = Signed { method: "POST", path: endpoint.url.path(), key: &key, body: &body };
    let signature = sign(endpoint.secret.reveal().as_bytes(), now, &signed);
    let answer = agent
        .post(endpoint.url.as_str())
        .header("content-type", "application/json")
        .header("idempotency-key", &key)
        .header("x-signature", signature)
        .send(&body)
        .map_err(|error| SinkError::Unreachable(whole(&error)))?;
    match answer.status().as_u16() {
        200..300 => Ok(()),
        status => Err(SinkError::Refused(format!("the endpoint answered with status {status}"))),
    }
}

impl Sink for Webhook {
    async fn last_taken(&mut self) -> Result<Option<i64>, SinkError> {
        Ok(None)
    }

    async fn deliver(&mut self, facts: &[Fact]) -> Result<(), SinkError> {
        let (agent, endpoint, facts) = (self.agent.clone(), self.endpoint.clone(), facts.to_vec());
        tokio::task::spawn_blocking(move || post(&agent, &endpoint, &facts))
            .await
            .unwrap_or_else(|error| Err(SinkError::Unreachable(error.to_string())))
    }
}
