//! What each kind of command needs to be said of it, and what it needs a meter to be able to do.

use crate::session::calendar::CalendarOrder;
use crate::session::model::{Ability, Model};
use crate::session::order::{
    AdHoc, ChargeOrder, EmergencyLimit, ImageBytes, ImageOrder, LoadLimit, Order, Target, TariffOrder,
};
use crate::session::relay_test::RelayTest;
use crate::store::Store;
use crate::store::command::{CommandKind, DisconnectReason};
use crate::store::meter::{BalanceHolder, Meter, Role};
use crate::vault::unhex;
use protocol::codec::axdr::Data;
use protocol::codec::obis::Obis;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The kinds that people may ask for.
pub const ASKED_FOR: [CommandKind; 18] = [
    CommandKind::Disconnect,
    CommandKind::Reconnect,
    CommandKind::Read,
    CommandKind::Commission,
    CommandKind::RotateKeys,
    CommandKind::SetClock,
    CommandKind::Arm,
    CommandKind::LimitLoad,
    CommandKind::SetPrices,
    CommandKind::SetTariff,
    CommandKind::SetCalendar,
    CommandKind::LimitEmergency,
    CommandKind::ClearTamper,
    CommandKind::TestRelay,
    CommandKind::UpdateImage,
    CommandKind::Get,
    CommandKind::Set,
    CommandKind::Invoke,
];

/// The kinds that people may ask for, as a list for a message.
#[must_use]
pub fn words() -> String {
    ASKED_FOR.map(CommandKind::as_str).join(", ")
}

/// The reasons that people may give.
pub const REASONS: &str = "planned, fault, peak_avoidance, breach_of_contract, arrears";

/// The reason of a disconnection that a person may give: a zero balance is for the gateway to see, not to be claimed (N21).
///
/// # Errors
/// What would be one.
pub fn reason(word: &str) -> Result<DisconnectReason, String> {
    DisconnectReason::parse(word)
        .filter(|reason| *reason != DisconnectReason::NoCredit)
        .ok_or_else(|| format!("reason {word:?} is none of {REASONS}"))
}

/// Which image, in the parameters of `update_image`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageName {
    /// Its name among the gateway's images.
    pub image: String,
}

/// An attribute or a method and a value, in the parameters of `get`, `set` and `invoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hand {
    class_id: u16,
    /// Six numbers.
    name: String,
    index: i8,
    /// A-XDR bytes in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

/// The longest value of an engineer's: what a session sends.
const HAND_MAX: usize = 512;

impl Hand {
    fn order(&self, kind: CommandKind) -> Result<AdHoc, String> {
        let six = self.name.split('.').count() == 6;
        let name = Obis::parse(&self.name).ok().filter(|_| six);
        let name = name.ok_or_else(|| format!("{:?} is not a logical name of six numbers", self.name))?;
        let target = Target { class_id: self.class_id, name, index: self.index };
        if let Some(why) = target.denied(kind != CommandKind::Get) {
            return Err(format!("{target} is not for an engineer's hand: {why}"));
        }
        let value = match (&self.value_hex, kind) {
            (None, CommandKind::Get) => return Ok(AdHoc::Get(target)),
            (Some(_), CommandKind::Get) => return Err("a get takes no value".into()),
            // The parameter of a method that has none is integer 0.
            (None, CommandKind::Invoke) => vec![15, 0],
            (None, _) => return Err("a set needs value_hex".into()),
            (Some(text), _) => unhex(text).ok_or("value_hex is not hexadecimal digits")?.to_vec(),
        };
        if value.len() > HAND_MAX || Data::from_bytes_in(&value).is_err() {
            return Err(format!("value_hex is not one A-XDR value of at most {HAND_MAX} bytes"));
        }
        Ok(match kind {
            CommandKind::Set => AdHoc::Set(target, value),
            _ => AdHoc::Invoke(target, value),
        })
    }
}

/// What a command is to do exactly, as it is stored: `None` where the kind says all.
///
/// # Errors
/// What is wrong with the parameters.
pub fn checked(kind: CommandKind, parameters: Option<&Value>) -> Result<Option<String>, String> {
    let given = parameters.unwrap_or(&Value::Null);
    match kind {
        CommandKind::LimitLoad => {
            let limit: LoadLimit = parse(kind, given)?;
            limit.flaw().map_or_else(|| text(&limit), Err)
        }
        CommandKind::SetPrices => {
            let prices: ChargeOrder = parse(kind, given)?;
            prices.flaw().map_or_else(|| text(&prices), Err)
        }
        CommandKind::SetTariff => {
            let tariff: TariffOrder = parse(kind, given)?;
            tariff.flaw().map_or_else(|| text(&tariff), Err)
        }
        CommandKind::TestRelay => {
            let test: RelayTest = if given.is_null() { RelayTest::default() } else { parse(kind, given)? };
            test.flaw().map_or_else(|| text(&test), Err)
        }
        CommandKind::SetCalendar => {
            let calendar: CalendarOrder = parse(kind, given)?;
            calendar.flaw().map_or_else(|| text(&calendar), Err)
        }
        CommandKind::LimitEmergency => {
            let limit: EmergencyLimit = parse(kind, given)?;
            limit.flaw().map_or_else(|| text(&limit), Err)
        }
        CommandKind::UpdateImage => text(&parse::<ImageName>(kind, given)?),
        CommandKind::Get | CommandKind::Set | CommandKind::Invoke => {
            let hand: Hand = parse(kind, given)?;
            hand.order(kind)?;
            text(&hand)
        }
        _ if given.is_null() => Ok(None),
        kind => Err(format!("a {kind} takes no parameters")),
    }
}

/// The same, with what has to be in the store for it.
///
/// # Errors
/// What is wrong with the parameters.
pub async fn checked_in(
    store: &Store,
    kind: CommandKind,
    parameters: Option<&Value>,
) -> Result<Option<String>, String> {
    let action = checked(kind, parameters)?;
    if let (CommandKind::UpdateImage, Some(action)) = (kind, &action) {
        let name: ImageName = serde_json::from_str(action).map_err(|error| error.to_string())?;
        let images = store.images().await.map_err(|error| error.to_string())?;
        if !images.iter().any(|image| image.name == name.image) {
            return Err(format!("there is no image {:?}: bring it first", name.image));
        }
    }
    Ok(action)
}

fn parse<T: DeserializeOwned>(kind: CommandKind, parameters: &Value) -> Result<T, String> {
    serde_json::from_value(parameters.clone()).map_err(|error| format!("the parameters of {kind}: {error}"))
}

fn text(parameters: &impl Serialize) -> Result<Option<String>, String> {
    serde_json::to_string(parameters).map(Some).map_err(|error| error.to_string())
}

/// The setting that a stored command stands for.
///
/// # Errors
/// When what is stored is none.
pub async fn stored(store: &Store, kind: CommandKind, action: Option<&str>) -> Result<Order, String> {
    if kind == CommandKind::UpdateImage {
        let name: ImageName = restored(kind, action)?;
        let image = store.image(&name.image).await.map_err(|error| error.to_string())?;
        let (identifier, version, bytes) =
            image.ok_or_else(|| format!("there is no image {:?}", name.image))?;
        return Ok(Order::UpdateImage(ImageOrder { identifier, version, bytes: ImageBytes(bytes.into()) }));
    }
    setting(kind, action)
}

fn restored<T: DeserializeOwned>(kind: CommandKind, action: Option<&str>) -> Result<T, String> {
    serde_json::from_str(action.unwrap_or(""))
        .map_err(|error| format!("the stored parameters of {kind}: {error}"))
}

fn setting(kind: CommandKind, action: Option<&str>) -> Result<Order, String> {
    Ok(match kind {
        CommandKind::SetClock => Order::SetClock,
        CommandKind::Arm => Order::Arm,
        CommandKind::LimitLoad => Order::LimitLoad(restored(kind, action)?),
        CommandKind::SetPrices => Order::SetPrices(restored(kind, action)?),
        CommandKind::SetTariff => Order::SetTariff(Box::new(restored(kind, action)?)),
        CommandKind::SetCalendar => Order::SetCalendar(Box::new(restored(kind, action)?)),
        CommandKind::TestRelay => Order::TestRelay(restored(kind, action)?),
        CommandKind::LimitEmergency => Order::LimitEmergency(restored(kind, action)?),
        CommandKind::Get | CommandKind::Set | CommandKind::Invoke => {
            Order::AdHoc(restored::<Hand>(kind, action)?.order(kind)?)
        }
        other => return Err(format!("{other} is no setting")),
    })
}

/// What a meter must be able to do for a command of this kind.
#[must_use]
pub const fn needs(kind: CommandKind) -> Ability {
    match kind {
        CommandKind::Commission | CommandKind::Read => Ability::Read,
        CommandKind::DeliverToken | CommandKind::ClearTamper => Ability::TakeTokens,
        CommandKind::Disconnect | CommandKind::Reconnect | CommandKind::Arm | CommandKind::TestRelay => {
            Ability::SwitchRelay
        }
        CommandKind::RotateKeys => Ability::ChangeKeys,
        CommandKind::SetClock => Ability::SetClock,
        CommandKind::LimitLoad | CommandKind::LimitEmergency => Ability::LimitLoad,
        CommandKind::SetPrices => Ability::SetPrices,
        CommandKind::SetTariff => Ability::SetTariff,
        CommandKind::SetCalendar => Ability::SetCalendar,
        CommandKind::UpdateImage => Ability::UpdateImage,
        CommandKind::Get | CommandKind::Set | CommandKind::Invoke => Ability::AdHoc,
    }
}

/// Whether a command of this kind switches supply.
#[must_use]
pub const fn switches(kind: CommandKind) -> bool {
    matches!(
        kind,
        CommandKind::Disconnect | CommandKind::Reconnect | CommandKind::Arm | CommandKind::TestRelay
    )
}

/// Why this meter has no supply to switch: a feeder meter must not be asked to cut off a whole area, and a meter nobody sells
/// through has no relay we know of.
#[must_use]
pub fn no_switch(kind: CommandKind, meter: &Meter) -> Option<String> {
    let none = meter.role != Role::Customer || meter.balance == BalanceHolder::None;
    (switches(kind) && none).then(|| format!("meter {} has no supply to switch", meter.serial.0))
}

/// Why a command of this kind makes no sense for a meter, whatever is known about it now. A model that is not there says
/// nothing: its line will.
#[must_use]
pub fn obstacle(kind: CommandKind, meter: &Meter, model: Option<&Model>) -> Option<String> {
    no_switch(kind, meter).or_else(|| model?.lacks(needs(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_are_checked_and_come_back_as_the_setting_they_were() {
        let given = json!({"limit_w": 3_000});
        let action = checked(CommandKind::LimitLoad, Some(&given)).unwrap().unwrap();
        assert_eq!(
            setting(CommandKind::LimitLoad, Some(&action)).unwrap(),
            Order::LimitLoad(LoadLimit { limit_w: 3_000, over_s: 60, under_s: 60 })
        );
        let refused = |kind, given: Value| checked(kind, Some(&given)).unwrap_err();
        assert!(refused(CommandKind::LimitLoad, json!({"limit_w": 10})).contains("is a disconnection"));
        assert!(refused(CommandKind::LimitLoad, json!({"limit_w": 3_000, "colour": 1})).contains("colour"));
        assert_eq!(refused(CommandKind::Read, json!({"limit_w": 3_000})), "a read takes no parameters");
        assert!(checked(CommandKind::LimitLoad, None).is_err());
    }

    #[test]
    fn what_is_stored_and_damaged_is_an_error_and_not_a_default() {
        assert!(setting(CommandKind::LimitLoad, None).is_err());
        assert!(setting(CommandKind::LimitLoad, Some("{}")).is_err());
        assert!(setting(CommandKind::Read, None).is_err());
    }

    #[test]
    fn an_engineers_hand_reaches_neither_keys_nor_relay_nor_credit() {
        let hand = |kind, class_id: u16, name: &str, value: Option<&str>| {
            let parameters = json!({"class_id": class_id, "name": name, "index": 2, "value_hex": value});
            checked(kind, Some(&parameters))
        };
        assert!(hand(CommandKind::Get, 3, "1.0.1.8.0.255", None).is_ok());
        assert!(hand(CommandKind::Set, 7, "1.0.99.1.0.255", Some("0600000384")).is_ok());
        for (class_id, name) in [(70, "0.0.96.3.10.255"), (112, "0.0.19.10.0.255"), (64, "0.0.43.0.0.255")] {
            let why = hand(CommandKind::Invoke, class_id, name, Some("0F00")).unwrap_err();
            assert!(why.contains("not for an engineer's hand"), "{why}");
        }
        assert!(hand(CommandKind::Set, 7, "1.0.99.1.0.255", None).unwrap_err().contains("needs value_hex"));
        assert!(hand(CommandKind::Set, 7, "1.0.99.1.0.255", Some("0612")).unwrap_err().contains("A-XDR"));
        assert!(hand(CommandKind::Get, 3, "1.0.1.8", None).unwrap_err().contains("six numbers"));
    }
}
