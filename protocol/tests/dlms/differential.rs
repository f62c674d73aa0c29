//! Our client with the server of `dlms-cosem-rs`, and its client with our server.

use dlms_cosem_rs::client::{AssociationStep, ClientConfig, ClientSession, Response};
use dlms_cosem_rs::security::{KeyRing, RandomSource, RustCryptoProvider};
use dlms_cosem_rs::server::{ObjectStore, Server as TheirServer, ServerConfig};
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Decode, Writer};
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{
    ActionResult, AttributeDescriptor, AttributeDescriptorWithSelection, DataAccessResult, GetDataResult,
    MethodDescriptor, SelectiveAccess,
};
use protocol::dlms::client::Client;
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};
use protocol::dlms::security::{CounterBlock, Form, Secret, SecurityPolicy};
use protocol::dlms::server::{Peer, Server};
use protocol::time::Instant;

use crate::meter::*;

struct Rng;

impl RandomSource for Rng {
    fn fill(&self, out: &mut [u8]) -> dlms_cosem_rs::codec::Result<()> {
        for (i, b) in out.iter_mut().enumerate() {
            *b = 0xA0u8.wrapping_add(i as u8);
        }
        Ok(())
    }
}

fn provider() -> RustCryptoProvider<Rng> {
    RustCryptoProvider::with_rng(KeyRing::new(EK, AK), Rng)
}

/// Our test meter behind their store trait.
struct Store(std::cell::RefCell<Meter>);

const CALLER: Caller = Caller { client_sap: VENDING, authenticated: true };

impl ObjectStore for Store {
    fn get_attribute(
        &self,
        class_id: u16,
        logical_name: Obis,
        index: i8,
        selection: Option<SelectiveAccess<'_>>,
        w: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        let at = Attribute { class_id, logical_name, index };
        let mut piece = 0;
        while self.0.borrow_mut().get(CALLER, at, selection, piece, w)? == Piece::More {
            piece += 1;
        }
        Ok(())
    }

    fn set_attribute(
        &mut self,
        class_id: u16,
        logical_name: Obis,
        index: i8,
        selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        self.0.get_mut().set(CALLER, Attribute { class_id, logical_name, index }, selection, value)
    }

    fn invoke_method(
        &mut self,
        class_id: u16,
        logical_name: Obis,
        index: i8,
        parameter: Option<Data<'_>>,
        w: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        self.0.get_mut().action(CALLER, Method { class_id, logical_name, index }, parameter, w)
    }

    fn attribute_access(&self, class_id: u16, logical_name: Obis, index: i8) -> AttributeAccess {
        self.0.borrow().attribute_access(CALLER, Attribute { class_id, logical_name, index })
    }

    fn resolve_short_name(&self, name: u16) -> Option<protocol::codec::cosem::ShortNameTarget> {
        NAMES.iter().find(|(base, _)| base + 8 == name).map(|(_, at)| {
            protocol::codec::cosem::ShortNameTarget::Attribute {
                class_id: at.class_id,
                logical_name: at.logical_name,
                attribute_id: at.index,
            }
        })
    }

    fn method_access(&self, class_id: u16, logical_name: Obis, index: i8) -> MethodAccess {
        self.0.borrow().method_access(CALLER, Method { class_id, logical_name, index })
    }
}

fn settings(way: Way) -> (AuthMechanism, SecurityPolicy) {
    let c = config(way);
    (c.mechanism, c.policy)
}

/// Carries APDUs between our client and their server until the client has an outcome.
fn exchange<const LONG: usize>(
    client: &mut Client<200, LONG>,
    server: &mut TheirServer<Store, RustCryptoProvider<Rng>, 1024>,
) -> Outcome {
    use protocol::dlms::client::Event;
    let mut value = Vec::new();
    loop {
        match client.poll_event() {
            None => {}
            Some(Event::Associated(_)) => return Outcome::Associated,
            Some(Event::Value { bytes, last }) => {
                value.extend_from_slice(bytes);
                if last {
                    return Outcome::Value(value);
                }
            }
            Some(Event::Done) => return Outcome::Done,
            Some(Event::Released) => return Outcome::Released,
            Some(Event::Failed(failure)) => return Outcome::Failed(failure),
            Some(other) => panic!("{other:?}"),
        }
        let Some(request) = client.poll_transmit().map(<[u8]>::to_vec) else { return Outcome::Silence };
        let mut answer = [0; 1024];
        let n = server.handle(&request, &mut answer).unwrap();
        client.handle_bytes(Instant::ZERO, &answer[..n]);
    }
}

/// Short names of the test meter: the name at 0x1000, the note at 0x2000, the profile at 0x3000.
const NAMES: [(u16, Attribute); 3] = [(0x1000, NAME), (0x2000, NOTE), (0x3000, PROFILE)];

#[test]
fn our_client_reads_and_writes_by_short_name_on_their_server() {
    use protocol::codec::acse::Referencing;
    use protocol::dlms::client::{Error, SHORT_NAMES};
    for ciphered in [false, true] {
        let mut configured = config(WAYS[if ciphered { 3 } else { 1 }]);
        configured.mechanism = AuthMechanism::Low;
        configured.referencing = Referencing::ShortName;
        configured.conformance = SHORT_NAMES;
        let theirs = ServerConfig {
            system_title: Some(METER_TITLE),
            mechanism: AuthMechanism::Low,
            security: configured.policy,
            password: configured.secret.clone(),
            referencing: Referencing::ShortName,
            max_pdu_size: 200,
            conformance: SHORT_NAMES,
            ..Default::default()
        };
        let store = Store(Meter { rows: 30, ..Meter::default() }.into());
        let mut server: TheirServer<_, _, 1024> = TheirServer::new(theirs, store, provider());
        let mut client: Client<200, 64> = Client::new(configured, CounterBlock::new(1, 10_000));
        let now = Instant::ZERO;
        client.associate(now, &[]).unwrap();
        assert_eq!(exchange(&mut client, &mut server), Outcome::Associated);

        client.read(now, 0x1008, None).unwrap();
        let Outcome::Value(value) = exchange(&mut client, &mut server) else { panic!() };
        assert_eq!(octets(&value).unwrap(), b"MGW0000000000001");

        client.read(now, 0x3008, None).unwrap();
        let Outcome::Value(value) = exchange(&mut client, &mut server) else { panic!() };
        assert_eq!(Data::from_bytes(&value).unwrap().as_array().unwrap().len(), 30);

        client.read_list(now, &[0x1008, 0x7770]).unwrap();
        let Outcome::Value(value) = exchange(&mut client, &mut server) else { panic!() };
        let list: protocol::codec::xdlms::List<'_, GetDataResult<'_>> =
            protocol::codec::xdlms::List::from_bytes(&value).unwrap();
        let results: Vec<_> = list.iter().map(|r| r.unwrap()).collect();
        assert_eq!(results[0], GetDataResult::Data(Data::OctetString(b"MGW0000000000001")));
        assert!(matches!(results[1], GetDataResult::Error(_)));

        client.write(now, 0x2008, Data::OctetString(b"short")).unwrap();
        assert_eq!(exchange(&mut client, &mut server), Outcome::Done);
        assert_eq!(server.store().0.borrow().note, b"short");

        client.read(now, 0x7770, None).unwrap();
        let Outcome::Failed(failure) = exchange(&mut client, &mut server) else { panic!() };
        assert!(matches!(failure.error, Error::DataAccess(_)));
    }
}

/// General ciphering and a dedicated key are left out: their engines use neither for these services.
const COMMON: [Way; 4] = [WAYS[0], WAYS[1], WAYS[2], WAYS[3]];

#[test]
fn our_client_reads_writes_and_invokes_on_their_server() {
    for way in COMMON {
        let (mechanism, security) = settings(way);
        let theirs = ServerConfig {
            system_title: Some(METER_TITLE),
            mechanism,
            security,
            password: Some(Secret::new(b"Reader01").unwrap()),
            max_pdu_size: 200,
            ..Default::default()
        };
        let store = Store(Meter { rows: 30, ..Meter::default() }.into());
        let mut server: TheirServer<_, _, 1024> = TheirServer::new(theirs, store, provider());
        let mut client: Client<200, 1024> = Client::new(config(way), CounterBlock::new(1, 10_000));
        let now = Instant::ZERO;
        client.associate(now, b"a client's challenge").unwrap();
        let mut run = |client: &mut Client<200, 1024>| exchange(client, &mut server);
        assert_eq!(run(&mut client), Outcome::Associated, "{way:?}");

        client.get(now, NAME, None).unwrap();
        let Outcome::Value(value) = run(&mut client) else { panic!("{way:?}") };
        assert_eq!(octets(&value).unwrap(), b"MGW0000000000001");

        client.get(now, PROFILE, None).unwrap();
        let Outcome::Value(value) = run(&mut client) else { panic!("{way:?}") };
        assert_eq!(Data::from_bytes(&value).unwrap().as_array().unwrap().len(), 30);

        client.get_list(now, &[(NAME, None), (NOTHING, None)]).unwrap();
        assert!(matches!(run(&mut client), Outcome::Value(_)));

        let note = vec![3u8; 500];
        client.set(now, NOTE, None, Data::OctetString(&note)).unwrap();
        assert_eq!(run(&mut client), Outcome::Done, "{way:?}");

        client.action(now, COUNT, None).unwrap();
        assert_eq!(run(&mut client), Outcome::Done);
        client.action(now, ECHO, Some(Data::OctetString(&note))).unwrap();
        let Outcome::Value(value) = run(&mut client) else { panic!("{way:?}") };
        assert_eq!(octets(&value).unwrap(), note, "{way:?}");

        client.release(now).unwrap();
        assert_eq!(run(&mut client), Outcome::Released, "{way:?}");
        assert_eq!(server.store().0.borrow().count, 1);
        assert_eq!(server.store().0.borrow().note, note);
    }
}

/// Their client with our server between them.
struct Theirs {
    client: ClientSession<RustCryptoProvider<Rng>>,
    server: Server<256, 1024>,
    meter: Meter,
    peer: Peer,
    request: [u8; 1024],
    plain: [u8; 1024],
}

impl Theirs {
    fn exchange(&mut self, n: usize) -> Vec<u8> {
        self.server.handle_bytes(Instant::ZERO, self.peer, &self.request[..n], &mut self.meter);
        self.server.poll_transmit().unwrap().to_vec()
    }

    fn answer(&mut self, n: usize) -> Response<'_> {
        let answer = self.exchange(n);
        self.client.handle_response(&answer, &mut self.plain).unwrap()
    }
}

#[test]
fn their_client_reads_writes_and_invokes_on_our_server() {
    for way in COMMON {
        assert!(matches!(way.form, Form::Plain | Form::Glo));
        let (mechanism, security) = settings(way);
        let config = ClientConfig {
            client_sap: way.client_sap,
            system_title: Some(CLIENT_TITLE),
            mechanism,
            security,
            password: Some(Secret::new(b"Reader01").unwrap()),
            max_pdu_size: 256,
            ..Default::default()
        };
        let mut t = Theirs {
            client: ClientSession::new(config, provider()),
            server: Server::new(),
            meter: Meter { rows: 30, ..Meter::default() },
            peer: Peer { client_sap: way.client_sap, server_sap: 1 },
            request: [0; 1024],
            plain: [0; 1024],
        };
        let n = t.client.associate_request(&mut t.request).unwrap();
        let aare = t.exchange(n);
        match t.client.handle_associate_response(&aare).unwrap() {
            AssociationStep::Established => {}
            AssociationStep::HlsReplyRequired => {
                let n = t.client.hls_reply_request(&mut t.request).unwrap();
                let answer = t.exchange(n);
                let step = t.client.handle_hls_reply_response(&answer).unwrap();
                assert_eq!(step, AssociationStep::Established, "{way:?}");
            }
            other => panic!("{way:?}: {other:?}"),
        }
        let at = |a: Attribute| AttributeDescriptor::new(a.class_id, a.logical_name, a.index);
        let n = t.client.get_request(at(NAME), None, &mut t.request).unwrap();
        assert_eq!(t.answer(n), Response::Data(Data::OctetString(b"MGW0000000000001")));
        if way.client_sap == PUBLIC {
            continue;
        }

        // The profile comes in blocks.
        let mut n = t.client.get_request(at(PROFILE), None, &mut t.request).unwrap();
        let mut value = Vec::new();
        loop {
            let Response::Block { last, number, data } = t.answer(n) else { panic!("{way:?}") };
            value.extend_from_slice(data);
            if last {
                break;
            }
            n = t.client.get_next_block_request(number, &mut t.request).unwrap();
        }
        assert_eq!(Data::from_bytes(&value).unwrap().as_array().unwrap().len(), 30);

        let items =
            [NAME, NOTHING].map(|a| AttributeDescriptorWithSelection { descriptor: at(a), access: None });
        let n = t.client.get_request_with_list(&items, &mut t.request).unwrap();
        let Response::DataList(list) = t.answer(n) else { panic!() };
        let results: Vec<_> = list.iter().map(|r| r.unwrap()).collect();
        assert_eq!(results[0], GetDataResult::Data(Data::OctetString(b"MGW0000000000001")));
        assert_eq!(results[1], GetDataResult::Error(DataAccessResult::ObjectUndefined));

        let n = t.client.set_request(at(NOTE), None, Data::OctetString(b"theirs"), &mut t.request).unwrap();
        assert_eq!(t.answer(n), Response::Ok);
        assert_eq!(t.meter.note, b"theirs");

        let long = vec![8u8; 600];
        let bytes = encoded(&Data::OctetString(&long));
        let mut sender = t.client.set_transfer(at(NOTE), None, &bytes).unwrap();
        let mut n = t.client.next_block_request(&mut sender, &mut t.request).unwrap();
        while !sender.is_done() {
            let Response::BlockAccepted { .. } = t.answer(n) else { panic!("{way:?}") };
            n = t.client.next_block_request(&mut sender, &mut t.request).unwrap();
        }
        assert_eq!(t.answer(n), Response::Ok);
        assert_eq!(t.meter.note, long);

        let count = MethodDescriptor::new(COUNT.class_id, COUNT.logical_name, COUNT.index);
        let n = t.client.action_request(count, None, &mut t.request).unwrap();
        assert!(matches!(t.answer(n), Response::Ok | Response::ActionResult { .. }));
        assert_eq!(t.meter.count, 1);

        let n = t.client.release_request(&mut t.request).unwrap();
        assert_eq!(t.answer(n), Response::Released);
    }
}
