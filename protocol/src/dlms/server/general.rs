//! General-ciphering and general-signing on the server's side.

use super::custody::Custody;
use super::session::Session;
use super::unseal;
use crate::codec::xdlms::{ApduTag, KeyInfo};
use crate::dlms::security::frame::{Sealed, plain_capacity};
use crate::dlms::security::general::{
    Address, General, Signed, TransactionId, general_capacity, one_pass, signed_capacity,
};
use crate::dlms::security::{Cipher, Form, Frame, Key, KeyUsage, Refusal, agreement, ecdsa, key_wrap};

/// What an answer in these forms needs to know of its request.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The request's transaction-id.
    transaction_id: TransactionId,
    /// The key the request brought; without one, the global key.
    content: Option<Cipher>,
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
    general.header.check(&session.peer, &meter.system_title())?;
    let row = session.row;
    let policy = row.policy.global();
    let floor = meter.last_seen(row.key_set, &session.peer);
    general.sealed.admit(policy.suite, policy, &session.peer, floor)?;
    let content = match general.key_info {
        None | Some(KeyInfo::Identified { key_id: 0 }) => None,
        Some(key_info) => Some(content_cipher(session, key_info, meter)?),
    };
    let cipher = content.as_ref().or(session.cipher.as_ref()).ok_or(Refusal::Weak)?;
    let len = general.sealed.open(cipher, policy, &session.peer, floor, rx)?;
    meter.accept(row.key_set, &session.peer, general.sealed.counter);
    let transaction_id = transaction_id(general.header.transaction_id)?;
    session.reply = Some(Reply { transaction_id, content, signed: false });
    session.form = Form::General;
    session.control = general.sealed.control;
    Ok(len)
}

/// The key that the APDU brings, ready for use.
fn content_cipher<M: Custody>(
    session: &Session,
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
            let (point, signature) =
                one_pass(parameters, ciphered_key, 2 * curve.field_len()).ok_or(Refusal::Weak)?;
            if !meter.verify(suite, row.client_sap, &session.peer, &[point], signature) {
                return Err(Refusal::BadSignature);
            }
            let secret = meter.agree(suite, point);
            secret.and_then(|z| agreement::content_key(suite, &z, &session.peer, &meter.system_title()))
        }
        // The broadcast key is no key of an association.
        _ => return Err(Refusal::Weak),
    };
    let ak = meter.key(row.key_set, KeyUsage::Authentication);
    key.zip(ak).and_then(|(key, ak)| Cipher::new(suite, &key, &ak)).ok_or(Refusal::BadTag)
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
            Form::General => general_capacity(total, transaction, 0, self.own_control()),
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
        let address =
            Address { transaction_id: &reply.transaction_id, originator: &title, recipient: &self.peer };
        frame.protect_general(cipher, self.own_control(), counter, address, &[])
    }

    /// Signs a protected answer where its request was signed.
    pub fn sign<const N: usize, M: Custody>(
        &self,
        frame: &mut Frame<N>,
        meter: &mut M,
    ) -> crate::codec::Result<()> {
        let Some(reply @ Reply { signed: true, .. }) = &self.reply else { return Ok(()) };
        let title = meter.system_title();
        let address =
            Address { transaction_id: &reply.transaction_id, originator: &title, recipient: &self.peer };
        frame.sign_general(address, |parts| meter.sign(self.row.policy.suite, parts))
    }
}
