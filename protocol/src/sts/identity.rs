//! Who a meter is: its serial number (DRN) and its primary account number (MeterPAN), each with a Luhn check digit.

use core::fmt;

/// Issuer number of meters with an 11-digit DRN (IEC 62055-41 6.1.2).
const IIN_11: [u8; 6] = *b"600727";
/// Issuer number of meters with a 13-digit DRN.
const IIN_13: [u8; 4] = *b"0000";
/// Digits of a MeterPAN.
pub const PAN_DIGITS: usize = 18;

/// Why a DRN or MeterPAN is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityError {
    /// A DRN has 11 or 13 digits, a MeterPAN 18.
    Length {
        /// How many characters there were.
        found: usize,
    },
    /// A character that is not a decimal digit.
    NotADigit {
        /// Where, counted from zero.
        offset: usize,
    },
    /// The last digit is not the Luhn digit of the others.
    Luhn {
        /// What it should have been.
        expected: u8,
    },
    /// Neither 600727 nor 0000.
    Issuer,
    /// Manufacturer above 9999 or serial above 99999999.
    Range,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => {
                write!(f, "a meter number has 11 or 13 digits, an account number 18; this has {found}")
            }
            Self::NotADigit { offset } => write!(f, "character {offset} of the number is not a digit"),
            Self::Luhn { expected } => write!(f, "wrong check digit: {expected} was expected"),
            Self::Issuer => f.write_str("the issuer number is neither 600727 nor 0000"),
            Self::Range => f.write_str("manufacturer code or serial number out of range"),
        }
    }
}

impl core::error::Error for IdentityError {}

/// The Luhn check digit (ISO/IEC 7812-1) of ASCII digits.
#[must_use]
pub fn luhn_digit(digits: &[u8]) -> u8 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &c)| {
            let digit = u32::from(c.wrapping_sub(b'0') % 10);
            let doubled = digit * 2;
            if place % 2 == 0 { doubled / 10 + doubled % 10 } else { digit }
        })
        .sum();
    // Below ten.
    ((10 - sum % 10) % 10) as u8
}

fn check_digits(text: &[u8]) -> Result<(), IdentityError> {
    text.iter()
        .position(|c| !c.is_ascii_digit())
        .map_or(Ok(()), |offset| Err(IdentityError::NotADigit { offset }))
}

fn check_luhn(text: &[u8]) -> Result<(), IdentityError> {
    let (last, body) = text.split_last().ok_or(IdentityError::Length { found: 0 })?;
    let expected = luhn_digit(body);
    if *last == b'0' + expected { Ok(()) } else { Err(IdentityError::Luhn { expected }) }
}

/// A decoder reference number: manufacturer code (2 or 4 digits), serial number (8), Luhn digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Drn {
    digits: [u8; 13],
    length: u8,
}

impl Drn {
    /// From 11 or 13 ASCII digits with a valid check digit.
    ///
    /// # Errors
    /// Wrong length, a character that is not a digit, or a wrong check digit.
    pub fn parse(text: &[u8]) -> Result<Self, IdentityError> {
        if text.len() != 11 && text.len() != 13 {
            return Err(IdentityError::Length { found: text.len() });
        }
        check_digits(text)?;
        check_luhn(text)?;
        let mut digits = [b'0'; 13];
        digits[..text.len()].copy_from_slice(text);
        Ok(Self { digits, length: text.len() as u8 })
    }

    /// From manufacturer code and serial number. Codes up to 99 give 11 digits, larger ones 13.
    ///
    /// # Errors
    /// Manufacturer above 9999 or serial above 99999999.
    pub fn from_parts(manufacturer: u16, serial: u32) -> Result<Self, IdentityError> {
        if manufacturer > 9_999 || serial > 99_999_999 {
            return Err(IdentityError::Range);
        }
        let length = if manufacturer <= 99 { 11 } else { 13 };
        let mut digits = [b'0'; 13];
        let mut rest = u64::from(manufacturer) * 100_000_000 + u64::from(serial);
        for place in digits[..length - 1].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        digits[length - 1] = b'0' + luhn_digit(&digits[..length - 1]);
        Ok(Self { digits, length: length as u8 })
    }

    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.digits[..usize::from(self.length)]).unwrap_or_default()
    }

    /// The manufacturer code, 0..=9999.
    #[must_use]
    pub fn manufacturer(&self) -> u16 {
        let digits = usize::from(self.length) - 9;
        self.digits[..digits].iter().fold(0, |code, &c| code * 10 + u16::from(c - b'0'))
    }
}

/// An 18-digit meter primary account number: issuer (600727 or 0000), DRN, Luhn digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "[u8; PAN_DIGITS]", into = "[u8; PAN_DIGITS]")]
pub struct MeterPan([u8; PAN_DIGITS]);

impl TryFrom<[u8; PAN_DIGITS]> for MeterPan {
    type Error = IdentityError;
    fn try_from(digits: [u8; PAN_DIGITS]) -> Result<Self, IdentityError> {
        Self::parse(&digits)
    }
}

impl From<MeterPan> for [u8; PAN_DIGITS] {
    fn from(pan: MeterPan) -> Self {
        pan.0
    }
}

impl MeterPan {
    /// The account number of a meter.
    #[must_use]
    pub fn from_drn(drn: &Drn) -> Self {
        let mut digits = [b'0'; PAN_DIGITS];
        let issuer: &[u8] = if drn.length == 11 { &IIN_11 } else { &IIN_13 };
        digits[..issuer.len()].copy_from_slice(issuer);
        digits[issuer.len()..PAN_DIGITS - 1].copy_from_slice(&drn.digits[..usize::from(drn.length)]);
        digits[PAN_DIGITS - 1] = b'0' + luhn_digit(&digits[..PAN_DIGITS - 1]);
        Self(digits)
    }

    /// From 18 ASCII digits; both check digits are verified.
    ///
    /// # Errors
    /// Wrong length, a character that is not a digit, an unknown issuer, or a wrong check digit.
    pub fn parse(text: &[u8]) -> Result<Self, IdentityError> {
        let digits: [u8; PAN_DIGITS] =
            text.try_into().map_err(|_| IdentityError::Length { found: text.len() })?;
        check_digits(&digits)?;
        check_luhn(&digits)?;
        let pan = Self(digits);
        check_luhn(&digits[pan.issuer_digits().ok_or(IdentityError::Issuer)?..PAN_DIGITS - 1])?;
        Ok(pan)
    }

    fn issuer_digits(&self) -> Option<usize> {
        if self.0.starts_with(&IIN_11) {
            Some(IIN_11.len())
        } else if self.0.starts_with(&IIN_13) {
            Some(IIN_13.len())
        } else {
            None
        }
    }

    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The 18 ASCII digits.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PAN_DIGITS] {
        &self.0
    }

    /// The issuer number, `600727` or `0000`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.as_str()[..self.issuer_digits().unwrap_or(IIN_13.len())]
    }

    /// The meter's serial number.
    #[must_use]
    pub fn drn(&self) -> Drn {
        let from = self.issuer_digits().unwrap_or(IIN_13.len());
        let mut digits = [b'0'; 13];
        let body = &self.0[from..PAN_DIGITS - 1];
        digits[..body.len()].copy_from_slice(body);
        Drn { digits, length: body.len() as u8 }
    }

    /// The PANBlock of DKGA02: the last 16 digits of issuer and DRN, in BCD (IEC 62055-41 6.5.3.2). For a common
    /// transfer key the DRN digits are zero.
    #[must_use]
    pub fn pan_block(&self, common_key: bool) -> u64 {
        let drn_from = self.issuer_digits().unwrap_or(IIN_13.len());
        (1..PAN_DIGITS - 1).fold(0, |block, place| {
            let digit = if common_key && place >= drn_from { 0 } else { self.0[place] - b'0' };
            (block << 4) | u64::from(digit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_account_numbers_are_built_and_read() {
        for (drn, pan, issuer) in [
            ("00000000000", "600727000000000009", "600727"),
            ("0100000000008", "000001000000000082", "0000"),
            ("11111111115", "600727111111111153", "600727"),
        ] {
            let drn = Drn::parse(drn.as_bytes()).unwrap();
            assert_eq!(MeterPan::from_drn(&drn).as_str(), pan);
            let read = MeterPan::parse(pan.as_bytes()).unwrap();
            assert_eq!((read.drn(), read.issuer()), (drn, issuer));
        }
    }

    #[test]
    fn published_wrong_check_digits_are_refused() {
        assert!(matches!(Drn::parse(b"12345678904"), Err(IdentityError::Luhn { .. })));
        assert!(matches!(Drn::parse(b"11111111113"), Err(IdentityError::Luhn { expected: 5 })));
        assert!(MeterPan::parse(b"600727000000000008").is_err());
        assert_eq!(MeterPan::parse(b"123456000000000000").err(), Some(IdentityError::Luhn { expected: 9 }));
        assert_eq!(MeterPan::parse(b"123456000000000009").err(), Some(IdentityError::Issuer));
        assert_eq!(MeterPan::parse(b"6007270000000000").err(), Some(IdentityError::Length { found: 16 }));
        assert_eq!(Drn::parse(b"1234567890x").err(), Some(IdentityError::NotADigit { offset: 10 }));
    }

    #[test]
    fn every_single_wrong_digit_of_a_meter_number_is_noticed() {
        let good = Drn::from_parts(1, 12_345_678).unwrap();
        for place in 0..11 {
            for digit in b'0'..=b'9' {
                let mut text: [u8; 11] = good.as_str().as_bytes().try_into().unwrap();
                let same = text[place] == digit;
                text[place] = digit;
                assert_eq!(Drn::parse(&text).is_ok(), same);
            }
        }
    }

    #[test]
    fn long_manufacturer_codes_give_thirteen_digits() {
        let drn = Drn::from_parts(100, 0).unwrap();
        assert_eq!((drn.as_str(), drn.manufacturer()), ("0100000000008", 100));
        assert_eq!(Drn::from_parts(10_000, 0), Err(IdentityError::Range));
        assert_eq!(Drn::from_parts(1, 100_000_000), Err(IdentityError::Range));
    }
}
