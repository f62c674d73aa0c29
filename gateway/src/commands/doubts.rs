//! What a person decides about readings that are held (N31).

use crate::guards::Rules;
use crate::reading::plausibility::DoubtKind;
use crate::store::doubt::{self, DoubtState, StoredDoubt};
use crate::store::meter::BalanceHolder;
use crate::store::{Connection, StoreError, event, meter, observation};
use crate::vending::held;
use jiff::Timestamp;

/// What a person says.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Which doubt.
    pub id: i64,
    /// The readings are right; otherwise they are wrong.
    pub release: bool,
    /// Why.
    pub note: String,
    /// Who.
    pub actor: String,
    /// Of the request.
    pub correlation: String,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DoubtError {
    /// There is none of that number.
    #[error("there is no doubt {0}")]
    Unknown(i64),
    /// It is decided.
    #[error("doubt {id} is {state} already")]
    Decided {
        /// Its number.
        id: i64,
        /// What became of it.
        state: DoubtState,
    },
    /// Readings of another meter cannot become this one's.
    #[error(
        "another meter answered: its readings are not this one's; enter that meter under its own number, and reject these"
    )]
    OtherMeter,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Decides. Released readings count from the last one on: a register that went back is where charging goes on, without charging
/// the step; one that jumped is charged; a new ratio is the one that is expected.
///
/// # Errors
/// [`DoubtError`]; nothing was changed.
pub async fn decide(
    conn: &mut Connection,
    decision: &Decision,
    rules: &Rules,
    at: Timestamp,
) -> Result<StoredDoubt, DoubtError> {
    let doubt = doubt::find(conn, decision.id).await?.ok_or(DoubtError::Unknown(decision.id))?;
    if doubt.state != DoubtState::Held {
        return Err(DoubtError::Decided { id: doubt.id, state: doubt.state });
    }
    let state = match (decision.release, doubt.kind) {
        (true, DoubtKind::OtherMeter) => return Err(DoubtError::OtherMeter),
        (true, _) => DoubtState::Released,
        (false, _) => DoubtState::Rejected,
    };
    doubt::decide(conn, &doubt, state, &decision.actor, &decision.note, at).await?;
    let (subject, action) = (format!("doubt {}", doubt.id), format!("doubt {state}"));
    event::audit(conn, at, &decision.actor, &action, &subject, &decision.correlation).await?;
    if state == DoubtState::Released {
        believe(conn, &doubt, &decision.correlation, rules).await?;
    }
    Ok(StoredDoubt {
        state,
        decided_by: Some(decision.actor.clone()),
        note: Some(decision.note.clone()),
        decided_at: Some(at),
        ..doubt
    })
}

async fn believe(
    conn: &mut Connection,
    doubt: &StoredDoubt,
    correlation: &str,
    rules: &Rules,
) -> Result<(), StoreError> {
    let serial = &doubt.serial;
    observation::believe(conn, serial, doubt.import, doubt.ratios.as_deref(), doubt.last_at).await?;
    let Some(meter) = meter::find(conn, &serial.0).await? else { return Ok(()) };
    if meter.balance != BalanceHolder::Gateway {
        return Ok(());
    }
    if let (DoubtKind::WentBack | DoubtKind::OtherRatio, Some(register)) = (doubt.kind, doubt.import) {
        observation::set_rated(conn, serial, register).await?;
    }
    held::charge_reading(conn, serial, doubt.last_at, correlation, rules).await
}
