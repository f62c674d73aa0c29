//! The clock tree (RM0090, 7.2), with a way on when the crystal is dead: a meter without its crystal still opens the relay.

use stm32f4xx_hal::pac::RCC;
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::rcc::{Config, Rcc};

/// The crystal at PH0 and PH1.
const CRYSTAL_HZ: u32 = 8_000_000;
/// Core clock: 336 MHz of the PLL divided by 4, which leaves 48 MHz for the random generator.
const CORE_HZ: u32 = 84_000_000;
/// Both peripheral buses: slow enough that a UART's 16-bit divisor reaches 300 baud, the optical port's first rate
/// (IEC 62056-21, mode E).
const BUS_HZ: u32 = 10_500_000;
/// How often the crystal is asked before it counts as dead: some 50 ms at the 16 MHz of the start; it needs 2 ms
/// (STM32F405 data sheet, 5.3.8).
const CRYSTAL_POLLS: u32 = 200_000;

/// What the core runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSource {
    /// The crystal, through the PLL: 84 MHz.
    Crystal,
    /// The internal oscillator, through the PLL: the crystal does not start. UARTs are off by up to 1 %.
    Internal,
    /// The internal oscillator as reset left it, 16 MHz: it does not say that it is ready, so the PLL is left alone. There
    /// is no random generator.
    AsReset,
}

/// Starts the best clock there is.
pub(super) fn start(registers: RCC) -> (Rcc, ClockSource) {
    let source = choose(&registers);
    let pll =
        |config: Config| config.sysclk(CORE_HZ.Hz()).pclk1(BUS_HZ.Hz()).pclk2(BUS_HZ.Hz()).require_pll48clk();
    let config = match source {
        ClockSource::Crystal => pll(Config::hse(CRYSTAL_HZ.Hz())),
        ClockSource::Internal => pll(Config::hsi()),
        ClockSource::AsReset => Config::hsi(),
    };
    (registers.freeze(config), source)
}

fn choose(registers: &RCC) -> ClockSource {
    registers.cr().modify(|_, w| w.hseon().set_bit());
    for _ in 0..CRYSTAL_POLLS {
        if registers.cr().read().hserdy().bit_is_set() {
            return ClockSource::Crystal;
        }
    }
    registers.cr().modify(|_, w| w.hseon().clear_bit());
    if registers.cr().read().hsirdy().bit_is_set() { ClockSource::Internal } else { ClockSource::AsReset }
}
