use super::insist;
use crate::demo::cast::Actor;
use crate::demo::stage::{Stage, wait};
use serde_json::Value;
use std::time::Duration;

/// Half a kilowatt-hour at 30 cents, and then ten.
const SMALL_MINOR: i64 = 15;
const LARGE_MINOR: i64 = 300;
/// A stove behind the meter.
const LOAD_W: u32 = 4_000;
/// A top-up reconnects, a charge disconnects: a read, a coil and its verification on a 9,600-baud line.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(45);

/// Lets a Modbus meter use up the balance that the gateway holds for it: it is disconnected by coil; a top-up reconnects it.
///
/// # Errors
/// What was not as it should be.
pub fn hold_a_modbus_meters_balance(stage: &mut Stage) -> Result<(), String> {
    let meter = stage.cast.held.clone();
    stage.pay(&meter.serial, SMALL_MINOR)?;
    stage.teller.line(format!(
        "paid {SMALL_MINOR} cents for Modbus meter {}: the gateway holds its balance",
        meter.serial
    ));
    follows(stage, &meter, true)?;
    stage.set_load(meter.index, LOAD_W);
    stage.teller.line(format!("{LOAD_W} W are switched on behind it"));
    let off = follows(stage, &meter, false)?;
    stage.set_load(meter.index, 0);
    show_last(stage, &meter, "disconnect")?;
    stage.teller.verified(format!(
        "balance {} Wh: disconnected by coil, contact sensed open at {}, and open in the simulator",
        off["balance"]["credit_wh"],
        off["relay"]["at"].as_str().unwrap_or_default()
    ));
    stage.pay(&meter.serial, LARGE_MINOR)?;
    let on = follows(stage, &meter, true)?;
    show_last(stage, &meter, "reconnect")?;
    stage.teller.verified(format!(
        "paid {LARGE_MINOR} cents, balance {} Wh: reconnected, contact sensed closed, and closed in the simulator",
        on["balance"]["credit_wh"]
    ));
    Ok(())
}

/// Has the meter read until balance, gateway and simulator agree about the relay.
fn follows(stage: &Stage, meter: &Actor, closed: bool) -> Result<Value, String> {
    let word = if closed { "closed" } else { "open" };
    wait(&format!("the relay to be {word}"), FOLLOWS_WITHIN, || {
        let shown = stage.read(&meter.serial)?;
        let positive = shown["balance"]["credit_wh"].as_i64().is_some_and(|credit| credit > 0);
        let sensed = shown["relay"]["output_closed"] == closed;
        Ok((sensed && positive == closed && stage.contact_closed(meter.index) == closed).then_some(shown))
    })
}

/// Shows the last command of a kind: the gateway gave it by itself.
fn show_last(stage: &Stage, meter: &Actor, kind: &str) -> Result<(), String> {
    let commands = stage.client.get(&format!("/commands?serial={}&limit=50", meter.serial))?;
    let last = commands.as_array().into_iter().flatten().find(|command| command["kind"] == kind);
    let id = last.and_then(|command| command["id"].as_i64());
    let command = stage.verified(id.ok_or_else(|| format!("the gateway gave no {kind} command"))?)?;
    stage.show_steps(&command);
    insist(command["state"] == "verified", || format!("the {kind} ended {}", command["state"]))
}
