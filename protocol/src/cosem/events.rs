//! Events of the reference meter and the rows of its event log (a class 7 profile). Codes below 128 are those that
//! interoperability profiles of DLMS meters share for standard, fraud and disconnector logs; codes from 128 are ours.

use super::class::ToData;
use super::values::{fields, put_date_time, put_structure};
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Result, Writer};
pub use crate::codec::cosem::CaptureObject;

macro_rules! events {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum Event { $(#[doc = $text] $(#[$meta])* $name = $code,)* }

        impl Event {
            /// From the number in a log row.
            #[must_use]
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
            /// For people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

events! {
    PowerDown = 1, "Supply lost: the last word before the meter goes dark";
    PowerUp = 2, "Power up; the detail is the number of seconds without power, 0 when unknown";
    DaylightChanged = 3, "Daylight saving began or ended; the detail is the minutes that local time is ahead of UTC now";
    ClockSet = 5, "Clock set; the detail is the change in seconds";
    ClockInvalid = 6, "Clock invalid";
    NvMemoryError = 14, "Non-volatile memory error";
    MeasurementError = 16, "Measurement system error";
    FirmwareReady = 17, "New firmware is about to start; the detail is its version, ten bits a part";
    FirmwareActivated = 18, "New firmware confirmed itself; the detail is its version, ten bits a part";
    CoverOpened = 40, "Cover opened";
    CoverClosed = 41, "Cover closed";
    MagnetOn = 42, "Strong magnetic field detected";
    MagnetOff = 43, "Strong magnetic field gone";
    AssociationRefused = 46, "An association was refused; the detail is the client address";
    ParametersChanged = 47, "Parameters changed; the detail is the count of changes";
    KeysChanged = 48, "Keys changed";
    FrameRefused = 49, "A protected frame could not be opened or was replayed; the detail is the client address";
    FirmwareRefused = 51, "A firmware image was refused; the detail is 1 format, 2 damaged, 3 other model, 4 older, 5 signature, 6 memory";
    ReadyForReconnection = 59, "Relay ready for manual reconnection";
    ManualDisconnection = 60, "Relay opened by a person";
    ManualConnection = 61, "Relay closed by a person";
    RemoteDisconnection = 62, "Relay opened remotely";
    RemoteConnection = 63, "Relay closed remotely";
    LocalDisconnection = 64, "Relay opened by the meter; the detail is the reason";
    LocalReconnection = 69, "Relay closed by the meter";
    RelayFailure = 68, "Relay did not follow; the detail is 1 when it should be closed";
    RelayWelded = 128, "Relay commanded open, and current still flows; the detail is the current in milliamperes";
    TokenAccepted = 129, "Token accepted; the detail is the amount in account units";
    TokenRefused = 130, "Token refused; the detail is the STS result code";
    LowCredit = 131, "Credit below the warning threshold; the detail is the credit left";
    CreditExhausted = 132, "Credit used up";
    CreditAdjusted = 133, "Credit changed by management; the detail is the change";
    TokenKeysChanged = 134, "STS decoder key changed; the detail is the new key revision";
    EmergencyCreditTaken = 135, "Emergency credit taken";
    PaymentModeChanged = 136, "Payment mode changed; the detail is the new mode";
    ReverseEnergy = 137, "Energy flows backwards";
    NeutralMissing = 138, "No current in the neutral; the detail is what is missing in milliamperes";
    CurrentImbalance = 147, "Phase and neutral current differ; the detail is the difference in milliamperes";
    OverCurrentTrip = 139, "Tripped on over-current; the detail is the current in milliamperes";
    VoltageTrip = 140, "Tripped on voltage; the detail is the voltage in millivolts";
    LockedOut = 141, "Locked out after repeated trips";
    KeypadLocked = 142, "Keypad locked after wrong tokens; the detail is the seconds";
    LedgerMismatch = 143, "Two copies of the credit disagreed, or a stored one does not balance";
    OverloadTrip = 145, "Tripped by the limiter; the detail is the power in watts";
    FirmwareRolledBack = 146, "New firmware did not confirm itself; the former runs: the detail is its version, ten bits a part";
    Watchdog = 144, "Restarted by the watchdog; the detail is the number of seconds it hung, 0 when unknown";
}

/// One row of the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow {
    /// When, UTC; 0 when the clock was not set.
    pub utc_s: u32,
    /// [`Event`] code.
    pub code: u8,
    /// What the event's text says the detail is.
    pub detail: i32,
}

/// Columns of [`EventRow`].
pub const EVENT_COLUMNS: usize = 3;

/// The capture objects of the event log, in the order of the row.
pub const EVENT_CAPTURE_OBJECTS: [CaptureObject; EVENT_COLUMNS] = {
    use super::obis;
    [
        CaptureObject::new(8, obis::CLOCK, 2, 0),
        CaptureObject::new(1, obis::EVENT_CODE, 2, 0),
        CaptureObject::new(1, obis::EVENT_DETAIL, 2, 0),
    ]
};

impl EventRow {
    /// Writes the row as a structure of the columns whose bit is set in `columns` (bit 0 is the first column).
    ///
    /// # Errors
    /// The buffer is full.
    pub fn encode(&self, w: &mut dyn Writer, columns: u32, utc_offset_minutes: i16) -> Result<()> {
        let all = (1 << EVENT_COLUMNS) - 1;
        put_structure(w, (columns & all).count_ones() as usize)?;
        if columns & 1 != 0 {
            put_date_time(
                w,
                super::clock::date_time(self.utc_s, utc_offset_minutes, u8::from(self.utc_s == 0)),
            )?;
        }
        if columns & 2 != 0 {
            self.code.put(w)?;
        }
        if columns & 4 != 0 {
            self.detail.put(w)?;
        }
        Ok(())
    }
}

impl FromData<'_> for EventRow {
    /// A row with all columns.
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [time, code, detail] = fields(d)?;
        Ok(Self {
            utc_s: super::clock::utc_s(DateTime::from_data(time)?, 0).ok_or_else(bad_value)?,
            code: u8::from_data(code)?,
            detail: i32::from_data(detail)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::SliceWriter;

    #[test]
    fn an_event_row_survives_the_wire() {
        let row = EventRow { utc_s: 1_700_000_000, code: Event::LocalDisconnection as u8, detail: 1 };
        let mut buffer = [0xa5; 64];
        let mut w = SliceWriter::new(&mut buffer);
        row.encode(&mut w, u32::MAX, -60).unwrap();
        let got = EventRow::from_data(Data::from_bytes_in(w.as_slice()).unwrap()).unwrap();
        assert_eq!(got, row);
        assert_eq!(Event::from_u8(got.code), Some(Event::LocalDisconnection));
    }
}
