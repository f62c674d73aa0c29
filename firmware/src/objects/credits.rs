//! The credits of the account (class 112): what was bought, and what is lent in an emergency.

use hardware::board::Board;
use protocol::codec::axdr::DateTime;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Invoked, Nothing};
use protocol::cosem::credit::{Credit, CreditStatus, CreditType, configuration};
use protocol::cosem::events::Event;
use protocol::cosem::obis;
use protocol::cosem::values::ShortBits;

use super::payment::clamp;
use crate::meter::Meter;

/// The meter as one of its credits: what was bought, or what is lent.
pub(super) struct CreditObject<'m, B: Board> {
    meter: &'m mut Meter<B>,
    emergency: bool,
}

impl<'m, B: Board> CreditObject<'m, B> {
    pub(super) fn of(meter: &'m mut Meter<B>, name: Obis) -> Self {
        Self { meter, emergency: name == obis::EMERGENCY_CREDIT }
    }

    /// Units left of what was bought; below 0 the emergency credit is in use.
    const fn left(&self) -> i64 {
        self.meter.record.ledger.remaining()
    }

    /// Management corrects the token credit.
    fn correct(&mut self, change: i64) -> Invoked {
        let mut next = self.meter.record.clone();
        next.ledger.credit(change).map_err(|_| ActionResult::OtherReason)?;
        self.meter.settle_and_commit(next).map_err(|_| ActionResult::TemporaryFailure)?;
        self.meter.note(Event::CreditAdjusted, clamp(change));
        Ok(())
    }
}

impl<B: Board> Credit for CreditObject<'_, B> {
    fn current_credit_amount(&mut self) -> Access<i32> {
        let left = self.left();
        Ok(clamp(if self.emergency { self.meter.record.terms.emergency_left(left) } else { left }))
    }

    fn credit_type(&mut self) -> Access<CreditType> {
        Ok(if self.emergency { CreditType::Emergency } else { CreditType::Token })
    }

    fn priority(&mut self) -> Access<u8> {
        Ok(1 + u8::from(self.emergency))
    }

    fn warning_threshold(&mut self) -> Access<i32> {
        Ok(if self.emergency { 0 } else { clamp(self.meter.record.low_credit) })
    }

    fn set_warning_threshold(&mut self, units: i32) -> Access<()> {
        self.meter.reconfigure(&mut |next| next.low_credit = i64::from(units))
    }

    fn limit(&mut self) -> Access<i32> {
        Ok(0)
    }

    fn credit_configuration(&mut self) -> Access<ShortBits<5>> {
        let lent = if self.emergency { configuration::CONFIRMATION | configuration::PAID_BACK } else { 0 };
        Ok(ShortBits(configuration::VISUAL | configuration::RECEIVES_FROM_TOKENS | lent))
    }

    fn credit_status(&mut self) -> Access<CreditStatus> {
        let (left, terms) = (self.left(), &self.meter.record.terms);
        Ok(match (self.emergency, terms.emergency.taken) {
            (false, _) if left > 0 => CreditStatus::InUse,
            (false, _) => CreditStatus::Consumed,
            (true, true) if terms.emergency_left(left) == 0 => CreditStatus::Consumed,
            (true, true) if left <= 0 => CreditStatus::InUse,
            (true, true) => CreditStatus::Invoked,
            (true, false) if terms.offers_emergency(left) => CreditStatus::Selectable,
            (true, false) => CreditStatus::Enabled,
        })
    }

    fn preset_credit_amount(&mut self) -> Access<i32> {
        let preset = self.meter.record.terms.emergency.preset;
        Ok(if self.emergency { clamp(i64::from(preset)) } else { 0 })
    }

    fn set_preset_credit_amount(&mut self, units: i32) -> Access<()> {
        let preset = u32::try_from(units).map_err(|_| DataAccessResult::OtherReason)?;
        self.meter.reconfigure(&mut |next| next.terms.emergency.preset = preset)
    }

    fn credit_available_threshold(&mut self) -> Access<i32> {
        Ok(if self.emergency { self.meter.record.terms.emergency.offered_at } else { 0 })
    }

    fn set_credit_available_threshold(&mut self, units: i32) -> Access<()> {
        self.meter.reconfigure(&mut |next| next.terms.emergency.offered_at = units)
    }

    fn period(&mut self) -> Access<DateTime> {
        Ok(DateTime::WILDCARD)
    }

    fn update_amount(&mut self, units: i32) -> Invoked {
        self.correct(i64::from(units))
    }

    fn set_amount_to_value(&mut self, units: i32) -> Invoked {
        self.correct(i64::from(units) - self.left())
    }

    /// Takes the emergency credit for the customer.
    fn invoke_credit(&mut self, _: Nothing) -> Invoked {
        self.meter.take_emergency_credit().map_err(|_| ActionResult::TemporaryFailure)
    }
}
