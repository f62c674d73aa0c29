//! The token number: 20 decimal digits, 66 bits, and the place of the two class bits among them.

use core::fmt;

/// Digits of a token number.
pub const DIGITS: usize = 20;
/// First number that does not fit in 66 bits: 2^66 = 73786976294838206464.
const LIMIT: u128 = 1 << 66;
/// Ten digits: the split that keeps the decimal conversion in 64-bit arithmetic.
const HALF: u64 = 10_000_000_000;
/// IEC 62055-41 6.4.2: the class bits take the place of bits 28 and 27 of the block.
const CLASS_SHIFT: u32 = 27;
const CLASS_MASK: u64 = 3 << CLASS_SHIFT;

/// A 66-bit token number. It is worth money until it is used, so `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenNumber(u128);

/// Why a text is not a token number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberError {
    /// Not 20 characters long.
    Length {
        /// How many characters there were.
        found: usize,
    },
    /// A character that is not a decimal digit.
    NotADigit {
        /// Where, counted from zero.
        offset: usize,
    },
    /// 2^66 or more: cannot be a token.
    TooLarge,
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => write!(f, "a token has {DIGITS} digits, this has {found} characters"),
            Self::NotADigit { offset } => write!(f, "character {offset} of the token is not a digit"),
            Self::TooLarge => {
                f.write_str("the token number does not fit in 66 bits (largest 73786976294838206463)")
            }
        }
    }
}

impl core::error::Error for NumberError {}

/// The 20 digits as ASCII. Compare or show them on purpose only: `Debug` masks them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigits([u8; DIGITS]);

impl TokenDigits {
    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The digits as ASCII bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; DIGITS] {
        &self.0
    }
}

impl fmt::Debug for TokenDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigits(masked)")
    }
}

impl TokenNumber {
    /// From 66 bits; `None` when larger.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Option<Self> {
        if bits < LIMIT { Some(Self(bits)) } else { None }
    }

    /// The 66 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Exactly 20 ASCII digits below 2^66; separators are for the caller to strip.
    ///
    /// # Errors
    /// [`NumberError`]: the meter answers FormatError.
    pub fn parse(text: &[u8]) -> Result<Self, NumberError> {
        if text.len() != DIGITS {
            return Err(NumberError::Length { found: text.len() });
        }
        let mut halves = [0u64; 2];
        for (offset, &c) in text.iter().enumerate() {
            if !c.is_ascii_digit() {
                return Err(NumberError::NotADigit { offset });
            }
            let half = &mut halves[offset / 10];
            *half = *half * 10 + u64::from(c - b'0');
        }
        let number = u128::from(halves[0]) * u128::from(HALF) + u128::from(halves[1]);
        Self::from_bits(number).ok_or(NumberError::TooLarge)
    }

    /// The 20 digits, zero padded.
    #[must_use]
    pub fn digits(self) -> TokenDigits {
        let high = self.0 / u128::from(HALF);
        let low = self.0 - high * u128::from(HALF);
        let mut out = [b'0'; DIGITS];
        // Both halves are below 10^10, so the casts lose nothing.
        for (half, chunk) in [high as u64, low as u64].into_iter().zip(out.chunks_mut(10)) {
            let mut rest = half;
            for place in chunk.iter_mut().rev() {
                *place = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        TokenDigits(out)
    }

    /// Puts the class (0..=3) and the 64-bit block together (IEC 62055-41 6.4.2): the two bits the class displaces
    /// move to bits 65 and 64.
    #[must_use]
    pub const fn place(class: u8, block: u64) -> Self {
        let displaced = (block & CLASS_MASK) >> CLASS_SHIFT;
        let class = (class & 3) as u64;
        Self(((displaced as u128) << 64) | ((block & !CLASS_MASK) | (class << CLASS_SHIFT)) as u128)
    }

    /// The class, 0..=3.
    #[must_use]
    pub const fn class(self) -> u8 {
        ((self.0 >> CLASS_SHIFT) & 3) as u8
    }

    /// The 64-bit block with the displaced bits back in place.
    #[must_use]
    pub const fn block(self) -> u64 {
        let low = self.0 as u64 & !CLASS_MASK;
        low | (((self.0 >> 64) as u64 & 3) << CLASS_SHIFT)
    }
}

impl fmt::Debug for TokenNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenNumber(masked)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_the_standard_is_placed_and_taken_apart() {
        let number = TokenNumber::place(0, 0xc45e_d161_9406_df95);
        assert_eq!(number.bits(), 0x2_c45e_d161_8406_df95);
        assert_eq!(number.digits().as_str(), "51043465443420856213");
        assert_eq!((number.class(), number.block()), (0, 0xc45e_d161_9406_df95));
    }

    #[test]
    fn the_largest_number_is_accepted_and_the_next_refused() {
        assert!(TokenNumber::parse(b"73786976294838206463").is_ok());
        assert_eq!(TokenNumber::parse(b"73786976294838206464"), Err(NumberError::TooLarge));
        assert_eq!(TokenNumber::parse(b"99999999999999999999"), Err(NumberError::TooLarge));
    }

    #[test]
    fn wrong_lengths_and_letters_are_refused_with_the_place() {
        assert_eq!(TokenNumber::parse(b""), Err(NumberError::Length { found: 0 }));
        assert_eq!(TokenNumber::parse(b"1234567890123456789"), Err(NumberError::Length { found: 19 }));
        assert_eq!(TokenNumber::parse(b"123456789012345678901"), Err(NumberError::Length { found: 21 }));
        assert_eq!(TokenNumber::parse(b"1234567890x234567890"), Err(NumberError::NotADigit { offset: 10 }));
    }

    #[test]
    fn debug_shows_no_digit() {
        let number = TokenNumber::parse(b"51043465443420856213").unwrap();
        assert!(!std::format!("{number:?} {:?}", number.digits()).contains(|c: char| c.is_ascii_digit()));
    }
}
