//! Tokens nobody paid for, from the request to the meter.

use super::*;
use crate::bench::{Bench, DRN, MODBUS, answer, payment, relay, sts, token_of};
use crate::session::work::{Ending, Facts};
use protocol::sts::meter::{Abilities, Effect, MeterTokenState, TokenResult, evaluate};
use protocol::sts::{
    BaseDate, Drn, KeyAttributes, KeyRevision, KeyType, MeterPan, SupplyGroup, TariffIndex, Tid,
};
use protocol::sts::{SAMPLE, VendingKey, derive};

fn by(actor: &str) -> Asking {
    Asking { actor: actor.into(), correlation: format!("c-{actor}") }
}

/// The firmware's judgement of tokens for the bench's meter.
fn meter() -> (MeterTokenState, Abilities<'static>) {
    let attributes = KeyAttributes {
        supply_group: SupplyGroup::try_from(123_457).unwrap(),
        tariff_index: TariffIndex::try_from(1).unwrap(),
        key_revision: KeyRevision::try_from(1).unwrap(),
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    };
    let pan = MeterPan::from_drn(&Drn::parse(DRN.as_bytes()).unwrap());
    let mut key = [0xab; 20];
    key[8..16].fill(0x94);
    key[16..].copy_from_slice(&[0x01, 0x23, 0x45, 0x67]);
    let key = VendingKey::from_bytes(&key).unwrap();
    let key = derive(&key, protocol::sts::EncryptionAlgorithm::Ea11, &pan, &attributes).unwrap();
    let state = MeterTokenState::new(pan, key, attributes.into(), Tid::from_minutes(1));
    (state, Abilities { tables: &SAMPLE, ..Abilities::electricity(1, 1_000_000, Some(20_000)) })
}

/// Takes the next job as the meter would.
async fn deliver(
    bench: &mut Bench,
    meter: &mut (MeterTokenState, Abilities<'static>),
) -> (TokenResult, Option<Effect>) {
    deliver_at(bench, meter, 0).await
}

/// The same at a time of the meter's clock, in milliseconds.
async fn deliver_at(
    bench: &mut Bench,
    meter: &mut (MeterTokenState, Abilities<'static>),
    at_ms: u64,
) -> (TokenResult, Option<Effect>) {
    let job = bench.job().await;
    let verdict = evaluate(&meter.0, &meter.1, token_of(&job.work).reveal().as_bytes(), at_ms);
    if let Some(effect) = &verdict.effect {
        meter.0.apply(effect);
        let token_status = Some((3, verdict.result.code()));
        answer(job, Ending::Done, Facts { token_status, ..relay(true) });
    } else {
        let reason = verdict.result.explanation().to_owned();
        answer(job, Ending::Rejected { reason, code: Some(verdict.result.code()) }, Facts::default());
    }
    (verdict.result, verdict.effect)
}

async fn settled(bench: &Bench, id: i64) -> Special {
    let mut commits = bench.store().commits();
    let wait = async {
        loop {
            let special = bench.store().special(id).await.unwrap().unwrap();
            if !matches!(special.state, SpecialState::Waiting | SpecialState::OnTheWay) {
                return special;
            }
            commits.changed().await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("an end within ten seconds")
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
    let vend = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap_err();
    assert!(vend.to_string().contains("key change of this meter is under way"));
    let twice = bench.vending.request_special(DRN, SpecialAction::ClearTamper, "x", by("anna")).await;
    assert!(matches!(twice, Err(SpecialError::KeyChangeOpen)));
    for expected in [TokenResult::FirstKct, TokenResult::SecondKct, TokenResult::SecondKct] {
        assert_eq!(deliver(&mut bench, &mut meter).await.0, expected);
        let (record, _) = bench.store().meter(DRN).await.unwrap().unwrap();
        assert_eq!(record.sts, Some(sts(DRN)), "the record changes with the last token");
    }
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Accept);
    assert_eq!(settled(&bench, asked.id).await.taken, 4);
    let (record, _) = bench.store().meter(DRN).await.unwrap().unwrap();
    assert_eq!(record.sts, Some(StsIdentity { ti: 7, ..sts(DRN) }));
    // And the next vend is made under the new key.
    bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Accept);
}

#[tokio::test]
async fn a_refused_key_change_stops_and_leaves_the_record_as_it_is() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    // The meter has another key than the record says.
    meter.0.key = protocol::sts::DecoderKey::from_bytes(&[1; 16]).unwrap();
    let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Crc);
    let refused = settled(&bench, asked.id).await;
    assert_eq!((refused.state, refused.taken), (SpecialState::Refused, 0));
    let (record, _) = bench.store().meter(DRN).await.unwrap().unwrap();
    assert_eq!(record.sts, Some(sts(DRN)));
    assert!(bench.line.try_recv().is_err(), "the other tokens are not sent");
    // Vending goes on.
    bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
}

/// A line that was down for a quarter of an hour in mid-set: the meter has forgotten the first part, takes the others, and keeps
/// its old key. Vending under the new one would have made every later token worthless.
#[tokio::test]
async fn a_key_change_of_which_the_meter_forgot_a_part_is_not_done() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    let asked = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::FirstKct);
    for _ in 0..3 {
        assert_eq!(deliver_at(&mut bench, &mut meter, 900_000).await.0, TokenResult::SecondKct);
    }
    assert_eq!(settled(&bench, asked.id).await.state, SpecialState::Refused);
    let (record, _) = bench.store().meter(DRN).await.unwrap().unwrap();
    assert_eq!(record.sts, Some(sts(DRN)), "the meter has its old key, and the record says so");
    // Asked for again, it is carried out.
    let again = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await.unwrap();
    for _ in 0..4 {
        deliver_at(&mut bench, &mut meter, 2_000_000).await;
    }
    assert_eq!(settled(&bench, again.id).await.state, SpecialState::Done);
}

#[tokio::test]
async fn a_key_change_waits_for_tokens_on_the_way() {
    let (mut bench, mut meter) = (Bench::new().await, meter());
    bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let early = bench.vending.request_special(DRN, ROLLOVER, "tariff change", by("anna")).await;
    assert!(matches!(early, Err(SpecialError::TokensOpen)));
    assert_eq!(deliver(&mut bench, &mut meter).await.0, TokenResult::Accept);
    let nothing =
        SpecialAction::KeyChange { sgc: None, ti: Some(1), krn: None, kt: None, ken: None, base_year: None };
    let nothing = bench.vending.request_special(DRN, nothing, "x", by("anna")).await;
    assert!(matches!(nothing, Err(SpecialError::NothingChanges)));
}
