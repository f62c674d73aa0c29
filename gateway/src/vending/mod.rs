//! Vending: from money to credit. The sums are pure functions; [`Vending`] puts them into transactions.

pub mod amount;
mod campaign;
pub mod follow_up;
pub mod held;
mod key_change;
mod special;
pub mod tid;
mod top_up;

pub use campaign::{CampaignRequest, Preview};
pub use special::{SpecialAction, SpecialError};
pub use top_up::{Receipt, TopUpError, Vending};
