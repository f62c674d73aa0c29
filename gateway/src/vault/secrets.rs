//! Named secrets: what payment channels sign with. They are used inside the vault and never come out.

use super::contents::Secret;
use super::{Actor, KeyVault, VaultError};
use hmac::Mac;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The shortest secret taken, in bytes: shorter ones can be guessed faster than HMAC-SHA-256 can be broken.
pub const SECRET_LEN_MIN: usize = 16;
/// The longest, in bytes: more than a block of SHA-256 adds nothing.
const SECRET_LEN_MAX: usize = 256;
/// The longest name, in characters.
const NAME_MAX: usize = 64;

/// A secret inside the sealed file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SecretEntry {
    pub value: Secret,
    pub check_value: String,
    pub imported_at: Timestamp,
}

/// A secret as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretListing {
    /// Its name, by which the configuration refers to it.
    pub name: String,
    /// Six hexadecimal digits: the same for the same secret, and nothing else can be learnt from them.
    pub check_value: String,
    /// When it was taken in.
    pub imported_at: Timestamp,
}

/// Whether `tag` is HMAC-SHA-256 of `message` under `secret`, in constant time.
#[must_use]
pub fn verify_hmac(secret: &[u8], message: &[u8], tag: &[u8]) -> bool {
    // HMAC takes keys of every length.
    <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(secret)
        .is_ok_and(|mac| mac.chain_update(message).verify_slice(tag).is_ok())
}

/// Takes the blanks around it off, as editors leave a line's end, and refuses what is too short to sign with.
fn checked(text: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let secret = Zeroizing::new(text.trim().as_bytes().to_vec());
    if (SECRET_LEN_MIN..=SECRET_LEN_MAX).contains(&secret.len()) {
        return Ok(secret);
    }
    Err(VaultError::Request(format!(
        "a secret has {SECRET_LEN_MIN} to {SECRET_LEN_MAX} bytes, this one has {}",
        secret.len()
    )))
}

impl KeyVault {
    /// Takes a secret in, durably, and says its check value. One that is there already is replaced only if that is said.
    ///
    /// # Errors
    /// When the name or the secret is not usable, or the name is taken.
    pub fn import_secret(
        &self,
        name: &str,
        text: &str,
        replace: bool,
        actor: &Actor,
    ) -> Result<String, VaultError> {
        let usable = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(usable) {
            return Err(VaultError::Request(format!(
                "{name:?} is no name of a secret: 1 to {NAME_MAX} letters, digits, '-', '_' or '.'"
            )));
        }
        let value = Secret(checked(text)?);
        let check_value = super::ceremony::check_value(&value.0);
        self.change(|contents| {
            let verb = match contents.secrets.contains_key(name) {
                true if !replace => {
                    let message = format!("there is a secret {name} already: say that it is to be replaced");
                    return Err(VaultError::Request(message));
                }
                true => "replace",
                false => "import",
            };
            let entry = SecretEntry { value, check_value: check_value.clone(), imported_at: actor.at };
            contents.secrets.insert(name.to_owned(), entry);
            contents.note(actor.at, &actor.name, verb, format!("secret {name}, check value {check_value}"));
            Ok(())
        })?;
        Ok(check_value)
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove_secret(&self, name: &str, actor: &Actor) -> Result<(), VaultError> {
        self.change(|contents| {
            if contents.secrets.remove(name).is_none() {
                return Err(missing(name));
            }
            contents.note(actor.at, &actor.name, "remove", format!("secret {name}"));
            Ok(())
        })
    }

    /// The secrets, without what is secret about them.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretListing> {
        let state = self.state();
        let listing = |(name, entry): (&String, &SecretEntry)| SecretListing {
            name: name.clone(),
            check_value: entry.check_value.clone(),
            imported_at: entry.imported_at,
        };
        state.contents.secrets.iter().map(listing).collect()
    }

    /// As [`super::Vault::verify_signature`].
    pub(super) fn verify_with(&self, name: &str, message: &[u8], tag: &[u8]) -> Result<bool, VaultError> {
        let state = self.state();
        let entry = state.contents.secrets.get(name).ok_or_else(|| missing(name))?;
        Ok(verify_hmac(&entry.value.0, message, tag))
    }
}

pub(super) fn missing(name: &str) -> VaultError {
    VaultError::NoKey(format!(
        "the vault holds no secret {name}: take it in with `meter-gateway secret import {name}`"
    ))
}
