//! The client's association engine: what stands between a link and whoever reads and commands a meter.
//!
//! One engine is one association. One request is under way at a time:
//!
//! 1. start one: [`Client::associate`], [`Client::get`], [`Client::set`], [`Client::action`], … [`Client::release`];
//! 2. [`Client::poll_transmit`] until it gives nothing, each APDU to the link;
//! 3. wait for an APDU ([`Client::handle_bytes`]) or for [`Client::poll_timeout`] ([`Client::handle_timeout`]);
//! 4. [`Client::poll_event`] until it gives nothing, then go on with 2: values in blocks ask for the next by themselves.
//!
//! ```
//! use protocol::dlms::client::{Client, Event};
//! use protocol::dlms::model::Attribute;
//! use protocol::time::Instant;
//!
//! /// Reads one attribute; `exchange` carries an APDU to the meter and brings one back.
//! fn read(
//!     client: &mut Client<1024, 1024>,
//!     now: Instant,
//!     at: Attribute,
//!     mut exchange: impl FnMut(&[u8]) -> Vec<u8>,
//! ) -> Option<Vec<u8>> {
//!     let mut value = Vec::new();
//!     client.get(now, at, None).ok()?;
//!     loop {
//!         let answer = exchange(client.poll_transmit()?);
//!         client.handle_bytes(now, &answer);
//!         match client.poll_event()? {
//!             Event::Value { bytes, last } => {
//!                 value.extend_from_slice(bytes);
//!                 if last {
//!                     return Some(value);
//!                 }
//!             }
//!             _ => return None,
//!         }
//!     }
//! }
//! ```
//!
//! Answers are matched by invoke-id and kind: a late one is thrown away, never taken for the next one's. After
//! [`Error::Timeout`] the association is still open, but the sixteen invoke-ids come round: close the link when several
//! answers in a row are missing.
//!
//! Implemented: associations without security, with LLS and with HLS (both passes verified; mechanisms as in
//! [`crate::dlms::security::hls`]); `glo`, `ded`,
//! `general-glo` and `general-ded` protection, general-ciphering and general-signing; GET normal and with-list, SET and ACTION normal and with-list, all with
//! blocks where the value needs them; ACCESS; general block transfer where it alone was agreed on;
//! Read and Write of meters that speak short names (no HLS with them); release; reception of DataNotification, confirmed
//! where it asks for that, and EventNotification; pre-established associations.

mod answer;
mod arriving;
mod associate;
mod blocks;
mod config;
mod event;
mod general;
mod request;
mod response;
pub mod selection;
mod short_names;

pub use config::{Config, IMPLEMENTED, SHORT_NAMES};
pub use event::{Agreed, Error, Event, Failure, Outcome, StartError};
pub use general::ContentKey;
pub use request::{AccessItem, GetItem, Parameter};

use core::ops::Range;

use crate::codec::axdr::Data;
use crate::codec::codec::{Decode, Reader};
use crate::codec::security::SystemTitle;
use crate::codec::xdlms::{Conformance, DataNotification, EventNotification, List, SecurityControl};
use crate::dlms::security::frame::{HEAD, Protect};
use crate::dlms::security::hls::Challenge;
use crate::dlms::security::{Cipher, CounterBlock, Form, Frame, Refusal, without_dedicated};
use crate::time::Instant;

/// Where the association stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// None yet, or none any more.
    Idle,
    /// The AARQ is out, or the answer to the meter's challenge.
    Associating,
    /// Open for services.
    Associated,
    /// The RLRQ is out.
    Releasing,
}

/// The request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    None,
    Aare {
        challenge: Option<Challenge>,
    },
    Hls {
        invoke_id: u8,
        ours: Challenge,
        theirs: Challenge,
    },
    /// `blocks` have come.
    Get {
        invoke_id: u8,
        list: bool,
        blocks: u32,
    },
    /// `sent` of `len` bytes of the value have left, the last in block `number` (0: whole).
    Set {
        invoke_id: u8,
        list: bool,
        out: Outgoing,
    },
    Action {
        invoke_id: u8,
        list: bool,
        out: Outgoing,
        blocks: u32,
    },
    /// `changes`: not only reads.
    Access {
        long_invoke_id: u32,
        changes: bool,
    },
    /// Short names: `blocks` have come.
    Read {
        list: bool,
        blocks: u16,
    },
    Write,
    Release,
}

/// How much of a value in the long buffer has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Outgoing {
    sent: usize,
    len: usize,
    number: u32,
}

/// An event whose bytes lie in the receive buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Happened {
    Associated(Agreed),
    Value { range: Range<usize>, last: bool },
    Done,
    Results(Range<usize>),
    Access { data: Range<usize>, results: Range<usize> },
    Failed(Failure),
    Released,
    Notification { range: Range<usize>, protected: bool },
    EventNotification { range: Range<usize>, protected: bool },
    Alarm(Refusal),
}

/// A client association engine. `N` is the largest APDU it takes and, less 44 bytes, sends; `LONG` the largest value it
/// sends in blocks. See the module documentation for the order of calls.
#[derive(Debug)]
pub struct Client<const N: usize, const LONG: usize> {
    config: Config,
    state: State,
    pending: Pending,
    deadline: Option<Instant>,
    counters: CounterBlock,
    global: Option<Cipher>,
    dedicated: Option<Cipher>,
    content: general::Content,
    peer_counter: Option<u32>,
    dedicated_counter: Option<u32>,
    server_title: Option<SystemTitle>,
    conformance: Conformance,
    server_max_pdu: u16,
    /// The AARE came without its user-information.
    information_missing: bool,
    invoke_id: u8,
    long_invoke_id: u32,
    rx: [u8; N],
    tx: Frame<N>,
    long: [u8; LONG],
    gbt: blocks::Gbt,
    /// A long answer that comes in general blocks and is given on in parts.
    arriving: Option<arriving::Arriving>,
    happened: Option<Happened>,
}

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    /// A client without an association. `counters` are invocation counter values that the caller has durably reserved
    /// under this title and these keys.
    #[must_use]
    pub fn new(config: Config, counters: CounterBlock) -> Self {
        let suite = config.policy.suite;
        let authentication = config.authentication_key.as_ref();
        let cipher = |key: Option<&crate::dlms::security::Key>| Cipher::new(suite, key?, authentication?);
        let global = cipher(config.encryption_key.as_ref());
        let dedicated = if config.policy.dedicated() { cipher(config.dedicated_key.as_ref()) } else { None };
        Self {
            state: State::Idle,
            pending: Pending::None,
            deadline: None,
            counters,
            global,
            dedicated,
            content: general::Content::default(),
            peer_counter: config.peer_counter,
            dedicated_counter: None,
            server_title: config.server_title,
            conformance: config.conformance,
            server_max_pdu: 0,
            information_missing: false,
            invoke_id: 0,
            long_invoke_id: 0,
            rx: [0; N],
            tx: Frame::new(),
            long: [0; LONG],
            gbt: blocks::Gbt::default(),
            arriving: None,
            happened: None,
            config,
        }
    }

    /// Handles one whole APDU. At most one event comes of it.
    pub fn handle_bytes(&mut self, now: Instant, apdu: &[u8]) {
        self.receive(now, apdu);
    }

    /// The deadline has passed: the request under way failed, or a peer that does not answer releases is released.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|at| now >= at) {
            if self.remind(now) {
                // A general block got lost; the server was asked to go on.
            } else if self.pending == Pending::Release {
                self.close();
                self.happened = Some(Happened::Released);
            } else {
                self.fail(Error::Timeout);
            }
        }
    }

    /// The link is gone: the request under way failed, and the association is over.
    pub fn link_down(&mut self) {
        if self.pending == Pending::Release {
            self.happened = Some(Happened::Released);
        } else if self.pending != Pending::None {
            self.fail(Error::LinkDown);
        }
        self.close();
    }

    /// What happened. Poll before the next APDU is handled: an event not polled is replaced.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        let happened = self.happened.take()?;
        let part = |range: Range<usize>| self.rx.get(range).unwrap_or(&[]);
        Some(match happened {
            Happened::Associated(agreed) => Event::Associated(agreed),
            Happened::Value { range, last } => Event::Value { bytes: part(range), last },
            Happened::Done => Event::Done,
            Happened::Results(range) => {
                Event::Results(List::from_bytes(part(range)).unwrap_or(List::from_raw(0, &[])))
            }
            Happened::Access { data, results } => Event::Access {
                data: List::from_bytes(part(data)).unwrap_or(List::from_raw(0, &[])),
                results: List::from_bytes(part(results)).unwrap_or(List::from_raw(0, &[])),
            },
            Happened::Failed(failure) => Event::Failed(failure),
            Happened::Released => Event::Released,
            Happened::Notification { range, protected } => {
                let notification = DataNotification::decode(&mut Reader::new(part(range))).ok()?;
                Event::Notification { notification, protected }
            }
            Happened::EventNotification { range, protected } => {
                let notification = EventNotification::decode(&mut Reader::new(part(range))).ok()?;
                Event::EventNotification { notification, protected }
            }
            Happened::Alarm(refusal) => Event::Alarm(refusal),
        })
    }

    /// One whole APDU to send, borrowed until the next call.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        self.next_general_block();
        self.tx.take()
    }

    /// The link would not take the APDU that [`Client::poll_transmit`] gave last: it is given again.
    pub fn not_sent(&mut self) {
        self.tx.put_back();
    }

    /// When [`Client::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Where the association stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// A request is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pending != Pending::None
    }

    /// Invocation counters left of the reserved ones; hand in more with [`Client::add_counters`] in time.
    #[must_use]
    pub fn counters_left(&self) -> u32 {
        self.counters.left()
    }

    /// Replaces the reserved counters by a fresh block, which must lie above every one used before.
    pub fn add_counters(&mut self, counters: CounterBlock) {
        self.counters = counters;
    }

    /// The highest counter accepted from the meter: to be stored, and given as [`Config::peer_counter`] next time.
    #[must_use]
    pub fn peer_counter(&self) -> Option<u32> {
        self.peer_counter
    }

    /// The meter's system title, configured or told in the AARE.
    #[must_use]
    pub fn server_title(&self) -> Option<SystemTitle> {
        self.server_title
    }

    /// Ends the association without a word.
    fn close(&mut self) {
        self.state = State::Idle;
        self.pending = Pending::None;
        self.gbt = blocks::Gbt::default();
        self.arriving = None;
        self.deadline = None;
        self.tx.clear();
    }

    fn fail(&mut self, error: Error) {
        // A refusal in so many words is an answer; everything else leaves a command's fate open.
        let answered = match error {
            Error::DataAccess(_) | Error::Action(_) => true,
            Error::Exception { protected, .. } => protected || self.config.policy.is_none(),
            _ => false,
        };
        let outcome = match self.pending {
            Pending::Write
            | Pending::Set { .. }
            | Pending::Action { .. }
            | Pending::Access { changes: true, .. }
                if !answered =>
            {
                Outcome::Unknown
            }
            _ => Outcome::NotDone,
        };
        let nameless = matches!(self.pending, Pending::Read { .. } | Pending::Write);
        self.pending = Pending::None;
        self.gbt = blocks::Gbt::default();
        self.arriving = None;
        self.deadline = None;
        self.tx.clear();
        if nameless && error == Error::Timeout {
            // Nothing tells a late answer from the next one's.
            self.state = State::Idle;
        }
        if self.state == State::Associating {
            self.state = State::Idle;
        }
        self.happened = Some(Happened::Failed(Failure { error, outcome }));
    }

    /// The form requests go in once the association is open.
    fn service_form(&self) -> Form {
        if self.config.policy.is_none() {
            return Form::Plain;
        }
        match (self.config.policy.dedicated(), self.config.form) {
            (_, Form::General) => Form::General,
            (true, Form::GeneralGlo | Form::GeneralDed) => Form::GeneralDed,
            (true, _) => Form::Ded,
            (false, Form::GeneralGlo | Form::GeneralDed) => Form::GeneralGlo,
            (false, _) => Form::Glo,
        }
    }

    fn control(&self) -> SecurityControl {
        without_dedicated(self.config.policy).control()
    }

    /// Largest plain APDU of a request.
    fn capacity(&self) -> usize {
        self.capacity_as(self.service_form())
    }

    fn capacity_as(&self, form: Form) -> usize {
        let bounds = [self.server_max_pdu, self.config.send_pdu_max];
        let total = bounds.into_iter().filter(|n| *n > 0).map(usize::from).fold(N, usize::min);
        self.plain_capacity(total, form).min(N - HEAD - 12)
    }

    /// Protects what is in the transmit buffer and makes it ready to go.
    fn send(&mut self, form: Form) -> Result<(), StartError> {
        let cipher = match form {
            Form::Plain => None,
            form if form.is_dedicated() => self.dedicated.as_ref(),
            _ => self.global.as_ref(),
        };
        if let Some(cipher) = cipher {
            let counter = self.counters.take().ok_or(StartError::CountersExhausted)?;
            let control = self.control();
            if form == Form::General {
                self.protect_general(counter)?;
            } else {
                let how = Protect { form, control, title: &self.config.system_title, counter };
                self.tx.protect(cipher, how).map_err(|_| StartError::TooLong)?;
            }
            self.sign(counter)?;
        } else if form != Form::Plain {
            return Err(StartError::Configuration);
        }
        self.tx.finish();
        Ok(())
    }

    fn wait(&mut self, now: Instant, pending: Pending) {
        self.pending = pending;
        self.deadline = Some(now + self.config.response_timeout);
    }

    fn next_invoke_id(&mut self) -> u8 {
        self.invoke_id = (self.invoke_id + 1) & 0x0F;
        self.invoke_id
    }
}

/// Parses one value from the joined parts of a `get` or `action`.
///
/// # Errors
/// When the bytes are not exactly one A-XDR value.
pub fn value(bytes: &[u8]) -> crate::codec::Result<Data<'_>> {
    Data::from_bytes(bytes)
}
