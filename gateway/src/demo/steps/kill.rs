use super::insist;
use super::lost_answer::sends;
use super::top_up::{AMOUNT_MINOR, masked};
use crate::demo::stage::Stage;
use simulator::faults::{Damage, Fault, On};
use std::time::{Duration, Instant};

/// The meter's answer is held back for so long, in real milliseconds: nobody will be there to hear it.
const HELD_MS: u32 = 20_000;
/// How long the token may take to reach the meter.
const REACHES_WITHIN: Duration = Duration::from_secs(20);

/// Kills the gateway after a meter took a token and before the answer came back, starts it again, and sees the delivery
/// finished exactly once.
///
/// # Errors
/// What was not as it should be.
pub fn finish_once_after_a_kill(stage: &mut Stage) -> Result<(), String> {
    let meter = stage.cast.killed.clone();
    let before = stage.credited_wh(meter.index)?;
    let late = Fault::Answer { damage: Damage::Late { delay_ms: HELD_MS }, on: On::TokenAccepted, count: 1 };
    insist(stage.street.inject(meter.index, late), || "the simulator holds no answer back".into())?;
    let (receipt, key) = stage.pay(&meter.serial, AMOUNT_MINOR)?;
    let id = receipt["command_id"].as_i64().ok_or("the payment has no delivery")?;
    stage.teller.line(format!(
        "paid {AMOUNT_MINOR} cents for meter {}, token {}",
        meter.serial,
        masked(&receipt)
    ));
    until_credited(stage, meter.index, before)?;
    let process = stage.gateway_id().unwrap_or_default();
    stage.kill_gateway()?;
    stage.teller.line(format!(
        "the meter has taken the token, its answer is held back: SIGKILL to process {process}"
    ));
    stage.restart_gateway()?;
    let process = stage.gateway_id().unwrap_or_default();
    stage.teller.line(format!("started again as process {process}"));
    let command = stage.verified(id)?;
    stage.show_steps(&command);
    let sent = sends(&command);
    insist(sent <= 1, || format!("the token was sent {sent} times"))?;
    let gained = stage.credited_wh(meter.index)? - before;
    let energy = receipt["energy_wh"].as_i64().unwrap_or_default();
    insist(gained == energy, || {
        format!("the simulated meter was credited {gained} Wh, paid were {energy} Wh")
    })?;
    let again = stage.client.pay(&meter.serial, AMOUNT_MINOR, &key)?;
    insist(again.replayed && again.body["token"] == receipt["token"], || {
        "the payment was forgotten over the kill".into()
    })?;
    stage.teller.verified(format!(
        "the restarted gateway asked the meter and finished the delivery; the simulator counts {gained} Wh once"
    ));
    Ok(())
}

/// Waits, looking closely, until the meter has taken the token: the answer is still to come then.
fn until_credited(stage: &Stage, index: u32, before: i64) -> Result<(), String> {
    let began = Instant::now();
    while stage.credited_wh(index)? == before {
        insist(began.elapsed() < REACHES_WITHIN, || "the token did not reach the meter".into())?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
