use super::insist;
use crate::demo::stage::{Stage, wait};
use std::time::Duration;

/// A kettle and a stove.
const LOAD_W: u32 = 4_000;
/// At a speed of 60 the load takes 67 Wh a second; 300 Wh are gone in five. At real time the load is made to fit.
const OUT_WITHIN: Duration = Duration::from_secs(60);

/// Lets a meter use up its credit: it opens its relay by itself, and the gateway reads why.
///
/// # Errors
/// What was not as it should be.
pub fn run_out_of_credit(stage: &mut Stage) -> Result<(), String> {
    let meter = stage.cast.spender.clone();
    stage.set_load(meter.index, LOAD_W);
    stage.teller.line(format!("{LOAD_W} W are switched on behind meter {}", meter.serial));
    let index = meter.index;
    wait("the meter to open its relay", OUT_WITHIN, || Ok((!stage.contact_closed(index)).then_some(())))?;
    stage.set_load(meter.index, 0);
    let command = stage.carry_out(&meter.serial, "read", None)?;
    stage.show_steps(&command);
    let shown = stage.meter(&meter.serial)?;
    insist(shown["relay"]["output_closed"] == false, || {
        format!("the gateway shows the relay {}", shown["relay"])
    })?;
    insist(shown["relay"]["reason"] == "no credit", || {
        format!("the reason is {}", shown["relay"]["reason"])
    })?;
    insist(shown["balance"]["credit_wh"].as_i64().is_some_and(|credit| credit <= 0), || {
        format!("the credit is {}", shown["balance"]["credit_wh"])
    })?;
    let truth = stage.street.truth(meter.index).and_then(|truth| truth.status).map(|status| status.reason);
    insist(truth == Some(protocol::cosem::disconnect::RelayReason::NoCredit), || {
        format!("the simulated meter's own reason is {truth:?}")
    })?;
    stage.teller.verified(format!(
        "the gateway reads relay open, reason \"no credit\", credit {} Wh at {}; the simulated contact is open",
        shown["balance"]["credit_wh"],
        shown["relay"]["at"].as_str().unwrap_or_default()
    ));
    Ok(())
}
