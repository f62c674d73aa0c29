//! One simulated meter: the firmware on its virtual board, and the faults that befall it.

use crate::board::{Body, VirtualBoard};
use crate::clock::SimClock;
use crate::faults::{Damage, Effect, Waiting};
use crate::load::Household;
use crate::push::{self, Push};
use crate::random::{Sequence, hash};
use firmware::image::format::Version;
use firmware::ledger::MWS_PER_WH;
use firmware::{Meter, Personalisation, Status};
use hardware::board::ResetCause;
use protocol::time::Instant;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod inflict;

/// What the losses of frames are drawn for, apart from everything else that follows from the seed.
const LOSSES: u64 = 0x4C4F_5353 << 32;

/// The firmware as every simulated meter runs it.
pub type Firmware = Meter<VirtualBoard>;

/// A meter of the street. Shared by its sessions, the thread that lets time pass and whoever injects faults.
#[derive(Debug)]
pub struct SimMeter {
    index: u32,
    clock: SimClock,
    connections: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Taken out only while the meter restarts.
    life: Option<Life>,
    waiting: Waiting,
    condition: Condition,
    reboot_after: Option<u32>,
    /// What the meter said before its capacitors were empty.
    last_words: Vec<Push>,
    /// Which frames are lost, where some are.
    losses: Sequence,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every meter has power, and boxing it would cost more")]
enum Life {
    On(Firmware),
    Off(VirtualBoard, Personalisation),
}

/// What is wrong with a meter as such, its board aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Condition {
    /// Hears and says nothing.
    pub silent: bool,
    /// Real milliseconds that every answer takes longer.
    pub slow_ms: u32,
    /// Takes one connection at a time.
    pub single_session: bool,
    /// The processor hangs.
    pub hung: bool,
    /// Other keys than everybody believes.
    pub wrong_key: bool,
    /// Another meter hangs at the place.
    pub exchanged: bool,
    /// Capacity of a memory that was cut down, in bytes.
    pub cut_down_to: Option<u32>,
    /// No power.
    pub off: bool,
    /// Counts starts: a session that began in an earlier life is over.
    pub lives: u32,
    /// How many of a thousand frames are lost.
    pub loss_permille: u16,
}

/// What is seen of a meter from outside the wire: the truth that tests compare with.
#[derive(Debug, Clone, Copy, Default)]
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
    /// The firmware image that runs, while it has power.
    pub firmware: Option<Version>,
}

/// What became of a request that reached the meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was carried out; something may befall the answer.
    Carried(Option<Damage>),
    /// The meter is silent, without power, or restarted since the session began.
    Nothing,
}

/// A place at a meter for one connection; given back when dropped.
#[derive(Debug)]
pub struct Connection(Arc<SimMeter>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
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
        let condition = Condition { lives: 1, ..Condition::default() };
        Ok(Self::with(index, clock, Life::On(meter), condition))
    }

    /// A meter that lived before: `board` with its memory, what lasted of it, and what was wrong.
    ///
    /// # Errors
    /// When the firmware refuses to start from that memory.
    pub fn resume(
        index: u32,
        clock: SimClock,
        mut board: VirtualBoard,
        who: Personalisation,
        body: Body,
        mut condition: Condition,
    ) -> Result<Self, firmware::StartError> {
        board.live_to(None);
        board.body = body;
        let who = if condition.wrong_key { with_other_keys(who) } else { who };
        let life = if condition.off {
            Life::Off(board, who)
        } else {
            condition.lives = condition.lives.wrapping_add(1);
            let board = board.restart(condition.lives, ResetCause::PowerOn);
            Life::On(Meter::new(board, who, sim_now(&clock))?)
        };
        Ok(Self::with(index, clock, life, condition))
    }

    fn with(index: u32, clock: SimClock, mut life: Life, condition: Condition) -> Self {
        let (waiting, last_words) = (Waiting::default(), Vec::new());
        let seed = match &mut life {
            Life::On(meter) => meter.board().seed(),
            Life::Off(board, _) => board.seed(),
        };
        let losses = Sequence::new(hash(seed, LOSSES ^ u64::from(index)));
        let inner = Inner { life: Some(life), waiting, condition, reboot_after: None, last_words, losses };
        Self { index, clock, connections: AtomicU32::new(0), inner: Mutex::new(inner) }
    }

    /// Its number in the street, from 1.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass; gives the power that flows, past the meter too, in watts.
    pub fn tick(&self) -> i64 {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        if inner.condition.hung {
            return 0;
        }
        let mut power_w = 0;
        let mut wanted = false;
        if let Some(Life::On(meter)) = &mut inner.life {
            meter.tick(now);
            power_w = i64::try_from(meter.board().drawn_mw() / 1000).unwrap_or(0);
            wanted = meter.restart_wanted();
        }
        if !inner.restart_after_cut(now) && wanted {
            // What answered the request that asked for it has been sent meanwhile.
            inner.power_off();
            inner.power_on(now, ResetCause::Requested);
        }
        power_w
    }

    /// The next alarm that the meter sends by itself, oldest first. A meter that is silent, or hangs, sends none.
    #[must_use]
    pub fn next_push(&self) -> Option<Push> {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        if !inner.hears() {
            return None;
        }
        if !inner.last_words.is_empty() {
            return Some(inner.last_words.remove(0));
        }
        match &mut inner.life {
            Some(Life::On(meter)) => push::next(meter, now),
            _ => None,
        }
    }

    /// Has management send the meter's alarms to this address. False when the meter refuses or has no power.
    pub fn push_to(&self, destination: std::net::SocketAddr) -> bool {
        match &mut self.lock().life {
            Some(Life::On(meter)) => push::direct(meter, destination),
            _ => false,
        }
    }

    /// Which life the meter is in: a session belongs to the life it began in.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.lock().condition.lives
    }

    /// Whether anything that is sent to the meter reaches it.
    #[must_use]
    pub fn hears(&self) -> bool {
        let inner = self.lock();
        inner.hears() && matches!(inner.life, Some(Life::On(_)))
    }

    /// A place for one more connection; `None` when the meter takes no more.
    #[must_use]
    pub fn connect(self: &Arc<Self>) -> Option<Connection> {
        let single = self.lock().condition.single_session;
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let place = Connection(Arc::clone(self));
        (!single || before == 0).then_some(place)
    }

    /// Real milliseconds that every answer takes longer.
    #[must_use]
    pub fn slow_ms(&self) -> u32 {
        self.lock().condition.slow_ms
    }

    /// Whether the next frame from or to the meter is lost on its way.
    #[must_use]
    pub fn loses_frame(&self) -> bool {
        let mut inner = self.lock();
        let permille = u64::from(inner.condition.loss_permille);
        permille > 0 && inner.losses.below(1_000) < permille
    }

    /// Lets the firmware carry out a request of a session of life `life`.
    pub fn carry_out(&self, life: u32, request: impl FnOnce(&mut Firmware)) -> Heard {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        if !inner.hears() || inner.condition.lives != life {
            return Heard::Nothing;
        }
        match &mut inner.reboot_after {
            Some(0) => {
                inner.reboot_after = None;
                inner.power_off();
                inner.power_on(now, ResetCause::PowerOn);
                return Heard::Nothing;
            }
            Some(left) => *left -= 1,
            None => {}
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
        if self.loses_frame() {
            return None;
        }
        match self.carry_out(self.life(), |meter| length = meter.modbus_pdu(request, &mut answer)) {
            Heard::Carried(_) if self.loses_frame() => None,
            Heard::Carried(damage) => Some((answer[..length].to_vec(), damage)),
            Heard::Nothing => None,
        }
    }

    /// Does something at the meter's front panel: typing a token, pressing the button, reading the display. `None` when it
    /// has no power or hangs.
    pub fn at_panel<T>(&self, person: impl FnOnce(&mut Firmware) -> T) -> Option<T> {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        if inner.condition.hung {
            return None;
        }
        let Some(Life::On(meter)) = &mut inner.life else { return None };
        meter.tick(now);
        let done = person(meter);
        inner.restart_after_cut(now);
        Some(done)
    }

    /// Changes the household's constant load, in watts.
    pub fn set_extra_load_w(&self, watts: u32) {
        self.lock().with_body(|body| body.extra_w = watts);
    }

    /// How it really stands with the meter.
    #[must_use]
    pub fn truth(&self) -> Truth {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        let Condition { lives, hung, .. } = inner.condition;
        match &mut inner.life {
            Some(Life::On(meter)) => {
                if !hung {
                    meter.tick(now);
                }
                Truth {
                    powered: true,
                    contact_closed: meter.board().contact_closed(),
                    status: Some(meter.status()),
                    credited_wh: Some(meter.ledger().credited()),
                    lives,
                    firmware: Some(meter.firmware_version()),
                }
            }
            Some(Life::Off(board, _)) => {
                let contact_closed = board.contact_closed();
                Truth { contact_closed, lives, ..Truth::default() }
            }
            None => Truth { lives, ..Truth::default() },
        }
    }

    /// What the factory gave the meter, or the one that replaced it.
    #[must_use]
    pub fn personalisation(&self) -> Option<Personalisation> {
        match &self.lock().life {
            Some(Life::On(meter)) => Some(meter.personalisation().clone()),
            Some(Life::Off(_, who)) => Some(who.clone()),
            None => None,
        }
    }

    /// What lasts of the meter besides its memory, and what is wrong with it.
    #[must_use]
    pub fn lasting(&self) -> (Body, Condition) {
        let mut inner = self.lock();
        let mut body = Body::default();
        inner.with_board(|board| body = board.body.clone());
        (body, inner.condition)
    }

    /// A number that depends on everything that lasts of the meter.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let (body, condition) = self.lasting();
        let mut digest = 0;
        let mut take = |bytes: &[u8]| {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                digest = hash(digest, u64::from_le_bytes(word));
            }
        };
        take(format!("{body:?}{condition:?}").as_bytes());
        self.look_at_board(|board| {
            take(board.nvm().written());
            board.banks().written().into_iter().for_each(&mut take);
        });
        digest
    }

    /// Looks at the board, whether it has power or not.
    pub fn look_at_board(&self, mut look: impl FnMut(&VirtualBoard)) {
        self.lock().with_board(|board| look(board));
    }

    /// Host memory the meter takes, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let mut memory = 0;
        self.lock().with_board(|board| memory = board.nvm().held_bytes() + board.banks().held_bytes());
        size_of::<Self>() + memory
    }
}

impl Inner {
    fn hears(&self) -> bool {
        !self.condition.silent && !self.condition.hung
    }

    fn with_board(&mut self, change: impl FnOnce(&mut VirtualBoard)) {
        match &mut self.life {
            Some(Life::On(meter)) => change(meter.board()),
            Some(Life::Off(board, _)) => change(board),
            None => {}
        }
    }

    fn with_body(&mut self, change: impl FnOnce(&mut Body)) {
        self.with_board(|board| change(&mut board.body));
    }

    /// Changes what can be changed without power, and restarts the meter unless it had none.
    fn rebooting(&mut self, now: Instant, change: impl FnOnce(&mut VirtualBoard, &mut Personalisation)) {
        self.power_off();
        if let Some(Life::Off(board, who)) = &mut self.life {
            change(board, who);
        }
        if !self.condition.off {
            self.power_on(now, ResetCause::PowerOn);
        }
    }

    /// The supply fails: the meter has as long as its capacitors last to say so.
    fn supply_fails(&mut self, now: Instant) {
        let Some(Life::On(meter)) = &mut self.life else { return };
        if meter.push_destination().is_empty() {
            return;
        }
        meter.board().supply_failing = true;
        meter.watch_supply();
        while meter.due_alarm(now).is_some() {
            self.last_words.extend(push::next(meter, now));
        }
        meter.board().supply_failing = false;
    }

    fn power_off(&mut self) {
        self.condition.hung = false;
        self.life = match self.life.take() {
            Some(Life::On(meter)) => {
                let who = meter.personalisation().clone();
                Some(Life::Off(meter.into_board(), who))
            }
            other => other,
        };
    }

    fn power_on(&mut self, now: Instant, cause: ResetCause) {
        let Some(life) = self.life.take() else { return };
        self.life = match life {
            Life::Off(mut board, who) => {
                self.condition.lives = self.condition.lives.wrapping_add(1);
                // A cut that is still to come waits until the meter has started.
                board.nvm_mut().restore_power();
                let cut = board.nvm_mut().take_cut();
                // The memory has just got its power back and is large enough: it started from it before.
                let started = Meter::new(board.restart(self.condition.lives, cause), who, now);
                started.ok().map(|mut meter| {
                    meter.board().nvm_mut().give_cut(cut);
                    Life::On(meter)
                })
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
            self.power_on(now, ResetCause::PowerOn);
        }
        cut
    }
}

/// The same meter with keys that nobody knows; twice is the first ones again.
fn with_other_keys(mut who: Personalisation) -> Personalisation {
    let keys = &mut who.keys;
    keys.encryption.iter_mut().chain(&mut keys.authentication).for_each(|byte| *byte = !*byte);
    who
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
