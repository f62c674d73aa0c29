//! What the server engine needs of its device besides the objects: who may associate, keys, counters, randomness.

use core::time::Duration;

use super::pre_established::PreEstablished;
use crate::codec::acse::AuthMechanism;
use crate::codec::security::SystemTitle;
use crate::codec::xdlms::Conformance;
use crate::dlms::security::{Key, KeyUsage, Secret, SecurityPolicy, SecuritySuite, ecdsa};

/// One row of a meter's association table. Carries no secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Association {
    /// Client address the row is for.
    pub client_sap: u8,
    /// How the client must prove who it is: none, LLS, or one of [`crate::dlms::security::hls::is_supported`]; a row with
    /// another mechanism refuses every client.
    pub mechanism: AuthMechanism,
    /// What protection APDUs must have in both directions; one that demands nothing, as [`SecurityPolicy::NONE`], means the
    /// application context without ciphering. Its suite says the curve of HLS 7. A dedicated key is accepted when the client brings one, whatever the policy's key set says.
    /// With the broadcast key set the key is shared by many: such a row is for pre-established associations and for what is
    /// sent unasked, and no AARQ opens it.
    pub policy: SecurityPolicy,
    /// Services offered; what the engine does not implement is left out of the answer by itself.
    pub conformance: Conformance,
    /// Which keys: E of the Security setup object 0.0.43.0.E.255.
    pub key_set: u8,
    /// E of this association's own object 0.0.40.0.E.255 (0.0.40.0.0.255 is always the current one).
    pub instance: u8,
    /// The association ends when nothing valid was heard for so long; zero means never.
    pub inactivity: Duration,
}

/// The device's side of security. Everything that must survive a power cut is behind these calls.
pub trait Custody {
    /// This meter's system title.
    fn system_title(&self) -> SystemTitle;

    /// The association row of a client address; `None` refuses it.
    fn association(&self, client_sap: u8) -> Option<Association>;

    /// What is configured of a client address that uses services without an AARQ; `None`, the default, for all others. The row
    /// stands beside [`Custody::association`]: an AARQ of the same client is judged by that.
    fn pre_established(&self, client_sap: u8) -> Option<PreEstablished> {
        let _ = client_sap;
        None
    }

    /// The LLS password of the association, or the shared secret of a hash mechanism.
    fn secret(&self, client_sap: u8) -> Option<Secret>;

    /// A key of a key set. Asked once when an association opens: a changed key counts from the next association on.
    fn key(&self, key_set: u8, usage: KeyUsage) -> Option<Key>;

    /// The next invocation counter for sending under a key set. Never gives a value twice, not even after a power cut:
    /// reserve durably in blocks ([`crate::dlms::security::CounterBlock`]). `None` when there is none left; nothing is sent then.
    fn next_counter(&mut self, key_set: u8) -> Option<u32>;

    /// The highest counter accepted from this peer under this key set; `None` when there was none yet. A device that
    /// keeps one value per key set gives that for every peer.
    fn last_seen(&self, key_set: u8, peer: &SystemTitle) -> Option<u32>;

    /// A frame with this counter was verified. Called before its request is carried out; true when the counter is stored
    /// durably. When it is not, the request is refused, or a recorded command could be replayed after a power cut.
    #[must_use]
    fn accept(&mut self, key_set: u8, peer: &SystemTitle, counter: u32) -> bool;

    /// Signs `parts` joined with this device's signing key on the suite's curve ([`ecdsa::PrivateKey::sign`]). `None`, the
    /// default, where it has none: HLS 7 refuses every client then.
    fn sign(&mut self, suite: SecuritySuite, parts: &[&[u8]]) -> Option<ecdsa::Signature> {
        let _ = (suite, parts);
        None
    }

    /// Whether `signature` over `parts` joined is that of the peer with this title, who speaks as this client
    /// ([`ecdsa::PublicKey::verify`]). Public keys are provisioned; false, the default, where none is known.
    fn verify(
        &self,
        suite: SecuritySuite,
        client_sap: u8,
        peer: &SystemTitle,
        parts: &[&[u8]],
        signature: &[u8],
    ) -> bool {
        let _ = (suite, client_sap, peer, parts, signature);
        false
    }

    /// The shared secret of this device's static agreement key with a peer's public key, `x || y`
    /// ([`ecdsa::PrivateKey::agree`]). `None`, the default, where it has no such key, or the point lies on no curve.
    fn agree(&self, suite: SecuritySuite, public: &[u8]) -> Option<ecdsa::SecretNumber> {
        let _ = (suite, public);
        None
    }

    /// The static public key for agreement of the peer with this title, which is provisioned. `None`, the default, where none is
    /// known: then keys come about with ephemeral ones of the peer's alone.
    fn agreement_key_of(&self, suite: SecuritySuite, peer: &SystemTitle) -> Option<ecdsa::PublicKey> {
        let _ = (suite, peer);
        None
    }

    /// Fills `out` with unpredictable bytes (HLS challenges).
    fn random(&mut self, out: &mut [u8]);
}
