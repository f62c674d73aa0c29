use super::insist;
use crate::demo::cast::Actor;
use crate::demo::stage::{Stage, wait};
use serde_json::Value;
use std::time::Duration;

/// What is paid: 10 EUR.
pub(super) const AMOUNT_MINOR: i64 = 1_000;
/// The meter closes its relay by itself once it has credit; the next look at it shows that.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// Pays for the meter that ran out: the token is pushed, its status, the new credit and the relay are read back; the same
/// payment once more changes nothing.
///
/// # Errors
/// What was not as it should be.
pub fn top_up_a_meter(stage: &mut Stage) -> Result<(), String> {
    let meter = stage.cast.spender.clone();
    let before = stage.credited_wh(meter.index)?;
    let (receipt, key) = stage.pay(&meter.serial, AMOUNT_MINOR)?;
    stage.teller.line(format!(
        "paid {AMOUNT_MINOR} cents for meter {}: {} Wh, token {}, billed {}, change {}",
        meter.serial,
        receipt["energy_wh"],
        masked(&receipt),
        receipt["billed_minor"],
        receipt["change_minor"]
    ));
    let command = delivered(stage, &receipt)?;
    stage.show_steps(&command);
    let gained = stage.credited_wh(meter.index)? - before;
    let energy = receipt["energy_wh"].as_i64().unwrap_or_default();
    insist(gained == energy, || {
        format!("the simulated meter was credited {gained} Wh, paid were {energy} Wh")
    })?;
    let shown = back_on(stage, &meter)?;
    again(stage, &meter, &key, &receipt)?;
    stage.teller.verified(format!(
        "accepted by the meter, credit {} Wh and relay closed read back at {}; paying again gave the same token and nothing else",
        shown["balance"]["credit_wh"],
        shown["relay"]["at"].as_str().unwrap_or_default()
    ));
    Ok(())
}

/// Waits until the command that delivers a payment's token is verified.
pub(super) fn delivered(stage: &Stage, receipt: &Value) -> Result<Value, String> {
    let id = receipt["command_id"].as_i64().ok_or("the payment has no delivery")?;
    stage.verified(id)
}

/// A token as it may be shown.
pub(super) fn masked(receipt: &Value) -> String {
    let token = receipt["token"].as_str().unwrap_or_default();
    format!("…{}", token.get(16..).unwrap_or_default())
}

/// Reads the meter until gateway and simulator agree that supply is back.
fn back_on(stage: &Stage, meter: &Actor) -> Result<Value, String> {
    wait("supply to come back", BACK_WITHIN, || {
        let shown = stage.read(&meter.serial)?;
        let back = shown["relay"]["output_closed"] == true && stage.contact_closed(meter.index);
        Ok(back.then_some(shown))
    })
}

/// The same payment again: the same token, nothing booked, nothing sent.
fn again(stage: &Stage, meter: &Actor, key: &str, first: &Value) -> Result<(), String> {
    let before = (stage.credited_wh(meter.index)?, stage.client.get("/accounts/balance")?);
    let again = stage.client.pay(&meter.serial, AMOUNT_MINOR, key)?;
    insist(again.status == 200 && again.replayed, || {
        format!("the repeated payment was answered {}", again.problem())
    })?;
    let same = again.body["token"] == first["token"] && again.body["id"] == first["id"];
    insist(same, || "the repeated payment has another token".into())?;
    let after = (stage.credited_wh(meter.index)?, stage.client.get("/accounts/balance")?);
    insist(before == after, || "the repeated payment changed something".into())
}
