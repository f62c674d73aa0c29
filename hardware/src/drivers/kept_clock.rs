//! The calendar clock as the firmware sees it: a PCF8563 that is asked at most a few times a second, carried over gaps of the
//! bus by the processor's own milliseconds.

use crate::drivers::pcf8563::{Pcf8563, RtcError};
use embedded_hal::i2c::I2c;

/// A reading younger than this is carried on instead of being read again.
const FRESH_MS: u64 = 200;

/// A clock chip and its last reading.
#[derive(Debug)]
pub struct KeptClock<I> {
    chip: Pcf8563<I>,
    /// Seconds since 1970 and when (processor's milliseconds) they were read.
    last: Option<(u32, u64)>,
    asked_ms: Option<u64>,
}

impl<I: I2c> KeptClock<I> {
    /// The chip, not asked yet.
    pub fn new(chip: Pcf8563<I>) -> Self {
        Self { chip, last: None, asked_ms: None }
    }

    /// Seconds since 1970-01-01T00:00:00Z; `None` when the chip lost its power and was not set since, or was never reached.
    /// While the bus fails, the last reading is carried on.
    pub fn utc_s(&mut self, now_ms: u64) -> Option<u32> {
        let due = self.asked_ms.is_none_or(|asked| now_ms.saturating_sub(asked) >= FRESH_MS);
        if due {
            self.asked_ms = Some(now_ms);
            match self.chip.utc_s() {
                Ok(Some(utc_s)) => self.last = Some((utc_s, now_ms)),
                Ok(None) => self.last = None,
                Err(_) => {}
            }
        }
        let (utc_s, read_ms) = self.last?;
        let passed_s = u32::try_from(now_ms.saturating_sub(read_ms) / 1000).ok()?;
        utc_s.checked_add(passed_s)
    }

    /// Sets the chip.
    ///
    /// # Errors
    /// The bus failed, or the chip can't hold the year: the clock was not set.
    pub fn set_utc_s(&mut self, now_ms: u64, utc_s: u32) -> Result<(), RtcError<I::Error>> {
        self.chip.set_utc_s(utc_s)?;
        self.last = Some((utc_s, now_ms));
        self.asked_ms = Some(now_ms);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::ErrorKind;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use std::vec;

    /// 2026-01-01T00:00:00Z and its registers.
    const NEW_YEAR_S: u32 = 1_767_225_600;
    const NEW_YEAR: [u8; 7] = [0x00, 0x00, 0x00, 0x01, 0x04, 0x01, 0x26];

    fn read(registers: [u8; 7]) -> Transaction {
        Transaction::write_read(0x51, vec![0x02], registers.to_vec())
    }

    #[test]
    fn a_dead_bus_is_bridged_by_the_processors_milliseconds() {
        let dead = read([0; 7]).with_error(ErrorKind::Bus);
        let mut bus = Mock::new(&[read(NEW_YEAR), dead.clone(), dead]);
        let mut clock = KeptClock::new(Pcf8563::new(bus.clone()));
        assert_eq!(clock.utc_s(1_000), Some(NEW_YEAR_S));
        assert_eq!(clock.utc_s(1_100), Some(NEW_YEAR_S), "young enough not to be read again");
        assert_eq!(clock.utc_s(3_500), Some(NEW_YEAR_S + 2));
        assert_eq!(clock.utc_s(61_000), Some(NEW_YEAR_S + 60));
        bus.done();
    }

    #[test]
    fn a_chip_that_was_never_reached_or_lost_its_power_has_no_time() {
        let dead = read([0; 7]).with_error(ErrorKind::Bus);
        let mut lost = NEW_YEAR;
        lost[0] |= 0x80;
        let mut bus = Mock::new(&[dead, read(NEW_YEAR), read(lost)]);
        let mut clock = KeptClock::new(Pcf8563::new(bus.clone()));
        assert_eq!(clock.utc_s(0), None);
        assert_eq!(clock.utc_s(1_000), Some(NEW_YEAR_S));
        assert_eq!(clock.utc_s(2_000), None);
        bus.done();
    }

    #[test]
    fn a_clock_that_could_not_be_set_goes_on_as_it_was() {
        let mut bus = Mock::new(&[
            read(NEW_YEAR),
            Transaction::write(0x51, vec![0, 0, 0]).with_error(ErrorKind::Bus),
            read(NEW_YEAR),
        ]);
        let mut clock = KeptClock::new(Pcf8563::new(bus.clone()));
        assert_eq!(clock.utc_s(0), Some(NEW_YEAR_S));
        assert_eq!(clock.set_utc_s(500, NEW_YEAR_S + 9), Err(RtcError::Bus(ErrorKind::Bus)));
        assert_eq!(clock.utc_s(600), Some(NEW_YEAR_S));
        bus.done();
    }
}
