//! How many meters one process carries: start, memory, and the time that one tick of all of them takes.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use simulator::clock::SimClock;
use simulator::street::{PROFILE_ROWS, Street, StreetConfig};
use std::time::Instant;

/// Resident memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::main]
async fn main() {
    println!(
        "| meters | rows recorded | start | memory each (resident) | NVM and meter each | one tick of all, a second later |"
    );
    println!("|---|---|---|---|---|---|");
    for (meters, past_rows) in [(10_000, 8), (20_000, 8), (20_000, PROFILE_ROWS)] {
        let before_kib = resident_kib();
        let config = StreetConfig {
            meters,
            port: 0,
            past_rows,
            clock: SimClock::held_at(1_767_636_000),
            ..StreetConfig::default()
        };
        let begin = Instant::now();
        let street = Street::start(config).await.unwrap();
        let start_ms = begin.elapsed().as_millis();
        street.advance(10_000, 1_000);
        let begin = Instant::now();
        street.advance(10_000, 1_000);
        let tick_us = begin.elapsed().as_micros() / 10;
        let each = |bytes: u64| format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024);
        println!(
            "| {meters} | {past_rows} | {start_ms} ms | {} | {} | {}.{} ms |",
            each((resident_kib() - before_kib) * 1024 / u64::from(meters)),
            each(street.held_bytes() as u64 / u64::from(meters)),
            tick_us / 1000,
            tick_us % 1000 / 100,
        );
    }
}
