//! The meter's COSEM objects, as the server engine asks for them.

mod association;
#[cfg(feature = "all-objects")]
mod calendar;
mod charges;
mod clock;
mod control;
mod credits;
mod data;
#[cfg(feature = "all-objects")]
mod demand;
mod image;
mod limiter;
mod measured;
mod metrology;
mod payment;
mod profiles;
mod push;
#[cfg(feature = "all-objects")]
mod schedules;
mod security;
mod table;

use hardware::board::Board;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::Writer;
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult, SelectiveAccess};
use protocol::cosem::{
    account, association as association_class, charge, clock as clock_class, credit, data as data_class,
    disconnect, image_transfer, limiter as limiter_class, profile, push_setup, register, sap_assignment,
    security_setup, token_gateway,
};
#[cfg(feature = "all-objects")]
use protocol::cosem::{
    action_schedule, activity_calendar, demand_register, extended_register, register_monitor, script_table,
    special_days,
};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};

use crate::meter::Meter;
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
        let object = self.find(at.logical_name).filter(|o| o.visible_to(caller));
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
        if selection.is_some() && !(at.class_id == profile::CLASS && at.index == profile::BUFFER.index) {
            return Err(DataAccessResult::ScopeOfAccessViolated);
        }
        let (name, index) = (at.logical_name, at.index);
        match at.class_id {
            association_class::CLASS => {
                let mut object = association::AssociationObject { meter: self, caller };
                association_class::get(&mut object, index, piece, out)
            }
            profile::CLASS => {
                let mut object = profiles::ProfileObject { meter: self, name, caller, selection };
                profile::get(&mut object, index, piece, out)
            }
            image_transfer::CLASS => {
                image_transfer::get(&mut image::ImageObject::of(self), index, piece, out)
            }
            push_setup::CLASS => push_setup::get(&mut push::PushObject(self), index, piece, out),
            data_class::CLASS => {
                data_class::get(&mut data::DataObject { meter: self, name }, index, piece, out)
            }
            clock_class::CLASS => clock_class::get(&mut clock::ClockObject(self), index, piece, out),
            register::CLASS => {
                register::get(&mut measured::RegisterObject { meter: self, name }, index, piece, out)
            }
            sap_assignment::CLASS => {
                sap_assignment::get(&mut association::SapObject(self), index, piece, out)
            }
            security_setup::CLASS => {
                let mut object = security::SecurityObject { meter: self, name, call: None };
                security_setup::get(&mut object, index, piece, out)
            }
            disconnect::CLASS => disconnect::get(&mut control::RelayObject(self), index, piece, out),
            limiter_class::CLASS => limiter_class::get(&mut limiter::LimiterObject(self), index, piece, out),
            account::CLASS => account::get(&mut payment::AccountObject(self), index, piece, out),
            credit::CLASS => credit::get(&mut credits::CreditObject::of(self, name), index, piece, out),
            charge::CLASS => charge::get(&mut charges::ChargeObject::of(self, name), index, piece, out),
            token_gateway::CLASS => {
                token_gateway::get(&mut payment::TokenGatewayObject(self), index, piece, out)
            }
            #[cfg(feature = "all-objects")]
            activity_calendar::CLASS => {
                activity_calendar::get(&mut calendar::CalendarObject::of(self), index, piece, out)
            }
            #[cfg(feature = "all-objects")]
            special_days::CLASS => {
                special_days::get(&mut calendar::SpecialDaysObject { meter: self, name }, index, piece, out)
            }
            #[cfg(feature = "all-objects")]
            script_table::CLASS => {
                script_table::get(&mut schedules::ScriptsObject { meter: self, name }, index, piece, out)
            }
            #[cfg(feature = "all-objects")]
            action_schedule::CLASS => {
                action_schedule::get(&mut schedules::ScheduleObject(name), index, piece, out)
            }
            #[cfg(feature = "all-objects")]
            register_monitor::CLASS => {
                register_monitor::get(&mut schedules::MonitorObject::of(self, name), index, piece, out)
            }
            #[cfg(feature = "all-objects")]
            demand_register::CLASS => {
                demand_register::get(&mut demand::DemandObject(self), index, piece, out)
            }
            #[cfg(feature = "all-objects")]
            extended_register::CLASS => {
                extended_register::get(&mut demand::PeakObject(self), index, piece, out)
            }
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    fn set(
        &mut self,
        caller: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        let object = self.find(at.logical_name).filter(|o| o.visible_to(caller));
        let object = object.ok_or(DataAccessResult::ObjectUndefined)?;
        if object.at.class_id != at.class_id {
            return Err(DataAccessResult::ObjectClassInconsistent);
        }
        if selection.is_some() || !object.attribute_access(caller, at.index).can_write() {
            return Err(DataAccessResult::ReadWriteDenied);
        }
        let (name, index) = (at.logical_name, at.index);
        match at.class_id {
            data_class::CLASS => data_class::set(&mut data::DataObject { meter: self, name }, index, value),
            clock_class::CLASS => clock_class::set(&mut clock::ClockObject(self), index, value),
            push_setup::CLASS => push_setup::set(&mut push::PushObject(self), index, value),
            profile::CLASS => {
                let mut object = profiles::ProfileObject { meter: self, name, caller, selection: None };
                profile::set(&mut object, index, value)
            }
            disconnect::CLASS => disconnect::set(&mut control::RelayObject(self), index, value),
            account::CLASS => account::set(&mut payment::AccountObject(self), index, value),
            limiter_class::CLASS => limiter_class::set(&mut limiter::LimiterObject(self), index, value),
            credit::CLASS => credit::set(&mut credits::CreditObject::of(self, name), index, value),
            charge::CLASS => charge::set(&mut charges::ChargeObject::of(self, name), index, value),
            #[cfg(feature = "all-objects")]
            activity_calendar::CLASS => {
                activity_calendar::set(&mut calendar::CalendarObject::of(self), index, value)
            }
            #[cfg(feature = "all-objects")]
            special_days::CLASS => {
                special_days::set(&mut calendar::SpecialDaysObject { meter: self, name }, index, value)
            }
            _ => Err(DataAccessResult::ReadWriteDenied),
        }
    }

    fn action(
        &mut self,
        caller: Caller,
        at: Method,
        parameter: Option<Data<'_>>,
        out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        let object = self.find(at.logical_name).filter(|o| o.visible_to(caller));
        let object = object.ok_or(ActionResult::ObjectUndefined)?;
        if object.at.class_id != at.class_id {
            return Err(ActionResult::ObjectClassInconsistent);
        }
        if !object.method_access(caller, at.index).can_invoke() {
            return Err(ActionResult::ReadWriteDenied);
        }
        let parameter = parameter.unwrap_or(Data::Null);
        let (name, index) = (at.logical_name, at.index);
        match at.class_id {
            disconnect::CLASS => disconnect::invoke(&mut control::RelayObject(self), index, parameter),
            token_gateway::CLASS => {
                token_gateway::invoke(&mut payment::TokenGatewayObject(self), index, parameter)
            }
            clock_class::CLASS => clock_class::invoke(&mut clock::ClockObject(self), index, parameter),
            credit::CLASS => credit::invoke(&mut credits::CreditObject::of(self, name), index, parameter),
            charge::CLASS => charge::invoke(&mut charges::ChargeObject::of(self, name), index, parameter),
            account::CLASS => account::invoke(&mut payment::AccountObject(self), index, parameter),
            push_setup::CLASS => push_setup::invoke(&mut push::PushObject(self), index, parameter),
            image_transfer::CLASS => {
                image_transfer::invoke(&mut image::ImageObject::of(self), index, parameter)
            }
            profile::CLASS => {
                let mut object = profiles::ProfileObject { meter: self, name, caller, selection: None };
                profile::invoke(&mut object, index, parameter)
            }
            security_setup::CLASS => {
                let call = Some(security::Call { caller, out, answered: false });
                let mut object = security::SecurityObject { meter: self, name, call };
                security_setup::invoke(&mut object, index, parameter)?;
                return Ok(object.call.is_some_and(|call| call.answered));
            }
            #[cfg(feature = "all-objects")]
            activity_calendar::CLASS => {
                activity_calendar::invoke(&mut calendar::CalendarObject::of(self), index, parameter)
            }
            #[cfg(feature = "all-objects")]
            special_days::CLASS => {
                special_days::invoke(&mut calendar::SpecialDaysObject { meter: self, name }, index, parameter)
            }
            #[cfg(feature = "all-objects")]
            script_table::CLASS => {
                script_table::invoke(&mut schedules::ScriptsObject { meter: self, name }, index, parameter)
            }
            #[cfg(feature = "all-objects")]
            extended_register::CLASS => {
                extended_register::invoke(&mut demand::PeakObject(self), index, parameter)
            }
            _ => Err(ActionResult::ObjectUnavailable),
        }?;
        Ok(false)
    }

    fn attribute_access(&self, caller: Caller, at: Attribute) -> AttributeAccess {
        self.find(at.logical_name)
            .filter(|o| o.at.class_id == at.class_id)
            .map_or(AttributeAccess::empty(), |o| o.attribute_access(caller, at.index))
    }

    fn method_access(&self, caller: Caller, at: Method) -> MethodAccess {
        self.find(at.logical_name)
            .filter(|o| o.at.class_id == at.class_id)
            .map_or(MethodAccess::empty(), |o| o.method_access(caller, at.index))
    }
}

impl<B: Board> Meter<B> {
    /// The object of that name, if this meter has it.
    fn find(&self, name: Obis) -> Option<&'static table::Object> {
        table::find(name).filter(|_| self.has(name))
    }

    /// A moment that a client sets: all wildcards mean never, which is 0.
    pub(crate) fn moment(&self, time: DateTime) -> Result<u32, DataAccessResult> {
        if time == DateTime::WILDCARD {
            return Ok(0);
        }
        self.settings.zone.utc_s(time).ok_or(DataAccessResult::OtherReason)
    }
}
