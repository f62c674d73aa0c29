//! Where vending keys are used: here, or in a hardware token.

use super::contents::{KeyPlace, SealedKey, Secret};
use super::{VaultError, ceremony};
use protocol::sts::{DecoderKey, EncryptionAlgorithm, KeyAttributes, MeterPan, VendingKey, derive};

/// Takes vending keys in and derives decoder keys from them. A vending key never comes out.
pub trait VendingKeySource: Send + Sync + std::fmt::Debug {
    /// Takes a key; the answer is what the vault remembers about its place.
    ///
    /// # Errors
    /// When the key cannot be kept there.
    fn import(&self, label: &str, key: &ceremony::KeyBytes) -> Result<KeyPlace, VaultError>;

    /// Derives the decoder key of one meter.
    ///
    /// # Errors
    /// When the key is not there, or cannot make a key for that algorithm.
    fn derive(
        &self,
        place: &KeyPlace,
        algorithm: EncryptionAlgorithm,
        pan: &MeterPan,
        attributes: &KeyAttributes,
    ) -> Result<DecoderKey, VaultError>;
}

/// Vending keys inside the sealed file, used in this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoftKeys;

impl VendingKeySource for SoftKeys {
    fn import(&self, _: &str, key: &ceremony::KeyBytes) -> Result<KeyPlace, VaultError> {
        Ok(KeyPlace::Sealed(SealedKey(Secret(key.expose().to_vec().into()))))
    }

    fn derive(
        &self,
        place: &KeyPlace,
        algorithm: EncryptionAlgorithm,
        pan: &MeterPan,
        attributes: &KeyAttributes,
    ) -> Result<DecoderKey, VaultError> {
        let KeyPlace::Sealed(SealedKey(secret)) = place else {
            return Err(VaultError::NoKey("the key is in a hardware token that is not open".into()));
        };
        let key = VendingKey::from_bytes(&secret.0).map_err(|error| VaultError::Broken(error.to_string()))?;
        derive(&key, algorithm, pan, attributes).map_err(|error| VaultError::Request(error.to_string()))
    }
}
