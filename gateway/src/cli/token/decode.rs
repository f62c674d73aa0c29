//! `token decode`.

use super::fields::{Object, need, of, text};
use super::keys::{Keys, any, base_date};
use super::show;
use crate::cli::Failure;
use protocol::sts::{DecoderKey, SAMPLE, Token, TokenCipher, TokenNumber};

/// Reads the token of an object: its fields, and a line of text.
///
/// # Errors
/// What is missing or wrong, by field; a token that does not decode under the key.
pub fn decode(object: &Object) -> Result<(Object, String), Failure> {
    let digits = need(text(object, "token")?, "token")?;
    let number = of("token", TokenNumber::parse(digits.as_bytes()))?;
    let cipher = if number.class() == 1 && !any(object) {
        TokenCipher::new(&DecoderKey::Ea11([0; 16]), &SAMPLE)
    } else {
        Keys::of(object)?.cipher()?
    };
    let token = of("token", Token::decode(number, &cipher))?;
    let fields = show::fields(&token, number, base_date(object)?);
    let line = |(field, value): (&String, &serde_json::Value)| match value.as_str() {
        Some(text) => format!("{field} {text}"),
        None => format!("{field} {value}"),
    };
    let text = fields.iter().map(line).collect::<Vec<_>>().join("\n");
    Ok((fields, text))
}
