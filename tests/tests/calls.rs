//! A meter that dials in now and then: what waits for it is done when it calls, and not before.

use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tests::{GatewayProcess, Street};

/// A meter's modem, dialled in: passes on what comes until it is dropped.
struct Call {
    up: TcpStream,
    down: TcpStream,
}

impl Call {
    fn dial(gateway: &str, name: &str, meter: &str) -> Self {
        let mut up = TcpStream::connect(gateway).expect("the gateway listens for calls");
        up.write_all(format!("{name}\n").as_bytes()).expect("said");
        let down = TcpStream::connect(meter).expect("the meter listens");
        for (from, to) in [(&up, &down), (&down, &up)] {
            let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
            });
        }
        Self { up, down }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        for end in [&self.up, &self.down] {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn command(gateway: &GatewayProcess, id: i64) -> Value {
    gateway.get(&format!("/commands/{id}"))
}

#[test]
fn commands_wait_for_a_meter_that_dials_in_and_are_done_when_it_calls() {
    let street = Street::start(1, "wrapper", &[]);
    let port = tests::free_port();
    let calls = format!("127.0.0.1:{port}");
    let gateway = GatewayProcess::start_with(|_| {
        format!("[[line]]\nname = \"calls\"\nkind = \"tcp-in\"\naddress = \"{calls}\"\nhello = \"line\"\n")
    });
    let serial = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
    let meter = format!("{}:{}", street.host(1), street.port);
    let add = ["meter", "add", "--serial", &serial, "--model", "reference-dlms", "--sgc", "123457"];
    gateway.must(&[&add[..], &["--line", "calls", "--address", "modem-1"]].concat());

    let first = Call::dial(&calls, "modem-1", &meter);
    gateway.until_commissioned(&serial);
    drop(first);
    let disconnect = json!({"serial": serial, "kind": "disconnect", "reason": "fault"});
    let id = gateway.post("/commands", &disconnect)["id"].as_i64().expect("a number");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let waiting = command(&gateway, id);
        if waiting["outcome"] == "the meter \"modem-1\" has not called" {
            assert_eq!((&waiting["state"], &waiting["finished"]), (&json!("queued"), &json!(false)));
            break;
        }
        assert!(Instant::now() < deadline, "{waiting:#}\n{}", gateway.process.said());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(street.look("/meters/1")["contact_closed"], true);
    // Somebody whom nobody entered is hung up on, and that is said with what to do.
    let stranger = Call::dial(&calls, "modem-2", &meter);
    let second = Call::dial(&calls, "modem-1", &meter);
    let done = gateway.until_finished(id);
    assert_eq!(done["state"], "verified", "{done:#}\n{}", gateway.process.said());
    assert_eq!(street.look("/meters/1")["contact_closed"], false);
    let said = gateway.process.said();
    assert!(said.contains("no meter of this line has address"), "{said}");
    drop((stranger, second));
}
