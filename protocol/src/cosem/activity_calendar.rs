//! Class 20, activity calendar (version 0): seasons, weeks and days that say when which script runs.

use super::class::{Items, Nothing, Octets, class, structure};
use crate::codec::axdr::{DateTime, Time};
use crate::codec::obis::Obis;

structure! {
    /// From when a week profile applies.
    Season<'a> {
        /// A name for the season.
        season_profile_name: &'a [u8],
        /// Its begin; wildcards repeat it.
        season_start: DateTime,
        /// The week profile that applies.
        week_name: &'a [u8],
    }
}

structure! {
    /// The day profile of each day of the week.
    WeekProfile<'a> {
        /// Its name.
        week_profile_name: &'a [u8],
        /// Day profile of Mondays.
        monday: u8,
        /// Of Tuesdays.
        tuesday: u8,
        /// Of Wednesdays.
        wednesday: u8,
        /// Of Thursdays.
        thursday: u8,
        /// Of Fridays.
        friday: u8,
        /// Of Saturdays.
        saturday: u8,
        /// Of Sundays.
        sunday: u8,
    }
}

structure! {
    /// A script that runs at a time of day.
    DayProfileAction {
        /// Local time.
        start_time: Time,
        /// The script table.
        script_logical_name: Obis,
        /// The script.
        script_selector: u16,
    }
}

structure! {
    /// What happens on a day.
    DayProfile<'a> {
        /// Number of the day profile.
        day_id: u8,
        /// Its actions in the order of time.
        day_schedule: Items<'a, DayProfileAction>,
    }
}

class! {
    /// Activity calendar.
    ActivityCalendar = 20, version 0;
    attributes {
        /// Name of the calendar in force.
        2 CALENDAR_NAME_ACTIVE: (Octets), calendar_name_active;
        /// Seasons in force.
        3 SEASON_PROFILE_ACTIVE: [Season<'static>], season_profile_active;
        /// Weeks in force.
        4 WEEK_PROFILE_TABLE_ACTIVE: [WeekProfile<'static>], week_profile_table_active;
        /// Days in force.
        5 DAY_PROFILE_TABLE_ACTIVE: [DayProfile<'static>], day_profile_table_active;
        /// Name of the calendar to come.
        6 CALENDAR_NAME_PASSIVE: (Octets), calendar_name_passive, set_calendar_name_passive;
        /// Seasons to come.
        7 SEASON_PROFILE_PASSIVE: [Season<'static>], season_profile_passive, set_season_profile_passive;
        /// Weeks to come.
        8 WEEK_PROFILE_TABLE_PASSIVE: [WeekProfile<'static>], week_profile_table_passive, set_week_profile_table_passive;
        /// Days to come.
        9 DAY_PROFILE_TABLE_PASSIVE: [DayProfile<'static>], day_profile_table_passive, set_day_profile_table_passive;
        /// When the calendar to come is activated.
        10 ACTIVATE_PASSIVE_CALENDAR_TIME: (DateTime), activate_passive_calendar_time, set_activate_passive_calendar_time;
    }
    methods {
        /// Activates the calendar to come now.
        1 ACTIVATE_PASSIVE_CALENDAR: (Nothing), activate_passive_calendar;
    }
}
