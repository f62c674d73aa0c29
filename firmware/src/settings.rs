//! Settings that management may change and that are not part of the account: a journal of their own, for the record of the
//! account is written with every watt-hour.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::metrology::Metrology;
use crate::personalisation::Personalisation;
use crate::terms::DAY_S;
use crate::zone::Zone;

/// Bytes of one place of the settings' journal.
pub const SETTINGS_PLACE_BYTES: usize = 384;

/// Bytes of a destination, at most; a bound of ours: an address and a port.
pub const DESTINATION_MAX: usize = 48;

/// Where alarms go (class 40).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Push {
    /// Host and port; empty pushes nothing.
    pub destination: Vec<u8, DESTINATION_MAX>,
    /// How often an alarm that could not be sent is tried again.
    pub retries: u8,
    /// Seconds before that.
    pub repetition_delay_s: u16,
}

/// What the load profile captures, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// Seconds; 0 captures nothing.
    pub period_s: u32,
    /// Columns of [`LoadRow`](protocol::cosem::profile::LoadRow) that are shown: bit 0 is the first.
    pub columns: u8,
}

impl Capture {
    /// Every column.
    pub const ALL: u8 = (1 << protocol::cosem::profile::LOAD_COLUMNS) - 1;

    /// Whether management may choose it: a minute at least, a whole number of periods a day, and the time in each row.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        let whole = self.period_s >= 60 && DAY_S.is_multiple_of(self.period_s);
        whole && self.columns & 1 != 0 && self.columns <= Self::ALL
    }
}

/// The settings' journal record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Zone and daylight saving.
    pub zone: Zone,
    /// Ratios, meter constant, calibration.
    pub metrology: Metrology,
    /// Where alarms go.
    pub push: Push,
    /// The load profile.
    pub capture: Capture,
}

impl Settings {
    /// As the meter leaves the factory.
    #[must_use]
    pub fn new(who: &Personalisation) -> Self {
        Self {
            zone: Zone::fixed(who.utc_offset_minutes),
            metrology: Metrology::default(),
            push: Push::default(),
            capture: Capture { period_s: who.profile_period_s, columns: Capture::ALL },
        }
    }
}
