//! High-level authentication: what each side answers to the other's challenge (Green Book 9.2.7.4).
//!
//! | mechanism | answer to challenge C |
//! |---|---|
//! | 5 GMAC | `SC || IC || GMAC(SC || AK || C)` |

use super::cipher::TAG_LEN;
use super::{Cipher, SystemTitle};
use crate::codec::security::constant_time_eq;
use crate::codec::security::keys::nonce;
use crate::codec::xdlms::SecurityControl;

/// Longest challenge the standard allows, in bytes; the shortest is [`CHALLENGE_MIN`].
pub const CHALLENGE_MAX: usize = 64;
/// Shortest challenge the standard allows, in bytes.
pub const CHALLENGE_MIN: usize = 8;
/// Length of a GMAC answer in bytes.
pub const GMAC_LEN: usize = 5 + TAG_LEN;

/// A challenge as sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    bytes: [u8; CHALLENGE_MAX],
    len: u8,
}

impl Challenge {
    /// A challenge from a peer or from a random source; `None` unless it has 8 to 64 bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < CHALLENGE_MIN || bytes.len() > CHALLENGE_MAX {
            return None;
        }
        let mut out = [0u8; CHALLENGE_MAX];
        out.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { bytes: out, len: bytes.len() as u8 })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// Our GMAC answer to `challenge`, under our title and a counter of ours.
#[must_use]
pub fn gmac_answer(cipher: &Cipher, title: &SystemTitle, counter: u32, challenge: &[u8]) -> [u8; GMAC_LEN] {
    let control = SecurityControl::new(cipher.suite().id(), true, false);
    let tag = cipher.gmac(control, &nonce(title, counter), &[challenge]);
    let mut out = [0u8; GMAC_LEN];
    out[0] = control.0;
    out[1..5].copy_from_slice(&counter.to_be_bytes());
    out[5..].copy_from_slice(&tag);
    out
}

/// Whether `answer` is the peer's GMAC answer to our `challenge`. The control byte must be exactly the one the
/// mechanism uses: a peer does not choose the construction.
#[must_use]
pub fn gmac_verify(cipher: &Cipher, peer: &SystemTitle, challenge: &[u8], answer: &[u8]) -> bool {
    let control = SecurityControl::new(cipher.suite().id(), true, false);
    let [c, i0, i1, i2, i3, tag @ ..] = answer else { return false };
    if *c != control.0 || tag.len() != TAG_LEN {
        return false;
    }
    let counter = u32::from_be_bytes([*i0, *i1, *i2, *i3]);
    constant_time_eq(&cipher.gmac(control, &nonce(peer, counter), &[challenge]), tag)
}

#[cfg(test)]
mod tests {
    use super::super::{Key, SecuritySuite};
    use super::*;

    fn unhex(s: &str) -> std::vec::Vec<u8> {
        (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    /// Green Book, example of HLS authentication with mechanism 5.
    #[test]
    fn the_green_book_gmac_passes_agree_in_both_directions() {
        let ek = Key::from_slice(&unhex("000102030405060708090A0B0C0D0E0F")).unwrap();
        let ak = Key::from_slice(&unhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")).unwrap();
        let cipher = Cipher::new(SecuritySuite::Suite0, &ek, &ak).unwrap();
        let client = SystemTitle::from_slice(&unhex("4D4D4D0000000001")).unwrap();
        let server = SystemTitle::from_slice(&unhex("4D4D4D0000BC614E")).unwrap();
        let c_to_s = unhex("4B35366956616759");
        let s_to_c = unhex("503677524A323146");

        let f_s_to_c = gmac_answer(&cipher, &client, 1, &s_to_c);
        assert_eq!(f_s_to_c.to_vec(), unhex("10000000011A52FE7DD3E72748973C1E28"));
        assert!(gmac_verify(&cipher, &client, &s_to_c, &f_s_to_c));

        let f_c_to_s = gmac_answer(&cipher, &server, 0x0123_4567, &c_to_s);
        assert_eq!(f_c_to_s.to_vec(), unhex("1001234567FE1466AFB3DBCD4F9389E2B7"));
        assert!(gmac_verify(&cipher, &server, &c_to_s, &f_c_to_s));

        assert!(!gmac_verify(&cipher, &client, &c_to_s, &f_c_to_s), "another title is another answer");
        assert!(!gmac_verify(&cipher, &server, &c_to_s, &f_c_to_s[..16]), "a shortened tag is refused");
    }
}
