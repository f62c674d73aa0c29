//! ADE7953: single-phase metering front end with a neutral channel, over SPI.
//!
//! Source: Analog Devices, ADE7953 data sheet rev. C: "SPI interface", "Register maps", "Energy calculation".
//! A transfer is a 16-bit register address, a byte that says read (0x80) or write (0x00), and the value, most significant
//! byte first. The energy registers clear themselves when they are read (LCYCMODE.RSTREAD, on after reset).

use crate::board::{Metering, Sample};
use embedded_hal::spi::{Operation, SpiDevice};

const READ: u8 = 0x80;
const WRITE: u8 = 0x00;

const CONFIG: u16 = 0x102;
const PERIOD: u16 = 0x10E;
const UNLOCK: u16 = 0x0FE;
const OPTIMUM: u16 = 0x120;
const VERSION: u16 = 0x702;
const AWATT: u16 = 0x312;
const AVAR: u16 = 0x314;
const IRMSA: u16 = 0x31A;
const IRMSB: u16 = 0x31B;
const VRMS: u16 = 0x31C;
const AENERGYA: u16 = 0x31E;

/// Value of UNLOCK that opens the register at 0x120.
const UNLOCK_KEY: u8 = 0xAD;
/// Value that the data sheet demands there for optimum performance.
const OPTIMUM_VALUE: u16 = 0x0030;
/// CONFIG after reset is 0x8004; without bit 15 the chip stays with SPI.
const CONFIG_LOCK_SPI: u16 = 0x0004;
/// The period register counts at 223.75 kHz.
const PERIOD_CLOCK_MHZ: u32 = 223_750_000;

/// What the meter's bench found out: physical value of 2^20 counts of each register. See the calibration procedure in the
/// README.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calibration {
    /// Millivolts.
    pub voltage_mv: u32,
    /// Milliamperes in the phase.
    pub current_ma: u32,
    /// Milliamperes in the neutral.
    pub neutral_ma: u32,
    /// Milliwatts; reactive power has the same scale.
    pub power_mw: u32,
    /// Milliwatt-seconds.
    pub energy_mws: u32,
}

/// Why there is no measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ade7953Error<E> {
    /// The bus failed.
    Bus(E),
    /// Nothing that looks like an ADE7953 answers.
    Absent,
}

/// The chip on its SPI bus (mode 0 or 3, at most 2 MHz).
#[derive(Debug)]
pub struct Ade7953<S> {
    spi: S,
    calibration: Calibration,
}

impl<S: SpiDevice> Ade7953<S> {
    /// Wakes the chip up: locks it to SPI and sets what the data sheet demands. Call it 40 ms after reset at the earliest.
    ///
    /// # Errors
    /// The bus failed, or the chip is not there (all ones or all zeros read back).
    pub fn start(spi: S, calibration: Calibration) -> Result<Self, Ade7953Error<S::Error>> {
        let mut chip = Self { spi, calibration };
        chip.write_u16(CONFIG, CONFIG_LOCK_SPI)?;
        chip.write(UNLOCK, &[UNLOCK_KEY])?;
        chip.write_u16(OPTIMUM, OPTIMUM_VALUE)?;
        let mut version = [0];
        chip.read(VERSION, &mut version)?;
        if matches!(version[0], 0x00 | 0xFF) { Err(Ade7953Error::Absent) } else { Ok(chip) }
    }

    fn write(&mut self, register: u16, value: &[u8]) -> Result<(), Ade7953Error<S::Error>> {
        let [high, low] = register.to_be_bytes();
        let mut operations = [Operation::Write(&[high, low, WRITE]), Operation::Write(value)];
        self.spi.transaction(&mut operations).map_err(Ade7953Error::Bus)
    }

    fn write_u16(&mut self, register: u16, value: u16) -> Result<(), Ade7953Error<S::Error>> {
        self.write(register, &value.to_be_bytes())
    }

    fn read(&mut self, register: u16, value: &mut [u8]) -> Result<(), Ade7953Error<S::Error>> {
        let [high, low] = register.to_be_bytes();
        let mut operations = [Operation::Write(&[high, low, READ]), Operation::Read(value)];
        self.spi.transaction(&mut operations).map_err(Ade7953Error::Bus)
    }

    fn read_i32(&mut self, register: u16) -> Result<i32, Ade7953Error<S::Error>> {
        let mut value = [0; 4];
        self.read(register, &mut value)?;
        Ok(i32::from_be_bytes(value))
    }

    /// RMS registers are unsigned and 24 bits wide.
    fn read_rms(&mut self, register: u16, per_2_20: u32) -> Result<u32, Ade7953Error<S::Error>> {
        let counts = self.read_i32(register)?.max(0).unsigned_abs();
        Ok(scale_unsigned(counts, per_2_20))
    }
}

fn scale_unsigned(counts: u32, per_2_20: u32) -> u32 {
    u32::try_from((u64::from(counts) * u64::from(per_2_20)) >> 20).unwrap_or(u32::MAX)
}

fn scale(counts: i32, per_2_20: u32) -> i32 {
    let scaled = (i64::from(counts) * i64::from(per_2_20)) / (1 << 20);
    i32::try_from(scaled).unwrap_or(if counts < 0 { i32::MIN } else { i32::MAX })
}

impl<S: SpiDevice> Metering for Ade7953<S> {
    type Error = Ade7953Error<S::Error>;

    fn sample(&mut self) -> Result<Sample, Self::Error> {
        let cal = self.calibration;
        let voltage_mv = self.read_rms(VRMS, cal.voltage_mv)?;
        let current_ma = self.read_rms(IRMSA, cal.current_ma)?;
        let neutral_current_ma = self.read_rms(IRMSB, cal.neutral_ma)?;
        let active_power_mw = scale(self.read_i32(AWATT)?, cal.power_mw);
        let reactive_power_mvar = scale(self.read_i32(AVAR)?, cal.power_mw);
        let mut period = [0; 2];
        self.read(PERIOD, &mut period)?;
        let frequency_mhz = PERIOD_CLOCK_MHZ / (u32::from(u16::from_be_bytes(period)) + 1);
        // Last, because reading clears it: what came before may fail and be read again.
        let energy = self.read_i32(AENERGYA)?;
        let energy_mws = (u64::from(energy.unsigned_abs()) * u64::from(cal.energy_mws)) >> 20;
        let (import_mws, export_mws) = if energy < 0 { (0, energy_mws) } else { (energy_mws, 0) };
        Ok(Sample {
            voltage_mv,
            current_ma,
            active_power_mw,
            reactive_power_mvar,
            frequency_mhz,
            import_mws,
            export_mws,
            neutral_current_ma,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::spi::{Mock, Transaction};
    use std::vec;
    use std::vec::Vec;

    const CALIBRATION: Calibration = Calibration {
        voltage_mv: 1 << 20,
        current_ma: 1 << 19,
        neutral_ma: 1 << 19,
        power_mw: 1 << 21,
        energy_mws: 3 << 20,
    };

    fn read(register: u16, value: &[u8]) -> Vec<Transaction<u8>> {
        let [high, low] = register.to_be_bytes();
        vec![
            Transaction::transaction_start(),
            Transaction::write_vec(vec![high, low, 0x80]),
            Transaction::read_vec(value.to_vec()),
            Transaction::transaction_end(),
        ]
    }

    fn write(register: u16, value: &[u8]) -> Vec<Transaction<u8>> {
        let [high, low] = register.to_be_bytes();
        vec![
            Transaction::transaction_start(),
            Transaction::write_vec(vec![high, low, 0x00]),
            Transaction::write_vec(value.to_vec()),
            Transaction::transaction_end(),
        ]
    }

    fn start() -> Vec<Transaction<u8>> {
        [write(0x102, &[0, 4]), write(0x0FE, &[0xAD]), write(0x120, &[0, 0x30]), read(0x702, &[3])].concat()
    }

    #[test]
    fn a_sample_scales_every_register_and_reads_the_energy_last() {
        let expected = [
            start(),
            read(0x31C, &230_000_u32.to_be_bytes()),
            read(0x31A, &10_000_u32.to_be_bytes()),
            read(0x31B, &9_998_u32.to_be_bytes()),
            read(0x312, &575_000_i32.to_be_bytes()),
            read(0x314, &(-100_i32).to_be_bytes()),
            read(0x10E, &4474_u16.to_be_bytes()),
            read(0x31E, &1000_i32.to_be_bytes()),
        ]
        .concat();
        let mut bus = Mock::new(&expected);
        let mut chip = Ade7953::start(bus.clone(), CALIBRATION).unwrap();
        let sample = chip.sample().unwrap();
        assert_eq!(
            (sample.voltage_mv, sample.current_ma, sample.neutral_current_ma),
            (230_000, 5_000, 4_999)
        );
        assert_eq!((sample.active_power_mw, sample.reactive_power_mvar), (1_150_000, -200));
        assert_eq!((sample.import_mws, sample.export_mws), (3_000, 0));
        assert_eq!(sample.frequency_mhz, 50_000);
        bus.done();
    }

    #[test]
    fn energy_that_flows_back_is_export() {
        let zeros = [0x31C, 0x31A, 0x31B, 0x312, 0x314].map(|register| read(register, &[0; 4])).concat();
        let expected =
            [start(), zeros, read(0x10E, &[0xFF, 0xFF]), read(0x31E, &(-2_i32).to_be_bytes())].concat();
        let mut bus = Mock::new(&expected);
        let mut chip = Ade7953::start(bus.clone(), CALIBRATION).unwrap();
        let sample = chip.sample().unwrap();
        assert_eq!((sample.import_mws, sample.export_mws), (0, 6));
        bus.done();
    }

    #[test]
    fn an_empty_socket_is_no_front_end() {
        let mut expected = start();
        let last = expected.len() - 2;
        expected[last] = Transaction::read_vec(vec![0xFF]);
        let mut bus = Mock::new(&expected);
        assert_eq!(Ade7953::start(bus.clone(), CALIBRATION).err(), Some(Ade7953Error::Absent));
        bus.done();
    }

    #[test]
    fn a_scale_that_overflows_stops_at_the_end_of_the_range() {
        assert_eq!(scale(i32::MIN, u32::MAX), i32::MIN);
        assert_eq!(scale(i32::MAX, u32::MAX), i32::MAX);
        assert_eq!(scale_unsigned(u32::MAX, u32::MAX), u32::MAX);
    }
}
