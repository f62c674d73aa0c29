//! A signed firmware image: a header and the program behind it.
//!
//! ```text
//!   0  "MGWI"
//!   4  format: 1, then a zero
//!   6  model, 8 bytes of ASCII padded with zeros
//!  14  version: major, minor, patch, u16 each
//!  20  length of the program, u32
//!  24  SHA-256 of the program
//!  56  signature r || s: ECDSA with P-256 over the SHA-256 of bytes 0 to 55
//! 120  zeros
//! 128  the program
//! ```
//! Numbers are little-endian.

use core::fmt;

use hardware::board::{Bank, ImageBanks};
use protocol::dlms::security::ecdsa::PrivateKey;
use sha2::{Digest, Sha256};

use super::Trust;
use super::p256::VerifyingKey;

/// Bytes in front of the program.
pub const HEADER_BYTES: usize = 128;
/// The bytes that the signature covers.
pub const SIGNED_BYTES: usize = 56;
const MAGIC: &[u8; 4] = b"MGWI";
const FORMAT: u8 = 1;
/// Bytes hashed at once.
const CHUNK: usize = 256;

/// What kind of meter an image is for.
pub type Model = [u8; 8];

/// Version of an image: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// The version this firmware was built as.
    #[must_use]
    pub fn built() -> Self {
        let number = |text: &str| text.parse().unwrap_or(0);
        Self(
            number(env!("CARGO_PKG_VERSION_MAJOR")),
            number(env!("CARGO_PKG_VERSION_MINOR")),
            number(env!("CARGO_PKG_VERSION_PATCH")),
        )
    }

    /// For the detail of an event: ten bits each, as far as they go.
    pub(crate) fn detail(self) -> i32 {
        let part = |number: u16| i32::from(number.min(1_023));
        part(self.0) << 20 | part(self.1) << 10 | part(self.2)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Why an image is refused. The number is the detail of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No header, or one of another format.
    Format = 1,
    /// The program is not the one of the header, or not all of it is there.
    Damaged = 2,
    /// For another model.
    Model = 3,
    /// Older than what runs.
    Older = 4,
    /// Not signed by whom this meter trusts.
    Signature = 5,
    /// The bank cannot be read.
    Bank = 6,
}

/// What a header says. Whether it is true is for [`check`] to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// For which meters.
    pub model: Model,
    /// Which version.
    pub version: Version,
    /// Bytes of the program.
    pub length: u32,
    /// SHA-256 of the program.
    pub digest: [u8; 32],
    /// `r || s`.
    pub signature: [u8; 64],
}

impl Header {
    /// Reads a header; `None` when it is none.
    #[must_use]
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let known = bytes.starts_with(MAGIC) && bytes[4] == FORMAT;
        known.then_some(Self {
            model: bytes[6..14].try_into().ok()?,
            version: Version(number(14), number(16), number(18)),
            length: u32::from_le_bytes(bytes[20..24].try_into().ok()?),
            digest: bytes[24..56].try_into().ok()?,
            signature: bytes[56..120].try_into().ok()?,
        })
    }

    /// The header of a program for meters of a model, signed with a key of P-256. `None` for a key of another curve, or a program
    /// of more than 4 GiB.
    #[must_use]
    pub fn signed(model: Model, version: Version, program: &[u8], by: &PrivateKey) -> Option<Self> {
        let length = u32::try_from(program.len()).ok()?;
        let mut header =
            Self { model, version, length, digest: Sha256::digest(program).into(), signature: [0; 64] };
        let signature = by.sign(&[header.to_bytes().get(..SIGNED_BYTES)?])?;
        header.signature = signature.as_slice().try_into().ok()?;
        Some(header)
    }

    /// The header's bytes, with this signature in it. The first 56 of them do not depend on it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = FORMAT;
        bytes[6..14].copy_from_slice(&self.model);
        for (at, part) in [(14, self.version.0), (16, self.version.1), (18, self.version.2)] {
            bytes[at..at + 2].copy_from_slice(&part.to_le_bytes());
        }
        bytes[20..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.digest);
        bytes[56..120].copy_from_slice(&self.signature);
        bytes
    }
}

/// The header in a bank.
///
/// # Errors
/// [`Refusal::Bank`] or [`Refusal::Format`].
pub fn header_of<I: ImageBanks>(banks: &mut I, bank: Bank) -> Result<Header, Refusal> {
    let mut bytes = [0; HEADER_BYTES];
    banks.read(bank, 0, &mut bytes).map_err(|_| Refusal::Bank)?;
    Header::parse(&bytes).ok_or(Refusal::Format)
}

/// Checks the image in the bank that does not run: whole, for this model, not older than `running`, and signed. Calls
/// `meanwhile` between pieces, for the watchdog's sake.
///
/// # Errors
/// [`Refusal`].
pub fn check<I: ImageBanks>(
    banks: &mut I,
    size: u32,
    trust: &Trust,
    running: Version,
) -> Result<Header, Refusal> {
    let idle = banks.running().other();
    let header = header_of(banks, idle)?;
    let whole = u32::try_from(HEADER_BYTES).ok().and_then(|head| head.checked_add(header.length));
    if whole != Some(size) || size > banks.bank_bytes() {
        return Err(Refusal::Damaged);
    }
    if header.model != trust.model {
        return Err(Refusal::Model);
    }
    if header.version < running {
        return Err(Refusal::Older);
    }
    let mut signed = Sha256::new();
    signed.update(header.to_bytes().get(..SIGNED_BYTES).unwrap_or(&[]));
    let key = VerifyingKey::from_bytes(&trust.signing_key).ok_or(Refusal::Signature)?;
    if !key.verify(&signed.finalize().into(), &header.signature) {
        return Err(Refusal::Signature);
    }
    if digest_of(banks, idle, header.length)? != header.digest {
        return Err(Refusal::Damaged);
    }
    Ok(header)
}

/// The digest of a program of that length.
pub(super) fn digest_of<I: ImageBanks>(banks: &mut I, bank: Bank, length: u32) -> Result<[u8; 32], Refusal> {
    let mut digest = Sha256::new();
    let mut buffer = [0; CHUNK];
    let end = (HEADER_BYTES as u32).checked_add(length).ok_or(Refusal::Damaged)?;
    let mut at = HEADER_BYTES as u32;
    while at < end {
        // At most a chunk.
        let take = (end - at).min(CHUNK as u32);
        let piece = buffer.get_mut(..take as usize).unwrap_or(&mut []);
        banks.read(bank, at, piece).map_err(|_| Refusal::Bank)?;
        digest.update(piece);
        at += take;
    }
    Ok(digest.finalize().into())
}
