//! A client of one meter without a network between them: the project's own DLMS client and links, frame for frame, and a time
//! that passes by itself while it waits. The tests see faults through it, and training cases read meters with it.

use crate::identity::{SIGNING_CLIENT, SIGNING_CLIENT_KEY, StreetKeys};
use crate::meter::SimMeter;
use crate::session::{Framing, Session};
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, SliceWriter};
use protocol::codec::xdlms::SelectiveAccess;
use protocol::cosem::FromData;
use protocol::cosem::account::{self, AccountStatus, ModeAndStatus, PaymentMode};
use protocol::cosem::class::ToData;
use protocol::cosem::events::EventRow;
use protocol::cosem::image_transfer::{self, ImageBlock, ImageTransferInitiate, ImageTransferStatus};
use protocol::cosem::profile::{self, LoadRow};
use protocol::cosem::{obis, token_gateway};
use protocol::dlms::client::{self, Client, Config, Event, Outcome};
use protocol::dlms::model::{Attribute, Method};
use protocol::dlms::security::ecdsa::{Curve, PrivateKey};
use protocol::dlms::security::{CounterBlock, Key, SecurityPolicy, SecuritySuite, SystemTitle};
use protocol::link::hdlc::frame::Address;
use protocol::link::hdlc::{self, Hdlc};
use protocol::link::wrapper::{self, Wrapper};
use protocol::link::{AnyLink, Link};
use protocol::time::{Duration, Instant};
use std::sync::Arc;

const APDU_MAX: usize = 1024;
/// Most turns of waiting for one answer: a bound of ours, above all retransmissions of a link.
const TURNS_MAX: usize = 2_000;

/// How a request ended for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The association is open.
    Open,
    /// A value, in its A-XDR encoding.
    Value(Vec<u8>),
    /// Done.
    Done,
    /// Nothing done, or nobody knows.
    Failed(Outcome),
    /// No answer, and no time left to wait for one.
    Silence,
}

/// As whom the client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// Without any security.
    Public,
    /// With GMAC, to enter tokens and switch the relay.
    Vending,
    /// With GMAC, for everything.
    Management,
    /// With signatures (HLS 7, suite 1) and the keys of `simulator/README.md`.
    Signing,
}

impl As {
    const fn sap(self) -> u8 {
        match self {
            Self::Public => firmware::client::PUBLIC,
            Self::Vending => firmware::client::VENDING,
            Self::Management => firmware::client::MANAGEMENT,
            Self::Signing => firmware::client::ECDSA,
        }
    }
}

/// How the client that signs presents itself.
fn signing(keys: &StreetKeys) -> Config {
    let (encryption, authentication) = keys.exposed();
    let private = |number: &[u8]| PrivateKey::from_bytes(Curve::P256, number);
    Config {
        mechanism: AuthMechanism::HighEcdsa,
        policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite1),
        system_title: SystemTitle(SIGNING_CLIENT.client_title),
        signing_key: private(&SIGNING_CLIENT_KEY),
        server_public_key: private(&SIGNING_CLIENT.signing).map(|key| key.public_key()),
        encryption_key: Some(Key::new(encryption)),
        authentication_key: Some(Key::new(authentication)),
        max_pdu: APDU_MAX as u16,
        ..Config::default()
    }
}

/// A client on a connection of its own, and the time it believes in.
#[derive(Debug)]
pub struct MeterClient {
    /// Its time.
    pub now: Instant,
    link: AnyLink<Vec<u8>, Vec<u8>>,
    client: Client<APDU_MAX, 512>,
    session: Session,
    counters: u32,
}

impl MeterClient {
    /// Connects; `counters` is the first invocation counter it may use, of a hundred.
    #[must_use]
    pub fn connect(
        meter: &Arc<SimMeter>,
        framing: Framing,
        who: As,
        keys: &StreetKeys,
        counters: u32,
    ) -> Self {
        let now = Instant::ZERO;
        let buffer = || vec![0; APDU_MAX];
        let link = match framing {
            Framing::Wrapper => {
                let config = wrapper::Config::client(u16::from(who.sap()), 1);
                AnyLink::Wrapper(Wrapper::new(config, buffer(), buffer()))
            }
            Framing::Hdlc => {
                let config = hdlc::Config::client(who.sap(), Address::One(1));
                AnyLink::Hdlc(Hdlc::new(config, vec![0; 256], buffer(), buffer()))
            }
        };
        let config = match who {
            As::Public => Config { max_pdu: APDU_MAX as u16, ..Config::default() },
            As::Signing => signing(keys),
            As::Vending | As::Management => {
                let (encryption, authentication) = keys.exposed();
                Config {
                    mechanism: AuthMechanism::HighGmac,
                    policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0),
                    system_title: SystemTitle(*b"TILL\0\0\0\x01"),
                    encryption_key: Some(Key::new(encryption)),
                    authentication_key: Some(Key::new(authentication)),
                    max_pdu: APDU_MAX as u16,
                    ..Config::default()
                }
            }
        };
        let client = Client::new(config, CounterBlock::new(counters, 100));
        let session = Session::on_tcp(Arc::clone(meter), framing, now);
        let mut visitor = Self { now, link, client, session, counters };
        visitor.link.open(now);
        while visitor.carry() {}
        visitor
    }

    /// The first counter that nobody used after this client.
    #[must_use]
    pub fn next_counters(&self) -> u32 {
        self.counters + 100
    }

    /// Opens the association.
    pub fn associate(&mut self) -> End {
        match self.client.associate(self.now, &[7; 32]) {
            Ok(()) => self.wait(),
            Err(_) => End::Failed(Outcome::NotDone),
        }
    }

    /// Reads an attribute.
    pub fn get(&mut self, at: Attribute) -> End {
        self.get_selected(at, None)
    }

    /// Reads part of an attribute.
    pub fn get_selected(&mut self, at: Attribute, selection: Option<SelectiveAccess<'_>>) -> End {
        match self.client.get(self.now, at, selection) {
            Ok(()) => self.wait(),
            Err(_) => End::Failed(Outcome::NotDone),
        }
    }

    /// Invokes a method.
    pub fn action(&mut self, at: Method, parameter: Data<'_>) -> End {
        match self.client.action(self.now, at, Some(parameter)) {
            Ok(()) => self.wait(),
            Err(_) => End::Failed(Outcome::NotDone),
        }
    }

    /// Writes an attribute.
    pub fn set(&mut self, at: Attribute, value: Data<'_>) -> End {
        match self.client.set(self.now, at, None, value) {
            Ok(()) => self.wait(),
            Err(_) => End::Failed(Outcome::NotDone),
        }
    }

    /// Sets the payment mode of an active account.
    pub fn set_payment_mode(&mut self, mode: PaymentMode) -> End {
        let wanted = ModeAndStatus { payment_mode: mode, account_status: AccountStatus::Active };
        let mut bytes = [0; 16];
        let mut writer = SliceWriter::new(&mut bytes);
        let value =
            wanted.encode(&mut writer).ok().and_then(|()| Data::from_bytes_in(writer.as_slice()).ok());
        match value {
            Some(value) => self.set(account::MODE_AND_STATUS.of(obis::ACCOUNT), value),
            None => End::Failed(Outcome::NotDone),
        }
    }

    /// Carries a firmware image on from wherever its transfer is (class 18): begins, sends the blocks that are missing, has the
    /// image checked and activates it. Gives how the last request ended.
    pub fn carry_image_on(&mut self, name: &[u8], image: &[u8]) -> End {
        let status =
            |client: &mut Self| client.read(image_transfer::IMAGE_TRANSFER_STATUS.of(obis::IMAGE_TRANSFER));
        if matches!(
            status(self),
            Some(ImageTransferStatus::NotInitiated | ImageTransferStatus::ActivationFailed)
        ) {
            let image_size = u32::try_from(image.len()).unwrap_or(u32::MAX);
            let begin = ImageTransferInitiate { image_identifier: name, image_size };
            let end = self.invoke(image_transfer::IMAGE_TRANSFER_INITIATE.of(obis::IMAGE_TRANSFER), &begin);
            if end != End::Done {
                return end;
            }
        }
        let first_missing = image_transfer::IMAGE_FIRST_NOT_TRANSFERRED_BLOCK_NUMBER.of(obis::IMAGE_TRANSFER);
        let block_size = image_transfer::IMAGE_BLOCK_SIZE.of(obis::IMAGE_TRANSFER);
        let (Some(first), Some(size)) = (self.read::<u32>(first_missing), self.read::<u32>(block_size))
        else {
            return End::Failed(Outcome::NotDone);
        };
        for (number, bytes) in (0..).zip(image.chunks(size.max(1) as usize)).skip(first as usize) {
            let block = ImageBlock { image_block_number: number, image_block_value: bytes };
            let end = self.invoke(image_transfer::IMAGE_BLOCK_TRANSFER.of(obis::IMAGE_TRANSFER), &block);
            if end != End::Done {
                return end;
            }
        }
        for (from, method) in [
            (ImageTransferStatus::Initiated, image_transfer::IMAGE_VERIFY),
            (ImageTransferStatus::VerificationSuccessful, image_transfer::IMAGE_ACTIVATE),
        ] {
            if status(self) == Some(from) {
                let end = self.action(method.of(obis::IMAGE_TRANSFER), Data::Integer(0));
                if end != End::Done {
                    return end;
                }
            }
        }
        End::Done
    }

    /// Invokes a method with a parameter of its own type.
    fn invoke(&mut self, at: Method, parameter: &impl ToData) -> End {
        let mut bytes = [0; APDU_MAX];
        let mut writer = SliceWriter::new(&mut bytes);
        let put = parameter.put(&mut writer).ok();
        match put.and_then(|()| Data::from_bytes_in(writer.as_slice()).ok()) {
            Some(value) => self.action(at, value),
            None => End::Failed(Outcome::NotDone),
        }
    }

    /// Enters a token: its twenty digits.
    pub fn enter(&mut self, token: &str) -> End {
        let method = token_gateway::ENTER.of(obis::TOKEN_GATEWAY);
        self.action(method, Data::OctetString(token.as_bytes()))
    }

    /// Reads a value and decodes it; `None` when it cannot be read or is something else.
    pub fn read<T>(&mut self, at: Attribute) -> Option<T>
    where
        T: for<'a> FromData<'a>,
    {
        let End::Value(bytes) = self.get(at) else { return None };
        T::from_data(Data::from_bytes_in(&bytes).ok()?).ok()
    }

    /// Reads the rows of a profile's buffer.
    fn rows<T>(&mut self, at: Attribute) -> Option<Vec<T>>
    where
        T: for<'a> FromData<'a>,
    {
        let End::Value(bytes) = self.get(at) else { return None };
        let rows = Data::from_bytes_in(&bytes).ok()?.as_array()?;
        rows.iter().map(|row| T::from_data(row.ok()?).ok()).collect()
    }

    /// Reads the whole load profile.
    pub fn load_profile(&mut self) -> Option<Vec<LoadRow>> {
        self.rows(profile::BUFFER.of(obis::LOAD_PROFILE))
    }

    /// Reads the whole event log.
    pub fn event_log(&mut self) -> Option<Vec<EventRow>> {
        self.rows(profile::BUFFER.of(obis::EVENT_LOG))
    }

    /// Carries one frame to the meter and its answer back, or one APDU to the link. False when there is nothing to carry.
    /// What the client then has to tell is asked for before the next turn.
    fn carry(&mut self) -> bool {
        let mut wire = [0; APDU_MAX + 64];
        if let Some(length) = self.link.poll_transmit(self.now, &mut wire) {
            let outcome = self.session.handle_bytes(self.now, &wire[..length]);
            self.wait_out(outcome.delay);
            self.hear(&outcome.bytes);
            return true;
        }
        let Some(apdu) = self.client.poll_transmit() else { return false };
        // A link that takes no more loses it, as a wire would.
        let _ = self.link.send(self.now, apdu);
        true
    }

    /// Time passes before an answer comes: what is waited for may run out meanwhile.
    fn wait_out(&mut self, delay: Duration) {
        let until = self.now + delay;
        while let Some(next) = self.deadline().filter(|next| *next < until) {
            self.now = self.now.max(next);
            self.time_out();
        }
        self.now = until;
    }

    fn deadline(&self) -> Option<Instant> {
        [self.link.poll_timeout(), self.client.poll_timeout()].into_iter().flatten().min()
    }

    fn time_out(&mut self) {
        self.link.handle_timeout(self.now);
        self.hear(&[]);
        self.client.handle_timeout(self.now);
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        loop {
            let taken = self.link.handle_bytes(self.now, bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
            let mut apdus = Vec::new();
            let mut progress = taken > 0;
            while let Some(event) = self.link.poll_event() {
                progress = true;
                match event {
                    protocol::link::Event::Apdu(apdu) => apdus.push(apdu.to_vec()),
                    protocol::link::Event::Down(_) => self.client.link_down(),
                    _ => {}
                }
            }
            for apdu in &apdus {
                self.client.handle_bytes(self.now, apdu);
            }
            if bytes.is_empty() || !progress {
                return;
            }
        }
    }

    /// Lets bytes and time pass until the request has ended.
    fn wait(&mut self) -> End {
        let mut value = Vec::new();
        for _ in 0..TURNS_MAX {
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::Associated(_) => return End::Open,
                    Event::Value { bytes, last } => {
                        value.extend_from_slice(bytes);
                        if last {
                            return End::Value(value);
                        }
                    }
                    Event::Done => return End::Done,
                    Event::Failed(client::Failure { outcome, .. }) => return End::Failed(outcome),
                    _ => {}
                }
            }
            if self.carry() {
                continue;
            }
            let Some(next) = self.deadline() else { return End::Silence };
            self.now = self.now.max(next);
            self.time_out();
        }
        End::Silence
    }
}
