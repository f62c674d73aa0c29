//! How much energy an amount buys. The bill is for what the token really carries; what is left over stays the customer's.

use crate::config::Price;
use crate::units::{MinorUnits, WattHours};

/// Watt-hours in one step of a token's amount field: a tenth of a kilowatt-hour (IEC 62055-41 clause 6.3.6).
pub const WH_PER_TENTH: i64 = 100;

/// The most a token can carry, in tenths of a kilowatt-hour: exponent 3, mantissa 16383.
pub const TENTHS_MAX: u32 = 18_201_624;

/// First amount of each exponent's range, and its step.
const RANGES: [(u32, u32); 4] = [(0, 1), (16_384, 10), (180_224, 100), (1_818_624, 1000)];

/// Ten-thousandths of a minor unit per kWh, times tenths: this many make one minor unit.
const SCALE: i128 = 100_000;

/// What a payment buys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Tenths of a kilowatt-hour, exactly representable in a token.
    pub tenths: u32,
    /// What they cost, rounded up to a whole minor unit.
    pub bill: MinorUnits,
    /// What is left of the funds.
    pub change: MinorUnits,
}

impl Quote {
    /// The same energy in watt-hours.
    #[must_use]
    pub fn energy(&self) -> WattHours {
        WattHours(i64::from(self.tenths) * WH_PER_TENTH)
    }
}

/// Why a payment buys nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Zero or less.
    #[error("the amount must be above zero")]
    NotPositive,
    /// Less than the smallest step costs.
    #[error("the amount is too small: the smallest token, 0.1 kWh, costs {cost} minor units and {short} are missing", cost = smallest.0, short = short.0)]
    TooSmall {
        /// What the smallest step costs.
        smallest: MinorUnits,
        /// How much is missing, change held considered.
        short: MinorUnits,
    },
    /// More than one token can carry.
    #[error("the amount is beyond a token's range: one token carries at most 1820162.4 kWh, which costs {cost} minor units", cost = most.0)]
    BeyondRange {
        /// What the largest token costs.
        most: MinorUnits,
    },
}

/// What `tenths` cost, rounded up to a whole minor unit.
#[must_use]
pub fn bill(price: &Price, tenths: u32) -> MinorUnits {
    let exact = i128::from(tenths) * i128::from(price.per_kwh_e4);
    // At most 2^25 tenths times 10^10, divided by 10^5: fits.
    MinorUnits(i64::try_from((exact + SCALE - 1) / SCALE).unwrap_or(i64::MAX))
}

/// The largest amount not above `tenths` that a token's amount field can carry exactly.
#[must_use]
pub fn representable(tenths: u32) -> u32 {
    let tenths = tenths.min(TENTHS_MAX);
    let (start, step) = RANGES.into_iter().rev().find(|(start, _)| tenths >= *start).unwrap_or((0, 1));
    start + (tenths - start) / step * step
}

/// The most energy that `paid` and the change held from before buy.
///
/// # Errors
/// When that is nothing, or more than a token carries.
pub fn quote(price: &Price, paid: MinorUnits, held: MinorUnits) -> Result<Quote, AmountError> {
    if paid.0 <= 0 {
        return Err(AmountError::NotPositive);
    }
    // The bill rounds up, and what rounds up to at most the funds is itself at most the funds: so the division may round down.
    let affordable = |funds: MinorUnits| i128::from(funds.0.max(0)) * SCALE / i128::from(price.per_kwh_e4);
    if affordable(paid) > i128::from(TENTHS_MAX) {
        return Err(AmountError::BeyondRange { most: bill(price, TENTHS_MAX) });
    }
    let funds = paid + held;
    let tenths = representable(u32::try_from(affordable(funds)).unwrap_or(TENTHS_MAX));
    if tenths == 0 {
        let smallest = bill(price, 1);
        return Err(AmountError::TooSmall { smallest, short: smallest - funds });
    }
    let bill = bill(price, tenths);
    Ok(Quote { tenths, bill, change: funds - bill })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(minor_per_kwh: &str) -> Price {
        Price::new("EUR", 2, minor_per_kwh).unwrap()
    }

    #[test]
    fn the_bill_is_for_what_the_token_carries_and_the_rest_is_change() {
        // 25.34 cents per kWh: 0.1 kWh is 2.534 cents; 500 cents buy 197 tenths (499.198, billed 500).
        let quote = quote(&price("25.34"), MinorUnits(500), MinorUnits(0)).unwrap();
        assert_eq!(quote, Quote { tenths: 197, bill: MinorUnits(500), change: MinorUnits(0) });
        assert_eq!(quote.energy(), WattHours(19_700));
    }

    #[test]
    fn change_held_from_before_is_spent_first() {
        let price = price("30");
        let first = quote(&price, MinorUnits(100), MinorUnits(0)).unwrap();
        assert_eq!(first, Quote { tenths: 33, bill: MinorUnits(99), change: MinorUnits(1) });
        let second = quote(&price, MinorUnits(2), first.change).unwrap();
        assert_eq!(second, Quote { tenths: 1, bill: MinorUnits(3), change: MinorUnits(0) });
    }

    #[test]
    fn nothing_is_lost_or_gained_over_any_amount_and_price() {
        for price in ["0.0001", "0.333", "7", "25.34", "999.9999"].map(price) {
            for paid in (1..2_000).chain([16_383 * 3, 1_000_003]) {
                let Ok(quote) = quote(&price, MinorUnits(paid), MinorUnits(5)) else { continue };
                assert_eq!(quote.bill + quote.change, MinorUnits(paid + 5));
                assert_eq!(representable(quote.tenths), quote.tenths);
                assert!(quote.change.0 >= 0);
                let next = RANGES.iter().rev().find(|(start, _)| quote.tenths >= *start).unwrap().1;
                if quote.tenths + next <= TENTHS_MAX {
                    assert!(bill(&price, quote.tenths + next).0 > paid + 5, "the next step was affordable");
                }
            }
        }
    }

    #[test]
    fn amounts_step_down_to_what_the_field_can_carry() {
        for (wanted, carried) in [
            (16_383, 16_383),
            (16_384, 16_384),
            (16_393, 16_384),
            (16_394, 16_394),
            (180_223, 180_214),
            (180_224, 180_224),
            (1_818_623, 1_818_524),
            (1_818_624, 1_818_624),
            (18_201_624, 18_201_624),
            (u32::MAX, 18_201_624),
        ] {
            assert_eq!(representable(wanted), carried, "{wanted}");
        }
    }

    #[test]
    fn what_buys_nothing_is_refused_with_what_is_missing() {
        let price = price("25.34");
        assert_eq!(quote(&price, MinorUnits(0), MinorUnits(9)), Err(AmountError::NotPositive));
        assert_eq!(quote(&price, MinorUnits(-5), MinorUnits(9)), Err(AmountError::NotPositive));
        let small = quote(&price, MinorUnits(2), MinorUnits(0)).unwrap_err();
        assert_eq!(
            small.to_string(),
            "the amount is too small: the smallest token, 0.1 kWh, costs 3 minor units and 1 are missing"
        );
        let most = bill(&price, TENTHS_MAX);
        assert!(quote(&price, most - MinorUnits(1), MinorUnits(0)).is_ok());
        assert_eq!(
            quote(&price, most + MinorUnits(3), MinorUnits(0)),
            Err(AmountError::BeyondRange { most })
        );
        assert_eq!(
            quote(&price, MinorUnits(i64::MAX), MinorUnits(i64::MAX)),
            Err(AmountError::BeyondRange { most })
        );
    }
}
