//! A board in memory for the tests of this crate: storage that power can be cut on, a load, a relay that may stick.

use core::cell::RefCell;

use hardware::board::{
    Bank, Board, Calibration, CalibrationRefused, Clock, Health, ImageBanks, Metering, Relay, ResetCause,
    Sample, Storage,
};
use hardware::drivers::sector_banks::SectorBanks;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use crate::test_flash::Flash;

/// The supply of everything that can be written: cut in the middle of a write.
#[derive(Debug, Default)]
pub struct Power {
    /// Writes that still succeed, and how many bytes of the next one do.
    cut: Option<(u32, usize)>,
    pub off: bool,
    fired: bool,
    /// What was spent last was cut.
    cut_now: bool,
    writes: u32,
}

impl Power {
    /// Whether it went in the middle of what was spent last.
    pub fn fresh_cut(&self) -> bool {
        self.cut_now
    }

    /// How many bytes of a write of `len` arrive.
    pub fn spend(&mut self, len: usize) -> usize {
        self.cut_now = false;
        if self.off {
            return 0;
        }
        self.writes += 1;
        match &mut self.cut {
            Some((0, torn)) => {
                (self.off, self.fired, self.cut_now) = (true, true, true);
                len.min(*torn)
            }
            Some((left, _)) => {
                *left -= 1;
                len
            }
            None => len,
        }
    }
}

/// Storage of a given size whose power can be cut in the middle of a write.
#[derive(Debug)]
pub struct Memory {
    pub bytes: Vec<u8>,
    /// Writes to each byte, where a test counts them.
    pub wear: Option<Vec<u32>>,
    pub power: Rc<RefCell<Power>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPower;

impl Memory {
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0xff; size], wear: None, power: Rc::default() }
    }

    /// The next `whole` writes succeed, then one leaves `torn` bytes of itself, then nothing works.
    pub fn cut_after_writes(&mut self, whole: u32, torn: usize) {
        self.power.borrow_mut().cut = Some((whole, torn));
    }

    pub fn power_up(&mut self) {
        let mut power = self.power.borrow_mut();
        (power.cut, power.off) = (None, false);
    }

    /// Whether a cut has happened since the beginning.
    pub fn was_cut(&self) -> bool {
        self.power.borrow().fired
    }

    pub fn is_off(&self) -> bool {
        self.power.borrow().off
    }

    /// Writes so far, to this memory and to what shares its supply.
    pub fn writes(&self) -> u32 {
        self.power.borrow().writes
    }
}

impl Storage for Memory {
    type Error = NoPower;
    fn capacity(&self) -> u32 {
        self.bytes.len() as u32
    }
    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), NoPower> {
        // Whoever still reads without power is forgotten with what he read.
        let at = at as usize;
        out.copy_from_slice(self.bytes.get(at..at + out.len()).ok_or(NoPower)?);
        Ok(())
    }
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NoPower> {
        let at = at as usize;
        let len = self.power.borrow_mut().spend(bytes.len());
        self.bytes.get_mut(at..at + len).ok_or(NoPower)?.copy_from_slice(&bytes[..len]);
        if let Some(wear) = &mut self.wear {
            wear[at..at + len].iter_mut().for_each(|writes| *writes += 1);
        }
        if self.is_off() { Err(NoPower) } else { Ok(()) }
    }
}

/// Two banks of program memory on the same supply.
#[derive(Debug)]
pub struct Banks {
    pub bytes: [Vec<u8>; 2],
    pub running: Bank,
    power: Rc<RefCell<Power>>,
}

impl Banks {
    /// Bank A holds `factory`, and B nothing.
    pub fn new(size: usize, factory: &[u8], memory: &Memory) -> Self {
        let mut bytes = [vec![0xff; size], vec![0xff; size]];
        bytes[0][..factory.len()].copy_from_slice(factory);
        Self { bytes, running: Bank::A, power: memory.power.clone() }
    }

    fn write(&mut self, at: u32, len: usize, byte: impl Fn(usize) -> u8) -> Result<(), NoPower> {
        let mut power = self.power.borrow_mut();
        let arrived = power.spend(len);
        let bank = &mut self.bytes[self.running.other() as usize];
        for (i, slot) in bank[at as usize..].iter_mut().take(arrived).enumerate() {
            *slot = byte(i);
        }
        if power.off { Err(NoPower) } else { Ok(()) }
    }
}

impl ImageBanks for Banks {
    type Error = NoPower;
    fn bank_bytes(&self) -> u32 {
        self.bytes[0].len() as u32
    }
    fn running(&self) -> Bank {
        self.running
    }
    fn read(&mut self, bank: Bank, at: u32, out: &mut [u8]) -> Result<(), NoPower> {
        let at = at as usize;
        out.copy_from_slice(self.bytes[bank as usize].get(at..at + out.len()).ok_or(NoPower)?);
        Ok(())
    }
    fn erase_idle(&mut self) -> Result<(), NoPower> {
        self.write(0, self.bytes[0].len(), |_| 0xff)
    }
    fn write_idle(&mut self, at: u32, bytes: &[u8]) -> Result<(), NoPower> {
        self.write(at, bytes.len(), |i| bytes[i])
    }
}

/// The banks of a board: plain memory, or a flash with sectors.
#[derive(Debug)]
pub enum AnyBanks {
    Plain(Banks),
    Sectors(SectorBanks<Flash>),
}

impl ImageBanks for AnyBanks {
    type Error = ();
    fn bank_bytes(&self) -> u32 {
        match self {
            Self::Plain(banks) => banks.bank_bytes(),
            Self::Sectors(banks) => banks.bank_bytes(),
        }
    }
    fn running(&self) -> Bank {
        match self {
            Self::Plain(banks) => banks.running(),
            Self::Sectors(banks) => banks.running(),
        }
    }
    fn read(&mut self, bank: Bank, at: u32, out: &mut [u8]) -> Result<(), ()> {
        match self {
            Self::Plain(banks) => banks.read(bank, at, out).map_err(drop),
            Self::Sectors(banks) => banks.read(bank, at, out).map_err(drop),
        }
    }
    fn erase_idle(&mut self) -> Result<(), ()> {
        match self {
            Self::Plain(banks) => banks.erase_idle().map_err(drop),
            Self::Sectors(banks) => banks.erase_idle().map_err(drop),
        }
    }
    fn write_idle(&mut self, at: u32, bytes: &[u8]) -> Result<(), ()> {
        match self {
            Self::Plain(banks) => banks.write_idle(at, bytes).map_err(drop),
            Self::Sectors(banks) => banks.write_idle(at, bytes).map_err(drop),
        }
    }
}

/// A load behind a relay, measured.
#[derive(Debug)]
pub struct TestBoard {
    pub storage: Memory,
    pub banks: Option<AnyBanks>,
    pub load_mw: u64,
    pub voltage_mv: u32,
    pub closed: bool,
    /// The coil does nothing.
    pub stuck: bool,
    /// The contact's sense input can't be read.
    pub senseless: bool,
    pub pending_mws: u64,
    pub utc_s: Option<u32>,
    pub now_ms: u64,
    pub cover: bool,
    pub magnet: bool,
    /// Current flows even when the contact says open.
    pub bypassed: bool,
    pub pulses: u32,
    /// The front end does not answer.
    pub metering_fails: bool,
    /// What comes back through the neutral, when it is not what went out.
    pub neutral_ma: Option<u32>,
    /// Energy flows out.
    pub reversed: bool,
    pub supply_failing: bool,
    pub reset_cause: ResetCause,
    pub watchdog_fed: u32,
    pub jumper: bool,
    pub pulses_given: u64,
    pub calibration: Calibration,
    random: u8,
}

impl TestBoard {
    pub fn new(storage_bytes: usize) -> Self {
        Self {
            storage: Memory::new(storage_bytes),
            banks: None,
            load_mw: 1_000_000,
            voltage_mv: 230_000,
            closed: true,
            stuck: false,
            senseless: false,
            pending_mws: 0,
            utc_s: Some(1_767_225_600), // 2026-01-01T00:00:00Z
            now_ms: 0,
            cover: false,
            magnet: false,
            bypassed: false,
            pulses: 0,
            metering_fails: false,
            neutral_ma: None,
            reversed: false,
            supply_failing: false,
            reset_cause: ResetCause::PowerOn,
            watchdog_fed: 0,
            jumper: false,
            pulses_given: 0,
            calibration: Calibration::default(),
            random: 0,
        }
    }

    /// Time passes; the load uses energy while the contact is closed.
    pub fn pass(&mut self, ms: u64) {
        if self.closed || self.bypassed {
            self.pending_mws += self.load_mw * ms / 1000;
        }
        let before_s = self.now_ms / 1000;
        self.now_ms += ms;
        if let Some(utc) = &mut self.utc_s {
            *utc += (self.now_ms / 1000 - before_s) as u32;
        }
    }
}

impl Metering for TestBoard {
    type Error = ();
    fn sample(&mut self) -> Result<Sample, ()> {
        if self.metering_fails {
            return Err(());
        }
        let power = if self.closed || self.bypassed { self.load_mw } else { 0 };
        Ok(Sample {
            voltage_mv: self.voltage_mv,
            current_ma: (power / 230) as u32,
            active_power_mw: if self.reversed { -(power as i32) } else { power as i32 },
            reactive_power_mvar: 0,
            frequency_mhz: 50_000,
            import_mws: core::mem::take(&mut self.pending_mws),
            export_mws: 0,
            neutral_current_ma: self.neutral_ma.unwrap_or((power / 230) as u32),
        })
    }
    fn calibrate(&mut self, calibration: &Calibration) -> Result<(), CalibrationRefused> {
        if !calibration.is_plausible() {
            return Err(CalibrationRefused::OutOfRange);
        }
        self.calibration = *calibration;
        Ok(())
    }
}

impl Relay for TestBoard {
    fn drive(&mut self, close: bool) {
        self.pulses += 1;
        if !self.stuck {
            self.closed = close;
        }
    }
    fn sense_closed(&mut self) -> Option<bool> {
        (!self.senseless).then_some(self.closed)
    }
}

impl Clock for TestBoard {
    fn utc_s(&mut self) -> Option<u32> {
        self.utc_s
    }
    fn set_utc_s(&mut self, utc_s: u32) {
        self.utc_s = Some(utc_s);
    }
    fn monotonic_ms(&mut self) -> u64 {
        self.now_ms
    }
}

impl Health for TestBoard {
    fn cover_open(&mut self) -> bool {
        self.cover
    }
    fn magnet(&mut self) -> bool {
        self.magnet
    }
    fn calibration_jumper(&mut self) -> bool {
        self.jumper
    }
    fn supply_failing(&mut self) -> bool {
        self.supply_failing
    }
    fn reset_cause(&mut self) -> ResetCause {
        self.reset_cause
    }
    fn feed_watchdog(&mut self) {
        self.watchdog_fed += 1;
    }
    fn random(&mut self, out: &mut [u8]) {
        for byte in out {
            self.random = self.random.wrapping_mul(167).wrapping_add(13);
            *byte = self.random;
        }
    }
}

impl Board for TestBoard {
    type Metering = Self;
    type Relay = Self;
    type Storage = Memory;
    type Clock = Self;
    type Health = Self;
    type Images = AnyBanks;
    fn pulse(&mut self, count: u32) {
        self.pulses_given += u64::from(count);
    }
    fn metering(&mut self) -> &mut Self {
        self
    }
    fn relay(&mut self) -> &mut Self {
        self
    }
    fn storage(&mut self) -> &mut Memory {
        &mut self.storage
    }
    fn clock(&mut self) -> &mut Self {
        self
    }
    fn health(&mut self) -> &mut Self {
        self
    }

    fn images(&mut self) -> Option<&mut AnyBanks> {
        self.banks.as_mut()
    }
}
