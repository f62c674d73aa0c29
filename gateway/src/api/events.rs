//! Events as they happen, by server-sent events. A client that comes back with `Last-Event-ID` misses nothing.

use super::App;
use super::access::{Caller, Scope};
use super::problem::{self, Params, Problem};
use crate::store::StoreError;
use crate::store::event::Event;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use tokio::sync::watch;
use utoipa::IntoParams;

/// Events read from the store at once.
const BATCH: u32 = 256;

struct Feed {
    app: App,
    commits: watch::Receiver<u64>,
    last: i64,
    waiting: VecDeque<Event>,
}

impl Feed {
    /// The next event; `None` when the gateway stops or the store fails, and the client comes back later.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.last = event.id;
                return Some(event);
            }
            match self.more().await {
                Ok(true) => {}
                Ok(false) => {
                    tokio::select! {
                        changed = self.commits.changed() => changed.ok()?,
                        _ = self.app.stop.changed() => return None,
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the event stream broke");
                    return None;
                }
            }
        }
    }

    async fn more(&mut self) -> Result<bool, StoreError> {
        self.commits.borrow_and_update();
        self.waiting.extend(self.app.store.events_after(self.last, BATCH).await?);
        Ok(!self.waiting.is_empty())
    }
}

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// Events after this one; `Last-Event-ID` goes before. Default: from now on.
    #[serde(default)]
    after: Option<i64>,
}

/// Streams events from now on, from `after` on, or from `Last-Event-ID` on. Each is named by its kind and carries an Event as JSON. Needs scope read.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", security(("bearer" = [])),
    params(From, ("Last-Event-ID" = Option<i64>, Header, description = "The last event the client has seen")),
    responses((status = 200, content_type = "text/event-stream", body = Event), (status = "4XX", body = problem::Problem)))]
pub(super) async fn events(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(from): Params<From>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Problem> {
    caller.needs(Scope::Read)?;
    let commits = app.store.commits();
    let last = match headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        Some(text) => {
            text.parse().map_err(|_| Problem::malformed(format!("Last-Event-ID {text:?} is not a number")))?
        }
        None => match from.after {
            Some(after) => after,
            None => app.store.last_event_id().await?,
        },
    };
    let feed = Feed { app, commits, last, waiting: VecDeque::new() };
    let stream = stream::unfold(feed, async |mut feed| {
        let event = feed.next().await?;
        let message = SseEvent::default().id(event.id.to_string()).event(event.kind.clone());
        let message = message.json_data(&event).unwrap_or_default();
        Some((Ok(message), feed))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
