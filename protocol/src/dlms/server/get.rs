//! GET: normal, next and with-list; values larger than one APDU go out in blocks (Green Book 9.3.7, 9.4.6.4).

use super::Core;
use super::custody::Custody;
use super::stream::{Cursor, Source, fill};
use super::streamed::Streaming;
use super::transfer::Transfer;
use crate::codec::codec::{Decode, Encode, Reader, Result, SliceWriter, Writer};
use crate::codec::xdlms::{
    ApduTag, Conformance, DataAccessResult, GetRequest, InvokeId, ServiceError, StateError,
};
use crate::dlms::model::{Attribute, ObjectModel};

const GET_RESPONSE: u8 = ApduTag::GetResponse.as_u8();
const NORMAL: u8 = 1;
const WITH_BLOCK: u8 = 2;
const WITH_LIST: u8 = 3;

/// Most descriptors in one list request. The standard leaves it to the server.
const LIST_MAX: usize = 100;

/// How many bytes of data a block takes when its APDU may have `capacity`: tag, choice, invoke-id, last, number (4) and
/// `result` bytes (1 for GET's result choice) are in front, and the length field.
pub(super) fn block_room(capacity: usize, result: usize) -> usize {
    let room = capacity.saturating_sub(8 + result);
    [(1, 0x7F), (2, 0xFF), (3, 0xFFFF)]
        .into_iter()
        .map(|(field, most)| room.saturating_sub(field).min(most))
        .max()
        .unwrap_or(0)
}

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    pub(super) fn get<M: ObjectModel + Custody>(&mut self, body: &[u8], meter: &mut M) -> Result<()> {
        if !self.negotiated(Conformance::GET, meter) {
            return Ok(());
        }
        match GetRequest::decode(&mut Reader::new(body))? {
            GetRequest::Normal { invoke_id, descriptor, access } => {
                let at = Attribute {
                    class_id: descriptor.class_id,
                    logical_name: descriptor.instance_id,
                    index: descriptor.attribute_id,
                };
                let mut w = SliceWriter::new(&mut self.long);
                if let Some(access) = &access
                    && (!self
                        .session
                        .as_ref()
                        .is_some_and(|s| s.conformance.contains(Conformance::SELECTIVE_ACCESS))
                        || access.encode(&mut w).is_err())
                {
                    return self.get_error(invoke_id, DataAccessResult::OtherReason, meter);
                }
                let request_len = w.written();
                let source = Source::One { at, selected: access.is_some() };
                self.start_reading(invoke_id, source, request_len, meter)
            }
            GetRequest::Next { invoke_id, block_number } => self.get_next(invoke_id, block_number, meter),
            GetRequest::WithList { invoke_id, list } => {
                if !self.negotiated(Conformance::MULTIPLE_REFERENCES, meter) {
                    return Ok(());
                }
                let mut w = SliceWriter::new(&mut self.long);
                if list.is_empty() || list.len() > LIST_MAX || list.encode(&mut w).is_err() {
                    self.exception(StateError::ServiceNotAllowed, ServiceError::OperationNotPossible, meter);
                    return Ok(());
                }
                let request_len = w.written();
                let source = Source::List { count: list.len() as u16 };
                self.start_reading(invoke_id, source, request_len, meter)
            }
        }
    }

    fn start_reading<M: ObjectModel + Custody>(
        &mut self,
        invoke_id: InvokeId,
        source: Source,
        request_len: usize,
        meter: &mut M,
    ) -> Result<()> {
        self.transfer = Transfer::Idle;
        let own_blocks = Conformance::BLOCK_TRANSFER_WITH_GET_OR_READ;
        let capacity = self.capacity(own_blocks);
        let Some(session) = &self.session else { return Ok(()) };
        let request = self.long.get(..request_len).unwrap_or(&[]);
        let header: &[u8] = match source {
            Source::One { .. } => &[GET_RESPONSE, NORMAL, invoke_id.0, 0],
            Source::List { .. } => &[GET_RESPONSE, WITH_LIST, invoke_id.0],
        };
        let whole = capacity.saturating_sub(header.len());
        let mark = block_room(self.block_capacity(), 1).min(whole);
        let start = Cursor::default();
        let room = self.tx.body_mut();
        let whole = whole.min(room.len());
        let out = room.get_mut(..whole).unwrap_or(&mut []);
        let filled = match fill(session, meter, source, request, start, out, mark) {
            Ok(filled) => filled,
            Err(error) => return self.get_error(invoke_id, error, meter),
        };
        if filled.rest.is_none() {
            self.tx.set_body(filled.len);
            self.tx.prepend(header)?;
            self.answer(invoke_id, meter);
            return Ok(());
        }
        let general = self.gbt.is_usable(session.conformance, own_blocks) && session.streams();
        if super::STREAMS && general && invoke_id.is_confirmed() {
            return self.start_streaming(Streaming { invoke_id, source, request_len, head: header }, meter);
        }
        let blocks = session.conformance.contains(own_blocks);
        let (Some(next), true) = (filled.at_mark, blocks && mark > 0) else {
            // Too long for one APDU, and the client did not agree to blocks.
            return self.get_error(invoke_id, DataAccessResult::OtherReason, meter);
        };
        self.transfer =
            Transfer::Reading { invoke_id, source, request_len, number: 1, again: start, next: Some(next) };
        self.send_block(invoke_id, 1, mark, false, meter)
    }

    fn get_next<M: ObjectModel + Custody>(
        &mut self,
        invoke_id: InvokeId,
        asked: u32,
        meter: &mut M,
    ) -> Result<()> {
        let Transfer::Reading { invoke_id: started, source, request_len, number, again, next } =
            self.transfer
        else {
            return self.get_block_error(invoke_id, asked, DataAccessResult::NoLongGetInProgress, meter);
        };
        if started.id() != invoke_id.id() {
            return self.get_block_error(invoke_id, asked, DataAccessResult::NoLongGetInProgress, meter);
        }
        // The number is the last block the client has. One behind means that our last one got lost: send it again.
        let (from, number) = if asked == number {
            (next, number.wrapping_add(1))
        } else if asked.checked_add(1) == Some(number) {
            (Some(again), number)
        } else {
            self.transfer = Transfer::Idle;
            let error = DataAccessResult::DataBlockNumberInvalid;
            return self.get_block_error(invoke_id, asked, error, meter);
        };
        let Some(from) = from else {
            self.transfer = Transfer::Idle;
            return self.get_block_error(invoke_id, asked, DataAccessResult::NoLongGetInProgress, meter);
        };
        let room = block_room(self.block_capacity(), 1);
        let Some(session) = &self.session else { return Ok(()) };
        let request = self.long.get(..request_len).unwrap_or(&[]);
        let body = self.tx.body_mut();
        let room = room.min(body.len());
        let out = body.get_mut(..room).unwrap_or(&mut []);
        match fill(session, meter, source, request, from, out, usize::MAX) {
            Ok(filled) => {
                self.transfer = Transfer::Reading {
                    invoke_id: started,
                    source,
                    request_len,
                    number,
                    again: from,
                    next: filled.rest,
                };
                self.send_block(invoke_id, number, filled.len, filled.rest.is_none(), meter)
            }
            Err(error) => {
                self.transfer = Transfer::Idle;
                self.get_block_error(invoke_id, number, error, meter)
            }
        }
    }

    /// Sends the first `len` bytes of the body as a block.
    fn send_block<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        number: u32,
        len: usize,
        last: bool,
        meter: &mut M,
    ) -> Result<()> {
        self.tx.set_body(len);
        self.tx.prepend_length(len)?;
        self.tx.prepend(&[0])?;
        self.tx.prepend(&number.to_be_bytes())?;
        self.tx.prepend(&[GET_RESPONSE, WITH_BLOCK, invoke_id.0, u8::from(last)])?;
        self.answer(invoke_id, meter);
        Ok(())
    }

    pub(super) fn get_error<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        error: DataAccessResult,
        meter: &mut M,
    ) -> Result<()> {
        self.build(|w| w.write_bytes(&[GET_RESPONSE, NORMAL, invoke_id.0, 1, error.as_u8()]))?;
        self.answer(invoke_id, meter);
        Ok(())
    }

    fn get_block_error<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        number: u32,
        error: DataAccessResult,
        meter: &mut M,
    ) -> Result<()> {
        self.build(|w| {
            w.write_bytes(&[GET_RESPONSE, WITH_BLOCK, invoke_id.0, 1])?;
            w.write_u32(number)?;
            w.write_bytes(&[1, error.as_u8()])
        })?;
        self.answer(invoke_id, meter);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_fills_its_apdu_to_the_last_byte() {
        for capacity in 20..2000 {
            let len = |n: usize| {
                9 + if n < 0x80 {
                    1
                } else if n < 0x100 {
                    2
                } else {
                    3
                } + n
            };
            let room = block_room(capacity, 1);
            assert!(len(room) <= capacity);
            assert!(len(room + 1) > capacity);
        }
    }
}
