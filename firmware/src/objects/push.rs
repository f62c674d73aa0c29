//! Push setup for alarms (class 40).

use hardware::board::Board;
use heapless::Vec;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Invoked, Nothing};
use protocol::cosem::obis;
use protocol::cosem::push_setup::{
    CaptureObject, MessageType, PushSetup, SendDestinationAndMethod, TransportService, WindowElement,
};

use crate::meter::Meter;
use crate::settings::Push;

/// What an alarm carries, in this order (`alarm::Alarm::encode`).
const CARRIED: [CaptureObject; 4] = [
    CaptureObject::new(1, obis::LOGICAL_DEVICE_NAME, 2, 0),
    CaptureObject::new(8, obis::CLOCK, 2, 0),
    CaptureObject::new(1, obis::EVENT_CODE, 2, 0),
    CaptureObject::new(1, obis::EVENT_DETAIL, 2, 0),
];

/// The meter as its only object of the class.
pub(super) struct PushObject<'m, B: Board>(pub &'m mut Meter<B>);

impl<B: Board> PushObject<'_, B> {
    fn change(&mut self, change: impl FnOnce(&mut Push)) -> Access<()> {
        let mut settings = self.0.settings.clone();
        change(&mut settings.push);
        self.0.change_settings(settings)
    }
}

impl<B: Board> PushSetup for PushObject<'_, B> {
    fn push_object_list(&mut self) -> Access<impl ExactSizeIterator<Item = CaptureObject>> {
        Ok(CARRIED.into_iter())
    }

    fn send_destination_and_method(&mut self) -> Access<SendDestinationAndMethod<'_>> {
        Ok(SendDestinationAndMethod {
            transport_service: TransportService::Tcp,
            destination: &self.0.settings.push.destination,
            message: MessageType::AXdr,
        })
    }

    fn set_send_destination_and_method(&mut self, to: SendDestinationAndMethod<'_>) -> Access<()> {
        let destination = Vec::from_slice(to.destination).map_err(|_| DataAccessResult::OtherReason)?;
        if to.transport_service != TransportService::Tcp || to.message != MessageType::AXdr {
            return Err(DataAccessResult::OtherReason);
        }
        self.change(|push| push.destination = destination)
    }

    /// None: at any time.
    fn communication_window(&mut self) -> Access<impl ExactSizeIterator<Item = WindowElement>> {
        Ok(core::iter::empty())
    }

    /// An alarm does not wait.
    fn randomisation_start_interval(&mut self) -> Access<u16> {
        Ok(0)
    }

    fn number_of_retries(&mut self) -> Access<u8> {
        Ok(self.0.settings.push.retries)
    }

    fn set_number_of_retries(&mut self, retries: u8) -> Access<()> {
        self.change(|push| push.retries = retries)
    }

    fn repetition_delay(&mut self) -> Access<u16> {
        Ok(self.0.settings.push.repetition_delay_s)
    }

    fn set_repetition_delay(&mut self, seconds: u16) -> Access<()> {
        self.change(|push| push.repetition_delay_s = seconds)
    }

    /// The newest event is pushed, whatever it is.
    fn push(&mut self, _: Nothing) -> Invoked {
        self.0.push_newest().ok_or(ActionResult::TemporaryFailure)
    }
}
