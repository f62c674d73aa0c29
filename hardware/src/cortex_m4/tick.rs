//! Milliseconds since start, counted by the SysTick exception.

use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::{SYST, syst::SystClkSource};
use cortex_m_rt::exception;

/// Two halves, because the core has no 64-bit atomics. Only the exception writes them.
static TICKS_LOW: AtomicU32 = AtomicU32::new(0);
static TICKS_HIGH: AtomicU32 = AtomicU32::new(0);

/// One tick each millisecond of a core that runs at `core_hz`.
pub(crate) fn start(mut systick: SYST, core_hz: u32) {
    systick.set_clock_source(SystClkSource::Core);
    systick.set_reload(core_hz / 1000 - 1);
    systick.clear_current();
    systick.enable_counter();
    systick.enable_interrupt();
}

/// Milliseconds since [`start`].
pub(crate) fn now_ms() -> u64 {
    loop {
        let high = TICKS_HIGH.load(Ordering::Acquire);
        let low = TICKS_LOW.load(Ordering::Acquire);
        // A carry between the two reads shows as a changed high half; it happens once in 49 days.
        if high == TICKS_HIGH.load(Ordering::Acquire) {
            return (u64::from(high) << 32) | u64::from(low);
        }
    }
}

#[exception]
fn SysTick() {
    let low = TICKS_LOW.load(Ordering::Relaxed).wrapping_add(1);
    if low == 0 {
        TICKS_HIGH.store(TICKS_HIGH.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
    TICKS_LOW.store(low, Ordering::Release);
}
