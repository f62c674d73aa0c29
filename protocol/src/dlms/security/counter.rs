//! Invocation counters. A counter is half of every nonce: using one value twice with the same key gives the key's
//! authentication away, so values are reserved durably in blocks before the first of them is used.

/// Counter values reserved and not used yet. Values lost in a restart are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterBlock {
    next: u32,
    left: u32,
}

impl CounterBlock {
    /// A block of `count` values starting with `first`, which the caller has stored as reserved.
    #[must_use]
    pub const fn new(first: u32, count: u32) -> Self {
        Self { next: first, left: count }
    }

    /// The next value; `None` when the block is used up, or the counter has come to its end (the key must be changed).
    pub fn take(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let value = self.next;
        match value.checked_add(1) {
            Some(next) => self.next = next,
            None => self.left = 0,
        }
        Some(value)
    }

    /// How many values are left.
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// The value [`CounterBlock::take`] would give next.
    #[must_use]
    pub const fn peek(&self) -> u32 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_where_it_was_reserved_to_end() {
        let mut block = CounterBlock::new(10, 2);
        assert_eq!((block.take(), block.take(), block.take()), (Some(10), Some(11), None));
    }

    #[test]
    fn the_last_counter_value_is_used_once_and_never_wraps() {
        let mut block = CounterBlock::new(u32::MAX, 5);
        assert_eq!((block.take(), block.take()), (Some(u32::MAX), None));
    }
}
