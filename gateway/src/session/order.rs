//! Settings that a meter is given and that can be read back: what each is, apart from how it travels. Giving the same setting
//! twice does no harm, so a lost answer is followed by a look at the meter, and by the setting once more if it is not there.

use super::calendar::CalendarOrder;
use super::model::Ability;
use super::relay_test::RelayTest;
use jiff::Timestamp;
use protocol::codec::obis::Obis;
use protocol::cosem::tariff::Tariff;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
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

/// A limit of the load for a time (class 71, emergency profile): it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmergencyLimit {
    /// Active power in watts.
    pub limit_w: u32,
    /// From when on it applies; at once where nothing is said.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

impl EmergencyLimit {
    /// What is wrong with it.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        let limit = LoadLimit { limit_w: self.limit_w, over_s: minute(), under_s: minute() };
        let backwards = self.from.is_some_and(|from| from >= self.until);
        limit.flaw().or_else(|| backwards.then(|| format!("it ends at {}, before it begins", self.until)))
    }
}

/// One price of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceRow {
    /// Its row in the charge's table.
    pub index: u8,
    /// In the account's unit.
    pub price: i16,
}

/// New prices for a charge (class 113).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChargeOrder {
    /// Which: its place among the charges of the meter's model, from 0.
    pub charge: u8,
    /// The prices; rows that are not named keep theirs.
    pub rows: Vec<PriceRow>,
    /// From when on they apply (attribute 7); at once where nothing is said.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub activate_at: Option<Timestamp>,
}

/// A whole tariff to come, as the reference meter takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TariffOrder {
    /// The tariff: `steps`, `rates`, `days`, `week`, `special_days`.
    pub tariff: Tariff,
    /// From when on it applies.
    pub activate_at: Timestamp,
}

/// The most prices of one charge: a bound of ours.
const PRICES_MAX: usize = 16;

impl ChargeOrder {
    /// What is wrong with it.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        if self.rows.is_empty() || self.rows.len() > PRICES_MAX {
            return Some(format!("{} rows are not 1 to {PRICES_MAX}", self.rows.len()));
        }
        let negative = self.rows.iter().find(|row| row.price < 0);
        negative
            .map(|row| format!("price {} of row {} is negative: that would be credit", row.price, row.index))
    }
}

impl TariffOrder {
    /// What is wrong with it.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        (!self.tariff.is_sound()).then(|| {
            "the tariff is not sound: a number in it points at nothing, or its steps do not rise".to_owned()
        })
    }
}

/// The bytes of a firmware image.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageBytes(pub Arc<[u8]>);

impl std::fmt::Debug for ImageBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A firmware image on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOrder {
    /// What the meter is told the image is called.
    pub identifier: String,
    /// What the meter says its firmware is, once it runs.
    pub version: String,
    /// The image.
    pub bytes: ImageBytes,
}

/// An attribute or a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The object's class.
    pub class_id: u16,
    /// Its logical name.
    pub name: Obis,
    /// Its attribute or method.
    pub index: i8,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "class {} {} index {}", self.class_id, self.name, self.index)
    }
}

/// What an engineer asks for, each value as A-XDR bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdHoc {
    /// GET.
    Get(Target),
    /// SET.
    Set(Target, Vec<u8>),
    /// ACTION.
    Invoke(Target, Vec<u8>),
}

impl Target {
    /// Why this is not for an engineer's hand: keys, relay and credit have commands with guards and books of their own, and
    /// nothing gets around those.
    #[must_use]
    pub fn denied(&self, changes: bool) -> Option<&'static str> {
        let [a, b, c, ..] = *self.name.as_bytes();
        match (self.class_id, (a, b, c)) {
            (15, _) if changes || self.index == 7 => Some("it holds the secret of an association"),
            (12, _) if changes => Some("it holds the secret of an association"),
            (64, _) if changes => Some("it changes keys: rotate_keys does"),
            (115, _) if changes || self.index == 2 => Some("it takes tokens: a top-up does that"),
            (18, _) if changes => Some("it changes the firmware: update_image does"),
            // Besides relay and limiter whatever runs a script: schedules, sensors, arbitrators, switchable functions.
            (70 | 71 | 21 | 9 | 22 | 10 | 67 | 68 | 122, _) if changes => {
                Some("it may move the relay: disconnect, reconnect, arm and limit_load do")
            }
            (30 | 123, _) if changes => Some("it changes attributes of other objects"),
            (116, _) if changes => Some("it belongs to the meter's tokens"),
            (20 | 11, _) if changes => Some("it changes what energy costs"),
            (111..=113, _) if changes => Some("it changes credit or charges"),
            (_, (0, 0, 13 | 19 | 17 | 43 | 44)) if changes => {
                Some("it belongs to tariff, payment, limits, keys or firmware")
            }
            (_, (0, 0, 96)) if changes && self.name.as_bytes()[3] == 3 => Some("it belongs to the relay"),
            _ => None,
        }
    }
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The meter's clock is set to ours.
    SetClock,
    /// The relay is made ready for a person to close, and stays open (class 70 in the modes that arm).
    Arm,
    /// The relay is tested.
    TestRelay(RelayTest),
    /// The load is limited.
    LimitLoad(LoadLimit),
    /// The load is limited for a time.
    LimitEmergency(EmergencyLimit),
    /// A charge gets new prices.
    SetPrices(ChargeOrder),
    /// A new tariff is to come.
    SetTariff(Box<TariffOrder>),
    /// A new calendar, at once or to come.
    SetCalendar(Box<CalendarOrder>),
    /// New firmware, slice by slice.
    UpdateImage(ImageOrder),
    /// An engineer's request.
    AdHoc(AdHoc),
}

impl Order {
    /// Its name in logs and events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SetClock => "set clock",
            Self::Arm => "arm",
            Self::TestRelay(_) => "test relay",
            Self::LimitLoad(_) => "limit load",
            Self::LimitEmergency(_) => "limit load for a time",
            Self::SetPrices(_) => "set prices",
            Self::SetTariff(_) => "set tariff",
            Self::SetCalendar(_) => "set calendar",
            Self::UpdateImage(_) => "update image",
            Self::AdHoc(AdHoc::Get(_)) => "get",
            Self::AdHoc(AdHoc::Set(..)) => "set",
            Self::AdHoc(AdHoc::Invoke(..)) => "invoke",
        }
    }

    /// What a meter must be able to do for it.
    #[must_use]
    pub const fn needs(&self) -> Ability {
        match self {
            Self::SetClock => Ability::SetClock,
            Self::Arm | Self::TestRelay(_) => Ability::SwitchRelay,
            Self::LimitLoad(_) | Self::LimitEmergency(_) => Ability::LimitLoad,
            Self::SetPrices(_) => Ability::SetPrices,
            Self::SetTariff(_) => Ability::SetTariff,
            Self::SetCalendar(_) => Ability::SetCalendar,
            Self::UpdateImage(_) => Ability::UpdateImage,
            Self::AdHoc(_) => Ability::AdHoc,
        }
    }

    /// Whether only the meter's management client may give it.
    #[must_use]
    pub const fn is_managements(&self) -> bool {
        match self {
            Self::SetClock | Self::Arm | Self::TestRelay(_) => false,
            Self::LimitLoad(_)
            | Self::LimitEmergency(_)
            | Self::SetPrices(_)
            | Self::SetTariff(_)
            | Self::SetCalendar(_)
            | Self::UpdateImage(_)
            | Self::AdHoc(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_around_the_commands_with_guards_and_books() {
        let at = |class_id, name: &str, index| Target {
            class_id,
            name: Obis::parse(name).expect("a name"),
            index,
        };
        for (target, changes) in [
            (at(70, "0.0.96.3.10.255", 1), true),
            (at(9, "0.0.10.0.106.255", 1), true),
            (at(71, "0.0.17.0.0.255", 4), true),
            (at(64, "0.0.43.0.0.255", 2), true),
            (at(115, "0.0.19.40.0.255", 1), true),
            (at(115, "0.0.19.40.0.255", 2), false),
            (at(112, "0.0.19.10.0.255", 2), true),
            (at(113, "0.0.19.20.2.255", 5), true),
            (at(15, "0.0.40.0.0.255", 7), false),
            (at(1, "0.0.13.0.129.255", 2), true),
            (at(1, "0.0.96.3.128.255", 2), true),
            (at(18, "0.0.44.0.0.255", 4), true),
            (at(68, "0.0.96.3.20.255", 1), true),
            (at(67, "0.0.67.0.0.255", 2), true),
            (at(122, "0.0.44.1.0.255", 1), true),
            (at(30, "0.0.43.2.0.255", 3), true),
            (at(123, "0.0.18.0.0.255", 2), true),
            (at(116, "0.0.19.50.0.255", 2), true),
        ] {
            assert!(target.denied(changes).is_some(), "{target}");
        }
        for (target, changes) in [
            (at(70, "0.0.96.3.10.255", 3), false),
            (at(112, "0.0.19.10.0.255", 2), false),
            (at(7, "1.0.99.1.0.255", 4), true),
            (at(40, "0.4.25.9.0.255", 3), true),
        ] {
            assert_eq!(target.denied(changes), None, "{target}");
        }
    }

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
