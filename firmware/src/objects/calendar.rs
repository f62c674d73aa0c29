//! The tariff's times of use as others read them: activity calendar (class 20), special days (class 11).
//!
//! The meter's tariff has one season, one week and up to three kinds of days. Days are numbered from 1, the only season and the
//! only week are named `1`, and script n of the tariff's script table brings rate n into force. A tariff of steps has no
//! calendar: its lists are empty. What is written here changes the tariff to come and takes away its time of activation; it
//! comes into force whole or not at all.

use hardware::board::Board;
use protocol::codec::axdr::{Date, DateTime, Time};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::activity_calendar::{
    ActivityCalendar, DayProfile, DayProfileAction, Season, WeekProfile,
};
use protocol::cosem::class::{Access, Invoked, Items, Nothing};
use protocol::cosem::obis;
use protocol::cosem::special_days::{SpecialDayEntry, SpecialDaysTable};
use protocol::cosem::tariff::{DAYS_MAX, SWITCHES_MAX, SpecialDay, Switch, Tariff};

use crate::meter::Meter;

/// Name of the only season and of the only week.
const NAME: &[u8] = b"1";
/// A year, and a day of the week, that any date has.
const ANY_YEAR: u16 = 0xFFFF;
/// See above.
const ANY: u8 = 0xFF;

type Schedules = [[DayProfileAction; SWITCHES_MAX]; DAYS_MAX];

/// The meter as its only activity calendar.
pub(super) struct CalendarObject<'m, B: Board> {
    meter: &'m mut Meter<B>,
    schedules: Schedules,
}

impl<'m, B: Board> CalendarObject<'m, B> {
    pub(super) const fn of(meter: &'m mut Meter<B>) -> Self {
        let midnight = Switch { from_minute: 0, rate: 0 };
        Self { meter, schedules: [[action(midnight); SWITCHES_MAX]; DAYS_MAX] }
    }

    /// Changes the tariff to come.
    fn change(&mut self, change: impl FnOnce(&mut Tariff) -> Option<()>) -> Access<()> {
        let mut tariffs = self.meter.tariffs.clone();
        change(&mut tariffs.passive).ok_or(DataAccessResult::OtherReason)?;
        tariffs.activation_utc_s = 0;
        self.meter.change_tariffs(tariffs)
    }
}

const fn action(switch: Switch) -> DayProfileAction {
    // A minute of the day: below 1,440.
    let start_time = Time {
        hour: (switch.from_minute / 60) as u8,
        minute: (switch.from_minute % 60) as u8,
        second: 0,
        hundredths: 0,
    };
    DayProfileAction {
        start_time,
        script_logical_name: obis::TARIFF_SCRIPTS,
        script_selector: switch.rate as u16 + 1,
    }
}

fn switch(action: DayProfileAction) -> Option<Switch> {
    let Time { hour, minute, second, hundredths } = action.start_time;
    let whole_minute = second == 0 && (hundredths == 0 || hundredths == ANY);
    let sound =
        hour < 24 && minute < 60 && whole_minute && action.script_logical_name == obis::TARIFF_SCRIPTS;
    let rate = action.script_selector.checked_sub(1).and_then(|rate| u8::try_from(rate).ok())?;
    sound.then_some(Switch { from_minute: u16::from(hour) * 60 + u16::from(minute), rate })
}

/// One where there is a calendar.
fn one<T>(tariff: &Tariff, what: T) -> core::option::IntoIter<T> {
    (!tariff.days.is_empty()).then_some(what).into_iter()
}

fn season(tariff: &Tariff) -> core::option::IntoIter<Season<'static>> {
    let mut season_start = DateTime::WILDCARD;
    (season_start.month, season_start.day_of_month) = (1, 1);
    one(tariff, Season { season_profile_name: NAME, season_start, week_name: NAME })
}

fn week(tariff: &Tariff) -> core::option::IntoIter<WeekProfile<'static>> {
    let [monday, tuesday, wednesday, thursday, friday, saturday, sunday] =
        tariff.week.map(|day| day.saturating_add(1));
    let week_profile_name = NAME;
    one(
        tariff,
        WeekProfile { week_profile_name, monday, tuesday, wednesday, thursday, friday, saturday, sunday },
    )
}

fn days<'a>(
    tariff: &'a Tariff,
    schedules: &'a mut Schedules,
) -> impl ExactSizeIterator<Item = DayProfile<'a>> + use<'a> {
    for (schedule, day) in schedules.iter_mut().zip(&tariff.days) {
        for (slot, switch) in schedule.iter_mut().zip(day) {
            *slot = action(*switch);
        }
    }
    let schedules: &'a Schedules = schedules;
    tariff.days.iter().zip(schedules).enumerate().map(|(at, (day, schedule))| DayProfile {
        day_id: at as u8 + 1,
        // A day has no more switches than a schedule has room.
        day_schedule: Items::Held(schedule.get(..day.len()).unwrap_or(&[])),
    })
}

impl<B: Board> ActivityCalendar for CalendarObject<'_, B> {
    /// The tariffs of this meter have no names.
    fn calendar_name_active(&mut self) -> Access<&[u8]> {
        Ok(&[])
    }

    fn season_profile_active(&mut self) -> Access<impl ExactSizeIterator<Item = Season<'_>>> {
        Ok(season(&self.meter.tariffs.active))
    }

    fn week_profile_table_active(&mut self) -> Access<impl ExactSizeIterator<Item = WeekProfile<'_>>> {
        Ok(week(&self.meter.tariffs.active))
    }

    fn day_profile_table_active(&mut self) -> Access<impl ExactSizeIterator<Item = DayProfile<'_>>> {
        Ok(days(&self.meter.tariffs.active, &mut self.schedules))
    }

    fn calendar_name_passive(&mut self) -> Access<&[u8]> {
        Ok(&[])
    }

    fn season_profile_passive(&mut self) -> Access<impl ExactSizeIterator<Item = Season<'_>>> {
        Ok(season(&self.meter.tariffs.passive))
    }

    /// One that begins with the year and has the week `1`.
    fn set_season_profile_passive(&mut self, seasons: Items<'_, Season<'_>>) -> Access<()> {
        self.change(|_| {
            let season = seasons.iter().next()?.ok().filter(|_| seasons.len() == 1)?;
            let start = season.season_start;
            let whole_year = matches!((start.month, start.day_of_month), (1 | ANY, 1 | ANY));
            (season.week_name == NAME && season.season_profile_name == NAME && whole_year).then_some(())
        })
    }

    fn week_profile_table_passive(&mut self) -> Access<impl ExactSizeIterator<Item = WeekProfile<'_>>> {
        Ok(week(&self.meter.tariffs.passive))
    }

    /// One, named `1`.
    fn set_week_profile_table_passive(&mut self, weeks: Items<'_, WeekProfile<'_>>) -> Access<()> {
        self.change(|tariff| {
            let week = weeks.iter().next()?.ok().filter(|_| weeks.len() == 1)?;
            let WeekProfile { week_profile_name, monday, tuesday, wednesday, thursday, friday, .. } = week;
            let days = [monday, tuesday, wednesday, thursday, friday, week.saturday, week.sunday];
            for (slot, day) in tariff.week.iter_mut().zip(days) {
                *slot = day.checked_sub(1).filter(|day| usize::from(*day) < DAYS_MAX)?;
            }
            (week_profile_name == NAME).then_some(())
        })
    }

    fn day_profile_table_passive(&mut self) -> Access<impl ExactSizeIterator<Item = DayProfile<'_>>> {
        Ok(days(&self.meter.tariffs.passive, &mut self.schedules))
    }

    /// Numbered from 1, with scripts of the tariff's script table.
    fn set_day_profile_table_passive(&mut self, days: Items<'_, DayProfile<'_>>) -> Access<()> {
        self.change(|tariff| {
            tariff.days.clear();
            for (number, day) in (1_u8..).zip(days.iter()) {
                let day = day.ok().filter(|day| day.day_id == number)?;
                let mut switches = heapless::Vec::new();
                for action in day.day_schedule.iter() {
                    switches.push(switch(action.ok()?)?).ok()?;
                }
                tariff.days.push(switches).ok()?;
            }
            Some(())
        })
    }

    fn activate_passive_calendar_time(&mut self) -> Access<DateTime> {
        Ok(self.meter.settings.zone.moment(self.meter.tariffs.activation_utc_s))
    }

    fn set_activate_passive_calendar_time(&mut self, time: DateTime) -> Access<()> {
        self.meter.set_tariff_activation(time)
    }

    fn activate_passive_calendar(&mut self, _: Nothing) -> Invoked {
        let mut tariffs = self.meter.tariffs.clone();
        if !tariffs.passive.is_sound() {
            return Err(ActionResult::OtherReason);
        }
        tariffs.activate();
        self.meter.change_tariffs(tariffs).map_err(|_| ActionResult::TemporaryFailure)
    }
}

/// The meter as the special days of the tariff in force, or of the one to come.
pub(super) struct SpecialDaysObject<'m, B: Board> {
    pub meter: &'m mut Meter<B>,
    pub name: Obis,
}

impl<B: Board> SpecialDaysObject<'_, B> {
    /// Changes the days of the tariff to come.
    fn change(&mut self, change: impl FnOnce(&mut Tariff) -> Option<()>) -> Access<()> {
        CalendarObject::of(self.meter).change(change)
    }
}

fn special_day(entry: SpecialDayEntry) -> Option<SpecialDay> {
    let Date { year, month, day_of_month: day, day_of_week } = entry.specialday_date;
    let every_year = year == ANY_YEAR && day_of_week == ANY;
    let sound = every_year && (1..=12).contains(&month) && (1..=31).contains(&day);
    let day_number = entry.day_id.checked_sub(1).filter(|day| usize::from(*day) < DAYS_MAX)?;
    sound.then_some(SpecialDay { month, day, day_number })
}

impl<B: Board> SpecialDaysTable for SpecialDaysObject<'_, B> {
    fn entries(&mut self) -> Access<impl ExactSizeIterator<Item = SpecialDayEntry>> {
        let tariffs = &self.meter.tariffs;
        let to_come = self.name == obis::SPECIAL_DAYS_PASSIVE;
        let tariff = if to_come { &tariffs.passive } else { &tariffs.active };
        Ok(tariff.special_days.iter().enumerate().map(|(at, special)| SpecialDayEntry {
            index: at as u16 + 1,
            specialday_date: Date {
                year: ANY_YEAR,
                month: special.month,
                day_of_month: special.day,
                day_of_week: ANY,
            },
            day_id: special.day_number.saturating_add(1),
        }))
    }

    /// Numbered from 1; dates of every year.
    fn set_entries(&mut self, entries: Items<'_, SpecialDayEntry>) -> Access<()> {
        self.change(|tariff| {
            tariff.special_days.clear();
            for (number, entry) in (1_u16..).zip(entries.iter()) {
                let entry = entry.ok().filter(|entry| entry.index == number)?;
                tariff.special_days.push(special_day(entry)?).ok()?;
            }
            Some(())
        })
    }

    /// Replaces the entry of that index, or is the next one.
    fn insert(&mut self, entry: SpecialDayEntry) -> Invoked {
        let inserted = self.change(|tariff| {
            let special = special_day(entry)?;
            let at = usize::from(entry.index.checked_sub(1)?);
            if at == tariff.special_days.len() {
                return tariff.special_days.push(special).ok();
            }
            *tariff.special_days.get_mut(at)? = special;
            Some(())
        });
        inserted.map_err(|_| ActionResult::OtherReason)
    }

    /// The entries after it move up.
    fn delete(&mut self, index: u16) -> Invoked {
        let deleted = self.change(|tariff| {
            let at = usize::from(index.checked_sub(1)?);
            if at >= tariff.special_days.len() {
                return None;
            }
            tariff.special_days.remove(at);
            Some(())
        });
        deleted.map_err(|_| ActionResult::OtherReason)
    }
}
