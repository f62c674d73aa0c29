//! Bulk commands over a line that the test answers for, with a real engine beside it.

use super::*;
use crate::bench::{Bench, DRN, MODBUS, answer, relay};
use crate::session::order::Order;
use crate::session::work::{Ending, Facts, Job, Work};
use crate::store::campaign::{CampaignMeter, MeterProgress};
use crate::store::command::CommandState;
use crate::store::meter::{LoadRecord, Meter};
use crate::store::notice::{self, Protection};
use crate::store::observation;
use crate::store::tests::{add, meter as row};
use jiff::Timestamp;
use std::collections::HashSet;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const STREET: [&str; 6] =
    ["01000000101", "01000000102", "01000000103", "01000000104", "01000000105", "01000000106"];

struct Substation {
    bench: Bench,
    bulk: Bulk,
    pacer: Option<(JoinHandle<()>, watch::Sender<bool>)>,
}

impl Substation {
    /// Six customers with supply in two areas, beside the bench's two meters, which are not commissioned.
    async fn new() -> Self {
        let bench = Bench::new().await;
        for (at, serial) in STREET.into_iter().enumerate() {
            let area = if at < 3 { "T1" } else { "T2" };
            let entry = Meter { model: "reference-dlms".into(), area: area.into(), ..row(serial, serial) };
            add(bench.store(), entry).await.unwrap();
            sensed(&bench, serial, true).await;
        }
        let bulk = Bulk {
            store: bench.store().clone(),
            clock: Clock::real(),
            models: Models::load(None).unwrap(),
            rules: Arc::default(),
            limits: Limits { second_person_above: 10, per_minute: 60_000, reconnects_per_area: 60_000 },
            command_expiry: SignedDuration::from_hours(1),
            approval_expiry: SignedDuration::from_hours(24),
        };
        let mut substation = Self { bench, bulk, pacer: None };
        substation.start();
        substation
    }

    fn start(&mut self) {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(self.bulk.clone(), self.bench.desk.clone(), stopped));
        self.pacer = Some((task, stop));
    }

    /// Ends engine and pacer as a power cut would, and starts them again.
    async fn kill_and_start(&mut self) {
        if let Some((task, _stop)) = self.pacer.take() {
            task.abort();
            let _ = task.await;
        }
        self.bench.kill().await;
        self.bench.start();
        self.start();
    }

    fn request(kind: CommandKind, reason: Option<DisconnectReason>) -> BulkRequest {
        BulkRequest {
            action: BulkAction { kind, reason, parameters: None },
            selection: Selection { model: Some("reference-dlms".into()), ..Selection::default() },
            each: BTreeMap::new(),
            canary: None,
            reason: "work on the feeder".into(),
            at_once: 32,
            per_minute: None,
            area_per_minute: None,
        }
    }

    async fn preview(&self, request: BulkRequest) -> (i64, Plan) {
        let (campaign, plan) = self.bulk.preview(request, anna()).await.unwrap();
        assert_eq!(campaign.state, CampaignState::Previewed);
        (campaign.id, plan)
    }

    async fn meters(&self, id: i64) -> Vec<CampaignMeter> {
        self.bench.store().campaign_meters(id, "", 100).await.unwrap()
    }

    async fn count(&self, id: i64, progress: MeterProgress) -> usize {
        self.meters(id).await.iter().filter(|meter| meter.progress == progress).count()
    }

    async fn until_state(&self, id: i64, state: CampaignState) {
        self.bench
            .until(state.as_str(), async |store| {
                (store.campaign(id).await.unwrap().unwrap().state == state).then_some(())
            })
            .await;
    }
}

async fn sensed(bench: &Bench, serial: &str, closed: bool) {
    let serial = Serial(serial.into());
    bench
        .store()
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                observation::apply(&mut *conn, &serial, &relay(closed), Timestamp::now()).await?;
                observation::commissioned(conn, &serial, Timestamp::now()).await
            })
        })
        .await
        .unwrap();
}

fn anna() -> Asking {
    Asking { actor: "anna".into(), correlation: "c-anna".into() }
}

fn boris() -> Asking {
    Asking { actor: "boris".into(), correlation: "c-boris".into() }
}

fn serials(plan: &Plan) -> Vec<&str> {
    plan.included.iter().map(|meter| meter.serial.as_str()).collect()
}

fn switch(job: Job) -> String {
    let serial = job.meter.0.clone();
    let closed = job.work == Work::Reconnect;
    answer(job, Ending::Done, relay(closed));
    serial
}

const FAULT: Option<DisconnectReason> = Some(DisconnectReason::Fault);

#[tokio::test]
async fn what_was_previewed_runs_and_each_meter_has_a_command_of_its_own() {
    let mut street = Substation::new().await;
    let (id, plan) = street.preview(Substation::request(CommandKind::Disconnect, FAULT)).await;
    assert_eq!(serials(&plan), STREET);
    assert_eq!(plan.second_person, None);
    let idle = tokio::time::timeout(std::time::Duration::from_millis(600), street.bench.line.recv()).await;
    assert!(idle.is_err(), "a preview sends nothing");
    assert_eq!(street.bulk.start(id, anna()).await.unwrap().state, CampaignState::Running);
    let mut told = HashSet::new();
    for _ in STREET {
        let job = street.bench.job().await;
        assert_eq!(job.work, Work::Disconnect);
        told.insert(switch(job));
    }
    assert_eq!(told.len(), STREET.len());
    street.until_state(id, CampaignState::Done).await;
    for meter in street.meters(id).await {
        assert_eq!(meter.progress, MeterProgress::Done);
        let (command, steps) =
            street.bench.store().command(meter.command_id.unwrap()).await.unwrap().unwrap();
        assert_eq!((command.state, command.request.reason), (CommandState::Verified, FAULT));
        assert!(steps.len() >= 4, "the life of any command: {steps:?}");
        assert!(command.request.reason_text.unwrap().contains("work on the feeder"));
    }
    let again = street.bulk.start(id, anna()).await.unwrap_err();
    assert_eq!(again.to_string(), format!("bulk command {id} is done"));
}

#[tokio::test]
async fn a_street_that_changed_since_the_preview_is_shown_and_not_acted_on() {
    let mut street = Substation::new().await;
    let (id, _) = street.preview(Substation::request(CommandKind::Disconnect, FAULT)).await;
    sensed(&street.bench, STREET[2], false).await;
    sensed(&street.bench, DRN, true).await;
    let entry = Meter { model: "reference-dlms".into(), ..row("01000000107", "new") };
    add(street.bench.store(), entry).await.unwrap();
    sensed(&street.bench, "01000000107", true).await;
    let changed = street.bulk.start(id, anna()).await.unwrap_err().to_string();
    assert!(changed.contains("01000000107 takes part now"), "{changed}");
    assert!(changed.contains("01000000103 takes no part any more: its relay is open already"), "{changed}");
    assert!(!changed.contains(DRN), "it was not asked for: {changed}");
    let idle = tokio::time::timeout(std::time::Duration::from_millis(600), street.bench.line.recv()).await;
    assert!(idle.is_err(), "nothing was sent");
    let (id, plan) = street.preview(Substation::request(CommandKind::Disconnect, FAULT)).await;
    assert_eq!(plan.excluded.len(), 1);
    street.bulk.start(id, anna()).await.unwrap();
    street.bench.job().await;
}

#[tokio::test]
async fn a_protected_customer_or_many_meters_need_a_second_person_for_the_whole() {
    let mut street = Substation::new().await;
    let serial = Serial(STREET[4].into());
    street
        .bench
        .store()
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let hospital = Some(Protection::Hospital);
                notice::set_protection(conn, &serial, hospital, None, "anna", Timestamp::now()).await
            })
        })
        .await
        .unwrap();
    let (id, plan) = street.preview(Substation::request(CommandKind::Disconnect, FAULT)).await;
    assert!(
        plan.second_person.unwrap().contains("meter 01000000105: second_person: the customer is protected")
    );
    assert_eq!(street.bulk.start(id, anna()).await.unwrap().state, CampaignState::Waiting);
    let same = street.bulk.decide(id, true, anna()).await.unwrap_err().to_string();
    assert!(same.contains("a second person has to agree"), "{same}");
    let idle = tokio::time::timeout(std::time::Duration::from_millis(600), street.bench.line.recv()).await;
    assert!(idle.is_err(), "nothing is sent before that");
    street.bulk.decide(id, true, boris()).await.unwrap();
    for _ in STREET {
        switch(street.bench.job().await);
    }
    street.until_state(id, CampaignState::Done).await;
    assert_eq!(
        street.count(id, MeterProgress::Done).await,
        6,
        "the engine's own guards saw the second person"
    );

    street.bulk.limits.second_person_above = 5;
    let (_, plan) = street.preview(Substation::request(CommandKind::SetClock, None)).await;
    assert!(plan.second_person.unwrap().starts_with("6 meters: for more than 5"));
    let (id, plan) = street.preview(Substation::request(CommandKind::Read, None)).await;
    assert_eq!(plan.second_person, None, "reading disturbs nobody");
    let declined = street.bulk.decide(id, false, boris()).await.unwrap_err().to_string();
    assert_eq!(declined, format!("bulk command {id} is previewed"));
}

#[tokio::test]
async fn a_killed_gateway_goes_on_where_it_was_and_tells_no_meter_twice() {
    let mut street = Substation::new().await;
    let request = BulkRequest { at_once: 2, ..Substation::request(CommandKind::Disconnect, FAULT) };
    let (id, _) = street.preview(request).await;
    street.bulk.start(id, anna()).await.unwrap();
    let first = switch(street.bench.job().await);
    street
        .bench
        .until("the first to end", async |store| {
            let meters = store.campaign_meters(id, "", 10).await.unwrap();
            meters.iter().any(|meter| meter.progress == MeterProgress::Done).then_some(())
        })
        .await;
    let lost = street.bench.job().await;
    let lost_serial = lost.meter.0.clone();
    street.kill_and_start().await;
    drop(lost);
    let (mut acted, mut asked) = (HashSet::from([first]), 0);
    while acted.len() < STREET.len() {
        let job = street.bench.job().await;
        if job.work == Work::Read {
            assert_eq!(job.meter.0, lost_serial, "only the one under way is asked about");
            asked += 1;
            acted.insert(lost_serial.clone());
            answer(job, Ending::Done, relay(false));
        } else {
            assert!(acted.insert(switch(job)), "told twice");
        }
    }
    street.until_state(id, CampaignState::Done).await;
    assert_eq!((acted.len(), asked), (6, 1));
    assert_eq!(street.count(id, MeterProgress::Done).await, 6);
}

#[tokio::test]
async fn a_pause_starts_nothing_and_a_stop_takes_back_what_was_not_sent() {
    let mut street = Substation::new().await;
    let request = BulkRequest { at_once: 1, ..Substation::request(CommandKind::Disconnect, FAULT) };
    let (id, _) = street.preview(request).await;
    street.bulk.start(id, anna()).await.unwrap();
    let first = street.bench.job().await;
    street.bulk.change(id, Verb::Pause, &anna()).await.unwrap();
    switch(first);
    street
        .bench
        .until("the first to end", async |store| {
            let meters = store.campaign_meters(id, "", 10).await.unwrap();
            meters.iter().any(|meter| meter.progress == MeterProgress::Done).then_some(())
        })
        .await;
    let idle = tokio::time::timeout(std::time::Duration::from_millis(900), street.bench.line.recv()).await;
    assert!(idle.is_err(), "nothing is started during a pause");
    street.bulk.change(id, Verb::Resume, &anna()).await.unwrap();
    let second = street.bench.job().await;
    let serial = second.meter.0.clone();
    street.bulk.change(id, Verb::Stop, &anna()).await.unwrap();
    // It lay in its line's queue and comes back undone: it is not tried again.
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    answer(second, Ending::NotSent { reason: "no answer".into() }, Facts::default());
    street
        .bench
        .until("it to be taken back", async |store| {
            let meters = store.campaign_meters(id, "", 10).await.unwrap();
            let meter = meters.into_iter().find(|meter| meter.serial.0 == serial).unwrap();
            (meter.command_state == Some(CommandState::Cancelled)).then_some(())
        })
        .await;
    assert_eq!(street.count(id, MeterProgress::Done).await, 1);
    assert_eq!(street.count(id, MeterProgress::Stopped).await, 5);
    let idle = tokio::time::timeout(std::time::Duration::from_millis(900), street.bench.line.recv()).await;
    assert!(idle.is_err(), "nothing more is sent");
}

#[tokio::test]
async fn a_reconnection_keeps_each_areas_inrush() {
    let mut street = Substation::new().await;
    for serial in STREET {
        sensed(&street.bench, serial, false).await;
    }
    let request =
        BulkRequest { area_per_minute: Some(1), ..Substation::request(CommandKind::Reconnect, None) };
    let (id, plan) = street.preview(request).await;
    assert_eq!(plan.included.len(), 6);
    street.bulk.start(id, anna()).await.unwrap();
    let first = [switch(street.bench.job().await), switch(street.bench.job().await)];
    assert_eq!(first, [STREET[0], STREET[3]], "one of each area");
    let idle = tokio::time::timeout(std::time::Duration::from_secs(2), street.bench.line.recv()).await;
    assert!(idle.is_err(), "the next of each area comes in a minute");
    assert_eq!(street.count(id, MeterProgress::Waiting).await, 4);
}

#[tokio::test]
async fn what_makes_no_sense_is_not_previewed() {
    let street = Substation::new().await;
    let refused =
        async |request: BulkRequest| street.bulk.preview(request, anna()).await.unwrap_err().to_string();
    let good = || Substation::request(CommandKind::Disconnect, FAULT);
    assert!(refused(BulkRequest { reason: " ".into(), ..good() }).await.contains("say why"));
    assert!(refused(Substation::request(CommandKind::Disconnect, None)).await.contains("needs a reason"));
    assert!(refused(BulkRequest { at_once: 0, ..good() }).await.contains("at_once 0"));
    assert!(refused(BulkRequest { per_minute: Some(0), ..good() }).await.contains("per_minute 0"));
    let breach = Substation::request(CommandKind::Disconnect, Some(DisconnectReason::BreachOfContract));
    assert!(refused(breach).await.contains("one customer's case"));
    let keys = Substation::request(CommandKind::RotateKeys, None);
    assert!(refused(keys).await.starts_with("kind rotate_keys is none of disconnect"));
    let none = Selection { serials: vec![MODBUS.into()], ..Selection::default() };
    let (id, plan) = street.preview(BulkRequest { selection: none, ..good() }).await;
    assert_eq!(plan.excluded[0].why, "it is not commissioned yet");
    let nobody = street.bulk.start(id, anna()).await.unwrap_err().to_string();
    assert!(nobody.contains("no meter would take part"), "{nobody}");
}

#[tokio::test]
async fn a_shortage_makes_previews_of_limits_and_of_disconnections_and_runs_each_meters_own() {
    let mut street = Substation::new().await;
    let store = street.bench.store().clone();
    let drawing = |serial: &'static str, power_w: i64| {
        let store = store.clone();
        async move {
            store
                .write::<_, StoreError, _>(move |conn| {
                    Box::pin(async move {
                        let facts = Facts {
                            power_w: Some(power_w),
                            import_wh: Some(1_000),
                            credit_wh: Some(power_w),
                            ..relay(true)
                        };
                        observation::apply(conn, &Serial(serial.into()), &facts, Timestamp::now()).await
                    })
                })
                .await
                .unwrap();
        }
    };
    for (serial, power) in [(STREET[0], 3_000), (STREET[1], 2_000), (STREET[2], 4_000)] {
        drawing(serial, power).await;
    }
    let mill = "01000000108";
    let load = LoadRecord { class: Some(4), rated_w: Some(90_000), plan_w: Some(10_000) };
    let entry = Meter { model: "reference-dlms".into(), load, ..row(mill, mill) };
    add(street.bench.store(), entry).await.unwrap();
    sensed(&street.bench, mill, true).await;
    drawing(mill, 60_000).await;
    let shortage = |target_w| Shortage {
        target_w,
        selection: Selection { model: Some("reference-dlms".into()), ..Selection::default() },
        measured_within: SignedDuration::from_mins(5),
        until: None,
        reason: "a line is down".into(),
    };
    let made = street.bulk.curtail(shortage(54_000), anna()).await.unwrap();
    assert_eq!((made.list.saves_w, made.short_w), (55_000, 0));
    let order: Vec<&str> = made.list.cuts.iter().map(|cut| cut.serial.as_str()).collect();
    assert_eq!(order, [mill, STREET[1], STREET[0]], "by its own plan, then who has least credit");
    let unread = made.list.left.iter().find(|left| left.serial == STREET[4]).unwrap();
    assert_eq!(unread.why, "it was not measured lately");
    let idle = tokio::time::timeout(std::time::Duration::from_millis(500), street.bench.line.recv()).await;
    assert!(idle.is_err(), "a list sends nothing");

    street.bulk.start(made.limits.unwrap(), anna()).await.unwrap();
    let job = street.bench.job().await;
    let wanted = crate::session::order::LoadLimit { limit_w: 10_000, over_s: 60, under_s: 60 };
    assert_eq!((job.meter.0.as_str(), &job.work), (mill, &Work::Carry(Order::LimitLoad(wanted))));
    answer(job, Ending::Done, Facts::default());
    street.until_state(made.limits.unwrap(), CampaignState::Done).await;
    street.bulk.start(made.disconnections.unwrap(), anna()).await.unwrap();
    let cut = [switch(street.bench.job().await), switch(street.bench.job().await)];
    assert_eq!(cut, [STREET[1], STREET[0]]);

    // One whose end is known is answered by limits that end by themselves.
    drawing(mill, 60_000).await;
    let until = Timestamp::now() + SignedDuration::from_hours(2);
    let made = street.bulk.curtail(Shortage { until: Some(until), ..shortage(1) }, anna()).await.unwrap();
    street.bulk.start(made.limits.unwrap(), anna()).await.unwrap();
    let wanted = crate::session::order::EmergencyLimit { limit_w: 10_000, from: None, until };
    let limited = loop {
        // The disconnections that nobody answered are asked about.
        let job = street.bench.job().await;
        if job.meter.0 == mill {
            break job;
        }
        answer(job, Ending::Done, relay(false));
    };
    assert_eq!(limited.work, Work::Carry(Order::LimitEmergency(wanted)));
    let over = Shortage { until: Some(Timestamp::UNIX_EPOCH), ..shortage(1) };
    assert!(street.bulk.curtail(over, anna()).await.unwrap_err().to_string().contains("over already"));
    let nothing = street.bulk.curtail(shortage(0), anna()).await.unwrap_err().to_string();
    assert!(nothing.contains("saves nothing"), "{nothing}");
}

#[tokio::test]
async fn the_others_follow_the_first_and_a_canary_that_refused_pauses_it() {
    let mut street = Substation::new().await;
    let request = BulkRequest { canary: Some(2), ..Substation::request(CommandKind::SetClock, None) };
    let (id, _) = street.preview(request).await;
    street.bulk.start(id, anna()).await.unwrap();
    let first = street.bench.job().await;
    let second = street.bench.job().await;
    answer(first, Ending::Done, Facts::default());
    let idle = tokio::time::timeout(std::time::Duration::from_millis(900), street.bench.line.recv()).await;
    assert!(idle.is_err(), "one of the first has not ended");
    answer(second, Ending::Rejected { reason: "read-write denied".into(), code: Some(3) }, Facts::default());
    street.until_state(id, CampaignState::Paused).await;
    assert_eq!(street.count(id, MeterProgress::Waiting).await, 4);
    street.bulk.change(id, Verb::Resume, &anna()).await.unwrap();
    for _ in 0..4 {
        answer(street.bench.job().await, Ending::Done, Facts::default());
    }
    street.until_state(id, CampaignState::Done).await;
    assert_eq!(
        (street.count(id, MeterProgress::Done).await, street.count(id, MeterProgress::Refused).await),
        (5, 1)
    );
}
