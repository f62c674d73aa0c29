use super::insist;
use crate::demo::cast;
use crate::demo::stage::{Stage, wait};
use serde_json::Value;
use std::time::Duration;

/// How long all meters may take: eight on a 9,600-baud line one after the other are the slowest.
const ALL_WITHIN: Duration = Duration::from_secs(90);
/// How far a clock may be off, in simulated seconds: one for reading it whole, and what passes while the answer travels
/// (half a second on a slow line, times the speed).
const CLOCK_S: i64 = 3;

/// Imports every meter from CSV and waits until each is commissioned: association with HLS-GMAC, identity and prepayment
/// mode read back, clock set, relay sensed.
///
/// # Errors
/// What was not as it should be.
pub fn commission_the_meters(stage: &mut Stage) -> Result<(), String> {
    let csv = cast::csv(&stage.street);
    let rows = csv.lines().count() - 1;
    let imported = stage.client.post("/meters/import", "text/csv", &csv)?.ok()?;
    insist(imported["bad"].as_array().is_some_and(Vec::is_empty), || {
        format!("bad rows: {}", imported["bad"])
    })?;
    let entered = imported["entered"].as_array().ok_or("the import says nothing about its rows")?.clone();
    insist(entered.len() == rows, || format!("{} of {rows} rows were entered", entered.len()))?;
    stage.teller.line(format!("{rows} meters imported, each with a command to commission it"));
    wait("all meters to be commissioned", ALL_WITHIN, || {
        let open = stage.meters()?.iter().filter(|meter| meter["commissioned_at"].is_null()).count();
        Ok((open == 0).then_some(()))
    })
    .map_err(|why| format!("{why}; {}", problems(stage)))?;
    show_one(stage, &entered)?;
    let prepaid = check_all(stage)?;
    stage.commissioned_at = now_of(stage)?;
    // A first reading of everything: what the area's energy is counted from.
    let count = stage.read_all()?;
    stage.teller.line(format!("{count} meters read"));
    stage.teller.verified(format!(
        "{rows} meters: identity and relay of each, prepayment mode and clock of {prepaid} read back and as simulated"
    ));
    Ok(())
}

/// The gateway's own clock, as it stamps what it records.
fn now_of(stage: &Stage) -> Result<Option<jiff::Timestamp>, String> {
    let times = stage.meters()?;
    let latest = times.iter().filter_map(|meter| meter["commissioned_at"].as_str()?.parse().ok()).max();
    Ok(latest)
}

/// Shows how the spender's meter was commissioned.
fn show_one(stage: &Stage, entered: &[Value]) -> Result<(), String> {
    let serial = stage.cast.spender.serial.as_str();
    let row = entered.iter().find(|row| row["serial"] == serial).ok_or("the first meter was not entered")?;
    let command = stage.verified(row["command_id"].as_i64().unwrap_or_default())?;
    stage.teller.line(format!("meter {serial}:"));
    stage.show_steps(&command);
    Ok(())
}

/// Compares what the gateway read with the street; gives the number of meters that hold their own balance.
fn check_all(stage: &Stage) -> Result<usize, String> {
    let tolerance = CLOCK_S + i64::from(stage.speed());
    let mut prepaid = 0;
    for meter in stage.meters()? {
        let serial = meter["serial"].as_str().unwrap_or_default();
        if meter["role"] == "feeder" {
            continue;
        }
        insist(!meter["relay"].is_null(), || format!("the relay of meter {serial} was not sensed"))?;
        if meter["balance"]["holder"] != "meter" {
            continue;
        }
        prepaid += 1;
        insist(meter["prepaid"] == true, || format!("meter {serial} was not read back as prepaid"))?;
        let offset = meter["clock_offset_s"].as_i64();
        insist(offset.is_some_and(|offset| offset.abs() <= tolerance), || {
            format!("the clock of meter {serial} is off by {offset:?} s, {tolerance} s are allowed")
        })?;
    }
    Ok(prepaid)
}

/// Which meters are not commissioned yet, and why.
fn problems(stage: &Stage) -> String {
    let meters = stage.meters().unwrap_or_default();
    let open = meters.iter().filter(|meter| meter["commissioned_at"].is_null());
    let text: Vec<String> =
        open.take(3).map(|meter| format!("{}: {}", meter["serial"], meter["problem"])).collect();
    text.join("; ")
}
