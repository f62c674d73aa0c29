//! AES-256-GCM over bytes and files; a file is replaced whole or not at all.

use super::VaultError;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a GCM nonce, random for each sealing: NIST SP 800-38D allows 2^32 of them per key.
const NONCE: usize = 12;

/// Seals `clear`; `context` is authenticated and must be the same when it is opened.
pub(super) fn seal(key: &[u8; 32], context: &[u8], clear: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut sealed = vec![0u8; NONCE];
    getrandom::fill(&mut sealed)
        .map_err(|error| VaultError::Broken(format!("no random numbers: {error}")))?;
    let body = Aes256Gcm::new(key.into())
        .encrypt(Nonce::from_slice(&sealed), Payload { msg: clear, aad: context })
        .map_err(|_| VaultError::Broken("too much to seal at once".into()))?;
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// Opens what [`seal`] made.
pub(super) fn open(key: &[u8; 32], context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (nonce, body) = sealed
        .split_at_checked(NONCE)
        .ok_or_else(|| VaultError::Broken("what is sealed is too short".into()))?;
    Aes256Gcm::new(key.into())
        .decrypt(Nonce::from_slice(nonce), Payload { msg: body, aad: context })
        .map(Zeroizing::new)
        .map_err(|_| {
            VaultError::Broken("what is sealed is damaged, or belongs to another key or context".into())
        })
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// Writes a new file that only its owner may read; fails if there is one.
pub fn create_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    sync_directory(path)
}

/// Replaces a file: after a power cut the old or the new content is there, never half of one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&beside, path)?;
    sync_directory(path)
}

/// The rename itself is durable only once the directory is.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
