//! The relay (class 70).

use hardware::board::Board;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::FromData;
use protocol::cosem::disconnect::{ControlMode, Trigger};

use super::{full, refusal};
use crate::meter::Meter;

impl<B: Board> Meter<B> {
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
