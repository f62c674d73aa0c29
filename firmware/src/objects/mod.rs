//! The meter's COSEM objects, as the server engine asks for them.

mod association;
mod charges;
mod clock;
mod control;
mod credits;
mod data;
mod image;
mod limiter;
mod measured;
mod metrology;
mod payment;
mod profiles;
mod push;
mod security;
mod table;

use hardware::board::Board;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::Writer;
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::xdlms::{ActionResult, DataAccessResult, SelectiveAccess};
use protocol::cosem::{
    account, association as association_class, charge, clock as clock_class, credit, data as data_class,
    disconnect, image_transfer, limiter as limiter_class, profile, push_setup, register, security_setup,
    token_gateway,
};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};

use crate::meter::Meter;
use crate::relay::Refused;
pub(crate) use measured::power_factor;
pub(crate) use profiles::View;
pub use table::client;

/// An encoder's error: the value did not fit, which the piece bound rules out.
pub(crate) fn full(_: protocol::codec::codec::Error) -> DataAccessResult {
    DataAccessResult::OtherReason
}

impl<B: Board> ObjectModel for Meter<B> {
    fn get(
        &mut self,
        caller: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        piece: u32,
        out: &mut dyn Writer,
    ) -> Result<Piece, DataAccessResult> {
        let object = table::find(at.logical_name).filter(|o| o.visible_to(caller));
        let object = object.ok_or(DataAccessResult::ObjectUndefined)?;
        if object.at.class_id != at.class_id {
            return Err(DataAccessResult::ObjectClassInconsistent);
        }
        if !object.attribute_access(caller, at.index).can_read() {
            return Err(DataAccessResult::ReadWriteDenied);
        }
        if at.index == 1 {
            protocol::cosem::values::put_obis(out, at.logical_name).map_err(full)?;
            return Ok(Piece::Last);
        }
        // Only profile buffers have selectors.
        if selection.is_some() && !(at.class_id == profile::CLASS && at.index == profile::BUFFER) {
            return Err(DataAccessResult::ScopeOfAccessViolated);
        }
        match at.class_id {
            association_class::CLASS => return self.get_association(caller, at, piece, out),
            profile::CLASS if at.index == profile::BUFFER => {
                return self.get_buffer(caller, at.logical_name, selection, piece, out);
            }
            image_transfer::CLASS => {
                return image_transfer::get(&mut image::ImageObject::of(self), at.index, piece, out);
            }
            push_setup::CLASS => {
                return push_setup::get(&mut push::PushObject(self), at.index, piece, out);
            }
            data_class::CLASS => self.get_data(at.logical_name, out),
            clock_class::CLASS => self.get_clock(at.index, out),
            register::CLASS => self.get_register(at.logical_name, at.index, out),
            profile::CLASS => self.get_profile(at.logical_name, at.index, out),
            table::SAP_ASSIGNMENT_CLASS => self.get_sap_assignment(out),
            security_setup::CLASS => self.get_security_setup(at.index, out),
            disconnect::CLASS => self.get_disconnect(at.index, out),
            limiter_class::CLASS => self.get_limiter(at.index, out),
            account::CLASS => self.get_account(at.index, out),
            credit::CLASS => self.get_credit(at.logical_name, at.index, out),
            charge::CLASS => self.get_charge(at.logical_name, at.index, out),
            token_gateway::CLASS => self.get_token_gateway(at.index, out),
            _ => Err(DataAccessResult::ObjectUndefined),
        }?;
        Ok(Piece::Last)
    }

    fn set(
        &mut self,
        caller: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        let object = table::find(at.logical_name).filter(|o| o.visible_to(caller));
        let object = object.ok_or(DataAccessResult::ObjectUndefined)?;
        if object.at.class_id != at.class_id {
            return Err(DataAccessResult::ObjectClassInconsistent);
        }
        if selection.is_some() || !object.attribute_access(caller, at.index).can_write() {
            return Err(DataAccessResult::ReadWriteDenied);
        }
        match (at.class_id, at.index) {
            (data_class::CLASS, 2) => self.set_data(at.logical_name, value),
            (clock_class::CLASS, index) => self.set_clock(index, value),
            (push_setup::CLASS, index) => push_setup::set(&mut push::PushObject(self), index, value),
            (disconnect::CLASS, 4) => self.set_control_mode(value),
            (account::CLASS, 2) => self.set_payment_mode(value),
            (account::CLASS, 16) => self.set_low_credit(value),
            (limiter_class::CLASS, _) => self.set_limiter(at.index, value),
            (credit::CLASS, _) => self.set_credit(at.logical_name, at.index, value),
            (charge::CLASS, _) => self.set_charge(at.logical_name, at.index, value),
            _ => Err(DataAccessResult::ReadWriteDenied),
        }
    }

    fn action(
        &mut self,
        caller: Caller,
        at: Method,
        parameter: Option<Data<'_>>,
        _out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        let object = table::find(at.logical_name).filter(|o| o.visible_to(caller));
        let object = object.ok_or(ActionResult::ObjectUndefined)?;
        if object.at.class_id != at.class_id {
            return Err(ActionResult::ObjectClassInconsistent);
        }
        if !object.method_access(caller, at.index).can_invoke() {
            return Err(ActionResult::ReadWriteDenied);
        }
        let parameter = parameter.unwrap_or(Data::Null);
        match (at.class_id, at.index) {
            (disconnect::CLASS, 1 | 2) => self.invoke_disconnect(at.index, parameter),
            (token_gateway::CLASS, 1) => self.invoke_enter(parameter),
            (clock_class::CLASS, index) => self.invoke_clock(index, parameter),
            (credit::CLASS, _) => self.invoke_credit(at.logical_name, at.index, parameter),
            (charge::CLASS, _) => self.invoke_charge(at.logical_name, at.index, parameter),
            (account::CLASS, 1 | 2) => self.invoke_account(at.index),
            (push_setup::CLASS, index) => push_setup::invoke(&mut push::PushObject(self), index, parameter),
            (image_transfer::CLASS, index) => {
                image_transfer::invoke(&mut image::ImageObject::of(self), index, parameter)
            }
            (profile::CLASS, 1 | 2) => self.invoke_profile(at.logical_name, at.index),
            (security_setup::CLASS, _) => self.invoke_security_setup(at.index, parameter),
            _ => Err(ActionResult::ObjectUnavailable),
        }?;
        Ok(false)
    }

    fn attribute_access(&self, caller: Caller, at: Attribute) -> AttributeAccess {
        table::find(at.logical_name)
            .filter(|o| o.at.class_id == at.class_id)
            .map_or(AttributeAccess::empty(), |o| o.attribute_access(caller, at.index))
    }

    fn method_access(&self, caller: Caller, at: Method) -> MethodAccess {
        table::find(at.logical_name)
            .filter(|o| o.at.class_id == at.class_id)
            .map_or(MethodAccess::empty(), |o| o.method_access(caller, at.index))
    }
}

impl<B: Board> Meter<B> {
    /// A moment that a client sets: all wildcards mean never, which is 0.
    pub(crate) fn moment(&self, time: DateTime) -> Result<u32, DataAccessResult> {
        if time == DateTime::WILDCARD {
            return Ok(0);
        }
        self.settings.zone.utc_s(time).ok_or(DataAccessResult::OtherReason)
    }
}

/// What a refused relay command is called on the wire: not allowed in this mode and state, or held by something that passes.
pub(crate) fn refusal(refused: Refused) -> ActionResult {
    match refused.held_by {
        Some(_) => ActionResult::TemporaryFailure,
        None => ActionResult::ObjectUnavailable,
    }
}
