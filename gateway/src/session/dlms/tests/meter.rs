//! A small prepaid meter behind the server engine, for dialogues in virtual time. It knows just the objects a session asks
//! for, and can be told to misbehave.

use super::habits::{Habits, SECRET};
use super::image::Image;
use protocol::codec::acse::AuthMechanism;
use protocol::codec::axdr::{Data, Unit};
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::xdlms::{ActionResult, Conformance, DataAccessResult, SelectiveAccess};
use protocol::cosem::account::{AccountStatus, Currency, CurrencyUnit, ModeAndStatus, PaymentMode};
use protocol::cosem::disconnect::{ControlMode, ControlState, RelayReason, Trigger, transition};
use protocol::cosem::token_gateway::{TokenStatus, status_of_sts_result};
use protocol::cosem::{clock, obis};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};
use protocol::dlms::security::{Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, SystemTitle, ecdsa};
use protocol::dlms::server::{Association, Custody};
use std::collections::HashMap;
use std::time::Duration;

pub(super) const EK: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
pub(super) const AK: [u8; 16] =
    [0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF];

/// Faults at the application's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// A token is carried out, its answer is lost, and so is everything until the caller hangs up.
    LosesTokenAnswer,
    /// The relay is commanded, acknowledges and stays where it is.
    StuckRelay,
}

/// The meter.
#[derive(Debug)]
pub(super) struct TestMeter {
    pub(super) serial: &'static str,
    pub(super) mode: PaymentMode,
    pub(super) control_mode: ControlMode,
    pub(super) control: ControlState,
    pub(super) closed: bool,
    pub(super) reason: RelayReason,
    pub(super) credit_wh: i32,
    pub(super) utc_s: u32,
    /// Tokens that the meter takes, and what each is worth.
    pub(super) good_tokens: HashMap<&'static str, i32>,
    pub(super) used: Vec<Vec<u8>>,
    pub(super) last_token: Vec<u8>,
    pub(super) last_result: u8,
    pub(super) entered: u32,
    pub(super) seen: u32,
    pub(super) fault: Fault,
    /// Set by an action whose answer is to be lost; the line looks at it.
    pub(super) mute: bool,
    pub(super) counter: u32,
    pub(super) habits: Habits,
    pub(super) image: Image,
}

impl TestMeter {
    pub(super) fn new(serial: &'static str) -> Self {
        Self {
            serial,
            mode: PaymentMode::Prepayment,
            control_mode: ControlMode::new(4).expect("a mode"),
            control: ControlState::Connected,
            closed: true,
            reason: RelayReason::None,
            credit_wh: 12_300,
            utc_s: 1_000_000_000,
            good_tokens: HashMap::from([("12345678901234567890", 5_000)]),
            used: Vec::new(),
            last_token: Vec::new(),
            last_result: 0,
            entered: 0,
            seen: 0,
            fault: Fault::None,
            mute: false,
            counter: 0,
            habits: Habits::default(),
            image: Image::checked_in(Duration::ZERO),
        }
    }

    fn enter(&mut self, token: &[u8]) {
        self.entered += 1;
        self.last_token = token.to_vec();
        let worth =
            self.good_tokens.iter().find(|(digits, _)| digits.as_bytes() == token).map(|(_, worth)| *worth);
        self.last_result = match worth {
            None => 13,
            Some(_) if self.used.iter().any(|used| used == token) => 10,
            Some(worth) => {
                self.used.push(token.to_vec());
                self.credit_wh += worth;
                1
            }
        };
        self.mute = self.fault == Fault::LosesTokenAnswer;
    }

    fn switch(&mut self, trigger: Trigger) -> Result<bool, ActionResult> {
        let (_, to) =
            transition(self.control_mode, self.control, trigger).ok_or(ActionResult::TemporaryFailure)?;
        if self.fault == Fault::StuckRelay {
            return Ok(false);
        }
        self.control = to;
        self.closed = to == ControlState::Connected;
        self.reason = if self.closed { RelayReason::None } else { RelayReason::Remote };
        Ok(false)
    }

    pub(super) fn write(&self, at: Attribute, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let full = |_| DataAccessResult::OtherReason;
        match (at.class_id, at.logical_name, at.index) {
            (1, obis::SERIAL, 2) => Data::OctetString(self.serial.as_bytes()).encode(out),
            (1, obis::INVOCATION_COUNTER, 2) => Data::DoubleLongUnsigned(self.seen).encode(out),
            (1, obis::RELAY_REASON, 2) => self.reason.encode(out),
            (3, obis::IMPORT_ENERGY, 2) => Data::DoubleLongUnsigned(98_765).encode(out),
            (3, obis::IMPORT_ENERGY, 3) => scaler(out, 1, Unit::WATT_HOUR),
            (3, obis::IMPORT_POWER, 2) => Data::DoubleLong(if self.closed { 742 } else { 0 }).encode(out),
            (3, obis::IMPORT_POWER, 3) => scaler(out, 0, Unit::WATT),
            (8, obis::CLOCK, 2) => {
                let mut time = clock::date_time(self.utc_s, 60, 0);
                if self.habits.deviation == Some(false) {
                    time.deviation = i16::MIN;
                }
                protocol::cosem::values::put_date_time(out, time)
            }
            (111, obis::ACCOUNT, 2) => {
                ModeAndStatus { payment_mode: self.mode, account_status: AccountStatus::Active }.encode(out)
            }
            (111, obis::ACCOUNT, 15) => {
                Currency { name: "Wh", scale: 0, unit: CurrencyUnit::Consumption }.encode(out)
            }
            (112, obis::TOKEN_CREDIT, 2) => Data::DoubleLong(self.credit_wh).encode(out),
            (115, obis::TOKEN_GATEWAY, 2) => Data::OctetString(&self.last_token).encode(out),
            (115, obis::TOKEN_GATEWAY, 3) => {
                protocol::cosem::values::put_date_time(out, clock::date_time(self.utc_s, 60, 0))
            }
            (115, obis::TOKEN_GATEWAY, 6) => {
                TokenStatus { code: status_of_sts_result(self.last_result), data_value: self.last_result }
                    .encode(out)
            }
            (70, obis::DISCONNECT, 2) if self.habits.hides_contact => {
                return Err(DataAccessResult::ReadWriteDenied);
            }
            (70, obis::DISCONNECT, 2) => Data::Boolean(self.closed).encode(out),
            (70, obis::DISCONNECT, 3) => self.control.encode(out),
            (70, obis::DISCONNECT, 4) => self.control_mode.encode(out),
            (18, ..) | (1, obis::FIRMWARE_VERSION, _) => return self.image.write(at, out),
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        .map_err(full)
    }
}

fn scaler(out: &mut dyn Writer, scaler: i8, unit: Unit) -> protocol::codec::codec::Result<()> {
    protocol::cosem::register::ScalerUnit { scaler, unit }.encode(out)
}

impl ObjectModel for TestMeter {
    fn get(
        &mut self,
        _caller: Caller,
        at: Attribute,
        _selection: Option<SelectiveAccess<'_>>,
        _piece: u32,
        out: &mut dyn Writer,
    ) -> Result<Piece, DataAccessResult> {
        self.write(at, out).map(|()| Piece::Last)
    }

    fn set(
        &mut self,
        _caller: Caller,
        at: Attribute,
        _selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        let time = clock::TIME.decode(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
        assert_eq!((at.class_id, at.index), (8, 2), "only the clock is ever set");
        if !self.habits.takes(time) {
            return Err(DataAccessResult::TypeUnmatched);
        }
        self.utc_s = clock::utc_s(time, 60).ok_or(DataAccessResult::OtherReason)?;
        Ok(())
    }

    fn action(
        &mut self,
        _caller: Caller,
        at: Method,
        parameter: Option<Data<'_>>,
        _out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        match (at.class_id, at.index, parameter) {
            (115, 1, Some(Data::OctetString(token))) => {
                let token = token.to_vec();
                self.enter(&token);
                Ok(false)
            }
            (18, ..) => self.image.act(at, parameter),
            (70, 1, Some(Data::Integer(0))) => self.switch(Trigger::RemoteDisconnect),
            (70, 2, Some(Data::Integer(0))) => self.switch(Trigger::RemoteReconnect),
            _ => Err(ActionResult::ObjectUndefined),
        }
    }

    fn attribute_access(&self, _caller: Caller, at: Attribute) -> AttributeAccess {
        if at.class_id == 8 { AttributeAccess::READ | AttributeAccess::WRITE } else { AttributeAccess::READ }
    }

    fn method_access(&self, caller: Caller, _at: Method) -> MethodAccess {
        if caller.authenticated || caller.client_sap == self.habits.client_sap {
            MethodAccess::ACCESS
        } else {
            MethodAccess::empty()
        }
    }
}

impl Custody for TestMeter {
    fn system_title(&self) -> SystemTitle {
        SystemTitle(*b"MGW\0\0\0\0\x01")
    }

    fn association(&self, client_sap: u8) -> Option<Association> {
        let (mechanism, policy) = match client_sap {
            16 if self.habits.public => (AuthMechanism::None, SecurityPolicy::NONE),
            known if known == self.habits.client_sap => (self.habits.mechanism, self.habits.policy),
            _ => return None,
        };
        let conformance = Conformance::all();
        Some(Association {
            client_sap,
            mechanism,
            policy,
            conformance,
            key_set: 0,
            instance: 1,
            inactivity: Duration::ZERO,
        })
    }

    fn secret(&self, _client_sap: u8) -> Option<Secret> {
        Secret::new(SECRET).ok()
    }

    fn key(&self, _key_set: u8, usage: KeyUsage) -> Option<Key> {
        let (encryption, authentication) = self.habits.keys();
        match usage {
            KeyUsage::GlobalUnicastEncryption => Some(encryption),
            KeyUsage::Authentication => Some(authentication),
            _ => None,
        }
    }

    fn next_counter(&mut self, _key_set: u8) -> Option<u32> {
        self.counter += 1;
        Some(self.counter)
    }

    fn sign(&mut self, _suite: SecuritySuite, parts: &[&[u8]]) -> Option<ecdsa::Signature> {
        self.habits.keys_that_sign()?.meter.sign(parts)
    }

    fn verify(
        &self,
        _suite: SecuritySuite,
        _client_sap: u8,
        _peer: &SystemTitle,
        parts: &[&[u8]],
        signature: &[u8],
    ) -> bool {
        let keys = self.habits.keys_that_sign();
        keys.is_some_and(|keys| keys.gateway.public_key().verify(parts, signature))
    }

    fn last_seen(&self, _key_set: u8, _peer: &SystemTitle) -> Option<u32> {
        Some(self.seen)
    }

    fn accept(&mut self, _key_set: u8, _peer: &SystemTitle, counter: u32) -> bool {
        assert!(counter > self.seen, "a counter was used twice");
        self.seen = counter;
        true
    }

    fn random(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("random numbers");
    }
}
