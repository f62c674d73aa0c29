use super::*;
use crate::reading::gaps::{Ledger, WhyGivenUp};
use crate::reading::plausibility::{DoubtKind, Thresholds};
use crate::session::work::ProfileRow;
use crate::store::doubt::{self, DoubtState};
use crate::store::tests::{Fresh, NOON, add, at, fresh, meter};
use jiff::SignedDuration;

fn later(minutes: i64) -> Timestamp {
    at(NOON).checked_add(SignedDuration::from_mins(minutes)).unwrap()
}

fn read(rows: &[(i64, i64)]) -> ProfileRows {
    let channels = vec![("import_wh".into(), "Wh".into()), ("voltage_dv".into(), "0.1 V".into())];
    let row = |(minutes, import): &(i64, i64)| ProfileRow {
        at: later(*minutes),
        status: Some(0),
        estimated: false,
        cells: vec![Some(*import), None],
    };
    ProfileRows { channels, rows: rows.iter().map(row).collect() }
}

async fn begun() -> (Fresh, Series) {
    let fresh = fresh().await;
    add(&fresh.store, meter("01000000017", "127.0.0.1:4059")).await.unwrap();
    let (first, again) = (begin(&fresh.store).await, begin(&fresh.store).await);
    assert_eq!(first, again, "begun once");
    (fresh, first)
}

async fn begin(store: &Store) -> Series {
    store
        .write::<_, StoreError, _>(|conn| {
            Box::pin(async move { series(conn, &Serial("01000000017".into()), "load", at(NOON)).await })
        })
        .await
        .unwrap()
}

async fn came(store: &Store, series: &Series, rows: &[(i64, i64)], minutes: i64) -> Kept {
    let (series, read) = (series.clone(), read(rows));
    store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let judging = Judging {
                    late_before: Timestamp::MIN,
                    is_feeder: false,
                    thresholds: &Thresholds::default(),
                };
                let kept = keep(conn, &series, &read, later(minutes), &judging).await?;
                rows::tell(conn, &series, &read, &kept.new, later(minutes)).await?;
                Ok(kept)
            })
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn the_same_interval_read_twice_is_one_fact_and_another_value_is_kept_beside_it() {
    let (fresh, series) = begun().await;
    let store = &fresh.store;
    assert_eq!(came(store, &series, &[(15, 100), (30, 120)], 31).await.new.len(), 2);
    assert_eq!(came(store, &series, &[(15, 100), (30, 120)], 32).await, Kept::default(), "nothing new");
    let kept = came(store, &series, &[(30, 999), (45, 140)], 46).await;
    assert_eq!((kept.new.len(), kept.disputed), (1, vec![later(30)]));
    let rows = store.profile_rows("01000000017", "load", at(NOON), later(60), 10).await.unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.at, row.values[0].2, row.disputed)).collect();
    assert_eq!(
        seen,
        [(later(15), Some(100), false), (later(30), Some(120), true), (later(45), Some(140), false)],
        "what was said first stands"
    );
    assert_eq!(rows[0].values[1], ("voltage_dv".into(), "0.1 V".into(), None));
    let evidence =
        sql::query("SELECT at, cells FROM profile_dispute").fetch_all(&store.readers).await.unwrap();
    assert_eq!(evidence.len(), 1);
    assert_eq!(evidence[0].try_get::<i64, _>("at").unwrap(), ms(later(30)));
    assert_eq!(evidence[0].try_get::<String, _>("cells").unwrap(), "999,");
}

#[tokio::test]
async fn of_many_rows_each_is_kept_once_whatever_is_there_already() {
    let (fresh, series) = begun().await;
    let store = &fresh.store;
    let there: Vec<(i64, i64)> = (1..=50).map(|row| (15 * row, row)).collect();
    assert_eq!(came(store, &series, &there, 800).await.new.len(), 50);
    // Rows 45 to 120, the 60th twice and with two values, the 50th with another one than before.
    let mut day: Vec<(i64, i64)> = (45..=120).map(|row| (15 * row, row)).collect();
    day.push((15 * 60, 999));
    day[5].1 = 999;
    let kept = came(store, &series, &day, 1_801).await;
    assert_eq!((kept.new.len(), kept.disputed), (70, vec![later(15 * 50), later(15 * 60)]));
    assert_eq!(day[kept.new[0].0].0, 15 * 51, "the oldest first");
    let rows = store.profile_rows("01000000017", "load", at(NOON), later(1_801), 200).await.unwrap();
    let values: Vec<_> = rows.iter().filter_map(|row| row.values[0].2).collect();
    assert_eq!(values, (1..=120).collect::<Vec<i64>>(), "what was said first stands");
    assert!(rows[59].disputed, "of two that came together too");
}

/// What was told of rows: their registers.
async fn told(store: &Store) -> Vec<i64> {
    let events = store.events_after(0, 1_000).await.unwrap();
    let rows = events.iter().filter(|event| event.kind == "profile").flat_map(|event| {
        let rows = event.detail["rows"].as_array().unwrap();
        rows.iter().map(|row| row["values"][0].as_i64().unwrap()).collect::<Vec<_>>()
    });
    rows.collect()
}

#[tokio::test]
async fn n31_a_row_that_cannot_be_true_is_held_and_told_to_nobody_until_a_person_says_so() {
    let (fresh, series) = begun().await;
    let store = &fresh.store;
    // 100 kW for sixteen minutes are 26,666 Wh.
    let kept = came(store, &series, &[(15, 1_000), (30, 91_000), (45, 1_200), (60, 800)], 61).await;
    assert_eq!((kept.new.len(), kept.held), (2, 2));
    assert_eq!(told(store).await, [1_000, 1_200]);
    let doubts = store.doubts(None, 9).await.unwrap();
    let seen: Vec<_> = doubts.iter().map(|doubt| (doubt.kind, doubt.readings, doubt.import)).collect();
    assert_eq!(seen, [(DoubtKind::WentBack, 1, None), (DoubtKind::Jumped, 1, None)]);
    assert_eq!(
        doubts[1].detail,
        json!({"profile": "load", "at": later(30), "register_wh": 91_000, "advanced_wh": 90_000, "most_wh": 26_666})
    );
    let held = async || {
        let rows = store.profile_rows("01000000017", "load", at(NOON), later(99), 9).await.unwrap();
        rows.iter().map(|row| row.doubt_id).collect::<Vec<_>>()
    };
    assert_eq!(held().await, [None, Some(doubts[1].id), None, Some(doubts[0].id)]);
    // Read again it is the same fact, and the next ones are compared with the last good one, the jump's case goes on.
    assert_eq!(came(store, &series, &[(30, 91_000), (60, 800)], 62).await, Kept::default());
    let kept = came(store, &series, &[(75, 1_250), (90, 95_000)], 91).await;
    assert_eq!((kept.new.len(), kept.held), (1, 1));
    let jumped = store.doubts(None, 9).await.unwrap().remove(1);
    assert_eq!(jumped.readings, 2);
    // A reading that fits settles no row, and leaves the person's word about rows alone.
    store
        .write::<_, StoreError, _>(|conn| {
            Box::pin(async move { doubt::pass(conn, &Serial("01000000017".into()), later(98)).await })
        })
        .await
        .unwrap();
    let still = store.doubts(None, 9).await.unwrap().remove(1);
    assert_eq!((still.state, still.decided_at), (DoubtState::Held, None));
    let released = jumped.clone();
    store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                doubt::decide(conn, &released, DoubtState::Released, "anna", "seen", later(99)).await
            })
        })
        .await
        .unwrap();
    assert_eq!(told(store).await, [1_000, 1_200, 1_250, 91_000, 95_000]);
    assert_eq!(held().await, [None, None, None, Some(doubts[0].id), None, None]);
}

#[tokio::test]
async fn coverage_is_asked_for_one_meter_or_an_area_and_a_profile_without_rows_is_there_too() {
    let (fresh, series) = begun().await;
    came(&fresh.store, &series, &[(15, 100), (30, 120)], 31).await;
    for of in [Covered::Meter("01000000017"), Covered::Area("T1")] {
        let counted = fresh.store.coverage(of, later(20), later(60), Some).await.unwrap();
        assert_eq!(counted.len(), 1);
        let row = CountedRow { at: later(30), quality: Quality::Measured, disputed: false, held: false };
        assert_eq!(counted[0].rows, [row]);
    }
    let nothing = fresh.store.coverage(Covered::Area("T1"), later(60), later(90), Some).await.unwrap();
    assert_eq!((nothing.len(), nothing[0].rows.len()), (1, 0));
    assert_eq!(fresh.store.coverage(Covered::Area("T2"), later(0), later(90), Some).await.unwrap(), []);
}

#[tokio::test]
async fn the_ledger_is_as_it_was_left_after_a_restart_and_what_was_given_up_stays_on_record() {
    let (mut fresh, series) = begun().await;
    let gap = |from: i64, to: i64| Gap {
        from: later(from),
        to: later(to),
        seen_at: later(61),
        attempts: 2,
        answered: 1,
        next_at: later(66),
        told: false,
    };
    let given_up = GivenUp { gap: gap(15, 30), why: WhyGivenUp::NotRecorded };
    let ledger = Ledger { open: vec![gap(45, 60)], given_up: vec![given_up], overdue: Vec::new() };
    let moved = Series { asked_to: later(60), problem: Some("captures every 1800 s".into()), ..series };
    let stored = moved.clone();
    fresh
        .store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                keep_ledger(conn, &stored, &[], &ledger.open, &ledger.given_up).await?;
                let nothing = ProfileRows { channels: Vec::new(), rows: Vec::new() };
                tell(conn, &stored, &nothing, &Kept::default(), &ledger, later(61)).await
            })
        })
        .await
        .unwrap();
    fresh.reopen().await;
    let opened = &fresh.store;
    assert_eq!(opened.all_series().await.unwrap(), std::slice::from_ref(&moved));
    assert_eq!(opened.open_gaps().await.unwrap(), [(moved.id, gap(45, 60))]);
    // The open one is filled; the other stays.
    let open = gap(45, 60);
    opened
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { keep_ledger(conn, &moved, &[open], &[], &[]).await })
        })
        .await
        .unwrap();
    assert_eq!(opened.all_gaps().await.unwrap(), []);
    let left = opened.gaps("01000000017", 10).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].given_up.as_deref(), Some("the meter has no rows of it"));
    let told: Vec<_> = opened.events_after(0, 100).await.unwrap();
    assert_eq!(told.iter().filter(|event| event.kind == "profile_gap").count(), 1);
}
