//! The command line's JSON both ways.

use super::fields::Object;
use super::{check, decode, encode};
use serde_json::{Value, json};

const FILE: &str = include_str!("../../../../protocol/vectors/sts/vectors.json");

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("{other}"),
    }
}

fn vectors() -> Vec<Object> {
    let file: Value = serde_json::from_str(FILE).unwrap();
    file["vectors"].as_array().unwrap().iter().cloned().map(object).collect()
}

#[test]
fn the_published_file_passes_whole_along_both_key_paths() {
    let report = check::report(&serde_json::from_str(FILE).unwrap()).unwrap();
    let text = report.to_string();
    for line in [
        "class 0: 120 passed, 0 failed",
        "class 1: 34 passed, 0 failed",
        "class 2: 92 passed, 0 failed",
        "primitives: 10 passed, 0 failed",
        "key paths taken: 212 from decoder keys, 211 from vending keys",
        "total: 256 passed, 0 failed",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn every_vector_encodes_and_decodes_over_json_from_either_key() {
    for vector in vectors() {
        for key in ["decoder_key_hex", "vending_key_hex"] {
            let mut only = vector.clone();
            if only.contains_key(key) {
                only.remove(if key == "decoder_key_hex" { "vending_key_hex" } else { "decoder_key_hex" });
            } else if only.get("class") != Some(&json!(1)) {
                continue;
            }
            let mut asked = only.clone();
            for made in ["token", "data_block_hex", "encrypted_block_hex", "token66_hex", "content44_hex"] {
                asked.remove(made);
            }
            let (made, text) = encode::encode(&asked).unwrap();
            assert_eq!(made["token"], vector["token"]);
            assert_eq!(made["data_block_hex"], vector["data_block_hex"]);
            assert_eq!(Some(text.as_str()), vector["token"].as_str());
            let (read, _) = decode::decode(&only).unwrap();
            assert_eq!(read, made);
        }
    }
}

#[test]
fn every_corrupted_vector_fails() {
    for vector in vectors().into_iter().step_by(7) {
        for field in
            ["token", "data_block_hex", "tid", "rnd", "decoder_key_hex", "field16", "nkho", "control_hex"]
        {
            let Some(value) = vector.get(field) else { continue };
            let mut broken = vector.clone();
            let changed = match value {
                Value::Number(number) => json!(number.as_u64().unwrap() ^ 1),
                Value::String(text) => {
                    let last = if text.ends_with('7') { '8' } else { '7' };
                    json!(format!("{}{last}", &text[..text.len() - 1]))
                }
                other => panic!("{other}"),
            };
            broken.insert(field.into(), changed);
            let report = check::report(&json!({ "vectors": [broken] })).unwrap();
            assert_eq!((report.passed(), report.failed()), (0, 1), "{field} of {:?}", vector["source"]);
        }
    }
}

#[test]
fn kinds_of_tokens_without_a_published_vector_survive_the_round_trip() {
    let key = "f94b6ed353c3bfdb113e2d3a7ea3c41d";
    for fields in [
        json!({ "class": 0, "subclass": 4, "amount_units_1e_5": "-100000" }),
        json!({ "class": 0, "subclass": 7, "amount_currency_requested": "12.5" }),
        json!({ "class": 0, "subclass": 5, "se_nibble": 7, "field16": 65535 }),
        json!({ "class": 1, "subclass": 2, "control_hex": "fc0000000", "mfr_code": 0 }),
        json!({ "class": 2, "subclass": 2, "field16": 77, "rnd": 5 }),
        json!({ "class": 2, "subclass": 7, "field16": 77, "rnd": 5 }),
        json!({ "class": 2, "subclass": 10, "index": 63, "value": 123, "rnd": 5 }),
        json!({ "class": 2, "subclass": 10, "field16": 123, "rnd": 5 }),
        json!({ "class": 0, "subclass": 0, "amount_units_0_1": 16385, "datetime": "2026-11-21T00:01", "base_date": 2014 }),
    ] {
        let mut asked = object(fields);
        asked.insert("decoder_key_hex".into(), json!(key));
        if !asked.contains_key("datetime") {
            asked.insert("tid".into(), json!(5_871_660));
        }
        let (made, _) = encode::encode(&asked).unwrap();
        let mut back = Object::new();
        back.insert("token".into(), made["token"].clone());
        back.insert("decoder_key_hex".into(), json!(key));
        let (read, _) = decode::decode(&back).unwrap();
        for (field, value) in &read {
            assert_eq!(made.get(field), Some(value), "{field}");
        }
        let mut vector = asked.clone();
        vector.extend(made);
        assert_eq!(check::report(&json!([vector])).unwrap().failed(), 0);
    }
}

#[test]
fn what_the_fields_leave_open_comes_from_the_data_block() {
    for vector in vectors() {
        let mut bare = Object::new();
        for field in ["token", "class", "subclass", "data_block_hex", "decoder_key_hex", "ea"] {
            if let Some(value) = vector.get(field) {
                bare.insert(field.into(), value.clone());
            }
        }
        assert_eq!(encode::encode(&bare).unwrap().1, vector["token"].as_str().unwrap());
        assert_eq!(check::report(&json!([bare])).unwrap().failed(), 0);
    }
}

#[test]
fn wrong_input_is_refused_with_the_field_and_the_reason() {
    let good = json!({ "class": 0, "subclass": 0, "amount_units_0_1": 1, "tid": 5_871_660, "rnd": 5, "ea": 11,
        "decoder_key_hex": "f94b6ed353c3bfdb113e2d3a7ea3c41d" });
    assert_eq!(encode::encode(&object(good.clone())).unwrap().1, "59386323472137426967");
    for (field, value, message) in [
        ("tid", json!(16_777_216), "field `tid`: a token identifier is below 16777216"),
        ("tid", Value::Null, "field `tid` is missing"),
        (
            "amount_units_0_1",
            json!(18_201_625),
            "field `amount_units_0_1`: 18201625 is above 18201624, the most a token carries",
        ),
        ("amount_units_0_1", json!(-1), "field `amount_units_0_1`: a whole number is expected"),
        ("amount_units_0_1", json!(1.5), "field `amount_units_0_1`: a whole number is expected"),
        ("rnd", json!(16), "field `rnd`: 16 is above 15"),
        ("class", json!(3), "class 3 subclass 0 is not a token of the standard"),
        ("subclass", json!(8), "class 0 subclass 8 is not a token of the standard"),
        ("ea", json!(9), "field `ea`: EA09 (DEA) is withdrawn from the standard and not offered"),
        ("ea", json!(7), "field `decoder_key_hex`: EA07 takes a key of 64 bits"),
        ("decoder_key_hex", json!("f94b6e"), "field `decoder_key_hex`: no key has 3 bytes here"),
        (
            "decoder_key_hex",
            json!("xyz"),
            "field `decoder_key_hex`: an even number of hexadecimal digits is expected",
        ),
        (
            "decoder_key_hex",
            Value::Null,
            "a key is missing: give `decoder_key_hex`, or `vending_key_hex` and the meter's attributes",
        ),
        ("field16", json!(2), "fields `field16` and `amount_units_0_1` contradict each other"),
    ] {
        let mut wrong = object(good.clone());
        wrong.insert(field.into(), value);
        assert_eq!(encode::encode(&wrong).unwrap_err().to_string(), message);
    }
    let key = json!("f94b6ed353c3bfdb113e2d3a7ea3c41d");
    for (token, message) in [
        ("1234", "field `token`: a token has 20 digits, this has 4 characters"),
        ("5938632347213742696x", "field `token`: character 19 of the token is not a digit"),
        (
            "99999999999999999999",
            "field `token`: the token number does not fit in 66 bits (largest 73786976294838206463)",
        ),
        (
            "59386323472137426968",
            "field `token`: the checksum is wrong: a digit is mistyped or the token is for another key",
        ),
    ] {
        let asked = object(json!({ "token": token, "decoder_key_hex": key }));
        assert_eq!(decode::decode(&asked).unwrap_err().to_string(), message);
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused_by_name() {
    let good = json!({ "class": 0, "subclass": 0, "amount_units_0_1": 1, "tid": 5_871_660, "rnd": 5, "ea": 11,
        "dkga": "04", "vending_key_hex": "abababababababab949494949494949401234567", "sgc": "123457", "krn": 1,
        "kt": 2, "ti": "01", "pan": "600727000000000009", "base_date": 1993 });
    assert_eq!(encode::encode(&object(good.clone())).unwrap().1, "59386323472137426967");
    for (field, value, part) in [
        ("dkga", json!("01"), "DKGA01"),
        ("dkga", json!("03"), "DKGA03"),
        ("dkga", json!("02"), "a vending key of this length is for DKGA04"),
        ("vending_key_hex", json!("abababababababaa"), "even parity"),
        ("vending_key_hex", json!("abababababababab"), "DKGA02"),
        ("pan", json!("600727000000000008"), "check digit"),
        ("krn", json!(0), "key revision"),
        ("ti", json!("100"), "tariff index"),
        ("sgc", json!("1000000"), "supply group"),
        ("base_date", json!(2000), "none of 1993, 2014, 2035"),
        ("decoder_key_hex", json!("00000000000000000000000000000000"), "does not give the decoder key"),
        ("iain", json!("11111111115"), "not of the same meter"),
    ] {
        let mut wrong = object(good.clone());
        wrong.insert(field.into(), value);
        let message = encode::encode(&wrong).unwrap_err().to_string();
        assert!(message.contains(part), "{field}: {message}");
    }
}

/// A credit token with both of its keys.
fn with_both_keys() -> Object {
    let both =
        |vector: &Object| vector.contains_key("decoder_key_hex") && vector.contains_key("vending_key_hex");
    vectors().into_iter().find(|vector| vector["class"] == 0 && both(vector)).unwrap()
}

/// A file of somebody else may hold anything: what is not understood fails by itself, with its place and the reason, and the
/// rest is still counted.
#[test]
fn a_file_with_surprises_says_which_entry_is_wrong_and_why() {
    let good = Value::Object(with_both_keys());
    let with = |field: &str, value: Value| {
        let mut changed = object(good.clone());
        changed.insert(field.into(), value);
        Value::Object(changed)
    };
    let without = |fields: &[&str]| {
        let mut changed = object(good.clone());
        fields.iter().for_each(|field| drop(changed.remove(*field)));
        Value::Object(changed)
    };
    let both = &["decoder_key_hex", "vending_key_hex"];
    let surprises = [
        (with("class", json!(3)), "field"),
        (with("class", json!(7)), "field `class`: 7 is above 3"),
        (with("class", json!("zero")), "field `class`: a whole number is expected"),
        (with("class", json!([0])), "field `class`"),
        (without(&["class"]), "field `class` is missing"),
        (without(&["token"]), "field `token` is missing"),
        (with("token", json!(12)), "field `token`"),
        (without(both), "no key is given"),
        (with("decoder_key_hex", json!("00112233445566778899aabbccddeeff")), "decoder key"),
        (with("vending_key_hex", json!("nothing")), "field `vending_key_hex`"),
        (json!(null), "not an object"),
        (json!(["token"]), "not an object"),
        (json!("token"), "not an object"),
    ];
    let count = surprises.len();
    let mut file: Vec<Value> = surprises.iter().map(|(vector, _)| vector.clone()).collect();
    file.push(good.clone());
    let report = check::report(&json!({ "vectors": file, "primitives": [{"kind": "rot13"}, 7] })).unwrap();
    assert_eq!((report.passed(), report.failed()), (1, count + 2));
    let text = report.to_string();
    for (i, (_, reason)) in surprises.iter().enumerate() {
        let line =
            text.lines().find(|line| line.starts_with(&format!("FAILED vector {i} of class"))).unwrap();
        assert!(line.contains(reason), "{line}");
    }
    assert!(text.contains("FAILED primitive 0: primitive \"rot13\" is not known here"));
    assert!(text.contains("FAILED primitive 1: not an object"));
    for (content, reason) in [
        (json!(1), "neither an object nor a list"),
        (json!({"vectors": {}}), "field `vectors` is not a list"),
        (json!({"primitives": 0}), "field `primitives` is not a list"),
    ] {
        assert_eq!(check::report(&content).err().as_deref(), Some(reason));
    }
    assert_eq!(check::report(&json!({})).map(|report| report.passed()), Ok(0));
}

/// Either key alone takes its own path, and two that do not belong together are refused.
#[test]
fn both_key_paths_are_taken_where_both_keys_are_given() {
    let vector = with_both_keys();
    let paths = |vector: &Object| {
        let text = check::report(&json!([vector])).unwrap().to_string();
        text.lines().find(|line| line.starts_with("key paths")).unwrap().to_owned()
    };
    assert_eq!(paths(&vector), "key paths taken: 1 from decoder keys, 1 from vending keys");
    for (left_out, taken) in
        [("vending_key_hex", "1 from decoder keys, 0"), ("decoder_key_hex", "0 from decoder keys, 1")]
    {
        let mut one = vector.clone();
        one.remove(left_out);
        assert!(paths(&one).contains(taken));
        assert_eq!(check::report(&json!([one])).unwrap().failed(), 0);
    }
}
