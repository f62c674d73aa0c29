//! The wrapper, either role, over a stream or datagrams: no panic, no stall, no APDU beyond the buffer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::link::wrapper::{Config, Wrapper};
use protocol::link::{Event, Link};
use protocol::time::Instant;

// First byte: role and kind. Then pieces: a length byte and that many bytes.
fuzz_target!(|data: &[u8]| {
    let Some((&kind, mut rest)) = data.split_first() else { return };
    let config = if kind & 1 == 0 { Config::server((kind & 2 != 0).then_some(1)) } else { Config::client(16, 1) };
    let config = Config { datagrams: kind & 4 != 0, ..config };
    let mut link = Wrapper::new(config, [0; 64], [0; 64]);
    link.open(Instant::ZERO);
    while let Some((&length, after)) = rest.split_first() {
        let (piece, after) = after.split_at(after.len().min(length.into()));
        rest = after;
        let mut piece = piece;
        loop {
            let taken = link.handle_bytes(Instant::ZERO, piece);
            piece = &piece[taken..];
            let mut events = 0;
            while let Some(event) = link.poll_event() {
                events += 1;
                if let Event::Apdu(apdu) = event {
                    assert!(apdu.len() <= 64);
                }
            }
            if piece.is_empty() {
                break;
            }
            assert!(taken > 0 || events > 0, "neither bytes taken nor an event");
        }
    }
});
