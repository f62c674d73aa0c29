//! A meter that can be reached in every way: the firmware behind an association table of its own, with one client address
//! for each mechanism and each protection. What the firmware's own table offers is offered here too.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult, SelectiveAccess};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};
use protocol::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey, SecretNumber, Signature};
use protocol::dlms::security::{Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, SystemTitle};
use protocol::dlms::server::{Association, Custody, IMPLEMENTED, PreEstablished};
use simulator::board::{Flow, StreetLoad, VirtualBoard};
use simulator::clock::SimClock;
use simulator::identity::{PROFILE_PERIOD_S, StreetKeys, drn, personalisation};
use simulator::load::Household;
use simulator::meter::{Firmware, SimMeter, Truth};
use simulator::nvm::Nvm;

/// An octet-string that every wide association reads and writes: the firmware has no attribute that takes several APDUs.
pub const NOTE: Attribute =
    Attribute { class_id: 1, logical_name: Obis::new(0, 0, 96, 99, 1, 255), index: 2 };
/// Most bytes of the note.
const NOTE_MAX: usize = 3_000;
/// Password and shared secret of every wide association: 16 bytes, a whole block for mechanism 2.
pub const SECRET: &[u8] = b"Reader01Reader01";
/// Encryption key of suite 2; the other suites have the firmware's keys.
pub const WIDE_ENCRYPTION_KEY: [u8; 32] = [0x11; 32];
/// Authentication key of suite 2.
pub const WIDE_AUTHENTICATION_KEY: [u8; 32] = [0x22; 32];
/// Client addresses of the pre-established associations: plain, and ciphered with suite 0.
const PRE_ESTABLISHED: [u8; 2] = [0x48, 0x49];
/// The title that the meter knows their client by.
const PRE_ESTABLISHED_TITLE: SystemTitle = SystemTitle(*b"PRE\0\0\0\0\x01");
/// The meter's signing key on either curve is this byte over and over, for mechanism 7; the peers have its public half.
const METER_SIGNING_KEY: u8 = 0x3E;
/// The same of the clients' signing key.
const CLIENT_SIGNING_KEY: u8 = 0x5C;
/// The same of the meter's key for agreement, and of the clients'.
const METER_AGREEMENT_KEY: u8 = 0x3A;
const CLIENT_AGREEMENT_KEY: u8 = 0x5A;
/// Master key of suite 2; the other suites have the firmware's.
pub const WIDE_MASTER_KEY: [u8; 32] = [0x33; 32];

fn signing_key(suite: SecuritySuite, byte: u8) -> Option<PrivateKey> {
    let curve = Curve::of_suite(suite)?;
    PrivateKey::from_bytes(curve, &vec![byte; curve.field_len()])
}

/// Watt-hours the meter starts with: enough for the whole matrix.
const CREDIT_WH: i64 = 1_000_000;

/// The client address of an association with this mechanism (0 to 7), without protection or with that of a suite.
#[must_use]
pub const fn client_sap(mechanism: u8, suite: Option<u8>) -> u8 {
    match suite {
        None => 0x20 + mechanism,
        Some(suite) => 0x28 + 8 * suite + mechanism,
    }
}

/// Mechanism and suite of a wide client address; the inverse of [`client_sap`].
fn meaning(sap: u8) -> Option<(AuthMechanism, Option<u8>)> {
    let mechanism = AuthMechanism::from_arc(sap & 7);
    match sap & !7 {
        _ if PRE_ESTABLISHED.contains(&sap) => Some((AuthMechanism::None, (sap == 0x49).then_some(0))),
        0x20 => Some((mechanism, None)),
        0x28 | 0x30 | 0x38 => Some((mechanism, Some((sap - 0x28) / 8))),
        _ => None,
    }
}

/// The meter.
#[derive(Debug)]
pub struct WideMeter {
    meter: SimMeter,
    note: Mutex<Vec<u8>>,
    invoked: Mutex<HashMap<Method, u32>>,
    serial: String,
}

impl WideMeter {
    /// Starts meter `index` with `rows` of load profile recorded already.
    ///
    /// # Panics
    /// When the firmware does not start.
    #[must_use]
    pub fn start(index: u32, rows: u32) -> Arc<Self> {
        let clock = SimClock::starting_now(1);
        let clock = clock.with_past(u64::from(rows) * u64::from(PROFILE_PERIOD_S) * 1000);
        let nvm = Nvm::blank(firmware::Layout::bytes_for(rows + rows / 4 + 64));
        let flow = Flow::Household(Household::of(1, index));
        let street = Arc::new(StreetLoad::default());
        let board = VirtualBoard::new(clock.clone(), flow, nvm, u64::from(index), street);
        let who = personalisation(index, &StreetKeys::default()).expect("the built-in keys make a meter");
        let meter = SimMeter::start(index, clock, board, who, CREDIT_WH).expect("the firmware starts");
        let serial = drn(index).expect("a serial number").as_str().to_owned();
        Arc::new(Self { meter, note: Mutex::default(), invoked: Mutex::default(), serial })
    }

    /// Its serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Where it is served.
    #[must_use]
    pub const fn host(&self) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }

    /// How it really stands with the meter.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.meter.truth()
    }

    /// Lets the meter carry something out; `None` when it has no power.
    pub fn carry_out<T>(&self, request: impl FnOnce(&mut View<'_>) -> T) -> Option<T> {
        let (mut note, mut invoked) = (self.note.lock().ok()?, self.invoked.lock().ok()?);
        let mut done = None;
        self.meter.carry_out(self.meter.life(), |firmware| {
            done = Some(request(&mut View { firmware, note: &mut note, invoked: &mut invoked }));
        });
        done
    }

    /// How often this method was carried out, whoever asked.
    #[must_use]
    pub fn invoked(&self, method: Method) -> u32 {
        self.invoked.lock().map_or(0, |invoked| invoked.get(&method).copied().unwrap_or(0))
    }
}

/// The meter as the server engine sees it.
#[derive(Debug)]
pub struct View<'a> {
    firmware: &'a mut Firmware,
    note: &'a mut Vec<u8>,
    invoked: &'a mut HashMap<Method, u32>,
}

/// Every wide association has the rights of the management client: what is compared here is the way to the objects.
fn within(caller: Caller) -> Caller {
    match meaning(caller.client_sap) {
        Some(_) => Caller { client_sap: firmware::client::MANAGEMENT, authenticated: true },
        None => caller,
    }
}

fn is_note(caller: Caller, at: Attribute) -> bool {
    at == NOTE && meaning(caller.client_sap).is_some()
}

impl Custody for View<'_> {
    fn system_title(&self) -> SystemTitle {
        self.firmware.system_title()
    }

    fn association(&self, client_sap: u8) -> Option<Association> {
        let Some((mechanism, suite)) = meaning(client_sap) else {
            return self.firmware.association(client_sap);
        };
        let suites = [SecuritySuite::Suite0, SecuritySuite::Suite1, SecuritySuite::Suite2];
        let policy = suite.map_or(SecurityPolicy::NONE, |suite| {
            SecurityPolicy::authenticated_encrypted(suites[usize::from(suite)])
        });
        Some(Association {
            client_sap,
            mechanism,
            policy,
            key_set: suite.unwrap_or(0),
            instance: 1,
            inactivity: Duration::from_secs(60),
            conformance: IMPLEMENTED,
        })
    }

    fn pre_established(&self, client_sap: u8) -> Option<PreEstablished> {
        let known = PRE_ESTABLISHED.contains(&client_sap);
        let association = self.association(client_sap).filter(|_| known)?;
        let client_title = PRE_ESTABLISHED_TITLE;
        Some(PreEstablished { association, client_title, client_max_pdu: 1024 })
    }

    fn secret(&self, client_sap: u8) -> Option<Secret> {
        match meaning(client_sap) {
            Some(_) => Secret::new(SECRET).ok(),
            None => self.firmware.secret(client_sap),
        }
    }

    fn key(&self, key_set: u8, usage: KeyUsage) -> Option<Key> {
        match (key_set, usage) {
            (2, KeyUsage::GlobalUnicastEncryption) => Some(Key::new_256(WIDE_ENCRYPTION_KEY)),
            (2, KeyUsage::Authentication) => Some(Key::new_256(WIDE_AUTHENTICATION_KEY)),
            (2, KeyUsage::KeyEncrypting) => Some(Key::new_256(WIDE_MASTER_KEY)),
            _ => self.firmware.key(0, usage),
        }
    }

    fn next_counter(&mut self, _key_set: u8) -> Option<u32> {
        self.firmware.next_counter(0)
    }

    fn last_seen(&self, _key_set: u8, peer: &SystemTitle) -> Option<u32> {
        self.firmware.last_seen(0, peer)
    }

    fn accept(&mut self, _key_set: u8, peer: &SystemTitle, counter: u32) -> bool {
        self.firmware.accept(0, peer, counter)
    }

    fn sign(&mut self, suite: SecuritySuite, parts: &[&[u8]]) -> Option<Signature> {
        signing_key(suite, METER_SIGNING_KEY)?.sign(parts)
    }

    fn verify(
        &self,
        suite: SecuritySuite,
        _client_sap: u8,
        _peer: &SystemTitle,
        parts: &[&[u8]],
        signature: &[u8],
    ) -> bool {
        let key = signing_key(suite, CLIENT_SIGNING_KEY);
        key.is_some_and(|key| key.public_key().verify(parts, signature))
    }

    fn agree(&self, suite: SecuritySuite, public: &[u8]) -> Option<SecretNumber> {
        let theirs = PublicKey::from_bytes(Curve::of_suite(suite)?, public)?;
        signing_key(suite, METER_AGREEMENT_KEY)?.agree(&theirs)
    }

    fn agreement_key_of(&self, suite: SecuritySuite, _peer: &SystemTitle) -> Option<PublicKey> {
        Some(signing_key(suite, CLIENT_AGREEMENT_KEY)?.public_key())
    }

    fn random(&mut self, out: &mut [u8]) {
        self.firmware.random(out);
    }
}

impl ObjectModel for View<'_> {
    fn get(
        &mut self,
        caller: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        piece: u32,
        out: &mut dyn Writer,
    ) -> Result<Piece, DataAccessResult> {
        if !is_note(caller, at) {
            return self.firmware.get(within(caller), at, selection, piece, out);
        }
        // Head and first bytes, then the rest in pieces that fit.
        let refuse = |_| DataAccessResult::OtherReason;
        let size = protocol::dlms::model::PIECE_MAX - 8;
        if piece == 0 {
            out.write_u8(9).map_err(refuse)?;
            out.write_length(self.note.len()).map_err(refuse)?;
        }
        let from = (piece as usize * size).min(self.note.len());
        let to = (from + size).min(self.note.len());
        out.write_bytes(&self.note[from..to]).map_err(refuse)?;
        Ok(if to == self.note.len() { Piece::Last } else { Piece::More })
    }

    fn set(
        &mut self,
        caller: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        if !is_note(caller, at) {
            return self.firmware.set(within(caller), at, selection, value);
        }
        let octets = value.as_bytes().filter(|octets| octets.len() <= NOTE_MAX);
        *self.note = octets.ok_or(DataAccessResult::TypeUnmatched)?.to_vec();
        Ok(())
    }

    fn action(
        &mut self,
        caller: Caller,
        at: Method,
        parameter: Option<Data<'_>>,
        out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        *self.invoked.entry(at).or_default() += 1;
        self.firmware.action(within(caller), at, parameter, out)
    }

    fn attribute_access(&self, caller: Caller, at: Attribute) -> AttributeAccess {
        if is_note(caller, at) {
            return AttributeAccess::READ | AttributeAccess::WRITE;
        }
        self.firmware.attribute_access(within(caller), at)
    }

    fn method_access(&self, caller: Caller, at: Method) -> MethodAccess {
        self.firmware.method_access(within(caller), at)
    }
}

impl View<'_> {
    /// What the meter pushes: its name, the time and its energy, read as the management client reads them.
    ///
    /// # Errors
    /// When a value does not fit.
    pub fn pushed(&mut self, out: &mut dyn Writer) -> protocol::codec::Result<()> {
        use protocol::cosem::obis;
        let caller = Caller { client_sap: firmware::client::MANAGEMENT, authenticated: true };
        let wanted = [(1, obis::LOGICAL_DEVICE_NAME), (8, obis::CLOCK), (3, obis::IMPORT_ENERGY)];
        out.write_bytes(&[2, wanted.len() as u8])?;
        for (class_id, logical_name) in wanted {
            let at = Attribute { class_id, logical_name, index: 2 };
            if self.firmware.get(caller, at, None, 0, out).is_err() {
                Data::Null.encode(out)?;
            }
        }
        Ok(())
    }
}
