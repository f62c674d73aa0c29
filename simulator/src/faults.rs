//! Faults on demand: what goes wrong at a meter, and between it and whoever talks to it. [`crate::fault_entry`] gives each its
//! name in scenarios and requests.

use crate::wiring::Mechanics;
use firmware::Personalisation;
use serde::{Deserialize, Serialize};

/// Which answers a fault waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// The next answer, whatever it is.
    #[default]
    Any,
    /// The answer to the request with which the meter takes a token.
    TokenAccepted,
    /// The answer to the request that moves the relay.
    RelayMoved,
}

/// What can be done to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The request is carried out; neither this answer nor anything after it is heard until the client opens its connection
    /// or link anew. (Were only this one answer lost, HDLC would repeat it and nobody would notice.)
    Lost,
    /// The answer comes later, after the client has given up perhaps.
    Late {
        /// By how many real milliseconds.
        delay_ms: u32,
    },
    /// One bit of the frame is wrong.
    Corrupted,
    /// Only the first half of the frame comes.
    Truncated,
    /// The frame comes twice.
    Duplicated,
    /// The frame answers somebody else: Modbus TCP's transaction number, the unit of Modbus RTU, the client's port of the
    /// wrapper or the client's HDLC address is one more than it should be. Check sequences fit.
    WrongTransaction,
}

/// A fault of one meter, or the end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Something happens to so many answers.
    Answer {
        /// What.
        damage: Damage,
        /// To which answers.
        on: On,
        /// How many of them.
        count: u32,
    },
    /// The meter hears nothing and says nothing; it works on.
    Silence {
        /// True begins it, false ends it.
        on: bool,
    },
    /// Every answer takes so many real milliseconds longer; 0 ends it.
    Slow {
        /// How many.
        delay_ms: u32,
    },
    /// Frames are lost, each by chance: requests and answers, on a serial line answers alone; 0 ends it.
    FrameLoss {
        /// How many of a thousand.
        permille: u16,
    },
    /// The meter takes one connection at a time: further ones are closed at once.
    SingleSession {
        /// True begins it, false ends it.
        on: bool,
    },
    /// The processor hangs: nothing is counted, shown or answered. When that ends, the watchdog restarts it.
    Hang {
        /// True begins it, false ends it.
        on: bool,
    },
    /// Power goes and comes back at once.
    Reboot,
    /// After so many more requests were answered, the next one finds the meter restarting.
    RebootInTransfer {
        /// How many.
        requests: u32,
    },
    /// Power goes (false) or comes back (true).
    Power {
        /// Whether there is power.
        on: bool,
    },
    /// Power goes during a later write to non-volatile memory, which is torn, and comes back at once.
    CutAtWrite {
        /// How many writes succeed first.
        after: u64,
    },
    /// The relay's mechanics.
    Relay {
        /// How they behave from now on.
        mechanics: Mechanics,
    },
    /// The meter's clock jumps.
    ClockJump {
        /// By so many seconds.
        seconds: i64,
    },
    /// The meter's clock runs too fast; 0 ends it, and what it is off stays.
    ClockDrift {
        /// By so many parts per million.
        ppm: i32,
    },
    /// The meter has seen invocation counters from elsewhere: those of its usual clients are used up.
    CounterDesync {
        /// How far beyond the highest it had seen.
        ahead: u32,
    },
    /// The meter's keys are others than everybody believes.
    WrongKey {
        /// True begins it, false ends it.
        on: bool,
    },
    /// The newest rows of the load profile are lost: their periods will never have any.
    ProfileHole {
        /// How many.
        rows: u32,
    },
    /// The memory for the load profile is smaller: the buffer has wrapped, older rows are gone.
    WrappedBuffer {
        /// How many rows it holds from now on.
        rows: u32,
    },
    /// The meter charges afterwards instead of in advance, and neither its log nor its change counter says so.
    SwitchedToPostpaid,
    /// Another meter hangs at the place: other serial number, empty registers and journal.
    Exchanged(Box<Personalisation>),
    /// The terminal cover.
    Cover {
        /// Whether it is open.
        open: bool,
    },
    /// A magnet at the meter.
    Magnet {
        /// Whether it is there.
        present: bool,
    },
    /// Part of the load is tapped before the meter; 0 ends it.
    Theft {
        /// How much of it.
        permille: u16,
    },
    /// Part of the load goes around the phase element; 0 ends it.
    Bypass {
        /// How much of it.
        permille: u16,
    },
    /// Voltage without load.
    Voltage {
        /// In millivolts.
        nominal_mv: u32,
    },
    /// The neutral before the meter is broken.
    BrokenNeutral {
        /// True begins it, false ends it.
        on: bool,
    },
    /// The metering front end.
    FrontEnd {
        /// How it behaves from now on.
        front_end: crate::wiring::FrontEnd,
    },
    /// The front end counts energy that never flowed.
    RegisterJump {
        /// How much, in watt-hours.
        wh: u32,
    },
}

/// What one request did to the meter, as far as faults wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effect {
    /// The meter took a token.
    pub token_accepted: bool,
    /// The contact moved.
    pub relay_moved: bool,
}

/// Faults of answers that wait for their turn.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Vec<(Damage, On, u32)>);

/// Most faults that can wait at one meter: a bound of ours.
const WAITING_MAX: usize = 16;

impl Waiting {
    /// Adds one. The oldest goes when there are too many.
    pub fn add(&mut self, damage: Damage, on: On, count: u32) {
        if self.0.len() == WAITING_MAX {
            self.0.remove(0);
        }
        if count > 0 {
            self.0.push((damage, on, count));
        }
    }

    /// The damage done to the answer of a request with this effect, if any.
    pub fn take(&mut self, effect: Effect) -> Option<Damage> {
        let fits = |on: &On| match on {
            On::Any => true,
            On::TokenAccepted => effect.token_accepted,
            On::RelayMoved => effect.relay_moved,
        };
        let at = self.0.iter().position(|(_, on, _)| fits(on))?;
        let (damage, _, count) = &mut self.0[at];
        let damage = *damage;
        *count -= 1;
        if *count == 0 {
            self.0.remove(at);
        }
        Some(damage)
    }

    /// Forgets those that do this.
    pub fn forget(&mut self, of: impl Fn(&Damage) -> bool) {
        self.0.retain(|(damage, _, _)| !of(damage));
    }

    /// What waits, in order, with what it waits for.
    pub fn iter(&self) -> impl Iterator<Item = (Damage, On)> {
        self.0.iter().map(|(damage, on, _)| (*damage, *on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_token_answer_waits_for_the_token() {
        let mut waiting = Waiting::default();
        waiting.add(Damage::Lost, On::TokenAccepted, 1);
        assert_eq!(waiting.take(Effect::default()), None);
        let token = Effect { token_accepted: true, relay_moved: true };
        assert_eq!(waiting.take(token), Some(Damage::Lost));
        assert_eq!(waiting.take(token), None, "it happens once");
    }

    #[test]
    fn what_is_forgotten_does_not_happen() {
        let mut waiting = Waiting::default();
        waiting.add(Damage::Corrupted, On::Any, 5);
        waiting.add(Damage::Truncated, On::Any, 1);
        waiting.forget(|damage| *damage == Damage::Corrupted);
        assert_eq!(waiting.take(Effect::default()), Some(Damage::Truncated));
        assert_eq!(waiting.take(Effect::default()), None);
    }
}
