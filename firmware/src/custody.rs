//! Who may associate with the meter, with which keys, and which invocation counters are used up.

use core::time::Duration;

use hardware::board::{Board, Health};
use protocol::codec::acse::AuthMechanism;
#[cfg(feature = "ecdsa")]
use protocol::dlms::security::ecdsa::{PublicKey, SecretNumber, Signature};
use protocol::dlms::security::{
    CounterBlock, Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, SystemTitle,
};
use protocol::dlms::server::{Association, Custody, IMPLEMENTED};

use crate::meter::Meter;
use crate::objects::client;
#[cfg(feature = "ecdsa")]
use crate::suite1;

/// The set of global keys that every meter has: 0.0.43.0.0.255. Counters are kept once for all sets.
const KEY_SET: u8 = 0;
/// AES-GCM-128 for ciphering, AES-128 key wrap.
pub(crate) const SUITE: SecuritySuite = SecuritySuite::Suite0;
/// An association nobody uses for so long ends; the client opens it again.
const INACTIVITY: Duration = Duration::from_secs(300);

impl<B: Board> Custody for Meter<B> {
    fn system_title(&self) -> SystemTitle {
        SystemTitle(self.who.system_title)
    }

    fn association(&self, client_sap: u8) -> Option<Association> {
        let none = SecurityPolicy::NONE;
        let policy = self.keys.policy().of_association(SUITE);
        let (mechanism, policy, instance) = match client_sap {
            client::PUBLIC => (AuthMechanism::None, none, 1),
            client::READER => (AuthMechanism::Low, none, 2),
            client::VENDING => (AuthMechanism::HighGmac, policy, 3),
            client::MANAGEMENT => (AuthMechanism::HighGmac, policy, 4),
            #[cfg(feature = "ecdsa")]
            client::ECDSA => {
                let policy = self.suite1.as_ref()?.keys.policy().of_association(suite1::SUITE);
                (AuthMechanism::HighEcdsa, policy, 5)
            }
            _ => return None,
        };
        #[cfg(feature = "ecdsa")]
        let key_set = if client_sap == client::ECDSA { suite1::KEY_SET } else { KEY_SET };
        #[cfg(not(feature = "ecdsa"))]
        let key_set = KEY_SET;
        let (conformance, inactivity) = (IMPLEMENTED, INACTIVITY);
        Some(Association { client_sap, mechanism, policy, conformance, key_set, instance, inactivity })
    }

    fn secret(&self, client_sap: u8) -> Option<Secret> {
        match client_sap {
            client::READER => Secret::new(&self.who.keys.reader_password).ok(),
            _ => None,
        }
    }

    fn key(&self, key_set: u8, usage: KeyUsage) -> Option<Key> {
        match key_set {
            KEY_SET => self.keys.get(usage),
            #[cfg(feature = "ecdsa")]
            suite1::KEY_SET => self.suite1.as_ref()?.keys.get(usage),
            _ => None,
        }
    }

    fn next_counter(&mut self, _key_set: u8) -> Option<u32> {
        if let Some(counter) = self.block.take() {
            return Some(counter);
        }
        let mut next = self.counters.clone();
        let (first, count) = next.reserve()?;
        self.counter_journal.write(self.board.storage(), &next).ok()?;
        self.counters = next;
        self.block = CounterBlock::new(first, count);
        self.block.take()
    }

    fn last_seen(&self, _key_set: u8, peer: &SystemTitle) -> Option<u32> {
        self.counters.last_seen(*peer.as_bytes())
    }

    fn accept(&mut self, _key_set: u8, peer: &SystemTitle, counter: u32) -> bool {
        let mut next = self.counters.clone();
        next.accept(*peer.as_bytes(), counter);
        // What is not stored does not count: the same frame may come again when the storage works again.
        let stored = self.counter_journal.write(self.board.storage(), &next).is_ok();
        if stored {
            self.counters = next;
        }
        stored
    }

    #[cfg(feature = "ecdsa")]
    fn sign(&mut self, suite: SecuritySuite, parts: &[&[u8]]) -> Option<Signature> {
        self.suite1_sign(suite, parts)
    }

    #[cfg(feature = "ecdsa")]
    fn verify(
        &self,
        suite: SecuritySuite,
        client_sap: u8,
        peer: &SystemTitle,
        parts: &[&[u8]],
        signature: &[u8],
    ) -> bool {
        self.suite1_verify((suite, client_sap), peer, parts, signature)
    }

    #[cfg(feature = "ecdsa")]
    fn agree(&self, suite: SecuritySuite, public: &[u8]) -> Option<SecretNumber> {
        self.suite1_agree(suite, public)
    }

    #[cfg(feature = "ecdsa")]
    fn agreement_key_of(&self, suite: SecuritySuite, peer: &SystemTitle) -> Option<PublicKey> {
        self.suite1_agreement_key_of(suite, peer)
    }

    fn random(&mut self, out: &mut [u8]) {
        self.board.health().random(out);
    }
}
