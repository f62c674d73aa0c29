//! Who takes part in a bulk command, and why others do not: for each meter one pure function of what is known about it.

use super::BulkAction;
use crate::commands::order;
use crate::guards::{self, Asked, Guard, Rules};
use crate::session::model::Model;
use crate::store::command::{CommandKind, DisconnectReason};
use crate::store::meter::{BalanceHolder, Meter, MeterState};
use crate::store::notice::Standing;
use crate::units::WattHours;
use jiff::Timestamp;

/// What is known about a meter.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// As entered.
    pub meter: &'a Meter,
    /// As last read.
    pub state: &'a MeterState,
    /// Its model.
    pub model: Option<&'a Model>,
    /// What is on record about the customer.
    pub standing: &'a Standing,
    /// The credit that the gateway holds, where it does.
    pub held: WattHours,
    /// Why we disconnected it, if we did.
    pub disconnected_for: Option<DisconnectReason>,
    /// A relay command for it is under way.
    pub relay_command_open: bool,
}

/// A meter that takes part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// A second person has to agree, and why.
    pub second_person: Option<String>,
}

/// Whether the meter takes part.
///
/// # Errors
/// Why not, for a person.
pub fn part(action: &BulkAction, known: &Known<'_>, rules: &Rules, now: Timestamp) -> Result<Part, String> {
    if known.state.commissioned_at.is_none() {
        return Err("it is not commissioned yet".into());
    }
    if let Some(obstacle) = order::obstacle(action.kind, known.meter, known.model) {
        return Err(obstacle);
    }
    if order::switches(action.kind) && known.relay_command_open {
        return Err("a relay command for it is under way".into());
    }
    match action.kind {
        CommandKind::Disconnect => disconnection(action, known, rules, now),
        CommandKind::Reconnect => reconnection(action, known).map(|()| Part::default()),
        _ => Ok(Part::default()),
    }
}

fn disconnection(
    action: &BulkAction,
    known: &Known<'_>,
    rules: &Rules,
    now: Timestamp,
) -> Result<Part, String> {
    if known.state.relay.is_some_and(|relay| !relay.output_closed && relay.control_state.unwrap_or(0) == 0) {
        let why = known.state.relay_reason.as_deref().unwrap_or("no reason known");
        return Err(format!("its relay is open already: {why}"));
    }
    let reason = action.reason.ok_or("a disconnect needs a reason")?;
    let asked = Asked { reason, breach: None, approved: false };
    let (second, other): (Vec<_>, Vec<_>) = guards::unmet(&asked, known.standing, rules, now)
        .into_iter()
        .partition(|unmet| unmet.guard == Guard::SecondPerson);
    if !other.is_empty() {
        return Err(guards::list(&other));
    }
    Ok(Part { second_person: second.into_iter().next().map(|unmet| unmet.to_string()) })
}

/// Supply that was cut for what the customer owes or did comes back when that reason is named, not along with a street.
fn reconnection(action: &BulkAction, known: &Known<'_>) -> Result<(), String> {
    if known.state.relay.is_some_and(|relay| relay.output_closed) {
        return Err("its supply is on already".into());
    }
    match (action.reason, known.disconnected_for) {
        (Some(wanted), Some(was)) if wanted != was => {
            return Err(format!("it is disconnected for {was}, not for {wanted}"));
        }
        (Some(wanted), None) => return Err(format!("it is not disconnected for {wanted}")),
        (None, Some(was @ (DisconnectReason::Arrears | DisconnectReason::BreachOfContract))) => {
            return Err(format!("it is disconnected for {was}: name that reason to reconnect such meters"));
        }
        _ => {}
    }
    if known.meter.balance == BalanceHolder::Gateway && known.held <= WattHours(0) {
        return Err("its balance is used up".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::model::Models;
    use crate::session::work::RelayState;
    use crate::store::meter::Role;
    use crate::store::notice::Protection;
    use crate::store::tests::{NOON, at, meter};

    struct Case {
        meter: Meter,
        state: MeterState,
        standing: Standing,
        held: WattHours,
        disconnected_for: Option<DisconnectReason>,
        open: bool,
    }

    impl Case {
        fn new(closed: bool) -> Self {
            let relay = RelayState { output_closed: closed, control_state: Some(u8::from(closed)) };
            let state = MeterState {
                commissioned_at: Some(at(NOON)),
                relay: Some(relay),
                relay_reason: (!closed).then(|| "remote".to_owned()),
                ..MeterState::default()
            };
            let meter = Meter { model: "reference-dlms".into(), ..meter("01000000016", "a") };
            Self {
                meter,
                state,
                standing: Standing::default(),
                held: WattHours(0),
                disconnected_for: None,
                open: false,
            }
        }

        fn part(&self, kind: CommandKind, reason: Option<DisconnectReason>) -> Result<Part, String> {
            let models = Models::load(None).unwrap();
            let model = models.find(&self.meter.model);
            let known = Known {
                meter: &self.meter,
                state: &self.state,
                model: model.as_deref(),
                standing: &self.standing,
                held: self.held,
                disconnected_for: self.disconnected_for,
                relay_command_open: self.open,
            };
            let action = BulkAction { kind, reason, parameters: None };
            part(&action, &known, &Rules::default(), at(NOON))
        }
    }

    use CommandKind::{Disconnect, LimitLoad, Read, Reconnect};
    use DisconnectReason::{Arrears, Fault, Planned};

    #[test]
    fn a_disconnection_passes_exactly_the_guards_of_a_single_one() {
        let mut case = Case::new(true);
        assert_eq!(case.part(Disconnect, Some(Fault)), Ok(Part::default()));
        let why = case.part(Disconnect, Some(Planned)).unwrap_err();
        assert!(why.contains("no notice of a disconnection for planned"), "{why}");
        let why = case.part(Disconnect, Some(Arrears)).unwrap_err();
        assert!(why.contains("overdue") && why.contains("demands"), "{why}");
        case.standing.protection = Some(Protection::Hospital);
        let second = case.part(Disconnect, Some(Fault)).unwrap().second_person.unwrap();
        assert!(second.contains("protected (hospital)"), "{second}");
    }

    #[test]
    fn who_has_supply_already_or_lost_it_for_another_reason_is_not_reconnected_along_with_a_street() {
        assert_eq!(Case::new(true).part(Reconnect, None).unwrap_err(), "its supply is on already");
        let mut case = Case::new(false);
        assert!(case.part(Reconnect, None).is_ok());
        case.disconnected_for = Some(Arrears);
        let why = case.part(Reconnect, None).unwrap_err();
        assert!(why.contains("disconnected for arrears: name that reason"), "{why}");
        assert!(case.part(Reconnect, Some(Arrears)).is_ok());
        assert!(case.part(Reconnect, Some(Fault)).unwrap_err().contains("for arrears, not for fault"));
        case.disconnected_for = Some(Fault);
        assert!(case.part(Reconnect, Some(Fault)).is_ok());
        case.meter.balance = BalanceHolder::Gateway;
        assert_eq!(case.part(Reconnect, None).unwrap_err(), "its balance is used up");
        case.held = WattHours(1);
        assert!(case.part(Reconnect, None).is_ok());
    }

    #[test]
    fn what_a_meter_is_or_cannot_do_or_is_doing_keeps_it_out() {
        let mut case = Case::new(true);
        case.open = true;
        assert!(case.part(Disconnect, Some(Fault)).unwrap_err().contains("under way"));
        assert!(case.part(Read, None).is_ok(), "a read disturbs nothing");
        case.open = false;
        case.meter.model = "reference-modbus".into();
        assert!(case.part(LimitLoad, None).unwrap_err().contains("says nothing about a limiter"));
        case.meter.role = Role::Feeder;
        assert!(case.part(Disconnect, Some(Fault)).unwrap_err().contains("no supply to switch"));
        case.state.commissioned_at = None;
        assert_eq!(case.part(Read, None).unwrap_err(), "it is not commissioned yet");
        let open = Case::new(false);
        assert_eq!(open.part(Disconnect, Some(Fault)).unwrap_err(), "its relay is open already: remote");
    }
}
