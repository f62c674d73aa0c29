//! The hand that reaches into the street: a REST API, and a page on which a person presses buttons, types tokens and makes
//! things go wrong.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /api/street` | ports, lines, time, the feeder's meter, how much is planned |
//! | `POST /api/time` `{"advance": "3h"}` | so much time passes at once, in steps of ten seconds: a day at most |
//! | `GET /api/meters?after=0&limit=100` | meters in order of their numbers; `next` where there are more |
//! | `GET /api/meters/{n}` | one meter: credit, relay wanted and sensed, display, faults in force |
//! | `POST /api/meters/{n}/button` | presses the button: `closed`, and what held the relay back |
//! | `POST /api/meters/{n}/keypad` `{"keys": "…"}` | types a token or a short code: `display`, `accepted` |
//! | `PUT /api/meters/{n}/power` `{"on": false}` | cuts or restores its power |
//! | `PUT /api/meters/{n}/cover` `{"open": true}` | opens or closes its terminal cover |
//! | `PUT /api/meters/{n}/load` `{"watts": 2000}` | a constant load besides the household's own |
//! | `POST /api/meters/{n}/faults` `{"fault": "silence", "for": "5m"}` | see [`crate::fault_entry::FaultEntry`] |
//! | `DELETE /api/meters/{n}/faults/{name}` | ends it |
//! | `GET /api/faults` | every name, what it does, its parameters |
//! | `POST /api/faults` `{"fault": "silence", "share": "2%"}` | at a share of the meters, at some or at all |
//!
//! Errors are problem details (RFC 9457).

mod api;
mod page;
mod problem;
mod view;

use crate::street::Street;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use problem::Problem;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

pub use view::MeterView;

/// Longest body of a request.
const BODY_MAX: usize = 4096;

/// Answers requests until the task is dropped. Whether the listener may be reached from elsewhere is for the caller to decide.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, street: Arc<Street>) -> io::Result<()> {
    let loopback = listener.local_addr()?.ip().is_loopback();
    axum::serve(listener, router(street, loopback)).await
}

fn router(street: Arc<Street>, loopback: bool) -> Router {
    Router::new()
        .route("/api/street", get(api::street))
        .route("/api/time", post(api::let_time_pass))
        .route("/api/meters", get(api::meters))
        .route("/api/meters/{index}", get(api::meter))
        .route("/api/meters/{index}/button", post(api::press_button))
        .route("/api/meters/{index}/keypad", post(api::type_keys))
        .route("/api/meters/{index}/power", put(api::switch_power))
        .route("/api/meters/{index}/cover", put(api::move_cover))
        .route("/api/meters/{index}/load", put(api::set_load))
        .route("/api/meters/{index}/faults", post(api::begin_fault))
        .route("/api/meters/{index}/faults/{name}", delete(api::end_fault))
        .route("/api/faults", get(api::fault_names).post(api::begin_faults))
        .route("/", get(page::street))
        .route("/meters/{index}", get(page::meter))
        .route("/page/meters", get(page::rows))
        .route("/page/meters/{index}", get(page::panel))
        .route("/page/page.css", get(page::style))
        .route("/page/page.js", get(page::script))
        .fallback(async || Problem::not_found("nothing is here; GET /api/street, or the page at /"))
        .layer(from_fn_with_state(loopback, guard))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .with_state(street)
}

/// Pages of other sites must not reach into the street through somebody's browser: a request names this machine (where it
/// listens on loopback only), and what changes anything comes from our own page or from no page.
async fn guard(State(loopback): State<bool>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, header::HOST).unwrap_or_default();
    if loopback && !is_this_machine(host) {
        return Problem::forbidden("the Host header names another machine").into_response();
    }
    let foreign = text(headers, header::ORIGIN).is_some_and(|origin| origin.split("//").nth(1) != Some(host));
    if foreign && request.method() != Method::GET {
        return Problem::forbidden("the request comes from another site's page").into_response();
    }
    next.run(request).await
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let loopback = |ip: IpAddr| ip.is_loopback();
    name == "localhost" || name.trim_matches(['[', ']']).parse().is_ok_and(loopback)
}

#[cfg(test)]
mod tests;
