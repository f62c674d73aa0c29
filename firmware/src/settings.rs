//! Settings that management may change and that are not part of the account: a journal of their own, for the record of the
//! account is written with every watt-hour.

use serde::{Deserialize, Serialize};

use crate::metrology::Metrology;
use crate::personalisation::Personalisation;
use crate::zone::Zone;

/// Bytes of one place of the settings' journal.
pub const SETTINGS_PLACE_BYTES: usize = 384;

/// The settings' journal record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Zone and daylight saving.
    pub zone: Zone,
    /// Ratios, meter constant, calibration.
    pub metrology: Metrology,
}

impl Settings {
    /// As the meter leaves the factory.
    #[must_use]
    pub fn new(who: &Personalisation) -> Self {
        Self { zone: Zone::fixed(who.utc_offset_minutes), metrology: Metrology::default() }
    }
}
