//! The engines of `dlms-cosem-rs` in this process: its client with our server engine in memory, and our client with its server
//! behind a TCP wrapper of a few lines.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use dlms_cosem_rs::client::{AssociationStep, ClientConfig, ClientSession, Response};
use dlms_cosem_rs::security::{KeyRing, RandomSource, RustCryptoProvider};
use dlms_cosem_rs::server::{ObjectStore, Server as TheirServer, ServerConfig};
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, SliceWriter, Writer};
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{
    ActionResult, AttributeDescriptor, AttributeDescriptorWithSelection, Conformance, DataAccessResult,
    GetDataResult, MethodDescriptor, SelectiveAccess,
};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};
use protocol::dlms::security::{Key, Secret, SecurityPolicy, SecuritySuite, SystemTitle};
use protocol::dlms::server::{Peer, Server};
use protocol::time::Instant;

use super::Way;
use super::client::{Done, KEYS};
use super::meter::{SECRET, WideMeter, client_sap};
use super::operations::Conversation;

/// Room for a whole value: these engines build it before they cut it.
const VALUE_MAX: usize = 1 << 20;
const APDU: usize = 1024;
const DEDICATED: [u8; 16] = [0x5A; 16];
/// The title of their server.
pub const TITLE: SystemTitle = SystemTitle(*b"DLMSCRS0");

/// Challenges that differ, as a peer in a test needs them.
#[derive(Debug)]
pub struct Counting;

impl RandomSource for Counting {
    fn fill(&self, out: &mut [u8]) -> protocol::codec::Result<()> {
        for (place, byte) in out.iter_mut().enumerate() {
            *byte = 0xA0_u8.wrapping_add(place as u8);
        }
        Ok(())
    }
}

type Provider = RustCryptoProvider<Counting>;

fn provider(way: &Way) -> Provider {
    let mut keys = KeyRing::new(KEYS[0], KEYS[1]);
    if is_dedicated(way) {
        keys.set_dedicated(Key::new(DEDICATED));
    }
    RustCryptoProvider::with_rng(keys, Counting)
}

fn is_dedicated(way: &Way) -> bool {
    way.protection.ends_with("ded")
}

fn policy(way: &Way) -> SecurityPolicy {
    if way.protection == "plain" {
        return SecurityPolicy::NONE;
    }
    SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0).with_dedicated(is_dedicated(way))
}

/// Their client and our server engine over the wide meter.
pub struct TheirClient {
    client: ClientSession<Provider>,
    server: Box<Server<APDU, 4096>>,
    meter: Arc<WideMeter>,
    peer: Peer,
    request: Vec<u8>,
    plain: Vec<u8>,
}

impl TheirClient {
    /// Associates.
    ///
    /// # Errors
    /// What the engine, or our server, said.
    pub fn open(meter: &Arc<WideMeter>, way: &Way, first_counter: u32) -> Done<Self> {
        if way.protection.starts_with("general") {
            return Err("not offered: service APDUs in a general form".into());
        }
        let suite = (way.protection != "plain").then_some(way.suite);
        let sap = client_sap(way.mechanism, suite);
        let config = ClientConfig {
            client_sap: sap,
            system_title: Some(SystemTitle(*b"DLMSCRS1")),
            mechanism: AuthMechanism::from_arc(way.mechanism),
            security: policy(way),
            password: Secret::new(SECRET).ok(),
            max_pdu_size: APDU as u16,
            invocation_counter: first_counter,
            ..Default::default()
        };
        let mut this = Self {
            client: ClientSession::new(config, provider(way)),
            server: Box::new(Server::new()),
            meter: Arc::clone(meter),
            peer: Peer { client_sap: sap, server_sap: 1 },
            request: vec![0; 2 * APDU],
            plain: vec![0; 2 * APDU],
        };
        let length = this.client.associate_request(&mut this.request).map_err(said)?;
        let aare = this.exchange(length)?;
        if this.client.handle_associate_response(&aare).map_err(said)? == AssociationStep::HlsReplyRequired {
            let length = this.client.hls_reply_request(&mut this.request).map_err(said)?;
            let answer = this.exchange(length)?;
            this.client.handle_hls_reply_response(&answer).map_err(said)?;
        }
        Ok(this)
    }

    /// A request with a counter that was used before, or one after our server lost the association: what their client makes of
    /// the exception.
    ///
    /// # Errors
    /// What was said instead.
    pub fn exception(&mut self, ciphered: bool) -> Done<()> {
        if ciphered {
            self.client.set_invocation_counter(0);
        } else {
            self.server.link_down();
        }
        let name = protocol::cosem::obis::LOGICAL_DEVICE_NAME;
        let at = AttributeDescriptor::new(1, name, 2);
        let length = self.client.get_request(at, None, &mut self.request).map_err(said)?;
        match self.answer(length)? {
            Response::Exception(exception) => super::aside::judge(Some(exception), ciphered),
            other => Err(format!("{other:?}")),
        }
    }

    fn exchange(&mut self, length: usize) -> Done<Vec<u8>> {
        let (server, request, peer) = (&mut self.server, &self.request[..length], self.peer);
        self.meter.carry_out(|view| server.handle_bytes(Instant::ZERO, peer, request, view));
        self.server.poll_transmit().map(<[u8]>::to_vec).ok_or_else(|| "no answer".to_owned())
    }

    fn answer(&mut self, length: usize) -> Done<Response<'_>> {
        let answer = self.exchange(length)?;
        self.client.handle_response(&answer, &mut self.plain).map_err(said)
    }

    /// Sends a parameter in blocks; gives the answer to the last one.
    fn set_in_blocks(&mut self, at: Attribute, value: &[u8]) -> Done<()> {
        let mut sender = self.client.set_transfer(described(at), None, value).map_err(said)?;
        let mut length = self.client.next_block_request(&mut sender, &mut self.request).map_err(said)?;
        while !sender.is_done() {
            let Response::BlockAccepted { .. } = self.answer(length)? else {
                return Err("a block was not acknowledged".into());
            };
            length = self.client.next_block_request(&mut sender, &mut self.request).map_err(said)?;
        }
        match self.answer(length)? {
            Response::Ok => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn described(at: Attribute) -> AttributeDescriptor {
    AttributeDescriptor::new(at.class_id, at.logical_name, at.index)
}

fn encoded(data: &Data<'_>) -> Done<Vec<u8>> {
    let mut out = vec![0; VALUE_MAX];
    let mut writer = SliceWriter::new(&mut out);
    data.encode(&mut writer).map_err(said)?;
    Ok(writer.as_slice().to_vec())
}

impl Conversation for TheirClient {
    fn get(&mut self, at: Attribute, selection: Option<SelectiveAccess<'_>>) -> Done<Vec<u8>> {
        let mut length =
            self.client.get_request(described(at), selection, &mut self.request).map_err(said)?;
        let mut value = Vec::new();
        loop {
            let number = match self.answer(length)? {
                Response::Data(data) => return encoded(&data),
                Response::Block { last, number, data } => {
                    value.extend_from_slice(data);
                    if last {
                        return Ok(value);
                    }
                    number
                }
                other => return Err(format!("{other:?}")),
            };
            length = self.client.get_next_block_request(number, &mut self.request).map_err(said)?;
        }
    }

    fn get_list(&mut self, items: &[Attribute]) -> Done<usize> {
        let items: Vec<_> = items
            .iter()
            .map(|at| AttributeDescriptorWithSelection { descriptor: described(*at), access: None })
            .collect();
        let length = self.client.get_request_with_list(&items, &mut self.request).map_err(said)?;
        match self.answer(length)? {
            Response::DataList(list) => {
                Ok(list.iter().filter(|item| matches!(item, Ok(GetDataResult::Data(_)))).count())
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn set(&mut self, at: Attribute, octets: &[u8]) -> Done<()> {
        if octets.len() > APDU / 2 {
            return self.set_in_blocks(at, &encoded(&Data::OctetString(octets))?);
        }
        let data = Data::OctetString(octets);
        let length = self.client.set_request(described(at), None, data, &mut self.request).map_err(said)?;
        match self.answer(length)? {
            Response::Ok => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    fn action(&mut self, class_id: u16, name: Obis, index: i8, parameter: Data<'_>) -> Done<()> {
        let at = MethodDescriptor::new(class_id, name, index);
        let length = self.client.action_request(at, Some(parameter), &mut self.request).map_err(said)?;
        match self.answer(length)? {
            Response::Ok | Response::ActionResult { .. } => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

/// The wide meter behind their store trait, with the rights of the management client.
struct Store(Arc<WideMeter>);

const CALLER: Caller = Caller { client_sap: client_sap(5, None), authenticated: true };

impl ObjectStore for Store {
    fn get_attribute(
        &self,
        class_id: u16,
        logical_name: Obis,
        index: i8,
        selection: Option<SelectiveAccess<'_>>,
        out: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        let at = Attribute { class_id, logical_name, index };
        let whole = self.0.carry_out(|view| {
            let mut piece = 0;
            while view.get(CALLER, at, selection, piece, out)? == Piece::More {
                piece += 1;
            }
            Ok(())
        });
        whole.unwrap_or(Err(DataAccessResult::HardwareFault))
    }

    fn set_attribute(
        &mut self,
        class_id: u16,
        logical_name: Obis,
        index: i8,
        selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        let at = Attribute { class_id, logical_name, index };
        let set = self.0.carry_out(|view| view.set(CALLER, at, selection, value));
        set.unwrap_or(Err(DataAccessResult::HardwareFault))
    }

    fn invoke_method(
        &mut self,
        class_id: u16,
        logical_name: Obis,
        index: i8,
        parameter: Option<Data<'_>>,
        out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        let at = Method { class_id, logical_name, index };
        let invoked = self.0.carry_out(|view| view.action(CALLER, at, parameter, out));
        invoked.unwrap_or(Err(ActionResult::HardwareFault))
    }

    fn attribute_access(&self, class_id: u16, logical_name: Obis, index: i8) -> AttributeAccess {
        let at = Attribute { class_id, logical_name, index };
        self.0.carry_out(|view| view.attribute_access(CALLER, at)).unwrap_or(AttributeAccess::empty())
    }

    fn method_access(&self, class_id: u16, logical_name: Obis, index: i8) -> MethodAccess {
        let at = Method { class_id, logical_name, index };
        self.0.carry_out(|view| view.method_access(CALLER, at)).unwrap_or(MethodAccess::empty())
    }
}

/// Serves one connection of their server on a new port, for this way alone.
///
/// # Panics
/// When the system gives no port or no thread.
pub fn serve_theirs(meter: &Arc<WideMeter>, way: &Way) -> u16 {
    let config = ServerConfig {
        system_title: Some(TITLE),
        mechanism: AuthMechanism::from_arc(way.mechanism),
        security: policy(way),
        password: Secret::new(SECRET).ok(),
        max_pdu_size: APDU as u16,
        conformance: Conformance::SERVER_DEFAULT | Conformance::GENERAL_PROTECTION,
        ..Default::default()
    };
    let (store, provider) = (Store(Arc::clone(meter)), provider(way));
    let listener = TcpListener::bind((meter.host(), 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    // The engine holds a whole value, and is built on the stack.
    let thread = std::thread::Builder::new().stack_size(16 * VALUE_MAX);
    let serve = move || {
        let mut server: TheirServer<_, _, VALUE_MAX> = TheirServer::new(config, store, provider);
        if let Ok((stream, _)) = listener.accept() {
            // The connection ends when our client is done with it.
            let _ = converse(stream, |request, answer| server.handle(request, answer).ok());
        }
    };
    thread.spawn(serve).expect("a thread");
    port
}

/// The wrapper: a header, an APDU, and the answer the same way back.
fn converse(
    mut stream: TcpStream,
    mut answer: impl FnMut(&[u8], &mut [u8]) -> Option<usize>,
) -> std::io::Result<()> {
    let mut out = vec![0; 2 * APDU];
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header)?;
        let [_, _, s0, s1, d0, d1, l0, l1] = header;
        let mut request = vec![0; usize::from(u16::from_be_bytes([l0, l1]))];
        stream.read_exact(&mut request)?;
        let Some(length) = answer(&request, &mut out) else { return Ok(()) };
        let [n0, n1] = (length as u16).to_be_bytes();
        stream.write_all(&[&[0, 1, d0, d1, s0, s1, n0, n1], &out[..length]].concat())?;
    }
}
