//! The order in which a meter judges a token (IEC 62055-41 clause 7.3; the order within validation is inferred):
//! format, class, decryption, checksum, key type, key expiry, identifier, range and function, overflow.

use super::super::cipher::TokenCipher;
use super::super::ea07::{SAMPLE, StaTables};
use super::super::key::EncryptionAlgorithm;
use super::super::key_section::{KeySection, PartialKey};
use super::super::number::TokenNumber;
use super::super::tid::Tid;
use super::super::token::{CreditRegister, DecodeError, Management, TestToken, Token};
use super::super::{AmountCode, KeyType};
use super::effect::Effect;
use super::result::TokenResult;
use super::state::MeterTokenState;
use super::tid_store::TidJudgement;

/// Credit registers a meter can have: four services in units, four in currency.
const REGISTERS: usize = 8;

/// What the meter can do at this moment. The firmware fills it in for each token.
#[derive(Debug, Clone)]
pub struct Abilities<'t> {
    /// `false` while the meter cannot judge tokens (journal not recovered, another token in work).
    pub ready: bool,
    /// Tables for EA07.
    pub tables: &'t StaTables,
    /// Manufacturer code of this meter, compared with class 1 tokens.
    pub manufacturer: u16,
    /// Per register (see [`CreditRegister::field`], 0 to 7): the largest amount that still fits, in the token's own unit
    /// (0.1 kWh..., or 0.00001 currency); `None` where the meter has no such register. Also bounds what a negative
    /// currency token takes.
    pub room: [Option<u128>; REGISTERS],
    /// Largest power limit in watts; `None` without that function.
    pub power_limit_max_w: Option<u32>,
    /// Largest phase unbalance limit in watts; `None` without that function.
    pub unbalance_limit_max_w: Option<u32>,
    /// Takes tariff rate tokens.
    pub tariff_rate: bool,
    /// Takes water factor tokens.
    pub water_factor: bool,
    /// Takes extended tokens (class 1 subclass 2 and class 2 subclass 10).
    pub extended: bool,
}

impl Abilities<'static> {
    /// An electricity meter with credit in 0.1 kWh: `room_units` more fit.
    #[must_use]
    pub const fn electricity(manufacturer: u16, room_units: u32, power_limit_max_w: Option<u32>) -> Self {
        let mut room = [None; REGISTERS];
        room[0] = Some(room_units as u128);
        Self {
            ready: true,
            tables: &SAMPLE,
            manufacturer,
            room,
            power_limit_max_w,
            unbalance_limit_max_w: None,
            tariff_rate: false,
            water_factor: false,
            extended: false,
        }
    }
}

/// The judgement of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The result code.
    pub result: TokenResult,
    /// What to store and do; `None` when refused.
    pub effect: Option<Effect>,
    /// Class and subclass, where the token could be read.
    pub kind: Option<(u8, u8)>,
    /// Its identifier, where it has one.
    pub tid: Option<Tid>,
}

/// Judges a token number (20 ASCII digits). Pure: nothing changes until the caller has stored the effect and applied it.
///
/// `now_ms` is any clock that the meter keeps over a restart (its real-time clock); only differences matter, for the
/// time-out of a key change.
#[must_use]
pub fn evaluate(state: &MeterTokenState, abilities: &Abilities<'_>, digits: &[u8], now_ms: u64) -> Verdict {
    let refused = |result| Verdict { result, effect: None, kind: None, tid: None };
    if !abilities.ready {
        return refused(TokenResult::NotReady);
    }
    let Ok(number) = TokenNumber::parse(digits) else {
        return refused(TokenResult::Format);
    };
    let cipher = TokenCipher::new(&state.key, abilities.tables);
    let token = match Token::decode(number, &cipher) {
        Ok(token) => token,
        Err(error) => return refused(refusal_of(error)),
    };
    let (result, effect) = match judge(state, abilities, &token, now_ms) {
        Ok(accepted) => accepted,
        Err(result) => (result, None),
    };
    Verdict { result, effect, kind: Some((token.class(), token.subclass())), tid: token.tid() }
}

const fn refusal_of(error: DecodeError) -> TokenResult {
    match error {
        DecodeError::ReservedClass => TokenResult::Format,
        DecodeError::Crc => TokenResult::Crc,
        DecodeError::Subclass { .. } => TokenResult::Function,
        DecodeError::Field(_) => TokenResult::Range,
    }
}

type Judgement = Result<(TokenResult, Option<Effect>), TokenResult>;

fn accept(effect: Effect) -> Judgement {
    Ok((TokenResult::Accept, Some(effect)))
}

fn judge(state: &MeterTokenState, abilities: &Abilities<'_>, token: &Token, now_ms: u64) -> Judgement {
    if token.class() == 0 && state.attributes.key_type == KeyType::Ddtk {
        return Err(TokenResult::Ddtk);
    }
    if let Some(tid) = token.tid() {
        check_tid(state, tid)?;
    }
    match token {
        Token::Credit { service, amount, tid, .. } => {
            let units = amount.units();
            check_room(abilities, CreditRegister::Units(*service), u128::from(units))?;
            accept(Effect::Credit { service: *service, units, tid: *tid })
        }
        Token::CurrencyCredit { service, amount, tid } => {
            let amount = amount.amount();
            check_room(abilities, CreditRegister::Currency(*service), amount.unsigned_abs())?;
            accept(Effect::CurrencyCredit { service: *service, amount, tid: *tid })
        }
        Token::Test(test) => judge_test(abilities, *test),
        Token::Management { action, tid, .. } => judge_management(abilities, *action, *tid).and_then(accept),
        Token::KeySection(section) => judge_key_section(state, section, now_ms),
    }
}

fn check_tid(state: &MeterTokenState, tid: Tid) -> Result<(), TokenResult> {
    // IEC 62055-41 6.1.10: 255 is never reached, because no period is above it.
    if tid.expiry_period() > state.attributes.expiry {
        return Err(TokenResult::KeyExpired);
    }
    match state.tids.judge(tid) {
        TidJudgement::New => Ok(()),
        TidJudgement::Old => Err(TokenResult::Old),
        TidJudgement::Used => Err(TokenResult::Used),
    }
}

fn check_room(abilities: &Abilities<'_>, register: CreditRegister, amount: u128) -> Result<(), TokenResult> {
    let room = abilities.room.get(usize::from(register.field())).copied().flatten();
    match room {
        None => Err(TokenResult::Function),
        Some(room) if amount > room => Err(TokenResult::Overflow),
        Some(_) => Ok(()),
    }
}

fn judge_test(abilities: &Abilities<'_>, test: TestToken) -> Judgement {
    let manufacturer = match test {
        TestToken::TwoDigit { manufacturer, .. } | TestToken::ExtendedRead { manufacturer, .. } => {
            u16::from(manufacturer)
        }
        TestToken::FourDigit { manufacturer, .. } => manufacturer,
    };
    if manufacturer != 0 && manufacturer != abilities.manufacturer {
        return Err(TokenResult::MfrCode);
    }
    if matches!(test, TestToken::ExtendedRead { .. }) && !abilities.extended {
        return Err(TokenResult::Function);
    }
    accept(Effect::Test(test))
}

fn check_limit(limit: AmountCode, max: Option<u32>) -> Result<u32, TokenResult> {
    match max {
        None => Err(TokenResult::Function),
        Some(max) if limit.units() > max => Err(TokenResult::Range),
        Some(_) => Ok(limit.units()),
    }
}

fn judge_management(abilities: &Abilities<'_>, action: Management, tid: Tid) -> Result<Effect, TokenResult> {
    let has = |ability: bool, effect| if ability { Ok(effect) } else { Err(TokenResult::Function) };
    match action {
        Management::MaximumPowerLimit(limit) => {
            let watts = check_limit(limit, abilities.power_limit_max_w)?;
            Ok(Effect::MaximumPowerLimit { watts, tid })
        }
        Management::PhaseUnbalanceLimit(limit) => {
            let watts = check_limit(limit, abilities.unbalance_limit_max_w)?;
            Ok(Effect::PhaseUnbalanceLimit { watts, tid })
        }
        Management::ClearCredit(field) => {
            let register = CreditRegister::from_field(field).ok_or(TokenResult::Range)?;
            let known = register == CreditRegister::All
                || abilities.room.get(usize::from(field)).is_some_and(Option::is_some);
            has(known, Effect::ClearCredit { register, tid })
        }
        Management::ClearTamper => Ok(Effect::ClearTamper { tid }),
        Management::TariffRate(rate) => has(abilities.tariff_rate, Effect::TariffRate { rate, tid }),
        Management::WaterMeterFactor(factor) => {
            has(abilities.water_factor, Effect::WaterMeterFactor { factor, tid })
        }
        Management::Extended { index, value } => {
            has(abilities.extended, Effect::Extended { index, value, tid })
        }
    }
}

/// A section alone changes nothing; the one that completes the set brings the new key. Key changes are exempt from
/// expiry and carry no identifier.
fn judge_key_section(state: &MeterTokenState, section: &KeySection, now_ms: u64) -> Judgement {
    let long_key = state.key.algorithm() == EncryptionAlgorithm::Ea11;
    if let KeySection::First { key_type, .. } = section
        && !state.attributes.key_type.may_become(*key_type)
    {
        return Err(TokenResult::KeyType);
    }
    if matches!(section, KeySection::Fourth { .. }) && !long_key {
        return Err(TokenResult::Function);
    }
    let mut sections =
        if state.pending.expired(now_ms) { PartialKey::default() } else { state.pending.sections.clone() };
    sections.insert(section.clone());
    match sections.assemble(long_key) {
        Err(error) => Err(refusal_of(error)),
        Ok(Some(new)) => accept(Effect::NewKey(new)),
        Ok(None) => {
            let result = if section.subclass() == 3 { TokenResult::FirstKct } else { TokenResult::SecondKct };
            Ok((result, Some(Effect::KeySection { section: section.clone(), at_ms: now_ms })))
        }
    }
}
