//! The meter's global keys and security policy: what class 64 changes, in one journal record. A power cut leaves the old
//! keys or the new ones, all of them.

use protocol::cosem::security_setup::{KeyId, NewKeys, Policy};
use protocol::dlms::security::{Key, KeyUsage};
use serde::{Deserialize, Serialize};

use crate::personalisation::Personalisation;

/// Bytes of one place of the key journal.
pub const KEY_PLACE_BYTES: usize = 128;

/// The keys in force. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStore {
    unicast: [u8; 16],
    broadcast: Option<[u8; 16]>,
    authentication: [u8; 16],
    master: [u8; 16],
    policy: u8,
}

impl core::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyStore(..)")
    }
}

impl KeyStore {
    /// The keys the factory gave.
    #[must_use]
    pub fn new(who: &Personalisation) -> Self {
        Self {
            unicast: who.keys.encryption,
            broadcast: None,
            authentication: who.keys.authentication,
            master: who.keys.master,
            policy: who.options.policy.0,
        }
    }

    /// The key for a use; a dedicated key is no global one.
    #[must_use]
    pub fn get(&self, usage: KeyUsage) -> Option<Key> {
        Some(Key::new(match usage {
            KeyUsage::GlobalUnicastEncryption => self.unicast,
            KeyUsage::GlobalBroadcastEncryption => self.broadcast?,
            KeyUsage::Authentication => self.authentication,
            KeyUsage::KeyEncrypting => self.master,
            KeyUsage::Dedicated => return None,
        }))
    }

    /// What ciphered associations must be protected with.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        Policy(self.policy)
    }

    /// The same under another policy.
    #[must_use]
    pub fn with_policy(&self, policy: Policy) -> Self {
        Self { policy: policy.0, ..self.clone() }
    }

    /// The same with `new` in the places of the old. `None` when one of them is not of 16 bytes.
    #[must_use]
    pub fn with(&self, new: &NewKeys) -> Option<Self> {
        let pick = |id, old| match new.get(id) {
            Some(key) => key.expose().try_into().ok(),
            None => Some(old),
        };
        let broadcast = match new.get(KeyId::Broadcast) {
            Some(key) => Some(key.expose().try_into().ok()?),
            None => self.broadcast,
        };
        Some(Self {
            unicast: pick(KeyId::Unicast, self.unicast)?,
            broadcast,
            authentication: pick(KeyId::Authentication, self.authentication)?,
            master: pick(KeyId::Master, self.master)?,
            policy: self.policy,
        })
    }
}

#[cfg(test)]
impl KeyStore {
    /// The record that takes most bytes.
    pub(crate) const fn longest() -> Self {
        let key = [0xFF; 16];
        Self { unicast: key, broadcast: Some(key), authentication: key, master: key, policy: 255 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_record_fits_its_place() {
        let store = KeyStore::longest();
        let mut place = [0; KEY_PLACE_BYTES];
        assert!(protocol::wire::seal(u32::MAX, &store, &mut place).is_ok());
        assert_eq!(std::format!("{store:?}"), "KeyStore(..)");
    }
}
