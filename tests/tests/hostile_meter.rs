//! Meters that send garbage, stop in mid-frame or flood: the gateway says so, changes nothing, and serves the others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tests::{GatewayProcess, Street};

const EX_UNAVAILABLE: i32 = 69;

/// What an impostor does to whoever connects.
type Act = fn(TcpStream);

/// Serves every connection on a new port with `act`, each in a thread of its own; gives the address.
fn impostor(act: Act) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || act(stream));
        }
    });
    address
}

fn garbage(mut stream: TcpStream) {
    let mut buffer = [0; 256];
    while stream.read(&mut buffer).is_ok_and(|taken| taken > 0) {
        if stream.write_all(&[0xA5; 200]).is_err() {
            return;
        }
    }
}

/// Half of an AARE in a wrapper, and then silence with the connection open.
fn stops_in_mid_frame(mut stream: TcpStream) {
    let mut buffer = [0; 256];
    let _ = stream.read(&mut buffer);
    let _ = stream.write_all(&[0, 1, 0, 1, 0, 18, 0, 43, 0x61, 0x29, 0xA1]);
    let _ = stream.read(&mut [0; 1]);
    std::thread::sleep(Duration::from_secs(60));
}

/// Well-formed frames with nothing asked for, as fast as they go.
fn floods(mut stream: TcpStream) {
    let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
    let frame = [&[0, 1, 0, 1, 0, 18, 0, 4][..], &[0xD8, 1, 1, 0]].concat().repeat(1000);
    for _ in 0..2_000 {
        if stream.write_all(&frame).is_err() {
            return;
        }
    }
}

#[test]
fn impostors_are_reported_change_nothing_and_keep_nobody_waiting() {
    let street = Street::start(1, "wrapper", &[]);
    let good = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
    let gateway = GatewayProcess::start();
    gateway.add_meter(&good, &format!("{}:{}", street.host(1), street.port), "wrapper");
    let impostors: [(&str, &str, Act); 4] = [
        ("01000000024", "wrapper", garbage),
        ("01000000032", "wrapper", stops_in_mid_frame),
        ("01000000040", "wrapper", floods),
        ("01000000057", "hdlc", garbage),
    ];
    for (serial, framing, act) in impostors {
        gateway.add_meter(serial, &impostor(act), framing);
    }
    gateway.until_commissioned(&good);
    let before = resident_kb(&gateway);

    for (serial, ..) in impostors {
        let (code, said) = gateway.run(&["read", serial, "--wait-s", "4"]);
        assert_eq!(code, Some(EX_UNAVAILABLE), "{serial}: {said}");
        // The good meter is read at once, whatever the others do.
        gateway.must(&["read", &good]);
    }
    for (serial, ..) in impostors {
        let meter = gateway.get(&format!("/meters/{serial}"));
        assert!(meter["problem"].is_string(), "the meter's page says what is wrong with it: {meter:#}");
        assert!(
            meter["commissioned_at"].is_null() && meter["relay"].is_null(),
            "nothing was believed: {meter:#}"
        );
    }
    let after = resident_kb(&gateway);
    assert!(after < before + 32 * 1024, "resident size went from {before} to {after} kB");
}

fn resident_kb(gateway: &GatewayProcess) -> u64 {
    tests::process::resident_kb(gateway.process.id())
}
