//! AES-GCM with a 96-bit tag (Green Book 9.2.3.3.7), keyed once and used for every APDU of an association.

use aes::cipher::{BlockEncrypt, KeyInit};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;

use super::{Key, SecuritySuite};
use crate::codec::security::constant_time_eq;
use crate::codec::xdlms::SecurityControl;
use crate::dlms::bytes::{copy, cut, cut_mut};

/// Length of the authentication tag in bytes: DLMS cuts GCM's tag to 96 bits.
pub const TAG_LEN: usize = 12;

/// Keystream blocks made in one call: as many as the AES implementations work on side by side.
const LANES: usize = 8;

type Block = aes::Block;

/// The block cipher of a suite, expanded.
#[derive(Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "no allocator to box with; the difference is small where memory is"
)]
enum Expanded {
    Aes128(aes::Aes128Enc),
    Aes256(aes::Aes256Enc),
}

impl Expanded {
    fn new(suite: SecuritySuite, key: &[u8]) -> Option<Self> {
        match suite {
            SecuritySuite::Suite0 | SecuritySuite::Suite1 => {
                aes::Aes128Enc::new_from_slice(key).ok().map(Self::Aes128)
            }
            SecuritySuite::Suite2 => aes::Aes256Enc::new_from_slice(key).ok().map(Self::Aes256),
        }
    }

    fn encrypt(&self, blocks: &mut [Block]) {
        match self {
            Self::Aes128(c) => c.encrypt_blocks(blocks),
            Self::Aes256(c) => c.encrypt_blocks(blocks),
        }
    }
}

/// An encryption key and an authentication key, expanded and ready. Wiped on drop by the cipher crates.
#[derive(Clone)]
pub struct Cipher {
    suite: SecuritySuite,
    expanded: Expanded,
    /// GHASH keyed, nothing absorbed.
    hash: GHash,
    /// GHASH with `SC || AK` absorbed for the usual case: authenticated and encrypted, unicast.
    hash_both: GHash,
    authentication: Key,
}

impl core::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cipher([REDACTED])")
    }
}

impl Cipher {
    /// Expands `encryption` and keeps `authentication`. `None` when a key's length is not the suite's.
    #[must_use]
    pub fn new(suite: SecuritySuite, encryption: &Key, authentication: &Key) -> Option<Self> {
        if encryption.len() != suite.key_len() || authentication.len() != suite.key_len() {
            return None;
        }
        let expanded = Expanded::new(suite, encryption.expose())?;
        let mut h = Block::default();
        expanded.encrypt(core::slice::from_mut(&mut h));
        let hash = GHash::new(&h);
        let mut cipher =
            Self { suite, expanded, hash_both: hash.clone(), hash, authentication: authentication.clone() };
        cipher.hash_both = cipher.absorb_prefix(SecurityControl::new(suite.id(), true, true)).finish_block();
        Some(cipher)
    }

    /// The suite of the keys.
    #[must_use]
    pub const fn suite(&self) -> SecuritySuite {
        self.suite
    }

    /// Protects `text` in place as `control` says and returns the tag when it says authenticated.
    pub fn seal(&self, control: SecurityControl, nonce: &[u8; 12], text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        self.seal_with(control, nonce, &[], text)
    }

    /// As [`Cipher::seal`], with `header` authenticated in front of the text: the fields of general-ciphering.
    pub fn seal_with(
        &self,
        control: SecurityControl,
        nonce: &[u8; 12],
        header: &[u8],
        text: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        if control.encrypted() {
            let first = self.first_blocks(nonce, text.len());
            self.apply_keystream(nonce, &first, text);
            control.authenticated().then(|| self.tag_of_ciphertext(control, first[0], header, text))
        } else if control.authenticated() {
            Some(self.gmac(control, nonce, &[header, text]))
        } else {
            None
        }
    }

    /// Verifies and unprotects `text` in place. False when the tag is wrong; `text` is then still as it came.
    #[must_use]
    pub fn open(
        &self,
        control: SecurityControl,
        nonce: &[u8; 12],
        text: &mut [u8],
        tag: Option<&[u8; TAG_LEN]>,
    ) -> bool {
        self.open_with(control, nonce, &[], text, tag)
    }

    /// As [`Cipher::open`], for a text with a `header` in front as in [`Cipher::seal_with`].
    #[must_use]
    pub fn open_with(
        &self,
        control: SecurityControl,
        nonce: &[u8; 12],
        header: &[u8],
        text: &mut [u8],
        tag: Option<&[u8; TAG_LEN]>,
    ) -> bool {
        match (control.authenticated(), tag) {
            (false, None) => {
                if control.encrypted() {
                    self.apply_keystream(nonce, &self.first_blocks(nonce, text.len()), text);
                }
                true
            }
            (true, Some(tag)) if control.encrypted() => {
                let first = self.first_blocks(nonce, text.len());
                if !constant_time_eq(&self.tag_of_ciphertext(control, first[0], header, text), tag) {
                    return false;
                }
                self.apply_keystream(nonce, &first, text);
                true
            }
            (true, Some(tag)) => constant_time_eq(&self.gmac(control, nonce, &[header, text]), tag),
            _ => false,
        }
    }

    /// GMAC over `SC || AK || parts`: the tag of authenticated-only APDUs and of HLS mechanism 5.
    #[must_use]
    pub fn gmac(&self, control: SecurityControl, nonce: &[u8; 12], parts: &[&[u8]]) -> [u8; TAG_LEN] {
        let mut stream = self.absorb_prefix(control);
        for part in parts {
            stream.update(part);
        }
        let aad_len = stream.total;
        self.tag(nonce, stream, aad_len, 0)
    }

    /// The tag of what `stream` has absorbed: so many bytes authenticated only, so many enciphered.
    pub(super) fn tag(&self, nonce: &[u8; 12], stream: Stream, aad_len: u64, text_len: u64) -> [u8; TAG_LEN] {
        let mut first = counter_block(nonce, 1);
        self.expanded.encrypt(core::slice::from_mut(&mut first));
        finish_tag(stream.finish_block(), aad_len, text_len, first)
    }

    /// `SC || AK` absorbed.
    pub(super) fn absorb_prefix(&self, control: SecurityControl) -> Stream {
        let mut stream = Stream { hash: self.hash.clone(), pending: Block::default(), fill: 0, total: 0 };
        stream.update(&[control.0]);
        stream.update(self.authentication.expose());
        stream
    }

    fn tag_of_ciphertext(
        &self,
        control: SecurityControl,
        mask: Block,
        header: &[u8],
        ciphertext: &[u8],
    ) -> [u8; TAG_LEN] {
        let usual = control == SecurityControl::new(self.suite.id(), true, true);
        let mut hash = if usual && header.is_empty() {
            self.hash_both.clone()
        } else {
            let mut prefix = self.absorb_prefix(control);
            prefix.update(header);
            prefix.finish_block()
        };
        hash.update_padded(ciphertext);
        let aad_len = 1 + self.authentication.len() + header.len();
        finish_tag(hash, aad_len as u64, ciphertext.len() as u64, mask)
    }

    /// The first blocks of the keystream for a text of `len` bytes: block 1 masks the tag, the text starts with block 2.
    fn first_blocks(&self, nonce: &[u8; 12], len: usize) -> [Block; LANES] {
        let wanted = (len.div_ceil(16) + 1).min(LANES);
        self.keystream(nonce, 1, wanted)
    }

    fn keystream(&self, nonce: &[u8; 12], mut counter: u32, wanted: usize) -> [Block; LANES] {
        let mut blocks = [Block::default(); LANES];
        let wanted = blocks.get_mut(..wanted.min(LANES)).unwrap_or(&mut []);
        for block in wanted.iter_mut() {
            *block = counter_block(nonce, counter);
            counter = counter.wrapping_add(1);
        }
        self.expanded.encrypt(wanted);
        blocks
    }

    /// XORs the keystream onto `text`; `first` are its first blocks.
    fn apply_keystream(&self, nonce: &[u8; 12], first: &[Block; LANES], text: &mut [u8]) {
        let (head, rest) = cut_mut(text, (LANES - 1) * 16);
        xor(head, first.get(1..).unwrap_or(&[]));
        self.apply_keystream_from(nonce, 1 + LANES as u32, rest);
    }

    /// As [`Cipher::apply_keystream`], for a piece that begins at byte `at` of the text.
    pub(super) fn apply_keystream_at(&self, nonce: &[u8; 12], at: u64, piece: &mut [u8]) {
        let (counter, within) = (2u32.wrapping_add((at / 16) as u32), (at % 16) as usize);
        if within == 0 {
            return self.apply_keystream_from(nonce, counter, piece);
        }
        let (head, rest) = cut_mut(piece, 16 - within);
        let keys = self.keystream(nonce, counter, 1);
        for (byte, k) in head.iter_mut().zip(keys.iter().flatten().skip(within)) {
            *byte ^= k;
        }
        self.apply_keystream_from(nonce, counter.wrapping_add(1), rest);
    }

    fn apply_keystream_from(&self, nonce: &[u8; 12], mut counter: u32, mut rest: &mut [u8]) {
        while !rest.is_empty() {
            let blocks = self.keystream(nonce, counter, rest.len().div_ceil(16));
            let (now, later) = cut_mut(rest, LANES * 16);
            xor(now, &blocks);
            rest = later;
            counter = counter.wrapping_add(LANES as u32);
        }
    }
}

fn xor(text: &mut [u8], keys: &[Block]) {
    for (chunk, key) in text.chunks_mut(16).zip(keys) {
        for (byte, k) in chunk.iter_mut().zip(key) {
            *byte ^= k;
        }
    }
}

fn counter_block(nonce: &[u8; 12], counter: u32) -> Block {
    let mut block = Block::default();
    for (to, from) in block.iter_mut().zip(nonce.iter().copied().chain(counter.to_be_bytes())) {
        *to = from;
    }
    block
}

fn finish_tag(mut hash: GHash, aad_len: u64, text_len: u64, mask: Block) -> [u8; TAG_LEN] {
    let mut lengths = Block::default();
    let bits = [aad_len, text_len].into_iter().flat_map(|n| n.wrapping_mul(8).to_be_bytes());
    for (to, from) in lengths.iter_mut().zip(bits) {
        *to = from;
    }
    hash.update(&[lengths]);
    let sum = hash.finalize();
    let mut tag = [0u8; TAG_LEN];
    for ((t, s), m) in tag.iter_mut().zip(sum).zip(mask) {
        *t = s ^ m;
    }
    tag
}

/// GHASH over bytes that come in pieces of any length.
#[derive(Clone)]
pub(super) struct Stream {
    hash: GHash,
    pending: Block,
    fill: usize,
    total: u64,
}

impl Stream {
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        while !bytes.is_empty() {
            let take = bytes.len().min(16 - self.fill);
            let (now, later) = cut(bytes, take);
            copy(self.pending.get_mut(self.fill..).unwrap_or(&mut []), now);
            self.fill += take;
            bytes = later;
            if self.fill == 16 {
                self.hash.update(&[self.pending]);
                self.pending = Block::default();
                self.fill = 0;
            }
        }
    }

    /// How many bytes came.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Pads the last block with zeros; what comes next begins a block.
    pub fn padded(self) -> Self {
        let total = self.total;
        Self { hash: self.finish_block(), pending: Block::default(), fill: 0, total }
    }

    /// Pads the last block with zeros and gives the hash.
    fn finish_block(mut self) -> GHash {
        if self.fill > 0 {
            self.hash.update(&[self.pending]);
        }
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::security::{CryptoProvider, KeyRef, KeyRing, RustCryptoProvider, keys::nonce};

    const EK: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const AK: [u8; 16] =
        [0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF];

    fn cipher() -> Cipher {
        Cipher::new(SecuritySuite::Suite0, &Key::new(EK), &Key::new(AK)).unwrap()
    }

    /// Against the codec's own provider, which uses another GCM implementation: every length around the block and lane
    /// boundaries, all three modes.
    #[test]
    fn agrees_with_another_gcm_for_every_length_to_300() {
        let other = RustCryptoProvider::new(KeyRing::new(EK, AK));
        let key = KeyRef::Usage(KeyUsage::GlobalUnicastEncryption);
        use crate::codec::security::KeyUsage;
        let ours = cipher();
        let iv = nonce(&crate::codec::security::SystemTitle::new(*b"MMM\0\0\xbcaN"), 77);
        let text: std::vec::Vec<u8> = (0..300u16).map(|i| i as u8).collect();
        for n in 0..text.len() {
            let control = SecurityControl::new(0, true, true);
            let mut aad = std::vec![control.0];
            aad.extend_from_slice(&AK);
            let mut theirs = text[..n].to_vec();
            let tag = other.aead_seal(key, SecuritySuite::Suite0, &iv, &aad, &mut theirs).unwrap();
            let mut mine = text[..n].to_vec();
            assert_eq!(ours.seal(control, &iv, &mut mine), Some(tag));
            assert_eq!(mine, theirs);
            assert!(ours.open(control, &iv, &mut mine, Some(&tag)));
            assert_eq!(mine, text[..n]);

            let auth = SecurityControl::new(0, true, false);
            let gmac = other.gmac(key, SecuritySuite::Suite0, &iv, &[&[auth.0], &AK, &text[..n]]).unwrap();
            assert_eq!(ours.gmac(auth, &iv, &[&text[..n / 3], &text[n / 3..n]]), gmac);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused_and_the_text_is_left_alone() {
        let ours = cipher();
        let control = SecurityControl::new(0, true, true);
        let mut text = [7u8; 20];
        let tag = ours.seal(control, &[1; 12], &mut text).unwrap();
        for i in 0..text.len() {
            let mut broken = text;
            broken[i] ^= 1;
            let before = broken;
            assert!(!ours.open(control, &[1; 12], &mut broken, Some(&tag)));
            assert_eq!(broken, before);
        }
    }

    #[test]
    fn keys_of_the_wrong_length_are_refused() {
        assert!(Cipher::new(SecuritySuite::Suite2, &Key::new(EK), &Key::new(AK)).is_none());
        assert!(Cipher::new(SecuritySuite::Suite2, &Key::new_256([1; 32]), &Key::new_256([2; 32])).is_some());
    }
}
