//! Class 11, special days table (version 0): dates on which an activity calendar follows another day profile.

use super::class::{class, structure};
use crate::codec::axdr::Date;

structure! {
    /// A special day.
    SpecialDayEntry {
        /// Its place in the table; an entry of the same index or date is replaced by `insert`.
        index: u16,
        /// The date; a year of 0xFFFF means every year.
        specialday_date: Date,
        /// The day profile of the activity calendar.
        day_id: u8,
    }
}

class! {
    /// Special days table.
    SpecialDaysTable = 11, version 0;
    attributes {
        /// The days.
        2 ENTRIES: [SpecialDayEntry], entries, set_entries;
    }
    methods {
        /// Adds a day, or replaces it.
        1 INSERT: (SpecialDayEntry), insert;
        /// Removes the day of that index.
        2 DELETE: (u16), delete;
    }
}
