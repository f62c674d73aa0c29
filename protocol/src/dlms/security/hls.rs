//! High-level authentication: what each side answers to the other's challenge (Green Book 9.2.7.4).
//!
//! | mechanism | answer to challenge C |
//! |---|---|
//! | 2 | `AES(secret, C)`, not in the standard: see [`secret_answer`] |
//! | 3 MD5, 4 SHA-1 | `hash(C || secret)`, with the feature `hls-legacy` |
//! | 5 GMAC | `SC || IC || GMAC(SC || AK || C)` |
//! | 6 SHA-256 | `hash(secret || own title || peer's title || C || own challenge)` |
//! | 7 ECDSA | signature over `own title || peer's title || C || own challenge`, on the curve of the suite |

use aes::cipher::{BlockEncrypt, KeyInit};

use super::cipher::TAG_LEN;
use super::ecdsa::PAIR_MAX;
use super::{Cipher, SystemTitle};
use crate::codec::acse::AuthMechanism;
use crate::codec::security::constant_time_eq;
use crate::codec::security::keys::nonce;
use crate::codec::xdlms::SecurityControl;
use crate::dlms::bytes::copy;

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
        copy(&mut out, bytes);
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
    let parts = [control.0].into_iter().chain(counter.to_be_bytes()).chain(tag);
    for (to, from) in out.iter_mut().zip(parts) {
        *to = from;
    }
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

/// Longest answer: 64 bytes of challenge, enciphered; or a signature.
pub const ANSWER_MAX: usize = if PAIR_MAX > CHALLENGE_MAX { PAIR_MAX } else { CHALLENGE_MAX };

/// An answer to a challenge.
pub type Answer = heapless::Vec<u8, ANSWER_MAX>;

/// True for the mechanisms this build can serve.
#[must_use]
pub fn is_supported(mechanism: AuthMechanism) -> bool {
    let legacy = matches!(mechanism, AuthMechanism::HighMd5 | AuthMechanism::HighSha1);
    let always = [
        AuthMechanism::HighManufacturer,
        AuthMechanism::HighGmac,
        AuthMechanism::HighSha256,
        AuthMechanism::HighEcdsa,
    ];
    legacy && cfg!(feature = "hls-legacy") || always.contains(&mechanism)
}

/// How long our own challenge must be at least: the standard wants 32 bytes with mechanism 7.
#[must_use]
pub const fn challenge_min(mechanism: AuthMechanism) -> usize {
    if matches!(mechanism, AuthMechanism::HighEcdsa) { 32 } else { CHALLENGE_MIN }
}

/// Length of the answers of a mechanism, at most.
#[must_use]
pub const fn answer_len(mechanism: AuthMechanism) -> usize {
    match mechanism {
        AuthMechanism::HighMd5 => 16,
        AuthMechanism::HighSha1 => 20,
        AuthMechanism::HighGmac => GMAC_LEN,
        AuthMechanism::HighSha256 => 32,
        AuthMechanism::HighManufacturer | AuthMechanism::HighEcdsa => ANSWER_MAX,
        _ => 0,
    }
}

/// The two sides of one pass. Whoever verifies fills it in from the answerer's view.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// Title of the side that answers.
    pub answerer: &'a SystemTitle,
    /// Title of the side that asked.
    pub asker: &'a SystemTitle,
    /// The challenge that is answered.
    pub challenge: &'a [u8],
    /// The challenge that went the other way.
    pub other: &'a [u8],
}

impl<'a> Pass<'a> {
    /// What the answerer signs with mechanism 7.
    #[must_use]
    pub fn signed(&self) -> [&'a [u8]; 4] {
        [self.answerer.as_bytes(), self.asker.as_bytes(), self.challenge, self.other]
    }
}

/// The answer of a mechanism with a shared secret; `None` when this build has no such mechanism or the secret does not
/// suit it.
#[must_use]
pub fn secret_answer(mechanism: AuthMechanism, secret: &[u8], pass: Pass<'_>) -> Option<Answer> {
    match mechanism {
        AuthMechanism::HighManufacturer => enciphered(secret, pass.challenge),
        #[cfg(feature = "hls-legacy")]
        AuthMechanism::HighMd5 => digest::<md5::Md5>(&[pass.challenge, secret]),
        #[cfg(feature = "hls-legacy")]
        AuthMechanism::HighSha1 => digest::<sha1::Sha1>(&[pass.challenge, secret]),
        AuthMechanism::HighSha256 => digest::<sha2::Sha256>(&[
            secret,
            pass.answerer.as_bytes(),
            pass.asker.as_bytes(),
            pass.challenge,
            pass.other,
        ]),
        _ => None,
    }
}

/// Whether `answer` is what [`secret_answer`] gives, compared in constant time.
#[must_use]
pub fn secret_verify(mechanism: AuthMechanism, secret: &[u8], pass: Pass<'_>, answer: &[u8]) -> bool {
    secret_answer(mechanism, secret, pass).is_some_and(|expected| constant_time_eq(&expected, answer))
}

fn digest<D: sha2::Digest>(parts: &[&[u8]]) -> Option<Answer> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    Answer::from_slice(&hash.finalize()).ok()
}

/// AES-128 block by block under the secret, both padded with zeros: the standard leaves mechanism 2 to manufacturers, and
/// this is what the field's tools do.
fn enciphered(secret: &[u8], challenge: &[u8]) -> Option<Answer> {
    let mut key = [0u8; 16];
    copy(key.get_mut(..secret.len())?, secret);
    let cipher = aes::Aes128Enc::new(&key.into());
    let mut answer = Answer::new();
    for chunk in challenge.chunks(16) {
        let mut block = aes::Block::default();
        copy(&mut block, chunk);
        cipher.encrypt_block(&mut block);
        answer.extend_from_slice(&block).ok()?;
    }
    Some(answer)
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

    /// Answers that gurux-dlms 1.0.203 (PyPI) gave to the same challenges under the same secret.
    #[test]
    fn the_mechanisms_with_a_secret_answer_like_another_implementation() {
        let client = SystemTitle(*b"MDMHES01");
        let server = SystemTitle(*b"MGW\0\0\0\0\x01");
        let to_client: std::vec::Vec<u8> = (0x40..0x50).collect();
        let to_server: std::vec::Vec<u8> = (0x60..0x74).collect();
        let pass_3 = Pass { answerer: &client, asker: &server, challenge: &to_client, other: &to_server };
        let pass_4 = Pass { answerer: &server, asker: &client, challenge: &to_server, other: &to_client };
        let legacy = cfg!(feature = "hls-legacy");
        for (mechanism, available, third, fourth) in [
            (
                AuthMechanism::HighManufacturer,
                true,
                "c3d9ed37cba179bd9b0f4411a71aa074",
                "0add7666d4960ff01db722fff2c8a1f8dabea7469f51bffab54d67a542a99aeb",
            ),
            (
                AuthMechanism::HighMd5,
                legacy,
                "e535895cc0e7e49afca84454b9018829",
                "9a36272f97b726eafae9b57224a1db05",
            ),
            (
                AuthMechanism::HighSha1,
                legacy,
                "dfcd2491845531f2fe5b88109dcd16b3553a2d39",
                "55b0d6c782027dfa71ef375b47549ae69cac6ee3",
            ),
            (
                AuthMechanism::HighSha256,
                true,
                "bcd0afa37766cfb3c257f688f8d176e2f41647e8e57fb754f17a2437e1d99a10",
                "1e6b6be039b825457938a1a5e70bfe603adc4c76292066b754aaa9bd83c643a1",
            ),
        ] {
            assert_eq!(is_supported(mechanism), available);
            for (pass, expected) in [(pass_3, third), (pass_4, fourth)] {
                let answer = secret_answer(mechanism, b"HlsSecret-000001", pass);
                assert_eq!(answer.is_some(), available);
                if let Some(answer) = answer {
                    assert_eq!(answer.to_vec(), unhex(expected), "{mechanism:?}");
                    assert!(secret_verify(mechanism, b"HlsSecret-000001", pass, &answer));
                    assert!(!secret_verify(mechanism, b"HlsSecret-000002", pass, &answer));
                }
            }
        }
    }
}
