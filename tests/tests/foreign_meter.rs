//! Our gateway against somebody else's meter: `pydlms-client`'s server with prepaid semantics of our own
//! (`tests/peers/prepay_meter.py`). It is commissioned, read, topped up and switched, over the wrapper and over HDLC.

use std::time::Duration;
use tests::GatewayProcess;
use tests::peers::ForeignMeter;

const SERIAL: &str = "01000000016";
/// What 10.00 buys at 0.30 a kWh, in watt-hours.
const BOUGHT_WH: i64 = 33_300;
const CREDIT_WH: i64 = 10_000;
const SOON: Duration = Duration::from_secs(30);

fn is_read_topped_up_and_switched(framing: &str) {
    let worth = BOUGHT_WH.to_string();
    let mut meter =
        ForeignMeter::start(&["--framing", framing, "--serial", SERIAL, "--any-token-wh", &worth]);
    let gateway = GatewayProcess::start();
    gateway.add_meter(SERIAL, &format!("127.0.0.1:{}", meter.port), framing);
    gateway.until_commissioned(SERIAL);

    gateway.must(&["read", SERIAL]);
    let seen = gateway.get(&format!("/meters/{SERIAL}"));
    assert_eq!(seen["reading"]["import_wh"], 1_234_567, "{seen:#}");
    assert_eq!(seen["balance"]["credit_wh"], CREDIT_WH, "{seen:#}");

    let (code, said) = gateway.top_up(SERIAL, "1000");
    assert_eq!(code, Some(0), "{said}\n{}", gateway.process.said());
    let token = meter.event("token", SOON);
    let digits = said
        .lines()
        .find_map(|line| line.strip_prefix("token "))
        .expect("a token is printed")
        .replace(' ', "");
    assert_eq!(
        (token["digits"].as_str(), token["status"].as_i64()),
        (Some(digits.as_str()), Some(3)),
        "{token}"
    );
    let seen = gateway.get(&format!("/meters/{SERIAL}"));
    assert_eq!(seen["balance"]["credit_wh"], CREDIT_WH + BOUGHT_WH, "{seen:#}");

    gateway.must(&["disconnect", SERIAL, "--reason", "fault"]);
    assert_eq!(gateway.get(&format!("/meters/{SERIAL}"))["relay"]["output_closed"], false);
    gateway.must(&["reconnect", SERIAL]);
    assert_eq!(gateway.get(&format!("/meters/{SERIAL}"))["relay"]["output_closed"], true);
    let said = meter.process.said();
    let tokens = said.lines().filter(|line| line.contains("\"event\": \"token\"")).count();
    assert_eq!(tokens, 1, "one token was entered, once:\n{said}");
}

#[test]
fn peer_pydlms_meter_over_the_wrapper_is_read_topped_up_and_switched() {
    is_read_topped_up_and_switched("wrapper");
}

#[test]
fn peer_pydlms_meter_over_hdlc_is_read_topped_up_and_switched() {
    is_read_topped_up_and_switched("hdlc");
}
