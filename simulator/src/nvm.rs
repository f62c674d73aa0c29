//! A meter's non-volatile memory: in this process, and in a file as well where the street keeps its state.

use hardware::board::Storage;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Non-volatile memory. Takes host memory only as far up as it was written.
#[derive(Debug, Clone, Default)]
pub struct Nvm {
    bytes: Vec<u8>,
    capacity: u32,
    writes: u64,
    cut_after: Option<u64>,
    cut: bool,
    mirror: Option<FileArea>,
}

/// Why an access to [`Nvm`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvmError {
    /// Beyond its capacity.
    OutOfRange,
    /// Power is gone: nothing works until the meter starts again.
    PowerCut,
    /// The file that keeps the street's state cannot be read or written.
    File,
}

/// Part of a file as storage. Bytes are kept inverted there: what was never written is a hole, and reads as blank memory.
#[derive(Debug, Clone)]
pub struct FileArea {
    file: Arc<File>,
    at: u64,
    capacity: u32,
}

impl FileArea {
    /// `capacity` bytes of `file` from `at` on.
    #[must_use]
    pub fn new(file: Arc<File>, at: u64, capacity: u32) -> Self {
        Self { file, at, capacity }
    }

    fn check(&self, at: u32, length: usize) -> Result<(), NvmError> {
        let end = (at as usize).checked_add(length); // usize is at least 32 bits on every host
        end.filter(|end| *end <= self.capacity as usize).map(|_| ()).ok_or(NvmError::OutOfRange)
    }
}

impl Storage for FileArea {
    type Error = NvmError;

    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), NvmError> {
        self.check(at, out.len())?;
        out.fill(0);
        let mut taken = 0;
        while taken < out.len() {
            let place = self.at + u64::from(at) + taken as u64;
            match self.file.read_at(&mut out[taken..], place) {
                // The file ends before the area does: the rest was never written.
                Ok(0) => break,
                Ok(read) => taken += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(NvmError::File),
            }
        }
        out.iter_mut().for_each(|byte| *byte = !*byte);
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NvmError> {
        self.check(at, bytes.len())?;
        let inverted: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        self.file.write_all_at(&inverted, self.at + u64::from(at)).map_err(|_| NvmError::File)
    }
}

impl Nvm {
    /// Blank memory of `capacity` bytes.
    #[must_use]
    pub fn blank(capacity: u32) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// The memory that `area` holds; whatever is written from now on goes there as well.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn in_file(mut area: FileArea) -> Result<Self, NvmError> {
        let mut bytes = vec![0; area.capacity as usize];
        area.read(0, &mut bytes)?;
        let written = bytes.iter().rposition(|byte| *byte != 0xFF).map_or(0, |last| last + 1);
        bytes.truncate(written);
        bytes.shrink_to_fit();
        Ok(Self { bytes, capacity: area.capacity, mirror: Some(area), ..Self::default() })
    }

    /// Makes everything blank, as in a new meter.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn erase(&mut self) -> Result<(), NvmError> {
        if let Some(mirror) = &mut self.mirror {
            mirror.write(0, &vec![0xFF; self.bytes.len()])?;
        }
        self.bytes = Vec::new();
        Ok(())
    }

    /// Cuts the capacity down to `capacity`; what lay above is gone.
    pub fn shrink(&mut self, capacity: u32) {
        self.capacity = self.capacity.min(capacity);
        self.bytes.truncate(self.capacity as usize);
    }

    /// Cuts the power during the write that follows after `writes` complete ones: that write is torn, only the first half
    /// of its bytes arrives, and every later access fails until [`Nvm::restore_power`].
    pub fn cut_after(&mut self, writes: u64) {
        self.cut_after = Some(self.writes.saturating_add(writes));
    }

    /// Whether a cut has happened.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether a cut is still to come.
    #[must_use]
    pub fn will_be_cut(&self) -> bool {
        self.cut_after.is_some()
    }

    /// Counts a write of so many bytes, here or to what shares this memory's supply. Gives how many of them arrive: not all of
    /// them when power is cut in the middle.
    ///
    /// # Errors
    /// There is no power.
    pub fn spend(&mut self, length: usize) -> Result<usize, NvmError> {
        self.powered()?;
        self.cut = self.cut_after.is_some_and(|after| self.writes >= after);
        self.writes += 1;
        Ok(if self.cut { length / 2 } else { length })
    }

    /// Whether there is power.
    ///
    /// # Errors
    /// There is none.
    pub fn powered(&self) -> Result<(), NvmError> {
        if self.cut { Err(NvmError::PowerCut) } else { Ok(()) }
    }

    /// Power is back. A cut that is still to come stays.
    pub fn restore_power(&mut self) {
        if std::mem::take(&mut self.cut) {
            self.cut_after = None;
        }
    }

    /// Takes away a cut that is still to come, to be given back with [`Nvm::give_cut`].
    pub fn take_cut(&mut self) -> Option<u64> {
        self.cut_after.take()
    }

    /// Gives back a cut that was taken away: it happens with the next write if its turn has come meanwhile.
    pub fn give_cut(&mut self, cut: Option<u64>) {
        self.cut_after = cut;
    }

    /// Host memory taken, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// What was written, from address 0 on.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.bytes
    }

    fn range(&self, at: u32, length: usize) -> Result<std::ops::Range<usize>, NvmError> {
        self.powered()?;
        let start = at as usize; // usize is at least 32 bits on every host
        let end = start.checked_add(length).filter(|end| *end <= self.capacity as usize);
        end.map(|end| start..end).ok_or(NvmError::OutOfRange)
    }
}

impl Storage for Nvm {
    type Error = NvmError;

    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), NvmError> {
        let range = self.range(at, out.len())?;
        out.fill(0xFF);
        if let Some(held) = self.bytes.get(range.start..range.end.min(self.bytes.len())) {
            out[..held.len()].copy_from_slice(held);
        }
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NvmError> {
        let range = self.range(at, bytes.len())?;
        let bytes = &bytes[..self.spend(bytes.len())?];
        if let Some(mirror) = &mut self.mirror {
            mirror.write(at, bytes)?;
        }
        let end = range.start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.reserve_exact(end - self.bytes.len());
            self.bytes.resize(end, 0xFF);
        }
        self.bytes[range.start..end].copy_from_slice(bytes);
        self.powered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_never_written_reads_blank() {
        let mut nvm = Nvm::blank(64);
        nvm.write(8, &[1, 2]).unwrap();
        let mut out = [0; 12];
        nvm.read(0, &mut out).unwrap();
        assert_eq!(out, [255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 255, 255]);
        assert_eq!(nvm.write(63, &[0, 0]), Err(NvmError::OutOfRange));
        assert_eq!(nvm.read(u32::MAX, &mut out), Err(NvmError::OutOfRange));
    }

    #[test]
    fn a_cut_tears_one_write_and_stops_all_later_ones() {
        let mut nvm = Nvm::blank(64);
        nvm.cut_after(1);
        nvm.write(0, &[1; 8]).unwrap();
        assert_eq!(nvm.write(0, &[2; 8]), Err(NvmError::PowerCut));
        assert_eq!(nvm.write(0, &[3; 8]), Err(NvmError::PowerCut));
        assert!(nvm.is_cut());
        nvm.restore_power();
        let mut out = [0; 8];
        nvm.read(0, &mut out).unwrap();
        assert_eq!(out, [2, 2, 2, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn what_was_written_is_in_the_file_and_neighbours_are_left_alone() {
        let path = std::env::temp_dir().join(format!("meter-simulator-nvm-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let file = Arc::new(file);
        let area = |at| FileArea::new(Arc::clone(&file), at, 32);
        let mut first = Nvm::in_file(area(100)).unwrap();
        let mut second = Nvm::in_file(area(132)).unwrap();
        assert_eq!(first.held_bytes(), 0, "what was never written takes no memory");
        first.write(4, &[1, 2, 3]).unwrap();
        second.write(0, &[9]).unwrap();
        drop((first, second));
        let mut first = Nvm::in_file(area(100)).unwrap();
        let mut out = [0; 9];
        first.read(0, &mut out).unwrap();
        assert_eq!(out, [255, 255, 255, 255, 1, 2, 3, 255, 255]);
        first.erase().unwrap();
        assert_eq!(Nvm::in_file(area(100)).unwrap().written(), [] as [u8; 0]);
        assert_eq!(Nvm::in_file(area(132)).unwrap().written(), [9]);
        std::fs::remove_file(path).unwrap();
    }
}
