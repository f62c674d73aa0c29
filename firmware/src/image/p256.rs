//! Whether an ECDSA signature on P-256 is right (FIPS 186-5, 6.4.2): 2 KB of code where the general library takes 10. There is
//! nothing secret in it, so its time may depend on what it works on.
//!
//! Curve: SEC 2, 2.4.2. Points are added by the complete formulas of Renes, Costello and Batina (2016, algorithm 4), which have no
//! exceptions; a doubling is an addition. Numbers are multiplied in Montgomery's form.

/// 256 bits, least significant word first.
type Number = [u32; 8];

const ONE: Number = [1, 0, 0, 0, 0, 0, 0, 0];
/// The field's prime.
const P: Number = [0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0, 0, 0, 1, 0xFFFF_FFFF];
/// How many points there are.
const N: Number =
    [0xFC63_2551, 0xF3B9_CAC2, 0xA717_9E84, 0xBCE6_FAAD, 0xFFFF_FFFF, 0xFFFF_FFFF, 0, 0xFFFF_FFFF];
const B: Number =
    [0x27D2_604B, 0x3BCE_3C3E, 0xCC53_B0F6, 0x651D_06B0, 0x7698_86BC, 0xB3EB_BD55, 0xAA3A_93E7, 0x5AC6_35D8];
const G_X: Number =
    [0xD898_C296, 0xF4A1_3945, 0x2DEB_33A0, 0x7703_7D81, 0x63A4_40F2, 0xF8BC_E6E5, 0xE12C_4247, 0x6B17_D1F2];
const G_Y: Number =
    [0x37BF_51F5, 0xCBB6_4068, 0x6B31_5ECE, 0x2BCE_3357, 0x7C0F_9E16, 0x8EE7_EB4A, 0xFE1A_7F9B, 0x4FE3_42E2];

fn number(bytes: &[u8; 32]) -> Number {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().rev().zip(bytes.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

/// The sum, and whether it has a bit more.
fn plus(a: &Number, b: &Number) -> (Number, bool) {
    let (mut sum, mut carry) = (*a, 0);
    for (word, b) in sum.iter_mut().zip(b) {
        let whole = u64::from(*word) + u64::from(*b) + carry;
        (*word, carry) = (whole as u32, whole >> 32);
    }
    (sum, carry != 0)
}

/// The difference, and whether it is below zero.
fn minus(a: &Number, b: &Number) -> (Number, bool) {
    let (mut difference, mut borrow) = (*a, false);
    for (word, b) in difference.iter_mut().zip(b) {
        let (first, one) = word.overflowing_sub(*b);
        let (second, two) = first.overflowing_sub(u32::from(borrow));
        (*word, borrow) = (second, one || two);
    }
    (difference, borrow)
}

fn is_below(a: &Number, b: &Number) -> bool {
    minus(a, b).1
}

fn bit(a: &Number, n: usize) -> bool {
    a.get(n / 32).is_some_and(|word| word >> (n % 32) & 1 != 0)
}

/// Arithmetic modulo a prime whose top word is all ones. Products are in Montgomery's form: times 2^256.
struct Modulus {
    prime: Number,
    /// -1 / prime, modulo 2^32.
    inverse: u32,
    /// 2^512.
    square: Number,
}

impl Modulus {
    fn new(prime: Number, inverse: u32) -> Self {
        let mut modulus = Self { prime, inverse, square: ONE };
        for _ in 0..512 {
            modulus.square = modulus.add(&modulus.square, &modulus.square);
        }
        modulus
    }

    /// Less than twice the prime, made less than it.
    fn reduced(&self, a: Number, more: bool) -> Number {
        let (less, below) = minus(&a, &self.prime);
        if below && !more { a } else { less }
    }

    fn add(&self, a: &Number, b: &Number) -> Number {
        let (sum, more) = plus(a, b);
        self.reduced(sum, more)
    }

    fn sub(&self, a: &Number, b: &Number) -> Number {
        let (difference, below) = minus(a, b);
        if below { plus(&difference, &self.prime).0 } else { difference }
    }

    fn mul(&self, a: &Number, b: &Number) -> Number {
        // Each round adds a times one word of b, and a multiple of the prime that makes the lowest word zero, which is dropped.
        let (mut low, mut high) = ([0_u32; 8], 0_u64);
        for word in b {
            let [lowest, ..] = low;
            let [first, ..] = *a;
            let multiple = lowest.wrapping_add(first.wrapping_mul(*word)).wrapping_mul(self.inverse);
            let (mut carry, mut reduced) = (0_u64, 0_u64);
            let mut shifted = [0_u32; 8];
            for (n, ((low, a), prime)) in low.iter().zip(a).zip(&self.prime).enumerate() {
                let product = u64::from(*low) + u64::from(*a) * u64::from(*word) + carry;
                carry = product >> 32;
                let sum = (product & 0xFFFF_FFFF) + u64::from(multiple) * u64::from(*prime) + reduced;
                reduced = sum >> 32;
                // The lowest is zero.
                if let Some(place) = n.checked_sub(1).and_then(|n| shifted.get_mut(n)) {
                    *place = sum as u32;
                }
            }
            let top = high + carry + reduced;
            let [.., last] = &mut shifted;
            *last = top as u32;
            (low, high) = (shifted, top >> 32);
        }
        self.reduced(low, high != 0)
    }

    fn enter(&self, a: &Number) -> Number {
        self.mul(a, &self.square)
    }

    fn leave(&self, a: &Number) -> Number {
        self.mul(a, &ONE)
    }

    /// 1 / a, as a to the power of the prime less two.
    fn invert(&self, a: &Number) -> Number {
        let (power, _) = minus(&self.prime, &[2, 0, 0, 0, 0, 0, 0, 0]);
        let mut result = self.enter(&ONE);
        for n in (0..256).rev() {
            result = self.mul(&result, &result);
            if bit(&power, n) {
                result = self.mul(&result, a);
            }
        }
        result
    }
}

/// X, Y, Z; the point is (X/Z, Y/Z), and at infinity where Z is zero.
type Point = [Number; 3];

/// The sum of two points.
fn join(p: &Modulus, b: &Number, [x1, y1, z1]: &Point, [x2, y2, z2]: &Point) -> Point {
    let cross = |a1, b1, a2, b2, aa, bb| p.sub(&p.mul(&p.add(a1, b1), &p.add(a2, b2)), &p.add(aa, bb));
    let thrice = |a: &Number| p.add(&p.add(a, a), a);
    let (xx, yy, zz) = (p.mul(x1, x2), p.mul(y1, y2), p.mul(z1, z2));
    let xy = cross(x1, y1, x2, y2, &xx, &yy);
    let yz = cross(y1, z1, y2, z2, &yy, &zz);
    let xz = cross(x1, z1, x2, z2, &xx, &zz);
    let part = thrice(&p.sub(&xz, &p.mul(b, &zz)));
    let (less, more) = (p.sub(&yy, &part), p.add(&yy, &part));
    let zz3 = thrice(&zz);
    let mixed = thrice(&p.sub(&p.mul(b, &xz), &p.add(&zz3, &xx)));
    let rest = p.sub(&thrice(&xx), &zz3);
    [
        p.sub(&p.mul(&more, &xy), &p.mul(&yz, &mixed)),
        p.add(&p.mul(&more, &less), &p.mul(&rest, &mixed)),
        p.add(&p.mul(&less, &yz), &p.mul(&xy, &rest)),
    ]
}

/// A public key whose signatures can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey {
    x: Number,
    y: Number,
}

fn halves(bytes: &[u8; 64]) -> Option<(Number, Number)> {
    let (first, second) = bytes.split_first_chunk::<32>()?;
    Some((number(first), number(second.first_chunk()?)))
}

impl VerifyingKey {
    /// The key in `x || y`; `None` where that is no point of the curve.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Option<Self> {
        let (x, y) = halves(bytes)?;
        if !is_below(&x, &P) || !is_below(&y, &P) {
            return None;
        }
        let p = Modulus::new(P, 1);
        let (mx, my) = (p.enter(&x), p.enter(&y));
        // y^2 = x^3 - 3 x + b
        let cube = p.mul(&p.mul(&mx, &mx), &mx);
        let right = p.add(&p.sub(&cube, &p.add(&p.add(&mx, &mx), &mx)), &p.enter(&B));
        (p.mul(&my, &my) == right).then_some(Self { x, y })
    }

    /// Whether `signature` (`r || s`) is this key's over a message with that SHA-256.
    #[must_use]
    pub fn verify(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let Some((r, s)) = halves(signature) else { return false };
        let zero = [0; 8];
        if r == zero || s == zero || !is_below(&r, &N) || !is_below(&s, &N) {
            return false;
        }
        let n = Modulus::new(N, 0xEE00_BC4F);
        let digest = n.reduced(number(digest), false);
        let w = n.invert(&n.enter(&s));
        let (of_g, of_key) = (n.mul(&digest, &w), n.mul(&r, &w));

        let p = Modulus::new(P, 1);
        let (one, b) = (p.enter(&ONE), p.enter(&B));
        let g = [p.enter(&G_X), p.enter(&G_Y), one];
        let key = [p.enter(&self.x), p.enter(&self.y), one];
        let both = join(&p, &b, &g, &key);
        let mut sum = [zero, one, zero];
        for at in (0..256).rev() {
            sum = join(&p, &b, &sum, &sum);
            let more = match (bit(&of_g, at), bit(&of_key, at)) {
                (true, true) => &both,
                (true, false) => &g,
                (false, true) => &key,
                (false, false) => continue,
            };
            sum = join(&p, &b, &sum, more);
        }
        let [x, _, z] = sum;
        if z == zero {
            return false;
        }
        let x = p.leave(&p.mul(&x, &p.invert(&z)));
        n.reduced(x, false) == r
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey};
    use sha2::{Digest, Sha256};
    use std::vec::Vec;

    fn hex<const LEN: usize>(text: &str) -> [u8; LEN] {
        core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    /// RFC 6979, A.2.5: SHA-256 over "sample" and over "test".
    #[test]
    fn signatures_of_rfc_6979_are_right_and_nothing_near_them_is() {
        let key = VerifyingKey::from_bytes(&hex(
            "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6\
             7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
        ));
        let key = key.unwrap();
        let known = [
            (
                "sample",
                "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716\
                 F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
            ),
            (
                "test",
                "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367\
                 019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
            ),
        ];
        for (message, signature) in known {
            let (digest, signature) = (Sha256::digest(message).into(), hex(signature));
            assert!(key.verify(&digest, &signature));
            for at in 0..64 {
                let mut wrong = signature;
                wrong[at] ^= 0x40;
                assert!(!key.verify(&digest, &wrong), "byte {at} of the signature");
            }
            for at in 0..32 {
                let mut wrong = digest;
                wrong[at] ^= 1;
                assert!(!key.verify(&wrong, &signature), "byte {at} of the digest");
            }
        }
    }

    #[test]
    fn it_agrees_with_the_general_library_on_signatures_by_many_keys() {
        let mut agreed = 0;
        for seed in 1..=40_u8 {
            let private = PrivateKey::from_bytes(Curve::P256, &Sha256::digest([seed])).unwrap();
            let bytes: [u8; 64] = private.public_key().to_bytes()[..].try_into().unwrap();
            let key = VerifyingKey::from_bytes(&bytes).unwrap();
            let general = PublicKey::from_bytes(Curve::P256, &bytes).unwrap();
            for text in [&b"one"[..], b"another"] {
                let digest: [u8; 32] = Sha256::digest([&[seed], text].concat()).into();
                let signature = private.sign(&[&[seed], text]).unwrap();
                let signature: [u8; 64] = signature.as_slice().try_into().unwrap();
                assert!(key.verify(&digest, &signature) && general.verify_prehash(&digest, &signature));
                // n - s signs the same: both take it.
                let (r, s) = signature.split_at(32);
                let other = minus(&N, &number(s.try_into().unwrap())).0;
                let other: Vec<u8> = other.iter().rev().flat_map(|word| word.to_be_bytes()).collect();
                let other: [u8; 64] = [r, &other].concat().try_into().unwrap();
                assert_eq!(key.verify(&digest, &other), general.verify_prehash(&digest, &other));
                let digest: [u8; 32] = Sha256::digest(digest).into();
                assert!(!key.verify(&digest, &signature));
                agreed += 1;
            }
        }
        assert_eq!(agreed, 80);
    }

    #[test]
    fn numbers_out_of_range_and_points_off_the_curve_are_refused() {
        let bytes_of =
            |a: &Number| -> Vec<u8> { a.iter().rev().flat_map(|word| word.to_be_bytes()).collect() };
        let pair =
            |a: &Number, b: &Number| -> [u8; 64] { [bytes_of(a), bytes_of(b)].concat().try_into().unwrap() };
        let g = VerifyingKey::from_bytes(&pair(&G_X, &G_Y)).unwrap();
        let digest = [7; 32];
        for bad in [[0; 8], N, [u32::MAX; 8]] {
            assert!(!g.verify(&digest, &pair(&bad, &ONE)) && !g.verify(&digest, &pair(&ONE, &bad)));
        }
        assert_eq!(VerifyingKey::from_bytes(&pair(&G_X, &G_X)), None);
        assert_eq!(VerifyingKey::from_bytes(&[0; 64]), None);
        assert_eq!(VerifyingKey::from_bytes(&pair(&plus(&G_X, &P).0, &G_Y)), None);
        assert_eq!(VerifyingKey::from_bytes(&[0xFF; 64]), None);
        // u1 G + u2 Q is the point at infinity: with Q = G, e = -r.
        let e: [u8; 32] = bytes_of(&minus(&N, &ONE).0).try_into().unwrap();
        assert!(!g.verify(&e, &pair(&ONE, &ONE)));
    }

    #[test]
    fn the_curves_order_times_its_generator_is_the_point_at_infinity() {
        let p = Modulus::new(P, 1);
        let (one, b) = (p.enter(&ONE), p.enter(&B));
        let g = [p.enter(&G_X), p.enter(&G_Y), one];
        let mut sum = [[0; 8], one, [0; 8]];
        for at in (0..256).rev() {
            sum = join(&p, &b, &sum, &sum);
            if bit(&N, at) {
                sum = join(&p, &b, &sum, &g);
            }
        }
        assert_eq!(sum[2], [0; 8]);
    }
}
