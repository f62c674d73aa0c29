//! A new activity calendar (class 20) with its special days (class 11) for a DLMS meter: what is to come is written whole, its
//! time last; believed when the meter reads it back as in force.

use super::meter::{Meter, present};
use crate::session::calendar::{CalendarDate, CalendarDay, CalendarOrder, CalendarSeason, CalendarWeek, all};
use crate::session::trouble::Trouble;
use crate::session::work::{CalendarProgress, Ending};
use protocol::codec::axdr::Data;
use protocol::codec::obis::Obis;
use protocol::cosem::activity_calendar::{
    ACTIVATE_PASSIVE_CALENDAR, ACTIVATE_PASSIVE_CALENDAR_TIME, DAY_PROFILE_TABLE_ACTIVE,
    DAY_PROFILE_TABLE_PASSIVE, DayProfile, SEASON_PROFILE_ACTIVE, SEASON_PROFILE_PASSIVE, Season,
    WEEK_PROFILE_TABLE_ACTIVE, WEEK_PROFILE_TABLE_PASSIVE, WeekProfile,
};
use protocol::cosem::class::{Items, Nothing};
use protocol::cosem::special_days::{ENTRIES, SpecialDayEntry};

/// The objects of a calendar.
struct Named {
    calendar: Obis,
    scripts: Obis,
    /// Special days in force, and to come: the same object where the meter has one table.
    days: Option<(Obis, Obis)>,
}

impl Meter<'_> {
    /// Writes the calendar to come, then its time, or activates it.
    pub(super) async fn give_calendar(&mut self, order: &CalendarOrder) -> Result<Option<Ending>, Trouble> {
        let named = self.calendar_objects()?;
        let calendar = named.calendar;
        if named.days.is_none() && !order.special_days.is_empty() {
            let reason = "the meter's model names no special days, and the calendar has some".to_owned();
            return Ok(Some(Ending::Rejected { reason, code: None }));
        }
        let actions: Vec<_> = order.days.iter().map(|day| day.actions(named.scripts)).collect();
        let days: Vec<DayProfile<'_>> = order
            .days
            .iter()
            .zip(&actions)
            .map(|(day, actions)| DayProfile { day_id: day.id, day_schedule: Items::Held(actions) })
            .collect();
        self.put(DAY_PROFILE_TABLE_PASSIVE.of(calendar), Items::Held(&days), "the days to come").await?;
        let weeks: Vec<WeekProfile<'_>> = order.weeks.iter().map(CalendarWeek::profile).collect();
        self.put(WEEK_PROFILE_TABLE_PASSIVE.of(calendar), Items::Held(&weeks), "the weeks to come").await?;
        let seasons: Vec<Season<'_>> = order.seasons.iter().map(CalendarSeason::profile).collect();
        self.put(SEASON_PROFILE_PASSIVE.of(calendar), Items::Held(&seasons), "the seasons to come").await?;
        if let Some((_, to_come)) = named.days {
            let entries: Vec<SpecialDayEntry> =
                (1..).zip(&order.special_days).map(|(index, day)| day.entry(index)).collect();
            self.put(ENTRIES.of(to_come), Items::Held(&entries), "the special days to come").await?;
        }
        match order.activate_at {
            Some(at) => {
                let time = self.meter_time(at)?;
                self.put(ACTIVATE_PASSIVE_CALENDAR_TIME.of(calendar), time, "the time of the calendar")
                    .await?;
                Ok(None)
            }
            None => {
                self.attempt.note(format!("ACTION {calendar} activate passive calendar: sending"));
                self.invoke(ACTIVATE_PASSIVE_CALENDAR.of(calendar), &Nothing, "the activation").await
            }
        }
    }

    /// How the meter's calendar differs from what was ordered; where it does not, whether it is in force or to come.
    pub(super) async fn calendar_difference(
        &mut self,
        order: &CalendarOrder,
    ) -> Result<Option<String>, Trouble> {
        let named = self.calendar_objects()?;
        let calendar = named.calendar;
        let to_come = order.activate_at.filter(|at| *at > self.attempt.now());
        let (days, weeks, seasons, which) = match to_come {
            Some(_) => (
                DAY_PROFILE_TABLE_PASSIVE.of(calendar),
                WEEK_PROFILE_TABLE_PASSIVE.of(calendar),
                SEASON_PROFILE_PASSIVE.of(calendar),
                "to come",
            ),
            None => (
                DAY_PROFILE_TABLE_ACTIVE.of(calendar),
                WEEK_PROFILE_TABLE_ACTIVE.of(calendar),
                SEASON_PROFILE_ACTIVE.of(calendar),
                "in force",
            ),
        };
        let scripts = named.scripts;
        let mut has = CalendarOrder {
            days: self
                .value_of(days, "the days", |data| all(data, |day| CalendarDay::read(day, scripts)))
                .await?,
            weeks: self
                .value_of(weeks, "the weeks", |data| all(data, |week| Ok(CalendarWeek::read(week))))
                .await?,
            seasons: self
                .value_of(seasons, "the seasons", |data| all(data, |season| Ok(CalendarSeason::read(season))))
                .await?,
            special_days: Vec::new(),
            activate_at: order.activate_at,
        };
        if let Some((in_force, passive)) = named.days {
            let at = ENTRIES.of(if to_come.is_some() { passive } else { in_force });
            let read = |data: Data<'_>| all(data, |day| Ok(CalendarDate::read(day)));
            has.special_days = self.value_of(at, "the special days", read).await?;
        }
        self.attempt.note(format!(
            "GET {calendar} {which}: {} days, {} weeks, {} seasons, {} special days",
            has.days.len(),
            has.weeks.len(),
            has.seasons.len(),
            has.special_days.len()
        ));
        for (same, what) in [
            (has.days == order.days, "days"),
            (has.weeks == order.weeks, "weeks"),
            (has.seasons == order.seasons, "seasons"),
            (has.special_days == order.special_days, "special days"),
        ] {
            if !same {
                return Ok(Some(format!("the {what} {which} are not as ordered")));
            }
        }
        let Some(at) = to_come else {
            self.attempt.facts.calendar = Some(CalendarProgress::InForce);
            return Ok(None);
        };
        let time = ACTIVATE_PASSIVE_CALENDAR_TIME.of(calendar);
        let difference = self.time_difference(time, at).await?;
        if difference.is_none() {
            self.attempt.facts.calendar = Some(CalendarProgress::ToCome { at });
        }
        Ok(difference)
    }

    fn calendar_objects(&self) -> Result<Named, Trouble> {
        let objects = &self.model.objects;
        let days =
            objects.special_days.map(|in_force| (in_force, objects.special_days_passive.unwrap_or(in_force)));
        let calendar = present(objects.activity_calendar)?;
        Ok(Named { calendar, scripts: present(objects.tariff_scripts)?, days })
    }
}
