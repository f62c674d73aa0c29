//! Slices without panics. The bounds are right wherever these are used; but a build optimised for size does not see that,
//! and keeps the panics of `copy_from_slice`, `split_at` and indexing.

/// Copies as many bytes as both have.
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// The first `at` bytes, or all, and the rest.
pub(super) fn cut(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at.min(bytes.len())).unwrap_or_default()
}

/// The first `at` bytes, or all, and the rest.
pub(super) fn cut_mut(bytes: &mut [u8], at: usize) -> (&mut [u8], &mut [u8]) {
    bytes.split_at_mut_checked(at.min(bytes.len())).unwrap_or_default()
}
