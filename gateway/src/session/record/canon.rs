//! From an APDU on the wire to what is compared and written down: deciphered, with everything that differs between two runs
//! of the same session (challenges, keys, what is made of them) replaced by zeros.

use protocol::codec::acse::{Aare, Aarq, Rlre, Rlrq};
use protocol::codec::codec::{Decode, Encode, SliceWriter};
use protocol::dlms::security::frame::Sealed;
use protocol::dlms::security::{Cipher, Form, Key, SecurityPolicy, SystemTitle};

const AARQ: u8 = 0x60;
const AARE: u8 = 0x61;
const RLRQ: u8 = 0x62;
const RLRE: u8 = 0x63;
const ACTION_REQUEST: u8 = 0xC3;
const ACTION_RESPONSE: u8 = 0xC7;
/// Class 15, current association object, method 1: reply_to_HLS_authentication.
const REPLY_TO_HLS: [u8; 9] = [0, 15, 0, 0, 40, 0, 0, 255, 1];
/// Class of Security setup: its methods carry keys.
const SECURITY_SETUP: [u8; 2] = [0, 64];
/// A password is written down with this length, whatever it has.
const PASSWORD_LEN: usize = 8;
/// The largest APDU taken apart.
const APDU_MAX: usize = 4_096;

/// An APDU as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plain {
    /// How it was protected on the wire; of an association's own APDUs, how their user-information was.
    pub(super) form: Form,
    /// The APDU.
    pub(super) bytes: Vec<u8>,
}

/// What opens the APDUs of one association.
pub struct Keyring {
    policy: SecurityPolicy,
    global: Option<Cipher>,
    dedicated: Option<Cipher>,
    dedicated_key: Option<Key>,
    client: SystemTitle,
    server: Option<SystemTitle>,
    proving: bool,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Keyring {
    /// From the configuration of a client.
    #[must_use]
    pub fn new(config: &protocol::dlms::client::Config) -> Self {
        let authentication = config.authentication_key.as_ref();
        let cipher = |key: Option<&Key>| Cipher::new(config.policy.suite, key?, authentication?);
        Self {
            policy: config.policy,
            global: cipher(config.encryption_key.as_ref()),
            dedicated: cipher(config.dedicated_key.as_ref()),
            dedicated_key: config.dedicated_key.clone(),
            client: config.system_title,
            server: config.server_title,
            proving: false,
        }
    }

    pub(super) const fn titles(&self) -> (SystemTitle, Option<SystemTitle>) {
        (self.client, self.server)
    }

    /// Takes the dedicated key that a client brought.
    pub(super) fn set_dedicated(&mut self, key: &[u8], authentication: &Key) {
        self.dedicated_key = Key::from_slice(key).ok();
        self.dedicated =
            self.dedicated_key.as_ref().and_then(|key| Cipher::new(self.policy.suite, key, authentication));
    }

    /// The cipher that protects in this form.
    pub(super) const fn cipher(&self, form: Form) -> Option<&Cipher> {
        match form {
            Form::Plain => None,
            form if form.is_dedicated() => self.dedicated.as_ref(),
            _ => self.global.as_ref(),
        }
    }

    /// A request of the client; `None` when it does not open.
    pub(super) fn sent(&mut self, apdu: &[u8]) -> Option<Plain> {
        self.proving = false;
        let mut plain = match *apdu.first()? {
            AARQ => {
                let aarq = Aarq::from_bytes(apdu).ok()?;
                let (information, form) = self.information(aarq.user_information, true)?;
                let low = aarq.mechanism_name.is_some_and(|mechanism| !mechanism.is_high_level());
                let zeros = aarq
                    .calling_authentication_value
                    .map(|value| vec![0; if low { PASSWORD_LEN } else { value.len() }]);
                let aarq = Aarq {
                    calling_authentication_value: zeros.as_deref(),
                    user_information: information.as_deref(),
                    ..aarq
                };
                Plain { form, bytes: encoded(&aarq)? }
            }
            RLRQ => {
                let rlrq = Rlrq::from_bytes(apdu).ok()?;
                let (information, form) = self.information(rlrq.user_information, true)?;
                Plain { form, bytes: encoded(&Rlrq { user_information: information.as_deref(), ..rlrq })? }
            }
            _ => self.open(apdu, true)?,
        };
        if let [ACTION_REQUEST, 1, _, rest @ ..] = &mut plain.bytes[..] {
            self.proving = rest.starts_with(&REPLY_TO_HLS);
            if self.proving || rest.starts_with(&SECURITY_SETUP) {
                clear_octet_strings(rest);
            }
        }
        Some(plain)
    }

    /// An answer of the meter, or what it sends unasked; `None` when it does not open.
    pub(super) fn received(&mut self, apdu: &[u8]) -> Option<Plain> {
        let mut plain = match *apdu.first()? {
            AARE => {
                let aare = Aare::from_bytes(apdu).ok()?;
                let told = aare.responding_ap_title.and_then(|title| SystemTitle::from_slice(title).ok());
                self.server = told.or(self.server);
                let (information, form) = self.information(aare.user_information, false)?;
                let zeros = aare.responding_authentication_value.map(|value| vec![0; value.len()]);
                let aare = Aare {
                    responding_authentication_value: zeros.as_deref(),
                    user_information: information.as_deref(),
                    ..aare
                };
                Plain { form, bytes: encoded(&aare)? }
            }
            RLRE => {
                let rlre = Rlre::from_bytes(apdu).ok()?;
                let (information, form) = self.information(rlre.user_information, false)?;
                Plain { form, bytes: encoded(&Rlre { user_information: information.as_deref(), ..rlre })? }
            }
            _ => self.open(apdu, false)?,
        };
        if let [ACTION_RESPONSE, 1, _, rest @ ..] = &mut plain.bytes[..]
            && std::mem::take(&mut self.proving)
        {
            clear_octet_strings(rest);
        }
        Some(plain)
    }

    /// Whether the last request was our answer to the meter's challenge.
    pub(super) const fn is_proving(&self) -> bool {
        self.proving
    }

    fn information(&self, bytes: Option<&[u8]>, sent: bool) -> Option<(Option<Vec<u8>>, Form)> {
        match bytes {
            None => Some((None, Form::Plain)),
            Some(bytes) => self.open(bytes, sent).map(|plain| (Some(plain.bytes), plain.form)),
        }
    }

    fn open(&self, apdu: &[u8], sent: bool) -> Option<Plain> {
        let Some(sealed) = Sealed::parse(apdu).ok()? else {
            return Some(Plain { form: Form::Plain, bytes: apdu.to_vec() });
        };
        let title = if sent { self.client } else { self.server? };
        let mut out = [0; APDU_MAX];
        let cipher = self.cipher(sealed.form)?;
        let len = sealed.open(cipher, self.policy.global(), &title, None, &mut out).ok()?;
        let mut bytes = out.get(..len)?.to_vec();
        if let Some(key) = &self.dedicated_key {
            replace(&mut bytes, key.expose(), &vec![0; key.len()]);
        }
        Some(Plain { form: sealed.form, bytes })
    }
}

/// Encodes what was decoded before.
pub(super) fn encoded(value: &impl Encode) -> Option<Vec<u8>> {
    let mut out = [0; APDU_MAX];
    let mut writer = SliceWriter::new(&mut out);
    value.encode(&mut writer).ok()?;
    Some(writer.as_slice().to_vec())
}

/// Replaces every `old` by `new`, which is as long.
pub(super) fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    if old.is_empty() || old.len() != new.len() {
        return;
    }
    let mut at = 0;
    while let Some(part) = bytes.get_mut(at..at + old.len()) {
        if part == old {
            part.copy_from_slice(new);
            at += old.len();
        } else {
            at += 1;
        }
    }
}

/// Clears the content of every octet string (tag 9 with a length of one byte that fits).
fn clear_octet_strings(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(&[tag, len]) = bytes.get(at..at + 2).and_then(|head| <&[u8; 2]>::try_from(head).ok()) {
        let content = at + 2..at + 2 + usize::from(len);
        match bytes.get_mut(content.clone()) {
            Some(content_bytes) if tag == 9 && (8..0x80).contains(&len) => {
                content_bytes.fill(0);
                at = content.end;
            }
            _ => at += 1,
        }
    }
}
