//! The wrapper of TCP and UDP (IEC 62056-47, clause 5.3): version, source and destination wPort, length, APDU.
//!
//! There is nothing to negotiate and nothing to repeat: TCP does that. A stream whose header is wrong cannot be followed
//! any further, so a bad version or a length beyond the buffer takes the link down ([`DownReason::Protocol`]) and the
//! owner closes the socket. An APDU for another wPort is skipped and reported as noise. Over UDP one datagram is one
//! APDU ([`Config::datagrams`]): give `handle_bytes` exactly one datagram, and what is wrong with it concerns no other.
//!
//! # Memory
//! The two buffers given, each as long as the longest APDU of its direction, and about 100 bytes of state.
//! `poll_transmit` writes as much as `out` holds and continues with the next call; any `out` but an empty one will do.
//! Over UDP `out` must hold the whole APDU and its 8 bytes of header.

use super::{DownReason, Event, Link, SendError, Storage, put};
use crate::time::{Duration, Instant};
use core::fmt;

/// The only version.
pub const VERSION: u16 = 1;
/// Length of the header.
pub const HEADER_LEN: usize = 8;
/// The port IANA assigned to DLMS/COSEM.
pub const PORT: u16 = 4059;

/// The header of one APDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// wPort of the sender: the client SAP in a request, the logical device in an answer.
    pub source: u16,
    /// wPort of the receiver.
    pub destination: u16,
    /// Length of the APDU in bytes.
    pub length: u16,
}

impl Header {
    /// The bytes on the wire.
    #[must_use]
    pub const fn to_wire(self) -> [u8; HEADER_LEN] {
        let ([v0, v1], [s0, s1]) = (VERSION.to_be_bytes(), self.source.to_be_bytes());
        let ([d0, d1], [l0, l1]) = (self.destination.to_be_bytes(), self.length.to_be_bytes());
        [v0, v1, s0, s1, d0, d1, l0, l1]
    }

    /// Reads a header; `None` when its version is another.
    #[must_use]
    pub const fn from_wire(bytes: [u8; HEADER_LEN]) -> Option<Self> {
        let [v0, v1, s0, s1, d0, d1, l0, l1] = bytes;
        if u16::from_be_bytes([v0, v1]) != VERSION {
            return None;
        }
        Some(Self {
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
            length: u16::from_be_bytes([l0, l1]),
        })
    }
}

/// Which end of the wrapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Station {
    /// Sends from its own SAP to one server.
    Client {
        /// The client SAP.
        sap: u16,
        /// The server's logical device; 1 is management.
        server: u16,
    },
    /// Answers whoever asks.
    Server {
        /// The logical device; `None` answers for every destination, under the name it was called by.
        logical: Option<u16>,
    },
}

/// Who this end is, and how patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Which end.
    pub station: Station,
    /// Each call of `handle_bytes` brings one datagram (UDP).
    pub datagrams: bool,
    /// An APDU that has begun must be whole after this time.
    pub frame_timeout: Duration,
    /// Without an APDU for so long the link is down; `None`: never.
    pub inactivity_timeout: Option<Duration>,
}

impl Config {
    /// A client.
    #[must_use]
    pub const fn client(sap: u16, server: u16) -> Self {
        Self::new(Station::Client { sap, server })
    }

    /// A server for one logical device, or with `None` for all.
    #[must_use]
    pub const fn server(logical: Option<u16>) -> Self {
        Self::new(Station::Server { logical })
    }

    const fn new(station: Station) -> Self {
        // Half a minute: the longest pause in a segment that a congested mobile network was seen to recover from.
        Self { station, datagrams: false, frame_timeout: Duration::from_secs(30), inactivity_timeout: None }
    }
}

#[derive(Debug, Default)]
struct Pending {
    noise: usize,
    down: Option<DownReason>,
    up: bool,
    apdu: Option<usize>,
}

/// A wrapper end over the caller's buffers.
pub struct Wrapper<A> {
    config: Config,
    up: bool,
    header: [u8; HEADER_LEN],
    /// Bytes of header and APDU received so far.
    received: usize,
    incoming: A,
    outgoing: A,
    sending: [u8; HEADER_LEN],
    /// Length of header and APDU being sent, and how much is out; 0 when there is none.
    total: usize,
    sent: usize,
    /// Whom we answer, and as whom.
    peer: Option<u16>,
    own: u16,
    begun: Option<Instant>,
    heard: Instant,
    pending: Pending,
}

impl<A> fmt::Debug for Wrapper<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapper")
            .field("station", &self.config.station)
            .field("up", &self.up)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl<A: Storage> Wrapper<A> {
    /// An end that is down until `open`. Each buffer holds the longest APDU of its direction.
    #[must_use]
    pub fn new(config: Config, receive: A, transmit: A) -> Self {
        let (peer, own) = match config.station {
            Station::Client { sap, server } => (Some(server), sap),
            Station::Server { logical } => (None, logical.unwrap_or(1)),
        };
        Self {
            config,
            up: false,
            header: [0; HEADER_LEN],
            received: 0,
            incoming: receive,
            outgoing: transmit,
            sending: [0; HEADER_LEN],
            total: 0,
            sent: 0,
            peer,
            own,
            begun: None,
            heard: Instant::ZERO,
            pending: Pending::default(),
        }
    }

    fn go_down(&mut self, reason: DownReason) {
        if self.up {
            self.up = false;
            (self.received, self.total, self.sent, self.begun) = (0, 0, 0, None);
            self.pending = Pending { noise: self.pending.noise, down: Some(reason), ..Pending::default() };
        }
    }

    const fn any_pending(&self) -> bool {
        self.pending.noise > 0
            || self.pending.down.is_some()
            || self.pending.up
            || self.pending.apdu.is_some()
    }

    /// Whether an APDU with this header is meant for us and comes from our peer.
    fn is_ours(&self, header: Header) -> bool {
        match self.config.station {
            Station::Client { sap, server } => header.destination == sap && header.source == server,
            Station::Server { logical } => logical.is_none_or(|logical| header.destination == logical),
        }
    }

    /// Takes header bytes: how many. The link goes down on a header that can't be.
    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(HEADER_LEN.saturating_sub(self.received));
        put(&mut self.header, self.received, bytes.get(..n).unwrap_or(&[]));
        self.received += n;
        if self.received == HEADER_LEN {
            let fits = Header::from_wire(self.header)
                .is_some_and(|header| usize::from(header.length) <= self.incoming.as_ref().len());
            if !fits {
                self.refuse();
            }
        }
        n
    }

    /// The header is wrong. A stream ends; a datagram is skipped.
    fn refuse(&mut self) {
        if self.config.datagrams {
            self.pending.noise = self.pending.noise.saturating_add(self.received);
            self.received = 0;
        } else {
            self.go_down(DownReason::Protocol);
        }
    }

    /// Takes APDU bytes: how many.
    fn take_apdu(&mut self, now: Instant, header: Header, bytes: &[u8]) -> usize {
        let have = self.received.saturating_sub(HEADER_LEN);
        let n = bytes.len().min(usize::from(header.length).saturating_sub(have));
        put(self.incoming.as_mut(), have, bytes.get(..n).unwrap_or(&[]));
        self.received += n;
        if have + n == usize::from(header.length) {
            self.whole(now, header);
        }
        n
    }

    fn whole(&mut self, now: Instant, header: Header) {
        let received = core::mem::replace(&mut self.received, 0);
        self.begun = None;
        if self.is_ours(header) {
            self.peer = Some(header.source);
            self.own = header.destination;
            self.heard = now;
            self.pending.apdu = Some(usize::from(header.length));
        } else {
            self.pending.noise = self.pending.noise.saturating_add(received);
        }
    }
}

impl<A: Storage> Link for Wrapper<A> {
    fn open(&mut self, now: Instant) {
        if !self.up {
            self.up = true;
            self.heard = now;
            self.pending = Pending { up: true, ..Pending::default() };
            (self.received, self.total, self.sent, self.begun) = (0, 0, 0, None);
        }
    }

    fn close(&mut self, _now: Instant) {
        self.go_down(DownReason::Closed);
    }

    /// An end that was never opened takes bytes and forgets them.
    fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && !self.any_pending() {
            if !self.up {
                return bytes.len();
            }
            let rest = bytes.get(taken..).unwrap_or(&[]);
            taken += match Header::from_wire(self.header) {
                Some(header) if self.received >= HEADER_LEN => self.take_apdu(now, header, rest),
                _ => self.take_header(rest),
            };
            // An APDU of no bytes is whole with its header.
            if let (HEADER_LEN, Some(header @ Header { length: 0, .. })) =
                (self.received, Header::from_wire(self.header))
            {
                self.whole(now, header);
            }
            if self.config.datagrams && self.any_pending() && self.pending.apdu.is_none() {
                taken = bytes.len();
            }
        }
        if self.config.datagrams && self.received > 0 && taken == bytes.len() {
            self.pending.noise = self.pending.noise.saturating_add(self.received);
            self.received = 0;
        }
        self.begun = if self.received > 0 { self.begun.or(Some(now)) } else { None };
        taken
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.begun.is_some_and(|begun| now >= begun + self.config.frame_timeout) {
            self.go_down(DownReason::Timeout);
        }
        if self.up && self.config.inactivity_timeout.is_some_and(|timeout| now >= self.heard + timeout) {
            self.go_down(DownReason::Inactive);
        }
    }

    fn poll_event(&mut self) -> Option<Event<'_>> {
        if self.pending.noise > 0 {
            return Some(Event::Noise { bytes: core::mem::replace(&mut self.pending.noise, 0) });
        }
        if let Some(reason) = self.pending.down.take() {
            return Some(Event::Down(reason));
        }
        if core::mem::replace(&mut self.pending.up, false) {
            return Some(Event::Up);
        }
        let len = self.pending.apdu.take()?;
        Some(Event::Apdu(self.incoming.as_ref().get(..len).unwrap_or(&[])))
    }

    fn poll_transmit(&mut self, _now: Instant, out: &mut [u8]) -> Option<usize> {
        if self.total == 0 || out.is_empty() {
            return None;
        }
        let start = self.sent;
        let head = self.sending.get(start.min(HEADER_LEN)..).unwrap_or(&[]);
        let head = head.get(..head.len().min(out.len())).unwrap_or(&[]);
        put(out, 0, head);
        let body_start = start.saturating_sub(HEADER_LEN);
        let body_end = self.total.saturating_sub(HEADER_LEN);
        let body = self.outgoing.as_ref().get(body_start..body_end).unwrap_or(&[]);
        let body = body.get(..body.len().min(out.len().saturating_sub(head.len()))).unwrap_or(&[]);
        put(out, head.len(), body);
        self.sent += head.len() + body.len();
        if self.sent >= self.total {
            (self.total, self.sent) = (0, 0);
        }
        Some(head.len() + body.len())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let frame = self.begun.map(|begun| begun + self.config.frame_timeout);
        let inactive = self.config.inactivity_timeout.filter(|_| self.up).map(|timeout| self.heard + timeout);
        [frame, inactive].into_iter().flatten().min()
    }

    fn send(&mut self, _now: Instant, apdu: &[u8]) -> Result<(), SendError> {
        if !self.up {
            return Err(SendError::NotUp);
        }
        if self.total > 0 {
            return Err(SendError::Busy);
        }
        // A server that pushes before it was ever called speaks to the public client.
        let destination = self.peer.unwrap_or(16);
        let length = u16::try_from(apdu.len()).map_err(|_| SendError::TooLong)?;
        if !put(self.outgoing.as_mut(), 0, apdu) {
            return Err(SendError::TooLong);
        }
        self.sending = Header { source: self.own, destination, length }.to_wire();
        self.total = HEADER_LEN + apdu.len();
        self.sent = 0;
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.up
    }

    fn peer_sap(&self) -> Option<u16> {
        self.peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::{Encode, SliceWriter};
    use crate::codec::transport::wrapper::Wpdu;
    use std::vec::Vec;

    const NOW: Instant = Instant::ZERO;
    /// AARQ of the public client as another implementation frames it: Gurux.DLMS, examples of its documentation, carry
    /// the same header `0001 0010 0001 001F`.
    const AARQ: [u8; 39] = [
        0x00, 0x01, 0x00, 0x10, 0x00, 0x01, 0x00, 0x1F, 0x60, 0x1D, 0xA1, 0x09, 0x06, 0x07, 0x60, 0x85, 0x74,
        0x05, 0x08, 0x01, 0x01, 0xBE, 0x10, 0x04, 0x0E, 0x01, 0x00, 0x00, 0x00, 0x06, 0x5F, 0x1F, 0x04, 0x00,
        0x00, 0x1E, 0x1D, 0xFF, 0xFF,
    ];

    fn open(config: Config) -> Wrapper<Vec<u8>> {
        let mut link = Wrapper::new(config, std::vec![0; 64], std::vec![0; 64]);
        link.open(NOW);
        assert_eq!(link.poll_event(), Some(Event::Up));
        link
    }

    fn sent(link: &mut Wrapper<Vec<u8>>, out: usize) -> Vec<u8> {
        let (mut all, mut part) = (Vec::new(), std::vec![0xA5; out]);
        while let Some(n) = link.poll_transmit(NOW, &mut part) {
            all.extend_from_slice(&part[..n]);
        }
        all
    }

    #[test]
    fn an_apdu_arrives_whole_however_it_is_cut() {
        for size in 1..=AARQ.len() {
            let mut server = open(Config::server(Some(1)));
            for part in AARQ.chunks(size) {
                assert_eq!(server.poll_event(), None);
                assert_eq!(server.handle_bytes(NOW, part), part.len());
            }
            assert_eq!(server.poll_event(), Some(Event::Apdu(&AARQ[8..])));
            assert_eq!(server.peer_sap(), Some(16));
        }
    }

    #[test]
    fn glued_apdus_come_one_by_one() {
        let mut server = open(Config::server(None));
        let twice = [&AARQ[..], &[0, 1, 0, 17, 0, 1, 0, 1, 0x62]].concat();
        let n = server.handle_bytes(NOW, &twice);
        assert_eq!(n, AARQ.len());
        assert_eq!(server.handle_bytes(NOW, &twice[n..]), 0, "poll first");
        assert_eq!(server.poll_event(), Some(Event::Apdu(&AARQ[8..])));
        assert_eq!(server.handle_bytes(NOW, &twice[n..]), 9);
        assert_eq!(server.poll_event(), Some(Event::Apdu(&[0x62][..])));
        assert_eq!(server.peer_sap(), Some(17));
        server.send(NOW, &[0x63]).unwrap();
        assert_eq!(sent(&mut server, 64), [0, 1, 0, 1, 0, 17, 0, 1, 0x63]);
    }

    #[test]
    fn what_we_send_is_what_another_author_encodes_through_any_output_size() {
        let mut buffer = [0; 64];
        let mut writer = SliceWriter::new(&mut buffer);
        Wpdu::new(16, 1, &AARQ[8..]).unwrap().encode(&mut writer).unwrap();
        for out in 1..48 {
            let mut client = open(Config::client(16, 1));
            client.send(NOW, &AARQ[8..]).unwrap();
            assert_eq!(client.send(NOW, &[1]), Err(SendError::Busy));
            assert_eq!(sent(&mut client, out), writer.as_slice());
            assert_eq!(writer.as_slice(), AARQ);
        }
    }

    #[test]
    fn a_wrong_version_or_a_length_beyond_the_buffer_ends_the_stream() {
        for bad in
            [[0, 2, 0, 16, 0, 1, 0, 1], [0, 1, 0, 16, 0, 1, 0, 65], [0x7E, 0xA0, 7, 3, 0x21, 0x93, 0, 0]]
        {
            let mut server = open(Config::server(None));
            server.handle_bytes(NOW, &bad);
            assert_eq!(server.poll_event(), Some(Event::Down(DownReason::Protocol)));
            assert_eq!(server.send(NOW, &[1]), Err(SendError::NotUp));
        }
    }

    #[test]
    fn an_apdu_for_another_wport_is_skipped_and_the_next_one_taken() {
        let mut server = open(Config::server(Some(1)));
        let other = [0, 1, 0, 16, 0, 2, 0, 2, 9, 9];
        assert_eq!(server.handle_bytes(NOW, &other), 10);
        assert_eq!(server.poll_event(), Some(Event::Noise { bytes: 10 }));
        server.handle_bytes(NOW, &AARQ);
        assert_eq!(server.poll_event(), Some(Event::Apdu(&AARQ[8..])));
    }

    #[test]
    fn a_peer_that_stops_in_mid_apdu_times_out() {
        let mut server = open(Config::server(None));
        server.handle_bytes(NOW, &AARQ[..12]);
        let deadline = server.poll_timeout().unwrap();
        assert_eq!(deadline, NOW + Duration::from_secs(30));
        server.handle_timeout(deadline);
        assert_eq!(server.poll_event(), Some(Event::Down(DownReason::Timeout)));
    }

    #[test]
    fn an_empty_apdu_is_an_apdu() {
        let mut server = open(Config::server(None));
        assert_eq!(server.handle_bytes(NOW, &[0, 1, 0, 16, 0, 1, 0, 0]), 8);
        assert_eq!(server.poll_event(), Some(Event::Apdu(&[])));
    }

    #[test]
    fn over_udp_a_bad_or_short_datagram_harms_no_other() {
        let mut server = open(Config { datagrams: true, ..Config::server(None) });
        for bad in [&AARQ[..12], &[0, 9, 0, 16, 0, 1, 0, 1, 5], &[1, 2, 3]] {
            assert_eq!(server.handle_bytes(NOW, bad), bad.len());
            assert!(matches!(server.poll_event(), Some(Event::Noise { .. })));
            assert_eq!(server.poll_event(), None);
        }
        server.handle_bytes(NOW, &AARQ);
        assert_eq!(server.poll_event(), Some(Event::Apdu(&AARQ[8..])));
    }
}
