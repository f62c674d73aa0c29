use super::*;
use crate::clock::SimClock;
use crate::street::StreetConfig;
use crate::vendor::credit_token;
use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt;

const START_UTC_S: u32 = 1_767_636_000;

/// Three meters on a Modbus line and two on another: nothing of the network is needed.
async fn street() -> Arc<Street> {
    let clock = SimClock::held_at(START_UTC_S);
    let config = StreetConfig {
        line_meters: 3,
        modbus_meters: 2,
        clock,
        credit_wh: Some(500),
        ..StreetConfig::default()
    };
    Arc::new(Street::start(config).await.unwrap())
}

async fn ask(street: &Arc<Street>, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request =
        Request::builder().method(method).uri(path).header("host", "127.0.0.1:1").body(body).unwrap();
    let response = router(Arc::clone(street), true).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (
        status,
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into())),
    )
}

async fn get(street: &Arc<Street>, path: &str) -> Value {
    let (status, value) = ask(street, "GET", path, Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{path}: {value}");
    value
}

#[tokio::test]
async fn meters_come_in_pages() {
    let street = street().await;
    let first = get(&street, "/api/meters?limit=3").await;
    assert_eq!(first["meters"].as_array().unwrap().len(), 3);
    assert_eq!(first["next"], 3);
    let rest = get(&street, "/api/meters?limit=3&after=3").await;
    assert_eq!((rest["meters"][0]["index"].clone(), rest["next"].clone()), (json!(4), Value::Null));
    assert_eq!(rest["meters"][1]["model"], "modbus");
    let one = get(&street, "/api/meters/1").await;
    assert_eq!((one["credit_wh"].clone(), one["display"][0].clone()), (json!(500), json!("CREDIT 500 Wh")));
    assert_eq!(get(&street, "/api/street").await["meters"], 5);
}

#[tokio::test]
async fn a_person_types_a_token_uses_it_up_and_presses_the_button() {
    let street = street().await;
    let token = credit_token(&Default::default(), 1, 10, i64::from(START_UTC_S)).unwrap();
    let typed = ask(&street, "POST", "/api/meters/1/keypad", json!({ "keys": token })).await.1;
    assert_eq!(typed, json!({ "display": "CREDIT 1500 Wh", "accepted": true }));
    let again = ask(&street, "POST", "/api/meters/1/keypad", json!({ "keys": token })).await.1;
    assert_eq!(again["accepted"], false);
    let code = ask(&street, "POST", "/api/meters/1/keypad", json!({ "keys": "#08#" })).await.1;
    assert!(code["display"].as_str().unwrap().starts_with("METER 0100000001"), "{code}");
    ask(&street, "PUT", "/api/meters/1/load", json!({ "watts": 5000 })).await;
    street.advance(3_600_000, 10_000);
    let out = get(&street, "/api/meters/1").await;
    assert_eq!((out["contact_closed"].clone(), out["reason"].clone()), (json!(false), json!("no credit")));
    let pressed = ask(&street, "POST", "/api/meters/1/button", Value::Null).await.1;
    assert_eq!(pressed["closed"], false);
}

#[tokio::test]
async fn power_cover_and_faults_are_switched_and_seen() {
    let street = street().await;
    let dark = ask(&street, "PUT", "/api/meters/2/power", json!({ "on": false })).await.1;
    assert_eq!((dark["powered"].clone(), dark["faults"].clone()), (json!(false), json!(["power_off"])));
    let (status, problem) = ask(&street, "POST", "/api/meters/2/button", Value::Null).await;
    assert_eq!((status, problem["type"].clone()), (StatusCode::CONFLICT, json!("/problems/dark-meter")));
    ask(&street, "PUT", "/api/meters/2/power", json!({ "on": true })).await;
    let open = ask(&street, "PUT", "/api/meters/2/cover", json!({ "open": true })).await.1;
    assert_eq!(open["faults"], json!(["cover_open"]));
    let silent =
        ask(&street, "POST", "/api/meters/2/faults", json!({ "fault": "silence", "for": "5m" })).await.1;
    assert_eq!(silent["faults"], json!(["silence", "cover_open"]));
    street.advance(301_000, 10_000);
    assert_eq!(get(&street, "/api/meters/2").await["faults"], json!(["cover_open"]));
    ask(&street, "DELETE", "/api/meters/2/faults/cover_open", Value::Null).await;
    assert_eq!(get(&street, "/api/meters/2").await["faults"], json!([]));
    let all = ask(&street, "POST", "/api/faults", json!({ "fault": "magnet", "share": "40%" })).await.1;
    assert_eq!(all, json!({ "meters": 2 }));
    let names = get(&street, "/api/faults").await;
    assert!(names.as_array().unwrap().len() >= 30);
}

#[tokio::test]
async fn hours_pass_at_once() {
    let street = street().await;
    let before = get(&street, "/api/meters/1").await["import_wh"].as_u64();
    let passed = ask(&street, "POST", "/api/time", json!({ "advance": "3h" })).await.1;
    assert_eq!(passed, json!({ "utc_ms": (u64::from(START_UTC_S) + 3 * 3_600) * 1_000 }));
    assert!(get(&street, "/api/meters/1").await["import_wh"].as_u64() > before);
    let (status, problem) = ask(&street, "POST", "/api/time", json!({ "advance": "25h" })).await;
    assert_eq!((status.as_u16(), problem["status"].clone()), (422, json!(422)));
}

#[tokio::test]
async fn what_is_wrong_is_a_problem_that_says_what_would_be_right() {
    let street = street().await;
    let cases = [
        ("GET", "/api/meters/9", Value::Null, 404, "there is no meter 9: the street has meters 1 to 5"),
        ("GET", "/api/meters/x", Value::Null, 400, "Cannot parse"),
        ("GET", "/api/meters?limit=x", Value::Null, 400, "invalid digit"),
        ("POST", "/api/faults", json!({ "fault": "silent" }), 400, "expected one of `silence`"),
        ("POST", "/api/faults", json!({ "fault": "silence", "ppm": 1 }), 422, "silence has no `ppm`"),
        ("POST", "/api/faults", json!({ "fault": "silence", "meters": [6] }), 422, "meters 1 to 5"),
        ("POST", "/api/meters/1/faults", json!({ "fault": "silence", "share": "2%" }), 422, "the path says"),
        ("DELETE", "/api/meters/1/faults/reboot", Value::Null, 422, "reboot has happened"),
        ("PUT", "/api/meters/1/power", json!({ "on": 3 }), 400, "expected a boolean"),
        ("GET", "/api/nothing", Value::Null, 404, "GET /api/street"),
    ];
    for (method, path, body, status, detail) in cases {
        let (got, problem) = ask(&street, method, path, body).await;
        assert_eq!(got.as_u16(), status, "{method} {path}: {problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{method} {path}: {problem}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_cannot_reach_in() {
    let street = street().await;
    let send = async |host: &str, origin: Option<&str>, method: &str| {
        let mut request = Request::builder().method(method).uri("/api/meters/1/button").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.body(Body::empty()).unwrap();
        router(Arc::clone(&street), true).oneshot(request).await.unwrap().status()
    };
    assert_eq!(send("127.0.0.1:80", None, "POST").await, StatusCode::OK);
    assert_eq!(send("localhost:80", Some("http://localhost:80"), "POST").await, StatusCode::OK);
    assert_eq!(send("127.0.0.1:80", Some("http://evil.example"), "POST").await, StatusCode::FORBIDDEN);
    assert_eq!(send("evil.example", None, "POST").await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_pages_show_meters_and_what_can_be_done() {
    let street = street().await;
    let page = get(&street, "/").await;
    let page = page.as_str().unwrap();
    assert!(page.contains("5 meters") && page.contains("href=\"/meters/5\""), "{page}");
    let meter = get(&street, "/meters/1").await;
    let meter = meter.as_str().unwrap();
    for wanted in ["CREDIT 500 Wh", "SUPPLY ON", "data-post=\"keypad\"", "value=\"relay_welded\""] {
        assert!(meter.contains(wanted), "{wanted}: {meter}");
    }
}
