//! Account, credit, charge and token gateway (classes 111, 112, 113, 115).

use hardware::board::Board;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Encode, Result as Encoded, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::account::{AccountStatus, CreditStatusBits, Currency, CurrencyUnit, ModeAndStatus};
use protocol::cosem::events::Event;
use protocol::cosem::token_gateway::{DeliveryMethod, TokenStatus, TokenStatusCode, sts_text};
use protocol::cosem::values::{put_array, put_bits, put_date_time, put_obis, put_structure};
use protocol::cosem::{FromData, obis};
use protocol::sts::meter::TokenResult;

use super::full;
use crate::meter::Meter;
use crate::terms::DAY_S;

/// The account's credits, the one used first first.
pub(super) const CREDITS: [Obis; 2] = [obis::TOKEN_CREDIT, obis::EMERGENCY_CREDIT];

/// The account's charges, and when they are collected beside normal times: bits of class 111 attribute 11 (bit 0 while
/// disconnected, 1 in load limiting, 2 in friendly hours). Time passes and debts stand while the relay is open; nothing is
/// consumed then.
const CHARGES: [(Obis, u8); 3] =
    [(obis::CONSUMPTION_CHARGE, 0b110), (obis::DAILY_CHARGE, 0b111), (obis::DEBT_CHARGE, 0b111)];

/// A register of the ledger as the double-long of the class: it stops at its ends.
pub(super) fn clamp(units: i64) -> i32 {
    units.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

impl<B: Board> Meter<B> {
    pub(super) fn get_account(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let record = &self.record;
        let left = record.ledger.remaining();
        let emergency_in_use = record.terms.emergency.taken && left <= 0;
        let number = |units: i64, out: &mut dyn Writer| Data::DoubleLong(clamp(units)).encode(out);
        match index {
            2 => ModeAndStatus { payment_mode: record.payment_mode, account_status: record.account_status }
                .encode(out),
            3 => Data::Unsigned(if emergency_in_use { 2 } else { 1 }).encode(out),
            4 => self.credit_status_bits().encode(out),
            5 => number(record.available(), out),
            6 => number((-left).max(0), out),
            7 => number(0, out),
            19 => number(i64::from(DAY_S), out),
            8 => number(i64::from(record.terms.debt), out),
            9 => put_names(out, &CREDITS),
            10 => put_names(out, &CHARGES.map(|(name, _)| name)),
            11 => put_collections(out),
            17 => number(i64::from(record.terms.emergency.offered_at), out),
            12 => put_one(out, |out| {
                put_structure(out, 2)?;
                put_obis(out, obis::TOKEN_GATEWAY)?;
                Data::Unsigned(100).encode(out)
            }),
            13 | 14 => put_date_time(out, DateTime::WILDCARD),
            15 => {
                let money = self.who.options.money;
                let name = money.as_ref().and_then(|m| core::str::from_utf8(&m.code).ok());
                match (money, name) {
                    (Some(m), Some(name)) => Currency { name, scale: m.scale, unit: CurrencyUnit::Monetary },
                    _ => Currency { name: "Wh", scale: 0, unit: CurrencyUnit::Consumption },
                }
                .encode(out)
            }
            16 => number(record.low_credit, out),
            18 => Data::LongUnsigned(u16::try_from(record.terms.instalment.active).unwrap_or(u16::MAX))
                .encode(out),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    fn credit_status_bits(&self) -> CreditStatusBits {
        let left = self.record.ledger.remaining();
        let mut bits = CreditStatusBits::CREDIT_REFERENCE_LIST;
        if self.record.available() > 0 {
            bits |= CreditStatusBits::IN_CREDIT;
        } else {
            bits |= CreditStatusBits::OUT_OF_CREDIT;
        }
        if left <= self.record.low_credit {
            bits |= CreditStatusBits::LOW_CREDIT;
        }
        let terms = &self.record.terms;
        if terms.emergency.preset > 0 {
            bits |= CreditStatusBits::NEXT_CREDIT_ENABLED;
        }
        if terms.offers_emergency(left) {
            bits |= CreditStatusBits::NEXT_CREDIT_SELECTABLE;
        }
        if terms.emergency.taken && left <= 0 {
            bits |= CreditStatusBits::SELECTABLE_CREDIT_IN_USE;
        }
        CreditStatusBits(bits)
    }

    pub(super) fn get_token_gateway(
        &mut self,
        index: i8,
        out: &mut dyn Writer,
    ) -> Result<(), DataAccessResult> {
        let zone = &self.settings.zone;
        let last = self.record.last_token.as_ref();
        match index {
            2 => Data::OctetString(last.map_or(&[][..], |t| &t.digits)).encode(out),
            3 => put_date_time(out, last.map_or(DateTime::WILDCARD, |t| zone.show(t.utc_s, 0))),
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
}

fn put_names(out: &mut dyn Writer, names: &[Obis]) -> Encoded<()> {
    put_array(out, names.len())?;
    names.iter().try_for_each(|name| put_obis(out, *name))
}

/// Every charge is taken from every credit.
fn put_collections(out: &mut dyn Writer) -> Encoded<()> {
    put_array(out, CREDITS.len() * CHARGES.len())?;
    CREDITS.iter().try_for_each(|from| {
        CHARGES.iter().try_for_each(|(charge, when)| {
            put_structure(out, 3)?;
            put_obis(out, *from)?;
            put_obis(out, *charge)?;
            put_bits(out, *when, 3)
        })
    })
}

/// An array with one item.
fn put_one(out: &mut dyn Writer, item: impl FnOnce(&mut dyn Writer) -> Encoded<()>) -> Encoded<()> {
    put_array(out, 1)?;
    item(out)
}
