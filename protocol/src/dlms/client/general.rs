//! General-ciphering and general-signing on the client's side.

use super::event::{Error, StartError};
use super::response::Opening;
use super::{Client, Config};
use crate::codec::xdlms::{ApduTag, KeyInfo};
use crate::dlms::security::ecdsa::{Curve, PrivateKey, PublicKey, SecretNumber};
use crate::dlms::security::frame::{Sealed, plain_capacity};
use crate::dlms::security::general::{
    Address, EncodedKeyInfo, General, Header, Scheme, Signed, agreed_key, general_capacity, identified_key,
    signed_capacity, static_key, wrapped_key,
};
use crate::dlms::security::{
    Cipher, Form, Key, Refusal, SystemTitle, agreement, key_wrap, without_dedicated,
};

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
    /// One that the static keys of both make with each transaction-id: the static unified model. [`Config::agreement_key`] is ours.
    Static {
        /// The meter's static public key for agreement.
        server: PublicKey,
    },
}

/// A transaction-id of ours: the invocation counter in 8 bytes, as others make it.
pub(super) type Transaction = [u8; 8];

/// What an association in these forms needs.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The content key, where it is not the global one; with the static scheme that of the request under way.
    cipher: Option<Cipher>,
    /// The static scheme: what the two keys come to.
    secret: Option<SecretNumber>,
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
            return !(self.signed && self.policy.broadcast());
        }
        if self.policy.broadcast() {
            // What goes to many names nobody: nothing in it can be for one alone.
            return ciphered && !self.signed && matches!(self.content_key, ContentKey::Global);
        }
        ciphered
            && match &self.content_key {
                ContentKey::Global => true,
                ContentKey::Wrapped { key, .. } => key.len() == self.policy.suite.key_len(),
                ContentKey::Agreed { ephemeral, server } => {
                    signs && Some(ephemeral.curve()) == curve && Some(server.curve()) == curve
                }
                ContentKey::Static { server } => {
                    let ours = self.agreement_key.as_ref().map(PrivateKey::curve);
                    curve.is_some() && ours == curve && Some(server.curve()) == curve
                }
            }
    }
}

impl Config {
    /// A content key ready for use, with the authentication key.
    fn content_cipher(&self, key: Option<Key>) -> Option<Cipher> {
        Cipher::new(self.policy.suite, &key?, self.authentication_key.as_ref()?)
    }
}

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    /// Makes the content key ready, once the meter's title is known.
    pub(super) fn prepare_content(&mut self) -> Result<(), Error> {
        self.content = Content::default();
        if self.config.form != Form::General && !self.config.signed {
            return Ok(());
        }
        if self.config.policy.broadcast() {
            self.content.key_info = identified_key(1);
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
                key.zip(signing.and_then(|signing| agreed_key(ephemeral, |parts| signing.sign(parts))))
            }
            ContentKey::Static { server } => {
                let secret = config.agreement_key.as_ref().and_then(|ours| ours.agree(server));
                let secret = Some(secret.ok_or(Error::Downgrade)?);
                self.content = Content { secret, key_info: static_key(), ..Content::default() };
                return Ok(());
            }
        };
        // What is missing was found out before the AARQ left.
        let (key, key_info) = made.ok_or(Error::Downgrade)?;
        let cipher = Some(config.content_cipher(Some(key)).ok_or(Error::Downgrade)?);
        self.content = Content { cipher, key_info, ..Content::default() };
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
        let broadcast = self.config.policy.broadcast();
        let recipient = self.server_title.filter(|_| !broadcast);
        if recipient.is_none() && !broadcast {
            return Err(StartError::Configuration);
        }
        let Self { content, global, config, tx, .. } = self;
        if let (Some(secret), Some(recipient)) = (&content.secret, &recipient) {
            let (suite, nonce) = (config.policy.suite, &content.transaction);
            let key = agreement::static_content_key(suite, secret, &config.system_title, nonce, recipient);
            content.cipher = Some(config.content_cipher(key).ok_or(StartError::Configuration)?);
        }
        let cipher = content.cipher.as_ref().or(global.as_ref()).ok_or(StartError::Configuration)?;
        let address = Address {
            transaction_id: &content.transaction,
            originator: &config.system_title,
            recipient: recipient.as_ref(),
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
            recipient: Some(&recipient),
        };
        tx.sign_general(address, |parts| key.sign(parts)).map_err(|_| StartError::TooLong)
    }
}

/// What opening these forms needs of the client.
pub(super) struct GeneralOpening<'a> {
    pub content: &'a Content,
    pub config: &'a Config,
}

impl GeneralOpening<'_> {
    fn is_ours(&self, transaction_id: &[u8]) -> Result<(), Refusal> {
        // Some meters name none. Counter and invoke-id say whose answer it is.
        let ours = transaction_id.is_empty() || transaction_id == self.content.transaction;
        if ours { Ok(()) } else { Err(Refusal::WrongTransaction) }
    }

    /// The key the meter signs with.
    fn signed_by(&self) -> Result<&PublicKey, Refusal> {
        self.config.server_public_key.as_ref().ok_or(Refusal::Weak)
    }

    /// The key that an answer brings under the master key.
    fn wrapped(&self, ciphered_key: &[u8]) -> Result<Cipher, Refusal> {
        let ContentKey::Wrapped { master, .. } = &self.config.content_key else { return Err(Refusal::Weak) };
        let key = key_wrap::unwrap(master, ciphered_key);
        self.config.content_cipher(key).ok_or(Refusal::BadTag)
    }

    /// The key that an answer agrees on with our static one.
    fn agreed(
        &self,
        peer: &SystemTitle,
        header: &Header<'_>,
        parameters: &[u8],
        ciphered_key: &[u8],
    ) -> Result<Cipher, Refusal> {
        let (suite, own) = (self.config.policy.suite, &self.config.system_title);
        let curve = Curve::of_suite(suite).ok_or(Refusal::Weak)?;
        let key = match Scheme::parse(parameters, ciphered_key, 2 * curve.field_len()).ok_or(Refusal::Weak)? {
            Scheme::OnePass { ephemeral, signature } => {
                if !self.signed_by()?.verify(&[ephemeral], signature) {
                    return Err(Refusal::BadSignature);
                }
                let theirs = PublicKey::from_bytes(curve, ephemeral).ok_or(Refusal::Weak)?;
                let secret = self.config.agreement_key.as_ref().and_then(|ours| ours.agree(&theirs));
                secret.and_then(|z| agreement::content_key(suite, &z, peer, own))
            }
            Scheme::Static => self
                .content
                .secret
                .as_ref()
                .and_then(|z| agreement::static_content_key(suite, z, peer, header.transaction_id, own)),
        };
        self.config.content_cipher(key).ok_or(Refusal::Weak)
    }
}

/// The APDU without its signature, which is verified where there is one; and whether there was one.
pub(super) fn unsign<'a>(client: &Opening<'_>, apdu: &'a [u8]) -> Result<(&'a [u8], bool), Refusal> {
    let Some(signed) = Signed::parse(apdu)? else { return Ok((apdu, false)) };
    // Signatures are for those who asked for them.
    let key =
        client.general.signed_by().ok().filter(|_| client.general.config.signed).ok_or(Refusal::Weak)?;
    let peer = client.peer.ok_or(Refusal::WrongTitle)?;
    signed.header.check(&peer, &client.general.config.system_title)?;
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
    let policy = without_dedicated(client.policy);
    let peer = client.peer.ok_or(Refusal::WrongTitle)?;
    general.header.check(&peer, &client.general.config.system_title)?;
    client.general.is_ours(general.header.transaction_id)?;
    let content = client.general.content.cipher.as_ref();
    let brought;
    let cipher = match general.key_info {
        None => content.or(client.global),
        Some(KeyInfo::Identified { key_id }) if Some(key_id) == policy.key_usage().key_id() => client.global,
        Some(KeyInfo::Agreed { parameters, ciphered_key }) => {
            brought = client.general.agreed(&peer, &general.header, parameters, ciphered_key)?;
            Some(&brought)
        }
        Some(KeyInfo::Wrapped { kek_id: 0, ciphered_key }) => {
            brought = client.general.wrapped(ciphered_key)?;
            Some(&brought)
        }
        // The key of another key set.
        Some(_) => None,
    };
    let cipher = cipher.filter(|_| !policy.is_none()).ok_or(Refusal::Weak)?;
    let len = general.sealed.open(cipher, policy, &peer, *client.peer_counter, client.rx)?;
    *client.peer_counter = Some(general.sealed.counter);
    Ok(Some(len))
}
