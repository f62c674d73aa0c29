//! The hand that reaches into the street: one JSON object a line over TCP, one JSON object back.
//!
//! | request | answer |
//! |---|---|
//! | `{"op":"list"}` | the roll |
//! | `{"op":"time"}` | `utc_ms`, `speed` |
//! | `{"op":"lines"}` | paths of the serial lines, address of the feeder's meter |
//! | `{"op":"state","meter":N}` | how it really stands with the meter |
//! | `{"op":"feeder"}` | energy through the feeder |
//! | `{"op":"keypad","meter":N,"token":"…"}` | `result`, the STS result, and its `code` |
//! | `{"op":"button","meter":N}` | whether the relay closed |
//! | `{"op":"load","meter":N,"watts":W}` | a constant load besides the household's own |
//! | `{"op":"inject","meter":N,"fault":…}` | see [`crate::faults::Fault`] |
//!
//! Every answer has `"ok"`; when it is false, `"error"` says why.

use crate::faults::Fault;
use crate::meter::Truth;
use crate::street::Street;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Longest request.
const LINE_MAX: u64 = 4096;

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    List,
    Time,
    Lines,
    State {
        meter: u32,
    },
    Feeder,
    Keypad {
        meter: u32,
        token: String,
    },
    Button {
        meter: u32,
    },
    Load {
        meter: u32,
        watts: u32,
    },
    Inject {
        meter: u32,
        #[serde(flatten)]
        fault: Fault,
    },
}

/// Answers requests until the task is dropped. Loopback peers only.
pub async fn serve(listener: TcpListener, street: Arc<Street>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if peer.ip().is_loopback() => {
                let street = Arc::clone(&street);
                tokio::spawn(async move {
                    // A client that goes away in the middle is nothing to tell anybody about.
                    let _ = converse(stream, &street).await;
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a control connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, street: &Street) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut reader).take(LINE_MAX).read_line(&mut line).await? == 0 || !line.ends_with('\n') {
            return Ok(());
        }
        let mut answer = answer(street, line.trim()).to_string();
        answer.push('\n');
        writer.write_all(answer.as_bytes()).await?;
    }
}

fn refused(why: &str) -> Value {
    json!({ "ok": false, "error": why })
}

/// Carries out one request.
#[must_use]
pub fn answer(street: &Street, line: &str) -> Value {
    match serde_json::from_str(line) {
        Ok(request) => carry_out(street, request).unwrap_or_else(|| refused("no such meter")),
        // The message names fields and places, never values of a token.
        Err(error) => refused(&format!("not understood: {} at column {}", category(&error), error.column())),
    }
}

fn category(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "unknown op, or a field is missing or wrong",
        _ => "not one JSON object",
    }
}

fn carry_out(street: &Street, request: Request) -> Option<Value> {
    Some(match request {
        Request::List => json!({ "ok": true, "meters": street.roll() }),
        Request::Time => {
            let clock = street.config().clock;
            json!({ "ok": true, "utc_ms": clock.utc_ms(), "speed": clock.speed() })
        }
        Request::Lines => json!({
            "ok": true,
            "line": street.line_path(),
            "modbus_line": street.modbus_line_path(),
            "modbus_tcp": street.modbus_tcp().map(|at| at.to_string()),
        }),
        Request::State { meter } => describe(&street.truth(meter)?),
        Request::Feeder => {
            street.tick();
            describe(&street.feeder().truth())
        }
        Request::Keypad { meter, token } => {
            match street.meter(meter)?.at_panel(|firmware| firmware.type_token(&token)) {
                Some(result) => json!({
                    "ok": true,
                    "result": format!("{result:?}"),
                    "code": result.code(),
                    "accepted": result.is_taken(),
                    "explanation": result.explanation(),
                }),
                None => refused("the meter has no power"),
            }
        }
        Request::Button { meter } => {
            match street.meter(meter)?.at_panel(|firmware| firmware.press_button()) {
                Some(Ok(())) => json!({ "ok": true, "closed": true }),
                Some(Err(held)) => {
                    let by = held.held_by.map(|reason| format!("{reason:?}"));
                    json!({ "ok": true, "closed": false, "control_state": held.state as u8, "held_by": by })
                }
                None => refused("the meter has no power"),
            }
        }
        Request::Load { meter, watts } => {
            street.meter(meter)?.set_extra_load_w(watts);
            json!({ "ok": true })
        }
        Request::Inject { meter, fault } if street.inject(meter, fault) => json!({ "ok": true }),
        Request::Inject { .. } => refused("no such meter"),
    })
}

fn describe(truth: &Truth) -> Value {
    let status = truth.status;
    json!({
        "ok": true,
        "powered": truth.powered,
        "contact_closed": truth.contact_closed,
        "lives": truth.lives,
        "credited_wh": truth.credited_wh,
        "credit_wh": status.map(|s| s.credit_wh),
        "import_wh": status.map(|s| s.import_wh),
        "power_w": status.map(|s| s.sample.active_power_mw / 1000),
        "control_state": status.map(|s| s.control_state as u8),
        "reason": status.map(|s| format!("{:?}", s.reason)),
    })
}
