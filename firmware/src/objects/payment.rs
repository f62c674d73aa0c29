//! Account, credit, charge and token gateway (classes 111, 112, 113, 115).

use hardware::board::Board;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Encode, Result as Encoded, Writer};
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::account::{AccountStatus, CreditStatusBits, Currency, CurrencyUnit, ModeAndStatus};
use protocol::cosem::charge::{ChargeTable, ChargeTableElement, ChargeType};
use protocol::cosem::clock::date_time;
use protocol::cosem::credit::{CreditStatus, CreditType, configuration};
use protocol::cosem::events::Event;
use protocol::cosem::token_gateway::{DeliveryMethod, TokenStatus, TokenStatusCode, sts_text};
use protocol::cosem::values::{put_array, put_bits, put_date_time, put_obis, put_structure};
use protocol::cosem::{FromData, obis};
use protocol::sts::meter::TokenResult;

use super::full;
use crate::meter::Meter;

/// Bit of class 113's charge configuration, bit 0 first: the charge is collected continuously.
const CONTINUOUS_COLLECTION: u8 = 1 << 1;

/// A register of the ledger as the double-long of the class: it stops at its ends.
fn clamp(units: i64) -> i32 {
    units.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

impl<B: Board> Meter<B> {
    pub(super) fn get_account(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let record = &self.record;
        let left = record.ledger.remaining();
        let number = |units: i64, out: &mut dyn Writer| Data::DoubleLong(clamp(units)).encode(out);
        match index {
            2 => ModeAndStatus { payment_mode: record.payment_mode, account_status: record.account_status }
                .encode(out),
            3 => Data::Unsigned(1).encode(out),
            4 => self.credit_status_bits().encode(out),
            5 => number(left, out),
            6 => number((-left).max(0), out),
            7 | 8 | 17 | 19 => number(0, out),
            9 => put_one(out, |out| put_obis(out, obis::TOKEN_CREDIT)),
            10 => put_one(out, |out| put_obis(out, obis::CONSUMPTION_CHARGE)),
            11 => put_one(out, |out| {
                put_structure(out, 3)?;
                put_obis(out, obis::TOKEN_CREDIT)?;
                put_obis(out, obis::CONSUMPTION_CHARGE)?;
                put_bits(out, 0, 3)
            }),
            12 => put_one(out, |out| {
                put_structure(out, 2)?;
                put_obis(out, obis::TOKEN_GATEWAY)?;
                Data::Unsigned(100).encode(out)
            }),
            13 | 14 => put_date_time(out, DateTime::WILDCARD),
            15 => Currency { name: "Wh", scale: 0, unit: CurrencyUnit::Consumption }.encode(out),
            16 => number(record.low_credit, out),
            18 => Data::LongUnsigned(0).encode(out),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    fn credit_status_bits(&self) -> CreditStatusBits {
        let left = self.record.ledger.remaining();
        let mut bits = CreditStatusBits::CREDIT_REFERENCE_LIST;
        if left > 0 {
            bits |= CreditStatusBits::IN_CREDIT;
        } else {
            bits |= CreditStatusBits::OUT_OF_CREDIT;
        }
        if left <= self.record.low_credit {
            bits |= CreditStatusBits::LOW_CREDIT;
        }
        CreditStatusBits(bits)
    }

    pub(super) fn get_credit(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
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

    pub(super) fn get_charge(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let offset = self.who.utc_offset_minutes;
        match index {
            2 => Data::DoubleLong(clamp(self.record.ledger.consumed())).encode(out),
            3 => ChargeType::ConsumptionBased.encode(out),
            4 => Data::Unsigned(1).encode(out),
            5 | 6 => one_for_one().encode(out),
            7 => put_date_time(out, DateTime::WILDCARD),
            8 => Data::DoubleLongUnsigned(0).encode(out),
            9 => put_bits(out, CONTINUOUS_COLLECTION, 2),
            10 => put_date_time(out, date_time(self.record.utc_s, offset, 0)),
            11 | 12 => Data::DoubleLong(0).encode(out),
            13 => Data::LongUnsigned(0).encode(out),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    pub(super) fn get_token_gateway(
        &mut self,
        index: i8,
        out: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        let offset = self.who.utc_offset_minutes;
        let last = self.record.last_token.as_ref();
        match index {
            2 => Data::OctetString(last.map_or(&[][..], |t| &t.digits)).encode(out),
            3 => put_date_time(out, last.map_or(DateTime::WILDCARD, |t| date_time(t.utc_s, offset, 0))),
            4 => match last {
                None => put_array(out, 0),
                Some(token) => put_one(out, |out| {
                    Data::OctetString(sts_text(token.result.code()).as_bytes()).encode(out)
                }),
            },
            5 => last.map_or(DeliveryMethod::Remote, |t| t.delivery).encode(out),
            6 => last
                .map_or(TokenStatus { code: TokenStatusCode::FormatOk, data_value: 0 }, |t| TokenStatus {
                    code: t.status(),
                    data_value: t.result.code(),
                })
                .encode(out),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    /// The token was delivered when this succeeds; what became of it is in attribute 6.
    pub(super) fn invoke_enter(&mut self, parameter: Data<'_>) -> Result<(), ActionResult> {
        let token = parameter.as_bytes().ok_or(ActionResult::TypeUnmatched)?;
        match self.receive_token(token, DeliveryMethod::Remote) {
            TokenResult::NotReady => Err(ActionResult::TemporaryFailure),
            _ => Ok(()),
        }
    }

    /// Management corrects the credit: method 1 adds, method 2 sets.
    pub(super) fn invoke_credit(&mut self, index: i8, parameter: Data<'_>) -> Result<(), ActionResult> {
        let value = i32::from_data(parameter).map_err(|_| ActionResult::TypeUnmatched)?;
        let mut next = self.record.clone();
        let change = if index == 1 { i64::from(value) } else { i64::from(value) - next.ledger.remaining() };
        next.ledger.credit(change).map_err(|_| ActionResult::OtherReason)?;
        self.settle_and_commit(next).map_err(|_| ActionResult::TemporaryFailure)?;
        self.note(Event::CreditAdjusted, clamp(change));
        Ok(())
    }

    pub(super) fn invoke_account(&mut self, index: i8) -> Result<(), ActionResult> {
        let mut next = self.record.clone();
        next.account_status = if index == 1 { AccountStatus::Active } else { AccountStatus::Closed };
        self.configure(next).map_err(|_| ActionResult::TemporaryFailure)
    }

    pub(super) fn set_payment_mode(&mut self, value: Data<'_>) -> Result<(), DataAccessResult> {
        let wanted = ModeAndStatus::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
        if wanted.account_status != self.record.account_status {
            // Methods 1 and 2 change the status.
            return Err(DataAccessResult::ReadWriteDenied);
        }
        let mut next = self.record.clone();
        next.payment_mode = wanted.payment_mode;
        self.configure(next)?;
        self.note(Event::PaymentModeChanged, wanted.payment_mode as i32);
        Ok(())
    }

    pub(super) fn set_low_credit(&mut self, value: Data<'_>) -> Result<(), DataAccessResult> {
        let threshold = i32::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
        let mut next = self.record.clone();
        next.low_credit = i64::from(threshold);
        self.configure(next)
    }
}

/// An array with one item.
fn put_one(out: &mut dyn Writer, item: impl FnOnce(&mut dyn Writer) -> Encoded<()>) -> Encoded<()> {
    put_array(out, 1)?;
    item(out)
}

/// The charge of an energy account: one watt-hour of credit for a watt-hour of import.
fn one_for_one() -> ChargeTable {
    let mut rows = [ChargeTableElement { index: 0, charge_per_unit: 0 }; ChargeTable::MAX];
    rows[0] = ChargeTableElement { index: 1, charge_per_unit: 1 };
    ChargeTable { commodity_scale: 0, price_scale: 0, commodity: (3, obis::IMPORT_ENERGY, 2), rows, len: 1 }
}
