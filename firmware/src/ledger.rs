//! Energy and credit in integers: what came in, what was used, what is left.

use serde::{Deserialize, Serialize};

/// Milliwatt-seconds in a watt-hour.
pub const MWS_PER_WH: u64 = 3_600_000;

/// One direction of energy: whole watt-hours, and what is not yet a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EnergyCount {
    /// Watt-hours since the meter was made.
    pub wh: u64,
    /// Less than [`MWS_PER_WH`].
    remainder_mws: u32,
}

impl EnergyCount {
    /// Energy beyond the whole watt-hours: less than [`MWS_PER_WH`].
    #[must_use]
    pub const fn remainder_mws(&self) -> u32 {
        self.remainder_mws
    }

    /// Adds energy and returns how many whole watt-hours became full. Nothing is rounded away.
    pub fn add(&mut self, mws: u64) -> u64 {
        let sum = u64::from(self.remainder_mws).saturating_add(mws);
        let whole = sum / MWS_PER_WH;
        // The remainder is below 3,600,000.
        self.remainder_mws = (sum % MWS_PER_WH) as u32;
        self.wh = self.wh.saturating_add(whole);
        whole
    }
}

/// Where the account's units came from and went to. Energy accounts count watt-hours.
///
/// Invariant: `initial + credited = consumed + charged + remaining`. Every change keeps it or does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Credit the meter left the factory with.
    initial: i64,
    /// Sum of tokens and of management's corrections.
    credited: i64,
    /// Taken by the consumption charge.
    consumed: i64,
    /// Taken by other charges.
    charged: i64,
    /// What is left; negative where energy was used faster than the relay could open, or in credit mode.
    remaining: i64,
}

/// The largest credit an account holds: class 111 and 112 carry it in a double-long.
pub const CREDIT_MAX: i64 = i32::MAX as i64;

/// A credit would leave the range the register has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl Ledger {
    /// A new account.
    #[must_use]
    pub const fn new(initial: i64) -> Self {
        Self { initial, credited: 0, consumed: 0, charged: 0, remaining: initial }
    }

    /// Units left.
    #[must_use]
    pub const fn remaining(&self) -> i64 {
        self.remaining
    }

    /// Units taken by consumption so far.
    #[must_use]
    pub const fn consumed(&self) -> i64 {
        self.consumed
    }

    /// Units taken by other charges so far.
    #[must_use]
    pub const fn charged(&self) -> i64 {
        self.charged
    }

    /// Units added so far.
    #[must_use]
    pub const fn credited(&self) -> i64 {
        self.credited
    }

    /// Adds a credit, or takes one back when negative.
    ///
    /// # Errors
    /// [`Overflow`]: the credit would not fit its register; nothing changed.
    pub fn credit(&mut self, units: i64) -> Result<(), Overflow> {
        let remaining = self.remaining.checked_add(units).ok_or(Overflow)?;
        if !(-CREDIT_MAX..=CREDIT_MAX).contains(&remaining) {
            return Err(Overflow);
        }
        self.credited = self.credited.checked_add(units).ok_or(Overflow)?;
        self.remaining = remaining;
        Ok(())
    }

    /// Takes the consumption charge. It always succeeds: energy that was used is charged.
    pub fn consume(&mut self, units: u64) {
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        // A meter would have to carry 10 kW for a hundred million years to come near the end of these.
        self.consumed = self.consumed.saturating_add(units);
        self.remaining = self.remaining.saturating_sub(units);
    }

    /// Takes another charge.
    pub fn charge(&mut self, units: u64) {
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        self.charged = self.charged.saturating_add(units);
        self.remaining = self.remaining.saturating_sub(units);
    }

    /// One unit from nowhere.
    #[cfg(test)]
    pub(crate) const fn unbalanced(self) -> Self {
        Self { remaining: self.remaining + 1, ..self }
    }

    /// Whether every unit is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        let came = i128::from(self.initial) + i128::from(self.credited);
        let went = i128::from(self.consumed) + i128::from(self.charged) + i128::from(self.remaining);
        came == went
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_never_rounded_away_however_finely_it_comes() {
        let mut fine = EnergyCount::default();
        let mut coarse = EnergyCount::default();
        let mut whole = 0;
        for step in 0..100_000_u64 {
            whole += fine.add(step % 997);
            coarse.add(step % 997);
        }
        assert_eq!(fine, coarse);
        assert_eq!(whole, fine.wh);
        let total: u64 = (0..100_000_u64).map(|s| s % 997).sum();
        assert_eq!(fine.wh * MWS_PER_WH + u64::from(fine.remainder_mws), total);
    }

    #[test]
    fn a_credit_that_does_not_fit_changes_nothing() {
        let mut ledger = Ledger::new(CREDIT_MAX - 5);
        let before = ledger;
        assert_eq!(ledger.credit(6), Err(Overflow));
        assert_eq!(ledger, before);
        assert_eq!(ledger.credit(5), Ok(()));
        assert!(ledger.balances());
    }
}
