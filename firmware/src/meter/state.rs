//! Changes of the state: each stored before it counts.

use hardware::board::{Board, Clock};
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::events::Event;

use super::Meter;
use crate::journal::JournalError;
use crate::record::Record;
use crate::relay::RelayEvents;
use crate::settings::Settings;
use crate::tariff::Tariffs;

impl<B: Board> Meter<B> {
    /// Stores `next` and makes it the state; on failure the old state stays.
    pub(crate) fn commit(&mut self, mut next: Record) -> Result<(), JournalError> {
        if let Some(utc_s) = self.board.clock().utc_s() {
            next.utc_s = utc_s;
        }
        // Event rows that were written since `next` was copied are not forgotten.
        next.events = self.record.events;
        let written = self.journal.write(self.board.storage(), &next);
        match written {
            Ok(()) => {
                self.conditions.storage_failed = false;
                self.enter_state(next);
            }
            Err(_) if !self.conditions.storage_failed => {
                self.conditions.storage_failed = true;
                self.note(Event::NvMemoryError, 0);
            }
            Err(_) => {}
        }
        written
    }

    /// As [`Meter::commit`], after the relay's logic has followed the new credit.
    pub(crate) fn settle_and_commit(&mut self, mut next: Record) -> Result<(), JournalError> {
        let mut events = RelayEvents::new();
        let hold = next.hold(self.local_s());
        next.relay.settle(hold, &mut events);
        if next.ledger.remaining() > next.low_credit {
            next.low_credit_warned = false;
        }
        self.commit(next)?;
        self.relay_changed(&events);
        Ok(())
    }

    /// Follows a new state that storage would not take: it holds until the next start.
    pub(super) fn settle_unstored(&mut self, mut next: Record) {
        let mut events = RelayEvents::new();
        let hold = next.hold(self.local_s());
        next.relay.settle(hold, &mut events);
        next.events = self.record.events;
        self.enter_state(next);
        self.relay_changed(&events);
    }

    /// The one place where the state changes.
    pub(crate) fn enter_state(&mut self, next: Record) {
        self.ledger_copy = next.ledger;
        self.record = next;
    }

    /// Stores new tariffs and counts the change.
    pub(crate) fn change_tariffs(&mut self, tariffs: Tariffs) -> Result<(), DataAccessResult> {
        let written = self.tariff_journal.write(self.board.storage(), &tariffs);
        written.map_err(|_| DataAccessResult::HardwareFault)?;
        self.tariffs = tariffs;
        self.configure(self.record.clone())
    }

    /// Stores new settings and counts the change.
    pub(crate) fn change_settings(&mut self, settings: Settings) -> Result<(), DataAccessResult> {
        let written = self.settings_journal.write(self.board.storage(), &settings);
        written.map_err(|_| DataAccessResult::HardwareFault)?;
        self.settings = settings;
        self.configure(self.record.clone())
    }

    /// Changes the configuration in the record.
    pub(crate) fn reconfigure(
        &mut self,
        change: &mut dyn FnMut(&mut Record),
    ) -> Result<(), DataAccessResult> {
        let mut next = self.record.clone();
        change(&mut next);
        self.configure(next)
    }

    /// Stores a change of the configuration: counted, logged, and followed by the relay.
    pub(crate) fn configure(&mut self, mut next: Record) -> Result<(), DataAccessResult> {
        next.configuration_changes = next.configuration_changes.wrapping_add(1);
        let changes = next.configuration_changes;
        self.settle_and_commit(next).map_err(|_| DataAccessResult::HardwareFault)?;
        self.note(Event::ParametersChanged, i32::try_from(changes).unwrap_or(i32::MAX));
        Ok(())
    }
}
