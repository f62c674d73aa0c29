//! What a client tells its owner.

use crate::codec;
use crate::codec::acse::{AssociationResult, Diagnostic};
use crate::codec::axdr::Data;
use crate::codec::xdlms::{
    AccessResponseSpecification, ActionResult, ConfirmedServiceError, Conformance, DataAccessResult,
    DataNotification, EventNotification, ExceptionResponse, List,
};
use crate::dlms::security::{Refusal, SystemTitle};

/// What an open association agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Services both sides have; what we proposed when the peer left it out.
    pub conformance: Conformance,
    /// Largest APDU the meter takes; zero means no bound.
    pub server_max_pdu: u16,
    /// The meter's system title, when it told.
    pub server_title: Option<SystemTitle>,
    /// The peer left out its part of the negotiation (user-information); our proposal is used.
    pub user_information_missing: bool,
}

/// What happened. Bytes are borrowed from the client until the next call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// The association is open for services.
    Associated(Agreed),
    /// Part of what the request asked for, in order: everything when `last` comes with the first part. Joined, the parts
    /// are one A-XDR value for `get` and `action`, an encoded `List<GetDataResult>` for `get_list`, an encoded
    /// `List<ActionResponseWithOptionalData>` for `action_list`. Parts of one protected answer that came in general blocks are
    /// not proved before the last: throw them away when [`Event::Failed`] comes instead.
    Value {
        /// The part.
        bytes: &'a [u8],
        /// The request is done.
        last: bool,
    },
    /// A SET took effect, or a method ran and returned nothing.
    Done,
    /// One result per attribute of `set_list`.
    Results(List<'a, DataAccessResult>),
    /// What `access` came to: one value per operation (null-data for none) and one result.
    Access {
        /// The values.
        data: List<'a, Data<'a>>,
        /// The results.
        results: List<'a, AccessResponseSpecification>,
    },
    /// The request, the association or the release failed.
    Failed(Failure),
    /// The association is released (or the peer stayed silent, as some do).
    Released,
    /// The meter sent values unasked.
    Notification {
        /// The values.
        notification: DataNotification<'a>,
        /// It came protected as the policy demands, and verified.
        protected: bool,
    },
    /// The meter sent an event unasked.
    EventNotification {
        /// The event.
        notification: EventNotification<'a>,
        /// It came protected as the policy demands, and verified.
        protected: bool,
    },
    /// An APDU was thrown away unopened. The request goes on waiting.
    Alarm(Refusal),
}

/// Why something failed, and what that means for the meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// Whether the meter may have acted all the same.
    pub outcome: Outcome,
}

/// What a failed request did at the meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it was a read, it never left, or the meter says that it refused.
    NotDone,
    /// A SET or ACTION left and its answer is missing or cannot be trusted. Ask the meter before anything else.
    Unknown,
}

/// Errors, sorted by who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The meter refused the association: credentials, rights or context are wrong.
    Rejected {
        /// For good, or for now.
        result: AssociationResult,
        /// Why.
        diagnostic: Diagnostic,
    },
    /// The meter refused the association for an xDLMS reason.
    Initiate(ConfirmedServiceError),
    /// The meter refused a read or a write.
    DataAccess(DataAccessResult),
    /// The meter refused a method.
    Action(ActionResult),
    /// The meter refused the APDU itself.
    Exception {
        /// What it said; with an invocation counter error perhaps the counter it expects.
        response: ExceptionResponse,
        /// It came protected and verified. When false in a ciphered association, anybody may have sent it.
        protected: bool,
    },
    /// The meter does not know our keys: its answer to our challenge is wrong. It may be another meter.
    NotAuthentic,
    /// The peer offers less security than configured, or echoes our own challenge.
    Downgrade,
    /// The association's answer is protected in a way that does not verify.
    Protection(Refusal),
    /// The peer's answer does not parse.
    Malformed(codec::Error),
    /// The peer's answer is of another kind than the request, or its blocks are out of order.
    Unexpected,
    /// The value has more blocks than allowed, or an APDU is larger than our buffer.
    TooLong,
    /// No answer in time.
    Timeout,
    /// The link went down.
    LinkDown,
    /// The reserved invocation counters are used up: reserve more.
    CountersExhausted,
}

/// Why a request was not started. Nothing has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// A request is under way.
    Busy,
    /// There is no association (or there is one already, for `associate`).
    WrongState,
    /// The configuration lacks a key, a password or a fitting challenge.
    Configuration,
    /// The service was not agreed on.
    NotNegotiated,
    /// The request does not fit the buffers or the meter's APDU size.
    TooLong,
    /// The reserved invocation counters are used up: reserve more.
    CountersExhausted,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Rejected { result, diagnostic } => {
                write!(f, "association rejected: {result:?}, {diagnostic:?}")
            }
            Self::Initiate(e) => write!(f, "association refused by xDLMS: {e:?}"),
            Self::DataAccess(r) => write!(f, "data access result {} ({r:?})", r.as_u8()),
            Self::Action(r) => write!(f, "action result {} ({r:?})", r.as_u8()),
            Self::Exception { response, protected } => {
                let how = if *protected { "protected" } else { "unprotected" };
                write!(f, "{how} exception: {:?}, {:?}", response.state_error, response.service_error)
            }
            Self::NotAuthentic => f.write_str("the meter's answer to our challenge is wrong"),
            Self::Downgrade => f.write_str("the peer offers less security than configured"),
            Self::Protection(r) => write!(f, "protection does not verify: {r:?}"),
            Self::Malformed(e) => write!(f, "malformed answer: {e}"),
            Self::Unexpected => f.write_str("answer does not belong to the request"),
            Self::TooLong => f.write_str("answer larger than allowed"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::LinkDown => f.write_str("link down"),
            Self::CountersExhausted => f.write_str("no reserved invocation counter left"),
        }
    }
}

impl core::error::Error for Error {}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Busy => "a request is under way",
            Self::WrongState => "no association for this request",
            Self::Configuration => "a key, a password or a challenge is missing",
            Self::NotNegotiated => "the service was not agreed on",
            Self::TooLong => "the request does not fit",
            Self::CountersExhausted => "no reserved invocation counter left",
        })
    }
}

impl core::error::Error for StartError {}
