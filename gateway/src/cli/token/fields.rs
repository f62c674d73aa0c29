//! Reading fields of a JSON object, with errors that name the field and never show its content.

use crate::cli::Failure;
use serde_json::{Map, Value};

/// A JSON object.
pub type Object = Map<String, Value>;

fn wrong(field: &str, what: &str) -> Failure {
    Failure::Data(format!("field `{field}`: {what}"))
}

/// The field, where it is there and neither null nor an empty text.
pub fn get<'a>(object: &'a Object, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null() && value.as_str() != Some(""))
}

/// A field that has to be there.
pub fn need<T>(found: Option<T>, field: &str) -> Result<T, Failure> {
    found.ok_or_else(|| Failure::Data(format!("field `{field}` is missing")))
}

/// A whole number, as a JSON number or in decimal digits, from 0 to `max`.
pub fn number(object: &Object, field: &str, max: u64) -> Result<Option<u64>, Failure> {
    let Some(value) = get(object, field) else { return Ok(None) };
    let number = value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        .ok_or_else(|| wrong(field, "a whole number is expected"))?;
    if number > max {
        return Err(wrong(field, &format!("{number} is above {max}")));
    }
    Ok(Some(number))
}

/// A whole number that may be large or negative, as a JSON number or in decimal digits.
pub fn integer(object: &Object, field: &str) -> Result<Option<i128>, Failure> {
    let Some(value) = get(object, field) else { return Ok(None) };
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .map(Some)
    .ok_or_else(|| wrong(field, "a whole number is expected"))
}

/// A text.
pub fn text<'a>(object: &'a Object, field: &str) -> Result<Option<&'a str>, Failure> {
    match get(object, field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(field, "a text is expected")),
    }
}

/// Hexadecimal digits as a number of at most `bits` bits.
pub fn hex_number(object: &Object, field: &str, bits: u32) -> Result<Option<u128>, Failure> {
    let Some(digits) = text(object, field)? else { return Ok(None) };
    let number =
        u128::from_str_radix(digits, 16).map_err(|_| wrong(field, "hexadecimal digits are expected"))?;
    if bits < 128 && number >> bits != 0 {
        return Err(wrong(field, &format!("more than {bits} bits")));
    }
    Ok(Some(number))
}

/// Hexadecimal digits as bytes, wiped when dropped.
pub fn hex_bytes(object: &Object, field: &str) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Failure> {
    let Some(digits) = text(object, field)? else { return Ok(None) };
    crate::vault::unhex(digits)
        .map(Some)
        .ok_or_else(|| wrong(field, "an even number of hexadecimal digits is expected"))
}

/// Turns an error of the codec into one that names the field.
pub fn of<T, E: std::fmt::Display>(field: &str, result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|error| wrong(field, &error.to_string()))
}
