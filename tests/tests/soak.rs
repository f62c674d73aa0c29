//! The gateway over a day and more, accelerated: thousands of meters on lines that lose frames, dead meters among them, and a WAN
//! that is away for hours or days. Here a few meters for an hour or two; `tests/soak` runs it with a substation's.
//!
//! Judged by what reached the other end of the WAN, in the street's own time: rows of load profiles within ten minutes of the end
//! of their interval, billing snapshots by their deadline, every fact there, each once. `SOAK_...` in the environment sets the scene
//! ([`Scene::from_environment`]); it is printed with the outcome.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use simulator::random::hash;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};
use tests::scale::memory::{Sampler, Seen};
use tests::scale::sink::{Endpoint, Row};
use tests::scale::{self, SimTime};
use tests::{Folder, GatewayProcess, Street, project_root};

/// A row that the gateway had so long after its interval was in time.
const IN_TIME: SignedDuration = SignedDuration::from_mins(10);
/// A billing snapshot has to be there so long after its day began: the gateway's default.
const BILLING_DEADLINE: SignedDuration = SignedDuration::from_hours(6);
const QUARTER: SignedDuration = SignedDuration::from_mins(15);
/// How long entering and commissioning everybody may take, and catching up after a cut, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(900);

/// Of 10,000.
const BILLING_BAR: u64 = 9_990;

/// What is played.
#[derive(Debug, Clone, Copy)]
struct Scene {
    dlms: u64,
    modbus: u64,
    /// Simulated minutes that are judged.
    minutes: u64,
    /// Simulated seconds a second.
    speed: u64,
    /// When the WAN goes, in minutes after the begin, and for how long.
    cut_at: u64,
    cut_for: u64,
    /// Of a hundred frames.
    loss_percent: u64,
    /// Of a thousand meters of each kind; at least one.
    dead_permille: u64,
    seed: u64,
    /// Of 10,000 rows of load profiles, and of as many registers of Modbus meters, which have no profiles, how many have to be there
    /// in time. Of a hundred rows one that was unlucky three times is a hundredth.
    in_time: u64,
    /// How long a meter may take to answer, in real milliseconds: the street's time is fast, its wires are not.
    answer_ms: u64,
}

impl Scene {
    fn from_environment() -> Self {
        let set = |name: &str, default| {
            std::env::var(name)
                .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
        };
        Self {
            dlms: set("SOAK_DLMS", 20),
            modbus: set("SOAK_MODBUS", 10),
            minutes: set("SOAK_MINUTES", 75),
            speed: set("SOAK_SPEED", 60),
            cut_at: set("SOAK_CUT_AT", 15),
            cut_for: set("SOAK_CUT_FOR", 30),
            loss_percent: set("SOAK_LOSS_PERCENT", 1),
            dead_permille: set("SOAK_DEAD_PERMILLE", 20),
            seed: set("SOAK_SEED", 1),
            in_time: set("SOAK_IN_TIME", 9_000),
            answer_ms: set("SOAK_ANSWER_MS", 250),
        }
    }

    /// The dead of the meters from `first`, by number.
    fn dead(&self, first: u64, count: u64) -> BTreeSet<u64> {
        let dead = (count * self.dead_permille / 1_000).max(1).min(count);
        let mut drawn: Vec<u64> = (first..first + count).collect();
        drawn.sort_by_key(|meter| hash(self.seed, *meter));
        drawn.into_iter().take(usize::try_from(dead).unwrap_or(0)).collect()
    }
}

/// A day begins in the middle of what is played, so that there is a bill to read.
fn street(scene: &Scene) -> Street {
    let day: Timestamp = "2026-03-03T00:00:00Z".parse().expect("a time");
    // Entering and commissioning takes some of the street's time too.
    let start = day - SignedDuration::from_mins(i64::try_from(scene.minutes / 3).unwrap_or(0)) - QUARTER;
    let (meters, modbus, seed) = (scene.dlms.to_string(), scene.modbus.to_string(), scene.seed.to_string());
    let common =
        ["--meters", &meters, "--modbus-tcp-meters", &modbus, "--modbus-tcp", "127.0.0.1:0", "--seed", &seed];
    let (speed, start) = (scene.speed.to_string(), start.as_second().to_string());
    let more =
        ["--speed", &speed, "--start-utc-s", &start, "--balance-wh", "500000000", "--profile-rows", "960"];
    Street::start_all(&[&common[..], &["--framing", "mixed"]].concat(), &more)
}

fn gateway(scene: &Scene, street: &Street, time: &SimTime, wan: &Endpoint) -> GatewayProcess {
    let folder = Folder::new("soak");
    std::fs::create_dir(folder.path().join("models")).expect("a directory can be made");
    for (kind, patience) in [("dlms", "response_timeout_ms = 3000"), ("modbus", "response_timeout_ms = 1000")]
    {
        let path = project_root().join(format!("gateway/models/reference-{kind}.toml"));
        let text = std::fs::read_to_string(path).expect("the reference model is there");
        assert!(text.contains(patience), "{kind}: the model waits for another time than {patience}");
        let text = text.replace(patience, &format!("response_timeout_ms = {}", scene.answer_ms));
        folder.file(&format!("models/soak-{kind}.toml"), &text);
    }
    folder.file("hook.secret", "the secret of the other end");
    let mut more = String::from("connections_max = 128\n");
    let feeder = street.look("/street")["modbus_tcp"].as_str().expect("the feeder's address").to_owned();
    let (ip, port) = feeder.rsplit_once(':').expect("an address with a port");
    let ip: std::net::Ipv4Addr = ip.parse().expect("an IPv4 address");
    for server in 0..u32::try_from(scene.modbus.div_ceil(246)).unwrap_or(0) {
        let ip = std::net::Ipv4Addr::from(u32::from(ip) + server);
        more += &format!(
            "[[line]]\nname = \"modbus-{server}\"\nkind = \"modbus-tcp\"\naddress = \"{ip}:{port}\"\narea = \"T1\"\n"
        );
    }
    more += &wan.settings();
    more += &time.settings();
    more += "[schedule]\nreads_in_flight_max = 256\n";
    let gateway = GatewayProcess::start_with_settings(folder, "models = \"models\"\n", &more);
    // A line for every read would be most of what this machine does.
    gateway.must(&["log-level", "warn"]);
    gateway
}

/// The first quarter of an hour after this.
fn next_quarter(time: Timestamp) -> Timestamp {
    let second = time.as_second();
    Timestamp::from_second(second - second.rem_euclid(900) + 900).expect("a time of ours")
}

fn sleep_until(time: &SimTime, at: Timestamp) {
    std::thread::sleep(time.until(at));
}

struct Outcome {
    /// Part and whole.
    profiles: (u64, u64),
    billing: (u64, u64),
    dlms_reads: (u64, u64),
    modbus_reads: (u64, u64),
    memory: Seen,
}

#[test]
fn a_substation_is_read_in_time_and_everything_reaches_the_other_end_once_however_long_the_wan_was_away() {
    let scene = Scene::from_environment();
    println!("soak: {scene:?}");
    let begun = Instant::now();
    let wan = Endpoint::start();
    let street = street(&scene);
    let time = SimTime::of(&street);
    let gateway = gateway(&scene, &street, &time, &wan);
    scale::commission(&gateway, &scale::rows(&street, "soak-dlms", "soak-modbus"), PATIENCE);
    println!("soak: everybody commissioned after {} s", begun.elapsed().as_secs());

    street.act("/faults", &json!({ "fault": "frame_loss", "percent": scene.loss_percent }));
    let dead: BTreeSet<u64> =
        scene.dead(1, scene.dlms).into_iter().chain(scene.dead(scene.dlms + 1, scene.modbus)).collect();
    for meter in &dead {
        street.act(&format!("/meters/{meter}/faults"), &json!({ "fault": "silence" }));
    }
    let from = next_quarter(time.now());
    let to = from + SignedDuration::from_mins(i64::try_from(scene.minutes).expect("some minutes"));
    let minutes_after =
        |minutes: u64| from + SignedDuration::from_mins(i64::try_from(minutes).expect("some minutes"));
    sleep_until(&time, from);
    let read_before = wan.told().readings.clone();
    let memory = Sampler::of(gateway.process.id());
    sleep_until(&time, minutes_after(scene.cut_at));
    wan.cut(true);
    let told_before_cut = wan.told().facts();
    sleep_until(&time, minutes_after(scene.cut_at + scene.cut_for));
    wan.cut(false);
    let waiting = sink(&gateway, "behind");
    let back = Instant::now();
    println!("soak: the WAN was away for {} minutes; {waiting} facts wait", scene.cut_for);
    sleep_until(&time, to + IN_TIME);
    let memory = memory.stop();

    // Everything that is a fact now has to get there.
    let last = sink(&gateway, "delivered_id") + sink(&gateway, "behind");
    while wan.told().last() < last {
        assert!(
            back.elapsed() < PATIENCE * 4,
            "{} of {last} facts told\n{}",
            wan.told().last(),
            scale::tail(&gateway)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let outcome = count(&scene, &street, &wan, &dead, (from, to), &read_before, memory);
    report(&scene, &wan, &outcome, waiting, begun.elapsed());
    assert!(
        waiting > 0 && wan.told().facts() > told_before_cut,
        "nothing had to wait: the cut shows nothing"
    );
    judge(&scene, &wan, &outcome);
}

/// A number that `/sinks` shows.
fn sink(gateway: &GatewayProcess, field: &str) -> u64 {
    gateway.get("/sinks")[0][field].as_u64().expect("a number")
}

fn count(
    scene: &Scene,
    street: &Street,
    wan: &Endpoint,
    dead: &BTreeSet<u64>,
    (from, to): (Timestamp, Timestamp),
    read_before: &HashMap<String, u64>,
    memory: Seen,
) -> Outcome {
    let told = wan.told();
    let mut outcome =
        Outcome { profiles: (0, 0), billing: (0, 0), dlms_reads: (0, 0), modbus_reads: (0, 0), memory };
    for number in (1..=scene.dlms + scene.modbus).filter(|number| !dead.contains(number)) {
        let serial = street.meter(usize::try_from(number).expect("a meter's number"))["serial"]
            .as_str()
            .expect("a serial number");
        let is_dlms = number <= scene.dlms;
        let reads = if is_dlms { &mut outcome.dlms_reads } else { &mut outcome.modbus_reads };
        let due = scene.minutes / 15;
        let of = |counts: &HashMap<String, u64>| counts.get(serial).copied().unwrap_or(0);
        // What is due at the last moment may be read just before or after it.
        *reads = (reads.0 + (of(&told.readings) - of(read_before)).min(due), reads.1 + due);
        if !is_dlms {
            continue;
        }
        let mut slot = from + QUARTER;
        while slot <= to {
            let late = told.lateness_s(Row::Load, serial, slot);
            outcome.profiles.0 += u64::from(late.is_some_and(|late| late <= IN_TIME.as_secs()));
            outcome.profiles.1 += 1;
            if slot.as_second().rem_euclid(86_400) == 0 {
                let late = told.lateness_s(Row::Daily, serial, slot);
                outcome.billing.0 += u64::from(late.is_some_and(|late| late <= BILLING_DEADLINE.as_secs()));
                outcome.billing.1 += 1;
            }
            slot += QUARTER;
        }
    }
    outcome
}

fn report(scene: &Scene, wan: &Endpoint, outcome: &Outcome, waiting: u64, took: Duration) {
    let told = wan.told();
    let share = |(part, whole): (u64, u64)| format!("{part} of {whole} ({})", scale::percent(part, whole));
    println!("soak, seed {}: {} simulated hours in {} s", scene.seed, scene.minutes / 60, took.as_secs());
    println!("soak: load profiles within ten minutes  {}", share(outcome.profiles));
    println!("soak: billing snapshots by the deadline {}", share(outcome.billing));
    println!("soak: registers of DLMS meters read     {}", share(outcome.dlms_reads));
    println!("soak: registers of Modbus meters read   {}", share(outcome.modbus_reads));
    println!(
        "soak: facts told {}, of which {waiting} had waited for the WAN; missing {}, told again {}",
        told.facts(),
        told.last() - told.facts(),
        told.repeated
    );
    let memory = &outcome.memory;
    println!(
        "soak: memory by quarters {:?} kB, at most {} kB, slope {} kB an hour of this machine's",
        [0, 1, 2, 3].map(|quarter| memory.quarter_kb(quarter)),
        memory.peak_kb(),
        memory.slope_kb_per_hour()
    );
    let mut kinds: Vec<_> = told.kinds.iter().collect();
    kinds.sort();
    println!("soak: facts by kind {kinds:?}");
}

fn judge(scene: &Scene, wan: &Endpoint, outcome: &Outcome) {
    let told = wan.told();
    assert_eq!(told.facts(), told.last(), "facts are missing at the other end");
    assert_eq!((told.repeated, told.rows_again), (0, 0), "facts were told again");
    let reaches = |(part, whole): (u64, u64), bar| whole > 0 && part * 10_000 >= whole * bar;
    assert!(
        reaches(outcome.profiles, scene.in_time),
        "too many load profiles came late: {:?}",
        outcome.profiles
    );
    assert!(
        reaches(outcome.billing, BILLING_BAR),
        "too many billing snapshots came late: {:?}",
        outcome.billing
    );
    assert!(
        reaches(outcome.modbus_reads, scene.in_time),
        "too few registers were read: {:?}",
        outcome.modbus_reads
    );
    let (early, late) = (outcome.memory.quarter_kb(1), outcome.memory.quarter_kb(3));
    assert!(late <= early + early / 10 + 8_192, "the gateway grew from {early} kB to {late} kB");
}
