//! EA11: MISTY1 with eight rounds (RFC 2994).

use super::misty1_tables::{S7, S9};
use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The cipher with its key schedule: 32 bytes, made once per key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Misty1 {
    /// The key in 16-bit words.
    k: [u16; 8],
    /// FI of each word under the next one: K' of the RFC.
    kk: [u16; 8],
}

impl fmt::Debug for Misty1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Misty1(..)")
    }
}

fn s7(x: u16) -> u16 {
    u16::from(S7[usize::from(x & 0x7F)])
}

fn s9(x: u16) -> u16 {
    S9[usize::from(x & 0x1FF)]
}

/// RFC 2994 2.3.
#[inline]
fn fi(x: u16, key: u16) -> u16 {
    let (d9, d7) = (x >> 7, x & 0x7F);
    let d9 = s9(d9) ^ d7;
    let d7 = s7(d7) ^ (d9 & 0x7F);
    let d7 = d7 ^ (key >> 9);
    let d9 = d9 ^ (key & 0x1FF);
    let d9 = s9(d9) ^ d7;
    (d7 << 9) | d9
}

fn halves(x: u32) -> (u16, u16) {
    ((x >> 16) as u16, x as u16)
}

fn join(high: u16, low: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

impl Misty1 {
    /// Makes the key schedule of a 128-bit key.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Self {
        let k: [u16; 8] = core::array::from_fn(|i| u16::from_be_bytes([key[2 * i], key[2 * i + 1]]));
        let kk = core::array::from_fn(|i| fi(k[i], k[(i + 1) % 8]));
        Self { k, kk }
    }

    /// RFC 2994 2.2.
    #[inline]
    fn fo(&self, x: u32, i: usize) -> u32 {
        let (t0, t1) = halves(x);
        let t0 = fi(t0 ^ self.k[i], self.kk[(i + 5) % 8]) ^ t1;
        let t1 = fi(t1 ^ self.k[(i + 2) % 8], self.kk[(i + 1) % 8]) ^ t0;
        let t0 = fi(t0 ^ self.k[(i + 7) % 8], self.kk[(i + 3) % 8]) ^ t1;
        let t1 = t1 ^ self.k[(i + 4) % 8];
        join(t1, t0)
    }

    /// The two key words of FL number `i` (RFC 2994 2.4).
    #[inline]
    fn fl_keys(&self, i: usize) -> (u16, u16) {
        let t = i / 2;
        if i.is_multiple_of(2) {
            (self.k[t % 8], self.kk[(t + 6) % 8])
        } else {
            (self.kk[(t + 2) % 8], self.k[(t + 4) % 8])
        }
    }

    #[inline]
    fn fl(&self, x: u32, i: usize) -> u32 {
        let (left, right) = halves(x);
        let (and, or) = self.fl_keys(i);
        let right = right ^ (left & and);
        join(left ^ (right | or), right)
    }

    #[inline]
    fn fl_inverse(&self, x: u32, i: usize) -> u32 {
        let (left, right) = halves(x);
        let (and, or) = self.fl_keys(i);
        let left = left ^ (right | or);
        join(left, right ^ (left & and))
    }

    /// Enciphers a block.
    #[must_use]
    pub fn encrypt(&self, block: u64) -> u64 {
        let (mut left, mut right) = ((block >> 32) as u32, block as u32);
        for i in [0, 2, 4, 6] {
            left = self.fl(left, i);
            right = self.fl(right, i + 1);
            right ^= self.fo(left, i);
            left ^= self.fo(right, i + 1);
        }
        left = self.fl(left, 8);
        right = self.fl(right, 9);
        u64::from(right) << 32 | u64::from(left)
    }

    /// Deciphers a block.
    #[must_use]
    pub fn decrypt(&self, block: u64) -> u64 {
        let (mut right, mut left) = ((block >> 32) as u32, block as u32);
        left = self.fl_inverse(left, 8);
        right = self.fl_inverse(right, 9);
        for i in [6, 4, 2, 0] {
            left ^= self.fo(right, i + 1);
            right ^= self.fo(left, i);
            left = self.fl_inverse(left, i);
            right = self.fl_inverse(right, i + 1);
        }
        u64::from(left) << 32 | u64::from(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_2994_hold_both_ways() {
        let cipher = Misty1::new(&0x0011_2233_4455_6677_8899_AABB_CCDD_EEFFu128.to_be_bytes());
        for (plain, ciphered) in
            [(0x0123_4567_89AB_CDEF, 0x8B1D_A5F5_6AB3_D07C), (0xFEDC_BA98_7654_3210, 0x04B6_8240_B13B_E95D)]
        {
            assert_eq!(cipher.encrypt(plain), ciphered);
            assert_eq!(cipher.decrypt(ciphered), plain);
        }
    }

    #[test]
    fn the_tables_are_permutations() {
        let mut seen7 = [false; 128];
        S7.iter().for_each(|&v| seen7[usize::from(v)] = true);
        let mut seen9 = [false; 512];
        S9.iter().for_each(|&v| seen9[usize::from(v)] = true);
        assert!(seen7.iter().chain(&seen9).all(|&seen| seen));
    }
}
