//! What is asked of a DLMS prepaid meter. Several values are read in one request where the meter takes that, so that what
//! belongs together is of one moment; each becomes a fact and a line of evidence.

use super::association::Association;
use super::items::Item;
use super::profile::Layout;
use crate::driver::Pipe;
use crate::session::attempt::Attempt;
use crate::session::model::DlmsModel;
use crate::session::trouble::Trouble;
use crate::session::work::RelayState;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Decode, Reader};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::GetDataResult;
use protocol::cosem::account::{Currency, CurrencyUnit, MODE_AND_STATUS, PaymentMode};
use protocol::cosem::disconnect::{CONTROL_MODE, CONTROL_STATE, ControlState, OUTPUT_STATE, RelayReason};
use protocol::cosem::token_gateway::{TOKEN_STATUS, TOKEN_TIME, TokenStatus};
use protocol::cosem::{FromData, account, bad_value, charge, clock, credit, register};
use protocol::dlms::model::{Attribute, Method};

/// What is learnt once about a meter and does not change: how its numbers are scaled.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    /// What rows of its profiles look like; learnt anew with each association, for columns can be chosen.
    pub(super) layouts: Vec<(Obis, Layout)>,
    import_scaler: Option<i8>,
    power_scaler: Option<i8>,
    credit_scale: Option<CreditScale>,
}

/// What one count of the account's currency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CreditScale {
    /// Watt-hours times ten to this power.
    WattHours(i8),
    /// Not energy: the gateway does not mirror it as watt-hours.
    Other,
}

/// What the token gateway says about the last token.
#[derive(Debug, Default, Clone)]
pub(super) struct LastToken {
    pub(super) octets: Vec<u8>,
    pub(super) time: Option<DateTime>,
    pub(super) status: Option<TokenStatus>,
}

/// One meter with an open association, for one piece of work.
pub(super) struct Meter<'a> {
    pub(super) association: &'a mut Association,
    pub(super) pipe: &'a mut Pipe,
    pub(super) model: &'a DlmsModel,
    pub(super) memory: &'a mut Memory,
    pub(super) attempt: &'a mut Attempt,
    pub(super) token: LastToken,
    pub(super) control_mode: Option<u8>,
    /// Charges whose sum is in the facts.
    pub(super) charges_read: u8,
}

/// `value * 10^scaler`, if it fits.
fn scaled(value: i64, scaler: i8) -> Option<i64> {
    let factor = 10i64.checked_pow(u32::from(scaler.unsigned_abs()))?;
    if scaler >= 0 { value.checked_mul(factor) } else { Some(value / factor) }
}

/// What is asked for a full reading.
const READING: [Item; 7] = [
    Item::Import,
    Item::Power,
    Item::Credit,
    Item::Output,
    Item::ControlState,
    Item::RelayReason,
    Item::Clock,
];

impl Meter<'_> {
    /// Reads these values into the facts.
    pub(super) async fn ask(&mut self, items: &[Item]) -> Result<(), Trouble> {
        let mut missing = Vec::new();
        if items.contains(&Item::Import) && self.memory.import_scaler.is_none() {
            missing.push(Item::ImportScaler);
        }
        if items.contains(&Item::Power) && self.memory.power_scaler.is_none() {
            missing.push(Item::PowerScaler);
        }
        let money = |item: &Item| matches!(item, Item::Credit | Item::Available | Item::Charged(_));
        if items.iter().any(money) && self.memory.credit_scale.is_none() {
            missing.push(Item::Currency);
        }
        if !missing.is_empty() {
            self.request(&missing).await?;
        }
        self.request(items).await
    }

    async fn request(&mut self, items: &[Item]) -> Result<(), Trouble> {
        let asked: Vec<(Item, Attribute)> =
            items.iter().filter_map(|item| Some((*item, item.attribute(&self.model.objects)?))).collect();
        let attributes: Vec<Attribute> = asked.iter().map(|(_, at)| *at).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let what = match asked.as_slice() {
            [(item, _)] => item.what().to_owned(),
            _ => format!("a reading of {} values", asked.len()),
        };
        let answers = self.association.get_all(self.pipe, &attributes, &what).await?;
        let mut reader = Reader::new(&answers);
        for (item, at) in asked {
            let result = GetDataResult::decode(&mut reader)
                .map_err(|error| Trouble::Protocol(format!("{}: {error}", item.what())))?;
            match result {
                GetDataResult::Data(data) => self.take(item, at, data).map_err(|error| {
                    Trouble::Protocol(format!("{} is not what its class says: {error}", item.what()))
                })?,
                GetDataResult::Error(_) if item.is_optional() => {}
                GetDataResult::Error(result) => {
                    let reason =
                        format!("{}: data access result {} ({result:?})", item.what(), result.as_u8());
                    return Err(Trouble::Refused { reason, code: Some(result.as_u8()) });
                }
            }
        }
        Ok(())
    }

    /// Makes a fact and a line of evidence of one value.
    fn take(&mut self, item: Item, at: Attribute, data: Data<'_>) -> protocol::codec::codec::Result<()> {
        let facts = &mut self.attempt.facts;
        let text = match item {
            Item::Serial => {
                let serial =
                    String::from_utf8_lossy(data.as_bytes().ok_or_else(bad_value)?).trim().to_owned();
                facts.serial = Some(serial.clone());
                serial
            }
            Item::AccountMode => {
                let mode = MODE_AND_STATUS.decode(data)?;
                facts.prepaid = Some(mode.payment_mode == PaymentMode::Prepayment);
                format!("{:?}, status {:?}", mode.payment_mode, mode.account_status)
            }
            Item::Import => {
                facts.import_wh = scaled(i64::from_data(data)?, self.memory.import_scaler.unwrap_or(0));
                with_unit(facts.import_wh, "Wh")
            }
            Item::Power => {
                facts.power_w = scaled(i64::from_data(data)?, self.memory.power_scaler.unwrap_or(0));
                with_unit(facts.power_w, "W")
            }
            Item::Credit => {
                let amount = credit::CURRENT_CREDIT_AMOUNT.decode(data)?;
                facts.credit_wh = in_watt_hours(self.memory, i64::from(amount));
                match facts.credit_wh {
                    Some(credit) => format!("{credit} Wh"),
                    None => format!("{amount} of the account's currency"),
                }
            }
            Item::Available => {
                facts.available_wh =
                    in_watt_hours(self.memory, i64::from(account::AVAILABLE_CREDIT.decode(data)?));
                with_unit(facts.available_wh, "Wh")
            }
            Item::Charged(_) => {
                let taken = in_watt_hours(self.memory, i64::from(charge::TOTAL_AMOUNT_PAID.decode(data)?));
                // Of several charges the sum; one that cannot be said makes the sum worthless.
                facts.charged_wh = match (self.charges_read, taken) {
                    (0, taken) => taken,
                    (_, taken) => facts.charged_wh.zip(taken).map(|(sum, taken)| sum.saturating_add(taken)),
                };
                self.charges_read += 1;
                with_unit(taken, "Wh")
            }
            Item::Output => {
                let output_closed = OUTPUT_STATE.decode(data)?;
                let control_state = facts.relay.and_then(|relay| relay.control_state);
                facts.relay = Some(RelayState { output_closed, control_state });
                format!("sensed {}", if output_closed { "closed" } else { "open" })
            }
            Item::ControlState => {
                let state = CONTROL_STATE.decode(data)?;
                if let Some(relay) = &mut facts.relay {
                    relay.control_state = Some(state as u8);
                }
                control_word(state).to_owned()
            }
            Item::ControlMode => {
                let mode = CONTROL_MODE.decode(data)?.number();
                self.control_mode = Some(mode);
                mode.to_string()
            }
            Item::RelayReason => {
                let reason = RelayReason::from_data(data)?;
                facts.relay_reason = Some(reason.text().to_owned());
                reason.text().to_owned()
            }
            Item::Clock => {
                let time = clock::TIME.decode(data)?;
                let now = self.attempt.now();
                let offset = self.model.clock.from_meter(time, now).map(|utc| utc - now.as_second());
                self.attempt.facts.clock_offset_s = offset;
                offset.map_or_else(|| "not set".to_owned(), |offset| format!("{offset:+} s from ours"))
            }
            Item::ImportScaler => {
                self.memory.import_scaler = Some(register::SCALER_UNIT.decode(data)?.scaler);
                return Ok(());
            }
            Item::PowerScaler => {
                self.memory.power_scaler = Some(register::SCALER_UNIT.decode(data)?.scaler);
                return Ok(());
            }
            Item::Currency => {
                self.memory.credit_scale = Some(credit_scale(Currency::from_data(data)?));
                return Ok(());
            }
            // What the token is, is for the token's own evidence to say: its digits are not shown.
            Item::Token => {
                self.token.octets = data.as_bytes().ok_or_else(bad_value)?.to_vec();
                return Ok(());
            }
            Item::TokenTime => {
                self.token.time = Some(TOKEN_TIME.decode(data)?);
                return Ok(());
            }
            Item::TokenStatus => {
                self.token.status = Some(TOKEN_STATUS.decode(data)?);
                return Ok(());
            }
        };
        self.attempt.note(format!("GET {} {}: {text}", at.logical_name, item.what()));
        Ok(())
    }

    /// A full reading.
    pub(super) async fn reading(&mut self) -> Result<(), Trouble> {
        self.ask(&READING).await
    }

    /// How the power register is scaled.
    pub(super) async fn power_scaler(&mut self) -> Result<i8, Trouble> {
        if self.memory.power_scaler.is_none() {
            self.request(&[Item::PowerScaler]).await?;
        }
        Ok(self.memory.power_scaler.unwrap_or(0))
    }

    /// A full reading with what is audited once a day, of one moment where the meter takes lists.
    pub(super) async fn audit(&mut self) -> Result<(), Trouble> {
        let mut items = vec![Item::AccountMode, Item::Available];
        let charges = self.model.objects.charges.iter().flatten().count();
        items.extend((0..charges).filter_map(|at| u8::try_from(at).ok()).map(Item::Charged));
        items.extend(READING);
        self.ask(&items).await?;
        // A sum without one of its parts is none.
        if usize::from(self.charges_read) != charges {
            self.attempt.facts.charged_wh = None;
        }
        Ok(())
    }

    /// The relay: what the contact says, what the logic wants, and why; of one moment.
    pub(super) async fn relay(&mut self) -> Result<RelayState, Trouble> {
        self.ask(&[Item::Output, Item::ControlState, Item::RelayReason]).await?;
        self.attempt.facts.relay.ok_or_else(|| Trouble::Protocol("the relay's state is missing".into()))
    }

    /// ACTION with one parameter.
    pub(super) async fn act(&mut self, method: Method, parameter: &[u8], what: &str) -> Result<(), Trouble> {
        self.association.act(self.pipe, method, parameter, what).await
    }

    /// Sets the meter's clock to ours and reads it back.
    pub(super) async fn set_clock(&mut self) -> Result<(), Trouble> {
        let name = self.model.objects.clock;
        let now = self.attempt.now();
        let time =
            self.model.clock.to_meter(now).ok_or_else(|| {
                Trouble::NotReady(format!("our own clock says {now}, which no meter can hold"))
            })?;
        let mut value = vec![9, 12];
        value.extend_from_slice(&time.to_bytes());
        self.association.set(self.pipe, clock::TIME.of(name), &value, "setting the clock").await?;
        self.attempt.note(format!("SET {name} clock to {}", now.strftime("%Y-%m-%dT%H:%M:%SZ")));
        self.ask(&[Item::Clock]).await
    }
}

/// The name of an object that this work cannot do without.
pub(super) fn present(object: Option<Obis>) -> Result<Obis, Trouble> {
    object.ok_or_else(|| Trouble::NotReady("the meter's model lacks the object for this".into()))
}

/// An amount of the account, where the account counts energy.
fn in_watt_hours(memory: &Memory, amount: i64) -> Option<i64> {
    match memory.credit_scale {
        Some(CreditScale::WattHours(scale)) => scaled(amount, scale),
        _ => None,
    }
}

fn with_unit(value: Option<i64>, unit: &str) -> String {
    value.map_or_else(|| "out of range".to_owned(), |value| format!("{value} {unit}"))
}

fn credit_scale(currency: Currency<'_>) -> CreditScale {
    match (currency.unit, currency.name) {
        (CurrencyUnit::Consumption, "Wh") => CreditScale::WattHours(currency.scale),
        (CurrencyUnit::Consumption, "kWh") => CreditScale::WattHours(currency.scale.saturating_add(3)),
        _ => CreditScale::Other,
    }
}

/// The control state in words.
const fn control_word(state: ControlState) -> &'static str {
    match state {
        ControlState::Disconnected => "disconnected (0)",
        ControlState::Connected => "connected (1)",
        ControlState::ReadyForReconnection => "ready for reconnection (2)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaler_moves_the_point_and_refuses_what_does_not_fit() {
        assert_eq!(scaled(12_345, 0), Some(12_345));
        assert_eq!(scaled(12_345, -3), Some(12));
        assert_eq!(scaled(12_345, 2), Some(1_234_500));
        assert_eq!(scaled(i64::MAX, 1), None);
        assert_eq!(scaled(1, 100), None);
    }
}
