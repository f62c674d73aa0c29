//! The relay (class 70).

use hardware::board::Board;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Invoked, Nothing};
use protocol::cosem::disconnect::{ControlMode, ControlState, DisconnectControl, Trigger};

use crate::meter::Meter;
use crate::relay::Refused;

/// The meter as its only object of the class.
pub(super) struct RelayObject<'m, B: Board>(pub &'m mut Meter<B>);

impl<B: Board> DisconnectControl for RelayObject<'_, B> {
    fn output_state(&mut self) -> Access<bool> {
        self.0.sense_closed().ok_or(DataAccessResult::HardwareFault)
    }

    fn control_state(&mut self) -> Access<ControlState> {
        Ok(self.0.record.relay.state)
    }

    fn control_mode(&mut self) -> Access<ControlMode> {
        Ok(self.0.record.relay.mode)
    }

    fn set_control_mode(&mut self, mode: ControlMode) -> Access<()> {
        self.0.reconfigure(&mut |next| next.relay.mode = mode)
    }

    fn remote_disconnect(&mut self, _: Nothing) -> Invoked {
        self.0.command_relay(Trigger::RemoteDisconnect).map_err(refusal)
    }

    fn remote_reconnect(&mut self, _: Nothing) -> Invoked {
        self.0.command_relay(Trigger::RemoteReconnect).map_err(refusal)
    }
}

/// What a refused relay command is called on the wire: not allowed in this mode and state, or held by something that passes.
pub(super) fn refusal(refused: Refused) -> ActionResult {
    match refused.held_by {
        Some(_) => ActionResult::TemporaryFailure,
        None => ActionResult::ObjectUnavailable,
    }
}
