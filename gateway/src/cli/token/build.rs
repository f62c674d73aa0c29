//! A token from the fields of a JSON object.

use super::fields::{Object, get, hex_bytes, hex_number, integer, need, number, of, text};
use super::keys::base_date;
use super::show;
use crate::cli::Failure;
use jiff::civil::DateTime;
use protocol::sts::{
    AmountCode, CurrencyCode, KeyRevision, KeySection, KeyType, KeyWord, Management, Rnd, Service,
    TariffIndex, TestToken, Tid, Token, TokenNumber,
};

/// The token an object describes. Amounts may be given as asked for; they are rounded as the standard says. What the fields
/// leave open is taken from `data_block_hex`, if there is one.
///
/// # Errors
/// A missing or malformed field, a value out of range, or two fields that contradict each other.
pub fn token(object: &Object) -> Result<Token, Failure> {
    let Some(block) = hex_number(object, "data_block_hex", 64)? else {
        return of_fields(object);
    };
    let class = need(number(object, "class", 3)?, "class")?;
    let read = of("data_block_hex", Token::from_data_block(class as u8, block as u64))?;
    let number = TokenNumber::place(class as u8, block as u64);
    let mut whole = show::fields(&read, number, None);
    let given = object.iter().filter(|(_, value)| !value.is_null());
    whole.extend(given.map(|(field, value)| (field.clone(), value.clone())));
    of_fields(&whole)
}

fn of_fields(object: &Object) -> Result<Token, Failure> {
    let class = need(number(object, "class", 3)?, "class")?;
    let subclass = need(number(object, "subclass", 15)?, "subclass")? as u8;
    match (class, subclass) {
        (0, 0..=3) => Ok(Token::Credit {
            service: Service::from_code(subclass),
            amount: amount(object, "amount_units_0_1")?,
            rnd: rnd(object)?,
            tid: tid(object)?,
        }),
        (0, 4..=7) => Ok(Token::CurrencyCredit {
            service: Service::from_code(subclass),
            amount: currency(object)?,
            tid: tid(object)?,
        }),
        (1, 0 | 2) => {
            let control = need(hex_number(object, "control_hex", 36)?, "control_hex")? as u64;
            let manufacturer = number(object, "mfr_code", 255)?.unwrap_or(0) as u8;
            Ok(Token::Test(if subclass == 0 {
                TestToken::TwoDigit { control, manufacturer }
            } else {
                TestToken::ExtendedRead { control, manufacturer }
            }))
        }
        (1, 1) => Ok(Token::Test(TestToken::FourDigit {
            control: need(hex_number(object, "control_hex", 28)?, "control_hex")? as u32,
            manufacturer: number(object, "mfr_code", 65_535)?.unwrap_or(0) as u16,
        })),
        (2, 3 | 4 | 8 | 9) => key_section(object, subclass).map(Token::KeySection),
        (2, 0..=2 | 5..=7 | 10) => Ok(Token::Management {
            action: management(object, subclass)?,
            rnd: rnd(object)?,
            tid: tid(object)?,
        }),
        _ => Err(Failure::Data(format!("class {class} subclass {subclass} is not a token of the standard"))),
    }
}

fn field16(object: &Object) -> Result<Option<u16>, Failure> {
    Ok(number(object, "field16", 65_535)?.map(|field| field as u16))
}

/// Four random bits where none are given.
fn rnd(object: &Object) -> Result<Rnd, Failure> {
    if let Some(rnd) = number(object, "rnd", 15)? {
        return Ok(Rnd::new(rnd as u8));
    }
    let mut byte = [0u8];
    getrandom::fill(&mut byte)
        .map_err(|error| Failure::Internal(anyhow::anyhow!("no random numbers: {error}")))?;
    Ok(Rnd::new(byte[0]))
}

/// `tid`, or the minutes from `base_date` to `datetime`. An ordinary token at 00:01 takes the next minute.
fn tid(object: &Object) -> Result<Tid, Failure> {
    if let Some(minutes) = number(object, "tid", u64::from(u32::MAX))? {
        return of("tid", Tid::try_from(minutes as u32));
    }
    let moment = need(text(object, "datetime")?, "tid")?;
    let base = need(base_date(object)?, "base_date")?;
    let moment: DateTime = of("datetime", moment.parse())?;
    let seconds = of("datetime", moment.to_zoned(jiff::tz::TimeZone::UTC))?.timestamp().as_second();
    let out = || Failure::Data(format!("field `datetime`: not within the base date {}", base.year()));
    Tid::next(Tid::at(base, seconds).ok_or_else(out)?, None).ok_or_else(out)
}

/// An amount or limit: by its own field, by `field16`, or both when they agree.
fn amount(object: &Object, field: &str) -> Result<AmountCode, Failure> {
    let coded = field16(object)?.map(AmountCode::from_field);
    let Some(units) = number(object, field, u64::from(u32::MAX))? else {
        return need(coded, field);
    };
    let code = AmountCode::round_up(units as u32).ok_or_else(|| {
        Failure::Data(format!(
            "field `{field}`: {units} is above {}, the most a token carries",
            AmountCode::MAX_UNITS
        ))
    })?;
    match coded {
        Some(coded) if coded != code => {
            Err(Failure::Data(format!("fields `field16` and `{field}` contradict each other")))
        }
        _ => Ok(code),
    }
}

/// A currency amount: coded, as an amount, or both when they agree.
fn currency(object: &Object) -> Result<CurrencyCode, Failure> {
    let negative = number(object, "sign", 1)? == Some(1);
    let nibble = match (number(object, "se_nibble", 15)?, number(object, "exponent", 31)?) {
        (Some(nibble), _) => Some(nibble as u8),
        (None, Some(exponent)) => Some((exponent >> 2) as u8 | u8::from(negative) << 3),
        (None, None) => None,
    };
    let coded = match (nibble, field16(object)?) {
        (Some(nibble), Some(field)) => Some(CurrencyCode::from_fields(nibble, field)),
        _ => None,
    };
    let amount = match integer(object, "amount_units_1e_5")? {
        Some(amount) => Some(("amount_units_1e_5", amount)),
        None => requested(object)?.map(|amount| ("amount_currency_requested", amount)),
    };
    let Some((field, amount)) = amount else { return need(coded, "amount_units_1e_5") };
    let amount = if negative { -amount.abs() } else { amount };
    let code = CurrencyCode::round_for_customer(amount)
        .ok_or_else(|| Failure::Data(format!("field `{field}`: beyond the range of a currency token")))?;
    match coded {
        // Two codes may stand for the same amount (zero with either sign).
        Some(coded) if coded.amount() != code.amount() => {
            Err(Failure::Data(format!("fields `field16` and `{field}` contradict each other")))
        }
        Some(coded) => Ok(coded),
        None => Ok(code),
    }
}

/// An amount of the base currency with up to five decimals, in 0.00001.
fn requested(object: &Object) -> Result<Option<i128>, Failure> {
    let field = "amount_currency_requested";
    let Some(value) = get(object, field) else { return Ok(None) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let wrong =
        || Failure::Data(format!("field `{field}`: an amount with at most five decimals is expected"));
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.as_str()),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 5 || !plain(whole) || !plain(decimals) {
        return Err(wrong());
    }
    let padded = format!("{whole}{decimals:0<5}");
    padded.parse::<i128>().map(|amount| Some(sign * amount)).map_err(|_| wrong())
}

fn management(object: &Object, subclass: u8) -> Result<Management, Failure> {
    Ok(match subclass {
        0 => Management::MaximumPowerLimit(amount(object, "limit_W")?),
        1 => {
            let register = match number(object, "register", 65_535)? {
                Some(register) => Some(register as u16),
                None => field16(object)?,
            };
            Management::ClearCredit(need(register, "register")?)
        }
        2 => Management::TariffRate(need(field16(object)?, "field16")?),
        5 => match field16(object)? {
            None | Some(0) => Management::ClearTamper,
            Some(_) => return Err(Failure::Data("field `field16`: a clear-tamper token carries 0".into())),
        },
        6 => Management::PhaseUnbalanceLimit(amount(object, "limit_W")?),
        7 => Management::WaterMeterFactor(need(field16(object)?, "field16")?),
        _ => match field16(object)? {
            Some(field) => Management::Extended { index: (field >> 10) as u8, value: field & 0x3FF },
            None => Management::Extended {
                index: need(number(object, "index", 63)?, "index")? as u8,
                value: need(number(object, "value", 1_023)?, "value")? as u16,
            },
        },
    })
}

/// 32 bits of the new key: in the section's own field, or out of `new_decoder_key_hex`.
fn word(object: &Object, field: &str, subclass: u8) -> Result<KeyWord, Failure> {
    if let Some(bits) = hex_number(object, field, 32)? {
        return Ok(KeyWord::new(bits as u32));
    }
    let key = need(hex_bytes(object, "new_decoder_key_hex")?, field)?;
    let at = match (subclass, key.len()) {
        (3, 8 | 16) => 0,
        (4, 8) | (8, 16) => 4,
        (9, 16) => 8,
        (4, 16) => 12,
        _ => {
            return Err(Failure::Data("field `new_decoder_key_hex`: not a key this token is part of".into()));
        }
    };
    let mut bytes = [0u8; 4];
    bytes.copy_from_slice(&key[at..at + 4]);
    Ok(KeyWord::new(u32::from_be_bytes(bytes)))
}

/// Twelve bits of the new supply group: in the section's own field, or out of `new_sgc`.
fn group(object: &Object, field: &str, high: bool) -> Result<u16, Failure> {
    if let Some(bits) = hex_number(object, field, 12)? {
        return Ok(bits as u16);
    }
    let group = need(number(object, "new_sgc", 999_999)?, field)?;
    Ok((if high { group >> 12 } else { group & 0xFFF }) as u16)
}

fn expiry(object: &Object, field: &str, high: bool) -> Result<u8, Failure> {
    if let Some(nibble) = number(object, field, 15)? {
        return Ok(nibble as u8);
    }
    let ken = number(object, "ken", 255)?.unwrap_or(255) as u8;
    Ok(if high { ken >> 4 } else { ken & 15 })
}

fn key_section(object: &Object, subclass: u8) -> Result<KeySection, Failure> {
    Ok(match subclass {
        3 => KeySection::First {
            expiry_high: expiry(object, "kenho", true)?,
            key_revision: of(
                "new_krn",
                KeyRevision::try_from(need(number(object, "new_krn", 255)?, "new_krn")? as u32),
            )?,
            rollover: number(object, "ro", 1)? == Some(1),
            third_follows: number(object, "res_3kct", 1)? == Some(1),
            key_type: KeyType::from_code(number(object, "new_kt", 3)?.unwrap_or(2) as u8)
                .unwrap_or(KeyType::Dutk),
            key: word(object, "nkho", 3)?,
        },
        4 => KeySection::Second {
            expiry_low: expiry(object, "kenlo", false)?,
            tariff_index: of(
                "new_ti",
                TariffIndex::try_from(need(number(object, "new_ti", 255)?, "new_ti")? as u32),
            )?,
            key: word(object, "nklo", 4)?,
        },
        8 => KeySection::Third { group_low: group(object, "sgclo", false)?, key: word(object, "nkmo2", 8)? },
        _ => KeySection::Fourth { group_high: group(object, "sgcho", true)?, key: word(object, "nkmo1", 9)? },
    })
}
