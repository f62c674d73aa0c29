//! GET of a register in memory, client and server together, and over loopback TCP: our engines and those of `dlms-cosem-rs` in
//! the same run.
//! `cargo bench -p protocol --bench dlms`. Each figure is the best of a thousand short runs.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod wire;

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use dlms_cosem_rs::client::{AssociationStep, ClientConfig, ClientSession, Response};
use dlms_cosem_rs::security::{KeyRing, RandomSource, RustCryptoProvider};
use dlms_cosem_rs::server::{ObjectStore, Server as TheirServer, ServerConfig};
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{
    ActionResult, AttributeDescriptor, Conformance, DataAccessResult, SelectiveAccess,
};
use protocol::dlms::client::{Client, Config, Event};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};
use protocol::dlms::security::{
    CounterBlock, Form, Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, SystemTitle,
};
use protocol::dlms::server::{Association, Custody, Peer, Server};
use protocol::time::Instant;

const EK: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const AK: [u8; 16] = [0xD0; 16];
const SERVER_TITLE: SystemTitle = SystemTitle(*b"MGW\0\0\0\0\x01");
const CLIENT_TITLE: SystemTitle = SystemTitle(*b"MDMHES01");
const ENERGY: Obis = Obis::new(1, 0, 1, 8, 0, 255);

/// One register, behind both crates' traits.
struct Meter {
    ciphered: bool,
    counter: u32,
    seen: Option<u32>,
}

impl Custody for Meter {
    fn system_title(&self) -> SystemTitle {
        SERVER_TITLE
    }
    fn association(&self, client_sap: u8) -> Option<Association> {
        Some(Association {
            client_sap,
            mechanism: mechanism(self.ciphered),
            policy: policy(self.ciphered),
            conformance: Conformance::all(),
            key_set: 0,
            instance: 1,
            inactivity: Duration::ZERO,
        })
    }
    fn secret(&self, _client_sap: u8) -> Option<Secret> {
        None
    }
    fn key(&self, _key_set: u8, usage: KeyUsage) -> Option<Key> {
        Some(Key::new(if usage == KeyUsage::Authentication { AK } else { EK }))
    }
    fn next_counter(&mut self, _key_set: u8) -> Option<u32> {
        self.counter += 1;
        Some(self.counter)
    }
    fn last_seen(&self, _key_set: u8, _peer: &SystemTitle) -> Option<u32> {
        self.seen
    }
    fn accept(&mut self, _key_set: u8, _peer: &SystemTitle, counter: u32) -> bool {
        self.seen = Some(counter);
        true
    }
    fn random(&mut self, out: &mut [u8]) {
        out.fill(0x77);
    }
}

impl ObjectModel for Meter {
    fn get(
        &mut self,
        _caller: Caller,
        at: Attribute,
        _selection: Option<SelectiveAccess<'_>>,
        _piece: u32,
        out: &mut dyn Writer,
    ) -> Result<Piece, DataAccessResult> {
        match at {
            Attribute { class_id: 3, logical_name: ENERGY, index: 2 } => {
                Data::DoubleLongUnsigned(123_456).encode(out).map_err(|_| DataAccessResult::OtherReason)?;
                Ok(Piece::Last)
            }
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }
    fn set(
        &mut self,
        _caller: Caller,
        _at: Attribute,
        _selection: Option<SelectiveAccess<'_>>,
        _value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        Err(DataAccessResult::ReadWriteDenied)
    }
    fn action(
        &mut self,
        _caller: Caller,
        _at: Method,
        _parameter: Option<Data<'_>>,
        _out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        Err(ActionResult::ReadWriteDenied)
    }
    fn attribute_access(&self, _caller: Caller, _at: Attribute) -> AttributeAccess {
        AttributeAccess::READ
    }
    fn method_access(&self, _caller: Caller, _at: Method) -> MethodAccess {
        MethodAccess::empty()
    }
}

impl ObjectStore for Meter {
    fn get_attribute(
        &self,
        class_id: u16,
        logical_name: Obis,
        attribute_id: i8,
        _selection: Option<SelectiveAccess<'_>>,
        w: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        match (class_id, logical_name, attribute_id) {
            (3, ENERGY, 2) => {
                Data::DoubleLongUnsigned(123_456).encode(w).map_err(|_| DataAccessResult::OtherReason)
            }
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }
    fn attribute_access(&self, _: u16, _: Obis, _: i8) -> AttributeAccess {
        AttributeAccess::READ
    }
    fn method_access(&self, _: u16, _: Obis, _: i8) -> MethodAccess {
        MethodAccess::empty()
    }
}

struct Rng;

impl RandomSource for Rng {
    fn fill(&self, out: &mut [u8]) -> dlms_cosem_rs::codec::Result<()> {
        for (i, b) in out.iter_mut().enumerate() {
            *b = 0xA0u8.wrapping_add(i as u8);
        }
        Ok(())
    }
}

const fn mechanism(ciphered: bool) -> AuthMechanism {
    if ciphered { AuthMechanism::HighGmac } else { AuthMechanism::None }
}

const fn policy(ciphered: bool) -> SecurityPolicy {
    if ciphered {
        SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0)
    } else {
        SecurityPolicy::NONE
    }
}

struct Ours {
    client: Client<1024, 64>,
    server: Server<1024, 1024>,
    meter: Meter,
}

impl Ours {
    fn new(ciphered: bool) -> Self {
        let config = Config {
            mechanism: mechanism(ciphered),
            policy: policy(ciphered),
            form: Form::Glo,
            system_title: CLIENT_TITLE,
            encryption_key: Some(Key::new(EK)),
            authentication_key: Some(Key::new(AK)),
            ..Config::default()
        };
        Self {
            client: Client::new(config, CounterBlock::new(1, u32::MAX - 1)),
            server: Server::new(),
            meter: Meter { ciphered, counter: 0, seen: None },
        }
    }

    fn exchange(&mut self) {
        let Some(request) = self.client.poll_transmit() else { return };
        let peer = Peer { client_sap: 18, server_sap: 1 };
        self.server.handle_bytes(Instant::ZERO, peer, request, &mut self.meter);
        if let Some(answer) = self.server.poll_transmit() {
            self.client.handle_bytes(Instant::ZERO, answer);
        }
    }

    fn associate(&mut self, ciphered: bool) {
        self.client.associate(Instant::ZERO, b"0123456789abcdef").unwrap();
        self.exchange();
        if ciphered {
            self.exchange();
        }
        assert!(matches!(self.client.poll_event(), Some(Event::Associated(_))));
        while self.server.poll_event().is_some() {}
    }

    fn get(&mut self) {
        let at = Attribute { class_id: 3, logical_name: ENERGY, index: 2 };
        self.client.get(Instant::ZERO, black_box(at), None).unwrap();
        self.exchange();
        match self.client.poll_event() {
            Some(Event::Value { bytes, last: true }) => {
                assert_eq!(protocol::dlms::client::value(bytes), Ok(Data::DoubleLongUnsigned(123_456)));
            }
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self) {
        self.associate(true);
        self.get();
        self.client.release(Instant::ZERO).unwrap();
        self.exchange();
        assert!(matches!(self.client.poll_event(), Some(Event::Released)));
        while self.server.poll_event().is_some() {}
    }
}

struct Theirs {
    client: ClientSession<RustCryptoProvider<Rng>>,
    server: TheirServer<Meter, RustCryptoProvider<Rng>>,
    request: [u8; 1024],
    answer: [u8; 1024],
    plain: [u8; 1024],
}

impl Theirs {
    fn new(ciphered: bool) -> Self {
        let provider = || RustCryptoProvider::with_rng(KeyRing::new(EK, AK), Rng);
        let client = ClientConfig {
            system_title: Some(CLIENT_TITLE),
            mechanism: mechanism(ciphered),
            security: policy(ciphered),
            ..Default::default()
        };
        let server = ServerConfig {
            system_title: Some(SERVER_TITLE),
            mechanism: mechanism(ciphered),
            security: policy(ciphered),
            ..Default::default()
        };
        Self {
            client: ClientSession::new(client, provider()),
            server: TheirServer::new(server, Meter { ciphered, counter: 0, seen: None }, provider()),
            request: [0; 1024],
            answer: [0; 1024],
            plain: [0; 1024],
        }
    }

    fn associate(&mut self) {
        let n = self.client.associate_request(&mut self.request).unwrap();
        let m = self.server.handle(&self.request[..n], &mut self.answer).unwrap();
        let step = self.client.handle_associate_response(&self.answer[..m]).unwrap();
        if step == AssociationStep::HlsReplyRequired {
            let n = self.client.hls_reply_request(&mut self.request).unwrap();
            let m = self.server.handle(&self.request[..n], &mut self.answer).unwrap();
            let step = self.client.handle_hls_reply_response(&self.answer[..m]).unwrap();
            assert_eq!(step, AssociationStep::Established);
        }
    }

    fn get(&mut self) {
        let at = AttributeDescriptor::new(3, ENERGY, 2);
        let n = self.client.get_request(black_box(at), None, &mut self.request).unwrap();
        let m = self.server.handle(&self.request[..n], &mut self.answer).unwrap();
        match self.client.handle_response(&self.answer[..m], &mut self.plain).unwrap() {
            Response::Data(value) => assert_eq!(value, Data::DoubleLongUnsigned(123_456)),
            other => panic!("{other:?}"),
        }
    }
}

/// Nanoseconds per call: the best of many short runs of `n`, for one that was not interrupted.
fn measure(n: u32, mut f: impl FnMut()) -> u64 {
    (0..1000)
        .map(|_| {
            let start = Clock::now();
            for _ in 0..n {
                f();
            }
            u64::try_from(start.elapsed().as_nanos() / u128::from(n)).unwrap_or(u64::MAX)
        })
        .min()
        .unwrap_or(0)
}

fn line(what: &str, ours: u64, theirs: u64, bar: u64) {
    let ratio = theirs * 100 / ours.max(1);
    let verdict = if ours <= bar { "met" } else { "missed" };
    println!(
        "{what:<28} {ours:>6} ns   dlms-cosem-rs {theirs:>6} ns   {}.{:02} x   bar {bar} ns {verdict}",
        ratio / 100,
        ratio % 100
    );
}

fn main() {
    println!(
        "client {} bytes, server {} bytes",
        size_of::<Client<1024, 64>>(),
        size_of::<Server<1024, 1024>>()
    );
    for (ciphered, what, bar) in [(false, "GET plain", 400), (true, "GET ciphered", 1500)] {
        let mut ours = Ours::new(ciphered);
        ours.associate(ciphered);
        let mut theirs = Theirs::new(ciphered);
        theirs.associate();
        let (a, b) = (measure(500, || ours.get()), measure(500, || theirs.get()));
        line(what, a, b, bar);
    }
    let mut ours = Ours::new(true);
    let session = measure(20, || ours.session());
    println!("GMAC session with one GET    {session:>6} ns");
    wire::print();
}
