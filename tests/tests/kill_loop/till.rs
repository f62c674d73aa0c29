//! A shop's till: takes money, tells the gateway, and tells it again under the same key until it has an answer.

use crate::site::{ANSWERS_WITHIN, Door, pause};
use gateway::api::signature::{Signed, sign};
use jiff::Timestamp;
use serde_json::json;
use simulator::random::between;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::GatewayProcess;

/// What the customer has in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub key: String,
    pub serial: String,
    pub amount_minor: i64,
    pub payment: i64,
    pub energy_wh: i64,
    pub token: String,
}

/// Sells until it is over. A payment that was begun is ended.
pub fn sell(door: &Door, till: u64, meters: &[String], over: &AtomicBool) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for sale in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let meter = &meters[between(till, sale, 0, meters.len() as u64 - 1) as usize];
        let amount = between(till + 100, sale, 30, 900) as i64;
        receipts.push(pay(door, &format!("till{till}-{sale}"), meter, amount));
        std::thread::sleep(Duration::from_millis(between(till + 200, sale, 0, 120)));
    }
    receipts
}

/// One payment, repeated until it is answered.
pub fn pay(door: &Door, key: &str, serial: &str, amount_minor: i64) -> Receipt {
    let path = "/api/v1/top-ups";
    let body = json!({ "serial": serial, "amount_minor": amount_minor }).to_string();
    let asked = Instant::now();
    loop {
        assert!(asked.elapsed() < ANSWERS_WITHIN, "no answer to payment {key}: the gateway is gone for good");
        let now = u64::try_from(Timestamp::now().as_second()).expect("after 1970");
        let signed = Signed { method: "POST", path, key, body: body.as_bytes() };
        let signature = sign(GatewayProcess::channel_secret().as_bytes(), now, &signed);
        let headers = [("idempotency-key", key), ("x-channel", "till"), ("x-signature", &signature)];
        match door.post_with("/top-ups", &headers, &body) {
            Some((200..=202, answer)) => {
                let number =
                    |field: &str| answer[field].as_i64().unwrap_or_else(|| panic!("{field} in {answer}"));
                return Receipt {
                    key: key.to_owned(),
                    serial: serial.to_owned(),
                    amount_minor,
                    payment: number("id"),
                    energy_wh: number("energy_wh"),
                    token: answer["token"].as_str().unwrap_or_default().to_owned(),
                };
            }
            Some((status, answer)) if status < 500 => panic!("a payment was refused: {status} {answer}"),
            _ => pause(),
        }
    }
}
