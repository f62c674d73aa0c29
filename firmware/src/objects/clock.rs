//! The clock (class 8): reading, setting, shifting, daylight saving, and what a step of the clock does to the account.

use hardware::board::{Board, Clock as _};
use protocol::codec::axdr::DateTime;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Enumeration, Invoked, Nothing};
use protocol::cosem::clock::{Clock, INVALID, PresetAdjustingTime};
use protocol::cosem::events::Event;
use protocol::cosem::profile::row_status;

use crate::meter::{Meter, Preset};
use crate::terms::DAY_S;
use crate::zone::{Yearly, Zone};

/// Seconds that method 6 may shift (Blue Book, class 8).
const SHIFT_MAX_S: u16 = 900;
/// No clock is set to before 2024-01-01T00:00:00Z: this firmware did not exist.
const EARLIEST_UTC_S: u32 = 1_704_067_200;
/// Zones on Earth: -12 to +14 hours.
const ZONES: core::ops::RangeInclusive<i16> = -720..=840;
/// Method 3 goes to the nearest minute, method 1 to the nearest quarter.
const MINUTE_S: u32 = 60;
const QUARTER_S: u32 = 900;

/// The meter as its only object of the class.
pub(super) struct ClockObject<'m, B: Board>(pub &'m mut Meter<B>);

impl<B: Board> ClockObject<'_, B> {
    fn shown(&mut self) -> DateTime {
        let known = self.0.board.clock().utc_s();
        let status = if known.is_some() { 0 } else { INVALID };
        self.0.settings.zone.show(known.unwrap_or(self.0.record.utc_s), status)
    }

    /// Begin or end of daylight saving.
    fn rule(&self, begins: bool) -> DateTime {
        let daylight = self.0.settings.zone.daylight;
        daylight.map_or(DateTime::WILDCARD, |(begin, end)| if begins { begin } else { end }.to_date_time())
    }

    /// Changes one of the two. Until the other one is written both are the same moment: no time between them.
    fn change_rule(&mut self, to: DateTime, begins: bool) -> Access<()> {
        let rule = Yearly::from_date_time(to).ok_or(DataAccessResult::OtherReason)?;
        let mut zone = self.0.settings.zone;
        let (begin, end) = zone.daylight.get_or_insert((rule, rule));
        *(if begins { begin } else { end }) = rule;
        self.change_zone(zone)
    }

    fn change_zone(&mut self, zone: Zone) -> Access<()> {
        let mut settings = self.0.settings.clone();
        settings.zone = zone;
        self.0.change_settings(settings)
    }

    /// To the nearest multiple of `step_s`.
    fn adjust(&mut self, step_s: u32) -> Invoked {
        let now = self.0.board.clock().utc_s().ok_or(ActionResult::TemporaryFailure)?;
        let nearest = now.saturating_add(step_s / 2).checked_div(step_s).map(|count| count * step_s);
        self.0.set_utc(nearest.ok_or(ActionResult::OtherReason)?);
        Ok(())
    }
}

impl<B: Board> Clock for ClockObject<'_, B> {
    fn time(&mut self) -> Access<DateTime> {
        Ok(self.shown())
    }

    fn set_time(&mut self, time: DateTime) -> Access<()> {
        let to = self.0.settings.zone.utc_s(time).filter(|to| *to >= EARLIEST_UTC_S);
        self.0.set_utc(to.ok_or(DataAccessResult::OtherReason)?);
        Ok(())
    }

    fn time_zone(&mut self) -> Access<i16> {
        Ok(-self.0.settings.zone.offset_minutes)
    }

    fn set_time_zone(&mut self, zone: i16) -> Access<()> {
        let offset = zone.checked_neg().filter(|offset| ZONES.contains(offset));
        let offset_minutes = offset.ok_or(DataAccessResult::OtherReason)?;
        self.change_zone(Zone { offset_minutes, ..self.0.settings.zone })
    }

    fn status(&mut self) -> Access<u8> {
        Ok(self.shown().status.0)
    }

    fn daylight_savings_begin(&mut self) -> Access<DateTime> {
        Ok(self.rule(true))
    }

    fn set_daylight_savings_begin(&mut self, to: DateTime) -> Access<()> {
        self.change_rule(to, true)
    }

    fn daylight_savings_end(&mut self) -> Access<DateTime> {
        Ok(self.rule(false))
    }

    fn set_daylight_savings_end(&mut self, to: DateTime) -> Access<()> {
        self.change_rule(to, false)
    }

    fn daylight_savings_deviation(&mut self) -> Access<i8> {
        Ok(self.0.settings.zone.deviation_minutes)
    }

    fn set_daylight_savings_deviation(&mut self, deviation_minutes: i8) -> Access<()> {
        // Two hours, the largest ever in use (double summer time).
        if !(-120..=120).contains(&deviation_minutes) {
            return Err(DataAccessResult::OtherReason);
        }
        self.change_zone(Zone { deviation_minutes, ..self.0.settings.zone })
    }

    fn daylight_savings_enabled(&mut self) -> Access<bool> {
        Ok(self.0.settings.zone.enabled)
    }

    fn set_daylight_savings_enabled(&mut self, enabled: bool) -> Access<()> {
        self.change_zone(Zone { enabled, ..self.0.settings.zone })
    }

    /// Internal crystal.
    fn clock_base(&mut self) -> Access<Enumeration> {
        Ok(Enumeration(1))
    }

    fn adjust_to_quarter(&mut self, _: Nothing) -> Invoked {
        self.adjust(QUARTER_S)
    }

    fn adjust_to_measuring_period(&mut self, _: Nothing) -> Invoked {
        self.adjust(self.0.settings.capture.period_s)
    }

    fn adjust_to_minute(&mut self, _: Nothing) -> Invoked {
        self.adjust(MINUTE_S)
    }

    fn adjust_to_preset_time(&mut self, _: Nothing) -> Invoked {
        let now = self.0.board.clock().utc_s().ok_or(ActionResult::TemporaryFailure)?;
        let preset = self.0.conditions.preset.filter(|p| (p.from_utc_s..=p.until_utc_s).contains(&now));
        let to = preset.ok_or(ActionResult::OtherReason)?.to_utc_s;
        self.0.conditions.preset = None;
        self.0.set_utc(to);
        Ok(())
    }

    fn preset_adjusting_time(&mut self, times: PresetAdjustingTime) -> Invoked {
        let times = [times.preset_time, times.validity_interval_start, times.validity_interval_end];
        let zone = &self.0.settings.zone;
        let [Some(to_utc_s), Some(from_utc_s), Some(until_utc_s)] = times.map(|time| zone.utc_s(time)) else {
            return Err(ActionResult::OtherReason);
        };
        let preset = Preset { to_utc_s, from_utc_s, until_utc_s };
        if preset.to_utc_s < EARLIEST_UTC_S || preset.from_utc_s > preset.until_utc_s {
            return Err(ActionResult::OtherReason);
        }
        self.0.conditions.preset = Some(preset);
        Ok(())
    }

    fn shift_time(&mut self, seconds: i16) -> Invoked {
        let now = self.0.board.clock().utc_s().ok_or(ActionResult::TemporaryFailure)?;
        let to = now.checked_add_signed(seconds.into());
        let to = to.filter(|_| seconds.unsigned_abs() <= SHIFT_MAX_S);
        self.0.set_utc(to.ok_or(ActionResult::OtherReason)?);
        Ok(())
    }
}

impl<B: Board> Meter<B> {
    fn set_utc(&mut self, to_utc_s: u32) {
        let from = self.board.clock().utc_s();
        self.board.clock().set_utc_s(to_utc_s);
        let change = from.map_or(0, |from| i64::from(to_utc_s) - i64::from(from));
        self.conditions.mark_rows(row_status::CLOCK_SET);
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

    /// Tells when daylight saving begins and ends.
    pub(crate) fn follow_daylight(&mut self, utc_s: u32) {
        let active = self.settings.zone.saves_daylight_at(utc_s);
        let before = self.conditions.daylight.replace(active);
        if before.is_some_and(|before| before != active) {
            self.note(Event::DaylightChanged, i32::from(self.settings.zone.offset_at(utc_s)));
        }
    }
}
