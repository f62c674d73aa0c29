//! Opens associations: pipe, link, keys and counters as the meter's model says.

use super::association::Association;
use super::channel::{Addresses, Carrier, Channel};
use super::counter_store::CounterStore;
use super::opened;
use crate::driver::{ByteCounters, Endpoint, NAME_MAX, Pipe};
use crate::session::directory::Endpoint as MeterEndpoint;
use crate::session::lines::Context;
use crate::session::model::DlmsModel;
use crate::session::record::Keyring;
use crate::session::trouble::Trouble;
use crate::vault::DlmsKeys;
use protocol::codec::acse::Referencing;
use protocol::codec::codec::{Decode, Reader};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::GetDataResult;
use protocol::cosem::{Attr, data, obis};
use protocol::dlms::client::{Client, Config, SHORT_NAMES};
use protocol::dlms::model::Attribute;
use protocol::dlms::security::{CounterBlock, Key, SystemTitle, hls};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of our challenge, where the mechanism does not want more. Green Book: 8 to 64.
const CHALLENGE_LEN: usize = 16;
/// How far a meter is believed about the counters that it has seen. What it says of them is not protected, so somebody on the
/// wire could use up all that there are by it; of such steps it takes four thousand. A gateway that was restored from an old
/// copy has a system title of its own and begins anew; the step covers fifty thousand sessions that were forgotten otherwise.
const COUNTER_STEP_MAX: u32 = 1 << 20;
/// The client gives up a little after the channel, which knows the wire's own time.
const CLIENT_GRACE: Duration = Duration::from_secs(1);

/// Everything needed to open an association with one meter.
pub(super) struct Dial<'a> {
    pub(super) context: &'a Context,
    pub(super) endpoint: &'a MeterEndpoint,
    pub(super) model: &'a DlmsModel,
    pub(super) addresses: Addresses,
    pub(super) carrier: Carrier,
    pub(super) place: Endpoint,
    pub(super) bytes: &'a Arc<ByteCounters>,
    /// The counter that the meter's last refusal said it expects.
    pub(super) expected_counter: Option<u32>,
}

/// What a stranger calls itself is shown to people: letters, digits and signs, and not more of them than any name has.
fn plain(bytes: &[u8]) -> String {
    let text = bytes.iter().take(NAME_MAX).filter(|byte| byte.is_ascii_graphic() || **byte == b' ');
    text.map(|byte| char::from(*byte)).collect::<String>().trim().to_owned()
}

/// What a meter tells a stranger, as the public client; each where it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub serial: Option<String>,
    pub device_name: Option<String>,
    pub firmware: Option<String>,
}

impl Dial<'_> {
    /// Opens pipe, link and association. A meter that does not answer to its keys may have taken new ones in a rotation that
    /// was cut: then those are tried, and put in force when they are right.
    pub(super) async fn associate(
        &mut self,
        pipe: &mut Option<Pipe>,
        counters: &mut CounterStore,
    ) -> Result<Association, Trouble> {
        let serial = &self.endpoint.serial;
        let keys = self.context.keys.dlms_keys(serial).map_err(not_ready)?;
        let trouble = match self.associate_with(pipe, counters, &keys).await {
            Err(trouble) if self.model.security.needs_keys() => trouble,
            outcome => return outcome,
        };
        if matches!(trouble, Trouble::NotReady(_) | Trouble::Open(_)) {
            return Err(trouble);
        }
        match self.context.keys.pending(serial).map_err(not_ready)? {
            // What the meter said about the keys in force says more than its silence to others.
            Some(pending) => self.prove(pipe, counters, &pending).await.map_err(|_| trouble),
            None => Err(trouble),
        }
    }

    /// Opens an association under new keys and puts them in force: the meter has shown that it has them.
    pub(super) async fn prove(
        &mut self,
        pipe: &mut Option<Pipe>,
        counters: &mut CounterStore,
        pending: &DlmsKeys,
    ) -> Result<Association, Trouble> {
        let association = self.associate_with(pipe, counters, pending).await?;
        let (keys, serial) = (self.context.keys.clone(), self.endpoint.serial.clone());
        // The vault writes a file.
        let finished = tokio::task::spawn_blocking(move || keys.finish_rotation(&serial)).await;
        finished.map_err(not_ready)?.map_err(not_ready)?;
        tracing::info!(meter = self.endpoint.serial.0, "the meter's new keys are proved and in force");
        Ok(association)
    }

    /// Opens pipe, link and association under these keys. When the meter refuses and has seen higher counters than ours, goes
    /// above them and tries once more.
    async fn associate_with(
        &mut self,
        pipe: &mut Option<Pipe>,
        counters: &mut CounterStore,
        keys: &DlmsKeys,
    ) -> Result<Association, Trouble> {
        let refused = match self.authenticated(pipe, counters, keys).await {
            Err(Trouble::Association(refused)) if self.model.security.is_ciphered() => refused,
            outcome => return outcome,
        };
        let ours = counters.next();
        let seen = match self.model.objects.invocation_counter {
            Some(object) => self.seen_counter(pipe, object).await.ok(),
            // Without such an object there is only what the refusal itself said.
            None => self.expected_counter.map(|expected| expected.saturating_sub(1)),
        };
        match seen {
            Some(seen) if seen.saturating_sub(ours) > COUNTER_STEP_MAX => Err(Trouble::Association(format!(
                "{refused}; the meter says that it has seen counter {seen}, ours is at {ours}: such a step is not believed \
                     from an answer without protection. If it is true, give the meter new keys: counters begin anew with them"
            ))),
            Some(seen) if seen >= ours => {
                tracing::info!(
                    meter = self.endpoint.serial.0,
                    seen,
                    ours,
                    "the meter has seen higher counters"
                );
                counters.raise(seen.saturating_add(1));
                self.authenticated(pipe, counters, keys).await
            }
            _ => Err(Trouble::Association(refused)),
        }
    }

    /// An association with the model's authentication and protection.
    async fn authenticated(
        &mut self,
        pipe: &mut Option<Pipe>,
        counters: &mut CounterStore,
        keys: &DlmsKeys,
    ) -> Result<Association, Trouble> {
        let config = self.config(counters, keys).await?;
        let block = match self.model.security.needs_keys() {
            // All our client addresses share one title, so they share one sequence of counters.
            true => counters.take(self.context, &self.endpoint.serial, self.model.client_sap).await?,
            false => CounterBlock::default(),
        };
        let mut association = self.link(pipe, config, block, self.addresses).await?;
        let challenge: [u8; hls::CHALLENGE_MAX] = random()?;
        let challenge = &challenge[..hls::challenge_min(self.model.security.mechanism).max(CHALLENGE_LEN)];
        let opened = match pipe {
            Some(pipe) => association.associate(pipe, challenge).await,
            None => Err(Trouble::NotReady("the pipe did not stay open".into())),
        };
        match opened {
            Ok(()) => Ok(association),
            Err(trouble) => {
                association.return_counters(counters);
                self.expected_counter = association.expected_counter();
                self.hang_up(&mut association, pipe).await;
                Err(trouble)
            }
        }
    }

    /// What the model says about authentication and protection, with the meter's keys.
    async fn config(&self, counters: &mut CounterStore, keys: &DlmsKeys) -> Result<Config, Trouble> {
        let (security, serial) = (&self.model.security, &self.endpoint.serial);
        let peer_counter = match security.is_ciphered() && !security.counters_restart {
            true => counters.heard(self.context, serial, keys.mark()).await?,
            false => None,
        };
        let dedicated_key = match (security.dedicated_key, security.policy.suite.key_len()) {
            (false, _) => None,
            (true, 32) => Some(Key::new_256(random()?)),
            (true, _) => Some(Key::new(random()?)),
        };
        Ok(Config {
            mechanism: security.mechanism,
            secret: keys.secret.clone(),
            signing_key: keys.signing.clone(),
            server_public_key: keys.meter_public.clone(),
            policy: security.policy.with_dedicated(security.dedicated_key),
            form: security.form,
            system_title: SystemTitle(self.context.system_title),
            encryption_key: keys.encryption.clone(),
            authentication_key: keys.authentication.clone(),
            dedicated_key,
            peer_counter,
            conformance: self.model.association.services,
            ..Config::default()
        })
    }

    /// Who is there, read without security.
    pub(super) async fn stranger(&mut self, pipe: &mut Option<Pipe>) -> Result<Told, Trouble> {
        let attributes = [
            data::VALUE.of(self.model.objects.serial),
            data::VALUE.of(obis::LOGICAL_DEVICE_NAME),
            data::VALUE.of(obis::FIRMWARE_VERSION),
        ];
        let answers = self.read_in_public(pipe, &attributes, "who is there").await?;
        let mut reader = Reader::new(&answers);
        let mut text = || match GetDataResult::decode(&mut reader) {
            Ok(GetDataResult::Data(data)) => data.as_bytes().map(plain),
            _ => None,
        };
        Ok(Told { serial: text(), device_name: text(), firmware: text() })
    }

    /// The invocation counter that the meter remembers of us, read without security.
    async fn seen_counter(&mut self, pipe: &mut Option<Pipe>, object: Obis) -> Result<u32, Trouble> {
        let at: Attr<u32> = Attr::new(data::CLASS, data::VALUE.index);
        let what = "the invocation counter";
        let answers = self.read_in_public(pipe, &[at.of(object)], what).await?;
        let broken = |error| Trouble::Protocol(format!("{what}: {error}"));
        match GetDataResult::decode(&mut Reader::new(&answers)).map_err(broken)? {
            GetDataResult::Data(data) => at.decode(data).map_err(broken),
            GetDataResult::Error(result) => {
                Err(Trouble::Refused { reason: format!("{what}: {result:?}"), code: Some(result.as_u8()) })
            }
        }
    }

    /// Attributes read by the public client without security: one encoded get-data-result after the other.
    async fn read_in_public(
        &mut self,
        pipe: &mut Option<Pipe>,
        attributes: &[Attribute],
        what: &str,
    ) -> Result<Vec<u8>, Trouble> {
        let addresses = Addresses { client: self.model.public_sap, ..self.addresses };
        let mut association = self.link(pipe, Config::default(), CounterBlock::default(), addresses).await?;
        let Some(open) = pipe.as_mut() else {
            return Err(Trouble::NotReady("the pipe did not stay open".into()));
        };
        let read = match association.associate(open, &[]).await {
            Ok(()) => association.get_all(open, attributes, what).await,
            Err(trouble) => Err(trouble),
        };
        // Whatever it said, it is not left with an open link; silence has nobody to take leave of.
        match &read {
            Ok(_) => association.release(open).await,
            Err(trouble) if trouble.breaks_pipe() => {}
            Err(_) => association.close(open).await,
        }
        if self.place.is_one_meters() {
            *pipe = None;
        }
        read
    }

    /// An open link with a client that has no association yet.
    async fn link(
        &mut self,
        pipe: &mut Option<Pipe>,
        mut config: Config,
        counters: CounterBlock,
        addresses: Addresses,
    ) -> Result<Association, Trouble> {
        let mut channel =
            Channel::new(addresses, self.carrier, self.model.response_timeout, &self.model.link);
        config.max_pdu = self.model.receive_pdu_max;
        config.send_pdu_max = self.model.send_pdu_max;
        if self.model.short_names.is_some() {
            config.referencing = Referencing::ShortName;
            config.conformance = SHORT_NAMES;
        }
        config.response_timeout = channel.patience() + CLIENT_GRACE;
        let pipe = opened(pipe, &self.place, self.bytes).await?;
        channel.open(pipe).await?;
        let tape = self.context.recordings.running(&self.endpoint.serial).map(|tape| {
            let security = self.model.security.describe();
            let Addresses { client, server, physical, .. } = addresses;
            let place = physical.map_or_else(String::new, |physical| format!("/{physical}"));
            tape.open(&format!("{:?}, client {client}, server {server}{place}; {security}", self.carrier));
            (tape, Keyring::new(&config))
        });
        let (manner, short_names) = (self.model.association, self.model.short_names.clone());
        Ok(Association::new(Client::new(config, counters), channel, manner, short_names, tape))
    }

    /// After a refusal: the link is closed, and a network connection with it.
    async fn hang_up(&mut self, association: &mut Association, pipe: &mut Option<Pipe>) {
        if let Some(open) = pipe {
            association.close(open).await;
        }
        if self.place.is_one_meters() {
            *pipe = None;
        }
    }
}

fn not_ready(error: impl std::fmt::Display) -> Trouble {
    Trouble::NotReady(error.to_string())
}

fn random<const N: usize>() -> Result<[u8; N], Trouble> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::NotReady(format!("no random numbers: {error}")))?;
    Ok(bytes)
}
