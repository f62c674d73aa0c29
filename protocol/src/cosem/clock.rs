//! Class 8, clock (version 0), and conversion between UTC seconds and the COSEM date-time.

use super::class::{Enumeration, Nothing, class, structure};
use crate::codec::axdr::{ClockStatus, DateTime};

structure! {
    /// Parameter of method 5: a time to take over at a word.
    PresetAdjustingTime {
        /// The time.
        preset_time: DateTime,
        /// From when the word counts.
        validity_interval_start: DateTime,
        /// Until when.
        validity_interval_end: DateTime,
    }
}

class! {
    /// Clock.
    Clock = 8, version 0;
    attributes {
        /// Local time with deviation and status.
        2 TIME: (DateTime), time, set_time;
        /// Minutes from local time to UTC: negative east of Greenwich.
        3 TIME_ZONE: (i16), time_zone, set_time_zone;
        /// Status byte alone.
        4 STATUS: (u8), status;
        /// Start of daylight saving.
        5 DAYLIGHT_SAVINGS_BEGIN: (DateTime), daylight_savings_begin, set_daylight_savings_begin;
        /// End of daylight saving.
        6 DAYLIGHT_SAVINGS_END: (DateTime), daylight_savings_end, set_daylight_savings_end;
        /// Minutes.
        7 DAYLIGHT_SAVINGS_DEVIATION: (i8), daylight_savings_deviation, set_daylight_savings_deviation;
        /// Whether daylight saving is in use.
        8 DAYLIGHT_SAVINGS_ENABLED: (bool), daylight_savings_enabled, set_daylight_savings_enabled;
        /// 1: an internal crystal.
        9 CLOCK_BASE: (Enumeration), clock_base;
    }
    methods {
        /// Adjusts to the nearest quarter.
        1 ADJUST_TO_QUARTER: (Nothing), adjust_to_quarter;
        /// Adjusts to the nearest measuring period.
        2 ADJUST_TO_MEASURING_PERIOD: (Nothing), adjust_to_measuring_period;
        /// Adjusts to the nearest minute.
        3 ADJUST_TO_MINUTE: (Nothing), adjust_to_minute;
        /// Takes over the time of method 5.
        4 ADJUST_TO_PRESET_TIME: (Nothing), adjust_to_preset_time;
        /// Gives the time for method 4.
        5 PRESET_ADJUSTING_TIME: (PresetAdjustingTime), preset_adjusting_time;
        /// Shifts by seconds, -900 to 900.
        6 SHIFT_TIME: (i16), shift_time;
    }
}

/// Status bit 0: the time is not to be trusted at all.
pub const INVALID: u8 = 1;
/// Status bit 1: the time may be wrong.
pub const DOUBTFUL: u8 = 2;

/// The date-time of a UTC second, shown with `utc_offset_minutes`.
#[must_use]
pub fn date_time(utc_s: u32, utc_offset_minutes: i16, status: u8) -> DateTime {
    let local = i64::from(utc_s) + i64::from(utc_offset_minutes) * 60;
    let days = local.div_euclid(86_400);
    // 0..86_400 fits every type below.
    let second_of_day = local.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let mut t = DateTime::from_civil(
        year,
        month,
        day,
        (second_of_day / 3600) as u8,
        (second_of_day / 60 % 60) as u8,
        (second_of_day % 60) as u8,
        utc_offset_minutes,
    );
    t.hundredths = 0;
    t.status = ClockStatus(status);
    t
}

/// The UTC second of a date-time. One without a deviation is taken to be in the zone `utc_offset_minutes` (a client that
/// writes local time without saying so).
#[must_use]
pub fn utc_s(mut t: DateTime, utc_offset_minutes: i16) -> Option<u32> {
    if t.utc_offset_minutes().is_none() {
        t.deviation = -utc_offset_minutes;
    }
    u32::try_from(t.to_unix_seconds()?).ok()
}

/// Year, month and day of a day count from 1970-01-01, proleptic Gregorian calendar (the era arithmetic: 146,097 days are
/// 400 years, the year begins in March).
#[must_use]
pub fn civil_from_days(days: i64) -> (u16, u8, u8) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // u32 seconds end in 2106, so year, month and day fit.
    (year as u16, month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_second_is_the_known_date_in_the_meters_zone() {
        // 1_709_164_799 is 2024-02-28T23:59:59Z (date -u -d @1709164799).
        let t = date_time(1_709_164_799, 60, 0);
        assert_eq!((t.year, t.month, t.day_of_month, t.hour, t.minute, t.second), (2024, 2, 29, 0, 59, 59));
        assert_eq!(t.day_of_week, 4, "a Thursday");
        assert_eq!(t.deviation, -60);
        assert_eq!(utc_s(t, 0), Some(1_709_164_799));
    }

    #[test]
    fn every_day_until_2100_survives_the_round_trip() {
        for day in 0..47_482_u32 {
            let t = date_time(day * 86_400 + 43_200, -300, 0);
            assert_eq!(utc_s(t, 0), Some(day * 86_400 + 43_200));
        }
    }

    #[test]
    fn a_time_without_deviation_is_in_the_meters_zone() {
        let mut t = date_time(1_000_000_000, 120, 0);
        t.deviation = i16::MIN;
        assert_eq!(utc_s(t, 120), Some(1_000_000_000));
        assert_eq!(utc_s(DateTime::WILDCARD, 0), None);
    }
}
