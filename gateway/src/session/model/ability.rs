//! What a meter of a model can do at all, so that a request for more is refused before anything is recorded.

use super::{DlmsModel, ModbusModel, Model};

/// Something that not every meter can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Be read.
    Read,
    /// Take tokens.
    TakeTokens,
    /// Open and close its relay.
    SwitchRelay,
    /// Take new keys.
    ChangeKeys,
    /// Have its clock set.
    SetClock,
    /// Limit the load.
    LimitLoad,
    /// Record profiles.
    RecordProfiles,
}

impl Model {
    /// Why a meter of this model cannot do that.
    #[must_use]
    pub fn lacks(&self, ability: Ability) -> Option<String> {
        match self {
            Self::Dlms(model) => model.lacks(ability),
            Self::Modbus(model) => model.lacks(ability),
        }
    }
}

impl DlmsModel {
    /// Why a meter of this model cannot do that.
    #[must_use]
    pub fn lacks(&self, ability: Ability) -> Option<String> {
        let objects = &self.objects;
        let missing = match ability {
            Ability::Read => return None,
            Ability::TakeTokens if objects.token_gateway.is_none() => "token gateway",
            Ability::SwitchRelay if objects.disconnect_control.is_none() => "disconnect control",
            Ability::ChangeKeys if objects.security_setup.is_none() => "security setup",
            Ability::LimitLoad if objects.limiter.is_none() => "limiter",
            Ability::RecordProfiles if self.profiles.is_empty() => "profile",
            _ if self.short_names.is_some() => {
                return Some("a meter with short names is only read: its methods are not used".into());
            }
            _ => return None,
        };
        Some(format!("a {} has no {missing}", self.description))
    }
}

impl ModbusModel {
    /// Why a meter of this model cannot do that.
    #[must_use]
    pub fn lacks(&self, ability: Ability) -> Option<String> {
        Some(match ability {
            Ability::Read => return None,
            Ability::SwitchRelay if self.has_relay() => return None,
            Ability::SwitchRelay => format!("a {} has no relay", self.description),
            Ability::TakeTokens if self.holds_credit() => {
                format!("a {} counts its own credit and takes no tokens over Modbus", self.description)
            }
            Ability::TakeTokens => {
                "this meter has no token gateway: its balance is held by the gateway".into()
            }
            Ability::ChangeKeys => "a Modbus meter has no keys".into(),
            Ability::RecordProfiles => "a Modbus meter keeps no profile".into(),
            Ability::SetClock => format!("the model of a {} says nothing about a clock", self.description),
            Ability::LimitLoad => format!("the model of a {} says nothing about a limiter", self.description),
        })
    }
}
