//! Method key_agreement: the ephemeral unified model C(2e, 0s) of suites 1 and 2. The client sends a fresh public key for each
//! key, the meter answers with one of its own, and both derive the key from them. Each public key is signed with its sender's
//! signing key, over `key_id || public key`.

use super::{KeyData, KeyId, NewKeys, USES};
use crate::codec::axdr::Data;
use crate::codec::codec::{Error, ErrorKind, Result, Writer};
use crate::codec::xdlms::ActionResult;
use crate::cosem::FromData;
use crate::cosem::class::{Items, ToData};
use crate::cosem::values::put_array;
use crate::dlms::security::agreement::{Purpose, global_key};
use crate::dlms::security::ecdsa::{Curve, PAIR_MAX, PrivateKey, PublicKey, Signature};
use crate::dlms::security::{Key, SecuritySuite, SystemTitle};
use crate::dlms::server::Custody;

/// Who agrees on keys.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The suite: it has the curve, and says how long keys are.
    pub suite: SecuritySuite,
    /// The client's title.
    pub client: &'a SystemTitle,
    /// The meter's.
    pub server: &'a SystemTitle,
}

impl Parties<'_> {
    fn key(self, id: KeyId, ours: &PrivateKey, theirs: &PublicKey) -> Option<Key> {
        let purpose = if id == KeyId::Master { Purpose::Wrap } else { Purpose::Cipher };
        global_key(self.suite, purpose, &ours.agree(theirs)?, self.client, self.server)
    }
}

/// An ephemeral public key that came, its signature not yet verified.
#[derive(Clone)]
struct Offer {
    id: KeyId,
    public: PublicKey,
    signature: Signature,
}

impl Offer {
    fn read(item: KeyData<'_>, curve: Curve) -> Option<Self> {
        let pair = 2 * curve.field_len();
        if item.key_data.len() != 2 * pair {
            return None;
        }
        let (public, signature) = item.key_data.split_at_checked(pair)?;
        Some(Self {
            id: item.key_id,
            public: PublicKey::from_bytes(curve, public)?,
            signature: Signature::from_slice(signature).ok()?,
        })
    }
}

/// Writes one public key with its signature.
fn put_offer(
    w: &mut dyn Writer,
    id: KeyId,
    ephemeral: &PrivateKey,
    sign: impl FnOnce(&[&[u8]]) -> Option<Signature>,
) -> Result<()> {
    let public = ephemeral.public_key().to_bytes();
    let signature = sign(&[&[id as u8], &public]).ok_or(Error::new(ErrorKind::Unsupported, 0))?;
    let mut key_data = heapless::Vec::<u8, { 2 * PAIR_MAX }>::new();
    let whole = key_data.extend_from_slice(&public).and_then(|()| key_data.extend_from_slice(&signature));
    whole.map_err(|_| Error::new(ErrorKind::InvalidLength, 0))?;
    KeyData { key_id: id, key_data: &key_data }.put(w)
}

/// Writes the parameter of [`super::KEY_AGREEMENT`]: a fresh key pair of ours for each key, none used twice, signed with
/// `signing`. The key pairs are needed again for the answer.
///
/// # Errors
/// The buffer is full, or the keys are on different curves.
pub fn put_key_agreement(
    w: &mut dyn Writer,
    keys: &[(KeyId, &PrivateKey)],
    signing: &PrivateKey,
) -> Result<()> {
    put_array(w, keys.len())?;
    keys.iter().try_for_each(|(id, ephemeral)| {
        let same = ephemeral.curve() == signing.curve();
        put_offer(w, *id, ephemeral, |parts| if same { signing.sign(parts) } else { None })
    })
}

type Offers = heapless::Vec<Offer, USES>;

/// Reads the array; every public key must lie on the curve, and no use come twice.
fn offers<'a>(
    list: Items<'a, KeyData<'a>>,
    suite: SecuritySuite,
) -> core::result::Result<Offers, ActionResult> {
    let curve = Curve::of_suite(suite).ok_or(ActionResult::OtherReason)?;
    let mut offers = Offers::new();
    for item in list.iter() {
        let item = item.map_err(|_| ActionResult::TypeUnmatched)?;
        let offer = Offer::read(item, curve).ok_or(ActionResult::OtherReason)?;
        if offers.iter().any(|other| other.id == offer.id) {
            return Err(ActionResult::OtherReason);
        }
        offers.push(offer).map_err(|_| ActionResult::OtherReason)?;
    }
    if offers.is_empty() { Err(ActionResult::OtherReason) } else { Ok(offers) }
}

impl NewKeys {
    /// The meter's side: reads the parameter of [`super::KEY_AGREEMENT`], writes the return value into `out`, and gives the keys:
    /// all of them or none. They count when the caller has stored them. `client` is who has to have signed, who speaks as
    /// `client_sap`.
    ///
    /// # Errors
    /// `TypeUnmatched` when an item is no key; `OtherReason` for a suite without a curve, an empty array, a point that
    /// lies on no curve, a use that comes twice, a missing signing key or random source, and when the answer does not fit;
    /// `ReadWriteDenied` when a signature is not the client's.
    pub fn agreed<'a>(
        parameter: Items<'a, KeyData<'a>>,
        suite: SecuritySuite,
        (client_sap, client): (u8, &SystemTitle),
        meter: &mut impl Custody,
        out: &mut dyn Writer,
    ) -> core::result::Result<Self, ActionResult> {
        let offers = offers(parameter, suite)?;
        let genuine = |offer: &Offer| {
            let public = offer.public.to_bytes();
            meter.verify(suite, client_sap, client, &[&[offer.id as u8], &public], &offer.signature)
        };
        if !offers.iter().all(genuine) {
            return Err(ActionResult::ReadWriteDenied);
        }
        let failed = |_| ActionResult::OtherReason;
        let server = meter.system_title();
        let parties = Parties { suite, client, server: &server };
        let mut keys = Self::default();
        put_array(out, offers.len()).map_err(failed)?;
        for Offer { id, public, .. } in &offers {
            let ephemeral = PrivateKey::generate(public.curve(), |bytes| meter.random(bytes));
            let ephemeral = ephemeral.ok_or(ActionResult::OtherReason)?;
            let key = parties.key(*id, &ephemeral, public).ok_or(ActionResult::OtherReason)?;
            keys.add(*id, key)?;
            put_offer(out, *id, &ephemeral, |parts| meter.sign(suite, parts)).map_err(failed)?;
        }
        Ok(keys)
    }

    /// The client's side: the keys from the return value of [`super::KEY_AGREEMENT`], with the key pairs that were sent. All of
    /// them or none: when this fails after the meter said success, the meter has keys that this end has not.
    ///
    /// # Errors
    /// `UnexpectedMessage` when the answer is no such array or is not about exactly the keys that were asked for, `BadTag` when a
    /// key is not signed with `server_key`; the offset is the number of the key.
    pub fn agreed_with(
        answer: Data<'_>,
        parties: Parties<'_>,
        sent: &[(KeyId, &PrivateKey)],
        server_key: &PublicKey,
    ) -> Result<Self> {
        let wrong = |at| Error::new(ErrorKind::UnexpectedMessage, at);
        let list = Items::from_data(answer).map_err(|_| wrong(0))?;
        let offers = offers(list, parties.suite).map_err(|_| wrong(0))?;
        if offers.len() != sent.len() || Some(server_key.curve()) != Curve::of_suite(parties.suite) {
            return Err(wrong(0));
        }
        let mut keys = Self::default();
        for (at, Offer { id, public, signature }) in offers.iter().enumerate() {
            let ours = sent.iter().find(|(asked, _)| asked == id).ok_or(wrong(at))?;
            if !server_key.verify(&[&[*id as u8], &public.to_bytes()], signature) {
                return Err(Error::new(ErrorKind::BadTag, at));
            }
            let key = parties.key(*id, ours.1, public).ok_or(wrong(at))?;
            keys.add(*id, key).map_err(|_| wrong(at))?;
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::{Decode, SliceWriter};
    use crate::dlms::security::{KeyUsage, Secret};
    use crate::dlms::server::Association;

    const SUITE: SecuritySuite = SecuritySuite::Suite1;
    const CLIENT: SystemTitle = SystemTitle(*b"CLIENT01");
    const SERVER: SystemTitle = SystemTitle(*b"SERVER01");
    const PARTIES: Parties<'_> = Parties { suite: SUITE, client: &CLIENT, server: &SERVER };

    fn private(byte: u8) -> PrivateKey {
        PrivateKey::from_bytes(Curve::P256, &[byte; 32]).unwrap()
    }

    /// The meter: its keys, and the bytes it draws next.
    struct Meter {
        random: u8,
    }

    impl Custody for Meter {
        fn system_title(&self) -> SystemTitle {
            SERVER
        }
        fn association(&self, _: u8) -> Option<Association> {
            None
        }
        fn secret(&self, _: u8) -> Option<Secret> {
            None
        }
        fn key(&self, _: u8, _: KeyUsage) -> Option<Key> {
            None
        }
        fn next_counter(&mut self, _: u8) -> Option<u32> {
            None
        }
        fn last_seen(&self, _: u8, _: &SystemTitle) -> Option<u32> {
            None
        }
        fn accept(&mut self, _: u8, _: &SystemTitle, _: u32) -> bool {
            false
        }
        fn sign(&mut self, suite: SecuritySuite, parts: &[&[u8]]) -> Option<Signature> {
            assert_eq!(suite, SUITE);
            private(0x53).sign(parts)
        }
        fn verify(
            &self,
            _: SecuritySuite,
            client_sap: u8,
            peer: &SystemTitle,
            parts: &[&[u8]],
            signature: &[u8],
        ) -> bool {
            (client_sap, *peer) == (1, CLIENT) && private(0x43).public_key().verify(parts, signature)
        }
        fn random(&mut self, out: &mut [u8]) {
            self.random += 1;
            out.fill(self.random);
        }
    }

    fn parameter(keys: &[(KeyId, &PrivateKey)], signing: &PrivateKey) -> std::vec::Vec<u8> {
        let mut buffer = [0xA5; 1024];
        let mut w = SliceWriter::new(&mut buffer);
        put_key_agreement(&mut w, keys, signing).unwrap();
        w.as_slice().to_vec()
    }

    fn list(bytes: &[u8]) -> core::result::Result<Items<'_, KeyData<'_>>, ActionResult> {
        Items::from_data(Data::from_bytes(bytes).unwrap()).map_err(|_| ActionResult::TypeUnmatched)
    }

    /// What the meter comes to, and its answer.
    fn agree(parameter: &[u8]) -> core::result::Result<(NewKeys, std::vec::Vec<u8>), ActionResult> {
        let mut buffer = [0xA5; 1024];
        let mut w = SliceWriter::new(&mut buffer);
        let keys =
            NewKeys::agreed(list(parameter)?, SUITE, (1, &CLIENT), &mut Meter { random: 0x20 }, &mut w)?;
        Ok((keys, w.as_slice().to_vec()))
    }

    #[test]
    fn both_ends_come_to_the_same_keys_and_each_use_has_its_own() {
        let (a, b, c) = (private(1), private(2), private(3));
        let sent = [(KeyId::Unicast, &a), (KeyId::Authentication, &b), (KeyId::Master, &c)];
        let (meter, answer) = agree(&parameter(&sent, &private(0x43))).unwrap();
        let answer = Data::from_bytes(&answer).unwrap();
        let client = NewKeys::agreed_with(answer, PARTIES, &sent, &private(0x53).public_key()).unwrap();
        assert!(client == meter);
        let keys = [KeyId::Unicast, KeyId::Authentication, KeyId::Master].map(|id| meter.get(id).unwrap());
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[2] != keys[0]);
        assert!(meter.get(KeyId::Broadcast).is_none());
        // The same sent again comes to other keys: the meter's half is fresh.
        let mut buffer = [0; 1024];
        let parameter = parameter(&sent, &private(0x43));
        let again = NewKeys::agreed(
            list(&parameter).unwrap(),
            SUITE,
            (1, &CLIENT),
            &mut Meter { random: 0x40 },
            &mut SliceWriter::new(&mut buffer),
        );
        assert!(again.unwrap() != meter);
    }

    /// Green Book, table C.1: the client's signed ephemeral key as another implementation carries it, with key identifier 0.
    #[test]
    fn the_green_books_offer_is_read_and_its_signature_verifies() {
        let unhex = |s: &str| -> std::vec::Vec<u8> {
            (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
        };
        let key_data = unhex(
            "2914D60E10AB705F62ED6CC349D7CB99B9AB3F3978E59278C7AF595B3AF98794\
             1372DAB6D5AF1FA867E134167E6F23DE664A6693E05F43414611058D1B48F894\
             06F0607702AA0E2435A183E2F6B1ECD19629712E389A213610C03F77B2590860\
             EA840AF5C3FA1F2BCDF055D4744E9A01CE9A0E55026BCAA4EEBEB764CED64BB3",
        );
        let parameter = [&[1, 1, 2, 2, 0x16, 0, 9, 0x81, 0x80][..], &key_data].concat();
        let offers = offers(list(&parameter).unwrap(), SUITE).unwrap();
        let [offer] = &offers[..] else { panic!() };
        let signer = PrivateKey::from_bytes(
            Curve::P256,
            &unhex("418073C239FA6125011DE4D6CD2E645780289F761BB21BFB0835CB5585E8B373"),
        );
        let signer = signer.unwrap().public_key();
        assert!(signer.verify(&[&[offer.id as u8], &offer.public.to_bytes()], &offer.signature));
        assert_eq!(offer.id, KeyId::Unicast);
    }

    #[test]
    fn a_changed_byte_anywhere_agrees_on_nothing() {
        let (a, b) = (private(1), private(2));
        let sent = [(KeyId::Unicast, &a), (KeyId::Authentication, &b)];
        let good = parameter(&sent, &private(0x43));
        let (_, answer) = agree(&good).unwrap();
        for at in (0..good.len()).step_by(3) {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(Data::from_bytes(&changed).is_err() || agree(&changed).is_err(), "byte {at}");
        }
        let meter = private(0x53).public_key();
        for at in (0..answer.len()).step_by(3) {
            let mut changed = answer.clone();
            changed[at] ^= 1;
            let taken = Data::from_bytes(&changed);
            let taken = taken.and_then(|answer| NewKeys::agreed_with(answer, PARTIES, &sent, &meter));
            assert!(taken.is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_is_not_asked_for_or_not_signed_is_refused_with_its_reason() {
        let key = private(1);
        let one = |id| [(id, &key)];
        let stranger = parameter(&one(KeyId::Unicast), &private(0x58));
        assert_eq!(agree(&stranger).err(), Some(ActionResult::ReadWriteDenied));
        let twice = parameter(&[(KeyId::Unicast, &key), (KeyId::Unicast, &key)], &private(0x43));
        assert_eq!(agree(&twice).err(), Some(ActionResult::OtherReason));
        assert_eq!(agree(&[1, 0]).err(), Some(ActionResult::OtherReason));
        assert_eq!(agree(&[9, 1, 0]).err(), Some(ActionResult::TypeUnmatched));
        assert_eq!(agree(&[1, 1, 2, 2, 0x16, 4, 9, 0]).err(), Some(ActionResult::TypeUnmatched));
        // A point that lies on no curve.
        let off = [&[1, 1, 2, 2, 0x16, 0, 9, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(agree(&off).err(), Some(ActionResult::OtherReason));
        // A suite without a curve.
        let good = parameter(&one(KeyId::Unicast), &private(0x43));
        let mut out = [0; 16];
        let mut w = SliceWriter::new(&mut out);
        let suite0 = NewKeys::agreed(
            list(&good).unwrap(),
            SecuritySuite::Suite0,
            (1, &CLIENT),
            &mut Meter { random: 0 },
            &mut w,
        );
        assert_eq!(suite0, Err(ActionResult::OtherReason));
        // No room for the answer.
        let full =
            NewKeys::agreed(list(&good).unwrap(), SUITE, (1, &CLIENT), &mut Meter { random: 0 }, &mut w);
        assert_eq!(full, Err(ActionResult::OtherReason));
        // An answer about another key, and one key too few.
        let (_, answer) = agree(&good).unwrap();
        let answer = Data::from_bytes(&answer).unwrap();
        let meter = private(0x53).public_key();
        let other = NewKeys::agreed_with(answer, PARTIES, &one(KeyId::Authentication), &meter);
        let two = [(KeyId::Unicast, &key), (KeyId::Authentication, &key)];
        let few = NewKeys::agreed_with(answer, PARTIES, &two, &meter);
        let unsigned = NewKeys::agreed_with(answer, PARTIES, &one(KeyId::Unicast), &private(9).public_key());
        assert!(other.is_err() && few.is_err() && unsigned.is_err());
    }
}
