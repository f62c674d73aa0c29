//! Protection of APDUs: keyed ciphers, the frames they make, counters, and the high-level authentication mechanisms.
//!
//! Policy comes from local configuration, never from a frame: a frame that is protected less, or with another suite or
//! key set than the policy demands, is refused before a key is touched.

pub mod agreement;
pub mod cipher;
pub mod counter;
pub mod ecdsa;
pub mod frame;
pub mod general;
pub mod hls;
pub mod key_wrap;
pub mod pkcs10;
pub mod running;

pub use crate::codec::security::{Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, SystemTitle};
pub use cipher::Cipher;
pub use counter::CounterBlock;
pub use frame::{Form, Frame, Refusal};

pub use crate::codec::security::keys::nonce;

/// The policy of everything that is not under a dedicated key: on the key set that is configured, unicast or broadcast.
#[must_use]
pub const fn without_dedicated(policy: SecurityPolicy) -> SecurityPolicy {
    if policy.dedicated() { policy.global() } else { policy }
}
