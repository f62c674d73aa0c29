//! The virtual board: the board traits over a household, simulated time and memory that can lose its power in mid-write.

use crate::clock::SimClock;
use crate::load::Household;
use crate::random::Sequence;
use hardware::board::{Board, Clock, Health, Metering, NoImages, Relay, Sample, Storage};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const NOMINAL_MV: u64 = 230_000;
const NOMINAL_MHZ: u32 = 50_000;

/// Non-volatile memory. Takes host memory only as far up as it was written.
#[derive(Debug, Clone, Default)]
pub struct Nvm {
    bytes: Vec<u8>,
    capacity: u32,
    writes: u64,
    cut_after: Option<u64>,
    cut: bool,
}

/// Why an access to [`Nvm`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvmError {
    /// Beyond its capacity.
    OutOfRange,
    /// Power is gone: nothing works until the meter starts again.
    PowerCut,
}

impl Nvm {
    /// Blank memory of `capacity` bytes.
    #[must_use]
    pub fn blank(capacity: u32) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Cuts the power during the write that follows after `writes` complete ones: that write is torn, only the first half
    /// of its bytes arrives, and every later access fails until [`Nvm::restore_power`].
    pub fn cut_after(&mut self, writes: u64) {
        self.cut_after = Some(self.writes.saturating_add(writes));
    }

    /// Whether a cut has happened.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Power is back.
    pub fn restore_power(&mut self) {
        self.cut = false;
        self.cut_after = None;
    }

    /// Host memory taken, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn range(&self, at: u32, length: usize) -> Result<std::ops::Range<usize>, NvmError> {
        if self.cut {
            return Err(NvmError::PowerCut);
        }
        let start = at as usize; // usize is at least 32 bits on every host
        let end = start.checked_add(length).filter(|end| *end <= self.capacity as usize);
        end.map(|end| start..end).ok_or(NvmError::OutOfRange)
    }
}

impl Storage for Nvm {
    type Error = NvmError;

    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), NvmError> {
        let range = self.range(at, out.len())?;
        out.fill(0xFF);
        if let Some(held) = self.bytes.get(range.start..range.end.min(self.bytes.len())) {
            out[..held.len()].copy_from_slice(held);
        }
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NvmError> {
        let range = self.range(at, bytes.len())?;
        let torn = self.cut_after.is_some_and(|after| self.writes >= after);
        let bytes = if torn { &bytes[..bytes.len() / 2] } else { bytes };
        let end = range.start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.reserve_exact(end - self.bytes.len());
            self.bytes.resize(end, 0xFF);
        }
        self.bytes[range.start..end].copy_from_slice(bytes);
        self.writes += 1;
        self.cut = torn;
        if torn { Err(NvmError::PowerCut) } else { Ok(()) }
    }
}

/// What the relay's mechanics do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanics {
    /// The contact follows the coil.
    #[default]
    Sound,
    /// The coil gets its pulses, the contact stays where it is.
    Stuck,
    /// The contact never opens again.
    Welded,
}

/// What all meters of a street take together.
#[derive(Debug, Default)]
pub struct StreetLoad {
    /// Energy since the origin, in milliwatt-seconds.
    pub energy_mws: AtomicU64,
    /// Power now, in watts.
    pub power_w: AtomicI64,
}

/// What flows through a meter.
#[derive(Debug, Clone, Copy)]
pub enum Flow {
    /// What one household takes.
    Household(Household),
    /// What the whole street takes and its lines lose.
    Feeder {
        /// Technical losses in permille of what the meters measure.
        loss_permille: u32,
        /// Energy of the street that was measured already.
        measured_mws: u64,
    },
}

/// One meter's hardware.
#[derive(Debug)]
pub struct VirtualBoard {
    clock: SimClock,
    /// While the meter lives through its past: how far it has come, in milliseconds since the origin.
    past_ms: Option<u64>,
    clock_offset_s: i64,
    clock_valid: bool,
    flow: Flow,
    contact_closed: bool,
    /// What the mechanics do with the next pulse.
    pub mechanics: Mechanics,
    /// The terminal cover is open.
    pub cover_open: bool,
    /// A magnet is at the meter.
    pub magnet: bool,
    sampled_ms: u64,
    nvm: Nvm,
    random: Sequence,
    street: Arc<StreetLoad>,
}

impl VirtualBoard {
    /// A board with power since the clock's origin. What a household takes is added to `street`. Its time stands at the origin until [`VirtualBoard::live_to`] carries it on.
    #[must_use]
    pub fn new(clock: SimClock, flow: Flow, nvm: Nvm, seed: u64, street: Arc<StreetLoad>) -> Self {
        Self {
            clock,
            past_ms: Some(0),
            clock_offset_s: 0,
            clock_valid: true,
            flow,
            contact_closed: true,
            mechanics: Mechanics::Sound,
            cover_open: false,
            magnet: false,
            sampled_ms: 0,
            nvm,
            random: Sequence::new(seed),
            street,
        }
    }

    /// Carries a board in its past on to so many milliseconds after the origin; `None` brings it into the present for good.
    pub fn live_to(&mut self, past_ms: Option<u64>) {
        self.past_ms = past_ms;
    }

    fn elapsed_ms(&self) -> u64 {
        self.past_ms.unwrap_or_else(|| self.clock.elapsed_ms())
    }

    fn true_utc_ms(&self) -> u64 {
        self.clock.origin_utc_ms().saturating_add(self.elapsed_ms())
    }

    /// The same hardware after power was away: memory and contact stay, nothing was measured meanwhile.
    #[must_use]
    pub fn power_up(mut self) -> Self {
        self.nvm.restore_power();
        self.sampled_ms = self.elapsed_ms();
        self
    }

    /// Where the contact is, whoever asks.
    #[must_use]
    pub fn contact_closed(&self) -> bool {
        self.contact_closed
    }

    /// The household behind the meter, if it is a household's.
    #[must_use]
    pub fn household(&self) -> Option<&Household> {
        match &self.flow {
            Flow::Household(household) => Some(household),
            Flow::Feeder { .. } => None,
        }
    }

    /// The same, to change it.
    pub fn household_mut(&mut self) -> Option<&mut Household> {
        match &mut self.flow {
            Flow::Household(household) => Some(household),
            Flow::Feeder { .. } => None,
        }
    }

    /// Power at the moment, in milliwatts, and energy since the last time, in milliwatt-seconds.
    fn measure(&mut self) -> (u64, u64) {
        let origin_ms = self.clock.origin_utc_ms();
        let to_ms = self.elapsed_ms();
        let from_ms = std::mem::replace(&mut self.sampled_ms, to_ms);
        match &mut self.flow {
            Flow::Household(_) if !self.contact_closed => (0, 0),
            Flow::Household(household) => {
                let energy_mws = household.energy_mws(origin_ms + from_ms, origin_ms + to_ms);
                self.street.energy_mws.fetch_add(energy_mws, Ordering::Relaxed);
                (u64::from(household.power_mw(origin_ms + to_ms)), energy_mws)
            }
            Flow::Feeder { loss_permille, measured_mws } => {
                let with_loss = |of: u64| of.saturating_add(of / 1000 * u64::from(*loss_permille));
                let total_mws = self.street.energy_mws.load(Ordering::Relaxed);
                let before_mws = std::mem::replace(measured_mws, total_mws);
                let power_w = u64::try_from(self.street.power_w.load(Ordering::Relaxed)).unwrap_or(0);
                (with_loss(power_w * 1000), with_loss(total_mws).saturating_sub(with_loss(before_mws)))
            }
        }
    }

    /// The memory.
    pub fn nvm_mut(&mut self) -> &mut Nvm {
        &mut self.nvm
    }

    /// Moves the meter's clock by so many seconds.
    pub fn shift_clock_s(&mut self, seconds: i64) {
        self.clock_offset_s = self.clock_offset_s.saturating_add(seconds);
    }
}

impl Metering for VirtualBoard {
    type Error = std::convert::Infallible;

    fn sample(&mut self) -> Result<Sample, Self::Error> {
        let (power_mw, import_mws) = self.measure();
        // A loaded line sags: one volt for every 500 W, at most 23 V.
        let voltage_mv = NOMINAL_MV - (power_mw / 500).min(23_000);
        let active_power_mw = i32::try_from(power_mw).unwrap_or(i32::MAX);
        let current_ma = u32::try_from(power_mw * 1000 / voltage_mv).unwrap_or(u32::MAX);
        Ok(Sample {
            voltage_mv: u32::try_from(voltage_mv).unwrap_or(0),
            current_ma,
            neutral_current_ma: current_ma,
            active_power_mw,
            reactive_power_mvar: active_power_mw / 10,
            frequency_mhz: NOMINAL_MHZ,
            import_mws,
            export_mws: 0,
        })
    }
}

impl Relay for VirtualBoard {
    fn drive(&mut self, close: bool) {
        self.contact_closed = match self.mechanics {
            Mechanics::Sound => close,
            Mechanics::Stuck => self.contact_closed,
            Mechanics::Welded => self.contact_closed || close,
        };
    }

    fn sense_closed(&mut self) -> bool {
        self.contact_closed
    }
}

impl Clock for VirtualBoard {
    fn utc_s(&mut self) -> Option<u32> {
        let utc_s = i64::try_from(self.true_utc_ms() / 1000).ok()?.checked_add(self.clock_offset_s)?;
        u32::try_from(utc_s).ok().filter(|_| self.clock_valid)
    }

    fn set_utc_s(&mut self, utc_s: u32) {
        let true_s = i64::try_from(self.true_utc_ms() / 1000).unwrap_or(i64::MAX);
        self.clock_offset_s = i64::from(utc_s).saturating_sub(true_s);
        self.clock_valid = true;
    }

    fn monotonic_ms(&mut self) -> u64 {
        self.elapsed_ms()
    }
}

impl Health for VirtualBoard {
    fn cover_open(&mut self) -> bool {
        self.cover_open
    }

    fn magnet(&mut self) -> bool {
        self.magnet
    }

    fn random(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.random.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

impl Board for VirtualBoard {
    type Metering = Self;
    type Relay = Self;
    type Storage = Nvm;
    type Clock = Self;
    type Health = Self;
    type Images = NoImages;

    fn metering(&mut self) -> &mut Self {
        self
    }

    fn relay(&mut self) -> &mut Self {
        self
    }

    fn storage(&mut self) -> &mut Nvm {
        &mut self.nvm
    }

    fn clock(&mut self) -> &mut Self {
        self
    }

    fn health(&mut self) -> &mut Self {
        self
    }

    fn images(&mut self) -> Option<&mut NoImages> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> VirtualBoard {
        let clock = SimClock::starting_at(1_767_636_000, 3600);
        let mut board = VirtualBoard::new(
            clock,
            Flow::Household(Household::of(1, 1)),
            Nvm::blank(1024),
            1,
            Arc::default(),
        );
        board.live_to(None);
        board
    }

    #[test]
    fn memory_that_was_never_written_reads_blank() {
        let mut nvm = Nvm::blank(64);
        nvm.write(8, &[1, 2]).unwrap();
        let mut out = [0; 12];
        nvm.read(0, &mut out).unwrap();
        assert_eq!(out, [255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 255, 255]);
        assert_eq!(nvm.write(63, &[0, 0]), Err(NvmError::OutOfRange));
        assert_eq!(nvm.read(u32::MAX, &mut out), Err(NvmError::OutOfRange));
    }

    #[test]
    fn a_cut_tears_one_write_and_stops_all_later_ones() {
        let mut nvm = Nvm::blank(64);
        nvm.cut_after(1);
        nvm.write(0, &[1; 8]).unwrap();
        assert_eq!(nvm.write(0, &[2; 8]), Err(NvmError::PowerCut));
        assert_eq!(nvm.write(0, &[3; 8]), Err(NvmError::PowerCut));
        assert!(nvm.is_cut());
        nvm.restore_power();
        let mut out = [0; 8];
        nvm.read(0, &mut out).unwrap();
        assert_eq!(out, [2, 2, 2, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn nothing_flows_through_an_open_contact() {
        let mut board = board();
        board.drive(false);
        assert!(!board.sense_closed());
        assert_eq!(board.sample().unwrap().current_ma, 0);
        board.drive(true);
        assert!(board.sample().unwrap().current_ma > 0);
    }

    #[test]
    fn a_welded_contact_does_not_open_and_a_stuck_one_does_not_move() {
        let mut board = board();
        board.mechanics = Mechanics::Welded;
        board.drive(false);
        assert!(board.sense_closed());
        board.mechanics = Mechanics::Sound;
        board.drive(false);
        board.mechanics = Mechanics::Stuck;
        board.drive(true);
        assert!(!board.sense_closed());
    }

    #[test]
    fn a_clock_that_was_shifted_comes_back_when_it_is_set() {
        let mut board = board();
        board.shift_clock_s(-3600);
        let late_s = board.utc_s().unwrap();
        board.set_utc_s(late_s + 3600);
        assert!(board.utc_s().unwrap() >= late_s + 3600);
    }
}
