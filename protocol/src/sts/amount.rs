//! How an amount is squeezed into a token: the 16-bit code of units and limits, and the currency code.
//!
//! Both are `10^e * m + offset(e)` with a 14-bit mantissa (IEC 62055-41 6.3.6), so not every amount can be carried. What
//! is billed must be what the token really carries: ask the code for its value, never the wish.

/// Mantissa values per exponent.
const STEPS: u32 = 1 << 14;
/// Largest mantissa.
const MANTISSA_MAX: u32 = STEPS - 1;

/// The 16-bit code: two bits exponent, 14 bits mantissa. Units are 0.1 kWh, 0.1 m³ or 0.1 min in credit tokens, watts in
/// limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct AmountCode(u16);

/// First amount of each exponent: sum of 2^14 * 10^(n-1) for n = 1..=e.
const OFFSETS: [u32; 4] = [0, 16_384, 180_224, 1_818_624];
const POWERS: [u32; 4] = [1, 10, 100, 1_000];

impl AmountCode {
    /// The largest amount that can be carried.
    pub const MAX_UNITS: u32 = 18_201_624;

    /// From the 16-bit field; every value has a meaning.
    #[must_use]
    pub const fn from_field(field: u16) -> Self {
        Self(field)
    }

    /// The 16-bit field.
    #[must_use]
    pub const fn field(self) -> u16 {
        self.0
    }

    /// The amount the code stands for.
    #[must_use]
    pub const fn units(self) -> u32 {
        let exponent = (self.0 >> 14) as usize;
        OFFSETS[exponent] + POWERS[exponent] * (self.0 as u32 & MANTISSA_MAX)
    }

    /// The smallest amount that can be carried and is at least `units`: the standard's rounding, in the customer's
    /// favour. `None` above [`Self::MAX_UNITS`].
    ///
    /// ```
    /// use protocol::sts::AmountCode;
    /// assert_eq!(AmountCode::round_up(16_385).map(|code| code.units()), Some(16_394));
    /// ```
    #[must_use]
    pub fn round_up(units: u32) -> Option<Self> {
        (0..4).find_map(|exponent| {
            let mantissa = units.saturating_sub(OFFSETS[exponent]).div_ceil(POWERS[exponent]);
            Self::compose(exponent, mantissa)
        })
    }

    /// The largest amount that can be carried and is at most `units`: what a vendor can sell without giving anything
    /// away. Amounts above the range give the largest code.
    ///
    /// ```
    /// use protocol::sts::AmountCode;
    /// assert_eq!(AmountCode::largest_at_most(16_393).units(), 16_384);
    /// ```
    #[must_use]
    pub fn largest_at_most(units: u32) -> Self {
        let exponent = (0..4).rev().find(|&e| OFFSETS[e] <= units).unwrap_or(0);
        let mantissa = ((units - OFFSETS[exponent]) / POWERS[exponent]).min(MANTISSA_MAX);
        Self::compose(exponent, mantissa).unwrap_or(Self(u16::MAX))
    }

    fn compose(exponent: usize, mantissa: u32) -> Option<Self> {
        // exponent < 4 and mantissa < 2^14: 16 bits together.
        (mantissa <= MANTISSA_MAX).then_some(Self((exponent as u16) << 14 | mantissa as u16))
    }
}

/// An amount of currency as a token carries it: sign, five-bit exponent, 14-bit mantissa. The unit is 0.00001 of the
/// base currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct CurrencyCode {
    negative: bool,
    exponent: u8,
    mantissa: u16,
}

/// Largest exponent: five bits.
const CURRENCY_EXPONENT_MAX: u8 = 31;

/// Sum of 2^14 * 10^(n-1) for n = 1..=e, which is 2^14 * (10^e - 1) / 9: at most 1.9e34.
const fn currency_offset(exponent: u8) -> u128 {
    STEPS as u128 * ((10u128.pow(exponent as u32) - 1) / 9)
}

impl CurrencyCode {
    /// From the S&E nibble (sign, exponent bits 4..2) and the 16-bit field (exponent bits 1..0, mantissa).
    #[must_use]
    pub const fn from_fields(sign_and_exponent: u8, field: u16) -> Self {
        Self {
            negative: sign_and_exponent & 8 != 0,
            exponent: ((sign_and_exponent & 7) << 2) | (field >> 14) as u8,
            mantissa: field & MANTISSA_MAX as u16,
        }
    }

    /// The S&E nibble and the 16-bit field.
    #[must_use]
    pub const fn fields(self) -> (u8, u16) {
        let nibble = ((self.negative as u8) << 3) | (self.exponent >> 2);
        (nibble, ((self.exponent as u16 & 3) << 14) | self.mantissa)
    }

    /// The amount in 0.00001 of the base currency. At most about 1.82e35 in magnitude.
    #[must_use]
    pub const fn amount(self) -> i128 {
        let magnitude =
            currency_offset(self.exponent) + 10u128.pow(self.exponent as u32) * self.mantissa as u128;
        // 1.82e35 is far below i128::MAX, 1.7e38.
        if self.negative { -(magnitude as i128) } else { magnitude as i128 }
    }

    /// Exponent 0..=31.
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.exponent
    }

    /// Mantissa 0..=16383.
    #[must_use]
    pub const fn mantissa(self) -> u16 {
        self.mantissa
    }

    /// Whether the amount is taken from the customer.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.negative
    }

    /// The standard's rounding, towards the customer: a positive amount up, the magnitude of a negative one down.
    /// `None` beyond the range.
    #[must_use]
    pub fn round_for_customer(amount: i128) -> Option<Self> {
        let magnitude = amount.unsigned_abs();
        (0..=CURRENCY_EXPONENT_MAX).find_map(|exponent| {
            let above = magnitude.saturating_sub(currency_offset(exponent));
            let step = 10u128.pow(u32::from(exponent));
            let mantissa = if amount < 0 { above / step } else { above.div_ceil(step) };
            (mantissa <= u128::from(MANTISSA_MAX)).then_some(Self {
                negative: amount < 0,
                exponent,
                mantissa: mantissa as u16,
            })
        })
    }

    /// The largest amount that can be carried and is at most `amount`, for `amount` >= 0. Amounts above the range give
    /// the largest code.
    #[must_use]
    pub fn largest_at_most(amount: u128) -> Self {
        let exponent = (0..=CURRENCY_EXPONENT_MAX).rev().find(|&e| currency_offset(e) <= amount).unwrap_or(0);
        let mantissa = (amount - currency_offset(exponent)) / 10u128.pow(u32::from(exponent));
        Self { negative: false, exponent, mantissa: mantissa.min(u128::from(MANTISSA_MAX)) as u16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_boundary_of_the_unit_code_is_exact() {
        for (units, field) in [
            (0, 0),
            (1, 1),
            (16_383, 16_383),
            (16_384, 1 << 14),
            (180_214, (1 << 14) | 16_383),
            (180_223, 2 << 14),
            (180_224, 2 << 14),
            (1_818_524, (2 << 14) | 16_383),
            (1_818_623, 3 << 14),
            (1_818_624, 3 << 14),
            (18_201_624, u16::MAX),
        ] {
            assert_eq!(AmountCode::round_up(units).map(AmountCode::field), Some(field), "{units}");
        }
        assert_eq!(AmountCode::round_up(18_201_625), None);
        assert_eq!(AmountCode::largest_at_most(180_223).units(), 180_214);
        assert_eq!(AmountCode::largest_at_most(u32::MAX).units(), AmountCode::MAX_UNITS);
    }

    #[test]
    fn all_65536_codes_are_distinct_ascending_and_found_from_both_sides() {
        let mut before = None;
        for field in 0..=u16::MAX {
            let code = AmountCode::from_field(field);
            assert!(before < Some(code.units()));
            before = Some(code.units());
            assert_eq!(AmountCode::round_up(code.units()), Some(code));
            assert_eq!(AmountCode::largest_at_most(code.units()), code);
        }
    }

    #[test]
    fn rounding_never_takes_from_the_customer_and_never_gives_more_than_one_step() {
        let mut units = 0;
        while units <= AmountCode::MAX_UNITS {
            let up = AmountCode::round_up(units).unwrap().units();
            let down = AmountCode::largest_at_most(units).units();
            assert!(down <= units && units <= up && up - down <= 1_000, "{units}");
            units += 7;
        }
    }

    #[test]
    fn one_unit_of_currency_rounds_as_published() {
        let code = CurrencyCode::round_for_customer(100_000).unwrap();
        assert_eq!(
            (code.amount(), code.exponent(), code.mantissa(), code.fields()),
            (100_004, 1, 8362, (0, 24746))
        );
        assert_eq!(CurrencyCode::round_for_customer(-100_000).unwrap().amount(), -99_994);
    }

    #[test]
    fn the_end_of_the_currency_range_is_reached_without_overflow() {
        let last = CurrencyCode::from_fields(7, u16::MAX);
        assert_eq!(last.exponent(), 31);
        assert_eq!(CurrencyCode::round_for_customer(last.amount()), Some(last));
        assert_eq!(CurrencyCode::round_for_customer(last.amount() + 1), None);
        assert_eq!(CurrencyCode::round_for_customer(i128::MIN), None);
        assert_eq!(CurrencyCode::largest_at_most(u128::MAX), last);
    }

    #[test]
    fn every_currency_field_survives_the_round_trip_and_is_its_own_rounding() {
        for nibble in 0..16u8 {
            for field in (0..=u16::MAX).step_by(13) {
                let code = CurrencyCode::from_fields(nibble, field);
                assert_eq!(code.fields(), (nibble, field));
                if code.amount() != 0 {
                    assert_eq!(CurrencyCode::round_for_customer(code.amount()), Some(code));
                }
            }
        }
    }

    #[test]
    fn a_negative_amount_in_the_gap_before_an_exponent_rounds_down() {
        // 180215..=180223 lie between the last amount of exponent 1 and the first of exponent 2.
        for magnitude in 180_215..=180_223 {
            assert_eq!(CurrencyCode::round_for_customer(-magnitude).unwrap().amount(), -180_214);
            assert_eq!(CurrencyCode::round_for_customer(magnitude).unwrap().amount(), 180_224);
        }
    }
}
