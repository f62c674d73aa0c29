//! When which script of a meter's tariff runs: the activity calendar (class 20) and its special days (class 11), as they are
//! ordered and as they are read back. Times are the meter's local time.

use jiff::Timestamp;
use protocol::codec::axdr::{Data, Date, DateTime, Time};
use protocol::codec::codec::Result;
use protocol::codec::obis::Obis;
use protocol::cosem::FromData;
use protocol::cosem::activity_calendar::{DayProfile, DayProfileAction, Season, WeekProfile};
use protocol::cosem::class::Items;
use protocol::cosem::special_days::SpecialDayEntry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bounds of ours: each table fits into what one session sends as one value.
const DAYS_MAX: usize = 8;
const SWITCHES_MAX: usize = 24;
const WEEKS_MAX: usize = 8;
const SEASONS_MAX: usize = 8;
const SPECIAL_DAYS_MAX: usize = 32;
const NAME_MAX: usize = 8;
/// A year, and a day of the week, that any date has (Blue Book, date).
const ANY_YEAR: u16 = 0xFFFF;
const ANY: u8 = 0xFF;
const MINUTES_OF_A_DAY: u16 = 1_440;

/// From a minute of the day on, this script has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarSwitch {
    /// Minute of the day.
    pub from_minute: u16,
    /// Its number in the tariff's script table.
    pub script: u16,
}

/// A kind of day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarDay {
    /// Its number.
    pub id: u8,
    /// What happens on it, in the order of time, from midnight on.
    pub switches: Vec<CalendarSwitch>,
}

/// A kind of week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarWeek {
    /// Its name.
    pub name: String,
    /// The kinds of its days, Monday first.
    pub days: [u8; 7],
}

/// From this date on, every year, weeks are of this kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarSeason {
    /// Its name.
    pub name: String,
    /// Its first month.
    pub month: u8,
    /// Its first day of that month.
    pub day: u8,
    /// The name of its weeks.
    pub week: String,
}

/// A date on which another kind of day applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarDate {
    /// Only in this year; every year where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
    /// Month.
    pub month: u8,
    /// Day of the month.
    pub day: u8,
    /// The kind of day.
    pub day_id: u8,
}

/// A calendar to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarOrder {
    /// Its kinds of days.
    pub days: Vec<CalendarDay>,
    /// Its kinds of weeks.
    pub weeks: Vec<CalendarWeek>,
    /// Its seasons, in the order of the year.
    pub seasons: Vec<CalendarSeason>,
    /// Dates that differ.
    #[serde(default)]
    pub special_days: Vec<CalendarDate>,
    /// From when on it applies; at once where nothing is said.
    #[serde(default)]
    pub activate_at: Option<Timestamp>,
}

/// A date that some year has.
fn is_date(month: u8, day: u8) -> bool {
    const LONGEST: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let longest = usize::from(month).checked_sub(1).and_then(|month| LONGEST.get(month));
    longest.is_some_and(|longest| (1..=*longest).contains(&day))
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
}

impl CalendarOrder {
    /// What is wrong with it: every number and name has to point at something, and every day has to begin.
    #[must_use]
    pub fn flaw(&self) -> Option<String> {
        self.days_flaw().or_else(|| self.weeks_flaw()).or_else(|| self.dates_flaw())
    }

    fn days_flaw(&self) -> Option<String> {
        let switches: usize = self.days.iter().map(|day| day.switches.len()).sum();
        if self.days.is_empty() || self.days.len() > DAYS_MAX || switches > SWITCHES_MAX {
            return Some(format!(
                "{} days with {switches} switches are not 1 to {DAYS_MAX} with {SWITCHES_MAX} at most",
                self.days.len()
            ));
        }
        let mut ids = BTreeSet::new();
        for day in &self.days {
            if !ids.insert(day.id) {
                return Some(format!("there are two days {}", day.id));
            }
            if day.switches.first().is_none_or(|switch| switch.from_minute != 0) {
                return Some(format!("nothing says what applies at midnight of day {}", day.id));
            }
            let rising =
                day.switches.windows(2).all(|pair| matches!(pair, [a, b] if a.from_minute < b.from_minute));
            let in_a_day = day.switches.iter().all(|switch| switch.from_minute < MINUTES_OF_A_DAY);
            if !rising || !in_a_day {
                return Some(format!("the switches of day {} are not in the order of its time", day.id));
            }
        }
        None
    }

    fn weeks_flaw(&self) -> Option<String> {
        if self.weeks.is_empty() || self.weeks.len() > WEEKS_MAX {
            return Some(format!("{} weeks are not 1 to {WEEKS_MAX}", self.weeks.len()));
        }
        if self.seasons.is_empty() || self.seasons.len() > SEASONS_MAX {
            return Some(format!("{} seasons are not 1 to {SEASONS_MAX}", self.seasons.len()));
        }
        let mut names = BTreeSet::new();
        for week in &self.weeks {
            if !is_name(&week.name) || !names.insert(week.name.as_str()) {
                return Some(format!("week {:?}: its name is empty, too long or taken", week.name));
            }
            if let Some(day) = week.days.iter().find(|day| !self.has_day(**day)) {
                return Some(format!("week {:?} has a day {day}, and there is none", week.name));
            }
        }
        let mut seasons = BTreeSet::new();
        for season in &self.seasons {
            if !is_name(&season.name) || !seasons.insert(season.name.as_str()) {
                return Some(format!("season {:?}: its name is empty, too long or taken", season.name));
            }
            if !names.contains(season.week.as_str()) {
                return Some(format!(
                    "season {:?} has weeks {:?}, and there are none",
                    season.name, season.week
                ));
            }
        }
        None
    }

    fn dates_flaw(&self) -> Option<String> {
        if self.special_days.len() > SPECIAL_DAYS_MAX {
            return Some(format!("more than {SPECIAL_DAYS_MAX} special days"));
        }
        let starts: Vec<(u8, u8)> = self.seasons.iter().map(|season| (season.month, season.day)).collect();
        let rising = starts.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        if !rising || !starts.iter().all(|(month, day)| is_date(*month, *day)) {
            return Some("the seasons do not begin on dates in the order of the year".into());
        }
        let mut dates = BTreeSet::new();
        for special in &self.special_days {
            let date = (special.year, special.month, special.day);
            if !is_date(special.month, special.day) || !dates.insert(date) {
                return Some(format!(
                    "special day {}-{}: there is no such date, or it is there twice",
                    special.month, special.day
                ));
            }
            if !self.has_day(special.day_id) {
                return Some(format!("a special day is a day {}, and there is none", special.day_id));
            }
        }
        None
    }

    fn has_day(&self, id: u8) -> bool {
        self.days.iter().any(|day| day.id == id)
    }
}

impl CalendarDay {
    /// Its actions as the meter takes them.
    #[must_use]
    pub fn actions(&self, scripts: Obis) -> Vec<DayProfileAction> {
        let action = |switch: &CalendarSwitch| DayProfileAction {
            // A minute of a day: below 24 hours.
            start_time: Time {
                hour: u8::try_from(switch.from_minute / 60).unwrap_or(0),
                minute: u8::try_from(switch.from_minute % 60).unwrap_or(0),
                second: 0,
                hundredths: 0,
            },
            script_logical_name: scripts,
            script_selector: switch.script,
        };
        self.switches.iter().map(action).collect()
    }

    /// From what a meter says; scripts of another table are no script of ours.
    ///
    /// # Errors
    /// It is not what its class says.
    pub fn read(day: &DayProfile<'_>, scripts: Obis) -> Result<Self> {
        let mut switches = Vec::with_capacity(day.day_schedule.len());
        for action in day.day_schedule.iter() {
            let DayProfileAction { start_time, script_logical_name, script_selector } = action?;
            let whole_minute = matches!(start_time.second, 0 | ANY);
            let ours = script_logical_name == scripts && whole_minute;
            switches.push(CalendarSwitch {
                from_minute: u16::from(start_time.hour) * 60 + u16::from(start_time.minute),
                script: if ours { script_selector } else { 0 },
            });
        }
        Ok(Self { id: day.day_id, switches })
    }
}

impl CalendarWeek {
    /// As the meter takes it.
    #[must_use]
    pub fn profile(&self) -> WeekProfile<'_> {
        let [monday, tuesday, wednesday, thursday, friday, saturday, sunday] = self.days;
        let week_profile_name = self.name.as_bytes();
        WeekProfile { week_profile_name, monday, tuesday, wednesday, thursday, friday, saturday, sunday }
    }

    /// From what a meter says.
    #[must_use]
    pub fn read(week: &WeekProfile<'_>) -> Self {
        Self {
            name: String::from_utf8_lossy(week.week_profile_name).into_owned(),
            days: [
                week.monday,
                week.tuesday,
                week.wednesday,
                week.thursday,
                week.friday,
                week.saturday,
                week.sunday,
            ],
        }
    }
}

impl CalendarSeason {
    /// As the meter takes it: every year.
    #[must_use]
    pub fn profile(&self) -> Season<'_> {
        let mut season_start = DateTime::WILDCARD;
        (season_start.month, season_start.day_of_month) = (self.month, self.day);
        Season { season_profile_name: self.name.as_bytes(), season_start, week_name: self.week.as_bytes() }
    }

    /// From what a meter says. A season without a date begins with the year.
    #[must_use]
    pub fn read(season: &Season<'_>) -> Self {
        let start = |part: u8| if part == ANY { 1 } else { part };
        Self {
            name: String::from_utf8_lossy(season.season_profile_name).into_owned(),
            month: start(season.season_start.month),
            day: start(season.season_start.day_of_month),
            week: String::from_utf8_lossy(season.week_name).into_owned(),
        }
    }
}

impl CalendarDate {
    /// As the meter takes it, at this place of the table.
    #[must_use]
    pub fn entry(&self, index: u16) -> SpecialDayEntry {
        SpecialDayEntry {
            index,
            specialday_date: Date {
                year: self.year.unwrap_or(ANY_YEAR),
                month: self.month,
                day_of_month: self.day,
                day_of_week: ANY,
            },
            day_id: self.day_id,
        }
    }

    /// From what a meter says.
    #[must_use]
    pub fn read(entry: &SpecialDayEntry) -> Self {
        let date = entry.specialday_date;
        Self {
            year: (date.year != ANY_YEAR).then_some(date.year),
            month: date.month,
            day: date.day_of_month,
            day_id: entry.day_id,
        }
    }
}

/// Every item of an array, taken by `read`.
///
/// # Errors
/// One of them is not what its class says.
pub fn all<'a, V: FromData<'a> + Copy + 'a, T>(
    array: Data<'a>,
    read: impl Fn(&V) -> Result<T>,
) -> Result<Vec<T>> {
    Items::<V>::from_data(array)?.iter().map(|item| read(&item?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn given() -> Value {
        json!({
            "days": [
                {"id": 1, "switches": [{"from_minute": 0, "script": 2}, {"from_minute": 420, "script": 1}]},
                {"id": 2, "switches": [{"from_minute": 0, "script": 2}]},
            ],
            "weeks": [{"name": "1", "days": [1, 1, 1, 1, 1, 2, 2]}],
            "seasons": [{"name": "1", "month": 1, "day": 1, "week": "1"}],
            "special_days": [{"month": 12, "day": 25, "day_id": 2}],
        })
    }

    fn flaw(change: impl Fn(&mut Value)) -> Option<String> {
        let mut value = given();
        change(&mut value);
        serde_json::from_value::<CalendarOrder>(value).expect("its form is right").flaw()
    }

    #[test]
    fn every_number_and_name_of_a_calendar_points_at_something() {
        assert_eq!(flaw(|_| {}), None);
        let refused = |change: &dyn Fn(&mut Value)| flaw(change).expect("a flaw");
        assert!(refused(&|all| all["weeks"][0]["days"][6] = json!(3)).contains("a day 3, and there is none"));
        assert!(refused(&|all| all["seasons"][0]["week"] = json!("2")).contains("there are none"));
        assert!(refused(&|all| all["days"][1]["id"] = json!(1)).contains("two days 1"));
        let midnight = refused(&|all| all["days"][1]["switches"][0]["from_minute"] = json!(1));
        assert!(midnight.contains("midnight of day 2"), "{midnight}");
        let order = refused(&|all| all["days"][0]["switches"][1]["from_minute"] = json!(1_440));
        assert!(order.contains("not in the order"), "{order}");
        assert!(refused(&|all| all["special_days"][0]["day"] = json!(32)).contains("no such date"));
        assert!(refused(&|all| all["special_days"][0]["day_id"] = json!(9)).contains("there is none"));
        assert!(refused(&|all| all["seasons"][0]["month"] = json!(0)).contains("order of the year"));
        assert!(refused(&|all| all["weeks"][0]["name"] = json!("a long name")).contains("too long"));
    }

    #[test]
    fn what_is_sent_is_what_is_read_back() {
        let order: CalendarOrder = serde_json::from_value(given()).expect("a calendar");
        let scripts = protocol::cosem::obis::TARIFF_SCRIPTS;
        for day in &order.days {
            let actions = day.actions(scripts);
            let profile = DayProfile { day_id: day.id, day_schedule: Items::Held(&actions) };
            assert_eq!(CalendarDay::read(&profile, scripts).as_ref(), Ok(day));
            let other = protocol::cosem::obis::DISCONNECT_SCRIPTS;
            assert_ne!(CalendarDay::read(&profile, other).as_ref(), Ok(day), "scripts of another table");
        }
        assert_eq!(CalendarWeek::read(&order.weeks[0].profile()), order.weeks[0]);
        assert_eq!(CalendarSeason::read(&order.seasons[0].profile()), order.seasons[0]);
        assert_eq!(CalendarDate::read(&order.special_days[0].entry(1)), order.special_days[0]);
    }
}
