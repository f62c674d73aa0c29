use super::insist;
use super::top_up::{AMOUNT_MINOR, masked};
use crate::demo::stage::Stage;
use serde_json::Value;
use simulator::faults::{Damage, Fault, On};

/// Loses the answer to a token on the wire: the delivery is unknown, the gateway asks the meter, and sends nothing again.
///
/// # Errors
/// What was not as it should be.
pub fn ask_after_a_lost_answer(stage: &mut Stage) -> Result<(), String> {
    let meter = stage.cast.lost_answer.clone();
    let before = stage.credited_wh(meter.index)?;
    let lost = Fault::Answer { damage: Damage::Lost, on: On::TokenAccepted, count: 1 };
    insist(stage.street.inject(meter.index, lost), || "the simulator lost no answer".into())?;
    let (receipt, _) = stage.pay(&meter.serial, AMOUNT_MINOR)?;
    stage.teller.line(format!(
        "paid {AMOUNT_MINOR} cents for meter {}, token {}; the meter's answer to it will be lost",
        meter.serial,
        masked(&receipt)
    ));
    let id = receipt["command_id"].as_i64().ok_or("the payment has no delivery")?;
    let command = stage.verified(id)?;
    stage.show_steps(&command);
    insist(has_state(&command, "unknown"), || "the delivery was never shown as unknown".into())?;
    let sent = sends(&command);
    insist(sent == 1, || format!("the token was sent {sent} times"))?;
    let gained = stage.credited_wh(meter.index)? - before;
    let energy = receipt["energy_wh"].as_i64().unwrap_or_default();
    insist(gained == energy, || {
        format!("the simulated meter was credited {gained} Wh, paid were {energy} Wh")
    })?;
    stage.teller.verified(format!(
        "shown as unknown, asked, found accepted: sent once, credited {gained} Wh once by the simulator's count"
    ));
    Ok(())
}

/// Whether a command ever was in this state.
pub(super) fn has_state(command: &Value, state: &str) -> bool {
    command["steps"].as_array().into_iter().flatten().any(|step| step["state"] == state)
}

/// How often a token left the gateway, by its own evidence.
pub(super) fn sends(command: &Value) -> usize {
    let steps = command["steps"].as_array().into_iter().flatten();
    let lines = steps.flat_map(|step| step["evidence"].as_array().into_iter().flatten());
    lines.filter_map(Value::as_str).filter(|line| line.contains("enter: sending token")).count()
}
