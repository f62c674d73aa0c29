//! Two image banks, and the place where programs run, in a flash that is erased by the sector and programmed towards zero.
//!
//! Which sectors they are is a [`Map`]; [`STM32F405`] is the reference board's. The firmware's stories run this driver on a model
//! of that flash (`firmware/src/test_flash.rs`): erasing whole sectors only, programming from one to zero only, power cut in the
//! middle of either.

use crate::board::{Bank, ImageBanks, RunArea};

/// A flash as its controller offers it. Addresses count from its beginning.
pub trait SectorFlash {
    /// What went wrong.
    type Error: core::fmt::Debug;
    /// Reads `out.len()` bytes.
    fn read(&mut self, at: u32, out: &mut [u8]);
    /// Makes every bit of a sector one. A power cut leaves anything in it, and nothing elsewhere.
    ///
    /// # Errors
    /// The flash refused.
    fn erase(&mut self, sector: u8) -> Result<(), Self::Error>;
    /// Makes those bits zero that are zero in `bytes`. A power cut leaves a prefix, and anything in one byte.
    ///
    /// # Errors
    /// The flash refused.
    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Sectors that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// The first one.
    pub first_sector: u8,
    /// How many.
    pub sectors: u8,
    /// Where they begin.
    pub at: u32,
    /// Bytes in all of them.
    pub bytes: u32,
}

/// What lies where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// Where programs run.
    pub run: Area,
    /// The banks, A and B.
    pub banks: [Area; 2],
    /// What the bench gave the meter.
    pub provisioning: Area,
}

/// Sectors of an STM32F405xG (RM0090 rev. 19, table 5), in bytes.
pub const STM32F405_SECTORS: [u32; 12] = {
    let (small, middle, large) = (16 * 1024, 64 * 1024, 128 * 1024);
    [small, small, small, small, middle, large, large, large, large, large, large, large]
};

const fn area(first_sector: u8, sectors: u8) -> Area {
    let (mut at, mut bytes, mut n) = (0, 0, 0);
    while n < first_sector + sectors {
        let size = STM32F405_SECTORS[n as usize];
        if n < first_sector {
            at += size;
        } else {
            bytes += size;
        }
        n += 1;
    }
    Area { first_sector, sectors, at, bytes }
}

/// The reference board: the boot loader in sector 0, sectors 1 to 4 free, 256 KiB to run from and for each bank.
pub const STM32F405: Map =
    Map { run: area(5, 2), banks: [area(7, 2), area(9, 2)], provisioning: area(11, 1) };

/// Why a bank could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectorError<E> {
    /// Beyond the bank; nothing was done.
    OutOfRange,
    /// The flash refused.
    Flash(E),
    /// The flash does not hold what was written.
    NotHeld,
}

/// Bytes copied or compared at once.
const CHUNK: usize = 256;

/// See the module.
#[derive(Debug)]
pub struct SectorBanks<F> {
    flash: F,
    map: &'static Map,
    running: Bank,
}

impl<F: SectorFlash> SectorBanks<F> {
    /// The banks of `flash`, while the program of `running` runs.
    pub const fn new(flash: F, map: &'static Map, running: Bank) -> Self {
        Self { flash, map, running }
    }

    /// The flash, for what else lies in it.
    pub const fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    const fn area(&self, bank: Bank) -> Area {
        let [a, b] = self.map.banks;
        match bank {
            Bank::A => a,
            Bank::B => b,
        }
    }

    /// Address of `at` in an area that has `length` bytes more.
    fn within(area: Area, at: u32, length: usize) -> Result<u32, SectorError<F::Error>> {
        let end = u32::try_from(length).ok().and_then(|length| at.checked_add(length));
        end.filter(|end| *end <= area.bytes).map(|_| area.at + at).ok_or(SectorError::OutOfRange)
    }

    /// Erases an area and looks whether it is blank: a worn flash may say nothing.
    fn erase(&mut self, area: Area) -> Result<(), SectorError<F::Error>> {
        for sector in area.first_sector..area.first_sector + area.sectors {
            self.flash.erase(sector).map_err(SectorError::Flash)?;
        }
        let blank = self.all(area.at, area.bytes, |_, _, bytes| bytes.iter().all(|byte| *byte == 0xFF));
        if blank { Ok(()) } else { Err(SectorError::NotHeld) }
    }

    /// Programs, and compares.
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), SectorError<F::Error>> {
        self.flash.program(at, bytes).map_err(SectorError::Flash)?;
        for (place, piece) in (at..).step_by(CHUNK).zip(bytes.chunks(CHUNK)) {
            let mut held = [0; CHUNK];
            let held = held.get_mut(..piece.len()).unwrap_or(&mut []);
            self.flash.read(place, held);
            if held != piece {
                return Err(SectorError::NotHeld);
            }
        }
        Ok(())
    }

    /// Whether `is` holds for each piece of `length` bytes from `at` on; it is given the flash, the piece's offset and its bytes.
    fn all(&mut self, at: u32, length: u32, is: impl Fn(&mut F, u32, &[u8]) -> bool) -> bool {
        let mut buffer = [0; CHUNK];
        let mut offset = 0;
        while offset < length {
            let take = (length - offset).min(CHUNK as u32);
            let piece = buffer.get_mut(..take as usize).unwrap_or(&mut []);
            self.flash.read(at + offset, piece);
            if !is(&mut self.flash, offset, piece) {
                return false;
            }
            offset += take;
        }
        true
    }
}

impl<F: SectorFlash> ImageBanks for SectorBanks<F> {
    type Error = SectorError<F::Error>;

    fn bank_bytes(&self) -> u32 {
        self.area(Bank::B).bytes
    }

    fn running(&self) -> Bank {
        self.running
    }

    fn read(&mut self, bank: Bank, at: u32, out: &mut [u8]) -> Result<(), Self::Error> {
        let place = Self::within(self.area(bank), at, out.len())?;
        self.flash.read(place, out);
        Ok(())
    }

    fn erase_idle(&mut self) -> Result<(), Self::Error> {
        self.erase(self.area(self.running.other()))
    }

    fn write_idle(&mut self, at: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let place = Self::within(self.area(self.running.other()), at, bytes.len())?;
        self.write(place, bytes)
    }
}

impl<F: SectorFlash> RunArea for SectorBanks<F> {
    fn holds(&mut self, bank: Bank, at: u32, length: u32) -> Result<bool, Self::Error> {
        let from = Self::within(self.area(bank), at, length as usize)?; // usize has 32 bits at least
        let run = Self::within(self.map.run, 0, length as usize)?;
        Ok(self.all(from, length, |flash, offset, bytes| {
            let mut runs = [0; CHUNK];
            let runs = runs.get_mut(..bytes.len()).unwrap_or(&mut []);
            flash.read(run + offset, runs);
            runs == bytes
        }))
    }

    fn load(&mut self, bank: Bank, at: u32, length: u32) -> Result<(), Self::Error> {
        let from = Self::within(self.area(bank), at, length as usize)?;
        let run = Self::within(self.map.run, 0, length as usize)?;
        self.erase(self.map.run)?;
        let mut buffer = [0; CHUNK];
        let mut offset = 0;
        while offset < length {
            let take = (length - offset).min(CHUNK as u32);
            let piece = buffer.get_mut(..take as usize).unwrap_or(&mut []);
            self.flash.read(from + offset, piece);
            self.write(run + offset, piece)?;
            offset += take;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_areas_of_the_reference_board_are_whole_sectors_and_do_not_overlap() {
        let areas = [STM32F405.run, STM32F405.banks[0], STM32F405.banks[1], STM32F405.provisioning];
        for pair in areas.windows(2) {
            assert_eq!(pair[0].first_sector + pair[0].sectors, pair[1].first_sector);
            assert_eq!(pair[0].at + pair[0].bytes, pair[1].at);
        }
        let [run, a, b, provisioning] = areas;
        assert_eq!((run.at, a.at, b.at, provisioning.at), (0x2_0000, 0x6_0000, 0xA_0000, 0xE_0000));
        assert_eq!(provisioning.at + provisioning.bytes, STM32F405_SECTORS.iter().sum());
    }
}
