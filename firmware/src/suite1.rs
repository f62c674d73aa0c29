//! Key set 1, for clients that sign (feature `ecdsa`): symmetric keys of its own, and the meter's key pairs of suite 1, all in one
//! journal record. A power cut leaves the old keys or the new ones, all of them. Its Security setup object is 0.0.43.0.1.255.

use core::fmt;

use hardware::board::{Board, Health};
use protocol::codec::codec::Writer;
use protocol::codec::xdlms::ActionResult;
use protocol::cosem::class::{Invoked, Items, ToData};
use protocol::cosem::security_setup::{KeyData, KeyPair, NewKeys};
use protocol::dlms::model::Caller;
use protocol::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey, SecretNumber, Signature};
use protocol::dlms::security::{SecuritySuite, SystemTitle, pkcs10};
use protocol::dlms::server::Custody;
use serde::{Deserialize, Serialize};

use crate::keys::KeyStore;
use crate::meter::Meter;
use crate::objects::client;
use crate::personalisation::Personalisation;

/// Its number among the key sets.
pub(crate) const KEY_SET: u8 = 1;
/// AES-GCM-128, ECDSA and ECDH on P-256.
pub(crate) const SUITE: SecuritySuite = SecuritySuite::Suite1;
const CURVE: Curve = Curve::P256;

/// What the factory gives a meter for clients that sign. `Debug` shows no private key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Suite1 {
    /// The client's system title: attribute 4 of the Security setup object.
    pub client_title: [u8; 8],
    /// The public key that client signs with, `x || y`.
    pub client_signing: [u8; 64],
    /// Its public key for key agreement, `x || y`.
    pub client_agreement: [u8; 64],
    /// The private key the meter signs with.
    pub signing: [u8; 32],
    /// The meter's private key for key agreement.
    pub agreement: [u8; 32],
}

impl fmt::Debug for Suite1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite1").field("client_title", &self.client_title).finish_non_exhaustive()
    }
}

/// The keys in force. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite1Store {
    /// Symmetric keys and policy.
    pub(crate) keys: KeyStore,
    signing: [u8; 32],
    agreement: [u8; 32],
}

impl fmt::Debug for Suite1Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Suite1Store(..)")
    }
}

impl Suite1Store {
    /// The keys the factory gave: the symmetric ones are those of key set 0. `None` for a meter without suite 1.
    #[must_use]
    pub fn new(who: &Personalisation) -> Option<Self> {
        let Suite1 { signing, agreement, .. } = who.options.suite1?;
        Some(Self { keys: KeyStore::new(who), signing, agreement })
    }

    fn pair(&self, which: KeyPair) -> Option<PrivateKey> {
        let number = match which {
            KeyPair::DigitalSignature => &self.signing,
            KeyPair::KeyAgreement => &self.agreement,
            KeyPair::Tls => return None,
        };
        PrivateKey::from_bytes(CURVE, number)
    }

    /// The same with other symmetric keys or another policy.
    pub(crate) fn with_keys(&self, keys: KeyStore) -> Self {
        Self { keys, ..self.clone() }
    }

    /// The same with another key pair in the place of the old. `None` for one that the meter does not use.
    fn with_pair(&self, which: KeyPair, key: &PrivateKey) -> Option<Self> {
        let number = key.number().expose().try_into().ok()?;
        match which {
            KeyPair::DigitalSignature => Some(Self { signing: number, ..self.clone() }),
            KeyPair::KeyAgreement => Some(Self { agreement: number, ..self.clone() }),
            KeyPair::Tls => None,
        }
    }
}

impl<B: Board> Meter<B> {
    /// The provisioned client, if `title` is its title.
    fn suite1_client(&self, title: &SystemTitle) -> Option<Suite1> {
        self.who.options.suite1.filter(|known| known.client_title == *title.as_bytes())
    }

    fn suite1_pair(&self, which: KeyPair) -> Option<PrivateKey> {
        self.suite1.as_ref()?.pair(which)
    }

    pub(crate) fn suite1_sign(&self, suite: SecuritySuite, parts: &[&[u8]]) -> Option<Signature> {
        self.suite1_pair(KeyPair::DigitalSignature).filter(|_| suite == SUITE)?.sign(parts)
    }

    pub(crate) fn suite1_verify(
        &self,
        (suite, client_sap): (SecuritySuite, u8),
        peer: &SystemTitle,
        parts: &[&[u8]],
        signature: &[u8],
    ) -> bool {
        let known = self
            .suite1_client(peer)
            .filter(|_| suite == SUITE && matches!(client_sap, client::ECDSA | client::MANAGEMENT));
        known
            .and_then(|known| PublicKey::from_bytes(CURVE, &known.client_signing))
            .is_some_and(|key| key.verify(parts, signature))
    }

    pub(crate) fn suite1_agree(&self, suite: SecuritySuite, public: &[u8]) -> Option<SecretNumber> {
        let theirs = PublicKey::from_bytes(CURVE, public)?;
        self.suite1_pair(KeyPair::KeyAgreement).filter(|_| suite == SUITE)?.agree(&theirs)
    }

    pub(crate) fn suite1_agreement_key_of(
        &self,
        suite: SecuritySuite,
        peer: &SystemTitle,
    ) -> Option<PublicKey> {
        let known = self.suite1_client(peer).filter(|_| suite == SUITE)?;
        PublicKey::from_bytes(CURVE, &known.client_agreement)
    }

    /// The Security setup's method 3: symmetric keys are agreed on. They count from the next association on.
    pub(crate) fn agree_suite1<'a>(
        &mut self,
        caller: Caller,
        offered: Items<'a, KeyData<'a>>,
        out: &mut dyn Writer,
    ) -> Invoked {
        let store = self.suite1.clone().ok_or(ActionResult::ObjectUnavailable)?;
        let known = self.who.options.suite1.ok_or(ActionResult::ObjectUnavailable)?;
        let peer = (caller.client_sap, &SystemTitle(known.client_title));
        let new = NewKeys::agreed(offered, SUITE, peer, self, out)?;
        let keys = store.keys.with(&new).ok_or(ActionResult::OtherReason)?;
        self.change_suite1(store.with_keys(keys))
    }

    /// Method 4: a new key pair of the meter, which counts from the next association on.
    pub(crate) fn generate_suite1_pair(&mut self, which: KeyPair) -> Invoked {
        let store = self.suite1.clone().ok_or(ActionResult::ObjectUnavailable)?;
        let key = PrivateKey::generate(CURVE, |bytes| self.board.health().random(bytes));
        let next = store.with_pair(which, &key.ok_or(ActionResult::HardwareFault)?);
        self.change_suite1(next.ok_or(ActionResult::ObjectUnavailable)?)
    }

    /// Method 5: the public half of a key pair, in a certificate request.
    pub(crate) fn request_suite1_certificate(&mut self, which: KeyPair, out: &mut dyn Writer) -> Invoked {
        let key = self.suite1_pair(which).ok_or(ActionResult::ObjectUnavailable)?;
        let request = pkcs10::request(&self.system_title(), &key).ok_or(ActionResult::OtherReason)?;
        (&request[..]).put(out).map_err(|_| ActionResult::OtherReason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::SUITE_1_PLACE_BYTES;

    #[test]
    fn the_longest_record_fits_its_place() {
        let store = Suite1Store { keys: KeyStore::longest(), signing: [0xFF; 32], agreement: [0xFF; 32] };
        let mut place = [0; SUITE_1_PLACE_BYTES];
        assert!(protocol::wire::seal(u32::MAX, &store, &mut place).is_ok());
        assert_eq!(std::format!("{store:?}"), "Suite1Store(..)");
    }
}
