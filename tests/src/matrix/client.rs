//! Our client on a TCP connection: one request at a time, each to its end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Decode, Encode, SliceWriter};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{Conformance, ExceptionResponse, GetDataResult, List, SelectiveAccess};
use protocol::dlms::client::{Client, Config, Error, Event, IMPLEMENTED};
use protocol::dlms::model::{Attribute, Method};
use protocol::dlms::security::{CounterBlock, Form, Key, Secret, SecurityPolicy, SecuritySuite, SystemTitle};
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{self, Hdlc};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{AnyLink, Link};
use protocol::time::Instant;

use super::Way;
use super::meter::SECRET;
use super::operations::Conversation;

/// How long one answer may take: the meter is Python.
const ANSWER: Duration = Duration::from_secs(20);
/// Our end's APDU buffer.
const APDU: usize = 1024;
/// Keys of the Green Book's examples, as the foreign meter has them.
pub(super) const KEYS: [[u8; 16]; 2] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF],
];

/// What a request came to, or why it did not.
pub type Done<T> = Result<T, String>;

/// How to associate with this way: our side of it.
#[must_use]
pub fn config(way: &Way, title: SystemTitle) -> Config {
    let dedicated = way.protection.ends_with("ded");
    let general = way.protection.starts_with("general");
    let [encryption, authentication] = KEYS;
    let both = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0).with_dedicated(dedicated);
    Config {
        mechanism: AuthMechanism::from_arc(way.mechanism),
        secret: Secret::new(SECRET).ok(),
        policy: if way.protection == "plain" { SecurityPolicy::NONE } else { both },
        form: match way.protection {
            "general-ciphering" => Form::General,
            _ if general => Form::GeneralGlo,
            _ => Form::Glo,
        },
        system_title: title,
        encryption_key: Some(Key::new(encryption)),
        authentication_key: Some(Key::new(authentication)),
        dedicated_key: dedicated.then(|| Key::new([0x5A; 16])),
        response_timeout: ANSWER,
        ..Config::default()
    }
}

/// A client and its connection.
#[derive(Debug)]
pub struct OurClient {
    client: Box<Client<APDU, 4096>>,
    link: AnyLink<Vec<u8>, Vec<u8>>,
    stream: TcpStream,
    began: std::time::Instant,
    /// Notifications that came meanwhile: their bodies, and whether they were protected.
    pushed: Vec<(Vec<u8>, bool)>,
    /// Received and not taken yet.
    input: Vec<u8>,
    protected: bool,
    conformance: Conformance,
    /// The last exception-response.
    exception: Option<ExceptionResponse>,
}

impl OurClient {
    /// Connects and associates as `sap`.
    ///
    /// # Errors
    /// What the meter or the wire said.
    pub fn open(port: u16, framing: &str, sap: u8, config: Config, first_counter: u32) -> Done<Self> {
        let mut this = Self::connect(port, framing, sap, config, first_counter)?;
        this.associate()?;
        Ok(this)
    }

    /// Connects, and associates with a counter that was used before: the exception that comes.
    ///
    /// # Errors
    /// What the wire said.
    pub fn refused(port: u16, framing: &str, sap: u8, config: Config) -> Done<Option<ExceptionResponse>> {
        let mut this = Self::connect(port, framing, sap, config, 1)?;
        let _ = this.associate();
        Ok(this.exception)
    }

    /// Connects and takes the association for open.
    ///
    /// # Errors
    /// What the meter or the wire said.
    pub fn without_aarq(port: u16, framing: &str, sap: u8, config: Config, first_counter: u32) -> Done<Self> {
        let mut this = Self::connect(port, framing, sap, config, first_counter)?;
        this.client.pre_established(IMPLEMENTED, APDU as u16).map_err(|e| e.to_string())?;
        Ok(this)
    }

    /// Reads with a counter that was used before, and judges the exception that comes. No other request can follow.
    ///
    /// # Errors
    /// What was said instead.
    pub fn used_counter(&mut self) -> Done<()> {
        self.client.add_counters(CounterBlock::new(1, 1));
        let name = protocol::cosem::obis::LOGICAL_DEVICE_NAME;
        let _ = self.get(Attribute { class_id: 1, logical_name: name, index: 2 }, None);
        super::aside::judge(self.exception, true)
    }

    fn associate(&mut self) -> Done<()> {
        let now = self.now();
        self.client.associate(now, b"a challenge of 24 bytes!").map_err(|e| e.to_string())?;
        self.run().map(drop)
    }

    /// Whether the meter agreed to these services.
    #[must_use]
    pub fn agreed(&self, services: Conformance) -> bool {
        self.conformance.contains(services)
    }

    /// The last exception-response that ended a request.
    #[must_use]
    pub const fn exception(&self) -> Option<ExceptionResponse> {
        self.exception
    }

    fn connect(port: u16, framing: &str, sap: u8, config: Config, first_counter: u32) -> Done<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(Duration::from_millis(50))).map_err(|e| e.to_string())?;
        let apdu = || vec![0; APDU];
        let link = if framing == "hdlc" {
            let config = hdlc::Config::client(sap, Address::One(1)).over_tcp();
            AnyLink::Hdlc(Hdlc::new(config, vec![0; 256], apdu(), apdu()))
        } else {
            AnyLink::Wrapper(Wrapper::new(wrapper::Config::client(u16::from(sap), 1), apdu(), apdu()))
        };
        let protected = !config.policy.is_none();
        let client = Box::new(Client::new(config, CounterBlock::new(first_counter, 1_000_000)));
        let began = std::time::Instant::now();
        let mut this = Self {
            client,
            link,
            stream,
            began,
            pushed: Vec::new(),
            input: Vec::new(),
            protected,
            conformance: Conformance::empty(),
            exception: None,
        };
        this.link.open(this.now());
        Ok(this)
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.began.elapsed().as_millis() as u64)
    }

    /// Carries the request under way to its end: the value's bytes, if it has one.
    fn run(&mut self) -> Done<Vec<u8>> {
        let mut value = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.client.poll_event() {
                None => {}
                Some(Event::Value { bytes, last }) => {
                    value.extend_from_slice(bytes);
                    if last {
                        return Ok(value);
                    }
                    continue;
                }
                Some(Event::Associated(agreed)) => {
                    self.conformance = agreed.conformance;
                    return Ok(value);
                }
                Some(Event::Done | Event::Released) => return Ok(value),
                Some(Event::Failed(failure)) => {
                    if let Error::Exception { response, .. } = failure.error {
                        self.exception = Some(response);
                    }
                    return Err(failure.error.to_string());
                }
                Some(Event::Notification { notification, protected }) => {
                    let mut body = [0; APDU];
                    let mut writer = SliceWriter::new(&mut body);
                    notification.body.encode(&mut writer).map_err(|e| e.to_string())?;
                    self.pushed.push((writer.as_slice().to_vec(), protected));
                    continue;
                }
                Some(other) => return Err(format!("{other:?}")),
            }
            if self.hear() {
                continue;
            }
            self.transmit()?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the meter closed the connection".into()),
                Ok(taken) => self.input.extend_from_slice(&buffer[..taken]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let now = self.now();
                    self.link.handle_timeout(now);
                    self.client.handle_timeout(now);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Takes one step of what was received; false when nothing is left to take.
    fn hear(&mut self) -> bool {
        let now = self.now();
        match self.link.poll_event() {
            // A push on HDLC comes outside the connection.
            Some(protocol::link::Event::Apdu(apdu) | protocol::link::Event::Unconfirmed(apdu)) => {
                self.client.handle_bytes(now, apdu);
            }
            Some(protocol::link::Event::Down(_)) => self.client.link_down(),
            Some(_) => {}
            None => {
                let used = self.link.handle_bytes(now, &self.input);
                self.input.drain(..used);
                return used > 0;
            }
        }
        true
    }

    fn transmit(&mut self) -> Done<()> {
        let mut wire = [0; APDU + 16];
        let now = self.now();
        if self.link.is_up()
            && let Some(apdu) = self.client.poll_transmit()
            && self.link.send(now, apdu).is_err()
        {
            self.client.not_sent();
        }
        while let Some(length) = self.link.poll_transmit(now, &mut wire) {
            self.stream.write_all(&wire[..length]).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Reads by short name.
    ///
    /// # Errors
    /// What the meter or the wire said.
    pub fn read(&mut self, name: u16) -> Done<Vec<u8>> {
        let now = self.now();
        self.client.read(now, name, None).map_err(|e| e.to_string())?;
        self.run()
    }

    /// Reads several attributes by short name: the encoded list of results.
    ///
    /// # Errors
    /// What the meter or the wire said.
    pub fn read_list(&mut self, names: &[u16]) -> Done<Vec<u8>> {
        let now = self.now();
        self.client.read_list(now, names).map_err(|e| e.to_string())?;
        self.run()
    }

    /// Writes an octet-string by short name.
    ///
    /// # Errors
    /// What the meter or the wire said.
    pub fn write(&mut self, name: u16, octets: &[u8]) -> Done<()> {
        let now = self.now();
        self.client.write(now, name, Data::OctetString(octets)).map_err(|e| e.to_string())?;
        self.run().map(drop)
    }

    /// Releases the association.
    ///
    /// # Errors
    /// What the meter or the wire said.
    pub fn release(mut self) -> Done<()> {
        let now = self.now();
        self.client.release(now).map_err(|e| e.to_string())?;
        self.run().map(drop)
    }
}

impl Conversation for OurClient {
    fn get(&mut self, at: Attribute, selection: Option<SelectiveAccess<'_>>) -> Done<Vec<u8>> {
        let now = self.now();
        self.client.get(now, at, selection).map_err(|e| e.to_string())?;
        self.run()
    }

    fn get_list(&mut self, items: &[Attribute]) -> Done<usize> {
        let now = self.now();
        let items: Vec<_> = items.iter().map(|at| (*at, None)).collect();
        self.client.get_list(now, &items).map_err(|e| e.to_string())?;
        let bytes = self.run()?;
        let list: List<'_, GetDataResult<'_>> = List::from_bytes(&bytes).map_err(|e| e.to_string())?;
        Ok(list.iter().filter(|item| matches!(item, Ok(GetDataResult::Data(_)))).count())
    }

    fn set(&mut self, at: Attribute, octets: &[u8]) -> Done<()> {
        let now = self.now();
        self.client.set(now, at, None, Data::OctetString(octets)).map_err(|e| e.to_string())?;
        self.run().map(drop)
    }

    fn action(&mut self, class_id: u16, logical_name: Obis, index: i8, parameter: Data<'_>) -> Done<()> {
        let now = self.now();
        let at = Method { class_id, logical_name, index };
        self.client.action(now, at, Some(parameter)).map_err(|e| e.to_string())?;
        self.run().map(drop)
    }

    fn pushed(&mut self) -> Option<(Vec<u8>, bool)> {
        (!self.pushed.is_empty()).then(|| self.pushed.remove(0))
    }

    fn is_protected(&self) -> bool {
        self.protected
    }
}
