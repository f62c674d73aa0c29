//! An operator, who switches one meter off and on and reads it, one command after the other.

use crate::site::{Door, command, pause};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

/// A command that the gateway has answered for.
#[derive(Debug, Clone)]
pub struct Order {
    pub id: i64,
    pub serial: String,
    /// What the gateway said of it last, if it had ended by then.
    pub ended: Option<Value>,
}

const ROUND: [&str; 4] = ["read", "disconnect", "read", "reconnect"];

/// Gives commands until it is over.
pub fn switch_and_read(door: &Door, serial: &str, over: &AtomicBool) -> Vec<Order> {
    let mut orders = Vec::new();
    for kind in ROUND.into_iter().cycle() {
        let Some(id) = give(door, serial, kind, over) else { break };
        let mut order = Order { id, serial: serial.to_owned(), ended: None };
        while order.ended.is_none() && !over.load(Ordering::Relaxed) {
            order.ended = door
                .get(&format!("/commands/{id}"))
                .filter(|(status, command)| *status == 200 && command["finished"] == true)
                .map(|(_, command)| command);
            pause();
        }
        orders.push(order);
    }
    orders
}

/// Gives a command until it is answered for. One whose answer was lost may be recorded twice.
fn give(door: &Door, serial: &str, kind: &str, over: &AtomicBool) -> Option<i64> {
    while !over.load(Ordering::Relaxed) {
        match door.post("/commands", &command(serial, kind)) {
            Some((200..=202, answer)) => {
                return Some(answer["id"].as_i64().expect("a command has an id"));
            }
            Some((status, answer)) if status < 500 => panic!("{kind} was refused: {status} {answer}"),
            _ => pause(),
        }
    }
    None
}
