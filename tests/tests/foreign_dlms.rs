//! Other people's DLMS clients against our meters: each reads, tops up and switches, with each framing and each association.

use serde_json::Value;
use std::time::Duration;
use tests::{Street, peers};

/// What a token is worth.
const TOKEN_WH: u32 = 5_000;

/// Real time for a few rows of the accelerated profile.
const PROFILE_FILLS: Duration = Duration::from_secs(6);

fn run(peer: &str, framing: &str, access: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    // A reader wants a load profile to read: at this speed a quarter of an hour takes a second.
    let speed = if access == "reader" { "900" } else { "1" };
    let street = Street::start(1, framing, &["--speed", speed]);
    if access == "reader" {
        std::thread::sleep(PROFILE_FILLS);
    }
    let (host, port) = (street.host(1), street.port.to_string());
    let token = if access == "vending" { street.token(1, TOKEN_WH, 0) } else { String::new() };
    let amount = TOKEN_WH.to_string();
    let mut arguments =
        vec!["--peer", peer, "--framing", framing, "--access", access, "--host", &host, "--port", &port];
    arguments.extend(["--token", &token, "--amount-wh", &amount]);
    arguments.extend(more);
    peers::story(&arguments)
}

fn story_holds(peer: &str, framing: &str, access: &str) {
    let (code, outcome, said) = run(peer, framing, access, &[]);
    assert_eq!(code, Some(0), "{outcome:#}\n{said}");
}

macro_rules! stories {
    ($($name:ident: $peer:literal, $framing:literal, $access:literal;)*) => {
        $(#[test] fn $name() { story_holds($peer, $framing, $access); })*
    };
}

stories! {
    peer_gurux_over_wrapper_without_security_sees_only_identity: "gurux", "wrapper", "public";
    peer_gurux_over_wrapper_with_a_password_reads: "gurux", "wrapper", "reader";
    peer_gurux_over_wrapper_with_gmac_tops_up: "gurux", "wrapper", "vending";
    peer_gurux_over_wrapper_with_gmac_switches: "gurux", "wrapper", "management";
    peer_gurux_over_hdlc_without_security_sees_only_identity: "gurux", "hdlc", "public";
    peer_gurux_over_hdlc_with_a_password_reads: "gurux", "hdlc", "reader";
    peer_gurux_over_hdlc_with_gmac_tops_up: "gurux", "hdlc", "vending";
    peer_gurux_over_hdlc_with_gmac_switches: "gurux", "hdlc", "management";

    peer_dlms_cosem_over_wrapper_without_security_sees_only_identity: "dlms-cosem", "wrapper", "public";
    peer_dlms_cosem_over_wrapper_with_a_password_reads: "dlms-cosem", "wrapper", "reader";
    peer_dlms_cosem_over_wrapper_with_gmac_tops_up: "dlms-cosem", "wrapper", "vending";
    peer_dlms_cosem_over_wrapper_with_gmac_switches: "dlms-cosem", "wrapper", "management";
    peer_dlms_cosem_over_hdlc_without_security_sees_only_identity: "dlms-cosem", "hdlc", "public";
    peer_dlms_cosem_over_hdlc_with_a_password_reads: "dlms-cosem", "hdlc", "reader";
    peer_dlms_cosem_over_hdlc_with_gmac_tops_up: "dlms-cosem", "hdlc", "vending";
    peer_dlms_cosem_over_hdlc_with_gmac_switches: "dlms-cosem", "hdlc", "management";

    peer_pydlms_over_wrapper_without_security_sees_only_identity: "pydlms", "wrapper", "public";
    peer_pydlms_over_wrapper_with_a_password_reads: "pydlms", "wrapper", "reader";
    peer_pydlms_over_wrapper_with_gmac_tops_up: "pydlms", "wrapper", "vending";
    peer_pydlms_over_wrapper_with_gmac_switches: "pydlms", "wrapper", "management";
    peer_pydlms_over_hdlc_without_security_sees_only_identity: "pydlms", "hdlc", "public";
    peer_pydlms_over_hdlc_with_a_password_reads: "pydlms", "hdlc", "reader";
    peer_pydlms_over_hdlc_with_gmac_tops_up: "pydlms", "hdlc", "vending";
    peer_pydlms_over_hdlc_with_gmac_switches: "pydlms", "hdlc", "management";
}

#[test]
fn peer_with_a_wrong_authentication_key_gets_no_association() {
    for peer in ["gurux", "pydlms"] {
        let wrong = "00000000000000000000000000000000";
        let (code, outcome, said) = run(peer, "wrapper", "management", &["--authentication-key", wrong]);
        assert_eq!(code, Some(2), "{peer}: {outcome:#}\n{said}");
        assert_eq!(outcome["steps"], serde_json::json!({}), "{peer} got something out of the meter");
    }
}

/// HLS 7, general-ciphering with keys agreed on, general-signing; then new global keys, and new key pairs of the meter.
#[test]
fn peer_pydlms_signs_agrees_on_keys_and_reads_certificate_requests() {
    let street = Street::start(1, "wrapper", &[]);
    let (host, port) = (street.host(1), street.port.to_string());
    let title = simulator::identity::to_hex(&simulator::identity::system_title(1));
    let (code, said) = peers::signing_client(&host, &port, &title);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"key_pairs\": \"held\""), "{said}");
}
