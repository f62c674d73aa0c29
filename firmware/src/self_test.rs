//! A look at itself, for a console at start and for a service page.

use hardware::board::{Board, Clock};
use protocol::cosem::events::EventRow;

use crate::journal::{Journal, PLACE_BYTES};
use crate::layout::Layout;
use crate::meter::Meter;
use crate::record::Record;

/// What works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfTest {
    /// The newest record is read back whole, and its credit is the one in memory.
    pub storage: bool,
    /// The front end answers.
    pub metering: bool,
    /// The time is known.
    pub clock: bool,
    /// The contact stands where the logic wants it, and nothing flows through an open one.
    pub relay: bool,
    /// Every unit of credit is accounted for.
    pub credit: bool,
}

impl SelfTest {
    /// Whether all of it works.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.storage && self.metering && self.clock && self.relay && self.credit
    }
}

impl<B: Board> Meter<B> {
    /// Looks at all parts once. What the front end measured meanwhile is counted.
    pub fn self_test(&mut self) -> SelfTest {
        self.measure();
        let stored = Journal::<Record, PLACE_BYTES>::recover(self.board.storage(), 0, Layout::STATE_PLACES);
        let ledger = self.record.ledger;
        let wanted = self.record.relay.wants_closed();
        SelfTest {
            storage: stored.is_ok_and(|(_, record)| record.is_some_and(|record| record.ledger == ledger)),
            metering: !self.conditions.measurement_failed,
            clock: self.board.clock().utc_s().is_some(),
            relay: self.sense_closed() == Some(wanted) && !self.contact.faulty(),
            credit: ledger.balances(),
        }
    }

    /// Events logged in the meter's life.
    #[must_use]
    pub const fn events_logged(&self) -> u32 {
        self.record.events.next
    }

    /// The first event from number `from` on that is still in the log, and its number.
    pub fn event_from(&mut self, from: u32) -> Option<(u32, EventRow)> {
        let rows = self.events.rows(self.record.events);
        rows.filter(|number| *number >= from)
            .find_map(|number| Some((number, self.events.get(self.board.storage(), number)?)))
    }
}
