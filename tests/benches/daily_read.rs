//! `cargo bench -p tests --bench daily_read [-- --meters N]`: the full daily read of 100, 1,000 and 10,000 meters by the gateway as a
//! process of its own, with the simulator beside it, while customers top up. Needs both programs: `tests/bench` builds them.
//!
//! The gateway was away for a day. From its start on it reads each meter's registers, credit, relay and clock, the 96 rows of four
//! channels that its load profile has by then, and the daily snapshot for the bill; all of it is stored when the clock stops. Wrapper,
//! HLS-GMAC, everything ciphered. One JSON object a line.

use gateway::api::signature::{Signed, sign};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulator::random::between;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::process::{cpu_ms, peak_resident_kb};
use tests::scale::{self, SimTime};
use tests::{Folder, GatewayProcess, Street};

const SIZES: [u64; 3] = [100, 1_000, 10_000];
/// What is asked of each meter: registers, load profile, daily snapshot.
const JOBS: u64 = 3;
/// Rows of a day.
const ROWS: u64 = 96;
/// A sweep, or the preparation of one, that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(900);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Between two questions of a till whether its token was taken.
const ASK: Duration = Duration::from_millis(50);
/// The store is quiet when nothing was written for so long.
const QUIET: Duration = Duration::from_millis(600);
/// Tills that sell at the same time, and the pause of each between two sales.
const TILLS: u64 = 4;
const BETWEEN_SALES: Duration = Duration::from_millis(200);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let meters = arguments.iter().position(|argument| argument == "--meters");
    let meters = meters.and_then(|at| arguments.get(at + 1)?.parse().ok());
    let sizes = meters.map_or(SIZES.to_vec(), |meters| vec![meters]);
    for meters in sizes {
        println!("{}", sweep(meters));
    }
}

fn sweep(meters: u64) -> Value {
    let (count, day) = (meters.to_string(), "2026-03-03T00:30:00Z".parse::<Timestamp>().expect("a time"));
    let start = day.as_second().to_string();
    let more = ["--speed", "2", "--start-utc-s", &start, "--balance-wh", "500000", "--past-rows", "0"];
    let street = Street::start_all(&["--meters", &count], &more);
    let clock = SimTime::of(&street).settings();
    let more = format!(
        "connections_max = 128\n[schedule]\nreads_in_flight_max = 128\nread_interval_s = 86400\nread_spread_s = 1\n\
         profile_spread_s = 0\n{clock}"
    );
    let mut gateway = GatewayProcess::start_with_settings(Folder::new("sweep"), "", &more);
    let start_cpu_ms = cpu_ms(gateway.process.id());
    scale::commission(&gateway, &scale::rows(&street, "reference-dlms", "reference-modbus"), PATIENCE);
    gateway.kill();
    street.act("/time", &json!({ "advance": "1d" }));
    gateway.configure(|text| text.replace(&clock, &SimTime::of(&street).settings()));

    let begun = Instant::now();
    gateway.start_again();
    let (over, waits) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let took = std::thread::scope(|scope| {
        for till in 0..TILLS {
            let (gateway, street, over, waits) = (&gateway, &street, &over, &waits);
            scope.spawn(move || sell(gateway, street, till, over, waits));
        }
        // Each sale is answered too.
        let answers = || meters * JOBS + waits.lock().expect("no till panics with it").len() as u64;
        while scale::lines(&gateway, "answered") < answers() {
            assert!(begun.elapsed() < PATIENCE, "not read in time\n{}", scale::tail(&gateway));
            std::thread::sleep(LOOK);
        }
        over.store(true, Ordering::Relaxed);
        until_quiet(&gateway, begun)
    });
    let (peak_kb, cpu_ms) = (peak_resident_kb(gateway.process.id()), cpu_ms(gateway.process.id()));
    let associations = scale::lines(&gateway, "associations");
    check(&gateway, meters, day);
    let mut waits = waits.into_inner().expect("no till panicked");
    waits.sort_unstable();
    let nth = |percent: usize| waits.get(waits.len() * percent / 100).copied().unwrap_or(0);
    json!({
        "bench": "daily_read", "meters": meters, "ms": took.as_millis() as u64, "rows": meters * ROWS,
        "peak_kb": peak_kb, "cpu_us_per_meter": cpu_ms.saturating_sub(start_cpu_ms) * 1_000 / meters,
        "associations_per_1000_meters": associations * 1_000 / meters,
        "top_ups": waits.len(), "top_up_p50_ms": nth(50), "top_up_p95_ms": nth(95),
    })
}

/// When the last write was, once there are no more.
fn until_quiet(gateway: &GatewayProcess, begun: Instant) -> Duration {
    let writes = || scale::metric(gateway, "meter_gateway_store_group_writes_sum");
    let (mut last, mut seen) = (begun.elapsed(), writes());
    while begun.elapsed() - last < QUIET {
        std::thread::sleep(LOOK);
        let now = writes();
        if now != seen {
            (last, seen) = (begun.elapsed(), now);
        }
    }
    last
}

/// Whether every meter's day is there.
fn check(gateway: &GatewayProcess, meters: u64, commissioned: Timestamp) {
    // The quarter that ends when the day does is asked for some seconds later: it is not part of what was swept.
    let quarter = SignedDuration::from_mins(15);
    let (from, to) = (commissioned + quarter * 3, commissioned + SignedDuration::from_hours(24) - quarter);
    let coverage = gateway.get(&format!("/areas/T1/coverage?from={from}&to={to}"));
    for total in coverage["total"].as_array().expect("totals are an array") {
        let number = |field: &str| total[field].as_u64().expect("a number");
        let due = if total["profile"] == "load" { 92 } else { 1 };
        let due = if total["profile"] == "monthly" { 0 } else { due * meters };
        assert_eq!((number("due"), number("missing")), (due, 0), "{total}");
    }
    let day_after = commissioned + SignedDuration::from_hours(23);
    for meter in scale::meters(gateway) {
        let read = meter["reading"]["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        assert!(read.is_some_and(|read| read > day_after), "not read: {meter}");
    }
}

/// Sells at one meter after another, and waits until each has taken its token and was read back.
fn sell(gateway: &GatewayProcess, street: &Street, till: u64, over: &AtomicBool, waits: &Mutex<Vec<u64>>) {
    for sale in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let meter = between(till, sale, 1, street.count() as u64);
        let serial = street.meter(usize::try_from(meter).expect("a meter's number"))["serial"].clone();
        let (key, body) =
            (format!("{till}-{sale}"), json!({ "serial": serial, "amount_minor": 500 }).to_string());
        let now = u64::try_from(Timestamp::now().as_second()).expect("after 1970");
        let signed = Signed { method: "POST", path: "/api/v1/top-ups", key: &key, body: body.as_bytes() };
        let signature = sign(GatewayProcess::channel_secret().as_bytes(), now, &signed);
        let paid = Instant::now();
        let headers = [("idempotency-key", key.as_str()), ("x-channel", "till"), ("x-signature", &signature)];
        let payment = gateway.post_with("/top-ups", &headers, &body);
        let path = format!("/top-ups/{}", payment["id"]);
        while gateway.get(&path)["command_state"] != "verified" {
            assert!(paid.elapsed() < PATIENCE, "not delivered: {}", gateway.get(&path));
            std::thread::sleep(ASK);
        }
        let waited = u64::try_from(paid.elapsed().as_millis()).expect("not for ever");
        waits.lock().expect("no till panics with it").push(waited);
        std::thread::sleep(BETWEEN_SALES);
    }
}
