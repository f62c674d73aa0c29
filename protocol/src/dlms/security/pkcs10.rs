//! Certificate requests (PKCS #10, RFC 2986; Green Book 9.2.6.4): how a meter tells the public half of a key pair it made, signed
//! with the key itself. The subject's common name is the system title as 16 hexadecimal digits. Certificates themselves are
//! out of scope.

use super::SystemTitle;
use super::ecdsa::{Curve, FIELD_MAX, Point, PrivateKey, PublicKey, Signature};

/// Longest request made here: 24 bytes around the parts of [`INFO_MAX`] and of the signature.
pub const REQUEST_MAX: usize = INFO_MAX + 24 + 2 * (FIELD_MAX + 3);
/// Longest request-info made here.
const INFO_MAX: usize = 64 + 2 * FIELD_MAX;

/// A request, DER-encoded.
pub type Request = heapless::Vec<u8, REQUEST_MAX>;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OBJECT_ID: u8 = 6;
const UTF8_STRING: u8 = 12;
const PRINTABLE_STRING: u8 = 19;
/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// What stands in front of the point in a SubjectPublicKeyInfo: algorithm (id-ecPublicKey, the curve), unused bits, form.
const fn key_algorithm(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => &[
            0x30, 0x13, 6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7,
        ],
        #[cfg(feature = "p384")]
        Curve::P384 => &[0x30, 0x10, 6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 6, 5, 0x2B, 0x81, 4, 0, 0x22],
    }
}

/// ecdsa-with-SHA256, ecdsa-with-SHA384.
const fn signature_algorithm(curve: Curve) -> [u8; 12] {
    let last = match curve {
        Curve::P256 => 2,
        #[cfg(feature = "p384")]
        Curve::P384 => 3,
    };
    [0x30, 10, 6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, last]
}

/// A buffer that DER is written into from the end: lengths are known when they are written.
struct Backwards<const N: usize> {
    bytes: [u8; N],
    start: usize,
}

impl<const N: usize> Backwards<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], start: N }
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let start = self.start.checked_sub(bytes.len())?;
        self.bytes.get_mut(start..self.start)?.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.start = start;
        Some(())
    }

    /// Puts tag and length in front of everything since `end` bytes were left to the end.
    fn wrap(&mut self, tag: u8, end: usize) -> Option<()> {
        let len = self.len().checked_sub(end)?;
        match u8::try_from(len).ok()? {
            short @ 0..=0x7F => self.put(&[tag, short]),
            long => self.put(&[tag, 0x81, long]),
        }
    }

    const fn len(&self) -> usize {
        N - self.start
    }

    fn written(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or(&[])
    }
}

/// A number as DER has it: without leading zeros, with one where it would be negative.
fn put_integer<const N: usize>(out: &mut Backwards<N>, number: &[u8]) -> Option<()> {
    let end = out.len();
    let zeros = number.iter().take_while(|byte| **byte == 0).count().min(number.len().saturating_sub(1));
    let number = number.get(zeros..)?;
    out.put(number)?;
    if number.first().is_some_and(|byte| *byte >= 0x80) {
        out.put(&[0])?;
    }
    out.wrap(INTEGER, end)
}

fn digits(title: &SystemTitle) -> [u8; 16] {
    let mut digits = [0; 16];
    let nibbles = title.as_bytes().iter().flat_map(|byte| [byte >> 4, byte & 0x0F]);
    for (to, nibble) in digits.iter_mut().zip(nibbles) {
        *to = if nibble < 10 { b'0' + nibble } else { b'A' - 10 + nibble };
    }
    digits
}

/// The CertificationRequestInfo: version 0, the title as common name, the public key, no attributes.
fn info(title: &SystemTitle, curve: Curve, point: &Point) -> Option<Backwards<INFO_MAX>> {
    let mut out = Backwards::new();
    out.put(&[0xA0, 0])?;
    let key = out.len();
    out.put(point)?;
    out.put(&[0, 4])?;
    out.wrap(BIT_STRING, key)?;
    out.put(key_algorithm(curve))?;
    out.wrap(SEQUENCE, key)?;
    let name = out.len();
    out.put(&digits(title))?;
    out.wrap(UTF8_STRING, name)?;
    out.put(&COMMON_NAME)?;
    out.put(&[OBJECT_ID, COMMON_NAME.len() as u8])?;
    out.wrap(SEQUENCE, name)?;
    out.wrap(SET, name)?;
    out.wrap(SEQUENCE, name)?;
    out.put(&[INTEGER, 1, 0])?;
    out.wrap(SEQUENCE, 0)?;
    Some(out)
}

/// A request for the public half of `key`, whose owner has this title. `None` does not happen with a key that
/// [`PrivateKey::from_bytes`] took.
#[must_use]
pub fn request(title: &SystemTitle, key: &PrivateKey) -> Option<Request> {
    let curve = key.curve();
    let info = info(title, curve, &key.public_key().to_bytes())?;
    let signature = key.sign(&[info.written()])?;
    let (r, s) = signature.split_at_checked(curve.field_len())?;
    let mut out = Backwards::<REQUEST_MAX>::new();
    put_integer(&mut out, s)?;
    put_integer(&mut out, r)?;
    out.wrap(SEQUENCE, 0)?;
    out.put(&[0])?;
    out.wrap(BIT_STRING, 0)?;
    out.put(&signature_algorithm(curve))?;
    out.put(info.written())?;
    let len = out.len();
    // More than a byte's length with P-384.
    match u8::try_from(len) {
        Ok(_) => out.wrap(SEQUENCE, 0)?,
        Err(_) => out.put(&[SEQUENCE, 0x82, (len >> 8) as u8, len as u8])?,
    }
    Request::from_slice(out.written()).ok()
}

/// Takes one element of DER off the front: its content, and the whole of it.
fn element<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<(&'a [u8], &'a [u8])> {
    let whole = *bytes;
    let (len, head) = match *whole {
        [t, len @ 0..=0x7F, ..] if t == tag => (usize::from(len), 2),
        [t, 0x81, len, ..] if t == tag => (usize::from(len), 3),
        [t, 0x82, high, low, ..] if t == tag => (usize::from(u16::from_be_bytes([high, low])), 4),
        _ => return None,
    };
    let end = head + len;
    let content = whole.get(head..end)?;
    *bytes = whole.get(end..)?;
    Some((content, whole.get(..end)?))
}

/// A DER number, as long as the field.
fn fixed(mut number: &[u8], out: &mut [u8]) -> Option<()> {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    let from = out.len().checked_sub(number.len())?;
    out.get_mut(from..)?.iter_mut().zip(number).for_each(|(to, from)| *to = *from);
    Some(())
}

/// What a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The title in the subject's common name.
    pub title: SystemTitle,
    /// The public key, with which the request verified.
    pub key: PublicKey,
}

/// The title in the common name of a subject: 16 hexadecimal digits; other parts of the name are passed over.
fn title(mut name: &[u8]) -> Option<SystemTitle> {
    while !name.is_empty() {
        let (mut set, _) = element(&mut name, SET)?;
        let (mut pair, _) = element(&mut set, SEQUENCE)?;
        if element(&mut pair, OBJECT_ID)?.0 != COMMON_NAME {
            continue;
        }
        let text = element(&mut pair, UTF8_STRING).or_else(|| element(&mut pair, PRINTABLE_STRING))?.0;
        let digits: &[u8; 16] = text.try_into().ok()?;
        let mut title = [0; 8];
        for (byte, pair) in title.iter_mut().zip(digits.chunks(2)) {
            for digit in pair {
                *byte = (*byte << 4) | char::from(*digit).to_digit(16)? as u8;
            }
        }
        return Some(SystemTitle(title));
    }
    None
}

/// Reads a request and verifies its signature. `None` when it is no request for a key on this curve, its common name is no
/// system title, or its signature is not the key's.
#[must_use]
pub fn verify(curve: Curve, der: &[u8]) -> Option<Requested> {
    let mut rest = der;
    let (mut request, _) = element(&mut rest, SEQUENCE).filter(|_| rest.is_empty())?;
    let (mut info, signed) = element(&mut request, SEQUENCE)?;
    let algorithm = element(&mut request, SEQUENCE)?.1;
    let (signature, _) = element(&mut request, BIT_STRING)?;

    let version = element(&mut info, INTEGER)?.0;
    let title = title(element(&mut info, SEQUENCE)?.0)?;
    let (mut key, _) = element(&mut info, SEQUENCE)?;
    let key_kind = element(&mut key, SEQUENCE)?.1;
    let (point, _) = element(&mut key, BIT_STRING)?;
    let known = version == [0] && key_kind == key_algorithm(curve) && algorithm == signature_algorithm(curve);
    let [0, point @ ..] = point else { return None };
    let key = PublicKey::from_bytes(curve, point).filter(|_| known)?;

    let [0, signature @ ..] = signature else { return None };
    let (mut numbers, _) = element(&mut &*signature, SEQUENCE)?;
    let mut pair = Signature::new();
    pair.resize(2 * curve.field_len(), 0).ok()?;
    let (r, s) = pair.split_at_mut_checked(curve.field_len())?;
    fixed(element(&mut numbers, INTEGER)?.0, r)?;
    fixed(element(&mut numbers, INTEGER)?.0, s)?;
    key.verify(&[signed], &pair).then_some(Requested { title, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(s: &str) -> std::vec::Vec<u8> {
        (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    const TITLE: SystemTitle = SystemTitle(*b"MGW\0\0\0\0\x01");
    const KEY: &str = "73b801527c3271ffd8a3499334196afe8de45baff021842d04c10330e3b630da";

    /// Made by OpenSSL 3.0.19 with the key above: `openssl req -new -subj /CN=4D47570000000001`.
    const OPENSSL: &str = "3081d6307d020100301b3119301706035504030c10344434373537303030303030303030313059301306072a8648ce3d0201\
         06082a8648ce3d03010703420004e7ac54479b428b9ee0c25ddc685dfd17f464d6e44b3a498d339b1d2f51c7ac9f617196df\
         1ad8259e17d8cb65f62bf7d959b44a72b97f5e951e3aa4c8ae257f81a000300a06082a8648ce3d0403020349003046022100\
         f5d05e39cb93a0bfed110957e421c1cf1fdd2143ed1b7b22cb5734950bf629b7022100e653a9e43c0b845665765b5142ede7\
         b9a6f19ffb061cec4d304136431e4b6f06";
    /// The same with `-subj /C=DE/O=Utility/CN=4D47570000000001`.
    const OPENSSL_LONGER: &str = "3081f530819c020100303a310b30090603550406130244453110300e060355040a0c075574696c6974793119301706035504\
         030c10344434373537303030303030303030313059301306072a8648ce3d020106082a8648ce3d03010703420004e7ac5447\
         9b428b9ee0c25ddc685dfd17f464d6e44b3a498d339b1d2f51c7ac9f617196df1ad8259e17d8cb65f62bf7d959b44a72b97f\
         5e951e3aa4c8ae257f81a000300a06082a8648ce3d04030203480030450220207701f63a86aa916cba61a472ceb6503236bf\
         ff7e97c8a7092d3caee4c249e6022100adc7b6f99476f69c9f5258fc9eefe437222cbf42e17b89ff4f7a93dc92d9c355";
    /// Another key, on P-384.
    #[cfg(feature = "p384")]
    const OPENSSL_384: &str = "3082011330819a020100301b3119301706035504030c10344434373537303030303030303030313076301006072a8648ce3d\
         020106052b8104002203620004f21a899db2ffbeb5f230878a810e0efe59a4b1c2770eee0fd1787a37ac3852adc89cd7986d\
         f602168761a5401260c062b21bda2d9d011c7e8630b4f4faad851debe36a02dfccc8628920fd8f8c7c067fb8efb41cb27169\
         aae8cbcc21d433cac7a000300a06082a8648ce3d0403030368003065023100f93367519198c44eb6af7afca9359b30ad238a\
         1bae981705e48fa91df80d7e4aa8cf0947f4a4bb68549ec33256730f20023035a08111f3108f9f5c99547ed55754588f682b\
         863826978d0be6537ca1786457cdaa80410cadd86a1fcf3468e9604509";

    #[test]
    fn a_request_is_that_of_openssl_but_for_the_random_signature() {
        let key = PrivateKey::from_bytes(Curve::P256, &unhex(KEY)).unwrap();
        let ours = request(&TITLE, &key).unwrap();
        let theirs = unhex(OPENSSL);
        let info = 3..3 + 127;
        assert_eq!(ours[info.clone()], theirs[info.clone()]);
        assert_eq!(ours[info.end..info.end + 12], theirs[info.end..info.end + 12]);
        for request in [&ours[..], &theirs, &unhex(OPENSSL_LONGER)] {
            assert_eq!(verify(Curve::P256, request), Some(Requested { title: TITLE, key: key.public_key() }));
        }
    }

    #[cfg(feature = "p384")]
    #[test]
    fn a_request_on_p_384_verifies_both_ways() {
        let theirs = unhex(OPENSSL_384);
        assert_eq!(verify(Curve::P384, &theirs).unwrap().title, TITLE);
        assert_eq!(verify(Curve::P256, &theirs), None);
        let key = PrivateKey::from_bytes(Curve::P384, &[0x21; 48]).unwrap();
        let ours = request(&TITLE, &key).unwrap();
        assert_eq!(verify(Curve::P384, &ours), Some(Requested { title: TITLE, key: key.public_key() }));
    }

    /// Numbers of every length: a signature's are shorter once in 256 times.
    #[test]
    fn requests_of_many_keys_verify() {
        for n in 1..=300_u16 {
            let mut number = [0x11; 32];
            number[..2].copy_from_slice(&n.to_be_bytes());
            let key = PrivateKey::from_bytes(Curve::P256, &number).unwrap();
            let request = request(&TITLE, &key).unwrap();
            assert_eq!(verify(Curve::P256, &request).unwrap().key, key.public_key(), "{n}");
        }
    }

    #[test]
    fn a_changed_or_shortened_request_is_none() {
        for whole in [unhex(OPENSSL), unhex(OPENSSL_LONGER)] {
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                assert_eq!(verify(Curve::P256, &changed), None, "byte {at}");
                assert_eq!(verify(Curve::P256, &whole[..at]), None);
            }
            assert_eq!(verify(Curve::P256, &[&whole[..], &[0]].concat()), None);
        }
    }
}
