//! Where all the money is.

use super::access::{Caller, Scope};
use super::{App, Problem, problem};
use crate::store::ledger::MoneyBalance;
use axum::Json;
use axum::extract::{Extension, State};

/// Money received, and where it is: accepted as credit, on the way, held as change, refused. To the last unit. Needs scope read.
#[utoipa::path(get, path = "/api/v1/accounts/balance", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = MoneyBalance), (status = "4XX", body = problem::Problem)))]
pub(super) async fn balance(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<MoneyBalance>, Problem> {
    caller.needs(Scope::Read)?;
    Ok(Json(app.store.money_balance().await?))
}
