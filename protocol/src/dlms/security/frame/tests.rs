//! Protected frames against the Green Book's, and their sizes.

use super::super::{Key, SecuritySuite};
use super::*;

fn unhex(s: &str) -> std::vec::Vec<u8> {
    (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn green_book_cipher() -> (Cipher, SystemTitle) {
    let ek = Key::from_slice(&unhex("000102030405060708090A0B0C0D0E0F")).unwrap();
    let ak = Key::from_slice(&unhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")).unwrap();
    let title = SystemTitle::from_slice(&unhex("4D4D4D0000BC614E")).unwrap();
    (Cipher::new(SecuritySuite::Suite0, &ek, &ak).unwrap(), title)
}

/// Green Book, example of ciphered APDUs (GET of the clock's time).
#[test]
fn the_green_book_get_request_is_ciphered_and_deciphered_byte_for_byte() {
    let (cipher, title) = green_book_cipher();
    let plain = unhex("C0010000080000010000FF0200");
    for (auth, enc, expected) in [
        (true, true, "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B"),
        (false, true, "C8122001234567411312FF935A47566827C467BC"),
    ] {
        let control = SecurityControl::new(0, auth, enc);
        let mut frame = Frame::<128>::new();
        frame.build(|w| w.write_bytes(&plain)).unwrap();
        let how = Protect { form: Form::Glo, control, title: &title, counter: 0x0123_4567 };
        frame.protect(&cipher, how).unwrap();
        frame.finish();
        let wire = frame.take().unwrap().to_vec();
        assert_eq!(wire, unhex(expected));

        let sealed = Sealed::parse(&wire).unwrap().unwrap();
        let mut policy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
        policy.authenticated = auth;
        let mut out = [0xA5; 64];
        let n = sealed.open(&cipher, policy, &title, Some(0x0123_4566), &mut out).unwrap();
        assert_eq!(&out[..n], &plain);
        let again = sealed.open(&cipher, policy, &title, Some(0x0123_4567), &mut out);
        assert_eq!(again, Err(Refusal::Replay { expected: 0x0123_4568, duplicate: true }));
    }
}

#[test]
fn a_frame_weaker_than_the_policy_is_refused_before_a_key_is_used() {
    let (cipher, title) = green_book_cipher();
    let wire = unhex("C8122001234567411312FF935A47566827C467BC");
    let policy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite0);
    let sealed = Sealed::parse(&wire).unwrap().unwrap();
    assert_eq!(sealed.open(&cipher, policy, &title, None, &mut [0; 64]), Err(Refusal::Weak));
}

#[test]
fn the_capacity_is_exact_for_every_size() {
    let (cipher, title) = green_book_cipher();
    for form in [Form::Glo, Form::GeneralGlo] {
        let control = SecurityControl::new(0, true, true);
        for total in 64..700 {
            let plain = plain_capacity(total, form, control);
            let len = |n: usize| {
                let mut frame = Frame::<1024>::new();
                frame.body_mut()[0] = 0xC0;
                frame.set_body(n);
                frame.protect(&cipher, Protect { form, control, title: &title, counter: 1 }).unwrap();
                frame.len()
            };
            assert!(len(plain) <= total, "{total}");
            assert!(len(plain + 1) > total, "{total}");
        }
    }
}

#[test]
fn truncated_frames_of_every_length_are_refused_without_panic() {
    let wire = unhex("DB084D4D4D0000BC614E1E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B");
    for n in 1..wire.len() {
        assert!(Sealed::parse(&wire[..n]).is_err());
    }
    assert!(Sealed::parse(&wire).unwrap().is_some());
}
