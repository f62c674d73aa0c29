//! Somebody on the wire, with the real gateway and the real meter as separate processes: what was recorded is refused when it is
//! sent again, in whatever way; and what offers less security than agreed is refused too.

use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tests::proxy::{Overheard, Proxy};
use tests::{GatewayProcess, Street, wire};

const VENDING: u16 = 18;
const SOON: Duration = Duration::from_secs(30);
/// glo-action-request and glo-action-response.
const ACTION: u8 = 0xCB;
const ACTION_DONE: u8 = 0xCF;
const EXCEPTION: u8 = 0xD8;

fn contact_closed(street: &Street) -> bool {
    street.look("/meters/1")["contact_closed"] == true
}

/// The last ciphered ACTION that was heard, and the connection it was heard on.
fn last_action(proxy: &Proxy) -> (Vec<u8>, Overheard) {
    let heard = proxy.heard();
    let has_action = |frame: &&Vec<u8>| frame.get(8) == Some(&ACTION);
    let connection =
        heard.iter().rfind(|c| c.requests.iter().any(|f| has_action(&f))).expect("an ACTION was heard");
    let action = connection.requests.iter().rfind(has_action).expect("there is one").clone();
    (action, connection.clone())
}

/// Sends what was recorded to the meter once more, frame by frame, on a new connection: what it answers, until it hangs up.
fn replayed(meter: &str, recorded: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = TcpStream::connect(meter).expect("the meter accepts a connection");
    let mut tags = Vec::new();
    for frame in recorded {
        match wire::exchange(&mut stream, VENDING, &frame[8..]) {
            Ok(answer) => tags.push(answer.first().copied().unwrap_or_default()),
            Err(_) => break,
        }
    }
    tags
}

#[test]
fn a_recorded_disconnect_is_refused_later_after_a_reconnect_and_after_a_reboot() {
    let street = Street::start(1, "wrapper", &[]);
    let serial = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
    let meter = format!("{}:{}", street.host(1), street.port);
    let proxy = Proxy::start(meter.clone());
    let gateway = GatewayProcess::start();
    gateway.add_meter(&serial, &proxy.address, "wrapper");
    gateway.until_commissioned(&serial);
    gateway.must(&["disconnect", &serial, "--reason", "fault"]);
    assert!(!contact_closed(&street), "the genuine command opens the relay");
    let (disconnect, whole) = last_action(&proxy);
    gateway.must(&["reconnect", &serial]);
    assert!(contact_closed(&street), "the genuine command closes it again");

    // The frame alone, the frame in an association of nobody's, and the whole recorded conversation.
    for recorded in [
        vec![disconnect.clone()],
        vec![wire::wrapped(VENDING, wire::AARQ), disconnect.clone()],
        whole.requests.clone(),
    ] {
        let answers = replayed(&meter, &recorded);
        assert!(!answers.contains(&ACTION_DONE), "an ACTION was answered: {answers:02X?}");
        assert!(contact_closed(&street), "the recorded disconnect opened the relay");
    }
    // Slipped into the gateway's own association, right before a request of its own.
    proxy.inject(disconnect.clone());
    gateway.must(&["read", &serial]);
    let answer = proxy.answer_to_injected(SOON);
    assert_eq!(answer.get(8), Some(&EXCEPTION), "{answer:02X?}");
    assert!(contact_closed(&street), "the injected disconnect opened the relay");

    street.act("/meters/1/faults", &json!({"fault": "reboot"}));
    let answers = replayed(&meter, &whole.requests);
    assert!(!answers.contains(&ACTION_DONE), "after a reboot an ACTION was answered: {answers:02X?}");
    proxy.inject(disconnect);
    gateway.must(&["read", &serial]);
    let answer = proxy.answer_to_injected(SOON);
    assert_eq!(answer.get(8), Some(&EXCEPTION), "{answer:02X?}");
    assert!(contact_closed(&street), "after a reboot the recorded disconnect opened the relay");
}

/// An AARQ as [`wire::AARQ`], but for this application context and mechanism, with a password or challenge.
fn aarq(context: u8, mechanism: Option<u8>) -> Vec<u8> {
    let mut body = vec![0xA1, 0x09, 0x06, 0x07, 0x60, 0x85, 0x74, 0x05, 0x08, 0x01, context];
    // calling-AP-title: a system title.
    body.extend([0xA6, 0x0A, 0x04, 0x08]);
    body.extend(b"MGWEVIL1");
    if let Some(mechanism) = mechanism {
        body.extend([0x8A, 0x02, 0x07, 0x80, 0x8B, 0x07, 0x60, 0x85, 0x74, 0x05, 0x08, 0x02, mechanism]);
        body.extend([0xAC, 0x0A, 0x80, 0x08]);
        body.extend(b"Reader01");
    }
    body.extend(&wire::AARQ[wire::AARQ.len() - 18..]);
    let mut apdu = vec![0x60, u8::try_from(body.len()).expect("a short APDU")];
    apdu.extend(body);
    apdu
}

#[test]
fn an_association_that_offers_less_security_than_the_meter_demands_is_refused() {
    let street = Street::start(1, "wrapper", &[]);
    let meter = format!("{}:{}", street.host(1), street.port);
    let accepted = |answer: &[u8]| answer.windows(5).any(|field| field == [0xA2, 0x03, 0x02, 0x01, 0x00]);
    // The form is good: the reader's association takes a password.
    let mut stream = TcpStream::connect(&meter).expect("the meter accepts a connection");
    let answer = wire::exchange(&mut stream, 17, &aarq(1, Some(1))).expect("an answer comes");
    assert!(accepted(&answer), "{answer:02X?}");
    // Logical names without and with ciphering; no mechanism, password, and the other HLS mechanisms.
    for context in [1, 3] {
        for mechanism in [None, Some(1), Some(2), Some(3), Some(4), Some(6), Some(7)] {
            let mut stream = TcpStream::connect(&meter).expect("the meter accepts a connection");
            let answer = wire::exchange(&mut stream, VENDING, &aarq(context, mechanism));
            if let Ok(answer) = answer {
                // result (A2 03 02 01 xx): anything but 0, accepted; or no AARE at all.
                assert!(!accepted(&answer), "context {context}, mechanism {mechanism:?}: {answer:02X?}");
            }
            // And nothing is answered to who goes on all the same: the relay's disconnect, in clear.
            let disconnect =
                [0xC3, 0x01, 0xC1, 0x00, 0x46, 0x00, 0x00, 0x60, 0x03, 0x0A, 0xFF, 0x01, 0x01, 0x0F, 0x00];
            if let Ok(answer) = wire::exchange(&mut stream, VENDING, &disconnect) {
                assert_eq!(answer.first(), Some(&EXCEPTION), "{answer:02X?}");
            }
        }
    }
    assert!(contact_closed(&street), "nobody of them opened the relay");
}

#[test]
fn a_frame_that_says_it_is_less_protected_is_refused() {
    let street = Street::start(1, "wrapper", &[]);
    let serial = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
    let proxy = Proxy::start(format!("{}:{}", street.host(1), street.port));
    let gateway = GatewayProcess::start();
    gateway.add_meter(&serial, &proxy.address, "wrapper");
    gateway.until_commissioned(&serial);
    // glo-action-request with a counter of the future and a control byte that asks for less: nothing, a tag alone, no tag.
    let plain = [0xC3, 0x01, 0xC1, 0x00, 0x46, 0x00, 0x00, 0x60, 0x03, 0x0A, 0xFF, 0x01, 0x01, 0x0F, 0x00];
    for control in [0x00, 0x10, 0x20, 0x31, 0x70] {
        let mut apdu = vec![ACTION, 5 + 15 + 12, control, 0x7F, 0xFF, 0xFF, 0x00];
        apdu.extend(plain);
        apdu.extend([0; 12]);
        proxy.inject(wire::wrapped(VENDING, &apdu));
        gateway.must(&["read", &serial]);
        let answer = proxy.answer_to_injected(SOON);
        assert_eq!(answer.get(8), Some(&EXCEPTION), "control {control:02X}: {answer:02X?}");
        // In clear, inside the ciphered association.
        proxy.inject(wire::wrapped(VENDING, &plain));
        gateway.must(&["read", &serial]);
        let answer = proxy.answer_to_injected(SOON);
        assert_eq!(answer.get(8), Some(&EXCEPTION), "in clear: {answer:02X?}");
    }
    assert!(contact_closed(&street), "none of them opened the relay");
    gateway.must(&["disconnect", &serial, "--reason", "fault"]);
}

#[test]
fn half_open_connections_keep_neither_the_api_nor_a_meter_from_others() {
    let street = Street::start(2, "wrapper", &[]);
    let serial = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
    let meter = format!("{}:{}", street.host(1), street.port);
    let gateway = GatewayProcess::start();
    gateway.add_meter(&serial, &meter, "wrapper");
    gateway.until_commissioned(&serial);
    let hold = |address: &str, begin: &[u8]| {
        let mut stream = TcpStream::connect(address).expect("a connection is accepted");
        let _ = stream.write_all(begin);
        stream
    };
    let api = gateway.address();
    let strangers: Vec<_> = (0..900)
        .map(|n| {
            if n % 2 == 0 {
                hold(api, b"POST /api/v1/top-ups HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            } else {
                hold(api, b"")
            }
        })
        .collect();
    let at_the_meter: Vec<_> = (0..400).map(|_| hold(&meter, &[0, 1, 0, 16])).collect();
    let began = Instant::now();
    gateway.must(&["read", &serial]);
    let (code, said) = gateway.top_up(&serial, "500");
    assert_eq!(code, Some(0), "{said}");
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    drop((strangers, at_the_meter));
}
