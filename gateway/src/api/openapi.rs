//! The OpenAPI document, made from the handlers.

use super::{
    access, accounts, alarms, areas, bulk_commands, campaigns, commands, control, discovery, doubts, enter,
    events, export, guards, health, images, inboxes, meters, profiles, readings, recordings, sinks,
    special_tokens, status, top_ups,
};
use axum::Json;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(title = "meter-gateway", description = "Prepaid meters: readings, signed top-ups, verified commands."),
    paths(
        health::health,
        health::ready,
        status::status,
        status::lines,
        status::metrics,
        control::reload,
        control::log_levels,
        control::set_log_levels,
        meters::list,
        enter::create,
        enter::import,
        meters::show,
        readings::list,
        profiles::rows,
        profiles::of_meter,
        profiles::of_area,
        profiles::gaps,
        recordings::create,
        recordings::show,
        top_ups::list,
        top_ups::create,
        top_ups::show,
        special_tokens::list,
        special_tokens::create,
        special_tokens::show,
        special_tokens::decide,
        special_tokens::retry,
        special_tokens::explain,
        campaigns::preview,
        campaigns::start,
        campaigns::change,
        campaigns::list,
        campaigns::show,
        campaigns::meters,
        images::list,
        images::create,
        alarms::list,
        alarms::close,
        alarms::balance_audits,
        export::export,
        bulk_commands::curtail,
        bulk_commands::preview,
        bulk_commands::start,
        bulk_commands::decide,
        bulk_commands::change,
        bulk_commands::list,
        bulk_commands::show,
        bulk_commands::meters,
        commands::list,
        commands::create,
        commands::show,
        commands::decide,
        commands::cancel,
        guards::show,
        guards::notices,
        guards::record,
        guards::protect,
        guards::unprotect,
        discovery::start,
        discovery::show,
        discovery::stop,
        doubts::list,
        doubts::decision,
        areas::list,
        areas::energy,
        accounts::balance,
        events::events,
        sinks::list,
        inboxes::list,
        access::create_token,
        access::create_page_link
    ),
    modifiers(&Bearer)
)]
struct Api;

/// Declares the bearer token that the paths refer to.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
