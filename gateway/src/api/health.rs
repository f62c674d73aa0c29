//! Whether the gateway lives, and whether it can work. Open to everybody; says nothing else.

use super::{App, Problem, problem};
use axum::extract::State;
use axum::http::StatusCode;
use jiff::SignedDuration;

/// A clock this far behind what is stored was set back: tokens and bills would be wrong.
const CLOCK_BACK_MAX: SignedDuration = SignedDuration::from_mins(5);

/// The process answers.
#[utoipa::path(get, path = "/api/v1/health", tag = "health", responses((status = 200, body = String)))]
pub(super) async fn health() -> &'static str {
    "alive"
}

/// The store answers, the clock is not behind it, and the gateway is not stopping.
#[utoipa::path(get, path = "/api/v1/ready", tag = "health",
    responses((status = 200, body = String), (status = 503, body = problem::Problem)))]
pub(super) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    match obstacle(&app).await {
        Some(obstacle) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", obstacle)),
        None => Ok("ready"),
    }
}

/// What keeps the gateway from working.
pub(super) async fn obstacle(app: &App) -> Option<String> {
    if *app.stop.borrow() {
        return Some("the gateway is stopping".to_owned());
    }
    if app.store.ping().await.is_err() {
        return Some("the store does not answer".to_owned());
    }
    let now = app.clock.now();
    match app.store.last_event_at().await {
        Ok(Some(last)) if last.duration_since(now) > CLOCK_BACK_MAX => Some(format!(
            "the clock says {now:.0}, but something is on record for {last:.0}: the clock was set back"
        )),
        Ok(_) => None,
        Err(_) => Some("the store does not answer".to_owned()),
    }
}
