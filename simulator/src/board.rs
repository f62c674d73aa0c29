//! The virtual board: the board traits over a household, simulated time and memory that can lose its power in mid-write.

use crate::banks::{BANK_BYTES, Banks};
use crate::clock::SimClock;
use crate::load::Household;
use crate::nvm::{Nvm, NvmError};
use crate::random::Sequence;
use crate::wiring::{Divided, FrontEnd, Mechanics, Wiring};
use firmware::image::boot;
use hardware::board::{Bank, Board, Clock, Health, ImageBanks, Metering, Relay, ResetCause, Sample};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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

/// What lasts on a board when its power goes: positions, wires, the clock that a battery feeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Where the contact is.
    pub contact_closed: bool,
    /// What the mechanics do with the next pulse.
    pub mechanics: Mechanics,
    /// The terminal cover is open.
    pub cover_open: bool,
    /// A magnet is at the meter.
    pub magnet: bool,
    /// Supply and wires.
    pub wiring: Wiring,
    /// The metering front end.
    pub front_end: FrontEnd,
    /// Energy that the front end counts with the next sample though it never flowed, in milliwatt-seconds.
    pub jump_mws: u64,
    /// How far the clock is from the street's time, in milliseconds, at `drift_from_ms`.
    clock_offset_ms: i64,
    /// How much faster than right it runs, in parts per million.
    drift_ppm: i32,
    /// Since when, in milliseconds after the origin.
    drift_from_ms: u64,
    /// What a person switched on besides the household's own load, in watts.
    pub extra_w: u32,
}

impl Default for Body {
    /// Everything sound, the contact closed.
    fn default() -> Self {
        Self {
            contact_closed: true,
            mechanics: Mechanics::default(),
            cover_open: false,
            magnet: false,
            wiring: Wiring::default(),
            front_end: FrontEnd::default(),
            jump_mws: 0,
            clock_offset_ms: 0,
            drift_ppm: 0,
            drift_from_ms: 0,
            extra_w: 0,
        }
    }
}

impl Body {
    /// How much faster than right the clock runs, in parts per million.
    #[must_use]
    pub fn drift_ppm(&self) -> i32 {
        self.drift_ppm
    }

    fn offset_ms(&self, elapsed_ms: u64) -> i64 {
        let run_ms = i128::from(elapsed_ms) - i128::from(self.drift_from_ms);
        let drifted_ms = run_ms * i128::from(self.drift_ppm) / 1_000_000;
        i64::try_from(i128::from(self.clock_offset_ms) + drifted_ms).unwrap_or(0)
    }
}

/// One meter's hardware.
#[derive(Debug)]
pub struct VirtualBoard {
    clock: SimClock,
    /// While the meter lives through its past: how far it has come, in milliseconds since the origin.
    past_ms: Option<u64>,
    flow: Flow,
    /// What lasts.
    pub body: Body,
    sampled_ms: u64,
    drawn_mw: u64,
    nvm: Nvm,
    banks: Banks,
    seed: u64,
    random: Sequence,
    reset_cause: ResetCause,
    /// The supply has gone, and the capacitors still last.
    pub supply_failing: bool,
    street: Arc<StreetLoad>,
}

impl VirtualBoard {
    /// A board with power since the clock's origin. What a household takes is added to `street`. Its time stands at the
    /// origin until [`VirtualBoard::live_to`] carries it on.
    #[must_use]
    pub fn new(clock: SimClock, flow: Flow, nvm: Nvm, seed: u64, street: Arc<StreetLoad>) -> Self {
        Self {
            clock,
            past_ms: Some(0),
            flow,
            body: Body::default(),
            sampled_ms: 0,
            drawn_mw: 0,
            nvm,
            banks: Banks::default(),
            seed,
            random: Sequence::new(seed),
            reset_cause: ResetCause::PowerOn,
            supply_failing: false,
            street,
        }
    }

    /// What everything random of it follows from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The same board with these banks for firmware images.
    #[must_use]
    pub fn with_banks(mut self, banks: Banks) -> Self {
        self.banks = banks;
        self
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

    /// The same hardware when its processor starts anew: what lasts stays. While power was away nothing was measured; while
    /// the processor hung the front end counted on. The start code chooses the firmware image. Random numbers go on where no earlier life has been (`lives` says which
    /// one begins).
    #[must_use]
    pub fn restart(mut self, lives: u32, cause: ResetCause) -> Self {
        self.nvm.restore_power();
        self.banks.start(boot::choose(&mut self.nvm));
        self.reset_cause = cause;
        if cause != ResetCause::Watchdog {
            self.sampled_ms = self.elapsed_ms();
        }
        self.random = Sequence::new(crate::random::hash(self.seed, u64::from(lives)));
        self
    }

    /// Where the contact is, whoever asks.
    #[must_use]
    pub fn contact_closed(&self) -> bool {
        self.body.contact_closed
    }

    /// The household behind the meter, if it is a household's.
    #[must_use]
    pub fn household(&self) -> Option<&Household> {
        match &self.flow {
            Flow::Household(household) => Some(household),
            Flow::Feeder { .. } => None,
        }
    }

    /// What flows at the moment, past the meter too, in milliwatts; as of the last sample.
    #[must_use]
    pub fn drawn_mw(&self) -> u64 {
        self.drawn_mw
    }

    /// Power at the moment and energy since the last time, as they divide at the meter.
    fn measure(&mut self) -> (Divided, Divided) {
        let origin_ms = self.clock.origin_utc_ms();
        let to_ms = self.elapsed_ms();
        let from_ms = std::mem::replace(&mut self.sampled_ms, to_ms);
        match &mut self.flow {
            Flow::Household(household) => {
                let body = &self.body;
                let extra_mw = u64::from(body.extra_w) * 1000;
                let extra_mws = extra_mw * to_ms.saturating_sub(from_ms) / 1000;
                let energy_mws = household.energy_mws(origin_ms + from_ms, origin_ms + to_ms) + extra_mws;
                let power_mw = u64::from(household.power_mw(origin_ms + to_ms)) + extra_mw;
                let divide = |load| body.wiring.divide(load, body.contact_closed);
                let energy_mws = divide(energy_mws);
                self.street.energy_mws.fetch_add(energy_mws.drawn(), Ordering::Relaxed);
                (divide(power_mw), energy_mws)
            }
            Flow::Feeder { loss_permille, measured_mws } => {
                let with_loss = |of: u64| of.saturating_add(of / 1000 * u64::from(*loss_permille));
                let total_mws = self.street.energy_mws.load(Ordering::Relaxed);
                let before_mws = std::mem::replace(measured_mws, total_mws);
                let power_w = u64::try_from(self.street.power_w.load(Ordering::Relaxed)).unwrap_or(0);
                let energy_mws = with_loss(total_mws).saturating_sub(with_loss(before_mws));
                let metered = |metered| Divided { metered, ..Divided::default() };
                (metered(with_loss(power_w * 1000)), metered(energy_mws))
            }
        }
    }

    /// The memory.
    pub fn nvm_mut(&mut self) -> &mut Nvm {
        &mut self.nvm
    }

    /// The banks for firmware images, to look at.
    #[must_use]
    pub fn banks(&self) -> &Banks {
        &self.banks
    }

    /// Another meter's board hangs at the place: memory, banks and contact as from the factory. A memory that could not be
    /// blanked holds the old meter, which starts instead of the new one.
    pub fn renew(&mut self) {
        self.body.contact_closed = true;
        let _ = self.nvm.erase().and_then(|()| self.banks.renew());
    }

    /// The memory, to look at.
    #[must_use]
    pub fn nvm(&self) -> &Nvm {
        &self.nvm
    }

    /// Moves the meter's clock by so many milliseconds.
    pub fn shift_clock_ms(&mut self, ms: i64) {
        self.body.clock_offset_ms = self.body.clock_offset_ms.saturating_add(ms);
    }

    /// From now on the meter's clock runs so many parts per million too fast.
    pub fn drift_clock(&mut self, ppm: i32) {
        let elapsed_ms = self.elapsed_ms();
        self.body.clock_offset_ms = self.body.offset_ms(elapsed_ms);
        self.body.drift_from_ms = elapsed_ms;
        self.body.drift_ppm = ppm;
    }
}

impl Metering for VirtualBoard {
    type Error = std::convert::Infallible;

    fn sample(&mut self) -> Result<Sample, Self::Error> {
        let (power_mw, energy_mws) = self.measure();
        self.drawn_mw = power_mw.drawn();
        let counted_mws = energy_mws.metered + std::mem::take(&mut self.body.jump_mws);
        let (utc_ms, body) = (self.true_utc_ms(), &self.body);
        Ok(body.wiring.sample(body.front_end, self.seed, utc_ms, power_mw, counted_mws))
    }
}

impl Relay for VirtualBoard {
    fn drive(&mut self, close: bool) {
        let body = &mut self.body;
        body.contact_closed = body.mechanics.after_pulse(body.contact_closed, close);
    }

    fn sense_closed(&mut self) -> Option<bool> {
        Some(self.body.contact_closed)
    }
}

impl Clock for VirtualBoard {
    fn utc_s(&mut self) -> Option<u32> {
        let utc_ms = i64::try_from(self.true_utc_ms()).ok()?;
        let shown_ms = utc_ms.checked_add(self.body.offset_ms(self.elapsed_ms()))?;
        u32::try_from(shown_ms.div_euclid(1000)).ok()
    }

    fn set_utc_s(&mut self, utc_s: u32) {
        let true_ms = i64::try_from(self.true_utc_ms()).unwrap_or(i64::MAX);
        self.body.clock_offset_ms = (i64::from(utc_s) * 1000).saturating_sub(true_ms / 1000 * 1000);
        self.body.drift_from_ms = self.elapsed_ms();
    }

    fn monotonic_ms(&mut self) -> u64 {
        self.elapsed_ms()
    }
}

impl Health for VirtualBoard {
    fn supply_failing(&mut self) -> bool {
        self.supply_failing
    }

    fn cover_open(&mut self) -> bool {
        self.body.cover_open
    }

    fn magnet(&mut self) -> bool {
        self.body.magnet
    }

    fn random(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.random.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    fn reset_cause(&mut self) -> ResetCause {
        self.reset_cause
    }
}

/// The banks are on the memory's supply: a cut in the middle of one of their writes cuts everything.
impl ImageBanks for VirtualBoard {
    type Error = NvmError;

    fn bank_bytes(&self) -> u32 {
        BANK_BYTES
    }

    fn running(&self) -> Bank {
        self.banks.running()
    }

    fn read(&mut self, bank: Bank, at: u32, out: &mut [u8]) -> Result<(), NvmError> {
        self.nvm.powered()?;
        self.banks.read(bank, at, out)
    }

    fn erase_idle(&mut self) -> Result<(), NvmError> {
        let arrived = self.nvm.spend(BANK_BYTES as usize)?;
        self.banks.erase_idle(arrived)?;
        self.nvm.powered()
    }

    fn write_idle(&mut self, at: u32, bytes: &[u8]) -> Result<(), NvmError> {
        let arrived = self.nvm.spend(bytes.len())?;
        self.banks.write_idle(at, &bytes[..arrived])?;
        self.nvm.powered()
    }
}

impl Board for VirtualBoard {
    type Metering = Self;
    type Relay = Self;
    type Storage = Nvm;
    type Clock = Self;
    type Health = Self;
    type Images = Self;

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

    fn images(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_UTC_S: u32 = 1_767_636_000;

    fn board() -> (SimClock, VirtualBoard) {
        let clock = SimClock::held_at(START_UTC_S);
        let flow = Flow::Household(Household::of(1, 1));
        let mut board = VirtualBoard::new(clock.clone(), flow, Nvm::blank(1024), 1, Arc::default());
        board.live_to(None);
        (clock, board)
    }

    #[test]
    fn nothing_flows_through_an_open_contact() {
        let (_, mut board) = board();
        board.drive(false);
        assert_eq!(board.sense_closed(), Some(false));
        assert_eq!(board.sample().unwrap().current_ma, 0);
        board.drive(true);
        assert!(board.sample().unwrap().current_ma > 0);
    }

    #[test]
    fn what_is_tapped_before_the_meter_is_on_the_feeder_and_not_on_the_meter() {
        let (clock, mut board) = board();
        board.sample().unwrap();
        board.body.wiring.tapped_permille = 500;
        let before_mws = board.street.energy_mws.load(Ordering::Relaxed);
        clock.advance_ms(600_000);
        let counted_mws = board.sample().unwrap().import_mws;
        let drawn_mws = board.street.energy_mws.load(Ordering::Relaxed) - before_mws;
        assert!(counted_mws > 0 && drawn_mws.abs_diff(2 * counted_mws) <= 1, "{counted_mws} of {drawn_mws}");
    }

    #[test]
    fn a_clock_that_was_shifted_comes_back_when_it_is_set() {
        let (_, mut board) = board();
        board.shift_clock_ms(-3_600_000);
        assert_eq!(board.utc_s(), Some(START_UTC_S - 3_600));
        board.set_utc_s(START_UTC_S);
        assert_eq!(board.utc_s(), Some(START_UTC_S));
    }

    #[test]
    fn a_clock_that_runs_200_ppm_fast_is_17_seconds_off_after_a_day() {
        let (clock, mut board) = board();
        board.drift_clock(200);
        clock.advance_ms(86_400_000);
        assert_eq!(board.utc_s(), Some(START_UTC_S + 86_400 + 17));
        board.drift_clock(0);
        clock.advance_ms(86_400_000);
        assert_eq!(board.utc_s(), Some(START_UTC_S + 2 * 86_400 + 17), "it keeps what it was off");
    }
}
