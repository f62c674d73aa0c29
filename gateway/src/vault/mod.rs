//! Keys live behind one trait; nobody else sees one. Keys are zeroised and never reach a log, an error or an API.
//!
//! [`KeyVault`] has its vending keys in one of two places: [`SoftKeys`], in its own sealed file, or `Pkcs11Keys` (feature
//! `pkcs11`), in a hardware token that computes DKGA04's HMAC itself. The DLMS keys are in the sealed file either way.

pub mod ceremony;
mod contents;
mod explain;
mod keys;
mod master;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod sealed;
mod secrets;
mod source;
mod tokens;

#[cfg(test)]
mod tests;

pub use contents::{AuditEntry, VendingKeyListing, unhex};
pub use explain::{Difference, Explanation};
pub use keys::{Actor, KeyVault, VendingKeyImport};
pub use master::{MasterKey, MasterKeySource};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{HardwareToken, Pkcs11Keys};
pub use sealed::create_new as write_new;
pub(crate) use sealed::replace;
pub use secrets::{SECRET_LEN_MIN, SecretListing, verify_hmac};
pub use source::{SoftKeys, VendingKeySource};
pub use tokens::{KeyChangeRequest, TokenAction, TokenRequest};

/// The vault as opened by [`KeyVault::open_file`], which needs no hardware: every key is in the sealed file.
pub type SoftVault = KeyVault;

use crate::session::work::{Serial, TokenDigits};
use protocol::dlms::security::ecdsa::{PrivateKey, PublicKey};
use protocol::dlms::security::{Key, Secret};
use sha2::{Digest, Sha256};

/// Opens the vault that the configuration describes.
///
/// # Errors
/// When the master key or the sealed file is missing, damaged or not for each other.
pub fn open(config: &crate::config::VaultConfig) -> Result<KeyVault, VaultError> {
    let master = MasterKey::load(&config.master_key)?;
    #[cfg(feature = "pkcs11")]
    if let Some(token) = &config.hardware_token {
        return KeyVault::with_source(&config.file, &master, Box::new(Pkcs11Keys::open(token)?));
    }
    KeyVault::open_file(&config.file, &master)
}

/// The DLMS keys of one meter: those that its manner of security needs. They print as nothing and are wiped when dropped.
#[derive(Debug, Clone, Default)]
pub struct DlmsKeys {
    /// Global unicast encryption key (EK).
    pub encryption: Option<Key>,
    /// Authentication key (AK).
    pub authentication: Option<Key>,
    /// Master key (KEK), under which new keys travel to the meter.
    pub master: Option<Key>,
    /// Password (LLS), or shared secret of a hash mechanism.
    pub secret: Option<Secret>,
    /// Our signing key for this meter (HLS 7).
    pub signing: Option<PrivateKey>,
    /// The public key that the meter signs with.
    pub meter_public: Option<PublicKey>,
}

impl DlmsKeys {
    /// Keys of suites 0 and 1, without a master key.
    #[must_use]
    pub const fn new(encryption: [u8; 16], authentication: [u8; 16]) -> Self {
        Self {
            encryption: Some(Key::new(encryption)),
            authentication: Some(Key::new(authentication)),
            master: None,
            secret: None,
            signing: None,
            meter_public: None,
        }
    }

    /// Tells these global keys from others without showing them: what was counted under one key means nothing under
    /// another.
    #[must_use]
    pub fn mark(&self) -> KeyMark {
        let mut hash = Sha256::new();
        hash.update(b"meter-gateway key mark");
        for key in [&self.encryption, &self.authentication].into_iter().flatten() {
            hash.update(key.expose());
        }
        let mut mark = [0; 8];
        mark.copy_from_slice(&hash.finalize()[..8]);
        KeyMark(mark)
    }
}

/// Names a pair of global keys; says nothing about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyMark(pub [u8; 8]);

/// Who a credit token is for: the inputs of decoder key generation (IEC 62055-41 clause 6.5) as the meter's record holds them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StsIdentity {
    /// Issuer identification number: 600727, or 0000 for 13-digit meter numbers.
    pub iin: String,
    /// Meter number (DRN): 11 or 13 digits with its check digit.
    pub drn: String,
    /// Supply group code, 6 digits.
    pub sgc: u32,
    /// Tariff index, 0 to 99.
    pub ti: u8,
    /// Key revision number, 1 to 9.
    pub krn: u8,
    /// Key type: 2 is a unique supply-group key.
    pub kt: u8,
    /// Key expiry number.
    pub ken: u8,
    /// Base date of token ids: 1993, 2014 or 2035.
    pub base_year: u16,
    /// Encryption algorithm: 7 or 11.
    pub ea: u8,
}

/// A credit token to be made. The token id was durably reserved before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditRequest {
    /// For which meter.
    pub meter: StsIdentity,
    /// Token id: minutes since the base date.
    pub tid: u32,
    /// Tenths of a kilowatt-hour. Must be exactly representable in the token's amount field.
    pub tenths_kwh: u32,
}

/// Why the vault would not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is no key for this.
    #[error("no key: {0}")]
    NoKey(String),
    /// What was asked cannot be put into a token.
    #[error("{0}")]
    Request(String),
    /// The key files are unreadable or not what they should be.
    #[error("vault: {0}")]
    Broken(String),
}

/// A vault need not hold vending keys: a site may only read and switch.
fn credit_only(meter: &StsIdentity) -> VaultError {
    VaultError::NoKey(format!("this vault holds no vending keys that meter {} needs", meter.drn))
}

/// Holder of every key.
pub trait Vault: Send + Sync + std::fmt::Debug {
    /// The meter's DLMS keys: a session holds them only while an association is open.
    ///
    /// # Errors
    /// When there are none.
    fn dlms_keys(&self, serial: &Serial) -> Result<DlmsKeys, VaultError>;

    /// Takes new keys for meters, durably, all or none: an import of thousands is one change.
    ///
    /// # Errors
    /// When they cannot be stored.
    fn set_dlms_keys(&self, keys: &[(Serial, DlmsKeys)]) -> Result<(), VaultError>;

    /// New global keys of a meter that it may have taken and that nobody has proved yet, with the rest of its keys.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn pending_dlms_keys(&self, serial: &Serial) -> Result<Option<DlmsKeys>, VaultError>;

    /// Makes new global keys for a meter and keeps them beside those in force, durably when this returns. Keys that are
    /// pending already are given again: the meter may have them.
    ///
    /// # Errors
    /// When the meter has no keys or no master key, or when the file cannot be written.
    fn begin_key_rotation(&self, serial: &Serial) -> Result<DlmsKeys, VaultError>;

    /// The pending keys are proved: they are in force now, and the old ones are gone.
    ///
    /// # Errors
    /// When there are none, or when the file cannot be written.
    fn finish_key_rotation(&self, serial: &Serial) -> Result<(), VaultError>;

    /// Whether a credit token for this meter with this token id could be made: asked before money is booked, so that a
    /// missing, expired or unfitting key refuses the payment instead of stranding it.
    ///
    /// # Errors
    /// What [`Vault::encode_credit`] would say.
    fn can_vend(&self, meter: &StsIdentity, tid: u32) -> Result<(), VaultError>;

    /// Minutes east of UTC in which a supply group counts its token ids, all year round; 0 unless it was said when a
    /// vending key of the group was imported.
    fn utc_offset_minutes(&self, sgc: u32) -> i16 {
        let _ = sgc;
        0
    }

    /// Makes a credit token (class 0, subclass 0).
    ///
    /// # Errors
    /// No vending key for the supply group, an expired key, an amount or identity that does not fit.
    fn encode_credit(&self, request: &CreditRequest) -> Result<TokenDigits, VaultError>;

    /// Makes any token with an identifier: credit in units or currency, limits, clear credit, clear tamper and so on.
    ///
    /// # Errors
    /// As [`Vault::encode_credit`].
    fn encode(&self, request: &TokenRequest) -> Result<TokenDigits, VaultError> {
        Err(credit_only(&request.meter))
    }

    /// Makes the ordered tokens of a key change: two or three for a 64-bit key, four for a 128-bit key.
    ///
    /// # Errors
    /// No vending key for the old or the new attributes, or a change the key types do not allow.
    fn key_change(&self, request: &KeyChangeRequest) -> Result<Vec<TokenDigits>, VaultError> {
        Err(credit_only(&request.from))
    }

    /// Says why a meter may have refused a token, by trying the keys that this vault holds: for the meter as recorded, for
    /// the `others`, then for other supply groups, revisions, tariff indexes and base dates. Each try fits by chance once in
    /// 65,536.
    ///
    /// # Errors
    /// When the meter's own record is not usable. What is wrong with the token is in the explanation.
    fn explain(
        &self,
        meter: &StsIdentity,
        digits: &str,
        others: &[StsIdentity],
    ) -> Result<Explanation, VaultError> {
        let _ = (digits, others);
        Err(credit_only(meter))
    }

    /// The vending keys, without secrets.
    fn vending_keys(&self) -> Vec<VendingKeyListing> {
        Vec::new()
    }

    /// Whether `tag` is HMAC-SHA-256 of `message` under the secret of that name, in constant time.
    ///
    /// # Errors
    /// When there is no such secret.
    fn verify_signature(&self, secret: &str, message: &[u8], tag: &[u8]) -> Result<bool, VaultError> {
        let _ = (message, tag);
        Err(secrets::missing(secret))
    }

    /// Encrypts what the store must not hold in clear (token digits). `context` is authenticated with it.
    ///
    /// # Errors
    /// When no random numbers are to be had.
    fn seal(&self, context: &str, clear: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// Opens what [`Vault::seal`] closed under the same context.
    ///
    /// # Errors
    /// When it is not intact or not of this vault.
    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError>;
}
