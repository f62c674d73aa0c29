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
}

impl MeterKeys for Arc<dyn Vault> {
    fn dlms_keys(&self, serial: &Serial) -> Result<DlmsKeys, VaultError> {
        Vault::dlms_keys(&**self, serial)
    }
}
