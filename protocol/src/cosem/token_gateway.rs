//! Class 115, token gateway (version 0), and what the reference meter says about a token in it.

use super::class::{Octets, class};
use super::credit::wire_enum;
use super::values::{fields, put_structure};
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Encode, Result, Writer};

class! {
    /// Token gateway.
    TokenGateway = 115, version 0;
    attributes {
        /// The last token: 20 ASCII digits for STS.
        2 TOKEN: (Octets), token;
        /// When it was entered.
        3 TOKEN_TIME: (DateTime), token_time;
        /// What the token was.
        4 TOKEN_DESCRIPTION: [Octets], token_description;
        /// How it came.
        5 TOKEN_DELIVERY_METHOD: (DeliveryMethod), token_delivery_method;
        /// What became of it.
        6 TOKEN_STATUS: (TokenStatus), token_status;
    }
    methods {
        /// Enters a token: 20 ASCII digits, or 9 bytes (the 66-bit token, right-aligned, big-endian).
        1 ENTER: (Octets), enter;
    }
}

wire_enum! {
    /// Attribute 5.
    DeliveryMethod {
        /// Over the network.
        Remote = 0,
        /// Over a local port.
        Local = 1,
        /// At the keypad.
        Manual = 2,
    }
}

wire_enum! {
    /// Attribute 6, first field.
    TokenStatusCode {
        /// Format accepted.
        FormatOk = 0,
        /// Authenticated.
        AuthenticationOk = 1,
        /// Valid.
        ValidationOk = 2,
        /// Executed: the token was accepted.
        ExecutionOk = 3,
        /// No token of a known format.
        FormatFailure = 4,
        /// Made for another meter or with another key.
        AuthenticationFailure = 5,
        /// Used before, too old, or the key expired.
        ValidationFailure = 6,
        /// Good, but it could not be carried out.
        ExecutionFailure = 7,
        /// Taken in, not yet looked at.
        Received = 8,
    }
}

/// Attribute 6. `data_value` is a bit string on the wire; the reference meter puts the STS result code into its first eight
/// bits, most significant bit first, so the single byte of the string is the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenStatus {
    /// What became of the token.
    pub code: TokenStatusCode,
    /// STS result code ([`sts_text`]); 0 while there is none.
    pub data_value: u8,
}

impl Encode for TokenStatus {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_structure(w, 2)?;
        self.code.encode(w)?;
        w.write_bytes(&[4, 8, self.data_value])
    }
}

impl FromData<'_> for TokenStatus {
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [code, value] = fields(d)?;
        let Data::BitString(bits) = value else { return Err(bad_value()) };
        Ok(Self {
            code: TokenStatusCode::from_data(code)?,
            data_value: bits.as_bytes().first().copied().unwrap_or(0),
        })
    }
}

/// The status code for an STS result code (see `../SPEC.md`, token results).
#[must_use]
pub const fn status_of_sts_result(result: u8) -> TokenStatusCode {
    match result {
        // Accept, and the two "part of a key set taken" answers.
        1..=3 => TokenStatusCode::ExecutionOk,
        // FormatError, CRCError and KeyTypeError, OldError to DDTKError.
        6 => TokenStatusCode::FormatFailure,
        5 | 13 => TokenStatusCode::AuthenticationFailure,
        9..=12 => TokenStatusCode::ValidationFailure,
        _ => TokenStatusCode::ExecutionFailure,
    }
}

/// What a call centre tells the customer about an STS result code.
#[must_use]
pub const fn sts_text(result: u8) -> &'static str {
    match result {
        1 => "accepted",
        2 => "first part of a key change taken, enter the next token of the set",
        3 => "part of a key change taken, enter the next token of the set",
        4 => "refused: the meter's credit register would overflow",
        5 => "refused: this key type may not be used on this meter",
        6 => "refused: not a token; check the twenty digits",
        7 => "refused: a value in the token is out of range for this meter",
        8 => "refused: the meter does not have the function the token asks for",
        9 => "refused: the token is too old for this meter",
        10 => "refused: the token was used on this meter before",
        11 => "refused: the meter's key has expired; key change tokens are needed",
        12 => "refused: the meter still has its default key; key change tokens are needed first",
        13 => "refused: the token is for another meter, or a digit is wrong",
        14 => "refused: the token is for meters of another manufacturer",
        15 => "refused: too many wrong tokens at the keypad; wait and try again",
        16 => "refused: the meter is not ready; try again",
        _ => "unknown result",
    }
}

super::class::encoded!(TokenStatus);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::SliceWriter;

    #[test]
    fn the_sts_result_travels_in_data_value() {
        let value = TokenStatus { code: TokenStatusCode::ValidationFailure, data_value: 10 };
        let mut buffer = [0xa5; 16];
        let mut w = SliceWriter::new(&mut buffer);
        value.encode(&mut w).unwrap();
        assert_eq!(w.as_slice(), [2, 2, 22, 6, 4, 8, 10]);
        assert_eq!(TOKEN_STATUS.decode_bytes(&[2, 2, 22, 6, 4, 8, 10]).unwrap(), value);
    }

    #[test]
    fn refusals_are_sorted_by_the_step_that_refused() {
        use TokenStatusCode as S;
        for (result, code) in [
            (1, S::ExecutionOk),
            (6, S::FormatFailure),
            (13, S::AuthenticationFailure),
            (5, S::AuthenticationFailure),
            (9, S::ValidationFailure),
            (10, S::ValidationFailure),
            (11, S::ValidationFailure),
            (12, S::ValidationFailure),
            (4, S::ExecutionFailure),
            (7, S::ExecutionFailure),
            (8, S::ExecutionFailure),
        ] {
            assert_eq!(status_of_sts_result(result), code, "{}", sts_text(result));
        }
    }
}
