//! Class 70, disconnect control: states, modes and the transition table of the Blue Book (IEC 62056-6-2, class 70,
//! version 0), and why a relay of the reference meter is open.

use super::class::{Nothing, class};
use super::{FromData, bad_value};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Result, Writer};

class! {
    /// Disconnect control.
    DisconnectControl = 70, version 0;
    attributes {
        /// What the contact says: closed (true).
        2 OUTPUT_STATE: (bool), output_state;
        /// What the logic wants.
        3 CONTROL_STATE: (ControlState), control_state;
        /// Which transitions are allowed.
        4 CONTROL_MODE: (ControlMode), control_mode, set_control_mode;
    }
    methods {
        /// Opens the relay.
        1 REMOTE_DISCONNECT: (Nothing), remote_disconnect;
        /// Closes or arms the relay, as the mode says.
        2 REMOTE_RECONNECT: (Nothing), remote_reconnect;
    }
}

/// Attribute 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ControlState {
    /// Open, and only a remote command changes that.
    Disconnected = 0,
    /// Closed.
    Connected = 1,
    /// Open, may be closed by a person (or by the meter where the mode says so).
    ReadyForReconnection = 2,
}

impl ControlState {
    /// From the wire's enum.
    #[must_use]
    pub const fn from_u8(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Disconnected),
            1 => Some(Self::Connected),
            2 => Some(Self::ReadyForReconnection),
            _ => None,
        }
    }
}

impl Encode for ControlState {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        w.write_bytes(&[22, *self as u8])
    }
}

impl FromData<'_> for ControlState {
    fn from_data(d: Data<'_>) -> Result<Self> {
        match d {
            Data::Enum(code) => Self::from_u8(code).ok_or_else(bad_value),
            _ => Err(bad_value()),
        }
    }
}

/// Attribute 4: one of the seven modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ControlMode(u8);

impl ControlMode {
    /// Mode `mode`, 0 to 6.
    #[must_use]
    pub const fn new(mode: u8) -> Option<Self> {
        if mode <= 6 { Some(Self(mode)) } else { None }
    }

    /// Always connected: no transition is allowed.
    pub const NONE: Self = Self(0);
    /// Remote reconnection closes the relay, the meter never closes it by itself, no manual disconnection.
    pub const CLOSE_REMOTELY: Self = Self(4);
    /// Remote reconnection arms the relay, and the meter may close it by itself; no manual disconnection.
    pub const ARM_AND_CLOSE_LOCALLY: Self = Self(6);

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether the mode allows the transition.
    #[must_use]
    pub fn allows(self, transition: Transition) -> bool {
        ALLOWED[usize::from(self.0.min(6))].contains(&transition)
    }
}

impl Encode for ControlMode {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        w.write_bytes(&[22, self.0])
    }
}

impl FromData<'_> for ControlMode {
    fn from_data(d: Data<'_>) -> Result<Self> {
        match d {
            Data::Enum(mode) => Self::new(mode).ok_or_else(bad_value),
            _ => Err(bad_value()),
        }
    }
}

/// What asks for a change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Method 1.
    RemoteDisconnect,
    /// Method 2.
    RemoteReconnect,
    /// A person at the meter opens.
    ManualDisconnect,
    /// A person at the meter closes.
    ManualReconnect,
    /// The meter opens by itself.
    LocalDisconnect,
    /// The meter closes by itself.
    LocalReconnect,
}

/// The transitions of the class's state figure, by their letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// 0 to 1, remote.
    A,
    /// 1 to 0, remote.
    B,
    /// 2 to 0, remote.
    C,
    /// 0 to 2, remote.
    D,
    /// 2 to 1, manual.
    E,
    /// 1 to 2, manual.
    F,
    /// 1 to 2, local.
    G,
    /// 2 to 1, local.
    H,
}

use ControlState::{Connected, Disconnected, ReadyForReconnection};
use Transition::{A, B, C, D, E, F, G, H};

/// The state figure: from, trigger, transition, to. `RemoteReconnect` from `Disconnected` stands twice: no mode allows both.
const FIGURE: [(ControlState, Trigger, Transition, ControlState); 8] = [
    (Disconnected, Trigger::RemoteReconnect, A, Connected),
    (Connected, Trigger::RemoteDisconnect, B, Disconnected),
    (ReadyForReconnection, Trigger::RemoteDisconnect, C, Disconnected),
    (Disconnected, Trigger::RemoteReconnect, D, ReadyForReconnection),
    (ReadyForReconnection, Trigger::ManualReconnect, E, Connected),
    (Connected, Trigger::ManualDisconnect, F, ReadyForReconnection),
    (Connected, Trigger::LocalDisconnect, G, ReadyForReconnection),
    (ReadyForReconnection, Trigger::LocalReconnect, H, Connected),
];

/// The transitions each mode allows.
const ALLOWED: [&[Transition]; 7] = [
    &[],
    &[B, C, D, E, F, G],
    &[A, B, C, E, F, G],
    &[B, C, D, E, G],
    &[A, B, C, E, G],
    &[B, C, D, E, F, G, H],
    &[B, C, D, E, G, H],
];

/// The mode's answer to a trigger: the transition and the state it leads to, or `None` when there is no such transition
/// from this state in this mode.
#[must_use]
pub fn transition(
    mode: ControlMode,
    from: ControlState,
    trigger: Trigger,
) -> Option<(Transition, ControlState)> {
    FIGURE
        .iter()
        .find(|(state, cause, letter, _)| *state == from && *cause == trigger && mode.allows(*letter))
        .map(|(_, _, letter, to)| (*letter, *to))
}

/// Why the relay of the reference meter is in the state it is in: the value of the Data object
/// [`super::obis::RELAY_REASON`], an enum. Zero while nothing holds the supply back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RelayReason {
    /// Connected.
    None = 0,
    /// The credit is used up. Normal, not a fault.
    NoCredit = 1,
    /// A remote command.
    Remote = 2,
    /// A person at the meter.
    Manual = 3,
    /// The limiter: too much power for too long.
    Overload = 4,
    /// A tamper input.
    Tamper = 5,
    /// The meter does not trust itself (relay or measurement failed).
    Fault = 6,
    /// Current beyond what the meter may carry.
    OverCurrent = 7,
    /// Supply voltage out of limits.
    Voltage = 8,
    /// Too many trips in a row; a remote command releases it.
    LockedOut = 9,
    /// The account was closed or is not active.
    AccountClosed = 10,
}

impl RelayReason {
    /// From the wire's enum.
    #[must_use]
    pub const fn from_u8(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::NoCredit,
            2 => Self::Remote,
            3 => Self::Manual,
            4 => Self::Overload,
            5 => Self::Tamper,
            6 => Self::Fault,
            7 => Self::OverCurrent,
            8 => Self::Voltage,
            9 => Self::LockedOut,
            10 => Self::AccountClosed,
            _ => return None,
        })
    }

    /// For people: `no credit`, `remote`, ….
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoCredit => "no credit",
            Self::Remote => "remote",
            Self::Manual => "manual",
            Self::Overload => "overload",
            Self::Tamper => "tamper",
            Self::Fault => "fault",
            Self::OverCurrent => "over-current",
            Self::Voltage => "voltage out of limits",
            Self::LockedOut => "locked out after repeated trips",
            Self::AccountClosed => "account not active",
        }
    }
}

impl core::fmt::Display for RelayReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl Encode for RelayReason {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        w.write_bytes(&[22, *self as u8])
    }
}

impl FromData<'_> for RelayReason {
    fn from_data(d: Data<'_>) -> Result<Self> {
        match d {
            Data::Enum(code) => Self::from_u8(code).ok_or_else(bad_value),
            _ => Err(bad_value()),
        }
    }
}

super::class::encoded!(ControlState, ControlMode, RelayReason);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_allows_exactly_what_the_blue_book_table_says() {
        let letters = [A, B, C, D, E, F, G, H];
        let table = ["", "bcdefg", "abcefg", "bcdeg", "abceg", "bcdefgh", "bcdegh"];
        for (mode, allowed) in (0u8..).zip(table) {
            let mode = ControlMode::new(mode).unwrap();
            for (letter, name) in letters.iter().zip("abcdefgh".chars()) {
                assert_eq!(mode.allows(*letter), allowed.contains(name), "mode {} {name}", mode.number());
            }
        }
        assert_eq!(ControlMode::new(7), None);
    }

    #[test]
    fn remote_reconnect_closes_in_modes_2_and_4_and_arms_in_the_others() {
        for (mode, to) in [
            (1, Some(ReadyForReconnection)),
            (2, Some(Connected)),
            (3, Some(ReadyForReconnection)),
            (4, Some(Connected)),
            (5, Some(ReadyForReconnection)),
            (6, Some(ReadyForReconnection)),
            (0, None),
        ] {
            let mode = ControlMode::new(mode).unwrap();
            let got = transition(mode, Disconnected, Trigger::RemoteReconnect).map(|(_, to)| to);
            assert_eq!(got, to, "mode {}", mode.number());
        }
    }

    #[test]
    fn nobody_but_a_remote_command_leaves_disconnected() {
        for mode in 0..=6 {
            let mode = ControlMode::new(mode).unwrap();
            for trigger in [Trigger::ManualReconnect, Trigger::LocalReconnect] {
                assert_eq!(transition(mode, Disconnected, trigger), None);
            }
        }
    }
}
