//! Protection of a text that is never whole: its pieces in order, the tag at the end. What [`super::Frame::protect`] makes
//! at once comes out the same, byte for byte.

use super::cipher::{Cipher, Stream, TAG_LEN};
use super::frame::{Protect, outer};
use crate::codec::xdlms::SecurityControl;
use crate::codec::{Result, Writer};

/// How far a text has come. A copy of it is a place to go back to.
#[derive(Clone)]
pub struct Running {
    control: SecurityControl,
    nonce: [u8; 12],
    hash: Stream,
    /// Authenticated bytes in front of the enciphered ones.
    header_len: u64,
    done: u64,
}

impl core::fmt::Debug for Running {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Running").field("done", &self.done).finish_non_exhaustive()
    }
}

impl Running {
    /// The beginning of a text.
    #[must_use]
    pub fn new(cipher: &Cipher, control: SecurityControl, nonce: [u8; 12]) -> Self {
        let prefix = cipher.absorb_prefix(control);
        let header_len = prefix.total();
        let hash = if control.encrypted() { prefix.padded() } else { prefix };
        Self { control, nonce, hash, header_len, done: 0 }
    }

    /// Bytes of the text so far.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.done
    }

    /// Protects the next piece in place. `cipher` is always the one of [`Running::new`].
    pub fn seal(&mut self, cipher: &Cipher, piece: &mut [u8]) {
        if self.control.encrypted() {
            cipher.apply_keystream_at(&self.nonce, self.done, piece);
        }
        self.count(piece);
    }

    /// Unprotects the next piece in place. Nothing is proved before the tag is compared.
    pub fn open(&mut self, cipher: &Cipher, piece: &mut [u8]) {
        let at = self.done;
        self.count(piece);
        if self.control.encrypted() {
            cipher.apply_keystream_at(&self.nonce, at, piece);
        }
    }

    /// The tag of the text so far; `None` when it is not authenticated.
    #[must_use]
    pub fn tag(&self, cipher: &Cipher) -> Option<[u8; TAG_LEN]> {
        if !self.control.authenticated() {
            return None;
        }
        let (header, text) = if self.control.encrypted() {
            (self.header_len, self.done)
        } else {
            (self.header_len.saturating_add(self.done), 0)
        };
        Some(cipher.tag(&self.nonce, self.hash.clone(), header, text))
    }

    /// A piece as it is on the wire.
    fn count(&mut self, piece: &[u8]) {
        if self.control.authenticated() {
            self.hash.update(piece);
        }
        self.done = self.done.saturating_add(piece.len() as u64);
    }
}

/// Writes what stands in front of a protected text of `text_len` bytes whose plain service has the tag `service`.
///
/// # Errors
/// When the service has no protected form of this kind, or `w` is full.
pub fn write_head(w: &mut dyn Writer, service: u8, how: &Protect<'_>, text_len: usize) -> Result<()> {
    w.write_u8(outer(how.form, service)?.as_u8())?;
    if how.form.is_general() {
        w.write_length_prefixed(how.title.as_bytes())?;
    }
    let tag = if how.control.authenticated() { TAG_LEN } else { 0 };
    w.write_length(text_len.saturating_add(5 + tag))?;
    w.write_u8(how.control.0)?;
    w.write_u32(how.counter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SliceWriter;
    use crate::dlms::security::{Form, Frame, Key, SecuritySuite, SystemTitle, nonce};

    const TITLE: SystemTitle = SystemTitle(*b"MMM\0\0\xbcaN");

    /// Against the frame that is protected at once, which agrees with another implementation: every length, pieces of
    /// every size, every kind of protection.
    #[test]
    fn pieces_of_every_size_make_the_frame_that_is_protected_at_once() {
        let cipher = Cipher::new(SecuritySuite::Suite0, &Key::new([1; 16]), &Key::new([2; 16])).unwrap();
        for (authenticated, encrypted) in [(true, true), (true, false), (false, true)] {
            let control = SecurityControl::new(0, authenticated, encrypted);
            for form in [Form::Glo, Form::GeneralGlo, Form::Ded, Form::GeneralDed] {
                let how = Protect { form, control, title: &TITLE, counter: 77 };
                for len in 1..170usize {
                    let mut text: std::vec::Vec<u8> = (0..len).map(|i| i as u8).collect();
                    text[0] = 0xC4;
                    let mut frame = Frame::<300>::new();
                    frame.build(|w| w.write_bytes(&text)).unwrap();
                    frame.protect(&cipher, how).unwrap();

                    let mut head = [0; 24];
                    let mut w = SliceWriter::new(&mut head);
                    write_head(&mut w, 0xC4, &how, len).unwrap();
                    let mut pieces = w.as_slice().to_vec();
                    let mut seal = Running::new(&cipher, control, nonce(&TITLE, 77));
                    let mut open = seal.clone();
                    for piece in text.chunks(1 + len % 41) {
                        let mut piece = piece.to_vec();
                        let plain = piece.clone();
                        seal.seal(&cipher, &mut piece);
                        pieces.extend_from_slice(&piece);
                        open.open(&cipher, &mut piece);
                        assert_eq!(piece, plain);
                    }
                    assert_eq!(seal.tag(&cipher), open.tag(&cipher));
                    pieces.extend(seal.tag(&cipher).into_iter().flatten());
                    assert_eq!(pieces, frame.plain(), "{form:?} {control:?} {len}");
                    assert_eq!(seal.done(), len as u64);
                }
            }
        }
    }
}
