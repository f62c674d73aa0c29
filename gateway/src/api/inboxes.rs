//! Where commands come from as messages, and whether they can.

use super::access::{Caller, Scope};
use super::{App, Problem, problem};
use crate::northbound::inbox::InboxState;
use axum::Json;
use axum::extract::{Extension, State};
use serde::Serialize;
use utoipa::ToSchema;

/// An inbox.
#[derive(Debug, Serialize, ToSchema)]
pub struct InboxView {
    /// Its name.
    name: String,
    /// The server's address.
    address: String,
    /// How it is doing.
    #[serde(flatten)]
    state: InboxState,
}

/// Lists the configured inboxes with how each is doing since it was started. Needs scope read.
#[utoipa::path(get, path = "/api/v1/inboxes", tag = "inboxes", security(("bearer" = [])),
    responses((status = 200, body = Vec<InboxView>), (status = "4XX", body = problem::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<InboxView>>, Problem> {
    caller.needs(Scope::Read)?;
    let view = |inbox: &crate::config::InboxConfig| InboxView {
        name: inbox.name.clone(),
        address: inbox.address.clone(),
        state: app.inboxes.of(&inbox.name),
    };
    Ok(Json(app.config().inboxes.iter().map(view).collect()))
}
