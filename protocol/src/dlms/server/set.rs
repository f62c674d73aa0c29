//! SET: normal, with-list, and both with the value in blocks (Green Book 9.3.8).

use super::Core;
use super::custody::Custody;
use super::stream::attribute;
use super::transfer::{Transfer, Writing};
use crate::codec::axdr::Data;
use crate::codec::codec::{Decode, Encode, Reader, Result, SliceWriter, Writer};
use crate::codec::xdlms::{
    ApduTag, AttributeDescriptor, AttributeDescriptorWithSelection, Conformance, DataAccessResult,
    DataBlockSA, InvokeId, List, SelectiveAccess, ServiceError, SetRequest, SetResponse, StateError,
};
use crate::dlms::apdu::put;
use crate::dlms::bytes::copy;
use crate::dlms::model::ObjectModel;

const SET_RESPONSE: u8 = ApduTag::SetResponse.as_u8();

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    pub(super) fn set<M: ObjectModel + Custody>(&mut self, body: &[u8], meter: &mut M) -> Result<()> {
        if !self.negotiated(Conformance::SET, meter) {
            return Ok(());
        }
        match SetRequest::decode(&mut Reader::new(body))? {
            SetRequest::Normal { invoke_id, descriptor, access, value } => {
                self.transfer = Transfer::Idle;
                let item = AttributeDescriptorWithSelection { descriptor, access };
                let result = self.write_one(&item, value, meter);
                let response = SetResponse::Normal { invoke_id, result };
                self.build(|w| put(ApduTag::SetResponse, &response, w))?;
                self.answer(invoke_id, meter);
                Ok(())
            }
            SetRequest::WithList { invoke_id, descriptors, values } => {
                self.transfer = Transfer::Idle;
                if !self.negotiated(Conformance::MULTIPLE_REFERENCES, meter) {
                    return Ok(());
                }
                if descriptors.len() != values.len() {
                    let error = ServiceError::OperationNotPossible;
                    self.exception(StateError::ServiceNotAllowed, error, meter);
                    return Ok(());
                }
                let mut results = Results::new();
                for (item, value) in descriptors.iter().zip(values.iter()) {
                    results.push(self.write_one(&item?, value?, meter))?;
                }
                self.build(|w| {
                    w.write_bytes(&[SET_RESPONSE, 5, invoke_id.0])?;
                    results.encode(w)
                })?;
                self.answer(invoke_id, meter);
                Ok(())
            }
            SetRequest::WithFirstDataBlock { invoke_id, descriptor, access, block } => {
                let head = |w: &mut SliceWriter<'_>| {
                    AttributeDescriptorWithSelection { descriptor, access }.encode(w)
                };
                self.first_block(invoke_id, Writing::Set, head, &block, meter)
            }
            SetRequest::WithListAndFirstDataBlock { invoke_id, descriptors, block } => {
                if !self.negotiated(Conformance::MULTIPLE_REFERENCES, meter) {
                    return Ok(());
                }
                let head = |w: &mut SliceWriter<'_>| descriptors.encode(w);
                self.first_block(invoke_id, Writing::SetList, head, &block, meter)
            }
            SetRequest::WithDataBlock { invoke_id, block } => {
                if !matches!(self.transfer, Transfer::Writing { service, .. } if service.is_set()) {
                    return self.set_aborted(
                        invoke_id,
                        block.block_number,
                        DataAccessResult::NoLongSetInProgress,
                        meter,
                    );
                }
                self.further_block(invoke_id, &block, meter)
            }
        }
    }

    /// Writes one attribute, with access rights checked.
    fn write_one<M: ObjectModel + Custody>(
        &mut self,
        item: &AttributeDescriptorWithSelection<'_>,
        value: Data<'_>,
        meter: &mut M,
    ) -> DataAccessResult {
        let Some(session) = &self.session else { return DataAccessResult::OtherReason };
        write_attribute(session, item, value, meter)
    }

    /// The value of a SET is complete in the long buffer.
    pub(super) fn finish_set<M: ObjectModel + Custody>(
        &mut self,
        invoke_id: InvokeId,
        list: bool,
        parts: (usize, usize),
        number: u32,
        meter: &mut M,
    ) -> Result<()> {
        self.transfer = Transfer::Idle;
        let (head_len, len) = parts;
        let Some(session) = &self.session else { return Ok(()) };
        let head = self.long.get(..head_len).unwrap_or(&[]);
        let value = self.long.get(head_len..len).unwrap_or(&[]);
        if !list {
            let mut r = Reader::new(head);
            let descriptor = AttributeDescriptor::decode(&mut r)?;
            let access = if r.u8()? == 0 { None } else { Some(SelectiveAccess::decode(&mut r)?) };
            let item = AttributeDescriptorWithSelection { descriptor, access };
            let result = match Data::from_bytes(value) {
                Ok(value) => write_attribute(session, &item, value, meter),
                Err(_) => DataAccessResult::TypeUnmatched,
            };
            let response = SetResponse::LastDataBlock { invoke_id, result, block_number: number };
            self.build(|w| put(ApduTag::SetResponse, &response, w))?;
            self.answer(invoke_id, meter);
            return Ok(());
        }
        let items: List<'_, AttributeDescriptorWithSelection<'_>> = List::from_bytes(head)?;
        let values: Option<List<'_, Data<'_>>> =
            List::from_bytes(value).ok().filter(|v: &List<'_, Data<'_>>| v.len() == items.len());
        let Some(values) = values else {
            return self.set_aborted(invoke_id, number, DataAccessResult::TypeUnmatched, meter);
        };
        let mut results = Results::new();
        for (item, value) in items.iter().zip(values.iter()) {
            results.push(write_attribute(session, &item?, value?, meter))?;
        }
        self.build(|w| {
            w.write_bytes(&[SET_RESPONSE, 4, invoke_id.0])?;
            results.encode(w)?;
            w.write_u32(number)
        })?;
        self.answer(invoke_id, meter);
        Ok(())
    }

    /// Ends a SET in blocks with an error.
    pub(super) fn set_aborted<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        number: u32,
        result: DataAccessResult,
        meter: &mut M,
    ) -> Result<()> {
        self.transfer = Transfer::Idle;
        let response = SetResponse::LastDataBlock { invoke_id, result, block_number: number };
        self.build(|w| put(ApduTag::SetResponse, &response, w))?;
        self.answer(invoke_id, meter);
        Ok(())
    }

    /// First block of a parameter: `head` writes what the value is for.
    pub(super) fn first_block<M: ObjectModel + Custody>(
        &mut self,
        invoke_id: InvokeId,
        service: Writing,
        head: impl FnOnce(&mut SliceWriter<'_>) -> Result<()>,
        block: &DataBlockSA<'_>,
        meter: &mut M,
    ) -> Result<()> {
        self.transfer = Transfer::Idle;
        let needed = if service.is_set() {
            Conformance::BLOCK_TRANSFER_WITH_SET_OR_WRITE
        } else {
            Conformance::BLOCK_TRANSFER_WITH_ACTION
        };
        if !self.negotiated(needed, meter) {
            return Ok(());
        }
        let mut w = SliceWriter::new(&mut self.long);
        if head(&mut w).is_err() {
            return self.writing_aborted(invoke_id, service, block.block_number, meter);
        }
        let head_len = w.written();
        self.transfer = Transfer::Writing { invoke_id, service, head_len, len: head_len, number: 0 };
        self.further_block(invoke_id, block, meter)
    }

    /// Takes the next block of a parameter; a repeated last one is acknowledged again and not taken twice.
    pub(super) fn further_block<M: ObjectModel + Custody>(
        &mut self,
        invoke_id: InvokeId,
        block: &DataBlockSA<'_>,
        meter: &mut M,
    ) -> Result<()> {
        let Transfer::Writing { invoke_id: started, service, head_len, len, number } = self.transfer else {
            return Ok(());
        };
        let repeated = number > 0 && block.block_number == number && !block.last_block;
        let expected = number.checked_add(1) == Some(block.block_number);
        if started.id() != invoke_id.id() || !(repeated || expected) {
            return self.writing_aborted(invoke_id, service, block.block_number, meter);
        }
        let mut new_len = len;
        if expected {
            new_len = len.saturating_add(block.raw_data.len());
            let Some(room) = self.long.get_mut(len..new_len) else {
                return self.writing_aborted(invoke_id, service, block.block_number, meter);
            };
            copy(room, block.raw_data);
        }
        let number = block.block_number;
        if block.last_block {
            let parts = (head_len, new_len);
            return match service {
                Writing::Set => self.finish_set(invoke_id, false, parts, number, meter),
                Writing::SetList => self.finish_set(invoke_id, true, parts, number, meter),
                Writing::Action => self.finish_invoke(invoke_id, false, parts, meter),
                Writing::ActionList => self.finish_invoke(invoke_id, true, parts, meter),
            };
        }
        self.transfer = Transfer::Writing { invoke_id: started, service, head_len, len: new_len, number };
        let (tag, choice) =
            if service.is_set() { (SET_RESPONSE, 2) } else { (ApduTag::ActionResponse.as_u8(), 4) };
        self.build(|w| {
            w.write_bytes(&[tag, choice, invoke_id.0])?;
            w.write_u32(number)
        })?;
        self.answer(invoke_id, meter);
        Ok(())
    }

    fn writing_aborted<M: Custody>(
        &mut self,
        invoke_id: InvokeId,
        service: Writing,
        number: u32,
        meter: &mut M,
    ) -> Result<()> {
        if service.is_set() {
            self.set_aborted(invoke_id, number, DataAccessResult::LongSetAborted, meter)
        } else {
            self.action_aborted(invoke_id, meter)
        }
    }
}

impl Writing {
    pub(super) const fn is_set(self) -> bool {
        matches!(self, Self::Set | Self::SetList)
    }
}

pub(super) fn write_attribute<M: ObjectModel>(
    session: &super::session::Session,
    item: &AttributeDescriptorWithSelection<'_>,
    value: Data<'_>,
    meter: &mut M,
) -> DataAccessResult {
    let at = attribute(item);
    let caller = session.caller();
    let access = meter.attribute_access(caller, at);
    if access.is_empty() {
        return DataAccessResult::ObjectUndefined;
    }
    if !access.can_write() || !session.satisfies(access.bits()) {
        return DataAccessResult::ReadWriteDenied;
    }
    match meter.set(caller, at, item.access, value) {
        Ok(()) => DataAccessResult::Success,
        Err(error) => error,
    }
}

/// Most results of a SET with list: as many descriptors as fit an APDU of the sizes in use.
const RESULTS_MAX: usize = 100;

/// The results of a list, collected before they are sent.
struct Results(heapless::Vec<u8, RESULTS_MAX>);

impl Results {
    const fn new() -> Self {
        Self(heapless::Vec::new())
    }

    fn push(&mut self, result: DataAccessResult) -> Result<()> {
        let full = crate::codec::ErrorKind::BufferTooSmall { needed: 1 };
        self.0.push(result.as_u8()).map_err(|_| crate::codec::Error::new(full, self.0.len()))
    }

    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        w.write_length_prefixed(&self.0)
    }
}
