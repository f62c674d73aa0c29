use super::insist;
use crate::demo::stage::Stage;
use std::time::Duration;

/// How long energy is watched to see that it stands still.
const WATCHED: Duration = Duration::from_millis(1_500);

/// Disconnects a meter with a reason, sees that energy stops, and reconnects it. Without a reason it is refused, and for arrears
/// of which nothing is on record.
///
/// # Errors
/// What was not as it should be.
pub fn disconnect_and_reconnect(stage: &mut Stage) -> Result<(), String> {
    let meter = stage.cast.works_site.clone();
    let refused = stage.client.command_answer(&meter.serial, "disconnect", None)?;
    insist(refused.status == 422, || {
        format!("a disconnect without a reason was answered {}", refused.problem())
    })?;
    insist(stage.contact_closed(meter.index), || "the refused disconnect opened the relay".into())?;
    stage.teller.line(format!("without a reason: refused, {}", refused.problem()));
    let refused = stage.client.command_answer(&meter.serial, "disconnect", Some("arrears"))?;
    insist(refused.status == 422 && stage.contact_closed(meter.index), || {
        format!("a disconnect for arrears without demands was answered {}", refused.problem())
    })?;
    stage.teller.line(format!("for arrears: refused, {}", refused.problem()));
    let off = stage.carry_out(&meter.serial, "disconnect", Some("fault"))?;
    stage.show_steps(&off);
    insist(!stage.contact_closed(meter.index), || "the simulated contact is still closed".into())?;
    let first = stage.read(&meter.serial)?;
    std::thread::sleep(WATCHED);
    let second = stage.read(&meter.serial)?;
    insist(second["relay"]["output_closed"] == false, || {
        format!("the gateway shows the relay {}", second["relay"])
    })?;
    insist(second["reading"]["power_w"] == 0, || format!("{} W still flow", second["reading"]["power_w"]))?;
    let (before, after) = (&first["reading"]["import_wh"], &second["reading"]["import_wh"]);
    insist(before == after && !before.is_null(), || format!("energy went on from {before} to {after} Wh"))?;
    stage.teller.verified(format!(
        "disconnected, reason \"fault\": contact sensed open, 0 W, energy stands at {after} Wh; the simulated contact is open"
    ));
    let on = stage.carry_out(&meter.serial, "reconnect", None)?;
    stage.show_steps(&on);
    let shown = stage.read(&meter.serial)?;
    insist(shown["relay"]["output_closed"] == true, || {
        format!("the gateway shows the relay {}", shown["relay"])
    })?;
    insist(stage.contact_closed(meter.index), || "the simulated contact is still open".into())?;
    stage.teller.verified("reconnected: contact sensed closed, and closed in the simulator");
    Ok(())
}
