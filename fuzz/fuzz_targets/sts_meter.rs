//! What a stranger can type or push: any bytes as token digits, one after the other, into one meter. Whatever decodes must
//! encode to the same number, an accepted identifier must not be accepted again, and refusals must change nothing.
//!
//! Every other piece of the input is read as a data block and enciphered with a fitting checksum, so that the fuzzer gets
//! behind the cipher.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::openpaygo::{Device, DigitSet, PaygoKey};
use protocol::sts::meter::{Abilities, MeterTokenState, TokenResult, evaluate};
use protocol::sts::{
    BaseDate, DecoderKey, Drn, KeyAttributes, KeyRevision, KeyType, MeterPan, SAMPLE, SupplyGroup, TariffIndex, Token,
    TokenCipher, TokenNumber, block_crc,
};

fn meter() -> MeterTokenState {
    let attributes = KeyAttributes {
        supply_group: SupplyGroup::try_from(1).expect("in range"),
        tariff_index: TariffIndex::try_from(1).expect("in range"),
        key_revision: KeyRevision::try_from(1).expect("in range"),
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    };
    let pan = MeterPan::from_drn(&Drn::from_parts(1, 1).expect("in range"));
    MeterTokenState::new(pan, DecoderKey::Ea11([7; 16]), attributes.into(), None)
}

/// A number whose checksum fits, made of a class and a block.
fn forged(state: &MeterTokenState, bytes: &[u8; 9]) -> TokenNumber {
    let class = bytes[0] % 3;
    let block = u64::from_be_bytes(bytes[1..].try_into().expect("eight bytes"));
    let currency = class == 0 && (4..=7).contains(&(block >> 60));
    let block = block & !0xFFFF | u64::from(block_crc(class, block, currency));
    let cipher = TokenCipher::new(&state.key, &SAMPLE);
    TokenNumber::place(class, if class == 1 { block } else { cipher.encrypt(block) })
}

fuzz_target!(|data: &[u8]| {
    let mut state = meter();
    let abilities = Abilities::electricity(1, 1_000_000, Some(23_000));
    let device = Device::new(PaygoKey::new([3; 16]), 123_456_789, DigitSet::Full, 10);
    for (i, piece) in data.chunks(20).take(64).enumerate() {
        let _ = device.judge(piece);
        let digits = match <&[u8; 9]>::try_from(piece.get(..9).unwrap_or_default()) {
            Ok(bytes) if i % 2 == 0 => *forged(&state, bytes).digits().as_bytes(),
            _ => {
                let mut digits = [b'0'; 20];
                for (digit, byte) in digits.iter_mut().zip(piece) {
                    *digit = b'0' + byte % 10;
                }
                digits
            }
        };
        let now_ms = i as u64 * 1_000;
        let cipher = TokenCipher::new(&state.key, &SAMPLE);
        if let Ok(number) = TokenNumber::parse(&digits)
            && let Ok(token) = Token::decode(number, &cipher)
        {
            assert!(token.encode(&cipher) == number);
        }
        let verdict = evaluate(&state, &abilities, &digits, now_ms);
        assert_eq!(verdict.effect.is_some(), verdict.result.is_taken());
        if let Some(effect) = &verdict.effect {
            let counted = effect.tid().is_some();
            state.apply(effect);
            if counted {
                assert_eq!(evaluate(&state, &abilities, &digits, now_ms).result, TokenResult::Used);
            }
        }
    }
});
