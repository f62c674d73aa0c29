//! The relay's logic: what state it should be in and why (class 70), and whether the contact follows.

use hardware::board::Relay;
use heapless::Vec;
use protocol::cosem::disconnect::{ControlMode, ControlState, RelayReason, Transition, Trigger, transition};
use protocol::cosem::events::Event;
use serde::{Deserialize, Serialize};

/// What the logic wants, and why. Part of the journal record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayLogic {
    /// Class 70 attribute 3.
    pub state: ControlState,
    /// Class 70 attribute 4.
    pub mode: ControlMode,
    /// Why it is open; `None` while connected.
    pub reason: RelayReason,
    /// The meter may use transition h where the mode allows it.
    pub returns_automatically: bool,
}

/// Events that one change of state can cause: a command, and what the meter adds to it.
pub type RelayEvents = Vec<(Event, i32), 4>;

/// The mode has no such transition from this state, or something holds the supply back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The state it stays in.
    pub state: ControlState,
    /// What holds it, if the mode was not the obstacle.
    pub held_by: Option<RelayReason>,
}

impl RelayLogic {
    /// Whether the contact should be closed.
    #[must_use]
    pub const fn wants_closed(&self) -> bool {
        matches!(self.state, ControlState::Connected)
    }

    /// A command from the network or from a person. `hold` is what forbids a closed relay at the moment. A remote
    /// reconnection that closes while something holds the supply back ends in "ready for reconnection" at once (transitions a
    /// and g), and the coil is not moved: the operator's block is lifted, the other stays.
    ///
    /// # Errors
    /// [`Refused`]; nothing changed.
    pub fn command(
        &mut self,
        trigger: Trigger,
        hold: Option<RelayReason>,
        events: &mut RelayEvents,
    ) -> Result<(), Refused> {
        let refused = Refused { state: self.state, held_by: None };
        if trigger == Trigger::ManualReconnect && hold.is_some() {
            return Err(Refused { held_by: hold, ..refused });
        }
        let (letter, to) = transition(self.mode, self.state, trigger).ok_or(refused)?;
        self.enter(letter, to, reason_of(trigger), events);
        self.settle(hold, events);
        Ok(())
    }

    /// Follows `hold`: opens when something forbids a closed relay, closes when nothing does any more and the meter may.
    pub fn settle(&mut self, hold: Option<RelayReason>, events: &mut RelayEvents) {
        match (self.state, hold) {
            (ControlState::Connected, Some(reason)) => {
                if let Some((letter, to)) = transition(self.mode, self.state, Trigger::LocalDisconnect) {
                    self.enter(letter, to, reason, events);
                }
            }
            // What a person opened, a person closes, whatever else holds it meanwhile.
            (ControlState::ReadyForReconnection, Some(_)) if self.reason == RelayReason::Manual => {}
            (ControlState::ReadyForReconnection, Some(reason)) => self.reason = reason,
            (ControlState::ReadyForReconnection, None) => {
                let may = self.returns_automatically && self.reason != RelayReason::Manual;
                if may && let Some((letter, to)) = transition(self.mode, self.state, Trigger::LocalReconnect)
                {
                    self.enter(letter, to, RelayReason::None, events);
                }
            }
            (ControlState::Connected, None) | (ControlState::Disconnected, _) => {}
        }
    }

    fn enter(&mut self, letter: Transition, to: ControlState, reason: RelayReason, events: &mut RelayEvents) {
        self.state = to;
        self.reason = if to == ControlState::Connected { RelayReason::None } else { reason };
        let event = match letter {
            Transition::A => Event::RemoteConnection,
            Transition::B | Transition::C => Event::RemoteDisconnection,
            Transition::D => Event::ReadyForReconnection,
            Transition::E => Event::ManualConnection,
            Transition::F => Event::ManualDisconnection,
            Transition::G => Event::LocalDisconnection,
            Transition::H => Event::LocalReconnection,
        };
        // Four places: at most a command and two followers.
        let _ = events.push((event, self.reason as i32));
    }
}

const fn reason_of(trigger: Trigger) -> RelayReason {
    match trigger {
        Trigger::RemoteDisconnect | Trigger::RemoteReconnect => RelayReason::Remote,
        Trigger::ManualDisconnect => RelayReason::Manual,
        Trigger::ManualReconnect | Trigger::LocalReconnect | Trigger::LocalDisconnect => RelayReason::None,
    }
}

/// Coil pulses before the contact is called stuck: one to move, two more because a worn latch may need them.
const PULSES_MAX: u8 = 3;
/// Current through an open contact that cannot be the voltage divider's: ten times the starting current of a class 1 meter of
/// 5 A (0.4 % of it, IEC 62053-21).
const WELDED_MA: u32 = 200;
/// Samples in a row with that current: the first after opening may still average the time before.
const WELDED_SAMPLES: u8 = 3;

/// Whether the contact follows the logic. Not stored: found out anew after each start.
#[derive(Debug, Default)]
pub struct Contact {
    pulses: u8,
    failed: bool,
    leaking: u8,
    welded: bool,
    closed: Option<bool>,
}

impl Contact {
    /// What the contact said when it was last asked; `None` when it could not be.
    #[must_use]
    pub const fn closed(&self) -> Option<bool> {
        self.closed
    }

    /// Asks the contact without moving it.
    pub fn sense<R: Relay>(&mut self, relay: &mut R) -> Option<bool> {
        self.closed = relay.sense_closed();
        self.closed
    }

    /// The contact does not follow or can't be asked, or current flows through an open one.
    #[must_use]
    pub const fn faulty(&self) -> bool {
        self.failed || self.welded
    }

    /// Asks the contact, and gives the coil a pulse when it does not stand as the logic wants, or does not say how it stands.
    /// Returns an event when it is given up.
    pub fn follow<R: Relay>(&mut self, relay: &mut R, want_closed: bool) -> Option<(Event, i32)> {
        self.closed = relay.sense_closed();
        if self.closed == Some(want_closed) {
            self.pulses = 0;
            self.failed = false;
            return None;
        }
        if self.pulses < PULSES_MAX {
            self.pulses += 1;
            relay.drive(want_closed);
            self.closed = relay.sense_closed();
            return None;
        }
        if self.failed {
            return None;
        }
        self.failed = true;
        Some((Event::RelayFailure, i32::from(want_closed)))
    }

    /// A new command: the pulses count from the beginning.
    pub const fn recommand(&mut self) {
        self.pulses = 0;
        self.leaking = 0;
    }

    /// Looks for current through a relay that was commanded open.
    pub fn watch_current(&mut self, want_closed: bool, current_ma: u32) -> Option<(Event, i32)> {
        if want_closed || current_ma < WELDED_MA {
            self.leaking = 0;
            self.welded = false;
            return None;
        }
        self.leaking = self.leaking.saturating_add(1);
        if self.welded || self.leaking < WELDED_SAMPLES {
            return None;
        }
        self.welded = true;
        Some((Event::RelayWelded, i32::try_from(current_ma).unwrap_or(i32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logic(mode: u8, returns_automatically: bool) -> RelayLogic {
        RelayLogic {
            state: ControlState::Connected,
            mode: ControlMode::new(mode).unwrap(),
            reason: RelayReason::None,
            returns_automatically,
        }
    }

    #[test]
    fn supply_returns_by_itself_only_where_mode_and_setting_allow_it() {
        for (mode, automatic, returns) in
            [(6, true, true), (5, true, true), (6, false, false), (4, true, false), (1, true, false)]
        {
            let mut relay = logic(mode, automatic);
            let mut events = RelayEvents::new();
            relay.settle(Some(RelayReason::NoCredit), &mut events);
            assert_eq!(
                (relay.state, relay.reason),
                (ControlState::ReadyForReconnection, RelayReason::NoCredit)
            );
            relay.settle(None, &mut events);
            assert_eq!(relay.wants_closed(), returns, "mode {mode}");
        }
    }

    #[test]
    fn nobody_closes_the_relay_before_there_is_credit() {
        for mode in 1..=6 {
            let mut relay = logic(mode, true);
            let hold = Some(RelayReason::NoCredit);
            let mut events = RelayEvents::new();
            relay.settle(hold, &mut events);
            assert_eq!(
                relay.command(Trigger::ManualReconnect, hold, &mut events).unwrap_err().held_by,
                Some(RelayReason::NoCredit)
            );
            let _ = relay.command(Trigger::RemoteDisconnect, hold, &mut events);
            let _ = relay.command(Trigger::RemoteReconnect, hold, &mut events);
            assert_eq!(relay.state, ControlState::ReadyForReconnection, "mode {mode}");
            assert_eq!(relay.reason, RelayReason::NoCredit);
        }
    }

    #[test]
    fn a_top_up_does_not_undo_an_operators_disconnection() {
        let mut relay = logic(6, true);
        let mut events = RelayEvents::new();
        relay.command(Trigger::RemoteDisconnect, None, &mut events).unwrap();
        relay.settle(None, &mut events);
        assert_eq!((relay.state, relay.reason), (ControlState::Disconnected, RelayReason::Remote));
    }

    #[test]
    fn what_a_person_opened_stays_open_after_a_top_up() {
        let mut relay = logic(5, true);
        let mut events = RelayEvents::new();
        relay.command(Trigger::ManualDisconnect, None, &mut events).unwrap();
        relay.settle(Some(RelayReason::NoCredit), &mut events);
        relay.settle(None, &mut events);
        assert_eq!((relay.state, relay.reason), (ControlState::ReadyForReconnection, RelayReason::Manual));
        relay.command(Trigger::ManualReconnect, None, &mut events).unwrap();
        assert!(relay.wants_closed());
    }

    #[test]
    fn mode_0_never_opens() {
        let mut relay = logic(0, true);
        let mut events = RelayEvents::new();
        relay.settle(Some(RelayReason::NoCredit), &mut events);
        assert!(relay.wants_closed());
        assert!(relay.command(Trigger::RemoteDisconnect, None, &mut events).is_err());
        assert!(events.is_empty());
    }
}
