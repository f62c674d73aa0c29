//! Protected APDUs: a buffer that is filled once and protected in place, and the way back.
//!
//! | form | first byte | names the sender | key |
//! |---|---|---|---|
//! | `Glo` | 21, 28, C8..CF | no | global |
//! | `Ded` | 41, 48, D0..D7 | no | dedicated |
//! | `GeneralGlo` | DB | system title | global |
//! | `GeneralDed` | DC | system title | dedicated |
//! | `General` | DD | both titles | named in the frame: [`super::general`] |
//!
//! Green Book 9.2.7.2.3 (tables of service-specific ciphering) and 9.5 (general-glo-ciphering, general-ded-ciphering).

use super::cipher::TAG_LEN;
use super::{Cipher, SecurityPolicy, SecuritySuite, SystemTitle};
use crate::codec::security::keys::nonce;
use crate::codec::xdlms::{ApduTag, Protection, SecurityControl};
use crate::codec::{Error, ErrorKind, Reader, Result, SliceWriter, Writer};
use crate::dlms::bytes::{copy, cut};

/// How an APDU is, or is to be, protected on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Not at all.
    #[default]
    Plain,
    /// Service-specific global ciphering.
    Glo,
    /// Service-specific ciphering with the key of this association.
    Ded,
    /// `general-glo-ciphering`.
    GeneralGlo,
    /// `general-ded-ciphering`.
    GeneralDed,
    /// `general-ciphering`.
    General,
}

impl Form {
    /// True for the two forms that use the association's own key.
    #[must_use]
    pub const fn is_dedicated(self) -> bool {
        matches!(self, Self::Ded | Self::GeneralDed)
    }

    /// True for the forms that protect any service, each under one tag.
    #[must_use]
    pub const fn is_general(self) -> bool {
        matches!(self, Self::GeneralGlo | Self::GeneralDed | Self::General)
    }

    /// The general form with the same key.
    #[must_use]
    pub const fn general(self) -> Self {
        match self {
            Self::Glo => Self::GeneralGlo,
            Self::Ded => Self::GeneralDed,
            other => other,
        }
    }

    /// The same form on the global keys.
    #[must_use]
    pub const fn global(self) -> Self {
        match self {
            Self::Ded => Self::Glo,
            Self::GeneralDed | Self::General => Self::GeneralGlo,
            other => other,
        }
    }
}

/// Why a protected APDU was not opened. All of them are the peer's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not parse.
    Malformed(Error),
    /// Less protection, another suite or another key set than the policy demands, or none at all.
    Weak,
    /// The tag does not verify: another key, another title, or a forgery.
    BadTag,
    /// The invocation counter is not above the last one accepted.
    Replay {
        /// The lowest value that would be accepted.
        expected: u32,
        /// The frame carries exactly the last accepted counter: most likely a duplicate of the last frame.
        duplicate: bool,
    },
    /// It names another sender than the one the association is with.
    WrongTitle,
    /// The plain service inside is not the one the outer tag promised.
    WrongService,
    /// It answers another request than the one under way.
    WrongTransaction,
    /// The signature around it is not the peer's.
    BadSignature,
    /// It verifies, but its counter could not be stored: it could be replayed after a power cut, so it is not carried out.
    CounterNotStored,
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Self::Malformed(e)
    }
}

/// A protected APDU, taken apart but not opened.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// The outer form.
    pub form: Form,
    /// The plain service a service-specific tag stands for.
    pub service: Option<ApduTag>,
    /// The sender, where the frame names it.
    pub title: Option<&'a [u8]>,
    /// Security control byte.
    pub control: SecurityControl,
    /// Invocation counter.
    pub counter: u32,
    /// What is authenticated in front of the text: the fields of general-ciphering, else nothing.
    pub header: &'a [u8],
    /// Text and tag.
    pub payload: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Takes `apdu` apart; `None` when its tag is not one of a protected APDU.
    ///
    /// # Errors
    /// When the tag is one and the rest does not parse.
    pub fn parse(apdu: &'a [u8]) -> Result<Option<Self>> {
        let Some((sealed, missing)) = Self::begin(apdu)? else { return Ok(None) };
        if missing > 0 {
            return Err(Error::new(ErrorKind::Truncated { needed: missing }, apdu.len()));
        }
        Ok(Some(sealed))
    }

    /// As [`Sealed::parse`], of an APDU whose end may not have come yet: also gives how many bytes of its payload are missing.
    ///
    /// # Errors
    /// When the tag is one and what there is does not parse.
    pub fn begin(apdu: &'a [u8]) -> Result<Option<(Self, usize)>> {
        let mut r = Reader::new(apdu);
        let byte = r.u8()?;
        let Some(tag) = ApduTag::from_u8(byte) else { return Ok(None) };
        let (form, service) = match tag {
            ApduTag::GeneralGloCiphering => (Form::GeneralGlo, None),
            ApduTag::GeneralDedCiphering => (Form::GeneralDed, None),
            other => match other.unprotect() {
                Some((Protection::Dedicated, plain)) => (Form::Ded, Some(plain)),
                Some((_, plain)) => (Form::Glo, Some(plain)),
                None => return Ok(None),
            },
        };
        let title = if form.is_general() { Some(r.length_prefixed()?) } else { None };
        let len = r.length()?;
        let payload_len = len.checked_sub(5).ok_or_else(|| r.err(ErrorKind::InvalidLength))?;
        let control = SecurityControl(r.u8()?);
        let counter = r.u32()?;
        let payload = r.take(payload_len.min(r.remaining()))?;
        if !r.is_empty() {
            return Err(r.err(ErrorKind::InvalidLength));
        }
        let missing = payload_len.saturating_sub(payload.len());
        Ok(Some((Self { form, service, title, control, counter, header: &[], payload }, missing)))
    }

    /// Whether it may be opened: policy, title, counter, in this order. No key is touched.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(
        &self,
        suite: SecuritySuite,
        policy: SecurityPolicy,
        peer: &SystemTitle,
        floor: Option<u32>,
    ) -> core::result::Result<(), Refusal> {
        let weak = policy.check_received(self.control).is_err() || self.control.is_plain();
        if weak || self.control.suite() != suite.id() {
            return Err(Refusal::Weak);
        }
        // Some peers leave the title empty once it was exchanged in the association.
        if self.title.is_some_and(|t| !t.is_empty() && t != peer.as_bytes()) {
            return Err(Refusal::WrongTitle);
        }
        match floor {
            Some(floor) if self.counter <= floor => {
                Err(Refusal::Replay { expected: floor.saturating_add(1), duplicate: self.counter == floor })
            }
            _ => Ok(()),
        }
    }

    /// Opens it into `out` and returns the plain APDU's length. Checks, in this order: policy, title, counter, tag,
    /// inner service. `floor` is the last accepted counter of this peer under this key; nothing is changed here.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn open(
        &self,
        cipher: &Cipher,
        policy: SecurityPolicy,
        peer: &SystemTitle,
        floor: Option<u32>,
        out: &mut [u8],
    ) -> core::result::Result<usize, Refusal> {
        self.admit(cipher.suite(), policy, peer, floor)?;
        let tag_len = if self.control.authenticated() { TAG_LEN } else { 0 };
        let short = Refusal::Malformed(Error::new(ErrorKind::Truncated { needed: tag_len }, 0));
        let text_len = self.payload.len().checked_sub(tag_len).ok_or(short)?;
        let (text, tag) = cut(self.payload, text_len);
        let Some(out) = out.get_mut(..text_len) else {
            let needed = text_len.saturating_sub(out.len());
            return Err(Refusal::Malformed(Error::new(ErrorKind::BufferTooSmall { needed }, 0)));
        };
        copy(out, text);
        let tag: Option<&[u8; TAG_LEN]> = tag.try_into().ok().filter(|_| self.control.authenticated());
        if !cipher.open_with(self.control, &nonce(peer, self.counter), self.header, out, tag) {
            return Err(Refusal::BadTag);
        }
        if let Some(service) = self.service
            && out.first() != Some(&service.as_u8())
        {
            return Err(Refusal::WrongService);
        }
        Ok(text_len)
    }
}

/// Bytes kept free in front of the plain APDU for what protection puts there: tag, length-prefixed title, length,
/// security control, counter (1 + 9 + 3 + 5), and 14 for the header of a data block.
pub const HEAD: usize = 32;

/// Who protects an outgoing APDU with what.
#[derive(Debug, Clone, Copy)]
pub struct Protect<'a> {
    /// The form; `Plain` protects nothing.
    pub form: Form,
    /// The control byte to use.
    pub control: SecurityControl,
    /// Our title.
    pub title: &'a SystemTitle,
    /// A counter value taken from the reserved ones.
    pub counter: u32,
}

/// One outgoing APDU: built behind a reserved head, then protected in place. `N` bytes in all; the plain APDU may have
/// `N - HEAD - 12`.
#[derive(Debug, Clone)]
pub struct Frame<const N: usize> {
    bytes: [u8; N],
    start: usize,
    end: usize,
    ready: bool,
}

impl<const N: usize> Default for Frame<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Frame<N> {
    const FITS: () = assert!(N >= 2 * HEAD + TAG_LEN, "a frame buffer holds a head, a body and a tag");

    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::FITS;
        Self { bytes: [0; N], start: HEAD, end: HEAD, ready: false }
    }

    /// The largest plain APDU the buffer takes.
    pub const BODY_MAX: usize = N - HEAD - TAG_LEN;

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        self.start = HEAD;
        self.end = HEAD;
        self.ready = false;
    }

    /// The whole room of the body.
    pub fn body_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(HEAD..N - TAG_LEN).unwrap_or(&mut [])
    }

    /// The plain APDU, before protection.
    #[must_use]
    pub fn plain(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// Starts an APDU: `f` writes it, header and all.
    ///
    /// # Errors
    /// What `f` gives, or the buffer is too small; the frame is then empty.
    pub fn build(&mut self, f: impl FnOnce(&mut SliceWriter<'_>) -> Result<()>) -> Result<()> {
        self.clear();
        let mut w = SliceWriter::new(self.bytes.get_mut(HEAD..N - TAG_LEN).unwrap_or(&mut []));
        f(&mut w)?;
        self.end = HEAD + w.written();
        Ok(())
    }

    /// Makes sure that `wanted` bytes fit in front of what is there, by moving it.
    ///
    /// # Errors
    /// When the buffer is too small for both.
    pub(super) fn make_room(&mut self, wanted: usize) -> Result<()> {
        let by = wanted.saturating_sub(self.start);
        let end = self.end + by;
        if end > N {
            return Err(Error::new(ErrorKind::BufferTooSmall { needed: end - N }, 0));
        }
        for at in (self.start..self.end).rev() {
            let byte = self.bytes.get(at).copied().unwrap_or(0);
            if let Some(to) = self.bytes.get_mut(at + by) {
                *to = byte;
            }
        }
        self.start += by;
        self.end = end;
        Ok(())
    }

    /// Puts `bytes` behind what is there.
    ///
    /// # Errors
    /// When the buffer is full.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let full = Error::new(ErrorKind::BufferTooSmall { needed: bytes.len() }, self.end);
        let end = self.end + bytes.len();
        copy(self.bytes.get_mut(self.end..end).ok_or(full)?, bytes);
        self.end = end;
        Ok(())
    }

    /// What is there, to be enciphered in place.
    pub(super) fn text_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or(&mut [])
    }

    /// Declares that the first `len` bytes of [`Frame::body_mut`] are the body, without any header yet.
    pub fn set_body(&mut self, len: usize) {
        self.start = HEAD;
        self.end = HEAD + len.min(N - HEAD - TAG_LEN);
    }

    /// Puts `bytes` in front of what is there.
    ///
    /// # Errors
    /// When the head is used up.
    pub fn prepend(&mut self, bytes: &[u8]) -> Result<()> {
        let full = Error::new(ErrorKind::BufferTooSmall { needed: bytes.len() }, 0);
        let start = self.start.checked_sub(bytes.len()).ok_or(full)?;
        copy(self.bytes.get_mut(start..self.start).ok_or(full)?, bytes);
        self.start = start;
        Ok(())
    }

    /// Puts an A-XDR length in front.
    ///
    /// # Errors
    /// When the head is used up.
    pub fn prepend_length(&mut self, len: usize) -> Result<()> {
        let mut bytes = [0u8; 5];
        let mut w = SliceWriter::new(&mut bytes);
        w.write_length(len)?;
        let n = w.written();
        self.prepend(cut(&bytes, n).0)
    }

    /// Protects the APDU in place and marks it ready to go.
    ///
    /// # Errors
    /// When the service has no protected form of this kind, or a title is needed and the head is used up.
    pub fn protect(&mut self, cipher: &Cipher, how: Protect<'_>) -> Result<()> {
        if how.form == Form::Plain {
            return Ok(());
        }
        let text = self.text_mut();
        let first = text.first().copied().unwrap_or(0);
        let outer = outer(how.form, first)?;
        let tag = cipher.seal(how.control, &nonce(how.title, how.counter), text);
        if let Some(tag) = tag {
            self.append(&tag)?;
        }
        let content = 5 + self.end - self.start;
        self.prepend(&how.counter.to_be_bytes())?;
        self.prepend(&[how.control.0])?;
        self.prepend_length(content)?;
        if how.form.is_general() {
            self.prepend(how.title.as_bytes())?;
            self.prepend(&[8])?;
        }
        self.prepend(&[outer.as_u8()])
    }

    /// Marks the frame as ready to go.
    pub fn finish(&mut self) {
        self.ready = true;
    }

    /// Length of the frame as it stands.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// True when a finished frame waits to be taken.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// The frame taken last was not sent: it is ready again.
    pub fn put_back(&mut self) {
        self.ready = self.end > self.start;
    }

    /// The finished frame, without taking it.
    #[must_use]
    pub fn finished(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// Takes the frame for sending, once.
    pub fn take(&mut self) -> Option<&[u8]> {
        if !self.ready {
            return None;
        }
        self.ready = false;
        self.bytes.get(self.start..self.end)
    }
}

/// The tag of a protected APDU whose plain one begins with `service`.
///
/// # Errors
/// When the service has no protected form of this kind.
pub(super) fn outer(form: Form, service: u8) -> Result<ApduTag> {
    match form {
        Form::GeneralGlo => Ok(ApduTag::GeneralGloCiphering),
        Form::GeneralDed => Ok(ApduTag::GeneralDedCiphering),
        // Its header does not fit in front: `protect_general`.
        Form::General => Err(Error::new(ErrorKind::Unsupported, 0)),
        form => {
            let protection = if form.is_dedicated() { Protection::Dedicated } else { Protection::Global };
            ApduTag::from_u8(service)
                .and_then(|t| t.protected_as(protection))
                .ok_or(Error::new(ErrorKind::InvalidTag(service), 0))
        }
    }
}

/// The largest plain APDU that stays within `total` bytes once protected: maximum PDU sizes count the protected APDU.
#[must_use]
pub fn plain_capacity(total: usize, form: Form, control: SecurityControl) -> usize {
    if form == Form::Plain {
        return total;
    }
    capacity(total, if form.is_general() { 9 } else { 0 }, control)
}

/// As [`plain_capacity`], with `head` bytes between the tag and the length.
pub(super) fn capacity(total: usize, head: usize, control: SecurityControl) -> usize {
    let tag = if control.authenticated() { TAG_LEN } else { 0 };
    // A longer length field takes room from the content it counts; the largest content over all field sizes wins.
    let room = |field: usize| total.saturating_sub(1 + head + field);
    let content = [(1, 0x7F), (2, 0xFF), (3, 0xFFFF), (4, 0xFF_FFFF)]
        .into_iter()
        .map(|(field, most)| room(field).min(most))
        .max()
        .unwrap_or(0);
    content.saturating_sub(5 + tag)
}

#[cfg(test)]
mod tests;
