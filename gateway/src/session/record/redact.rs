//! What must not be in a recording, and what stands there instead. Everything keeps its length, so that the structure stays.

use super::canon::replace;
use super::{CLIENT_TITLE, SERVER_TITLE};
use protocol::dlms::security::SystemTitle;

/// Digits of a token.
const TOKEN_DIGITS: usize = 20;
/// Bytes of a token in binary form.
const TOKEN_BYTES: usize = 9;
/// Class 115 and, after six bytes of name, its attribute 2: the last token.
const TOKEN_GATEWAY: [u8; 2] = [0, 115];
const LAST_TOKEN: u8 = 2;

/// Replaces what identifies customer, meter and money, the same way each time.
#[derive(Debug)]
pub(super) struct Redactor {
    serial: String,
    stand_in: String,
    client: Option<[u8; 8]>,
    server: Option<[u8; 8]>,
    /// The tokens seen, as digits; the stand-in is their number.
    tokens: Vec<zeroize::Zeroizing<Vec<u8>>>,
    binary: Vec<zeroize::Zeroizing<Vec<u8>>>,
    asked_for_token: bool,
}

impl Redactor {
    pub(super) fn new(serial: &str) -> Self {
        Self {
            serial: serial.to_owned(),
            stand_in: "0".repeat(serial.len()),
            client: None,
            server: None,
            tokens: Vec::new(),
            binary: Vec::new(),
            asked_for_token: false,
        }
    }

    /// The serial number in the recording.
    pub(super) fn stand_in(&self) -> &str {
        &self.stand_in
    }

    pub(super) fn titles(&mut self, client: SystemTitle, server: Option<SystemTitle>) {
        self.client = Some(client.0);
        self.server = server.map(|title| title.0).or(self.server);
    }

    /// The digits that stand for a token.
    pub(super) fn token(&mut self, digits: &str) -> String {
        let number = number_of(&mut self.tokens, digits.as_bytes());
        if let Ok(value) = digits.parse::<u128>() {
            let place = number_of(&mut self.binary, &value.to_be_bytes()[16 - TOKEN_BYTES..]);
            debug_assert!(place > 0);
        }
        stand_in_digits(number)
    }

    /// A request without what must not be seen.
    pub(super) fn sent(&mut self, bytes: &mut [u8]) {
        self.asked_for_token =
            bytes.windows(9).any(|part| part.starts_with(&TOKEN_GATEWAY) && part.last() == Some(&LAST_TOKEN));
        let enters = bytes.windows(2).any(|part| part == TOKEN_GATEWAY);
        self.clean(bytes, enters);
    }

    /// An answer without what must not be seen.
    pub(super) fn received(&mut self, bytes: &mut [u8]) {
        let asked = self.asked_for_token;
        self.clean(bytes, asked);
        // A value in blocks may be cut within a token: no digits are left in those.
        if asked && bytes.first() == Some(&0xC4) && bytes.get(1) == Some(&2) {
            for byte in bytes.iter_mut().skip(3).filter(|byte| byte.is_ascii_digit()) {
                *byte = b'0';
            }
        }
    }

    fn clean(&mut self, bytes: &mut [u8], holds_token: bool) {
        let mut at = 0;
        while at + 2 <= bytes.len() {
            let (tag, len) = (bytes[at], usize::from(bytes[at + 1]));
            let content = at + 2..at + 2 + len;
            let text = matches!(tag, 9 | 10) && len == TOKEN_DIGITS;
            match bytes.get_mut(content.clone()) {
                Some(token) if text && token.iter().all(u8::is_ascii_digit) => {
                    let digits = stand_in_digits(number_of(&mut self.tokens, token));
                    token.copy_from_slice(digits.as_bytes());
                    at = content.end;
                }
                Some(token) if holds_token && tag == 9 && len == TOKEN_BYTES => {
                    let number = number_of(&mut self.binary, token) as u128;
                    token.copy_from_slice(&number.to_be_bytes()[16 - TOKEN_BYTES..]);
                    at = content.end;
                }
                _ => at += 1,
            }
        }
        replace(bytes, self.serial.as_bytes(), self.stand_in.as_bytes());
        for (title, stand_in) in [(self.client, CLIENT_TITLE), (self.server, SERVER_TITLE)] {
            if let Some(title) = title {
                replace(bytes, &title, &stand_in);
            }
        }
    }
}

/// The place of a token among those seen, from 1.
fn number_of(seen: &mut Vec<zeroize::Zeroizing<Vec<u8>>>, token: &[u8]) -> usize {
    match seen.iter().position(|known| known.as_slice() == token) {
        Some(place) => place + 1,
        None => {
            seen.push(zeroize::Zeroizing::new(token.to_vec()));
            seen.len()
        }
    }
}

fn stand_in_digits(number: usize) -> String {
    format!("{number:0width$}", width = TOKEN_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(digits: &str) -> Vec<u8> {
        [&[9, 20], digits.as_bytes()].concat()
    }

    #[test]
    fn tokens_serial_and_titles_are_replaced_the_same_way_each_time() {
        let (first, second) = ("12345678901234567890", "99999999990000000000");
        let mut redactor = Redactor::new("01000000018");
        assert_eq!(redactor.token(first), "00000000000000000001");
        redactor.titles(SystemTitle(*b"MGG\x01\x02\x03\x04\x05"), Some(SystemTitle(*b"MSR\0\0\0\0\x01")));
        for _ in 0..2 {
            let mut bytes = [text(second), text(first), b"01000000018MSR\0\0\0\0\x01".to_vec()].concat();
            redactor.received(&mut bytes);
            let expected =
                [text("00000000000000000002"), text("00000000000000000001"), b"00000000000EXAMPLES".to_vec()]
                    .concat();
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn a_token_that_is_cut_by_a_block_leaves_no_digits() {
        let mut redactor = Redactor::new("7");
        let mut request = [&[0xC0, 1, 0xC1, 0, 115], &[0, 0, 19, 40, 0, 255][..], &[2, 0]].concat();
        redactor.sent(&mut request);
        let mut block = [&[0xC4, 2, 0xC1, 0, 0, 0, 0, 1, 0, 12, 9, 20][..], b"1234567891"].concat();
        redactor.received(&mut block);
        assert!(block.ends_with(b"0000000000"), "{block:?}");
    }

    #[test]
    fn a_token_in_binary_is_replaced_where_one_was_asked_for_or_entered() {
        let mut redactor = Redactor::new("7");
        let mut enter = [&[0xC3, 1, 0xC1, 0, 115, 0, 0, 19, 40, 0, 255, 1, 1, 9, 9][..], &[0x5A; 9]].concat();
        redactor.sent(&mut enter);
        assert!(enter.ends_with(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), "{enter:?}");
    }
}
