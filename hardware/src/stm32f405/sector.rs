//! What the bench gives the meter once: identity and keys, in a flash sector of its own that no firmware update touches.

use core::ptr::{read_volatile, with_exposed_provenance};
use stm32f4xx_hal::flash::{FlashExt, LockedFlash};
use stm32f4xx_hal::pac::FLASH;

/// Sector 11, the last 128 KiB (RM0090, table 5).
const SECTOR: u8 = 11;
/// Where it lies in flash.
const OFFSET: usize = 0x000E_0000;
/// How much of it is used at most.
pub const PROVISIONING_BYTES: usize = 1_024;
/// Where flash is in the processor's address space.
const FLASH_BASE: usize = 0x0800_0000;

/// The sector can't be written, or does not hold what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotStored;

/// The sector and the flash it lies in.
pub struct ProvisioningSector {
    flash: LockedFlash,
}

impl core::fmt::Debug for ProvisioningSector {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ProvisioningSector(..)")
    }
}

impl ProvisioningSector {
    pub(super) fn new(flash: LockedFlash) -> Self {
        Self { flash }
    }

    /// Reads its first bytes, at most [`PROVISIONING_BYTES`]; all ones where it was never written.
    pub fn read(&self, out: &mut [u8]) {
        for (n, byte) in out.iter_mut().take(PROVISIONING_BYTES).enumerate() {
            *byte = held_at(n);
        }
    }

    /// Erases the sector, which takes up to two seconds, writes `bytes`, at most [`PROVISIONING_BYTES`], and compares.
    ///
    /// # Errors
    /// [`NotStored`]: too long, or the flash refused.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), NotStored> {
        if bytes.len() > PROVISIONING_BYTES {
            return Err(NotStored);
        }
        let mut unlocked = self.flash.unlocked();
        unlocked.erase(SECTOR).map_err(|_| NotStored)?;
        unlocked.program(OFFSET, bytes.iter()).map_err(|_| NotStored)?;
        drop(unlocked);
        forget_cached();
        let same = bytes.iter().enumerate().all(|(n, byte)| held_at(n) == *byte);
        if same { Ok(()) } else { Err(NotStored) }
    }
}

/// The sector's byte `n`, below [`PROVISIONING_BYTES`].
fn held_at(n: usize) -> u8 {
    // SAFETY: flash that every part of this type has (RM0090, table 5), readable at any time; volatile, because it is
    // programmed behind the compiler's back.
    unsafe { read_volatile(with_exposed_provenance::<u8>(FLASH_BASE + OFFSET + n)) }
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
