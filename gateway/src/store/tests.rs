#[path = "../../../tests/src/postgres.rs"]
mod cluster;
mod postgres;
mod schema;

use super::command::{Command, CommandEvent, CommandKind, CommandState, NewCommand};
use super::ledger::{Account, Entry};
use super::meter::{BalanceHolder, InsertMeterError, Meter, Role};
use super::*;
use crate::session::counters::Counters;
use crate::session::directory::Framing;
use crate::session::work::{Facts, RelayState, Serial};
use crate::units::{MinorUnits, WattHours};
use std::path::PathBuf;

/// Names a server on which the tests' stores are made instead of in files.
const SERVER: &str = "METER_GATEWAY_TEST_POSTGRES";

/// A store in a directory (or database) of its own, gone with the test.
pub(crate) struct Fresh {
    pub store: Store,
    pub dir: PathBuf,
    pub place: Place,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Fresh {
    async fn at(place: Option<Place>) -> Self {
        let dir = std::env::temp_dir().join(format!("meter-gateway-test-{}", random_name()));
        std::fs::create_dir(&dir).unwrap();
        let place = place.unwrap_or_else(|| Place::File(dir.join("store.db")));
        Self { store: Store::open_at(&place).await.unwrap(), dir, place }
    }

    /// Leaves the store and opens it again, as a restart does.
    pub(crate) async fn reopen(&mut self) {
        self.store = Store::open_to_read(&Place::File(self.dir.join("meanwhile.db"))).await.unwrap();
        self.store = Store::open_at(&self.place).await.unwrap();
    }
}

fn random_name() -> String {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).unwrap();
    format!("t{:016x}", u64::from_be_bytes(random))
}

/// A store where the tests are to be run: in a file, or on a server.
pub(crate) async fn fresh() -> Fresh {
    if std::env::var_os(SERVER).is_none() {
        return fresh_file().await;
    }
    let server = Server::new(&empty_database().await, None).unwrap();
    Fresh::at(Some(Place::Server(server))).await
}

/// A new database on the server of the tests.
async fn empty_database() -> String {
    let url = std::env::var(SERVER).unwrap();
    let name = random_name();
    let mut conn = url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().connect().await.unwrap();
    let make = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(make).execute(&mut conn).await.unwrap();
    url.replace("/postgres?", &format!("/{name}?"))
}

/// A store in a file, whatever the others are on.
pub(crate) async fn fresh_file() -> Fresh {
    Fresh::at(None).await
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) const NOON: &str = "2026-06-01T12:00:00Z";

pub(crate) fn meter(serial: &str, address: &str) -> Meter {
    Meter {
        serial: Serial(serial.into()),
        line: "street".into(),
        address: address.into(),
        framing: Framing::Wrapper,
        model: "reference".into(),
        balance: BalanceHolder::Meter,
        role: Role::Customer,
        area: "T1".into(),
        sts: None,
        load: super::meter::LoadRecord::default(),
        added_at: at(NOON),
    }
}

pub(crate) async fn add(store: &Store, meter: Meter) -> Result<(), InsertMeterError> {
    store.write(move |conn| Box::pin(async move { meter::insert(conn, &meter).await })).await
}

pub(crate) fn command(serial: &str, kind: CommandKind) -> NewCommand {
    NewCommand {
        serial: Serial(serial.into()),
        kind,
        reason: None,
        reason_text: None,
        breach: None,
        actor: "test".into(),
        correlation: "c-1".into(),
        token_id: None,
        action: None,
        not_after: None,
    }
}

#[tokio::test]
async fn every_meter_is_there_however_many_parts_that_takes() {
    let fresh = fresh().await;
    for count in [PART, 1] {
        let before = fresh.store.all_meters().await.unwrap().len() as u32;
        let entered = fresh.store.write::<_, InsertMeterError, _>(move |conn| {
            Box::pin(async move {
                for number in before..before + count {
                    let meter = meter(&format!("{number:011}"), &format!("a{number}"));
                    meter::insert(conn, &meter).await?;
                }
                Ok(())
            })
        });
        entered.await.unwrap();
        let all = fresh.store.all_meters().await.unwrap();
        let serials: std::collections::BTreeSet<_> = all.iter().map(|(meter, _)| &meter.serial.0).collect();
        assert_eq!((all.len(), serials.len()), ((before + count) as usize, all.len()));
    }
}

#[tokio::test]
async fn a_meter_is_found_as_it_was_entered_and_its_place_is_its_own() {
    let fresh = fresh().await;
    add(&fresh.store, meter("01000000016", "127.1.0.1:4059")).await.unwrap();
    let (found, state) = fresh.store.meter("01000000016").await.unwrap().unwrap();
    assert_eq!(found, meter("01000000016", "127.1.0.1:4059"));
    assert_eq!(state, meter::MeterState::default());
    let taken = add(&fresh.store, meter("01000000016", "elsewhere")).await.unwrap_err();
    assert_eq!(taken.to_string(), "a meter with serial 01000000016 exists already");
    let taken = add(&fresh.store, meter("01000000024", "127.1.0.1:4059")).await.unwrap_err();
    assert_eq!(
        taken.to_string(),
        "address 127.1.0.1:4059 on line street belongs to meter 01000000016 already"
    );
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_and_harms_no_neighbour_in_its_group() {
    let fresh = fresh().await;
    let writes = (0..20).map(|i| {
        let store = fresh.store.clone();
        tokio::spawn(async move {
            store
                .write::<(), InsertMeterError, _>(move |conn| {
                    Box::pin(async move {
                        meter::insert(conn, &meter(&format!("{i:011}"), &format!("a{i}"))).await?;
                        if i % 2 == 1 {
                            return Err(StoreError::Corrupt("odd".into()).into());
                        }
                        Ok(())
                    })
                })
                .await
        })
    });
    for (i, write) in writes.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(write.await.unwrap().is_ok(), i % 2 == 0, "write {i}");
    }
    assert_eq!(fresh.store.all_meters().await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_write_that_fails_halfway_takes_back_what_it_did_and_numbers_go_on_without_it() {
    let fresh = fresh().await;
    let writes = (0..40).map(|i| {
        let store = fresh.store.clone();
        tokio::spawn(async move {
            store
                .write::<i64, StoreError, _>(move |conn| {
                    Box::pin(async move {
                        let insert =
                            "INSERT INTO event (at, kind, detail) VALUES (?1, 'test', '{}') RETURNING id";
                        let id = sql::query_scalar(insert).bind(i64::from(i)).fetch_one(&mut *conn).await?;
                        if i % 4 == 3 {
                            return Err(StoreError::Corrupt("after its first statement".into()));
                        }
                        // Of every eight the last is refused by the database itself, when the write ends.
                        if i % 8 == 6 {
                            sql::query(
                                "INSERT INTO event (id, at, kind, detail) VALUES (?1, 0, 'twice', '{}')",
                            )
                            .bind(id)
                            .later(conn);
                        }
                        Ok(id)
                    })
                })
                .await
        })
    });
    let mut stored = Vec::new();
    for (i, write) in writes.collect::<Vec<_>>().into_iter().enumerate() {
        let outcome = write.await.unwrap();
        assert_eq!(outcome.is_ok(), i % 4 != 3 && i % 8 != 6, "write {i}: {outcome:?}");
        stored.extend(outcome.ok().map(|id| (id, i as i64)));
    }
    stored.sort_unstable();
    let events = fresh.store.events_after(0, 100).await.unwrap();
    let events: Vec<_> = events.iter().map(|event| (event.id, event.at.as_millisecond())).collect();
    assert_eq!(events, stored, "each write that was told its number has it");
}

#[tokio::test]
async fn an_error_that_ends_the_transaction_costs_its_own_write_alone() {
    let fresh = fresh_file().await;
    let writes = (0..40).map(|i| {
        let store = fresh.store.clone();
        tokio::spawn(async move {
            store
                .write::<(), StoreError, _>(move |conn| {
                    Box::pin(async move {
                        if i % 4 == 2 {
                            // As SQLite does when its disk is full.
                            sql::query("ROLLBACK").execute(&mut *conn).await?;
                        }
                        if i % 8 == 2 {
                            return Err(StoreError::Full("before its first change".into()));
                        }
                        sql::query("INSERT INTO event (at, kind, detail) VALUES (?1, 'test', '{}')")
                            .bind(i64::from(i))
                            .execute(conn)
                            .await
                            .map(drop)
                    })
                })
                .await
        })
    });
    for (i, write) in writes.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(write.await.unwrap().is_ok(), i % 4 != 2, "write {i}");
    }
    let events = fresh.store.events_after(0, 100).await.unwrap();
    let stored: Vec<_> = events.iter().map(|event| event.at.as_millisecond()).collect();
    assert_eq!(stored, (0..40).filter(|i| i % 4 != 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_store_syncs_fully_and_logs_ahead() {
    let fresh = fresh_file().await;
    let (journal, sync): (String, i64) = fresh
        .store
        .write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                let journal = sql::query_scalar("PRAGMA journal_mode").fetch_one(&mut *conn).await?;
                let sync = sql::query_scalar("PRAGMA synchronous").fetch_one(conn).await?;
                Ok((journal, sync))
            })
        })
        .await
        .unwrap();
    assert_eq!((journal.as_str(), sync), ("wal", 2));
}

#[tokio::test]
async fn a_posting_that_does_not_balance_is_refused_and_the_ledger_cannot_be_rewritten() {
    let fresh = fresh().await;
    let post = |change: i64| {
        fresh.store.write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let entries = [
                    Entry::money(Account::Channel, "shop", MinorUnits(-500)),
                    Entry::money(Account::Change, "01000000016", MinorUnits(change)),
                ];
                ledger::post(conn, "test", None, at(NOON), &entries).await
            })
        })
    };
    assert!(matches!(post(499).await, Err(StoreError::Unbalanced(_))));
    post(500).await.unwrap();
    let money = fresh.store.money_balance().await.unwrap();
    assert_eq!((money.received, money.change_held, money.balanced), (MinorUnits(500), MinorUnits(500), true));
    let rewrite = fresh
        .store
        .write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                sql::query("UPDATE ledger_entry SET minor = 0").execute(conn).await?;
                Ok(())
            })
        })
        .await;
    assert!(rewrite.unwrap_err().to_string().contains("append-only"));
}

#[tokio::test]
async fn counters_are_never_given_twice_even_after_a_restart() {
    let mut fresh = fresh().await;
    let meter = Serial("01000000016".into());
    assert_eq!(fresh.store.reserve(&meter, 18, 0, 100).await.unwrap(), 0..100);
    assert_eq!(fresh.store.reserve(&meter, 1, 0, 10).await.unwrap(), 0..10);
    fresh.reopen().await;
    let again = fresh.store.clone();
    assert_eq!(again.reserve(&meter, 18, 0, 100).await.unwrap(), 100..200);
    assert_eq!(again.reserve(&meter, 18, 5000, 100).await.unwrap(), 5000..5100);
    assert!(again.reserve(&meter, 18, u32::MAX - 50, 100).await.unwrap_err().contains("used up"));
}

#[tokio::test]
async fn a_store_has_one_system_title_and_another_store_another() {
    let (mut one, other) = (fresh().await, fresh().await);
    let title = one.store.system_title().await.unwrap();
    assert_eq!(&title[..3], b"MGG");
    assert_eq!(one.store.system_title().await.unwrap(), title);
    one.reopen().await;
    assert_eq!(one.store.system_title().await.unwrap(), title);
    assert_ne!(other.store.system_title().await.unwrap(), title);
}

#[tokio::test]
async fn a_value_that_was_not_read_leaves_the_last_one_standing_with_its_own_time() {
    let fresh = fresh().await;
    add(&fresh.store, meter("01000000016", "a")).await.unwrap();
    let serial = Serial("01000000016".into());
    let open = RelayState { output_closed: false, control_state: Some(0) };
    let all = Facts {
        import_wh: Some(1_000),
        credit_wh: Some(-3),
        relay: Some(open),
        relay_reason: Some("no credit".into()),
        ..Facts::default()
    };
    let less = Facts { import_wh: Some(1_001), ..Facts::default() };
    for (facts, time) in [(all, NOON), (less, "2026-06-01T12:15:00Z")] {
        let serial = serial.clone();
        fresh
            .store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { observation::apply(conn, &serial, &facts, at(time)).await })
            })
            .await
            .unwrap();
    }
    let (_, state) = fresh.store.meter(&serial.0).await.unwrap().unwrap();
    assert_eq!((state.import_wh, state.read_at), (Some(WattHours(1_001)), Some(at("2026-06-01T12:15:00Z"))));
    assert_eq!((state.credit_wh, state.credit_at), (Some(WattHours(-3)), Some(at(NOON))));
    assert_eq!((state.relay, state.relay_reason.as_deref()), (Some(open), Some("no credit")));
    let kinds: Vec<_> =
        fresh.store.events_after(0, 10).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["reading", "relay", "reading"]);
}

#[tokio::test]
async fn a_command_keeps_every_step_with_its_evidence() {
    let fresh = fresh().await;
    add(&fresh.store, meter("01000000016", "a")).await.unwrap();
    let id = fresh
        .store
        .write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                let request = command("01000000016", CommandKind::Read);
                let id = command::insert(conn, &request, at(NOON)).await?;
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
                let step = CommandEvent {
                    state: CommandState::Verified,
                    at: at("2026-06-01T12:00:01Z"),
                    evidence: vec!["read 3 values".into()],
                };
                command::advance(conn, &command, &step, true).await?;
                Ok(id)
            })
        })
        .await
        .unwrap();
    let (command, steps) = fresh.store.command(id).await.unwrap().unwrap();
    assert_eq!((command.state, command.outcome.as_deref()), (CommandState::Verified, Some("read 3 values")));
    let states: Vec<_> = steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [CommandState::Recorded, CommandState::Verified]);
    assert!(fresh.store.open_commands_after(0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_page_link_opens_once_and_not_after_its_time() {
    let fresh = fresh().await;
    let (noon, later) = (at(NOON), at("2026-06-01T13:00:00Z"));
    fresh.store.add_page_link(vec![1], later).await.unwrap();
    assert!(!fresh.store.redeem_page_link(vec![2], vec![9], noon, later).await.unwrap());
    assert!(fresh.store.redeem_page_link(vec![1], vec![9], noon, later).await.unwrap());
    assert!(!fresh.store.redeem_page_link(vec![1], vec![8], noon, later).await.unwrap());
    assert!(fresh.store.page_session(&[9], noon).await.unwrap());
    assert!(!fresh.store.page_session(&[9], later).await.unwrap());
    assert!(!fresh.store.page_session(&[1], noon).await.unwrap());
}

#[tokio::test]
async fn a_token_is_delivered_by_one_command_at_a_time() {
    let fresh = fresh().await;
    add(&fresh.store, meter("01000000016", "a")).await.unwrap();
    let set = "INSERT INTO special (serial, kind, action, reason, requested_by, state, correlation, at, updated_at)
                   VALUES ('01000000016', 'key_change', '{}', 'r', 'anna', 'on_the_way', 'c', 0, 0);
               INSERT INTO token (special_id, serial, tenths_kwh, sealed, at) VALUES (1, '01000000016', 0, '', 0);";
    fresh.store.write::<_, StoreError, _>(move |conn| Box::pin(sql::script(set, conn))).await.unwrap();
    let deliver = |after: Option<i64>| {
        fresh.store.write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let end = "UPDATE command SET state = 'rejected' WHERE id = ?1";
                sql::query(end).bind(after).execute(&mut *conn).await?;
                let delivery =
                    NewCommand { token_id: Some(1), ..command("01000000016", CommandKind::DeliverToken) };
                command::insert(conn, &delivery, at(NOON)).await
            })
        })
    };
    let first = deliver(None).await.unwrap();
    assert!(deliver(None).await.is_err(), "twice at once");
    let second = deliver(Some(first)).await.unwrap();
    assert_eq!(fresh.store.command_of_token(1).await.unwrap(), Some(second));
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_counter_heard_is_kept_over_a_restart_never_lowered_and_belongs_to_its_keys() {
    use crate::vault::KeyMark;
    let mut fresh = fresh().await;
    let (meter, old, new) = (Serial("1".into()), KeyMark([1; 8]), KeyMark([2; 8]));
    assert_eq!(fresh.store.heard(&meter, old).await, Ok(None));
    for counter in [7, 900, 30] {
        fresh.store.keep_heard(&meter, old, counter).await.unwrap();
    }
    fresh.reopen().await;
    let reopened = &fresh.store;
    assert_eq!(reopened.heard(&meter, old).await, Ok(Some(900)));
    assert_eq!(reopened.heard(&meter, new).await, Ok(None), "under new keys the meter counts anew");
    assert_eq!(reopened.heard(&Serial("2".into()), old).await, Ok(None));
}
