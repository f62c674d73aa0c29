//! Elliptic curve signatures and key agreement of suites 1 and 2 (Green Book 9.2.3.4): ECDSA and ECDH on P-256 with
//! SHA-256, and on P-384 with SHA-384 where the feature `p384` is built in.
//!
//! Public keys are uncompressed points, `x || y`; signatures are `r || s`, each number as long as the field. Private keys
//! are wiped on drop and never printed. Signing is deterministic (RFC 6979): no random source can give a key away.

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use sha2::Digest;
use zeroize::{Zeroize, Zeroizing};

use super::SecuritySuite;
use crate::dlms::bytes::copy;

/// Longest number of a curve in bytes.
pub const FIELD_MAX: usize = if cfg!(feature = "p384") { 48 } else { 32 };
/// Longest signature and longest public key in bytes.
pub const PAIR_MAX: usize = 2 * FIELD_MAX;

/// `r || s`.
pub type Signature = heapless::Vec<u8, PAIR_MAX>;
/// `x || y`.
pub type Point = heapless::Vec<u8, PAIR_MAX>;

/// A private key's number, or the shared secret Z of a key agreement (the x coordinate). Wiped on drop, never printed.
#[derive(Clone)]
pub struct SecretNumber {
    bytes: Zeroizing<[u8; FIELD_MAX]>,
    len: usize,
}

impl SecretNumber {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut out = Zeroizing::new([0; FIELD_MAX]);
        copy(&mut out[..], bytes);
        Self { bytes: out, len: bytes.len() }
    }

    /// The number as big-endian bytes, as long as the curve's field.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl core::fmt::Debug for SecretNumber {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SecretNumber(..)")
    }
}

/// A curve with the hash that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256 with SHA-256: suite 1.
    P256,
    /// NIST P-384 with SHA-384: suite 2.
    #[cfg(feature = "p384")]
    P384,
}

impl Curve {
    /// The curve of a suite; `None` for suite 0, which has none, and for a curve that this build leaves out.
    #[must_use]
    pub const fn of_suite(suite: SecuritySuite) -> Option<Self> {
        match suite {
            SecuritySuite::Suite1 => Some(Self::P256),
            #[cfg(feature = "p384")]
            SecuritySuite::Suite2 => Some(Self::P384),
            _ => None,
        }
    }

    /// Bytes of one number: of a private key, of a coordinate, of half a signature, and of a digest.
    #[must_use]
    pub const fn field_len(self) -> usize {
        match self {
            Self::P256 => 32,
            #[cfg(feature = "p384")]
            Self::P384 => 48,
        }
    }

    /// The digest that is signed, of `parts` joined.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> heapless::Vec<u8, FIELD_MAX> {
        match self {
            Self::P256 => hash::<sha2::Sha256>(parts),
            #[cfg(feature = "p384")]
            Self::P384 => hash::<sha2::Sha384>(parts),
        }
    }
}

fn hash<D: Digest>(parts: &[&[u8]]) -> heapless::Vec<u8, FIELD_MAX> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    // A digest is as long as the field.
    heapless::Vec::from_slice(&hash.finalize()).unwrap_or_default()
}

/// A peer's public key: a point that was checked to lie on its curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Public);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    P256(p256::ecdsa::VerifyingKey),
    #[cfg(feature = "p384")]
    P384(p384::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// From `x || y`, or from the uncompressed point of SEC 1 (the same behind a byte 04). `None` when it has another
    /// length or is no point of the curve.
    #[must_use]
    pub fn from_bytes(curve: Curve, bytes: &[u8]) -> Option<Self> {
        let pair = curve.field_len() * 2;
        let raw = match bytes {
            [4, rest @ ..] if rest.len() == pair => rest,
            raw if raw.len() == pair => raw,
            _ => return None,
        };
        let mut tagged = [4; 1 + PAIR_MAX];
        copy(tagged.get_mut(1..)?, raw);
        let point = tagged.get(..=pair)?;
        Some(Self(match curve {
            Curve::P256 => Public::P256(p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?),
            #[cfg(feature = "p384")]
            Curve::P384 => Public::P384(p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?),
        }))
    }

    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match self.0 {
            Public::P256(_) => Curve::P256,
            #[cfg(feature = "p384")]
            Public::P384(_) => Curve::P384,
        }
    }

    /// `x || y`.
    #[must_use]
    pub fn to_bytes(&self) -> Point {
        let uncompressed =
            |bytes: &[u8]| Point::from_slice(bytes.get(1..).unwrap_or(&[])).unwrap_or_default();
        match &self.0 {
            Public::P256(key) => uncompressed(key.to_encoded_point(false).as_bytes()),
            #[cfg(feature = "p384")]
            Public::P384(key) => uncompressed(key.to_encoded_point(false).as_bytes()),
        }
    }

    /// Whether `signature` (`r || s`) is this key's over `parts` joined.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.verify_prehash(&self.curve().digest(parts), signature)
    }

    /// As [`PublicKey::verify`], where the digest was made elsewhere. False when it is not as long as the field.
    #[must_use]
    pub fn verify_prehash(&self, digest: &[u8], signature: &[u8]) -> bool {
        if digest.len() != self.curve().field_len() {
            return false;
        }
        match &self.0 {
            Public::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
            #[cfg(feature = "p384")]
            Public::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
        }
    }
}

/// A private key, for signing or for key agreement; never one for both. Wiped on drop.
#[derive(Clone)]
pub struct PrivateKey(Private);

#[derive(Clone)]
enum Private {
    P256(p256::SecretKey),
    #[cfg(feature = "p384")]
    P384(p384::SecretKey),
}

impl core::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// Attempts at drawing a private key. One fails with a chance of 2^-32 at most, so more than two speak of a broken
/// random source.
const DRAWS: usize = 8;

impl PrivateKey {
    /// From the number as big-endian bytes; `None` unless it is as long as the field and within the curve's order.
    #[must_use]
    pub fn from_bytes(curve: Curve, bytes: &[u8]) -> Option<Self> {
        Some(Self(match curve {
            Curve::P256 => {
                Private::P256(p256::SecretKey::from_slice(bytes).ok().filter(|_| bytes.len() == 32)?)
            }
            #[cfg(feature = "p384")]
            Curve::P384 => {
                Private::P384(p384::SecretKey::from_slice(bytes).ok().filter(|_| bytes.len() == 48)?)
            }
        }))
    }

    /// A fresh key from `random`, which fills a buffer with unpredictable bytes. `None` when it gives no usable ones.
    #[must_use]
    pub fn generate(curve: Curve, mut random: impl FnMut(&mut [u8])) -> Option<Self> {
        let mut bytes = [0u8; FIELD_MAX];
        let mut made = None;
        for _ in 0..DRAWS {
            let draw = bytes.get_mut(..curve.field_len())?;
            random(draw);
            made = Self::from_bytes(curve, draw);
            if made.is_some() {
                break;
            }
        }
        bytes.zeroize();
        made
    }

    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match self.0 {
            Private::P256(_) => Curve::P256,
            #[cfg(feature = "p384")]
            Private::P384(_) => Curve::P384,
        }
    }

    /// Its number, to be stored where keys are.
    #[must_use]
    pub fn number(&self) -> SecretNumber {
        match &self.0 {
            Private::P256(key) => SecretNumber::new(&Zeroizing::new(key.to_bytes())),
            #[cfg(feature = "p384")]
            Private::P384(key) => SecretNumber::new(&Zeroizing::new(key.to_bytes())),
        }
    }

    /// The public key that goes with it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(match &self.0 {
            Private::P256(key) => Public::P256(key.public_key().into()),
            #[cfg(feature = "p384")]
            Private::P384(key) => Public::P384(key.public_key().into()),
        })
    }

    /// Signs `parts` joined. `None` does not happen with a key that [`PrivateKey::from_bytes`] took.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> Option<Signature> {
        self.sign_prehash(&self.curve().digest(parts))
    }

    /// As [`PrivateKey::sign`], where the digest was made elsewhere. `None` when it is not as long as the field.
    #[must_use]
    pub fn sign_prehash(&self, digest: &[u8]) -> Option<Signature> {
        if digest.len() != self.curve().field_len() {
            return None;
        }
        match &self.0 {
            Private::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::SigningKey::from(key).sign_prehash(digest).ok()?;
                Signature::from_slice(&signature.to_bytes()).ok()
            }
            #[cfg(feature = "p384")]
            Private::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    p384::ecdsa::SigningKey::from(key).sign_prehash(digest).ok()?;
                Signature::from_slice(&signature.to_bytes()).ok()
            }
        }
    }

    /// The shared secret with a peer (cofactor Diffie-Hellman; the cofactor of both curves is one). `None` when the peer's key is
    /// on another curve.
    #[must_use]
    pub fn agree(&self, peer: &PublicKey) -> Option<SecretNumber> {
        match (&self.0, &peer.0) {
            (Private::P256(key), Public::P256(peer)) => {
                let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), peer.as_affine());
                Some(SecretNumber::new(shared.raw_secret_bytes()))
            }
            #[cfg(feature = "p384")]
            (Private::P384(key), Public::P384(peer)) => {
                let shared = p384::ecdh::diffie_hellman(key.to_nonzero_scalar(), peer.as_affine());
                Some(SecretNumber::new(shared.raw_secret_bytes()))
            }
            #[cfg(feature = "p384")]
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(s: &str) -> std::vec::Vec<u8> {
        (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    /// Private key, public key, message and signature of RFC 6979, A.2.5 (P-256) and A.2.6 (P-384).
    fn check(curve: Curve, x: &str, public: &str, message: &[u8], signature: &str) {
        let key = PrivateKey::from_bytes(curve, &unhex(x)).unwrap();
        let public = unhex(public);
        assert_eq!(&key.public_key().to_bytes()[..], public);
        let expected = unhex(signature);
        assert_eq!(&key.sign(&[message]).unwrap()[..], expected);
        let (head, tail) = message.split_at(2);
        assert_eq!(&key.sign(&[head, tail]).unwrap()[..], expected, "in parts");

        let peer = PublicKey::from_bytes(curve, &public).unwrap();
        let tagged = [&[4][..], &public].concat();
        assert_eq!(PublicKey::from_bytes(curve, &tagged), Some(peer.clone()));
        assert!(peer.verify(&[message], &expected));
        assert!(peer.verify_prehash(&curve.digest(&[message]), &expected));
        assert!(!peer.verify(&[message, b"."], &expected));
        for at in [0, expected.len() / 2, expected.len() - 1] {
            let mut wrong = expected.clone();
            wrong[at] ^= 1;
            assert!(!peer.verify(&[message], &wrong));
        }
        for wrong in [&expected[1..], &[&expected[..], &[0]].concat(), &[], &vec_of(0, expected.len())] {
            assert!(!peer.verify(&[message], wrong));
        }
    }

    fn vec_of(byte: u8, len: usize) -> std::vec::Vec<u8> {
        std::vec![byte; len]
    }

    const X_256: &str = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
    const U_256: &str = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6\
                         7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299";

    #[test]
    fn signatures_on_p_256_are_those_of_rfc_6979() {
        check(
            Curve::P256,
            X_256,
            U_256,
            b"sample",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716\
             F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        );
        check(
            Curve::P256,
            X_256,
            U_256,
            b"test",
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367\
             019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
        );
    }

    #[cfg(feature = "p384")]
    #[test]
    fn signatures_on_p_384_are_those_of_rfc_6979() {
        let x = "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D8\
                 96D5724E4C70A825F872C9EA60D2EDF5";
        let u = "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64\
                 DEF8F0EA9055866064A254515480BC138015D9B72D7D57244EA8EF9AC0C62189\
                 6708A59367F9DFB9F54CA84B3F1C9DB1288B231C3AE0D4FE7344FD2533264720";
        check(
            Curve::P384,
            x,
            u,
            b"sample",
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C\
             81A648152E44ACF96E36DD1E80FABE4699EF4AEB15F178CEA1FE40DB2603138F\
             130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
        );
        check(
            Curve::P384,
            x,
            u,
            b"test",
            "8203B63D3C853E8D77227FB377BCF7B7B772E97892A80F36AB775D509D7A5FEB\
             0542A7F0812998DA8F1DD3CA3CF023DBDDD0760448D42D8A43AF45AF836FCE4D\
             E8BE06B485E9B61B827C2F13173923E06A739F040649A667BF3B828246BAA5A5",
        );
    }

    /// RFC 5903, 8.1: the 256-bit random ECP group.
    #[test]
    fn the_shared_secret_on_p_256_is_that_of_rfc_5903() {
        let i = unhex("C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433");
        let r = unhex("C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53");
        let z = unhex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE");
        let i = PrivateKey::from_bytes(Curve::P256, &i).unwrap();
        let r = PrivateKey::from_bytes(Curve::P256, &r).unwrap();
        assert_eq!(i.agree(&r.public_key()).unwrap().expose(), z);
        assert_eq!(r.agree(&i.public_key()).unwrap().expose(), z);
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_no_key() {
        let good = unhex(U_256);
        for at in [0, 31, 32, 63] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(PublicKey::from_bytes(Curve::P256, &bad), None);
        }
        for bad in [&good[1..], &vec_of(0, 64), &vec_of(0xFF, 64), &vec_of(4, 65), &[]] {
            assert_eq!(PublicKey::from_bytes(Curve::P256, bad), None);
        }
        for bad in [&[0; 32][..], &[0xFF; 32], &[1; 31], &[1; 33], &[]] {
            assert!(PrivateKey::from_bytes(Curve::P256, bad).is_none());
        }
    }

    #[test]
    fn a_key_is_drawn_until_it_fits_and_a_dead_random_source_gives_none() {
        let mut draws = 0;
        let key = PrivateKey::generate(Curve::P256, |out| {
            out.fill(if draws == 0 { 0xFF } else { 0x17 });
            draws += 1;
        });
        assert_eq!(key.unwrap().number().expose(), [0x17; 32]);
        assert_eq!(draws, 2);
        assert!(PrivateKey::generate(Curve::P256, |out| out.fill(0)).is_none());
        let key = PrivateKey::from_bytes(Curve::P256, &[0x17; 32]).unwrap();
        assert_eq!(std::format!("{key:?}"), "PrivateKey(..)");
    }
}
