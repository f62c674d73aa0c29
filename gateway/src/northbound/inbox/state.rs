//! How the inboxes are doing, for people.

use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use utoipa::ToSchema;

/// How one inbox is doing since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct InboxState {
    /// Since when messages are taken; none while they are not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub taking_since: Option<Timestamp>,
    /// What keeps it from taking messages: they wait at the server.
    pub problem: Option<String>,
    /// When that was last found.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub problem_at: Option<Timestamp>,
    /// Messages answered, those that came again too.
    pub answered: u64,
    /// When the last one was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub answered_at: Option<Timestamp>,
    /// Messages thrown away that nobody known signed.
    pub refused: u64,
}

/// All of them, by name.
#[derive(Debug, Clone, Default)]
pub struct Inboxes(Arc<Mutex<BTreeMap<String, InboxState>>>);

impl Inboxes {
    /// How the inbox of that name is doing; as at its start when it was not started.
    #[must_use]
    pub fn of(&self, name: &str) -> InboxState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Changes what is known of one.
    pub(super) fn change<T>(&self, name: &str, change: impl FnOnce(&mut InboxState) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(name.to_owned()).or_default())
    }
}
