//! AES key wrap (RFC 3394): how keys travel under the master key (Green Book 9.2.3.3.8).

use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use zeroize::Zeroize;

use super::Key;
use crate::codec::security::constant_time_eq;
use crate::dlms::bytes::copy;

/// Bytes that wrapping adds to a key.
pub const OVERHEAD: usize = 8;
/// Longest wrapped key in bytes.
pub const WRAPPED_MAX: usize = Key::MAX_LEN + OVERHEAD;

/// A wrapped key.
pub type Wrapped = heapless::Vec<u8, WRAPPED_MAX>;

/// The initial value of RFC 3394, 2.2.3.1: what a right unwrapping ends with.
const CHECK: [u8; 8] = [0xA6; 8];
/// Half blocks in the longest key.
const HALVES: usize = Key::MAX_LEN / 8;
/// Rounds over all half blocks.
const ROUNDS: u64 = 6;

/// A master key, expanded both ways.
#[allow(
    clippy::large_enum_variant,
    reason = "lives on the stack for one operation; no allocator to box with"
)]
enum Master {
    Aes128(aes::Aes128),
    Aes256(aes::Aes256),
}

impl Master {
    fn new(key: &Key) -> Option<Self> {
        match key.len() {
            16 => aes::Aes128::new_from_slice(key.expose()).ok().map(Self::Aes128),
            _ => aes::Aes256::new_from_slice(key.expose()).ok().map(Self::Aes256),
        }
    }

    fn encrypt(&self, block: &mut aes::Block) {
        match self {
            Self::Aes128(cipher) => cipher.encrypt_block(block),
            Self::Aes256(cipher) => cipher.encrypt_block(block),
        }
    }

    fn decrypt(&self, block: &mut aes::Block) {
        match self {
            Self::Aes128(cipher) => cipher.decrypt_block(block),
            Self::Aes256(cipher) => cipher.decrypt_block(block),
        }
    }
}

/// Joins the check value and one half block.
fn join(check: [u8; 8], half: &[u8; 8]) -> aes::Block {
    let mut block = aes::Block::default();
    for (to, from) in block.iter_mut().zip(check.iter().chain(half)) {
        *to = *from;
    }
    block
}

/// The other way round; the half block goes where it came from.
fn part(block: &aes::Block, half: &mut [u8; 8]) -> [u8; 8] {
    let mut check = [0; 8];
    copy(&mut check, block);
    copy(half, block.get(8..).unwrap_or(&[]));
    check
}

/// Folds the number of the step into the check value.
fn count(check: [u8; 8], step: u64) -> [u8; 8] {
    (u64::from_be_bytes(check) ^ step).to_be_bytes()
}

/// Wraps `key` under `master`. `None` only for a master key that is no AES key.
#[must_use]
pub fn wrap(master: &Key, key: &Key) -> Option<Wrapped> {
    let master = Master::new(master)?;
    let mut halves = [[0u8; 8]; HALVES];
    let used = halves.get_mut(..key.len() / 8)?;
    for (half, bytes) in used.iter_mut().zip(key.expose().chunks(8)) {
        copy(half, bytes);
    }
    let mut check = CHECK;
    let mut step = 0;
    for _ in 0..ROUNDS {
        for half in used.iter_mut() {
            step += 1;
            let mut block = join(check, half);
            master.encrypt(&mut block);
            check = count(part(&block, half), step);
        }
    }
    let mut out = Wrapped::from_slice(&check).ok()?;
    for half in used.iter() {
        out.extend_from_slice(half).ok()?;
    }
    halves.zeroize();
    Some(out)
}

/// Unwraps a key of 16 or 32 bytes. `None` when it was wrapped under another key, damaged, or has another length.
#[must_use]
pub fn unwrap(master: &Key, wrapped: &[u8]) -> Option<Key> {
    let len = wrapped.len().checked_sub(OVERHEAD).filter(|len| matches!(len, 16 | 32))?;
    let master = Master::new(master)?;
    let mut check = [0; 8];
    copy(&mut check, wrapped);
    let mut halves = [[0u8; 8]; HALVES];
    let used = halves.get_mut(..len / 8)?;
    for (half, bytes) in used.iter_mut().zip(wrapped.get(OVERHEAD..)?.chunks(8)) {
        copy(half, bytes);
    }
    let mut step = ROUNDS * used.len() as u64;
    for _ in 0..ROUNDS {
        for half in used.iter_mut().rev() {
            let mut block = join(count(check, step), half);
            master.decrypt(&mut block);
            check = part(&block, half);
            step -= 1;
        }
    }
    let key = Key::from_slice(used.as_flattened()).ok().filter(|_| constant_time_eq(&check, &CHECK));
    halves.zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> Key {
        Key::from_slice(&unhex(hex)).unwrap()
    }

    fn unhex(s: &str) -> std::vec::Vec<u8> {
        (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    /// RFC 3394, 4.1, 4.3 and 4.6.
    #[test]
    fn keys_are_wrapped_as_in_rfc_3394() {
        for (master, data, expected) in [
            (
                "000102030405060708090A0B0C0D0E0F",
                "00112233445566778899AABBCCDDEEFF",
                "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5",
            ),
            (
                "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
                "00112233445566778899AABBCCDDEEFF",
                "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7",
            ),
            (
                "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
                "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
                "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
            ),
        ] {
            let (master, data) = (key(master), key(data));
            let wrapped = wrap(&master, &data).unwrap();
            assert_eq!(&wrapped[..], unhex(expected));
            assert_eq!(unwrap(&master, &wrapped), Some(data));
        }
    }

    #[test]
    fn a_damaged_or_shortened_key_or_another_master_key_unwraps_to_nothing() {
        let master = key("000102030405060708090A0B0C0D0E0F");
        let wrapped = wrap(&master, &key("00112233445566778899AABBCCDDEEFF")).unwrap();
        for at in 0..wrapped.len() {
            let mut damaged = wrapped.clone();
            damaged[at] ^= 0x10;
            assert_eq!(unwrap(&master, &damaged), None);
            assert_eq!(unwrap(&master, &wrapped[..at]), None);
        }
        assert_eq!(unwrap(&key("000102030405060708090A0B0C0D0E0E"), &wrapped), None);
        assert_eq!(unwrap(&master, &[&wrapped[..], &[0; 8]].concat()), None);
    }
}
