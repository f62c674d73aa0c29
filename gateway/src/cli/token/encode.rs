//! `token encode`.

use super::fields::{Object, text};
use super::keys::{Keys, any, base_date};
use super::{build, show};
use crate::cli::Failure;
use protocol::sts::{DecoderKey, SAMPLE, TokenCipher};

/// Makes the token an object describes: its fields, and its digits as text.
///
/// # Errors
/// What is missing or wrong, by field.
pub fn encode(object: &Object) -> Result<(Object, String), Failure> {
    let token = build::token(object)?;
    // Test tokens are not enciphered; a key that is given anyway is still checked.
    let cipher = if token.class() == 1 && !any(object) {
        TokenCipher::new(&DecoderKey::Ea11([0; 16]), &SAMPLE)
    } else {
        Keys::of(object)?.cipher()?
    };
    let number = token.encode(&cipher);
    if let Some(expected) = text(object, "data_block_hex")?
        && !expected.eq_ignore_ascii_case(&format!("{:016x}", token.data_block()))
    {
        return Err(Failure::Data("field `data_block_hex` is not the block of the other fields".into()));
    }
    Ok((show::fields(&token, number, base_date(object)?), number.digits().as_str().to_owned()))
}
