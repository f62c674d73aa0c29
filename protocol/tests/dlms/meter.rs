//! A small meter for the engines' tests, and a pair of engines on a pipe.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Decode, Encode, Writer};
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, Conformance, DataAccessResult, SelectiveAccess};
use protocol::dlms::client::{Client, Config, Event, Failure};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};
use protocol::dlms::security::{
    CounterBlock, Form, Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, SystemTitle, ecdsa,
};
use protocol::dlms::server::{Association, Custody, Peer, PreEstablished, Server};
use protocol::time::Instant;

pub const EK: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
pub const AK: [u8; 16] =
    [0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF];
pub const METER_TITLE: SystemTitle = SystemTitle(*b"MGW\0\0\0\0\x01");
pub const CLIENT_TITLE: SystemTitle = SystemTitle(*b"MDMHES01");

pub const NAME: Attribute = Attribute { class_id: 1, logical_name: Obis::new(0, 0, 42, 0, 0, 255), index: 2 };
pub const NOTE: Attribute = Attribute { class_id: 1, logical_name: Obis::new(0, 0, 96, 1, 0, 255), index: 2 };
pub const PROFILE: Attribute =
    Attribute { class_id: 7, logical_name: Obis::new(1, 0, 99, 1, 0, 255), index: 2 };
/// The note, for those who sign.
pub const SEALED: Attribute =
    Attribute { class_id: 1, logical_name: Obis::new(0, 0, 96, 3, 0, 255), index: 2 };
/// How often the method COUNT ran.
pub const COUNTED: Attribute =
    Attribute { class_id: 1, logical_name: Obis::new(0, 0, 96, 2, 0, 255), index: 2 };
pub const NOTHING: Attribute = Attribute { class_id: 3, logical_name: Obis::new(1, 1, 1, 1, 1, 1), index: 2 };
pub const COUNT: Method = Method { class_id: 9, logical_name: Obis::new(0, 0, 10, 0, 0, 255), index: 1 };
pub const ECHO: Method = Method { class_id: 9, logical_name: Obis::new(0, 0, 10, 0, 0, 255), index: 2 };

pub const PUBLIC: u8 = 16;
pub const READER: u8 = 17;
pub const VENDING: u8 = 18;
/// GMAC without ciphering.
pub const GMAC_PLAIN: u8 = 19;

/// Private key that this meter signs with, on any curve.
pub const METER_SIGNS: u8 = 0x31;
/// Private key that the client signs with.
pub const CLIENT_SIGNS: u8 = 0x57;

/// Private key that this meter agrees on keys with.
pub const METER_AGREES: u8 = 0x35;
/// Private key that the client agrees on keys with.
pub const CLIENT_AGREES: u8 = 0x59;
/// The key that many have.
pub const BROADCAST_KEY: [u8; 16] = [0xBC; 16];
/// Master key.
pub const MASTER_KEY: [u8; 16] = [0x4D; 16];

/// The signing key whose number is `byte` over and over.
pub fn signing_key(suite: SecuritySuite, byte: u8) -> Option<ecdsa::PrivateKey> {
    let curve = ecdsa::Curve::of_suite(suite)?;
    ecdsa::PrivateKey::from_bytes(curve, &vec![byte; curve.field_len()])
}

/// Base of the client addresses whose association asks for HLS mechanism `sap - HLS`.
pub const HLS: u8 = 64;

/// The name that [`Meter::shelf`] has, whatever its class.
pub const SHELF: Obis = Obis::new(0, 0, 44, 0, 0, 255);

/// An object of a typed class, served through that class's dispatch.
pub trait Served {
    fn get(&mut self, index: i8, piece: u32, out: &mut dyn Writer) -> Result<Piece, DataAccessResult>;
    fn set(&mut self, index: i8, value: Data<'_>) -> Result<(), DataAccessResult>;
    fn invoke(&mut self, index: i8, parameter: Data<'_>) -> Result<(), ActionResult>;
}

/// Serves a type through the dispatch of its class's module.
macro_rules! served {
    ($type:ty, $class:ident) => {
        impl crate::meter::Served for $type {
            fn get(
                &mut self,
                index: i8,
                piece: u32,
                out: &mut dyn protocol::codec::codec::Writer,
            ) -> Result<protocol::dlms::model::Piece, protocol::codec::xdlms::DataAccessResult> {
                protocol::cosem::$class::get(self, index, piece, out)
            }
            fn set(
                &mut self,
                index: i8,
                value: protocol::codec::axdr::Data<'_>,
            ) -> Result<(), protocol::codec::xdlms::DataAccessResult> {
                protocol::cosem::$class::set(self, index, value)
            }
            fn invoke(
                &mut self,
                index: i8,
                parameter: protocol::codec::axdr::Data<'_>,
            ) -> Result<(), protocol::codec::xdlms::ActionResult> {
                protocol::cosem::$class::invoke(self, index, parameter)
            }
        }
    };
}
pub(crate) use served;

/// Objects, and everything that survives the engine.
pub struct Meter {
    /// A client that needs no AARQ.
    pub pre_established: Option<PreEstablished>,
    /// One object of a class under test.
    pub shelf: Option<Box<dyn Served>>,
    pub note: Vec<u8>,
    pub rows: u32,
    /// How often the method COUNT ran.
    pub count: u32,
    pub counter: u32,
    pub seen: BTreeMap<[u8; 8], u32>,
    /// The client's key for agreement is not known.
    pub forgetful: bool,
    /// Counters that were heard cannot be stored.
    pub storage_fails: bool,
    pub random: u8,
    pub policy: SecurityPolicy,
    /// How the vending client proves who it is.
    pub vending: AuthMechanism,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            pre_established: None,
            shelf: None,
            note: b"hello".to_vec(),
            rows: 0,
            count: 0,
            counter: 0,
            seen: BTreeMap::new(),
            storage_fails: false,
            forgetful: false,
            random: 0,
            policy: SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0),
            vending: AuthMechanism::HighGmac,
        }
    }
}

impl Custody for Meter {
    fn system_title(&self) -> SystemTitle {
        METER_TITLE
    }

    fn association(&self, client_sap: u8) -> Option<Association> {
        let (mechanism, policy) = match client_sap {
            PUBLIC => (AuthMechanism::None, SecurityPolicy::NONE),
            READER => (AuthMechanism::Low, SecurityPolicy::NONE),
            VENDING => (self.vending, self.policy),
            GMAC_PLAIN => (AuthMechanism::HighGmac, SecurityPolicy::NONE),
            HLS..80 => (AuthMechanism::from_arc(client_sap - HLS), SecurityPolicy::NONE),
            _ => return None,
        };
        Some(Association {
            client_sap,
            mechanism,
            policy,
            conformance: Conformance::all(),
            key_set: 0,
            instance: client_sap,
            inactivity: Duration::from_secs(120),
        })
    }

    fn pre_established(&self, client_sap: u8) -> Option<PreEstablished> {
        self.pre_established.filter(|p| p.association.client_sap == client_sap)
    }

    fn secret(&self, client_sap: u8) -> Option<Secret> {
        (client_sap == READER || client_sap >= HLS).then(|| Secret::new(b"Reader01").unwrap())
    }

    fn key(&self, _key_set: u8, usage: KeyUsage) -> Option<Key> {
        let wide = self.policy.suite == SecuritySuite::Suite2;
        match usage {
            KeyUsage::GlobalUnicastEncryption if wide => Some(Key::new_256([0x11; 32])),
            KeyUsage::Authentication if wide => Some(Key::new_256([0x22; 32])),
            KeyUsage::GlobalUnicastEncryption => Some(Key::new(EK)),
            KeyUsage::Authentication => Some(Key::new(AK)),
            KeyUsage::KeyEncrypting => Some(Key::new(MASTER_KEY)),
            KeyUsage::GlobalBroadcastEncryption => Some(Key::new(BROADCAST_KEY)),
            _ => None,
        }
    }

    fn next_counter(&mut self, _key_set: u8) -> Option<u32> {
        self.counter += 1;
        Some(self.counter)
    }

    fn last_seen(&self, _key_set: u8, peer: &SystemTitle) -> Option<u32> {
        self.seen.get(&peer.0).copied()
    }

    fn accept(&mut self, _key_set: u8, peer: &SystemTitle, counter: u32) -> bool {
        if self.storage_fails {
            return false;
        }
        assert!(self.seen.insert(peer.0, counter).is_none_or(|before| before < counter));
        true
    }

    fn sign(&mut self, suite: SecuritySuite, parts: &[&[u8]]) -> Option<ecdsa::Signature> {
        signing_key(suite, METER_SIGNS)?.sign(parts)
    }

    fn agree(&self, suite: SecuritySuite, ephemeral: &[u8]) -> Option<ecdsa::SecretNumber> {
        let peer = ecdsa::PublicKey::from_bytes(ecdsa::Curve::of_suite(suite)?, ephemeral)?;
        signing_key(suite, METER_AGREES)?.agree(&peer)
    }

    fn agreement_key_of(&self, suite: SecuritySuite, peer: &SystemTitle) -> Option<ecdsa::PublicKey> {
        let theirs =
            signing_key(suite, CLIENT_AGREES).filter(|_| *peer == CLIENT_TITLE && !self.forgetful)?;
        Some(theirs.public_key())
    }

    fn verify(
        &self,
        suite: SecuritySuite,
        _client_sap: u8,
        peer: &SystemTitle,
        parts: &[&[u8]],
        signature: &[u8],
    ) -> bool {
        let known = *peer == CLIENT_TITLE;
        known && signing_key(suite, CLIENT_SIGNS).is_some_and(|key| key.public_key().verify(parts, signature))
    }

    fn random(&mut self, out: &mut [u8]) {
        for byte in out {
            self.random = self.random.wrapping_mul(5).wrapping_add(77);
            *byte = self.random;
        }
    }
}

/// Row `n` of the profile: time stamp and two counters.
pub fn row(n: u32, out: &mut dyn Writer) -> protocol::codec::Result<()> {
    out.write_bytes(&[2, 3])?;
    Data::DoubleLongUnsigned(1_700_000_000 + 900 * n).encode(out)?;
    Data::DoubleLongUnsigned(n * 17).encode(out)?;
    Data::OctetString(&n.to_be_bytes()).encode(out)
}

impl ObjectModel for Meter {
    fn get(
        &mut self,
        _caller: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        piece: u32,
        out: &mut dyn Writer,
    ) -> Result<Piece, DataAccessResult> {
        if let (SHELF, Some(object)) = (at.logical_name, &mut self.shelf) {
            return object.get(at.index, piece, out);
        }
        let written = match at {
            NAME => Data::OctetString(b"MGW0000000000001").encode(out),
            NOTE | SEALED => Data::OctetString(&self.note).encode(out),
            COUNTED => Data::DoubleLongUnsigned(self.count).encode(out),
            PROFILE => {
                // Entries from..=to where selected, else everything.
                let (from, to) = match selection {
                    None => (0, self.rows),
                    Some(SelectiveAccess { selector: 2, parameters }) => {
                        let field = |i| {
                            let value = parameters.field(i).ok().and_then(|d| d.as_u64());
                            value.and_then(|n| u32::try_from(n).ok()).ok_or(DataAccessResult::TypeUnmatched)
                        };
                        let to = field(1)?.min(self.rows);
                        (field(0)?.saturating_sub(1).min(to), to)
                    }
                    Some(_) => return Err(DataAccessResult::OtherReason),
                };
                if piece == 0 {
                    let head = out.write_u8(1).and_then(|()| out.write_length((to - from) as usize));
                    head.map_err(|_| DataAccessResult::OtherReason)?;
                    return Ok(if from == to { Piece::Last } else { Piece::More });
                }
                row(from + piece - 1, out).map_err(|_| DataAccessResult::OtherReason)?;
                return Ok(if from + piece == to { Piece::Last } else { Piece::More });
            }
            _ => return Err(DataAccessResult::ObjectUndefined),
        };
        written.map(|()| Piece::Last).map_err(|_| DataAccessResult::OtherReason)
    }

    fn set(
        &mut self,
        _caller: Caller,
        at: Attribute,
        _selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        if let (SHELF, Some(object)) = (at.logical_name, &mut self.shelf) {
            return object.set(at.index, value);
        }
        if at != NOTE {
            return Err(DataAccessResult::ReadWriteDenied);
        }
        self.note = value.as_bytes().ok_or(DataAccessResult::TypeUnmatched)?.to_vec();
        Ok(())
    }

    fn action(
        &mut self,
        _caller: Caller,
        at: Method,
        parameter: Option<Data<'_>>,
        out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        if let (SHELF, Some(object)) = (at.logical_name, &mut self.shelf) {
            return object.invoke(at.index, parameter.unwrap_or(Data::Null)).map(|()| false);
        }
        match (at, parameter) {
            (COUNT, _) => {
                self.count += 1;
                Ok(false)
            }
            (ECHO, Some(value)) => {
                value.encode(out).map_err(|_| ActionResult::OtherReason)?;
                Ok(true)
            }
            _ => Err(ActionResult::TypeUnmatched),
        }
    }

    fn attribute_access(&self, caller: Caller, at: Attribute) -> AttributeAccess {
        match at {
            NAME => AttributeAccess::READ,
            SEALED => {
                let signed =
                    AttributeAccess::DIGITALLY_SIGNED_REQUEST | AttributeAccess::DIGITALLY_SIGNED_RESPONSE;
                AttributeAccess::READ | signed
            }
            _ if at.logical_name == SHELF => AttributeAccess::READ | AttributeAccess::WRITE,
            NOTE | COUNTED | PROFILE if caller.client_sap != PUBLIC => {
                AttributeAccess::READ | AttributeAccess::WRITE
            }
            _ => AttributeAccess::empty(),
        }
    }

    fn method_access(&self, caller: Caller, at: Method) -> MethodAccess {
        match at {
            _ if at.logical_name == SHELF => MethodAccess::ACCESS,
            COUNT | ECHO if caller.client_sap != PUBLIC => MethodAccess::ACCESS,
            _ => MethodAccess::empty(),
        }
    }
}

/// How a client associates.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub client_sap: u8,
    pub form: Form,
    pub dedicated: bool,
}

pub const WAYS: [Way; 8] = [
    Way { client_sap: PUBLIC, form: Form::Plain, dedicated: false },
    Way { client_sap: READER, form: Form::Plain, dedicated: false },
    Way { client_sap: GMAC_PLAIN, form: Form::Plain, dedicated: false },
    Way { client_sap: VENDING, form: Form::Glo, dedicated: false },
    Way { client_sap: VENDING, form: Form::GeneralGlo, dedicated: false },
    Way { client_sap: VENDING, form: Form::Glo, dedicated: true },
    Way { client_sap: VENDING, form: Form::GeneralGlo, dedicated: true },
    Way { client_sap: VENDING, form: Form::General, dedicated: false },
];

pub fn config(way: Way) -> Config {
    let ciphered = way.client_sap == VENDING;
    Config {
        mechanism: match way.client_sap {
            PUBLIC => AuthMechanism::None,
            READER => AuthMechanism::Low,
            HLS.. => AuthMechanism::from_arc(way.client_sap - HLS),
            _ => AuthMechanism::HighGmac,
        },
        secret: Some(Secret::new(b"Reader01").unwrap()),
        policy: if ciphered {
            SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0).with_dedicated(way.dedicated)
        } else {
            SecurityPolicy::NONE
        },
        form: way.form,
        system_title: CLIENT_TITLE,
        encryption_key: Some(Key::new(EK)),
        authentication_key: Some(Key::new(AK)),
        dedicated_key: way.dedicated.then(|| Key::new([0x5A; 16])),
        ..Config::default()
    }
}

/// What one request came to, with parts joined.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Associated,
    Value(Vec<u8>),
    Done,
    Results(Vec<u8>),
    Failed(Failure),
    Released,
    Silence,
}

/// What a request came to, with the parts of its value that came before.
fn joined(mut value: Vec<u8>, event: Event<'_>) -> Outcome {
    match event {
        Event::Associated(_) => Outcome::Associated,
        Event::Value { bytes, .. } => {
            value.extend_from_slice(bytes);
            Outcome::Value(value)
        }
        Event::Done => Outcome::Done,
        Event::Results(list) => Outcome::Results(list.iter().map(|r| r.unwrap().as_u8()).collect()),
        Event::Failed(failure) => Outcome::Failed(failure),
        Event::Released => Outcome::Released,
        other => panic!("unexpected {other:?}"),
    }
}

/// A client and a meter with its server engine, joined by a pipe that loses nothing.
pub struct Pair<const C: usize, const S: usize, const CL: usize = 8192, const SL: usize = 1024> {
    pub client: Client<C, CL>,
    pub server: Server<S, SL>,
    pub meter: Meter,
    pub peer: Peer,
    pub now: Instant,
    /// Every APDU that crossed, true for those of the client.
    pub wire: Vec<(bool, Vec<u8>)>,
}

impl<const C: usize, const S: usize, const CL: usize, const SL: usize> Pair<C, S, CL, SL> {
    pub fn new(config: Config, client_sap: u8) -> Self {
        Self {
            client: Client::new(config, CounterBlock::new(1, 1_000_000)),
            server: Server::new(),
            meter: Meter::default(),
            peer: Peer { client_sap, server_sap: 1 },
            now: Instant::from_millis(1000),
            wire: Vec::new(),
        }
    }

    /// Carries APDUs until the client has an outcome or nothing moves.
    pub fn run(&mut self) -> Outcome {
        let mut value = Vec::new();
        loop {
            match self.client.poll_event() {
                None => {}
                Some(Event::Value { bytes, last: false }) => value.extend_from_slice(bytes),
                Some(other) => return joined(value, other),
            }
            let Some(request) = self.client.poll_transmit().map(<[u8]>::to_vec) else {
                return Outcome::Silence;
            };
            self.server.handle_bytes(self.now, self.peer, &request, &mut self.meter);
            self.wire.push((true, request));
            while let Some(answer) = self.next_answer() {
                self.client.handle_bytes(self.now, &answer);
                self.wire.push((false, answer));
                // A long answer in general blocks comes in parts, several of which may follow each other.
                match self.client.poll_event() {
                    Some(Event::Value { bytes, last: false }) => value.extend_from_slice(bytes),
                    Some(other) => return joined(value, other),
                    None => {}
                }
            }
        }
    }

    /// The next APDU of the server.
    pub fn next_answer(&mut self) -> Option<Vec<u8>> {
        if let Some(answer) = self.server.poll_transmit() {
            return Some(answer.to_vec());
        }
        self.server.refill(&mut self.meter);
        self.server.poll_transmit().map(<[u8]>::to_vec)
    }

    pub fn associate(&mut self) -> Outcome {
        self.client.associate(self.now, b"client's challenge").unwrap();
        self.run()
    }

    pub fn get(&mut self, at: Attribute) -> Outcome {
        self.client.get(self.now, at, None).unwrap();
        self.run()
    }
}

pub fn encoded(value: &Data<'_>) -> Vec<u8> {
    let mut out = vec![0; 65536];
    let mut w = protocol::codec::SliceWriter::new(&mut out);
    value.encode(&mut w).unwrap();
    w.as_slice().to_vec()
}

pub fn octets(bytes: &[u8]) -> Option<Vec<u8>> {
    Data::from_bytes(bytes).ok()?.as_bytes().map(<[u8]>::to_vec)
}

/// Protects damaged plain bytes with the right keys, so that they reach the parsers behind the cipher.
pub fn seal(plain: &[u8], form: Form, counter: u32, title: &[u8; 8]) -> Vec<u8> {
    use protocol::codec::xdlms::{ApduTag, Protection, SecurityControl};
    use protocol::dlms::security::general::Address;
    use protocol::dlms::security::{Cipher, Frame, nonce};
    let cipher = Cipher::new(SecuritySuite::Suite0, &Key::new(EK), &Key::new(AK)).unwrap();
    let control = SecurityControl::new(0, true, true);
    if form == Form::General {
        let from_client = *title == CLIENT_TITLE.0;
        let (originator, recipient) =
            if from_client { (&CLIENT_TITLE, &METER_TITLE) } else { (&METER_TITLE, &CLIENT_TITLE) };
        // A client's transaction-id is its counter; a meter's answer takes it over, which nobody here can foresee.
        let transaction_id = &u64::from(counter).to_be_bytes()[..];
        let address = Address { transaction_id, originator, recipient: Some(recipient) };
        let mut frame = Frame::<4096>::new();
        frame.build(|w| w.write_bytes(plain)).unwrap();
        frame.protect_general(&cipher, control, counter, address, &[]).unwrap();
        return frame.finished().to_vec();
    }
    let mut text = plain.to_vec();
    let iv = nonce(&SystemTitle(*title), counter);
    let tag = cipher.seal(control, &iv, &mut text).unwrap();
    let glo = plain
        .first()
        .and_then(|t| ApduTag::from_u8(*t))
        .and_then(|t| t.protected_as(Protection::Global))
        .filter(|_| form == Form::Glo);
    let mut out = match glo {
        Some(tag) => vec![tag.as_u8()],
        None => [&[0xDB, 8][..], title].concat(),
    };
    out.push(0x82);
    out.extend(((5 + text.len() + 12) as u16).to_be_bytes());
    out.push(control.0);
    out.extend(counter.to_be_bytes());
    out.extend(text);
    out.extend(tag);
    out
}
