//! Work on DLMS prepaid meters: one association at a time per pipe, kept open for the next job of the same meter.

mod adhoc;
mod association;
mod calendar;
mod channel;
mod clock;
mod counter_store;
mod dial;
mod emergency;
mod image;
mod items;
mod meter;
mod orders;
mod profile;
mod relay;
mod relay_test;
mod rotation;
mod tamper;
mod tariff;
#[cfg(test)]
mod tests;
mod token;

use super::attempt::Attempt;
use super::directory::{Endpoint as MeterEndpoint, Framing};
use super::lines::{CONNECT_TIMEOUT, Context};
use super::model::{DlmsModel, Model};
use super::record::ending_word;
use super::trouble::Trouble;
use super::work::{Ending, Serial, Work};
use crate::driver::{self, ByteCounters, CallerStream, Callers, Endpoint, OpenError, Pipe, TcpEndpoint};
use crate::vault::DlmsKeys;
use association::Association;
use channel::{Addresses, Carrier};
use counter_store::CounterStore;
use dial::Dial;
use items::Item;
use meter::{LastToken, Memory, Meter};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a stranger may take for an answer: on a bus most addresses are nobody's.
const STRANGERS_PATIENCE: Duration = Duration::from_millis(500);
/// Information field proposed to a stranger: waiting for a full one would be waiting for nothing.
const STRANGERS_FIELD: u16 = 128;

/// What the pipe of a talker leads to.
#[derive(Debug)]
enum Place {
    /// A bus: the pipe stays, meters share it.
    Bus(Endpoint),
    /// A network: each meter has its own connection, closed with its association.
    Network,
    /// The same with datagrams.
    Datagrams,
    /// The meter dials in: its connection is kept, for it is not ours to open.
    Callers(Callers),
}

/// Does work on DLMS meters over one pipe.
#[derive(Debug)]
pub struct DlmsTalker {
    place: Place,
    bytes: Arc<ByteCounters>,
    pipe: Option<Pipe>,
    open: Option<(Serial, Box<Association>)>,
    known: HashMap<Serial, Known>,
}

/// As whom an association is opened.
#[derive(Debug, Clone, Copy)]
enum As<'a> {
    /// The client of the meter's model.
    Client,
    /// The client that may change keys.
    Management,
    /// The same, under new keys that are proved by it.
    Prover(&'a DlmsKeys),
}

/// What is kept about a meter between its associations.
#[derive(Debug, Default)]
struct Known {
    memory: Memory,
    counters: CounterStore,
}

impl DlmsTalker {
    /// A talker on a bus.
    #[must_use]
    pub fn bus(endpoint: Endpoint, bytes: Arc<ByteCounters>) -> Self {
        Self { place: Place::Bus(endpoint), bytes, pipe: None, open: None, known: HashMap::new() }
    }

    /// A talker for one meter of a network.
    #[must_use]
    pub fn network(bytes: Arc<ByteCounters>) -> Self {
        Self { place: Place::Network, bytes, pipe: None, open: None, known: HashMap::new() }
    }

    /// A talker for one meter that is reached by datagrams.
    #[must_use]
    pub fn datagrams(bytes: Arc<ByteCounters>) -> Self {
        Self { place: Place::Datagrams, ..Self::network(bytes) }
    }

    /// A talker for one meter that dials in.
    #[must_use]
    pub fn called(callers: Callers, bytes: Arc<ByteCounters>) -> Self {
        Self { place: Place::Callers(callers), ..Self::network(bytes) }
    }

    /// A talker for a network meter on a pipe that is already open, for tests in virtual time.
    #[cfg(test)]
    fn on(pipe: Pipe) -> Self {
        Self { pipe: Some(pipe), ..Self::network(Arc::default()) }
    }

    /// A talker on a bus whose pipe is already open, for tests.
    #[cfg(test)]
    fn bus_on(pipe: Pipe) -> Self {
        let nowhere = ([127, 0, 0, 1], 1).into();
        let tcp = TcpEndpoint { address: nowhere, connect_timeout: CONNECT_TIMEOUT, source: None };
        Self { pipe: Some(pipe), ..Self::bus(Endpoint::Tcp(tcp), Arc::default()) }
    }

    /// The meter whose association is open.
    #[must_use]
    pub fn open_meter(&self) -> Option<&Serial> {
        self.open.as_ref().map(|(serial, _)| serial)
    }

    /// Releases the association in order; a network connection is closed with it.
    pub async fn release(&mut self) {
        if let (Some((serial, mut association)), Some(pipe)) = (self.open.take(), &mut self.pipe) {
            association.release(pipe).await;
            association.return_counters(&mut self.known.entry(serial).or_default().counters);
        }
        if matches!(self.place, Place::Network | Place::Datagrams) {
            self.pipe = None;
        }
    }

    /// Drops the association without a word. A network connection goes with it, and what is late on it; a bus keeps its
    /// port unless that is what broke, so that it is opened anew and comes back if it had vanished.
    pub fn abandon(&mut self, port_broke: bool) {
        if let Some((serial, association)) = self.open.take() {
            association.abandon();
            association.return_counters(&mut self.known.entry(serial).or_default().counters);
        }
        if port_broke || !matches!(self.place, Place::Bus(_)) {
            self.pipe = None;
        }
    }

    /// Does one piece of work.
    ///
    /// # Errors
    /// [`Trouble`]; what it means for the meter is for [`Attempt::end`] to say.
    pub async fn perform(
        &mut self,
        context: &Context,
        attempt: &mut Attempt,
        endpoint: &MeterEndpoint,
        model: &DlmsModel,
        work: &Work,
    ) -> Result<Ending, Trouble> {
        let Some(tape) = context.recordings.running(&endpoint.serial) else {
            return self.work(context, attempt, endpoint, model, work).await;
        };
        // A recording begins with its association and asks again for what was learnt before: a replay knows nothing.
        if !tape.has_work() {
            self.release().await;
            if let Some(known) = self.known.get_mut(&endpoint.serial) {
                known.memory = Memory::default();
            }
        }
        tape.work(work);
        let outcome = self.work(context, attempt, endpoint, model, work).await;
        tape.ending(match &outcome {
            Ok(ending) => ending_word(ending),
            Err(_) if attempt.may_have_acted() => "unknown",
            Err(_) => "not-sent",
        });
        outcome
    }

    async fn work(
        &mut self,
        context: &Context,
        attempt: &mut Attempt,
        endpoint: &MeterEndpoint,
        model: &DlmsModel,
        work: &Work,
    ) -> Result<Ending, Trouble> {
        if let Some(reason) = model.lacks(work.needs()) {
            return Ok(Ending::Rejected { reason, code: None });
        }
        self.hear_newest(endpoint);
        if *work == Work::Identify {
            return self.identify_stranger(context, attempt, endpoint, model).await;
        }
        if *work == Work::RotateKeys {
            return self.rotate_keys(context, attempt, endpoint, model).await;
        }
        // An association of the management client is opened for what needs it, and not kept.
        let managements = match work {
            Work::Carry(order) | Work::Check(order) => order.is_managements(),
            _ => false,
        };
        if managements {
            self.release().await;
        }
        if self.open_meter() != Some(&endpoint.serial) {
            if self.open.is_some() {
                self.release().await;
            }
            let who = if managements { As::Management } else { As::Client };
            self.associate(context, attempt, endpoint, model, who).await?;
        }
        let (Some((_, association)), Some(pipe)) = (&mut self.open, &mut self.pipe) else {
            return Err(Trouble::NotReady("the association did not stay open".into()));
        };
        let known = self.known.entry(endpoint.serial.clone()).or_default();
        if model.security.needs_keys() {
            association.refill(context, &endpoint.serial, model.client_sap, &mut known.counters).await?;
        }
        let (memory, token) = (&mut known.memory, LastToken::default());
        let mut meter =
            Meter { association, pipe, model, memory, attempt, token, control_mode: None, charges_read: 0 };
        let outcome = match (wrong_identity(&mut meter, endpoint).await, work) {
            (Ok(None), Work::AskKeys) => rotation::found(context, endpoint),
            (Ok(None), work) => carry_out(&mut meter, work).await,
            (Ok(Some(reason)), _) => Ok(Ending::Rejected { reason, code: None }),
            (Err(trouble), _) => Err(trouble),
        };
        if !model.security.counters_restart {
            // Before anybody acts on what was heard: or else it could be heard again.
            match work.is_stored_by_its_asker() {
                true => meter.attempt.heard = meter.association.heard(&mut known.counters),
                false => association.keep_heard(context, &endpoint.serial, &mut known.counters).await,
            }
        }
        if managements || (!model.association.keep_open && outcome.is_ok()) {
            self.release().await;
        }
        outcome
    }

    /// Asks whoever is at an address for the serial number, as the public client, and without patience. Somebody who answers
    /// and does not say is somebody all the same.
    async fn identify_stranger(
        &mut self,
        context: &Context,
        attempt: &mut Attempt,
        endpoint: &MeterEndpoint,
        model: &DlmsModel,
    ) -> Result<Ending, Trouble> {
        self.release().await;
        let mut model = model.clone();
        model.response_timeout = model.response_timeout.min(STRANGERS_PATIENCE);
        model.link.information_field = Some(STRANGERS_FIELD);
        let (place, addresses, carrier) = self.reach(endpoint, &model)?;
        let bytes = &self.bytes;
        let mut dial = Dial {
            context,
            endpoint,
            model: &model,
            addresses,
            carrier,
            place,
            bytes,
            expected_counter: None,
        };
        match dial.stranger(&mut self.pipe).await {
            Ok(told) => {
                attempt.note(format!("somebody is there: {told:?}"));
                attempt.facts.serial = told.serial;
                attempt.facts.device_name = told.device_name;
                attempt.facts.firmware = told.firmware;
                Ok(Ending::Done)
            }
            Err(trouble) if trouble.is_silence() || matches!(trouble, Trouble::NotReady(_)) => Err(trouble),
            Err(trouble) => Ok(Ending::Rejected { reason: trouble.to_string(), code: None }),
        }
    }

    /// Opens pipe, link and association.
    async fn associate(
        &mut self,
        context: &Context,
        attempt: &mut Attempt,
        endpoint: &MeterEndpoint,
        model: &DlmsModel,
        who: As<'_>,
    ) -> Result<(), Trouble> {
        let (place, mut addresses, carrier) = self.reach(endpoint, model)?;
        if !matches!(who, As::Client) {
            addresses.client = model.management_sap;
        }
        let known = self.known.entry(endpoint.serial.clone()).or_default();
        known.memory.layouts.clear();
        let bytes = &self.bytes;
        let mut dial =
            Dial { context, endpoint, model, addresses, carrier, place, bytes, expected_counter: None };
        let (pipe, counters) = (&mut self.pipe, &mut known.counters);
        let association = match who {
            As::Client | As::Management => dial.associate(pipe, counters).await?,
            As::Prover(keys) => dial.prove(pipe, counters, keys).await?,
        };
        attempt.associations += 1;
        let security = model.security.describe();
        attempt.note(format!("association open with client {} ({security})", addresses.client));
        if let Some(title) = association.server_title().filter(|_| model.security.needs_keys()) {
            context.directory.learn_title(&endpoint.serial, title);
        }
        self.open = Some((endpoint.serial.clone(), Box::new(association)));
        Ok(())
    }

    /// Why the meter behind the open association is not the one that was meant.
    async fn identify(
        &mut self,
        attempt: &mut Attempt,
        endpoint: &MeterEndpoint,
        model: &DlmsModel,
    ) -> Result<Option<String>, Trouble> {
        let (Some((_, association)), Some(pipe)) = (&mut self.open, &mut self.pipe) else {
            return Err(Trouble::NotReady("the association did not stay open".into()));
        };
        let memory = &mut self.known.entry(endpoint.serial.clone()).or_default().memory;
        let token = LastToken::default();
        let mut meter =
            Meter { association, pipe, model, memory, attempt, token, control_mode: None, charges_read: 0 };
        wrong_identity(&mut meter, endpoint).await
    }

    /// A meter that called again has left its older connection behind, and the association on it.
    fn hear_newest(&mut self, endpoint: &MeterEndpoint) {
        if let Place::Callers(callers) = &self.place
            && let Some(call) = callers.take(&endpoint.address)
        {
            self.abandon(true);
            self.pipe = Some(Pipe::new(call, self.bytes.clone(), None));
        }
    }

    /// How long a connection that is kept may be without use.
    #[must_use]
    pub fn keeps_for(&self) -> Option<Duration> {
        match &self.place {
            Place::Callers(callers) if self.pipe.is_some() => Some(callers.idle()),
            _ => None,
        }
    }

    /// Where the meter is and how to frame what is said to it.
    fn reach(
        &self,
        endpoint: &MeterEndpoint,
        model: &DlmsModel,
    ) -> Result<(Endpoint, Addresses, Carrier), Trouble> {
        let mut addresses = addresses(model);
        match &self.place {
            Place::Bus(place) => {
                let physical = endpoint.address.parse().ok().filter(|physical| *physical < 0x3FFF);
                addresses.physical = Some(physical.ok_or_else(|| {
                    Trouble::NotReady(format!("{:?} is not an HDLC physical address", endpoint.address))
                })?);
                Ok((place.clone(), addresses, Carrier::HdlcSerial { byte_time: place.byte_time() }))
            }
            Place::Callers(callers) => {
                let place = Endpoint::Caller(callers.clone(), endpoint.address.clone());
                Ok((place, addresses, over_tcp(endpoint.framing)))
            }
            Place::Network | Place::Datagrams => {
                let address: std::net::SocketAddr = endpoint
                    .address
                    .parse()
                    .map_err(|_| Trouble::NotReady(format!("{:?} is not address:port", endpoint.address)))?;
                if matches!(self.place, Place::Datagrams) {
                    return Ok((Endpoint::Udp(address), addresses, Carrier::Datagrams));
                }
                let tcp = TcpEndpoint { address, connect_timeout: CONNECT_TIMEOUT, source: None };
                Ok((Endpoint::Tcp(tcp), addresses, over_tcp(endpoint.framing)))
            }
        }
    }
}

const fn over_tcp(framing: Framing) -> Carrier {
    match framing {
        Framing::Wrapper => Carrier::Wrapper,
        Framing::Hdlc => Carrier::HdlcTcp,
    }
}

/// The logical device name of whoever has called, read as the public client. The connection is left without an association.
pub(super) async fn device_name(
    context: &Context,
    model: &str,
    framing: Framing,
    stream: CallerStream,
) -> Result<String, Trouble> {
    let Some(Model::Dlms(model)) = context.models.find(model).as_deref().cloned() else {
        return Err(Trouble::NotReady(format!("there is no DLMS model {model:?}")));
    };
    let (bytes, callers) = (Arc::default(), Callers::new(0, Duration::ZERO));
    let endpoint = MeterEndpoint {
        serial: Serial(String::new()),
        line: String::new(),
        address: String::new(),
        framing,
        model: String::new(),
    };
    let mut dial = Dial {
        context,
        endpoint: &endpoint,
        model: &model,
        addresses: addresses(&model),
        carrier: over_tcp(framing),
        place: Endpoint::Caller(callers, String::new()),
        bytes: &bytes,
        expected_counter: None,
    };
    let mut pipe = Some(Pipe::new(stream, bytes.clone(), None));
    let told = dial.stranger(&mut pipe).await?;
    told.device_name.ok_or_else(|| Trouble::Protocol("it does not tell it to the public client".into()))
}

/// How a model's meters are addressed.
fn addresses(model: &DlmsModel) -> Addresses {
    Addresses {
        client: model.client_sap,
        server: model.server_address,
        physical: model.link.physical_address,
        bytes: model.link.address_bytes.unwrap_or(0),
    }
}

/// Does the work on a meter that has been identified.
async fn carry_out(meter: &mut Meter<'_>, work: &Work) -> Result<Ending, Trouble> {
    match work {
        Work::Commission => commission(meter).await,
        Work::Read => meter.reading().await.map(|()| Ending::Done),
        Work::Audit => meter.audit().await.map(|()| Ending::Done),
        Work::DeliverToken(token) => meter.deliver(token).await,
        Work::ClearTamper(token) => meter.clear_tamper(token).await,
        Work::AskToken(token) => meter.ask_token(token).await,
        Work::Disconnect => meter.disconnect().await,
        Work::Reconnect => meter.reconnect().await,
        Work::Carry(order) => meter.carry(order).await,
        Work::Check(order) => meter.check(order).await,
        Work::ReadProfile(wanted) => meter.read_profile(wanted).await,
        Work::CorrectClock(terms) => meter.correct_clock(terms).await,
        Work::RotateKeys | Work::AskKeys | Work::Identify => {
            Err(Trouble::NotReady("this is done between associations, not in one".into()))
        }
    }
}

/// Why the meter is not the one that was meant. Asked once per association: nothing is done to the wrong customer's meter.
async fn wrong_identity(meter: &mut Meter<'_>, endpoint: &MeterEndpoint) -> Result<Option<String>, Trouble> {
    if meter.association.is_identified() {
        return Ok(None);
    }
    meter.ask(&[Item::Serial]).await?;
    let said = meter.attempt.facts.serial.clone().unwrap_or_default();
    if said == endpoint.serial.0 {
        meter.association.identified();
        return Ok(None);
    }
    Ok(Some(format!("the meter says it is {said:?}, expected {}", endpoint.serial.0)))
}

/// Identity has been checked; what is left is the mode, the clock, the relay and a first reading.
async fn commission(meter: &mut Meter<'_>) -> Result<Ending, Trouble> {
    meter.ask(&[Item::Serial, Item::AccountMode, Item::ControlMode]).await?;
    if meter.model.objects.account.is_some() && meter.attempt.facts.prepaid != Some(true) {
        let reason = "the meter is not in prepayment mode".into();
        return Ok(Ending::Rejected { reason, code: None });
    }
    meter.set_clock().await?;
    meter.reading().await?;
    Ok(Ending::Done)
}

/// Opens the pipe if it is not open.
async fn opened<'a>(
    pipe: &'a mut Option<Pipe>,
    place: &Endpoint,
    bytes: &Arc<ByteCounters>,
) -> Result<&'a mut Pipe, Trouble> {
    let open = match pipe.take() {
        Some(open) => open,
        None => match driver::open(place, bytes.clone()).await {
            // It is not silent: it was not asked.
            Err(error @ OpenError::NotCalled { .. }) => return Err(Trouble::NotReady(error.to_string())),
            opened => opened?,
        },
    };
    Ok(pipe.insert(open))
}
