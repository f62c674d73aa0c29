//! A correlation id from the API call down to the frame.

use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use std::convert::Infallible;
use tracing::Instrument;

const HEADER: &str = "x-correlation-id";
/// Longer ones are replaced: the id goes into every log line.
const LEN_MAX: usize = 64;

/// The id of this request.
#[derive(Debug, Clone)]
pub struct Correlation(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Correlation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(fresh))
    }
}

/// An id of our own.
pub(super) fn fresh() -> Correlation {
    let mut random = [0u8; 8];
    // Without random numbers ids may repeat, which hurts only whoever searches the log.
    let _ = getrandom::fill(&mut random);
    Correlation(format!("{:016x}", u64::from_be_bytes(random)))
}

fn taken(value: &HeaderValue) -> Option<Correlation> {
    let text = value.to_str().ok()?;
    let fits = !text.is_empty()
        && text.len() <= LEN_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
    fits.then(|| Correlation(text.to_owned()))
}

/// Gives every request its id, logs it once, and says the id in the answer.
pub(super) async fn correlate(mut request: Request, next: Next) -> Response {
    let correlation = request.headers().get(HEADER).and_then(taken).unwrap_or_else(fresh);
    let span = tracing::info_span!("request", correlation = correlation.0);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(correlation.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    span.in_scope(|| {
        // The page's one-time secret is in its path.
        let path = if path.starts_with("/enter/") { "/enter/…" } else { path.as_str() };
        tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    });
    if let Ok(value) = HeaderValue::from_str(&correlation.0) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
