//! The price of energy: an exact decimal, kept as an integer.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// Ten-thousandths of a minor unit in one minor unit: the resolution of a price.
pub const PRICE_SCALE: i64 = 10_000;

/// What a kilowatt-hour costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// ISO 4217 code, for people.
    pub currency: String,
    /// Decimal digits of the minor unit: 2 for cents.
    pub minor_digits: u32,
    /// Ten-thousandths of a minor unit per kWh; positive.
    pub per_kwh_e4: i64,
}

impl Price {
    /// A price from minor units per kWh in decimal text (`"25.34"` cents), at most four decimals.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(currency: &str, minor_digits: u32, minor_per_kwh: &str) -> Result<Self, String> {
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(format!("currency {currency:?} is not a three-letter ISO 4217 code"));
        }
        if minor_digits > 4 {
            return Err(format!("minor_digits is {minor_digits}; currencies have 0 to 4"));
        }
        let price: Decimal = minor_per_kwh
            .parse()
            .map_err(|_| format!("price {minor_per_kwh:?} is not a decimal number of minor units per kWh"))?;
        let scaled =
            price.checked_mul(Decimal::from(PRICE_SCALE)).ok_or("the price is too large")?.normalize();
        if scaled.scale() != 0 {
            return Err(format!("price {minor_per_kwh:?} has more than four decimals"));
        }
        match scaled.to_i64() {
            // 10^10 keeps every product of an amount (below 2^25 tenths) and a price within i64.
            Some(per_kwh_e4) if (1..=10_000_000_000).contains(&per_kwh_e4) => {
                Ok(Self { currency: currency.to_owned(), minor_digits, per_kwh_e4 })
            }
            _ => Err(format!(
                "price {minor_per_kwh:?} must be above 0 and at most 1000000 minor units per kWh"
            )),
        }
    }
}
