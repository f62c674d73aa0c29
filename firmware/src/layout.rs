//! What lies where in non-volatile memory.

use protocol::cosem::events::EventRow;
use protocol::cosem::profile::LoadRow;

use crate::counters::COUNTER_PLACE_BYTES;
use crate::image::TRANSFER_PLACE_BYTES;
use crate::image::boot::BOOT_PLACE_BYTES;
use crate::journal::PLACE_BYTES;
use crate::keys::KEY_PLACE_BYTES;
use crate::profile::SECOND_PLACE_BYTES;
use crate::ring::Ring;
use crate::settings::SETTINGS_PLACE_BYTES;
use crate::tariff::TARIFF_PLACE_BYTES;

/// Places of the state journal: two suffice for safety, the other two halve the wear.
const STATE_PLACES: u32 = 4;
/// Places of the counter journal, which is written with every protected request.
const COUNTER_PLACES: u32 = 4;
/// Places of the tariff journal.
const TARIFF_PLACES: u32 = 2;
/// Places of the boot journal.
const BOOT_PLACES: u32 = 2;
/// Places of the image transfer's journal, which is written with every block.
const TRANSFER_PLACES: u32 = 4;
/// Places of the key journal.
const KEY_PLACES: u32 = 2;
/// Places of the settings journal.
const SETTINGS_PLACES: u32 = 2;
/// Places of the journal of suite 1, and bytes of each. A meter built without suite 1 leaves them empty, so that a storage fits
/// both.
const SUITE_1_PLACES: u32 = 2;
pub(crate) const SUITE_1_PLACE_BYTES: usize = 192;
/// Places of the second load profile's journal.
const SECOND_PLACES: u32 = 2;
/// The second load profile has a row for so many of the first one, and one more: rows of an hour beside quarter hours reach back
/// half as far.
const ROWS_PER_SECOND: u32 = 8;
/// Rows of the event log.
const EVENT_ROWS: u32 = 100;

/// Rows of the daily billing profile: two months.
const DAILY_ROWS: u32 = 62;
/// Rows of the monthly billing profile: two years.
const MONTHLY_ROWS: u32 = 24;

/// The memory map, from address 0: state journal, counter journal, event log, billing profiles, tariffs, boot record, image
/// transfer, keys, settings, keys of suite 1, first load profile, second load profile, its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Where the counter journal begins.
    pub counters_base: u32,
    pub(crate) events_base: u32,
    pub(crate) daily_base: u32,
    pub(crate) monthly_base: u32,
    pub(crate) tariff_base: u32,
    pub(crate) transfer_base: u32,
    pub(crate) keys_base: u32,
    pub(crate) settings_base: u32,
    /// Where the first load profile begins.
    pub profile_base: u32,
    /// Its rows.
    pub profile_rows: u32,
    /// Where the second load profile begins.
    pub second_base: u32,
    /// Its rows.
    pub second_rows: u32,
    pub(crate) second_journal_base: u32,
}

/// The storage is too small for a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSmall {
    /// Bytes a meter needs whose first load profile has one row.
    pub needed: u32,
}

// Places are far below u32::MAX.
const JOURNAL_BYTES: u32 = STATE_PLACES * PLACE_BYTES as u32;
const COUNTER_BYTES: u32 = COUNTER_PLACES * COUNTER_PLACE_BYTES as u32;
const EVENT_BYTES: u32 = EVENT_ROWS * Ring::<EventRow>::ROW_BYTES;
const DAILY_BYTES: u32 = DAILY_ROWS * Ring::<LoadRow>::ROW_BYTES;
const MONTHLY_BYTES: u32 = MONTHLY_ROWS * Ring::<LoadRow>::ROW_BYTES;
const DAILY_BASE: u32 = JOURNAL_BYTES + COUNTER_BYTES + EVENT_BYTES;
const TARIFF_BASE: u32 = DAILY_BASE + DAILY_BYTES + MONTHLY_BYTES;
const BOOT_BASE: u32 = TARIFF_BASE + TARIFF_PLACES * TARIFF_PLACE_BYTES as u32;
const TRANSFER_BASE: u32 = BOOT_BASE + BOOT_PLACES * BOOT_PLACE_BYTES as u32;
const KEYS_BASE: u32 = TRANSFER_BASE + TRANSFER_PLACES * TRANSFER_PLACE_BYTES as u32;
const SETTINGS_BASE: u32 = KEYS_BASE + KEY_PLACES * KEY_PLACE_BYTES as u32;
const SUITE_1_BASE: u32 = SETTINGS_BASE + SETTINGS_PLACES * SETTINGS_PLACE_BYTES as u32;
const FIXED: u32 = SUITE_1_BASE + SUITE_1_PLACES * SUITE_1_PLACE_BYTES as u32;
const SECOND_BYTES: u32 = SECOND_PLACES * SECOND_PLACE_BYTES as u32;

impl Layout {
    /// Places of the state journal.
    pub const STATE_PLACES: u32 = STATE_PLACES;
    /// Places of the counter journal.
    pub const COUNTER_PLACES: u32 = COUNTER_PLACES;
    /// Places of the tariff journal.
    pub(crate) const TARIFF_PLACES: u32 = TARIFF_PLACES;
    /// Where the boot record lies: the start code knows it too.
    pub(crate) const BOOT_BASE: u32 = BOOT_BASE;
    /// Places of the boot journal.
    pub(crate) const BOOT_PLACES: u32 = BOOT_PLACES;
    /// Places of the image transfer's journal.
    pub(crate) const TRANSFER_PLACES: u32 = TRANSFER_PLACES;
    /// Places of the key journal.
    pub(crate) const KEY_PLACES: u32 = KEY_PLACES;
    /// Places of the settings journal.
    pub(crate) const SETTINGS_PLACES: u32 = SETTINGS_PLACES;
    /// Where the journal of suite 1 begins.
    #[cfg(feature = "ecdsa")]
    pub(crate) const SUITE_1_BASE: u32 = SUITE_1_BASE;
    /// Its places.
    #[cfg(feature = "ecdsa")]
    pub(crate) const SUITE_1_PLACES: u32 = SUITE_1_PLACES;
    /// Rows of the event log.
    pub(crate) const EVENT_ROWS: u32 = EVENT_ROWS;

    /// Rows of the daily billing profile.
    pub(crate) const DAILY_ROWS: u32 = DAILY_ROWS;
    /// Rows of the monthly billing profile.
    pub(crate) const MONTHLY_ROWS: u32 = MONTHLY_ROWS;

    /// Places of the second load profile's journal.
    pub(crate) const SECOND_PLACES: u32 = SECOND_PLACES;

    /// Bytes of storage for a first load profile of `rows` rows, and a second one that goes with it: 288 are three days of
    /// quarter hours, 35,136 a year.
    #[must_use]
    pub const fn bytes_for(rows: u32) -> u32 {
        FIXED + (rows + rows / ROWS_PER_SECOND + 1) * Ring::<LoadRow>::ROW_BYTES + SECOND_BYTES
    }

    /// The map of a storage with `capacity` bytes.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub const fn for_capacity(capacity: u32) -> Result<Self, TooSmall> {
        let needed = Self::bytes_for(1);
        if capacity < needed {
            return Err(TooSmall { needed });
        }
        // One of all rows is the second profile's, and the last of every nine that are left.
        let rows = (capacity - FIXED - SECOND_BYTES) / Ring::<LoadRow>::ROW_BYTES - 1;
        let (nines, rest) = (rows / (ROWS_PER_SECOND + 1), rows % (ROWS_PER_SECOND + 1));
        let rest = if rest == ROWS_PER_SECOND { rest - 1 } else { rest };
        let (profile_rows, second_rows) = (nines * ROWS_PER_SECOND + rest, nines + 1);
        let second_base = FIXED + profile_rows * Ring::<LoadRow>::ROW_BYTES;
        Ok(Self {
            counters_base: JOURNAL_BYTES,
            events_base: JOURNAL_BYTES + COUNTER_BYTES,
            daily_base: DAILY_BASE,
            tariff_base: TARIFF_BASE,
            transfer_base: TRANSFER_BASE,
            keys_base: KEYS_BASE,
            settings_base: SETTINGS_BASE,
            monthly_base: DAILY_BASE + DAILY_BYTES,
            profile_base: FIXED,
            profile_rows,
            second_base,
            second_rows,
            second_journal_base: second_base + second_rows * Ring::<LoadRow>::ROW_BYTES,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_made_for_so_many_rows_has_them_and_a_second_profile_that_ends_with_it() {
        for rows in (1..100).chain([288, 35_040, 35_136]) {
            let capacity = Layout::bytes_for(rows);
            let layout = Layout::for_capacity(capacity).unwrap();
            assert_eq!((layout.profile_rows, layout.second_rows), (rows, rows / 8 + 1));
            assert_eq!(layout.second_journal_base + SECOND_BYTES, capacity);
        }
        let sizes = Layout::bytes_for(1)..Layout::bytes_for(60);
        for capacity in sizes {
            let layout = Layout::for_capacity(capacity).unwrap();
            assert!(layout.second_journal_base + SECOND_BYTES <= capacity, "{capacity}");
            assert!(Layout::bytes_for(layout.profile_rows + 1) > capacity, "{capacity}");
        }
        assert!(Layout::for_capacity(Layout::bytes_for(1) - 1).is_err());
    }
}
