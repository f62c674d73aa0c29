//! General-ciphering and general-signing on the server's side.

use super::custody::Custody;
use super::session::Session;
use super::unseal;
use crate::codec::xdlms::{ApduTag, KeyInfo};
use crate::dlms::security::frame::{Sealed, plain_capacity};
use crate::dlms::security::general::{
    Address, EncodedKeyInfo, General, Header, Scheme, Signed, TransactionId, agreed_key, general_capacity,
    identified_key, signed_capacity, static_key, wrapped_key,
};
use crate::dlms::security::{
    Cipher, Form, Frame, Key, KeyUsage, Refusal, agreement, ecdsa, key_wrap, without_dedicated,
};

/// What an answer in these forms needs to know of its request.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The request's transaction-id.
    transaction_id: TransactionId,
    /// The answer's key, where it is not the global one.
    content: Option<Cipher>,
    /// How the answer names it.
    key_info: EncodedKeyInfo,
    /// The request was signed, and so is its answer.
    signed: bool,
}

impl Reply {
    pub const fn is_signed(&self) -> bool {
        self.signed
    }
}

/// Opens an APDU in one of the forms with headers into `rx` and gives its length; `None` when it is in another form.
pub(super) fn open<M: Custody>(
    session: &mut Session,
    apdu: &[u8],
    rx: &mut [u8],
    meter: &mut M,
) -> Result<Option<usize>, Refusal> {
    let tag = apdu.first().copied().and_then(ApduTag::from_u8);
    if !matches!(tag, Some(ApduTag::GeneralCiphering | ApduTag::GeneralSigning)) {
        session.reply = None;
        return Ok(None);
    }
    if session.row.policy.is_none() {
        // A signature alone is no protection against replay.
        return Err(Refusal::Weak);
    }
    let Some(signed) = Signed::parse(apdu)? else {
        return open_enciphered(session, apdu, rx, meter).map(Some);
    };
    let row = session.row;
    signed.header.check(&session.peer, &meter.system_title())?;
    let (suite, client_sap) = (row.policy.suite, row.client_sap);
    if !meter.verify(suite, client_sap, &session.peer, &signed.parts(), signed.signature) {
        return Err(Refusal::BadSignature);
    }
    session.reply = None;
    let len = match Sealed::parse(signed.content)? {
        Some(sealed) => unseal(session, &sealed, rx, meter)?,
        None => open_enciphered(session, signed.content, rx, meter)?,
    };
    let reply = session.reply.get_or_insert_default();
    reply.signed = true;
    if reply.transaction_id.is_empty() {
        reply.transaction_id = transaction_id(signed.header.transaction_id)?;
    }
    Ok(Some(len))
}

fn transaction_id(bytes: &[u8]) -> Result<TransactionId, Refusal> {
    // `Header::check` has bounded it.
    TransactionId::from_slice(bytes).map_err(|_| Refusal::WrongTransaction)
}

fn open_enciphered<M: Custody>(
    session: &mut Session,
    apdu: &[u8],
    rx: &mut [u8],
    meter: &mut M,
) -> Result<usize, Refusal> {
    let general = General::parse(apdu)?.ok_or(Refusal::Weak)?;
    let row = session.row;
    let policy = without_dedicated(row.policy);
    let title = meter.system_title();
    if policy.broadcast() {
        general.header.check_broadcast(&session.peer, &title)?;
    } else {
        general.header.check(&session.peer, &title)?;
    }
    let floor = meter.last_seen(row.key_set, &session.peer);
    general.sealed.admit(policy.suite, policy, &session.peer, floor)?;
    let content = match general.key_info {
        None => None,
        // The key set is the association's, never the frame's.
        Some(KeyInfo::Identified { key_id }) if Some(key_id) == policy.key_usage().key_id() => None,
        Some(key_info) => Some(content_cipher(session, &general.header, key_info, meter)?),
    };
    let cipher = content.as_ref().or(session.cipher.as_ref()).ok_or(Refusal::Weak)?;
    let len = general.sealed.open(cipher, policy, &session.peer, floor, rx)?;
    if !meter.accept(row.key_set, &session.peer, general.sealed.counter) {
        return Err(Refusal::CounterNotStored);
    }
    let transaction_id = transaction_id(general.header.transaction_id)?;
    let (content, key_info) = answer_key(session, &general, content, meter);
    session.reply = Some(Reply { transaction_id, content, key_info, signed: false });
    session.form = Form::General;
    session.control = general.sealed.control;
    Ok(len)
}

/// The key that the APDU brings, ready for use.
fn content_cipher<M: Custody>(
    session: &Session,
    header: &Header<'_>,
    key_info: KeyInfo<'_>,
    meter: &mut M,
) -> Result<Cipher, Refusal> {
    let row = session.row;
    let suite = row.policy.suite;
    let key: Option<Key> = match key_info {
        KeyInfo::Wrapped { kek_id: 0, ciphered_key } => {
            let master = meter.key(row.key_set, KeyUsage::KeyEncrypting);
            master.and_then(|master| key_wrap::unwrap(&master, ciphered_key))
        }
        KeyInfo::Agreed { parameters, ciphered_key } => {
            let curve = ecdsa::Curve::of_suite(suite).ok_or(Refusal::Weak)?;
            let (peer, title) = (&session.peer, meter.system_title());
            match Scheme::parse(parameters, ciphered_key, 2 * curve.field_len()).ok_or(Refusal::Weak)? {
                Scheme::OnePass { ephemeral, signature } => {
                    if !meter.verify(suite, row.client_sap, peer, &[ephemeral], signature) {
                        return Err(Refusal::BadSignature);
                    }
                    let secret = meter.agree(suite, ephemeral);
                    secret.and_then(|z| agreement::content_key(suite, &z, peer, &title))
                }
                Scheme::Static => {
                    let theirs = meter.agreement_key_of(suite, peer).ok_or(Refusal::Weak)?;
                    let (secret, nonce) = (meter.agree(suite, &theirs.to_bytes()), header.transaction_id);
                    secret.and_then(|z| agreement::static_content_key(suite, &z, peer, nonce, &title))
                }
            }
        }
        // The key of another key set.
        _ => return Err(Refusal::Weak),
    };
    let ak = meter.key(row.key_set, KeyUsage::Authentication);
    key.zip(ak).and_then(|(key, ak)| Cipher::new(suite, &key, &ak)).ok_or(Refusal::BadTag)
}

/// The answer's key, and its key-info: of the request's kind. A key that was wrapped serves both ways; one that is agreed on has
/// a direction, so the answer agrees on its own, where the peer's static key is known. Otherwise it goes under the request's,
/// without key-info.
fn answer_key<M: Custody>(
    session: &Session,
    general: &General<'_>,
    content: Option<Cipher>,
    meter: &mut M,
) -> (Option<Cipher>, EncodedKeyInfo) {
    match general.key_info {
        None => (content, EncodedKeyInfo::new()),
        Some(KeyInfo::Identified { key_id }) => (content, identified_key(key_id)),
        Some(KeyInfo::Wrapped { ciphered_key, .. }) => (content, wrapped_key(ciphered_key)),
        Some(KeyInfo::Agreed { parameters, ciphered_key }) => {
            match own_agreement(session, &general.header, (parameters, ciphered_key), meter) {
                Some((cipher, key_info)) => (Some(cipher), key_info),
                None => (content, EncodedKeyInfo::new()),
            }
        }
    }
}

/// A key that this end agrees on for its answer, by the scheme of the request.
fn own_agreement<M: Custody>(
    session: &Session,
    header: &Header<'_>,
    (parameters, ciphered_key): (&[u8], &[u8]),
    meter: &mut M,
) -> Option<(Cipher, EncodedKeyInfo)> {
    let row = session.row;
    let (suite, peer, title) = (row.policy.suite, &session.peer, meter.system_title());
    let curve = ecdsa::Curve::of_suite(suite)?;
    let theirs = meter.agreement_key_of(suite, peer)?;
    let (key, key_info) = match Scheme::parse(parameters, ciphered_key, 2 * curve.field_len())? {
        Scheme::OnePass { .. } => {
            let ephemeral = ecdsa::PrivateKey::generate(curve, |bytes| meter.random(bytes))?;
            let key = agreement::content_key(suite, &ephemeral.agree(&theirs)?, &title, peer)?;
            (key, agreed_key(&ephemeral, |parts| meter.sign(suite, parts))?)
        }
        Scheme::Static => {
            let secret = meter.agree(suite, &theirs.to_bytes())?;
            let nonce = header.transaction_id;
            (agreement::static_content_key(suite, &secret, &title, nonce, peer)?, static_key())
        }
    };
    let ak = meter.key(row.key_set, KeyUsage::Authentication)?;
    Some((Cipher::new(suite, &key, &ak)?, key_info))
}

impl Session {
    /// Largest plain APDU that stays within `total` bytes in the form of the answer to come.
    pub fn plain_capacity(&self, total: usize) -> usize {
        let transaction = self.reply.as_ref().map_or(0, |reply| reply.transaction_id.len());
        let total = match (&self.reply, ecdsa::Curve::of_suite(self.row.policy.suite)) {
            (Some(Reply { signed: true, .. }), Some(curve)) => {
                signed_capacity(total, transaction, 2 * curve.field_len())
            }
            _ => total,
        };
        match self.form {
            Form::General => {
                let key_info = self.reply.as_ref().map_or(0, |reply| reply.key_info.len());
                general_capacity(total, transaction, key_info, self.own_control())
            }
            form => plain_capacity(total, form, self.own_control()),
        }
    }

    /// The key that answers are enciphered with.
    pub fn answer_cipher(&self) -> Option<&Cipher> {
        match self.form {
            Form::Plain => None,
            Form::General => self.reply.as_ref().and_then(|r| r.content.as_ref()).or(self.cipher.as_ref()),
            form if form.is_dedicated() => self.dedicated.as_ref().map(|d| &d.cipher),
            _ => self.cipher.as_ref(),
        }
    }

    /// Protects an answer in general-ciphering.
    pub fn protect_general<const N: usize, M: Custody>(
        &self,
        frame: &mut Frame<N>,
        counter: u32,
        meter: &M,
    ) -> crate::codec::Result<()> {
        let missing = crate::codec::Error::new(crate::codec::ErrorKind::Unsupported, 0);
        let (Some(cipher), Some(reply)) = (self.answer_cipher(), &self.reply) else { return Err(missing) };
        let title = meter.system_title();
        let address = Address {
            transaction_id: &reply.transaction_id,
            originator: &title,
            recipient: Some(&self.peer),
        };
        frame.protect_general(cipher, self.own_control(), counter, address, &reply.key_info)
    }

    /// Signs a protected answer where its request was signed.
    pub fn sign<const N: usize, M: Custody>(
        &self,
        frame: &mut Frame<N>,
        meter: &mut M,
    ) -> crate::codec::Result<()> {
        let Some(reply @ Reply { signed: true, .. }) = &self.reply else { return Ok(()) };
        let title = meter.system_title();
        let address = Address {
            transaction_id: &reply.transaction_id,
            originator: &title,
            recipient: Some(&self.peer),
        };
        frame.sign_general(address, |parts| meter.sign(self.row.policy.suite, parts))
    }
}
