//! How a client presents itself and what it demands.

use core::time::Duration;

use super::ContentKey;
use crate::codec::acse::{AuthMechanism, Referencing};
use crate::codec::xdlms::Conformance;
use crate::dlms::security::{Form, Key, Secret, SecurityPolicy, SystemTitle, ecdsa};

/// Services this client can use. General block transfer is not proposed by default: the blocks of each service are proved one
/// by one.
pub const IMPLEMENTED: Conformance = Conformance::from_bits_truncate(
    Conformance::GENERAL_PROTECTION.bits()
        | Conformance::GENERAL_BLOCK_TRANSFER.bits()
        | Conformance::BLOCK_TRANSFER_WITH_GET_OR_READ.bits()
        | Conformance::BLOCK_TRANSFER_WITH_SET_OR_WRITE.bits()
        | Conformance::BLOCK_TRANSFER_WITH_ACTION.bits()
        | Conformance::MULTIPLE_REFERENCES.bits()
        | Conformance::DATA_NOTIFICATION.bits()
        | Conformance::EVENT_NOTIFICATION.bits()
        | Conformance::ACCESS.bits()
        | Conformance::GET.bits()
        | Conformance::SET.bits()
        | Conformance::SELECTIVE_ACCESS.bits()
        | Conformance::PRIORITY_MGMT_SUPPORTED.bits()
        | Conformance::ACTION.bits(),
);

/// Services proposed to a meter that speaks short names.
pub const SHORT_NAMES: Conformance = Conformance::from_bits_truncate(
    Conformance::BLOCK_TRANSFER_WITH_GET_OR_READ.bits()
        | Conformance::MULTIPLE_REFERENCES.bits()
        | Conformance::PARAMETERIZED_ACCESS.bits()
        | Conformance::READ.bits()
        | Conformance::WRITE.bits(),
);

/// Everything an association needs. Keys are wiped when it is dropped and never printed.
#[derive(Debug, Clone)]
pub struct Config {
    /// How we prove who we are: none, LLS, or one of [`crate::dlms::security::hls::is_supported`].
    pub mechanism: AuthMechanism,
    /// The LLS password, or the shared secret of an HLS mechanism other than GMAC and ECDSA.
    pub secret: Option<Secret>,
    /// Our signing key, on the curve of the policy's suite: HLS 7, signed requests, agreed keys.
    pub signing_key: Option<ecdsa::PrivateKey>,
    /// Our static key for agreement, on the same curve: the static scheme, and answers that bring an agreed key.
    pub agreement_key: Option<ecdsa::PrivateKey>,
    /// The public key the meter signs with: HLS 7, signed answers.
    pub server_public_key: Option<ecdsa::PublicKey>,
    /// The protection we apply and demand; [`SecurityPolicy::NONE`] asks for the context without ciphering. With the
    /// dedicated key set, `dedicated_key` is handed over in the AARQ and used for everything after. The broadcast key set,
    /// whose key many have, is for [`super::Client::pre_established`] alone.
    pub policy: SecurityPolicy,
    /// Form of protected requests: [`Form::Glo`], [`Form::GeneralGlo`] or [`Form::General`].
    pub form: Form,
    /// The key of requests in [`Form::General`]; answers come back under the same.
    pub content_key: ContentKey,
    /// Requests go out in general-signing, signed with `signing_key`, and answers must come back signed.
    pub signed: bool,
    /// Our system title. Half of every nonce: never two clients with one title under one key.
    pub system_title: SystemTitle,
    /// The meter's title when it is known beforehand; another one in the AARE is refused.
    pub server_title: Option<SystemTitle>,
    /// The global encryption key of the policy's key set: unicast, or broadcast where that is configured.
    pub encryption_key: Option<Key>,
    /// Authentication key.
    pub authentication_key: Option<Key>,
    /// A fresh random key for this association only.
    pub dedicated_key: Option<Key>,
    /// The highest counter ever accepted from this meter under these keys.
    pub peer_counter: Option<u32>,
    /// How objects are addressed. Short names come without HLS here, and their services carry no invoke-id: after a missing
    /// answer such an association is over, or a late one would be taken for the next.
    pub referencing: Referencing,
    /// Services proposed: [`SHORT_NAMES`] where those are used.
    pub conformance: Conformance,
    /// Largest APDU we say we take; at most the engine's `N`, and what is said when it is larger.
    pub max_pdu: u16,
    /// Largest APDU we send, for a meter that takes less than it says; zero believes the meter.
    pub send_pdu_max: u16,
    /// How long an answer may take, from the request (or from the last block) on.
    pub response_timeout: Duration,
    /// General blocks that we take in a row, 1 to 63. More than 1 is for links on which a meter may speak unasked, as the wrapper;
    /// on HDLC it waits for its turn.
    pub block_window: u8,
    /// Most blocks of one value: a peer cannot keep us busy for ever.
    pub blocks_max: u32,
}

impl Default for Config {
    /// The public client: no authentication, no protection, 10 seconds per answer, values of at most 65,536 blocks.
    fn default() -> Self {
        Self {
            mechanism: AuthMechanism::None,
            secret: None,
            signing_key: None,
            agreement_key: None,
            server_public_key: None,
            policy: SecurityPolicy::NONE,
            form: Form::Glo,
            content_key: ContentKey::Global,
            signed: false,
            system_title: SystemTitle::default(),
            server_title: None,
            encryption_key: None,
            authentication_key: None,
            dedicated_key: None,
            peer_counter: None,
            referencing: Referencing::LogicalName,
            conformance: IMPLEMENTED.difference(Conformance::GENERAL_BLOCK_TRANSFER),
            max_pdu: u16::MAX,
            send_pdu_max: 0,
            response_timeout: Duration::from_secs(10),
            block_window: 1,
            blocks_max: 65_536,
        }
    }
}
