//! Class 64, security setup (version 0).

use super::class::Octets;
use super::{Attr, Meth};

/// Interface class.
pub const CLASS: u16 = 64;
/// Enum: 0 nothing, 1 authenticated, 2 encrypted, 3 both.
pub const SECURITY_POLICY: i8 = 2;
/// Enum: 0 AES-GCM-128.
pub const SECURITY_SUITE: i8 = 3;
/// Octet string of eight bytes.
pub const CLIENT_SYSTEM_TITLE: Attr<Octets> = Attr::new(CLASS, 4);
/// Octet string of eight bytes.
pub const SERVER_SYSTEM_TITLE: Attr<Octets> = Attr::new(CLASS, 5);
/// Raises the policy.
pub const SECURITY_ACTIVATE: Meth = Meth::new(CLASS, 1);
/// Array of {key id enum, wrapped key octet-string}.
pub const GLOBAL_KEY_TRANSFER: Meth = Meth::new(CLASS, 2);

/// Key ids of [`GLOBAL_KEY_TRANSFER`].
pub mod key_id {
    /// Global unicast encryption key.
    pub const UNICAST: u8 = 0;
    /// Global broadcast encryption key.
    pub const BROADCAST: u8 = 1;
    /// Authentication key.
    pub const AUTHENTICATION: u8 = 2;
}
