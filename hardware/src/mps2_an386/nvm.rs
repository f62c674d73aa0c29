//! Non-volatile memory of the emulated board: a file of the host through semihosting, or RAM when no file is named.
//! Also the host's time, which comes the same way. Source: ARM "Semihosting for AArch32 and AArch64", operations 0x01-0x15.

use cortex_m_semihosting::{nr, syscall, syscall1};

/// Size of the memory: as much as a 2 Mbit FRAM.
pub const NVM_BYTES: u32 = 256 * 1024;

/// The file when the command line names none: it lies where the emulator was started.
const DEFAULT_FILE: &[u8] = b"meter.nvm";

/// Longest command line taken: program name and one path.
const COMMAND_LINE_MAX: usize = 512;

/// Why an access failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvmError {
    /// Beyond [`NVM_BYTES`].
    OutOfRange,
    /// The host refused to seek, read or write.
    Host,
}

/// Memory in a section of its own, outside the RAM that a meter is measured by.
#[unsafe(link_section = ".nvm")]
static mut EMULATED: [u8; NVM_BYTES as usize] = [0; NVM_BYTES as usize];

#[derive(Debug)]
enum Backing {
    File(usize),
    Ram(&'static mut [u8]),
}

#[derive(Debug)]
pub(super) struct Nvm(Backing);

impl Nvm {
    /// Called once, by `Mps2::take`.
    pub(super) fn open(line: &CommandLine) -> Self {
        if let Some(handle) = open_file(line) {
            return Self(Backing::File(handle));
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

    pub(super) fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), NvmError> {
        let range = range(at, out.len())?;
        match &mut self.0 {
            Backing::Ram(ram) => out.copy_from_slice(ram.get(range).ok_or(NvmError::OutOfRange)?),
            Backing::File(handle) => {
                seek(*handle, range.start)?;
                // What lies beyond the end of the file was never written.
                out.fill(0xFF);
                // SAFETY: READ takes handle, address and length of memory that is ours; it answers the bytes NOT read.
                let left =
                    unsafe { syscall(nr::READ, &[*handle, out.as_mut_ptr().expose_provenance(), out.len()]) };
                if left > out.len() {
                    return Err(NvmError::Host);
                }
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NvmError> {
        let range = range(at, bytes.len())?;
        match &mut self.0 {
            Backing::Ram(ram) => ram.get_mut(range).ok_or(NvmError::OutOfRange)?.copy_from_slice(bytes),
            Backing::File(handle) => {
                fill_gap(*handle, range.start)?;
                write_at(*handle, range.start, bytes)?;
            }
        }
        Ok(())
    }
}

fn range(at: u32, length: usize) -> Result<core::ops::Range<usize>, NvmError> {
    let start = at as usize; // usize is 32 bits here
    let end = start.checked_add(length).ok_or(NvmError::OutOfRange)?;
    if end > NVM_BYTES as usize { Err(NvmError::OutOfRange) } else { Ok(start..end) }
}

/// The emulator's command line: program, file of the memory, and what else is wanted.
pub(super) struct CommandLine([u8; COMMAND_LINE_MAX]);

impl CommandLine {
    pub(super) fn read() -> Self {
        let mut line = [0_u8; COMMAND_LINE_MAX];
        let mut block = [line.as_mut_ptr().expose_provenance(), COMMAND_LINE_MAX - 1];
        // SAFETY: GET_CMDLINE takes a buffer and its size and writes a terminated string into it; both are ours, and their
        // addresses are exposed to the host.
        let failed = unsafe { syscall1(nr::GET_CMDLINE, (&raw mut block).expose_provenance()) };
        if failed != 0 {
            line.fill(0);
        }
        Self(line)
    }

    /// Word `n`, from 0.
    fn word(&self, n: usize) -> Option<&[u8]> {
        let text = self.0.split(|byte| *byte == 0).next()?;
        text.split(|byte| *byte == b' ').nth(n).filter(|word| !word.is_empty())
    }

    /// Whether a word after the file's name is this one.
    pub(super) fn wants(&self, what: &[u8]) -> bool {
        (2..8).any(|n| self.word(n) == Some(what))
    }
}

/// The file named by the command line, or the default one, opened for update and created where it is missing.
fn open_file(line: &CommandLine) -> Option<usize> {
    let path = line.word(1).unwrap_or(DEFAULT_FILE);
    [nr::open::RW_BINARY, nr::open::RW_TRUNC_BINARY].into_iter().find_map(|mode| open(path, mode))
}

fn open(path: &[u8], mode: usize) -> Option<usize> {
    let mut name = [0_u8; COMMAND_LINE_MAX];
    name.get_mut(..path.len())?.copy_from_slice(path);
    // SAFETY: OPEN takes a terminated name, a mode and the length of the name without the terminator.
    let handle = unsafe { syscall(nr::OPEN, &[name.as_ptr().expose_provenance(), mode, path.len()]) };
    (handle != usize::MAX).then_some(handle)
}

fn seek(handle: usize, to: usize) -> Result<(), NvmError> {
    // SAFETY: SEEK takes a handle and an absolute position.
    let failed = unsafe { syscall(nr::SEEK, &[handle, to]) };
    if failed == 0 { Ok(()) } else { Err(NvmError::Host) }
}

fn write_at(handle: usize, at: usize, bytes: &[u8]) -> Result<(), NvmError> {
    seek(handle, at)?;
    // SAFETY: WRITE takes handle, address and length of memory that is ours; it answers the bytes NOT written.
    let left = unsafe { syscall(nr::WRITE, &[handle, bytes.as_ptr().expose_provenance(), bytes.len()]) };
    if left == 0 { Ok(()) } else { Err(NvmError::Host) }
}

/// Makes the file reach to `until` with 0xFF, so that a gap reads like memory that was never written, not as zeros.
fn fill_gap(handle: usize, until: usize) -> Result<(), NvmError> {
    // SAFETY: FLEN takes a handle.
    let mut length = unsafe { syscall(nr::FLEN, &[handle]) };
    if length == usize::MAX {
        return Err(NvmError::Host);
    }
    let blank = [0xFF_u8; 64];
    while length < until {
        let step = (until - length).min(blank.len());
        write_at(handle, length, &blank[..step])?;
        length += step;
    }
    Ok(())
}

/// Seconds since 1970 by the host's clock.
pub(super) fn host_utc_s() -> Option<u32> {
    // SAFETY: TIME takes no argument.
    let seconds = unsafe { syscall(nr::TIME, &0_usize) };
    u32::try_from(seconds).ok().filter(|s| *s != 0 && *s != u32::MAX)
}

/// Hundredths of a second the emulator has run.
pub(super) fn host_centiseconds() -> u32 {
    // SAFETY: CLOCK takes no argument.
    let centiseconds = unsafe { syscall(nr::CLOCK, &0_usize) };
    u32::try_from(centiseconds).unwrap_or(0)
}
