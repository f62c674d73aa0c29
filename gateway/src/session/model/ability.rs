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
    /// Take new prices for a charge.
    SetPrices,
    /// Take a whole tariff to come.
    SetTariff,
    /// Take a calendar: when which script of its tariff runs.
    SetCalendar,
    /// Take new firmware.
    UpdateImage,
    /// Be asked about single attributes and methods.
    AdHoc,
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
            Ability::SetPrices if objects.charges[0].is_none() => "charges",
            Ability::SetTariff
                if objects.tariff_active.is_none()
                    || objects.tariff_passive.is_none()
                    || objects.tariff_activation.is_none() =>
            {
                "tariff of its own form"
            }
            Ability::SetCalendar if objects.activity_calendar.is_none() => "activity calendar",
            Ability::SetCalendar if objects.tariff_scripts.is_none() => "scripts of a tariff",
            Ability::UpdateImage if objects.image_transfer.is_none() => "image transfer",
            Ability::UpdateImage if objects.firmware_version.is_none() => "firmware version",
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
            Ability::SetPrices | Ability::SetTariff | Ability::SetCalendar => {
                "the gateway holds this meter's balance and its prices".into()
            }
            Ability::UpdateImage => "a Modbus meter takes no images".into(),
            Ability::AdHoc => "a Modbus meter has no COSEM objects".into(),
        })
    }
}
