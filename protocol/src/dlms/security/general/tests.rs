//! General-ciphering and general-signing against published frames, and byte by byte against changes.

use super::super::ecdsa::Curve;
use super::super::{Key, SecurityPolicy, SecuritySuite, key_wrap};
use super::*;

fn unhex(s: &str) -> std::vec::Vec<u8> {
    (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
}

const CLIENT: SystemTitle = SystemTitle(*b"MMM\x00\x00\xBC\x61\x4E");
const SERVER: SystemTitle = SystemTitle(*b"MMM\x00\x00\x00\x00\x01");
const ADDRESS: Address<'_> =
    Address { transaction_id: &[1, 2, 3, 4, 5, 6, 7, 8], originator: &CLIENT, recipient: Some(&SERVER) };

/// Green Book, table C.2, the client's general-ciphering of an ACCESS request, as another implementation carries it: the
/// text. Its tag could not be had from any header that was tried, and is not compared.
#[test]
fn the_text_of_the_green_books_general_ciphering_is_made_byte_for_byte() {
    let plain = unhex(
        "D94000000000040100010000600100FF020100080000010000FF0202001400000D0000FF0702001400000D0000FF08040000\
         01040203090100090CFFFFFFFFFFFFFF00000000000901FF0203090101090CFFFFFFFFFFFFFF00000000000901FF02030901\
         02090CFFFFFFFFFFFFFF00000000000901FF0203090103090CFFFFFFFFFFFFFF00000000000901FF0104020809010011FF11\
         FF11FF11FF11FF11FF11FF02080901011102110111011101110111011101020809010211FF11FF11FF11FF11FF11FF11FF02\
         080901031101110211021102110211021102",
    );
    let expected = unhex(
        "F435069679270C5BF4425EE5777402A6C8D51C620EED52DBB188378B836E2857D5C053E6DDF27FA87409AEF502CD9618AE47\
         017C010224FD109CC0BEB21E742D44AB40CD11908743EC90EC8C40E221D517F72228E1A26E827F43DC18ED27B5F458D66508\
         B05A2A4CC6FED178C881AFC3BC67064689BE8BB41C80ABB3C114A31F4CB03B8B64C7E0B4CE77B2399C93347858888F922397\
         13B38DF01C4858245827A92EF334172EA636B31CBBDF2A96AD5D035F66AA38F1A2D97D4BBA99622E6B5F18789CECB2DFB393\
         7D9F3E17F8B472098E6563238F3752837480",
    );
    let ek = Key::from_slice(&unhex("59A71FD81C929A86A99438DA17A66C05")).unwrap();
    let ak = Key::from_slice(&unhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")).unwrap();
    let cipher = Cipher::new(SecuritySuite::Suite1, &ek, &ak).unwrap();
    let mut frame = Frame::<512>::new();
    frame.build(|w| crate::codec::Writer::write_bytes(w, &plain)).unwrap();
    frame.protect_general(&cipher, SecurityControl::new(1, true, true), 0, ADDRESS, &[]).unwrap();
    let wire = frame.finished().to_vec();
    assert_eq!(&wire[wire.len() - TAG_LEN - expected.len()..wire.len() - TAG_LEN], expected);

    let general = General::parse(&wire).unwrap().unwrap();
    general.header.check(&CLIENT, &SERVER).unwrap();
    let policy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite1);
    let mut out = [0xA5; 512];
    let len = general.sealed.open(&cipher, policy, &CLIENT, None, &mut out).unwrap();
    assert_eq!(&out[..len], plain);
    assert_eq!(general.header.check(&SERVER, &CLIENT), Err(Refusal::WrongTitle));
}

/// Green Book, table 41 (ACCESS with general-ciphering by the one-pass scheme), as another implementation carries it, up to
/// the enciphered part, with a shortened text: header, key-info and the signature of the ephemeral key.
#[test]
fn the_green_books_agreed_key_is_taken_apart_and_its_signature_verifies() {
    let wire = unhex(
        "DD080102030405060708084D4D4D0000BC614E084D4D4D0000000001000001020101\
         8180C323C2BD45711DE4688637D919F92E9DB8FB2DFC213A88D21C9DC8DCBA917D81\
         70511DE1BADB360D50058F794B0960AE11FA28D392CFF907A62D13E3357B1DC0B51B\
         E089D0B682863B2217201E73A1A9031968A9B4121DCBC3281A69739AF87429F5B3AC\
         5471E7B6A04A2C0F2F8A25FD772A317DF97FC5463FEAC248EB8AB8BE0A3100000000F435069679",
    );
    let general = General::parse(&wire).unwrap().unwrap();
    general.header.check(&CLIENT, &SERVER).unwrap();
    let Some(KeyInfo::Agreed { parameters, ciphered_key }) = general.key_info else { panic!() };
    let Some(Scheme::OnePass { ephemeral, signature }) = Scheme::parse(parameters, ciphered_key, 64) else {
        panic!()
    };
    let signer = unhex(
        "BAAFFDE06A8CB1C9DAE8D94023C601DBBB249254BA22EDD827E820BCA2BCC643\
         62FBB83D86A82B87BB8B7161D2AAB5521911A946B97A284A90F7785CD9047D25",
    );
    let signer = super::super::ecdsa::PublicKey::from_bytes(Curve::P256, &signer).unwrap();
    assert!(signer.verify(&[ephemeral], signature));
    assert_eq!((general.sealed.control.0, general.sealed.counter), (0x31, 0));

    // Ours has the same form.
    let mut frame = Frame::<512>::new();
    frame.build(|w| crate::codec::Writer::write_bytes(w, &[0; 5])).unwrap();
    let key = PrivateKey::from_bytes(Curve::P256, &[0x17; 32]).unwrap();
    let key_info = agreed_key(&key, |parts| key.sign(parts)).unwrap();
    let (_, cipher) = sealed_with(SecurityControl::new(1, true, true), &[]);
    frame.protect_general(&cipher, SecurityControl::new(1, false, true), 0, ADDRESS, &key_info).unwrap();
    let ours = frame.finished();
    assert_eq!(ours.len(), wire.len());
    let content = 36 + 128;
    assert_eq!((&ours[..36], ours[content]), (&wire[..36], wire[content]));
    assert_eq!(Scheme::parse(&[2], ciphered_key, 64), None, "the static scheme brings no key");
    assert_eq!(Scheme::parse(&[2], &[], 64), Some(Scheme::Static));
    for wrong in [&[][..], &[0], &[3], &[1, 1], &[2, 2]] {
        assert_eq!(Scheme::parse(wrong, ciphered_key, 64), None);
        assert_eq!(Scheme::parse(wrong, &[], 64), None);
    }
    assert_eq!(Scheme::parse(parameters, &ciphered_key[1..], 64), None);
}

fn sealed_with(control: SecurityControl, key_info: &[u8]) -> (std::vec::Vec<u8>, Cipher) {
    let (ek, ak) = (Key::new([1; 16]), Key::new([2; 16]));
    let cipher = Cipher::new(SecuritySuite::Suite1, &ek, &ak).unwrap();
    let mut frame = Frame::<512>::new();
    frame.build(|w| crate::codec::Writer::write_bytes(w, &[0xC0, 1, 0xC1])).unwrap();
    frame.protect_general(&cipher, control, 9, ADDRESS, key_info).unwrap();
    (frame.finished().to_vec(), cipher)
}

#[test]
fn every_changed_byte_of_an_authenticated_frame_is_noticed() {
    let master = Key::new([3; 16]);
    let wrapped = wrapped_key(&key_wrap::wrap(&master, &Key::new([1; 16])).unwrap());
    for key_info in [&[][..], &[1, 0, 0], &wrapped] {
        for encrypted in [true, false] {
            let control = SecurityControl::new(1, true, encrypted);
            let (wire, cipher) = sealed_with(control, key_info);
            let policy = SecurityPolicy {
                encrypted,
                ..SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite1)
            };
            let open = |wire: &[u8]| -> Option<std::vec::Vec<u8>> {
                let general = General::parse(wire).ok()??;
                general.header.check(&CLIENT, &SERVER).ok()?;
                let mut out = [0; 64];
                let len = general.sealed.open(&cipher, policy, &CLIENT, Some(8), &mut out).ok()?;
                // The key that is named is looked at by whoever has the keys.
                match general.key_info {
                    Some(KeyInfo::Wrapped { kek_id: 0, ciphered_key }) => {
                        key_wrap::unwrap(&master, ciphered_key)?;
                    }
                    None if key_info.is_empty() => {}
                    Some(KeyInfo::Identified { key_id: 0 }) if key_info.len() == 3 => {}
                    _ => return None,
                }
                Some(out[..len].to_vec())
            };
            assert_eq!(open(&wire).unwrap(), [0xC0, 1, 0xC1]);
            for at in 0..wire.len() {
                for bit in [1, 0x10, 0x80] {
                    let mut changed = wire.clone();
                    changed[at] ^= bit;
                    assert_eq!(open(&changed), None, "byte {at}, bit {bit:02x}");
                }
                assert_eq!(open(&wire[..at]), None);
            }
        }
    }
}

#[test]
fn a_signed_frame_is_taken_apart_again_and_any_change_breaks_the_signature() {
    let key = PrivateKey::from_bytes(Curve::P256, &[0x17; 32]).unwrap();
    let public = key.public_key();
    let mut frame = Frame::<512>::new();
    frame.build(|w| crate::codec::Writer::write_bytes(w, &[0xDB; 200])).unwrap();
    frame.sign_general(ADDRESS, |parts| key.sign(parts)).unwrap();
    let wire = frame.finished().to_vec();
    assert_eq!(signed_capacity(wire.len(), 8, 64), 200 - 1, "the length takes two bytes here, three at most");
    let signed = Signed::parse(&wire).unwrap().unwrap();
    assert_eq!(signed.content, [0xDB; 200]);
    signed.header.check(&CLIENT, &SERVER).unwrap();
    assert!(public.verify(&signed.parts(), signed.signature));
    for at in 1..wire.len() {
        let mut changed = wire.clone();
        changed[at] ^= 1;
        if let Ok(Some(signed)) = Signed::parse(&changed) {
            assert!(!public.verify(&signed.parts(), signed.signature), "byte {at}");
        }
        assert!(Signed::parse(&wire[..at]).is_err());
    }
    assert!(frame.sign_general(ADDRESS, |_| None).is_err());
}

#[test]
fn the_capacity_is_exact_for_every_size() {
    let (_, cipher) = sealed_with(SecurityControl::new(1, true, true), &[]);
    let control = SecurityControl::new(1, true, true);
    for key_info in [&[][..], &[1, 0, 0]] {
        for total in 80..400 {
            let len = |plain: usize| {
                let mut frame = Frame::<1024>::new();
                frame.set_body(plain);
                frame.protect_general(&cipher, control, 1, ADDRESS, key_info).unwrap();
                frame.len()
            };
            let plain = general_capacity(total, 8, key_info.len(), control);
            assert!(len(plain) <= total && len(plain + 1) > total, "{total}");
        }
    }
}
