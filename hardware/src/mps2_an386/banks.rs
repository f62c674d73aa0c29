//! The two banks for firmware images: files of the host, `bank-a.img` and `bank-b.img` where the emulator was started. Bank A
//! without a file is the image that the emulator was given (`-kernel`): the factory's, and the start code of both.

use super::host::File;
use super::nvm::{NvmError, range};
use crate::board::{Bank, ImageBanks};

/// Bytes of a bank.
const BANK_BYTES: u32 = 256 * 1024;
/// Bytes in front of the program in an image (`firmware::image::format`).
const HEADER_BYTES: usize = 128;
/// Where the header has the program's length.
const LENGTH_AT: usize = 20;

/// See the module.
#[derive(Debug)]
pub struct Banks {
    running: Bank,
    files: [Option<File>; 2],
}

const fn name(bank: Bank) -> &'static [u8] {
    match bank {
        Bank::A => b"bank-a.img",
        Bank::B => b"bank-b.img",
    }
}

impl Banks {
    pub(super) fn open(running: Bank) -> Self {
        Self { running, files: [Bank::A, Bank::B].map(|bank| File::open(name(bank))) }
    }

    /// The program in a bank's file, copied to `place`; how many bytes it has. `None` without a file or when it does not fit.
    pub(super) fn load(&self, bank: Bank, place: &mut [u8]) -> Option<usize> {
        let file = self.files[bank as usize].as_ref()?;
        let mut length = [0; 4];
        file.read(LENGTH_AT, &mut length).ok()?;
        let length = u32::from_le_bytes(length) as usize;
        file.read(HEADER_BYTES, place.get_mut(..length)?).ok()?;
        Some(length)
    }
}

impl ImageBanks for Banks {
    type Error = NvmError;

    fn bank_bytes(&self) -> u32 {
        BANK_BYTES
    }

    fn running(&self) -> Bank {
        self.running
    }

    fn read(&mut self, bank: Bank, at: u32, out: &mut [u8]) -> Result<(), NvmError> {
        let range = range(at, out.len(), BANK_BYTES)?;
        match &self.files[bank as usize] {
            Some(file) => file.read(range.start, out)?,
            None => out.fill(0xFF),
        }
        Ok(())
    }

    fn erase_idle(&mut self) -> Result<(), NvmError> {
        let idle = self.running.other();
        self.files[idle as usize] = Some(File::create(name(idle)).ok_or(NvmError::Host)?);
        Ok(())
    }

    fn write_idle(&mut self, at: u32, bytes: &[u8]) -> Result<(), NvmError> {
        let range = range(at, bytes.len(), BANK_BYTES)?;
        let file = self.files[self.running.other() as usize].as_ref().ok_or(NvmError::Host)?;
        Ok(file.write(range.start, bytes)?)
    }
}
