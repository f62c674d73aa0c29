//! The follow-up: a task that goes on with what had to wait. Payments that came while a key change was ending, or whose token
//! could not be stored, get their tokens, and campaigns get their next sets.

use super::top_up::{TopUpError, Vending};
use crate::store::StoreError;
use crate::store::campaign::CampaignKind;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The least time between two looks: commits come in bursts, and a set takes longer than this anyway.
const LOOK_MIN: Duration = Duration::from_millis(200);
/// The most: a meter that does not answer frees its place in a campaign without any commit.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// A payment that waits for its token so long was left behind by a failing store, not by the moment between two writes.
const LEFT_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// A payment that the vault cannot make a token for is tried again after this.
const VAULT_PAUSE: Duration = Duration::from_secs(60);

/// Runs until `stop` becomes true.
pub async fn run(vending: Vending, mut stop: watch::Receiver<bool>) {
    let mut commits = vending.store.commits();
    let mut paused = HashMap::new();
    while !*stop.borrow() {
        commits.borrow_and_update();
        if let Err(error) = look(&vending, &mut paused).await {
            tracing::error!(%error, "waiting payments and campaigns could not be looked at");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_MIN) => {}
            _ = stop.changed() => break,
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(LOOK_MAX) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn look(vending: &Vending, paused: &mut HashMap<i64, Instant>) -> Result<(), StoreError> {
    let now = Instant::now();
    let before = vending.clock.now().saturating_sub(LEFT_AFTER).unwrap_or(Timestamp::UNIX_EPOCH);
    paused.retain(|_, until| *until > now);
    for payment in vending.store.payments_left(before).await? {
        let id = payment.id;
        if paused.contains_key(&id) {
            continue;
        }
        match vending.finish(payment).await {
            Ok(_) => {}
            Err(TopUpError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::error!(payment = id, %error, "a paid token cannot be made");
                paused.insert(id, now + VAULT_PAUSE);
            }
        }
    }
    for campaign in vending.store.running_campaigns(CampaignKind::KeyChange).await? {
        vending.advance_campaign(&campaign).await?;
    }
    Ok(())
}
