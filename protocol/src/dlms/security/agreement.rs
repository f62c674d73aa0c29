//! Keys that both ends derive: the concatenation key derivation function of NIST SP 800-56A (5.8.1) as DLMS applies it
//! (Green Book 9.2.3.4.6).

use zeroize::Zeroize;

use super::ecdsa::{Curve, SecretNumber};
use super::{Key, SecuritySuite, SystemTitle};

/// What a derived key is for: the last arc of `2.16.756.5.8.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    AesGcm128 = 0,
    AesGcm256 = 1,
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
    let algorithm = match suite {
        SecuritySuite::Suite1 => Algorithm::AesGcm128,
        SecuritySuite::Suite2 => Algorithm::AesGcm256,
        SecuritySuite::Suite0 => return None,
    };
    let curve = Curve::of_suite(suite)?;
    if secret.expose().len() != curve.field_len() {
        return None;
    }
    let id = [0x60, 0x85, 0x74, 0x05, 0x08, 0x03, algorithm as u8];
    // One round: neither suite's key is longer than its digest.
    let parts =
        [&[0, 0, 0, 1][..], secret.expose(), &id, &originator.as_bytes()[..], &recipient.as_bytes()[..]];
    let mut digest = curve.digest(&parts);
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
        assert_eq!(content_key(SecuritySuite::Suite0, &secret, &CLIENT, &SERVER), None);
        assert_eq!(content_key(SecuritySuite::Suite2, &secret, &CLIENT, &SERVER), None, "of another curve");
    }
}
