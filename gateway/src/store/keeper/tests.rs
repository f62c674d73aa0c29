use super::*;
use crate::reading::plausibility::{Doubt, DoubtKind, Thresholds};
use crate::session::work::{Facts, ProfileRow, ProfileRows, Serial};
use crate::store::command::{Command, CommandEvent, CommandKind, CommandState};
use crate::store::doubt::{self, DoubtState};
use crate::store::ledger::{Account, Entry};
use crate::store::profile::{Covered, Judging};
use crate::store::tests::{Fresh, NOON, add, at, command, fresh, fresh_file, meter};
use crate::store::{command as commands, ledger, observation, push};
use crate::units::MinorUnits;

const SERIAL: &str = "01000000016";
const MIB: u64 = 1 << 20;

fn keep() -> Keep {
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    Keep { readings: days(30), events: days(30), command_steps: days(30), free_min: 0, size_max: None }
}

fn day(number: i64) -> Timestamp {
    at(NOON) + SignedDuration::from_hours(24 * number)
}

async fn read(store: &Store, time: Timestamp) {
    read_often(store, time, 1).await;
}

async fn read_often(store: &Store, time: Timestamp, count: usize) {
    let facts = Facts { import_wh: Some(1_000), ..Facts::default() };
    store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                for _ in 0..count {
                    observation::apply(conn, &Serial(SERIAL.into()), &facts, time).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
}

async fn pay(store: &Store) -> Result<(), StoreError> {
    store
        .write(|conn| {
            Box::pin(async move {
                let amount = MinorUnits(100);
                let entries = [
                    Entry::money(Account::Channel, "shop", -amount),
                    Entry::money(Account::Accepted, SERIAL, amount),
                ];
                ledger::post(conn, "payment", None, at(NOON), &entries).await?;
                event::record(conn, at(NOON), "payment", Some(SERIAL), &json!({"padding": "x".repeat(500)}))
                    .await
            })
        })
        .await
}

/// A command that is done, or still to be done.
async fn step(store: &Store, done: bool) {
    store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let request = command(SERIAL, CommandKind::Read);
                let id = commands::insert(conn, &request, at(NOON)).await?;
                let command = Command {
                    id,
                    request,
                    state: CommandState::Recorded,
                    approved_by: None,
                    dispatched: false,
                    outcome: None,
                    at: at(NOON),
                    updated_at: at(NOON),
                };
                let state = if done { CommandState::Verified } else { CommandState::Unknown };
                let step = CommandEvent { state, at: at(NOON), evidence: Vec::new() };
                commands::advance(conn, &command, &step, false).await
            })
        })
        .await
        .unwrap();
}

fn keeper(fresh: &Fresh, keep: Keep, sinks: &[&str]) -> Keeper {
    let sinks: Vec<String> = sinks.iter().map(|sink| (*sink).to_owned()).collect();
    Keeper::new(fresh.store.clone(), fresh.place.clone(), keep, move || sinks.clone())
}

/// Tables of history that belong to the rows of a profile, and go with them.
const OF_PROFILES: [&str; 3] = ["profile_row", "profile_dispute", "profile_gap"];

/// Tables that are not history: what is money and what people decided, what is in force, and what there is one of per meter.
const STAYS: [&str; 28] = [
    "account_balance",
    "api_token",
    "audit",
    "campaign",
    "campaign_meter",
    "command",
    // Those whose time is over go when another one comes.
    "command_message",
    "counter_block",
    "firmware_image",
    "gateway",
    "heard_counter",
    "ledger_entry",
    "meter",
    "meter_state",
    "notice",
    "page_secret",
    "payment",
    "posting",
    "profile_layout",
    "profile_series",
    "protection",
    "sink",
    "special",
    "tid_reservation",
    "token",
    "_sqlx_migrations",
    "sqlite_sequence",
    "sqlite_stat1",
];

#[tokio::test]
async fn every_table_is_history_that_goes_or_is_known_to_stay() {
    let fresh = fresh_file().await;
    let there: Vec<String> =
        sql::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            .fetch_all(&fresh.store.readers)
            .await
            .unwrap();
    let numbered = HISTORY.iter().map(|history| history.table);
    let goes: Vec<&str> = numbered.chain(OF_PROFILES).collect();
    for table in there {
        let (goes, stays) = (goes.contains(&table.as_str()), STAYS.contains(&table.as_str()));
        assert!(
            goes != stays,
            "{table}: a table that grows with time has a place in the keeper's HISTORY, and whoever adds to it asks \
             Connection::stores_history; any other is among those that stay"
        );
    }
}

#[tokio::test]
async fn old_history_goes_and_what_is_newer_stays() {
    let fresh = fresh().await;
    add(&fresh.store, meter(SERIAL, "a")).await.unwrap();
    for number in 0..40 {
        read(&fresh.store, day(number)).await;
    }
    let mut keeper = keeper(&fresh, keep(), &[]);
    // Days 0 to 9 are older than 30 days: a reading and its event each.
    assert_eq!(keeper.prune(day(40)).await.unwrap(), 20);
    let left = fresh.store.readings(SERIAL, 100).await.unwrap();
    assert_eq!((left.len(), left.last().unwrap().at), (30, day(10)));
    assert_eq!(keeper.prune(day(40)).await.unwrap(), 0);
    assert_eq!(keeper.prune(day(41)).await.unwrap(), 2);
    assert!(
        fresh.store.meter(SERIAL).await.unwrap().unwrap().1.import_wh.is_some(),
        "the latest value stays"
    );
}

#[tokio::test]
async fn an_event_stays_until_every_sink_has_it_and_one_about_a_payment_stays_for_good() {
    let fresh = fresh().await;
    add(&fresh.store, meter(SERIAL, "a")).await.unwrap();
    for number in 0..6 {
        read(&fresh.store, day(number)).await;
    }
    pay(&fresh.store).await.unwrap();
    let mut keeper = keeper(&fresh, keep(), &["utility", "billing"]);
    fresh.store.sink_delivered("utility", 7, day(9)).await.unwrap();
    fresh.store.sink_delivered("billing", 2, day(9)).await.unwrap();
    keeper.prune(day(900)).await.unwrap();
    let ids = |events: Vec<event::Event>| events.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(fresh.store.events_after(0, 100).await.unwrap()), [3, 4, 5, 6, 7]);
    fresh.store.sink_delivered("billing", 7, day(9)).await.unwrap();
    keeper.prune(day(900)).await.unwrap();
    assert_eq!(ids(fresh.store.events_after(0, 100).await.unwrap()), [7]);
    assert!(fresh.store.money_balance().await.unwrap().balanced);
}

#[tokio::test]
async fn the_steps_of_a_command_that_is_not_finished_stay() {
    let fresh = fresh().await;
    add(&fresh.store, meter(SERIAL, "a")).await.unwrap();
    step(&fresh.store, true).await;
    step(&fresh.store, false).await;
    keeper(&fresh, keep(), &[]).prune(day(900)).await.unwrap();
    assert!(fresh.store.command(1).await.unwrap().unwrap().1.is_empty());
    assert_eq!(fresh.store.command(2).await.unwrap().unwrap().1.len(), 2);
}

#[tokio::test]
async fn readings_stop_before_a_payment_is_refused_and_come_back_when_there_is_room() {
    let fresh = fresh_file().await;
    add(&fresh.store, meter(SERIAL, "a")).await.unwrap();
    let mut keeper = keeper(&fresh, Keep { size_max: Some(4 * MIB), free_min: MIB, ..keep() }, &[]);
    fresh.store.set_size_max(4 * MIB).await.unwrap();
    let mut rounds = 0;
    while !fresh.store.is_tight() {
        rounds += 1;
        read_often(&fresh.store, at(NOON), 200).await;
        assert!(rounds < 1_000, "it never gets tight");
        keeper.look(day(0)).await.unwrap();
    }
    let told = |events: Vec<event::Event>| events.into_iter().rev().find(|event| event.kind == "store_space");
    let last = fresh.store.last_event_id().await.unwrap();
    assert_eq!(told(fresh.store.events_after(last - 5, 9).await.unwrap()).unwrap().detail["tight"], true);
    // Readings are not stored now; the latest value is, and what is money.
    let before = fresh.store.readings(SERIAL, u32::MAX).await.unwrap().len();
    let mut paid = 0;
    let refused = loop {
        match pay(&fresh.store).await {
            Ok(()) => paid += 1,
            Err(error) => break error,
        }
        if paid % 100 == 0 {
            read(&fresh.store, day(1)).await;
            assert_eq!(fresh.store.readings(SERIAL, u32::MAX).await.unwrap().len(), before);
        }
        assert!(paid < 100_000, "the limit does not hold");
    };
    assert!(paid > 300, "{paid} payments found room after readings had stopped");
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    let money = fresh.store.money_balance().await.unwrap();
    assert_eq!(
        (money.balanced, money.received),
        (true, MinorUnits(100 * paid)),
        "a refused payment left nothing"
    );
    // History that was removed makes room, without a restart.
    keeper.prune(day(9_000)).await.unwrap();
    keeper.look(day(1)).await.unwrap();
    assert!(!fresh.store.is_tight());
    let room = fresh.store.measures().room.get_or_create(&Vec::new()).get();
    assert!((1 << 20..4 << 20).contains(&room), "{room} bytes are told to be left");
    pay(&fresh.store).await.unwrap();
    read(&fresh.store, day(9_000)).await;
    assert_eq!(fresh.store.readings(SERIAL, 9).await.unwrap()[0].at, day(9_000));
}

fn load(from_day: i64, days: i64) -> ProfileRows {
    let row =
        |number| ProfileRow { at: day(number), status: None, estimated: false, cells: vec![Some(number)] };
    ProfileRows {
        channels: vec![("import_wh".into(), "Wh".into())],
        rows: (from_day..from_day + days).map(row).collect(),
    }
}

/// Rows of a profile, one a day; how many were new.
async fn profile(store: &Store, rows: ProfileRows) -> usize {
    let kept = store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            let series = profile::series(conn, &Serial(SERIAL.into()), "load", day(-1)).await?;
            let judging =
                Judging { late_before: Timestamp::MIN, is_feeder: false, thresholds: &Thresholds::default() };
            profile::keep(conn, &series, &rows, day(99), &judging).await
        })
    });
    kept.await.unwrap().new.len()
}

#[tokio::test]
async fn rows_of_profiles_go_with_their_age_and_are_not_due_any_more() {
    let fresh = fresh().await;
    add(&fresh.store, meter(SERIAL, "a")).await.unwrap();
    assert_eq!(profile(&fresh.store, load(0, 1_300)).await, 1_300);
    // The meter says something else of two days, one of which is to go.
    let mut others = load(3, 1);
    others.rows.extend(load(1_299, 1).rows);
    others.rows.iter_mut().for_each(|row| row.cells = vec![Some(-1)]);
    assert_eq!(profile(&fresh.store, others).await, 0);
    let mut keeper = keeper(&fresh, keep(), &[]);
    let midnight = day(1_230).checked_sub(SignedDuration::from_hours(12)).unwrap();
    assert_eq!(
        keeper.prune(day(1_260)).await.unwrap(),
        1_230,
        "in batches, up to the last midnight but 30 days"
    );
    let rows = fresh.store.profile_rows(SERIAL, "load", day(0), day(2_000), 2_000).await.unwrap();
    assert_eq!((rows.len(), rows[0].at), (70, day(1_230)));
    assert!(rows[0].at > midnight);
    let counted = fresh.store.coverage(Covered::Meter(SERIAL), day(0), day(2_000), Some).await.unwrap();
    assert_eq!(counted[0].due_from, day(1_229));
    let disputes: i64 = sql::query_scalar("SELECT COUNT(*) FROM profile_dispute")
        .fetch_one(&fresh.store.readers)
        .await
        .unwrap();
    assert_eq!(disputes, 1);
    assert_eq!(keeper.prune(day(1_260)).await.unwrap(), 0);
}

async fn hold(store: &Store, kind: DoubtKind, time: Timestamp) -> i64 {
    let held = store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            let facts = Facts { import_wh: Some(5), ..Facts::default() };
            let serial = Serial(SERIAL.into());
            let id = doubt::hold(conn, &serial, &Doubt { kind, detail: json!({}) }, 1, &facts, time).await?;
            observation::hold(conn, &serial, &facts, id, time).await?;
            Ok(id)
        })
    });
    held.await.unwrap()
}

#[tokio::test]
async fn a_doubt_goes_once_it_is_settled_and_old() {
    let fresh = fresh().await;
    add(&fresh.store, meter(SERIAL, "a")).await.unwrap();
    let settled = hold(&fresh.store, DoubtKind::WentBack, day(0)).await;
    let reason = fresh.store.doubts(None, 1).await.unwrap().remove(0);
    fresh
        .store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(
                async move { doubt::decide(conn, &reason, DoubtState::Rejected, "anna", "no", day(1)).await },
            )
        })
        .await
        .unwrap();
    let held = hold(&fresh.store, DoubtKind::Jumped, day(2)).await;
    assert_ne!(settled, held);
    keeper(&fresh, keep(), &[]).prune(day(900)).await.unwrap();
    let left = fresh.store.doubts(None, 9).await.unwrap();
    assert_eq!(left.iter().map(|doubt| doubt.id).collect::<Vec<_>>(), [held]);
}

#[tokio::test]
async fn while_room_is_short_no_history_is_added_and_what_a_meter_pushes_is_not_confirmed() {
    let fresh = fresh_file().await;
    add(&fresh.store, meter(SERIAL, "a")).await.unwrap();
    let push = || {
        fresh.store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                let by = ("alarms", std::net::Ipv4Addr::LOCALHOST.into());
                push::keep(conn, &Serial(SERIAL.into()), &json!({"code": 3}), None, by, day(0)).await
            })
        })
    };
    fresh.store.set_tight(true);
    let events = fresh.store.last_event_id().await.unwrap();
    assert_eq!(profile(&fresh.store, load(0, 9)).await, 0);
    read(&fresh.store, day(0)).await;
    assert!(matches!(push().await, Err(StoreError::Full(_))));
    assert!(fresh.store.readings(SERIAL, 9).await.unwrap().is_empty());
    assert!(fresh.store.profile_rows(SERIAL, "load", day(0), day(99), 99).await.unwrap().is_empty());
    assert_eq!(fresh.store.last_event_id().await.unwrap(), events);
    // A doubt is a case for a person; its readings are history.
    hold(&fresh.store, DoubtKind::Jumped, day(0)).await;
    assert!(fresh.store.readings(SERIAL, 9).await.unwrap().is_empty());
    fresh.store.set_tight(false);
    assert_eq!(profile(&fresh.store, load(0, 9)).await, 9, "what is missing was asked for again");
    assert!(push().await.unwrap());
}
