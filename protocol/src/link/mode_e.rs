//! The start of an optical port: IEC 62056-21 sign-on and the change to HDLC, protocol mode E (its annex E).
//!
//! At 300 baud, 7E1: the client asks `/?address!`, the meter names itself `/XXXZ\2ident`, the client selects `ACK 2 Z 2`, the
//! meter repeats that, both change to baud rate Z, 8N1, and HDLC begins. Many meters leave the repetition out; the client
//! goes on without it after [`ECHO_WAIT`].
//!
//! This is no [`super::Link`]: it ends where a link begins. Five verbs all the same: feed bytes and time, poll events,
//! output and deadline. Line changes are events; the owner lets its output drain before it obeys one.
//!
//! # Memory
//! Either role about 100 bytes, nothing borrowed but the names given.

use super::put;
use crate::time::{Duration, Instant};

/// The reaction time of the standard, at most 1,500 ms, and the 0.8 s a line of 24 characters takes at 300 baud.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_millis(2_400);
/// How long the client waits for the meter to repeat the selection: 200 ms reaction, 6 characters, and a reserve.
pub const ECHO_WAIT: Duration = Duration::from_millis(700);
/// How often the client asks before it gives up.
pub const ATTEMPTS: u8 = 3;
/// The longest line: `/XXXZ`, 16 characters of identification, CR LF; a request with a 32-character address is longer.
const LINE_MAX: usize = 5 + 32;

const ACK: u8 = 0x06;

/// How the serial port has to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSettings {
    /// Baud rate.
    pub baud: u32,
    /// Seven data bits and even parity; otherwise eight and none. One stop bit always.
    pub seven_even: bool,
}

impl LineSettings {
    /// Where every sign-on begins.
    pub const START: Self = Self { baud: 300, seven_even: true };
}

/// A baud rate by its character in the identification, `0` to `9` (IEC 62056-21, clause 6.3.14, table of mode C and E).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u8);

impl Rate {
    const RATES: [u32; 10] = [300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200];

    /// The fastest rate not above `baud`.
    #[must_use]
    pub fn at_most(baud: u32) -> Self {
        let fitting = Self::RATES.iter().filter(|rate| **rate <= baud).count();
        Self(u8::try_from(fitting.saturating_sub(1)).unwrap_or(0))
    }

    /// The rate in baud.
    #[must_use]
    pub fn baud(self) -> u32 {
        Self::RATES.get(usize::from(self.0)).copied().unwrap_or(300)
    }

    const fn digit(self) -> u8 {
        b'0' + self.0
    }

    const fn from_digit(digit: u8) -> Option<Self> {
        match digit {
            b'0'..=b'9' => Some(Self(digit - b'0')),
            _ => None,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Set the port like this, after all output is out.
    Line(LineSettings),
    /// The sign-on is done: HDLC begins.
    Done,
    /// It failed; start again with `start`.
    Failed(Failure),
}

/// Why a sign-on failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No identification after the last attempt.
    NoAnswer,
    /// The meter does not offer HDLC (`\2` is missing).
    NoModeE,
}

/// Bytes of a line as they come, parity bit off.
#[derive(Debug)]
struct Line {
    bytes: [u8; LINE_MAX],
    len: usize,
}

impl Line {
    const EMPTY: Self = Self { bytes: [0; LINE_MAX], len: 0 };

    /// Takes a byte; `true` when it ends a line. Control characters of other sessions and what is too long start anew.
    fn push(&mut self, byte: u8) -> bool {
        let byte = byte & 0x7F;
        match byte {
            b'\n' => return self.len > 0,
            b'\r' => return false,
            b'/' | ACK => self.len = 0,
            _ => {}
        }
        if !put(&mut self.bytes, self.len, &[byte]) {
            self.len = 0;
            return false;
        }
        self.len += 1;
        false
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Sets bit 7 to even parity: for a port that can do 8N1 alone.
fn with_parity(bytes: &mut [u8]) {
    for byte in bytes {
        let odd = byte.count_ones() % 2 == 1;
        *byte |= u8::from(odd) << 7;
    }
}

/// `ACK 2 Z 2 CR LF`: HDLC, baud rate Z, binary.
const fn selection(rate: Rate) -> [u8; 6] {
    [ACK, b'2', rate.digit(), b'2', b'\r', b'\n']
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientState {
    Idle,
    /// The request has to go out.
    Ask,
    /// The identification is awaited.
    Asked,
    /// The selection has to go out.
    Select(Rate),
    /// Its repetition is awaited.
    Selected(Rate),
    Done,
}

/// The reading head's side.
#[derive(Debug)]
pub struct Client<'a> {
    address: &'a str,
    fastest: Rate,
    software_parity: bool,
    state: ClientState,
    line: Line,
    attempts: u8,
    deadline: Option<Instant>,
    /// Next to tell, in order.
    line_event: Option<LineSettings>,
    end: Option<Event>,
}

impl<'a> Client<'a> {
    /// A client that calls `address` (empty: any meter; 32 characters at most) and wants at most `fastest` baud.
    /// `software_parity` when the port stays at 8N1 and the parity bit is made here.
    #[must_use]
    pub fn new(address: &'a str, fastest: u32, software_parity: bool) -> Self {
        Self {
            address: address.get(..32).unwrap_or(address),
            fastest: Rate::at_most(fastest),
            software_parity,
            state: ClientState::Idle,
            line: Line::EMPTY,
            attempts: 0,
            deadline: None,
            line_event: None,
            end: None,
        }
    }

    /// Begins the sign-on.
    pub fn start(&mut self) {
        self.state = ClientState::Ask;
        self.attempts = 0;
        self.deadline = None;
        self.end = None;
        self.line_event = Some(LineSettings::START);
    }

    /// Feeds received bytes.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.line.push(byte) {
                self.handle_line();
                self.line.len = 0;
            }
        }
    }

    fn handle_line(&mut self) {
        match (self.state, self.line.text()) {
            (ClientState::Asked, [b'/', maker @ .., _])
                if maker.len() >= 4 && maker.first() != Some(&b'?') =>
            {
                self.identified();
            }
            (ClientState::Selected(rate), [ACK, b'2', digit, b'2']) if *digit == rate.digit() => {
                self.finish(rate)
            }
            _ => {}
        }
    }

    /// `/XXXZ\2ident`: manufacturer, rate, mode.
    fn identified(&mut self) {
        let (rate, rest) = match self.line.text() {
            [b'/', _, _, _, digit, rest @ ..] => (Rate::from_digit(*digit), rest),
            _ => (None, &[][..]),
        };
        // The sequence `\2` may stand behind others of its kind.
        let offers_hdlc = rest.windows(2).any(|pair| pair == b"\\2");
        self.deadline = None;
        match rate {
            Some(rate) if offers_hdlc => self.state = ClientState::Select(rate.min(self.fastest)),
            _ => self.fail(Failure::NoModeE),
        }
    }

    fn finish(&mut self, rate: Rate) {
        self.state = ClientState::Done;
        self.deadline = None;
        self.line_event = Some(LineSettings { baud: rate.baud(), seven_even: false });
        self.end = Some(Event::Done);
    }

    fn fail(&mut self, why: Failure) {
        self.state = ClientState::Idle;
        self.deadline = None;
        self.end = Some(Event::Failed(why));
    }

    /// Tells that the deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|at| now < at) {
            return;
        }
        self.deadline = None;
        match self.state {
            ClientState::Asked if self.attempts >= ATTEMPTS => self.fail(Failure::NoAnswer),
            ClientState::Asked => self.state = ClientState::Ask,
            ClientState::Selected(rate) => self.finish(rate),
            _ => {}
        }
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.line_event.take().map(Event::Line).or_else(|| self.end.take())
    }

    /// Writes the next line to send into `out`, which must hold 40 bytes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let written = match self.state {
            ClientState::Ask => {
                let parts: [&[u8]; 3] = [b"/?", self.address.as_bytes(), b"!\r\n"];
                let mut len = 0;
                for part in parts {
                    len = put(out, len, part).then_some(len + part.len())?;
                }
                self.state = ClientState::Asked;
                self.attempts = self.attempts.saturating_add(1);
                self.deadline = Some(now + RESPONSE_TIMEOUT);
                len
            }
            ClientState::Select(rate) => {
                put(out, 0, &selection(rate)).then_some(())?;
                self.state = ClientState::Selected(rate);
                self.deadline = Some(now + ECHO_WAIT);
                6
            }
            _ => return None,
        };
        if self.software_parity {
            with_parity(out.get_mut(..written)?);
        }
        Some(written)
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerState {
    /// Waits for a request.
    Listen,
    /// The identification has to go out.
    Identify,
    /// The selection is awaited.
    Offered,
    /// The repetition has to go out.
    Repeat(Rate),
    Done,
}

/// The meter's side.
#[derive(Debug)]
pub struct Server<'a> {
    manufacturer: [u8; 3],
    identification: &'a str,
    address: &'a str,
    fastest: Rate,
    software_parity: bool,
    state: ServerState,
    line: Line,
    deadline: Option<Instant>,
    line_event: Option<LineSettings>,
    end: Option<Event>,
}

impl<'a> Server<'a> {
    /// A meter that answers requests to `address` or to nobody in particular, and offers `fastest` baud. The identification
    /// has at most 14 characters, for `\2` is two of its sixteen.
    #[must_use]
    pub fn new(
        manufacturer: [u8; 3],
        identification: &'a str,
        address: &'a str,
        fastest: u32,
        software_parity: bool,
    ) -> Self {
        Self {
            manufacturer,
            identification: identification.get(..14).unwrap_or(identification),
            address,
            fastest: Rate::at_most(fastest),
            software_parity,
            state: ServerState::Listen,
            line: Line::EMPTY,
            deadline: None,
            line_event: Some(LineSettings::START),
            end: None,
        }
    }

    /// Listens again at 300 baud: when the HDLC link is gone.
    pub fn restart(&mut self) {
        self.state = ServerState::Listen;
        self.line.len = 0;
        self.deadline = None;
        self.end = None;
        self.line_event = Some(LineSettings::START);
    }

    /// Feeds received bytes.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.line.push(byte) {
                self.handle_line();
                self.line.len = 0;
            }
        }
    }

    fn handle_line(&mut self) {
        match (self.state, self.line.text()) {
            (ServerState::Done, _) => {}
            (_, [b'/', b'?', address @ .., b'!']) if self.is_ours(address) => {
                self.state = ServerState::Identify;
                self.deadline = None;
            }
            (ServerState::Offered, [ACK, b'2', digit, b'2']) => {
                // A rate above what was offered is a mistake of the peer: nothing is changed then.
                if let Some(rate) = Rate::from_digit(*digit).filter(|rate| *rate <= self.fastest) {
                    self.state = ServerState::Repeat(rate);
                    self.deadline = None;
                }
            }
            _ => {}
        }
    }

    /// Leading zeros of an address do not count (IEC 62056-21, clause 6.3.2).
    fn is_ours(&self, address: &[u8]) -> bool {
        let significant = |text: &[u8]| text.iter().position(|b| *b != b'0').unwrap_or(text.len());
        let own = self.address.as_bytes();
        address.is_empty() || address.get(significant(address)..) == own.get(significant(own)..)
    }

    /// Tells that the deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|at| now >= at) {
            self.deadline = None;
            self.state = ServerState::Listen;
        }
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.line_event.take().map(Event::Line).or_else(|| self.end.take())
    }

    /// Writes the next line to send into `out`, which must hold 40 bytes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let written = match self.state {
            ServerState::Identify => {
                let rate = [self.fastest.digit()];
                let parts: [&[u8]; 6] =
                    [b"/", &self.manufacturer, &rate, b"\\2", self.identification.as_bytes(), b"\r\n"];
                let mut len = 0;
                for part in parts {
                    len = put(out, len, part).then_some(len + part.len())?;
                }
                self.state = ServerState::Offered;
                self.deadline = Some(now + RESPONSE_TIMEOUT);
                len
            }
            ServerState::Repeat(rate) => {
                put(out, 0, &selection(rate)).then_some(())?;
                self.state = ServerState::Done;
                self.line_event = Some(LineSettings { baud: rate.baud(), seven_even: false });
                self.end = Some(Event::Done);
                6
            }
            _ => return None,
        };
        if self.software_parity {
            with_parity(out.get_mut(..written)?);
        }
        Some(written)
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const NOW: Instant = Instant::ZERO;
    const AT_9600: LineSettings = LineSettings { baud: 9_600, seven_even: false };

    fn client_says(client: &mut Client<'_>, now: Instant) -> Vec<u8> {
        let mut out = [0xA5; 40];
        client.poll_transmit(now, &mut out).map_or(Vec::new(), |n| out[..n].to_vec())
    }

    fn server_says(server: &mut Server<'_>) -> Vec<u8> {
        let mut out = [0xA5; 40];
        server.poll_transmit(NOW, &mut out).map_or(Vec::new(), |n| out[..n].to_vec())
    }

    #[test]
    fn both_ends_agree_on_a_rate_and_change_to_it() {
        for parity in [false, true] {
            let mut client = Client::new("", 9_600, parity);
            let mut server = Server::new(*b"MGW", "REF1", "4711", 19_200, parity);
            client.start();
            assert_eq!(client.poll_event(), Some(Event::Line(LineSettings::START)));
            assert_eq!(server.poll_event(), Some(Event::Line(LineSettings::START)));
            for byte in client_says(&mut client, NOW) {
                server.handle_bytes(&[byte]);
            }
            client.handle_bytes(&server_says(&mut server));
            server.handle_bytes(&client_says(&mut client, NOW));
            client.handle_bytes(&server_says(&mut server));
            for end in [
                [client.poll_event(), client.poll_event(), client.poll_event()],
                [server.poll_event(), server.poll_event(), server.poll_event()],
            ] {
                assert_eq!(end, [Some(Event::Line(AT_9600)), Some(Event::Done), None]);
            }
        }
    }

    /// The sign-on of an Iskraemeco MT372 as published (forum.arduino.cc/t/116767; also in a public head-end's test as
    /// `2F49534B355C324D543337322D333130370D0A` answered by `063235320D0A`).
    #[test]
    fn a_published_sign_on_is_answered_as_it_was() {
        let mut client = Client::new("", 115_200, false);
        client.start();
        assert_eq!(client_says(&mut client, NOW), b"/?!\r\n");
        client.handle_bytes(b"/ISK5\\2MT372-3107\r\n");
        assert_eq!(client_says(&mut client, NOW), [0x06, 0x32, 0x35, 0x32, 0x0D, 0x0A]);
    }

    #[test]
    fn even_parity_is_set_where_the_port_cannot() {
        let mut client = Client::new("", 300, true);
        client.start();
        // AF 3F 21 8D 0A: the request as 7E1 seen by an 8N1 port (the same forum thread).
        assert_eq!(client_says(&mut client, NOW), [0xAF, 0x3F, 0x21, 0x8D, 0x0A]);
    }

    #[test]
    fn a_meter_that_does_not_repeat_the_selection_is_followed_all_the_same() {
        let mut client = Client::new("", 9_600, false);
        client.start();
        client_says(&mut client, NOW);
        client.handle_bytes(b"/LGZ5\\2ZMD120\r\n");
        client_says(&mut client, NOW);
        let at = client.poll_timeout().unwrap();
        client.handle_timeout(at);
        assert_eq!(client.poll_event(), Some(Event::Line(AT_9600)));
        assert_eq!(client.poll_event(), Some(Event::Done));
    }

    #[test]
    fn silence_is_asked_three_times_and_then_named() {
        let mut client = Client::new("123", 9_600, false);
        client.start();
        client.poll_event();
        let mut now = NOW;
        for _ in 0..ATTEMPTS {
            assert_eq!(client_says(&mut client, now), b"/?123!\r\n");
            now = client.poll_timeout().unwrap();
            client.handle_timeout(now);
        }
        assert_eq!(client.poll_event(), Some(Event::Failed(Failure::NoAnswer)));
        assert_eq!((client_says(&mut client, now), client.poll_timeout()), (Vec::new(), None));
    }

    #[test]
    fn a_meter_without_hdlc_is_told_apart() {
        let mut client = Client::new("", 9_600, false);
        client.start();
        client.poll_event();
        client_says(&mut client, NOW);
        client.handle_bytes(b"/EMH4 mMe4.0\r\n");
        assert_eq!(client.poll_event(), Some(Event::Failed(Failure::NoModeE)));
    }

    #[test]
    fn a_meter_answers_its_own_address_only_and_ignores_leading_zeros() {
        for (asked, answers) in
            [("", true), ("4711", true), ("0004711", true), ("471", false), ("4712", false)]
        {
            let mut server = Server::new(*b"MGW", "REF1", "4711", 9_600, false);
            server.handle_bytes(b"/?");
            server.handle_bytes(asked.as_bytes());
            server.handle_bytes(b"!\r\n");
            assert_eq!(!server_says(&mut server).is_empty(), answers, "{asked}");
        }
    }

    #[test]
    fn a_selection_that_never_comes_or_asks_too_much_leaves_the_meter_listening() {
        let mut server = Server::new(*b"MGW", "REF1", "", 4_800, false);
        server.poll_event();
        server.handle_bytes(b"/?!\r\n");
        assert_eq!(server_says(&mut server), b"/MGW4\\2REF1\r\n");
        server.handle_bytes(b"\x06252\r\n");
        assert!(server_says(&mut server).is_empty());
        let at = server.poll_timeout().unwrap();
        server.handle_timeout(at);
        server.handle_bytes(b"\x06242\r\n");
        assert!(server_says(&mut server).is_empty(), "too late");
        assert_eq!(server.poll_event(), None);
    }

    #[test]
    fn garbage_and_endless_lines_are_survived() {
        let mut server = Server::new(*b"MGW", "REF1", "", 9_600, false);
        for byte in 0..=255_u8 {
            server.handle_bytes(&[byte; 300]);
        }
        server.handle_bytes(b"noise/?!\r\n");
        assert_eq!(server_says(&mut server), b"/MGW5\\2REF1\r\n");
    }
}
