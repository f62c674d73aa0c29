//! What follows from facts, whoever asked for them: they are judged and stored, and a gateway-held balance is charged.

use super::audit;
use crate::guards::Rules;
use crate::reading::plausibility::{self, DoubtKind, Thresholds};
use crate::session::work::{Ending, Facts, Report};
use crate::store::meter::{self as store_meter, BalanceHolder, Meter};
use crate::store::{Connection, StoreError, command, counter, doubt, observation};
use crate::vending::held;
use protocol::cosem::disconnect::RelayReason;

/// Stores what a report brought, in the write of whoever asked for it, and judges it; `refused` is a disconnection that the meter
/// did not carry out.
///
/// # Errors
/// Store failures.
pub async fn observe(
    conn: &mut Connection,
    meter: &Meter,
    report: &Report,
    correlation: &str,
    rules: &Rules,
    thresholds: &Thresholds,
    refused: Option<&str>,
) -> Result<(), StoreError> {
    let serial = &meter.serial;
    if let Some(heard) = &report.heard {
        counter::keep(conn, serial, heard);
    }
    let problem = match &report.ending {
        Ending::NotSent { reason } | Ending::Unknown { reason } => Some(reason.as_str()),
        Ending::Done | Ending::Rejected { .. } => None,
    };
    observation::tried(conn, serial, problem, report.ended).await?;
    // Most reports of a day: nothing in them is compared with anything, and rows are kept by whoever asked for them.
    if report.ending == Ending::Done && report.facts.are_rows_alone() {
        return Ok(());
    }
    let mut facts = with_reason(conn, meter, &report.facts).await?;
    let known = observation::known(conn, meter).await?;
    match plausibility::judge(&known, &facts, report.ended, thresholds) {
        Some(doubt) => {
            let id = doubt::hold(conn, serial, &doubt, 1, &facts, report.ended).await?;
            // Readings of a meter that turns out to be another one belong to nobody.
            if doubt.kind == DoubtKind::OtherMeter {
                return Ok(());
            }
            observation::hold(conn, serial, &facts, id, report.ended).await?;
            (facts.import_wh, facts.power_w, facts.ratios) = (None, None, None);
        }
        None if facts.import_wh.is_some() => doubt::pass(conn, serial, report.ended).await?,
        None => {}
    }
    let before = store_meter::state(conn, &serial.0).await?;
    observation::apply(conn, serial, &facts, report.ended).await?;
    audit::look(conn, meter, &before, &facts, refused, (report.started, report.ended)).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::counters::Counters;
    use crate::session::work::{Heard, Serial};
    use crate::store::tests::{add, fresh, meter};
    use crate::vault::KeyMark;
    use jiff::Timestamp;

    #[tokio::test]
    async fn the_counter_of_an_answer_is_kept_with_what_it_said_or_not_at_all() {
        let fresh = fresh().await;
        let meter = meter("01000000016", "127.1.0.1:4059");
        add(&fresh.store, meter.clone()).await.unwrap();
        let keys = KeyMark(*b"keymark1");
        for (counter, fails, kept) in [(77, true, None), (78, false, Some(78)), (90, true, Some(78))] {
            let meter = meter.clone();
            let stored = fresh.store.write::<(), StoreError, _>(move |conn| {
                Box::pin(async move {
                    let report = Report {
                        ending: Ending::Done,
                        facts: Facts { import_wh: Some(5), ..Facts::default() },
                        heard: Some(Heard { keys, counter }),
                        started: Timestamp::UNIX_EPOCH,
                        ended: Timestamp::UNIX_EPOCH,
                        evidence: Vec::new(),
                    };
                    let (rules, thresholds) = (Rules::default(), Thresholds::default());
                    observe(conn, &meter, &report, "c", &rules, &thresholds, None).await?;
                    if fails { Err(StoreError::Corrupt("after the facts".into())) } else { Ok(()) }
                })
            });
            assert_eq!(stored.await.is_err(), fails);
            let heard = fresh.store.heard(&Serial("01000000016".into()), keys).await.unwrap();
            assert_eq!(heard, kept, "after {counter}");
            let readings = fresh.store.readings("01000000016", 9).await.unwrap().len();
            assert_eq!(readings, usize::from(kept.is_some()));
        }
    }
}
