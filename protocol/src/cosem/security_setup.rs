//! Class 64, security setup (version 1; Blue Book 4.4.7): policy, keys and how they are changed.
//!
//! Certificates are out of scope: public keys are provisioned, the list of certificates is empty. A generated key's public
//! half is told in a certificate request, which whoever reads it may hand to a certification authority or provision.

use super::class::{Any, Array, Enumeration, Items, Octets, ToData, class, owned, structure};
use super::credit::wire_enum;
use super::values::put_array;
use super::{FromData, bad_value};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Error, ErrorKind, Result, Writer};
use crate::codec::xdlms::ActionResult;
use crate::dlms::security::{Key, SecurityPolicy, SecuritySuite, key_wrap};

mod agreement;

pub use agreement::{Parties, put_key_agreement};

class! {
    /// Security setup.
    SecuritySetup = 64, version 1;
    attributes {
        /// What APDUs must be protected with.
        2 SECURITY_POLICY: (Policy), security_policy;
        /// The suite's number.
        3 SECURITY_SUITE: (Enumeration), security_suite;
        /// Eight bytes, none where any client's is taken.
        4 CLIENT_SYSTEM_TITLE: (Octets), client_system_title;
        /// Eight bytes.
        5 SERVER_SYSTEM_TITLE: (Octets), server_system_title;
        /// Certificates, which are out of scope.
        6 CERTIFICATES: [Any], certificates;
    }
    methods {
        /// Strengthens the policy.
        1 SECURITY_ACTIVATE: (Policy), security_activate;
        /// Changes keys, each wrapped under the master key: [`put_key_transfer`].
        2 KEY_TRANSFER: (Array<KeyData<'static>>), key_transfer;
        /// Changes keys, each agreed on with fresh key pairs of both ends: [`put_key_agreement`]. Returns the meter's half as
        /// the same array: [`NewKeys::agreed_with`].
        3 KEY_AGREEMENT: (Array<KeyData<'static>>), key_agreement;
        /// Makes a new key pair of the meter.
        4 GENERATE_KEY_PAIR: (KeyPair), generate_key_pair;
        /// Returns an octet string: the public key of a key pair in a certificate request
        /// ([`crate::dlms::security::pkcs10`]).
        5 GENERATE_CERTIFICATE_REQUEST: (KeyPair), generate_certificate_request;
        /// Takes a certificate.
        6 IMPORT_CERTIFICATE: (Octets), import_certificate;
        /// Returns a certificate.
        7 EXPORT_CERTIFICATE: (Any), export_certificate;
        /// Takes a certificate away.
        8 REMOVE_CERTIFICATE: (Any), remove_certificate;
    }
}

/// The security policy: a bit for each kind of protection that APDUs must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy(pub u8);

impl Policy {
    /// Requests must be authenticated.
    pub const AUTHENTICATED_REQUEST: u8 = 0x04;
    /// Requests must be encrypted.
    pub const ENCRYPTED_REQUEST: u8 = 0x08;
    /// Requests must be signed.
    pub const SIGNED_REQUEST: u8 = 0x10;
    /// Responses are authenticated.
    pub const AUTHENTICATED_RESPONSE: u8 = 0x20;
    /// Responses are encrypted.
    pub const ENCRYPTED_RESPONSE: u8 = 0x40;
    /// Responses are signed.
    pub const SIGNED_RESPONSE: u8 = 0x80;

    /// Nothing is demanded.
    pub const NOTHING: Self = Self(0);
    /// Everything is authenticated.
    pub const AUTHENTICATED: Self = Self(Self::AUTHENTICATED_REQUEST | Self::AUTHENTICATED_RESPONSE);
    /// Everything is authenticated and encrypted.
    pub const BOTH: Self = Self(Self::AUTHENTICATED.0 | Self::ENCRYPTED_REQUEST | Self::ENCRYPTED_RESPONSE);

    /// What this build can hold a peer to.
    const KNOWN: u8 = Self::BOTH.0;

    /// The policy after [`SECURITY_ACTIVATE`] asked for `wanted`: the same or a stronger one. `None` when anything demanded
    /// now would no longer be, or when it cannot be enforced.
    #[must_use]
    pub const fn strengthened(self, wanted: Self) -> Option<Self> {
        let weaker = self.0 & !wanted.0 != 0;
        let unknown = wanted.0 & !Self::KNOWN != 0;
        if weaker || unknown { None } else { Some(wanted) }
    }

    /// What it demands of an association. What is demanded of one direction is applied to both.
    #[must_use]
    pub const fn of_association(self, suite: SecuritySuite) -> SecurityPolicy {
        SecurityPolicy {
            suite,
            authenticated: self.0 & Self::AUTHENTICATED.0 != 0,
            encrypted: self.0 & (Self::ENCRYPTED_REQUEST | Self::ENCRYPTED_RESPONSE) != 0,
            ..SecurityPolicy::NONE
        }
    }
}

impl Default for Policy {
    /// Everything is authenticated and encrypted.
    fn default() -> Self {
        Self::BOTH
    }
}

impl FromData<'_> for Policy {
    fn from_data(d: Data<'_>) -> Result<Self> {
        match d {
            Data::Enum(bits) => Ok(Self(bits)),
            _ => Err(bad_value()),
        }
    }
}

owned!(Policy);

impl ToData for Policy {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        Data::Enum(self.0).encode(w)
    }
}

wire_enum! {
    /// What a key is for, in the methods of this class.
    KeyId {
        /// Global unicast encryption key.
        Unicast = 0,
        /// Global broadcast encryption key.
        Broadcast = 1,
        /// Authentication key.
        Authentication = 2,
        /// Master key: the key-encrypting key.
        Master = 3,
    }
}

wire_enum! {
    /// A key pair of the meter.
    KeyPair {
        /// It signs with it.
        DigitalSignature = 0,
        /// It agrees on keys with it.
        KeyAgreement = 1,
        /// Transport layer security.
        Tls = 2,
    }
}

structure! {
    /// One key in a parameter of this class.
    KeyData<'a> {
        /// What it is for.
        key_id: KeyId,
        /// The wrapped key; or, in a key agreement, an ephemeral public key and its signature.
        key_data: &'a [u8],
    }
}

/// Uses of keys: most keys in one call.
const USES: usize = 4;

/// Writes the parameter of [`KEY_TRANSFER`], each key wrapped under `master`.
///
/// # Errors
/// The buffer is full.
pub fn put_key_transfer(w: &mut dyn Writer, master: &Key, keys: &[(KeyId, &Key)]) -> Result<()> {
    put_array(w, keys.len())?;
    for (key_id, key) in keys {
        let wrapped = key_wrap::wrap(master, key).ok_or(Error::new(ErrorKind::InvalidLength, 0))?;
        KeyData { key_id: *key_id, key_data: &wrapped }.put(w)?;
    }
    Ok(())
}

/// New keys, all of one method call. Neither `Debug` nor any error shows them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NewKeys {
    keys: [Option<Key>; USES],
}

impl core::fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("NewKeys(..)")
    }
}

impl NewKeys {
    /// The new key of that use.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&Key> {
        self.keys.get(id as usize)?.as_ref()
    }

    /// Takes in a key; an error where there is one of that use already.
    fn add(&mut self, id: KeyId, key: Key) -> core::result::Result<(), ActionResult> {
        match self.keys.get_mut(id as usize) {
            Some(slot @ None) => *slot = Some(key),
            _ => return Err(ActionResult::OtherReason),
        }
        Ok(())
    }

    /// Unwraps every key of a [`KEY_TRANSFER`] under `master`: all of them or none.
    ///
    /// # Errors
    /// `TypeUnmatched` when an item is no key; `OtherReason` when it is empty, when a key does not unwrap or is not as long as the
    /// suite's, or when one use comes twice.
    pub fn transferred<'a>(
        list: Items<'a, KeyData<'a>>,
        suite: SecuritySuite,
        master: &Key,
    ) -> core::result::Result<Self, ActionResult> {
        let mut keys = Self::default();
        if list.is_empty() || list.len() > USES {
            return Err(ActionResult::OtherReason);
        }
        for item in list.iter() {
            let KeyData { key_id, key_data } = item.map_err(|_| ActionResult::TypeUnmatched)?;
            let key = key_wrap::unwrap(master, key_data).filter(|key| key.len() == suite.key_len());
            keys.add(key_id, key.ok_or(ActionResult::OtherReason)?)?;
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::{Decode, SliceWriter};

    const MASTER: Key = Key::new([0x77; 16]);

    fn parameter(keys: &[(KeyId, &Key)]) -> std::vec::Vec<u8> {
        let mut buffer = [0xA5; 256];
        let mut w = SliceWriter::new(&mut buffer);
        put_key_transfer(&mut w, &MASTER, keys).unwrap();
        w.as_slice().to_vec()
    }

    fn list(bytes: &[u8]) -> core::result::Result<Items<'_, KeyData<'_>>, ActionResult> {
        Items::from_data(Data::from_bytes(bytes).unwrap()).map_err(|_| ActionResult::TypeUnmatched)
    }

    fn read(bytes: &[u8]) -> core::result::Result<NewKeys, ActionResult> {
        NewKeys::transferred(list(bytes)?, SecuritySuite::Suite0, &MASTER)
    }

    #[test]
    fn several_keys_arrive_in_one_call() {
        let (unicast, authentication) = (Key::new([1; 16]), Key::new([2; 16]));
        let bytes = parameter(&[(KeyId::Unicast, &unicast), (KeyId::Authentication, &authentication)]);
        let keys = read(&bytes).unwrap();
        assert_eq!(keys.get(KeyId::Unicast), Some(&unicast));
        assert_eq!(keys.get(KeyId::Authentication), Some(&authentication));
        assert_eq!(keys.get(KeyId::Master), None);
        assert_eq!(std::format!("{keys:?}"), "NewKeys(..)");
    }

    /// The array of structures as `gurux-dlms` 1.0.203 (PyPI) builds it, with the wrapped key of RFC 3394, 4.1.
    #[test]
    fn the_parameter_has_the_form_that_others_send() {
        let bytes = [
            &[1, 1, 2, 2, 0x16, 0, 9, 24][..],
            &[0x1F, 0xA6, 0x8B, 0x0A, 0x81, 0x12, 0xB4, 0x47, 0xAE, 0xF3, 0x4B, 0xD8],
            &[0xFB, 0x5A, 0x7B, 0x82, 0x9D, 0x3E, 0x86, 0x23, 0x71, 0xD2, 0xCF, 0xE5],
        ]
        .concat();
        let master = Key::new(core::array::from_fn(|i| i as u8));
        let key = Key::new(core::array::from_fn(|i| 0x11 * i as u8));
        let read = NewKeys::transferred(list(&bytes).unwrap(), SecuritySuite::Suite0, &master);
        assert_eq!(read.unwrap().get(KeyId::Unicast), Some(&key));
        let mut buffer = [0xA5; 64];
        let mut w = SliceWriter::new(&mut buffer);
        put_key_transfer(&mut w, &master, &[(KeyId::Unicast, &key)]).unwrap();
        assert_eq!(w.as_slice(), bytes);
    }

    #[test]
    fn one_bad_key_spoils_the_whole_call() {
        let key = Key::new([1; 16]);
        let good = parameter(&[(KeyId::Unicast, &key), (KeyId::Authentication, &key)]);
        assert!(read(&good).is_ok());
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(read(&damaged), Err(ActionResult::OtherReason));
        let twice = parameter(&[(KeyId::Unicast, &key), (KeyId::Unicast, &key)]);
        assert_eq!(read(&twice), Err(ActionResult::OtherReason));
        let long = parameter(&[(KeyId::Unicast, &Key::new_256([1; 32]))]);
        assert_eq!(read(&long), Err(ActionResult::OtherReason), "a key of another suite");
        assert_eq!(read(&parameter(&[])), Err(ActionResult::OtherReason));
        let mut unknown = good.clone();
        unknown[5] = 4;
        assert_eq!(read(&unknown), Err(ActionResult::TypeUnmatched));
        for wrong in
            [&[0][..], &[9, 1, 0], &[1, 1, 0x16, 0], &[1, 1, 2, 1, 0x16, 0], &[1, 1, 2, 2, 9, 0, 9, 0]]
        {
            assert_eq!(read(wrong), Err(ActionResult::TypeUnmatched));
        }
    }

    #[test]
    fn a_policy_is_strengthened_or_refused() {
        assert_eq!(Policy::AUTHENTICATED.strengthened(Policy::BOTH), Some(Policy::BOTH));
        assert_eq!(Policy::BOTH.strengthened(Policy::BOTH), Some(Policy::BOTH));
        assert_eq!(Policy::BOTH.strengthened(Policy::AUTHENTICATED), None);
        assert_eq!(Policy::BOTH.strengthened(Policy(Policy::BOTH.0 | Policy::SIGNED_REQUEST)), None);
        for now in 0..=255 {
            for wanted in 0..=255 {
                let next = Policy(now).strengthened(Policy(wanted));
                assert!(next.is_none_or(|next| next.0 & now == now), "{now:02x} {wanted:02x}");
            }
        }
        let demanded = Policy(Policy::ENCRYPTED_REQUEST).of_association(SecuritySuite::Suite0);
        assert!(demanded.encrypted && !demanded.authenticated);
        assert!(Policy::NOTHING.of_association(SecuritySuite::Suite0).is_none());
    }
}
