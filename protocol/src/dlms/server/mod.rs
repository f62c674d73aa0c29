//! The server's association engine: what stands between a link and a meter's objects.
//!
//! One engine serves one link (a port, a TCP connection) and holds one association at a time; the link says which
//! client address an APDU came from. Requests are carried out as they arrive, answers are ready at once:
//!
//! 1. [`Server::handle_bytes`] with one whole APDU;
//! 2. [`Server::poll_event`] until it gives nothing;
//! 3. [`Server::poll_transmit`] until it gives nothing, each APDU to the link before the next APDU is handled; then
//!    [`Server::refill`], and again while there is more;
//! 4. wait for the link or for [`Server::poll_timeout`], then [`Server::handle_timeout`].
//!
//! ```
//! use protocol::dlms::model::ObjectModel;
//! use protocol::dlms::server::{Custody, Peer, Server};
//! use protocol::time::Instant;
//!
//! /// Answers one request of the reader's client address.
//! fn answer<M: ObjectModel + Custody>(
//!     server: &mut Server<512, 512>,
//!     meter: &mut M,
//!     now: Instant,
//!     request: &[u8],
//!     mut send: impl FnMut(&[u8]),
//! ) {
//!     server.handle_bytes(now, Peer { client_sap: 17, server_sap: 1 }, request, meter);
//!     while let Some(event) = server.poll_event() {
//!         println!("{event:?}");
//!     }
//!     loop {
//!         while let Some(apdu) = server.poll_transmit() {
//!             send(apdu);
//!         }
//!         if !server.refill(meter) {
//!             break;
//!         }
//!     }
//! }
//! ```
//!
//! When the link goes down call [`Server::link_down`]: the association ends with it (Green Book 9.3.5, abort).
//!
//! Implemented: associations without security, with LLS and with HLS (mechanisms as in
//! [`crate::dlms::security::hls`]); `glo`, `ded`, `general-glo` and
//! `general-ded` protection, general-ciphering and general-signing; GET normal, next and with-list; SET normal, with-list and
//! in blocks; ACTION normal, with-list and in blocks, with blocks back; ACCESS; general block transfer; DataNotification
//! (confirmed or not) and EventNotification; exception-response; pre-established associations ([`PreEstablished`]).
//!
//! Memory: `N` bytes to decipher into, `N` to answer from, `LONG` for what outlives one APDU (a parameter coming in
//! blocks, the selection of a read going out in blocks, a long return value), two expanded keys. No value is ever whole
//! here on its way out.

mod access;
mod associate;
mod association_object;
mod blocks;
mod custody;
mod general;
mod get;
mod invoke;
mod pre_established;
mod push;
mod session;
mod set;
mod stream;
mod streamed;
mod transfer;
mod window;

pub use custody::{Association, Custody};
pub use pre_established::PreEstablished;
pub use push::PushError;

use heapless::Deque;

use self::session::{Session, Stage};
use self::transfer::Transfer;
use crate::codec::acse::UserDiagnostic;
use crate::codec::codec::{Error, ErrorKind, Writer};
use crate::codec::security::SystemTitle;
use crate::codec::xdlms::{
    ApduTag, Conformance, ExceptionResponse, InvokeId, LongInvokeId, SecurityControl, ServiceError,
    StateError,
};
use crate::dlms::DATA_NOTIFICATION_CONFIRM;
use crate::dlms::apdu::put;
use crate::dlms::model::ObjectModel;
use crate::dlms::security::frame::{HEAD, Protect, Sealed};
use crate::dlms::security::{Form, Frame, Key, Refusal, without_dedicated};
use crate::time::{Duration, Instant};

/// How long a client may take for its answer to the HLS challenge. The standard gives no number; a request and its
/// answer take less than this on the slowest line in use (300 baud).
pub const CHALLENGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Values of any length go in general blocks: the feature `general-block-streams`.
const STREAMS: bool = cfg!(feature = "general-block-streams");

/// Events kept until they are polled; older ones are dropped first.
const EVENTS: usize = 4;

/// Services the engine implements: what an [`Association`] row offers beyond is not offered.
pub const IMPLEMENTED: Conformance = Conformance::from_bits_truncate(
    Conformance::GENERAL_PROTECTION.bits()
        | Conformance::GENERAL_BLOCK_TRANSFER.bits()
        | Conformance::BLOCK_TRANSFER_WITH_GET_OR_READ.bits()
        | Conformance::BLOCK_TRANSFER_WITH_SET_OR_WRITE.bits()
        | Conformance::BLOCK_TRANSFER_WITH_ACTION.bits()
        | Conformance::MULTIPLE_REFERENCES.bits()
        | Conformance::DATA_NOTIFICATION.bits()
        | Conformance::EVENT_NOTIFICATION.bits()
        | Conformance::ACCESS.bits()
        | Conformance::GET.bits()
        | Conformance::SET.bits()
        | Conformance::SELECTIVE_ACCESS.bits()
        | Conformance::PRIORITY_MGMT_SUPPORTED.bits()
        | Conformance::ACTION.bits(),
);

/// The two addresses of a request, as the link carried them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Client address (source of the request).
    pub client_sap: u8,
    /// Server address: the logical device.
    pub server_sap: u16,
}

/// What happened, for logs and security events. No secrets in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An association is open for services.
    Associated {
        /// With whom.
        client_sap: u8,
    },
    /// An AARQ was refused, or the answer to the challenge was wrong.
    Refused {
        /// Who asked.
        client_sap: u8,
        /// What it was told.
        diagnostic: UserDiagnostic,
    },
    /// A protected APDU was not opened.
    SecurityAlarm {
        /// From which client address.
        client_sap: u8,
        /// Why.
        refusal: Refusal,
    },
    /// The association ended: released, replaced, timed out or its link went down.
    Ended {
        /// With whom it was.
        client_sap: u8,
    },
    /// A client has taken the confirmed DataNotification of that number.
    NotificationConfirmed {
        /// Which client.
        client_sap: u8,
        /// The number, as [`Server::notify`] was given it.
        long_invoke_id: LongInvokeId,
    },
    /// An answer could not be sent: no invocation counter is left.
    CountersExhausted,
}

/// A server association engine. See the module documentation for the order of calls.
#[derive(Debug)]
pub struct Server<const N: usize, const LONG: usize> {
    rx: [u8; N],
    core: Core<N, LONG>,
}

/// Everything but the receive buffer, so that a deciphered request can be borrowed while it is carried out.
#[derive(Debug)]
struct Core<const N: usize, const LONG: usize> {
    session: Option<Session>,
    /// The last dedicated key and how far its counters were used: a client that brings the same one again goes on there, or
    /// else what was recorded in the last association could be replayed in this one.
    spent: Option<(Key, Option<u32>)>,
    tx: Frame<N>,
    long: [u8; LONG],
    transfer: Transfer,
    gbt: blocks::Gbt,
    /// A long value that goes out in general blocks.
    streamed: Option<streamed::Streamed>,
    events: Deque<Event, EVENTS>,
    deadline: Option<Instant>,
}

impl<const N: usize, const LONG: usize> Default for Server<N, LONG> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize, const LONG: usize> Server<N, LONG> {
    /// An engine without an association. `N` is the largest APDU it takes (announced to the client) and, less 44 bytes,
    /// the largest it sends.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rx: [0; N],
            core: Core {
                session: None,
                spent: None,
                tx: Frame::new(),
                long: [0; LONG],
                transfer: Transfer::Idle,
                gbt: blocks::Gbt::NONE,
                streamed: None,
                events: Deque::new(),
                deadline: None,
            },
        }
    }

    /// Handles one whole APDU from `peer`.
    pub fn handle_bytes<M: ObjectModel + Custody>(
        &mut self,
        now: Instant,
        peer: Peer,
        apdu: &[u8],
        meter: &mut M,
    ) {
        let Self { rx, core } = self;
        core.tx.clear();
        core.gbt.reply_window = None;
        match apdu.first().copied().and_then(ApduTag::from_u8) {
            Some(ApduTag::Aarq) => core.associate(now, peer, apdu, rx, meter),
            Some(ApduTag::ReleaseRequest) => core.release(peer, apdu, rx, meter),
            tag => {
                core.open_pre_established(now, peer, meter);
                match tag {
                    Some(ApduTag::GeneralBlockTransfer) => core.general_block(now, peer, apdu, rx, meter),
                    _ => core.service(now, peer, apdu, rx, meter),
                }
            }
        }
    }

    /// The deadline has passed: an association nobody uses ends.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.core.deadline.is_some_and(|at| now >= at) {
            self.core.end();
        }
    }

    /// The link is gone and the association with it.
    pub fn link_down(&mut self) {
        self.core.tx.clear();
        self.core.end();
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// One whole APDU to send to the peer of the last request. Borrowed until the next call; not sent means lost.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        self.core.next_general_block();
        self.core.tx.take()
    }

    /// [`Server::refill`] has a block to make.
    #[must_use]
    pub fn has_more(&self) -> bool {
        STREAMS
            && !self.core.tx.is_ready()
            && self.core.streamed.as_ref().is_some_and(streamed::Streamed::is_ready)
    }

    /// Makes the next block of a long value that goes out in general blocks: several may leave in a row, and each is made
    /// from the meter's objects when it does. Call it when the link took what [`Server::poll_transmit`] gave last; true when
    /// that has something again. An owner who never does sends one block at a time, at the pace of the client's reminders.
    pub fn refill<M: ObjectModel + Custody>(&mut self, meter: &mut M) -> bool {
        if STREAMS {
            self.core.next_streamed_block(meter);
        }
        self.core.tx.is_ready()
    }

    /// The link would not take the APDU that [`Server::poll_transmit`] gave last: it is given again.
    pub fn not_sent(&mut self) {
        self.core.tx.put_back();
    }

    /// When [`Server::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.deadline
    }

    /// The client address of the open association.
    #[must_use]
    pub fn associated(&self) -> Option<u8> {
        let session = self.core.session.as_ref()?;
        (session.stage == Stage::Associated).then_some(session.row.client_sap)
    }
}

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    /// Largest plain APDU of an answer: one APDU's worth, or all that the buffers take where the answer of a service with these
    /// blocks of its own may go in general ones.
    fn capacity(&self, own_blocks: Conformance) -> usize {
        let one = self.block_capacity();
        match &self.session {
            Some(session) if self.gbt.is_usable(session.conformance, own_blocks) => {
                session.plain_capacity(LONG).min(N - HEAD - 12).max(one)
            }
            _ => one,
        }
    }

    /// Largest plain APDU that goes in one piece.
    fn block_capacity(&self) -> usize {
        let Some(session) = &self.session else { return Frame::<N>::BODY_MAX };
        let total = match session.client_max_pdu {
            0 => N,
            n => usize::from(n).min(N),
        };
        session.plain_capacity(total).min(N - HEAD - 12)
    }

    fn event(&mut self, event: Event) {
        if self.events.is_full() {
            let _ = self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }

    /// Ends the association, silently when there is none.
    fn end(&mut self) {
        self.transfer = Transfer::Idle;
        self.gbt = blocks::Gbt::NONE;
        self.streamed = None;
        self.deadline = None;
        let Some(session) = self.session.take() else { return };
        if let Some(dedicated) = session.dedicated {
            self.spent = Some((dedicated.key, dedicated.floor));
        }
        if session.stage == Stage::Associated {
            self.event(Event::Ended { client_sap: session.row.client_sap });
        }
    }

    /// A request for a service: opens it and carries it out.
    fn service<M: ObjectModel + Custody>(
        &mut self,
        now: Instant,
        peer: Peer,
        apdu: &[u8],
        rx: &mut [u8; N],
        meter: &mut M,
    ) {
        let Some(session) = self.session.as_mut().filter(|s| s.row.client_sap == peer.client_sap) else {
            return self.exception_plain(
                StateError::ServiceNotAllowed,
                ServiceError::OperationNotPossible,
                None,
            );
        };
        let plain = match open(session, apdu, rx, meter) {
            Ok(Some(len)) => rx.get(..len).unwrap_or(&[]),
            Ok(None) => apdu,
            Err(refusal) => return self.refuse_sealed(peer, refusal),
        };
        self.carry_out(now, plain, meter);
    }

    /// Carries out an opened request.
    fn carry_out<M: ObjectModel + Custody>(&mut self, now: Instant, plain: &[u8], meter: &mut M) {
        if let Some(session) = self.session.as_ref().filter(|s| s.stage == Stage::Associated) {
            let inactivity = session.row.inactivity;
            self.deadline = (!inactivity.is_zero()).then(|| now + inactivity);
        }
        self.dispatch(now, plain, meter);
    }

    fn refuse_sealed(&mut self, peer: Peer, refusal: Refusal) {
        self.event(Event::SecurityAlarm { client_sap: peer.client_sap, refusal });
        let service_not_allowed = StateError::ServiceNotAllowed;
        match refusal {
            // A duplicated frame: its answer is on the way. An exception would be taken for the next request's answer.
            Refusal::Replay { duplicate: true, .. } => {}
            Refusal::Replay { expected, .. } => {
                let error = ServiceError::InvocationCounterError;
                self.exception_plain(service_not_allowed, error, Some(expected));
            }
            Refusal::Malformed(Error { kind: ErrorKind::BufferTooSmall { .. }, .. }) => {
                self.exception_plain(service_not_allowed, ServiceError::PduTooLong, None);
            }
            Refusal::Malformed(_) | Refusal::CounterNotStored => {
                self.exception_plain(service_not_allowed, ServiceError::OtherReason, None);
            }
            Refusal::Weak
            | Refusal::BadTag
            | Refusal::BadSignature
            | Refusal::WrongTitle
            | Refusal::WrongService
            | Refusal::WrongTransaction => {
                self.exception_plain(service_not_allowed, ServiceError::DecipheringError, None);
            }
        }
    }

    fn dispatch<M: ObjectModel + Custody>(&mut self, now: Instant, plain: &[u8], meter: &mut M) {
        let body = plain.get(1..).unwrap_or(&[]);
        if plain.first() == Some(&DATA_NOTIFICATION_CONFIRM) {
            return self.notification_confirmed(body);
        }
        // What was under way belongs to another request.
        self.gbt.end_answer();
        self.streamed = None;
        let tag = plain.first().copied().and_then(ApduTag::from_u8);
        let challenged = self.session.as_ref().is_some_and(|s| s.stage != Stage::Associated);
        let handled = match tag {
            // Green Book 9.2.7.2: while authentication is pending, only the reply to the challenge is allowed.
            Some(ApduTag::ActionRequest) if challenged => self.hls_reply(now, body, meter),
            _ if challenged => {
                self.exception(StateError::ServiceNotAllowed, ServiceError::OperationNotPossible, meter);
                Ok(())
            }
            Some(ApduTag::GetRequest) => self.get(body, meter),
            Some(ApduTag::SetRequest) => self.set(body, meter),
            Some(ApduTag::ActionRequest) => self.invoke(body, meter),
            Some(ApduTag::AccessRequest) => self.access(body, meter),
            _ => {
                self.exception(StateError::ServiceUnknown, ServiceError::ServiceNotSupported, meter);
                Ok(())
            }
        };
        if handled.is_err() {
            self.exception(StateError::ServiceNotAllowed, ServiceError::OtherReason, meter);
        }
    }

    /// True when the client negotiated all of `services`; sends the exception when not.
    fn negotiated<M: Custody>(&mut self, services: Conformance, meter: &mut M) -> bool {
        let ok = self.session.as_ref().is_some_and(|s| s.conformance.contains(services));
        if !ok {
            self.exception(StateError::ServiceUnknown, ServiceError::ServiceNotSupported, meter);
        }
        ok
    }

    /// Protects what is in the transmit buffer like the request was and makes it ready to go. An unconfirmed request
    /// has no answer.
    fn answer<M: Custody>(&mut self, invoke_id: InvokeId, meter: &mut M) {
        if invoke_id.is_confirmed() {
            self.send(meter);
        } else {
            self.tx.clear();
        }
    }

    fn send<M: Custody>(&mut self, meter: &mut M) {
        let Some(session) = &self.session else { return self.tx.clear() };
        if let Some(cipher) = session.answer_cipher() {
            let Some(counter) = meter.next_counter(session.row.key_set) else {
                self.tx.clear();
                return self.event(Event::CountersExhausted);
            };
            let title: SystemTitle = meter.system_title();
            let how = Protect { form: session.form, control: session.own_control(), title: &title, counter };
            let protected = match session.form {
                Form::General => session.protect_general(&mut self.tx, counter, meter),
                _ => self.tx.protect(cipher, how),
            };
            if protected.and_then(|()| session.sign(&mut self.tx, meter)).is_err() {
                return self.tx.clear();
            }
        }
        self.tx.finish();
        self.cut_into_general_blocks();
    }

    /// An exception-response. Only the general forms can protect one; with the service-specific ones it goes plain.
    fn exception<M: Custody>(&mut self, state: StateError, service: ServiceError, meter: &mut M) {
        if self.session.as_ref().is_some_and(|s| s.form.is_general()) {
            self.build_exception(state, service, None);
            self.send(meter);
        } else {
            self.exception_plain(state, service, None);
        }
    }

    fn exception_plain(&mut self, state: StateError, service: ServiceError, counter: Option<u32>) {
        self.build_exception(state, service, counter);
        self.tx.finish();
    }

    fn build_exception(&mut self, state: StateError, service: ServiceError, counter: Option<u32>) {
        let exception = ExceptionResponse {
            state_error: state,
            service_error: service,
            expected_invocation_counter: counter,
        };
        // Seven bytes at most: they fit every buffer a frame can have.
        let _ = self.tx.build(|w| put(ApduTag::ExceptionResponse, &exception, w));
    }

    /// Builds an answer from parts of the codec.
    fn build(
        &mut self,
        f: impl FnOnce(&mut dyn Writer) -> crate::codec::Result<()>,
    ) -> crate::codec::Result<()> {
        self.tx.build(|w| f(w))
    }
}

/// Opens a request as the association's policy demands: into `rx`, its length given, when it is protected; `None` when it
/// is plain and may be.
fn open<M: Custody>(
    session: &mut Session,
    apdu: &[u8],
    rx: &mut [u8],
    meter: &mut M,
) -> Result<Option<usize>, Refusal> {
    if let Some(len) = general::open(session, apdu, rx, meter)? {
        return Ok(Some(len));
    }
    match Sealed::parse(apdu)? {
        Some(sealed) => unseal(session, &sealed, rx, meter).map(Some),
        None if session.row.policy.is_none() => {
            session.form = Form::Plain;
            session.control = SecurityControl::default();
            Ok(None)
        }
        None => Err(Refusal::Weak),
    }
}

/// Opens a protected APDU into `rx`, and remembers its counter and its form.
fn unseal<M: Custody>(
    session: &mut Session,
    sealed: &Sealed<'_>,
    rx: &mut [u8],
    meter: &mut M,
) -> Result<usize, Refusal> {
    let policy = without_dedicated(session.row.policy);
    let key_set = session.row.key_set;
    let len = if sealed.form.is_dedicated() {
        let dedicated = session.dedicated.as_mut().ok_or(Refusal::Weak)?;
        let len = sealed.open(&dedicated.cipher, policy, &session.peer, dedicated.floor, rx)?;
        dedicated.floor = Some(sealed.counter);
        len
    } else {
        let cipher = session.cipher.as_ref().ok_or(Refusal::Weak)?;
        let floor = meter.last_seen(key_set, &session.peer);
        let len = sealed.open(cipher, policy, &session.peer, floor, rx)?;
        if !meter.accept(key_set, &session.peer, sealed.counter) {
            return Err(Refusal::CounterNotStored);
        }
        len
    };
    session.form = sealed.form;
    session.control = sealed.control;
    Ok(len)
}
