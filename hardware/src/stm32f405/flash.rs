//! The program flash: 1 MiB in twelve sectors (RM0090, table 5). The core stands still while it erases or programs, for it takes
//! its code from the same flash: up to 4 s for a sector of 128 KiB (data sheet, table 40: programmed byte by byte).

use crate::drivers::sector_banks::SectorFlash;
use core::ptr::{read_volatile, with_exposed_provenance};
use stm32f4xx_hal::flash::{Error, FlashExt, LockedFlash};
use stm32f4xx_hal::pac::{FLASH, IWDG};

/// Where flash is in the processor's address space.
pub(super) const BASE: u32 = 0x0800_0000;
/// What the watchdog's key register takes for "all is well" (RM0090, 21.4.1).
const ALL_IS_WELL: u16 = 0xAAAA;

/// The flash.
pub struct Flash(LockedFlash);

impl core::fmt::Debug for Flash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Flash(..)")
    }
}

impl Flash {
    pub(super) fn new(registers: FLASH) -> Self {
        Self(LockedFlash::new(registers))
    }
}

impl SectorFlash for Flash {
    type Error = Error;

    fn read(&mut self, at: u32, out: &mut [u8]) {
        for (address, byte) in (BASE + at..).zip(out) {
            // SAFETY: flash that every part of this type has, for the areas' map lies below 1 MiB; volatile, because it is
            // programmed behind the compiler's back.
            *byte = unsafe { read_volatile(with_exposed_provenance::<u8>(address as usize)) };
        }
    }

    fn erase(&mut self, sector: u8) -> Result<(), Error> {
        feed_watchdog();
        let erased = self.0.unlocked().erase(sector);
        forget_cached();
        erased
    }

    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), Error> {
        feed_watchdog();
        let programmed = self.0.unlocked().program(at as usize, bytes.iter());
        forget_cached();
        programmed
    }
}

/// Two sectors take longer than the watchdog waits.
fn feed_watchdog() {
    // SAFETY: this key changes nothing but the watchdog's count.
    unsafe { (*IWDG::ptr()).kr().write(|w| w.key().bits(ALL_IS_WELL)) };
}

/// The flash's data cache does not see that it was written (RM0090, 3.5.2).
fn forget_cached() {
    // SAFETY: the access control register belongs to nobody else after the clocks are set; the cache may be reset while it
    // is off.
    let control = unsafe { (*FLASH::ptr()).acr() };
    let was_on = control.read().dcen().bit_is_set();
    control.modify(|_, w| w.dcen().clear_bit());
    control.modify(|_, w| w.dcrst().set_bit());
    control.modify(|_, w| w.dcrst().clear_bit());
    control.modify(|_, w| w.dcen().bit(was_on));
}
