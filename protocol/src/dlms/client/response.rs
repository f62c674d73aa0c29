//! Answers and what comes unasked.

use core::ops::Range;

use super::answer::{Action, Answer, Block, Get, Returned, Set};
use super::event::{Error, StartError};
use super::general::{self, GeneralOpening};
use super::{Client, Happened, Pending, State};
use crate::codec::xdlms::{ActionResult, ApduTag, DataAccessResult};
use crate::dlms::bytes::copy;
use crate::dlms::security::frame::Sealed;
use crate::dlms::security::{Cipher, Refusal, SecurityPolicy, SystemTitle, without_dedicated};
use crate::time::Instant;

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    pub(super) fn receive(&mut self, now: Instant, apdu: &[u8]) {
        match apdu.first().copied().and_then(ApduTag::from_u8) {
            Some(ApduTag::Aare) => return self.handle_aare(now, apdu),
            // An RLRE needs no look inside: we asked, and go.
            Some(ApduTag::ReleaseResponse) => {
                if self.pending == Pending::Release {
                    self.close();
                    self.happened = Some(Happened::Released);
                }
                return;
            }
            Some(ApduTag::GeneralBlockTransfer) => return self.receive_block(now, apdu),
            _ => {}
        }
        let opened = open(&mut Opening::of(self).0, apdu);
        self.opened(now, opened);
    }

    /// Acts on an APDU that was opened into the receive buffer, or refused.
    pub(super) fn opened(&mut self, now: Instant, opened: Result<(usize, bool), Refusal>) {
        let (len, protected) = match opened {
            Ok(opened) => opened,
            Err(Refusal::Malformed(e))
                if matches!(e.kind, crate::codec::ErrorKind::BufferTooSmall { .. }) =>
            {
                if self.pending != Pending::None {
                    self.fail(Error::TooLong);
                }
                return;
            }
            Err(refusal) => return self.happened = Some(Happened::Alarm(refusal)),
        };
        if let Err(error) = self.interpret(now, len, protected) {
            if self.pending == Pending::None {
                self.happened = Some(Happened::Alarm(Refusal::Malformed(error)));
            } else {
                self.fail(Error::Malformed(error));
            }
        }
    }

    fn interpret(&mut self, now: Instant, len: usize, protected: bool) -> crate::codec::Result<()> {
        match Answer::parse(self.rx.get(..len).unwrap_or(&[]))? {
            Answer::Get(id, get) => self.handle_get(now, id, get),
            Answer::Set(id, set) => self.handle_set(now, id, set),
            Answer::Action(id, action) if matches!(self.pending, Pending::Hls { .. }) => {
                self.handle_hls_answer(id, &action);
            }
            Answer::Action(id, action) => self.handle_action(now, id, action),
            Answer::Access(id, data, results) => {
                if matches!(self.pending, Pending::Access { long_invoke_id, .. } if long_invoke_id == id) {
                    self.finish(Happened::Access { data, results });
                }
            }
            Answer::Read(read) => self.handle_read(now, read),
            Answer::Write(range) => self.handle_write(range),
            Answer::Exception(response) => {
                if self.pending != Pending::None {
                    self.fail(Error::Exception { response, protected });
                }
            }
            Answer::ServiceError(error) => {
                if self.state == State::Associating {
                    self.fail(Error::Initiate(error));
                }
            }
            Answer::Notification => {
                self.happened = Some(Happened::Notification { range: 1..len, protected });
            }
            Answer::EventNotification => {
                self.happened = Some(Happened::EventNotification { range: 1..len, protected });
            }
            Answer::Other => {}
        }
        Ok(())
    }

    fn handle_get(&mut self, now: Instant, id: u8, answer: Get) {
        let Pending::Get { invoke_id, list, blocks } = self.pending else { return };
        // Another invoke-id: an answer that came after its deadline.
        if id != invoke_id {
            return;
        }
        match answer {
            Get::Error(error) => self.fail(Error::DataAccess(error)),
            Get::Value(range) if !list && blocks == 0 => self.finish_value(range),
            Get::List(range) if list && blocks == 0 => self.finish_value(range),
            Get::Value(_) | Get::List(_) => self.fail(Error::Unexpected),
            Get::Block(block) => {
                if self.take_block(blocks, &block) {
                    match self.send_get_next(invoke_id, block.number) {
                        Ok(()) => {
                            self.wait(now, Pending::Get { invoke_id, list, blocks: block.number });
                            self.happened = Some(Happened::Value { range: block.range, last: false });
                        }
                        Err(error) => self.fail(started(error)),
                    }
                }
            }
        }
    }

    /// Takes a block of a value when `blocks` have come. True when the next one has to be asked for; the last one, and
    /// one that is out of order, end the request here.
    fn take_block(&mut self, blocks: u32, block: &Block) -> bool {
        // The previous block once more: a duplicate on the way, nothing is lost.
        if blocks > 0 && block.number == blocks {
            return false;
        }
        if block.number != blocks + 1 {
            self.fail(Error::Unexpected);
        } else if block.last {
            self.finish_value(block.range.clone());
        } else if block.number >= self.config.blocks_max {
            self.fail(Error::TooLong);
        } else {
            return true;
        }
        false
    }

    fn handle_set(&mut self, now: Instant, id: u8, answer: Set) {
        let Pending::Set { invoke_id, list, out } = self.pending else { return };
        if id != invoke_id {
            return;
        }
        match answer {
            Set::Result(DataAccessResult::Success) if !list => self.finish(Happened::Done),
            Set::Result(DataAccessResult::Success) => self.fail(Error::Unexpected),
            Set::Result(error) => self.fail(Error::DataAccess(error)),
            Set::List(range) if list => self.finish(Happened::Results(range)),
            Set::List(_) => self.fail(Error::Unexpected),
            // An old acknowledgement once more.
            Set::Taken(number) if number != out.number || out.sent == out.len => {}
            Set::Taken(_) => {
                match self.send_parameter_block(ApduTag::SetRequest.as_u8(), 3, invoke_id, out) {
                    Ok(out) => self.wait(now, Pending::Set { invoke_id, list, out }),
                    Err(error) => self.fail(started(error)),
                }
            }
        }
    }

    fn handle_action(&mut self, now: Instant, id: u8, answer: Action) {
        let Pending::Action { invoke_id, list, out, blocks } = self.pending else { return };
        if id != invoke_id {
            return;
        }
        match answer {
            Action::Result(ActionResult::Success, _) if list => self.fail(Error::Unexpected),
            Action::Result(ActionResult::Success, Returned::Value(range)) => self.finish_value(range),
            Action::Result(
                ActionResult::Success,
                Returned::Nothing | Returned::Refused(DataAccessResult::Success),
            ) => self.finish(Happened::Done),
            // It ran; what it would have returned is refused.
            Action::Result(ActionResult::Success, Returned::Refused(error)) => {
                self.fail(Error::DataAccess(error));
            }
            Action::Result(error, _) => self.fail(Error::Action(error)),
            Action::List(range) if list => self.finish_value(range),
            Action::List(_) => self.fail(Error::Unexpected),
            Action::Taken(number) if number != out.number || out.sent == out.len => {}
            Action::Taken(_) => {
                match self.send_parameter_block(ApduTag::ActionRequest.as_u8(), 6, invoke_id, out) {
                    Ok(out) => self.wait(now, Pending::Action { invoke_id, list, out, blocks }),
                    Err(error) => self.fail(started(error)),
                }
            }
            Action::Block(block) => {
                if self.take_block(blocks, &block) {
                    match self.send_action_next(invoke_id, block.number) {
                        Ok(()) => {
                            let blocks = block.number;
                            self.wait(now, Pending::Action { invoke_id, list, out, blocks });
                            self.happened = Some(Happened::Value { range: block.range, last: false });
                        }
                        Err(error) => self.fail(started(error)),
                    }
                }
            }
        }
    }

    pub(super) fn finish_value(&mut self, range: Range<usize>) {
        self.finish(Happened::Value { range, last: true });
    }

    pub(super) fn finish(&mut self, happened: Happened) {
        self.pending = Pending::None;
        self.gbt = super::blocks::Gbt::default();
        self.arriving = None;
        self.deadline = None;
        self.happened = Some(happened);
    }
}

/// A follow-up that could not be sent.
pub(super) const fn started(error: StartError) -> Error {
    match error {
        StartError::CountersExhausted => Error::CountersExhausted,
        _ => Error::TooLong,
    }
}

/// What opening an APDU needs of the client; the APDU itself may lie in another of its buffers.
pub(super) struct Opening<'a> {
    pub policy: SecurityPolicy,
    pub global: Option<&'a Cipher>,
    pub dedicated: Option<&'a Cipher>,
    pub peer: Option<SystemTitle>,
    pub peer_counter: &'a mut Option<u32>,
    pub dedicated_counter: &'a mut Option<u32>,
    pub general: GeneralOpening<'a>,
    pub rx: &'a mut [u8],
}

impl<'a> Opening<'a> {
    /// Borrowed from a client, whose long buffer stays free.
    pub fn of<const N: usize, const LONG: usize>(client: &'a mut Client<N, LONG>) -> (Self, &'a [u8]) {
        let Client { config, global, dedicated, content, peer_counter, dedicated_counter, rx, long, .. } =
            client;
        let opening = Self {
            policy: config.policy,
            global: global.as_ref(),
            dedicated: dedicated.as_ref(),
            peer: client.server_title,
            peer_counter,
            dedicated_counter,
            general: GeneralOpening { content, config },
            rx,
        };
        (opening, long)
    }
}

/// Puts the plain APDU into the receive buffer; gives its length and whether it was protected.
pub(super) fn open(client: &mut Opening<'_>, apdu: &[u8]) -> Result<(usize, bool), Refusal> {
    let (apdu, signed) = general::unsign(client, apdu)?;
    let opened = match general::open(client, apdu)? {
        Some(len) => (len, true),
        None => unseal(client, apdu)?,
    };
    let unasked = matches!(
        client.rx.first().copied().and_then(ApduTag::from_u8),
        Some(ApduTag::DataNotification | ApduTag::EventNotificationRequest)
    );
    let must_be_signed = client.general.config.signed && opened.1 && !unasked;
    if must_be_signed && !signed { Err(Refusal::Weak) } else { Ok(opened) }
}

fn unseal(client: &mut Opening<'_>, apdu: &[u8]) -> Result<(usize, bool), Refusal> {
    let policy = without_dedicated(client.policy);
    let Some(sealed) = Sealed::parse(apdu)? else {
        let needed = apdu.len().saturating_sub(client.rx.len());
        let too_small = crate::codec::ErrorKind::BufferTooSmall { needed };
        let to = client.rx.get_mut(..apdu.len()).ok_or(crate::codec::Error::new(too_small, 0))?;
        copy(to, apdu);
        let unprotected_is_fine = matches!(
            apdu.first().copied().and_then(ApduTag::from_u8),
            Some(
                ApduTag::ExceptionResponse
                    | ApduTag::DataNotification
                    | ApduTag::EventNotificationRequest
                    | ApduTag::ConfirmedServiceError
            )
        );
        return if policy.is_none() || unprotected_is_fine {
            Ok((apdu.len(), false))
        } else {
            Err(Refusal::Weak)
        };
    };
    let peer = client.peer.ok_or(Refusal::WrongTitle)?;
    let (cipher, counter) = if sealed.form.is_dedicated() {
        (client.dedicated, &mut *client.dedicated_counter)
    } else {
        (client.global, &mut *client.peer_counter)
    };
    let cipher = cipher.filter(|_| !policy.is_none()).ok_or(Refusal::Weak)?;
    let len = sealed.open(cipher, policy, &peer, *counter, client.rx)?;
    *counter = Some(sealed.counter);
    Ok((len, true))
}
