//! What meters and lines do to the gateway meanwhile.

use serde_json::json;
use simulator::random::between;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Faults that pass, each at one meter at a time.
fn faults() -> Vec<serde_json::Value> {
    vec![
        json!({ "fault": "lost_token_answer" }),
        json!({ "fault": "lost_answer" }),
        json!({ "fault": "corrupted_frame", "count": 2 }),
        json!({ "fault": "truncated_frame" }),
        json!({ "fault": "duplicated_frame", "count": 3 }),
        json!({ "fault": "wrong_transaction" }),
        json!({ "fault": "late_answer", "delay_ms": 3_000 }),
        json!({ "fault": "silence", "for": "2s" }),
        json!({ "fault": "slow_meter", "for": "2s", "delay_ms": 400 }),
        json!({ "fault": "reboot" }),
        json!({ "fault": "reboot_in_transfer" }),
        json!({ "fault": "counter_desync", "ahead": 50 }),
    ]
}

/// A fault somewhere every quarter of a second.
pub fn blow(control: &str, meters: u64, seed: u64, over: &AtomicBool) {
    let faults = faults();
    for turn in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let meter = between(seed + 1_000, turn, 1, meters);
        let fault = between(seed + 2_000, turn, 0, faults.len() as u64 - 1) as usize;
        let path = format!("{control}/api/meters/{meter}/faults");
        ureq::post(path).send_json(&faults[fault]).expect("the simulator takes the fault");
        std::thread::sleep(Duration::from_millis(250));
    }
}
