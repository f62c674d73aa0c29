//! How a vending key gets in: as two or more components that different people hold, each with a check value. The key is the
//! xor of all components, so nobody who lacks one knows anything about it.

use hmac::Mac;
use protocol::sts::VendingKey;
use zeroize::Zeroizing;

/// The bytes of a key or component on their way in; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBytes(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyBytes(hidden)")
    }
}

impl KeyBytes {
    /// From hexadecimal digits: 8 bytes (DKGA02) or 20 bytes (DKGA04).
    ///
    /// # Errors
    /// [`CeremonyError::Malformed`].
    pub fn from_hex(text: &str) -> Result<Self, CeremonyError> {
        super::contents::unhex(text.trim())
            .filter(|bytes| bytes.len() == 8 || bytes.len() == 20)
            .map(Self)
            .ok_or(CeremonyError::Malformed)
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// See [`check_value`].
    #[must_use]
    pub fn check_value(&self) -> String {
        check_value(&self.0)
    }
}

/// The check value: the first three bytes, in hexadecimal, of HMAC-SHA-256 under these bytes of the text `key check value`. It
/// identifies a key and tells nothing about it. (The STS key management centre's own check value is not public; this one is
/// ours.)
pub(super) fn check_value(secret: &[u8]) -> String {
    let mut mac =
        <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(b"key check value");
    super::contents::hex(&mac.finalize().into_bytes()[..3]).as_str().to_owned()
}

/// One person's share.
#[derive(Debug, Clone)]
pub struct Component {
    /// The share.
    pub bytes: KeyBytes,
    /// The check value on its paper.
    pub check_value: String,
}

/// Why no key comes of the components.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// Not hexadecimal digits of 8 or 20 bytes.
    #[error("a key or component is 16 or 40 hexadecimal digits")]
    Malformed,
    /// Fewer than two.
    #[error("a key is brought in as at least two components, held by different people")]
    TooFew,
    /// A check value that does not fit.
    #[error("component {number} has the check value {found}, its paper says {expected}")]
    CheckValue {
        /// Which, from one.
        number: usize,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Different lengths.
    #[error("the components have different lengths")]
    Lengths,
    /// The same component twice.
    #[error("components {0} and {1} are the same")]
    Repeated(usize, usize),
    /// The key's own check value does not fit.
    #[error(
        "the key has the check value {found}, its paper says {expected}: a component is missing or one too many"
    )]
    KeyCheckValue {
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Not a vending key: even parity in a DES key.
    #[error("the components do not give a vending key: {0}")]
    NotAKey(String),
}

/// Puts the components together.
///
/// # Errors
/// [`CeremonyError`]: nothing of a key is kept then.
pub fn combine(components: &[Component], key_check_value: &str) -> Result<KeyBytes, CeremonyError> {
    if components.len() < 2 {
        return Err(CeremonyError::TooFew);
    }
    for (i, component) in components.iter().enumerate() {
        let found = component.bytes.check_value();
        if !found.eq_ignore_ascii_case(component.check_value.trim()) {
            let expected = component.check_value.trim().to_owned();
            return Err(CeremonyError::CheckValue { number: i + 1, found, expected });
        }
        if component.bytes.0.len() != components[0].bytes.0.len() {
            return Err(CeremonyError::Lengths);
        }
        if let Some(earlier) = components[..i].iter().position(|other| other.bytes == component.bytes) {
            return Err(CeremonyError::Repeated(earlier + 1, i + 1));
        }
    }
    let mut key = Zeroizing::new(vec![0u8; components[0].bytes.0.len()]);
    for component in components {
        for (byte, share) in key.iter_mut().zip(component.bytes.0.iter()) {
            *byte ^= share;
        }
    }
    let key = KeyBytes(key);
    let found = key.check_value();
    if !found.eq_ignore_ascii_case(key_check_value.trim()) {
        return Err(CeremonyError::KeyCheckValue { found, expected: key_check_value.trim().to_owned() });
    }
    VendingKey::from_bytes(&key.0).map_err(|error| CeremonyError::NotAKey(error.to_string()))?;
    Ok(key)
}
