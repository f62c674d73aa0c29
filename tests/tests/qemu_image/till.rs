//! A vending client of our own engine on a TCP connection: the smallest thing that enters tokens and reads credit.

use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Decode, SliceWriter};
use protocol::codec::xdlms::SelectiveAccess;
use protocol::cosem::{credit, disconnect, obis, token_gateway};
use protocol::dlms::client::{Client, Config, Event};
use protocol::dlms::model::{Attribute, Method};
use protocol::dlms::security::{CounterBlock, Key, SecurityPolicy, SecuritySuite, SystemTitle};
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{self, Hdlc};
use protocol::link::{self, Link};
use protocol::time::Instant;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Client address of the vending association.
const VENDING: u8 = 18;
/// And of the management's.
pub const MANAGEMENT: u8 = 1;
/// One association of a till takes fewer than this many counters; a management's, which sends firmware, has far more.
const COUNTERS: u32 = 100;
const MANAGEMENT_COUNTERS: u32 = 10_000;

/// A connection to one of the emulator's serial lines.
pub fn connect(port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// It was carried out; what it returned.
    Done(Vec<u8>),
    /// It was refused, or its answer did not come.
    Failed(String),
}

/// A connection with an association.
pub struct Till {
    stream: TcpStream,
    began: std::time::Instant,
    link: Hdlc<Vec<u8>, Vec<u8>>,
    client: Client<512, 256>,
}

impl Till {
    /// Connects and associates. `visit` counts the connections to this meter: each takes counters of its own.
    pub fn open(port: u16, visit: u32) -> Result<Self, String> {
        Self::over(connect(port)?, VENDING, CounterBlock::new(visit * COUNTERS + 1, COUNTERS))
    }

    /// The same as management, with a system title of its own.
    pub fn manage(port: u16, visit: u32) -> Result<Self, String> {
        let counters = CounterBlock::new(visit * MANAGEMENT_COUNTERS + 1, MANAGEMENT_COUNTERS);
        Self::over(connect(port)?, MANAGEMENT, counters)
    }

    /// Over a connection that is ready for HDLC.
    pub fn over(stream: TcpStream, client: u8, counters: CounterBlock) -> Result<Self, String> {
        let title = if client == MANAGEMENT { *b"HOME\0\0\0\x01" } else { *b"TILL\0\0\0\x01" };
        let config = Config {
            mechanism: AuthMechanism::HighGmac,
            policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0),
            system_title: SystemTitle(title),
            encryption_key: Some(Key::new(std::array::from_fn(|i| i as u8))),
            authentication_key: Some(Key::new(std::array::from_fn(|i| 0xD0 + i as u8))),
            max_pdu: 512,
            // A slow machine emulates slowly, and the check of an image is the longest answer.
            response_timeout: Duration::from_secs(90),
            ..Config::default()
        };
        // As patient as the client above: nothing is lost on this line, and what is late comes.
        let station = hdlc::Config {
            response_timeout: Duration::from_secs(90),
            poll_patience: Duration::from_secs(90),
            inter_octet_timeout: Duration::from_secs(30),
            ..hdlc::Config::client(client, Address::One(1))
        };
        let link = Hdlc::new(station, vec![0; 256], vec![0; 512], vec![0; 512]);
        let client = Client::new(config, counters);
        let mut till = Self { stream, began: std::time::Instant::now(), link, client };
        let now = till.now();
        till.link.open(now);
        till.client.associate(now, &[7; 16]).map_err(|error| format!("{error:?}"))?;
        match till.wait() {
            End::Done(_) => Ok(till),
            End::Failed(why) => Err(why),
        }
    }

    /// Sends a token and does not wait for what becomes of it.
    pub fn send_token(&mut self, token: &str) {
        let now = self.now();
        let method = token_gateway::ENTER.of(obis::TOKEN_GATEWAY);
        self.client
            .action(now, method, Some(Data::OctetString(token.as_bytes())))
            .expect("the association is open");
        self.carry();
    }

    /// Waits for the answer to [`Till::send_token`].
    pub fn enter(&mut self, token: &str) -> End {
        self.send_token(token);
        self.wait()
    }

    /// Credit in the meter, in watt-hours.
    pub fn credit_wh(&mut self) -> Result<i64, String> {
        let now = self.now();
        self.client
            .get(now, credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT), None)
            .map_err(|error| format!("{error:?}"))?;
        match self.wait() {
            End::Done(bytes) => {
                let value = Data::from_bytes(&bytes).ok().and_then(|data| data.as_i64());
                value.ok_or_else(|| "credit is no number".into())
            }
            End::Failed(why) => Err(why),
        }
    }

    /// Reads a whole profile; how many bytes it took.
    pub fn profile_bytes(&mut self) -> Result<usize, String> {
        let now = self.now();
        let at = protocol::cosem::profile::BUFFER.of(obis::LOAD_PROFILE);
        self.client.get(now, at, None).map_err(|error| format!("{error:?}"))?;
        match self.wait() {
            End::Done(bytes) => Ok(bytes.len()),
            End::Failed(why) => Err(why),
        }
    }

    /// Invokes a method with a parameter that `put` writes.
    pub fn invoke(&mut self, method: Method, put: impl FnOnce(&mut SliceWriter<'_>)) -> End {
        let mut parameter = [0; 400];
        let mut w = SliceWriter::new(&mut parameter);
        put(&mut w);
        let now = self.now();
        let data = Data::from_bytes(w.as_slice()).expect("a value");
        self.client.action(now, method, Some(data)).expect("the association is open");
        self.wait()
    }

    /// Reads an attribute, or what a selection takes out of it.
    pub fn read(&mut self, at: Attribute, selection: Option<SelectiveAccess<'_>>) -> End {
        let now = self.now();
        match self.client.get(now, at, selection) {
            Ok(()) => self.wait(),
            Err(error) => End::Failed(format!("{error:?}")),
        }
    }

    /// Opens or closes the relay.
    pub fn switch(&mut self, close: bool) -> End {
        let now = self.now();
        let method = if close { disconnect::REMOTE_RECONNECT } else { disconnect::REMOTE_DISCONNECT };
        let method: Method = method.of(obis::DISCONNECT);
        self.client.action(now, method, Some(Data::Integer(0))).expect("the association is open");
        self.wait()
    }

    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Sends what link and client have to send.
    fn carry(&mut self) {
        let now = self.now();
        let mut wire = [0; 512];
        loop {
            let mut any = false;
            while let Some(length) = self.link.poll_transmit(now, &mut wire) {
                any = true;
                // A meter that is gone is noticed when its answer does not come.
                let _ = self.stream.write_all(&wire[..length]);
            }
            if self.link.is_up()
                && let Some(apdu) = self.client.poll_transmit()
            {
                any = true;
                let _ = self.link.send(now, apdu);
            }
            if !any {
                return;
            }
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        let now = self.now();
        loop {
            let taken = self.link.handle_bytes(now, bytes);
            bytes = &bytes[taken..];
            let mut progress = taken > 0;
            while let Some(event) = self.link.poll_event() {
                progress = true;
                match event {
                    link::Event::Apdu(apdu) => self.client.handle_bytes(now, apdu),
                    link::Event::Down(_) => self.client.link_down(),
                    _ => {}
                }
            }
            if bytes.is_empty() || !progress {
                return;
            }
        }
    }

    fn wait(&mut self) -> End {
        let asked = std::time::Instant::now();
        let mut value = Vec::new();
        loop {
            self.carry();
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::Associated(_) | Event::Done => return End::Done(value),
                    Event::Value { bytes, last } => {
                        value.extend_from_slice(bytes);
                        if last {
                            return End::Done(value);
                        }
                    }
                    Event::Failed(failure) => return End::Failed(format!("{failure:?}")),
                    _ => {}
                }
            }
            if asked.elapsed() > Duration::from_secs(120) {
                return End::Failed("two minutes have passed".into());
            }
            self.carry();
            self.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
            let mut buffer = [0; 512];
            match self.stream.read(&mut buffer) {
                Ok(0) => return End::Failed("the connection ended".into()),
                Ok(taken) => self.hear(&buffer[..taken]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let now = self.now();
                    self.link.handle_timeout(now);
                    self.hear(&[]);
                    self.client.handle_timeout(now);
                }
                Err(error) => return End::Failed(error.to_string()),
            }
        }
    }
}
