use super::insist;
use super::top_up::{AMOUNT_MINOR, delivered};
use crate::demo::stage::Stage;
use serde_json::Value;

/// STS result: used before.
const USED: u8 = 10;
/// STS result: made for another meter, or a digit is wrong.
const FOREIGN: u8 = 13;

/// Types the token of step 3 at its meter once more, and the neighbour's token at the wrong meter.
///
/// # Errors
/// What was not as it should be.
pub fn refuse_tokens_at_the_keypad(stage: &mut Stage) -> Result<(), String> {
    let (meter, neighbour) = (stage.cast.spender.clone(), stage.cast.neighbour.clone());
    let used = last_token(stage, &meter.serial)?;
    let (receipt, _) = stage.pay(&neighbour.serial, AMOUNT_MINOR)?;
    delivered(stage, &receipt)?;
    let foreign = receipt["token"].as_str().unwrap_or_default().to_owned();
    let before = stage.credited_wh(meter.index)?;
    for (token, code, whose) in [(used, USED, "its own, used"), (foreign, FOREIGN, "the neighbour's")] {
        let typed = stage
            .street
            .meter(meter.index)
            .and_then(|meter| meter.at_panel(|panel| panel.type_token(&token)));
        let result = typed.ok_or("the meter has no power")?;
        insist(!result.is_taken() && result.code() == code, || {
            format!("{whose} token was answered {result:?}, expected STS result {code}")
        })?;
        let said = result.explanation();
        stage
            .teller
            .line(format!("typed at meter {}: {whose} token … {said} (STS result {code})", meter.serial));
    }
    insist(stage.credited_wh(meter.index)? == before, || "a refused token was credited".into())?;
    let command = stage.carry_out(&meter.serial, "read", None)?;
    stage.show_steps(&command);
    let shown = stage.meter(&meter.serial)?;
    let credit = shown["balance"]["credit_wh"].as_i64().unwrap_or(i64::MAX);
    insist(credit <= before + 300, || format!("the gateway reads a credit of {credit} Wh"))?;
    stage.teller.verified(format!("the gateway reads {credit} Wh: neither token added anything"));
    Ok(())
}

/// The token of the last payment for a meter.
fn last_token(stage: &Stage, serial: &str) -> Result<String, String> {
    let payments = stage.client.get(&format!("/top-ups?serial={serial}&limit=1"))?;
    let id = payments[0]["id"].as_i64().ok_or("no payment for this meter yet: step 3 comes first")?;
    let payment: Value = stage.client.get(&format!("/top-ups/{id}"))?;
    payment["token"].as_str().map(str::to_owned).ok_or_else(|| "the payment shows no token".into())
}
