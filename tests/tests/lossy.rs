//! A prepaid session over links that lose, repeat, damage and delay one frame in ten each, with the meter's own firmware at the
//! other end: the token counts exactly once, the relay is switched exactly once, and nothing hangs. Virtual time, seeded: a
//! run is its seed.
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use protocol::codec::axdr::Data;
use protocol::codec::codec::Decode;
use protocol::codec::obis::Obis;
use protocol::cosem::obis;
use protocol::dlms::client::{Client, Config, Event, Failure, Outcome};
use protocol::dlms::model::{Attribute, Method};
use protocol::dlms::security::{CounterBlock, SystemTitle};
use protocol::dlms::server::{Peer, Server};
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{self, Hdlc, Parameters};
use protocol::link::wrapper::{self, Wrapper};

use protocol::link::{AnyLink, Link};
use protocol::time::Instant;
use simulator::random::Sequence;
use tests::matrix::Way;
use tests::matrix::client::config;
use tests::matrix::meter::{WideMeter, client_sap};
use tests::street::credit_token;

/// Runs per kind of link.
const RUNS: u64 = 1_500;

/// Nothing may take longer than this in virtual time: it is far beyond the sum of all retries.
const END: Instant = Instant::from_millis(8 * 3600 * 1000);

/// GMAC, with ciphering of suite 0: what a vending client uses.
const CLIENT: u8 = client_sap(5, Some(0));
const TOKEN_WH: u32 = 5_000;
const EXECUTION_OK: i64 = 3;

const fn at(class_id: u16, logical_name: Obis, index: i8) -> Attribute {
    Attribute { class_id, logical_name, index }
}

const fn method(class_id: u16, logical_name: Obis, index: i8) -> Method {
    Method { class_id, logical_name, index }
}

const LAST_TOKEN: Attribute = at(115, obis::TOKEN_GATEWAY, 2);
const TOKEN_STATUS: Attribute = at(115, obis::TOKEN_GATEWAY, 6);
const ENTER: Method = method(115, obis::TOKEN_GATEWAY, 1);
const CONTROL_STATE: Attribute = at(70, obis::DISCONNECT, 3);
const DISCONNECT: Method = method(70, obis::DISCONNECT, 1);

/// One direction of a line.
#[derive(Default)]
struct Line {
    queue: VecDeque<(Instant, Vec<u8>)>,
    /// A wire keeps the order; datagrams overtake each other.
    datagrams: bool,
}

impl Line {
    fn carry(&mut self, now: Instant, mut frame: Vec<u8>, chance: &mut Sequence) {
        if chance.below(10) == 0 {
            return;
        }
        let copies = if chance.below(10) == 0 { 2 } else { 1 };
        if chance.below(10) == 0 {
            // Whoever damages datagrams leaves them their header: one with a wrong length is none.
            let from = if self.datagrams { wrapper::HEADER_LEN } else { 0 };
            let at = from + chance.below((frame.len() - from) as u64) as usize;
            match chance.below(2) {
                0 => frame[at] ^= 1 << chance.below(8),
                // A datagram with its end missing is no datagram; on a wire it is noise.
                _ if self.datagrams => return,
                _ => frame.truncate(at),
            }
        }
        for _ in 0..copies {
            let delay = if chance.below(10) == 0 { chance.below(30_000) } else { 5 };
            let mut at = now + Duration::from_millis(delay);
            if !self.datagrams {
                at = self.queue.back().map_or(at, |(last, _)| at.max(*last));
            }
            let place = self.queue.iter().position(|(t, _)| *t > at).unwrap_or(self.queue.len());
            self.queue.insert(place, (at, frame.clone()));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }
}

type AnyVec = AnyLink<Vec<u8>, Vec<u8>>;

/// A client and a meter, each behind its link.
struct World {
    hdlc: bool,
    client: Box<Client<512, 64>>,
    client_link: AnyVec,
    server: Box<Server<512, 512>>,
    server_link: AnyVec,
    meter: Arc<WideMeter>,
    up: Line,
    down: Line,
    chance: Sequence,
    now: Instant,
    counter: u32,
}

fn hdlc_link(server: bool) -> AnyVec {
    let config = if server {
        hdlc::Config::server(1, Some(17))
    } else {
        hdlc::Config::client(CLIENT, Address::Two(1, 17))
    };
    let config = config.with_parameters(Parameters::symmetric(128, 3));
    AnyLink::Hdlc(Hdlc::new(config, vec![0; 256], vec![0; 512], vec![0; 512]))
}

fn wrapper_link(server: bool) -> AnyVec {
    let config =
        if server { wrapper::Config::server(Some(1)) } else { wrapper::Config::client(u16::from(CLIENT), 1) };
    AnyLink::Wrapper(Wrapper::new(config, vec![0; 512], vec![0; 512]))
}

/// What a request came to.
#[derive(Debug, PartialEq)]
enum Came {
    Associated,
    Value(Vec<u8>),
    Done,
    Failed(Failure),
    LinkDown,
}

impl World {
    fn new(seed: u64, hdlc: bool) -> Self {
        let link = if hdlc { hdlc_link } else { wrapper_link };
        let mut world = Self {
            hdlc,
            client: Box::new(Client::new(Config::default(), CounterBlock::default())),
            client_link: link(false),
            server: Box::new(Server::new()),
            server_link: link(true),
            meter: WideMeter::start(1, 0),
            up: Line { datagrams: !hdlc, ..Line::default() },
            down: Line { datagrams: !hdlc, ..Line::default() },
            chance: Sequence::new(seed),
            now: Instant::from_millis(1),
            counter: 1,
        };
        // A meter's link waits for its client from the first moment on.
        world.server_link.open(world.now);
        world
    }

    /// A new client on a new link end, with counters that were never used.
    fn connect(&mut self) {
        let protection = ["glo", "ded", "general-glo", "general-ded"][self.chance.below(4) as usize];
        let way = Way { mechanism: 5, protection, suite: 0, operations: Vec::new() };
        let config = Config {
            response_timeout: Duration::from_secs(20),
            peer_counter: self.client.peer_counter(),
            ..config(&way, SystemTitle(*b"MGWLOSSY"))
        };
        *self.client = Client::new(config, CounterBlock::new(self.counter, 1000));
        self.counter += 1000;
        self.client_link = if self.hdlc { hdlc_link(false) } else { wrapper_link(false) };
        self.client_link.open(self.now);
    }

    /// Runs until the client has an outcome.
    fn run(&mut self) -> Came {
        let mut value = Vec::new();
        let mut buffer = [0u8; 1024];
        loop {
            assert!(self.now < END, "hangs");
            match self.client.poll_event() {
                Some(Event::Associated(_)) => return Came::Associated,
                Some(Event::Value { bytes, last }) => {
                    value.extend_from_slice(bytes);
                    if last {
                        return Came::Value(value);
                    }
                    continue;
                }
                Some(Event::Done) => return Came::Done,
                Some(Event::Failed(failure)) => return Came::Failed(failure),
                Some(Event::Alarm(_)) => continue,
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            if self.client_link.is_up()
                && let Some(apdu) = self.client.poll_transmit().map(<[u8]>::to_vec)
            {
                self.client_link.send(self.now, &apdu).unwrap();
            }
            while let Some(n) = self.client_link.poll_transmit(self.now, &mut buffer) {
                self.up.carry(self.now, buffer[..n].to_vec(), &mut self.chance);
            }
            while let Some(n) = self.server_link.poll_transmit(self.now, &mut buffer) {
                self.down.carry(self.now, buffer[..n].to_vec(), &mut self.chance);
            }
            let next = [
                self.up.next(),
                self.down.next(),
                self.client.poll_timeout(),
                self.server.poll_timeout(),
                self.client_link.poll_timeout(),
                self.server_link.poll_timeout(),
            ];
            let next = next.into_iter().flatten().min().expect("somebody waits for something");
            self.now = self.now.max(next);
            if let Some(came) = self.step() {
                return came;
            }
        }
    }

    /// Whatever is due now.
    fn step(&mut self) -> Option<Came> {
        let now = self.now;
        if self.up.next().is_some_and(|at| at <= now) {
            let (_, bytes) = self.up.queue.pop_front().unwrap();
            self.server_hears(&bytes);
        }
        if self.down.next().is_some_and(|at| at <= now) {
            let (_, bytes) = self.down.queue.pop_front().unwrap();
            if let Some(came) = self.client_hears(&bytes) {
                return Some(came);
            }
        }
        if self.server.poll_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
        }
        if self.server_link.poll_timeout().is_some_and(|at| at <= now) {
            self.server_link.handle_timeout(now);
            self.server_hears(&[]);
        }
        if self.client.poll_timeout().is_some_and(|at| at <= now) {
            self.client.handle_timeout(now);
        }
        if self.client_link.poll_timeout().is_some_and(|at| at <= now) {
            self.client_link.handle_timeout(now);
            return self.client_hears(&[]);
        }
        None
    }

    fn server_hears(&mut self, mut bytes: &[u8]) {
        use protocol::link::Event;
        let peer = Peer { client_sap: CLIENT, server_sap: 1 };
        loop {
            while let Some(event) = self.server_link.poll_event() {
                match event {
                    Event::Apdu(apdu) => {
                        let (server, now) = (&mut self.server, self.now);
                        self.meter.carry_out(|view| server.handle_bytes(now, peer, apdu, view));
                        if let Some(answer) = self.server.poll_transmit() {
                            // A busy link loses the answer; the client will ask again or give up.
                            let _ = self.server_link.send(self.now, answer);
                        }
                    }
                    Event::Down(_) => self.server.link_down(),
                    _ => {}
                }
            }
            if bytes.is_empty() {
                return;
            }
            let taken = self.server_link.handle_bytes(self.now, bytes);
            bytes = &bytes[taken..];
        }
    }

    fn client_hears(&mut self, mut bytes: &[u8]) -> Option<Came> {
        use protocol::link::Event;
        loop {
            while let Some(event) = self.client_link.poll_event() {
                match event {
                    Event::Apdu(apdu) => {
                        self.client.handle_bytes(self.now, apdu);
                        // The event has to be polled before the next APDU; what is left of the line comes later.
                        return None;
                    }
                    Event::Down(_) => {
                        self.client.link_down();
                        return match self.client.poll_event() {
                            Some(protocol::dlms::client::Event::Failed(failure)) => {
                                Some(Came::Failed(failure))
                            }
                            _ => Some(Came::LinkDown),
                        };
                    }
                    _ => {}
                }
            }
            if bytes.is_empty() {
                return None;
            }
            let taken = self.client_link.handle_bytes(self.now, bytes);
            bytes = &bytes[taken..];
        }
    }

    /// Asks; `None` when no answer came.
    fn ask(&mut self, what: Attribute) -> Option<Vec<u8>> {
        self.client.get(self.now, what, None).unwrap();
        match self.run() {
            Came::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Commands. What is known of it afterwards is true of the meter.
    fn command(&mut self, what: Method, parameter: Data<'_>) {
        let before = self.meter.invoked(what);
        self.client.action(self.now, what, Some(parameter)).unwrap();
        match self.run() {
            Came::Done | Came::Value(_) => assert_eq!(self.meter.invoked(what), before + 1),
            Came::Failed(Failure { outcome: Outcome::NotDone, .. }) => {
                assert_eq!(self.meter.invoked(what), before);
            }
            Came::Failed(Failure { outcome: Outcome::Unknown, .. }) | Came::LinkDown => {}
            other @ Came::Associated => panic!("{other:?}"),
        }
    }

    /// One association that does what is not known to be done yet, asking before each command. True when the meter says that
    /// both are done.
    fn attempt(&mut self, token: &str) -> bool {
        self.connect();
        let challenge = b"0123456789abcdef";
        if self.client.associate(self.now, challenge).is_err() || self.run() != Came::Associated {
            return false;
        }
        let Some(last) = self.ask(LAST_TOKEN) else { return false };
        if Data::from_bytes(&last).ok().and_then(|data| data.as_bytes().map(<[u8]>::to_vec))
            == Some(token.into())
        {
            let Some(status) = self.ask(TOKEN_STATUS) else { return false };
            let status = Data::from_bytes(&status).ok().and_then(|data| data.field(0).ok()?.as_i64());
            assert_eq!(status, Some(EXECUTION_OK), "our token was refused");
        } else {
            self.command(ENTER, Data::OctetString(token.as_bytes()));
            return false;
        }
        let Some(state) = self.ask(CONTROL_STATE) else { return false };
        if state == [22, 0] {
            return true;
        }
        self.command(DISCONNECT, Data::Integer(0));
        false
    }
}

fn once_each(hdlc: bool) {
    let token = credit_token(WideMeter::start(1, 0).serial(), TOKEN_WH, 0);
    let mut worst = 0;
    for seed in 1..=RUNS {
        let mut world = World::new(seed, hdlc);
        let mut attempts = 0;
        while !world.attempt(&token) {
            attempts += 1;
            assert!(attempts < 400, "seed {seed} never succeeds");
        }
        let truth = world.meter.truth();
        assert_eq!(truth.credited_wh, Some(i64::from(TOKEN_WH)), "seed {seed}: the token counts once");
        assert!(!truth.contact_closed, "seed {seed}: the relay is open");
        assert_eq!(world.meter.invoked(DISCONNECT), 1, "seed {seed}: it was switched once");
        worst = worst.max(attempts);
    }
    println!("hdlc {hdlc}: {RUNS} runs, at most {worst} attempts");
}

#[test]
fn a_prepaid_session_over_a_bad_hdlc_line_does_everything_once() {
    once_each(true);
}

#[test]
fn a_prepaid_session_over_bad_datagrams_does_everything_once() {
    once_each(false);
}
