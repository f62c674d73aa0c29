//! Keypad lock-out: slows down guessing at the keypad. Tokens pushed over the network never ask it, and nothing pushed
//! counts against the person at the keypad.
//!
//! Practice of a published meter manual: three wrong entries lock for 10 s, each further one doubles it up to 1,280 s. An
//! accepted token of the meter's own, or a power cycle, clears it. Class 1 tokens work all the time.

use super::super::number::TokenNumber;
use super::evaluate::{Abilities, Verdict, evaluate};
use super::result::TokenResult;
use super::state::MeterTokenState;

/// Wrong entries before the first lock, and the one that locks.
pub const FREE_ERRORS: u8 = 3;
/// The first lock.
pub const LOCK_FIRST_MS: u64 = 10_000;
/// The longest lock: ten seconds doubled seven times.
pub const LOCK_LONGEST_MS: u64 = LOCK_FIRST_MS << 7;

/// The lock's state. It is not stored: a power cycle clears it.
///
/// ```
/// use protocol::sts::meter::{KeypadLockout, TokenResult};
/// let mut keypad = KeypadLockout::default();
/// for _ in 0..3 {
///     assert!(keypad.admits(1_000, 0));
///     keypad.record(1_000, 0, TokenResult::Crc);
/// }
/// assert!(!keypad.admits(10_999, 0), "locked for ten seconds");
/// assert!(keypad.admits(10_999, 1), "test tokens still work");
/// assert!(keypad.admits(11_000, 0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeypadLockout {
    errors: u8,
    locked_until_ms: u64,
}

impl KeypadLockout {
    /// Whether a typed token of this class (see [`crate::sts::TokenNumber::class`]) may be judged now. If not, the answer
    /// is [`TokenResult::Lockout`] and nothing is recorded.
    #[must_use]
    pub const fn admits(&self, now_ms: u64, class: u8) -> bool {
        class == 1 || now_ms >= self.locked_until_ms
    }

    /// Milliseconds until typing works again.
    #[must_use]
    pub const fn remaining_ms(&self, now_ms: u64) -> u64 {
        self.locked_until_ms.saturating_sub(now_ms)
    }

    /// Records the result of a typed token. Wrong are entries that do not authenticate; a token that is genuine but used,
    /// old or too much for the meter is an honest mistake.
    pub fn record(&mut self, now_ms: u64, class: u8, result: TokenResult) {
        match result {
            TokenResult::Crc | TokenResult::Format => {
                self.errors = self.errors.saturating_add(1);
                if let Some(doublings) = self.errors.checked_sub(FREE_ERRORS) {
                    let lock = LOCK_FIRST_MS << doublings.min(7);
                    self.locked_until_ms = now_ms.saturating_add(lock);
                }
            }
            _ if result.is_taken() && class != 1 => *self = Self::default(),
            _ => {}
        }
    }

    /// An accepted token that was pushed clears the lock as a typed one does.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Judges a token typed at the keypad: as [`evaluate`], unless the keypad is locked. Tokens pushed over the network go to
/// [`evaluate`] directly.
#[must_use]
pub fn evaluate_typed(
    keypad: &mut KeypadLockout,
    state: &MeterTokenState,
    abilities: &Abilities<'_>,
    digits: &[u8],
    now_ms: u64,
) -> Verdict {
    // What is no number has no class; it is a wrong entry like any other.
    let class = TokenNumber::parse(digits).map_or(0, TokenNumber::class);
    if !keypad.admits(now_ms, class) {
        return Verdict { result: TokenResult::Lockout, effect: None, kind: None, tid: None };
    }
    let verdict = evaluate(state, abilities, digits, now_ms);
    keypad.record(now_ms, class, verdict.result);
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_doubles_up_to_its_longest_and_an_accepted_token_clears_it() {
        let mut keypad = KeypadLockout::default();
        let mut now = 0;
        let mut locks = std::vec::Vec::new();
        for _ in 0..14 {
            assert!(keypad.admits(now, 0));
            keypad.record(now, 0, TokenResult::Crc);
            locks.push(keypad.remaining_ms(now) / 1_000);
            now += keypad.remaining_ms(now);
        }
        assert_eq!(locks, [0, 0, 10, 20, 40, 80, 160, 320, 640, 1280, 1280, 1280, 1280, 1280]);
        keypad.record(now, 1, TokenResult::Accept);
        keypad.record(now, 0, TokenResult::Format);
        assert!(!keypad.admits(now, 0), "a test token clears nothing");
        keypad.record(now, 0, TokenResult::Accept);
        assert_eq!(keypad, KeypadLockout::default());
    }

    #[test]
    fn honest_mistakes_do_not_lock() {
        let mut keypad = KeypadLockout::default();
        for result in [TokenResult::Used, TokenResult::Old, TokenResult::Overflow, TokenResult::KeyExpired] {
            for _ in 0..10 {
                keypad.record(0, 0, result);
            }
        }
        assert!(keypad.admits(0, 0));
    }
}
