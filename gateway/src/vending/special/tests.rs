//! Tokens nobody paid for, from the request to the meter.

use super::*;
use crate::bench::{Bench, DRN, MODBUS, TokenMeter, answer, payment, sts};
use crate::session::work::{Ending, Facts, Work};
use crate::store::alarm::{self, AlarmKind};
use crate::store::payment::PaymentState;
use protocol::sts::meter::{Effect, TokenResult};

/// The firmware's judgement of tokens for the bench's meter.
fn meter() -> TokenMeter {
    TokenMeter::of(&sts(DRN))
}

/// Takes the next job as the meter would.
async fn deliver(bench: &mut Bench, meter: &mut TokenMeter) -> (TokenResult, Option<Effect>) {
    meter.take(bench.job().await)
}

/// The same at a time of the meter's clock, in milliseconds.
async fn deliver_at(bench: &mut Bench, meter: &mut TokenMeter, at_ms: u64) -> TokenResult {
    meter.now_ms = at_ms;
    deliver(bench, meter).await.0
}

async fn settled(bench: &Bench, id: i64) -> Special {
    bench
        .until("an end", async |store| {
            let special = store.special(id).await.unwrap().unwrap();
            (!matches!(special.state, SpecialState::Waiting | SpecialState::OnTheWay)).then_some(special)
        })
        .await
}

fn by(actor: &str) -> Asking {
    Asking { actor: actor.into(), correlation: format!("c-{actor}") }
}

async fn record_of(bench: &Bench) -> StsIdentity {
    bench.store().meter(DRN).await.unwrap().unwrap().0.sts.unwrap()
}

#[tokio::test]
async fn free_issue_waits_for_a_second_person() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    let action = SpecialAction::FreeIssue { tenths_kwh: 100 };
    let asked = bench.vending.request_special(DRN, action, "goodwill", by("anna")).await.unwrap();
    assert_eq!((asked.state, asked.tokens), (SpecialState::Waiting, 0));
    let alone = bench.vending.approve_special(asked.id, by("anna")).await.unwrap_err();
    assert_eq!(alone.to_string(), "anna asked for it: a second person has to agree");
    assert!(bench.line.try_recv().is_err(), "nothing was sent");
    bench.vending.approve_special(asked.id, by("ben")).await.unwrap();
    let (result, effect) = deliver(&mut bench, &mut meter).await;
    assert_eq!(result, TokenResult::Accept);
    assert!(matches!(effect, Some(Effect::Credit { units: 100, .. })));
    let done = settled(&bench, asked.id).await;
    assert_eq!((done.state, done.taken, done.decided_by.as_deref()), (SpecialState::Done, 1, Some("ben")));
    let again = bench.vending.approve_special(asked.id, by("ben")).await.unwrap_err();
    assert!(matches!(again, SpecialError::NotWaiting(SpecialState::Done)));
    bench.assert_balanced().await;
}

#[tokio::test]
async fn what_is_declined_is_never_made() {
    let mut bench = Bench::new().await;
    let asked = bench
        .vending
        .request_special(DRN, SpecialAction::ClearCredit, "moved out", by("anna"))
        .await
        .unwrap();
    let declined = bench.vending.decline_special(asked.id, by("ben")).await.unwrap();
    assert_eq!((declined.state, declined.tokens), (SpecialState::Declined, 0));
    assert!(bench.vending.approve_special(asked.id, by("carl")).await.is_err());
    assert!(bench.line.try_recv().is_err());
}

#[tokio::test]
async fn engineering_tokens_need_a_reason_and_what_the_token_can_carry() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    let refused = |outcome: Result<Special, SpecialError>| outcome.unwrap_err().to_string();
    let vending = bench.vending.clone();
    let limit = |watts| SpecialAction::PowerLimit { watts };
    assert!(refused(vending.request_special(DRN, limit(5_000), "  ", by("anna")).await).contains("reason"));
    assert!(refused(vending.request_special(DRN, limit(16_385), "x", by("anna")).await).contains("16384"));
    assert!(
        refused(vending.request_special("1", limit(5_000), "x", by("anna")).await).contains("no meter 1")
    );
    assert!(
        refused(vending.request_special(MODBUS, limit(5_000), "x", by("anna")).await).contains("no tokens")
    );
    assert!(bench.store().specials(None, 10).await.unwrap().is_empty(), "a refusal leaves nothing behind");
    let asked = vending.request_special(DRN, limit(5_000), "small supply", by("anna")).await.unwrap();
    let (result, effect) = deliver(&mut bench, &mut meter).await;
    assert_eq!(result, TokenResult::Accept);
    assert!(matches!(effect, Some(Effect::MaximumPowerLimit { watts: 5_000, .. })));
    assert_eq!(settled(&bench, asked.id).await.state, SpecialState::Done);
    // A vend in the same minute takes the next identifier.
    vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Accept);
}

const ROLLOVER: SpecialAction =
    SpecialAction::KeyChange { sgc: None, ti: Some(7), krn: None, kt: None, ken: None, base_year: None };

#[tokio::test]
async fn a_key_change_is_pushed_in_order_and_the_record_follows_the_meter() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    assert_eq!((asked.state, asked.tokens), (SpecialState::OnTheWay, 4));
    let twice = bench.vending.request_special(DRN, ROLLOVER, "x", by("anna")).await;
    assert!(matches!(twice, Err(SpecialError::KeyChangeOpen)));
    for expected in [TokenResult::FirstKct, TokenResult::SecondKct, TokenResult::SecondKct] {
        assert_eq!(deliver(&mut bench, &mut meter).await.0, expected);
        assert_eq!(record_of(&bench).await, sts(DRN), "the record changes with the last token");
    }
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Accept);
    assert_eq!(settled(&bench, asked.id).await.taken, 4);
    assert_eq!(record_of(&bench).await, StsIdentity { ti: 7, ..sts(DRN) });
    // And the next vend is made under the new key.
    bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Accept);
}

#[tokio::test]
async fn a_refused_key_change_stops_leaves_the_record_as_it_is_and_is_tried_again_with_the_same_tokens() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    // The meter has another key than the record says.
    let right =
        std::mem::replace(&mut meter.state.key, protocol::sts::DecoderKey::from_bytes(&[1; 16]).unwrap());
    let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    let early = bench.vending.retry_special(asked.id, by("ben")).await.unwrap_err();
    assert!(early.to_string().contains("key_change and on_the_way"), "{early}");
    let first = bench.job().await;
    let digits = crate::bench::token_of(&first.work);
    assert_eq!(meter.take(first).0, TokenResult::Crc);
    let refused = settled(&bench, asked.id).await;
    assert_eq!((refused.state, refused.taken), (SpecialState::Refused, 0));
    assert!(refused.outcome.unwrap().contains("another key"));
    assert_eq!(record_of(&bench).await, sts(DRN));
    assert!(bench.line.try_recv().is_err(), "the other tokens are not sent");

    // The meter was mended. The same tokens are delivered again.
    meter.state.key = right;
    let again = bench.vending.retry_special(asked.id, by("ben")).await.unwrap();
    assert_eq!((again.state, again.rounds), (SpecialState::OnTheWay, 2));
    let first = bench.job().await;
    assert_eq!(crate::bench::token_of(&first.work), digits);
    assert_eq!(meter.take(first).0, TokenResult::FirstKct);
    for _ in 0..3 {
        deliver(&mut bench, &mut meter).await;
    }
    assert_eq!(settled(&bench, asked.id).await.state, SpecialState::Done);
    assert_eq!(record_of(&bench).await.ti, 7);
    // The other way round it is a new set: those tokens were made under a key that is gone.
    let stale = bench.vending.retry_special(asked.id, by("ben")).await.unwrap_err();
    assert!(matches!(stale, SpecialError::NotRefused { .. }));
}

#[tokio::test]
async fn tokens_made_under_a_key_that_is_gone_are_not_delivered_again() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    let reason = "not now".to_owned();
    answer(bench.job().await, Ending::Rejected { reason, code: Some(8) }, Facts::default());
    assert_eq!(settled(&bench, asked.id).await.state, SpecialState::Refused);
    let other =
        SpecialAction::KeyChange { sgc: None, ti: Some(9), krn: None, kt: None, ken: None, base_year: None };
    let other = bench.vending.request_special(DRN, other, "another", by("anna")).await.unwrap();
    assert!(matches!(
        bench.vending.retry_special(asked.id, by("ben")).await,
        Err(SpecialError::KeyChangeOpen)
    ));
    for _ in 0..4 {
        deliver(&mut bench, &mut meter).await;
    }
    assert_eq!(settled(&bench, other.id).await.state, SpecialState::Done);
    assert!(matches!(bench.vending.retry_special(asked.id, by("ben")).await, Err(SpecialError::Superseded)));
}

/// A line that was down for a quarter of an hour in mid-set: the meter has forgotten the first part, takes the others, and keeps
/// its old key. Vending under the new one would have made every later token worthless.
#[tokio::test]
async fn the_same_tokens_are_delivered_again_where_the_meter_forgot_a_part() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    assert_eq!(deliver_at(&mut bench, &mut meter, 1_000_000).await, TokenResult::FirstKct);
    for _ in 0..3 {
        assert_eq!(deliver_at(&mut bench, &mut meter, 2_000_000).await, TokenResult::SecondKct);
    }
    assert_eq!(record_of(&bench).await, sts(DRN), "the meter has its old key, and the record says so");
    // Round two begins with the first part. The meter holds the other three, so it has its new key at once; the remaining
    // tokens, under the old one, would be noise to it and are not sent.
    assert_eq!(deliver_at(&mut bench, &mut meter, 2_000_001).await, TokenResult::Accept);
    let done = settled(&bench, asked.id).await;
    assert_eq!((done.state, done.rounds), (SpecialState::Done, 2));
    assert!(bench.line.try_recv().is_err());
    assert_eq!(record_of(&bench).await.ti, 7);
}

#[tokio::test]
async fn a_meter_that_keeps_forgetting_is_given_up_after_three_rounds_and_may_be_tried_again() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    let mut now = 0;
    for _ in 0..12 {
        now += 700_000;
        assert_ne!(deliver_at(&mut bench, &mut meter, now).await, TokenResult::Accept);
    }
    let refused = settled(&bench, asked.id).await;
    assert_eq!((refused.state, refused.rounds), (SpecialState::Refused, 3));
    assert!(refused.outcome.unwrap().contains("in each of 3 rounds"));
    bench.vending.retry_special(asked.id, by("ben")).await.unwrap();
    // It still holds the last part of the round before, so the third completes the set.
    assert_eq!(deliver_at(&mut bench, &mut meter, now + 1).await, TokenResult::FirstKct);
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::SecondKct);
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Accept);
    assert_eq!(settled(&bench, asked.id).await.state, SpecialState::Done);
}

#[tokio::test]
async fn what_is_bought_before_the_last_part_is_made_under_the_old_key_and_arrives_before_it() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    bench.vending.top_up(payment(DRN, "k0", 1000)).await.unwrap();
    let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    assert_eq!(
        deliver(&mut bench, &mut meter).await.0,
        TokenResult::Accept,
        "what was bought before comes first"
    );
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::FirstKct);
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::SecondKct);
    // Bought while the third part is on its way: it is sent before the fourth, and that waits for its end.
    let third = bench.job().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    assert!(receipt.token.is_some());
    assert_eq!(meter.take(third).0, TokenResult::SecondKct);
    let bought = bench.job().await;
    assert_eq!(crate::bench::token_of(&bought.work), receipt.token.unwrap().1);
    assert!(bench.line.try_recv().is_err());
    assert_eq!(meter.take(bought).0, TokenResult::Accept);
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Accept, "the last part");
    assert_eq!(settled(&bench, asked.id).await.state, SpecialState::Done);
    bench.assert_balanced().await;
}

/// Nobody knows which key the meter has while the answer to the last part is missing: the money is taken, and the token made
/// under whichever key the meter turns out to have.
#[tokio::test]
async fn what_is_bought_during_the_last_part_gets_its_token_when_the_meter_has_answered() {
    for takes_it in [true, false] {
        let (mut bench, mut meter) = (Bench::new().await, meter());
        let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
        for _ in 0..3 {
            deliver(&mut bench, &mut meter).await;
        }
        let last = bench.job().await;
        let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
        assert_eq!((receipt.payment.state, receipt.token), (PaymentState::Recorded, None));
        // The same payment again changes nothing, and a gateway that starts again leaves it waiting too.
        let again = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
        assert!(again.replayed && again.token.is_none());
        assert_eq!(bench.vending.resume().await.unwrap(), 0);
        let engineering = SpecialAction::PhaseUnbalanceLimit { watts: 100 };
        let engineering = bench.vending.request_special(DRN, engineering, "x", by("anna")).await;
        assert!(matches!(engineering, Err(SpecialError::KeyChangeOpen)));
        if takes_it {
            assert_eq!(meter.take(last).0, TokenResult::Accept);
        } else {
            let reason = "refused".to_owned();
            answer(last, Ending::Rejected { reason, code: Some(7) }, Facts::default());
        }
        let job = bench.job().await;
        assert!(matches!(job.work, Work::DeliverToken(_)));
        let (result, effect) = meter.take(job);
        assert_eq!(result, TokenResult::Accept, "made under the key that the meter has");
        assert!(matches!(effect, Some(Effect::Credit { units: 333, .. })));
        let ended = if takes_it { SpecialState::Done } else { SpecialState::Refused };
        assert_eq!(settled(&bench, asked.id).await.state, ended);
        bench.assert_balanced().await;
    }
}

#[tokio::test]
async fn a_key_change_to_what_cannot_be_sold_under_is_refused() {
    let bench = Bench::new().await;
    let change =
        |krn, ken, base_year, ti| SpecialAction::KeyChange { sgc: None, ti, krn, kt: None, ken, base_year };
    let refused = async |action| {
        let outcome = bench.vending.request_special(DRN, action, "x", by("anna")).await;
        outcome.unwrap_err().to_string()
    };
    assert!(refused(change(None, None, None, Some(1))).await.contains("changes nothing"));
    assert!(refused(change(Some(2), None, None, None)).await.contains("import the key"));
    assert!(refused(change(None, Some(3), None, None)).await.contains("key has expired"));
    assert!(
        refused(change(None, None, Some(2035), None)).await.contains("cannot be counted from base year 2035")
    );
    assert!(bench.store().specials(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tamper_condition_is_cleared_when_somebody_else_has_looked_and_that_ends_the_alarm() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    let serial = Serial(DRN.into());
    bench
        .store()
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let at = Timestamp::now() - jiff::SignedDuration::from_hours(1);
                alarm::raise(conn, &serial, AlarmKind::Tamper, "Cover opened", at).await
            })
        })
        .await
        .unwrap();
    let clear =
        |case: &str, by: &str| SpecialAction::ClearTamper { case_id: case.into(), confirmed_by: by.into() };
    for (action, word) in [
        (clear("", "Bo"), "a suspicion"),
        (clear("T-7", " "), "a suspicion"),
        (clear("T-7", "Anna"), "another"),
    ] {
        let refused = bench.vending.request_special(DRN, action, "sealed anew", by("anna")).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
    }
    let asked =
        bench.vending.request_special(DRN, clear("T-7", "Bo"), "sealed anew", by("anna")).await.unwrap();
    let job = bench.job().await;
    assert!(matches!(job.work, Work::ClearTamper(_)), "its evidence is read first: {:?}", job.work);
    assert_eq!(meter.take(job).0, TokenResult::Accept);
    assert_eq!(settled(&bench, asked.id).await.state, SpecialState::Done);
    let id = bench.store().command_of_special(asked.id).await.unwrap().unwrap();
    let (command, _) = bench.store().command(id).await.unwrap().unwrap();
    let found = command.request.breach.unwrap();
    assert_eq!((found.case_id.as_str(), found.confirmed_by.as_str()), ("T-7", "Bo"));
    let alarms = bench.store().alarms(Some(DRN), false, 10).await.unwrap();
    assert_eq!(alarms[0].closed_by.as_deref(), Some("Bo"));
    let closing = alarms[0].closing.clone().unwrap();
    assert!(closing.starts_with("case T-7: sealed anew; cleared by command"), "{closing}");
}
