//! The master key: 32 bytes that seal everything else, and where they come from.

use super::VaultError;
use hmac::Mac;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Where the master key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file with 64 hexadecimal digits, mode 0600. Made on first use.
    File(PathBuf),
    /// An environment variable with 64 hexadecimal digits.
    Environment(String),
    /// A systemd credential (`LoadCredential=` or `LoadCredentialEncrypted=`) of that name, with 64 hexadecimal digits.
    Credential(String),
}

/// Seals the vault's file and what the store must not hold in clear.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

impl MasterKey {
    /// From 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the key. A missing key *file* is made with fresh random bytes; nothing else is ever made up.
    ///
    /// # Errors
    /// When it is missing, unreadable, open to others, or not 64 hexadecimal digits. The error never shows its content.
    pub fn load(source: &MasterKeySource) -> Result<Self, VaultError> {
        match source {
            MasterKeySource::File(path) => Self::from_file(path),
            MasterKeySource::Environment(name) => {
                let text = std::env::var(name).map_err(|_| {
                    broken(format!("environment variable {name} with the master key is not set"))
                })?;
                Self::parse(&Zeroizing::new(text), &format!("environment variable {name}"))
            }
            MasterKeySource::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    broken(format!("systemd passed no credentials; credential {name} is needed"))
                })?;
                Self::read(&PathBuf::from(directory).join(name))
            }
        }
    }

    fn from_file(path: &Path) -> Result<Self, VaultError> {
        if !path.exists() {
            let mut bytes = Zeroizing::new([0u8; 32]);
            getrandom::fill(bytes.as_mut()).map_err(|error| broken(format!("no random numbers: {error}")))?;
            let text = Zeroizing::new(format!("{}\n", super::contents::hex(bytes.as_ref()).as_str()));
            super::sealed::create_new(path, text.as_bytes())
                .map_err(|error| broken(format!("master key file {}: {error}", path.display())))?;
        }
        check_mode(path)?;
        Self::read(path)
    }

    fn read(path: &Path) -> Result<Self, VaultError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| broken(format!("master key file {}: {error}", path.display())))?;
        Self::parse(&Zeroizing::new(text), &format!("master key file {}", path.display()))
    }

    fn parse(text: &str, place: &str) -> Result<Self, VaultError> {
        let bytes = super::contents::unhex(text.trim())
            .filter(|bytes| bytes.len() == 32)
            .ok_or_else(|| broken(format!("{place} does not hold 64 hexadecimal digits")))?;
        let mut key = [0u8; 32];
        key.copy_from_slice(&bytes);
        Ok(Self(key))
    }

    /// A key for one purpose, so that no two purposes share one: HMAC-SHA-256 of the purpose's name.
    pub(super) fn purpose(&self, name: &str) -> Zeroizing<[u8; 32]> {
        let mut mac = <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(&self.0)
            .expect("HMAC takes keys of every length, so 32 bytes are accepted");
        mac.update(name.as_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }
}

fn broken(message: String) -> VaultError {
    VaultError::Broken(message)
}

/// Like ssh: a key that others may read is no secret.
#[cfg(unix)]
pub(super) fn check_mode(path: &Path) -> Result<(), VaultError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)
        .map_err(|error| broken(format!("key file {}: {error}", path.display())))?
        .permissions()
        .mode();
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(broken(format!(
            "key file {} is open to others (mode {:o}); chmod 600",
            path.display(),
            mode & 0o777
        )))
    }
}

#[cfg(not(unix))]
pub(super) fn check_mode(_: &Path) -> Result<(), VaultError> {
    Ok(())
}
