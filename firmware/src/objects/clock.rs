//! The clock (class 8): reading, setting, shifting, daylight saving, and what a step of the clock does to the account.

use hardware::board::{Board, Clock};
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::FromData;
use protocol::cosem::clock::INVALID;
use protocol::cosem::events::Event;
use protocol::cosem::profile::row_status;
use protocol::cosem::values::{fields, put_date_time};

use super::full;
use crate::meter::{Meter, Preset};
use crate::terms::DAY_S;
use crate::zone::Yearly;

/// Seconds that method 6 may shift (Blue Book, class 8).
const SHIFT_MAX_S: i64 = 900;
/// No clock is set to before 2024-01-01T00:00:00Z: this firmware did not exist.
const EARLIEST_UTC_S: u32 = 1_704_067_200;
/// Zones on Earth: -12 to +14 hours.
const ZONES: core::ops::RangeInclusive<i16> = -720..=840;
/// Method 3 goes to the nearest minute, method 1 to the nearest quarter.
const MINUTE_S: u32 = 60;
const QUARTER_S: u32 = 900;

impl<B: Board> Meter<B> {
    pub(super) fn get_clock(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let known = self.board.clock().utc_s();
        let status = if known.is_some() { 0 } else { INVALID };
        let zone = &self.settings.zone;
        let rule = |rule: Option<Yearly>| rule.map_or(DateTime::WILDCARD, Yearly::to_date_time);
        let shown = zone.show(known.unwrap_or(self.record.utc_s), status);
        match index {
            2 => put_date_time(out, shown),
            3 => Data::Long(-zone.offset_minutes).encode(out),
            4 => Data::Unsigned(shown.status.0).encode(out),
            5 => put_date_time(out, rule(zone.daylight.map(|(begin, _)| begin))),
            6 => put_date_time(out, rule(zone.daylight.map(|(_, end)| end))),
            7 => Data::Integer(zone.deviation_minutes).encode(out),
            8 => Data::Boolean(zone.enabled).encode(out),
            // Internal crystal.
            9 => Data::Enum(1).encode(out),
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    pub(super) fn set_clock(&mut self, index: i8, value: Data<'_>) -> Result<(), DataAccessResult> {
        let wrong_type = |_| DataAccessResult::TypeUnmatched;
        let mut settings = self.settings.clone();
        let zone = &mut settings.zone;
        match index {
            2 => {
                let time = DateTime::from_data(value).map_err(wrong_type)?;
                let to = zone.utc_s(time).filter(|to| *to >= EARLIEST_UTC_S);
                self.set_utc(to.ok_or(DataAccessResult::OtherReason)?);
                return Ok(());
            }
            3 => {
                let offset = i16::from_data(value).map_err(wrong_type)?.checked_neg();
                let offset = offset.filter(|offset| ZONES.contains(offset));
                zone.offset_minutes = offset.ok_or(DataAccessResult::OtherReason)?;
            }
            5 | 6 => {
                let rule = Yearly::from_date_time(DateTime::from_data(value).map_err(wrong_type)?);
                let rule = rule.ok_or(DataAccessResult::OtherReason)?;
                // Until the other one is written both are the same moment: no time between them.
                let (begin, end) = zone.daylight.get_or_insert((rule, rule));
                *(if index == 5 { begin } else { end }) = rule;
            }
            7 => {
                let deviation = i8::from_data(value).map_err(wrong_type)?;
                // Two hours, the largest ever in use (double summer time).
                zone.deviation_minutes = Some(deviation)
                    .filter(|minutes| (-120..=120).contains(minutes))
                    .ok_or(DataAccessResult::OtherReason)?;
            }
            8 => zone.enabled = bool::from_data(value).map_err(wrong_type)?,
            _ => return Err(DataAccessResult::ReadWriteDenied),
        }
        self.change_settings(settings)
    }

    fn set_utc(&mut self, to_utc_s: u32) {
        let from = self.board.clock().utc_s();
        self.board.clock().set_utc_s(to_utc_s);
        let change = from.map_or(0, |from| i64::from(to_utc_s) - i64::from(from));
        self.conditions.row_status |= row_status::CLOCK_SET;
        // Days that were not lived are not charged; a small correction over midnight leaves the day's charge due, and one back
        // over midnight does not charge the day again.
        if change.abs() >= i64::from(DAY_S)
            && let Some(local_s) = self.local_s()
        {
            let mut next = self.record.clone();
            next.terms.day = local_s / DAY_S;
            if change < 0 {
                next.rating.clock_set_back(local_s);
            }
            let _ = self.commit(next);
        }
        self.note(Event::ClockSet, change.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
    }

    pub(super) fn invoke_clock(&mut self, index: i8, parameter: Data<'_>) -> Result<(), ActionResult> {
        if index == 5 {
            return self.preset_time(parameter);
        }
        let shift = parameter.as_i64();
        let now = self.board.clock().utc_s().ok_or(ActionResult::TemporaryFailure)?;
        let nearest = |step: u32| now.saturating_add(step / 2).checked_div(step).map(|count| count * step);
        let to = match index {
            1 => nearest(QUARTER_S),
            2 => nearest(self.who.profile_period_s),
            3 => nearest(MINUTE_S),
            4 => self.take_preset(now),
            _ => {
                let shift = shift.ok_or(ActionResult::TypeUnmatched)?;
                let allowed = shift.abs() <= SHIFT_MAX_S;
                u32::try_from(i64::from(now) + shift).ok().filter(|_| allowed)
            }
        };
        self.set_utc(to.ok_or(ActionResult::OtherReason)?);
        Ok(())
    }

    /// Method 5: structure {time to take over, begin and end of the time in which method 4 may do it}.
    fn preset_time(&mut self, parameter: Data<'_>) -> Result<(), ActionResult> {
        let [to, from, until] = fields(parameter).map_err(|_| ActionResult::TypeUnmatched)?;
        let moment = |d| {
            let time = DateTime::from_data(d).map_err(|_| ActionResult::TypeUnmatched)?;
            self.settings.zone.utc_s(time).ok_or(ActionResult::OtherReason)
        };
        let preset = Preset { to_utc_s: moment(to)?, from_utc_s: moment(from)?, until_utc_s: moment(until)? };
        if preset.to_utc_s < EARLIEST_UTC_S || preset.from_utc_s > preset.until_utc_s {
            return Err(ActionResult::OtherReason);
        }
        self.conditions.preset = Some(preset);
        Ok(())
    }

    fn take_preset(&mut self, now_utc_s: u32) -> Option<u32> {
        let preset = self.conditions.preset?;
        let counts = (preset.from_utc_s..=preset.until_utc_s).contains(&now_utc_s);
        counts.then(|| {
            self.conditions.preset = None;
            preset.to_utc_s
        })
    }

    /// Tells when daylight saving begins and ends.
    pub(crate) fn follow_daylight(&mut self, utc_s: u32) {
        let active = self.settings.zone.saves_daylight_at(utc_s);
        let before = self.conditions.daylight.replace(active);
        if before.is_some_and(|before| before != active) {
            self.note(Event::DaylightChanged, i32::from(self.settings.zone.offset_at(utc_s)));
        }
    }
}
