//! What follows from facts, whoever asked for them: they are stored, and a gateway-held balance is charged.

use crate::guards::Rules;
use crate::session::work::{Ending, Facts, Report};
use crate::store::meter::{BalanceHolder, Meter};
use crate::store::{Connection, StoreError, command, observation};
use crate::vending::held;
use protocol::cosem::disconnect::RelayReason;

/// Stores what a report brought, in the write of whoever asked for it.
///
/// # Errors
/// Store failures.
pub async fn observe(
    conn: &mut Connection,
    meter: &Meter,
    report: &Report,
    correlation: &str,
    rules: &Rules,
) -> Result<(), StoreError> {
    let serial = &meter.serial;
    let problem = match &report.ending {
        Ending::NotSent { reason } | Ending::Unknown { reason } => Some(reason.as_str()),
        Ending::Done | Ending::Rejected { .. } => None,
    };
    observation::tried(conn, serial, problem, report.ended).await?;
    // Readings of a meter that turns out to be another one belong to nobody.
    if report.facts.serial.as_deref().is_some_and(|found| found != serial.0) {
        return Ok(());
    }
    let facts = with_reason(conn, meter, &report.facts).await?;
    observation::apply(conn, serial, &facts, report.ended).await?;
    if meter.balance == BalanceHolder::Gateway {
        held::charge_reading(conn, serial, report.ended, correlation, rules).await?;
    }
    Ok(())
}

/// Every open relay has a reason (N02). A meter that cannot say one, or knows no more than that it was told to from outside,
/// was opened by us: then it is our command's.
async fn with_reason(conn: &mut Connection, meter: &Meter, facts: &Facts) -> Result<Facts, StoreError> {
    let mut facts = facts.clone();
    let open = facts.relay.is_some_and(|relay| !relay.output_closed);
    let said = facts.relay_reason.as_deref();
    if open
        && said.is_none_or(|said| said == RelayReason::Remote.text())
        && let Some(reason) = command::standing_disconnect(conn, &meter.serial).await?
    {
        facts.relay_reason = Some(reason.as_str().replace('_', " "));
    }
    Ok(facts)
}
