//! General block transfer on the server's side: requests that come in blocks, answers that go in blocks.
//!
//! An answer goes in general blocks when its request came so, or when it is larger than the client takes and the client
//! agreed to general blocks and not to those of the service. One that fits the buffers is cut out of the long one; a longer value is made block by
//! block ([`super::streamed`]), except in general-ciphering and with signatures.

use super::custody::Custody;
use super::session::Stage;
use super::{Core, Peer, Refusal};
use crate::codec::codec::Decode;
use crate::codec::xdlms::{Conformance, GeneralBlockTransfer, ServiceError, StateError};
use crate::dlms::bytes::copy;
use crate::dlms::gbt::{self, Incoming, Outgoing, Taken};
use crate::dlms::model::ObjectModel;
use crate::dlms::security::Frame;
use crate::time::Instant;

/// General block transfers in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gbt {
    incoming: Incoming,
    outgoing: Option<Outgoing>,
    /// The request came in general blocks, and its client takes so many in a row.
    pub reply_window: Option<u8>,
}

impl Gbt {
    pub const NONE: Self = Self { incoming: Incoming::NEW, outgoing: None, reply_window: None };

    /// The last block that came in order.
    pub const fn incoming(&self) -> u16 {
        self.incoming.number()
    }

    /// No answer is under way any more.
    pub fn end_answer(&mut self) {
        self.outgoing = None;
    }

    /// An answer of a service with these blocks of its own may go in general ones.
    pub fn is_usable(&self, agreed: Conformance, own_blocks: Conformance) -> bool {
        agreed.contains(Conformance::GENERAL_BLOCK_TRANSFER)
            && (self.reply_window.is_some() || !agreed.intersects(own_blocks))
    }
}

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    /// A block, or an acknowledgement.
    pub(super) fn general_block<M: ObjectModel + Custody>(
        &mut self,
        now: Instant,
        peer: Peer,
        apdu: &[u8],
        rx: &mut [u8; N],
        meter: &mut M,
    ) {
        let may = self.session.as_ref().is_some_and(|s| {
            s.row.client_sap == peer.client_sap
                && s.stage == Stage::Associated
                && s.conformance.contains(Conformance::GENERAL_BLOCK_TRANSFER)
        });
        if !may {
            let error = ServiceError::ServiceNotSupported;
            return self.exception_plain(StateError::ServiceUnknown, error, None);
        }
        let Ok(block) = GeneralBlockTransfer::from_bytes(apdu.get(1..).unwrap_or(&[])) else {
            let error = ServiceError::OtherReason;
            return self.exception_plain(StateError::ServiceNotAllowed, error, None);
        };
        if block.block_data.is_empty() {
            if super::STREAMS && self.streamed.is_some() {
                let window = block.control.window();
                return self.streamed_acknowledged(block.block_number_ack, window, meter);
            }
            match &mut self.gbt.outgoing {
                Some(out) => out.acknowledged(block.block_number_ack, block.control.window()),
                // A client that lost our acknowledgement asks where we are.
                None if self.gbt.incoming.is_open() => self.acknowledge_general_block(),
                None => {}
            }
            return;
        }
        self.gbt.outgoing = None;
        self.streamed = None;
        self.transfer = super::Transfer::Idle;
        match self.gbt.incoming.take(&block, &mut self.long) {
            Taken::Wait => {}
            Taken::Acknowledge => self.acknowledge_general_block(),
            Taken::TooLong => {
                self.exception_plain(StateError::ServiceNotAllowed, ServiceError::PduTooLong, None);
            }
            Taken::Whole(len) => {
                self.gbt.reply_window = Some(block.control.window());
                self.whole(now, peer, len, rx, meter);
            }
        }
    }

    /// The request is whole in the long buffer.
    fn whole<M: ObjectModel + Custody>(
        &mut self,
        now: Instant,
        peer: Peer,
        len: usize,
        rx: &mut [u8; N],
        meter: &mut M,
    ) {
        let Some(session) = &mut self.session else { return };
        let apdu = self.long.get(..len).unwrap_or(&[]);
        let plain = match super::open(session, apdu, rx, meter) {
            Ok(Some(len)) => rx.get(..len).unwrap_or(&[]),
            // The long buffer is used while a request is carried out: what is in it moves out of the way.
            Ok(None) => match rx.get_mut(..len) {
                Some(to) => {
                    copy(to, apdu);
                    to
                }
                None => {
                    let error = ServiceError::PduTooLong;
                    return self.exception_plain(StateError::ServiceNotAllowed, error, None);
                }
            },
            // Its answer is on the way, if there is one.
            Err(Refusal::Replay { duplicate: true, .. }) => return,
            Err(refusal) => return self.refuse_sealed(peer, refusal),
        };
        self.carry_out(now, plain, meter);
    }

    fn acknowledge_general_block(&mut self) {
        // An acknowledgement fits every buffer a frame can have.
        let _ = gbt::acknowledge(1, self.gbt.incoming.number(), gbt::WINDOW, &mut self.tx);
    }

    /// Moves the finished answer to the long buffer when it has to go in blocks.
    pub(super) fn cut_into_general_blocks(&mut self) {
        let Some(session) = &self.session else { return };
        if !session.conformance.contains(Conformance::GENERAL_BLOCK_TRANSFER) {
            return;
        }
        let max = match session.client_max_pdu {
            0 => N,
            n => usize::from(n).min(N),
        };
        let answer = self.tx.finished();
        if self.gbt.reply_window.is_none() && answer.len() <= max {
            return;
        }
        let window = self.gbt.reply_window.unwrap_or(1);
        let len = answer.len();
        let outgoing = Outgoing::new(len, max.min(Frame::<N>::BODY_MAX), window);
        if let (Some(to), Some(outgoing)) = (self.long.get_mut(..len), outgoing) {
            copy(to, answer);
            self.gbt.outgoing = Some(outgoing);
        }
        self.tx.clear();
    }

    /// Builds the next block of the answer if one may leave.
    pub(super) fn next_general_block(&mut self) {
        let Self { gbt, tx, long, .. } = self;
        if let Some(out) = gbt.outgoing.as_mut().filter(|out| !tx.is_ready() && out.is_ready()) {
            let ack = gbt.incoming.number();
            if out.build(long, gbt::WINDOW, ack, tx).is_err() {
                gbt.outgoing = None;
            }
        }
    }
}
