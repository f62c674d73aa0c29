mod discovery;

use super::signature::{Signed, sign};
use super::*;
use crate::bench::{BANK_SECRET, Bench, DRN, MODBUS, TokenMeter, answer, relay, sts};
use crate::config::Surroundings;
use crate::northbound::inbox::Inboxes;
use crate::session::work::{Ending, Facts};
use crate::store::access::ApiToken;
use crate::store::meter::Meter;
use crate::store::tests::{add, meter as row};
use crate::vault::StsIdentity;
use axum::body::Body;
use axum::http::Request;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tower::ServiceExt;

const SECRET: &str = "0123456789abcdef";
const CONFIG: &str = r#"
[api]
listen = "127.0.0.1:0"
[store]
path = "store.db"
[vault]
master_key_file = "master.key"
[price]
currency = "EUR"
minor_per_kwh = "30"
[[line]]
name = "street"
kind = "tcp"
area = "T1"
[[line]]
name = "bus"
kind = "serial"
port = "/dev/there"
protocol = "modbus-rtu"
[[channel]]
id = "shop"
secret_env = "SHOP"
[[channel]]
id = "branch"
secret = "bank"
"#;

struct Here;

impl Surroundings for Here {
    fn read(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
    fn variable(&self, _: &str) -> Option<String> {
        Some(SECRET.into())
    }
    fn has_port(&self, _: &str) -> bool {
        true
    }
}

struct Api {
    bench: Bench,
    router: Router,
    _stop: watch::Sender<bool>,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Answer {
    /// Status, kind of problem and detail in one line.
    fn said(&self) -> String {
        let text = |name: &str| self.body[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", self.status, text("type").trim_start_matches("/problems/"), text("detail"))
    }
}

impl Api {
    async fn new() -> Self {
        let bench = Bench::new().await;
        for (name, scopes) in
            [("root", "admin"), ("desk", "operate read"), ("till", "top-up"), ("eye", "read")]
        {
            let token = ApiToken { name: name.into(), scopes: scopes.into() };
            assert!(bench.store().add_api_token(token, hash_of(name), Timestamp::now()).await.unwrap());
        }
        let config = Config::parse(CONFIG, Path::new("gateway.toml"), &Here).unwrap();
        let (stop, stopped) = watch::channel(false);
        let (lines, metrics, http) = bench.counted(&config);
        let bulk = Live::new(crate::commands::bulk::Bulk {
            store: bench.store().clone(),
            clock: Clock::real(),
            models: Models::load(None).unwrap(),
            rules: Arc::default(),
            limits: crate::commands::bulk::Limits::default(),
            command_expiry: jiff::SignedDuration::from_hours(1),
            approval_expiry: jiff::SignedDuration::from_hours(24),
        });
        let reloader = Reloader::of_bench(&bench, &config, &lines, &bulk);
        let app = App {
            store: bench.store().clone(),
            vending: bench.vending.clone(),
            vault: bench.vault.clone(),
            clock: Clock::real(),
            settings: Live::new(config),
            reloader,
            log: LogLevels::new("info", |_| Ok(())),
            directory: Directory::default(),
            models: Models::load(None).unwrap(),
            recordings: Recordings::default(),
            discoveries: Discoveries::new(
                crate::commands::router::Router::new(Arc::new(lines.clone())),
                Directory::default(),
                Clock::real(),
            ),
            desk: bench.desk.clone(),
            lines,
            metrics,
            http,
            bulk,
            inboxes: Inboxes::default(),
            stop: stopped,
        };
        Self { bench, router: service(app), _stop: stop }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), BODY_MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, headers, body }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn pay(&self, key: &str, body: &Value) -> Answer {
        self.pay_through("shop", SECRET, key, body).await
    }

    async fn pay_through(&self, channel: &str, secret: &str, key: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let now = u64::try_from(Timestamp::now().as_second()).unwrap();
        let signed = Signed { method: "POST", path: "/api/v1/top-ups", key, body: body.as_bytes() };
        let request = Request::builder()
            .method("POST")
            .uri("/api/v1/top-ups")
            .header("authorization", "Bearer till")
            .header("x-channel", channel)
            .header("idempotency-key", key)
            .header("x-signature", sign(secret.as_bytes(), now, &signed));
        self.send(request.body(Body::from(body)).unwrap()).await
    }
}

#[tokio::test]
async fn nothing_is_read_or_written_for_somebody_unknown() {
    let api = Api::new().await;
    let document = serde_json::to_value(document()).unwrap();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = path
                .replace("{serial}", DRN)
                .replace("{id}", "1")
                .replace("{area}", "T1")
                .replace("{table}", "events")
                .replace("{name}", "one")
                .replace("{line}", "bus");
            let open = ["/api/v1/health", "/api/v1/ready"].contains(&path.as_str());
            let request = || Request::builder().method(method.to_uppercase().as_str()).uri(&path);
            let nobody = api.send(request().body(Body::empty()).unwrap()).await;
            assert_eq!(nobody.status, if open { 200 } else { 401 }, "{method} {path}");
            if !open {
                assert_eq!(nobody.headers["www-authenticate"], "Bearer");
                assert_eq!(nobody.headers["content-type"], "application/problem+json");
                let stranger = request().header("authorization", "Bearer guess").body(Body::empty()).unwrap();
                assert_eq!(api.send(stranger).await.status, 401, "{method} {path}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 69, "every operation of the document was tried");
}

#[tokio::test]
async fn scopes_allow_what_they_say_and_no_more() {
    let api = Api::new().await;
    let disconnect = json!({"serial": DRN, "kind": "disconnect", "reason": "fault"}).to_string();
    let meter = json!({"serial": "x", "line": "street", "address": "1", "model": "m"}).to_string();
    for (token, method, path, body, status) in [
        ("eye", "GET", "/api/v1/meters", "", 200),
        ("eye", "POST", "/api/v1/commands", disconnect.as_str(), 403),
        ("till", "POST", "/api/v1/commands", disconnect.as_str(), 403),
        ("till", "GET", "/api/v1/meters", "", 403),
        ("desk", "POST", "/api/v1/commands", disconnect.as_str(), 202),
        ("desk", "POST", "/api/v1/meters", meter.as_str(), 403),
        ("desk", "POST", "/api/v1/top-ups", "{}", 403),
        ("desk", "POST", "/api/v1/api-tokens", "{}", 403),
        ("root", "POST", "/api/v1/meters", meter.as_str(), 422),
    ] {
        let answer = api.ask(token, method, path, body).await;
        assert_eq!(answer.status, status, "{token} {method} {path}: {}", answer.said());
    }
    let refused = api.ask("eye", "POST", "/api/v1/commands", &disconnect).await;
    assert_eq!(
        refused.said(),
        "403 missing-scope this needs a token with scope operate; \"eye\" has not got it"
    );
}

#[tokio::test]
async fn a_signed_payment_gives_a_token_and_the_same_one_again() {
    let mut api = Api::new().await;
    let body = json!({"serial": DRN, "amount_minor": 1000});
    let first = api.pay("k1", &body).await;
    assert_eq!(first.status, 201, "{}", first.said());
    assert_eq!((&first.body["billed_minor"], &first.body["change_minor"]), (&json!(999), &json!(1)));
    assert_eq!((&first.body["energy_wh"], &first.body["state"]), (&json!(33_300), &json!("on_the_way")));
    let token = first.body["token"].as_str().unwrap().to_owned();
    assert_eq!(token.len(), 20);
    answer(api.bench.job().await, Ending::Done, Facts { credit_wh: Some(33_300), ..relay(true) });
    api.bench.finished(first.body["command_id"].as_i64().unwrap()).await;

    let again = api.pay("k1", &body).await;
    assert_eq!((again.status, &again.headers["idempotent-replayed"]), (200, &"true".parse().unwrap()));
    assert_eq!(again.body["token"].as_str(), Some(token.as_str()));
    assert_eq!((&again.body["id"], &again.body["state"]), (&first.body["id"], &json!("accepted")));
    let other = api.pay("k1", &json!({"serial": DRN, "amount_minor": 2000})).await;
    assert_eq!(
        other.said(),
        "422 idempotency-key-reused this Idempotency-Key was used for a different request; use a new key for a new payment"
    );
    let balance = api.ask("eye", "GET", "/api/v1/accounts/balance", "").await;
    assert_eq!(
        balance.body,
        json!({"received": 1000, "accepted": 999, "on_the_way": 0, "change_held": 1, "refused": 0, "balanced": true})
    );
    // Who may only look sees the last four digits.
    let seen = api.ask("eye", "GET", "/api/v1/top-ups/1", "").await;
    assert_eq!(seen.body["token"].as_str().unwrap(), format!("…{}", &token[16..]));
    let command = api.ask("eye", "GET", "/api/v1/commands/1", "").await;
    assert!(!command.body.to_string().contains(&token));
    assert_eq!(command.body["steps"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_payment_that_cannot_be_is_refused_exactly_and_changes_nothing() {
    let api = Api::new().await;
    let pay = |serial: &str, amount: Value| json!({"serial": serial, "amount_minor": amount});
    for (body, said) in [
        (pay("01000000099", json!(500)), "404 unknown-meter there is no meter 01000000099"),
        (pay(DRN, json!(0)), "422 bad-amount the amount must be above zero, it is zero"),
        (pay(DRN, json!(-5)), "422 bad-amount the amount must be above zero, it is -5"),
        (pay(DRN, json!(0.5)), "422 bad-amount amount 0.5 is a fraction of the smallest unit, 0.01 EUR"),
        (
            pay(DRN, json!(2)),
            "422 bad-amount the amount is too small: the smallest token, 0.1 kWh, costs 3 minor units and 1 are missing",
        ),
        (
            pay(DRN, json!(100_000_000)),
            "422 bad-amount the amount is beyond a token's range: one token carries at most 1820162.4 kWh, which costs 54604872 minor units",
        ),
        (
            pay(DRN, json!("1e3")),
            "422 bad-amount amount \"1e3\" is not a whole number of minor units (the smallest unit is 0.01 EUR)",
        ),
        (
            json!({"serial": DRN}),
            "400 malformed-request the body is not as expected: missing field `amount_minor` at line 1 column 24",
        ),
        (
            json!({"serial": DRN, "amount_minor": 5, "tip": 1}),
            "400 malformed-request the body is not as expected: unknown field `tip`, expected `serial` or `amount_minor` at line 1 column 46",
        ),
    ] {
        assert_eq!(api.pay("k", &body).await.said(), said);
    }
    assert!(api.bench.store().payments(None, 10).await.unwrap().is_empty());
    assert_eq!(api.bench.store().money_balance().await.unwrap().received.0, 0);
    assert!(api.bench.store().commands(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_payment_that_is_not_signed_as_it_must_be_is_refused() {
    let api = Api::new().await;
    let body = json!({"serial": DRN, "amount_minor": 500}).to_string();
    let now = u64::try_from(Timestamp::now().as_second()).unwrap();
    let signed = Signed { method: "POST", path: "/api/v1/top-ups", key: "k", body: body.as_bytes() };
    let good = sign(SECRET.as_bytes(), now, &signed);
    let foreign = sign(b"another secret!!", now, &signed);
    let old = sign(SECRET.as_bytes(), now - 1000, &signed);
    let (key, shop) = (("idempotency-key", "k"), ("x-channel", "shop"));
    for (headers, said) in [
        (
            vec![shop, ("x-signature", good.as_str())],
            "400 malformed-request a payment needs an Idempotency-Key",
        ),
        (
            vec![key, ("x-signature", good.as_str())],
            "401 missing-channel a payment needs an X-Channel header",
        ),
        (vec![key, ("x-channel", "bank")], "401 unknown-channel there is no payment channel \"bank\""),
        (
            vec![key, shop],
            "401 missing-signature a payment needs an X-Signature header: t=UNIX-SECONDS,v1=HEX",
        ),
        (vec![key, shop, ("x-signature", "yes")], "401 malformed-signature X-Signature is not"),
        (
            vec![key, shop, ("x-signature", foreign.as_str())],
            "401 wrong-signature the signature is not one of channel shop over this request",
        ),
        (
            vec![("idempotency-key", "k2"), shop, ("x-signature", good.as_str())],
            "401 wrong-signature the signature is not one of channel shop over this request",
        ),
        (vec![key, shop, ("x-signature", old.as_str())], "401 stale-signature the signature's time is 100"),
    ] {
        let mut request =
            Request::builder().method("POST").uri("/api/v1/top-ups").header("authorization", "Bearer till");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = api.send(request.body(Body::from(body.clone())).unwrap()).await;
        assert!(answer.said().starts_with(said), "{} should be {said}", answer.said());
    }
    assert!(api.bench.store().payments(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn commands_are_refused_exactly() {
    let api = Api::new().await;
    let command =
        |kind: &str, reason: Value| json!({"serial": DRN, "kind": kind, "reason": reason}).to_string();
    const REASONS: &str = "planned, fault, peak_avoidance, breach_of_contract, arrears";
    for (body, said) in [
        (
            "{".to_owned(),
            "400 malformed-request the body is not as expected: EOF while parsing an object".to_owned(),
        ),
        (
            command("disconnect", Value::Null),
            format!("422 missing-reason a disconnect needs a reason: one of {REASONS}"),
        ),
        (
            command("disconnect", json!("spite")),
            format!("422 bad-reason reason \"spite\" is none of {REASONS}"),
        ),
        (
            command("disconnect", json!("no_credit")),
            format!("422 bad-reason reason \"no_credit\" is none of {REASONS}"),
        ),
        (
            command("explode", Value::Null),
            "422 bad-command kind \"explode\" is none of disconnect, reconnect, read, commission".to_owned(),
        ),
        (
            command("deliver_token", Value::Null),
            "422 bad-command a token is delivered by a top-up, not by a command".to_owned(),
        ),
        (
            json!({"serial": "nobody", "kind": "read"}).to_string(),
            "404 unknown-meter there is no meter nobody".to_owned(),
        ),
    ] {
        let answer = api.ask("desk", "POST", "/api/v1/commands", &body).await;
        assert!(answer.said().starts_with(&said), "{} should be {said}", answer.said());
    }
    for (method, path, said) in [
        ("GET", "/api/v1/commands/7", "404 not-found there is no command 7"),
        ("GET", "/api/v1/commands/x", "404 not-found there is no command x"),
        ("GET", "/api/v1/top-ups/7", "404 not-found there is no top-up 7"),
        ("GET", "/api/v1/meters/nobody/readings", "404 unknown-meter there is no meter nobody"),
        ("GET", "/api/v1/areas/T9/energy", "404 not-found there is no area \"T9\""),
        ("GET", "/api/v2", "404 not-found there is nothing at /api/v2"),
        ("DELETE", "/api/v1/meters", "405 method-not-allowed /api/v1/meters cannot be answered with DELETE"),
        (
            "GET",
            "/api/v1/meters?limit=x",
            "400 malformed-request Failed to deserialize query string: limit: invalid digit",
        ),
    ] {
        let answer = api.ask("root", method, path, "").await;
        assert!(answer.said().starts_with(said), "{} should be {said}", answer.said());
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
    }
    assert!(api.bench.store().commands(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_disconnect_with_a_reason_is_followed_step_by_step() {
    let mut api = Api::new().await;
    let body =
        json!({"serial": MODBUS, "kind": "disconnect", "reason": "fault", "reason_text": "burnt terminal"});
    let recorded = api.ask("desk", "POST", "/api/v1/commands", &body.to_string()).await;
    // The engine may have been faster than the answer.
    let state = recorded.body["state"].as_str().unwrap();
    assert!(recorded.status == 202 && ["recorded", "queued"].contains(&state), "{}", recorded.said());
    assert_eq!(recorded.headers["x-correlation-id"], recorded.body["correlation"].as_str().unwrap());
    answer(api.bench.job().await, Ending::Done, relay(false));
    let id = recorded.body["id"].as_i64().unwrap();
    api.bench.finished(id).await;
    let shown = api.ask("eye", "GET", &format!("/api/v1/commands/{id}"), "").await.body;
    assert_eq!(
        (&shown["state"], &shown["finished"], &shown["actor"]),
        (&json!("verified"), &json!(true), &json!("desk"))
    );
    let states: Vec<_> = shown["steps"].as_array().unwrap().iter().map(|step| &step["state"]).collect();
    assert_eq!(states, ["recorded", "queued", "sending", "accepted", "verified"]);
    let meter = api.ask("eye", "GET", &format!("/api/v1/meters/{MODBUS}"), "").await.body;
    assert_eq!(
        (&meter["relay"]["output_closed"], &meter["relay"]["reason"]),
        (&json!(false), &json!("fault"))
    );
    assert_eq!(meter["reading"]["quality"], "missing");
}

fn days_ago(days: i64) -> String {
    (Timestamp::now() - jiff::SignedDuration::from_hours(24 * days)).to_string()
}

#[tokio::test]
async fn a_debtor_is_cut_off_when_everything_is_on_record_and_a_second_person_agrees() {
    let mut api = Api::new().await;
    let body = json!({"serial": DRN, "kind": "disconnect", "reason": "arrears"}).to_string();
    let refused = api.ask("desk", "POST", "/api/v1/commands", &body).await;
    assert!(refused.said().starts_with("422 guards-not-satisfied the guards do not allow it now: overdue: "));
    let unmet: Vec<_> =
        refused.body["unmet"].as_array().unwrap().iter().map(|unmet| &unmet["guard"]).collect();
    assert_eq!(unmet, ["overdue", "demands", "notice", "second_person"]);

    let notices = format!("/api/v1/meters/{DRN}/notices");
    for notice in [
        json!({"kind": "demand", "overdue_since": days_ago(60), "amount_minor": 12_000, "delivered_at": days_ago(50), "way": "letter"}),
        json!({"kind": "demand", "overdue_since": days_ago(60), "amount_minor": 12_000, "delivered_at": days_ago(20), "way": "visit"}),
        json!({"kind": "disconnection", "reason": "arrears", "effective_from": days_ago(1), "delivered_at": days_ago(5), "way": "letter"}),
    ] {
        let recorded = api.ask("desk", "POST", &notices, &notice.to_string()).await;
        assert_eq!(recorded.status, 201, "{}", recorded.said());
        assert_eq!(recorded.body["recorded_by"], "desk");
    }
    assert_eq!(api.ask("eye", "GET", &notices, "").await.body.as_array().unwrap().len(), 3);
    let guards = api.ask("eye", "GET", &format!("/api/v1/meters/{DRN}/guards?reason=arrears"), "").await.body;
    assert_eq!((&guards["allowed"], &guards["unmet"][0]["guard"]), (&json!(false), &json!("second_person")));

    let waiting = api.ask("desk", "POST", "/api/v1/commands", &body).await;
    assert_eq!((waiting.status, &waiting.body["state"]), (202, &json!("waiting")), "{}", waiting.said());
    let decision = format!("/api/v1/commands/{}/decision", waiting.body["id"]);
    let alone = api.ask("desk", "POST", &decision, r#"{"agreed": true}"#).await;
    assert_eq!(alone.said(), "409 same-person desk asked for it: a second person has to agree");
    let agreed = api.ask("root", "POST", &decision, r#"{"agreed": true}"#).await;
    assert_eq!((agreed.status, &agreed.body["approved_by"]), (200, &json!("root")), "{}", agreed.said());
    answer(api.bench.job().await, Ending::Done, relay(false));
    let id = waiting.body["id"].as_i64().unwrap();
    assert_eq!(api.bench.finished(id).await.state, crate::store::command::CommandState::Verified);
    let over = api.ask("desk", "POST", &format!("/api/v1/commands/{id}/cancel"), "").await;
    assert_eq!(over.said(), format!("409 not-waiting command {id} is finished or was never recorded"));
}

#[tokio::test]
async fn a_notice_that_does_not_hold_together_is_not_put_on_record() {
    let api = Api::new().await;
    let notice = |fields: Value| {
        let mut notice = json!({"kind": "demand", "overdue_since": days_ago(60), "amount_minor": 12_000,
            "delivered_at": days_ago(50), "way": "letter"});
        notice.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        notice.to_string()
    };
    for (fields, said) in [
        (json!({"delivered_at": days_ago(-1)}), "delivered_at is in the future"),
        (json!({"overdue_since": days_ago(40)}), "overdue_since is after the delivery"),
        (json!({"amount_minor": 0}), "a demand needs overdue_since and amount_minor"),
        (json!({"reason": "arrears"}), "a demand needs overdue_since and amount_minor, and nothing of a"),
        (json!({"kind": "disconnection"}), "a disconnection notice needs reason and effective_from"),
        (json!({"kind": "settlement"}), "a settlement takes neither a reason nor a debt"),
        (json!({"way": " "}), "way says how it reached the customer"),
    ] {
        let answer = api.ask("desk", "POST", &format!("/api/v1/meters/{DRN}/notices"), &notice(fields)).await;
        let said = format!("422 bad-notice {said}");
        assert!(answer.said().starts_with(&said), "{} should be {said}", answer.said());
    }
    let unknown = api.ask("desk", "POST", "/api/v1/meters/nobody/notices", &notice(json!({}))).await;
    assert_eq!(unknown.said(), "404 unknown-meter there is no meter nobody");
}

#[tokio::test]
async fn a_protected_customer_needs_a_second_person_whatever_the_reason() {
    let api = Api::new().await;
    let protection = format!("/api/v1/meters/{DRN}/protection");
    let protect = api.ask("desk", "PUT", &protection, r#"{"kind": "hospital"}"#).await;
    assert_eq!(protect.status, 204, "{}", protect.said());
    let body = json!({"serial": DRN, "kind": "disconnect", "reason": "peak_avoidance"}).to_string();
    let waiting = api.ask("desk", "POST", "/api/v1/commands", &body).await;
    assert_eq!(waiting.body["state"], "waiting");
    let declined = format!("/api/v1/commands/{}/decision", waiting.body["id"]);
    let declined = api.ask("root", "POST", &declined, r#"{"agreed": false}"#).await;
    assert_eq!(declined.body["state"], "cancelled");
    assert_eq!(
        api.ask("desk", "DELETE", &protection, "").await.status,
        403,
        "ending it is for an administrator"
    );
    assert_eq!(api.ask("root", "DELETE", &protection, "").await.status, 204);
}

#[tokio::test]
async fn an_alarm_is_no_ground_for_a_disconnection_without_case_and_inspector() {
    let api = Api::new().await;
    let disconnect = |fields: Value| {
        let mut body = json!({"serial": DRN, "kind": "disconnect", "reason": "breach_of_contract"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body.to_string()
    };
    let half = api.ask("desk", "POST", "/api/v1/commands", &disconnect(json!({"case_id": "T-17"}))).await;
    assert!(half.said().starts_with("422 bad-case case_id and confirmed_by go together"), "{}", half.said());
    let bare = api.ask("desk", "POST", "/api/v1/commands", &disconnect(json!({}))).await;
    assert!(
        bare.body["detail"].as_str().unwrap().contains("case: an alarm is a suspicion"),
        "{}",
        bare.said()
    );
    let notice = json!({"kind": "disconnection", "reason": "breach_of_contract", "effective_from": days_ago(1),
        "delivered_at": days_ago(3), "way": "visit"});
    api.ask("desk", "POST", &format!("/api/v1/meters/{DRN}/notices"), &notice.to_string()).await;
    let whole = json!({"case_id": "T-17", "confirmed_by": "inspector 4"});
    let recorded = api.ask("desk", "POST", "/api/v1/commands", &disconnect(whole)).await;
    assert_eq!((recorded.status, &recorded.body["case_id"]), (202, &json!("T-17")), "{}", recorded.said());
}

const KEYS: &str = "000102030405060708090A0B0C0D0E0F,D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF";

#[tokio::test]
async fn an_import_takes_the_good_rows_and_reports_the_bad_ones() {
    let mut api = Api::new().await;
    let csv = format!(
        "serial,line,address,model,framing,sgc,balance,ek,ak\n\
         01000000024,street,127.1.0.2:4059,reference-dlms,hdlc,123457,,{KEYS}\n\
         01000000025,street,127.1.0.3:4059,reference-dlms,,123457,,{KEYS}\n\
         01000000032,street,127.1.0.2:4059,reference-dlms,,123457,,{KEYS}\n\
         01000000024,street,127.1.0.4:4059,reference-dlms,,123457,,{KEYS}\n\
         MB-2,bus,2,reference-modbus,,,gateway,,\n\
         MB-3,bus,300,reference-modbus,,,gateway,,\n\
         MB-4,nowhere,4,reference-modbus,,,,,\n\
         MB-5,bus,5,reference-dlms,,,,,\n\
         MB-6,bus,6,reference-modbus,,,meter,,\n\
         01000000040,street,127.1.0.5:4059,reference-dlms,,123457,,abc,abc\n\
         01000000040,street,127.1.0.5:4059,reference-dlms,,,,{KEYS}\n\
         01000000040,street\n"
    );
    let done = api.ask("root", "POST", "/api/v1/meters/import", &csv).await;
    assert_eq!(done.status, 200, "{}", done.said());
    let entered: Vec<_> = done.body["entered"].as_array().unwrap().iter().map(|row| &row["serial"]).collect();
    assert_eq!(entered, ["01000000024", "MB-2"]);
    let bad: Vec<_> = done.body["bad"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{}: {}", row["line"], row["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(
        bad,
        [
            "3: serial 01000000025 has a wrong check digit",
            "4: address 127.1.0.2:4059 on line street belongs to meter 01000000024 already",
            "5: a meter with serial 01000000024 exists already",
            "7: address \"300\" is not a number from 1 to 247, as line \"bus\" needs",
            "8: line \"nowhere\" is not configured",
            "9: model \"reference-dlms\" speaks DLMS, line \"bus\" does not",
            "10: a meter of model \"reference-modbus\" cannot hold its balance: use gateway or none",
            "11: ek is not 32 hexadecimal digits",
            "12: a meter that takes tokens needs sgc, its supply group code",
            "13: the row has 2 fields, the head has 9",
        ]
    );
    let mut commissioned = vec![api.bench.job().await.meter.0, api.bench.job().await.meter.0];
    commissioned.sort();
    assert_eq!(commissioned, ["01000000024", "MB-2"]);
    let listed = api.ask("eye", "GET", "/api/v1/meters", "").await.body;
    assert_eq!(listed.as_array().unwrap().len(), 4);
    assert!(!listed.to_string().contains("0A0B0C"), "keys never come out again");
}

#[tokio::test]
async fn a_csv_whose_head_is_wrong_is_refused_whole() {
    let api = Api::new().await;
    for (csv, said) in [
        ("serial,line,address\n", "400 malformed-request line 1: column \"model\" is missing"),
        ("serial,line,address,model,colour\n", "400 malformed-request line 1: column \"colour\" is unknown"),
        ("", "400 malformed-request line 1: column \"serial\" is missing"),
    ] {
        assert_eq!(api.ask("root", "POST", "/api/v1/meters/import", csv).await.said(), said);
    }
}

#[tokio::test]
async fn a_new_bearer_token_works_and_its_name_is_its_own() {
    let api = Api::new().await;
    let body = json!({"name": "night shift", "scopes": ["read"]}).to_string();
    let made = api.ask("root", "POST", "/api/v1/api-tokens", &body).await;
    assert_eq!(made.status, 201);
    let token = made.body["token"].as_str().unwrap();
    assert_eq!(api.ask(token, "GET", "/api/v1/meters", "").await.status, 200);
    let again = api.ask("root", "POST", "/api/v1/api-tokens", &body).await;
    assert_eq!(again.said(), "409 name-taken there is a token named \"night shift\" already");
    let odd = json!({"name": "x", "scopes": ["fly"]}).to_string();
    assert_eq!(
        api.ask("root", "POST", "/api/v1/api-tokens", &odd).await.said(),
        "422 unknown-scope scope \"fly\" is none of read, operate, top-up, admin"
    );
}

#[tokio::test]
async fn a_page_link_opens_the_page_once_and_for_looking_only() {
    let api = Api::new().await;
    let get = |path: &str, cookie: &str| {
        Request::builder().uri(path).header("cookie", cookie).body(Body::empty()).unwrap()
    };
    assert_eq!(api.send(get("/", "")).await.status, 401);
    let link = api.ask("desk", "POST", "/api/v1/page-links", "").await;
    let path = link.body["path"].as_str().unwrap().to_owned();
    let entered = api.send(get(&path, "")).await;
    assert_eq!(entered.status, 303);
    let cookie = entered.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let page = api.send(get("/", cookie)).await;
    assert_eq!(page.status, 200);
    assert!(page.body.as_str().unwrap().contains(DRN));
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'"));
    assert_eq!(api.send(get("/api/v1/meters", cookie)).await.status, 200);
    assert_eq!(api.send(get(&format!("/page/meters/{DRN}"), cookie)).await.status, 200);
    assert_eq!(api.send(get("/page/meters/nobody", cookie)).await.status, 404);
    let write = Request::builder()
        .method("POST")
        .uri("/api/v1/commands")
        .header("cookie", cookie)
        .body(Body::from(json!({"serial": DRN, "kind": "read"}).to_string()));
    assert_eq!(api.send(write.unwrap()).await.status, 401, "a cookie writes nothing");
    assert_eq!(api.send(get(&path, "")).await.status, 401, "the link is used up");
}

#[tokio::test]
async fn the_event_stream_tells_what_happens_and_what_was_missed() {
    use futures_util::StreamExt;
    let mut api = Api::new().await;
    let body = json!({"serial": DRN, "kind": "read"}).to_string();
    api.ask("desk", "POST", "/api/v1/commands", &body).await;
    answer(api.bench.job().await, Ending::Done, Facts { import_wh: Some(5), ..relay(true) });
    api.bench.finished(1).await;
    let request = Request::builder()
        .uri("/api/v1/events")
        .header("authorization", "Bearer eye")
        .header("last-event-id", "1")
        .body(Body::empty())
        .unwrap();
    let response = api.router.clone().oneshot(request).await.unwrap();
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains("\"output_closed\":true") {
        let chunk = tokio::time::timeout(std::time::Duration::from_secs(5), stream.next()).await.unwrap();
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("id: 1\n"), "event 1 had been seen");
    assert!(text.contains("event: command\n") && text.contains("event: reading\n"), "{text}");
}

#[tokio::test]
async fn the_document_names_every_route() {
    let paths = serde_json::to_value(document()).unwrap()["paths"].as_object().unwrap().len();
    // The document itself is the one route that it does not name.
    assert_eq!(paths + 1, include_str!("mod.rs").matches(".route(\"/").count());
}

#[tokio::test]
async fn tokens_without_a_payment_need_a_reason_and_some_a_second_person() {
    let mut api = Api::new().await;
    let create = "/api/v1/special-tokens";
    let body =
        |action: Value, reason: &str| json!({"serial": DRN, "action": action, "reason": reason}).to_string();
    let free = json!({"kind": "free_issue", "tenths_kwh": 100});
    let answer_of = api.ask("eye", "POST", create, &body(free.clone(), "goodwill")).await;
    assert!(answer_of.said().starts_with("403 missing-scope"));
    assert!(
        api.ask("desk", "POST", create, &body(free.clone(), " "))
            .await
            .said()
            .starts_with("422 missing-reason")
    );
    let unknown = json!({"kind": "free_issue", "tenths_kwh": 100, "to": "me"});
    assert_eq!(api.ask("desk", "POST", create, &body(unknown, "x")).await.status, 400);
    let asked = api.ask("desk", "POST", create, &body(free, "goodwill")).await;
    assert_eq!((asked.status, asked.body["state"].as_str()), (202, Some("waiting")));
    let decide = format!("{create}/{}/decision", asked.body["id"]);
    let agreed = json!({"agreed": true}).to_string();
    assert_eq!(
        api.ask("desk", "POST", &decide, &agreed).await.said(),
        "403 second-person-needed desk asked for it: a second person has to agree"
    );
    let made = api.ask("root", "POST", &decide, &agreed).await;
    assert_eq!(
        (made.status, made.body["state"].as_str(), made.body["tokens"].as_u64()),
        (200, Some("on_the_way"), Some(1))
    );
    answer(api.bench.job().await, Ending::Done, relay(true));
    api.bench.finished(1).await;
    let shown = api.ask("eye", "GET", &format!("{create}/{}", asked.body["id"]), "").await;
    assert_eq!((shown.body["state"].as_str(), shown.body["taken"].as_u64()), (Some("done"), Some(1)));
    assert_eq!(api.ask("eye", "GET", create, "").await.body.as_array().unwrap().len(), 1);
    assert_eq!(
        api.ask("root", "POST", &decide, &agreed).await.said(),
        "422 not-waiting it is done, not waiting for a second person"
    );
    assert_eq!(api.ask("eye", "GET", "/api/v1/special-tokens/9", "").await.status, 404);
}

#[tokio::test]
async fn a_campaign_is_looked_at_started_followed_and_stopped() {
    let mut api = Api::new().await;
    let mut meter = TokenMeter::of(&sts(DRN));
    let action = json!({"kind": "key_change", "ti": 7});
    let body = json!({"action": action}).to_string();
    assert_eq!(api.ask("eye", "POST", "/api/v1/campaigns/preview", &body).await.status, 403);
    let preview = api.ask("desk", "POST", "/api/v1/campaigns/preview", &body).await;
    assert_eq!(preview.body["included"], json!([DRN]), "{}", preview.said());
    assert_eq!(preview.body["excluded"][0]["serial"], MODBUS);
    let refused = api.ask("desk", "POST", "/api/v1/campaigns", &body).await;
    assert_eq!(refused.said(), "422 bad-campaign a reason of at most 500 bytes is needed");
    let start = json!({"action": action, "reason": "new tariff", "expected": 1}).to_string();
    assert_eq!(api.ask("eye", "POST", "/api/v1/campaigns", &start).await.status, 403);
    let started = api.ask("desk", "POST", "/api/v1/campaigns", &start).await;
    assert_eq!((started.status, &started.body["state"]), (202, &json!("running")), "{}", started.said());
    assert_eq!(started.body["meters"], json!({"excluded": 1, "waiting": 1}));
    let path = format!("/api/v1/campaigns/{}", started.body["id"]);
    for taken in 0..4 {
        let job = api.bench.job().await;
        let meters = api.ask("eye", "GET", &format!("{path}/meters"), "").await;
        let row = &meters.body[0];
        let shown = (&row["serial"], &row["progress"], &row["taken"], &row["tokens"]);
        assert_eq!(shown, (&json!(DRN), &json!("on_the_way"), &json!(taken), &json!(4)), "{row}");
        assert!(row["command_state"].is_string());
        meter.take(job);
    }
    let id = started.body["id"].as_i64().unwrap();
    api.bench
        .until("the end", async |store| {
            let campaign = store.campaign(id).await.unwrap().unwrap();
            (campaign.state == crate::store::campaign::CampaignState::Done).then_some(())
        })
        .await;
    let shown = api.ask("eye", "GET", &path, "").await;
    assert_eq!(shown.body["meters"], json!({"excluded": 1, "done": 1}));
    let stop = json!({"verb": "stop"}).to_string();
    assert_eq!(api.ask("eye", "POST", &format!("{path}/verb"), &stop).await.status, 403);
    let late = api.ask("desk", "POST", &format!("{path}/verb"), &stop).await;
    assert_eq!(late.said(), format!("422 campaign-state campaign {id} is done"));
    let listed = api.ask("eye", "GET", &format!("/api/v1/campaigns?serial={DRN}"), "").await;
    assert_eq!(listed.body.as_array().unwrap().len(), 1);
    assert_eq!(api.ask("eye", "GET", "/api/v1/campaigns?serial=7", "").await.body, json!([]));
    assert_eq!(
        api.ask("eye", "GET", "/api/v1/campaigns/9", "").await.said(),
        "404 not-found there is no campaign 9"
    );
    assert_eq!(
        api.ask("desk", "POST", "/api/v1/special-tokens/1/retry", "").await.said(),
        "422 not-refused it is a key_change and done: only a refused key change is delivered again"
    );
}

#[tokio::test]
async fn a_channel_whose_secret_is_in_the_vault_pays_like_any_other() {
    let api = Api::new().await;
    let body = json!({"serial": DRN, "amount_minor": 1000});
    let paid = api.pay_through("branch", BANK_SECRET, "k1", &body).await;
    assert_eq!((paid.status, &paid.body["channel"]), (201, &json!("branch")), "{}", paid.said());
    let foreign = api.pay_through("branch", SECRET, "k2", &body).await;
    assert!(foreign.said().starts_with("401 wrong-signature"), "{}", foreign.said());
}

/// Each is said before money is taken, with what has to be done about it.
#[tokio::test]
async fn a_payment_for_a_meter_without_a_good_key_is_refused_with_what_to_do() {
    let api = Api::new().await;
    let good = sts(DRN);
    for (number, record, said) in [
        (
            1,
            StsIdentity { sgc: 99, ..good.clone() },
            "no-token no key: no vending key for supply group 000099",
        ),
        (
            2,
            StsIdentity { krn: 3, ..good.clone() },
            "of that group the vault has revision 1 DUTK DKGA04: import the key, or change",
        ),
        (
            3,
            StsIdentity { ea: 7, kt: 1, ..good.clone() },
            "(DDTK) and refuses credit: a key change to its supply group comes first",
        ),
        (4, StsIdentity { kt: 0, ..good.clone() }, "(DITK): a key change to its supply group comes first"),
        (5, StsIdentity { kt: 3, ..good.clone() }, "DCTK is for erasable magnetic cards only"),
        (
            6,
            StsIdentity { ken: 9, ..good.clone() },
            "no-token-id the meter's key has expired: key expiry number 9",
        ),
        (
            7,
            StsIdentity { base_year: 1993, ..good.clone() },
            "used up: the meter needs a key change to the next base date",
        ),
        (8, StsIdentity { base_year: 2035, ..good.clone() }, "cannot be counted from base year 2035 now"),
    ] {
        let drn = protocol::sts::Drn::from_parts(1, 500 + number).unwrap();
        let serial = drn.as_str().to_owned();
        let record = StsIdentity { drn: serial.clone(), ..record };
        let entry = Meter { sts: Some(record), ..row(&serial, &serial) };
        add(api.bench.store(), entry).await.unwrap();
        let answer = api.pay(&format!("k{number}"), &json!({"serial": serial, "amount_minor": 1000})).await;
        assert_eq!(answer.status, 422);
        assert!(answer.said().contains(said), "{}", answer.said());
    }
    assert!(api.bench.store().payments(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_support_desk_learns_why_a_token_was_refused() {
    let api = Api::new().await;
    let path = format!("/api/v1/meters/{DRN}/token-explanation");
    let explain = |token: String| json!({"token": token}).to_string();
    let short = api.ask("desk", "POST", &path, &explain("1234".into())).await;
    assert_eq!(short.body["text"], "not a token: a token has 20 digits, this has 4 characters");
    let other = crate::vault::StsIdentity { ti: 9, ..crate::bench::sts(DRN) };
    let request = crate::vault::CreditRequest { meter: other, tid: 6_000_000, tenths_kwh: 15 };
    let token = api.bench.vault.encode_credit(&request).unwrap();
    let told = api.ask("desk", "POST", &path, &explain(token.reveal().to_owned())).await;
    assert_eq!(told.body["differences"], json!([{"parameter": "tariff_index", "meter": 1, "token": 9}]));
    assert_eq!(
        api.ask("desk", "POST", "/api/v1/meters/nobody/token-explanation", &explain("1".into())).await.status,
        404
    );
    assert_eq!(api.ask("eye", "POST", &path, &explain("1".into())).await.status, 403);
}

#[tokio::test]
async fn a_scrape_counts_what_a_story_did() {
    let mut api = Api::new().await;
    let before = api.ask("eye", "GET", "/metrics", "").await;
    assert_eq!(before.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let before = crate::metrics::tests::read(before.body.as_str().unwrap());
    assert_eq!(before.value("meter_gateway_vends_total"), 0.0);

    let paid = api.pay("one", &json!({"serial": DRN, "amount_minor": "1000"})).await;
    assert_eq!(paid.status, 201, "{:?}", paid.body);
    let repeated = api.pay("one", &json!({"serial": DRN, "amount_minor": "1000"})).await;
    assert_eq!(repeated.status, 200, "{:?}", repeated.body);
    let command = paid.body["command_id"].as_i64().unwrap();
    let job = api.bench.job().await;
    let (_, effect) = TokenMeter::of(&sts(DRN)).take(job);
    assert!(effect.is_some());
    api.bench.finished(command).await;
    assert_eq!(api.ask("nobody", "GET", "/api/v1/meters", "").await.status, 401);

    // A step is counted once it is stored: whoever sees it in the store may be earlier.
    let verified = "meter_gateway_command_steps_total{state=\"verified\"}";
    let deadline = Instant::now() + Duration::from_secs(10);
    let scraped = loop {
        let scraped = api.ask("eye", "GET", "/metrics", "").await;
        if scraped.body.as_str().unwrap().contains(verified) {
            break scraped;
        }
        assert!(Instant::now() < deadline, "{:?}", scraped.body);
        tokio::task::yield_now().await;
    };
    let text = scraped.body.as_str().unwrap();
    let scrape = crate::metrics::tests::read(text);
    assert_eq!(scrape.value("meter_gateway_vends_total"), 1.0, "the repetition is no vend");
    for state in ["queued", "sending", "accepted", "verified"] {
        let sample = format!("meter_gateway_command_steps_total{{state=\"{state}\"}}");
        assert_eq!(scrape.value(&sample), 1.0, "{state}");
    }
    assert!(!text.contains("commands_open{"), "no command is open");
    assert_eq!(scrape.value("meter_gateway_http_refused_logins_total"), 1.0);
    assert_eq!(scrape.value("meter_gateway_http_requests_total{status=\"4xx\"}"), 1.0);
    assert!(scrape.value("meter_gateway_store_commit_seconds_count") >= 4.0);
    assert!(
        scrape.value("meter_gateway_store_group_writes_sum")
            >= scrape.value("meter_gateway_store_group_writes_count")
    );
    assert_eq!(scrape.value("meter_gateway_line_budget_bytes_per_second{line=\"bus\"}"), 960.0);
    assert_eq!(scrape.value("meter_gateway_line_jobs_waiting{line=\"street\",priority=\"command\"}"), 0.0);
    assert_eq!(scrape.types["meter_gateway_line_busy_seconds"], "counter");
    assert!(!text.contains(DRN), "no meter has labels of its own");

    // Whoever may only pay does not look.
    assert_eq!(api.ask("till", "GET", "/metrics", "").await.status, 403);
}

#[tokio::test]
async fn a_clock_behind_what_is_on_record_is_not_ready_and_says_so() {
    let api = Api::new().await;
    assert_eq!(api.ask("eye", "GET", "/api/v1/ready", "").await.status, 200);
    let status = api.ask("eye", "GET", "/api/v1/status", "").await;
    assert_eq!(status.body["ready"], true, "{:?}", status.body);
    assert_eq!(status.body["problems"], json!([]));
    let ahead = Timestamp::now() + jiff::SignedDuration::from_mins(6);
    api.bench
        .store()
        .write::<_, crate::store::StoreError, _>(move |conn| {
            Box::pin(async move {
                crate::store::event::record(conn, ahead, "reading", Some(DRN), &json!({})).await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    let ready = api.ask("eye", "GET", "/api/v1/ready", "").await;
    assert_eq!(ready.status, 503);
    assert!(ready.said().contains("the clock was set back"), "{}", ready.said());
    let status = api.ask("eye", "GET", "/api/v1/status", "").await;
    assert_eq!(
        (&status.body["ready"], status.body["problems"].as_array().unwrap().len()),
        (&json!(false), 1)
    );
    assert_eq!(api.ask("eye", "GET", "/api/v1/health", "").await.status, 200, "it lives all the same");
}

#[tokio::test]
async fn an_administrator_changes_what_is_logged_and_a_configuration_that_is_gone_is_refused() {
    let api = Api::new().await;
    let now = api.ask("eye", "GET", "/api/v1/log-levels", "").await;
    assert_eq!(now.body["levels"], "info");
    let wanted = json!({"levels": "info,gateway::session=trace"}).to_string();
    assert_eq!(api.ask("desk", "PUT", "/api/v1/log-levels", &wanted).await.status, 403);
    assert_eq!(
        api.ask("root", "PUT", "/api/v1/log-levels", &wanted).await.body["levels"],
        "info,gateway::session=trace"
    );
    let wrong = api.ask("root", "PUT", "/api/v1/log-levels", &json!({"levels": "loud"}).to_string()).await;
    assert!(wrong.said().starts_with("422 bad-log-levels log levels \"loud\""), "{}", wrong.said());

    let refused = api.ask("root", "POST", "/api/v1/configuration/reload", "").await;
    assert!(
        refused.said().starts_with("409 configuration-refused none.toml: cannot be read"),
        "{}",
        refused.said()
    );
    let status = api.ask("eye", "GET", "/api/v1/status", "").await;
    let problem = status.body["problems"][0].as_str().unwrap();
    assert!(problem.contains("was refused: none.toml: cannot be read"), "{problem}");
    assert_eq!(status.body["ready"], true, "the one before is in force");
}
