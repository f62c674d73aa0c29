//! The meter's side: what happens to a token number that was pushed or typed.
//!
//! Everything here is a pure function of the state, the number and the time. [`evaluate`] changes nothing; the firmware
//! writes the [`Effect`] and its own credit change into **one** journal record and then applies it with
//! [`MeterTokenState::apply`], so that a power cut leaves the old state or the new one. Replaying the records gives the state
//! back.
//!
//! ```
//! use protocol::sts::meter::{Abilities, Effect, MeterTokenState, TokenResult, evaluate};
//! # use protocol::sts::*;
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let drn = Drn::from_parts(1, 1)?;
//! # let attributes = KeyAttributes {
//! #     supply_group: SupplyGroup::try_from(123_457)?,
//! #     tariff_index: TariffIndex::try_from(1)?,
//! #     key_revision: KeyRevision::try_from(1)?,
//! #     key_type: KeyType::Dutk,
//! #     base_date: BaseDate::Year2014,
//! # };
//! # let pan = MeterPan::from_drn(&drn);
//! # let vending_key = VendingKey::from_bytes(&[0x31; 20])?;
//! let key = derive(&vending_key, EncryptionAlgorithm::Ea11, &pan, &attributes)?;
//! # let token = Token::Credit { service: Service::Electricity, amount: AmountCode::from_field(100), rnd: Rnd::new(5),
//! #     tid: Tid::from_minutes(6_000_000).ok_or("tid")? };
//! # let typed = token.encode(&TokenCipher::new(&key, &SAMPLE)).digits();
//! let mut state = MeterTokenState::new(pan, key, attributes.into(), Tid::from_minutes(5_000_000));
//! let abilities = Abilities::electricity(1, 1_000_000, Some(23_000));
//!
//! let verdict = evaluate(&state, &abilities, typed.as_bytes(), 0);
//! assert_eq!(verdict.result, TokenResult::Accept);
//! if let Some(effect) = verdict.effect {
//!     // Here the firmware writes one record: the effect and the new balance. Then:
//!     state.apply(&effect);
//! }
//! assert_eq!(evaluate(&state, &abilities, typed.as_bytes(), 60_000).result, TokenResult::Used);
//! # Ok(())
//! # }
//! ```

mod effect;
mod evaluate;
mod lockout;
mod result;
mod state;
mod tid_store;

pub use effect::Effect;
pub use evaluate::{Abilities, Verdict, evaluate};
pub use lockout::{FREE_ERRORS, KeypadLockout, LOCK_FIRST_MS, LOCK_LONGEST_MS, evaluate_typed};
pub use result::TokenResult;
pub use state::{KEY_CHANGE_TIMEOUT_MS, MeterKeyAttributes, MeterTokenState, PendingKeyChange};
pub use tid_store::{TID_STORE_DEPTH, TidJudgement, TidStore};

#[cfg(test)]
mod tests;
