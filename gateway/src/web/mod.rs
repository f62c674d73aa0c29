//! The page: every meter with its balance, supply, last reading and what is under way. Rendered here, kept fresh by a small
//! script that listens to the event stream and asks for the rows that changed. Nothing comes from elsewhere: it works offline.

mod render;
mod text;

use crate::api::access::{self, COOKIE};
use crate::api::{App, Problem, hash_of, new_secret};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};

/// How long a page session lasts.
const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(12);

/// Events from before the page was opened that it tells.
const HISTORY: i64 = 100;

/// The page's routes.
pub fn pages() -> Router<App> {
    Router::new()
        .route("/", get(page))
        .route("/enter/{secret}", get(enter))
        .route("/page/summary", get(summary))
        .route("/page/meters/{serial}", get(row))
        .route("/page/page.css", get(style))
        .route("/page/page.js", get(script))
}

/// Only what the gateway itself serves may be loaded or run.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

fn html(body: String) -> Response {
    let mut response = Html(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn page(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    if !access::page_session(&app, &headers).await? {
        let mut response = html(render::closed());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    }
    // Read before the rows: what happens in between is told twice rather than never. And what has just happened is told too.
    let last_event = (app.store.last_event_id().await? - HISTORY).max(0);
    let rows = render::rows(&app).await?;
    Ok(html(render::page(&render::summary(&app).await?, &rows, last_event)))
}

async fn summary(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    known(&app, &headers).await?;
    Ok(html(render::summary(&app).await?))
}

async fn row(
    State(app): State<App>,
    headers: HeaderMap,
    Path(serial): Path<String>,
) -> Result<Response, Problem> {
    known(&app, &headers).await?;
    Ok(html(render::row(&app, &serial).await?.ok_or_else(|| Problem::unknown_meter(&serial))?))
}

async fn known(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    if access::page_session(app, headers).await? {
        return Ok(());
    }
    Err(Problem::unauthorized("no-session", "the page needs to be opened through a one-time link"))
}

/// A one-time link buys a session.
async fn enter(State(app): State<App>, Path(secret): Path<String>) -> Result<Response, Problem> {
    let session = new_secret().map_err(|error| Problem::internal(&error))?;
    let now = Timestamp::now();
    let expires_at = now.saturating_add(SESSION_LIFE).unwrap_or(Timestamp::MAX);
    if !app.store.redeem_page_link(hash_of(&secret), hash_of(&session), now, expires_at).await? {
        let mut response = html(render::closed());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    }
    let cookie =
        format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", SESSION_LIFE.as_secs());
    let mut response = Redirect::to("/").into_response();
    let value = HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(&error))?;
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("assets/page.css"))
}

async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("assets/page.js"))
}
