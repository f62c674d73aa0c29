//! A device of which the compiler knows nothing.

use core::hint::black_box;

use protocol::codec::axdr::Data;
use protocol::codec::codec::Writer;
use protocol::codec::cosem::{AttributeAccess, MethodAccess};
use protocol::codec::xdlms::{ActionResult, Conformance, DataAccessResult, SelectiveAccess};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel, Piece};
use protocol::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey, SecretNumber, Signature};
use protocol::dlms::security::{Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, SystemTitle};
use protocol::dlms::server::{Association, Custody};

pub struct Device;

/// Some private key.
pub fn private() -> Option<PrivateKey> {
    PrivateKey::from_bytes(Curve::P256, &black_box([1; 32]))
}

/// The policies an association row may have.
pub fn policy() -> SecurityPolicy {
    let policy = SecurityPolicy::authenticated_encrypted(black_box(protocol::dlms::security::SecuritySuite::Suite0));
    if black_box(true) { policy } else { SecurityPolicy::NONE }
}

pub fn key() -> Key {
    if black_box(true) { Key::new(black_box([0; 16])) } else { Key::new_256(black_box([0; 32])) }
}

impl Custody for Device {
    fn system_title(&self) -> SystemTitle {
        SystemTitle(black_box([0; 8]))
    }
    fn association(&self, client_sap: u8) -> Option<Association> {
        let arc = black_box(5);
        black_box(true).then(|| Association {
            client_sap,
            mechanism: protocol::codec::acse::AuthMechanism::from_arc(arc),
            policy: policy(),
            conformance: Conformance::from_bits_truncate(black_box(0)),
            key_set: 0,
            instance: 1,
            inactivity: core::time::Duration::from_secs(black_box(120)),
        })
    }
    fn secret(&self, _: u8) -> Option<Secret> {
        Secret::new(&black_box([0; 8])).ok()
    }
    fn key(&self, _: u8, _: KeyUsage) -> Option<Key> {
        black_box(true).then(key)
    }
    fn next_counter(&mut self, _: u8) -> Option<u32> {
        black_box(Some(1))
    }
    fn last_seen(&self, _: u8, _: &SystemTitle) -> Option<u32> {
        black_box(Some(1))
    }
    fn accept(&mut self, _: u8, _: &SystemTitle, counter: u32) -> bool {
        black_box(counter) > 0
    }
    fn sign(&mut self, _: SecuritySuite, parts: &[&[u8]]) -> Option<Signature> {
        private()?.sign(parts)
    }
    fn verify(&self, _: SecuritySuite, _: u8, _: &SystemTitle, parts: &[&[u8]], signature: &[u8]) -> bool {
        private().is_some_and(|key| key.public_key().verify(parts, signature))
    }
    fn agree(&self, _: SecuritySuite, public: &[u8]) -> Option<SecretNumber> {
        private()?.agree(&PublicKey::from_bytes(Curve::P256, public)?)
    }
    fn agreement_key_of(&self, _: SecuritySuite, _: &SystemTitle) -> Option<PublicKey> {
        Some(private()?.public_key())
    }
    fn random(&mut self, out: &mut [u8]) {
        black_box(out);
    }
}

impl ObjectModel for Device {
    fn get(
        &mut self,
        _: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        piece: u32,
        out: &mut dyn Writer,
    ) -> Result<Piece, DataAccessResult> {
        black_box((at, selection, piece));
        let _ = out.write_bytes(black_box(&[0; 64]));
        black_box(Ok(Piece::More))
    }
    fn set(
        &mut self,
        _: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        black_box((at, selection, value));
        black_box(Ok(()))
    }
    fn action(
        &mut self,
        _: Caller,
        at: Method,
        parameter: Option<Data<'_>>,
        out: &mut dyn Writer,
    ) -> Result<bool, ActionResult> {
        black_box((at, parameter));
        let _ = out.write_bytes(black_box(&[0; 64]));
        black_box(Ok(true))
    }
    fn attribute_access(&self, _: Caller, _: Attribute) -> AttributeAccess {
        AttributeAccess::from_bits_truncate(black_box(0))
    }
    fn method_access(&self, _: Caller, _: Method) -> MethodAccess {
        MethodAccess::from_bits_truncate(black_box(0))
    }
}
