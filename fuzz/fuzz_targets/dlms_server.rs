//! The server's association engine as a state machine: a client that opens associations in every way, and sends anything,
//! plain or protected with the right keys.
#![no_main]

#[path = "../../protocol/tests/dlms/meter.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod meter;

use libfuzzer_sys::fuzz_target;
use meter::{CLIENT_TITLE, Outcome, Pair, WAYS, config, seal};
use protocol::dlms::security::Form;
use protocol::time::{Duration, Instant};

/// Bytes both ends take and send.
const SIZE: usize = 256;

fuzz_target!(|data: &[u8]| {
    let (&way, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let way = WAYS[usize::from(way) % WAYS.len()];
    let mut pair: Pair<SIZE, SIZE> = Pair::new(config(way), way.client_sap);
    pair.meter.rows = 30;
    let mut counter = 1_000_000;
    while let [op, len, tail @ ..] = rest {
        let (bytes, after) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = after;
        match op % 8 {
            0 => {
                pair.client.link_down();
                while pair.client.poll_event().is_some() {}
                // Only a client whose counters were overtaken by protected bytes of ours is refused.
                let _ = pair.client.associate(pair.now, b"0123456789abcdef").map(|()| pair.run());
            }
            1 => pair.server.link_down(),
            2 => {
                pair.now = pair.now + Duration::from_secs(u64::from(*len));
                pair.server.handle_timeout(pair.now);
            }
            3 => {
                // A client that goes on as it should keeps the rest honest.
                if pair.client.get(pair.now, meter::PROFILE, None).is_ok() {
                    let _: Outcome = pair.run();
                }
            }
            4 | 5 => pair.server.handle_bytes(pair.now, pair.peer, bytes, &mut pair.meter),
            _ => {
                counter += 1;
                let form = if op & 1 == 0 { way.form } else { Form::GeneralGlo };
                let apdu = seal(bytes, form, counter, &CLIENT_TITLE.0);
                pair.server.handle_bytes(pair.now, pair.peer, &apdu, &mut pair.meter);
            }
        }
        while pair.server.poll_event().is_some() {}
        for _ in 0..100 {
            let Some(answer) = pair.next_answer() else { break };
            assert!(answer.len() <= SIZE);
        }
        assert!(pair.next_answer().is_none(), "an answer without end");
        assert!(pair.server.poll_timeout().is_none_or(|at| at > Instant::ZERO));
    }
});
