//! One association with one meter: the loop that runs the client engine over a channel.

use super::channel::{Addresses, Carrier, Channel};
use super::opened;
use crate::driver::{ByteCounters, Endpoint, Pipe};
use crate::session::directory::Endpoint as MeterEndpoint;
use crate::session::lines::Context;
use crate::session::model::DlmsModel;
use crate::session::trouble::Trouble;
use crate::session::work::Serial;
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::xdlms::Conformance;
use protocol::cosem::{Attr, data};
use protocol::dlms::client::{Client, Config, Error, Event, GetItem, Outcome, StartError};
use protocol::dlms::model::{Attribute, Method};
use protocol::dlms::security::{CounterBlock, Form, Key, SecurityPolicy, SecuritySuite, SystemTitle};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The largest APDU taken: an Ethernet segment and the room that ciphering needs.
const APDU: usize = 1_536;
/// The largest value sent in blocks: nothing that is set or invoked here is longer.
const LONG: usize = 256;
/// The largest value taken: a meter cannot make us hold more.
const VALUE_MAX: usize = 64 * 1024;
/// Counters reserved at a time. A top-up with its association takes about twenty, so a restart wastes little and the store
/// is asked once in ten sessions.
const COUNTER_BLOCK: u32 = 256;
/// Counters that must be left before a piece of work begins; the longest takes about sixty, with its polling.
const COUNTERS_LOW: u32 = 96;
/// Bytes of our challenge. Green Book: 8 to 64.
const CHALLENGE_LEN: usize = 16;
/// The client gives up a little after the channel, which knows the wire's own time.
const CLIENT_GRACE: Duration = Duration::from_secs(1);

/// Invocation counters of one meter that are reserved and not used yet, between associations.
#[derive(Debug, Default)]
pub(super) struct CounterStore {
    free: Range<u32>,
    floor: Option<u32>,
}

impl CounterStore {
    /// Takes enough counters for a piece of work, reserving more where too few are left. They are out of the store's hands
    /// until [`CounterStore::put_back`], so that none is used twice whatever happens meanwhile.
    async fn take(
        &mut self,
        context: &Context,
        meter: &Serial,
        client_sap: u8,
    ) -> Result<CounterBlock, Trouble> {
        let mut free = std::mem::take(&mut self.free);
        let too_low = self.floor.is_some_and(|floor| free.start < floor);
        if free.len() < COUNTERS_LOW as usize || too_low {
            let at_least = self.floor.unwrap_or(1);
            free = context
                .counters
                .reserve(meter, client_sap, at_least, COUNTER_BLOCK)
                .await
                .map_err(|error| Trouble::NotReady(format!("no invocation counters: {error}")))?;
        }
        self.free = free.end..free.end;
        Ok(CounterBlock::new(free.start, free.end - free.start))
    }

    /// Takes back what an association has left of its block, which ends where it was reserved to end.
    fn put_back(&mut self, left: u32) {
        self.free.start = self.free.end.saturating_sub(left);
    }

    /// Nothing below this may be used: the meter has seen higher counters than we know of.
    fn raise(&mut self, floor: u32) {
        self.floor = Some(self.floor.map_or(floor, |old| old.max(floor)));
    }

    /// The next counter that would be used.
    fn next(&self) -> u32 {
        self.free.start
    }
}

/// An open association and the channel it runs on.
pub(super) struct Association {
    client: Box<Client<APDU, LONG>>,
    channel: Channel,
    value: Vec<u8>,
    identified: bool,
    takes_lists: bool,
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association").field("state", &self.client.state()).finish_non_exhaustive()
    }
}

/// Everything needed to open an association with one meter.
pub(super) struct Dial<'a> {
    pub(super) context: &'a Context,
    pub(super) endpoint: &'a MeterEndpoint,
    pub(super) model: &'a DlmsModel,
    pub(super) addresses: Addresses,
    pub(super) carrier: Carrier,
    pub(super) place: Endpoint,
    pub(super) bytes: &'a Arc<ByteCounters>,
}

impl Dial<'_> {
    /// Opens pipe, link and association. When the meter refuses and has seen higher counters than ours, goes above them
    /// and tries once more.
    pub(super) async fn associate(
        &mut self,
        pipe: &mut Option<Pipe>,
        counters: &mut CounterStore,
    ) -> Result<Association, Trouble> {
        let refused = match self.authenticated(pipe, counters).await {
            Err(Trouble::Association(refused)) => refused,
            outcome => return outcome,
        };
        let ours = counters.next();
        match self.seen_counter(pipe).await {
            Ok(seen) if seen >= ours => {
                tracing::info!(
                    meter = self.endpoint.serial.0,
                    seen,
                    ours,
                    "the meter has seen higher counters"
                );
                counters.raise(seen.saturating_add(1));
                self.authenticated(pipe, counters).await
            }
            _ => Err(Trouble::Association(refused)),
        }
    }

    /// An association with HLS-GMAC, every APDU authenticated and encrypted.
    async fn authenticated(
        &mut self,
        pipe: &mut Option<Pipe>,
        counters: &mut CounterStore,
    ) -> Result<Association, Trouble> {
        let keys = self
            .context
            .keys
            .dlms_keys(&self.endpoint.serial)
            .map_err(|error| Trouble::NotReady(error.to_string()))?;
        let config = Config {
            mechanism: AuthMechanism::HighGmac,
            policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0),
            form: Form::Glo,
            system_title: SystemTitle(self.context.system_title),
            encryption_key: Some(Key::new(keys.encryption)),
            authentication_key: Some(Key::new(keys.authentication)),
            ..Config::default()
        };
        let block = counters.take(self.context, &self.endpoint.serial, self.addresses.client).await?;
        let mut association = self.link(pipe, config, block, self.addresses).await?;
        let mut challenge = [0; CHALLENGE_LEN];
        getrandom::fill(&mut challenge)
            .map_err(|error| Trouble::NotReady(format!("no random numbers for the challenge: {error}")))?;
        let opened = match pipe {
            Some(pipe) => association.associate(pipe, &challenge).await,
            None => Err(Trouble::NotReady("the pipe did not stay open".into())),
        };
        match opened {
            Ok(()) => Ok(association),
            Err(trouble) => {
                association.return_counters(counters);
                self.hang_up(&mut association, pipe).await;
                Err(trouble)
            }
        }
    }

    /// The invocation counter that the meter remembers of us, read without security.
    async fn seen_counter(&mut self, pipe: &mut Option<Pipe>) -> Result<u32, Trouble> {
        let addresses = Addresses { client: self.model.public_sap, ..self.addresses };
        let mut association = self.link(pipe, Config::default(), CounterBlock::default(), addresses).await?;
        let Some(open) = pipe.as_mut() else {
            return Err(Trouble::NotReady("the pipe did not stay open".into()));
        };
        association.associate(open, &[]).await?;
        let at: Attr<u32> = Attr::new(data::CLASS, data::VALUE);
        let bytes = association
            .get(open, at.of(self.model.objects.invocation_counter), "the invocation counter")
            .await?;
        let seen = at
            .decode_bytes(bytes)
            .map_err(|error| Trouble::Protocol(format!("the invocation counter: {error}")));
        association.release(open).await;
        if matches!(self.place, Endpoint::Tcp(_)) {
            *pipe = None;
        }
        seen
    }

    /// An open link with a client that has no association yet.
    async fn link(
        &mut self,
        pipe: &mut Option<Pipe>,
        mut config: Config,
        counters: CounterBlock,
        addresses: Addresses,
    ) -> Result<Association, Trouble> {
        let mut channel = Channel::new(addresses, self.carrier, self.model.response_timeout);
        config.max_pdu = self.model.receive_pdu_max;
        config.response_timeout = channel.patience() + CLIENT_GRACE;
        let pipe = opened(pipe, &self.place, self.bytes).await?;
        channel.open(pipe).await?;
        let client = Box::new(Client::new(config, counters));
        Ok(Association { client, channel, value: Vec::new(), identified: false, takes_lists: false })
    }

    /// After a refusal: the link is closed, and a network connection with it.
    async fn hang_up(&mut self, association: &mut Association, pipe: &mut Option<Pipe>) {
        if let Some(open) = pipe {
            association.channel.close(open).await;
        }
        if matches!(self.place, Endpoint::Tcp(_)) {
            *pipe = None;
        }
    }
}

impl Association {
    /// The meter has said who it is, and it is the one that was meant.
    pub(super) const fn is_identified(&self) -> bool {
        self.identified
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

    /// Gives the counters that were not used back to the store, when the association is over.
    pub(super) fn return_counters(&self, store: &mut CounterStore) {
        store.put_back(self.client.counters_left());
    }

    async fn associate(&mut self, pipe: &mut Pipe, challenge: &[u8]) -> Result<(), Trouble> {
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
        self.client.get(now, at, None).map_err(not_started)?;
        self.run(pipe, what).await?;
        Ok(&self.value)
    }

    /// GET of several attributes: one encoded get-data-result after the other, in the order asked for. In one request
    /// where the meter takes lists, else one by one.
    pub(super) async fn get_all(
        &mut self,
        pipe: &mut Pipe,
        attributes: &[Attribute],
        what: &str,
    ) -> Result<Vec<u8>, Trouble> {
        if attributes.len() > 1 && self.takes_lists {
            match self.get_list(pipe, attributes, what).await {
                // A meter that offers lists and then refuses one is asked one by one from now on.
                Err(Trouble::Refused { .. }) => self.takes_lists = false,
                answer => return answer,
            }
        }
        let mut answers = Vec::new();
        for at in attributes {
            match self.get(pipe, *at, what).await {
                Ok(value) => {
                    answers.push(0);
                    answers.extend_from_slice(value);
                }
                Err(Trouble::Refused { code: Some(code), .. }) => answers.extend([1, code]),
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(answers)
    }

    async fn get_list(
        &mut self,
        pipe: &mut Pipe,
        attributes: &[Attribute],
        what: &str,
    ) -> Result<Vec<u8>, Trouble> {
        let items: Vec<GetItem<'_>> = attributes.iter().map(|at| (*at, None)).collect();
        let now = self.channel.now();
        self.client.get_list(now, &items).map_err(not_started)?;
        self.run(pipe, what).await?;
        // The length of a list of so few items is one byte.
        match self.value.split_first() {
            Some((count, results)) if usize::from(*count) == attributes.len() => Ok(results.to_vec()),
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
        self.client.set(now, at, None, value).map_err(not_started)?;
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

    /// Releases the association and closes the link, as far as the meter plays along.
    pub(super) async fn release(&mut self, pipe: &mut Pipe) {
        let now = self.channel.now();
        if self.client.release(now).is_ok() {
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
                self.channel.send(apdu, what)?;
            }
            if self.event(what)? {
                return Ok(());
            }
            match self.channel.receive(pipe, what).await {
                Ok(()) => self.client.handle_bytes(self.channel.now(), self.channel.apdu()),
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
                self.takes_lists = agreed.conformance.contains(Conformance::MULTIPLE_REFERENCES);
                Ok(true)
            }
            Event::Done | Event::Released => Ok(true),
            // Nothing here asks for these.
            Event::Results(_) | Event::Access { .. } => {
                Err(Trouble::Protocol(format!("{what} was answered by a list")))
            }
            Event::Failed(failure) => {
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
