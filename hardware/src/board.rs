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

/// The metering front end.
pub trait Metering {
    /// What went wrong on its bus.
    type Error: core::fmt::Debug;
    /// Takes the measurement and clears the energy accumulated in it.
    ///
    /// # Errors
    /// When the front end does not answer; the energy stays accumulated there.
    fn sample(&mut self) -> Result<Sample, Self::Error>;
}

/// The supply relay with its sensed contact.
pub trait Relay {
    /// Gives the coil its pulse. Whether the contact moved is for [`Relay::sense_closed`] to say.
    fn drive(&mut self, close: bool);
    /// What the contact says: closed (true) or open.
    fn sense_closed(&mut self) -> bool;
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

/// Digital inputs that tell of tampering, and the source of randomness for HLS challenges.
pub trait Health {
    /// The terminal cover is open.
    fn cover_open(&mut self) -> bool;
    /// A strong magnetic field is present.
    fn magnet(&mut self) -> bool;
    /// Fills `out` with random bytes.
    fn random(&mut self, out: &mut [u8]);
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
}
