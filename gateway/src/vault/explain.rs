//! Why a meter refused a token: the parameter that does not fit, found by trying the keys the vault may use.

use super::contents::{Contents, VendingEntry};
use super::source::VendingKeySource;
use super::tokens::Identity;
use protocol::sts::{
    BaseDate, DecodeError, Derivation, KeyAttributes, NumberError, StaTables, TariffIndex, Token,
    TokenCipher, TokenNumber,
};

/// What is known about a token. Nothing in it is a key or a digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// Not 20 digits below 2^66.
    NotAToken(NumberError),
    /// It is for this meter as recorded; the refusal has another reason (used, old, expired...), which the meter's result code
    /// gives.
    ForThisMeter {
        /// What it is, in words.
        what: String,
        /// Its identifier, minutes since the base date, where it has one.
        tid: Option<u32>,
    },
    /// Any meter takes it.
    ForAnyMeter {
        /// What it is, in words.
        what: String,
    },
    /// It fits once these parameters are changed.
    Mismatch {
        /// What differs, the fewest that explain it.
        differences: Vec<Difference>,
        /// What it is, in words.
        what: String,
    },
    /// The checksum fits under this meter's key but the content is not a token: a wrong digit that slipped through, or a
    /// proprietary token.
    Odd(DecodeError),
    /// No key this vault holds fits: a digit is mistyped, or the token is of another vendor.
    Unknown {
        /// How many keys were tried.
        tried: usize,
    },
}

/// A parameter of the token that differs from the meter's record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "parameter", rename_all = "snake_case")]
pub enum Difference {
    /// Supply group code.
    SupplyGroup {
        /// The meter's.
        meter: u32,
        /// The token's.
        token: u32,
    },
    /// Tariff index.
    TariffIndex {
        /// The meter's.
        meter: u8,
        /// The token's.
        token: u8,
    },
    /// Key revision number.
    KeyRevision {
        /// The meter's.
        meter: u8,
        /// The token's.
        token: u8,
    },
    /// Key type.
    KeyType {
        /// The meter's.
        meter: &'static str,
        /// The token's.
        token: &'static str,
    },
    /// Base date.
    BaseDate {
        /// The meter's.
        meter: u16,
        /// The token's.
        token: u16,
    },
    /// It is for another meter.
    Meter {
        /// The meter number the token is for.
        token: String,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SupplyGroup { meter, token } => {
                write!(f, "supply group: the token is for {token:06}, the meter is in {meter:06}")
            }
            Self::TariffIndex { meter, token } => {
                write!(f, "tariff index: the token is for {token:02}, the meter has {meter:02}")
            }
            Self::KeyRevision { meter, token } => {
                write!(f, "key revision: the token is for {token}, the meter has {meter}")
            }
            Self::KeyType { meter, token } => {
                write!(f, "key type: the token is for {token}, the meter has {meter}")
            }
            Self::BaseDate { meter, token } => {
                write!(f, "base date: the token counts from {token}, the meter from {meter}")
            }
            Self::Meter { token } => write!(f, "meter: the token is for meter {token}"),
        }
    }
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAToken(error) => write!(f, "not a token: {error}"),
            Self::ForThisMeter { what, .. } => write!(f, "{what}, made for this meter as it is recorded"),
            Self::ForAnyMeter { what } => write!(f, "{what}, for any meter"),
            Self::Mismatch { differences, what } => {
                write!(f, "{what} that does not fit this meter")?;
                differences.iter().try_for_each(|difference| write!(f, "; {difference}"))
            }
            Self::Odd(error) => write!(f, "readable with this meter's key but not a token: {error}"),
            Self::Unknown { tried } => write!(
                f,
                "no key fits ({tried} tried): a digit is mistyped, or the token was made by another vendor"
            ),
        }
    }
}

/// A token in words, without its digits.
#[must_use]
pub(super) fn describe(token: &Token) -> String {
    use protocol::sts::{Management, TestToken};
    match token {
        Token::Credit { service, amount, .. } => {
            let units = amount.units();
            format!("credit of {}.{} units of {service:?}", units / 10, units % 10)
        }
        Token::CurrencyCredit { service, amount, .. } => {
            format!("credit of {} (1e-5 units of currency) for {service:?}", amount.amount())
        }
        Token::Test(TestToken::ExtendedRead { .. }) => "an extended read".into(),
        Token::Test(_) => "a test or display token".into(),
        Token::Management { action, .. } => match action {
            Management::MaximumPowerLimit(limit) => format!("a power limit of {} W", limit.units()),
            Management::PhaseUnbalanceLimit(limit) => {
                format!("a phase unbalance limit of {} W", limit.units())
            }
            Management::ClearCredit(_) => "a clear-credit token".into(),
            Management::TariffRate(_) => "a tariff rate token".into(),
            Management::ClearTamper => "a clear-tamper token".into(),
            Management::WaterMeterFactor(_) => "a water factor token".into(),
            Management::Extended { index, .. } => format!("an extended token, index {index}"),
        },
        Token::KeySection(section) => match section.subclass() {
            3 => "section 1 of a key change".into(),
            4 => "section 2 of a key change".into(),
            8 => "section 3 of a key change".into(),
            _ => "section 4 of a key change".into(),
        },
    }
}

/// Tries one set of attributes; `None` when the checksum does not fit.
fn try_key(
    source: &dyn VendingKeySource,
    entry: &VendingEntry,
    meter: &Identity,
    attributes: &KeyAttributes,
    number: TokenNumber,
    tables: &StaTables,
) -> Option<Result<Token, DecodeError>> {
    let key = source.derive(&entry.place, meter.algorithm, &meter.pan, attributes).ok()?;
    match Token::decode(number, &TokenCipher::new(&key, tables)) {
        Err(DecodeError::Crc) => None,
        read => Some(read),
    }
}

/// Explains a token. `others` are other meters it may be for, with their numbers.
pub(super) fn explain(
    source: &dyn VendingKeySource,
    contents: &Contents,
    tables: &StaTables,
    meter: &Identity,
    digits: &str,
    others: &[(String, Identity)],
) -> Explanation {
    let number = match TokenNumber::parse(digits.as_bytes()) {
        Ok(number) => number,
        Err(error) => return Explanation::NotAToken(error),
    };
    match number.class() {
        1 => {
            return match Token::from_data_block(1, number.block()) {
                Ok(token) => Explanation::ForAnyMeter { what: describe(&token) },
                Err(DecodeError::Crc) => Explanation::Unknown { tried: 0 },
                Err(error) => Explanation::Odd(error),
            };
        }
        3 => return Explanation::Odd(DecodeError::ReservedClass),
        _ => {}
    }
    let own = contents.vending.iter().filter(|entry| entry.serves(meter));
    let mut tried = 0;
    for entry in own {
        tried += 1;
        match try_key(source, entry, meter, &meter.attributes, number, tables) {
            None => {}
            Some(Err(error)) => return Explanation::Odd(error),
            Some(Ok(token)) => {
                return Explanation::ForThisMeter {
                    what: describe(&token),
                    tid: token.tid().map(protocol::sts::Tid::minutes),
                };
            }
        }
    }
    for (drn, other) in others {
        for entry in contents.vending.iter().filter(|entry| entry.serves(other)) {
            tried += 1;
            if let Some(Ok(token)) = try_key(source, entry, other, &other.attributes, number, tables) {
                let differences = vec![Difference::Meter { token: drn.clone() }];
                return Explanation::Mismatch { differences, what: describe(&token) };
            }
        }
    }
    search(source, contents, tables, meter, number, tried)
}

/// Tries every vending key with every tariff index and base date.
fn search(
    source: &dyn VendingKeySource,
    contents: &Contents,
    tables: &StaTables,
    meter: &Identity,
    number: TokenNumber,
    mut tried: usize,
) -> Explanation {
    let mut best: Option<(Vec<Difference>, Token)> = None;
    for entry in &contents.vending {
        for attributes in candidates(entry, &meter.attributes) {
            tried += 1;
            let read = try_key(source, entry, meter, &attributes, number, tables);
            let Some(Ok(token)) = read else { continue };
            let differences = differences(&meter.attributes, &attributes);
            // One try in 65,536 fits by chance; the fewest differences are the likeliest truth.
            if best.as_ref().is_none_or(|(known, _)| differences.len() < known.len()) {
                best = Some((differences, token));
            }
        }
    }
    match best {
        None => Explanation::Unknown { tried },
        Some((differences, token)) => Explanation::Mismatch { differences, what: describe(&token) },
    }
}

/// Every tariff index and base date under a vending key: three hundred tries.
fn candidates(entry: &VendingEntry, meter: &KeyAttributes) -> Vec<KeyAttributes> {
    let base = KeyAttributes {
        supply_group: protocol::sts::SupplyGroup::try_from(entry.supply_group).unwrap_or(meter.supply_group),
        key_revision: protocol::sts::KeyRevision::try_from(u32::from(entry.key_revision))
            .unwrap_or(meter.key_revision),
        key_type: entry.key_type,
        ..*meter
    };
    let mut all = Vec::with_capacity(300);
    for index in 0..=99u32 {
        let Ok(tariff_index) = TariffIndex::try_from(index) else { continue };
        match entry.derivation {
            // DKGA02 knows no base date.
            Derivation::Dkga02 => all.push(KeyAttributes { tariff_index, ..base }),
            Derivation::Dkga04 => {
                all.extend(BaseDate::ALL.map(|base_date| KeyAttributes { tariff_index, base_date, ..base }));
            }
        }
    }
    all
}

fn differences(meter: &KeyAttributes, token: &KeyAttributes) -> Vec<Difference> {
    let mut found = Vec::new();
    if meter.supply_group != token.supply_group {
        found.push(Difference::SupplyGroup {
            meter: meter.supply_group.get(),
            token: token.supply_group.get(),
        });
    }
    if meter.tariff_index != token.tariff_index {
        found.push(Difference::TariffIndex {
            meter: meter.tariff_index.get(),
            token: token.tariff_index.get(),
        });
    }
    if meter.key_revision != token.key_revision {
        found.push(Difference::KeyRevision {
            meter: meter.key_revision.get(),
            token: token.key_revision.get(),
        });
    }
    if meter.key_type != token.key_type {
        found.push(Difference::KeyType { meter: meter.key_type.name(), token: token.key_type.name() });
    }
    if meter.base_date != token.base_date {
        found.push(Difference::BaseDate { meter: meter.base_date.year(), token: token.base_date.year() });
    }
    found
}
