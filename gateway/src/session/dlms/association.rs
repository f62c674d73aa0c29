//! One association with one meter: the loop that runs the client engine over a channel.

use super::channel::Channel;
use super::counter_store::{COUNTERS_LOW, CounterStore};
use crate::driver::Pipe;
use crate::session::lines::Context;
use crate::session::model::{AssociationManner, ShortNames};
use crate::session::record::{Keyring, Tape};
use crate::session::trouble::Trouble;
use crate::session::work::{Heard, Serial};
use protocol::codec::axdr::Data;
use protocol::codec::xdlms::{Conformance, SelectiveAccess};
use protocol::dlms::client::{Client, Error, Event, GetItem, Outcome, StartError};
use protocol::dlms::model::{Attribute, Method};
use std::time::Duration;

/// The largest APDU taken: an Ethernet segment and the room that ciphering needs.
const APDU: usize = 1_536;
/// The largest value sent in blocks: a tariff, or a block of a firmware image.
const LONG: usize = 640;
/// The largest value taken: a meter cannot make us hold more.
const VALUE_MAX: usize = 64 * 1024;

/// An open association and the channel it runs on.
pub(super) struct Association {
    client: Box<Client<APDU, LONG>>,
    channel: Channel,
    value: Vec<u8>,
    identified: bool,
    takes_lists: bool,
    /// The counter that the meter expects of us, by its own exception.
    expected_counter: Option<u32>,
    short_names: Option<ShortNames>,
    manner: AssociationManner,
    tape: Option<(Tape, Keyring)>,
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association").field("state", &self.client.state()).finish_non_exhaustive()
    }
}

impl Association {
    /// One that is not open yet, on a link that is.
    pub(super) fn new(
        client: Client<APDU, LONG>,
        channel: Channel,
        manner: AssociationManner,
        short_names: Option<ShortNames>,
        tape: Option<(Tape, Keyring)>,
    ) -> Self {
        Self {
            client: Box::new(client),
            channel,
            value: Vec::new(),
            identified: false,
            takes_lists: false,
            expected_counter: None,
            short_names,
            manner,
            tape,
        }
    }

    /// The association is dropped without a word.
    pub(super) fn abandon(&self) {
        if let Some((tape, _)) = &self.tape {
            tape.abandon();
        }
    }

    /// The counter that the meter's last refusal said it expects.
    pub(super) const fn expected_counter(&self) -> Option<u32> {
        self.expected_counter
    }

    /// The meter has said who it is, and it is the one that was meant.
    pub(super) const fn is_identified(&self) -> bool {
        self.identified
    }

    /// The meter's system title, once the association is open and it gave one.
    pub(super) fn server_title(&self) -> Option<[u8; 8]> {
        self.client.server_title().map(|title| title.0)
    }

    /// Takes note of that.
    pub(super) const fn identified(&mut self) {
        self.identified = true;
    }

    /// Makes sure that a whole piece of work finds enough counters.
    pub(super) async fn refill(
        &mut self,
        context: &Context,
        meter: &Serial,
        client_sap: u8,
        store: &mut CounterStore,
    ) -> Result<(), Trouble> {
        if self.client.counters_left() < COUNTERS_LOW {
            store.put_back(0);
            let block = store.take(context, meter, client_sap).await?;
            self.client.add_counters(block);
        }
        Ok(())
    }

    /// Invocation counters left of those that were reserved.
    pub(super) fn counters_left(&self) -> u32 {
        self.client.counters_left()
    }

    /// Gives the counters that were not used back to the store, when the association is over.
    pub(super) fn return_counters(&self, store: &mut CounterStore) {
        store.put_back(self.client.counters_left());
    }

    /// The highest counter heard from the meter, where it is higher than what was kept; from here on it counts as kept.
    pub(super) fn heard(&self, store: &mut CounterStore) -> Option<Heard> {
        store.hand_over(self.client.peer_counter())
    }

    /// Keeps the highest counter heard from the meter.
    pub(super) async fn keep_heard(&self, context: &Context, meter: &Serial, store: &mut CounterStore) {
        store.keep_heard(context, meter, self.client.peer_counter()).await;
    }

    /// AARQ, and the passes of HLS where the mechanism has them.
    pub(super) async fn associate(&mut self, pipe: &mut Pipe, challenge: &[u8]) -> Result<(), Trouble> {
        let now = self.channel.now();
        self.client.associate(now, challenge).map_err(not_started)?;
        match self.run(pipe, "the association").await {
            // An exception here tells of counters or keys that do not fit.
            Err(Trouble::Refused { reason, .. }) => Err(Trouble::Association(reason)),
            outcome => outcome,
        }
    }

    /// GET: the attribute's A-XDR bytes, until the next call.
    pub(super) async fn get(&mut self, pipe: &mut Pipe, at: Attribute, what: &str) -> Result<&[u8], Trouble> {
        let now = self.channel.now();
        match &self.short_names {
            None => self.client.get(now, at, None),
            Some(names) => self.client.read(now, short_name(names, at)?, None),
        }
        .map_err(not_started)?;
        self.run(pipe, what).await?;
        Ok(&self.value)
    }

    /// GET of the selected part of an attribute: its A-XDR bytes, until the next call.
    pub(super) async fn get_selected(
        &mut self,
        pipe: &mut Pipe,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        what: &str,
    ) -> Result<&[u8], Trouble> {
        let now = self.channel.now();
        self.client.get(now, at, selection).map_err(not_started)?;
        self.run(pipe, what).await?;
        Ok(&self.value)
    }

    /// GET of several attributes: one encoded get-data-result after the other, in the order asked for. In one request
    /// where the meter takes lists and a request of that size, else in several.
    pub(super) async fn get_all(
        &mut self,
        pipe: &mut Pipe,
        attributes: &[Attribute],
        what: &str,
    ) -> Result<Vec<u8>, Trouble> {
        let mut answers = Vec::new();
        let (mut rest, mut at_once) = (attributes, attributes.len());
        while let Some(at) = rest.first() {
            at_once = if self.takes_lists { at_once.min(rest.len()) } else { 1 };
            if at_once == 1 {
                match self.get(pipe, *at, what).await {
                    Ok(value) => {
                        answers.push(0);
                        answers.extend_from_slice(value);
                    }
                    Err(Trouble::Refused { code: Some(code), .. }) => answers.extend([1, code]),
                    Err(trouble) => return Err(trouble),
                }
                rest = &rest[1..];
                continue;
            }
            let (list, later) = rest.split_at(at_once);
            match self.get_list(pipe, list, what).await {
                Ok(Some(results)) => {
                    answers.extend(results);
                    rest = later;
                }
                Ok(None) => at_once /= 2,
                // A meter that offers lists and then refuses one is asked one by one from now on.
                Err(Trouble::Refused { .. }) => self.takes_lists = false,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(answers)
    }

    /// Several attributes in one request; `None` when the request would be longer than the meter takes.
    async fn get_list(
        &mut self,
        pipe: &mut Pipe,
        attributes: &[Attribute],
        what: &str,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        let now = self.channel.now();
        let started = match &self.short_names {
            None => {
                let items: Vec<GetItem<'_>> = attributes.iter().map(|at| (*at, None)).collect();
                self.client.get_list(now, &items)
            }
            Some(names) => {
                let names: Result<Vec<u16>, Trouble> =
                    attributes.iter().map(|at| short_name(names, *at)).collect();
                self.client.read_list(now, &names?)
            }
        };
        match started {
            Ok(()) => {}
            Err(StartError::TooLong) => return Ok(None),
            Err(error) => return Err(not_started(error)),
        }
        self.run(pipe, what).await?;
        // The length of a list of so few items is one byte.
        match self.value.split_first() {
            Some((count, results)) if usize::from(*count) == attributes.len() => Ok(Some(results.to_vec())),
            _ => Err(Trouble::Protocol(format!("{what} was answered with another number of values"))),
        }
    }

    /// SET of A-XDR bytes.
    pub(super) async fn set(
        &mut self,
        pipe: &mut Pipe,
        at: Attribute,
        value: &[u8],
        what: &str,
    ) -> Result<(), Trouble> {
        let value =
            Data::from_bytes_in(value).map_err(|error| Trouble::NotReady(format!("{what}: {error}")))?;
        let now = self.channel.now();
        match &self.short_names {
            None => self.client.set(now, at, None, value),
            Some(names) => self.client.write(now, short_name(names, at)?, value),
        }
        .map_err(not_started)?;
        self.run(pipe, what).await
    }

    /// ACTION with A-XDR bytes as parameter. A refusal by the meter is [`Trouble::Refused`]; anything else leaves open
    /// whether it acted.
    pub(super) async fn act(
        &mut self,
        pipe: &mut Pipe,
        method: Method,
        parameter: &[u8],
        what: &str,
    ) -> Result<(), Trouble> {
        let parameter =
            Data::from_bytes_in(parameter).map_err(|error| Trouble::NotReady(format!("{what}: {error}")))?;
        let now = self.channel.now();
        self.client.action(now, method, Some(parameter)).map_err(not_started)?;
        self.run(pipe, what).await
    }

    /// Closes the link of an association that did not open.
    pub(super) async fn close(&mut self, pipe: &mut Pipe) {
        self.channel.close(pipe).await;
    }

    /// Releases the association and closes the link, as far as the meter plays along.
    pub(super) async fn release(&mut self, pipe: &mut Pipe) {
        if let Some((tape, _)) = &self.tape {
            tape.release();
        }
        let now = self.channel.now();
        if self.manner.rlrq && self.client.release(now).is_ok() {
            // A peer that does not answer a release is released.
            let _ = self.run(pipe, "the release").await;
        }
        self.channel.close(pipe).await;
    }

    /// Runs the engine until the request under way has its answer. The value, if any, is left in `self.value`.
    async fn run(&mut self, pipe: &mut Pipe, what: &str) -> Result<(), Trouble> {
        self.value.clear();
        loop {
            if let Some(apdu) = self.client.poll_transmit() {
                if let Some((tape, keys)) = &mut self.tape {
                    tape.sent(keys, apdu);
                }
                self.channel.send(apdu, what)?;
            }
            if self.event(what)? {
                return Ok(());
            }
            match self.channel.receive(pipe, what).await {
                Ok(()) => {
                    if let Some((tape, keys)) = &mut self.tape {
                        tape.received(keys, self.channel.apdu());
                    }
                    self.client.handle_bytes(self.channel.now(), self.channel.apdu());
                }
                Err(trouble) => {
                    self.client.link_down();
                    return Err(trouble);
                }
            }
            // A peer that keeps sending what is no answer does not keep us beyond the deadline.
            let now = self.channel.now();
            if self.event(what)? {
                return Ok(());
            }
            if self.client.poll_timeout().is_some_and(|deadline| now >= deadline) {
                self.client.handle_timeout(now);
            }
        }
    }

    /// Takes the next event; true when the request is done.
    fn event(&mut self, what: &str) -> Result<bool, Trouble> {
        let Some(event) = self.client.poll_event() else { return Ok(false) };
        match event {
            Event::Value { bytes, last } => {
                if self.value.len() + bytes.len() > VALUE_MAX {
                    return Err(Trouble::Protocol(format!("{what} is longer than {VALUE_MAX} bytes")));
                }
                self.value.extend_from_slice(bytes);
                Ok(last)
            }
            Event::Associated(agreed) => {
                if agreed.user_information_missing && self.manner.aare_user_information {
                    return Err(Trouble::Association(
                        "the meter's AARE says nothing about what was agreed on; where that is its manner, its model \
                         says aare_user_information = false"
                            .into(),
                    ));
                }
                self.takes_lists = agreed.conformance.contains(Conformance::MULTIPLE_REFERENCES);
                Ok(true)
            }
            Event::Done | Event::Released => Ok(true),
            // Nothing here asks for these.
            Event::Results(_) | Event::Access { .. } => {
                Err(Trouble::Protocol(format!("{what} was answered by a list")))
            }
            Event::Failed(failure) => {
                if let Error::Exception { response, .. } = failure.error {
                    self.expected_counter = response.expected_invocation_counter;
                }
                Err(failed(failure.error, failure.outcome, what, self.channel.patience()))
            }
            // An APDU that does not open is thrown away; the real answer may still come.
            Event::Alarm(refusal) => {
                tracing::warn!(what, ?refusal, "an APDU was refused unopened");
                Ok(false)
            }
            Event::Notification { .. } | Event::EventNotification { .. } => Ok(false),
        }
    }
}

fn short_name(names: &ShortNames, at: Attribute) -> Result<u16, Trouble> {
    names.name(at).ok_or_else(|| Trouble::NotReady(format!("{} has no short name", at.logical_name)))
}

fn not_started(error: StartError) -> Trouble {
    Trouble::NotReady(format!("the request could not be made: {error}"))
}

fn failed(error: Error, outcome: Outcome, what: &str, patience: Duration) -> Trouble {
    match (error, outcome) {
        (Error::Timeout, _) => Trouble::Silent { waited_for: what.to_owned(), waited: patience },
        (Error::LinkDown, _) => Trouble::Broken { waited_for: what.to_owned(), why: "link down".into() },
        (Error::DataAccess(result), Outcome::NotDone) => {
            Trouble::Refused { reason: format!("{what}: {error}"), code: Some(result.as_u8()) }
        }
        (Error::Action(result), Outcome::NotDone) => {
            Trouble::Refused { reason: format!("{what}: {error}"), code: Some(result.as_u8()) }
        }
        (Error::Exception { .. }, Outcome::NotDone) => {
            Trouble::Refused { reason: format!("{what}: {error}"), code: None }
        }
        (Error::CountersExhausted, _) => Trouble::NotReady(error.to_string()),
        (
            Error::Rejected { .. }
            | Error::Initiate(_)
            | Error::NotAuthentic
            | Error::Downgrade
            | Error::Protection(_),
            _,
        ) => Trouble::Association(error.to_string()),
        _ => Trouble::Protocol(format!("{what}: {error}")),
    }
}
