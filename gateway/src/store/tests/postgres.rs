//! What is special about a store on a PostgreSQL server. Each test has a server of its own.

use super::cluster::Cluster;
use super::*;
use std::time::Duration;

async fn store_on(cluster: &Cluster) -> (Store, Place) {
    let url = cluster.database("meters_of_the_town");
    let place = Place::Server(Server::new(&url, None).unwrap());
    (Store::open_at(&place).await.unwrap(), place)
}

async fn add_numbered(store: &Store, number: u32) -> Result<(), InsertMeterError> {
    add(store, meter(&format!("meter-{number}"), &format!("{number}"))).await
}

/// Tries again until the store takes it, as the command engine does.
async fn add_at_last(store: &Store, number: u32) {
    let began = std::time::Instant::now();
    while let Err(error) = add_numbered(store, number).await {
        assert!(matches!(error, InsertMeterError::Store(StoreError::Unreachable(_))), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The same test program once more, with every store on a server.
#[test]
fn postgres_the_tests_that_use_a_store_pass_on_a_server_too() {
    let cluster = Cluster::start();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["store::", "vending::", "commands::", "northbound::", "api::", "--skip", "postgres_"])
        .env(SERVER, cluster.url("postgres"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let said = std::thread::spawn(move || std::io::read_to_string(&mut output).unwrap());
    let began = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if began.elapsed() > Duration::from_secs(900) {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let said = said.join().unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{said}");
    let passed = said.rsplit_once("test result: ok. ").and_then(|(_, rest)| rest.split_once(' '));
    let passed: u32 = passed.expect("a result").0.parse().unwrap();
    assert!(passed > 100, "{said}");
    // They did use the server.
    let databases: u32 = cluster.sql("postgres", "SELECT COUNT(*) FROM pg_database").parse().unwrap();
    assert!(databases > 50, "{databases} databases were made");
}

#[tokio::test]
async fn postgres_a_second_gateway_on_one_database_is_refused_and_may_look() {
    let cluster = Cluster::start();
    let (store, place) = store_on(&cluster).await;
    add_numbered(&store, 1).await.unwrap();
    let refused = Store::open_at(&place).await.unwrap_err().to_string();
    assert!(
        refused.contains("another gateway is at work on postgres database meters_of_the_town"),
        "{refused}"
    );
    let looking = Store::open_to_read(&place).await.unwrap();
    assert_eq!(looking.all_meters().await.unwrap().len(), 1);
    assert!(add_numbered(&looking, 2).await.is_err());
    drop(store);
    let next = Store::open_at(&place).await.unwrap();
    assert_eq!(next.all_meters().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_a_server_that_is_killed_and_started_again_is_found_again() {
    let mut cluster = Cluster::start();
    let (store, _) = store_on(&cluster).await;
    add_numbered(&store, 1).await.unwrap();
    for round in 2..5 {
        cluster.kill();
        let away = add_numbered(&store, 100 + round).await.unwrap_err();
        assert!(matches!(away, InsertMeterError::Store(StoreError::Unreachable(_))), "{away}");
        assert!(store.ping().await.is_err());
        cluster.start_again();
        add_at_last(&store, round).await;
        store.ping().await.unwrap();
        assert_eq!(store.all_meters().await.unwrap().len(), usize::try_from(round).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_what_the_server_dropped_before_the_commit_is_not_there() {
    let cluster = Cluster::start();
    let (store, _) = store_on(&cluster).await;
    // The commit itself takes a while: a deferred trigger runs in it.
    cluster.sql(
        "meters_of_the_town",
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON meter DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.serial = 'meter-1') EXECUTE FUNCTION slow();",
    );
    let (lost, ()) = tokio::join!(add_numbered(&store, 1), cut_the_commit(&cluster, "PgSleep"));
    let lost = lost.unwrap_err();
    assert!(matches!(lost, InsertMeterError::Store(StoreError::Unreachable(_))), "{lost}");
    add_at_last(&store, 2).await;
    assert!(store.meter("meter-1").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_what_was_committed_unheard_is_told_as_done() {
    let cluster = Cluster::start();
    let (store, _) = store_on(&cluster).await;
    // The server writes a commit down and then waits for a standby that is not there: committed, and not answered.
    cluster.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    let (told, ()) = tokio::join!(add_numbered(&store, 1), async {
        cut_the_commit(&cluster, "SyncRep").await;
        cluster.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
        cluster.sql("postgres", "SELECT pg_reload_conf()");
    });
    told.unwrap();
    assert!(store.meter("meter-1").await.unwrap().is_some());
    let again = add_numbered(&store, 1).await.unwrap_err();
    assert!(matches!(again, InsertMeterError::SerialTaken(_)), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_over_a_network_is_spoken_to_in_tls_and_only_with_the_server_that_is_meant() {
    let mut cluster = Cluster::start();
    cluster.listen_for_tls();
    drop(cluster.database("meters_of_the_town"));
    let open = async |host: &str, authority: bool| {
        let mut url = cluster.tls_url(host, "meters_of_the_town");
        if authority {
            url.push_str(&format!("&sslrootcert={}", cluster.authority().display()));
        }
        Store::open_at(&Place::Server(Server::new(&url, None).unwrap())).await
    };
    let refused = open("localhost", false).await.unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "nobody on this machine knows the authority: {refused}");
    let refused = open("127.0.0.1", true).await.unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "the certificate is for another name: {refused}");
    let store = open("localhost", true).await.unwrap();
    add_numbered(&store, 1).await.unwrap();
    assert_eq!(store.all_meters().await.unwrap().len(), 1);
    let sessions = "SELECT COUNT(*), BOOL_AND(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                    WHERE application_name LIKE 'meter-gateway%'";
    let sessions = cluster.sql("postgres", sessions);
    assert!(sessions == "2|t" || sessions == "1|t", "{sessions}");
}

/// Cuts the writing session as soon as it waits in its commit for `event`.
async fn cut_the_commit(cluster: &Cluster, event: &str) {
    let cut = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name LIKE 'meter-gateway writer%' AND query = 'COMMIT' AND wait_event = '{event}'"
    );
    let began = std::time::Instant::now();
    while cluster.sql("postgres", &cut) != "t" {
        assert!(began.elapsed() < Duration::from_secs(60), "the commit is not under way");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
