use super::insist;
use crate::demo::gateway::AREA;
use crate::demo::stage::{COMMAND_WITHIN, Stage, wait};
use serde_json::Value;

/// Hundredths of a percent that the loss may be off from what the simulated feeder loses: readings of a slow line are not
/// taken at the instant the feeder is read, and at this speed minutes pass meanwhile.
const LOSS_OFF: i64 = 1_000;

/// Reads everything, shows feeder, sum and loss of the area, and that every cent paid is somewhere.
///
/// # Errors
/// What was not as it should be.
pub fn account_for_energy_and_money(stage: &mut Stage) -> Result<(), String> {
    let count = stage.read_all()?;
    stage.teller.line(format!("{count} meters read"));
    energy(stage)?;
    money(stage)
}

fn energy(stage: &Stage) -> Result<(), String> {
    let from = stage.commissioned_at.map(|at| format!("?from={at}")).unwrap_or_default();
    let area = stage.client.get(&format!("/areas/{AREA}/energy{from}"))?;
    let of = |key: &str| area[key].as_i64().unwrap_or_default();
    let (feeder, meters, loss) = (of("feeder_wh"), of("meters_wh"), of("loss_wh"));
    let missing = area["missing"].as_array().map_or(0, Vec::len);
    insist(missing == 0, || format!("{missing} meters have no two readings: {}", area["missing"]))?;
    let sum: i64 = customers(&area).filter_map(|meter| meter["energy_wh"].as_i64()).sum();
    insist(sum == meters && feeder - meters == loss, || format!("the sums do not hold: {area}"))?;
    let share = area["loss_per_10000"].as_i64().unwrap_or(i64::MAX);
    // The simulated feeder measures what the meters take and some permille more; a loss is stated as a part of the feeder.
    let permille = i64::from(stage.street.config().loss_permille);
    let simulated = permille * 10_000 / (1_000 + permille);
    insist((share - simulated).abs() <= LOSS_OFF, || {
        format!("the loss is {share} hundredths of a percent of {feeder} Wh, simulated are {simulated}")
    })?;
    stage.teller.verified(format!(
        "area {AREA}: feeder {feeder} Wh, sum of {} meters {meters} Wh, loss {loss} Wh ({}.{:02} %)",
        customers(&area).count(),
        share / 100,
        (share % 100).abs()
    ));
    Ok(())
}

fn customers(area: &Value) -> impl Iterator<Item = &Value> {
    area["meters"].as_array().into_iter().flatten().filter(|meter| meter["role"] == "customer")
}

fn money(stage: &Stage) -> Result<(), String> {
    let settled = wait("every payment to be settled", COMMAND_WITHIN, || {
        let money = stage.client.get("/accounts/balance")?;
        Ok((money["on_the_way"] == 0).then_some(money))
    })?;
    let of = |key: &str| settled[key].as_i64().unwrap_or_default();
    let (received, accepted, way, change, refused) =
        (of("received"), of("accepted"), of("on_the_way"), of("change_held"), of("refused"));
    insist(settled["balanced"] == true, || format!("the ledger does not balance: {settled}"))?;
    insist(received == stage.paid_minor, || {
        format!("received {received} cents, paid were {}", stage.paid_minor)
    })?;
    insist(received == accepted + way + change + refused, || {
        format!("the identity does not hold: {settled}")
    })?;
    insist(refused == 0, || format!("{refused} cents were refused"))?;
    let (sold, taken) = (sold_wh(stage)?, stage.taken_wh() - stage.taken_before_wh);
    insist(sold == taken, || format!("{sold} Wh were sold to meters with tokens, they took {taken} Wh"))?;
    stage.teller.verified(format!(
        "money received {received} = accepted {accepted} + on the way {way} + change held {change} + refused {refused} cents; \
         {sold} Wh sold by token, {taken} Wh taken by the simulator's count"
    ));
    Ok(())
}

/// Energy of all payments that became tokens.
fn sold_wh(stage: &Stage) -> Result<i64, String> {
    let payments = stage.client.get("/top-ups?limit=1000")?;
    let serials: Vec<&str> = (1..=stage.street.config().meters + stage.street.config().line_meters)
        .filter_map(|index| stage.street.roll().iter().find(|entry| entry.index == index))
        .map(|entry| entry.serial.as_str())
        .collect();
    let to_tokens = payments
        .as_array()
        .into_iter()
        .flatten()
        .filter(|payment| payment["serial"].as_str().is_some_and(|serial| serials.contains(&serial)));
    Ok(to_tokens.filter_map(|payment| payment["energy_wh"].as_i64()).sum())
}
