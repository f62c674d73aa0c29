//! A gateway whose store is a PostgreSQL database: it is killed with payments in flight, and the server under it too.

use std::process::Command;
use std::time::{Duration, Instant};
use tests::postgres::Cluster;
use tests::{Folder, GatewayProcess, Process, Street};

/// Everything here is done in seconds; on a machine busy with other tests it takes its time.
const PATIENCE: Duration = Duration::from_secs(180);

struct Scene {
    cluster: Cluster,
    street: Street,
    gateway: GatewayProcess,
    serial: String,
    paid: i64,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start();
        let street = Street::start(1, "wrapper", &[]);
        let serial = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
        let url = cluster.database("town");
        let gateway = GatewayProcess::start_on(&format!("url = \"{url}\""));
        gateway.add_meter(&serial, &format!("{}:{}", street.host(1), street.port), "wrapper");
        gateway.until_commissioned(&serial);
        Self { cluster, street, gateway, serial, paid: 0 }
    }

    fn payment(&self, key: &str) -> Command {
        let secret = self.gateway.folder().path().join("channel.secret");
        let mut command =
            self.gateway.command(&["top-up", &self.serial, "500", "--channel", "till", "--key", key]);
        command.arg("--secret-file").arg(secret);
        command
    }

    /// Pays while `harm` is done, then under the same key until it is answered.
    fn pay_through(&mut self, key: &str, harm: impl FnOnce(&mut Self)) {
        let first = Process::start(&mut self.payment(key));
        harm(self);
        let _ = first.finish(PATIENCE);
        let began = Instant::now();
        loop {
            let (code, said) = Process::start(&mut self.payment(key)).finish(PATIENCE);
            if code == Some(0) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{said}\n{}", self.gateway.process.said());
            std::thread::sleep(Duration::from_millis(200));
        }
        self.paid += 500;
    }

    /// Every payment is one credit in the meter, and the money is where it should be.
    fn judge(&self) {
        let began = Instant::now();
        loop {
            let balance = self.gateway.get("/accounts/balance");
            let of = |field: &str| balance[field].as_i64().expect("an amount");
            if of("on_the_way") == 0 {
                assert_eq!(of("received"), self.paid, "{balance}");
                assert_eq!(of("accepted") + of("change_held"), self.paid, "{balance}");
                assert_eq!(balance["balanced"], true, "{balance}");
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{balance}\n{}", self.gateway.process.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        let payments = self.gateway.get(&format!("/top-ups?serial={}", self.serial));
        let sold: i64 = payments
            .as_array()
            .expect("a list")
            .iter()
            .map(|payment| payment["energy_wh"].as_i64().expect("watt-hours"))
            .sum();
        assert_eq!(self.street.look("/meters/1")["credited_wh"].as_i64(), Some(sold), "{payments:#}");
    }
}

#[test]
fn postgres_a_gateway_killed_in_the_middle_of_a_top_up_finishes_it_exactly_once() {
    let mut scene = Scene::new();
    for round in 0..6u64 {
        scene.pay_through(&format!("kill-{round}"), |scene| {
            // Somewhere between the request and the read-back, another place in every round.
            std::thread::sleep(Duration::from_millis(15 * round * round));
            scene.gateway.kill();
            scene.gateway.start_again();
        });
    }
    scene.judge();
}

#[test]
fn postgres_a_server_killed_under_the_gateway_loses_no_payment_and_the_gateway_goes_on() {
    let mut scene = Scene::new();
    for round in 0..4u64 {
        scene.pay_through(&format!("server-{round}"), |scene| {
            std::thread::sleep(Duration::from_millis(20 * round * round));
            scene.cluster.kill();
            scene.cluster.start_again();
        });
    }
    assert!(scene.gateway.process.is_running(), "{}", scene.gateway.process.said());
    scene.judge();
}

#[test]
fn postgres_the_command_line_says_what_takes_the_place_of_a_backup() {
    let folder = Folder::new("postgres-backup");
    let config = folder.file(
        "gateway.toml",
        "[api]\nlisten = \"127.0.0.1:1\"\n[store]\nurl = \"postgres://mg@db.example/meters\"\n\
         [vault]\nmaster_key_file = \"master.key\"\n[price]\ncurrency = \"EUR\"\nminor_per_kwh = \"30\"\n",
    );
    for (verb, instead) in [("backup", "pg_dump"), ("restore", "pg_restore")] {
        let mut command = tests::program("meter-gateway");
        command.args([verb, "--config"]).arg(&config).arg(folder.path().join("copy"));
        let (code, said) = Process::start(&mut command).finish(PATIENCE);
        assert_eq!(code, Some(65), "{said}");
        assert!(said.contains("postgres database meters at db.example:5432"), "{said}");
        assert!(said.contains(instead) && said.contains("vault.sealed"), "{said}");
    }
}
