//! HDLC for both ends: the data link of serial lines, optical probes and many modems (IEC 62056-46, frame format type 3,
//! normal response mode).
//!
//! One machine, two roles. The client (primary) opens with SNRM, holds the turn, gives it away with the poll bit and takes
//! it back with the final bit; it alone repeats, and after [`Config::retries`] it gives up. The server (secondary) answers
//! what it is asked and repeats only when the client's N(R) says that an answer was lost. Both number their frames
//! modulo 8 and go back to the first that was not acknowledged; a frame with another number than the expected one is
//! dropped, so nothing is delivered twice or out of order.
//!
//! We receive REJ and RNR and never send them: REJ is no part of the DLMS profile, and a server whose owner is slow answers
//! RR and is polled again. FRMR goes out for a command the standard does not know and for an impossible N(R).
//!
//! # Memory
//! A link holds the three buffers it is given and some 200 bytes of state. A server on a Cortex-M with a 256-byte frame
//! buffer (information fields of 239 bytes) and twice 1,024 bytes of APDU takes about 2.5 KiB. The longest APDU is the
//! length of the APDU buffer; the longest frame sent is what the peer agreed to receive, at most
//! [`frame::OVERHEAD_MAX`] more than the information field, and `poll_transmit` needs that much room.
//!
//! # Example
//! ```
//! use protocol::link::hdlc::{Config, Hdlc, frame::Address};
//! use protocol::link::{Event, Link};
//! use protocol::time::Instant;
//!
//! let buffers = || ([0; 256], [0; 1024], [0; 1024]);
//! let ((f, r, t), now) = (buffers(), Instant::ZERO);
//! let mut client = Hdlc::new(Config::client(16, Address::One(1)), f, r, t);
//! let (f, r, t) = buffers();
//! let mut server = Hdlc::new(Config::server(1, None), f, r, t);
//!
//! let mut wire = [0; 256];
//! client.open(now);
//! let n = client.poll_transmit(now, &mut wire).expect("SNRM");
//! assert_eq!(server.handle_bytes(now, &wire[..n]), n);
//! assert_eq!(server.poll_event(), Some(Event::Up));
//! let n = server.poll_transmit(now, &mut wire).expect("UA");
//! assert_eq!(client.handle_bytes(now, &wire[..n]), n);
//! assert_eq!(client.poll_event(), Some(Event::Up));
//! ```

mod config;
pub mod frame;
#[cfg(test)]
mod lossy;
mod parameters;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

pub use config::{Config, Station};
pub use parameters::{ENCODED_MAX, Parameters};

use super::{DownReason, Event, Link, SendError, Storage, within};
use crate::time::Instant;
use core::fmt;
use frame::{Address, Control, Header, OVERHEAD_MAX};
use receiver::Receiver;
use sender::{Assembled, Assembler, Sender};

const LLC_COMMAND: [u8; 3] = [0xE6, 0xE6, 0x00];
const LLC_RESPONSE: [u8; 3] = [0xE6, 0xE7, 0x00];

/// What the link has seen, for whoever looks after the line. Counters wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames handed out by `poll_transmit`.
    pub sent: u32,
    /// Valid frames for this station.
    pub received: u32,
    /// Valid frames for or from other stations.
    pub foreign: u32,
    /// Times a frame or a poll had to be repeated.
    pub repeated: u32,
    /// Bytes that belonged to no valid frame.
    pub noise: u32,
}

/// Where the link is (IEC 62056-46, figures of the NDM and NRM states).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Normal disconnected mode.
    Down,
    /// Client: SNRM has to go or is out.
    Connecting,
    /// Normal response mode.
    Up,
    /// Client: DISC has to go or is out.
    Closing,
}

/// Who may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// We may.
    Ours,
    /// The peer has it. A client repeats at the deadline.
    Theirs,
    /// Server: ours, but the owner's answer is being waited for until the deadline.
    Answering,
}

/// An unnumbered answer or supervisory frame that has to go out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Ua { with_parameters: bool },
    Dm,
    Frmr { control: u8, reason: u8 },
}

/// Events not yet polled, in the order they are told.
#[derive(Debug, Default)]
struct Pending {
    noise: usize,
    down: Option<DownReason>,
    up: bool,
    apdu: Option<usize>,
    unconfirmed: Option<usize>,
}

impl Pending {
    const fn any(&self) -> bool {
        self.noise > 0 || self.down.is_some() || self.up || self.apdu.is_some() || self.unconfirmed.is_some()
    }
}

/// An HDLC station over the caller's buffers: `F` receives a frame, `A` holds an APDU in each direction.
pub struct Hdlc<F, A> {
    config: Config,
    state: State,
    turn: Turn,
    /// What both ends agreed on.
    agreed: Parameters,
    /// The peer's address, and ours as the peer writes it.
    peer: Option<Address>,
    own: Address,
    receiver: Receiver<F>,
    sender: Sender<A>,
    assembler: Assembler<A>,
    reply: Option<Reply>,
    /// An RR is due: to acknowledge, to poll, to answer a poll.
    rr_due: bool,
    /// The peer said RNR.
    peer_busy: bool,
    /// Client: an APDU was sent and none has come back yet; ask again until then.
    poll_until: Option<Instant>,
    poll_at: Option<Instant>,
    /// Client: frames or polls repeated without any progress.
    attempts: u8,
    /// Client in `Theirs`, server in `Answering`.
    deadline: Option<Instant>,
    /// When the last byte came, while a frame is unfinished.
    last_octet: Option<Instant>,
    last_frame: Instant,
    pending: Pending,
    counters: Counters,
}

impl<F, A> fmt::Debug for Hdlc<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hdlc")
            .field("station", &self.config.station)
            .field("state", &self.state)
            .field("turn", &self.turn)
            .field("agreed", &self.agreed)
            .finish_non_exhaustive()
    }
}

impl<F: Storage, A: Storage> Hdlc<F, A> {
    /// A station that is down. `frame` should hold 64 bytes at least: its length limits the information fields we accept.
    /// `receive` and `transmit` each hold the longest APDU of their direction.
    #[must_use]
    pub fn new(config: Config, frame: F, receive: A, transmit: A) -> Self {
        let (peer, own) = match config.station {
            Station::Client { sap, server } => (Some(server), Address::One(sap & 0x7F)),
            Station::Server { logical, .. } => (None, Address::server(logical, 0, 1)),
        };
        Self {
            config,
            state: State::Down,
            turn: Turn::Theirs,
            agreed: Parameters::DEFAULT,
            peer,
            own,
            receiver: Receiver::new(frame),
            sender: Sender::new(transmit),
            assembler: Assembler::new(receive),
            reply: None,
            rr_due: false,
            peer_busy: false,
            poll_until: None,
            poll_at: None,
            attempts: 0,
            deadline: None,
            last_octet: None,
            last_frame: Instant::ZERO,
            pending: Pending::default(),
            counters: Counters::default(),
        }
    }

    /// Sizes and windows both ends agreed on; the defaults before the link is up.
    #[must_use]
    pub const fn agreed(&self) -> Parameters {
        self.agreed
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    const fn is_client(&self) -> bool {
        matches!(self.config.station, Station::Client { .. })
    }

    /// What we propose or grant: the configuration, limited by what the frame buffer can take.
    fn offer(&self) -> Parameters {
        let room = u16::try_from(self.receiver.capacity().saturating_sub(OVERHEAD_MAX)).unwrap_or(u16::MAX);
        // 2,030 is the largest field whose frame still has an 11-bit length with every address form.
        let limit = within(room, 4, 2030);
        let p = self.config.parameters;
        Parameters {
            info_transmit: within(p.info_transmit, 4, 2030),
            info_receive: within(p.info_receive, 4, limit),
            window_transmit: within(p.window_transmit, 1, 7),
            window_receive: within(p.window_receive, 1, 7),
        }
    }

    /// Everything that belongs to one connection starts anew.
    fn reset_connection(&mut self, agreed: Parameters) {
        self.agreed = agreed;
        self.sender.reset(agreed.info_transmit);
        self.assembler.reset();
        self.rr_due = false;
        self.peer_busy = false;
        self.poll_until = None;
        self.poll_at = None;
        self.attempts = 0;
        self.deadline = None;
        self.pending.apdu = None;
        self.pending.up = false;
    }

    fn go_up(&mut self, now: Instant, agreed: Parameters) {
        self.reset_connection(agreed);
        self.state = State::Up;
        self.turn = if self.is_client() { Turn::Ours } else { Turn::Theirs };
        self.last_frame = now;
        self.pending.up = true;
    }

    fn go_down(&mut self, reason: DownReason) {
        if self.state != State::Down {
            self.reset_connection(Parameters::DEFAULT);
            self.state = State::Down;
            self.turn = Turn::Theirs;
            self.pending.down = Some(reason);
        }
    }

    /// Whether a frame is for us and from our peer. A server takes any client's; whether it may speak is decided later.
    fn is_ours(&self, header: &Header) -> bool {
        match self.config.station {
            Station::Client { sap, server } => {
                let to_us = header.destination.upper() == u16::from(sap & 0x7F);
                to_us
                    && header.source.upper() == server.upper()
                    && lower_matches(server.lower(), header.source)
            }
            Station::Server { logical, physical } => {
                let upper = header.destination.upper();
                let to_device = upper == logical || header.destination.is_broadcast();
                to_device
                    && (physical.is_none() || header.destination.is_broadcast() || {
                        header.destination.lower() == physical
                    })
            }
        }
    }

    /// Takes the frame that the receiver has just completed.
    fn handle_frame(&mut self, now: Instant) {
        let Some(frame) = self.receiver.frame() else { return };
        let header = frame.header;
        if !self.is_ours(&header) {
            self.counters.foreign = self.counters.foreign.wrapping_add(1);
            return;
        }
        self.counters.received = self.counters.received.wrapping_add(1);
        if header.control == Control::Ui {
            // Pieces of a longer UI carry no number to put them together by; they are let go.
            if !header.segmented {
                self.pending.unconfirmed = self.assembler.push_unnumbered(frame.information);
            }
            return;
        }
        // IEC 62056-46: a frame for all stations is never answered; only UI makes sense there.
        if header.destination.is_broadcast() {
            return;
        }
        self.last_frame = now;
        if self.is_client() { self.client_frame(now, header) } else { self.server_frame(now, header) }
    }

    /// The client's transitions. What is not listed is ignored: a late or repeated answer.
    fn client_frame(&mut self, now: Instant, header: Header) {
        match (self.state, header.control) {
            (State::Connecting, Control::Ua) => {
                let granted = Parameters::decode(self.information());
                let agreed = self.offer().limited_by(&granted);
                self.go_up(now, agreed);
            }
            (State::Connecting | State::Up, Control::Dm) => self.go_down(DownReason::PeerClosed),
            (State::Closing, Control::Ua | Control::Dm) => self.go_down(DownReason::Closed),
            (State::Connecting | State::Up, Control::Frmr) => self.go_down(DownReason::Protocol),
            (State::Up, Control::Information { ns, nr }) => self.numbered(now, header, Some(ns), nr),
            (State::Up, Control::Rr(nr) | Control::Rej(nr)) => {
                self.peer_busy = false;
                self.numbered(now, header, None, nr);
            }
            (State::Up, Control::Rnr(nr)) => {
                self.peer_busy = true;
                self.numbered(now, header, None, nr);
            }
            _ => {}
        }
    }

    /// The server's transitions.
    fn server_frame(&mut self, now: Instant, header: Header) {
        let from_peer = self.peer == Some(header.source);
        match (self.state, header.control) {
            // A client that restarted opens again at any time; what was under way is gone.
            (_, Control::Snrm) => {
                self.go_down(DownReason::PeerClosed);
                let proposed = Parameters::decode(self.information());
                let agreed = self.offer().limited_by(&proposed);
                let with_parameters = !self.information().is_empty() || agreed != Parameters::DEFAULT;
                self.answer_to(&header);
                self.go_up(now, agreed);
                self.reply = Some(Reply::Ua { with_parameters });
            }
            (State::Up, Control::Disc) if from_peer => {
                self.answer_to(&header);
                self.go_down(DownReason::PeerClosed);
                self.reply = Some(Reply::Ua { with_parameters: false });
            }
            (State::Up, Control::Information { ns, nr }) if from_peer => {
                self.numbered(now, header, Some(ns), nr)
            }
            (State::Up, Control::Rr(nr) | Control::Rej(nr)) if from_peer => {
                self.peer_busy = false;
                self.numbered(now, header, None, nr);
            }
            (State::Up, Control::Rnr(nr)) if from_peer => {
                self.peer_busy = true;
                self.numbered(now, header, None, nr);
            }
            (State::Up, Control::Unknown(_)) if from_peer && header.poll_final => {
                let control = header.control.to_wire(true);
                self.reply = Some(Reply::Frmr { control, reason: FRMR_UNKNOWN_COMMAND });
            }
            // Not connected: say so when asked. A second client has to wait, in silence, or to open anew.
            (State::Down, Control::Disc | Control::Information { .. } | Control::Rr(_) | Control::Rnr(_))
                if header.poll_final && self.reply.is_none() =>
            {
                self.answer_to(&header);
                self.reply = Some(Reply::Dm);
            }
            _ => {}
        }
    }

    fn information(&self) -> &[u8] {
        self.receiver.frame().map_or(&[], |frame| frame.information)
    }

    /// Answers go back in the address form of the question.
    fn answer_to(&mut self, header: &Header) {
        self.peer = Some(header.source);
        self.own = header.destination;
    }

    /// A numbered or supervisory frame in normal response mode, either role.
    fn numbered(&mut self, now: Instant, header: Header, ns: Option<u8>, nr: u8) {
        let Some(progress) = self.sender.acknowledge(nr) else {
            self.impossible_nr(header);
            return;
        };
        if progress {
            self.attempts = 0;
        }
        let mut whole = false;
        let (mut accepted, mut stale) = (false, false);
        if let Some(ns) = ns {
            self.peer_busy = false;
            // Behind the expected number: we had it already. Ahead of it: one before it was lost.
            stale = ns.wrapping_sub(self.assembler.vr) & 7 >= self.agreed.window_receive;
            if ns == self.assembler.vr {
                (self.attempts, accepted) = (0, true);
                match self.take_information(header.segmented) {
                    Assembled::Whole(len) => {
                        self.pending.apdu = Some(len);
                        self.poll_until = None;
                        whole = true;
                    }
                    Assembled::Partial => {}
                    Assembled::Broken => {
                        self.go_down(DownReason::Protocol);
                        self.reply = (!self.is_client()).then_some(Reply::Dm);
                        return;
                    }
                }
            }
        }
        // A repeated answer that says nothing new gives no turn: taking it would answer one frame twice, for ever.
        let repeated = self.is_client() && stale && !progress;
        if !header.poll_final || repeated {
            return;
        }
        // Checkpoint: with the turn everything not acknowledged goes again.
        if self.sender.unacknowledged() && self.sender.go_back() {
            self.counters.repeated = self.counters.repeated.wrapping_add(1);
        }
        if self.is_client() {
            self.client_has_turn(now, accepted || progress);
        } else if whole && self.sender.is_empty() {
            self.turn = Turn::Answering;
            self.deadline = Some(now + self.config.answer_delay);
        } else {
            self.turn = Turn::Ours;
            self.rr_due = true;
        }
    }

    fn take_information(&mut self, segmented: bool) -> Assembled {
        let Some(frame) = self.receiver.frame() else { return Assembled::Broken };
        self.assembler.push(frame.information, segmented)
    }

    fn impossible_nr(&mut self, header: Header) {
        if self.is_client() {
            self.go_down(DownReason::Protocol);
        } else {
            self.reply = Some(Reply::Frmr {
                control: header.control.to_wire(header.poll_final),
                reason: FRMR_IMPOSSIBLE_NR,
            });
        }
    }

    /// The server's final bit came: decide what the client does with its turn.
    fn client_has_turn(&mut self, now: Instant, progress: bool) {
        self.turn = Turn::Ours;
        self.deadline = None;
        self.rr_due = self.assembler.is_open();
        if !progress && self.sender.unacknowledged() && !self.peer_busy {
            // Our frames did not arrive whole: repeating them is bounded like a missing answer.
            self.count_attempt();
        }
        if self.poll_until.is_some() || self.peer_busy {
            self.poll_at = Some(now + self.config.poll_interval);
        }
    }

    /// Counts one more try without progress; the last one ends the link.
    fn count_attempt(&mut self) {
        if self.attempts >= self.config.retries {
            self.go_down(DownReason::Timeout);
        } else {
            self.attempts += 1;
            self.counters.repeated = self.counters.repeated.wrapping_add(1);
        }
    }

    /// The client's answer did not come.
    fn client_timeout(&mut self) {
        self.deadline = None;
        self.count_attempt();
        match self.state {
            State::Up => {
                self.turn = Turn::Ours;
                self.rr_due = !self.sender.unacknowledged();
                self.sender.go_back();
            }
            State::Connecting | State::Closing => self.turn = Turn::Ours,
            State::Down => {}
        }
    }

    /// Polling ends here: the owner's own patience decides from now on, or a busy peer has lost ours.
    fn poll_due(&mut self, now: Instant) {
        self.poll_at = None;
        if self.poll_until.is_some_and(|until| now < until) {
            self.rr_due = true;
        } else if self.peer_busy {
            self.go_down(DownReason::Timeout);
        } else {
            self.poll_until = None;
        }
    }

    fn header(&self, control: Control, poll_final: bool, segmented: bool) -> Option<Header> {
        Some(Header { segmented, destination: self.peer?, source: self.own, control, poll_final })
    }

    /// Writes one frame without a numbered segment.
    fn transmit(
        &mut self,
        control: Control,
        poll_final: bool,
        information: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        frame::encode(&self.header(control, poll_final, false)?, &[], information, out)
    }

    fn transmit_parameters(
        &mut self,
        control: Control,
        offer: Option<Parameters>,
        out: &mut [u8],
    ) -> Option<usize> {
        let mut field = [0; ENCODED_MAX];
        let len = offer.map_or(0, |offer| offer.encode(&mut field));
        self.transmit(control, true, field.get(..len)?, out)
    }

    fn transmit_reply(&mut self, reply: Reply, out: &mut [u8]) -> Option<usize> {
        match reply {
            Reply::Ua { with_parameters } => {
                let granted = (with_parameters && self.state == State::Up).then_some(self.agreed);
                self.transmit_parameters(Control::Ua, granted, out)
            }
            Reply::Dm => self.transmit(Control::Dm, true, &[], out),
            Reply::Frmr { control, reason } => {
                // ISO/IEC 13239: the rejected control field, the state variables, the reason.
                let variables = (self.assembler.vr << 5) | (self.sender.next_ns() << 1);
                self.transmit(Control::Frmr, true, &[control, variables, reason], out)
            }
        }
    }

    /// Writes the next numbered segment; the last the window allows carries the poll/final bit.
    fn transmit_segment(&mut self, out: &mut [u8]) -> Option<usize> {
        let llc: &'static [u8] = if self.is_client() { &LLC_COMMAND } else { &LLC_RESPONSE };
        let window = self.agreed.window_transmit;
        let nr = self.assembler.vr;
        let mut header = self.header(Control::Information { ns: 0, nr }, false, false)?;
        let last = !self.sender.ready_after_next(window);
        let segment = self.sender.take(llc);
        header.control = Control::Information { ns: segment.ns, nr };
        header.segmented = segment.more;
        header.poll_final = last;
        let written = frame::encode(&header, segment.llc, segment.apdu, out)?;
        self.rr_due = false;
        if last {
            self.turn = Turn::Theirs;
        }
        Some(written)
    }

    fn transmit_up(&mut self, out: &mut [u8]) -> Option<usize> {
        if self.turn != Turn::Ours {
            return None;
        }
        if self.sender.ready(self.agreed.window_transmit) && !self.peer_busy {
            return self.transmit_segment(out);
        }
        if !self.rr_due {
            return None;
        }
        self.rr_due = false;
        self.turn = Turn::Theirs;
        let vr = self.assembler.vr;
        self.transmit(Control::Rr(vr), true, &[], out)
    }

    fn transmit_any(&mut self, out: &mut [u8]) -> Option<usize> {
        if let Some(reply) = self.reply.take() {
            return self.transmit_reply(reply, out);
        }
        match self.state {
            State::Down => None,
            State::Up => self.transmit_up(out),
            State::Connecting if self.turn == Turn::Ours => {
                self.turn = Turn::Theirs;
                let offer = (!self.config.bare_snrm).then(|| self.offer());
                self.transmit_parameters(Control::Snrm, offer, out)
            }
            State::Closing if self.turn == Turn::Ours => {
                self.turn = Turn::Theirs;
                self.transmit(Control::Disc, true, &[], out)
            }
            State::Connecting | State::Closing => None,
        }
    }

    /// The client's clock runs from the moment a frame that gives the turn away is handed out.
    fn after_transmit(&mut self, now: Instant) {
        self.counters.sent = self.counters.sent.wrapping_add(1);
        if self.is_client() && self.turn == Turn::Theirs {
            self.deadline = Some(now + self.config.response_timeout);
        }
    }

    fn report_noise(&mut self) {
        let noise = self.receiver.take_noise();
        self.pending.noise = self.pending.noise.saturating_add(noise);
        self.counters.noise = self.counters.noise.wrapping_add(u32::try_from(noise).unwrap_or(u32::MAX));
    }

    fn inactive_at(&self) -> Option<Instant> {
        let timeout = self.config.inactivity_timeout.filter(|_| self.state == State::Up)?;
        Some(self.last_frame + timeout)
    }

    /// Looks for frames in what is left in the receiver: behind a frame already handed out, or inside one that paused
    /// too long.
    fn look_again(&mut self, now: Instant) {
        let expired = due(self.last_octet.map(|at| at + self.config.inter_octet_timeout), now);
        while !self.pending.any() {
            if self.receiver.feed(&[]).1 {
                self.handle_frame(now);
            } else if expired && self.receiver.partial() {
                self.receiver.give_up();
            } else {
                break;
            }
        }
        self.report_noise();
        self.last_octet = self.receiver.partial().then_some(now);
    }

    fn octets_end_at(&self) -> Option<Instant> {
        if self.receiver.behind() {
            return Some(Instant::ZERO);
        }
        self.last_octet.map(|at| at + self.config.inter_octet_timeout)
    }
}

/// FRMR reason W: the control field is not defined. Bits as ISO/IEC 13239 lays them out.
const FRMR_UNKNOWN_COMMAND: u8 = 0x01;
/// FRMR reason Z: the control field holds an impossible N(R).
const FRMR_IMPOSSIBLE_NR: u8 = 0x08;

/// An answer's lower address must be the one we called, if we called one.
fn lower_matches(called: Option<u16>, source: Address) -> bool {
    called.is_none() || source.lower().is_none() || source.lower() == called
}

fn due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| now >= at)
}

impl<F: Storage, A: Storage> Link for Hdlc<F, A> {
    fn open(&mut self, now: Instant) {
        if self.is_client() && self.state == State::Down {
            self.reset_connection(Parameters::DEFAULT);
            self.receiver.clear();
            self.last_octet = None;
            self.state = State::Connecting;
            self.turn = Turn::Ours;
            self.last_frame = now;
        }
    }

    fn close(&mut self, _now: Instant) {
        match (self.is_client(), self.state) {
            (true, State::Up) => {
                self.reset_connection(self.agreed);
                self.state = State::Closing;
                self.turn = Turn::Ours;
            }
            (true, State::Connecting) | (false, State::Up) => self.go_down(DownReason::Closed),
            _ => {}
        }
    }

    fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while !self.pending.any() {
            let (n, whole) = self.receiver.feed(bytes.get(taken..).unwrap_or(&[]));
            taken += n;
            if !whole {
                break;
            }
            self.handle_frame(now);
        }
        self.report_noise();
        self.last_octet = match self.last_octet {
            _ if !self.receiver.partial() => None,
            before if taken == 0 => before,
            _ => Some(now),
        };
        taken
    }

    fn handle_timeout(&mut self, now: Instant) {
        if due(self.octets_end_at(), now) {
            self.look_again(now);
        }
        if due(self.inactive_at(), now) {
            self.go_down(DownReason::Inactive);
        }
        if due(self.deadline, now) {
            if self.is_client() {
                self.client_timeout();
            } else {
                self.deadline = None;
                self.turn = Turn::Ours;
                self.rr_due = true;
            }
        }
        if due(self.poll_at, now) && self.turn == Turn::Ours {
            self.poll_due(now);
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
        if let Some(len) = self.pending.apdu.take() {
            return Some(Event::Apdu(self.assembler.apdu(len)));
        }
        let len = self.pending.unconfirmed.take()?;
        Some(Event::Unconfirmed(self.assembler.apdu(len)))
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let written = self.transmit_any(out)?;
        self.after_transmit(now);
        Some(written)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let poll = self.poll_at.filter(|_| self.turn == Turn::Ours);
        [self.octets_end_at(), self.inactive_at(), self.deadline, poll].into_iter().flatten().min()
    }

    fn send(&mut self, now: Instant, apdu: &[u8]) -> Result<(), SendError> {
        if self.state != State::Up {
            return Err(SendError::NotUp);
        }
        if apdu.len() > self.sender.capacity() {
            return Err(SendError::TooLong);
        }
        if !self.sender.is_empty() {
            return Err(SendError::Busy);
        }
        let llc = if self.is_client() { &LLC_COMMAND } else { &LLC_RESPONSE };
        if !self.sender.load(llc, apdu) {
            return Err(SendError::TooLong);
        }
        if self.is_client() {
            self.poll_until = Some(now + self.config.poll_patience);
            self.poll_at = None;
        } else if self.turn == Turn::Answering {
            self.turn = Turn::Ours;
            self.deadline = None;
            self.rr_due = self.peer_busy;
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.state == State::Up
    }

    fn peer_sap(&self) -> Option<u16> {
        self.peer.map(Address::upper)
    }
}
