//! Strangers at the meter's port: garbage, half frames, floods. The meter stays up, stays small and serves the others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tests::process::resident_kb;
use tests::{Street, wire};

/// Meters may grow by their buffers, not by what a stranger sends.
const GROWTH_KB_MAX: u64 = 8 * 1024;

/// Bytes that look random and are the same on each run (an LCG; the constants are Knuth's).
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        })
        .collect()
}

fn address(street: &Street, number: usize) -> String {
    format!("{}:{}", street.host(number), street.port)
}

#[test]
fn garbage_on_one_connection_leaves_every_meter_answering() {
    for framing in ["wrapper", "hdlc"] {
        let street = Street::start(2, framing, &[]);
        for seed in 0..50 {
            let mut stream = TcpStream::connect(address(&street, 1)).expect("the meter accepts");
            // The meter may well hang up in the middle of it.
            let _ = stream.write_all(&noise(4096, seed));
        }
        if framing == "wrapper" {
            assert!(wire::answers(&address(&street, 1)).expect("meter 1 answers after garbage"));
            assert!(wire::answers(&address(&street, 2)).expect("meter 2 never noticed"));
        } else {
            let stream = TcpStream::connect(address(&street, 1));
            assert!(stream.is_ok(), "meter 1 still accepts connections");
        }
    }
}

#[test]
fn a_client_that_stops_in_mid_frame_keeps_nobody_else_waiting() {
    let street = Street::start(1, "wrapper", &[]);
    let mut half = TcpStream::connect(address(&street, 1)).expect("the meter accepts");
    let frame = wire::wrapped(16, wire::AARQ);
    half.write_all(&frame[..frame.len() / 2]).expect("half a frame leaves");
    let began = Instant::now();
    assert!(wire::answers(&address(&street, 1)).expect("the meter answers another client"));
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    // The rest of the frame still completes the request: nothing was lost, nothing was guessed.
    half.write_all(&frame[frame.len() / 2..]).expect("the rest leaves");
    half.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    let mut answer = [0; 9];
    half.read_exact(&mut answer).expect("the association is answered");
    assert_eq!(answer[8], 0x61, "an AARE");
}

#[test]
fn a_flood_does_not_make_the_meter_grow() {
    let street = Street::start(1, "wrapper", &[]);
    assert!(wire::answers(&address(&street, 1)).expect("the meter answers"));
    let before = resident_kb(street.process.id());
    // A header that announces 64 KiB, again and again, and an association request in a loop.
    for flood in [
        [0, 1, 0, 16, 0, 1, 0xFF, 0xFF].repeat(1024),
        wire::wrapped(16, wire::AARQ).repeat(2048),
        noise(1 << 20, 7),
    ] {
        let mut stream = TcpStream::connect(address(&street, 1)).expect("the meter accepts");
        stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
        for _ in 0..8 {
            if stream.write_all(&flood).is_err() {
                break;
            }
        }
    }
    let after = resident_kb(street.process.id());
    assert!(after < before + GROWTH_KB_MAX, "resident size went from {before} to {after} kB");
    assert!(wire::answers(&address(&street, 1)).expect("the meter answers after the flood"));
}
