//! Who may associate with the meter, with which keys, and which invocation counters are used up.

use core::time::Duration;

use hardware::board::{Board, Health};
use protocol::codec::acse::AuthMechanism;
use protocol::dlms::security::{
    CounterBlock, Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, SystemTitle,
};
use protocol::dlms::server::{Association, Custody, IMPLEMENTED};

use crate::meter::Meter;
use crate::objects::client;

/// The meter has one set of global keys: 0.0.43.0.0.255.
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
            _ => return None,
        };
        let (conformance, inactivity) = (IMPLEMENTED, INACTIVITY);
        Some(Association {
            client_sap,
            mechanism,
            policy,
            conformance,
            key_set: KEY_SET,
            instance,
            inactivity,
        })
    }

    fn secret(&self, client_sap: u8) -> Option<Secret> {
        match client_sap {
            client::READER => Secret::new(&self.who.keys.reader_password).ok(),
            _ => None,
        }
    }

    fn key(&self, key_set: u8, usage: KeyUsage) -> Option<Key> {
        if key_set == KEY_SET { self.keys.get(usage) } else { None }
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

    fn accept(&mut self, _key_set: u8, peer: &SystemTitle, counter: u32) {
        self.counters.accept(*peer.as_bytes(), counter);
        // When storage fails the counter holds until the next start; commands that need storage fail by themselves.
        let _ = self.counter_journal.write(self.board.storage(), &self.counters);
    }

    fn random(&mut self, out: &mut [u8]) {
        self.board.health().random(out);
    }
}
