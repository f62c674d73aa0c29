//! PCF8563: real-time clock over I2C, kept in UTC, years 2000 to 2099.
//!
//! Source: NXP, PCF8563 data sheet rev. 11, "Register organization" (8.2) and "Setting and reading the time" (8.8).

use embedded_hal::i2c::I2c;

const ADDRESS: u8 = 0x51;
const CONTROL_1: u8 = 0x00;
const SECONDS: u8 = 0x02;
/// The oscillator stopped, or the supply was too low: the time can't be trusted.
const VOLTAGE_LOW: u8 = 0x80;

const SECONDS_PER_DAY: u32 = 86_400;
/// Days from 1970-01-01 to 2000-01-01.
const DAYS_TO_2000: u32 = 10_957;
/// 2100 is no leap year, and the chip does not know it.
const UTC_S_END: u32 = 4_102_444_800;

/// Why there is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcError<E> {
    /// The bus failed.
    Bus(E),
    /// Outside 2000 to 2099; the clock was not set.
    OutOfRange,
}

/// The clock on its I2C bus.
#[derive(Debug)]
pub struct Pcf8563<I> {
    i2c: I,
}

impl<I: I2c> Pcf8563<I> {
    /// The clock, as it runs.
    pub fn new(i2c: I) -> Self {
        Self { i2c }
    }

    /// Seconds since 1970-01-01T00:00:00Z; `None` when the clock lost its power, or holds no date.
    ///
    /// # Errors
    /// The bus failed.
    pub fn utc_s(&mut self) -> Result<Option<u32>, RtcError<I::Error>> {
        let mut registers = [0; 7];
        // In one read: the chip holds its counters still from the start of an access to its end.
        self.i2c.write_read(ADDRESS, &[SECONDS], &mut registers).map_err(RtcError::Bus)?;
        let [seconds, minutes, hours, day, _weekday, month, year] = registers;
        if seconds & VOLTAGE_LOW != 0 {
            return Ok(None);
        }
        let second = from_bcd(seconds & 0x7F).filter(|s| *s < 60);
        let minute = from_bcd(minutes & 0x7F).filter(|m| *m < 60);
        let hour = from_bcd(hours & 0x3F).filter(|h| *h < 24);
        let days = days_since_2000(from_bcd(year), from_bcd(month & 0x1F), from_bcd(day & 0x3F));
        let (Some(second), Some(minute), Some(hour), Some(days)) = (second, minute, hour, days) else {
            return Ok(None);
        };
        Ok(Some((DAYS_TO_2000 + days) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second))
    }

    /// Sets the clock and makes it trusted again.
    ///
    /// # Errors
    /// The bus failed, or the year has more than two digits.
    pub fn set_utc_s(&mut self, utc_s: u32) -> Result<(), RtcError<I::Error>> {
        if !(DAYS_TO_2000 * SECONDS_PER_DAY..UTC_S_END).contains(&utc_s) {
            return Err(RtcError::OutOfRange);
        }
        let days = utc_s / SECONDS_PER_DAY - DAYS_TO_2000;
        let in_day = utc_s % SECONDS_PER_DAY;
        let (year, month, day) = date(days);
        // 2000-01-01 was a Saturday, day 6 of the chip's week.
        let weekday = (days + 6) % 7;
        let bcd = [in_day % 60, in_day / 60 % 60, in_day / 3600, day, weekday, month, year].map(to_bcd);
        let [second, minute, hour, day, weekday, month, year] = bcd;
        self.i2c.write(ADDRESS, &[CONTROL_1, 0, 0]).map_err(RtcError::Bus)?;
        let registers = [SECONDS, second, minute, hour, day, weekday, month, year];
        self.i2c.write(ADDRESS, &registers).map_err(RtcError::Bus)
    }
}

fn from_bcd(byte: u8) -> Option<u32> {
    let (tens, ones) = (byte >> 4, byte & 0x0F);
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// Of a number below 100.
fn to_bcd(value: u32) -> u8 {
    (((value / 10) << 4) | (value % 10)) as u8
}

const fn month_days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_2000(year: Option<u32>, month: Option<u32>, day: Option<u32>) -> Option<u32> {
    let (year, month, day) = (year?, month?, day?);
    if !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
        return None;
    }
    let before_year = year * 365 + year.div_ceil(4);
    let before_month: u32 = (1..month).map(|m| month_days(year, m)).sum();
    Some(before_year + before_month + day - 1)
}

/// Year of the century, month and day of a number of days since 2000-01-01, below a century.
fn date(mut days: u32) -> (u32, u32, u32) {
    let mut year = 0;
    while days >= 365 + u32::from(year % 4 == 0) {
        days -= 365 + u32::from(year % 4 == 0);
        year += 1;
    }
    let mut month = 1;
    while days >= month_days(year, month) {
        days -= month_days(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::ErrorKind;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use std::vec;

    /// 2024-02-29T23:59:58Z, a Thursday.
    const LEAP_S: u32 = 1_709_251_198;
    const LEAP_REGISTERS: [u8; 7] = [0x58, 0x59, 0x23, 0x29, 0x04, 0x02, 0x24];

    #[test]
    fn a_leap_day_is_read_and_set() {
        let expected = [
            Transaction::write_read(0x51, vec![0x02], LEAP_REGISTERS.to_vec()),
            Transaction::write(0x51, vec![0, 0, 0]),
            Transaction::write(0x51, [&[0x02], &LEAP_REGISTERS[..]].concat()),
        ];
        let mut bus = Mock::new(&expected);
        let mut clock = Pcf8563::new(bus.clone());
        assert_eq!(clock.utc_s(), Ok(Some(LEAP_S)));
        clock.set_utc_s(LEAP_S).unwrap();
        bus.done();
    }

    #[test]
    fn a_clock_that_lost_its_power_or_holds_no_date_has_no_time() {
        let with = |at: usize, value: u8| {
            let mut registers = LEAP_REGISTERS.to_vec();
            registers[at] = value;
            Transaction::write_read(0x51, vec![0x02], registers)
        };
        let expected =
            [with(0, 0xD8), with(3, 0x30), with(5, 0x13), with(6, 0x2A), with(2, 0x24), with(3, 0)];
        let mut bus = Mock::new(&expected);
        let mut clock = Pcf8563::new(bus.clone());
        for _ in &expected {
            assert_eq!(clock.utc_s(), Ok(None));
        }
        bus.done();
    }

    #[test]
    fn every_day_of_the_century_comes_back() {
        for days in 0..36_525 {
            let (year, month, day) = date(days);
            assert_eq!(days_since_2000(Some(year), Some(month), Some(day)), Some(days));
        }
        assert_eq!(date(36_524), (99, 12, 31));
    }

    #[test]
    fn a_time_outside_its_century_is_refused_before_the_bus() {
        let mut bus = Mock::new(&[]);
        let mut clock = Pcf8563::new(bus.clone());
        assert_eq!(clock.set_utc_s(0), Err(RtcError::OutOfRange));
        assert_eq!(clock.set_utc_s(UTC_S_END), Err(RtcError::OutOfRange));
        bus.done();
    }

    #[test]
    fn a_bus_that_fails_is_told() {
        let mut bus = Mock::new(&[
            Transaction::write_read(0x51, vec![0x02], vec![0; 7]).with_error(ErrorKind::Bus),
            Transaction::write(0x51, vec![0, 0, 0]).with_error(ErrorKind::Bus),
        ]);
        let mut clock = Pcf8563::new(bus.clone());
        assert_eq!(clock.utc_s(), Err(RtcError::Bus(ErrorKind::Bus)));
        assert_eq!(clock.set_utc_s(LEAP_S), Err(RtcError::Bus(ErrorKind::Bus)));
        bus.done();
    }
}
