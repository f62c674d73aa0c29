//! General-ciphering and general-signing on the client's side.

use super::event::{Error, StartError};
use super::response::Opening;
use super::{Client, Config};
use crate::codec::xdlms::{ApduTag, KeyInfo};
use crate::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey};
use crate::dlms::security::frame::{Sealed, plain_capacity};
use crate::dlms::security::general::{
    Address, EncodedKeyInfo, General, Signed, agreed_key, general_capacity, signed_capacity, wrapped_key,
};
use crate::dlms::security::{Cipher, Form, Key, Refusal, SystemTitle, agreement, key_wrap};

/// Which key general-ciphering uses. Keys are wiped when it is dropped and never printed.
#[derive(Debug, Clone, Default)]
pub enum ContentKey {
    /// The global unicast key.
    #[default]
    Global,
    /// A fresh random key for this association, sent wrapped under the meter's master key.
    Wrapped {
        /// Master key.
        master: Key,
        /// The fresh key, as long as the suite's.
        key: Key,
    },
    /// One agreed on by the one-pass Diffie-Hellman scheme. [`Config::signing_key`] signs the ephemeral key.
    Agreed {
        /// A fresh key pair for this association.
        ephemeral: PrivateKey,
        /// The meter's static public key for agreement.
        server: PublicKey,
    },
}

/// A transaction-id of ours: the invocation counter in 8 bytes, as others make it.
pub(super) type Transaction = [u8; 8];

/// What an association in these forms needs.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The content key, where it is not the global one.
    cipher: Option<Cipher>,
    key_info: EncodedKeyInfo,
    /// Of the request under way.
    transaction: Transaction,
}

impl Config {
    /// Whether everything is there that its form and its signatures need.
    pub(super) fn suits_general(&self) -> bool {
        let curve = Curve::of_suite(self.policy.suite);
        let signs = curve.is_some() && self.signing_key.as_ref().map(PrivateKey::curve) == curve;
        let verifies = self.server_public_key.as_ref().map(PublicKey::curve) == curve;
        let ciphered = !self.policy.is_none();
        if self.signed && !(ciphered && signs && verifies) {
            return false;
        }
        if self.form != Form::General {
            return true;
        }
        ciphered
            && match &self.content_key {
                ContentKey::Global => true,
                ContentKey::Wrapped { key, .. } => key.len() == self.policy.suite.key_len(),
                ContentKey::Agreed { ephemeral, server } => {
                    signs && Some(ephemeral.curve()) == curve && Some(server.curve()) == curve
                }
            }
    }
}

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    /// Makes the content key ready, once the meter's title is known.
    pub(super) fn prepare_content(&mut self) -> Result<(), Error> {
        self.content = Content::default();
        if self.config.form != Form::General && !self.config.signed {
            return Ok(());
        }
        let server_title = self.server_title.ok_or(Error::Protection(Refusal::WrongTitle))?;
        let config = &self.config;
        let suite = config.policy.suite;
        let made = match &config.content_key {
            _ if config.form != Form::General => return Ok(()),
            ContentKey::Global => return Ok(()),
            ContentKey::Wrapped { master, key } => {
                key_wrap::wrap(master, key).map(|wrapped| (key.clone(), wrapped_key(&wrapped)))
            }
            ContentKey::Agreed { ephemeral, server } => {
                let secret = ephemeral.agree(server);
                let key = secret
                    .and_then(|z| agreement::content_key(suite, &z, &config.system_title, &server_title));
                let signing = config.signing_key.as_ref();
                key.zip(signing.and_then(|signing| agreed_key(ephemeral, signing)))
            }
        };
        // What is missing was found out before the AARQ left.
        let (key, key_info) = made.ok_or(Error::Downgrade)?;
        let ak = config.authentication_key.as_ref();
        let cipher = ak.and_then(|ak| Cipher::new(suite, &key, ak)).ok_or(Error::Downgrade)?;
        self.content = Content { cipher: Some(cipher), key_info, ..Content::default() };
        Ok(())
    }

    /// The largest plain APDU that stays within `total` bytes in a form.
    pub(super) fn plain_capacity(&self, total: usize, form: Form) -> usize {
        let transaction = size_of::<Transaction>();
        let total = match Curve::of_suite(self.config.policy.suite) {
            Some(curve) if self.config.signed && form != Form::Plain => {
                signed_capacity(total, transaction, 2 * curve.field_len())
            }
            _ => total,
        };
        match form {
            Form::General => {
                general_capacity(total, transaction, self.content.key_info.len(), self.control())
            }
            form => plain_capacity(total, form, self.control()),
        }
    }

    /// Enciphers what is in the transmit buffer with general-ciphering.
    pub(super) fn protect_general(&mut self, counter: u32) -> Result<(), StartError> {
        let control = self.control();
        self.content.transaction = u64::from(counter).to_be_bytes();
        let recipient = self.server_title.ok_or(StartError::Configuration)?;
        let Self { content, global, config, tx, .. } = self;
        let cipher = content.cipher.as_ref().or(global.as_ref()).ok_or(StartError::Configuration)?;
        let address = Address {
            transaction_id: &content.transaction,
            originator: &config.system_title,
            recipient: &recipient,
        };
        let protected = tx.protect_general(cipher, control, counter, address, &content.key_info);
        protected.map_err(|_| StartError::TooLong)
    }

    /// Signs what is in the transmit buffer where requests are signed.
    pub(super) fn sign(&mut self, counter: u32) -> Result<(), StartError> {
        if !self.config.signed {
            return Ok(());
        }
        self.content.transaction = u64::from(counter).to_be_bytes();
        let recipient = self.server_title.ok_or(StartError::Configuration)?;
        let Self { content, config, tx, .. } = self;
        let key = config.signing_key.as_ref().ok_or(StartError::Configuration)?;
        let address = Address {
            transaction_id: &content.transaction,
            originator: &config.system_title,
            recipient: &recipient,
        };
        tx.sign_general(address, |parts| key.sign(parts)).map_err(|_| StartError::TooLong)
    }
}

/// What opening these forms needs of the client.
pub(super) struct GeneralOpening<'a> {
    pub content: &'a Content,
    pub own_title: &'a SystemTitle,
    /// The key the meter signs with, where its answers must be signed.
    pub signed_by: Option<&'a PublicKey>,
}

impl GeneralOpening<'_> {
    fn is_ours(&self, transaction_id: &[u8]) -> Result<(), Refusal> {
        if transaction_id == self.content.transaction { Ok(()) } else { Err(Refusal::WrongTransaction) }
    }
}

/// The APDU without its signature, which is verified where there is one; and whether there was one.
pub(super) fn unsign<'a>(client: &Opening<'_>, apdu: &'a [u8]) -> Result<(&'a [u8], bool), Refusal> {
    let Some(signed) = Signed::parse(apdu)? else { return Ok((apdu, false)) };
    // Signatures are for those who asked for them.
    let key = client.general.signed_by.ok_or(Refusal::Weak)?;
    let peer = client.peer.ok_or(Refusal::WrongTitle)?;
    signed.header.check(&peer, client.general.own_title)?;
    client.general.is_ours(signed.header.transaction_id)?;
    if !key.verify(&signed.parts(), signed.signature) {
        return Err(Refusal::BadSignature);
    }
    // A signature alone is no protection against replay.
    match signed.content.first().copied().and_then(ApduTag::from_u8) {
        Some(ApduTag::GeneralCiphering) => Ok((signed.content, true)),
        _ if Sealed::parse(signed.content)?.is_some() => Ok((signed.content, true)),
        _ => Err(Refusal::Weak),
    }
}

/// Opens general-ciphering into the receive buffer and gives its length; `None` for another form.
pub(super) fn open(client: &mut Opening<'_>, apdu: &[u8]) -> Result<Option<usize>, Refusal> {
    let Some(general) = General::parse(apdu)? else { return Ok(None) };
    let policy = client.policy.global();
    let peer = client.peer.ok_or(Refusal::WrongTitle)?;
    general.header.check(&peer, client.general.own_title)?;
    client.general.is_ours(general.header.transaction_id)?;
    let content = client.general.content.cipher.as_ref();
    let cipher = match general.key_info {
        None => content.or(client.global),
        Some(KeyInfo::Identified { key_id: 0 }) => client.global,
        // A key that a meter brings is none that we know of.
        Some(_) => None,
    };
    let cipher = cipher.filter(|_| !policy.is_none()).ok_or(Refusal::Weak)?;
    let len = general.sealed.open(cipher, policy, &peer, *client.peer_counter, client.rx)?;
    *client.peer_counter = Some(general.sealed.counter);
    Ok(Some(len))
}
