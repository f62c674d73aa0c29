//! Files, time and command line of the machine that runs the emulator, through semihosting.
//! Source: ARM "Semihosting for AArch32 and AArch64", operations 0x01-0x15.

use cortex_m_semihosting::{nr, syscall, syscall1};

/// Longest command line taken: program name and one path.
const COMMAND_LINE_MAX: usize = 512;
/// The host refused to seek, read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostError;

/// An open file.
#[derive(Debug)]
pub(super) struct File(usize);

impl File {
    /// Opens a file for update; `None` where there is none.
    pub(super) fn open(path: &[u8]) -> Option<Self> {
        open(path, nr::open::RW_BINARY)
    }

    /// Makes an empty file, or empties the one that is there.
    pub(super) fn create(path: &[u8]) -> Option<Self> {
        open(path, nr::open::RW_TRUNC_BINARY)
    }

    /// Reads at `at`; what lies beyond the end was never written and reads 0xFF.
    pub(super) fn read(&self, at: usize, out: &mut [u8]) -> Result<(), HostError> {
        out.fill(0xFF);
        if at >= self.length()? {
            return Ok(());
        }
        self.seek(at)?;
        // SAFETY: READ takes handle, address and length of memory that is ours; it answers the bytes NOT read.
        let left = unsafe { syscall(nr::READ, &[self.0, out.as_mut_ptr().expose_provenance(), out.len()]) };
        if left > out.len() { Err(HostError) } else { Ok(()) }
    }

    /// Writes at `at`. A gap in front of it is filled with 0xFF, so that it reads like memory that was never written.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) -> Result<(), HostError> {
        const BLANK: [u8; 256] = [0xFF; 256];
        let mut length = self.length()?;
        while length < at {
            let step = (at - length).min(BLANK.len());
            self.put(length, &BLANK[..step])?;
            length += step;
        }
        self.put(at, bytes)
    }

    fn put(&self, at: usize, bytes: &[u8]) -> Result<(), HostError> {
        self.seek(at)?;
        // SAFETY: WRITE takes handle, address and length of memory that is ours; it answers the bytes NOT written.
        let left = unsafe { syscall(nr::WRITE, &[self.0, bytes.as_ptr().expose_provenance(), bytes.len()]) };
        if left == 0 { Ok(()) } else { Err(HostError) }
    }

    fn seek(&self, to: usize) -> Result<(), HostError> {
        // SAFETY: SEEK takes a handle and an absolute position.
        let failed = unsafe { syscall(nr::SEEK, &[self.0, to]) };
        if failed == 0 { Ok(()) } else { Err(HostError) }
    }

    fn length(&self) -> Result<usize, HostError> {
        // SAFETY: FLEN takes a handle.
        let length = unsafe { syscall(nr::FLEN, &[self.0]) };
        if length == usize::MAX { Err(HostError) } else { Ok(length) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: CLOSE takes a handle, which nobody uses afterwards.
        unsafe { syscall(nr::CLOSE, &[self.0]) };
    }
}

fn open(path: &[u8], mode: usize) -> Option<File> {
    let mut name = [0_u8; COMMAND_LINE_MAX];
    name.get_mut(..path.len())?.copy_from_slice(path);
    // SAFETY: OPEN takes a terminated name, a mode and the length of the name without the terminator.
    let handle = unsafe { syscall(nr::OPEN, &[name.as_ptr().expose_provenance(), mode, path.len()]) };
    (handle != usize::MAX).then_some(File(handle))
}

/// The semihosting command line: the image's name, the storage file's, and words of ours.
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
    pub(super) fn word(&self, n: usize) -> Option<&[u8]> {
        let text = self.0.split(|byte| *byte == 0).next()?;
        text.split(|byte| *byte == b' ').nth(n).filter(|word| !word.is_empty())
    }

    /// Whether a word after the file's name is this one.
    pub(super) fn wants(&self, what: &[u8]) -> bool {
        (2..8).any(|n| self.word(n) == Some(what))
    }
}

/// Seconds since 1970 by the host's clock.
pub(super) fn utc_s() -> Option<u32> {
    // SAFETY: TIME takes no argument.
    let seconds = unsafe { syscall(nr::TIME, &0_usize) };
    u32::try_from(seconds).ok().filter(|s| *s != 0 && *s != u32::MAX)
}

/// Hundredths of a second the emulator has run.
pub(super) fn centiseconds() -> u32 {
    // SAFETY: CLOCK takes no argument.
    let centiseconds = unsafe { syscall(nr::CLOCK, &0_usize) };
    u32::try_from(centiseconds).unwrap_or(0)
}
