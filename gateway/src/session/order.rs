//! Settings that a meter is given and that can be read back: what each is, apart from how it travels. Giving the same setting
//! twice does no harm, so a lost answer is followed by a look at the meter, and by the setting once more if it is not there.

use super::model::Ability;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Below this a limit is a disconnection, which has guards of its own; our own choice: a refrigerator and a lamp.
pub const LIMIT_W_MIN: u32 = 200;
/// The highest limit: what a meter's 32-bit milliwatts would hold is no bound here, a substation's feeder is.
pub const LIMIT_W_MAX: u32 = 100_000_000;
/// The longest time over or under a limit before the meter acts; a day.
pub const LIMIT_S_MAX: u32 = 86_400;

/// A limit of the load (class 71, limiter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadLimit {
    /// Watts (attribute 4, the threshold in normal times).
    pub limit_w: u32,
    /// Seconds above it before the meter acts (attribute 6).
    #[serde(default = "minute")]
    pub over_s: u32,
    /// Seconds below it before the meter gives supply back, where it does (attribute 7).
    #[serde(default = "minute")]
    pub under_s: u32,
}

const fn minute() -> u32 {
    60
}

impl LoadLimit {
    /// What is wrong with it.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        if self.limit_w < LIMIT_W_MIN {
            return Some(format!(
                "limit_w {} is below {LIMIT_W_MIN}: that is a disconnection, which has its own guards",
                self.limit_w
            ));
        }
        if self.limit_w > LIMIT_W_MAX {
            return Some(format!("limit_w {} is above {LIMIT_W_MAX}", self.limit_w));
        }
        let long =
            [("over_s", self.over_s), ("under_s", self.under_s)].into_iter().find(|(_, s)| *s > LIMIT_S_MAX);
        long.map(|(name, s)| format!("{name} {s} is above {LIMIT_S_MAX}, a day"))
    }
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The meter's clock is set to ours.
    SetClock,
    /// The relay is made ready for a person to close, and stays open (class 70 in the modes that arm).
    Arm,
    /// The load is limited.
    LimitLoad(LoadLimit),
}

impl Order {
    /// Its name in logs and events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SetClock => "set clock",
            Self::Arm => "arm",
            Self::LimitLoad(_) => "limit load",
        }
    }

    /// What a meter must be able to do for it.
    #[must_use]
    pub const fn needs(&self) -> Ability {
        match self {
            Self::SetClock => Ability::SetClock,
            Self::Arm => Ability::SwitchRelay,
            Self::LimitLoad(_) => Ability::LimitLoad,
        }
    }

    /// Whether only the meter's management client may give it.
    #[must_use]
    pub const fn is_managements(&self) -> bool {
        match self {
            Self::SetClock | Self::Arm => false,
            Self::LimitLoad(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_would_be_a_disconnection_is_none() {
        let limit = LoadLimit { limit_w: 5_000, over_s: 60, under_s: 60 };
        assert_eq!(limit.flaw(), None);
        let flaw = |limit: LoadLimit| limit.flaw().expect("a flaw");
        assert!(flaw(LoadLimit { limit_w: 199, ..limit }).contains("is a disconnection"));
        assert!(flaw(LoadLimit { limit_w: LIMIT_W_MAX + 1, ..limit }).contains("above"));
        assert_eq!(flaw(LoadLimit { under_s: 86_401, ..limit }), "under_s 86401 is above 86400, a day");
    }
}
