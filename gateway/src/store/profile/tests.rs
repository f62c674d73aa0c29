use super::*;
use crate::reading::gaps::{Ledger, WhyGivenUp};
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

async fn keep(store: &Store, series: &Series, rows: &[(i64, i64)], minutes: i64) -> Kept {
    let (id, read) = (series.id, read(rows));
    store
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { keep_rows(conn, id, &read, later(minutes), |_| Quality::Measured).await })
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn the_same_interval_read_twice_is_one_fact_and_another_value_is_kept_beside_it() {
    let (fresh, series) = begun().await;
    let store = &fresh.store;
    assert_eq!(keep(store, &series, &[(15, 100), (30, 120)], 31).await.new.len(), 2);
    assert_eq!(keep(store, &series, &[(15, 100), (30, 120)], 32).await, Kept::default(), "nothing new");
    let kept = keep(store, &series, &[(30, 999), (45, 140)], 46).await;
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
    assert_eq!(keep(store, &series, &there, 800).await.new.len(), 50);
    // Rows 45 to 120, the 60th twice and with two values, the 50th with another one than before.
    let mut day: Vec<(i64, i64)> = (45..=120).map(|row| (15 * row, row)).collect();
    day.push((15 * 60, 999));
    day[5].1 = 999;
    let kept = keep(store, &series, &day, 1_801).await;
    assert_eq!((kept.new.len(), kept.disputed), (70, vec![later(15 * 50), later(15 * 60)]));
    assert_eq!(day[kept.new[0].0].0, 15 * 51, "in the meter's order");
    let rows = store.profile_rows("01000000017", "load", at(NOON), later(1_801), 200).await.unwrap();
    let values: Vec<_> = rows.iter().filter_map(|row| row.values[0].2).collect();
    assert_eq!(values, (1..=120).collect::<Vec<i64>>(), "what was said first stands");
}

#[tokio::test]
async fn coverage_is_asked_for_one_meter_or_an_area_and_a_profile_without_rows_is_there_too() {
    let (fresh, series) = begun().await;
    keep(&fresh.store, &series, &[(15, 100), (30, 120)], 31).await;
    for of in [Covered::Meter("01000000017"), Covered::Area("T1")] {
        let counted = fresh.store.coverage(of, later(20), later(60)).await.unwrap();
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].rows, [(later(30), Quality::Measured, false)]);
    }
    let nothing = fresh.store.coverage(Covered::Area("T1"), later(60), later(90)).await.unwrap();
    assert_eq!((nothing.len(), nothing[0].rows.len()), (1, 0));
    assert_eq!(fresh.store.coverage(Covered::Area("T2"), later(0), later(90)).await.unwrap(), []);
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
