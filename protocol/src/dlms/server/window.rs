//! A writer that keeps a window of what is written: skips the beginning, keeps what fits, counts the rest.

use crate::codec::{Result, Writer};
use crate::dlms::bytes::copy;

/// Keeps bytes `skip .. skip + out.len()` of what is written and counts everything. Never fails.
pub(super) struct Window<'b> {
    skip: usize,
    out: &'b mut [u8],
    total: usize,
}

impl<'b> Window<'b> {
    pub fn new(skip: usize, out: &'b mut [u8]) -> Self {
        Self { skip, out, total: 0 }
    }

    /// Everything written, kept or not.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many bytes were kept.
    pub fn kept(&self) -> usize {
        self.total.saturating_sub(self.skip).min(self.out.len())
    }

    /// Something was written beyond the window.
    pub fn overflowed(&self) -> bool {
        self.total.saturating_sub(self.skip) > self.out.len()
    }

    /// Forgets everything after the first `total` bytes written.
    pub fn rewind(&mut self, total: usize) {
        self.total = self.total.min(total);
    }
}

impl Writer for Window<'_> {
    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let at = self.total;
        self.total = self.total.saturating_add(bytes.len());
        let bytes = bytes.get(self.skip.saturating_sub(at)..).unwrap_or(&[]);
        let at = at.saturating_sub(self.skip);
        if let Some(slot) = self.out.get_mut(at..) {
            copy(slot, bytes);
        }
        Ok(())
    }

    fn written(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_of_a_value_written_in_uneven_pieces_is_what_a_slice_of_it_is() {
        let value: std::vec::Vec<u8> = (0..40).collect();
        for skip in 0..45 {
            for len in 0..45 {
                let mut out = std::vec![0xA5; len];
                let mut w = Window::new(skip, &mut out);
                for piece in value.chunks(7) {
                    w.write_bytes(piece).unwrap();
                }
                let expected = &value[skip.min(40)..(skip + len).min(40)];
                assert_eq!(w.kept(), expected.len());
                assert_eq!(w.overflowed(), skip + len < 40);
                assert_eq!(&out[..expected.len()], expected);
            }
        }
    }
}
