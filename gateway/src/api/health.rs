//! Whether the gateway lives, and whether it can work. Open to everybody; says nothing else.

use super::{App, Problem, problem};
use axum::extract::State;
use axum::http::StatusCode;

/// The process answers.
#[utoipa::path(get, path = "/api/v1/health", tag = "health", responses((status = 200, body = String)))]
pub(super) async fn health() -> &'static str {
    "alive"
}

/// The store answers and the gateway is not stopping.
#[utoipa::path(get, path = "/api/v1/ready", tag = "health",
    responses((status = 200, body = String), (status = 503, body = problem::Problem)))]
pub(super) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    let not_ready = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail);
    if *app.stop.borrow() {
        return Err(not_ready("the gateway is stopping"));
    }
    app.store.ping().await.map_err(|_| not_ready("the store does not answer"))?;
    Ok("ready")
}
