//! The credits of the account (class 112): what was bought, and what is lent in an emergency.

use hardware::board::Board;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::credit::{CreditStatus, CreditType, configuration};
use protocol::cosem::events::Event;
use protocol::cosem::values::{put_bits, put_date_time};
use protocol::cosem::{FromData, obis};

use super::full;
use super::payment::clamp;
use crate::meter::Meter;

impl<B: Board> Meter<B> {
    pub(super) fn get_credit(
        &mut self,
        name: Obis,
        index: i8,
        out: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        if name == obis::EMERGENCY_CREDIT {
            return self.get_emergency_credit(index, out);
        }
        let left = self.record.ledger.remaining();
        match index {
            2 => Data::DoubleLong(clamp(left)).encode(out),
            3 => CreditType::Token.encode(out),
            4 => Data::Unsigned(1).encode(out),
            5 => Data::DoubleLong(clamp(self.record.low_credit)).encode(out),
            6 | 9 | 10 => Data::DoubleLong(0).encode(out),
            7 => put_bits(out, configuration::VISUAL | configuration::RECEIVES_FROM_TOKENS, 5),
            8 => if left > 0 { CreditStatus::InUse } else { CreditStatus::Consumed }.encode(out),
            11 => put_date_time(out, DateTime::WILDCARD),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    fn get_emergency_credit(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let left = self.record.ledger.remaining();
        let terms = &self.record.terms;
        match index {
            2 => Data::DoubleLong(clamp(terms.emergency_left(left))).encode(out),
            3 => CreditType::Emergency.encode(out),
            4 => Data::Unsigned(2).encode(out),
            5 | 6 => Data::DoubleLong(0).encode(out),
            7 => {
                let bits = configuration::VISUAL | configuration::CONFIRMATION | configuration::PAID_BACK;
                put_bits(out, bits | configuration::RECEIVES_FROM_TOKENS, 5)
            }
            8 => {
                let status = match terms.emergency.taken {
                    true if terms.emergency_left(left) == 0 => CreditStatus::Consumed,
                    true if left <= 0 => CreditStatus::InUse,
                    true => CreditStatus::Invoked,
                    false if terms.offers_emergency(left) => CreditStatus::Selectable,
                    false => CreditStatus::Enabled,
                };
                status.encode(out)
            }
            9 => Data::DoubleLong(clamp(i64::from(terms.emergency.preset))).encode(out),
            10 => Data::DoubleLong(terms.emergency.offered_at).encode(out),
            11 => put_date_time(out, DateTime::WILDCARD),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    pub(super) fn set_credit(
        &mut self,
        name: Obis,
        index: i8,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult> {
        let value = i32::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
        let mut next = self.record.clone();
        match (name, index) {
            (obis::TOKEN_CREDIT, 5) => next.low_credit = i64::from(value),
            (obis::EMERGENCY_CREDIT, 9) => {
                next.terms.emergency.preset =
                    u32::try_from(value).map_err(|_| DataAccessResult::OtherReason)?;
            }
            (obis::EMERGENCY_CREDIT, 10) => next.terms.emergency.offered_at = value,
            _ => return Err(DataAccessResult::ReadWriteDenied),
        }
        self.configure(next)
    }

    pub(super) fn set_low_credit(&mut self, value: Data<'_>) -> Result<(), DataAccessResult> {
        self.set_credit(obis::TOKEN_CREDIT, 5, value)
    }

    /// Management corrects the token credit (method 1 adds, method 2 sets); method 3 takes the emergency credit for the
    /// customer.
    pub(super) fn invoke_credit(
        &mut self,
        name: Obis,
        index: i8,
        parameter: Data<'_>,
    ) -> Result<(), ActionResult> {
        match (name, index) {
            (obis::EMERGENCY_CREDIT, 3) => {
                return self.take_emergency_credit().map_err(|_| ActionResult::TemporaryFailure);
            }
            (obis::TOKEN_CREDIT, 1 | 2) => {}
            _ => return Err(ActionResult::ReadWriteDenied),
        }
        let value = i32::from_data(parameter).map_err(|_| ActionResult::TypeUnmatched)?;
        let mut next = self.record.clone();
        let change = if index == 1 { i64::from(value) } else { i64::from(value) - next.ledger.remaining() };
        next.ledger.credit(change).map_err(|_| ActionResult::OtherReason)?;
        self.settle_and_commit(next).map_err(|_| ActionResult::TemporaryFailure)?;
        self.note(Event::CreditAdjusted, clamp(change));
        Ok(())
    }
}
