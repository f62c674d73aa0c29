//! One simulated meter: the firmware on its virtual board, and the faults that befall it.

use crate::board::VirtualBoard;
use crate::clock::SimClock;
use crate::faults::{Damage, Effect, Fault, Waiting};
use crate::load::Household;
use firmware::ledger::MWS_PER_WH;
use firmware::{Meter, Personalisation, Status};
use protocol::time::Instant;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The firmware as every simulated meter runs it.
pub type Firmware = Meter<VirtualBoard>;

/// A meter of the street. Shared by its sessions, the thread that lets time pass and whoever injects faults.
#[derive(Debug)]
pub struct SimMeter {
    index: u32,
    clock: SimClock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Taken out only while the meter restarts.
    life: Option<Life>,
    waiting: Waiting,
    silent: bool,
    /// Counts starts: a session that began in an earlier life is over.
    lives: u32,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every meter has power, and boxing it would cost more")]
enum Life {
    On(Firmware),
    Off(VirtualBoard, Personalisation),
}

/// What is seen of a meter from outside the wire: the truth that tests compare with.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// The meter has power.
    pub powered: bool,
    /// Where the contact is.
    pub contact_closed: bool,
    /// What the meter shows, while it has power.
    pub status: Option<Status>,
    /// Credit taken by tokens so far, watt-hours, while it has power.
    pub credited_wh: Option<i64>,
    /// How often the meter has started.
    pub lives: u32,
}

/// What became of a request that reached the meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was carried out; something may befall the answer.
    Carried(Option<Damage>),
    /// The meter is silent, without power, or restarted since the session began.
    Nothing,
}

impl SimMeter {
    /// Starts the firmware on `board`, lets it live through its past, and leaves it with `credit_wh` in the present.
    ///
    /// # Errors
    /// When the firmware refuses to start.
    pub fn start(
        index: u32,
        clock: SimClock,
        board: VirtualBoard,
        mut who: Personalisation,
        credit_wh: i64,
    ) -> Result<Self, firmware::StartError> {
        let period_ms = u64::from(who.profile_period_s) * 1000;
        let steps = || past_steps(clock.origin_utc_ms(), clock.past_ms(), period_ms);
        let used = |household: &Household| household.energy_over(clock.origin_utc_ms(), steps()) / MWS_PER_WH;
        let used_wh = board.household().map_or(0, used);
        who.account.initial_credit_wh = credit_wh.saturating_add_unsigned(used_wh);
        let mut meter = Meter::new(board, who, Instant::ZERO)?;
        for at_ms in steps() {
            meter.board().live_to(Some(at_ms));
            meter.tick(Instant::from_millis(at_ms));
        }
        meter.board().live_to(None);
        let life = Some(Life::On(meter));
        let inner = Inner { life, waiting: Waiting::default(), silent: false, lives: 1 };
        Ok(Self { index, clock, inner: Mutex::new(inner) })
    }

    /// Its number in the street, from 1.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass; gives the power that flows, in watts.
    pub fn tick(&self) -> i64 {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        let mut power_w = 0;
        if let Some(Life::On(meter)) = &mut inner.life {
            meter.tick(now);
            power_w = i64::from(meter.status().sample.active_power_mw / 1000);
        }
        inner.restart_after_cut(now);
        power_w
    }

    /// Which life the meter is in: a session belongs to the life it began in.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.lock().lives
    }

    /// Whether anything that is sent to the meter reaches it.
    #[must_use]
    pub fn hears(&self) -> bool {
        let inner = self.lock();
        !inner.silent && matches!(inner.life, Some(Life::On(_)))
    }

    /// Lets the firmware carry out a request of a session of life `life`.
    pub fn carry_out(&self, life: u32, request: impl FnOnce(&mut Firmware)) -> Heard {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        if inner.silent || inner.lives != life {
            return Heard::Nothing;
        }
        let Some(Life::On(meter)) = &mut inner.life else { return Heard::Nothing };
        meter.tick(now);
        let before = (meter.ledger().credited(), meter.board().contact_closed());
        request(meter);
        let after = (meter.ledger().credited(), meter.board().contact_closed());
        if inner.restart_after_cut(now) {
            return Heard::Nothing;
        }
        let effect = Effect { token_accepted: before.0 != after.0, relay_moved: before.1 != after.1 };
        Heard::Carried(inner.waiting.take(effect))
    }

    /// Answers a Modbus request: a PDU, function code first. `None` from a meter that says nothing.
    #[must_use]
    pub fn modbus(&self, request: &[u8]) -> Option<(Vec<u8>, Option<Damage>)> {
        let mut answer = [0; firmware::MODBUS_FRAME_MAX];
        let mut length = 0;
        match self.carry_out(self.life(), |meter| length = meter.modbus_pdu(request, &mut answer)) {
            Heard::Carried(damage) => Some((answer[..length].to_vec(), damage)),
            Heard::Nothing => None,
        }
    }

    /// Does something at the meter's front panel: typing a token, pressing the button. `None` when it has no power.
    pub fn at_panel<T>(&self, person: impl FnOnce(&mut Firmware) -> T) -> Option<T> {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        let Some(Life::On(meter)) = &mut inner.life else { return None };
        meter.tick(now);
        let done = person(meter);
        inner.restart_after_cut(now);
        Some(done)
    }

    /// Makes something go wrong, or right again.
    pub fn inject(&self, fault: Fault) {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        match fault {
            Fault::Answer { damage, on, count } => inner.waiting.add(damage, on, count),
            Fault::Silence { on } => inner.silent = on,
            Fault::Reboot => {
                inner.power_off();
                inner.power_on(now);
            }
            Fault::Power { on: false } => inner.power_off(),
            Fault::Power { on: true } => inner.power_on(now),
            Fault::CutAtWrite { after } => inner.with_board(|board| board.nvm_mut().cut_after(after)),
            Fault::Relay { mechanics } => inner.with_board(|board| board.mechanics = mechanics),
            Fault::ClockShift { seconds } => inner.with_board(|board| board.shift_clock_s(seconds)),
            Fault::Cover { open } => inner.with_board(|board| board.cover_open = open),
            Fault::Magnet { present } => inner.with_board(|board| board.magnet = present),
        }
    }

    /// Changes the household's constant load, in watts.
    pub fn set_extra_load_w(&self, watts: u32) {
        self.lock().with_board(|board| {
            if let Some(household) = board.household_mut() {
                household.set_extra_w(watts);
            }
        });
    }

    /// How it really stands with the meter.
    #[must_use]
    pub fn truth(&self) -> Truth {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        let lives = inner.lives;
        match &mut inner.life {
            Some(Life::On(meter)) => {
                meter.tick(now);
                Truth {
                    powered: true,
                    contact_closed: meter.board().contact_closed(),
                    status: Some(meter.status()),
                    credited_wh: Some(meter.ledger().credited()),
                    lives,
                }
            }
            Some(Life::Off(board, _)) => {
                let contact_closed = board.contact_closed();
                Truth { powered: false, contact_closed, status: None, credited_wh: None, lives }
            }
            None => Truth { powered: false, contact_closed: false, status: None, credited_wh: None, lives },
        }
    }

    /// Host memory the meter takes, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let mut nvm = 0;
        self.lock().with_board(|board| nvm = board.nvm_mut().held_bytes());
        size_of::<Self>() + nvm
    }
}

impl Inner {
    fn with_board(&mut self, change: impl FnOnce(&mut VirtualBoard)) {
        match &mut self.life {
            Some(Life::On(meter)) => change(meter.board()),
            Some(Life::Off(board, _)) => change(board),
            None => {}
        }
    }

    fn power_off(&mut self) {
        self.life = match self.life.take() {
            Some(Life::On(meter)) => {
                let who = meter.personalisation().clone();
                Some(Life::Off(meter.into_board(), who))
            }
            other => other,
        };
    }

    fn power_on(&mut self, now: Instant) {
        let Some(life) = self.life.take() else { return };
        self.life = match life {
            Life::Off(board, who) => {
                self.lives = self.lives.wrapping_add(1);
                // The memory has just got its power back and is large enough: it started from it before.
                Meter::new(board.power_up(), who, now).ok().map(Life::On)
            }
            on @ Life::On(_) => Some(on),
        };
    }

    /// Restarts a meter whose power was cut during a write. True if that was so.
    fn restart_after_cut(&mut self, now: Instant) -> bool {
        let mut cut = false;
        self.with_board(|board| cut = board.nvm_mut().is_cut());
        if cut && matches!(self.life, Some(Life::On(_))) {
            self.power_off();
            self.power_on(now);
        }
        cut
    }
}

/// The moments, in milliseconds since the origin, at which a meter wakes up in its past: the ends of profile periods, and the
/// present.
fn past_steps(origin_utc_ms: u64, past_ms: u64, period_ms: u64) -> impl Iterator<Item = u64> {
    let to_first = period_ms - origin_utc_ms % period_ms.max(1);
    let ends = (0..).map(move |n| to_first + n * period_ms).take_while(move |at| *at < past_ms);
    // A meter without a past does not wake up in it.
    ends.chain((past_ms > 0).then_some(past_ms))
}

/// The meter's time: simulated milliseconds.
fn sim_now(clock: &SimClock) -> Instant {
    Instant::from_millis(clock.elapsed_ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_is_walked_through_by_the_ends_of_its_periods() {
        let quarter_ms = 900_000;
        // 2026-01-05T18:00:00Z and 100 s: the first quarter ends 800 s later.
        let steps: Vec<u64> = past_steps(1_767_636_100_000, 2_000_000, quarter_ms).collect();
        assert_eq!(steps, [800_000, 1_700_000, 2_000_000]);
        assert_eq!(past_steps(1_767_636_100_000, 0, quarter_ms).count(), 0);
    }
}
