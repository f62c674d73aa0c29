//! What the bench gives the meter once: identity and keys, in a flash sector of its own that no firmware update touches.

use super::Stm32f405;
use crate::drivers::sector_banks::{STM32F405, SectorFlash};

/// How much of the sector is used at most.
pub const PROVISIONING_BYTES: usize = 1_024;

/// The sector can't be written, or does not hold what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotStored;

impl Stm32f405 {
    /// Reads the sector's first bytes, at most [`PROVISIONING_BYTES`]; all ones where it was never written.
    pub fn read_provisioning(&mut self, out: &mut [u8]) {
        let length = out.len().min(PROVISIONING_BYTES);
        self.banks.flash().read(STM32F405.provisioning.at, out.get_mut(..length).unwrap_or(&mut []));
    }

    /// Erases the sector, writes `bytes`, at most [`PROVISIONING_BYTES`], and compares.
    ///
    /// # Errors
    /// [`NotStored`]: too long, or the flash refused.
    pub fn write_provisioning(&mut self, bytes: &[u8]) -> Result<(), NotStored> {
        let mut held = [0; PROVISIONING_BYTES];
        let held = held.get_mut(..bytes.len()).ok_or(NotStored)?;
        let flash = self.banks.flash();
        flash.erase(STM32F405.provisioning.first_sector).map_err(|_| NotStored)?;
        flash.program(STM32F405.provisioning.at, bytes).map_err(|_| NotStored)?;
        flash.read(STM32F405.provisioning.at, held);
        if held == bytes { Ok(()) } else { Err(NotStored) }
    }
}
