//! ACTION: normal, with-list, parameters in blocks, long return values in blocks (Green Book 9.3.9).
//!
//! A method runs when its parameter is complete and never again: a repeated block is acknowledged, a repeated request
//! in a ciphered association is refused by its counter.

use super::Core;
use super::custody::Custody;
use super::get::block_room;
use super::session::Session;
use super::transfer::{Transfer, Writing};
use crate::codec::axdr::Data;
use crate::codec::codec::{Decode, Encode, Reader, Result, SliceWriter, Writer};
use crate::codec::xdlms::{
    ActionRequest, ActionResult, ApduTag, Conformance, InvokeId, List, MethodDescriptor, ServiceError,
    StateError,
};
use crate::dlms::bytes::{copy, cut_mut};
use crate::dlms::model::{Method, ObjectModel};

const ACTION_RESPONSE: u8 = ApduTag::ActionResponse.as_u8();

/// Result byte, presence flag and result choice in front of a return value.
pub(super) const RETURN_HEAD: usize = 3;

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    pub(super) fn invoke<M: ObjectModel + Custody>(&mut self, body: &[u8], meter: &mut M) -> Result<()> {
        if !self.negotiated(Conformance::ACTION, meter) {
            return Ok(());
        }
        match ActionRequest::decode(&mut Reader::new(body))? {
            ActionRequest::Normal { invoke_id, descriptor, parameters } => {
                self.transfer = Transfer::Idle;
                self.invoke_one(invoke_id, descriptor, parameters, meter)
            }
            ActionRequest::WithList { invoke_id, descriptors, parameters } => {
                self.transfer = Transfer::Idle;
                if !self.negotiated(Conformance::MULTIPLE_REFERENCES, meter) {
                    return Ok(());
                }
                self.invoke_list(invoke_id, descriptors, parameters, meter)
            }
            ActionRequest::WithFirstPblock { invoke_id, descriptor, block } => {
                let head = |w: &mut SliceWriter<'_>| descriptor.encode(w);
                self.first_block(invoke_id, Writing::Action, head, &block, meter)
            }
            ActionRequest::WithListAndFirstPblock { invoke_id, descriptors, block } => {
                if !self.negotiated(Conformance::MULTIPLE_REFERENCES, meter) {
                    return Ok(());
                }
                let head = |w: &mut SliceWriter<'_>| descriptors.encode(w);
                self.first_block(invoke_id, Writing::ActionList, head, &block, meter)
            }
            ActionRequest::WithPblock { invoke_id, block } => {
                if !matches!(self.transfer, Transfer::Writing { service, .. } if !service.is_set()) {
                    return self.action_error(invoke_id, ActionResult::NoLongActionInProgress, meter);
                }
                self.further_block(invoke_id, &block, meter)
            }
            ActionRequest::NextPblock { invoke_id, block_number } => {
                self.next_return_block(invoke_id, block_number, meter)
            }
        }
    }

    /// The parameter of an ACTION is complete in the long buffer.
    pub(super) fn finish_invoke<M: ObjectModel + Custody>(
        &mut self,
        invoke_id: InvokeId,
        list: bool,
        parts: (usize, usize),
        meter: &mut M,
    ) -> Result<()> {
        self.transfer = Transfer::Idle;
        let (head_len, len) = parts;
        let Some(session) = &self.session else { return Ok(()) };
        let head = self.long.get(..head_len).unwrap_or(&[]);
        let value = self.long.get(head_len..len).unwrap_or(&[]);
        let room = self.tx.body_mut();
        let written = if list {
            let methods: List<'_, MethodDescriptor> = List::from_bytes(head)?;
            match List::<Data<'_>>::from_bytes(value) {
                Ok(parameters) if parameters.len() == methods.len() => {
                    run_list(session, meter, methods, parameters, room)?
                }
                _ => return self.action_error(invoke_id, ActionResult::TypeUnmatched, meter),
            }
        } else {
            let method = MethodDescriptor::from_bytes(head)?;
            match Data::from_bytes(value) {
                Ok(parameter) => run(session, meter, method, Some(parameter), room),
                Err(_) => return self.action_error(invoke_id, ActionResult::TypeUnmatched, meter),
            }
        };
        self.return_value(invoke_id, list, written, meter)
    }

    fn invoke_one<M: ObjectModel + Custody>(
        &mut self,
        invoke_id: InvokeId,
        descriptor: MethodDescriptor,
        parameters: Option<Data<'_>>,
        meter: &mut M,
    ) -> Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        let written = run(session, meter, descriptor, parameters, self.tx.body_mut());
        self.return_value(invoke_id, false, written, meter)
    }

    fn invoke_list<M: ObjectModel + Custody>(
        &mut self,
        invoke_id: InvokeId,
        methods: List<'_, MethodDescriptor>,
        parameters: List<'_, Data<'_>>,
        meter: &mut M,
    ) -> Result<()> {
        if methods.len() != parameters.len() {
            self.exception(StateError::ServiceNotAllowed, ServiceError::OperationNotPossible, meter);
            return Ok(());
        }
        let Some(session) = &self.session else { return Ok(()) };
        let written = run_list(session, meter, methods, parameters, self.tx.body_mut())?;
        self.return_value(invoke_id, true, written, meter)
    }

    /// Sends the encoded result(s) that are in the body: whole, or in blocks out of the long buffer.
    fn return_value<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        list: bool,
        written: usize,
        meter: &mut M,
    ) -> Result<()> {
        let capacity = self.capacity(Conformance::BLOCK_TRANSFER_WITH_ACTION);
        if written + 3 <= capacity {
            self.tx.set_body(written);
            self.tx.prepend(&[ACTION_RESPONSE, if list { 3 } else { 1 }, invoke_id.0])?;
            self.answer(invoke_id, meter);
            return Ok(());
        }
        let blocks = self
            .session
            .as_ref()
            .is_some_and(|s| s.conformance.contains(Conformance::BLOCK_TRANSFER_WITH_ACTION));
        // The blocks of one method's return value carry the value alone: there are blocks only after success.
        let skip = if list { 0 } else { RETURN_HEAD };
        let len = written.saturating_sub(skip);
        let body = self.tx.body_mut();
        let (Some(to), Some(from), true) = (self.long.get_mut(..len), body.get(skip..written), blocks) else {
            // The method ran; what it returned cannot be told.
            return self.action_error(invoke_id, ActionResult::OtherReason, meter);
        };
        copy(to, from);
        self.send_return_block(invoke_id, len, 0, 1, meter)
    }

    fn send_return_block<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        len: usize,
        from: usize,
        number: u32,
        meter: &mut M,
    ) -> Result<()> {
        let room = block_room(self.block_capacity(), 0);
        let next = from.saturating_add(room).min(len);
        let block = self.long.get(from..next).unwrap_or(&[]);
        let last = next == len;
        self.tx.build(|w| {
            w.write_bytes(&[ACTION_RESPONSE, 2, invoke_id.0, u8::from(last)])?;
            w.write_u32(number)?;
            w.write_length_prefixed(block)
        })?;
        self.transfer = Transfer::Returning { invoke_id, len, again: from, next, number };
        self.answer(invoke_id, meter);
        Ok(())
    }

    fn next_return_block<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        asked: u32,
        meter: &mut M,
    ) -> Result<()> {
        let Transfer::Returning { invoke_id: started, len, again, next, number } = self.transfer else {
            return self.action_error(invoke_id, ActionResult::NoLongActionInProgress, meter);
        };
        let (from, number) = if started.id() != invoke_id.id() {
            (len, 0)
        } else if asked == number {
            (next, number.wrapping_add(1))
        } else if asked.checked_add(1) == Some(number) {
            (again, number)
        } else {
            (len, 0)
        };
        if from >= len {
            return self.action_aborted(invoke_id, meter);
        }
        self.send_return_block(started, len, from, number, meter)
    }

    /// Ends an ACTION in blocks with an error.
    pub(super) fn action_aborted<M: Custody>(&mut self, invoke_id: InvokeId, meter: &mut M) -> Result<()> {
        self.transfer = Transfer::Idle;
        self.action_error(invoke_id, ActionResult::LongActionAborted, meter)
    }

    fn action_error<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        error: ActionResult,
        meter: &mut M,
    ) -> Result<()> {
        self.build(|w| w.write_bytes(&[ACTION_RESPONSE, 1, invoke_id.0, error.as_u8(), 0]))?;
        self.answer(invoke_id, meter);
        Ok(())
    }
}

/// Runs a method, with access rights checked, and writes its result and return value into `out`: at least two bytes.
pub(super) fn run<M: ObjectModel>(
    session: &Session,
    meter: &mut M,
    descriptor: MethodDescriptor,
    parameter: Option<Data<'_>>,
    out: &mut [u8],
) -> usize {
    let at = Method {
        class_id: descriptor.class_id,
        logical_name: descriptor.instance_id,
        index: descriptor.method_id,
    };
    let caller = session.caller();
    let access = meter.method_access(caller, at);
    let (head, room) = cut_mut(out, RETURN_HEAD);
    let mut w = SliceWriter::new(room);
    let result = if access.is_empty() {
        Err(ActionResult::ObjectUndefined)
    } else if !access.can_invoke() || !session.satisfies(access.bits()) {
        Err(ActionResult::ReadWriteDenied)
    } else {
        meter.action(caller, at, parameter, &mut w)
    };
    let (bytes, len) = match result {
        Ok(true) if w.written() > 0 => ([0, 1, 0], RETURN_HEAD + w.written()),
        Ok(_) => ([0, 0, 0], 2),
        Err(error) => ([error.as_u8(), 0, 0], 2),
    };
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = from;
    }
    len
}

fn run_list<M: ObjectModel>(
    session: &Session,
    meter: &mut M,
    methods: List<'_, MethodDescriptor>,
    parameters: List<'_, Data<'_>>,
    out: &mut [u8],
) -> Result<usize> {
    let mut w = SliceWriter::new(out);
    w.write_length(methods.len())?;
    let mut at = w.written();
    for (method, parameter) in methods.iter().zip(parameters.iter()) {
        let room = out.get_mut(at..).unwrap_or(&mut []);
        if room.len() < RETURN_HEAD {
            return Err(crate::codec::Error::new(
                crate::codec::ErrorKind::BufferTooSmall { needed: RETURN_HEAD },
                at,
            ));
        }
        // In a list a method without a parameter has null-data in its place.
        let parameter = Some(parameter?).filter(|p| *p != Data::Null);
        at += run(session, meter, method?, parameter, room);
    }
    Ok(at)
}
