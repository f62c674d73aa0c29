//! The meters' end of a line: link and server engine per meter, over any stream, with faults on the wire.

use super::habits::Habits;
use super::meter::TestMeter;
use protocol::codec::xdlms::ApduTag;
use protocol::dlms::server::{Peer, Server};
use protocol::link::hdlc::{self, Hdlc};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{AnyLink, Event, Link};
use protocol::time;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// How the meters are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attached {
    Wrapper,
    HdlcTcp,
    /// On a bus, with this physical address each.
    Bus(u16),
}

/// A meter that test and line share.
pub(super) type Shared = Arc<Mutex<TestMeter>>;

struct Unit {
    meter: Shared,
    link: AnyLink<Vec<u8>, Vec<u8>>,
    server: Box<Server<1536, 256>>,
    habits: Habits,
    awake: bool,
    deaf_until: time::Instant,
}

impl Unit {
    fn new(meter: Shared, attached: Attached) -> Self {
        let habits = {
            let mut meter = meter.lock().expect("not poisoned");
            if meter.habits.counter_restarts {
                meter.counter = 0;
            }
            meter.habits.clone()
        };
        let apdu = || vec![0; 2_048];
        let link = match attached {
            Attached::Wrapper => AnyLink::Wrapper(Wrapper::new(
                wrapper::Config::server(Some(habits.server_sap)),
                apdu(),
                apdu(),
            )),
            Attached::HdlcTcp => hdlc_server(None),
            Attached::Bus(physical) => hdlc_server(Some(physical)),
        };
        let mut link = link;
        if attached == Attached::Wrapper {
            link.open(time::Instant::ZERO);
        }
        let awake = habits.wakes_to.is_none();
        let server = Box::new(Server::new());
        Self { meter, link, server, habits, awake, deaf_until: time::Instant::ZERO }
    }

    /// Whether the meter is awake and listening; what wakes it up is not heard as anything else.
    fn listens(&mut self, now: time::Instant, bytes: &[u8]) -> bool {
        if let (false, Some((call, takes))) = (self.awake, self.habits.wakes_to) {
            if bytes.windows(call.len()).any(|part| part == call) {
                self.awake = true;
                self.deaf_until = now + takes;
            }
            return false;
        }
        now >= self.deaf_until && (self.habits.hears_bytes)(bytes)
    }

    fn hear(&mut self, now: time::Instant, mut bytes: &[u8]) {
        if !self.listens(now, bytes) {
            return;
        }
        // A link takes no bytes while it has an event to give: after that it takes at least one.
        let mut stuck = 0;
        while !bytes.is_empty() && stuck < 2 {
            let taken = self.link.handle_bytes(now, bytes);
            stuck = if taken == 0 { stuck + 1 } else { 0 };
            bytes = &bytes[taken..];
            self.work(now);
        }
    }

    fn work(&mut self, now: time::Instant) {
        loop {
            let apdu = match self.link.poll_event() {
                Some(Event::Apdu(apdu)) => apdu.to_vec(),
                Some(Event::Down(_)) => {
                    self.server.link_down();
                    continue;
                }
                Some(_) => continue,
                None => return,
            };
            if !(self.habits.hears)(&apdu) {
                continue;
            }
            if self.habits.deaf_after_rlrq && apdu.first() == Some(&ApduTag::ReleaseRequest.as_u8()) {
                self.deaf_until = now + Duration::from_secs(60);
                continue;
            }
            let client_sap = self.link.peer_sap().and_then(|sap| u8::try_from(sap).ok()).unwrap_or(16);
            let mut meter = self.meter.lock().expect("not poisoned");
            self.server.handle_bytes(now, Peer { client_sap, server_sap: 1 }, &apdu, &mut *meter);
            if meter.mute {
                // The answer is lost.
                let _ = self.server.poll_transmit();
                continue;
            }
            while let Some(answer) = self.server.poll_transmit() {
                let answer = (self.habits.says)(answer);
                self.link.send(now, &answer).expect("one answer at a time");
                self.server.refill(&mut *meter);
            }
        }
    }
}

fn hdlc_server(physical: Option<u16>) -> AnyLink<Vec<u8>, Vec<u8>> {
    let (frame, apdu) = (vec![0; 600], || vec![0; 2_048]);
    AnyLink::Hdlc(Hdlc::new(hdlc::Config::server(1, physical), frame, apdu(), apdu()))
}

/// Serves the meters on one stream until it is closed. `byte_time` paces what is said.
pub(super) async fn serve<S>(mut stream: S, meters: Vec<(Shared, Attached)>, byte_time: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let began = Instant::now();
    let now = || time::Instant::from_millis(began.elapsed().as_millis() as u64);
    let mut units: Vec<Unit> =
        meters.into_iter().map(|(meter, attached)| Unit::new(meter, attached)).collect();
    let mut buffer = [0; 512];
    loop {
        let mut out = [0; 2_200];
        for unit in &mut units {
            while let Some(n) = unit.link.poll_transmit(now(), &mut out) {
                if unit.meter.lock().expect("not poisoned").mute {
                    continue;
                }
                tokio::time::sleep(byte_time * n as u32).await;
                unit.deaf_until = unit.deaf_until.max(now() + unit.habits.deaf_after_speaking);
                if stream.write_all(&out[..n]).await.is_err() {
                    return;
                }
            }
        }
        let wake = units.iter().filter_map(|unit| unit.link.poll_timeout()).min();
        let wake = began + Duration::from_millis(wake.map_or(3_600_000, time::Instant::as_millis));
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => units.iter_mut().for_each(|unit| unit.hear(now(), &buffer[..n])),
            },
            () = tokio::time::sleep_until(wake) => {
                for unit in &mut units {
                    unit.link.handle_timeout(now());
                    unit.work(now());
                }
            }
        }
    }
}
