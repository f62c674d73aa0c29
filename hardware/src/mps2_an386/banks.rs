//! The two banks for firmware images: files of the host, `bank-a.img` and `bank-b.img` where the emulator was started. Bank A
//! without a file is the image that the emulator was given (`-kernel`): the factory's, and the start code of both.

use super::host::File;
use super::nvm::{NvmError, range};
use crate::board::{Bank, ImageBanks, RunArea};

/// Bytes of a bank.
const BANK_BYTES: u32 = 256 * 1024;
/// Bytes compared at once.
const CHUNK: usize = 256;

#[repr(align(4))]
struct Stage([u8; BANK_BYTES as usize]);

/// Where a program waits to be copied to address 0; not part of the RAM that a meter is measured by.
#[unsafe(link_section = ".nvm.stage")]
static mut STAGE: Stage = Stage([0; BANK_BYTES as usize]);

/// See the module.
#[derive(Debug)]
pub struct Banks {
    running: Bank,
    files: [Option<File>; 2],
    stage: &'static mut [u8],
    /// Bytes of the program that waits there.
    staged: usize,
}

const fn name(bank: Bank) -> &'static [u8] {
    match bank {
        Bank::A => b"bank-a.img",
        Bank::B => b"bank-b.img",
    }
}

impl Banks {
    /// Called once, by `Mps2::take`.
    pub(super) fn open(running: Bank) -> Self {
        // SAFETY: `Mps2::take` gives the board once, so this is the only reference ever made.
        let stage = unsafe { (&raw mut STAGE).as_mut() };
        let stage: &'static mut [u8] = stage.map_or(&mut [], |stage| stage.0.as_mut_slice());
        let files = [Bank::A, Bank::B].map(|bank| File::open(name(bank)));
        Self { running, files, stage, staged: 0 }
    }

    /// The program that waits.
    pub(super) fn staged(&self) -> &[u8] {
        self.stage.get(..self.staged).unwrap_or(&[])
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

/// What runs is a copy of the stage, made by [`super::Mps2::start_staged`]: address 0 is where the start code itself lies.
impl RunArea for Banks {
    fn holds(&mut self, bank: Bank, at: u32, length: u32) -> Result<bool, NvmError> {
        if self.staged != length as usize {
            return Ok(false);
        }
        for (n, staged) in self.stage.get(..self.staged).unwrap_or(&[]).chunks(CHUNK).enumerate() {
            let mut bytes = [0; CHUNK];
            let bytes = &mut bytes[..staged.len()];
            let Some(file) = &self.files[bank as usize] else { return Ok(false) };
            file.read(range(at, self.staged, BANK_BYTES)?.start + n * CHUNK, bytes)?;
            if bytes != staged {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn load(&mut self, bank: Bank, at: u32, length: u32) -> Result<(), NvmError> {
        let range = range(at, length as usize, BANK_BYTES)?;
        let place = self.stage.get_mut(..range.len()).ok_or(NvmError::OutOfRange)?;
        self.files[bank as usize].as_ref().ok_or(NvmError::Host)?.read(range.start, place)?;
        self.staged = range.len();
        Ok(())
    }
}
