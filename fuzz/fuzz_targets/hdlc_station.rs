//! One HDLC station, either role, fed with anything: no panic, no stall, no frame that others could not read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::link::Link;
use protocol::link::hdlc::frame::{Address, Frame};
use protocol::link::hdlc::{Config, Hdlc, Parameters};
use protocol::time::Instant;

// First byte: role and window. Then pieces: a length byte, that many bytes of input; length 0xFF lets time pass to the next
// deadline, 0xFE sends an APDU, 0xFD closes.
fuzz_target!(|data: &[u8]| {
    let Some((&kind, mut rest)) = data.split_first() else { return };
    let parameters = Parameters::symmetric(128, kind >> 1 & 7);
    let config = if kind & 1 == 0 {
        Config::server(1, (kind & 0x40 != 0).then_some(17))
    } else {
        Config::client(16, Address::Two(1, 17))
    };
    let mut station = Hdlc::new(config.with_parameters(parameters), [0; 200], [0; 300], [0; 300]);
    let mut now = Instant::ZERO;
    let mut out = [0xA5; 256];
    station.open(now);
    while let Some((&length, after)) = rest.split_first() {
        rest = after;
        match length {
            0xFF => {
                if let Some(at) = station.poll_timeout() {
                    now = now.max(at);
                    station.handle_timeout(now);
                }
            }
            0xFE => drop(station.send(now, &[0xC0; 290])),
            0xFD => station.close(now),
            _ => {
                let (piece, after) = rest.split_at(rest.len().min(length.into()));
                rest = after;
                let mut piece = piece;
                while !piece.is_empty() {
                    let taken = station.handle_bytes(now, piece);
                    let event = station.poll_event().is_some();
                    assert!(taken > 0 || event, "neither bytes taken nor an event");
                    while station.poll_event().is_some() {}
                    piece = &piece[taken..];
                }
            }
        }
        while station.poll_event().is_some() {}
        let mut frames = 0;
        while let Some(n) = station.poll_transmit(now, &mut out) {
            assert!(Frame::decode(&out[..n]).is_ok());
            frames += 1;
            assert!(frames <= 16, "it never stops talking");
        }
    }
});
