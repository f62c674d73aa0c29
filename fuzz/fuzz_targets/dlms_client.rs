//! The client's association engine as a state machine: a meter that answers anything to every request, plain or protected
//! with the right keys.
#![no_main]

#[path = "../../protocol/tests/dlms/meter.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod meter;

use libfuzzer_sys::fuzz_target;
use meter::{COUNT, ECHO, METER_TITLE, NAME, NOTE, Outcome, PROFILE, Pair, WAYS, config, seal};
use protocol::codec::axdr::Data;
use protocol::dlms::client::AccessItem;
use protocol::dlms::security::Form;

/// Bytes both ends take and send.
const SIZE: usize = 256;

fuzz_target!(|data: &[u8]| {
    let (&first, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let way = WAYS[usize::from(first) % WAYS.len()];
    let mut pair: Pair<SIZE, SIZE> = Pair::new(config(way), way.client_sap);
    pair.meter.rows = 30;
    if first & 0x80 == 0 {
        assert_eq!(pair.associate(), Outcome::Associated);
    }
    let mut counter = 1_000_000;
    while let [op, len, tail @ ..] = rest {
        let (bytes, after) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = after;
        let (client, now) = (&mut pair.client, pair.now);
        // Whether a request may start now is the engine's business.
        let _ = match op % 16 {
            0 => client.associate(now, b"0123456789abcdef"),
            1 => client.get(now, NAME, None),
            2 => client.get(now, PROFILE, None),
            3 => client.get_list(now, &[(NAME, None), (PROFILE, None)]),
            4 => client.set(now, NOTE, None, Data::OctetString(bytes)),
            5 => client.set(now, NOTE, None, Data::OctetString(&[1; 600])),
            6 => client.action(now, ECHO, Some(Data::OctetString(&[2; 600]))),
            7 => client.action_list(now, &[(COUNT, Data::Null), (ECHO, Data::Unsigned(1))]),
            8 => client.access(now, &[AccessItem::Get(NAME, None), AccessItem::Action(COUNT, Data::Null)]),
            9 => client.release(now),
            10 => {
                if let Some(at) = client.poll_timeout() {
                    pair.now = at;
                    client.handle_timeout(at);
                }
                Ok(())
            }
            11 => {
                client.link_down();
                Ok(())
            }
            12 | 13 => {
                client.handle_bytes(now, bytes);
                Ok(())
            }
            _ => {
                counter += 1;
                let form = if op & 1 == 0 { way.form } else { Form::GeneralGlo };
                client.handle_bytes(now, &seal(bytes, form, counter, &METER_TITLE.0));
                Ok(())
            }
        };
        while pair.client.poll_event().is_some() {}
        for _ in 0..100 {
            let Some(request) = pair.client.poll_transmit() else { break };
            assert!(request.len() <= SIZE);
        }
        assert!(pair.client.poll_transmit().is_none(), "a request without end");
        assert_eq!(pair.client.is_busy(), pair.client.poll_timeout().is_some(), "whoever waits has a deadline");
    }
});
