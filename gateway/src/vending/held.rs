//! Gateway-held balances: readings are charged, and supply follows the balance.

use crate::guards::{self, Asked, Rules};
use crate::session::work::{RelayState, Serial};
use crate::store::command::{CommandKind, DisconnectReason, NewCommand};
use crate::store::ledger::{Account, Entry};
use crate::store::{Connection, StoreError, command, ledger, meter, notice, observation};
use crate::units::WattHours;
use jiff::Timestamp;

/// What a register reading means for the balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The first one: charging starts from here.
    Begin,
    /// This much was used.
    Used(WattHours),
}

/// Compares a reading with the register up to which consumption has been charged. One that went back does not come here: it is
/// held (`reading::plausibility`), and a person who releases it says where charging goes on.
#[must_use]
pub fn charge(rated: Option<WattHours>, register: WattHours) -> Charge {
    match rated {
        None => Charge::Begin,
        Some(rated) => Charge::Used(WattHours((register - rated).0.max(0))),
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
    conn: &mut Connection,
    serial: &Serial,
    at: Timestamp,
    correlation: &str,
    rules: &Rules,
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
        }
    }
    let (supply, balance) = called_for(conn, serial).await?;
    let withheld = match supply {
        Supply::Disconnect => withheld(conn, serial, at, rules).await?,
        _ => None,
    };
    notice::set_withheld(conn, serial, withheld.as_deref(), at).await?;
    match (supply, withheld) {
        (Supply::Keep, _) | (_, Some(_)) => Ok(()),
        (supply, None) => order(conn, serial, supply, balance, at, correlation).await,
    }
}

/// Restores supply after a payment where want of credit had cut it. Supply is cut only after a reading.
///
/// # Errors
/// Store failures.
pub async fn restore(
    conn: &mut Connection,
    serial: &Serial,
    at: Timestamp,
    correlation: &str,
) -> Result<(), StoreError> {
    match called_for(conn, serial).await? {
        (Supply::Reconnect, balance) => {
            order(conn, serial, Supply::Reconnect, balance, at, correlation).await
        }
        _ => Ok(()),
    }
}

/// What the balance calls for, and the balance.
async fn called_for(conn: &mut Connection, serial: &Serial) -> Result<(Supply, WattHours), StoreError> {
    let (_, balance) = ledger::balance(conn, Account::Held, &serial.0).await?;
    let state = meter::state(conn, &serial.0).await?;
    let standing = command::standing_disconnect(conn, serial).await?;
    let open = command::relay_command_open(conn, serial).await?;
    Ok((supply(balance, state.relay, standing, open), balance))
}

/// The guards that keep supply on although the balance is used up, if any: the same as for every other disconnection.
async fn withheld(
    conn: &mut Connection,
    serial: &Serial,
    at: Timestamp,
    rules: &Rules,
) -> Result<Option<String>, StoreError> {
    let standing = notice::standing(conn, serial).await?;
    let asked = Asked { reason: DisconnectReason::NoCredit, breach: None, approved: false };
    let unmet = guards::unmet(&asked, &standing, rules, at);
    Ok((!unmet.is_empty()).then(|| guards::list(&unmet)))
}

async fn order(
    conn: &mut Connection,
    serial: &Serial,
    supply: Supply,
    balance: WattHours,
    at: Timestamp,
    correlation: &str,
) -> Result<(), StoreError> {
    let (kind, reason) = match supply {
        Supply::Keep => return Ok(()),
        Supply::Disconnect => (CommandKind::Disconnect, Some(DisconnectReason::NoCredit)),
        Supply::Reconnect => (CommandKind::Reconnect, None),
    };
    let request = NewCommand {
        serial: serial.clone(),
        kind,
        reason,
        reason_text: Some(format!("gateway-held balance is {} Wh", balance.0)),
        breach: None,
        actor: "gateway".into(),
        correlation: correlation.to_owned(),
        token_id: None,
        action: None,
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
        assert_eq!(charge(Some(WattHours(500)), WattHours(499)), Charge::Used(WattHours(0)));
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
