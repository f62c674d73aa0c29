//! Key changes: which are worth making, and the same tokens once more for a meter that did not carry one out.

use super::special::{SpecialError, Stored, audit, record};
use super::tid;
use super::top_up::Vending;
use crate::bulk::Asking;
use crate::session::work::TokenDigits;
use crate::store::Connection;
use crate::store::special::{self, KeyChange, Special, SpecialKind, SpecialState};
use crate::vault::{KeyChangeRequest, StsIdentity, Vault};
use jiff::Timestamp;
use protocol::sts::KeyType;

/// The tokens of a key change. One that leaves the meter under a key with which nothing can be sold is refused: an expired
/// one, one that the vault lacks, or a base date that has not come yet.
///
/// # Errors
/// What the vault, or the token ids after the change, have against it.
pub(super) fn tokens(
    vault: &dyn Vault,
    from: StsIdentity,
    to: StsIdentity,
    now: Timestamp,
) -> Result<Vec<TokenDigits>, SpecialError> {
    let next = tid::of_meter(now, vault, &to, None)?;
    // Under a default or factory key nothing is sold anyway: the meter waits for its supply group there.
    if KeyType::from_code(to.kt) == Some(KeyType::Dutk) {
        vault.can_vend(&to, next)?;
    }
    let rollover = to.base_year != from.base_year;
    Ok(vault.key_change(&KeyChangeRequest { from, to, rollover, with_supply_group: false })?)
}

impl Vending {
    /// Delivers the tokens of a key change that its meter did not carry out once more: the same ones, in order.
    ///
    /// # Errors
    /// See [`SpecialError`].
    pub async fn retry_special(&self, id: i64, asking: Asking) -> Result<Special, SpecialError> {
        let now = self.clock.now();
        self.store.write(move |conn| Box::pin(async move { retry(conn, id, &asking, now).await })).await
    }
}

async fn retry(
    conn: &mut Connection,
    id: i64,
    asking: &Asking,
    now: Timestamp,
) -> Result<Special, SpecialError> {
    let special = special::find(conn, id).await?.ok_or(SpecialError::Unknown(id))?;
    if special.kind != SpecialKind::KeyChange || special.state != SpecialState::Refused {
        return Err(SpecialError::NotRefused { kind: special.kind, state: special.state });
    }
    if special::key_change(conn, &special.serial).await? != KeyChange::None {
        return Err(SpecialError::KeyChangeOpen);
    }
    let stored: Stored = serde_json::from_str(&special.action)?;
    if stored.from.as_ref() != Some(&record(conn, &special.serial).await?) {
        return Err(SpecialError::Superseded);
    }
    audit(conn, &special, &asking.actor, "retry", now).await?;
    special::begin_again(conn, special, "tried again", now).await?;
    special::find(conn, id).await?.ok_or(SpecialError::Unknown(id))
}
