//! Two stations over a line that loses, repeats, damages and delays: every exchange completes exactly once.

use super::frame::Address;
use super::*;
use crate::time::Duration;
use std::collections::VecDeque;
use std::vec::Vec;

type Station = Hdlc<Vec<u8>, Vec<u8>>;

/// Xorshift: a run is its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// One direction. Order is kept, as on a wire or a TCP stream.
#[derive(Default)]
struct Line {
    queue: VecDeque<(Instant, Vec<u8>)>,
    last: Instant,
}

impl Line {
    /// Each fault happens to one frame in ten.
    fn carry(&mut self, now: Instant, mut frame: Vec<u8>, chance: &mut Chance) {
        if chance.one_in(10) {
            return;
        }
        let copies = if chance.one_in(10) { 2 } else { 1 };
        if chance.one_in(10) {
            let at = usize::try_from(chance.below(frame.len() as u64)).unwrap();
            match chance.below(3) {
                0 => frame[at] ^= 1 << chance.below(8),
                1 => frame.truncate(at),
                _ => frame.insert(at, 0x7E),
            }
        }
        let delay = if chance.one_in(10) { chance.below(5_000) } else { 5 };
        for _ in 0..copies {
            self.last = self.last.max(now + Duration::from_millis(delay));
            self.queue.push_back((self.last, frame.clone()));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop_front().map(|(_, frame)| frame)
    }
}

fn apdu(number: u64, len: u64) -> Vec<u8> {
    number
        .to_be_bytes()
        .into_iter()
        .chain((0..len).map(|i| u8::try_from((i * 7 + number) % 256).unwrap()))
        .collect()
}

/// A client that asks `total` questions of a server that answers each; both note what they get.
struct World {
    client: Station,
    server: Station,
    up: Line,
    down: Line,
    chance: Chance,
    now: Instant,
    asked: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    answered: Vec<Vec<u8>>,
    /// Answers the server has not been able to hand to its link yet.
    waiting: VecDeque<Vec<u8>>,
}

impl World {
    fn new(seed: u64, window: u8) -> Self {
        let parameters = Parameters::symmetric(128, window);
        let station = |config: Config| {
            let config = Config { retries: 30, ..config.with_parameters(parameters) };
            Hdlc::new(config, std::vec![0; 256], std::vec![0; 1024], std::vec![0; 1024])
        };
        Self {
            client: station(Config::client(18, Address::Two(1, 17))),
            server: station(Config::server(1, Some(17))),
            up: Line::default(),
            down: Line::default(),
            chance: Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: Instant::ZERO,
            asked: Vec::new(),
            heard: Vec::new(),
            answered: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    fn ask(&mut self) {
        let len = self.chance.below(600);
        let question = apdu(self.asked.len() as u64, len);
        self.client.send(self.now, &question).unwrap();
        self.asked.push(question);
    }

    fn client_events(&mut self, total: usize) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Up => {}
                Event::Apdu(apdu) => self.answered.push(apdu.to_vec()),
                Event::Noise { .. } => continue,
                other => panic!("client: {other:?}"),
            }
            if self.asked.len() == self.answered.len() && self.asked.len() < total {
                self.ask();
            }
        }
    }

    fn server_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Apdu(question) => {
                    self.heard.push(question.to_vec());
                    let len = self.chance.below(600);
                    self.waiting.push_back(apdu(1_000 + self.heard.len() as u64, len));
                }
                Event::Up | Event::Noise { .. } => {}
                // A second SNRM is opening the link that the client has not yet seen opened.
                Event::Down(DownReason::PeerClosed) if self.heard.is_empty() => {}
                other => panic!("server: {other:?}"),
            }
        }
        while let Some(answer) = self.waiting.front() {
            if self.server.send(self.now, answer).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
    }

    fn transmit(&mut self) {
        let mut out = [0; 256];
        while let Some(n) = self.client.poll_transmit(self.now, &mut out) {
            self.up.carry(self.now, out[..n].to_vec(), &mut self.chance);
        }
        while let Some(n) = self.server.poll_transmit(self.now, &mut out) {
            self.down.carry(self.now, out[..n].to_vec(), &mut self.chance);
        }
    }

    /// Moves time to whatever comes next and lets it happen.
    fn step(&mut self, total: usize) {
        self.transmit();
        let times =
            [self.up.next(), self.down.next(), self.client.poll_timeout(), self.server.poll_timeout()];
        let next = times.into_iter().flatten().min().expect("something is always due until the work is done");
        self.now = self.now.max(next);
        self.client.handle_timeout(self.now);
        self.client_events(total);
        self.server.handle_timeout(self.now);
        self.server_events();
        while let Some(frame) = self.up.arrived(self.now) {
            let mut rest = &frame[..];
            while !rest.is_empty() {
                let taken = self.server.handle_bytes(self.now, rest);
                rest = &rest[taken..];
                self.server_events();
                self.transmit();
            }
        }
        while let Some(frame) = self.down.arrived(self.now) {
            let mut rest = &frame[..];
            while !rest.is_empty() {
                let taken = self.client.handle_bytes(self.now, rest);
                rest = &rest[taken..];
                self.client_events(total);
                self.transmit();
            }
        }
    }
}

#[test]
fn every_exchange_completes_exactly_once_over_a_bad_line() {
    const TOTAL: usize = 12;
    let mut repeated = 0_u64;
    for seed in 0..2_000_u64 {
        let window = [1, 2, 3, 7][usize::try_from(seed % 4).unwrap()];
        let mut world = World::new(seed, window);
        world.client.open(world.now);
        let mut steps = 0;
        while world.answered.len() < TOTAL {
            world.step(TOTAL);
            steps += 1;
            assert!(steps < 20_000, "seed {seed}, window {window}: stuck at {:?}", world.client);
        }
        assert_eq!(world.heard, world.asked, "seed {seed}, window {window}");
        let numbers: Vec<_> =
            world.answered.iter().map(|a| u64::from_be_bytes(a[..8].try_into().unwrap())).collect();
        assert_eq!(
            numbers,
            (1_001..1_001 + TOTAL as u64).collect::<Vec<_>>(),
            "seed {seed}, window {window}"
        );
        repeated += u64::from(world.client.counters().repeated);
    }
    assert!(repeated > 6_000, "the line was bad: {repeated} repetitions");
}

#[test]
fn random_bytes_neither_panic_nor_stall_either_role() {
    let mut chance = Chance(0x1234_5678_9ABC_DEF1);
    for round in 0..2_000 {
        let config =
            if round % 2 == 0 { Config::server(1, None) } else { Config::client(16, Address::One(1)) };
        let mut station: Station = Hdlc::new(config, std::vec![0; 96], std::vec![0; 64], std::vec![0; 64]);
        let mut now = Instant::ZERO;
        station.open(now);
        let mut out = [0; 200];
        for _ in 0..40 {
            let bytes: Vec<u8> = (0..chance.below(64))
                .map(|_| match chance.below(4) {
                    0 => 0x7E,
                    1 => 0xA0,
                    _ => chance.below(256).to_le_bytes()[0],
                })
                .collect();
            let (mut rest, mut calls) = (&bytes[..], 0);
            while !rest.is_empty() {
                let taken = station.handle_bytes(now, rest);
                rest = &rest[taken..];
                while station.poll_event().is_some() {}
                while station.poll_transmit(now, &mut out).is_some() {}
                calls += 1;
                assert!(calls < 200);
            }
            if let Some(at) = station.poll_timeout() {
                now = now.max(at);
                station.handle_timeout(now);
            }
        }
    }
}
