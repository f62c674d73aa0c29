//! A long answer in general blocks, given on block by block: it need not fit any buffer.
//!
//! An answer that fits is collected and opened whole, as ever. Where the next block might not fit any more, what came so far
//! is opened and given on, and from then on every block as it comes. The tag of a protected answer comes last: only the part
//! with `last` says that those before it were the meter's.

use core::ops::Range;

use super::event::Error;
use super::{Client, Happened, Pending};
use crate::codec::security::constant_time_eq;
use crate::codec::xdlms::ApduTag;
use crate::codec::{self, ErrorKind};
use crate::dlms::bytes::{copy, cut};
use crate::dlms::security::cipher::TAG_LEN;
use crate::dlms::security::frame::Sealed;
use crate::dlms::security::running::Running;
use crate::dlms::security::{Cipher, Refusal, nonce, without_dedicated};

/// How far a long answer has come.
#[derive(Debug, Clone)]
pub(super) struct Arriving(Option<Opening>);

/// How far a protected one was opened.
#[derive(Debug, Clone)]
struct Opening {
    running: Running,
    dedicated: bool,
    counter: u32,
    /// Bytes of the text to come.
    text_left: usize,
    tag: heapless::Vec<u8, TAG_LEN>,
}

impl Opening {
    /// Takes the next bytes of text and tag, the text into `out`; gives how much text that was.
    fn take(&mut self, cipher: &Cipher, bytes: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (text, tag) = cut(bytes, self.text_left);
        let out = out.get_mut(..text.len()).ok_or(Error::TooLong)?;
        copy(out, text);
        self.running.open(cipher, out);
        self.text_left = self.text_left.saturating_sub(text.len());
        self.tag.extend_from_slice(tag).map_err(|_| Error::Unexpected)?;
        Ok(text.len())
    }

    /// Nothing is missing, and the tag is right.
    fn verify(&self, cipher: &Cipher) -> Result<(), Error> {
        let tag = self.running.tag(cipher);
        let tag = tag.as_ref().map_or(&[][..], |tag| tag);
        let missing = self.text_left.saturating_add(tag.len()).saturating_sub(self.tag.len());
        if missing > 0 {
            return Err(Error::Malformed(codec::Error::new(ErrorKind::Truncated { needed: missing }, 0)));
        }
        if constant_time_eq(tag, &self.tag) { Ok(()) } else { Err(Error::Protection(Refusal::BadTag)) }
    }
}

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    /// Takes `len` bytes that were collected in the long buffer for the beginning of a long answer. Leaves them alone where
    /// the answer cannot be given on in parts: one in general-ciphering, or signed, or of another service.
    pub(super) fn begin_arriving(&mut self, len: usize) {
        if let Err(error) = self.try_begin(len) {
            self.fail(error);
        }
    }

    fn try_begin(&mut self, len: usize) -> Result<(), Error> {
        if self.config.signed {
            return Ok(());
        }
        let Self {
            config, global, dedicated, server_title, peer_counter, dedicated_counter, rx, long, ..
        } = self;
        let collected = long.get(..len).unwrap_or(&[]);
        let policy = without_dedicated(config.policy);
        let (len, opening) = match Sealed::begin(collected).map_err(Error::Malformed)? {
            None if policy.is_none() => {
                copy(rx.get_mut(..len).ok_or(Error::TooLong)?, collected);
                (len, None)
            }
            // General-ciphering is collected; anything else is not what was asked for.
            None if collected.first() == Some(&ApduTag::GeneralCiphering.as_u8()) => return Ok(()),
            None => return Err(Error::Protection(Refusal::Weak)),
            Some((sealed, missing)) => {
                let peer = server_title.ok_or(Error::Protection(Refusal::WrongTitle))?;
                let is_dedicated = sealed.form.is_dedicated();
                let (cipher, floor) = if is_dedicated {
                    (dedicated.as_ref(), *dedicated_counter)
                } else {
                    (global.as_ref(), *peer_counter)
                };
                let cipher = cipher.filter(|_| !policy.is_none());
                let cipher = cipher.ok_or(Error::Protection(Refusal::Weak))?;
                sealed.admit(cipher.suite(), policy, &peer, floor).map_err(Error::Protection)?;
                let tag_len = if sealed.control.authenticated() { TAG_LEN } else { 0 };
                let payload = sealed.payload.len().saturating_add(missing);
                let mut opening = Opening {
                    running: Running::new(cipher, sealed.control, nonce(&peer, sealed.counter)),
                    dedicated: is_dedicated,
                    counter: sealed.counter,
                    text_left: payload.saturating_sub(tag_len),
                    tag: heapless::Vec::new(),
                };
                let len = opening.take(cipher, sealed.payload, rx)?;
                if sealed.service.is_some_and(|service| rx.first() != Some(&service.as_u8())) {
                    return Err(Error::Protection(Refusal::WrongService));
                }
                (len, Some(opening))
            }
        };
        let Some(head) = self.head_of_value(len) else { return Err(Error::Unexpected) };
        self.arriving = Some(Arriving(opening));
        self.happened = Some(Happened::Value { range: head..len, last: false });
        Ok(())
    }

    /// Where the value begins in the plain answer in the receive buffer, when it is one to the request under way.
    fn head_of_value(&self, len: usize) -> Option<usize> {
        let plain = self.rx.get(..len)?;
        match (self.pending, plain) {
            (Pending::Get { invoke_id, list: false, .. }, [0xC4, 1, id, 0, ..]) if id & 0x0F == invoke_id => {
                Some(4)
            }
            (Pending::Get { invoke_id, list: true, .. }, [0xC4, 3, id, ..]) if id & 0x0F == invoke_id => {
                Some(3)
            }
            (Pending::Action { invoke_id, list: false, .. }, [0xC7, 1, id, 0, 1, 0, ..])
                if id & 0x0F == invoke_id =>
            {
                Some(6)
            }
            _ => None,
        }
    }

    /// Takes the data of the next block, the last one perhaps.
    pub(super) fn arrive(&mut self, data: &[u8], last: bool) {
        match self.try_arrive(data, last) {
            Ok(range) if last => self.finish_value(range),
            Ok(range) => self.happened = Some(Happened::Value { range, last }),
            Err(error) => self.fail(error),
        }
    }

    fn try_arrive(&mut self, data: &[u8], last: bool) -> Result<Range<usize>, Error> {
        let Self { arriving, global, dedicated, peer_counter, dedicated_counter, rx, .. } = self;
        let Some(Arriving(Some(opening))) = arriving else {
            copy(rx.get_mut(..data.len()).ok_or(Error::TooLong)?, data);
            return Ok(0..data.len());
        };
        let (cipher, counter) = if opening.dedicated {
            (dedicated.as_ref(), dedicated_counter)
        } else {
            (global.as_ref(), peer_counter)
        };
        let cipher = cipher.ok_or(Error::Protection(Refusal::Weak))?;
        let len = opening.take(cipher, data, rx)?;
        if last {
            opening.verify(cipher)?;
            *counter = Some(opening.counter);
        }
        Ok(0..len)
    }
}
