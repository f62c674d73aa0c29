//! Requests: what leaves.

use super::event::StartError;
use super::{Client, Outgoing, Pending, State};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Result, SliceWriter, Writer};
use crate::codec::obis::Obis;
use crate::codec::xdlms::{
    AccessRequestSpecification, Apdu, ApduTag, AttributeDescriptor, AttributeDescriptorWithSelection,
    Conformance, GetRequest, InvokeId, LongInvokeId, MethodDescriptor, SelectiveAccess,
};
use crate::cosem::class::Value;
use crate::cosem::{Attr, Meth};
use crate::dlms::model::{Attribute, Method};
use crate::dlms::security::Form;
use crate::dlms::{DATA_NOTIFICATION_CONFIRM, LONG_INVOKE_ID_CONFIRMED};
use crate::time::Instant;

const GET_REQUEST: u8 = ApduTag::GetRequest.as_u8();
const SET_REQUEST: u8 = ApduTag::SetRequest.as_u8();
const ACTION_REQUEST: u8 = ApduTag::ActionRequest.as_u8();

/// One attribute of a list, with an optional selection.
pub type GetItem<'a> = (Attribute, Option<SelectiveAccess<'a>>);

/// One method of a list with its parameter; null-data for none.
pub type Parameter<'a> = (Method, Data<'a>);

/// One operation of an ACCESS request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AccessItem<'a> {
    /// Read, perhaps a part.
    Get(Attribute, Option<SelectiveAccess<'a>>),
    /// Write.
    Set(Attribute, Data<'a>),
    /// Invoke; null-data where there is no parameter.
    Action(Method, Data<'a>),
}

impl AccessItem<'_> {
    fn specification(&self) -> AccessRequestSpecification<'_> {
        match *self {
            Self::Get(at, None) => AccessRequestSpecification::Get(described((at, None)).descriptor),
            Self::Get(at, selection) => {
                AccessRequestSpecification::GetWithSelection(described((at, selection)))
            }
            Self::Set(at, _) => AccessRequestSpecification::Set(described((at, None)).descriptor),
            Self::Action(at, _) => AccessRequestSpecification::Action(method(at)),
        }
    }

    const fn data(&self) -> Data<'_> {
        match *self {
            Self::Get(..) => Data::Null,
            Self::Set(_, data) | Self::Action(_, data) => data,
        }
    }
}

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    /// Several operations in one request. In a ciphered association it goes in a general form, for ACCESS has no ciphered
    /// tag of its own.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn access(&mut self, now: Instant, items: &[AccessItem<'_>]) -> core::result::Result<(), StartError> {
        self.ready(Conformance::ACCESS)?;
        let form = self.service_form().general();
        if form != Form::Plain {
            self.agreed(Conformance::GENERAL_PROTECTION)?;
        }
        self.long_invoke_id = (self.long_invoke_id + 1) & 0x00FF_FFFF;
        let long_invoke_id = self.long_invoke_id | LONG_INVOKE_ID_CONFIRMED;
        self.tx
            .build(|w| {
                w.write_u8(ApduTag::AccessRequest.as_u8())?;
                w.write_u32(long_invoke_id)?;
                w.write_u8(0)?;
                w.write_length(items.len())?;
                items.iter().try_for_each(|item| item.specification().encode(w))?;
                w.write_length(items.len())?;
                items.iter().try_for_each(|item| item.data().encode(w))
            })
            .map_err(|_| StartError::TooLong)?;
        let changes = items.iter().any(|item| !matches!(item, AccessItem::Get(..)));
        self.finish_start_as(now, Pending::Access { long_invoke_id, changes }, form)
    }

    /// Says that a confirmed DataNotification was taken: call it when what it said is safe. It may go between a request and its
    /// answer, has no answer itself, and goes in a general form where there is protection, for it has no ciphered tag.
    ///
    /// # Errors
    /// [`StartError`]; `Busy` while an APDU waits to be sent.
    pub fn confirm(&mut self, notification: LongInvokeId) -> core::result::Result<(), StartError> {
        if self.state != State::Associated {
            return Err(StartError::WrongState);
        }
        if self.tx.is_ready() {
            return Err(StartError::Busy);
        }
        // No date-time.
        let build = |w: &mut SliceWriter<'_>| {
            w.write_u8(DATA_NOTIFICATION_CONFIRM)?;
            w.write_u32(notification.0)?;
            w.write_u8(0)
        };
        self.tx.build(build).map_err(|_| StartError::TooLong)?;
        self.send(self.service_form().general())
    }

    /// Reads an attribute, or the selected part of it.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn get(
        &mut self,
        now: Instant,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
    ) -> core::result::Result<(), StartError> {
        self.ready(Conformance::GET)?;
        if selection.is_some() {
            self.agreed(Conformance::SELECTIVE_ACCESS)?;
        }
        let invoke_id = self.next_invoke_id();
        let item = described((at, selection));
        self.start(now, Pending::Get { invoke_id, list: false, blocks: 0 }, |w| {
            w.write_bytes(&[GET_REQUEST, 1, InvokeId::confirmed(invoke_id).0])?;
            item.encode(w)
        })
    }

    /// Reads several attributes in one request.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn get_list(&mut self, now: Instant, items: &[GetItem<'_>]) -> core::result::Result<(), StartError> {
        self.ready(Conformance::GET | Conformance::MULTIPLE_REFERENCES)?;
        let invoke_id = self.next_invoke_id();
        self.start(now, Pending::Get { invoke_id, list: true, blocks: 0 }, |w| {
            w.write_bytes(&[GET_REQUEST, 3, InvokeId::confirmed(invoke_id).0])?;
            w.write_length(items.len())?;
            items.iter().try_for_each(|item| described(*item).encode(w))
        })
    }

    /// Writes an attribute; in blocks when the value does not fit the meter's APDU size.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn set(
        &mut self,
        now: Instant,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> core::result::Result<(), StartError> {
        self.set_with(now, at, selection, |w| value.encode(w))
    }

    /// Writes a value of an attribute's own type.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn set_value<T: Value>(
        &mut self,
        now: Instant,
        attribute: Attr<T>,
        logical_name: Obis,
        value: &T::Of<'_>,
    ) -> core::result::Result<(), StartError> {
        self.set_with(now, attribute.of(logical_name), None, |w| attribute.put(value, w))
    }

    fn set_with(
        &mut self,
        now: Instant,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        value: impl Fn(&mut SliceWriter<'_>) -> Result<()>,
    ) -> core::result::Result<(), StartError> {
        self.ready(Conformance::SET)?;
        let invoke_id = self.next_invoke_id();
        let item = described((at, selection));
        let out = self.start_parameter(
            (SET_REQUEST, 1, 2, invoke_id),
            Conformance::BLOCK_TRANSFER_WITH_SET_OR_WRITE,
            &[],
            |w| item.encode(w),
            value,
        )?;
        self.finish_start(now, Pending::Set { invoke_id, list: false, out })
    }

    /// Writes several attributes in one request.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn set_list(
        &mut self,
        now: Instant,
        items: &[(Attribute, Data<'_>)],
    ) -> core::result::Result<(), StartError> {
        self.ready(Conformance::SET | Conformance::MULTIPLE_REFERENCES)?;
        let invoke_id = self.next_invoke_id();
        let out = self.start_parameter(
            (SET_REQUEST, 4, 5, invoke_id),
            Conformance::BLOCK_TRANSFER_WITH_SET_OR_WRITE,
            &[],
            |w| {
                w.write_length(items.len())?;
                items.iter().try_for_each(|(at, _)| described((*at, None)).encode(w))
            },
            |w| {
                w.write_length(items.len())?;
                items.iter().try_for_each(|(_, value)| value.encode(w))
            },
        )?;
        self.finish_start(now, Pending::Set { invoke_id, list: true, out })
    }

    /// Invokes a method; its parameter goes in blocks when it does not fit the meter's APDU size.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn action(
        &mut self,
        now: Instant,
        at: Method,
        parameter: Option<Data<'_>>,
    ) -> core::result::Result<(), StartError> {
        match parameter {
            Some(parameter) => self.action_with(now, at, |w| parameter.encode(w)),
            None => {
                self.ready(Conformance::ACTION)?;
                let invoke_id = self.next_invoke_id();
                let pending = Pending::Action { invoke_id, list: false, out: Outgoing::default(), blocks: 0 };
                self.start(now, pending, |w| {
                    w.write_bytes(&[ACTION_REQUEST, 1, InvokeId::confirmed(invoke_id).0])?;
                    method(at).encode(w)?;
                    w.write_u8(0)
                })
            }
        }
    }

    /// Invokes a method with a parameter of its own type.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn invoke<T: Value>(
        &mut self,
        now: Instant,
        method: Meth<T>,
        logical_name: Obis,
        parameter: &T::Of<'_>,
    ) -> core::result::Result<(), StartError> {
        self.action_with(now, method.of(logical_name), |w| method.put(parameter, w))
    }

    fn action_with(
        &mut self,
        now: Instant,
        at: Method,
        parameter: impl Fn(&mut SliceWriter<'_>) -> Result<()>,
    ) -> core::result::Result<(), StartError> {
        self.ready(Conformance::ACTION)?;
        let invoke_id = self.next_invoke_id();
        let out = self.start_parameter(
            (ACTION_REQUEST, 1, 4, invoke_id),
            Conformance::BLOCK_TRANSFER_WITH_ACTION,
            &[1],
            |w| method(at).encode(w),
            parameter,
        )?;
        self.finish_start(now, Pending::Action { invoke_id, list: false, out, blocks: 0 })
    }

    /// Invokes several methods in one request.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn action_list(
        &mut self,
        now: Instant,
        items: &[Parameter<'_>],
    ) -> core::result::Result<(), StartError> {
        self.ready(Conformance::ACTION | Conformance::MULTIPLE_REFERENCES)?;
        let invoke_id = self.next_invoke_id();
        let out = self.start_parameter(
            (ACTION_REQUEST, 3, 5, invoke_id),
            Conformance::BLOCK_TRANSFER_WITH_ACTION,
            &[],
            |w| {
                w.write_length(items.len())?;
                items.iter().try_for_each(|(at, _)| method(*at).encode(w))
            },
            |w| {
                w.write_length(items.len())?;
                items.iter().try_for_each(|(_, parameter)| parameter.encode(w))
            },
        )?;
        self.finish_start(now, Pending::Action { invoke_id, list: true, out, blocks: 0 })
    }

    pub(super) fn ready(&self, services: Conformance) -> core::result::Result<(), StartError> {
        if self.state != State::Associated {
            return Err(StartError::WrongState);
        }
        if self.pending != Pending::None {
            return Err(StartError::Busy);
        }
        self.agreed(services)
    }

    fn agreed(&self, services: Conformance) -> core::result::Result<(), StartError> {
        if self.conformance.contains(services) { Ok(()) } else { Err(StartError::NotNegotiated) }
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        pending: Pending,
        f: impl FnOnce(&mut SliceWriter<'_>) -> Result<()>,
    ) -> core::result::Result<(), StartError> {
        self.tx.build(f).map_err(|_| StartError::TooLong)?;
        self.finish_start(now, pending)
    }

    /// Sends what is in the transmit buffer, if the meter takes that much.
    fn finish_start(&mut self, now: Instant, pending: Pending) -> core::result::Result<(), StartError> {
        self.finish_start_as(now, pending, self.service_form())
    }

    fn finish_start_as(
        &mut self,
        now: Instant,
        pending: Pending,
        form: Form,
    ) -> core::result::Result<(), StartError> {
        let whole = self.tx.len() <= self.capacity_as(form);
        if !whole && self.agreed(Conformance::GENERAL_BLOCK_TRANSFER).is_err() {
            self.tx.clear();
            return Err(StartError::TooLong);
        }
        if let Err(error) = self.send(form) {
            self.tx.clear();
            return Err(error);
        }
        if !whole {
            self.cut_into_general_blocks()?;
        }
        self.wait(now, pending);
        Ok(())
    }

    /// Builds a request with a value: whole if it fits, else its first block, with the value kept for the rest.
    /// `names` is tag, choice for the whole, choice for the first block, invoke-id; `flag` stands between head and whole
    /// value.
    fn start_parameter(
        &mut self,
        names: (u8, u8, u8, u8),
        blocks: Conformance,
        flag: &[u8],
        head: impl Fn(&mut SliceWriter<'_>) -> Result<()>,
        value: impl Fn(&mut SliceWriter<'_>) -> Result<()>,
    ) -> core::result::Result<Outgoing, StartError> {
        let (tag, whole, first, invoke_id) = names;
        let id = InvokeId::confirmed(invoke_id).0;
        let built = self.tx.build(|w| {
            w.write_bytes(&[tag, whole, id])?;
            head(w)?;
            w.write_bytes(flag)?;
            value(w)
        });
        if built.is_ok() && self.tx.len() <= self.capacity() {
            return Ok(Outgoing::default());
        }
        if self.agreed(blocks).is_err() {
            // Whole in the buffer it may still go in general blocks.
            return built.map(|()| Outgoing::default()).map_err(|_| StartError::TooLong);
        }
        let mut w = SliceWriter::new(&mut self.long);
        value(&mut w).map_err(|_| StartError::TooLong)?;
        let len = w.written();
        let capacity = self.capacity();
        let Self { tx, long, .. } = self;
        let mut sent = 0;
        tx.build(|w| {
            w.write_bytes(&[tag, first, id])?;
            head(w)?;
            let room = block_bytes(capacity.saturating_sub(w.written()));
            sent = room.min(len);
            w.write_u8(u8::from(sent == len))?;
            w.write_u32(1)?;
            w.write_length_prefixed(long.get(..sent).unwrap_or(&[]))
        })
        .map_err(|_| StartError::TooLong)?;
        if sent == 0 {
            return Err(StartError::TooLong);
        }
        Ok(Outgoing { sent, len, number: 1 })
    }

    /// Sends the next block of a value; gives how far that gets.
    pub(super) fn send_parameter_block(
        &mut self,
        tag: u8,
        choice: u8,
        invoke_id: u8,
        out: Outgoing,
    ) -> core::result::Result<Outgoing, StartError> {
        let capacity = self.capacity();
        let number = out.number.wrapping_add(1);
        let mut sent = out.sent;
        let Self { tx, long, .. } = self;
        tx.build(|w| {
            w.write_bytes(&[tag, choice, InvokeId::confirmed(invoke_id).0])?;
            let room = block_bytes(capacity.saturating_sub(w.written()));
            sent = out.sent.saturating_add(room).min(out.len);
            w.write_u8(u8::from(sent == out.len))?;
            w.write_u32(number)?;
            w.write_length_prefixed(long.get(out.sent..sent).unwrap_or(&[]))
        })
        .map_err(|_| StartError::TooLong)?;
        if sent == out.sent {
            return Err(StartError::TooLong);
        }
        self.send(self.service_form())?;
        Ok(Outgoing { sent, number, ..out })
    }

    /// Asks for the block after `number`.
    pub(super) fn send_get_next(
        &mut self,
        invoke_id: u8,
        number: u32,
    ) -> core::result::Result<(), StartError> {
        let request = GetRequest::Next { invoke_id: InvokeId::confirmed(invoke_id), block_number: number };
        self.tx.build(|w| Apdu::GetRequest(request).encode(w)).map_err(|_| StartError::TooLong)?;
        self.send(self.service_form())
    }

    /// Asks for the block of a method's return value after `number`.
    pub(super) fn send_action_next(
        &mut self,
        invoke_id: u8,
        number: u32,
    ) -> core::result::Result<(), StartError> {
        self.tx
            .build(|w| {
                w.write_bytes(&[ACTION_REQUEST, 2, InvokeId::confirmed(invoke_id).0])?;
                w.write_u32(number)
            })
            .map_err(|_| StartError::TooLong)?;
        self.send(self.service_form())
    }
}

/// Value bytes of a block in `room`: last flag, number and length are in front of them.
fn block_bytes(room: usize) -> usize {
    [(1, 0x7F), (2, 0xFF), (3, 0xFFFF)]
        .into_iter()
        .map(|(field, most)| room.saturating_sub(5 + field).min(most))
        .max()
        .unwrap_or(0)
}

fn described(item: GetItem<'_>) -> AttributeDescriptorWithSelection<'_> {
    let (at, access) = item;
    let descriptor = AttributeDescriptor::new(at.class_id, at.logical_name, at.index);
    AttributeDescriptorWithSelection { descriptor, access }
}

const fn method(at: Method) -> MethodDescriptor {
    MethodDescriptor::new(at.class_id, at.logical_name, at.index)
}
