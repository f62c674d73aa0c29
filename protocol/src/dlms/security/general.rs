//! General-ciphering and general-signing (Green Book 9.5, 9.2.7.2.3): APDUs that name both ends, and either bring the key they
//! are enciphered with or a signature.
//!
//! ```text
//! general-ciphering: DD | header | key-info (OPTIONAL) | length | SC | IC | text | tag
//! general-signing:   DF | header | length | APDU | length | signature
//! header: transaction-id | originator | recipient | date-time | other-information, each an octet string
//! ```
//! The header is authenticated with the text: `SC || AK || header`. A signature is over `header || APDU`.
//!
//! An invocation counter must lie above the last accepted one of its sender whatever key the frame names: a recorded frame
//! with the key it brought is no better than any other. A signature alone is no protection against replay, so only
//! enciphered APDUs are taken out of general-signing.

use super::cipher::TAG_LEN;
use super::ecdsa::{PAIR_MAX, PrivateKey, Signature};
use super::frame::{Sealed, capacity};
use super::key_wrap::WRAPPED_MAX;
use super::{Cipher, Form, Frame, Refusal, SystemTitle};
use crate::codec::codec::Decode;
use crate::codec::security::keys::nonce;
use crate::codec::xdlms::{ApduTag, KeyInfo, SecurityControl};
use crate::codec::{ErrorKind, Reader, Result};

/// Longest transaction-id taken, in bytes; a bound of ours. The usual ones have 8.
pub const TRANSACTION_MAX: usize = 16;
/// Longest header of ours: titles, transaction-id, two empty fields.
const HEADER_MAX: usize = 1 + TRANSACTION_MAX + 9 + 9 + 2;
/// Longest key-info of ours: presence, choice, parameters, length, an ephemeral key and its signature.
pub const KEY_INFO_MAX: usize = {
    let agreed = 1 + 1 + 2 + 3 + 2 * PAIR_MAX;
    let wrapped = 1 + 1 + 1 + 1 + WRAPPED_MAX;
    if agreed > wrapped { agreed } else { wrapped }
};
/// Key agreement by an ephemeral key of the originator and a static one of the recipient: C(1e, 1s).
const ONE_PASS: u8 = 1;
/// Key agreement by a static key of each, with the transaction-id as the originator's nonce: C(0e, 2s).
const STATIC: u8 = 2;

/// A transaction-id.
pub type TransactionId = heapless::Vec<u8, TRANSACTION_MAX>;
/// Key-info as encoded, presence included.
pub type EncodedKeyInfo = heapless::Vec<u8, KEY_INFO_MAX>;

/// The header of either APDU, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// Which request this is, or which it answers.
    pub transaction_id: &'a [u8],
    /// Who protected it.
    pub originator: &'a [u8],
    /// For whom.
    pub recipient: &'a [u8],
    /// All fields, encoded.
    pub raw: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(apdu: &'a [u8], r: &mut Reader<'a>) -> Result<Self> {
        let from = r.offset();
        let transaction_id = r.length_prefixed()?;
        let originator = r.length_prefixed()?;
        let recipient = r.length_prefixed()?;
        let _date_time = r.length_prefixed()?;
        let _other_information = r.length_prefixed()?;
        let raw = apdu.get(from..r.offset()).unwrap_or(&[]);
        Ok(Self { transaction_id, originator, recipient, raw })
    }

    /// As [`Header::check`], for an APDU that may go to many: it names nobody then.
    ///
    /// # Errors
    /// See [`Header::check`].
    pub fn check_broadcast(
        &self,
        originator: &SystemTitle,
        recipient: &SystemTitle,
    ) -> core::result::Result<(), Refusal> {
        match self.recipient {
            [] => Header { recipient: recipient.as_bytes(), ..*self }.check(originator, recipient),
            _ => self.check(originator, recipient),
        }
    }

    /// Whether it goes from `originator` to `recipient`.
    ///
    /// # Errors
    /// [`Refusal::WrongTitle`]; [`Refusal::Malformed`] for a transaction-id that is too long.
    pub fn check(
        &self,
        originator: &SystemTitle,
        recipient: &SystemTitle,
    ) -> core::result::Result<(), Refusal> {
        if self.originator != originator.as_bytes() || self.recipient != recipient.as_bytes() {
            return Err(Refusal::WrongTitle);
        }
        if self.transaction_id.len() > TRANSACTION_MAX {
            return Err(Refusal::Malformed(crate::codec::Error::new(ErrorKind::InvalidLength, 1)));
        }
        Ok(())
    }
}

/// A general-ciphering APDU, taken apart but not opened.
#[derive(Debug, Clone, Copy)]
pub struct General<'a> {
    /// Its header.
    pub header: Header<'a>,
    /// The key it names; `None`: the one in use already.
    pub key_info: Option<KeyInfo<'a>>,
    /// What is enciphered.
    pub sealed: Sealed<'a>,
}

impl<'a> General<'a> {
    /// Takes `apdu` apart; `None` when its tag is another.
    ///
    /// # Errors
    /// When the rest does not parse.
    pub fn parse(apdu: &'a [u8]) -> Result<Option<Self>> {
        if apdu.first() != Some(&ApduTag::GeneralCiphering.as_u8()) {
            return Ok(None);
        }
        let mut r = Reader::new(apdu);
        r.skip(1)?;
        let header = Header::parse(apdu, &mut r)?;
        let key_info = match r.u8()? {
            0 => None,
            1 => Some(KeyInfo::decode(&mut r)?),
            other => return Err(r.err_back(ErrorKind::InvalidTag(other), 1)),
        };
        let len = r.length()?;
        let payload_len = len.checked_sub(5).ok_or_else(|| r.err(ErrorKind::InvalidLength))?;
        let control = SecurityControl(r.u8()?);
        let counter = r.u32()?;
        let payload = r.take(payload_len)?;
        if !r.is_empty() {
            return Err(r.err(ErrorKind::InvalidLength));
        }
        let sealed = Sealed {
            form: Form::General,
            service: None,
            title: Some(header.originator),
            control,
            counter,
            header: header.raw,
            payload,
        };
        Ok(Some(Self { header, key_info, sealed }))
    }
}

/// How an agreed key comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// C(1e, 1s): an ephemeral key of the originator's, and its signature over it.
    OnePass {
        /// `x || y`.
        ephemeral: &'a [u8],
        /// `r || s`.
        signature: &'a [u8],
    },
    /// C(0e, 2s): the static keys of both.
    Static,
}

impl<'a> Scheme<'a> {
    /// Takes the parameters of an agreed key apart; public keys and signatures have `pair_len` bytes. `None` for another scheme.
    #[must_use]
    pub fn parse(parameters: &[u8], ciphered_key: &'a [u8], pair_len: usize) -> Option<Self> {
        match (parameters, ciphered_key.len()) {
            ([ONE_PASS], len) if len == 2 * pair_len => {
                let (ephemeral, signature) = ciphered_key.split_at_checked(pair_len)?;
                Some(Self::OnePass { ephemeral, signature })
            }
            ([STATIC], 0) => Some(Self::Static),
            _ => None,
        }
    }
}

/// The key-info of a key that both have: 0 is the global unicast key, 1 the broadcast key.
#[must_use]
pub fn identified_key(key_id: u8) -> EncodedKeyInfo {
    EncodedKeyInfo::from_slice(&[1, 0, key_id]).unwrap_or_default()
}

/// The key-info of the static scheme.
#[must_use]
pub fn static_key() -> EncodedKeyInfo {
    EncodedKeyInfo::from_slice(&[1, 2, 1, STATIC, 0]).unwrap_or_default()
}

/// The key-info of a key wrapped under the master key.
#[must_use]
pub fn wrapped_key(wrapped: &[u8]) -> EncodedKeyInfo {
    let mut out = EncodedKeyInfo::new();
    // Present, wrapped, the master key, a length below 128. It fits by its bound.
    let _ = out.extend_from_slice(&[1, 1, 0, wrapped.len() as u8]);
    let _ = out.extend_from_slice(wrapped);
    out
}

/// The key-info of the one-pass scheme: `ephemeral`'s public key, signed by `sign`, which signs the parts joined.
#[must_use]
pub fn agreed_key(
    ephemeral: &PrivateKey,
    sign: impl FnOnce(&[&[u8]]) -> Option<Signature>,
) -> Option<EncodedKeyInfo> {
    let public = ephemeral.public_key().to_bytes();
    let signature = sign(&[&public])?;
    let len = public.len() + signature.len();
    let mut out = EncodedKeyInfo::from_slice(&[1, 2, 1, ONE_PASS, 0x81, u8::try_from(len).ok()?]).ok()?;
    out.extend_from_slice(&public).ok()?;
    out.extend_from_slice(&signature).ok()?;
    Some(out)
}

/// A general-signing APDU, taken apart but not verified.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Its header.
    pub header: Header<'a>,
    /// The APDU that is signed.
    pub content: &'a [u8],
    /// `r || s`.
    pub signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes `apdu` apart; `None` when its tag is another.
    ///
    /// # Errors
    /// When the rest does not parse.
    pub fn parse(apdu: &'a [u8]) -> Result<Option<Self>> {
        if apdu.first() != Some(&ApduTag::GeneralSigning.as_u8()) {
            return Ok(None);
        }
        let mut r = Reader::new(apdu);
        r.skip(1)?;
        let header = Header::parse(apdu, &mut r)?;
        let content = r.length_prefixed()?;
        let signature = r.length_prefixed()?;
        if !r.is_empty() {
            return Err(r.err(ErrorKind::InvalidLength));
        }
        Ok(Some(Self { header, content, signature }))
    }

    /// What the signature is over.
    #[must_use]
    pub const fn parts(&self) -> [&'a [u8]; 2] {
        [self.header.raw, self.content]
    }
}

/// Who sends an APDU of this kind to whom.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// Which request this is, or which it answers.
    pub transaction_id: &'a [u8],
    /// Our title.
    pub originator: &'a SystemTitle,
    /// The peer's; `None` where it goes to many.
    pub recipient: Option<&'a SystemTitle>,
}

impl Address<'_> {
    fn header(&self) -> Result<heapless::Vec<u8, HEADER_MAX>> {
        let mut out = heapless::Vec::new();
        let recipient = self.recipient.map_or(&[][..], |title| title.as_bytes());
        let fields = [self.transaction_id, self.originator.as_bytes(), recipient, &[], &[]];
        for field in fields {
            let full = |_| crate::codec::Error::new(ErrorKind::BufferTooSmall { needed: field.len() }, 0);
            out.push(field.len() as u8).map_err(|_| full(()))?;
            out.extend_from_slice(field).map_err(|_| full(()))?;
        }
        Ok(out)
    }
}

/// The largest plain APDU that stays within `total` bytes once it is protected by [`Frame::protect_general`] with a transaction-id
/// and a key-info of these lengths.
#[must_use]
pub fn general_capacity(
    total: usize,
    transaction: usize,
    key_info: usize,
    control: SecurityControl,
) -> usize {
    capacity(total, header_len(transaction) + key_info.max(1), control)
}

/// What stays of `total` bytes for an APDU that general-signing is put around.
#[must_use]
pub const fn signed_capacity(total: usize, transaction: usize, signature: usize) -> usize {
    total.saturating_sub(1 + header_len(transaction) + 3 + 1 + signature)
}

const fn header_len(transaction: usize) -> usize {
    1 + transaction + 9 + 9 + 2
}

/// Bytes of an A-XDR length.
const fn length_len(len: usize) -> usize {
    match len {
        0..0x80 => 1,
        0x80..0x100 => 2,
        0x100..0x1_0000 => 3,
        _ => 4,
    }
}

impl<const N: usize> Frame<N> {
    /// Protects the APDU in place with general-ciphering. `key_info` is empty where the peer has the key already.
    ///
    /// # Errors
    /// When the buffer is too small.
    pub fn protect_general(
        &mut self,
        cipher: &Cipher,
        control: SecurityControl,
        counter: u32,
        address: Address<'_>,
        key_info: &[u8],
    ) -> Result<()> {
        let header = address.header()?;
        let tag = if control.authenticated() { TAG_LEN } else { 0 };
        let content = 5 + self.len() + tag;
        self.make_room(1 + header.len() + key_info.len().max(1) + length_len(content) + 5)?;
        let tag = cipher.seal_with(control, &nonce(address.originator, counter), &header, self.text_mut());
        if let Some(tag) = tag {
            self.append(&tag)?;
        }
        self.prepend(&counter.to_be_bytes())?;
        self.prepend(&[control.0])?;
        self.prepend_length(content)?;
        self.prepend(if key_info.is_empty() { &[0] } else { key_info })?;
        self.prepend(&header)?;
        self.prepend(&[ApduTag::GeneralCiphering.as_u8()])
    }

    /// Puts general-signing around the protected APDU; `sign` signs the parts joined.
    ///
    /// # Errors
    /// When the buffer is too small, or there is no signature.
    pub fn sign_general(
        &mut self,
        address: Address<'_>,
        sign: impl FnOnce(&[&[u8]]) -> Option<Signature>,
    ) -> Result<()> {
        let header = address.header()?;
        self.make_room(1 + header.len() + length_len(self.len()))?;
        let no_key = crate::codec::Error::new(ErrorKind::Unsupported, 0);
        let signature = sign(&[&header, self.finished()]).ok_or(no_key)?;
        let content = self.len();
        self.append(&[signature.len() as u8])?;
        self.append(&signature)?;
        self.prepend_length(content)?;
        self.prepend(&header)?;
        self.prepend(&[ApduTag::GeneralSigning.as_u8()])
    }
}

const _: () = assert!(TAG_LEN < 128 && PAIR_MAX < 128 && WRAPPED_MAX < 128, "their lengths are one byte");

#[cfg(test)]
mod tests;
