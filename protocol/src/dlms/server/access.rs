//! ACCESS: several reads, writes and method calls in one request (Green Book 9.3.11, 9.4.6.13).
//!
//! The answer is one APDU: an operation whose value no longer fits is reported as "other reason" with null-data. Every
//! operation is carried out, also after one that failed: the processing option "break on error" is not implemented.

use super::custody::Custody;
use super::invoke::{RETURN_HEAD, run};
use super::session::Session;
use super::set::write_attribute;
use super::stream::{attribute, read_piece};
use super::{Core, Frame};
use crate::codec::axdr::Data;
use crate::codec::codec::{Decode, Reader, Result, SliceWriter, Writer};
use crate::codec::xdlms::{
    AccessRequest, AccessRequestSpecification, ActionResult, ApduTag, AttributeDescriptorWithSelection,
    Conformance, DataAccessResult, MAX_ACCESS_ITEMS, ServiceError, StateError,
};
use crate::dlms::model::{ObjectModel, Piece};

/// Bits 29 and 30 of the long invoke-id: service class confirmed is bit 30; one library sets bit 29 for it.
const CONFIRMED: u32 = 0x6000_0000;

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    pub(super) fn access<M: ObjectModel + Custody>(&mut self, body: &[u8], meter: &mut M) -> Result<()> {
        if !self.negotiated(Conformance::ACCESS, meter) {
            return Ok(());
        }
        let request = AccessRequest::decode(&mut Reader::new(body))?;
        let count = request.specification.len();
        if count == 0 || count > MAX_ACCESS_ITEMS || count != request.data.len() {
            self.exception(StateError::ServiceNotAllowed, ServiceError::OperationNotPossible, meter);
            return Ok(());
        }
        self.transfer = super::Transfer::Idle;
        let capacity = self.capacity(Conformance::empty()).min(Frame::<N>::BODY_MAX);
        let Some(session) = &self.session else { return Ok(()) };
        let body = self.tx.body_mut();
        let mut w = SliceWriter::new(body);
        w.write_u8(ApduTag::AccessResponse.as_u8())?;
        w.write_u32(request.long_invoke_id.0)?;
        // No date-time, no echo of the request.
        w.write_bytes(&[0, 0])?;
        w.write_length(count)?;
        let mut at = w.written();
        // What must stay free at every moment: one null-data per operation to come, and the list of results.
        let tail = 1 + 2 * count;
        let mut results: heapless::Vec<u8, { 2 * MAX_ACCESS_ITEMS }> = heapless::Vec::new();
        for (i, (item, parameter)) in request.specification.iter().zip(request.data.iter()).enumerate() {
            let room = capacity.saturating_sub(at + (count - i - 1) + tail);
            let room = body.get_mut(at..at.saturating_add(room)).unwrap_or(&mut []);
            let (result, len) = operate(session, meter, item?, parameter?, room);
            let full = crate::codec::ErrorKind::BufferTooSmall { needed: 1 };
            let full = crate::codec::Error::new(full, at);
            results.extend_from_slice(&result).map_err(|_| full)?;
            if len == 0 {
                *body.get_mut(at).ok_or(full)? = 0;
            }
            at += len.max(1);
        }
        let mut w = SliceWriter::new(body.get_mut(at..).unwrap_or(&mut []));
        w.write_length(count)?;
        w.write_bytes(&results)?;
        let len = at + w.written();
        self.tx.set_body(len);
        if request.long_invoke_id.0 & CONFIRMED == 0 {
            self.tx.clear();
        } else {
            self.send(meter);
        }
        Ok(())
    }
}

/// Carries out one operation; gives its result and how many bytes of value it wrote into `room` (none means null-data).
fn operate<M: ObjectModel + Custody>(
    session: &Session,
    meter: &mut M,
    item: AccessRequestSpecification<'_>,
    parameter: Data<'_>,
    room: &mut [u8],
) -> ([u8; 2], usize) {
    let whole = |descriptor| AttributeDescriptorWithSelection { descriptor, access: None };
    match item {
        AccessRequestSpecification::Get(descriptor) => read(session, meter, &whole(descriptor), room),
        AccessRequestSpecification::GetWithSelection(item) => read(session, meter, &item, room),
        AccessRequestSpecification::Set(descriptor) => {
            ([2, write_attribute(session, &whole(descriptor), parameter, meter).as_u8()], 0)
        }
        AccessRequestSpecification::SetWithSelection(item) => {
            ([2, write_attribute(session, &item, parameter, meter).as_u8()], 0)
        }
        AccessRequestSpecification::Action(method) => {
            if room.len() < RETURN_HEAD {
                return ([3, ActionResult::OtherReason.as_u8()], 0);
            }
            let parameter = Some(parameter).filter(|p| *p != Data::Null);
            let written = run(session, meter, method, parameter, room);
            let result = room.first().copied().unwrap_or(0);
            if written <= RETURN_HEAD {
                return ([3, result], 0);
            }
            // The value alone: its result goes into the other list.
            for i in RETURN_HEAD..written {
                let byte = room.get(i).copied().unwrap_or(0);
                if let Some(to) = room.get_mut(i - RETURN_HEAD) {
                    *to = byte;
                }
            }
            ([3, result], written - RETURN_HEAD)
        }
    }
}

fn read<M: ObjectModel + Custody>(
    session: &Session,
    meter: &mut M,
    item: &AttributeDescriptorWithSelection<'_>,
    room: &mut [u8],
) -> ([u8; 2], usize) {
    let mut window = super::window::Window::new(0, room);
    let mut piece = 0;
    let result = loop {
        match read_piece(session, meter, attribute(item), item.access, piece, &mut window) {
            Err(error) if piece == 0 => break error,
            _ if window.overflowed() => break DataAccessResult::OtherReason,
            Ok(Piece::More) => piece += 1,
            Ok(Piece::Last) | Err(_) => break DataAccessResult::Success,
        }
    };
    let len = if result == DataAccessResult::Success { window.kept() } else { 0 };
    ([1, result.as_u8()], len)
}
