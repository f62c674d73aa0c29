//! Settings of a DLMS meter: given, and looked at afterwards.

use super::items::Item;
use super::meter::{Meter, present};
use crate::session::order::{LoadLimit, Order};
use crate::session::trouble::Trouble;
use crate::session::work::Ending;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, SliceWriter};
use protocol::cosem::FromData;
use protocol::cosem::class::ToData;
use protocol::cosem::disconnect::{ControlState, REMOTE_RECONNECT};
use protocol::cosem::limiter::{MIN_OVER_THRESHOLD_DURATION, MIN_UNDER_THRESHOLD_DURATION, THRESHOLD_NORMAL};
use protocol::dlms::model::Attribute;

/// Room for a value that is set: what the client engine sends in blocks.
const VALUE_MAX: usize = 512;
/// A clock that differs by more than this after it was set was not set: the answer travels for a while, on a slow line.
const CLOCK_S_MAX: i64 = 5;

impl Meter<'_> {
    /// Gives the setting, then looks whether the meter has it.
    pub(super) async fn carry(&mut self, order: &Order) -> Result<Ending, Trouble> {
        let given = match order {
            Order::SetClock => self.give_clock().await,
            Order::Arm => self.arm().await,
            Order::LimitLoad(limit) => self.limit_load(*limit).await,
            Order::LimitEmergency(limit) => self.limit_emergency(limit).await,
            Order::SetPrices(order) => self.give_prices(order).await,
            Order::SetTariff(order) => self.give_tariff(order).await,
            Order::SetCalendar(order) => self.give_calendar(order).await,
            Order::TestRelay(test) => return self.test_relay(test).await,
            Order::UpdateImage(order) => return self.update_image(order).await,
            Order::AdHoc(what) => return self.ad_hoc(what).await,
        };
        match given {
            Ok(None) => self.check(order).await,
            Ok(Some(refusal)) => Ok(refusal),
            // An answer that says no. What was set before it in the same order is in the evidence.
            Err(Trouble::Refused { reason, code }) if self.attempt.may_have_acted() => {
                self.attempt.note(&reason);
                Ok(Ending::Rejected { reason, code })
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Looks whether the meter has the setting; changes nothing.
    pub(super) async fn check(&mut self, order: &Order) -> Result<Ending, Trouble> {
        let difference = match order {
            Order::SetClock => self.clock_difference().await?,
            Order::Arm => self.not_armed().await?,
            Order::LimitLoad(limit) => self.limit_difference(*limit).await?,
            Order::LimitEmergency(limit) => self.emergency_difference(limit).await?,
            Order::SetPrices(order) => self.prices_difference(order).await?,
            Order::SetTariff(order) => self.tariff_difference(order).await?,
            Order::SetCalendar(order) => self.calendar_difference(order).await?,
            Order::TestRelay(_) => {
                return Err(Trouble::NotReady("a test is not looked at: supply is brought back".into()));
            }
            Order::UpdateImage(order) => self.image_difference(order).await?,
            Order::AdHoc(what) => return self.is_set(what).await,
        };
        Ok(match difference {
            None => Ending::Done,
            Some(reason) => {
                self.attempt.note(&reason);
                Ending::Rejected { reason, code: None }
            }
        })
    }

    /// SET of one attribute, with a line of evidence.
    pub(super) async fn put(&mut self, at: Attribute, value: impl ToData, what: &str) -> Result<(), Trouble> {
        let mut room = [0; VALUE_MAX];
        let mut writer = SliceWriter::new(&mut room);
        value.put(&mut writer).map_err(|error| Trouble::NotReady(format!("{what}: {error}")))?;
        self.put_bytes(at, writer.as_slice(), what).await
    }

    /// The same, of a value with an encoding of its own.
    pub(super) async fn put_encoded(
        &mut self,
        at: Attribute,
        value: &impl Encode,
        what: &str,
    ) -> Result<(), Trouble> {
        let mut room = [0; VALUE_MAX];
        let mut writer = SliceWriter::new(&mut room);
        value.encode(&mut writer).map_err(|error| Trouble::NotReady(format!("{what}: {error}")))?;
        self.put_bytes(at, writer.as_slice(), what).await
    }

    async fn put_bytes(&mut self, at: Attribute, value: &[u8], what: &str) -> Result<(), Trouble> {
        self.attempt.note(format!("SET {} attribute {}, {what}: sending", at.logical_name, at.index));
        self.attempt.about_to_send();
        self.association.set(self.pipe, at, value, what).await?;
        self.attempt.note(format!("SET {} attribute {}: success", at.logical_name, at.index));
        Ok(())
    }

    /// GET of one attribute, taken by `take`.
    pub(super) async fn value_of<T>(
        &mut self,
        at: Attribute,
        what: &str,
        take: impl FnOnce(Data<'_>) -> protocol::codec::codec::Result<T>,
    ) -> Result<T, Trouble> {
        let bytes = self.association.get(self.pipe, at, what).await?;
        let value = Data::from_bytes_in(bytes).and_then(take);
        value.map_err(|error| Trouble::Protocol(format!("{what} is not what its class says: {error}")))
    }

    /// GET of one attribute of this type.
    pub(super) async fn typed<T: for<'a> FromData<'a>>(
        &mut self,
        at: Attribute,
        what: &str,
    ) -> Result<T, Trouble> {
        self.value_of(at, what, |data| T::from_data(data)).await
    }

    async fn give_clock(&mut self) -> Result<Option<Ending>, Trouble> {
        self.attempt.about_to_send();
        self.set_clock().await.map(|()| None)
    }

    async fn clock_difference(&mut self) -> Result<Option<String>, Trouble> {
        self.ask(&[Item::Clock]).await?;
        Ok(match self.attempt.facts.clock_offset_s {
            Some(offset) if offset.abs() <= CLOCK_S_MAX => None,
            Some(offset) => Some(format!("the meter's clock is off by {offset} s")),
            None => Some("the meter's clock is not set".into()),
        })
    }

    /// Remote reconnection in a mode that leaves closing to a person (Blue Book, class 70: modes 1, 3, 5 and 6).
    async fn arm(&mut self) -> Result<Option<Ending>, Trouble> {
        self.ask(&[Item::Output, Item::ControlState, Item::RelayReason, Item::ControlMode]).await?;
        let mode = self.control_mode.unwrap_or(0);
        if !matches!(mode, 1 | 3 | 5 | 6) {
            let reason =
                format!("in mode {mode} a meter cannot be armed: a reconnection closes its relay at once");
            self.attempt.note(&reason);
            return Ok(Some(Ending::Rejected { reason, code: None }));
        }
        if self.not_armed().await?.is_none() {
            return Ok(None);
        }
        let name = present(self.model.objects.disconnect_control)?;
        self.attempt.note(format!("ACTION {name} remote reconnect: sending"));
        self.attempt.about_to_send();
        self.command(REMOTE_RECONNECT.of(name), "the arming").await
    }

    /// Why the relay is not open and ready. One that a person has closed since was.
    async fn not_armed(&mut self) -> Result<Option<String>, Trouble> {
        let relay = self.relay().await?;
        let ready = relay.control_state == Some(ControlState::ReadyForReconnection as u8);
        let closed = relay.output_closed && relay.control_state == Some(ControlState::Connected as u8);
        Ok((!ready && !closed).then(|| "the relay is open and not ready for reconnection".to_owned()))
    }

    async fn limit_load(&mut self, limit: LoadLimit) -> Result<Option<Ending>, Trouble> {
        let name = present(self.model.objects.limiter)?;
        let at = THRESHOLD_NORMAL.of(name);
        let (threshold, was) = self.threshold(at, limit.limit_w).await?;
        self.attempt.note(format!("GET {name} threshold in normal times: {was}"));
        self.put(MIN_OVER_THRESHOLD_DURATION.of(name), limit.over_s, "seconds over the limit").await?;
        self.put(MIN_UNDER_THRESHOLD_DURATION.of(name), limit.under_s, "seconds under the limit").await?;
        self.put(at, threshold, &format!("limit {} W", limit.limit_w)).await?;
        Ok(None)
    }

    /// A limit as the meter's own type (class 71: that of the monitored value) and in its own scale, and what it was.
    pub(super) async fn threshold(
        &mut self,
        at: Attribute,
        watts: u32,
    ) -> Result<(Data<'static>, i64), Trouble> {
        let counts = self.counts_of(watts).await?;
        let took = self.value_of(at, "the threshold", |data| Ok((like(data, counts), number(data)))).await?;
        match took {
            (Some(threshold), Some(was)) => Ok((threshold, was)),
            (_, None) => Err(Trouble::NotReady("the meter's threshold is no number".into())),
            (None, Some(_)) => {
                Err(Trouble::NotReady(format!("{watts} W does not fit the meter's threshold")))
            }
        }
    }

    /// Watts as counts of the monitored register.
    pub(super) async fn counts_of(&mut self, watts: u32) -> Result<i64, Trouble> {
        let scaler = self.power_scaler().await?;
        let factor = 10i64.checked_pow(u32::from(scaler.unsigned_abs()));
        let counts = factor.and_then(|factor| {
            if scaler < 0 { i64::from(watts).checked_mul(factor) } else { Some(i64::from(watts) / factor) }
        });
        counts.ok_or_else(|| Trouble::NotReady(format!("{watts} W cannot be said with a scaler of {scaler}")))
    }

    async fn limit_difference(&mut self, limit: LoadLimit) -> Result<Option<String>, Trouble> {
        let name = present(self.model.objects.limiter)?;
        let wanted = self.counts_of(limit.limit_w).await?;
        let threshold =
            self.value_of(THRESHOLD_NORMAL.of(name), "the threshold", |data| Ok(number(data))).await?;
        let over = MIN_OVER_THRESHOLD_DURATION.of(name);
        let over = self.value_of(over, "seconds over the limit", |data| Ok(number(data))).await?;
        let under = MIN_UNDER_THRESHOLD_DURATION.of(name);
        let under = self.value_of(under, "seconds under the limit", |data| Ok(number(data))).await?;
        let shown =
            |value: Option<i64>| value.map_or_else(|| "no number".to_owned(), |value| value.to_string());
        self.attempt.note(format!(
            "GET {name} threshold {}, {} s over, {} s under",
            shown(threshold),
            shown(over),
            shown(under)
        ));
        let same = threshold == Some(wanted)
            && over == Some(i64::from(limit.over_s))
            && under == Some(i64::from(limit.under_s));
        Ok((!same).then(|| format!("the meter's limit is not {} W as ordered", limit.limit_w)))
    }
}

/// A number of any integer type.
pub(super) fn number(data: Data<'_>) -> Option<i64> {
    data.as_i64().or_else(|| data.as_u64().and_then(|value| i64::try_from(value).ok()))
}

/// `value` in the type of `data`.
fn like(data: Data<'_>, value: i64) -> Option<Data<'static>> {
    Some(match data {
        Data::DoubleLongUnsigned(_) => Data::DoubleLongUnsigned(u32::try_from(value).ok()?),
        Data::LongUnsigned(_) => Data::LongUnsigned(u16::try_from(value).ok()?),
        Data::Unsigned(_) => Data::Unsigned(u8::try_from(value).ok()?),
        Data::Long64Unsigned(_) => Data::Long64Unsigned(u64::try_from(value).ok()?),
        Data::DoubleLong(_) => Data::DoubleLong(i32::try_from(value).ok()?),
        Data::Long(_) => Data::Long(i16::try_from(value).ok()?),
        Data::Long64(_) => Data::Long64(value),
        _ => return None,
    })
}
