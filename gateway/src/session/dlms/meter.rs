//! What is asked of a DLMS prepaid meter, attribute by attribute. Each value read becomes a fact and a line of evidence.

use super::association::Association;
use crate::driver::Pipe;
use crate::session::attempt::Attempt;
use crate::session::model::DlmsModel;
use crate::session::trouble::Trouble;
use crate::session::work::RelayState;
use protocol::codec::axdr::Data;
use protocol::codec::obis::Obis;
use protocol::cosem::account::{Currency, CurrencyUnit, MODE_AND_STATUS, PaymentMode};
use protocol::cosem::disconnect::{CONTROL_MODE, CONTROL_STATE, ControlState, OUTPUT_STATE, RelayReason};
use protocol::cosem::{Attr, FromData, account, clock, credit, data, register};
use protocol::dlms::model::{Attribute, Method};
use std::collections::HashMap;

/// What is learnt once about a meter and does not change: how its numbers are scaled.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    scalers: HashMap<Obis, i8>,
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

/// One meter with an open association, for one piece of work.
pub(super) struct Meter<'a> {
    pub(super) association: &'a mut Association,
    pub(super) pipe: &'a mut Pipe,
    pub(super) model: &'a DlmsModel,
    pub(super) memory: &'a mut Memory,
    pub(super) attempt: &'a mut Attempt,
}

/// `value * 10^scaler`, if it fits.
fn scaled(value: i64, scaler: i8) -> Option<i64> {
    let factor = 10i64.checked_pow(u32::from(scaler.unsigned_abs()))?;
    if scaler >= 0 { value.checked_mul(factor) } else { Some(value / factor) }
}

impl Meter<'_> {
    /// GET, decoded by the class's declaration.
    pub(super) async fn get<T>(&mut self, attribute: &Attr<T>, name: Obis, what: &str) -> Result<T, Trouble>
    where
        T: for<'d> FromData<'d>,
    {
        let bytes = self.association.get(self.pipe, attribute.of(name), what).await?;
        attribute
            .decode_bytes(bytes)
            .map_err(|error| Trouble::Protocol(format!("{what} is not what its class says: {error}")))
    }

    /// GET of octets or text.
    pub(super) async fn get_bytes(&mut self, at: Attribute, what: &str) -> Result<Vec<u8>, Trouble> {
        let bytes = self.association.get(self.pipe, at, what).await?;
        let octets = Data::from_bytes_in(bytes).ok().and_then(|data| data.as_bytes().map(<[u8]>::to_vec));
        octets.ok_or_else(|| Trouble::Protocol(format!("{what} is not an octet string")))
    }

    /// ACTION with one parameter.
    pub(super) async fn act(&mut self, method: Method, parameter: &[u8], what: &str) -> Result<(), Trouble> {
        self.association.act(self.pipe, method, parameter, what).await
    }

    /// The serial number the meter says it has.
    pub(super) async fn serial(&mut self) -> Result<String, Trouble> {
        let name = self.model.objects.serial;
        let at = Attribute { class_id: data::CLASS, logical_name: name, index: data::VALUE };
        let serial =
            String::from_utf8_lossy(&self.get_bytes(at, "the serial number").await?).trim().to_owned();
        self.attempt.note(format!("GET {name} serial number: {serial}"));
        self.attempt.facts.serial = Some(serial.clone());
        Ok(serial)
    }

    /// Whether the account is in prepayment mode.
    pub(super) async fn prepaid(&mut self) -> Result<bool, Trouble> {
        let name = self.model.objects.account;
        let mode = self.get(&MODE_AND_STATUS, name, "the account mode").await?;
        let prepaid = mode.payment_mode == PaymentMode::Prepayment;
        let (payment, status) = (mode.payment_mode, mode.account_status);
        self.attempt.note(format!("GET {name} account mode: {payment:?}, status {status:?}"));
        self.attempt.facts.prepaid = Some(prepaid);
        Ok(prepaid)
    }

    /// Energy and power.
    pub(super) async fn registers(&mut self) -> Result<(), Trouble> {
        let import = self.register(self.model.objects.import, "energy import", "Wh").await?;
        self.attempt.facts.import_wh = import;
        self.power().await
    }

    /// Power alone.
    pub(super) async fn power(&mut self) -> Result<(), Trouble> {
        self.attempt.facts.power_w = self.register(self.model.objects.power, "power", "W").await?;
        Ok(())
    }

    async fn register(&mut self, name: Obis, what: &str, unit: &str) -> Result<Option<i64>, Trouble> {
        let scaler = match self.memory.scalers.get(&name) {
            Some(scaler) => *scaler,
            None => {
                let scaler = self.get(&register::SCALER_UNIT, name, "a register's scaler").await?.scaler;
                self.memory.scalers.insert(name, scaler);
                scaler
            }
        };
        let raw = self.get(&register::VALUE, name, what).await?;
        let value = scaled(raw, scaler);
        match value {
            Some(value) => self.attempt.note(format!("GET {name} {what}: {value} {unit}")),
            None => self.attempt.note(format!("GET {name} {what}: out of range")),
        }
        Ok(value)
    }

    /// The token credit, in watt-hours where the account counts energy.
    pub(super) async fn credit(&mut self) -> Result<(), Trouble> {
        let scale = self.credit_scale().await?;
        let name = self.model.objects.credit;
        let amount = self.get(&credit::CURRENT_CREDIT_AMOUNT, name, "the credit").await?;
        self.attempt.facts.credit_wh = match scale {
            CreditScale::WattHours(scale) => scaled(i64::from(amount), scale),
            CreditScale::Other => None,
        };
        match self.attempt.facts.credit_wh {
            Some(credit) => self.attempt.note(format!("GET {name} credit: {credit} Wh")),
            None => self.attempt.note(format!("GET {name} credit: {amount} of the account's currency")),
        }
        Ok(())
    }

    async fn credit_scale(&mut self) -> Result<CreditScale, Trouble> {
        if let Some(scale) = self.memory.credit_scale {
            return Ok(scale);
        }
        let name = self.model.objects.account;
        let at = Attribute { class_id: account::CLASS, logical_name: name, index: account::CURRENCY };
        let bytes = self.association.get(self.pipe, at, "the account's currency").await?;
        let currency = Data::from_bytes_in(bytes).and_then(Currency::from_data);
        let currency =
            currency.map_err(|error| Trouble::Protocol(format!("the account's currency: {error}")))?;
        let scale = match (currency.unit, currency.name) {
            (CurrencyUnit::Consumption, "Wh") => CreditScale::WattHours(currency.scale),
            (CurrencyUnit::Consumption, "kWh") => CreditScale::WattHours(currency.scale.saturating_add(3)),
            _ => CreditScale::Other,
        };
        self.memory.credit_scale = Some(scale);
        Ok(scale)
    }

    /// The relay: what the contact says, what the logic wants, and why.
    pub(super) async fn relay(&mut self) -> Result<RelayState, Trouble> {
        let name = self.model.objects.disconnect_control;
        let output_closed = self.get(&OUTPUT_STATE, name, "the relay's output state").await?;
        let control = self.get(&CONTROL_STATE, name, "the relay's control state").await?;
        let word = if output_closed { "closed" } else { "open" };
        self.attempt.note(format!(
            "GET {name} relay: contact sensed {word}, control state {}",
            control_word(control)
        ));
        let relay = RelayState { output_closed, control_state: Some(control as u8) };
        self.attempt.facts.relay = Some(relay);
        self.relay_reason().await?;
        Ok(relay)
    }

    async fn relay_reason(&mut self) -> Result<(), Trouble> {
        let Some(name) = self.model.objects.relay_reason else { return Ok(()) };
        let at: Attr<RelayReason> = Attr::new(data::CLASS, data::VALUE);
        let reason = self.get(&at, name, "the relay's reason").await?;
        let text = reason.text();
        self.attempt.note(format!("GET {name} relay reason: {text}"));
        self.attempt.facts.relay_reason = Some(text.to_owned());
        Ok(())
    }

    /// Which transitions the relay's mode allows.
    pub(super) async fn control_mode(&mut self) -> Result<u8, Trouble> {
        let name = self.model.objects.disconnect_control;
        let mode = self.get(&CONTROL_MODE, name, "the relay's control mode").await?.number();
        self.attempt.note(format!("GET {name} relay: control mode {mode}"));
        Ok(mode)
    }

    /// The meter's clock against ours.
    pub(super) async fn clock(&mut self) -> Result<(), Trouble> {
        let name = self.model.objects.clock;
        let time = self.get(&clock::TIME, name, "the clock").await?;
        // A clock without a deviation is taken as UTC: the reference meter always says its deviation.
        let offset = clock::utc_s(time, 0).map(|utc| i64::from(utc) - self.attempt.now().as_second());
        match offset {
            Some(offset) => self.attempt.note(format!("GET {name} clock: {offset:+} s from ours")),
            None => self.attempt.note(format!("GET {name} clock: not set")),
        }
        self.attempt.facts.clock_offset_s = offset;
        Ok(())
    }

    /// Sets the meter's clock to ours and reads it back.
    pub(super) async fn set_clock(&mut self) -> Result<(), Trouble> {
        let name = self.model.objects.clock;
        let now = self.attempt.now();
        let utc = u32::try_from(now.as_second())
            .map_err(|_| Trouble::NotReady(format!("our own clock says {now}, which no meter can hold")))?;
        let mut value = vec![9, 12];
        value.extend_from_slice(&clock::date_time(utc, 0, 0).to_bytes());
        self.association.set(self.pipe, clock::TIME.of(name), &value, "setting the clock").await?;
        self.attempt.note(format!("SET {name} clock to {}", now.strftime("%Y-%m-%dT%H:%M:%SZ")));
        self.clock().await
    }
}

/// The control state in words.
pub(super) const fn control_word(state: ControlState) -> &'static str {
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
