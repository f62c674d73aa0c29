//! Tokens nobody paid for. Each has a reason; free issue and clear credit also need a second person. A key change is an
//! ordered set that is pushed token by token, each after the meter took the one before: nobody types them.

use super::key_change;
use super::tid::{self, TidError};
use super::top_up::Vending;
use crate::bulk::Asking;
use crate::session::work::{Serial, TokenDigits};
use crate::store::command::Breach;
use crate::store::meter::BalanceHolder;
use crate::store::special::{KeyChange, Special, SpecialKind, SpecialState, SpecialToken};
use crate::store::{Connection, StoreError, event, meter, payment, special};
use crate::vault::{StsIdentity, TokenAction, TokenRequest, Vault, VaultError};
use jiff::Timestamp;
use protocol::sts::{AmountCode, CreditRegister, Management, Service};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// The longest reason, in bytes.
pub(super) const REASON_MAX: usize = 500;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SpecialAction {
    /// Credit without a payment. Needs a second person.
    FreeIssue {
        /// Tenths of a kilowatt-hour; exactly what a token can carry.
        tenths_kwh: u32,
    },
    /// The meter's electricity credit is set to zero. Needs a second person.
    ClearCredit,
    /// The tamper condition is cleared: after somebody has looked at the meter, for an alarm is a suspicion (N23).
    ClearTamper {
        /// The case.
        case_id: String,
        /// Who looked at the meter; another person than the one who asks.
        confirmed_by: String,
    },
    /// The power is limited.
    PowerLimit {
        /// In watts; exactly what a token can carry.
        watts: u32,
    },
    /// The difference between phases is limited.
    PhaseUnbalanceLimit {
        /// In watts; exactly what a token can carry.
        watts: u32,
    },
    /// A new decoder key for the attributes given; those left out stay.
    KeyChange {
        /// Supply group code.
        #[serde(default)]
        sgc: Option<u32>,
        /// Tariff index.
        #[serde(default)]
        ti: Option<u8>,
        /// Key revision number.
        #[serde(default)]
        krn: Option<u8>,
        /// Key type.
        #[serde(default)]
        kt: Option<u8>,
        /// Key expiry number.
        #[serde(default)]
        ken: Option<u8>,
        /// Base date: the meter forgets its token ids.
        #[serde(default)]
        base_year: Option<u16>,
    },
}

impl SpecialAction {
    const fn kind(&self) -> SpecialKind {
        match self {
            Self::FreeIssue { .. } => SpecialKind::FreeIssue,
            Self::ClearCredit => SpecialKind::ClearCredit,
            Self::ClearTamper { .. } => SpecialKind::ClearTamper,
            Self::PowerLimit { .. } => SpecialKind::PowerLimit,
            Self::PhaseUnbalanceLimit { .. } => SpecialKind::PhaseUnbalanceLimit,
            Self::KeyChange { .. } => SpecialKind::KeyChange,
        }
    }

    /// Whether one person alone must not do it: it gives money away or takes it.
    #[must_use]
    pub const fn needs_second_person(&self) -> bool {
        matches!(self, Self::FreeIssue { .. } | Self::ClearCredit)
    }

    /// What stands against it, as far as the request alone says.
    fn flaw(&self, actor: &str) -> Result<(), SpecialError> {
        let Self::ClearTamper { case_id, confirmed_by } = self else { return Ok(()) };
        let missing = |text: &str| text.trim().is_empty() || text.len() > REASON_MAX;
        if missing(case_id) || missing(confirmed_by) {
            return Err(SpecialError::NotInspected);
        }
        if confirmed_by.trim().eq_ignore_ascii_case(actor) {
            return Err(SpecialError::OwnInspection(actor.to_owned()));
        }
        Ok(())
    }

    /// Who looked at the meter, where somebody has to.
    fn inspection(&self) -> Option<Breach> {
        let Self::ClearTamper { case_id, confirmed_by } = self else { return None };
        Some(Breach { case_id: case_id.trim().to_owned(), confirmed_by: confirmed_by.trim().to_owned() })
    }

    /// The record a key change leads to.
    pub(super) fn target(&self, from: &StsIdentity) -> Option<StsIdentity> {
        let Self::KeyChange { sgc, ti, krn, kt, ken, base_year } = self else { return None };
        Some(StsIdentity {
            sgc: sgc.unwrap_or(from.sgc),
            ti: ti.unwrap_or(from.ti),
            krn: krn.unwrap_or(from.krn),
            kt: kt.unwrap_or(from.kt),
            ken: ken.unwrap_or(from.ken),
            base_year: base_year.unwrap_or(from.base_year),
            ..from.clone()
        })
    }
}

/// What is stored of a request: the action, and for a key change the records before and after.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub action: SpecialAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<StsIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<StsIdentity>,
}

/// Why it is not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SpecialError {
    /// No such meter.
    #[error("there is no meter {0}")]
    UnknownMeter(String),
    /// No such request.
    #[error("there is no special token {0}")]
    Unknown(i64),
    /// It takes no tokens.
    #[error("meter {0} takes no tokens")]
    NoTokens(String),
    /// No reason given, or too long a one.
    #[error("a reason of at most {REASON_MAX} bytes is needed")]
    Reason,
    /// Nobody looked at the meter.
    #[error(
        "an alarm is a suspicion: say in case_id and confirmed_by which case it is and who looked at the meter"
    )]
    NotInspected,
    /// Who asks is the one who looked.
    #[error("{0} asks for it: what was found has to be confirmed by another person")]
    OwnInspection(String),
    /// The same person asked and agreed.
    #[error("{0} asked for it: a second person has to agree")]
    SamePerson(String),
    /// It waits for nobody.
    #[error("it is {0}, not waiting for a second person")]
    NotWaiting(SpecialState),
    /// A key change comes first.
    #[error("a key change of this meter is under way; try again in a few minutes")]
    KeyChangeOpen,
    /// Only a key change that the meter did not carry out is delivered again.
    #[error("it is a {kind} and {state}: only a refused key change is delivered again")]
    NotRefused {
        /// What it is.
        kind: SpecialKind,
        /// How far it is.
        state: SpecialState,
    },
    /// The meter's key is another one by now.
    #[error("the meter's record has changed since: these tokens are worthless, ask for a new key change")]
    Superseded,
    /// Nothing changes.
    #[error("the key change changes nothing")]
    NothingChanges,
    /// There is no token id for it.
    #[error(transparent)]
    Tid(#[from] TidError),
    /// The vault will not make it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<serde_json::Error> for SpecialError {
    fn from(error: serde_json::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Vending {
    /// Records a request. What needs no second person is made and on its way when this returns.
    ///
    /// # Errors
    /// See [`SpecialError`].
    pub async fn request_special(
        &self,
        serial: &str,
        action: SpecialAction,
        reason: &str,
        asking: Asking,
    ) -> Result<Special, SpecialError> {
        let reason = reason.trim().to_owned();
        if reason.is_empty() || reason.len() > REASON_MAX {
            return Err(SpecialError::Reason);
        }
        let (now, vault, serial) = (self.clock.now(), self.vault.clone(), Serial(serial.to_owned()));
        self.store
            .write(move |conn| {
                Box::pin(async move { request(conn, &vault, serial, action, reason, asking, now).await })
            })
            .await
    }

    /// Agrees to a request that somebody else made; it is made and on its way when this returns.
    ///
    /// # Errors
    /// See [`SpecialError`].
    pub async fn approve_special(&self, id: i64, asking: Asking) -> Result<Special, SpecialError> {
        self.decide(id, asking, true).await
    }

    /// Declines a request.
    ///
    /// # Errors
    /// See [`SpecialError`].
    pub async fn decline_special(&self, id: i64, asking: Asking) -> Result<Special, SpecialError> {
        self.decide(id, asking, false).await
    }

    async fn decide(&self, id: i64, asking: Asking, agreed: bool) -> Result<Special, SpecialError> {
        let (now, vault) = (self.clock.now(), self.vault.clone());
        self.store
            .write(move |conn| Box::pin(async move { decide(conn, &vault, id, asking, agreed, now).await }))
            .await
    }

    /// The digits of any stored token, paid for or not.
    ///
    /// # Errors
    /// When it is not there, or the vault cannot open it.
    pub async fn digits_of(&self, token_id: i64) -> Result<TokenDigits, SpecialError> {
        if let Some(token) = self.store.stored_token(token_id).await? {
            return Ok(self.digits(&token)?);
        }
        let token = self
            .store
            .special_token(token_id)
            .await?
            .ok_or_else(|| StoreError::Corrupt(format!("there is no token {token_id}")))?;
        let context = seal_context(token.special_id, token.position);
        let clear = zeroize::Zeroizing::new(self.vault.open(&context, &token.sealed)?);
        std::str::from_utf8(&clear)
            .ok()
            .and_then(TokenDigits::new)
            .ok_or_else(|| VaultError::Broken(format!("the stored {context}")).into())
    }
}

fn seal_context(special_id: i64, position: u32) -> String {
    format!("token {position} of special {special_id}")
}

/// The meter's token record.
pub(super) async fn record(conn: &mut Connection, serial: &Serial) -> Result<StsIdentity, SpecialError> {
    let meter =
        meter::find(conn, &serial.0).await?.ok_or_else(|| SpecialError::UnknownMeter(serial.0.clone()))?;
    meter
        .sts
        .filter(|_| meter.balance == BalanceHolder::Meter)
        .ok_or_else(|| SpecialError::NoTokens(serial.0.clone()))
}

pub(super) async fn request(
    conn: &mut Connection,
    vault: &Arc<dyn Vault>,
    serial: Serial,
    action: SpecialAction,
    reason: String,
    asking: Asking,
    now: Timestamp,
) -> Result<Special, SpecialError> {
    action.flaw(&asking.actor)?;
    let from = record(conn, &serial).await?;
    let to = action.target(&from);
    if to.as_ref() == Some(&from) {
        return Err(SpecialError::NothingChanges);
    }
    let kind = action.kind();
    let waits = action.needs_second_person();
    let stored = Stored { action, from: to.is_some().then(|| from.clone()), to };
    let mut special = Special {
        id: 0,
        serial,
        kind,
        action: serde_json::to_string(&stored)?,
        reason,
        requested_by: asking.actor,
        decided_by: None,
        state: SpecialState::Waiting,
        tokens: 0,
        taken: 0,
        rounds: 1,
        outcome: None,
        correlation: asking.correlation,
        at: now,
        updated_at: now,
    };
    special.id = special::insert(conn, &special).await?;
    audit(conn, &special, &special.requested_by, "request", now).await?;
    if !waits {
        mint(conn, vault.as_ref(), &mut special, now).await?;
    }
    Ok(special)
}

async fn decide(
    conn: &mut Connection,
    vault: &Arc<dyn Vault>,
    id: i64,
    asking: Asking,
    agreed: bool,
    now: Timestamp,
) -> Result<Special, SpecialError> {
    let mut special = special::find(conn, id).await?.ok_or(SpecialError::Unknown(id))?;
    if special.state != SpecialState::Waiting {
        return Err(SpecialError::NotWaiting(special.state));
    }
    // Whoever asked may take it back, but not agree to it.
    if agreed && special.requested_by == asking.actor {
        return Err(SpecialError::SamePerson(asking.actor));
    }
    special.decided_by = Some(asking.actor.clone());
    audit(conn, &special, &asking.actor, if agreed { "approve" } else { "decline" }, now).await?;
    if agreed {
        mint(conn, vault.as_ref(), &mut special, now).await?;
    } else {
        special.state = SpecialState::Declined;
        special::update(conn, &special, now).await?;
    }
    Ok(special)
}

pub(super) async fn audit(
    conn: &mut Connection,
    special: &Special,
    actor: &str,
    verb: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let action = format!("{verb} {}", special.kind);
    event::audit(conn, now, actor, &action, &special.serial.0, &special.correlation).await
}

/// Makes the tokens, stores them closed, and records the delivery of the first.
async fn mint(
    conn: &mut Connection,
    vault: &dyn Vault,
    special: &mut Special,
    now: Timestamp,
) -> Result<(), SpecialError> {
    let from = record(conn, &special.serial).await?;
    let stored: Stored = serde_json::from_str(&special.action)?;
    let under_way = special::key_change(conn, &special.serial).await?;
    if under_way == KeyChange::Ending || (stored.to.is_some() && under_way != KeyChange::None) {
        return Err(SpecialError::KeyChangeOpen);
    }
    let tokens = match stored.to {
        Some(to) => {
            key_change::tokens(vault, from, to, now)?.into_iter().map(|digits| (None, digits)).collect()
        }
        None => {
            let last = payment::last_tid(conn, &special.serial, from.base_year).await?;
            let tid = tid::of_meter(now, vault, &from, last)?;
            special::reserve_tid(conn, special, (from.base_year, tid), now).await?;
            let request = TokenRequest { meter: from, tid, action: token_action(&stored.action)? };
            vec![(Some(tid), vault.encode(&request)?)]
        }
    };
    for (position, (tid, digits)) in (0u32..).zip(&tokens) {
        let sealed = vault.seal(&seal_context(special.id, position), digits.reveal().as_bytes())?;
        let token = SpecialToken { special_id: special.id, position, sealed };
        special::insert_token(conn, special, &token, *tid, now).await?;
        special.tokens = position + 1;
    }
    special.state = SpecialState::OnTheWay;
    special::update(conn, special, now).await?;
    special::deliver(conn, special, 0, stored.action.inspection(), now).await?;
    Ok(())
}

fn token_action(action: &SpecialAction) -> Result<TokenAction, VaultError> {
    let limit = |watts: u32| {
        let code = AmountCode::largest_at_most(watts);
        if code.units() == watts {
            return Ok(code);
        }
        let nearest = code.units();
        Err(VaultError::Request(format!(
            "a token cannot carry exactly {watts} W; the largest below is {nearest}"
        )))
    };
    Ok(match action {
        SpecialAction::FreeIssue { tenths_kwh } => {
            TokenAction::Credit { service: Service::Electricity, units: *tenths_kwh }
        }
        SpecialAction::ClearCredit => TokenAction::Management(Management::ClearCredit(
            CreditRegister::Units(Service::Electricity).field(),
        )),
        SpecialAction::ClearTamper { .. } => TokenAction::Management(Management::ClearTamper),
        SpecialAction::PowerLimit { watts } => {
            TokenAction::Management(Management::MaximumPowerLimit(limit(*watts)?))
        }
        SpecialAction::PhaseUnbalanceLimit { watts } => {
            TokenAction::Management(Management::PhaseUnbalanceLimit(limit(*watts)?))
        }
        SpecialAction::KeyChange { .. } => {
            return Err(VaultError::Request("a key change is a set of tokens".into()));
        }
    })
}

#[cfg(test)]
mod tests;
