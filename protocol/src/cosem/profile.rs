//! Class 7, profile generic (version 1), and the rows of the reference meter's profiles.

use super::class::{Any, Array, Enumeration, Nothing, ToData, class};
use super::values::{fields, put_date_time, put_structure};
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Result, Writer};
pub use crate::codec::cosem::{CaptureObject, EntryDescriptor, RangeDescriptor};

class! {
    /// Profile generic.
    ProfileGeneric = 7, version 1;
    attributes {
        /// The rows, each a structure of the columns.
        2 BUFFER: {Array<Any>}, buffer;
        /// The columns.
        3 CAPTURE_OBJECTS: [CaptureObject], capture_objects, set_capture_objects;
        /// Seconds between rows; 0 where they are not captured by time.
        4 CAPTURE_PERIOD: (u32), capture_period, set_capture_period;
        /// 1: first in, first out.
        5 SORT_METHOD: (Enumeration), sort_method;
        /// Capture object sorted by.
        6 SORT_OBJECT: (CaptureObject), sort_object;
        /// Rows in use.
        7 ENTRIES_IN_USE: (u32), entries_in_use;
        /// Rows it can hold.
        8 PROFILE_ENTRIES: (u32), profile_entries;
    }
    methods {
        /// Empties the buffer.
        1 RESET: (Nothing), reset;
        /// Captures a row now.
        2 CAPTURE: (Nothing), capture;
    }
}

/// Bits of a row's status. Zero is a row that was measured whole and in time.
pub mod row_status {
    /// The clock was not set.
    pub const CLOCK_INVALID: u8 = 1;
    /// The meter was without power for part of the period.
    pub const POWER_DOWN: u8 = 1 << 1;
    /// The clock was set in the period.
    pub const CLOCK_SET: u8 = 1 << 2;
    /// The relay was open at the end of the period.
    pub const RELAY_OPEN: u8 = 1 << 3;
    /// A tamper input was active.
    pub const TAMPER: u8 = 1 << 4;
    /// A measurement failed in the period.
    pub const MEASUREMENT_FAILED: u8 = 1 << 5;
}

/// One row of load profile 1, as stored and as sent: clock, status, import, export, credit, voltage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadRow {
    /// End of the period, UTC.
    pub utc_s: u32,
    /// [`row_status`] bits.
    pub status: u8,
    /// Energy import register, watt-hours.
    pub import_wh: u32,
    /// Energy export register, watt-hours.
    pub export_wh: u32,
    /// Credit available, account units.
    pub credit: i32,
    /// Voltage in tenths of a volt.
    pub voltage_dv: u16,
}

/// Columns of [`LoadRow`].
pub const LOAD_COLUMNS: usize = 6;

/// The capture objects of load profile 1, in the order of the row.
pub const LOAD_CAPTURE_OBJECTS: [CaptureObject; LOAD_COLUMNS] = {
    use super::obis;
    [
        CaptureObject::new(8, obis::CLOCK, 2, 0),
        CaptureObject::new(1, obis::PROFILE_STATUS, 2, 0),
        CaptureObject::new(3, obis::IMPORT_ENERGY, 2, 0),
        CaptureObject::new(3, obis::EXPORT_ENERGY, 2, 0),
        CaptureObject::new(111, obis::ACCOUNT, 5, 0),
        CaptureObject::new(3, obis::VOLTAGE, 2, 0),
    ]
};

impl LoadRow {
    /// Writes the row as a structure of the columns whose bit is set in `columns` (bit 0 is the first column).
    ///
    /// # Errors
    /// The buffer is full.
    pub fn encode(&self, w: &mut dyn Writer, columns: u32, utc_offset_minutes: i16) -> Result<()> {
        let all = (1 << LOAD_COLUMNS) - 1;
        put_structure(w, (columns & all).count_ones() as usize)?;
        let clock_status = self.status & row_status::CLOCK_INVALID;
        for column in 0..LOAD_COLUMNS {
            if columns & (1 << column) == 0 {
                continue;
            }
            match column {
                0 => put_date_time(w, super::clock::date_time(self.utc_s, utc_offset_minutes, clock_status))?,
                1 => self.status.put(w)?,
                2 => self.import_wh.put(w)?,
                3 => self.export_wh.put(w)?,
                4 => self.credit.put(w)?,
                _ => self.voltage_dv.put(w)?,
            }
        }
        Ok(())
    }
}

impl FromData<'_> for LoadRow {
    /// A row with all columns.
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [time, status, import, export, credit, voltage] = fields(d)?;
        Ok(Self {
            utc_s: super::clock::utc_s(DateTime::from_data(time)?, 0).ok_or_else(bad_value)?,
            status: u8::from_data(status)?,
            import_wh: u32::from_data(import)?,
            export_wh: u32::from_data(export)?,
            credit: i32::from_data(credit)?,
            voltage_dv: u16::from_data(voltage)?,
        })
    }
}

super::class::encoded!(CaptureObject);

impl FromData<'_> for CaptureObject {
    fn from_data(d: Data<'_>) -> Result<Self> {
        Self::from_data(&d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::SliceWriter;

    #[test]
    fn a_row_survives_the_wire_whole_and_loses_only_the_columns_not_asked_for() {
        let row = LoadRow {
            utc_s: 1_700_000_100,
            status: row_status::RELAY_OPEN,
            import_wh: 123_456,
            export_wh: 7,
            credit: -12,
            voltage_dv: 2301,
        };
        let mut buffer = [0xa5; 64];
        let mut w = SliceWriter::new(&mut buffer);
        row.encode(&mut w, u32::MAX, 60).unwrap();
        assert_eq!(LoadRow::from_data(Data::from_bytes_in(w.as_slice()).unwrap()).unwrap(), row);

        let mut buffer = [0xa5; 64];
        let mut w = SliceWriter::new(&mut buffer);
        row.encode(&mut w, 0b000_100, 60).unwrap();
        assert_eq!(w.as_slice(), [2, 1, 6, 0x00, 0x01, 0xe2, 0x40]);
    }
}
