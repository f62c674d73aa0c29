//! Vending keys in a hardware token (PKCS #11): DKGA04's HMAC-SHA-256 runs inside it, the key never leaves.
//!
//! What that protects: the vending key. Whoever takes over this process can have decoder keys derived while it has the
//! token open, but cannot carry the vending key away. What it cannot: EA11 (MISTY1) and EA07 are not PKCS #11 mechanisms, so
//! each decoder key is in this process's memory while a token is made. DKGA02 needs DES with the key itself xored into the
//! result, which no token does without giving the key out: 64-bit vending keys are refused here. The import itself passes
//! the key through this process once.

use super::contents::KeyPlace;
use super::source::VendingKeySource;
use super::{VaultError, ceremony};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use protocol::sts::{DecoderKey, EncryptionAlgorithm, KeyAttributes, MeterPan, dkga04_key, dkga04_message};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Bytes of a vending key inside the token. Tokens (SoftHSM2 among them) refuse HMAC-SHA-256 keys shorter than the hash, 32
/// bytes; a vending key has 20. HMAC itself pads keys with zeros up to 64 bytes (RFC 2104), so twelve zeros change nothing.
const TOKEN_KEY_LEN: usize = 32;

/// Where the token is and how it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardwareToken {
    /// The vendor's PKCS #11 library.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// A file with the user PIN, mode 0600.
    pub pin_file: PathBuf,
}

/// Vending keys in an open hardware token.
pub struct Pkcs11Keys {
    label: String,
    // One session: PKCS #11 signs in two calls, so two threads must not share it at once.
    session: Mutex<Session>,
}

impl std::fmt::Debug for Pkcs11Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pkcs11Keys({})", self.label)
    }
}

fn broken(error: impl std::fmt::Display) -> VaultError {
    VaultError::Broken(format!("hardware token: {error}"))
}

impl Pkcs11Keys {
    /// Loads the library, finds the token by its label and logs in.
    ///
    /// # Errors
    /// When the library, the token or the PIN is missing or wrong.
    pub fn open(token: &HardwareToken) -> Result<Self, VaultError> {
        let pin = read_pin(&token.pin_file)?;
        let library = Pkcs11::new(&token.module)
            .map_err(|error| broken(format!("{}: {error}", token.module.display())))?;
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(broken)?;
        for slot in library.get_slots_with_initialized_token().map_err(broken)? {
            if library.get_token_info(slot).map_err(broken)?.label() == token.label {
                let session = library.open_rw_session(slot).map_err(broken)?;
                session.login(UserType::User, Some(&pin)).map_err(broken)?;
                return Ok(Self { label: token.label.clone(), session: Mutex::new(session) });
            }
        }
        Err(broken(format!("no token with the label {:?} is there", token.label)))
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_pin(path: &Path) -> Result<AuthPin, VaultError> {
    super::master::check_mode(path)?;
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| broken(format!("PIN file {}: {error}", path.display())))?;
    Ok(AuthPin::new(text.trim().into()))
}

fn find(session: &Session, label: &str) -> Result<Option<ObjectHandle>, VaultError> {
    let template = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(label.as_bytes().to_vec())];
    Ok(session.find_objects(&template).map_err(broken)?.into_iter().next())
}

impl VendingKeySource for Pkcs11Keys {
    fn import(&self, label: &str, key: &ceremony::KeyBytes) -> Result<KeyPlace, VaultError> {
        if key.expose().len() != 20 {
            return Err(VaultError::Request(
                "a 64-bit vending key (DKGA02) cannot be used inside a hardware token: only DKGA04 keys are kept there"
                    .into(),
            ));
        }
        let mut value = Zeroizing::new(key.expose().to_vec());
        value.resize(TOKEN_KEY_LEN, 0);
        let session = self.session();
        if find(&session, label)?.is_some() {
            return Err(VaultError::Request(format!("the hardware token holds a key {label} already")));
        }
        session
            .create_object(&[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Modifiable(false),
                Attribute::Sign(true),
                Attribute::Label(label.as_bytes().to_vec()),
                Attribute::Value(value.to_vec()),
            ])
            .map_err(broken)?;
        Ok(KeyPlace::Token { label: label.to_owned() })
    }

    fn derive(
        &self,
        place: &KeyPlace,
        algorithm: EncryptionAlgorithm,
        pan: &MeterPan,
        attributes: &KeyAttributes,
    ) -> Result<DecoderKey, VaultError> {
        let KeyPlace::Token { label } = place else {
            return super::source::SoftKeys.derive(place, algorithm, pan, attributes);
        };
        let session = self.session();
        let key = find(&session, label)?
            .ok_or_else(|| VaultError::NoKey(format!("the hardware token holds no key {label}")))?;
        let message = dkga04_message(algorithm, pan, attributes);
        let mac = Zeroizing::new(session.sign(&Mechanism::Sha256Hmac, key, &message).map_err(broken)?);
        let mac: &[u8; 32] =
            mac.as_slice().try_into().map_err(|_| broken("an HMAC-SHA-256 has not 32 bytes"))?;
        Ok(dkga04_key(algorithm, mac))
    }
}
