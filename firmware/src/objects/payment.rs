//! The account and its token gateway (classes 111, 115).

use hardware::board::Board;
use protocol::codec::axdr::DateTime;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::account::{
    Account, AccountStatus, CreditChargeConfigurationElement, CreditStatusBits, Currency, CurrencyUnit,
    ModeAndStatus, TokenGatewayConfigurationElement,
};
use protocol::cosem::class::{Access, Invoked, Nothing};
use protocol::cosem::events::Event;
use protocol::cosem::obis;
use protocol::cosem::token_gateway::{DeliveryMethod, TokenGateway, TokenStatus, TokenStatusCode, sts_text};
use protocol::cosem::values::ShortBits;
use protocol::sts::meter::TokenResult;

use crate::meter::Meter;
use crate::record::LastToken;
use crate::terms::DAY_S;

/// The account's credits, the one used first first.
const CREDITS: [Obis; 2] = [obis::TOKEN_CREDIT, obis::EMERGENCY_CREDIT];

/// The account's charges.
const CHARGES: [Obis; 3] = [obis::CONSUMPTION_CHARGE, obis::DAILY_CHARGE, obis::DEBT_CHARGE];

/// When a charge is collected beside normal times. Time passes and debts stand while the relay is open; nothing is consumed
/// then.
const fn collected(charge: usize) -> ShortBits<3> {
    ShortBits(if charge == 0 { 0b110 } else { 0b111 })
}

/// A register of the ledger as the double-long of the class: it stops at its ends.
pub(super) fn clamp(units: i64) -> i32 {
    units.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// The meter as its only account.
pub(super) struct AccountObject<'m, B: Board>(pub &'m mut Meter<B>);

impl<B: Board> AccountObject<'_, B> {
    const fn left(&self) -> i64 {
        self.0.record.ledger.remaining()
    }

    const fn uses_emergency_credit(&self) -> bool {
        self.0.record.terms.emergency.taken && self.left() <= 0
    }

    fn change_status(&mut self, status: AccountStatus) -> Invoked {
        let stored = self.0.reconfigure(&mut |next| next.account_status = status);
        stored.map_err(|_| ActionResult::TemporaryFailure)
    }
}

impl<B: Board> Account for AccountObject<'_, B> {
    fn account_mode_and_status(&mut self) -> Access<ModeAndStatus> {
        let record = &self.0.record;
        Ok(ModeAndStatus { payment_mode: record.payment_mode, account_status: record.account_status })
    }

    /// The mode alone: methods 1 and 2 change the status.
    fn set_account_mode_and_status(&mut self, wanted: ModeAndStatus) -> Access<()> {
        if wanted.account_status != self.0.record.account_status {
            return Err(DataAccessResult::ReadWriteDenied);
        }
        self.0.reconfigure(&mut |next| next.payment_mode = wanted.payment_mode)?;
        self.0.note(Event::PaymentModeChanged, wanted.payment_mode as i32);
        Ok(())
    }

    fn current_credit_in_use(&mut self) -> Access<u8> {
        Ok(1 + u8::from(self.uses_emergency_credit()))
    }

    fn current_credit_status(&mut self) -> Access<CreditStatusBits> {
        let left = self.left();
        let mut bits = CreditStatusBits::CREDIT_REFERENCE_LIST;
        if self.0.record.available() > 0 {
            bits |= CreditStatusBits::IN_CREDIT;
        } else {
            bits |= CreditStatusBits::OUT_OF_CREDIT;
        }
        if left <= self.0.record.low_credit {
            bits |= CreditStatusBits::LOW_CREDIT;
        }
        let terms = &self.0.record.terms;
        if terms.emergency.preset > 0 {
            bits |= CreditStatusBits::NEXT_CREDIT_ENABLED;
        }
        if terms.offers_emergency(left) {
            bits |= CreditStatusBits::NEXT_CREDIT_SELECTABLE;
        }
        if self.uses_emergency_credit() {
            bits |= CreditStatusBits::SELECTABLE_CREDIT_IN_USE;
        }
        Ok(CreditStatusBits(bits))
    }

    fn available_credit(&mut self) -> Access<i32> {
        Ok(clamp(self.0.record.available()))
    }

    fn amount_to_clear(&mut self) -> Access<i32> {
        Ok(clamp((-self.left()).max(0)))
    }

    fn clearance_threshold(&mut self) -> Access<i32> {
        Ok(0)
    }

    fn aggregated_debt(&mut self) -> Access<i32> {
        Ok(clamp(i64::from(self.0.record.terms.debt)))
    }

    fn credit_reference_list(&mut self) -> Access<impl ExactSizeIterator<Item = Obis>> {
        Ok(CREDITS.iter().copied())
    }

    fn charge_reference_list(&mut self) -> Access<impl ExactSizeIterator<Item = Obis>> {
        Ok(CHARGES.iter().copied())
    }

    /// Every charge is taken from every credit.
    fn credit_charge_configuration(
        &mut self,
    ) -> Access<impl ExactSizeIterator<Item = CreditChargeConfigurationElement>> {
        Ok((0..CREDITS.len() * CHARGES.len()).map(|at| {
            let charge = at % CHARGES.len();
            CreditChargeConfigurationElement {
                credit_reference: CREDITS[at / CHARGES.len()],
                charge_reference: CHARGES[charge],
                collection_configuration: collected(charge),
            }
        }))
    }

    fn token_gateway_configuration(
        &mut self,
    ) -> Access<impl ExactSizeIterator<Item = TokenGatewayConfigurationElement>> {
        let all =
            TokenGatewayConfigurationElement { credit_reference: obis::TOKEN_CREDIT, token_proportion: 100 };
        Ok(core::iter::once(all))
    }

    fn account_activation_time(&mut self) -> Access<DateTime> {
        Ok(DateTime::WILDCARD)
    }

    fn account_closure_time(&mut self) -> Access<DateTime> {
        Ok(DateTime::WILDCARD)
    }

    fn currency(&mut self) -> Access<Currency<'_>> {
        let money = self.0.who.options.money.as_ref();
        let money = money.and_then(|m| Some((core::str::from_utf8(&m.code).ok()?, m.scale)));
        Ok(match money {
            Some((name, scale)) => Currency { name, scale, unit: CurrencyUnit::Monetary },
            None => Currency { name: "Wh", scale: 0, unit: CurrencyUnit::Consumption },
        })
    }

    fn low_credit_threshold(&mut self) -> Access<i32> {
        Ok(clamp(self.0.record.low_credit))
    }

    fn set_low_credit_threshold(&mut self, units: i32) -> Access<()> {
        self.0.reconfigure(&mut |next| next.low_credit = i64::from(units))
    }

    fn next_credit_available_threshold(&mut self) -> Access<i32> {
        Ok(self.0.record.terms.emergency.offered_at)
    }

    fn max_provision(&mut self) -> Access<u16> {
        Ok(u16::try_from(self.0.record.terms.instalment.active).unwrap_or(u16::MAX))
    }

    fn max_provision_period(&mut self) -> Access<i32> {
        Ok(clamp(i64::from(DAY_S)))
    }

    fn activate_account(&mut self, _: Nothing) -> Invoked {
        self.change_status(AccountStatus::Active)
    }

    fn close_account(&mut self, _: Nothing) -> Invoked {
        self.change_status(AccountStatus::Closed)
    }
}

/// The meter as its only token gateway.
pub(super) struct TokenGatewayObject<'m, B: Board>(pub &'m mut Meter<B>);

impl<B: Board> TokenGatewayObject<'_, B> {
    const fn last(&self) -> Option<&LastToken> {
        self.0.record.last_token.as_ref()
    }
}

impl<B: Board> TokenGateway for TokenGatewayObject<'_, B> {
    fn token(&mut self) -> Access<&[u8]> {
        Ok(self.last().map_or(&[][..], |token| &token.digits))
    }

    fn token_time(&mut self) -> Access<DateTime> {
        let shown = |token: &LastToken| self.0.settings.zone.show(token.utc_s, 0);
        Ok(self.last().map_or(DateTime::WILDCARD, shown))
    }

    fn token_description(&mut self) -> Access<impl ExactSizeIterator<Item = &[u8]>> {
        Ok(self.last().map(|token| sts_text(token.result.code()).as_bytes()).into_iter())
    }

    fn token_delivery_method(&mut self) -> Access<DeliveryMethod> {
        Ok(self.last().map_or(DeliveryMethod::Remote, |token| token.delivery))
    }

    fn token_status(&mut self) -> Access<TokenStatus> {
        let none = TokenStatus { code: TokenStatusCode::FormatOk, data_value: 0 };
        let of = |token: &LastToken| TokenStatus { code: token.status(), data_value: token.result.code() };
        Ok(self.last().map_or(none, of))
    }

    /// The token was delivered when this succeeds; what became of it is in attribute 6.
    fn enter(&mut self, token: &[u8]) -> Invoked {
        match self.0.receive_token(token, DeliveryMethod::Remote) {
            TokenResult::NotReady => Err(ActionResult::TemporaryFailure),
            _ => Ok(()),
        }
    }
}
