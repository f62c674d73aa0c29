//! Clock and relay.

use hardware::board::{Board, Clock};
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::FromData;
use protocol::cosem::clock::{INVALID, date_time, utc_s};
use protocol::cosem::disconnect::{ControlMode, Trigger};
use protocol::cosem::events::Event;
use protocol::cosem::profile::row_status;
use protocol::cosem::values::put_date_time;

use super::{full, refusal};
use crate::meter::Meter;
use crate::terms::DAY_S;

/// Seconds that method 6 of the clock may shift (Blue Book, class 8).
const SHIFT_MAX_S: i64 = 900;

impl<B: Board> Meter<B> {
    pub(super) fn get_clock(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let offset = self.who.utc_offset_minutes;
        let known = self.board.clock().utc_s();
        let status = if known.is_some() { 0 } else { INVALID };
        match index {
            2 => put_date_time(out, date_time(known.unwrap_or(self.record.utc_s), offset, status)),
            3 => Data::Long(-offset).encode(out),
            4 => Data::Unsigned(status).encode(out),
            5 | 6 => put_date_time(out, DateTime::WILDCARD),
            7 => Data::Integer(0).encode(out),
            8 => Data::Boolean(false).encode(out),
            // Internal crystal.
            9 => Data::Enum(1).encode(out),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    pub(super) fn set_clock(&mut self, value: Data<'_>) -> Result<(), DataAccessResult> {
        let time = DateTime::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
        let to = utc_s(time, self.who.utc_offset_minutes).ok_or(DataAccessResult::OtherReason)?;
        self.set_utc(to);
        Ok(())
    }

    fn set_utc(&mut self, to_utc_s: u32) {
        let from = self.board.clock().utc_s();
        self.board.clock().set_utc_s(to_utc_s);
        let change = from.map_or(0, |from| i64::from(to_utc_s) - i64::from(from));
        self.conditions.row_status |= row_status::CLOCK_SET;
        // Days that were not lived are not charged; a small correction over midnight leaves the day's charge due.
        if change.abs() >= i64::from(DAY_S)
            && let Some(local_s) = self.local_s()
        {
            let mut next = self.record.clone();
            next.terms.day = local_s / DAY_S;
            let _ = self.commit(next);
        }
        self.note(Event::ClockSet, change.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
    }

    pub(super) fn invoke_shift_time(&mut self, parameter: Data<'_>) -> Result<(), ActionResult> {
        let shift = parameter.as_i64().ok_or(ActionResult::TypeUnmatched)?;
        if shift.abs() > SHIFT_MAX_S {
            return Err(ActionResult::OtherReason);
        }
        let now = self.board.clock().utc_s().ok_or(ActionResult::TemporaryFailure)?;
        let to = u32::try_from(i64::from(now) + shift).map_err(|_| ActionResult::OtherReason)?;
        self.set_utc(to);
        Ok(())
    }

    pub(super) fn get_disconnect(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        match index {
            2 => Data::Boolean(self.sense_closed()).encode(out),
            3 => self.record.relay.state.encode(out),
            4 => self.record.relay.mode.encode(out),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    pub(super) fn invoke_disconnect(&mut self, index: i8, parameter: Data<'_>) -> Result<(), ActionResult> {
        // Integer 0 by the class; some clients send another integer or nothing.
        if parameter.as_i64().is_none() && parameter != Data::Null {
            return Err(ActionResult::TypeUnmatched);
        }
        let trigger = if index == 1 { Trigger::RemoteDisconnect } else { Trigger::RemoteReconnect };
        self.command_relay(trigger).map_err(refusal)
    }

    pub(super) fn set_control_mode(&mut self, value: Data<'_>) -> Result<(), DataAccessResult> {
        let mode = ControlMode::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
        let mut next = self.record.clone();
        next.relay.mode = mode;
        self.configure(next)
    }
}
