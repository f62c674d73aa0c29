//! Static memory for one value that is made at start and lives as long as the program: what would lie on the stack twice, once
//! where it is made and once where it is used.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// A place for one `T`.
#[derive(Debug)]
pub struct Place<T> {
    taken: AtomicBool,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is reached through the one reference that `put` gives out; whoever holds it may be another context than
// the one that calls `put`, so `T` has to be `Send`.
unsafe impl<T: Send> Sync for Place<T> {}

impl<T> Place<T> {
    /// An empty place.
    #[must_use]
    pub const fn new() -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Puts the value there for good; `None` when the place is taken. The value is never dropped.
    #[expect(clippy::mut_from_ref, reason = "the swap lets it be given out once")]
    pub fn put(&'static self, value: T) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: the swap above lets one caller through, once, so no other reference to the value is ever made.
        let place = unsafe { &mut *self.value.get() };
        Some(place.write(value))
    }
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_takes_one_value_and_no_second_one() {
        static PLACE: Place<[u32; 4]> = Place::new();
        let first = PLACE.put([1, 2, 3, 4]).expect("it is empty");
        assert_eq!(PLACE.put([0; 4]), None);
        first[0] = 7;
        assert_eq!(first, &[7, 2, 3, 4]);
    }
}
