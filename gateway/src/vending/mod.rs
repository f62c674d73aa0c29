//! Vending: from money to credit. The sums are pure functions; [`Vending`] puts them into transactions.

pub mod amount;
pub mod held;
mod special;
pub mod tid;
mod top_up;

pub use special::{Asking, SpecialAction, SpecialError};
pub use top_up::{Receipt, TopUpError, Vending};
