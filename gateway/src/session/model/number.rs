//! Numbers of meters as integers: IEEE 754 values from their bits, without floating-point arithmetic, and SunSpec's scale factors.

/// `(-1)^negative * mantissa * 2^exponent * 10^scale10`, rounded to the nearest integer, halves away from zero. `None` when it does not
/// fit 64 bits with its sign.
fn scaled(negative: bool, mantissa: u64, exponent: i32, scale10: i8) -> Option<i64> {
    let power = 10u128.checked_pow(u32::from(scale10.unsigned_abs()))?;
    let (numerator, denominator) = if scale10 >= 0 {
        (u128::from(mantissa).checked_mul(power)?, 1)
    } else {
        (u128::from(mantissa), power)
    };
    let magnitude = if exponent >= 0 {
        let shift = u32::try_from(exponent).ok()?;
        // A shift that loses bits is a number far beyond 64 bits.
        if numerator != 0 && numerator.leading_zeros() <= shift {
            return None;
        }
        nearest(numerator.checked_shl(shift).unwrap_or(0), denominator)
    } else {
        // 53 bits of mantissa and 40 of a power of ten: behind 94 places nothing is left to round.
        match denominator.checked_mul(1u128.checked_shl(exponent.unsigned_abs()).unwrap_or(0)) {
            Some(denominator @ 1..) => nearest(numerator, denominator),
            _ => 0,
        }
    };
    let value = i128::try_from(magnitude).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

fn nearest(numerator: u128, denominator: u128) -> u128 {
    let (whole, rest) = (numerator / denominator, numerator % denominator);
    whole + u128::from(rest >= denominator - rest)
}

/// The value of IEEE 754 bits with so many bits of exponent and fraction. `None` for infinities and what is not a number.
fn from_bits(bits: u64, exponent_bits: u32, fraction_bits: u32, scale10: i8) -> Option<i64> {
    let biased = bits >> fraction_bits & ((1 << exponent_bits) - 1);
    let fraction = bits & ((1 << fraction_bits) - 1);
    let negative = bits >> (exponent_bits + fraction_bits) & 1 == 1;
    if biased == (1 << exponent_bits) - 1 {
        return None;
    }
    // Subnormal numbers have no leading one and the exponent of the smallest normal ones.
    let mantissa = if biased == 0 { fraction } else { fraction | 1 << fraction_bits };
    let bias = (1i32 << (exponent_bits - 1)) - 1;
    let exponent = i32::try_from(biased.max(1)).ok()? - bias - i32::try_from(fraction_bits).ok()?;
    scaled(negative, mantissa, exponent, scale10)
}

/// A single-precision value times ten to the power, as an integer.
pub(super) fn from_f32(bits: u32, scale10: i8) -> Option<i64> {
    from_bits(u64::from(bits), 8, 23, scale10)
}

/// A double-precision value times ten to the power, as an integer.
pub(super) fn from_f64(bits: u64, scale10: i8) -> Option<i64> {
    from_bits(bits, 11, 52, scale10)
}

/// A power of ten as SunSpec has it in a register (`sunssf`): -10 to 10; 0x8000 is not implemented.
pub(super) fn scale_factor(register: u16) -> Option<i8> {
    i8::try_from(register as i16).ok().filter(|power| (-10..=10).contains(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_values_become_integers_exactly() {
        assert_eq!(from_f32(230.2f32.to_bits(), 3), Some(230_200));
        assert_eq!(from_f32(0.7f32.to_bits(), 3), Some(700), "0.699999988 is nearest to 700 thousandths");
        assert_eq!(from_f32(2.5f32.to_bits() | 1 << 31, 0), Some(-3), "halves go away from zero");
        assert_eq!(from_f32(1_234_567.9f32.to_bits(), -2), Some(12_346));
        assert_eq!(from_f32(0x0000_0001, 12), Some(0), "the smallest number there is");
        assert_eq!(from_f32(0x8000_0000, 3), Some(0), "minus nothing");
        assert_eq!(from_f32(f32::MAX.to_bits(), 0), None, "beyond 64 bits");
        for bits in [f32::INFINITY.to_bits(), f32::NEG_INFINITY.to_bits(), f32::NAN.to_bits()] {
            assert_eq!(from_f32(bits, 0), None);
        }
    }

    #[test]
    fn every_integer_that_a_float_holds_comes_back() {
        for power in 0..24 {
            for value in [(1i64 << power) - 1, 1 << power, (1 << power) + 1] {
                assert_eq!(from_f32((value as f32).to_bits(), 0), Some(value));
                assert_eq!(from_f32((-value as f32).to_bits(), 3), Some(-value * 1_000));
            }
        }
        for power in 0..53 {
            let value = (1i64 << power) - 1;
            assert_eq!(from_f64((value as f64).to_bits(), 0), Some(value));
        }
        assert_eq!(from_f64(123_456_789.25f64.to_bits(), 2), Some(12_345_678_925));
        assert_eq!(from_f64(1e18f64.to_bits(), 0), Some(1_000_000_000_000_000_000));
        assert_eq!(from_f64(1e18f64.to_bits(), 3), None);
        assert_eq!(from_f64(f64::MIN_POSITIVE.to_bits(), 12), Some(0));
    }

    #[test]
    fn a_scale_factor_is_a_small_power_or_none() {
        assert_eq!(
            [0, 10, 0xFFF6, 11, 0xFFF5, 0x8000].map(scale_factor),
            [Some(0), Some(10), Some(-10), None, None, None]
        );
    }
}
