//! The supply monitor (RM0090, 5.2.2): says that the 3.3 V are going while the hold-up capacitor still carries the meter.

use core::sync::atomic::{AtomicBool, Ordering};
use cortex_m::peripheral::NVIC;
use stm32f4xx_hal::pac::{EXTI, Interrupt, PWR, interrupt};
use stm32f4xx_hal::rcc::{Enable, Rcc};

/// 2.9 V falling: the highest threshold there is (data sheet, 5.3.6).
const THRESHOLD: u8 = 0b111;
/// The monitor's line into the interrupt controller (RM0090, 12.2.5).
const LINE: u32 = 1 << 16;

static FAILED: AtomicBool = AtomicBool::new(false);

/// The monitor.
#[derive(Debug)]
pub(super) struct Supply {
    power: PWR,
}

impl Supply {
    pub(super) fn start(power: PWR, lines: EXTI, rcc: &mut Rcc) -> Self {
        PWR::enable(rcc);
        // SAFETY: three bits, all values of which are thresholds.
        power.cr().modify(|_, w| unsafe { w.pls().bits(THRESHOLD) }.pvde().set_bit());
        // SAFETY: sets the bit of the monitor's line and leaves the others as they were.
        lines.rtsr().modify(|r, w| unsafe { w.bits(r.bits() | LINE) });
        // SAFETY: as above. The monitor's output rises when the supply falls.
        lines.imr().modify(|r, w| unsafe { w.bits(r.bits() | LINE) });
        // SAFETY: the handler below shares only an atomic with this code.
        unsafe { NVIC::unmask(Interrupt::PVD) };
        Self { power }
    }

    /// Whether the supply is below the threshold, or was since this was last asked.
    pub(super) fn is_failing(&mut self) -> bool {
        let below = self.power.csr().read().pvdo().bit_is_set();
        FAILED.swap(false, Ordering::Relaxed) || below
    }
}

#[interrupt]
fn PVD() {
    // SAFETY: writing ones to the pending register clears just those lines.
    unsafe { (*EXTI::ptr()).pr().write(|w| w.bits(LINE)) };
    FAILED.store(true, Ordering::Relaxed);
}
