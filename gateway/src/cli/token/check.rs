//! `token test-vectors`: every vector both ways, along every key path it gives.

use super::fields::{Object, get, hex_bytes, hex_number, integer, need, number, text};
use super::keys::{Keys, any, pan};
use super::{build, show};
use crate::cli::Failure;
use protocol::sts::{
    DecoderKey, Drn, Ea07, EncryptionAlgorithm, MeterPan, Misty1, SAMPLE, Token, TokenCipher, TokenNumber,
    crc,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Test vectors are files of a person; this bounds a mistake.
const FILE_MAX: u64 = 256 * 1024 * 1024;

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
}

/// What happened, per class and for the primitives.
#[derive(Default)]
pub struct Report {
    groups: BTreeMap<String, Count>,
    /// Keys derived from vending keys and keys given directly that a token ran with.
    derived: usize,
    given: usize,
    failures: Vec<String>,
}

impl Report {
    fn count(&mut self, group: String, what: String, outcome: Result<(), String>) {
        let count = self.groups.entry(group).or_default();
        match outcome {
            Ok(()) => count.passed += 1,
            Err(reason) => {
                count.failed += 1;
                self.failures.push(format!("{what}: {reason}"));
            }
        }
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures.len()
    }

    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.groups.values().map(|count| count.passed).sum()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}")?;
        }
        for (group, count) in &self.groups {
            writeln!(f, "{group}: {} passed, {} failed", count.passed, count.failed)?;
        }
        writeln!(f, "key paths taken: {} from decoder keys, {} from vending keys", self.given, self.derived)?;
        write!(f, "total: {} passed, {} failed", self.passed(), self.failed())
    }
}

/// Runs a file and prints the counts.
pub fn run(file: &Path) -> Result<(), Failure> {
    let wrong = |message: String| Failure::Data(format!("{}: {message}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if size > FILE_MAX {
        return Err(wrong(format!("larger than {FILE_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let content: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let report = report(&content).map_err(wrong)?;
    println!("{report}");
    match (report.passed(), report.failed()) {
        (0, 0) => Err(wrong("holds no vectors".into())),
        (_, 0) => Ok(()),
        (_, failed) => Err(Failure::Refused(format!("{failed} vectors failed"))),
    }
}

/// Runs the content of a file: an object with `vectors` and `primitives`, or a list of vectors.
///
/// # Errors
/// When it is neither.
pub fn report(content: &Value) -> Result<Report, String> {
    let mut report = Report::default();
    let list = |field: &str| match content.get(field) {
        None => Ok(&[][..]),
        Some(Value::Array(list)) => Ok(list.as_slice()),
        Some(_) => Err(format!("field `{field}` is not a list")),
    };
    let (vectors, primitives) = match content {
        Value::Array(vectors) => (vectors.as_slice(), &[][..]),
        Value::Object(_) => (list("vectors")?, list("primitives")?),
        _ => return Err("neither an object nor a list".into()),
    };
    for (i, vector) in vectors.iter().enumerate() {
        let class = vector.get("class").map_or("unknown".to_owned(), Value::to_string);
        let outcome = match vector {
            Value::Object(object) => check_vector(object, &mut report),
            _ => Err("not an object".into()),
        };
        let source = vector.get("source").and_then(Value::as_str).unwrap_or("no source");
        report.count(format!("class {class}"), format!("vector {i} of class {class} ({source})"), outcome);
    }
    for (i, primitive) in primitives.iter().enumerate() {
        let outcome = match primitive {
            Value::Object(object) => check_primitive(object),
            _ => Err("not an object".into()),
        };
        report.count("primitives".into(), format!("primitive {i}"), outcome);
    }
    Ok(report)
}

fn words(failure: Failure) -> String {
    failure.to_string()
}

/// One vector: each key path, decoding, encoding from the fields, and every field compared.
fn check_vector(object: &Object, report: &mut Report) -> Result<(), String> {
    let digits = need(text(object, "token").map_err(words)?, "token").map_err(words)?;
    let number = TokenNumber::parse(digits.as_bytes()).map_err(|error| error.to_string())?;
    let class = need(super::fields::number(object, "class", 3).map_err(words)?, "class").map_err(words)?;
    let keys = if any(object) {
        Keys::of(object).map_err(words)?
    } else if class == 1 {
        Keys { given: Some(DecoderKey::Ea11([0; 16])), derived: None }
    } else {
        return Err("no key is given".into());
    };
    if any(object) {
        report.given += usize::from(keys.given.is_some());
        report.derived += usize::from(keys.derived.is_some());
    }
    for key in keys.all() {
        let cipher = TokenCipher::new(key, &SAMPLE);
        let decoded = Token::decode(number, &cipher).map_err(|error| format!("does not decode: {error}"))?;
        compare(object, &show::fields(&decoded, number, None))?;
        let built = build::token(object).map_err(words)?;
        if built != decoded {
            return Err("the token decoded is not the token of the fields".into());
        }
        if built.encode(&cipher) != number {
            return Err("the fields do not encode to the token".into());
        }
    }
    if let Some(new_key) = hex_bytes(object, "new_decoder_key_hex").map_err(words)? {
        check_new_key(object, &new_key)?;
    }
    Ok(())
}

/// Fields of the vector that the decoded token has too must be equal.
fn compare(expected: &Object, decoded: &Object) -> Result<(), String> {
    for (field, found) in decoded {
        let Some(value) = get(expected, field) else { continue };
        let same = match field.as_str() {
            // Names are labels, and amounts may be given as asked for: the token itself is compared.
            "name" | "amount_units_0_1" | "limit_W" | "amount_units_1e_5" => true,
            name if name.ends_with("_hex")
                || ["nkho", "nklo", "nkmo1", "nkmo2", "sgclo", "sgcho"].contains(&name) =>
            {
                let strip = |value: &Value| {
                    value.as_str().map(|text| text.trim_start_matches('0').to_ascii_lowercase())
                };
                strip(value) == strip(found)
            }
            "token" => value == found,
            _ => integer(expected, field).map_err(words)? == integer(decoded, field).map_err(words)?,
        };
        if !same {
            return Err(format!("field `{field}` does not match what the token decodes to"));
        }
    }
    Ok(())
}

/// A key change that says what it leads to, with a vending key: the new key is derived from the new attributes.
fn check_new_key(object: &Object, new_key: &[u8]) -> Result<(), String> {
    if get(object, "vending_key_hex").is_none() {
        return Ok(());
    }
    let mut new = object.clone();
    new.remove("decoder_key_hex");
    for (from, to) in [
        ("new_sgc", "sgc"),
        ("new_ti", "ti"),
        ("new_krn", "krn"),
        ("new_kt", "kt"),
        ("new_base_date", "base_date"),
    ] {
        if let Some(value) = object.get(from) {
            new.insert(to.to_owned(), value.clone());
        }
    }
    let vending = get(object, "new_vending_key_hex").or_else(|| get(object, "vending_key_hex")).cloned();
    new.insert("vending_key_hex".into(), vending.unwrap_or_default());
    let derived = Keys::of(&new).map_err(words)?.derived;
    match derived {
        Some(derived) if derived.expose() == new_key => Ok(()),
        _ => Err("the new attributes do not give `new_decoder_key_hex`".into()),
    }
}

fn check_primitive(object: &Object) -> Result<(), String> {
    let kind = need(text(object, "kind").map_err(words)?, "kind").map_err(words)?;
    let word = |field: &str| -> Result<u64, String> {
        need(hex_number(object, field, 64).map_err(words)?, field).map_err(words).map(|word| word as u64)
    };
    let bytes = |field: &str| need(hex_bytes(object, field).map_err(words)?, field).map_err(words);
    let holds = |holds: bool| if holds { Ok(()) } else { Err(format!("{kind} gives something else")) };
    match kind {
        "crc16" | "crc16_currency" => holds(u64::from(crc(&bytes("input_hex")?)) == word("crc_hex")?),
        "misty1" => {
            let key = bytes("key_hex")?;
            let key = key.as_slice().try_into().map_err(|_| "field `key_hex`: 16 bytes are expected")?;
            let cipher = Misty1::new(key);
            let (plain, ciphered) = (word("plain_hex")?, word("cipher_hex")?);
            holds(cipher.encrypt(plain) == ciphered && cipher.decrypt(ciphered) == plain)
        }
        "ea07" | "sta" => {
            let key = bytes("key_hex")?;
            let key = key.as_slice().try_into().map_err(|_| "field `key_hex`: 8 bytes are expected")?;
            let cipher = Ea07::new(key, &SAMPLE);
            let (plain, ciphered) = (word("plain_hex")?, word("cipher_hex")?);
            holds(cipher.encrypt(plain) == ciphered && cipher.decrypt(ciphered) == plain)
        }
        "dkga02" | "dkga04" => {
            let keys = Keys::of(object).map_err(words)?;
            holds(keys.given.is_some() && keys.derived.is_some())
        }
        "luhn" => {
            let input = need(text(object, "input").map_err(words)?, "input").map_err(words)?;
            let digits = input.as_bytes();
            let valid = match digits.split_last() {
                Some((last, body)) if digits.iter().all(u8::is_ascii_digit) => {
                    *last == b'0' + protocol::sts::luhn_digit(body)
                }
                _ => false,
            };
            holds(Some(valid) == object.get("valid").and_then(Value::as_bool))
        }
        "pan" => {
            let drn = need(text(object, "iain").map_err(words)?, "iain").map_err(words)?;
            let made = MeterPan::from_drn(&Drn::parse(drn.as_bytes()).map_err(|error| error.to_string())?);
            let given = pan(object).map_err(words)?;
            holds(given == Some(made) && get(object, "pan").is_some())
        }
        "decoder_key" => {
            let code = need(number(object, "ea", 99).map_err(words)?, "ea").map_err(words)?;
            EncryptionAlgorithm::from_code(code as u8).map_err(|error| error.to_string())?;
            let keys = Keys::of(object).map_err(words)?;
            holds(keys.given.is_some() && keys.derived.is_some())
        }
        _ => Err(format!("primitive {kind:?} is not known here")),
    }
}
