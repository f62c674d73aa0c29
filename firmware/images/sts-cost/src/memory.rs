//! The board's own copying and filling of memory (`hardware/src/cortex_m4/memory.rs`), looked at on the core it is written for.

use core::hint::black_box;

const BYTES: usize = 40;
/// Longest piece: some words and what is less than one.
const LONGEST: usize = 19;

/// Byte `n` of a buffer in which each byte differs from the others.
const fn byte(n: usize) -> u8 {
    (n * 7 + 3) as u8
}

fn buffer() -> [u8; BYTES] {
    core::array::from_fn(|n| black_box(byte(n)))
}

/// Every length to every address from every address: copied within one buffer, where most overlap, from another one, and filled.
pub fn is_sound() -> bool {
    for length in 0..=LONGEST {
        for to in 0..=8 {
            for from in 0..=8 {
                let mut moved = buffer();
                moved.copy_within(black_box(from..from + length), to);
                let mut copied = [0; BYTES];
                copied[to..to + length].copy_from_slice(&buffer()[black_box(from..from + length)]);
                let mut filled = buffer();
                filled[black_box(to..to + length)].fill(black_box(0xA0 + from as u8));
                for n in 0..BYTES {
                    let inside = (to..to + length).contains(&n);
                    let (source, fill) = (byte(n + from - to.min(n + from)), 0xA0 + from as u8);
                    let expected = if inside { (source, source, fill) } else { (byte(n), 0, byte(n)) };
                    if (moved[n], copied[n], filled[n]) != black_box(expected) {
                        return false;
                    }
                }
            }
        }
    }
    true
}
