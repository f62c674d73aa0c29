//! The device's side.

use super::chain::{BASE, PaygoKey, following, with_base};
use super::digits::{DigitSet, number};
use super::{DISABLE, SYNCHRONISE, VALUE_MAX};
use core::fmt;

/// Counts a token may be ahead of the device.
pub const LOOK_AHEAD: u16 = 64;
/// The same for tokens that synchronise.
pub const LOOK_AHEAD_SYNC: u16 = 100;
/// An unused token that adds time is still good this many counts behind.
pub const OLDER_MAX: u16 = 16;
/// Last count. It bounds the chain a device has to walk for one token; at one token a day it lasts 27 years.
pub const COUNT_MAX: u16 = 10_000;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaygoRefusal {
    /// Wrong number of digits, or a digit the keypad does not have.
    Format,
    /// No token of this device near its count.
    Invalid,
    /// A token of this device that was used, or is too old.
    Used,
}

impl fmt::Display for PaygoRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "not a token: wrong number of digits",
            Self::Invalid => "a digit is mistyped, or the token is for another device",
            Self::Used => "already used, or too old",
        })
    }
}

impl core::error::Error for PaygoRefusal {}

/// What an accepted token does. It goes into the journal together with the time it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Accepted {
    /// Add time.
    AddTime {
        /// How much, in the device's unit.
        value: u16,
        /// The token's count.
        count: u16,
    },
    /// Set the remaining time.
    SetTime {
        /// To what.
        value: u16,
        /// The token's count.
        count: u16,
    },
    /// Take the limit off.
    Disable {
        /// The token's count.
        count: u16,
    },
    /// Only move the counter.
    Synchronise {
        /// The token's count.
        count: u16,
    },
}

/// What a device remembers. `Debug` shows no key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Device {
    key: PaygoKey,
    starting_code: u32,
    digit_set: DigitSet,
    /// Highest count accepted.
    count: u16,
    /// Bit i: the token at `count - 1 - i` is used up. Counts before the first one are.
    used: u16,
}

impl Device {
    /// A device as it leaves the factory.
    #[must_use]
    pub const fn new(key: PaygoKey, starting_code: u32, digit_set: DigitSet, count: u16) -> Self {
        Self {
            key,
            starting_code: starting_code % (super::chain::NUMBER_MAX + 1),
            digit_set,
            count,
            used: u16::MAX,
        }
    }

    /// Highest count accepted.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Judges a token; changes nothing. Walks at most [`COUNT_MAX`] links of the chain.
    ///
    /// # Errors
    /// [`PaygoRefusal`].
    pub fn judge(&self, digits: &[u8]) -> Result<Accepted, PaygoRefusal> {
        let number = number(digits, self.digit_set).ok_or(PaygoRefusal::Format)?;
        let base = number % BASE;
        // 0..=999, so the cast loses nothing.
        let value = ((base + BASE - self.starting_code % BASE) % BASE) as u16;
        let ahead = if value == SYNCHRONISE { LOOK_AHEAD_SYNC } else { LOOK_AHEAD };
        let last = self.count.saturating_add(ahead).min(COUNT_MAX);
        let mut link = with_base(self.starting_code, base);
        let mut used = false;
        for count in 0..=last {
            if with_base(link, base) == number
                && let Some(accepted) = meaning(value, count)
            {
                if self.is_open(&accepted, count) {
                    return Ok(accepted);
                }
                used = true;
            }
            link = following(&self.key, link);
        }
        Err(if used { PaygoRefusal::Used } else { PaygoRefusal::Invalid })
    }

    /// Ahead of the counter everything is open; behind it only unused tokens that add time. A synchronisation never
    /// moves the counter back: that would open used tokens again.
    fn is_open(&self, accepted: &Accepted, count: u16) -> bool {
        match self.count.checked_sub(count) {
            None => true,
            Some(0) => false,
            Some(behind) => {
                matches!(accepted, Accepted::AddTime { .. })
                    && behind <= OLDER_MAX
                    && self.used >> (behind - 1) & 1 == 0
            }
        }
    }

    /// Remembers an accepted token, after it was stored.
    pub fn apply(&mut self, accepted: Accepted) {
        let (count, adds) = match accepted {
            Accepted::AddTime { count, .. } => (count, true),
            Accepted::SetTime { count, .. }
            | Accepted::Disable { count }
            | Accepted::Synchronise { count } => (count, false),
        };
        if let Some(ahead) = count.checked_sub(self.count).filter(|&ahead| ahead > 0) {
            // The count that was the highest is used; those jumped over are open.
            let shifted = u32::from(self.used) << 1 | 1;
            self.used = if u32::from(ahead) > 16 { 0 } else { (shifted << (ahead - 1)) as u16 };
            self.count = count;
        } else if let Some(behind) =
            self.count.checked_sub(count).filter(|behind| (1..=OLDER_MAX).contains(behind))
        {
            self.used |= 1 << (behind - 1);
        }
        if !adds {
            // What sets the time ends everything before it.
            self.used = u16::MAX;
        }
    }
}

/// What a value means at a count; `None` for the two values without a meaning, and for orders at even counts.
fn meaning(value: u16, count: u16) -> Option<Accepted> {
    match (value, count % 2 == 1) {
        (0..=VALUE_MAX, false) => Some(Accepted::AddTime { value, count }),
        (0..=VALUE_MAX, true) => Some(Accepted::SetTime { value, count }),
        (DISABLE, true) => Some(Accepted::Disable { count }),
        (SYNCHRONISE, true) => Some(Accepted::Synchronise { count }),
        _ => None,
    }
}
