//! What the boot loader needs of the board: the memory with the boot record, the banks, a line to the bench; and the jump.
//!
//! It runs on the clock as reset left it (16 MHz), without an interrupt.

use super::flash::{BASE, Flash};
use super::pins::Pins;
use super::{Delay, MEMORY_BYTES, MEMORY_HZ, Memory, WATCHDOG_MS, exclusive, mode_0};
use crate::board::Bank;
use crate::drivers::mb85rs::{Addressing, Mb85rs};
use crate::drivers::sector_banks::{STM32F405, SectorBanks, SectorFlash};
use core::ptr::{read_volatile, with_exposed_provenance, with_exposed_provenance_mut, write_volatile};
use cortex_m::peripheral::SCB;
use stm32f4xx_hal::pac::{self, USART3};
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::rcc::{Config, Enable};
use stm32f4xx_hal::spi::Spi;
use stm32f4xx_hal::watchdog::IndependentWatchdog;

/// The last word of RAM, which no image places anything in: which bank's program was started.
const HANDED_OVER: usize = 0x2001_FFFC;
const TO_A: u32 = 0x4741_0000;
const TO_B: u32 = 0x4742_0000;
/// RAM that a program's stack may begin in.
const RAM: core::ops::RangeInclusive<u32> = 0x2000_0000..=0x2002_0000;
/// Rate of the bench link.
const BENCH_BAUD: u32 = 115_200;

/// The bank whose program the boot loader has started; A without one.
pub(super) fn handed_over() -> Bank {
    let word = with_exposed_provenance_mut::<u32>(HANDED_OVER);
    // SAFETY: RAM that nothing else uses, word-aligned.
    let said = unsafe { read_volatile(word) };
    // SAFETY: as above.
    unsafe { write_volatile(word, 0) };
    if said == TO_B { Bank::B } else { Bank::A }
}

/// The board, as far as the boot loader uses it.
pub struct Boot {
    /// Holds the boot record.
    pub memory: Memory,
    /// Hold the images.
    pub banks: SectorBanks<Flash>,
    bench: USART3,
}

impl core::fmt::Debug for Boot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Boot").finish_non_exhaustive()
    }
}

impl Boot {
    /// Starts the watchdog, and connects what is needed. `None` on every later call.
    #[must_use]
    pub fn take() -> Option<Self> {
        let chip = pac::Peripherals::take()?;
        // Whatever hangs from here on ends in a reset.
        IndependentWatchdog::new(chip.IWDG).start(WATCHDOG_MS.millis());
        let mut rcc = chip.RCC.freeze(Config::hsi());
        let pins =
            Pins::connect(chip.GPIOA.split(&mut rcc), chip.GPIOB.split(&mut rcc), chip.GPIOC.split(&mut rcc));
        let (sck, miso, mosi) = pins.memory_spi;
        let bus =
            Spi::new(chip.SPI2, (Some(sck), Some(miso), Some(mosi)), mode_0(), MEMORY_HZ.Hz(), &mut rcc);
        let delay = Delay::new(rcc.clocks.hclk().raw());
        let memory = Mb85rs::new(exclusive(bus, pins.memory_select, delay), MEMORY_BYTES, Addressing::Three);
        USART3::enable(&mut rcc);
        let divisor = u16::try_from(rcc.clocks.pclk1().raw() / BENCH_BAUD).unwrap_or(u16::MAX);
        // SAFETY: mantissa and fraction of the divisor, all values of which are defined.
        chip.USART3.brr().write(|w| unsafe { w.bits(divisor) });
        chip.USART3.cr1().write(|w| w.ue().set_bit().te().set_bit());
        let banks = SectorBanks::new(Flash::new(chip.FLASH), &STM32F405, Bank::A);
        Some(Self { memory, banks, bench: chip.USART3 })
    }

    /// A line to the bench. It has left when this returns.
    pub fn say(&mut self, text: &str) {
        for byte in text.bytes().chain(*b"\r\n") {
            while self.bench.sr().read().txe().bit_is_clear() {}
            self.bench.dr().write(|w| w.dr().set(u16::from(byte)));
        }
        while self.bench.sr().read().tc().bit_is_clear() {}
    }

    /// Whether there is a program where programs run, by the two words that it begins with.
    pub fn has_program(&mut self) -> bool {
        let mut words = [0; 8];
        self.banks.flash().read(STM32F405.run.at, &mut words);
        let [a, b, c, d, e, f, g, h] = words;
        let (stack, entry) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let code = BASE + STM32F405.run.at..BASE + STM32F405.run.at + STM32F405.run.bytes;
        RAM.contains(&stack) && code.contains(&entry)
    }

    /// Starts what lies where programs run, and says that it is the program of `bank`.
    pub fn start(self, bank: Bank) -> ! {
        let vectors = BASE + STM32F405.run.at;
        let word = with_exposed_provenance_mut::<u32>(HANDED_OVER);
        // SAFETY: RAM that nothing else uses, word-aligned.
        unsafe { write_volatile(word, if bank == Bank::B { TO_B } else { TO_A }) };
        // SAFETY: no interrupt is enabled, and the table lies at a multiple of its size.
        unsafe { (*SCB::PTR).vtor.write(vectors) };
        // SAFETY: a vector table, looked at by `has_program` or copied from an image.
        unsafe { cortex_m::asm::bootload(with_exposed_provenance(vectors as usize)) }
    }
}
