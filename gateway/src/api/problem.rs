//! Errors of the API: problem details, RFC 9457.

use crate::guards::{self, Unmet};
use crate::store::StoreError;
use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

/// A problem (RFC 9457). `type` is stable; `detail` is for a person and says what would be right.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// A relative reference that names the kind of problem, `/problems/unknown-meter`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What exactly is wrong.
    pub detail: String,
    /// The guards that are not satisfied, where that is the problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Unmet>,
}

impl Problem {
    /// A problem of this status and kind (`unknown-meter`).
    #[must_use]
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let mut title = kind.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self {
            kind: format!("/problems/{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            unmet: Vec::new(),
        }
    }

    /// 400: not understood.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-request", detail)
    }

    /// 401: nobody known.
    #[must_use]
    pub fn unauthorized(kind: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, kind, detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 404: no such meter.
    #[must_use]
    pub fn unknown_meter(serial: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown-meter", format!("there is no meter {serial}"))
    }

    /// 422: understood and refused.
    #[must_use]
    pub fn refused(kind: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, kind, detail)
    }

    /// 422: guards stand against it.
    #[must_use]
    pub fn guarded(unmet: Vec<Unmet>) -> Self {
        let detail = format!("the guards do not allow it now: {}", guards::list(&unmet));
        Self { unmet, ..Self::refused("guards-not-satisfied", detail) }
    }

    /// 500. The cause is logged, not told.
    #[must_use]
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the gateway failed; its log says why, under this answer's X-Correlation-Id",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if !matches!(error, StoreError::Full(_) | StoreError::Unreachable(_)) {
            return Self::internal(&error);
        }
        tracing::error!(%error, "a request could not be stored");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store-unavailable",
            "nothing was stored: the gateway's store is full or away; send the same request again later",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Query parameters, refused with a problem.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Problem::malformed(error.body_text())),
        }
    }
}

/// A JSON body, refused with a problem that says where it is wrong. The media type is not insisted on.
///
/// # Errors
/// 400 with line and column.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("the body is not as expected: {error}")))
}
