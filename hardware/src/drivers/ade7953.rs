//! ADE7953: single-phase metering front end with a neutral channel, over SPI.
//!
//! Source: Analog Devices, ADE7953 data sheet rev. C: "SPI interface", "Register maps", "Energy calculation", "Phase
//! calibration".
//! A transfer is a 16-bit register address, a byte that says read (0x80) or write (0x00), and the value, most significant
//! byte first. The energy registers clear themselves when they are read (LCYCMODE.RSTREAD, on after reset).

use crate::board::{Calibration, CalibrationRefused, Correction, Metering, Sample};
use embedded_hal::spi::{Operation, SpiDevice};

const READ: u8 = 0x80;
const WRITE: u8 = 0x00;

const CONFIG: u16 = 0x102;
const PHCALA: u16 = 0x108;
const PHCALB: u16 = 0x109;
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
const RSTIRQSTATA: u16 = 0x32E;
const AIRMSOS: u16 = 0x386;
const VRMSOS: u16 = 0x388;
const AWATTOS: u16 = 0x389;
const AVAROS: u16 = 0x38A;
const BIRMSOS: u16 = 0x392;

/// Value of UNLOCK that opens the register at 0x120.
const UNLOCK_KEY: u8 = 0xAD;
/// Value that the data sheet demands there for optimum performance.
const OPTIMUM_VALUE: u16 = 0x0030;
/// CONFIG after reset is 0x8004; without bit 15 the chip stays with SPI.
const CONFIG_LOCK_SPI: u16 = 0x0004;
/// The period register counts at 223.75 kHz.
const PERIOD_CLOCK_MHZ: u32 = 223_750_000;
/// Interrupt status: the chip came out of a reset.
const IRQ_RESET: u32 = 1 << 20;
/// One step of the phase registers: 1/895 kHz.
const PHASE_STEP_NS: i32 = 1_117;
/// Steps the phase registers take either way.
const PHASE_STEPS_MAX: i32 = 383;
/// Sign of the phase registers, which hold sign and magnitude.
const PHASE_NEGATIVE: u16 = 1 << 9;
/// Offset registers are signed and 24 bits wide.
const OFFSET_MAX: i32 = (1 << 23) - 1;

/// What the board's nominal parts make of 2^20 counts of each register. What a single meter differs by is in its
/// [`Calibration`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
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
///
/// A sample begins by asking the chip for its version and whether it was reset. A bus whose data line is stuck reads as all
/// zeros or all ones, and is an error, never a measurement of zero; a chip that lost its supply gets its registers again.
#[derive(Debug)]
pub struct Ade7953<S> {
    spi: S,
    scale: Scale,
    calibration: Calibration,
    configured: bool,
}

impl<S: SpiDevice> Ade7953<S> {
    /// The chip, not asked yet. The first sample is due 40 ms after its reset at the earliest.
    pub fn new(spi: S, scale: Scale) -> Self {
        Self { spi, scale, calibration: Calibration::default(), configured: false }
    }

    /// Whether the chip answers.
    ///
    /// # Errors
    /// The bus failed, or the chip is not there (all ones or all zeros read back).
    pub fn probe(&mut self) -> Result<(), Ade7953Error<S::Error>> {
        let mut version = [0];
        self.read(VERSION, &mut version)?;
        if matches!(version[0], 0x00 | 0xFF) { Err(Ade7953Error::Absent) } else { Ok(()) }
    }

    /// Locks the chip to SPI, sets what the data sheet demands and what the bench found out.
    fn configure(&mut self) -> Result<(), Ade7953Error<S::Error>> {
        let calibration = self.calibration;
        self.write_u16(CONFIG, CONFIG_LOCK_SPI)?;
        self.write(UNLOCK, &[UNLOCK_KEY])?;
        self.write_u16(OPTIMUM, OPTIMUM_VALUE)?;
        self.write_u16(PHCALA, phase_register(calibration.phase_ns))?;
        self.write_u16(PHCALB, phase_register(calibration.neutral_phase_ns))?;
        let offsets = [
            (VRMSOS, calibration.voltage),
            (AIRMSOS, calibration.current),
            (BIRMSOS, calibration.neutral),
            (AWATTOS, calibration.active),
            (AVAROS, calibration.reactive),
        ];
        for (register, correction) in offsets {
            self.write(register, &correction.offset.to_be_bytes())?;
        }
        self.configured = true;
        Ok(())
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

    /// Registers of 24 bits, read as 32: the sign is that of bit 23, whatever the chip fills up with.
    fn read_signed(&mut self, register: u16) -> Result<i32, Ade7953Error<S::Error>> {
        let mut value = [0; 4];
        self.read(register, &mut value)?;
        Ok(i32::from_be_bytes(value) << 8 >> 8)
    }

    fn read_unsigned(&mut self, register: u16) -> Result<u32, Ade7953Error<S::Error>> {
        let mut value = [0; 4];
        self.read(register, &mut value)?;
        Ok(u32::from_be_bytes(value) & 0x00FF_FFFF)
    }

    fn read_rms(
        &mut self,
        register: u16,
        per_2_20: u32,
        by: Correction,
    ) -> Result<u32, Ade7953Error<S::Error>> {
        let counts = self.read_unsigned(register)?.cast_signed();
        Ok(u32::try_from(scaled(counts, per_2_20, by)).unwrap_or(u32::MAX))
    }

    fn read_power(&mut self, register: u16, by: Correction) -> Result<i32, Ade7953Error<S::Error>> {
        let power = scaled(self.read_signed(register)?, self.scale.power_mw, by);
        Ok(i32::try_from(power).unwrap_or(if power < 0 { i32::MIN } else { i32::MAX }))
    }
}

/// Sign and magnitude, in steps; within the range that `calibrate` has checked.
fn phase_register(phase_ns: i32) -> u16 {
    let steps = phase_ns / PHASE_STEP_NS;
    let magnitude = u16::try_from(steps.unsigned_abs()).unwrap_or(0);
    if steps < 0 { magnitude | PHASE_NEGATIVE } else { magnitude }
}

/// Counts, at most 24 bits, times nominal scale times gain, to the nearest. The factor carries six bits more than the
/// scale, so that a part per million of gain is not lost in a small one.
fn scaled(counts: i32, per_2_20: u32, by: Correction) -> i64 {
    // 1.2 at most: 32 + 21 + 6 bits.
    let gain_millionths = 1_000_000_i32.saturating_add(by.gain_ppm).max(0).unsigned_abs();
    let factor = (u64::from(per_2_20) * u64::from(gain_millionths) * 64 + 500_000) / 1_000_000;
    // 24 and 39 bits.
    let product = i64::from(counts) * factor.cast_signed();
    (product + product.signum() * (1 << 25)) / (1 << 26)
}

impl<S: SpiDevice> Metering for Ade7953<S> {
    type Error = Ade7953Error<S::Error>;

    fn sample(&mut self) -> Result<Sample, Self::Error> {
        self.probe()?;
        let was_reset = self.read_unsigned(RSTIRQSTATA)? & IRQ_RESET != 0;
        if was_reset || !self.configured {
            self.configured = false;
            self.configure()?;
        }
        let (scale, by) = (self.scale, self.calibration);
        let voltage_mv = self.read_rms(VRMS, scale.voltage_mv, by.voltage)?;
        let current_ma = self.read_rms(IRMSA, scale.current_ma, by.current)?;
        let neutral_current_ma = self.read_rms(IRMSB, scale.neutral_ma, by.neutral)?;
        let active_power_mw = self.read_power(AWATT, by.active)?;
        let reactive_power_mvar = self.read_power(AVAR, by.reactive)?;
        let mut period = [0; 2];
        self.read(PERIOD, &mut period)?;
        let frequency_mhz = PERIOD_CLOCK_MHZ / (u32::from(u16::from_be_bytes(period)) + 1);
        // Last, because reading clears it: what came before may fail and be read again.
        let energy = self.read_signed(AENERGYA)?;
        let energy_mws = scaled(energy, scale.energy_mws, by.active);
        let (import_mws, export_mws) = match energy_mws {
            0.. => (energy_mws.unsigned_abs(), 0),
            _ => (0, energy_mws.unsigned_abs()),
        };
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

    fn calibrate(&mut self, calibration: &Calibration) -> Result<(), CalibrationRefused> {
        let c = calibration;
        let phases = [c.phase_ns, c.neutral_phase_ns];
        let offsets = [c.voltage, c.current, c.neutral, c.active, c.reactive].map(|by| by.offset);
        let phases_fit = phases.iter().all(|ns| (ns / PHASE_STEP_NS).abs() <= PHASE_STEPS_MAX);
        let offsets_fit = offsets.iter().all(|offset| (-OFFSET_MAX..=OFFSET_MAX).contains(offset));
        if !(c.is_plausible() && phases_fit && offsets_fit) {
            return Err(CalibrationRefused::OutOfRange);
        }
        self.calibration = *calibration;
        // The next sample writes the registers.
        self.configured = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::failing::FailingSpi;
    use embedded_hal::spi::ErrorKind;
    use embedded_hal_mock::eh1::spi::{Mock, Transaction};
    use std::vec;
    use std::vec::Vec;

    const SCALE: Scale = Scale {
        voltage_mv: 1 << 20,
        current_ma: 1 << 19,
        neutral_ma: 1 << 19,
        power_mw: 1 << 21,
        energy_mws: 3 << 20,
    };

    fn transfer(register: u16, code: u8, value: Transaction<u8>) -> Vec<Transaction<u8>> {
        let [high, low] = register.to_be_bytes();
        vec![
            Transaction::transaction_start(),
            Transaction::write_vec(vec![high, low, code]),
            value,
            Transaction::transaction_end(),
        ]
    }

    fn read(register: u16, value: &[u8]) -> Vec<Transaction<u8>> {
        transfer(register, 0x80, Transaction::read_vec(value.to_vec()))
    }

    fn write(register: u16, value: &[u8]) -> Vec<Transaction<u8>> {
        transfer(register, 0x00, Transaction::write_vec(value.to_vec()))
    }

    /// What every sample begins with.
    fn asked(was_reset: bool) -> Vec<Transaction<u8>> {
        [read(0x702, &[3]), read(0x32E, &[0, if was_reset { 0x10 } else { 0 }, 0, 0])].concat()
    }

    fn configured(phases: [u16; 2], offsets: [i32; 5]) -> Vec<Transaction<u8>> {
        let mut writes = [
            write(0x102, &[0, 4]),
            write(0x0FE, &[0xAD]),
            write(0x120, &[0, 0x30]),
            write(0x108, &phases[0].to_be_bytes()),
            write(0x109, &phases[1].to_be_bytes()),
        ]
        .concat();
        for (register, offset) in [0x388, 0x386, 0x392, 0x389, 0x38A].into_iter().zip(offsets) {
            writes.extend(write(register, &offset.to_be_bytes()));
        }
        writes
    }

    fn started() -> Vec<Transaction<u8>> {
        [asked(true), configured([0; 2], [0; 5])].concat()
    }

    fn measured(energy: i32) -> Vec<Transaction<u8>> {
        [
            read(0x31C, &230_000_u32.to_be_bytes()),
            read(0x31A, &10_000_u32.to_be_bytes()),
            read(0x31B, &9_998_u32.to_be_bytes()),
            read(0x312, &575_000_i32.to_be_bytes()),
            read(0x314, &(-100_i32).to_be_bytes()),
            read(0x10E, &4474_u16.to_be_bytes()),
            read(0x31E, &energy.to_be_bytes()),
        ]
        .concat()
    }

    fn chip(expected: &[Vec<Transaction<u8>>]) -> (Mock<u8>, Ade7953<FailingSpi<Mock<u8>>>) {
        let bus = Mock::new(&expected.concat());
        (bus.clone(), Ade7953::new(FailingSpi::new(bus), SCALE))
    }

    #[test]
    fn a_sample_scales_every_register_and_reads_the_energy_last() {
        let (mut bus, mut chip) = chip(&[started(), measured(1000)]);
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
        let (mut bus, mut chip) = chip(&[started(), measured(0x00FF_FFFE), asked(false), measured(7)]);
        let sample = chip.sample().unwrap();
        assert_eq!((sample.import_mws, sample.export_mws), (0, 6));
        let sample = chip.sample().unwrap();
        assert_eq!((sample.import_mws, sample.export_mws), (21, 0));
        bus.done();
    }

    #[test]
    fn a_data_line_that_is_stuck_is_an_error_and_no_measurement_of_zero() {
        let (mut bus, mut chip) = chip(&[read(0x702, &[0xFF]), read(0x702, &[0x00])]);
        assert_eq!(chip.sample(), Err(Ade7953Error::Absent));
        assert_eq!(chip.sample(), Err(Ade7953Error::Absent));
        bus.done();
    }

    #[test]
    fn a_bus_that_fails_anywhere_in_a_sample_leaves_the_energy_for_the_next_one() {
        let whole = [asked(false), measured(1000)].concat();
        let transfers = whole.len() / 4;
        // The last transfer is the energy register itself.
        for failing in 0..transfers {
            let cut = whole[..4 * failing].to_vec();
            let (mut bus, mut chip) = chip(&[started(), measured(1), cut, asked(false), measured(1000)]);
            chip.sample().unwrap();
            chip.spi.whole = Some(failing);
            assert_eq!(chip.sample(), Err(Ade7953Error::Bus(ErrorKind::Other)), "transfer {failing}");
            assert_eq!(chip.sample().unwrap().import_mws, 3_000);
            bus.done();
        }
    }

    #[test]
    fn a_chip_that_lost_its_supply_gets_its_registers_again() {
        let (mut bus, mut chip) = chip(&[started(), measured(1), started(), measured(2)]);
        chip.sample().unwrap();
        assert_eq!(chip.sample().unwrap().import_mws, 6);
        bus.done();
    }

    #[test]
    fn a_calibration_corrects_gains_here_and_phase_and_offsets_in_the_chip() {
        let by = |gain_ppm, offset| Correction { gain_ppm, offset };
        let calibration = Calibration {
            voltage: by(10_000, 1),
            current: by(-20_000, -2),
            neutral: by(0, 3),
            active: by(100_000, -4),
            reactive: by(-100_000, 5),
            phase_ns: -2_234,
            neutral_phase_ns: 427_811,
        };
        let registers = configured([0x202, 383], [1, -2, 3, -4, 5]);
        let (mut bus, mut chip) = chip(&[asked(false), registers, measured(1000)]);
        chip.calibrate(&calibration).unwrap();
        let sample = chip.sample().unwrap();
        assert_eq!((sample.voltage_mv, sample.current_ma), (232_300, 4_900));
        assert_eq!((sample.active_power_mw, sample.reactive_power_mvar), (1_265_000, -180));
        assert_eq!(sample.import_mws, 3_300);
        bus.done();
    }

    #[test]
    fn a_calibration_out_of_range_is_refused_and_the_old_one_stays() {
        let good = Calibration { phase_ns: 1_117, ..Calibration::default() };
        let gain = |gain_ppm| Correction { gain_ppm, offset: 0 };
        let offset = |offset| Correction { gain_ppm: 0, offset };
        let bad = [
            Calibration { voltage: gain(200_001), ..good },
            Calibration { active: gain(i32::MIN), ..good },
            Calibration { neutral: offset(1 << 23), ..good },
            Calibration { reactive: offset(i32::MIN), ..good },
            Calibration { phase_ns: 384 * 1_117, ..good },
            Calibration { neutral_phase_ns: i32::MIN, ..good },
        ];
        let (mut bus, mut chip) = chip(&[asked(true), configured([1, 0], [0; 5]), measured(0)]);
        chip.calibrate(&good).unwrap();
        for calibration in bad {
            assert_eq!(chip.calibrate(&calibration), Err(CalibrationRefused::OutOfRange));
        }
        chip.sample().unwrap();
        bus.done();
    }

    #[test]
    fn a_scale_at_the_end_of_every_range_stays_in_range() {
        let most = Correction { gain_ppm: Calibration::GAIN_PPM_MAX, offset: 0 };
        // (2^24 - 1) x (2^32 - 1) x 1.2 / 2^20, and -2^23 of the same.
        assert_eq!(scaled(0x00FF_FFFF, u32::MAX, most), 82_463_367_149);
        assert_eq!(scaled(-0x0080_0000, u32::MAX, most), -41_231_686_032);
    }

    #[test]
    fn a_part_per_million_of_gain_is_not_lost() {
        let by = |gain_ppm| Correction { gain_ppm, offset: 0 };
        assert_eq!(scaled(5_893_000, 40_923, by(0)), 229_987);
        assert_eq!(scaled(5_893_000, 40_923, by(1_000)), 230_217);
        assert_eq!(scaled(5_893_000, 40_923, by(10)), 229_990);
    }
}
