//! Every released schema opens with what it holds; and both databases have the same schema.

use super::*;
use crate::store::campaign::CampaignKind;
use crate::store::command::CommandState;
use crate::store::migrate;
use crate::store::observation::Quality;
use crate::vault::KeyMark;
use sqlx::{AssertSqlSafe, Connection as _};

/// Migrations that were released: stores of these schemas are out there.
const RELEASED: usize = 7;

/// What a gateway left behind, by the migration that brought the tables. In words both databases understand.
const LEFT_BEHIND: [(usize, &str); 6] = [
    (
        1,
        "INSERT INTO gateway (system_title) VALUES ('MGG12345');
         INSERT INTO meter (serial, line, address, framing, model, balance, role, area, sts, added_at)
             VALUES ('01000000016', 'street', 'a', 'wrapper', 'm', 'meter', 'customer', 'T1', NULL, 0);
         INSERT INTO meter_state (serial, import_wh, read_at) VALUES ('01000000016', 7000, 1);
         INSERT INTO payment (channel, idempotency_key, request_digest, serial, amount_minor, billed_minor, change_minor,
                              energy_wh, state, correlation, at)
             VALUES ('shop', 'k', '', '01000000016', 1000, 990, 10, 33000, 'on_the_way', 'c', 0);
         INSERT INTO posting (kind, payment_id, at) VALUES ('top_up', 1, 0);
         INSERT INTO ledger_entry (posting_id, account, owner, minor, wh) VALUES (1, 'channel', 'shop', -1000, 0);
         INSERT INTO ledger_entry (posting_id, account, owner, minor, wh) VALUES (1, 'on_the_way', '01000000016', 990, 0);
         INSERT INTO ledger_entry (posting_id, account, owner, minor, wh) VALUES (1, 'change', '01000000016', 10, 0);
         INSERT INTO special (serial, kind, action, reason, requested_by, state, tokens, correlation, at, updated_at)
             VALUES ('01000000016', 'key_change', '{}', 'r', 'anna', 'on_the_way', 1, 'c', 0, 0);
         INSERT INTO tid_reservation (serial, base_year, tid, payment_id, at) VALUES ('01000000016', 2014, 77, 1, 0);
         INSERT INTO token (special_id, serial, tenths_kwh, sealed, at) VALUES (1, '01000000016', 0, '', 0);
         INSERT INTO token (payment_id, serial, tid, tenths_kwh, sealed, at) VALUES (1, '01000000016', 77, 330, '', 0);
         INSERT INTO counter_block (serial, client_sap, next) VALUES ('01000000016', 1, 500);
         INSERT INTO command (serial, kind, state, actor, correlation, token_id, at, updated_at)
             VALUES ('01000000016', 'deliver_token', 'unknown', 'anna', 'c', 1, 0, 0);
         INSERT INTO command (serial, kind, state, actor, correlation, token_id, at, updated_at)
             VALUES ('01000000016', 'deliver_token', 'verified', 'anna', 'c', 2, 0, 0);
         INSERT INTO command_event (command_id, state, at, evidence) VALUES (1, 'unknown', 0, '[]');
         INSERT INTO command_event (command_id, state, at, evidence) VALUES (2, 'verified', 0, '[\"seen\"]');
         INSERT INTO reading (serial, at, quality, import_wh) VALUES ('01000000016', 1, 'measured', 7000);
         INSERT INTO relay_observation (serial, at, output_closed) VALUES ('01000000016', 1, 1);
         INSERT INTO event (at, kind, serial, detail) VALUES (1, 'reading', '01000000016', '{}');
         INSERT INTO api_token (name, hash, scopes, at) VALUES ('admin', 'h', 'admin', 0);
         INSERT INTO page_secret (hash, kind, expires_at) VALUES ('p', 'session', 9000000000000);
         INSERT INTO audit (at, actor, action, subject, correlation) VALUES (0, 'anna', 'top_up', 's', 'c');",
    ),
    (
        2,
        "INSERT INTO campaign (action, selection, reason, requested_by, sets_max, state, correlation, at, updated_at)
             VALUES ('{}', '{}', 'r', 'anna', 1, 'paused', 'c', 0, 0);
         INSERT INTO campaign_meter (campaign_id, serial, special_id) VALUES (1, '01000000016', 1);",
    ),
    (3, "INSERT INTO sink (name, delivered_id, delivered_at) VALUES ('utility', 1, 0);"),
    (4, "INSERT INTO heard_counter (serial, key_mark, counter) VALUES ('01000000016', 'keymark1', 900);"),
    (
        6,
        "INSERT INTO notice (serial, kind, delivered_at, way, recorded_by, correlation, at)
             VALUES ('01000000016', 'demand', 0, 'letter', 'anna', 'c', 0);
         INSERT INTO protection (serial, kind, set_by, at) VALUES ('01000000016', 'hospital', 'anna', 0);",
    ),
    (
        7,
        "INSERT INTO profile_layout (channels) VALUES ('[[\"import_wh\",\"Wh\"]]');
         INSERT INTO profile_series (serial, profile, due_from, asked_to) VALUES ('01000000016', 'load', 0, 900000);
         INSERT INTO profile_row (series_id, at, layout_id, quality, cells, disputed, read_at)
             VALUES (1, 900000, 1, 'late', '7000', 1, 1800000);",
    ),
];

/// A place where a gateway of that schema has worked.
async fn left_behind(released: usize) -> (Fresh, Place) {
    let fresh = fresh().await;
    let filled = LEFT_BEHIND.iter().filter(|(since, _)| *since <= released).map(|(_, sql)| *sql);
    let filled = AssertSqlSafe(filled.collect::<String>());
    let place = match &fresh.place {
        Place::File(_) => {
            let path = fresh.dir.join("earlier.db");
            let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
            let mut conn = options.connect().await.unwrap();
            migrate::for_sqlite(released).run(&mut conn).await.unwrap();
            // What is text here would stay text in a column of bytes.
            let filled = AssertSqlSafe(filled.0.replace("'keymark1'", "CAST('keymark1' AS BLOB)"));
            sqlx::raw_sql(filled).execute(&mut conn).await.unwrap();
            conn.close().await.unwrap();
            Place::File(path)
        }
        Place::Server(_) => {
            let url = empty_database().await;
            let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
            migrate::for_postgres(released).run(&mut conn).await.unwrap();
            sqlx::raw_sql(filled).execute(&mut conn).await.unwrap();
            conn.close().await.unwrap();
            Place::Server(Server::new(&url, None).unwrap())
        }
    };
    (fresh, place)
}

#[tokio::test]
async fn a_store_of_every_released_schema_opens_with_what_it_holds_and_goes_on() {
    for released in 1..=RELEASED {
        let (_fresh, place) = left_behind(released).await;
        let store = Store::open_at(&place).await.unwrap_or_else(|error| panic!("schema {released}: {error}"));
        let serial = Serial("01000000016".into());
        let money = store.money_balance().await.unwrap();
        assert_eq!(
            (money.balanced, money.received, money.on_the_way),
            (true, MinorUnits(1000), MinorUnits(990))
        );
        let (payment, token) = store.payment(1).await.unwrap().unwrap();
        assert_eq!((payment.energy, token.unwrap().tid), (WattHours(33_000), 77));
        assert_eq!(store.special(1).await.unwrap().unwrap().rounds, 1, "schema {released}");
        assert_eq!(store.command_of_token(1).await.unwrap(), Some(1));
        assert_eq!(store.open_commands_after(0).await.unwrap().len(), 1);
        let (done, steps) = store.command(2).await.unwrap().unwrap();
        assert_eq!(
            (done.state, steps[0].evidence.as_slice()),
            (CommandState::Verified, ["seen".to_owned()].as_slice())
        );
        assert_eq!(store.readings(&serial.0, 9).await.unwrap()[0].import_wh, Some(WattHours(7000)));
        assert_eq!(&store.system_title().await.unwrap(), b"MGG12345");
        assert_eq!(store.reserve(&serial, 1, 0, 1).await.unwrap(), 500..501);
        assert_eq!(
            store.campaigns(CampaignKind::KeyChange, Some(&serial.0), 9).await.unwrap().len(),
            usize::from(released >= 2)
        );
        assert_eq!(store.sink_position("utility").await.unwrap(), i64::from(released >= 3));
        let heard = store.heard(&serial, KeyMark(*b"keymark1")).await.unwrap();
        assert_eq!(heard, (released >= 4).then_some(900));
        assert_eq!(store.standing(&serial).await.unwrap().notices.len(), usize::from(released >= 6));
        let rows =
            store.profile_rows(&serial.0, "load", Timestamp::UNIX_EPOCH, Timestamp::MAX, 9).await.unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (row.quality, row.disputed, row.values[0].2)).collect();
        let stored = [(Quality::Late, true, Some(7000))];
        assert_eq!(rows, stored[..usize::from(released >= 7)]);
        // What comes next is numbered above what was there.
        let id = store
            .write::<_, StoreError, _>(|conn| {
                Box::pin(async move {
                    command::insert(conn, &command("01000000016", CommandKind::Read), at(NOON)).await
                })
            })
            .await
            .unwrap();
        assert_eq!(id, 3, "schema {released}");
        assert_eq!(store.last_event_id().await.unwrap(), 2);
    }
}

/// `table.column type [NOT NULL] [DEFAULT …]`, and the names of indexes and triggers.
async fn schema_of_sqlite() -> Vec<String> {
    let fresh = fresh_file().await;
    let columns = "SELECT t.name || '.' || c.name || ' ' ||
                       CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'BLOB' THEN 'bytea' ELSE LOWER(c.type) END ||
                       CASE WHEN c.\"notnull\" <> 0 OR c.pk <> 0 THEN ' NOT NULL' ELSE '' END ||
                       COALESCE(' DEFAULT ' || c.dflt_value, '')
                   FROM sqlite_master t JOIN pragma_table_info(t.name) c
                   WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '%sqlx%'
                   UNION ALL SELECT type || ' ' || name FROM sqlite_master
                   WHERE type IN ('index', 'trigger') AND sql IS NOT NULL
                   ORDER BY 1";
    sql::query_scalar(columns).fetch_all(&fresh.store.readers).await.unwrap()
}

async fn schema_of_postgres(url: &str) -> Vec<String> {
    let store = Store::open_at(&Place::Server(Server::new(url, None).unwrap())).await.unwrap();
    let columns = "SELECT table_name || '.' || column_name || ' ' || data_type ||
                       CASE WHEN is_nullable = 'NO' THEN ' NOT NULL' ELSE '' END ||
                       COALESCE(' DEFAULT ' || REPLACE(column_default, '::text', ''), '') COLLATE \"C\"
                   FROM information_schema.columns
                   WHERE table_schema = 'public' AND table_name NOT LIKE '%sqlx%'
                   UNION ALL SELECT 'index ' || indexname FROM pg_indexes WHERE schemaname = 'public'
                       AND indexname NOT IN (SELECT conname FROM pg_constraint) AND tablename NOT LIKE '%sqlx%'
                   UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
                   ORDER BY 1";
    sql::query_scalar(columns).fetch_all(&store.readers).await.unwrap()
}

#[tokio::test]
async fn postgres_has_the_schema_that_sqlite_has() {
    let cluster = super::cluster::Cluster::start();
    let wanted = schema_of_sqlite().await;
    assert!(wanted.len() > 150, "{wanted:#?}");
    assert_eq!(schema_of_postgres(&cluster.database("compared")).await, wanted);
}

#[tokio::test]
async fn the_ledger_is_append_only_whoever_writes() {
    let (_fresh, place) = left_behind(1).await;
    let store = Store::open_at(&place).await.unwrap();
    for change in ["UPDATE ledger_entry SET minor = 0", "DELETE FROM ledger_entry"] {
        let refused = store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { sql::query(change).execute(conn).await.map(drop) })
            })
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}
