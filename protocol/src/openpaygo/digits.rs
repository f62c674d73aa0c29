//! Nine digits 0 to 9, or fifteen digits 1 to 4 for a keypad of four keys.

use super::chain::NUMBER_MAX;
use core::fmt;

/// Which keys the device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DigitSet {
    /// 0 to 9, nine digits.
    Full,
    /// 1 to 4, fifteen digits of two bits each.
    Restricted,
}

impl DigitSet {
    /// Digits of a token.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Full => 9,
            Self::Restricted => 15,
        }
    }
}

/// The digits of a token as ASCII. They are worth money: `Debug` masks them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PaygoDigits {
    text: [u8; 15],
    length: u8,
}

impl PaygoDigits {
    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_ref()).unwrap_or_default()
    }

    pub(super) fn of(number: u32, set: DigitSet) -> Self {
        let mut text = [b'0'; 15];
        let length = set.length();
        let mut rest = number;
        for place in text[..length].iter_mut().rev() {
            // A remainder below ten or four.
            *place = match set {
                DigitSet::Full => b'0' + (rest % 10) as u8,
                DigitSet::Restricted => b'1' + (rest % 4) as u8,
            };
            rest /= match set {
                DigitSet::Full => 10,
                DigitSet::Restricted => 4,
            };
        }
        Self { text, length: length as u8 }
    }
}

impl AsRef<[u8]> for PaygoDigits {
    fn as_ref(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

impl fmt::Debug for PaygoDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaygoDigits(masked)")
    }
}

/// The number that digits stand for; `None` for a wrong length or digit, or more than nine decimal digits.
pub(super) fn number(digits: &[u8], set: DigitSet) -> Option<u32> {
    if digits.len() != set.length() {
        return None;
    }
    let number = digits.iter().try_fold(0u32, |number, &c| match (set, c) {
        (DigitSet::Full, b'0'..=b'9') => Some(number * 10 + u32::from(c - b'0')),
        (DigitSet::Restricted, b'1'..=b'4') => Some(number << 2 | u32::from(c - b'1')),
        _ => None,
    })?;
    (number <= NUMBER_MAX).then_some(number)
}
