//! What the sealed file holds.

use super::DlmsKeys;
use jiff::Timestamp;
use protocol::dlms::security::Key;
use protocol::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey};
use protocol::sts::{Derivation, KeyType};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};
use zeroize::Zeroizing;

/// Audit entries kept in the vault; older ones are dropped. Enough for decades of key ceremonies.
const AUDIT_MAX: usize = 10_000;

/// Hexadecimal digits, wiped when dropped.
pub(super) fn hex(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Bytes from hexadecimal digits, wiped when dropped; `None` for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks(2) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        // Two digits below 16: one byte.
        bytes.push((high * 16 + low) as u8);
    }
    Some(bytes)
}

/// Key bytes inside the sealed file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        unhex(text).map(Self).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
    }
}

/// Where a vending key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// In this file.
    #[serde(with = "sealed_secret")]
    Sealed(SealedKey),
    /// In a hardware token, under this label.
    Token {
        /// CKA_LABEL.
        label: String,
    },
}

/// A vending key's bytes; nothing outside the vault can read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey(pub(super) Secret);

mod sealed_secret {
    use super::{Deserialize, Deserializer, SealedKey, Secret, Serialize, Serializer};

    pub fn serialize<S: Serializer>(key: &SealedKey, serializer: S) -> Result<S::Ok, S::Error> {
        key.0.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SealedKey, D::Error> {
        Secret::deserialize(deserializer).map(SealedKey)
    }
}

/// One vending key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VendingEntry {
    pub supply_group: u32,
    pub key_revision: u8,
    pub key_type: KeyType,
    pub derivation: Derivation,
    pub expiry: u8,
    pub expires_at: Option<Timestamp>,
    pub retired: bool,
    pub check_value: String,
    pub imported_at: Timestamp,
    pub place: KeyPlace,
}

/// A vending key as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VendingKeyListing {
    /// Supply group code.
    pub sgc: u32,
    /// Key revision number.
    pub krn: u8,
    /// Key type: `DUTK` and so on.
    pub key_type: &'static str,
    /// `02` or `04`.
    pub dkga: String,
    /// Key expiry number.
    pub ken: u8,
    /// Minutes east of UTC in which its supply group counts token ids.
    pub utc_offset_minutes: i16,
    /// Not to be used from this time on.
    pub expires_at: Option<Timestamp>,
    /// Taken out of use.
    pub retired: bool,
    /// Six hexadecimal digits to compare with the key's papers.
    pub check_value: String,
    /// When it was imported.
    pub imported_at: Timestamp,
    /// `sealed file` or `hardware token`.
    pub place: &'static str,
}

impl VendingEntry {
    /// Whether decoder keys of this meter come from this key. DKGA02 makes no keys for EA11.
    pub(super) fn serves(&self, meter: &super::tokens::Identity) -> bool {
        self.supply_group == meter.attributes.supply_group.get()
            && self.key_revision == meter.attributes.key_revision.get()
            && self.key_type == meter.attributes.key_type
            && (self.derivation == Derivation::Dkga04
                || meter.algorithm == protocol::sts::EncryptionAlgorithm::Ea07)
    }

    pub(super) fn listing(&self, utc_offset_minutes: i16) -> VendingKeyListing {
        VendingKeyListing {
            sgc: self.supply_group,
            krn: self.key_revision,
            key_type: self.key_type.name(),
            dkga: format!("{:02}", self.derivation.code()),
            ken: self.expiry,
            utc_offset_minutes,
            expires_at: self.expires_at,
            retired: self.retired,
            check_value: self.check_value.clone(),
            imported_at: self.imported_at,
            place: match self.place {
                KeyPlace::Sealed(_) => "sealed file",
                KeyPlace::Token { .. } => "hardware token",
            },
        }
    }
}

/// A meter's DLMS keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DlmsEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encryption: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authentication: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    /// Our signing key and the meter's public key, as big-endian numbers on the curve of their length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meter_public: Option<Secret>,
    /// Encryption and authentication key that the meter may have taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<(Secret, Secret)>,
}

impl DlmsEntry {
    pub(super) fn new(keys: &DlmsKeys) -> Self {
        let sealed = |bytes: &[u8]| Secret(Zeroizing::new(bytes.to_vec()));
        Self {
            encryption: keys.encryption.as_ref().map(|key| sealed(key.expose())),
            authentication: keys.authentication.as_ref().map(|key| sealed(key.expose())),
            master: keys.master.as_ref().map(|key| sealed(key.expose())),
            secret: keys.secret.as_ref().map(|secret| sealed(secret.expose())),
            signing: keys.signing.as_ref().map(|key| sealed(key.number().expose())),
            meter_public: keys.meter_public.as_ref().map(|key| sealed(&key.to_bytes())),
            pending: None,
        }
    }

    /// The keys with the pending ones in the place of the old.
    pub(super) fn pending(&self) -> Option<DlmsKeys> {
        let (encryption, authentication) = self.pending.as_ref()?;
        Some(DlmsKeys {
            encryption: Some(Key::from_slice(&encryption.0).ok()?),
            authentication: Some(Key::from_slice(&authentication.0).ok()?),
            ..self.keys()?
        })
    }

    /// Makes new keys as long as the old; `None` when there are no keys to be changed, or no random numbers.
    pub(super) fn begin_rotation(&mut self) -> Option<()> {
        if self.pending.is_some() {
            return Some(());
        }
        let (encryption, authentication) = (self.encryption.as_ref()?, self.authentication.as_ref()?);
        let fresh = |old: &Secret| {
            let mut key = Zeroizing::new(vec![0; old.0.len()]);
            getrandom::fill(&mut key).ok()?;
            Some(Secret(key))
        };
        self.pending = Some((fresh(encryption)?, fresh(authentication)?));
        Some(())
    }

    /// Puts the pending keys in force; false when there are none.
    pub(super) fn finish_rotation(&mut self) -> bool {
        let Some((encryption, authentication)) = self.pending.take() else { return false };
        self.encryption = Some(encryption);
        self.authentication = Some(authentication);
        true
    }

    /// `None` when the file holds something that is no key.
    pub(super) fn keys(&self) -> Option<DlmsKeys> {
        let key =
            |sealed: &Option<Secret>| sealed.as_ref().map(|key| Key::from_slice(&key.0)).transpose().ok();
        let secret = self.secret.as_ref().map(|secret| protocol::dlms::security::Secret::new(&secret.0));
        Some(DlmsKeys {
            encryption: key(&self.encryption)?,
            authentication: key(&self.authentication)?,
            master: key(&self.master)?,
            secret: secret.transpose().ok()?,
            signing: match &self.signing {
                None => None,
                Some(number) => Some(PrivateKey::from_bytes(curve_of(number.0.len())?, &number.0)?),
            },
            meter_public: match &self.meter_public {
                None => None,
                Some(point) => Some(PublicKey::from_bytes(curve_of(point.0.len() / 2)?, &point.0)?),
            },
        })
    }
}

/// The curve whose numbers have so many bytes.
fn curve_of(field_len: usize) -> Option<Curve> {
    [Curve::P256, Curve::P384].into_iter().find(|curve| curve.field_len() == field_len)
}

/// EA07 tables of an operator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TablesEntry {
    pub s1: Secret,
    pub s2: Secret,
    pub p: Secret,
}

/// Who did what to a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What: `import`, `retire`, and so on.
    pub action: String,
    /// To which key, without secrets.
    pub subject: String,
}

/// The file's content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Counts writes, so that a second process notices that it has to read again.
    pub version: u64,
    /// Seals what the store must not hold in clear.
    pub store_key: Option<Secret>,
    pub vending: Vec<VendingEntry>,
    /// Minutes east of UTC in which supply groups count token ids; UTC for those that are not here.
    #[serde(default)]
    pub utc_offsets: BTreeMap<u32, i16>,
    pub dlms: BTreeMap<String, DlmsEntry>,
    /// By name.
    #[serde(default)]
    pub secrets: BTreeMap<String, super::secrets::SecretEntry>,
    pub tables: Option<TablesEntry>,
    pub audit: VecDeque<AuditEntry>,
}

impl Contents {
    pub(super) fn note(&mut self, at: Timestamp, actor: &str, action: &str, subject: String) {
        if self.audit.len() >= AUDIT_MAX {
            self.audit.pop_front();
        }
        self.audit.push_back(AuditEntry { at, actor: actor.to_owned(), action: action.to_owned(), subject });
    }
}
