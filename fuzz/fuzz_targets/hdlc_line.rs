//! Two HDLC stations over a line whose faults the input chooses: what arrives is what was sent, in order, once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{Config, Hdlc, Parameters};
use protocol::link::{Event, Link};
use protocol::time::Instant;
use std::collections::VecDeque;

type Station = Hdlc<[u8; 200], [u8; 600]>;

/// Carries one frame as the fault byte says: lost, twice, one bit flipped, or whole.
fn carry(frame: &[u8], fault: u8, line: &mut VecDeque<u8>) {
    match fault {
        0..32 => {}
        32..64 => line.extend(frame.iter().chain(frame)),
        64..96 => {
            let at = usize::from(fault) * 7 % (frame.len() * 8);
            line.extend(frame.iter().enumerate().map(|(i, b)| if i == at / 8 { b ^ (1 << (at % 8)) } else { *b }));
        }
        _ => line.extend(frame),
    }
}

/// What a station received since its link came up; an APDU carries its number in front.
fn take(station: &mut Station, next: &mut u16, due: &mut bool) {
    while let Some(event) = station.poll_event() {
        match event {
            Event::Apdu(apdu) => {
                let number = u16::from_be_bytes([apdu[0], apdu[1]]);
                assert_eq!(number, *next, "twice, out of order, or mixed");
                assert!(apdu[2..].iter().all(|b| *b == apdu[1]));
                *next += 1;
                *due = true;
            }
            Event::Up | Event::Down(_) => (*next, *due) = (0, false),
            Event::Unconfirmed(_) => panic!("nobody sends UI"),
            Event::Noise { .. } => {}
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&window, faults)) = data.split_first() else { return };
    let mut faults = faults.iter().copied();
    let parameters = Parameters::symmetric(128, window % 7 + 1);
    let station = |config: Config| Hdlc::new(config.with_parameters(parameters), [0; 200], [0; 600], [0; 600]);
    let mut client: Station = station(Config::client(16, Address::One(1)));
    let mut server: Station = station(Config::server(1, None));
    let (mut up, mut down) = (VecDeque::new(), VecDeque::new());
    let (mut asked, mut answered) = (0_u16, 0_u16);
    let (mut heard, mut learnt) = (0_u16, 0_u16);
    let mut now = Instant::ZERO;
    let mut out = [0; 200];
    loop {
        client.open(now);
        let mut due = false;
        take(&mut client, &mut learnt, &mut due);
        if !client.is_up() {
            asked = 0;
        } else if asked == learnt {
            let apdu = [&asked.to_be_bytes()[..], &vec![asked.to_be_bytes()[1]; usize::from(asked % 5) * 100]].concat();
            if client.send(now, &apdu).is_ok() {
                asked += 1;
            }
        }
        take(&mut server, &mut heard, &mut due);
        if heard == 0 {
            answered = 0;
        } else if answered < heard {
            let apdu = [&answered.to_be_bytes()[..], &vec![answered.to_be_bytes()[1]; 400]].concat();
            if server.send(now, &apdu).is_ok() {
                answered += 1;
            }
        }
        while let Some(n) = client.poll_transmit(now, &mut out) {
            let Some(fault) = faults.next() else { return };
            carry(&out[..n], fault, &mut up);
        }
        while let Some(n) = server.poll_transmit(now, &mut out) {
            let Some(fault) = faults.next() else { return };
            carry(&out[..n], fault, &mut down);
        }
        if up.is_empty() && down.is_empty() {
            let Some(at) = [client.poll_timeout(), server.poll_timeout()].into_iter().flatten().min() else { return };
            now = now.max(at);
            client.handle_timeout(now);
            server.handle_timeout(now);
        }
        let taken = server.handle_bytes(now, up.make_contiguous());
        up.drain(..taken);
        let taken = client.handle_bytes(now, down.make_contiguous());
        down.drain(..taken);
    }
});
