//! Where facts go, and how far each sink has got.

use super::access::{Caller, Scope};
use super::{App, Problem, problem};
use axum::Json;
use axum::extract::{Extension, State};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A sink.
#[derive(Debug, Serialize, ToSchema)]
pub struct SinkView {
    /// Its name.
    name: String,
    /// Its address.
    address: String,
    /// Every event up to this one was acknowledged by the other side; 0 before the first.
    delivered_id: i64,
    /// When the last acknowledgement came.
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
    /// Events not yet acknowledged.
    behind: i64,
    /// When the oldest of them happened.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_at: Option<Timestamp>,
    /// What keeps it from delivering.
    problem: Option<String>,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    problem_at: Option<Timestamp>,
}

/// Lists the configured sinks with what each has still to deliver. Needs scope read.
#[utoipa::path(get, path = "/api/v1/sinks", tag = "sinks", security(("bearer" = [])),
    responses((status = 200, body = Vec<SinkView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<SinkView>>, Problem> {
    caller.needs(Scope::Read)?;
    let mut views = Vec::with_capacity(app.config().sinks.len());
    for sink in &app.config().sinks {
        let state = app.store.sink_state(&sink.name).await?;
        views.push(SinkView {
            name: sink.name.clone(),
            address: sink.address.clone(),
            delivered_id: state.delivered_id,
            delivered_at: state.delivered_at,
            behind: state.behind,
            oldest_at: state.oldest_at,
            problem: state.problem,
            problem_at: state.problem_at,
        });
    }
    Ok(Json(views))
}
