//! General block transfer on the client's side. The client keeps the time: a server that falls silent in the middle is
//! reminded of the last block that came. Answers that fit are collected in the long buffer, longer ones are given on in parts
//! ([`super::arriving`]).

use super::event::{Error, StartError};
use super::response::{Opening, open};
use super::{Client, Pending};
use crate::codec::codec::Decode;
use crate::codec::xdlms::{Conformance, GeneralBlockTransfer};
use crate::dlms::bytes::copy;
use crate::dlms::gbt::{self, Incoming, Outgoing, Taken};
use crate::dlms::security::Frame;
use crate::time::{Duration, Instant};

/// Reminders in a row before the request fails; they share the response timeout.
const REMINDERS: u8 = 3;

/// General block transfers in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Gbt {
    incoming: Incoming,
    outgoing: Option<Outgoing>,
    /// Acknowledgements and blocks we have sent: the number of the last.
    number: u16,
    reminders: u8,
}

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    /// Moves the finished request to the long buffer, to leave in blocks.
    pub(super) fn cut_into_general_blocks(&mut self) -> Result<(), StartError> {
        let max = match self.server_max_pdu {
            0 => N,
            n => usize::from(n).min(N),
        };
        let Self { tx, long, .. } = self;
        let request = tx.finished();
        let outgoing = Outgoing::new(request.len(), max.min(Frame::<N>::BODY_MAX), 1);
        match (long.get_mut(..request.len()), outgoing) {
            (Some(to), Some(outgoing)) => {
                copy(to, request);
                self.gbt = Gbt { outgoing: Some(outgoing), ..Gbt::default() };
                self.tx.clear();
                Ok(())
            }
            _ => {
                self.tx.clear();
                Err(StartError::TooLong)
            }
        }
    }

    /// Builds the next block of the request if one may leave.
    pub(super) fn next_general_block(&mut self) {
        let Self { gbt, tx, long, config, .. } = self;
        if let Some(out) = gbt.outgoing.as_mut().filter(|out| !tx.is_ready() && out.is_ready()) {
            if out.build(long, config.block_window, gbt.incoming.number(), tx).is_err() {
                gbt.outgoing = None;
            } else {
                gbt.number = out.sent();
            }
        }
    }

    /// A block, or an acknowledgement.
    pub(super) fn receive_block(&mut self, now: Instant, apdu: &[u8]) {
        if !self.is_waiting_for_service() {
            return;
        }
        let block = match GeneralBlockTransfer::from_bytes(apdu.get(1..).unwrap_or(&[])) {
            Ok(block) => block,
            Err(error) => return self.fail(Error::Malformed(error)),
        };
        if let Some(out) = &mut self.gbt.outgoing {
            if block.block_data.is_empty() || !out.is_out() {
                out.acknowledged(block.block_number_ack, block.control.window());
                self.gbt.reminders = 0;
                return self.wait_for_block(now);
            }
            // The answer has begun: the request is there.
            self.gbt.outgoing = None;
        }
        if block.block_data.is_empty() {
            return;
        }
        let expected = self.gbt.incoming.expects(&block);
        let in_parts = self.arriving.is_some();
        let taken = if in_parts {
            self.gbt.incoming.pass(&block)
        } else {
            self.gbt.incoming.take(&block, &mut self.long)
        };
        if expected {
            self.gbt.reminders = 0;
            if u32::from(self.gbt.incoming.number()) > self.config.blocks_max {
                return self.fail(Error::TooLong);
            }
            if in_parts {
                self.arrive(block.block_data, matches!(taken, Taken::Whole(_)));
            } else if matches!(taken, Taken::Wait | Taken::Acknowledge) && self.is_filling(block.block_data) {
                self.begin_arriving(self.gbt.incoming.len());
            }
            if self.pending == Pending::None {
                return;
            }
        }
        match taken {
            Taken::Wait => self.wait_for_block(now),
            Taken::Acknowledge => {
                self.acknowledge_block();
                self.wait_for_block(now);
            }
            Taken::TooLong => self.fail(Error::TooLong),
            // A late copy of the last block: the answer was given.
            Taken::Whole(_) if in_parts => {}
            Taken::Whole(len) => {
                self.gbt = Gbt::default();
                let (mut opening, long) = Opening::of(self);
                let opened = open(&mut opening, long.get(..len).unwrap_or(&[]));
                self.opened(now, opened);
            }
        }
    }

    /// Another block of this length might not fit behind what was collected.
    fn is_filling(&self, block: &[u8]) -> bool {
        self.gbt.incoming.len().saturating_add(block.len()) > LONG.min(N)
    }

    /// The deadline has passed where general blocks may be under way: says again what has come. False when there is
    /// none, or the server was reminded often enough.
    pub(super) fn remind(&mut self, now: Instant) -> bool {
        // Where answers come in general blocks alone, a silent server may have lost its first one.
        let own_blocks = Conformance::BLOCK_TRANSFER_WITH_GET_OR_READ;
        let alone = self.conformance.contains(Conformance::GENERAL_BLOCK_TRANSFER)
            && !self.conformance.intersects(own_blocks)
            && self.is_waiting_for_service();
        let under_way = self.gbt.outgoing.is_some() || self.gbt.incoming.is_open();
        if !(alone || under_way) || self.gbt.reminders >= REMINDERS {
            return false;
        }
        self.gbt.reminders += 1;
        self.acknowledge_block();
        self.wait_for_block(now);
        true
    }

    fn is_waiting_for_service(&self) -> bool {
        matches!(
            self.pending,
            Pending::Get { .. } | Pending::Set { .. } | Pending::Action { .. } | Pending::Access { .. }
        )
    }

    fn acknowledge_block(&mut self) {
        self.gbt.number = self.gbt.number.saturating_add(1);
        // An acknowledgement fits every buffer a frame can have.
        let _ = gbt::acknowledge(
            self.gbt.number,
            self.gbt.incoming.number(),
            self.config.block_window,
            &mut self.tx,
        );
    }

    fn wait_for_block(&mut self, now: Instant) {
        let millis = self.config.response_timeout.as_millis() / u128::from(REMINDERS + 1);
        self.deadline = Some(now + Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)));
    }
}
