//! SipHash-2-4 (Aumasson, Bernstein 2012) of eight bytes: all that the token chain needs.

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

/// The hash of eight bytes under a 128-bit key.
pub(super) fn siphash_2_4(key: &[u8; 16], message: [u8; 8]) -> u64 {
    let half = |from: usize| {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&key[from..from + 8]);
        u64::from_le_bytes(bytes)
    };
    let (k0, k1) = (half(0), half(8));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The second word carries the length in its top byte.
    for word in [u64::from_le_bytes(message), 8 << 56] {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xFF;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_vector_of_eight_bytes_holds() {
        // Reference implementation of the authors, vectors_sip64, entry 8: key 00..0f, message 00..07.
        let key = core::array::from_fn(|i| i as u8);
        let message = core::array::from_fn(|i| i as u8);
        assert_eq!(
            siphash_2_4(&key, message).to_le_bytes(),
            [0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93]
        );
    }
}
