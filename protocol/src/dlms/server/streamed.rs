//! Values of any length in general blocks: a block is made when it leaves, from the pieces of the model, and protected on
//! the way out. Two places in the value are kept, where the next block begins and where the first one begins that the
//! client has not acknowledged: after a loss the value is walked again from there.
//!
//! The length of a protected APDU stands in front of it, so a value that goes out ciphered is walked once beforehand. When
//! it comes out different afterwards the transfer is broken off with an exception.

use super::custody::Custody;
use super::session::Session;
use super::stream::{Cursor, Source, fill, measure};
use super::{Core, Event};
use crate::codec::codec::{Encode, Result, SliceWriter, Writer};
use crate::codec::xdlms::{
    ApduTag, BlockControl, DataAccessResult, GeneralBlockTransfer, InvokeId, ServiceError, StateError,
};
use crate::dlms::bytes::copy;
use crate::dlms::gbt::{HEADER_MAX, WINDOW};
use crate::dlms::model::ObjectModel;
use crate::dlms::security::frame::Protect;
use crate::dlms::security::running::{Running, write_head};
use crate::dlms::security::{Cipher, Form, Frame, nonce};

/// Longest head of a protected APDU: tag, title with its length, length (5), security control, counter.
const SEALED_HEAD_MAX: usize = 1 + 9 + 5 + 5;

/// What is asked for.
pub(super) struct Streaming<'a> {
    pub invoke_id: InvokeId,
    pub source: Source,
    /// Length of the stored request.
    pub request_len: usize,
    /// Head of the plain answer.
    pub head: &'a [u8],
}

/// A value on its way out.
#[derive(Debug)]
pub(super) struct Streamed {
    source: Source,
    request_len: usize,
    head: heapless::Vec<u8, 4>,
    sealed: Option<Envelope>,
    /// Bytes of the APDU in a block.
    fragment: usize,
    /// Blocks that may still leave before the client has its turn.
    turn: u8,
    /// Where the next block begins.
    next: Place,
    /// Where the first block begins that is not acknowledged.
    kept: Place,
}

/// What is around a protected APDU.
#[derive(Debug)]
struct Envelope {
    head: heapless::Vec<u8, SEALED_HEAD_MAX>,
    dedicated: bool,
    text_len: usize,
}

/// Where a block begins.
#[derive(Debug, Clone)]
struct Place {
    /// Blocks before it.
    number: u16,
    /// Bytes of the APDU before it.
    at: usize,
    /// Where the value continues; `None` when it is complete.
    cursor: Option<Cursor>,
    running: Option<Running>,
    /// There is nothing behind it.
    end: bool,
}

/// A block could not be made: the value is another one than was begun.
struct Changed;

impl From<DataAccessResult> for Changed {
    fn from(_: DataAccessResult) -> Self {
        Self
    }
}

impl Streamed {
    /// A block may leave now.
    pub const fn is_ready(&self) -> bool {
        self.turn > 0 && !self.next.end
    }

    /// Makes the block that begins at `place` in `out`, gives its length and moves on.
    fn make<M: ObjectModel + Custody>(
        &self,
        place: &mut Place,
        (session, meter): (&Session, &mut M),
        request: &[u8],
        out: &mut [u8],
    ) -> core::result::Result<usize, Changed> {
        let envelope = self.sealed.as_ref().map_or(&[][..], |sealed| &sealed.head);
        let mut len = part(out, 0, envelope, place.at);
        let text_from = len;
        let behind = place.at.saturating_add(len);
        len += part(out, len, &self.head, behind.saturating_sub(envelope.len()));
        if let Some(cursor) = place.cursor {
            let room = out.get_mut(len..).unwrap_or(&mut []);
            let filled = fill(session, meter, self.source, request, cursor, room, usize::MAX)?;
            len += filled.len;
            place.cursor = filled.rest;
        }
        place.end = place.cursor.is_none();
        if let (Some(sealed), Some(running)) = (&self.sealed, &mut place.running) {
            let cipher = sealed.cipher(session).ok_or(Changed)?;
            running.seal(cipher, out.get_mut(text_from..len).unwrap_or(&mut []));
            let text_len = sealed.text_len as u64;
            if running.done() > text_len || (place.end && running.done() != text_len) {
                return Err(Changed);
            }
            if let (true, Some(tag)) = (place.end, running.tag(cipher)) {
                let before = envelope.len() + sealed.text_len;
                let from = place.at.saturating_add(len).saturating_sub(before);
                len += part(out, len, &tag, from);
                place.end = place.at.saturating_add(len) == before + tag.len();
            }
        }
        place.at = place.at.saturating_add(len);
        place.number = place.number.checked_add(1).ok_or(Changed)?;
        Ok(len)
    }
}

impl Envelope {
    fn cipher<'s>(&self, session: &'s Session) -> Option<&'s Cipher> {
        if self.dedicated { session.dedicated.as_ref().map(|d| &d.cipher) } else { session.cipher.as_ref() }
    }
}

/// Copies what lies behind `from` of `bytes` to `out` at `at`, as far as it fits; gives how much that is.
fn part(out: &mut [u8], at: usize, bytes: &[u8], from: usize) -> usize {
    let to = out.get_mut(at..).unwrap_or(&mut []);
    let bytes = bytes.get(from..).unwrap_or(&[]);
    copy(to, bytes);
    bytes.len().min(to.len())
}

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    /// Starts an answer in general blocks and makes the first.
    pub(super) fn start_streaming<M: ObjectModel + Custody>(
        &mut self,
        asked: Streaming<'_>,
        meter: &mut M,
    ) -> Result<()> {
        let Streaming { invoke_id, source, request_len, head } = asked;
        let Some(session) = &self.session else { return Ok(()) };
        let max = match session.client_max_pdu {
            0 => N,
            n => usize::from(n).min(N),
        };
        let fragment = max.min(Frame::<N>::BODY_MAX).saturating_sub(HEADER_MAX);
        if fragment == 0 {
            return self.get_error(invoke_id, DataAccessResult::OtherReason, meter);
        }
        let mut place =
            Place { number: 0, at: 0, cursor: Some(Cursor::default()), running: None, end: false };
        let mut sealed = None;
        if let Some(cipher) = session.answer_cipher() {
            let request = self.long.get(..request_len).unwrap_or(&[]);
            let most = fragment.saturating_mul(usize::from(u16::MAX));
            let text_len = match measure(session, meter, source, request, most) {
                Ok(len) if len <= most => head.len() + len,
                Ok(_) => return self.get_error(invoke_id, DataAccessResult::OtherReason, meter),
                Err(error) => return self.get_error(invoke_id, error, meter),
            };
            let Some(counter) = meter.next_counter(session.row.key_set) else {
                self.tx.clear();
                self.event(Event::CountersExhausted);
                return Ok(());
            };
            let title = meter.system_title();
            let control = session.own_control();
            let how = Protect { form: session.form, control, title: &title, counter };
            let mut bytes = [0; SEALED_HEAD_MAX];
            let mut w = SliceWriter::new(&mut bytes);
            write_head(&mut w, ApduTag::GetResponse.as_u8(), &how, text_len)?;
            let head = heapless::Vec::from_slice(w.as_slice()).unwrap_or_default();
            place.running = Some(Running::new(cipher, control, nonce(&title, counter)));
            sealed = Some(Envelope { head, dedicated: session.form.is_dedicated(), text_len });
        }
        let head = heapless::Vec::from_slice(head).unwrap_or_default();
        let turn = self.gbt.reply_window.unwrap_or(1).max(1);
        let kept = place.clone();
        self.streamed =
            Some(Streamed { source, request_len, head, sealed, fragment, turn, next: place, kept });
        self.tx.clear();
        self.next_streamed_block(meter);
        Ok(())
    }

    /// Makes the next block of the value on its way out if one may leave.
    pub(super) fn next_streamed_block<M: ObjectModel + Custody>(&mut self, meter: &mut M) {
        if self.tx.is_ready() {
            return;
        }
        let Self { session: Some(session), streamed: Some(streamed), tx, long, gbt, .. } = self else {
            return;
        };
        if !streamed.is_ready() {
            return;
        }
        let request = long.get(..streamed.request_len).unwrap_or(&[]);
        let mut place = streamed.next.clone();
        tx.clear();
        let out = tx.body_mut().get_mut(..streamed.fragment).unwrap_or(&mut []);
        let Ok(len) = streamed.make(&mut place, (session, meter), request, out) else {
            return self.break_off();
        };
        let streaming = streamed.turn > 1 && !place.end;
        let block = GeneralBlockTransfer {
            control: BlockControl::new(place.end, streaming, WINDOW),
            block_number: place.number,
            block_number_ack: gbt.incoming(),
            block_data: &[],
        };
        streamed.turn = if streaming { streamed.turn - 1 } else { 0 };
        streamed.next = place;
        tx.set_body(len);
        // What stands in front of the data, whose length here is none.
        let mut header = [0; HEADER_MAX];
        let mut w = SliceWriter::new(&mut header);
        let written = w.write_u8(ApduTag::GeneralBlockTransfer.as_u8()).and_then(|()| block.encode(&mut w));
        let front = w.as_slice().split_last().map_or(&[][..], |(_, front)| front);
        if written.and_then(|()| tx.prepend_length(len)).and_then(|()| tx.prepend(front)).is_err() {
            return self.break_off();
        }
        tx.finish();
    }

    /// The client has everything up to block `number` and takes `window` more.
    pub(super) fn streamed_acknowledged<M: ObjectModel + Custody>(
        &mut self,
        number: u16,
        window: u8,
        meter: &mut M,
    ) {
        let Self { session: Some(session), streamed: Some(streamed), tx, long, .. } = self else { return };
        // An acknowledgement from before the last one: late, and of no use.
        if number < streamed.kept.number {
            return;
        }
        if number >= streamed.next.number {
            streamed.kept = streamed.next.clone();
        } else {
            let request = long.get(..streamed.request_len).unwrap_or(&[]);
            let mut place = streamed.kept.clone();
            while place.number < number {
                let out = tx.body_mut().get_mut(..streamed.fragment).unwrap_or(&mut []);
                if streamed.make(&mut place, (&*session, &mut *meter), request, out).is_err() {
                    return self.break_off();
                }
            }
            streamed.kept = place.clone();
            streamed.next = place;
        }
        streamed.turn = window.max(1);
        self.next_streamed_block(meter);
    }

    /// The value changed under way, or has too many blocks: the client is told that there will be no more.
    fn break_off(&mut self) {
        self.streamed = None;
        self.exception_plain(StateError::ServiceNotAllowed, ServiceError::OtherReason, None);
    }
}

impl Session {
    /// Whether answers in this form can be made piece by piece. Those with headers of their own, and signed ones, are made
    /// whole.
    pub fn streams(&self) -> bool {
        self.form != Form::General && !self.reply.as_ref().is_some_and(super::general::Reply::is_signed)
    }
}
