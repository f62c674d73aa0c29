//! Non-volatile memory of the emulated board: a file of the host, or RAM when none can be opened.

use super::host::{CommandLine, File, HostError};
use crate::board::Storage;

/// Size of the memory: as much as an 8 Mbit FRAM. A year of quarter hours takes 35,040 rows of 25 bytes of it.
pub const NVM_BYTES: u32 = 1024 * 1024;

/// The file when the command line names none: it lies where the emulator was started.
const DEFAULT_FILE: &[u8] = b"meter.nvm";

/// Why an access failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvmError {
    /// Beyond the memory's end.
    OutOfRange,
    /// The host refused to seek, read or write.
    Host,
}

impl From<HostError> for NvmError {
    fn from(_: HostError) -> Self {
        Self::Host
    }
}

/// Memory in a section of its own, outside the RAM that a meter is measured by.
#[unsafe(link_section = ".nvm")]
static mut EMULATED: [u8; NVM_BYTES as usize] = [0; NVM_BYTES as usize];

#[derive(Debug)]
enum Backing {
    File(File),
    Ram(&'static mut [u8]),
}

/// Non-volatile memory of [`NVM_BYTES`].
#[derive(Debug)]
pub struct Nvm(Backing);

impl Nvm {
    /// Called once, by `Mps2::take`.
    pub(super) fn open(line: &CommandLine) -> Self {
        let path = line.word(1).unwrap_or(DEFAULT_FILE);
        if let Some(file) = File::open(path).or_else(|| File::create(path)) {
            return Self(Backing::File(file));
        }
        // SAFETY: `Mps2::take` gives the board once, so this is the only reference ever made.
        let ram = unsafe { (&raw mut EMULATED).as_mut() };
        let ram: &'static mut [u8] = ram.map_or(&mut [], |all| all.as_mut_slice());
        ram.fill(0xFF);
        Self(Backing::Ram(ram))
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.0, Backing::File(_))
    }
}

impl Storage for Nvm {
    type Error = NvmError;

    fn capacity(&self) -> u32 {
        NVM_BYTES
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), NvmError> {
        let range = range(at, out.len(), NVM_BYTES)?;
        match &mut self.0 {
            Backing::Ram(ram) => out.copy_from_slice(ram.get(range).ok_or(NvmError::OutOfRange)?),
            Backing::File(file) => file.read(range.start, out)?,
        }
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NvmError> {
        let range = range(at, bytes.len(), NVM_BYTES)?;
        match &mut self.0 {
            Backing::Ram(ram) => ram.get_mut(range).ok_or(NvmError::OutOfRange)?.copy_from_slice(bytes),
            Backing::File(file) => file.write(range.start, bytes)?,
        }
        Ok(())
    }
}

/// The places of `length` bytes at `at`, where they all lie below `size`.
pub(super) fn range(at: u32, length: usize, size: u32) -> Result<core::ops::Range<usize>, NvmError> {
    let start = at as usize; // usize is 32 bits here
    let end = start.checked_add(length).filter(|end| *end <= size as usize);
    end.map(|end| start..end).ok_or(NvmError::OutOfRange)
}
