//! Numbers that look random and depend on nothing but the seed and what they are for.

/// SplitMix64 (Steele, Lea, Flood 2014): the finaliser makes a good hash of a counter.
#[must_use]
pub fn hash(seed: u64, value: u64) -> u64 {
    let mut x =
        seed.wrapping_add(value.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A number from `low` to `high`, both included.
#[must_use]
pub fn between(seed: u64, value: u64, low: u64, high: u64) -> u64 {
    low + hash(seed, value) % (high.saturating_sub(low) + 1)
}

/// A sequence of such numbers.
#[derive(Debug, Clone)]
pub struct Sequence {
    seed: u64,
    next: u64,
}

impl Sequence {
    /// The sequence of this seed, from its first number.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, next: 0 }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        hash(self.seed, self.next)
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n.max(1)
    }
}
