//! Every token as a type, and its way to and from the 64-bit data block (IEC 62055-41 6.2 and 6.3).

use super::amount::{AmountCode, CurrencyCode};
use super::cipher::TokenCipher;
use super::crc::block_crc;
use super::key_section::KeySection;
use super::number::TokenNumber;
use super::tid::Tid;
use core::fmt;

/// What credit is for. Subclasses 0 to 3 in units, 4 to 7 in currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Service {
    /// Units of 0.1 kWh.
    Electricity,
    /// Units of 0.1 m³.
    Water,
    /// Units of 0.1 m³.
    Gas,
    /// Units of 0.1 min.
    Time,
}

impl Service {
    /// 0 to 3.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Electricity => 0,
            Self::Water => 1,
            Self::Gas => 2,
            Self::Time => 3,
        }
    }

    /// From the low two bits of a class 0 subclass.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code & 3 {
            0 => Self::Electricity,
            1 => Self::Water,
            2 => Self::Gas,
            _ => Self::Time,
        }
    }
}

/// Four random bits that keep two tokens of one amount and minute apart for an onlooker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Rnd(u8);

impl Rnd {
    /// The low four bits of `value`.
    #[must_use]
    pub const fn new(value: u8) -> Self {
        Self(value & 15)
    }

    /// 0 to 15.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Class 1: the same for every meter, not enciphered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TestToken {
    /// Subclass 0: test or display, two-digit manufacturer code.
    TwoDigit {
        /// 36 control bits.
        control: u64,
        /// Manufacturer code, 0 for any meter.
        manufacturer: u8,
    },
    /// Subclass 1: test or display, four-digit manufacturer code.
    FourDigit {
        /// 28 control bits.
        control: u32,
        /// Manufacturer code, 0 for any meter.
        manufacturer: u16,
    },
    /// Subclass 2: extended read (STS 202-5).
    ExtendedRead {
        /// 36 control bits.
        control: u64,
        /// Manufacturer code, 0 for any meter.
        manufacturer: u8,
    },
}

/// What a management token of class 2 does, key changes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Management {
    /// Subclass 0: maximum power in watts.
    MaximumPowerLimit(AmountCode),
    /// Subclass 1: clear a credit register; see [`CreditRegister`].
    ClearCredit(u16),
    /// Subclass 2: tariff rate; the content is reserved by the standard.
    TariffRate(u16),
    /// Subclass 5: clear the tamper condition.
    ClearTamper,
    /// Subclass 6: maximum difference between phases in watts.
    PhaseUnbalanceLimit(AmountCode),
    /// Subclass 7: water meter factor; the content is reserved by the standard.
    WaterMeterFactor(u16),
    /// Subclass 10: extended token set.
    Extended {
        /// 0 to 63; 63 is the index of flags.
        index: u8,
        /// Ten bits: a control value, or flag index and flag value (lowest bit).
        value: u16,
    },
}

/// The register a clear-credit token addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum CreditRegister {
    /// 0 to 3: credit in units.
    Units(Service),
    /// 4 to 7: credit in currency.
    Currency(Service),
    /// 0xFFFF: every register.
    All,
}

impl CreditRegister {
    /// From the 16-bit field; `None` for values the standard does not define.
    #[must_use]
    pub const fn from_field(field: u16) -> Option<Self> {
        match field {
            0..=3 => Some(Self::Units(Service::from_code(field as u8))),
            4..=7 => Some(Self::Currency(Service::from_code(field as u8))),
            0xFFFF => Some(Self::All),
            _ => None,
        }
    }

    /// The 16-bit field.
    #[must_use]
    pub const fn field(self) -> u16 {
        match self {
            Self::Units(service) => service.code() as u16,
            Self::Currency(service) => service.code() as u16 + 4,
            Self::All => 0xFFFF,
        }
    }
}

/// A token, deciphered and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// Class 0, subclasses 0 to 3.
    Credit {
        /// What for.
        service: Service,
        /// In 0.1 kWh, 0.1 m³ or 0.1 min.
        amount: AmountCode,
        /// Random bits.
        rnd: Rnd,
        /// Identifier.
        tid: Tid,
    },
    /// Class 0, subclasses 4 to 7. No random bits: sign and exponent stand in their place.
    CurrencyCredit {
        /// What for.
        service: Service,
        /// In 0.00001 of the base currency.
        amount: CurrencyCode,
        /// Identifier.
        tid: Tid,
    },
    /// Class 1.
    Test(TestToken),
    /// Class 2, subclasses 0, 1, 2, 5, 6, 7 and 10.
    Management {
        /// What to do.
        action: Management,
        /// Random bits.
        rnd: Rnd,
        /// Identifier.
        tid: Tid,
    },
    /// Class 2, subclasses 3, 4, 8 and 9: a section of a new decoder key, under the old one.
    KeySection(KeySection),
}

/// Why a well-formed number is not a token under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Class 3 is reserved.
    ReservedClass,
    /// The checksum does not fit: a digit is wrong, or the token is for another key.
    Crc,
    /// The checksum fits, the subclass is reserved or proprietary.
    Subclass {
        /// Class.
        class: u8,
        /// Subclass.
        subclass: u8,
    },
    /// The checksum fits, a field holds a value outside its range.
    Field(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedClass => f.write_str("token class 3 is reserved"),
            Self::Crc => {
                f.write_str("the checksum is wrong: a digit is mistyped or the token is for another key")
            }
            Self::Subclass { class, subclass } => {
                write!(f, "class {class} subclass {subclass} is not a token of the standard")
            }
            Self::Field(field) => write!(f, "{field} is out of range"),
        }
    }
}

impl core::error::Error for DecodeError {}

const CONTROL_36: u64 = (1 << 36) - 1;
const CONTROL_28: u32 = (1 << 28) - 1;

impl Token {
    /// The class.
    #[must_use]
    pub const fn class(&self) -> u8 {
        match self {
            Self::Credit { .. } | Self::CurrencyCredit { .. } => 0,
            Self::Test(_) => 1,
            Self::Management { .. } | Self::KeySection(_) => 2,
        }
    }

    /// The subclass.
    #[must_use]
    pub const fn subclass(&self) -> u8 {
        match self {
            Self::Credit { service, .. } => service.code(),
            Self::CurrencyCredit { service, .. } => service.code() + 4,
            Self::Test(TestToken::TwoDigit { .. }) => 0,
            Self::Test(TestToken::FourDigit { .. }) => 1,
            Self::Test(TestToken::ExtendedRead { .. }) => 2,
            Self::Management { action, .. } => match action {
                Management::MaximumPowerLimit(_) => 0,
                Management::ClearCredit(_) => 1,
                Management::TariffRate(_) => 2,
                Management::ClearTamper => 5,
                Management::PhaseUnbalanceLimit(_) => 6,
                Management::WaterMeterFactor(_) => 7,
                Management::Extended { .. } => 10,
            },
            Self::KeySection(section) => section.subclass(),
        }
    }

    /// The identifier, where the token carries one.
    #[must_use]
    pub const fn tid(&self) -> Option<Tid> {
        match self {
            Self::Credit { tid, .. } | Self::CurrencyCredit { tid, .. } | Self::Management { tid, .. } => {
                Some(*tid)
            }
            Self::Test(_) | Self::KeySection(_) => None,
        }
    }

    /// The 44 bits between subclass and checksum.
    fn content(&self) -> u64 {
        let with_tid = |nibble: u8, tid: &Tid, field: u16| {
            (u64::from(nibble) << 40) | (u64::from(tid.minutes()) << 16) | u64::from(field)
        };
        match self {
            Self::Credit { amount, rnd, tid, .. } => with_tid(rnd.get(), tid, amount.field()),
            Self::CurrencyCredit { amount, tid, .. } => {
                let (nibble, field) = amount.fields();
                with_tid(nibble, tid, field)
            }
            Self::Test(
                TestToken::TwoDigit { control, manufacturer }
                | TestToken::ExtendedRead { control, manufacturer },
            ) => ((control & CONTROL_36) << 8) | u64::from(*manufacturer),
            Self::Test(TestToken::FourDigit { control, manufacturer }) => {
                (u64::from(control & CONTROL_28) << 16) | u64::from(*manufacturer)
            }
            Self::Management { action, rnd, tid } => with_tid(rnd.get(), tid, management_field(*action)),
            Self::KeySection(section) => section.content(),
        }
    }

    /// The data block before encryption: subclass, content, checksum.
    #[must_use]
    pub fn data_block(&self) -> u64 {
        let block = (u64::from(self.subclass()) << 60) | (self.content() << 16);
        let currency = matches!(self, Self::CurrencyCredit { .. });
        block | u64::from(block_crc(self.class(), block, currency))
    }

    /// Reads a data block of a class. Every block whose checksum fits reads as exactly one token or one refusal.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_data_block(class: u8, block: u64) -> Result<Self, DecodeError> {
        if class > 2 {
            return Err(DecodeError::ReservedClass);
        }
        let subclass = (block >> 60) as u8;
        let currency = class == 0 && (4..=7).contains(&subclass);
        if block as u16 != block_crc(class, block, currency) {
            return Err(DecodeError::Crc);
        }
        let content = (block >> 16) & ((1 << 44) - 1);
        let nibble = (content >> 40) as u8;
        let field = content as u16;
        // 24 bits always fit.
        let tid = Tid::from_minutes((content >> 16) as u32 & Tid::MAX.minutes()).unwrap_or(Tid::MAX);
        let service = Service::from_code(subclass);
        match (class, subclass) {
            (0, 0..=3) => Ok(Self::Credit {
                service,
                amount: AmountCode::from_field(field),
                rnd: Rnd::new(nibble),
                tid,
            }),
            (0, 4..=7) => {
                Ok(Self::CurrencyCredit { service, amount: CurrencyCode::from_fields(nibble, field), tid })
            }
            (1, 0..=2) => Ok(Self::Test(test_token(subclass, content))),
            (2, 3 | 4 | 8 | 9) => KeySection::from_content(subclass, content).map(Self::KeySection),
            (2, _) => {
                Ok(Self::Management { action: management(subclass, field)?, rnd: Rnd::new(nibble), tid })
            }
            _ => Err(DecodeError::Subclass { class, subclass }),
        }
    }

    /// The 66-bit token number. Class 1 is not enciphered and needs no key.
    ///
    /// ```
    /// use protocol::sts::{AmountCode, DecoderKey, Rnd, SAMPLE, Service, Tid, Token, TokenCipher};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// let key = DecoderKey::from_bytes(&0xf94b6ed353c3bfdb113e2d3a7ea3c41d_u128.to_be_bytes())?;
    /// let cipher = TokenCipher::new(&key, &SAMPLE);
    /// let token = Token::Credit {
    ///     service: Service::Electricity,
    ///     amount: AmountCode::round_up(1).ok_or("too much")?, // 0.1 kWh
    ///     rnd: Rnd::new(5),
    ///     tid: Tid::from_minutes(5_871_660).ok_or("too late")?,
    /// };
    /// let number = token.encode(&cipher);
    /// assert_eq!(number.digits().as_str(), "59386323472137426967");
    /// assert_eq!(Token::decode(number, &cipher)?, token);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn encode(&self, cipher: &TokenCipher<'_>) -> TokenNumber {
        let block = self.data_block();
        let class = self.class();
        TokenNumber::place(class, if class == 1 { block } else { cipher.encrypt(block) })
    }

    /// Deciphers and reads a token number.
    ///
    /// # Errors
    /// [`DecodeError`]; under a wrong key that is [`DecodeError::Crc`] in all but one of about 65,536 tries.
    pub fn decode(number: TokenNumber, cipher: &TokenCipher<'_>) -> Result<Self, DecodeError> {
        match number.class() {
            3 => Err(DecodeError::ReservedClass),
            1 => Self::from_data_block(1, number.block()),
            class => Self::from_data_block(class, cipher.decrypt(number.block())),
        }
    }
}

const fn management_field(action: Management) -> u16 {
    match action {
        Management::MaximumPowerLimit(limit) | Management::PhaseUnbalanceLimit(limit) => limit.field(),
        Management::ClearCredit(field)
        | Management::TariffRate(field)
        | Management::WaterMeterFactor(field) => field,
        Management::ClearTamper => 0,
        Management::Extended { index, value } => ((index as u16) << 10) | (value & 0x3FF),
    }
}

fn management(subclass: u8, field: u16) -> Result<Management, DecodeError> {
    Ok(match subclass {
        0 => Management::MaximumPowerLimit(AmountCode::from_field(field)),
        1 => Management::ClearCredit(field),
        2 => Management::TariffRate(field),
        5 if field == 0 => Management::ClearTamper,
        5 => return Err(DecodeError::Field("the empty field of a clear-tamper token")),
        6 => Management::PhaseUnbalanceLimit(AmountCode::from_field(field)),
        7 => Management::WaterMeterFactor(field),
        10 => Management::Extended { index: (field >> 10) as u8, value: field & 0x3FF },
        _ => return Err(DecodeError::Subclass { class: 2, subclass }),
    })
}

const fn test_token(subclass: u8, content: u64) -> TestToken {
    let (control, manufacturer) = (content >> 8, content as u8);
    match subclass {
        0 => TestToken::TwoDigit { control, manufacturer },
        1 => TestToken::FourDigit { control: (content >> 16) as u32, manufacturer: content as u16 },
        _ => TestToken::ExtendedRead { control, manufacturer },
    }
}
