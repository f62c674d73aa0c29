//! Tokens: from the network or the keypad through the judgement of `protocol::sts::meter` into the one record that holds
//! credit and used identifiers.

use hardware::board::{Board, Clock};
use protocol::cosem::events::Event;
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::sts::meter::{Abilities, Effect, TokenResult, evaluate};
use protocol::sts::{CreditRegister, Service, TokenNumber};

use crate::Money;
use crate::ledger::CREDIT_MAX;
use crate::meter::Meter;
use crate::record::{LastToken, Record};

/// The largest power limit a token may set: what a single-phase meter of 100 A carries at 230 V.
const POWER_LIMIT_MAX_W: u32 = 23_000;
/// Watt-hours in the unit of an electricity credit token: 0.1 kWh.
const WH_PER_UNIT: i64 = 100;

/// Decodes the octet string of class 115's method 1: 20 ASCII digits, or the 66-bit token right-aligned in 9 bytes.
#[must_use]
pub fn digits_of(token: &[u8]) -> Option<[u8; 20]> {
    if let Ok(digits) = <[u8; 20]>::try_from(token) {
        return digits.iter().all(u8::is_ascii_digit).then_some(digits);
    }
    let bytes = <[u8; 9]>::try_from(token).ok()?;
    let mut value = bytes.iter().fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
    let mut digits = [0; 20];
    for digit in digits.iter_mut().rev() {
        // A remainder below ten.
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    (value == 0).then_some(digits)
}

impl<B: Board> Meter<B> {
    /// A person types a token: 20 digits, spaces and hyphens between them are ignored. Wrong tokens lock the keypad for a
    /// while; tokens from the network are not locked out by that.
    pub fn type_token(&mut self, typed: &str) -> TokenResult {
        let mut digits = [b'0'; 20];
        let mut count = 0;
        for c in typed.bytes().filter(|c| !matches!(c, b' ' | b'-')) {
            if let Some(slot) = digits.get_mut(count) {
                *slot = c;
            }
            count += 1;
        }
        let whole = count == 20;
        let class = TokenNumber::parse(&digits).map_or(0, |number| number.class());
        let now_ms = self.now().as_millis();
        if !self.keypad.admits(now_ms, class) {
            return TokenResult::Lockout;
        }
        let result = if whole { self.enter(digits, DeliveryMethod::Manual) } else { TokenResult::Format };
        self.keypad.record(now_ms, class, result);
        let wait_ms = self.keypad.remaining_ms(now_ms);
        if wait_ms > 0 {
            self.note(Event::KeypadLocked, i32::try_from(wait_ms / 1000).unwrap_or(i32::MAX));
        }
        result
    }

    /// A token from the network, as class 115's method 1 gives it.
    pub fn receive_token(&mut self, token: &[u8], delivery: DeliveryMethod) -> TokenResult {
        match digits_of(token) {
            Some(digits) => {
                let result = self.enter(digits, delivery);
                if result == TokenResult::Accept {
                    self.keypad.clear();
                }
                result
            }
            None => self.refuse([b'0'; 20], delivery, TokenResult::Format, None),
        }
    }

    /// Judges a token and, if it is accepted, stores its effect, the remembered identifier and the new credit in one record.
    fn enter(&mut self, digits: [u8; 20], delivery: DeliveryMethod) -> TokenResult {
        let now_ms = self.utc_ms();
        let verdict = evaluate(&self.record.tokens, &self.abilities(), &digits, now_ms);
        let Some(effect) = verdict.effect else {
            return self.refuse(digits, delivery, verdict.result, verdict.kind);
        };
        let mut next = self.record.clone();
        let Some((units, event)) = carry_out(&mut next, &effect, self.who.options.money) else {
            return self.refuse(digits, delivery, TokenResult::Function, verdict.kind);
        };
        next.tokens.apply(&effect);
        let utc_s = self.utc_s();
        next.terms.after_payment(units, utc_s, &mut next.ledger);
        next.last_token =
            Some(LastToken { digits, utc_s, delivery, result: verdict.result, kind: verdict.kind, units });
        if self.settle_and_commit(next).is_err() {
            return TokenResult::NotReady;
        }
        self.note(event, i32::try_from(units).unwrap_or(i32::MAX));
        verdict.result
    }

    fn refuse(
        &mut self,
        digits: [u8; 20],
        delivery: DeliveryMethod,
        result: TokenResult,
        kind: Option<(u8, u8)>,
    ) -> TokenResult {
        let mut next = self.record.clone();
        next.last_token = Some(LastToken { digits, utc_s: self.utc_s(), delivery, result, kind, units: 0 });
        // The refusal stands even if it could not be stored.
        let _ = self.commit(next);
        self.note(Event::TokenRefused, i32::from(result.code()));
        result
    }

    fn abilities(&self) -> Abilities<'static> {
        let room = CREDIT_MAX.saturating_sub(self.record.ledger.remaining()).max(0);
        let manufacturer = self.serial().manufacturer();
        let in_tokens = u32::try_from(room / WH_PER_UNIT).unwrap_or(u32::MAX);
        let mut abilities = Abilities::electricity(manufacturer, in_tokens, Some(POWER_LIMIT_MAX_W));
        if let Some(money) = self.who.options.money {
            // A money account takes money tokens alone, an energy account energy tokens alone.
            abilities.room = [None; 8];
            let register = CreditRegister::Currency(Service::Electricity).field();
            if let Some(slot) = abilities.room.get_mut(usize::from(register)) {
                *slot = u128::try_from(i128::from(room) * money.per_unit()).ok();
            }
        }
        abilities
    }

    /// UTC, or the last time known while the clock is not set.
    pub(crate) fn utc_s(&mut self) -> u32 {
        self.board.clock().utc_s().unwrap_or(self.record.utc_s)
    }

    fn utc_ms(&mut self) -> u64 {
        u64::from(self.utc_s()) * 1000
    }
}

/// Makes an effect's change to credit. Gives the units and the event; `None` when this meter cannot do it.
fn carry_out(next: &mut Record, effect: &Effect, money: Option<Money>) -> Option<(i64, Event)> {
    match effect {
        Effect::Credit { service: Service::Electricity, units, .. } => {
            let units = i64::from(*units) * WH_PER_UNIT;
            next.ledger.credit(units).ok()?;
            Some((units, Event::TokenAccepted))
        }
        Effect::CurrencyCredit { service: Service::Electricity, amount, .. } => {
            // What is less than a unit waits in the record for the next token.
            let per_unit = money?.per_unit();
            let sum = amount.checked_add(i128::from(next.token_remainder))?;
            let units = i64::try_from(sum.div_euclid(per_unit)).ok()?;
            next.token_remainder = u32::try_from(sum.rem_euclid(per_unit)).ok()?;
            next.ledger.credit(units).ok()?;
            Some((units, Event::TokenAccepted))
        }
        Effect::ClearCredit { register, .. } => {
            let own = match money {
                Some(_) => CreditRegister::Currency(Service::Electricity),
                None => CreditRegister::Units(Service::Electricity),
            };
            let mine = *register == CreditRegister::All || *register == own;
            let units = -next.ledger.remaining().max(0);
            if mine {
                next.ledger.credit(units).ok()?;
            }
            Some((if mine { units } else { 0 }, Event::TokenAccepted))
        }
        Effect::MaximumPowerLimit { watts, .. } => {
            next.limits.normal_w = *watts;
            Some((0, Event::ParametersChanged))
        }
        Effect::NewKey(_) => Some((0, Event::TokenKeysChanged)),
        Effect::ClearTamper { .. } | Effect::Test(_) | Effect::KeySection { .. } => {
            Some((0, Event::TokenAccepted))
        }
        Effect::Credit { .. }
        | Effect::CurrencyCredit { .. }
        | Effect::PhaseUnbalanceLimit { .. }
        | Effect::TariffRate { .. }
        | Effect::WaterMeterFactor { .. }
        | Effect::Extended { .. } => None,
    }
}
