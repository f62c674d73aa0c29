//! Gateway-held balances: readings are charged, and supply follows the balance.

use crate::session::work::{RelayState, Serial};
use crate::store::command::{CommandKind, DisconnectReason, NewCommand};
use crate::store::ledger::{Account, Entry};
use crate::store::{StoreError, command, event, ledger, meter, observation};
use crate::units::WattHours;
use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;

/// What a register reading means for the balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The first one: charging starts from here.
    Begin,
    /// This much was used.
    Used(WattHours),
    /// The register went back by this much: held, not charged (N31).
    WentBack(WattHours),
}

/// Compares a reading with the register up to which consumption has been charged.
#[must_use]
pub fn charge(rated: Option<WattHours>, register: WattHours) -> Charge {
    match rated {
        None => Charge::Begin,
        Some(rated) if register < rated => Charge::WentBack(rated - register),
        Some(rated) => Charge::Used(register - rated),
    }
}

/// What should happen to supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// Nothing.
    Keep,
    /// The balance is used up.
    Disconnect,
    /// There is credit again, and it was for want of credit that supply was cut.
    Reconnect,
}

/// Supply follows the balance, one command at a time. A relay nobody has sensed yet is left alone, and one that was opened for
/// another reason than credit stays open.
#[must_use]
pub fn supply(
    balance: WattHours,
    relay: Option<RelayState>,
    standing: Option<DisconnectReason>,
    command_open: bool,
) -> Supply {
    let Some(relay) = relay else { return Supply::Keep };
    match (balance.0 > 0, relay.output_closed) {
        _ if command_open => Supply::Keep,
        (false, true) => Supply::Disconnect,
        (true, false) if standing == Some(DisconnectReason::NoCredit) => Supply::Reconnect,
        _ => Supply::Keep,
    }
}

/// Charges the last stored reading of a meter with a gateway-held balance and gives the command that follows from it. Part of
/// the write that stored the reading.
///
/// # Errors
/// Store failures.
pub async fn charge_reading(
    conn: &mut SqliteConnection,
    serial: &Serial,
    at: Timestamp,
    correlation: &str,
) -> Result<(), StoreError> {
    let state = meter::state(conn, &serial.0).await?;
    if let Some(register) = state.import_wh {
        match charge(state.rated_wh, register) {
            Charge::Begin => observation::set_rated(conn, serial, register).await?,
            Charge::Used(used) if used.0 > 0 => {
                observation::set_rated(conn, serial, register).await?;
                let entries = [
                    Entry::energy(Account::Held, &serial.0, -used),
                    Entry::energy(Account::Consumed, &serial.0, used),
                ];
                ledger::post(conn, "consumption", None, at, &entries).await?;
            }
            Charge::Used(_) => {}
            Charge::WentBack(by) => {
                let detail = json!({"register_wh": register, "went_back_wh": by});
                event::record(conn, at, "doubtful_reading", Some(&serial.0), &detail).await?;
            }
        }
    }
    follow_balance(conn, serial, at, correlation).await
}

/// Records the relay command that the balance calls for, if any.
///
/// # Errors
/// Store failures.
pub async fn follow_balance(
    conn: &mut SqliteConnection,
    serial: &Serial,
    at: Timestamp,
    correlation: &str,
) -> Result<(), StoreError> {
    let (_, balance) = ledger::balance(conn, Account::Held, &serial.0).await?;
    let state = meter::state(conn, &serial.0).await?;
    let standing = command::standing_disconnect(conn, serial).await?;
    let open = command::relay_command_open(conn, serial).await?;
    let (kind, reason) = match supply(balance, state.relay, standing, open) {
        Supply::Keep => return Ok(()),
        Supply::Disconnect => (CommandKind::Disconnect, Some(DisconnectReason::NoCredit)),
        Supply::Reconnect => (CommandKind::Reconnect, None),
    };
    let request = NewCommand {
        serial: serial.clone(),
        kind,
        reason,
        reason_text: Some(format!("gateway-held balance is {} Wh", balance.0)),
        actor: "gateway".into(),
        correlation: correlation.to_owned(),
        token_id: None,
        not_after: None,
    };
    command::insert(conn, &request, at).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Option<RelayState> = Some(RelayState { output_closed: true, control_state: None });
    const OPEN: Option<RelayState> = Some(RelayState { output_closed: false, control_state: None });

    #[test]
    fn consumption_is_what_the_register_advanced() {
        assert_eq!(charge(None, WattHours(500)), Charge::Begin);
        assert_eq!(charge(Some(WattHours(500)), WattHours(730)), Charge::Used(WattHours(230)));
        assert_eq!(charge(Some(WattHours(500)), WattHours(499)), Charge::WentBack(WattHours(1)));
    }

    #[test]
    fn a_used_up_balance_cuts_supply_once() {
        assert_eq!(supply(WattHours(0), CLOSED, None, false), Supply::Disconnect);
        assert_eq!(supply(WattHours(-40), CLOSED, None, true), Supply::Keep);
        assert_eq!(supply(WattHours(-40), OPEN, Some(DisconnectReason::NoCredit), false), Supply::Keep);
        assert_eq!(supply(WattHours(1), CLOSED, None, false), Supply::Keep);
    }

    #[test]
    fn credit_restores_supply_only_where_credit_was_the_reason() {
        assert_eq!(supply(WattHours(100), OPEN, Some(DisconnectReason::NoCredit), false), Supply::Reconnect);
        assert_eq!(supply(WattHours(100), OPEN, Some(DisconnectReason::Fault), false), Supply::Keep);
        assert_eq!(supply(WattHours(100), OPEN, None, false), Supply::Keep);
    }

    #[test]
    fn a_relay_nobody_has_sensed_is_left_alone() {
        assert_eq!(supply(WattHours(-1), None, None, false), Supply::Keep);
    }
}
