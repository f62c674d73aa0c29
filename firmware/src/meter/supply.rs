//! The supply: what persons and the network may ask of the relay, and the contact that follows its logic.

use hardware::board::Board;
use protocol::cosem::disconnect::{RelayReason, Trigger};
use protocol::cosem::events::Event;

use super::{Meter, NotOffered};
use crate::protection::Tripped;
use crate::relay::{Refused, RelayEvents};

impl<B: Board> Meter<B> {
    /// A person presses the button that closes an armed relay.
    ///
    /// # Errors
    /// [`Refused`]: not armed, or what holds the supply back.
    pub fn press_button(&mut self) -> Result<(), Refused> {
        self.command_relay(Trigger::ManualReconnect)
    }

    /// A person opens the relay at the meter.
    ///
    /// # Errors
    /// [`Refused`]: the mode does not allow it.
    pub fn open_manually(&mut self) -> Result<(), Refused> {
        self.command_relay(Trigger::ManualDisconnect)
    }

    /// A command for the relay; class 70's methods and Modbus's coil end here.
    pub(crate) fn command_relay(&mut self, trigger: Trigger) -> Result<(), Refused> {
        let mut next = self.record.clone();
        let mut events = RelayEvents::new();
        if matches!(trigger, Trigger::RemoteDisconnect | Trigger::RemoteReconnect) {
            // Whoever commands from afar has looked at why it tripped.
            next.tripped = Tripped::default();
        }
        let hold = next.hold(self.local_s());
        next.relay.command(trigger, hold, &mut events)?;
        if self.commit(next).is_err() {
            return Err(Refused { state: self.record.relay.state, held_by: Some(RelayReason::Fault) });
        }
        self.relay_changed(&events);
        Ok(())
    }

    /// The customer takes the emergency credit that is offered.
    ///
    /// # Errors
    /// [`NotOffered`]: too much credit left, or taken already.
    pub fn take_emergency_credit(&mut self) -> Result<(), NotOffered> {
        if !self.record.terms.offers_emergency(self.record.ledger.remaining()) {
            return Err(NotOffered);
        }
        let mut next = self.record.clone();
        next.terms.emergency.taken = true;
        self.settle_and_commit(next).map_err(|_| NotOffered)?;
        let preset = self.record.terms.emergency.preset;
        self.note(Event::EmergencyCreditTaken, i32::try_from(preset).unwrap_or(i32::MAX));
        Ok(())
    }

    /// Asks the contact.
    pub(crate) fn sense_closed(&mut self) -> Option<bool> {
        self.contact.sense(self.board.relay())
    }

    /// Logs the events of a relay change and moves the contact.
    pub(crate) fn relay_changed(&mut self, events: &RelayEvents) {
        if events.is_empty() {
            return;
        }
        self.drive();
        for (event, detail) in events {
            self.note(*event, *detail);
        }
    }

    pub(super) fn drive(&mut self) {
        self.contact.recommand();
        let want = self.record.relay.wants_closed();
        // The first pulse cannot be the one that is given up after.
        let _ = self.contact.follow(self.board.relay(), want);
    }
}
