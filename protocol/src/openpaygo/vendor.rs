//! Making tokens.

use super::chain::{BASE, PaygoKey, following, with_base};
use super::device::COUNT_MAX;
use super::digits::{DigitSet, PaygoDigits};
use super::{DISABLE, SYNCHRONISE, VALUE_MAX};
use core::fmt;

/// What a token shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Add this much time, in the device's unit (usually days): 0 to 995.
    AddTime(u16),
    /// Set the remaining time.
    SetTime(u16),
    /// Take the limit off.
    Disable,
    /// Bring the device's counter to the vendor's.
    Synchronise,
}

/// Why no token is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VendorError {
    /// More than 995.
    Value,
    /// The device's counter is used up.
    Count,
}

impl fmt::Display for VendorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value => write!(f, "a token carries at most {VALUE_MAX}"),
            Self::Count => f.write_str("the device's token counter is used up"),
        }
    }
}

impl core::error::Error for VendorError {}

/// What the vendor knows of a device. The count has to be stored durably before a token is handed out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Vendor {
    key: PaygoKey,
    starting_code: u32,
    digit_set: DigitSet,
    count: u16,
}

impl Vendor {
    /// A device with its starting code (nine digits; larger numbers wrap) and the count of its last token.
    #[must_use]
    pub const fn new(key: PaygoKey, starting_code: u32, digit_set: DigitSet, count: u16) -> Self {
        Self { key, starting_code: starting_code % (super::chain::NUMBER_MAX + 1), digit_set, count }
    }

    /// Count of the last token made.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Makes the next token: at the next even count to add time, at the next odd one for everything else.
    ///
    /// # Errors
    /// A value above 995, or a counter at its end. The count is unchanged then.
    pub fn issue(&mut self, request: Request) -> Result<PaygoDigits, VendorError> {
        let (value, odd) = match request {
            Request::AddTime(value) => (value, false),
            Request::SetTime(value) => (value, true),
            Request::Disable => (DISABLE, true),
            Request::Synchronise => (SYNCHRONISE, true),
        };
        if matches!(request, Request::AddTime(_) | Request::SetTime(_)) && value > VALUE_MAX {
            return Err(VendorError::Value);
        }
        let step = if (self.count % 2 == 1) == odd { 2 } else { 1 };
        let count =
            self.count.checked_add(step).filter(|&count| count <= COUNT_MAX).ok_or(VendorError::Count)?;
        let base = (self.starting_code % BASE + u32::from(value)) % BASE;
        let start = with_base(self.starting_code, base);
        let number = (0..count).fold(start, |number, _| following(&self.key, number));
        self.count = count;
        Ok(PaygoDigits::of(with_base(number, base), self.digit_set))
    }
}
