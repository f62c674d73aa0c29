//! EA07, the Standard Transfer Algorithm: sixteen rounds of nibble substitution and bit permutation.
//!
//! The algorithm is public, its tables are not: the real set is licensed to members of the STS Association and never stands
//! here. [`SAMPLE`] is the set IEC 62055-41 prints for tests; another set is loaded as data with [`StaTables::new`].

use core::fmt;

/// Which tables a cipher runs with: errors and listings say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum TableSet {
    /// Printed in IEC 62055-41 for tests; a meter in the field refuses its tokens.
    Sample,
    /// Loaded from an operator's provisioning file.
    Loaded,
}

impl TableSet {
    /// A word for listings and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sample => "SAMPLE",
            Self::Loaded => "LOADED",
        }
    }
}

/// Why tables are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableError {
    /// A substitution table that is not a permutation of 0..=15.
    Substitution,
    /// A permutation table that is not a permutation of 0..=63.
    Permutation,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Substitution => "a substitution table is not a permutation of 0 to 15",
            Self::Permutation => "the permutation table is not a permutation of 0 to 63",
        })
    }
}

impl core::error::Error for TableError {}

/// Substitution and permutation tables, shared by all keys. A permutation costs sixteen look-ups and the tables
/// 4 KiB; with the feature `compact-sts-tables` 64 steps and 64 bytes.
#[derive(Clone)]
pub struct StaTables {
    set: TableSet,
    s: [[u8; 16]; 2],
    s_inverse: [[u8; 16]; 2],
    p: Places,
}

#[cfg(not(feature = "compact-sts-tables"))]
type Places = Expanded;
#[cfg(feature = "compact-sts-tables")]
type Places = Compact;

/// The place that each bit moves to.
#[cfg(any(test, feature = "compact-sts-tables"))]
#[derive(Clone)]
struct Compact([u8; 64]);

#[cfg(any(test, feature = "compact-sts-tables"))]
impl Compact {
    const fn new(p: &[u8; 64]) -> Self {
        Self(*p)
    }

    /// Where the bits of nibble `i` go.
    fn moved(&self, i: usize, nibble: u8) -> u64 {
        let places = self.0.iter().skip(4 * i).take(4);
        (0..).zip(places).fold(0, |moved, (bit, to)| moved | u64::from(nibble >> bit & 1) << (to & 63))
    }

    fn moved_back(&self, data: u64) -> u64 {
        (0..).zip(&self.0).fold(0, |moved, (bit, to)| moved | (data >> (to & 63) & 1) << bit)
    }
}

/// Where the bits of nibble `i` with value `v` go, and where they come from.
#[cfg(any(test, not(feature = "compact-sts-tables")))]
#[derive(Clone)]
struct Expanded {
    p: [[u64; 16]; 16],
    p_inverse: [[u64; 16]; 16],
}

#[cfg(any(test, not(feature = "compact-sts-tables")))]
impl Expanded {
    const fn new(p: &[u8; 64]) -> Self {
        let mut tables = Self { p: [[0; 16]; 16], p_inverse: [[0; 16]; 16] };
        let mut bit = 0;
        while bit < 64 {
            let to = p[bit] as usize;
            let mut value = 0;
            while value < 16 {
                if (value >> (bit % 4)) & 1 == 1 {
                    tables.p[bit / 4][value] |= 1 << to;
                }
                if (value >> (to % 4)) & 1 == 1 {
                    tables.p_inverse[to / 4][value] |= 1 << bit;
                }
                value += 1;
            }
            bit += 1;
        }
        tables
    }

    fn moved(&self, i: usize, nibble: u8) -> u64 {
        self.p[i & 15][usize::from(nibble & 15)]
    }

    fn moved_back(&self, data: u64) -> u64 {
        (0..)
            .zip(&self.p_inverse)
            .fold(0, |moved, (i, places)| moved | places[(data >> (4 * i)) as usize & 15])
    }
}

impl fmt::Debug for StaTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaTables({})", self.set.name())
    }
}

/// The tables of IEC 62055-41 for tests.
pub static SAMPLE: StaTables = StaTables::expand(
    TableSet::Sample,
    [12, 10, 8, 4, 3, 15, 0, 2, 14, 1, 5, 13, 6, 9, 7, 11],
    [6, 9, 7, 4, 3, 10, 12, 14, 2, 13, 1, 15, 0, 11, 8, 5],
    &[
        29, 27, 34, 9, 16, 62, 55, 2, 40, 49, 38, 25, 33, 61, 30, 23, 1, 41, 21, 57, 42, 15, 5, 58, 19, 53,
        22, 17, 48, 28, 24, 39, 3, 60, 36, 14, 11, 52, 54, 12, 31, 51, 10, 26, 0, 45, 37, 43, 44, 6, 59, 4,
        7, 35, 56, 50, 13, 18, 32, 47, 46, 63, 20, 8,
    ],
);

impl StaTables {
    /// A loaded table set: `s1` and `s2` permutations of 0..=15, `p[i]` the place bit `i` moves to.
    ///
    /// # Errors
    /// A table that is not a permutation; nothing else can be checked about it.
    pub fn new(s1: [u8; 16], s2: [u8; 16], p: &[u8; 64]) -> Result<Self, TableError> {
        let all = |table: &[u8], size: u32| {
            let seen = table.iter().fold(0u64, |seen, &v| if v < 64 { seen | (1 << v) } else { seen });
            seen == u64::MAX >> (64 - size)
        };
        if !all(&s1, 16) || !all(&s2, 16) {
            return Err(TableError::Substitution);
        }
        if !all(p, 64) {
            return Err(TableError::Permutation);
        }
        Ok(Self::expand(TableSet::Loaded, s1, s2, p))
    }

    /// Which set this is.
    #[must_use]
    pub const fn set(&self) -> TableSet {
        self.set
    }

    const fn expand(set: TableSet, s1: [u8; 16], s2: [u8; 16], p: &[u8; 64]) -> Self {
        let mut s_inverse = [[0; 16]; 2];
        let mut i = 0;
        while i < 16 {
            s_inverse[0][s1[i] as usize] = i as u8;
            s_inverse[1][s2[i] as usize] = i as u8;
            i += 1;
        }
        Self { set, s: [s1, s2], s_inverse, p: Places::new(p) }
    }
}

const ROUNDS: u32 = 16;

/// The cipher with one decoder key.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Ea07<'t> {
    key: u64,
    #[zeroize(skip)]
    tables: &'t StaTables,
}

impl fmt::Debug for Ea07<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ea07({})", self.tables.set.name())
    }
}

impl<'t> Ea07<'t> {
    /// From a 64-bit decoder key, most significant byte first.
    #[must_use]
    pub fn new(key: [u8; 8], tables: &'t StaTables) -> Self {
        Self { key: (!u64::from_be_bytes(key)).rotate_right(12), tables }
    }

    /// Enciphers a data block.
    #[must_use]
    pub fn encrypt(&self, block: u64) -> u64 {
        let mut data = block;
        let mut key = self.key;
        for _ in 0..ROUNDS {
            let mut moved = 0;
            for i in 0..16 {
                // Bit 3 of the key nibble selects the table.
                let table = &self.tables.s[(key >> (4 * i + 3)) as usize & 1];
                moved |= self.tables.p.moved(i, table[(data >> (4 * i)) as usize & 15]);
            }
            data = moved;
            key = key.rotate_left(1);
        }
        data
    }

    /// Deciphers a data block.
    #[must_use]
    pub fn decrypt(&self, block: u64) -> u64 {
        let mut data = block;
        let mut key = self.key.rotate_left(ROUNDS - 1);
        for _ in 0..ROUNDS {
            let moved = self.tables.p.moved_back(data);
            data = 0;
            for i in 0..16 {
                let table = &self.tables.s_inverse[(key >> (4 * i + 3)) as usize & 1];
                data |= u64::from(table[(moved >> (4 * i)) as usize & 15]) << (4 * i);
            }
            key = key.rotate_right(1);
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_the_standard_goes_both_ways() {
        let cipher = Ea07::new(0x0ABC_12DE_F345_6789u64.to_be_bytes(), &SAMPLE);
        assert_eq!(cipher.encrypt(0x0B19_EB23_0100_C207), 0xC45E_D161_9406_DF95);
        assert_eq!(cipher.decrypt(0xC45E_D161_9406_DF95), 0x0B19_EB23_0100_C207);
    }

    #[test]
    fn compact_tables_move_every_bit_as_the_expanded_ones_do() {
        let p: [u8; 64] = core::array::from_fn(|i| (i as u8).wrapping_mul(29).wrapping_add(11) & 63);
        let (compact, expanded) = (Compact::new(&p), Expanded::new(&p));
        for i in 0..16 {
            for nibble in 0..16 {
                assert_eq!(compact.moved(i, nibble), expanded.moved(i, nibble));
                let data = u64::from(nibble) << (4 * i) | 0x8000_0000_0000_0001;
                assert_eq!(compact.moved_back(data), expanded.moved_back(data));
            }
        }
        for (bit, to) in p.iter().enumerate() {
            let moved = compact.moved(bit / 4, 1 << (bit % 4));
            assert_eq!((moved, compact.moved_back(moved)), (1 << *to, 1 << bit));
        }
    }

    #[test]
    fn tables_that_are_no_permutations_are_refused() {
        let s: [u8; 16] = core::array::from_fn(|i| i as u8);
        let mut p: [u8; 64] = core::array::from_fn(|i| i as u8);
        assert_eq!(StaTables::new(s, s, &p).unwrap().set(), TableSet::Loaded);
        let mut twice = s;
        twice[3] = 4;
        assert_eq!(StaTables::new(s, twice, &p).err(), Some(TableError::Substitution));
        p[63] = 64;
        assert_eq!(StaTables::new(s, s, &p).err(), Some(TableError::Permutation));
    }
}
