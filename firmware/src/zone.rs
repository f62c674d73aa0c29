//! Local time: the meter's zone and its daylight saving (class 8, attributes 3 and 5 to 8).

use protocol::codec::axdr::DateTime;
use protocol::cosem::clock::{civil_from_days, date_time, utc_s};
use serde::{Deserialize, Serialize};

use crate::terms::DAY_S;

/// Status bit 7 of a date-time: daylight saving is active.
const DAYLIGHT: u8 = 0x80;
/// Not specified, in the fields of a date-time.
const ANY: u8 = 0xFF;
const ANY_YEAR: u16 = 0xFFFF;
/// Day of the month: the last one, and the one before.
const LAST: u8 = 0xFE;
const LAST_BUT_ONE: u8 = 0xFD;

/// A moment that comes every year: "the last Sunday in March at 02:00".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yearly {
    /// This year alone; 0xFFFF every year.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31; 0xFE the last, 0xFD the last but one. With a weekday: the first such day from there on, or the last
    /// (last but one) such day of the month.
    pub day: u8,
    /// 1 Monday to 7 Sunday; 0xFF any.
    pub weekday: u8,
    /// Minute of the day.
    pub minute: u16,
}

impl Yearly {
    /// From an attribute's date-time. `None` when month, day or hour are left open, or a field is out of range.
    #[must_use]
    pub fn from_date_time(t: DateTime) -> Option<Self> {
        let day = matches!(t.day_of_month, 1..=31 | LAST | LAST_BUT_ONE);
        let weekday = matches!(t.day_of_week, 1..=7 | ANY);
        let minute = if t.minute == ANY { 0 } else { t.minute };
        let sound = day && weekday && (1..=12).contains(&t.month) && t.hour < 24 && minute < 60;
        sound.then_some(Self {
            year: t.year,
            month: t.month,
            day: t.day_of_month,
            weekday: t.day_of_week,
            minute: u16::from(t.hour) * 60 + u16::from(minute),
        })
    }

    /// As the attribute shows it.
    #[must_use]
    pub const fn to_date_time(self) -> DateTime {
        DateTime {
            year: self.year,
            month: self.month,
            day_of_month: self.day,
            day_of_week: self.weekday,
            // Below 24 and 60.
            hour: (self.minute / 60) as u8,
            minute: (self.minute % 60) as u8,
            second: 0,
            ..DateTime::WILDCARD
        }
    }

    /// Seconds since 1970 on the clock that it is written for; `None` in another year.
    fn in_year(self, year: u16) -> Option<i64> {
        if self.year != ANY_YEAR && self.year != year {
            return None;
        }
        let month_days = days_in(year, self.month);
        let first = day_number(year, self.month, 1)?;
        let from = match self.day {
            LAST => month_days,
            LAST_BUT_ONE => month_days - 1,
            day => i64::from(day).min(month_days),
        };
        let day = match (self.weekday, self.day) {
            (1..=7, LAST | LAST_BUT_ONE) => {
                let weeks_back = i64::from(self.day == LAST_BUT_ONE);
                month_days
                    - (weekday(first + month_days - 1) - i64::from(self.weekday)).rem_euclid(7)
                    - 7 * weeks_back
            }
            (1..=7, _) => from + (i64::from(self.weekday) - weekday(first + from - 1)).rem_euclid(7),
            _ => from,
        };
        Some((first + day - 1) * i64::from(DAY_S) + i64::from(self.minute) * 60)
    }
}

/// 1 Monday to 7 Sunday; day 0 was a Thursday.
const fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

fn day_number(year: u16, month: u8, day: u8) -> Option<i64> {
    let midnight = DateTime::from_civil(year, month, day, 0, 0, 0, 0);
    Some(midnight.to_unix_seconds()?.div_euclid(i64::from(DAY_S)))
}

const fn days_in(year: u16, month: u8) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// See the module. The default is UTC without daylight saving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Zone {
    /// Minutes that normal time is ahead of UTC.
    pub offset_minutes: i16,
    /// When daylight saving begins, in normal time, and when it ends, in daylight saving time.
    pub daylight: Option<(Yearly, Yearly)>,
    /// Minutes that it is ahead of normal time.
    pub deviation_minutes: i8,
    /// It is in use.
    pub enabled: bool,
}

impl Zone {
    /// Without daylight saving.
    #[must_use]
    pub const fn fixed(offset_minutes: i16) -> Self {
        Self { offset_minutes, daylight: None, deviation_minutes: 0, enabled: false }
    }

    /// Whether daylight saving is active.
    #[must_use]
    pub fn saves_daylight_at(&self, utc_s: u32) -> bool {
        let Some((begin, end)) = self.daylight.filter(|_| self.enabled) else { return false };
        let normal_s = i64::from(utc_s) + i64::from(self.offset_minutes) * 60;
        let (year, _, _) = civil_from_days(normal_s.div_euclid(i64::from(DAY_S)));
        let (Some(begin_s), Some(end_s)) = (begin.in_year(year), end.in_year(year)) else { return false };
        let end_s = end_s - i64::from(self.deviation_minutes) * 60;
        if begin_s <= end_s {
            (begin_s..end_s).contains(&normal_s)
        } else {
            // South of the equator it lasts over the turn of the year.
            normal_s >= begin_s || normal_s < end_s
        }
    }

    /// Minutes that local time is ahead of UTC.
    #[must_use]
    pub fn offset_at(&self, utc_s: u32) -> i16 {
        let more = if self.saves_daylight_at(utc_s) { i16::from(self.deviation_minutes) } else { 0 };
        self.offset_minutes.saturating_add(more)
    }

    /// Local time in seconds since 1970.
    #[must_use]
    pub fn local_s(&self, utc_s: u32) -> Option<u32> {
        u32::try_from(i64::from(utc_s) + i64::from(self.offset_at(utc_s)) * 60).ok()
    }

    /// A UTC second as local time, with deviation, `status` and the bit for daylight saving.
    #[must_use]
    pub fn show(&self, utc_s: u32, status: u8) -> DateTime {
        let daylight = if self.saves_daylight_at(utc_s) { DAYLIGHT } else { 0 };
        date_time(utc_s, self.offset_at(utc_s), status | daylight)
    }

    /// As [`Zone::show`], where 0 means never and is all wildcards.
    #[must_use]
    pub fn moment(&self, utc_s: u32) -> DateTime {
        if utc_s == 0 { DateTime::WILDCARD } else { self.show(utc_s, 0) }
    }

    /// The UTC second of a date-time. One that does not say how far it is from UTC is local time; in the hour that comes
    /// twice its status bit decides.
    #[must_use]
    pub fn utc_s(&self, t: DateTime) -> Option<u32> {
        let normal = utc_s(t, self.offset_minutes)?;
        if t.utc_offset_minutes().is_some() {
            return Some(normal);
        }
        let saved_s = i64::from(self.deviation_minutes) * 60;
        let daylight = u32::try_from(i64::from(normal) - saved_s).ok()?;
        let asked = t.status.0 != ANY && t.status.0 & DAYLIGHT != 0;
        // Both fit in the hour that comes twice, neither in the one that is left out.
        let daylight_fits = self.saves_daylight_at(daylight);
        let normal_fits = !self.saves_daylight_at(normal);
        Some(if daylight_fits && (asked || !normal_fits) { daylight } else { normal })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Central European time: from the last Sunday in March 02:00 to the last Sunday in October 03:00.
    pub fn central_europe() -> Zone {
        let last_sunday =
            |month, hour: u16| Yearly { year: ANY_YEAR, month, day: LAST, weekday: 7, minute: hour * 60 };
        Zone {
            offset_minutes: 60,
            daylight: Some((last_sunday(3, 2), last_sunday(10, 3))),
            deviation_minutes: 60,
            enabled: true,
        }
    }

    /// Seconds of `date -u -d '2026-03-29T01:00:00Z' +%s` and `2026-10-25T01:00:00Z`: when Europe's clocks change.
    pub const SPRING: u32 = 1_774_746_000;
    pub const AUTUMN: u32 = 1_792_890_000;

    #[test]
    fn europe_changes_its_clocks_at_one_utc_in_march_and_october() {
        let zone = central_europe();
        for (at, offset) in [(SPRING - 1, 60), (SPRING, 120), (AUTUMN - 1, 120), (AUTUMN, 60)] {
            assert_eq!(zone.offset_at(at), offset, "{at}");
        }
        let shown = zone.show(SPRING, 0);
        assert_eq!((shown.hour, shown.deviation, shown.status.0), (3, -120, 0x80));
        let shown = zone.show(AUTUMN, 0);
        assert_eq!((shown.hour, shown.deviation, shown.status.0), (2, -60, 0));
        let off = Zone { enabled: false, ..zone };
        assert_eq!(off.offset_at(SPRING), 60);
    }

    #[test]
    fn south_of_the_equator_it_lasts_over_new_year() {
        // Chile: from the first Sunday on or after 2 September 00:00 to the first on or after 2 April 00:00.
        let first = |month| Yearly { year: ANY_YEAR, month, day: 2, weekday: 7, minute: 0 };
        let zone = Zone {
            offset_minutes: -240,
            daylight: Some((first(9), first(4))),
            deviation_minutes: 60,
            enabled: true,
        };
        // 2026-04-05T03:00Z and 2026-09-06T04:00Z (zoneinfo America/Santiago).
        for (at, offset) in [
            (1_775_358_000 - 1, -180),
            (1_775_358_000, -240),
            (1_788_667_200 - 1, -240),
            (1_788_667_200, -180),
        ] {
            assert_eq!(zone.offset_at(at), offset, "{at}");
        }
    }

    #[test]
    fn days_are_found_by_number_by_weekday_and_from_the_end() {
        let at = |day, weekday| {
            let days =
                Yearly { year: ANY_YEAR, month: 3, day, weekday, minute: 0 }.in_year(2026).unwrap() / 86_400;
            civil_from_days(days).2
        };
        // March 2026 begins and ends: Sunday the 1st, Tuesday the 31st.
        assert_eq!((at(8, ANY), at(LAST, ANY), at(LAST_BUT_ONE, ANY)), (8, 31, 30));
        assert_eq!((at(1, 7), at(2, 7), at(8, 7), at(8, 1)), (1, 8, 8, 9));
        assert_eq!((at(LAST, 7), at(LAST, 2), at(LAST_BUT_ONE, 7), at(LAST, 3)), (29, 31, 22, 25));
        let once = Yearly { year: 2025, month: 3, day: 1, weekday: ANY, minute: 0 };
        assert_eq!(once.in_year(2026), None);
    }

    #[test]
    fn local_times_come_back_as_they_were_shown_even_in_the_hour_that_comes_twice() {
        let zone = central_europe();
        for at in (SPRING - 7_200..SPRING + 7_200).chain(AUTUMN - 7_200..AUTUMN + 7_200).step_by(300) {
            let mut shown = zone.show(at, 0);
            assert_eq!(zone.utc_s(shown), Some(at));
            shown.deviation = i16::MIN;
            assert_eq!(zone.utc_s(shown), Some(at), "without a deviation");
        }
    }

    #[test]
    fn a_rule_survives_the_wire_and_an_open_one_is_refused() {
        let (begin, _) = central_europe().daylight.unwrap();
        assert_eq!(Yearly::from_date_time(begin.to_date_time()), Some(begin));
        assert_eq!(Yearly::from_date_time(DateTime::WILDCARD), None);
        assert_eq!(Yearly::from_date_time(DateTime { month: 13, ..begin.to_date_time() }), None);
    }
}
