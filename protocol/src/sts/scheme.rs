//! STS as a [`TokenScheme`].

use super::cipher::TokenCipher;
use super::meter::{Abilities, Effect, MeterTokenState, TokenResult, evaluate};
use super::number::TokenDigits;
use super::token::Token;
use crate::scheme::TokenScheme;
use core::convert::Infallible;
use core::marker::PhantomData;

/// IEC 62055-41 with tables that live for `'t`.
#[derive(Debug, Clone, Copy)]
pub struct Sts<'t>(PhantomData<&'t ()>);

/// A meter with what it can do at this moment.
#[derive(Debug, Clone)]
pub struct StsMeter<'t> {
    /// What it remembers.
    pub state: MeterTokenState,
    /// What it can do.
    pub abilities: Abilities<'t>,
}

impl AsRef<[u8]> for TokenDigits {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<'t> TokenScheme for Sts<'t> {
    const NAME: &'static str = "STS (IEC 62055-41)";
    type Vendor = TokenCipher<'t>;
    type Request = Token;
    type VendorError = Infallible;
    type Digits = TokenDigits;
    type Meter = StsMeter<'t>;
    type Effect = Effect;
    type Refusal = TokenResult;

    fn issue(cipher: &mut TokenCipher<'t>, token: &Token) -> Result<TokenDigits, Infallible> {
        Ok(token.encode(cipher).digits())
    }

    fn judge(meter: &StsMeter<'t>, digits: &[u8], now_ms: u64) -> Result<Effect, TokenResult> {
        let verdict = evaluate(&meter.state, &meter.abilities, digits, now_ms);
        verdict.effect.ok_or(verdict.result)
    }

    fn apply(meter: &mut StsMeter<'t>, effect: &Effect) {
        meter.state.apply(effect);
    }
}
