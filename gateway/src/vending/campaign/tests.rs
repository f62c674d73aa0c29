//! Campaigns over meters that judge their tokens as the firmware does.

use super::*;
use crate::bench::{Bench, DRN, MODBUS, TokenMeter, answer, payment, sts};
use crate::session::work::{Ending, Facts, Job};
use crate::store::campaign::{CampaignMeter, MeterProgress};
use crate::store::meter;
use crate::store::tests::{add, meter as row};
use crate::vault::StsIdentity;
use protocol::sts::meter::TokenResult;
use protocol::sts::{BaseDate, Drn};
use std::collections::BTreeMap;

/// Counted from 1993, whose token ids are used up: nothing can be sold to these meters.
const OLD: [u32; 3] = [101, 102, 103];

fn drn(number: u32) -> String {
    Drn::from_parts(1, number).unwrap().as_str().to_owned()
}

fn old(number: u32) -> StsIdentity {
    StsIdentity { base_year: 1993, ..sts(&drn(number)) }
}

/// A substation on the day that it rolls over: three meters of 1993, and others that do not take part.
async fn substation() -> (Bench, BTreeMap<String, TokenMeter>) {
    let bench = Bench::new().await;
    let mut meters = BTreeMap::from([(DRN.to_owned(), TokenMeter::of(&sts(DRN)))]);
    for number in OLD {
        let serial = drn(number);
        let entry = Meter { sts: Some(old(number)), ..row(&serial, &serial) };
        add(bench.store(), entry).await.unwrap();
        meters.insert(serial, TokenMeter::of(&old(number)));
    }
    let keyless = Meter { sts: Some(StsIdentity { sgc: 99, ..old(104) }), ..row(&drn(104), "104") };
    let check = Meter { balance: BalanceHolder::None, ..row("CHECK-1", "105") };
    for entry in [keyless, check] {
        add(bench.store(), entry).await.unwrap();
    }
    (bench, meters)
}

fn rollover() -> CampaignRequest {
    CampaignRequest {
        action: SpecialAction::KeyChange {
            sgc: None,
            ti: None,
            krn: None,
            kt: None,
            ken: None,
            base_year: Some(2014),
        },
        selection: Selection::default(),
        reason: "base date 2014".into(),
        sets_max: 8,
        expected: None,
    }
}

fn anna() -> Asking {
    Asking { actor: "anna".into(), correlation: "c-1".into() }
}

fn take(meters: &mut BTreeMap<String, TokenMeter>, job: Job) -> TokenResult {
    meters.get_mut(&job.meter.0).unwrap().take(job).0
}

async fn progress(bench: &Bench, id: i64) -> BTreeMap<String, CampaignMeter> {
    let meters = bench.store().campaign_meters(id, "", 100).await.unwrap();
    meters.into_iter().map(|meter| (meter.serial.0.clone(), meter)).collect()
}

/// Every step is a commit, and a machine with other work takes its time for each.
const STEP_WITHIN: std::time::Duration = std::time::Duration::from_secs(180);

/// The next job of the line, or `None` when the campaign has ended.
async fn job_of(bench: &mut Bench, id: i64) -> Option<Job> {
    let store = bench.store().clone();
    let ended = async {
        let mut commits = store.commits();
        while store.campaign(id).await.unwrap().unwrap().state != CampaignState::Done {
            commits.changed().await.unwrap();
        }
    };
    tokio::select! {
        biased;
        job = bench.line.recv() => job.map(|job| *job),
        () = ended => None,
        () = tokio::time::sleep(STEP_WITHIN) => panic!("nothing happens any more"),
    }
}

#[tokio::test]
async fn a_preview_says_who_takes_part_and_why_others_do_not() {
    let (bench, _) = substation().await;
    let request = rollover();
    let preview = bench.vending.preview_campaign(&request.action, &request.selection).await.unwrap();
    assert_eq!(preview.included, OLD.map(drn));
    let why = |serial: &str| {
        let excluded = preview.excluded.iter().find(|meter| meter.serial == serial).unwrap();
        excluded.why.as_str()
    };
    assert_eq!(why(DRN), "it is there already");
    assert_eq!(why(MODBUS), "its balance is held by the gateway: it takes no tokens");
    assert_eq!(why("CHECK-1"), "it takes no STS tokens");
    assert!(
        why(&drn(104)).starts_with("no key: no vending key for supply group 000099"),
        "{}",
        why(&drn(104))
    );
    assert_eq!(preview.excluded.len(), 4);

    let one = Selection { serials: vec![drn(101)], ..Selection::default() };
    let one = bench.vending.preview_campaign(&request.action, &one).await.unwrap();
    assert_eq!((one.included, one.excluded.len()), (vec![drn(101)], 0));
    for nobody in [
        Selection { area: Some("T9".into()), ..Selection::default() },
        Selection { line: Some("bus".into()), ..Selection::default() },
    ] {
        let preview = bench.vending.preview_campaign(&request.action, &nobody).await.unwrap();
        assert_eq!(preview, Preview::default());
    }
    for others in [
        Selection { ti: Some(5), ..Selection::default() },
        Selection { krn: Some(5), ..Selection::default() },
        Selection { sgc: Some(5), ..Selection::default() },
        Selection { base_year: Some(2035), ..Selection::default() },
    ] {
        let preview = bench.vending.preview_campaign(&request.action, &others).await.unwrap();
        assert!(preview.included.is_empty());
        assert_eq!(preview.excluded.len(), 2, "what has no key is still said to be left out");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_not_started() {
    let (bench, _) = substation().await;
    let refused = async |request: CampaignRequest| {
        let outcome = bench.vending.start_campaign(request, anna()).await;
        outcome.unwrap_err().to_string()
    };
    assert!(refused(CampaignRequest { reason: " ".into(), ..rollover() }).await.contains("a reason"));
    assert!(refused(CampaignRequest { sets_max: 0, ..rollover() }).await.contains("sets_max 0"));
    assert!(refused(CampaignRequest { sets_max: 257, ..rollover() }).await.contains("sets_max 257"));
    assert!(
        refused(CampaignRequest { expected: Some(4), ..rollover() })
            .await
            .contains("3 meters would take part, not 4")
    );
    let other = CampaignRequest { action: SpecialAction::ClearCredit, ..rollover() };
    assert_eq!(refused(other).await, "a campaign is a key change");
    let nobody = Selection { serials: vec![DRN.into()], ..Selection::default() };
    assert!(
        refused(CampaignRequest { selection: nobody, ..rollover() })
            .await
            .contains("no meter would take part")
    );
    let unknown = Selection { serials: vec!["7".into()], ..Selection::default() };
    assert_eq!(refused(CampaignRequest { selection: unknown, ..rollover() }).await, "there is no meter 7");
    assert!(bench.store().campaigns(CampaignKind::KeyChange, None, 10).await.unwrap().is_empty());
}

/// Three meters whose token ids are used up: one answers, one is silent at first, one forgets a part. The gateway is killed
/// in between. In the end each takes a token that counts from the new base date.
#[tokio::test]
async fn a_rollover_reaches_every_meter_over_silence_forgetting_and_a_kill() {
    let (mut bench, mut meters) = substation().await;
    let [quick, silent, forgetful] = OLD.map(drn);
    let unsold = bench.vending.top_up(payment(&quick, "k0", 1000)).await.unwrap_err();
    assert!(unsold.to_string().contains("a key change to the next base date"), "{unsold}");
    let campaign = bench.vending.start_campaign(rollover(), anna()).await.unwrap();
    let mut steps = 0;
    while let Some(job) = job_of(&mut bench, campaign.id).await {
        steps += 1;
        assert!(steps < 60, "{:#?}", progress(&bench, campaign.id).await);
        if job.meter.0 == silent && steps < 14 {
            answer(job, Ending::NotSent { reason: "no answer".into() }, Facts::default());
        } else {
            let meter = meters.get_mut(&job.meter.0).unwrap();
            if job.meter.0 == forgetful
                && meter.state.pending.held(meter.now_ms) == 2
                && meter.now_ms == 1_000_000
            {
                // The line was down: more than ten minutes pass in mid-set, once.
                meter.now_ms += 700_000;
            }
            meter.take(job);
        }
        if steps == 6 {
            bench.kill().await;
            let state = bench.store().campaign(campaign.id).await.unwrap().unwrap().state;
            assert_eq!(state, CampaignState::Running);
            bench.start();
        }
    }
    let seen = progress(&bench, campaign.id).await;
    assert_eq!(seen[DRN].progress, MeterProgress::Excluded);
    assert_eq!(seen[&forgetful].rounds, 2, "{:?}", seen[&forgetful]);
    for serial in OLD.map(drn) {
        let meter = &meters[&serial].state;
        assert_eq!(meter.attributes.base_date, BaseDate::Year2014);
        let record = bench.store().meter(&serial).await.unwrap().unwrap().0.sts.unwrap();
        assert_eq!(record.base_year, 2014);
        let receipt = bench.vending.top_up(payment(&serial, &format!("after-{serial}"), 1000)).await.unwrap();
        let tid = receipt.token.unwrap().0.tid;
        let since_2014 = (Timestamp::now().as_second() - BaseDate::Year2014.unix_seconds()) / 60;
        assert!(since_2014.abs_diff(i64::from(tid)) <= 2, "{tid}");
        let job = bench.job().await;
        assert_eq!(take(&mut meters, job), TokenResult::Accept);
    }
    bench.assert_balanced().await;
}

#[tokio::test]
async fn a_campaign_has_no_more_sets_on_the_way_than_it_may_and_stops_when_told() {
    let (mut bench, mut meters) = substation().await;
    let campaign =
        bench.vending.start_campaign(CampaignRequest { sets_max: 1, ..rollover() }, anna()).await.unwrap();
    let first = bench.job().await;
    let serial = first.meter.0.clone();
    let seen = progress(&bench, campaign.id).await;
    let count = |progress| seen.values().filter(|meter| meter.progress == progress).count();
    assert_eq!((count(MeterProgress::OnTheWay), count(MeterProgress::Waiting)), (1, 2));
    let verb = async |verb| bench.vending.change_campaign(campaign.id, verb, anna()).await;
    assert_eq!(verb(Verb::Pause).await.unwrap().state, CampaignState::Paused);
    let twice = verb(Verb::Pause).await.unwrap_err().to_string();
    assert_eq!(twice, format!("campaign {} is paused", campaign.id));
    // The set on the way goes on to its end, and no other begins.
    take(&mut meters, first);
    for _ in 0..3 {
        let job = bench.job().await;
        assert_eq!(job.meter.0, serial);
        take(&mut meters, job);
    }
    bench
        .until("the first set's end", async |store| {
            let meters = store.campaign_meters(campaign.id, "", 10).await.unwrap();
            meters.iter().any(|meter| meter.progress == MeterProgress::Done).then_some(())
        })
        .await;
    let idle = tokio::time::timeout(std::time::Duration::from_millis(600), bench.line.recv()).await;
    assert!(idle.is_err(), "nothing is sent during a pause");
    let verb = async |verb| bench.vending.change_campaign(campaign.id, verb, anna()).await;
    verb(Verb::Resume).await.unwrap();
    let second = bench.job().await;
    assert_ne!(second.meter.0, serial);
    let verb = async |verb| bench.vending.change_campaign(campaign.id, verb, anna()).await;
    verb(Verb::Stop).await.unwrap();
    assert!(verb(Verb::Resume).await.is_err());
    let seen = progress(&bench, campaign.id).await;
    let count = |progress| seen.values().filter(|meter| meter.progress == progress).count();
    assert_eq!(
        (count(MeterProgress::Done), count(MeterProgress::OnTheWay), count(MeterProgress::Stopped)),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn a_meter_that_refused_is_tried_again_with_the_same_tokens_or_new_ones() {
    let (mut bench, mut meters) = substation().await;
    let [first, second, third] = OLD.map(drn);
    let campaign = bench.vending.start_campaign(rollover(), anna()).await.unwrap();
    while let Some(job) = job_of(&mut bench, campaign.id).await {
        if job.meter.0 == third {
            take(&mut meters, job);
        } else {
            let reason = "the meter does not have the function the token asks for".to_owned();
            answer(job, Ending::Rejected { reason, code: Some(8) }, Facts::default());
        }
    }
    let seen = progress(&bench, campaign.id).await;
    assert!(seen[&first].outcome.as_deref().unwrap().contains("does not have the function"));
    let before = seen[&second].special_id;
    // One meter's tariff index was changed by hand meanwhile: its tokens are worthless now.
    let record = StsIdentity { ti: 2, ..old(102) };
    meters.insert(second.clone(), TokenMeter::of(&record));
    let serial = Serial(second.clone());
    bench
        .store()
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { meter::set_sts(conn, &serial, &record).await })
        })
        .await
        .unwrap();
    bench.vending.change_campaign(campaign.id, Verb::Retry, anna()).await.unwrap();
    while let Some(job) = job_of(&mut bench, campaign.id).await {
        take(&mut meters, job);
    }
    let seen = progress(&bench, campaign.id).await;
    for serial in OLD.map(drn) {
        assert_eq!(seen[&serial].progress, MeterProgress::Done);
        assert_eq!(meters[&serial].state.attributes.base_date, BaseDate::Year2014);
    }
    assert_eq!((seen[&first].rounds, seen[&second].rounds), (2, 1));
    assert_ne!(seen[&second].special_id, before, "a new set, recorded as such");
}

/// A tariff change, and a move to another supply group with its own key revision and base date, one campaign after the other.
#[tokio::test]
async fn tariff_index_supply_group_and_key_revision_change_and_tokens_of_the_new_key_are_taken() {
    let (mut bench, mut meters) = substation().await;
    let change = |sgc, ti, krn, base_year| SpecialAction::KeyChange {
        sgc,
        ti,
        krn,
        kt: None,
        ken: Some(250),
        base_year,
    };
    let start = StsIdentity { ken: 250, ..sts(DRN) };
    for (action, record) in [
        (change(None, Some(42), None, None), StsIdentity { ti: 42, ..start.clone() }),
        (
            change(Some(201_457), None, Some(2), None),
            StsIdentity { ti: 42, sgc: 201_457, krn: 2, ..start.clone() },
        ),
    ] {
        let selection = Selection { serials: vec![DRN.into()], ..Selection::default() };
        let request = CampaignRequest { action, selection, ..rollover() };
        let campaign = bench.vending.start_campaign(request, anna()).await.unwrap();
        while let Some(job) = job_of(&mut bench, campaign.id).await {
            take(&mut meters, job);
        }
        assert_eq!(bench.store().meter(DRN).await.unwrap().unwrap().0.sts, Some(record.clone()));
        let meter = &meters[DRN].state.attributes;
        assert_eq!(meter.supply_group.unwrap().get(), record.sgc);
        assert_eq!(
            (meter.tariff_index.get(), meter.key_revision.get(), meter.expiry),
            (record.ti, record.krn, 250)
        );
        bench.vending.top_up(payment(DRN, &format!("k{}", record.sgc), 1000)).await.unwrap();
        let job = bench.job().await;
        assert_eq!(take(&mut meters, job), TokenResult::Accept);
    }
}
