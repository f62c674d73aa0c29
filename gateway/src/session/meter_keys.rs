//! Where a session gets the keys of a meter: the one thing of the vault that it needs.

use super::work::Serial;
use crate::vault::{DlmsKeys, Vault, VaultError};
use std::sync::Arc;

/// Gives out DLMS keys. A session holds them only while it opens an association.
pub trait MeterKeys: Send + Sync {
    /// The meter's DLMS keys.
    ///
    /// # Errors
    /// When there are none.
    fn dlms_keys(&self, serial: &Serial) -> Result<DlmsKeys, VaultError>;

    /// New keys that the meter may have taken already.
    ///
    /// # Errors
    /// When nobody can say.
    fn pending(&self, serial: &Serial) -> Result<Option<DlmsKeys>, VaultError> {
        let _ = serial;
        Ok(None)
    }

    /// Makes new keys, or gives those that are pending; durable when this returns.
    ///
    /// # Errors
    /// When they cannot be made.
    fn begin_rotation(&self, serial: &Serial) -> Result<DlmsKeys, VaultError> {
        Err(VaultError::NoKey(format!("the keys of meter {} cannot be changed here", serial.0)))
    }

    /// The pending keys are proved, and the old ones go.
    ///
    /// # Errors
    /// When they cannot be put in force.
    fn finish_rotation(&self, serial: &Serial) -> Result<(), VaultError> {
        Err(VaultError::NoKey(format!("the keys of meter {} cannot be changed here", serial.0)))
    }
}

impl MeterKeys for Arc<dyn Vault> {
    fn dlms_keys(&self, serial: &Serial) -> Result<DlmsKeys, VaultError> {
        Vault::dlms_keys(&**self, serial)
    }

    fn pending(&self, serial: &Serial) -> Result<Option<DlmsKeys>, VaultError> {
        self.pending_dlms_keys(serial)
    }

    fn begin_rotation(&self, serial: &Serial) -> Result<DlmsKeys, VaultError> {
        self.begin_key_rotation(serial)
    }

    fn finish_rotation(&self, serial: &Serial) -> Result<(), VaultError> {
        self.finish_key_rotation(serial)
    }
}
