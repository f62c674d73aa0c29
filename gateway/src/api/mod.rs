//! The API under `/api/v1`. It never talks to a meter: it records an intent and shows its progress.

pub mod access;
pub mod accounts;
pub mod alarms;
mod amount;
pub mod areas;
pub mod bulk_commands;
pub mod campaigns;
pub mod commands;
mod control;
mod correlation;
pub mod discovery;
pub mod doubts;
pub mod enter;
mod events;
mod export;
pub mod guards;
mod health;
mod images;
mod inboxes;
mod intake;
pub mod meters;
pub mod newest;
mod openapi;
pub mod problem;
pub mod profiles;
pub mod readings;
mod recordings;
pub mod serve;
pub mod signature;
mod sinks;
pub mod special_tokens;
mod status;
pub mod top_ups;

pub use access::{Caller, Scope, hash_of, new_secret};
pub use openapi::document;
pub use problem::Problem;

use crate::clock::Clock;
use crate::commands::bulk::Bulk;
use crate::commands::desk::Desk;
use crate::config::{Config, Live};
use crate::metrics::{HttpCounts, Metrics};
use crate::northbound::inbox::Inboxes;
use crate::reading::discovery::Discoveries;
use crate::service::log::LogLevels;
use crate::service::reload::Reloader;
use crate::session;
use crate::session::directory::Directory;
use crate::session::model::Models;
use crate::session::record::Recordings;
use crate::store::Store;
use crate::vault::Vault;
use crate::vending::Vending;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{get, post, put};
use axum::{Router, middleware};
use std::sync::Arc;
use tokio::sync::watch;

/// The largest request body, in bytes: an import of ten thousand meters with keys fits.
const BODY_MAX: usize = 4 << 20;

/// What handlers need. Cloning shares it.
#[derive(Debug, Clone)]
pub struct App {
    /// The store.
    pub store: Store,
    /// Vending.
    pub vending: Vending,
    /// The keys.
    pub vault: Arc<dyn Vault>,
    /// Civil time.
    pub clock: Clock,
    /// The configuration in force.
    pub settings: Live<Config>,
    /// Reads it again.
    pub reloader: Arc<Reloader>,
    /// What is logged.
    pub log: LogLevels,
    /// Where meters are; new ones are put here.
    pub directory: Directory,
    /// The models a meter may name.
    pub models: Models,
    /// Meters whose sessions are being recorded.
    pub recordings: Recordings,
    /// Searches for meters on buses.
    pub discoveries: Discoveries,
    /// Where people have a word about commands.
    pub desk: Desk,
    /// The lines, to say how they are doing.
    pub lines: session::Router,
    /// What is counted.
    pub metrics: Metrics,
    /// What this service counts.
    pub http: HttpCounts,
    /// Commands for many meters.
    pub bulk: Live<Bulk>,
    /// How the inboxes are doing.
    pub inboxes: Inboxes,
    /// Becomes true when the gateway stops: streams end then.
    pub stop: watch::Receiver<bool>,
}

impl App {
    /// The configuration in force now.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.settings.now()
    }
}

/// The whole HTTP service: API and page.
pub fn service(app: App) -> Router {
    let searches = get(discovery::show).post(discovery::start).delete(discovery::stop);
    let open = Router::new()
        .route("/api/v1/health", get(health::health))
        .route("/api/v1/ready", get(health::ready))
        .route("/api/v1/openapi.json", get(openapi::openapi));
    let closed = Router::new()
        .route("/api/v1/meters", get(meters::list).post(enter::create))
        .route("/api/v1/meters/import", post(enter::import))
        .route("/api/v1/meters/{serial}", get(meters::show))
        .route("/api/v1/meters/{serial}/readings", get(readings::list))
        .route("/api/v1/meters/{serial}/profiles/{profile}", get(profiles::rows))
        .route("/api/v1/meters/{serial}/coverage", get(profiles::of_meter))
        .route("/api/v1/meters/{serial}/gaps", get(profiles::gaps))
        .route("/api/v1/meters/{serial}/recording", get(recordings::show).post(recordings::create))
        .route("/api/v1/top-ups", get(top_ups::list).post(top_ups::create))
        .route("/api/v1/top-ups/{id}", get(top_ups::show))
        .route("/api/v1/meters/{serial}/token-explanation", post(special_tokens::explain))
        .route("/api/v1/special-tokens", get(special_tokens::list).post(special_tokens::create))
        .route("/api/v1/special-tokens/{id}", get(special_tokens::show))
        .route("/api/v1/special-tokens/{id}/decision", post(special_tokens::decide))
        .route("/api/v1/special-tokens/{id}/retry", post(special_tokens::retry))
        .route("/api/v1/campaigns", get(campaigns::list).post(campaigns::start))
        .route("/api/v1/campaigns/preview", post(campaigns::preview))
        .route("/api/v1/campaigns/{id}", get(campaigns::show))
        .route("/api/v1/campaigns/{id}/meters", get(campaigns::meters))
        .route("/api/v1/campaigns/{id}/verb", post(campaigns::change))
        .route("/api/v1/images", get(images::list))
        .route("/api/v1/images/{name}", post(images::create))
        .route("/api/v1/alarms", get(alarms::list))
        .route("/api/v1/alarms/{id}/close", post(alarms::close))
        .route("/api/v1/meters/{serial}/balance-audits", get(alarms::balance_audits))
        .route("/api/v1/export/{table}", get(export::export))
        .route("/api/v1/curtailments", post(bulk_commands::curtail))
        .route("/api/v1/bulk-commands", get(bulk_commands::list))
        .route("/api/v1/bulk-commands/preview", post(bulk_commands::preview))
        .route("/api/v1/bulk-commands/{id}", get(bulk_commands::show))
        .route("/api/v1/bulk-commands/{id}/meters", get(bulk_commands::meters))
        .route("/api/v1/bulk-commands/{id}/start", post(bulk_commands::start))
        .route("/api/v1/bulk-commands/{id}/decision", post(bulk_commands::decide))
        .route("/api/v1/bulk-commands/{id}/verb", post(bulk_commands::change))
        .route("/api/v1/commands", get(commands::list).post(commands::create))
        .route("/api/v1/commands/{id}", get(commands::show))
        .route("/api/v1/commands/{id}/decision", post(commands::decide))
        .route("/api/v1/commands/{id}/cancel", post(commands::cancel))
        .route("/api/v1/meters/{serial}/guards", get(guards::show))
        .route("/api/v1/meters/{serial}/notices", get(guards::notices).post(guards::record))
        .route("/api/v1/meters/{serial}/protection", put(guards::protect).delete(guards::unprotect))
        .route("/api/v1/doubts", get(doubts::list))
        .route("/api/v1/doubts/{id}/decision", post(doubts::decision))
        .route("/api/v1/areas", get(areas::list))
        .route("/api/v1/areas/{area}/energy", get(areas::energy))
        .route("/api/v1/areas/{area}/coverage", get(profiles::of_area))
        .route("/api/v1/accounts/balance", get(accounts::balance))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/sinks", get(sinks::list))
        .route("/api/v1/inboxes", get(inboxes::list))
        .route("/api/v1/lines", get(status::lines))
        .route("/api/v1/lines/{line}/discovery", searches)
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/configuration/reload", post(control::reload))
        .route("/api/v1/log-levels", get(control::log_levels).put(control::set_log_levels))
        .route("/metrics", get(status::metrics))
        .route("/api/v1/api-tokens", post(access::create_token))
        .route("/api/v1/page-links", post(access::create_page_link))
        .route_layer(middleware::from_fn_with_state(app.clone(), access::authenticate));
    open.merge(closed)
        .merge(crate::web::pages())
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(serve::body_timeout(), serve::whole_body))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(correlation::correlate))
        .layer(middleware::from_fn_with_state(app.clone(), status::count))
        .with_state(app)
}

async fn nowhere(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{} cannot be answered with {method}", uri.path()),
    )
}

#[cfg(test)]
mod tests;
