//! A meter's program memory: two banks for firmware images. What an image holds is kept, checked and counted as running; it is
//! not executed, for what runs in every meter is the firmware that this program was built with.

use crate::nvm::{FileArea, Nvm, NvmError};
use hardware::board::{Bank, Storage};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of one bank: the largest image that the firmware takes.
pub const BANK_BYTES: u32 = 256 * 1024;

/// The two banks. What the factory put into bank A has no header and takes no memory here.
#[derive(Debug)]
pub struct Banks {
    banks: [Nvm; 2],
    running: Bank,
    /// Where they are kept, without the letter at the end, if they are.
    kept_as: Option<PathBuf>,
}

impl Default for Banks {
    /// From the factory; kept nowhere.
    fn default() -> Self {
        Self { banks: [Nvm::blank(BANK_BYTES), Nvm::blank(BANK_BYTES)], running: Bank::A, kept_as: None }
    }
}

impl Banks {
    /// The banks of a meter whose images are kept in two files whose paths begin with this. A file is made when the first image
    /// for its bank is begun.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn kept_as(path: PathBuf) -> Result<Self, NvmError> {
        let mut banks = Self { kept_as: Some(path), ..Self::default() };
        for bank in [Bank::A, Bank::B] {
            if banks.file_of(bank).is_some_and(|path| path.exists()) {
                banks.open(bank)?;
            }
        }
        Ok(banks)
    }

    fn file_of(&self, bank: Bank) -> Option<PathBuf> {
        let mut path = self.kept_as.clone()?.into_os_string();
        path.push(if bank == Bank::A { "a" } else { "b" });
        Some(path.into())
    }

    /// From now on what is written to a bank is in its file, where it is kept at all.
    fn open(&mut self, bank: Bank) -> Result<(), NvmError> {
        let Some(path) = self.file_of(bank) else { return Ok(()) };
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = Arc::new(file.map_err(|_| NvmError::File)?);
        self.banks[bank as usize] = Nvm::in_file(FileArea::new(file, 0, BANK_BYTES))?;
        Ok(())
    }

    /// The bank whose image runs.
    #[must_use]
    pub fn running(&self) -> Bank {
        self.running
    }

    /// Another start: this bank's image runs.
    pub fn start(&mut self, bank: Bank) {
        self.running = bank;
    }

    /// Reads from a bank.
    ///
    /// # Errors
    /// Beyond its end.
    pub fn read(&mut self, bank: Bank, at: u32, out: &mut [u8]) -> Result<(), NvmError> {
        self.banks[bank as usize].read(at, out)
    }

    /// Blanks so many bytes of the bank that does not run, from its beginning.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn erase_idle(&mut self, bytes: usize) -> Result<(), NvmError> {
        self.open(self.running.other())?;
        let idle = &mut self.banks[self.running.other() as usize];
        match idle.written().len() {
            written if written <= bytes => idle.erase(),
            _ => idle.write(0, &vec![0xFF; bytes]),
        }
    }

    /// Writes to the bank that does not run.
    ///
    /// # Errors
    /// Beyond its end, or the file cannot be written.
    pub fn write_idle(&mut self, at: u32, bytes: &[u8]) -> Result<(), NvmError> {
        self.banks[self.running.other() as usize].write(at, bytes)
    }

    /// A new meter's banks instead.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn renew(&mut self) -> Result<(), NvmError> {
        self.running = Bank::A;
        self.banks.iter_mut().try_for_each(Nvm::erase)
    }

    /// What was written to each bank.
    #[must_use]
    pub fn written(&self) -> [&[u8]; 2] {
        [self.banks[0].written(), self.banks[1].written()]
    }

    /// Host memory taken, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.banks.iter().map(Nvm::held_bytes).sum()
    }
}
