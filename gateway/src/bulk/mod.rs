//! What a key-change campaign and a bulk command have in common: many meters are chosen, looked at before anything happens, and
//! each gets one piece of work of its own; people pause, resume and stop it. What the piece of work is, is for `vending` (sets of
//! key-change tokens) and `commands::bulk` (commands) to say.

mod selection;

pub use selection::Selection;

use crate::clock::Clock;
use crate::store::campaign::{self, Campaign, CampaignKind, CampaignState};
use crate::store::{Store, StoreError, event};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most meters of one: what one transaction enters within a second.
pub const METERS_MAX: usize = 20_000;
/// The most pieces of work on the way at once: what the lines' queues have room for beside everything else.
pub const AT_ONCE_MAX: u32 = 256;

/// Who asks, and under which correlation id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// An API token's name.
    pub actor: String,
    /// From the API call down to the frame.
    pub correlation: String,
}

/// A meter that does not take part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Excluded {
    /// Which.
    pub serial: String,
    /// Why not.
    pub why: String,
}

/// What is done to one that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Begin with no further meter; what is on the way goes on.
    Pause,
    /// Go on after a pause.
    Resume,
    /// End it: meters that wait are left as they are. Sets on the way go on; commands that nothing was sent of are taken back.
    Stop,
    /// Key changes only: deliver the sets that were refused once more, the same tokens, or new ones where the meter's key has
    /// changed since.
    Retry,
}

/// Why one is not started or changed. Nothing was.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// There is none of that number.
    #[error("there is no {} {id}", .kind.noun())]
    Unknown {
        /// Of which kind.
        kind: CampaignKind,
        /// Which.
        id: i64,
    },
    /// Something is wrong with what was asked for.
    #[error("{0}")]
    Request(String),
    /// It is not in a state for that.
    #[error("{} {id} is {state}", .kind.noun())]
    State {
        /// Of which kind.
        kind: CampaignKind,
        /// Which.
        id: i64,
        /// Where it is.
        state: CampaignState,
    },
    /// The meters are not any more as the preview showed them.
    #[error("the street is not as it was previewed, look at a new preview: {0}")]
    Changed(String),
    /// The same person asked and agreed.
    #[error("{0} asked for it: a second person has to agree")]
    SamePerson(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<serde_json::Error> for BulkError {
    fn from(error: serde_json::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The one of that kind and number.
///
/// # Errors
/// When there is none, or the store fails.
pub async fn find(store: &Store, kind: CampaignKind, id: i64) -> Result<Campaign, BulkError> {
    let found = store.campaign(id).await?.filter(|campaign| campaign.kind == kind);
    found.ok_or(BulkError::Unknown { kind, id })
}

/// Where a verb leads; `None` when it cannot be done in this state.
fn after(kind: CampaignKind, verb: Verb, state: CampaignState) -> Option<CampaignState> {
    use CampaignState::{Done, Paused, Running, Stopped, Waiting};
    match (verb, state) {
        (Verb::Pause, Running) => Some(Paused),
        (Verb::Resume, Paused) => Some(Running),
        (Verb::Stop, Running | Paused | Waiting) => Some(Stopped),
        (Verb::Retry, Running | Done) if kind == CampaignKind::KeyChange => Some(Running),
        (Verb::Retry, Paused) if kind == CampaignKind::KeyChange => Some(Paused),
        _ => None,
    }
}

/// Pauses, resumes or stops one, durably; what follows from it is for whoever carries it out.
///
/// # Errors
/// See [`BulkError`].
pub async fn change(
    store: &Store,
    clock: Clock,
    (kind, id): (CampaignKind, i64),
    verb: Verb,
    asking: &Asking,
) -> Result<Campaign, BulkError> {
    let (now, asking) = (clock.now(), asking.clone());
    store
        .write(move |conn| {
            Box::pin(async move {
                let found = campaign::find(&mut *conn, id).await?.filter(|campaign| campaign.kind == kind);
                let mut campaign = found.ok_or(BulkError::Unknown { kind, id })?;
                let state = campaign.state;
                campaign.state = after(kind, verb, state).ok_or(BulkError::State { kind, id, state })?;
                campaign.updated_at = now;
                let word = format!("{verb:?}").to_lowercase();
                let subject = format!("{} {id}", kind.noun());
                event::audit(conn, now, &asking.actor, &word, &subject, &asking.correlation).await?;
                campaign::set_state(conn, id, campaign.state, now).await?;
                Ok(campaign)
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use CampaignState::{Declined, Done, Paused, Previewed, Running, Stopped, Waiting};

    #[test]
    fn what_has_ended_or_was_not_started_is_neither_paused_nor_resumed_nor_stopped() {
        for kind in [CampaignKind::KeyChange, CampaignKind::Command] {
            for state in [Previewed, Declined, Done, Stopped] {
                for verb in [Verb::Pause, Verb::Resume, Verb::Stop] {
                    assert_eq!(after(kind, verb, state), None, "{verb:?} {state}");
                }
            }
            assert_eq!(after(kind, Verb::Stop, Waiting), Some(Stopped));
            assert_eq!(after(kind, Verb::Resume, Waiting), None, "a second person decides that");
            assert_eq!(after(kind, Verb::Pause, Running), Some(Paused));
        }
        assert_eq!(after(CampaignKind::Command, Verb::Retry, Done), None);
        assert_eq!(after(CampaignKind::KeyChange, Verb::Retry, Done), Some(Running));
    }
}
