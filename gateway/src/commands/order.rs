//! What each kind of command needs to be said of it, and what it needs a meter to be able to do.

use crate::session::model::{Ability, Model};
use crate::session::order::{LoadLimit, Order};
use crate::store::command::{CommandKind, DisconnectReason};
use crate::store::meter::{BalanceHolder, Meter, Role};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The kinds that people may ask for.
pub const ASKED_FOR: [CommandKind; 8] = [
    CommandKind::Disconnect,
    CommandKind::Reconnect,
    CommandKind::Read,
    CommandKind::Commission,
    CommandKind::RotateKeys,
    CommandKind::SetClock,
    CommandKind::Arm,
    CommandKind::LimitLoad,
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

/// What a command is to do exactly, as it is stored: `None` where the kind says all.
///
/// # Errors
/// What is wrong with the parameters.
pub fn checked(kind: CommandKind, parameters: Option<&Value>) -> Result<Option<String>, String> {
    match (kind, parameters) {
        (CommandKind::LimitLoad, given) => {
            let limit: LoadLimit = parse(kind, given.unwrap_or(&Value::Null))?;
            match limit.flaw() {
                Some(flaw) => Err(flaw),
                None => serde_json::to_string(&limit).map(Some).map_err(|error| error.to_string()),
            }
        }
        (_, None | Some(Value::Null)) => Ok(None),
        (kind, Some(_)) => Err(format!("a {kind} takes no parameters")),
    }
}

fn parse<T: DeserializeOwned>(kind: CommandKind, parameters: &Value) -> Result<T, String> {
    serde_json::from_value(parameters.clone()).map_err(|error| format!("the parameters of {kind}: {error}"))
}

/// The setting that a stored command stands for.
///
/// # Errors
/// When what is stored is none.
pub fn stored(kind: CommandKind, action: Option<&str>) -> Result<Order, String> {
    let damaged = |error: serde_json::Error| format!("the stored parameters of {kind}: {error}");
    Ok(match kind {
        CommandKind::SetClock => Order::SetClock,
        CommandKind::Arm => Order::Arm,
        CommandKind::LimitLoad => {
            Order::LimitLoad(serde_json::from_str(action.unwrap_or("")).map_err(damaged)?)
        }
        other => return Err(format!("{other} is no setting")),
    })
}

/// What a meter must be able to do for a command of this kind.
#[must_use]
pub const fn needs(kind: CommandKind) -> Ability {
    match kind {
        CommandKind::Commission | CommandKind::Read => Ability::Read,
        CommandKind::DeliverToken => Ability::TakeTokens,
        CommandKind::Disconnect | CommandKind::Reconnect | CommandKind::Arm => Ability::SwitchRelay,
        CommandKind::RotateKeys => Ability::ChangeKeys,
        CommandKind::SetClock => Ability::SetClock,
        CommandKind::LimitLoad => Ability::LimitLoad,
    }
}

/// Whether a command of this kind switches supply.
#[must_use]
pub const fn switches(kind: CommandKind) -> bool {
    matches!(kind, CommandKind::Disconnect | CommandKind::Reconnect | CommandKind::Arm)
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
            stored(CommandKind::LimitLoad, Some(&action)).unwrap(),
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
        assert!(stored(CommandKind::LimitLoad, None).is_err());
        assert!(stored(CommandKind::LimitLoad, Some("{}")).is_err());
        assert!(stored(CommandKind::Read, None).is_err());
    }
}
