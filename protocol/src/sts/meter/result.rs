//! The result codes a meter answers a token with.

use core::fmt;

/// Result of a token, with the numbers of the meter's token status register. 13 is confirmed by a published manual, the
/// others follow the order of its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum TokenResult {
    /// Executed.
    Accept = 1,
    /// First section of a key change held; others are outstanding.
    FirstKct = 2,
    /// Another section of a key change held; others are outstanding.
    SecondKct = 3,
    /// The credit would not fit in its register.
    Overflow = 4,
    /// The key may not change to that type.
    KeyType = 5,
    /// Not 20 digits, 2^66 or more, or a reserved class.
    Format = 6,
    /// A value outside its range.
    Range = 7,
    /// The meter does not have that function.
    Function = 8,
    /// The identifier is older than every one remembered.
    Old = 9,
    /// The identifier was used before.
    Used = 10,
    /// Issued after the key expired.
    KeyExpired = 11,
    /// Credit under a default key.
    Ddtk = 12,
    /// Wrong checksum: mistyped, or for another key.
    Crc = 13,
    /// A test token for another manufacturer.
    MfrCode = 14,
    /// Typing is locked for a while.
    Lockout = 15,
    /// The meter cannot judge tokens now.
    NotReady = 16,
}

impl TokenResult {
    /// Every result, in the order of the codes.
    pub const ALL: [Self; 16] = [
        Self::Accept,
        Self::FirstKct,
        Self::SecondKct,
        Self::Overflow,
        Self::KeyType,
        Self::Format,
        Self::Range,
        Self::Function,
        Self::Old,
        Self::Used,
        Self::KeyExpired,
        Self::Ddtk,
        Self::Crc,
        Self::MfrCode,
        Self::Lockout,
        Self::NotReady,
    ];

    /// The code, 1 to 16.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From the code; `None` for reserved ones.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.code() == code)
    }

    /// Whether the meter took the token: executed it, or holds it as a part of a key change.
    #[must_use]
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::Accept | Self::FirstKct | Self::SecondKct)
    }

    /// The token gateway's status code (class 115 attribute 6) for this result: 3 executed, 4 format failure,
    /// 5 authentication failure, 6 validation failure, 7 execution failure, 8 received and not yet processed.
    #[must_use]
    pub const fn gateway_status(self) -> u8 {
        match self {
            Self::Accept | Self::FirstKct | Self::SecondKct => 3,
            Self::Format => 4,
            Self::Crc | Self::KeyType | Self::MfrCode => 5,
            Self::Old | Self::Used | Self::KeyExpired | Self::Ddtk | Self::Lockout => 6,
            Self::Overflow | Self::Range | Self::Function => 7,
            Self::NotReady => 8,
        }
    }

    /// What a call centre tells the customer.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Accept => "accepted",
            Self::FirstKct => "first part of a key change held; the other parts are outstanding",
            Self::SecondKct => "a further part of a key change held; other parts are outstanding",
            Self::Overflow => "the meter cannot hold that much credit: use some and enter the token again",
            Self::KeyType => "the meter's key may not change to that type",
            Self::Format => "not a token: 20 digits are needed",
            Self::Range => "the token carries a value the meter cannot take",
            Self::Function => "the meter does not have the function the token asks for",
            Self::Old => "too old: issued before every token the meter remembers",
            Self::Used => "already used",
            Self::KeyExpired => "issued after the meter's key expired: a key change is needed first",
            Self::Ddtk => "the meter is not allocated to a supply group: a key change is needed first",
            Self::Crc => "a digit is mistyped, or the token is for another meter or another key",
            Self::MfrCode => "a test token for another manufacturer's meters",
            Self::Lockout => "too many wrong entries: the keypad is locked for a while",
            Self::NotReady => "the meter cannot judge tokens at the moment",
        }
    }
}

impl fmt::Display for TokenResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explanation())
    }
}
