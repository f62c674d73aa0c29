//! One APDU that came unasked: whose it is, whether it is believed, and what it says.

use crate::session::counters::Counters;
use crate::session::directory::{Directory, Endpoint};
use crate::session::meter_keys::MeterKeys;
use crate::session::model::{DlmsModel, Model, Models, PushField};
use crate::session::work::Serial;
use crate::vault::{DlmsKeys, KeyMark};
use jiff::Timestamp;
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::xdlms::LongInvokeId;
use protocol::cosem::FromData;
use protocol::cosem::events::Event as MeterEvent;
use protocol::dlms::LONG_INVOKE_ID_CONFIRMED;
use protocol::dlms::client::{Client, Config, Event};
use protocol::dlms::security::frame::Sealed;
use protocol::dlms::security::{CounterBlock, SystemTitle};
use protocol::time::Instant;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// The largest notification taken, in bytes.
pub const APDU_MAX: usize = 2_048;
/// What outlives one APDU of ours: a confirmation is a few bytes.
const LONG: usize = 64;
/// The most bytes of a notification's body that are kept where nothing better is known of it.
const BODY_SHOWN: usize = 512;

/// What is needed to judge.
#[derive(Clone)]
pub struct Judge {
    /// Where meters are.
    pub directory: Directory,
    /// How they speak.
    pub models: Models,
    /// Their keys.
    pub keys: Arc<dyn MeterKeys>,
    /// Their counters, and ours.
    pub counters: Arc<dyn Counters>,
    /// This gateway's.
    pub system_title: [u8; 8],
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

/// Why a notification is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No meter has this system title or this address.
    #[error("its sender is not known")]
    Unknown,
    /// It is not protected, and the meter's APDUs are.
    #[error("meter {0} protects what it says, and this is in the clear")]
    InTheClear(String),
    /// It does not open under the meter's keys, or was sent before.
    #[error("meter {serial}: {why}")]
    NotAuthentic {
        /// Whose it pretends to be.
        serial: String,
        /// In words.
        why: String,
    },
    /// It is no notification.
    #[error("it is no notification")]
    NoNotification,
    /// Keys or counters are not to be had here.
    #[error("{0}")]
    NotReady(String),
}

/// A notification that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Whose it is.
    pub serial: Serial,
    /// What it says: fields of an event.
    pub detail: Value,
    /// The event it tells of, where the model says which field names it.
    pub event: Option<MeterEvent>,
    /// The counter that it was protected with, under these keys.
    pub counter: Option<(KeyMark, u32)>,
    /// The APDU that says that it was taken, where the meter asks for that.
    pub answer: Option<Vec<u8>>,
}

impl Judge {
    /// Judges one APDU from this address.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn judge(&self, from: IpAddr, apdu: &[u8]) -> Result<Taken, Refused> {
        let sealed = Sealed::parse(apdu).map_err(|_| Refused::NoNotification)?;
        let title: Option<[u8; 8]> = sealed.and_then(|sealed| sealed.title?.try_into().ok());
        let by_title = title.and_then(|title| self.directory.of_title(title));
        let endpoint = by_title.or_else(|| self.directory.at(from)).ok_or(Refused::Unknown)?;
        let model = self.models.find(&endpoint.model);
        let Some(Model::Dlms(model)) = model.as_deref() else { return Err(Refused::Unknown) };
        if sealed.is_none() && model.security.is_ciphered() {
            return Err(Refused::InTheClear(endpoint.serial.0));
        }
        let title = title.or_else(|| self.directory.title_of(&endpoint.serial));
        let keys = self.keys.dlms_keys(&endpoint.serial).map_err(not_ready)?;
        match self.open(&endpoint, model, &keys, title, apdu).await {
            // A meter whose key rotation was cut may have the new ones already.
            Err(refused @ Refused::NotAuthentic { .. }) => {
                match self.keys.pending(&endpoint.serial).map_err(not_ready)? {
                    Some(pending) => self.open(&endpoint, model, &pending, title, apdu).await,
                    None => Err(refused),
                }
            }
            judged => judged,
        }
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        model: &DlmsModel,
        keys: &DlmsKeys,
        title: Option<[u8; 8]>,
        apdu: &[u8],
    ) -> Result<Taken, Refused> {
        let serial = &endpoint.serial;
        let ciphered = model.security.is_ciphered();
        let mark = push_mark(keys);
        let peer_counter = match ciphered {
            true => self.counters.heard(serial, mark).await.map_err(Refused::NotReady)?,
            false => None,
        };
        let config = Config {
            mechanism: AuthMechanism::None,
            policy: model.security.policy,
            form: model.security.form,
            system_title: SystemTitle(self.system_title),
            server_title: title.map(SystemTitle),
            encryption_key: keys.encryption.clone(),
            authentication_key: keys.authentication.clone(),
            peer_counter,
            ..Config::default()
        };
        let services = config.conformance;
        let mut client: Box<Client<APDU_MAX, LONG>> = Box::new(Client::new(config, CounterBlock::default()));
        client.pre_established(services, 0).map_err(|_| {
            Refused::NotReady(format!("meter {}: neither its title nor its keys are known", serial.0))
        })?;
        let not_authentic = |why: String| Refused::NotAuthentic { serial: serial.0.clone(), why };
        client.handle_bytes(Instant::ZERO, apdu);
        let ((detail, event), confirm, protected) = match client.poll_event() {
            Some(Event::Notification { notification, protected }) => {
                let id = notification.long_invoke_id;
                let confirm = (id.0 & LONG_INVOKE_ID_CONFIRMED != 0).then_some(id);
                (said(model, notification.body), confirm, protected)
            }
            Some(Event::EventNotification { notification, protected }) => {
                let at = notification.descriptor;
                let detail = json!({
                    "attribute": format!("{}/{}", at.instance_id, at.attribute_id), "class": at.class_id,
                    "value": shown(&notification.value),
                });
                ((detail, None), None, protected)
            }
            Some(Event::Alarm(refusal)) => return Err(not_authentic(format!("{refusal:?}"))),
            _ => return Err(Refused::NoNotification),
        };
        if ciphered && !protected {
            return Err(Refused::InTheClear(serial.0.clone()));
        }
        let counter = client.peer_counter().filter(|_| ciphered).map(|counter| (mark, counter));
        let answer = match confirm {
            Some(id) => Some(self.confirmation(&mut client, endpoint, model, id).await?),
            None => None,
        };
        Ok(Taken { serial: serial.clone(), detail, event, counter, answer })
    }

    /// The APDU that confirms; the caller sends it when what was said is safe.
    async fn confirmation(
        &self,
        client: &mut Client<APDU_MAX, LONG>,
        endpoint: &Endpoint,
        model: &DlmsModel,
        id: LongInvokeId,
    ) -> Result<Vec<u8>, Refused> {
        if model.security.is_ciphered() {
            let block = self.counters.reserve(&endpoint.serial, model.client_sap, 1, 1).await;
            let block = block.map_err(Refused::NotReady)?;
            client.add_counters(CounterBlock::new(block.start, block.end - block.start));
        }
        client.confirm(id).map_err(|error| Refused::NotReady(format!("no confirmation: {error}")))?;
        Ok(client.poll_transmit().unwrap_or_default().to_vec())
    }
}

fn not_ready(error: impl std::fmt::Display) -> Refused {
    Refused::NotReady(error.to_string())
}

/// Counters of notifications are followed by themselves: a meter sends them on connections of their own, and one that was sent
/// before an answer may come after it.
fn push_mark(keys: &DlmsKeys) -> KeyMark {
    let mut mark = keys.mark();
    for (byte, word) in mark.0.iter_mut().zip(*b"notifies") {
        *byte ^= word;
    }
    mark
}

/// What a notification's body says, by the model's list of its fields, and the event it tells of; as bytes where there is none or
/// it does not fit.
fn said(model: &DlmsModel, body: Data<'_>) -> (Value, Option<MeterEvent>) {
    let fields = &model.push_fields;
    let Some(cells) = body.as_structure().filter(|cells| !fields.is_empty() && cells.len() == fields.len())
    else {
        return (json!({"body": shown(&body)}), None);
    };
    let mut told = None;
    let mut detail = serde_json::Map::new();
    for (cell, field) in cells.iter().zip(fields) {
        let Ok(cell) = cell else { return (json!({"body": shown(&body)}), None) };
        match field {
            PushField::DeviceName => {
                let name = cell.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                detail.insert("device".into(), json!(name));
            }
            PushField::Time => {
                let time = DateTime::from_data(cell).ok();
                let near = Timestamp::now();
                let second = time.and_then(|time| model.clock.from_meter(time, near));
                let at = second.and_then(|second| Timestamp::from_second(second).ok());
                detail.insert("meter_at".into(), json!(at));
            }
            PushField::EventCode => {
                let code = cell.as_u64();
                let event = code.and_then(|code| u8::try_from(code).ok()).and_then(MeterEvent::from_u8);
                detail.insert("code".into(), json!(code));
                detail.insert("event".into(), json!(event.map(|event| format!("{event:?}"))));
                detail.insert("text".into(), json!(event.map(MeterEvent::text)));
                told = event;
            }
            PushField::EventDetail => {
                detail.insert("detail".into(), json!(cell.as_i64()));
            }
            PushField::Other => {}
        }
    }
    (Value::Object(detail), told)
}

/// A value as text, no longer than it need be.
fn shown(value: &Data<'_>) -> String {
    let mut text = format!("{value:?}");
    let mut end = text.len().min(BODY_SHOWN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
