//! The sign-on of an optical port, either role, fed with anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::link::mode_e::{Client, Server};
use protocol::time::Instant;

fuzz_target!(|data: &[u8]| {
    let mut out = [0; 40];
    let mut client = Client::new("4711", 19_200, true);
    let mut server = Server::new(*b"MGW", "REFERENCE", "4711", 9_600, true);
    client.start();
    for piece in data.chunks(7) {
        client.handle_bytes(piece);
        server.handle_bytes(piece);
        while client.poll_event().is_some() || server.poll_event().is_some() {}
        let mut lines = 0;
        while client.poll_transmit(Instant::ZERO, &mut out).is_some()
            || server.poll_transmit(Instant::ZERO, &mut out).is_some()
        {
            lines += 1;
            assert!(lines <= 4, "it never stops talking");
        }
    }
});
