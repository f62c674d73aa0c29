//! The traits a board implements. Everything is in integers; the unit stands last in the name.

/// One measurement of the metering front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// RMS voltage in millivolts.
    pub voltage_mv: u32,
    /// RMS current in milliamperes.
    pub current_ma: u32,
    /// Active power in milliwatts, positive for import.
    pub active_power_mw: i32,
    /// Reactive power in millivolt-ampere reactive, positive for import.
    pub reactive_power_mvar: i32,
    /// Frequency in millihertz.
    pub frequency_mhz: u32,
    /// Active energy imported since the previous sample, in milliwatt-seconds.
    pub import_mws: u64,
    /// Active energy exported since the previous sample, in milliwatt-seconds.
    pub export_mws: u64,
    /// Current in the neutral in milliamperes.
    pub neutral_current_ma: u32,
}

/// Correction of one quantity of a metering front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Correction {
    /// Parts per million added to what the board's nominal scale gives; within [`Calibration::GAIN_PPM_MAX`].
    pub gain_ppm: i32,
    /// Offset, in the units of the front end's own offset register.
    pub offset: i32,
}

/// What a bench found out about one meter: how it differs from what its parts' nominal values say. The default corrects
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Calibration {
    /// RMS voltage.
    pub voltage: Correction,
    /// RMS current in the phase.
    pub current: Correction,
    /// RMS current in the neutral.
    pub neutral: Correction,
    /// Active power and energy.
    pub active: Correction,
    /// Reactive power.
    pub reactive: Correction,
    /// Delay of the phase's current channel in nanoseconds, with the sign of the front end's register.
    pub phase_ns: i32,
    /// The same of the neutral's.
    pub neutral_phase_ns: i32,
}

impl Calibration {
    /// A fifth: what lies beyond is a wrong part, not a tolerance. Our bound.
    pub const GAIN_PPM_MAX: i32 = 200_000;

    /// Whether every gain is a tolerance of parts.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        [self.voltage, self.current, self.neutral, self.active, self.reactive]
            .iter()
            .all(|correction| correction.gain_ppm.unsigned_abs() <= Self::GAIN_PPM_MAX.unsigned_abs())
    }
}

/// A calibration was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationRefused {
    /// This front end has nothing to calibrate.
    Unsupported,
    /// A gain, an offset or a phase is outside what the front end can correct.
    OutOfRange,
}

/// The metering front end.
pub trait Metering {
    /// What went wrong on its bus.
    type Error: core::fmt::Debug;
    /// Takes the measurement and clears the energy accumulated in it.
    ///
    /// # Errors
    /// When the front end does not answer; the energy stays accumulated there.
    fn sample(&mut self) -> Result<Sample, Self::Error>;

    /// Corrects every sample from now on. A front end that is not there gets its correction when it comes back.
    ///
    /// # Errors
    /// [`CalibrationRefused`]; what was in force stays.
    fn calibrate(&mut self, _calibration: &Calibration) -> Result<(), CalibrationRefused> {
        Err(CalibrationRefused::Unsupported)
    }
}

/// The supply relay with its sensed contact.
pub trait Relay {
    /// Gives the coil its pulse. Whether the contact moved is for [`Relay::sense_closed`] to say.
    fn drive(&mut self, close: bool);
    /// What the contact says: closed (true) or open. `None` when it can't be asked.
    fn sense_closed(&mut self) -> Option<bool>;
}

/// Byte-addressed non-volatile memory that keeps what was written when power fails after `write` returned. A write that
/// power cuts may leave any prefix of it (a torn write). FRAM is one; flash gets there through a translation layer.
pub trait Storage {
    /// What went wrong on its bus.
    type Error: core::fmt::Debug;
    /// Size in bytes.
    fn capacity(&self) -> u32;
    /// Reads `out.len()` bytes at `at`.
    ///
    /// # Errors
    /// Out of range, or the bus failed.
    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), Self::Error>;
    /// Writes `bytes` at `at`; returns when they are durable.
    ///
    /// # Errors
    /// Out of range, or the bus failed: any prefix may have been written.
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// The real-time clock, UTC.
pub trait Clock {
    /// Seconds since 1970-01-01T00:00:00Z, or `None` when the clock lost its power and was never set.
    fn utc_s(&mut self) -> Option<u32>;
    /// Sets it.
    fn set_utc_s(&mut self, utc_s: u32);
    /// Milliseconds since the processor started; never goes back.
    fn monotonic_ms(&mut self) -> u64;
}

/// Why the processor started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetCause {
    /// The supply came (or the board can't tell).
    #[default]
    PowerOn,
    /// Nobody fed the watchdog in time.
    Watchdog,
    /// The firmware asked for it: a new image.
    Requested,
}

/// Digital inputs that tell of tampering and of the supply, the watchdog, and the source of randomness for HLS challenges.
pub trait Health {
    /// The terminal cover is open.
    fn cover_open(&mut self) -> bool;
    /// A strong magnetic field is present.
    fn magnet(&mut self) -> bool;
    /// Fills `out` with random bytes.
    fn random(&mut self, out: &mut [u8]);
    /// The jumper under the sealed cover is fitted: the meter is on a bench and may be calibrated.
    fn calibration_jumper(&mut self) -> bool {
        false
    }
    /// The supply has gone and what is left in the capacitors lasts for a few hundred milliseconds: time for a last word.
    /// A board without such a comparator never says so.
    fn supply_failing(&mut self) -> bool {
        false
    }
    /// Why the processor started this time.
    fn reset_cause(&mut self) -> ResetCause {
        ResetCause::PowerOn
    }
    /// All is well: the watchdog counts anew. A board without one does nothing.
    fn feed_watchdog(&mut self) {}
}

/// One of the two places that hold a firmware image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bank {
    /// Where the factory put the first image.
    #[default]
    A,
    /// The other one.
    B,
}

impl Bank {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Two banks of program memory: one runs, the other one takes a new image. Which of them starts is decided at each reset by
/// the board's start code, from a record in [`Storage`] that the firmware keeps.
pub trait ImageBanks {
    /// What went wrong.
    type Error: core::fmt::Debug;
    /// Bytes of one bank.
    fn bank_bytes(&self) -> u32;
    /// The bank whose image runs.
    fn running(&self) -> Bank;
    /// Reads `out.len()` bytes at `at` of a bank.
    ///
    /// # Errors
    /// Out of range, or the memory failed.
    fn read(&mut self, bank: Bank, at: u32, out: &mut [u8]) -> Result<(), Self::Error>;
    /// Blanks the bank that does not run. A power cut leaves anything in it.
    ///
    /// # Errors
    /// The memory failed.
    fn erase_idle(&mut self) -> Result<(), Self::Error>;
    /// Writes to the bank that does not run; returns when the bytes are durable. The same place is written again with the
    /// same bytes when power was cut meanwhile.
    ///
    /// # Errors
    /// Out of range, or the memory failed: any prefix may have been written.
    fn write_idle(&mut self, at: u32, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Banks that no program runs from: the start code copies the program of one of them to where programs run, and starts that.
pub trait RunArea: ImageBanks {
    /// Whether the `length` bytes at `at` of a bank are what lies where programs run.
    ///
    /// # Errors
    /// Out of range, or the memory failed.
    fn holds(&mut self, bank: Bank, at: u32, length: u32) -> Result<bool, Self::Error>;
    /// Copies them there. A power cut leaves anything there, and the bank as it was.
    ///
    /// # Errors
    /// Out of range, or the memory failed.
    fn load(&mut self, bank: Bank, at: u32, length: u32) -> Result<(), Self::Error>;
}

/// For a board whose program memory holds one image: there is no value of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoImages {}

impl ImageBanks for NoImages {
    type Error = core::convert::Infallible;
    fn bank_bytes(&self) -> u32 {
        match *self {}
    }
    fn running(&self) -> Bank {
        match *self {}
    }
    fn read(&mut self, _bank: Bank, _at: u32, _out: &mut [u8]) -> Result<(), Self::Error> {
        match *self {}
    }
    fn erase_idle(&mut self) -> Result<(), Self::Error> {
        match *self {}
    }
    fn write_idle(&mut self, _at: u32, _bytes: &[u8]) -> Result<(), Self::Error> {
        match *self {}
    }
}

/// A whole board: the parts, each borrowed on its own.
pub trait Board {
    /// The metering front end.
    type Metering: Metering;
    /// The supply relay.
    type Relay: Relay;
    /// Non-volatile memory.
    type Storage: Storage;
    /// The real-time clock.
    type Clock: Clock;
    /// Tamper inputs and randomness.
    type Health: Health;
    /// The two banks for firmware images; [`NoImages`] where there is one image only.
    type Images: ImageBanks;
    /// The metering front end.
    fn metering(&mut self) -> &mut Self::Metering;
    /// The supply relay.
    fn relay(&mut self) -> &mut Self::Relay;
    /// Non-volatile memory.
    fn storage(&mut self) -> &mut Self::Storage;
    /// The real-time clock.
    fn clock(&mut self) -> &mut Self::Clock;
    /// Tamper inputs and randomness.
    fn health(&mut self) -> &mut Self::Health;
    /// Gives so many more pulses at the metrology output. A board without one does nothing.
    fn pulse(&mut self, _count: u32) {}
    /// The banks for firmware images, where the board has them.
    fn images(&mut self) -> Option<&mut Self::Images>;
}
