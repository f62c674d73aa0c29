//! The optical port: a reading head signs on at 300 baud, 7E1, and goes on in HDLC.

use super::till::{MANAGEMENT, Till, connect};
use super::{READY, start, token};
use protocol::dlms::security::CounterBlock;
use protocol::link::mode_e::{self, Event};
use protocol::time::Instant;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::qemu::image;
use tests::{Folder, peers};

/// Signs on; gives the connection back for HDLC, and what the meter called itself.
fn sign_on(mut stream: TcpStream) -> (TcpStream, String) {
    let began = std::time::Instant::now();
    let now = || Instant::from_millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout can be set");
    // The emulated line carries eight bits; the parity bit is made here, as the meter makes it.
    let mut head = mode_e::Client::new("", 9_600, true);
    head.start();
    let mut named = String::new();
    while began.elapsed() < READY {
        let mut out = [0; 40];
        while let Some(length) = head.poll_transmit(now(), &mut out) {
            stream.write_all(&out[..length]).expect("the emulator listens");
        }
        let mut heard = [0; 64];
        if let Ok(length) = stream.read(&mut heard) {
            named.extend(heard[..length].iter().map(|byte| char::from(byte & 0x7F)));
            head.handle_bytes(&heard[..length]);
        }
        head.handle_timeout(now());
        while let Some(event) = head.poll_event() {
            match event {
                Event::Done => return (stream, named),
                // Slower than the standard allows: once more.
                Event::Failed(_) => head.start(),
                Event::Line(_) => {}
            }
        }
    }
    panic!("no sign-on: {named:?}");
}

#[test]
fn qemu_meter_is_read_through_its_optical_port_while_its_other_port_is_in_use() {
    let folder = Folder::new("qemu-optical");
    let qemu = start(&image("mps2-an386"), &folder, "");
    let mut till = Till::open(qemu.port, 0).expect("an association on RS-485");
    let (stream, named) = sign_on(connect(qemu.optical_port).expect("the optical port"));
    assert!(named.starts_with("/MGW5\\2AN386"), "{named:?}");
    let counters = CounterBlock::new(5_000, 100);
    // With a system title of its own, for counters are per title.
    let mut head = Till::over(stream, MANAGEMENT, counters).expect("an association through the optical port");
    let seen = head.credit_wh().expect("credit");
    assert!((till.credit_wh().expect("credit") - seen).abs() < 10);
}

#[test]
fn qemu_peer_gurux_signs_on_at_the_optical_port_and_tops_up_through_it() {
    let folder = Folder::new("qemu-optical-peer");
    let qemu = start(&image("mps2-an386"), &folder, "");
    let (port, token) = (qemu.optical_port.to_string(), token(0));
    let mut arguments = vec!["--peer", "gurux", "--framing", "hdlc", "--mode-e", "--access", "vending"];
    arguments.extend(["--host", "127.0.0.1", "--port", &port, "--timeout", "60"]);
    arguments.extend(["--token", &token, "--amount-wh", "5000"]);
    let (code, outcome, said) = peers::story(&arguments);
    assert_eq!(code, Some(0), "{outcome:#}\n{said}");
}
