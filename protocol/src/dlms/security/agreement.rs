//! Keys that both ends derive: the concatenation key derivation function of NIST SP 800-56A (5.8.1) as DLMS applies it
//! (Green Book 9.2.3.4.6).

use zeroize::Zeroize;

use super::ecdsa::{Curve, SecretNumber};
use super::{Key, SecuritySuite, SystemTitle};

/// What a derived key does: it chooses the last arc of `2.16.756.5.8.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It enciphers or authenticates APDUs: AES-GCM-128 (0), AES-GCM-256 (1).
    Cipher,
    /// Other keys travel under it: AES-WRAP-128 (2), AES-WRAP-256 (3).
    Wrap,
}

/// The content key of general-ciphering from the shared secret of the one-pass Diffie-Hellman scheme C(1e, 1s).
/// `None` for a suite without a curve, or a secret of another suite's.
#[must_use]
pub fn content_key(
    suite: SecuritySuite,
    secret: &SecretNumber,
    originator: &SystemTitle,
    recipient: &SystemTitle,
) -> Option<Key> {
    derive(suite, Purpose::Cipher, secret, [originator.as_bytes(), &[], &[], recipient.as_bytes()])
}

/// The content key of general-ciphering from the shared secret of the static unified model C(0e, 2s). The secret is always the
/// same, so the originator's nonce makes the key: the transaction-id with its length, of 1 to 127 bytes.
/// `None` for another one, and as [`content_key`].
#[must_use]
pub fn static_content_key(
    suite: SecuritySuite,
    secret: &SecretNumber,
    originator: &SystemTitle,
    transaction_id: &[u8],
    recipient: &SystemTitle,
) -> Option<Key> {
    let len = u8::try_from(transaction_id.len()).ok().filter(|len| (1..128).contains(len))?;
    let len = [len];
    derive(
        suite,
        Purpose::Cipher,
        secret,
        [originator.as_bytes(), &len, transaction_id, recipient.as_bytes()],
    )
}

/// A global key from the shared secret of the ephemeral unified model C(2e, 0s): method key_agreement of class 64.
/// `None` as [`content_key`].
#[must_use]
pub fn global_key(
    suite: SecuritySuite,
    purpose: Purpose,
    secret: &SecretNumber,
    client: &SystemTitle,
    server: &SystemTitle,
) -> Option<Key> {
    derive(suite, purpose, secret, [client.as_bytes(), &[], &[], server.as_bytes()])
}

/// `info` are the parts of PartyUInfo and PartyVInfo.
fn derive(suite: SecuritySuite, purpose: Purpose, secret: &SecretNumber, info: [&[u8]; 4]) -> Option<Key> {
    let curve = Curve::of_suite(suite)?;
    if secret.expose().len() != curve.field_len() {
        return None;
    }
    let algorithm = match (purpose, suite) {
        (Purpose::Cipher, SecuritySuite::Suite2) => 1,
        (Purpose::Cipher, _) => 0,
        (Purpose::Wrap, SecuritySuite::Suite2) => 3,
        (Purpose::Wrap, _) => 2,
    };
    let id = [0x60, 0x85, 0x74, 0x05, 0x08, 0x03, algorithm];
    let [a, b, c, d] = info;
    // One round: neither suite's key is longer than its digest.
    let mut digest = curve.digest(&[&[0, 0, 0, 1], secret.expose(), &id, a, b, c, d]);
    let key = digest.get(..suite.key_len()).and_then(|bytes| Key::from_slice(bytes).ok());
    digest.as_mut_slice().zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::super::ecdsa::{PrivateKey, PublicKey};
    use super::*;

    fn unhex(s: &str) -> std::vec::Vec<u8> {
        (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    const CLIENT: SystemTitle = SystemTitle(*b"MMM\x00\x00\xBC\x61\x4E");
    const SERVER: SystemTitle = SystemTitle(*b"MMM\x00\x00\x00\x00\x01");

    /// Green Book, table C.1, as other implementations carry it.
    #[test]
    fn the_signed_ephemeral_key_is_the_green_books() {
        // The key identifier 0 and the ephemeral public key are signed with the client's key.
        let public = unhex(
            "BAAFFDE06A8CB1C9DAE8D94023C601DBBB249254BA22EDD827E820BCA2BCC643\
             62FBB83D86A82B87BB8B7161D2AAB5521911A946B97A284A90F7785CD9047D25",
        );
        let signed = unhex(
            "002914D60E10AB705F62ED6CC349D7CB99B9AB3F3978E59278C7AF595B3AF987\
             941372DAB6D5AF1FA867E134167E6F23DE664A6693E05F43414611058D1B48F894",
        );
        let signature = unhex(
            "06F0607702AA0E2435A183E2F6B1ECD19629712E389A213610C03F77B2590860\
             EA840AF5C3FA1F2BCDF055D4744E9A01CE9A0E55026BCAA4EEBEB764CED64BB3",
        );
        let private = unhex("418073C239FA6125011DE4D6CD2E645780289F761BB21BFB0835CB5585E8B373");
        let private = PrivateKey::from_bytes(Curve::P256, &private).unwrap();
        assert_eq!(&private.public_key().to_bytes()[..], public);
        let key = PublicKey::from_bytes(Curve::P256, &public).unwrap();
        assert!(key.verify(&[&signed], &signature));
    }

    /// Green Book, table C.2, as another implementation carries it: shared secret and derived key, both ways.
    #[test]
    fn the_derived_keys_are_the_green_books() {
        for (secret, originator, recipient, expected) in [
            (
                "0D4385BA0DD756CBCAB9887EB538396EE8F090A14C1079B4359F115B977F4615",
                CLIENT,
                SERVER,
                "59A71FD81C929A86A99438DA17A66C05",
            ),
            (
                "2B4302DC49790E2E78D990CFB52ED6E2F273DECE441A2D95E4301B93812A9FAC",
                SERVER,
                CLIENT,
                "F0184BDA9466BFA4601A64A7EF46504A",
            ),
        ] {
            let secret = SecretNumber::new(&unhex(secret));
            let key = content_key(SecuritySuite::Suite1, &secret, &originator, &recipient).unwrap();
            assert_eq!(key.expose(), unhex(expected));
        }
        let secret = SecretNumber::new(&[1; 32]);
        assert_eq!(
            static_content_key(SecuritySuite::Suite1, &secret, &CLIENT, &[], &SERVER),
            None,
            "no nonce"
        );
        assert_eq!(content_key(SecuritySuite::Suite0, &secret, &CLIENT, &SERVER), None);
        assert_eq!(content_key(SecuritySuite::Suite2, &secret, &CLIENT, &SERVER), None, "of another curve");
    }
    /// Green Book, table C.1 (ephemeral unified model), as another implementation carries it: the server's ephemeral key and the
    /// shared secret with the client's, whose public half is the one signed above.
    #[test]
    fn the_shared_secret_of_two_ephemeral_keys_is_the_green_books() {
        let server = unhex("34A8C23A34DBB519D09B245754C85A6CFE05D14A063EFA5AA41545AA8241EFAE");
        let server = PrivateKey::from_bytes(Curve::P256, &server).unwrap();
        let public = unhex(
            "95F41066009B185B074F5FFFF736B71C325FCADB2BC0CF1A4F4B17BBE7AB81D6\
             2946506BC8169C7B539B39A5D8463787F449C9BD2583FA67A1075B0DBFC638BA",
        );
        assert_eq!(&server.public_key().to_bytes()[..], public);
        let client = unhex(
            "2914D60E10AB705F62ED6CC349D7CB99B9AB3F3978E59278C7AF595B3AF98794\
             1372DAB6D5AF1FA867E134167E6F23DE664A6693E05F43414611058D1B48F894",
        );
        let secret = server.agree(&PublicKey::from_bytes(Curve::P256, &client).unwrap()).unwrap();
        let expected = unhex("C1CF8FE7891AEF3617D7190795E61FE6C24EFC3CCA2E08469BAD1A225CE6EA08");
        assert_eq!(secret.expose(), expected);
        // The function is that of table C.2, and each purpose has a key of its own.
        let key = |purpose| global_key(SecuritySuite::Suite1, purpose, &secret, &CLIENT, &SERVER).unwrap();
        assert_eq!(Some(key(Purpose::Cipher)), content_key(SecuritySuite::Suite1, &secret, &CLIENT, &SERVER));
        assert_ne!(key(Purpose::Cipher), key(Purpose::Wrap));
    }

    /// Table C.2's static key of the server and ephemeral key of the client, from the same place.
    #[test]
    fn the_shared_secret_of_the_one_pass_scheme_is_the_green_books() {
        let server = unhex("AAD3FD0732E991CF52A74C66C1F2827DDC53522A2E0A169D7C4FFCC0FB5D6A4D");
        let server = PrivateKey::from_bytes(Curve::P256, &server).unwrap();
        let client = unhex("47DAB03842E5B6E74828EF4F449B378D7DD1A5DAE1FFCA5AE0B0BE0AD18EC57E");
        let client = PrivateKey::from_bytes(Curve::P256, &client).unwrap();
        let expected = unhex("0D4385BA0DD756CBCAB9887EB538396EE8F090A14C1079B4359F115B977F4615");
        assert_eq!(server.agree(&client.public_key()).unwrap().expose(), expected);
        assert_eq!(client.agree(&server.public_key()).unwrap().expose(), expected);
    }

    #[test]
    fn the_transaction_makes_the_key_of_the_static_scheme() {
        let secret = SecretNumber::new(&[7; 32]);
        let key = |originator, transaction: &[u8], recipient| {
            static_content_key(SecuritySuite::Suite1, &secret, originator, transaction, recipient).unwrap()
        };
        let first = key(&CLIENT, &[0, 1], &SERVER);
        assert_eq!(first, key(&CLIENT, &[0, 1], &SERVER));
        for other in [
            key(&CLIENT, &[0, 2], &SERVER),
            key(&CLIENT, &[1], &SERVER),
            key(&SERVER, &[0, 1], &CLIENT),
            content_key(SecuritySuite::Suite1, &secret, &CLIENT, &SERVER).unwrap(),
        ] {
            assert_ne!(first, other);
        }
    }
}
