//! All published vectors, both ways.

use super::*;
use serde_json::Value;
use std::string::String;
use std::vec::Vec;

fn file() -> Value {
    serde_json::from_str(include_str!("../../vectors/sts/vectors.json")).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn number(v: &Value, field: &str) -> Option<u64> {
    v.get(field).and_then(Value::as_u64)
}

fn hex_number(v: &Value, field: &str) -> u64 {
    u64::from_str_radix(v[field].as_str().unwrap(), 16).unwrap()
}

/// A token built from the vector's fields alone, not from its data block.
fn token_of(v: &Value) -> Token {
    let tid = || Tid::from_minutes(number(v, "tid").unwrap() as u32).unwrap();
    let rnd = || Rnd::new(number(v, "rnd").unwrap() as u8);
    let amount = |field| AmountCode::round_up(number(v, field).unwrap() as u32).unwrap();
    let word = |field| KeyWord::new(hex_number(v, field) as u32);
    let field16 = number(v, "field16").map(|f| f as u16);
    let limit = || {
        if v.get("limit_W").is_some() { amount("limit_W") } else { AmountCode::from_field(field16.unwrap()) }
    };
    let new_key = || hex(v["new_decoder_key_hex"].as_str().unwrap());
    let part = |from: usize| KeyWord::new(u32::from_be_bytes(new_key()[from..from + 4].try_into().unwrap()));
    let ken = number(v, "ken").unwrap_or(255) as u8;
    match (number(v, "class").unwrap(), number(v, "subclass").unwrap() as u8) {
        (0, subclass @ 0..=3) => Token::Credit {
            service: Service::from_code(subclass),
            amount: amount("amount_units_0_1"),
            rnd: rnd(),
            tid: tid(),
        },
        (0, subclass) => {
            let amount: i128 = v["amount_units_1e_5"].as_str().unwrap().parse().unwrap();
            Token::CurrencyCredit {
                service: Service::from_code(subclass),
                amount: CurrencyCode::round_for_customer(amount).unwrap(),
                tid: tid(),
            }
        }
        (1, 0) => Token::Test(TestToken::TwoDigit {
            control: hex_number(v, "control_hex"),
            manufacturer: number(v, "mfr_code").unwrap() as u8,
        }),
        (1, 1) => Token::Test(TestToken::FourDigit {
            control: hex_number(v, "control_hex") as u32,
            manufacturer: number(v, "mfr_code").unwrap() as u16,
        }),
        (2, 3) => Token::KeySection(KeySection::First {
            expiry_high: number(v, "kenho").unwrap_or(u64::from(ken >> 4)) as u8,
            key_revision: KeyRevision::try_from(number(v, "new_krn").unwrap() as u32).unwrap(),
            rollover: number(v, "ro") == Some(1),
            third_follows: number(v, "res_3kct") == Some(1),
            key_type: KeyType::from_code(number(v, "new_kt").unwrap() as u8).unwrap(),
            key: if v.get("nkho").is_some() { word("nkho") } else { part(0) },
        }),
        (2, 4) => Token::KeySection(KeySection::Second {
            expiry_low: number(v, "kenlo").unwrap_or(u64::from(ken & 15)) as u8,
            tariff_index: TariffIndex::try_from(v["new_ti"].as_str().unwrap().parse::<u32>().unwrap())
                .unwrap(),
            key: if v.get("nklo").is_some() { word("nklo") } else { part(4) },
        }),
        (2, 8) => Token::KeySection(KeySection::Third {
            group_low: hex_number(v, "sgclo") as u16,
            key: word("nkmo2"),
        }),
        (2, 9) => Token::KeySection(KeySection::Fourth {
            group_high: hex_number(v, "sgcho") as u16,
            key: word("nkmo1"),
        }),
        (2, subclass) => Token::Management {
            action: match subclass {
                0 => Management::MaximumPowerLimit(limit()),
                1 => Management::ClearCredit(number(v, "register").map_or(field16.unwrap(), |r| r as u16)),
                5 => Management::ClearTamper,
                6 => Management::PhaseUnbalanceLimit(limit()),
                other => panic!("no vector of class 2 subclass {other} is known"),
            },
            rnd: rnd(),
            tid: tid(),
        },
        other => panic!("no vector of {other:?} is known"),
    }
}

fn attributes_of(v: &Value) -> Option<(MeterPan, KeyAttributes)> {
    let text = |field| v.get(field).and_then(Value::as_str);
    let attributes = KeyAttributes {
        supply_group: SupplyGroup::try_from(text("sgc")?.parse::<u32>().unwrap()).unwrap(),
        tariff_index: TariffIndex::try_from(text("ti")?.parse::<u32>().unwrap()).unwrap(),
        key_revision: KeyRevision::try_from(number(v, "krn")? as u32).unwrap(),
        key_type: KeyType::from_code(number(v, "kt")? as u8).unwrap(),
        // DKGA02 has no base date.
        base_date: number(v, "base_date")
            .and_then(|year| BaseDate::from_year(year as u16))
            .unwrap_or(BaseDate::Year1993),
    };
    Some((MeterPan::parse(text("pan")?.as_bytes()).unwrap(), attributes))
}

#[test]
fn all_246_tokens_encode_and_decode() {
    let file = file();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 246);
    for v in vectors {
        let digits = v["token"].as_str().unwrap();
        let key = v.get("decoder_key_hex").map_or(DecoderKey::Ea11([0; 16]), |key| {
            DecoderKey::from_bytes(&hex(key.as_str().unwrap())).unwrap()
        });
        let cipher = TokenCipher::new(&key, &SAMPLE);
        let token = token_of(v);
        let class = number(v, "class").unwrap() as u8;
        assert_eq!((token.class(), u64::from(token.subclass())), (class, number(v, "subclass").unwrap()));
        assert_eq!(token.data_block(), hex_number(v, "data_block_hex"), "{digits}");
        assert_eq!(token.encode(&cipher).digits().as_str(), digits);
        let decoded = Token::decode(TokenNumber::parse(digits.as_bytes()).unwrap(), &cipher);
        assert_eq!(decoded.as_ref(), Ok(&token), "{digits}");
    }
}

#[test]
fn every_decoder_key_of_the_vectors_is_derived_from_its_vending_key() {
    let mut derived = 0;
    for v in file()["vectors"].as_array().unwrap() {
        let Some(vending) = v.get("vending_key_hex").and_then(Value::as_str) else { continue };
        let (pan, attributes) = attributes_of(v).unwrap();
        let vending = VendingKey::from_bytes(&hex(vending)).unwrap();
        let algorithm = EncryptionAlgorithm::from_code(number(v, "ea").unwrap() as u8).unwrap();
        let dkga: u8 = v["dkga"].as_str().unwrap().parse().unwrap();
        assert!(Derivation::from_code(dkga).is_ok());
        let key = derive(&vending, algorithm, &pan, &attributes).unwrap();
        assert_eq!(key.expose(), hex(v["decoder_key_hex"].as_str().unwrap()), "{}", v["token"]);
        derived += 1;
    }
    assert_eq!(derived, 211);
}

#[test]
fn key_changes_of_the_vectors_carry_the_key_of_the_new_attributes() {
    let mut checked = 0;
    for v in file()["vectors"].as_array().unwrap() {
        let Some(new_key) = v.get("new_decoder_key_hex").and_then(Value::as_str) else { continue };
        let (pan, mut new) = attributes_of(v).unwrap();
        new.supply_group =
            SupplyGroup::try_from(v["new_sgc"].as_str().unwrap().parse::<u32>().unwrap()).unwrap();
        new.tariff_index =
            TariffIndex::try_from(v["new_ti"].as_str().unwrap().parse::<u32>().unwrap()).unwrap();
        new.key_revision = KeyRevision::try_from(number(v, "new_krn").unwrap() as u32).unwrap();
        new.base_date = BaseDate::from_year(number(v, "new_base_date").unwrap() as u16).unwrap();
        let vending = VendingKey::from_bytes(&hex(v["vending_key_hex"].as_str().unwrap())).unwrap();
        let key = derive(&vending, EncryptionAlgorithm::Ea07, &pan, &new).unwrap();
        assert_eq!(key.expose(), hex(new_key));
        let set = key_change_set(&key, &new, 255, number(v, "ro") == Some(1), SetLength::Two);
        let old = DecoderKey::from_bytes(&hex(v["decoder_key_hex"].as_str().unwrap())).unwrap();
        let made: Vec<String> = set
            .iter()
            .map(|token| String::from(token.encode(&TokenCipher::new(&old, &SAMPLE)).digits().as_str()))
            .collect();
        assert!(made.iter().any(|digits| Some(digits.as_str()) == v["token"].as_str()));
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn the_misty1_tables_are_those_of_the_carried_file() {
    let boxes: Value = serde_json::from_str(include_str!("../../vectors/sts/misty1-sboxes.json")).unwrap();
    let listed = |name: &str| -> Vec<u16> {
        boxes[name].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u16).collect()
    };
    assert_eq!(listed("s7"), misty1_tables::S7.map(u16::from));
    assert_eq!(listed("s9"), misty1_tables::S9);
}

#[test]
fn primitives_of_the_file_hold() {
    for p in file()["primitives"].as_array().unwrap() {
        let text = |field: &str| p[field].as_str().unwrap();
        match text("kind") {
            "crc16" | "crc16_currency" => {
                assert_eq!(u64::from(crc(&hex(text("input_hex")))), hex_number(p, "crc_hex"));
            }
            "misty1" => {
                let cipher = Misty1::new(&hex(text("key_hex")).try_into().unwrap());
                assert_eq!(cipher.encrypt(hex_number(p, "plain_hex")), hex_number(p, "cipher_hex"));
                assert_eq!(cipher.decrypt(hex_number(p, "cipher_hex")), hex_number(p, "plain_hex"));
            }
            "luhn" => {
                assert_eq!(Drn::parse(text("input").as_bytes()).is_ok(), p["valid"].as_bool().unwrap());
            }
            "pan" => {
                let pan = MeterPan::from_drn(&Drn::parse(text("iain").as_bytes()).unwrap());
                assert_eq!((pan.as_str(), pan.issuer()), (text("pan"), text("iin")));
            }
            other => panic!("unknown primitive {other}"),
        }
    }
}
