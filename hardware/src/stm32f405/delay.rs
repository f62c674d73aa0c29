//! Waiting by counting the core's cycles.

use embedded_hal::delay::DelayNs;

/// At least as long as asked for: the core may wait for its flash, never run ahead.
#[derive(Debug, Clone, Copy)]
pub struct Delay {
    cycles_per_us: u32,
}

impl Delay {
    pub(super) fn new(core_hz: u32) -> Self {
        Self { cycles_per_us: core_hz.div_ceil(1_000_000) }
    }
}

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        self.delay_us(ns.div_ceil(1_000));
    }

    fn delay_us(&mut self, us: u32) {
        // A second at most in one go: its cycles fit 32 bits.
        let mut left = us;
        while left > 0 {
            let step = left.min(1_000_000);
            cortex_m::asm::delay(step.saturating_mul(self.cycles_per_us));
            left -= step;
        }
    }
}
