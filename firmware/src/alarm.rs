//! Events that are pushed, not only logged.

use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Result, Writer};
use protocol::cosem::clock::date_time;
use protocol::cosem::events::Event;
use protocol::cosem::values::{put_date_time, put_structure};

/// Alarms kept until they are pushed; the oldest gives way.
pub const ALARMS_MAX: usize = 8;

/// One event to push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// What happened.
    pub event: Event,
    /// See the event's text.
    pub detail: i32,
    /// When, UTC; 0 when the clock is not set.
    pub utc_s: u32,
}

/// Whether an event is pushed.
#[must_use]
pub const fn is_alarm(event: Event) -> bool {
    matches!(
        event,
        Event::LocalDisconnection
            | Event::LocalReconnection
            | Event::CreditExhausted
            | Event::LowCredit
            | Event::RelayFailure
            | Event::RelayWelded
            | Event::LockedOut
            | Event::CoverOpened
            | Event::MagnetOn
            | Event::NeutralMissing
            | Event::CurrentImbalance
            | Event::PowerDown
            | Event::Watchdog
            | Event::ReverseEnergy
            | Event::LedgerMismatch
            | Event::MeasurementError
            | Event::NvMemoryError
            | Event::PaymentModeChanged
            | Event::PowerUp
    )
}

impl Alarm {
    /// Writes the body of a data notification: structure {logical device name octet-string, time octet-string(12), event code
    /// unsigned, detail double-long}.
    ///
    /// # Errors
    /// The buffer is full; 48 bytes suffice.
    pub fn encode(
        &self,
        logical_device_name: &str,
        utc_offset_minutes: i16,
        w: &mut dyn Writer,
    ) -> Result<()> {
        put_structure(w, 4)?;
        Data::OctetString(logical_device_name.as_bytes()).encode(w)?;
        put_date_time(w, date_time(self.utc_s, utc_offset_minutes, u8::from(self.utc_s == 0)))?;
        Data::Unsigned(self.event as u8).encode(w)?;
        Data::DoubleLong(self.detail).encode(w)
    }
}
