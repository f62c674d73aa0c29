//! How a subcommand talks to the running gateway: plain HTTP with a bearer token.

use super::Failure;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How long one request may take. The gateway answers from its store; it never waits for a meter.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the gateway is and who is asking.
#[derive(Debug, Clone, clap::Args)]
pub struct Connection {
    /// Address of the running gateway.
    #[arg(long, global = true, env = "METER_GATEWAY_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Bearer token.
    #[arg(long, global = true, env = "METER_GATEWAY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the bearer token, such as the first one that `run` writes.
    #[arg(long, global = true)]
    token_file: Option<PathBuf>,
}

/// Headers besides the bearer token.
pub type Headers<'a> = &'a [(&'a str, String)];

impl Connection {
    fn bearer(&self) -> Result<String, Failure> {
        let token = match (&self.token_file, &self.token) {
            (Some(file), _) => std::fs::read_to_string(file)
                .map_err(|error| Failure::Permission(format!("{}: {error}", file.display())))?,
            (None, Some(token)) => token.clone(),
            (None, None) => {
                return Err(Failure::Permission(
                    "no bearer token: give --token-file or --token, or set METER_GATEWAY_TOKEN".to_owned(),
                ));
            }
        };
        Ok(format!("Bearer {}", token.trim()))
    }

    fn agent() -> ureq::Agent {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        ureq::Agent::new_with_config(config.build())
    }

    /// The gateway's address, without a slash at its end.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// Gets something.
    ///
    /// # Errors
    /// What the gateway refused, or that it could not be reached.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let url = format!("{}{path}", self.address());
        let answer = Self::agent().get(&url).header("authorization", self.bearer()?).call();
        self.take(answer)
    }

    /// Copies what is at a path to `out`, however long it is; gives the number of bytes.
    ///
    /// # Errors
    /// What the gateway refused, that it could not be reached, or that it broke off.
    pub fn copy(&self, path: &str, out: &mut impl std::io::Write) -> Result<u64, Failure> {
        let url = format!("{}{path}", self.address());
        // As long as something comes it may take: an export of a year is no short answer.
        let config =
            ureq::Agent::config_builder().timeout_recv_response(Some(TIMEOUT)).http_status_as_error(false);
        let agent = ureq::Agent::new_with_config(config.build());
        let answer = agent.get(&url).header("authorization", self.bearer()?).call();
        if !matches!(&answer, Ok(answer) if answer.status().is_success()) {
            return self.text(answer).map(|_| 0);
        }
        let mut answer =
            answer.map_err(|error| Failure::Unavailable(format!("no gateway at {}: {error}", self.url)))?;
        std::io::copy(&mut answer.body_mut().as_reader(), out).map_err(|error| {
            Failure::Unavailable(format!("{} broke off, what came is not whole: {error}", self.url))
        })
    }

    /// Posts something.
    ///
    /// # Errors
    /// What the gateway refused, or that it could not be reached.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        media_type: &str,
        headers: Headers<'_>,
        body: &[u8],
    ) -> Result<T, Failure> {
        let url = format!("{}{path}", self.address());
        let mut request = Self::agent()
            .post(&url)
            .header("authorization", self.bearer()?)
            .header("content-type", media_type);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        self.take(request.send(body))
    }

    /// Puts something where it belongs.
    ///
    /// # Errors
    /// What the gateway refused, or that it could not be reached.
    pub fn put(&self, path: &str, media_type: &str, body: &[u8]) -> Result<(), Failure> {
        let url = format!("{}{path}", self.address());
        let request = Self::agent().put(&url).header("authorization", self.bearer()?);
        self.text(request.header("content-type", media_type).send(body)).map(drop)
    }

    /// Takes something away.
    ///
    /// # Errors
    /// What the gateway refused, or that it could not be reached.
    pub fn delete(&self, path: &str) -> Result<(), Failure> {
        let url = format!("{}{path}", self.address());
        self.text(Self::agent().delete(&url).header("authorization", self.bearer()?).call()).map(drop)
    }

    fn take<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, Failure> {
        serde_json::from_str(&self.text(answer)?)
            .map_err(|error| Failure::Unavailable(format!("{} is not a meter gateway: {error}", self.url)))
    }

    /// The body of an answer that says yes.
    fn text(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String, Failure> {
        let mut answer =
            answer.map_err(|error| Failure::Unavailable(format!("no gateway at {}: {error}", self.url)))?;
        let status = answer.status().as_u16();
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|error| Failure::Unavailable(format!("{} broke off: {error}", self.url)))?;
        if (200..300).contains(&status) {
            return Ok(text);
        }
        let detail = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()))
            .unwrap_or_else(|| format!("{} answered with status {status}", self.url));
        Err(match status {
            401 | 403 => Failure::Permission(detail),
            400..500 => Failure::Data(detail),
            _ => Failure::Unavailable(detail),
        })
    }
}

/// A path segment: everything but letters, digits and `-` is percent-encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(super::segment("01-a/../b?x=1"), "01-a%2F%2E%2E%2Fb%3Fx%3D1");
    }
}
