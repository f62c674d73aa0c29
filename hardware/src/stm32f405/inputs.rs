//! Tamper switches, the calibration jumper, the supply, the watchdog, the random generator; the customer's button.

use super::pins::In;
use super::supply::Supply;
use crate::board::{Health, ResetCause};
use stm32f4xx_hal::hal_02::blocking::rng::Read;
use stm32f4xx_hal::rng::Rng;
use stm32f4xx_hal::watchdog::IndependentWatchdog;

/// How often the generator may say that its noise is too regular before the processor starts anew (RM0090, 24.3.2).
const TRIES: u32 = 64;

/// The inputs that tell of tampering and of the supply, the watchdog and the random generator.
pub struct Inputs {
    pub(super) cover: In,
    pub(super) magnet: In,
    pub(super) jumper: In,
    pub(super) random: Option<Rng>,
    pub(super) supply: Supply,
    pub(super) reset_cause: ResetCause,
    pub(super) watchdog: IndependentWatchdog,
}

impl core::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inputs").finish_non_exhaustive()
    }
}

impl Inputs {
    /// Whether there is a random generator that works. Without one no association with challenges may be offered.
    pub fn has_random(&mut self) -> bool {
        self.random_word().is_some()
    }

    fn random_word(&mut self) -> Option<[u8; 4]> {
        let generator = self.random.as_mut()?;
        let mut word = [0; 4];
        (0..TRIES).any(|_| generator.read(&mut word).is_ok()).then_some(word)
    }
}

impl Health for Inputs {
    /// The switch is closed to ground while the cover is on.
    fn cover_open(&mut self) -> bool {
        self.cover.is_high()
    }

    /// The Hall switch pulls its output down in a strong field.
    fn magnet(&mut self) -> bool {
        self.magnet.is_low()
    }

    fn calibration_jumper(&mut self) -> bool {
        self.jumper.is_low()
    }

    fn supply_failing(&mut self) -> bool {
        self.supply.is_failing()
    }

    fn reset_cause(&mut self) -> ResetCause {
        self.reset_cause
    }

    fn feed_watchdog(&mut self) {
        self.watchdog.feed();
    }

    /// A generator that fails in service ends in a reset: a challenge that could be guessed is worse than none.
    fn random(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(4) {
            let Some(word) = self.random_word() else { cortex_m::peripheral::SCB::sys_reset() };
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// The customer's button, low while it is pressed.
#[derive(Debug)]
pub struct Button {
    pin: In,
    agreed: u8,
}

/// Looks that must agree, at one every 10 ms.
const AGREEING_LOOKS: u8 = 3;

impl Button {
    pub(super) fn new(pin: In) -> Self {
        Self { pin, agreed: 0 }
    }

    /// Looks at it; call it every 10 ms or so. True once for every press.
    pub fn pressed(&mut self) -> bool {
        if self.pin.is_high() {
            self.agreed = 0;
            return false;
        }
        self.agreed = self.agreed.saturating_add(1);
        self.agreed == AGREEING_LOOKS
    }
}
