//! Faults on demand: what goes wrong between a meter and whoever talks to it.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
}

/// A fault of one meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Something happens to so many answers.
    Answer {
        /// What.
        damage: Damage,
        /// To which answers.
        #[serde(default)]
        on: On,
        /// How many of them.
        #[serde(default = "once")]
        count: u32,
    },
    /// The meter hears nothing and says nothing; it works on.
    Silence {
        /// True begins it, false ends it.
        on: bool,
    },
    /// Power goes and comes back at once.
    Reboot,
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
        mechanics: crate::board::Mechanics,
    },
    /// The meter's clock jumps.
    ClockShift {
        /// By so many seconds.
        seconds: i64,
    },
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
}

const fn once() -> u32 {
    1
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
    fn a_fault_reads_as_plain_json() {
        let text = r#"{"fault":"answer","damage":"lost","on":"token_accepted"}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault, Fault::Answer { damage: Damage::Lost, on: On::TokenAccepted, count: 1 });
        let text = r#"{"fault":"answer","damage":{"late":{"delay_ms":4000}},"count":2}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        let damage = Damage::Late { delay_ms: 4000 };
        assert_eq!(fault, Fault::Answer { damage, on: On::Any, count: 2 });
    }
}
