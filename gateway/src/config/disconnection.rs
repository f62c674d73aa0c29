//! `[disconnection]`: what has to be on record before supply is cut.

use super::raw::Checker;
use super::{ConfigError, Surroundings};
use crate::guards::Rules;
use crate::store::command::DisconnectReason;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;

/// The rules, and how long a request may wait for its second person.
#[derive(Debug, Clone, PartialEq)]
pub struct DisconnectionConfig {
    /// The guards' rules.
    pub rules: Rules,
    /// A request that nobody decided expires after this time.
    pub approval_expiry: Duration,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDisconnection {
    zone: Option<Spanned<String>>,
    quiet_hours: Option<Spanned<String>>,
    quiet_days: Vec<Spanned<String>>,
    quiet_dates: Vec<Spanned<String>>,
    overdue_days: Option<u32>,
    demands_min: Option<usize>,
    notice_hours: Option<BTreeMap<Spanned<String>, u32>>,
    notice_valid_days: Option<u32>,
    second_person: Option<Vec<Spanned<String>>>,
    approval_hours: Option<u32>,
}

/// A day: our own choice.
const APPROVAL_HOURS: u32 = 24;

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

pub(super) fn check<S: Surroundings>(
    checker: &Checker<'_, S>,
    raw: &RawDisconnection,
) -> Result<DisconnectionConfig, ConfigError> {
    let mut rules = Rules { zone: zone(checker, raw.zone.as_ref())?, ..Rules::default() };
    rules.quiet_hours =
        raw.quiet_hours.as_ref().map(|span| hours(checker, "quiet_hours", span)).transpose()?;
    rules.quiet_days = raw.quiet_days.iter().map(|day| weekday(checker, day)).collect::<Result<_, _>>()?;
    rules.quiet_dates =
        raw.quiet_dates.iter().map(|date| quiet_date(checker, date)).collect::<Result<_, _>>()?;
    rules.overdue_days = raw.overdue_days.unwrap_or(rules.overdue_days);
    rules.demands_min = raw.demands_min.unwrap_or(rules.demands_min);
    rules.notice_valid_days = raw.notice_valid_days.unwrap_or(rules.notice_valid_days);
    if let Some(given) = &raw.notice_hours {
        let hours = given.iter().map(|(word, hours)| Ok((reason(checker, word)?.as_str(), *hours)));
        rules.notice_hours = hours.collect::<Result<_, ConfigError>>()?;
    }
    if let Some(words) = &raw.second_person {
        rules.second_person = words.iter().map(|word| reason(checker, word)).collect::<Result<_, _>>()?;
    }
    let hours = raw.approval_hours.unwrap_or(APPROVAL_HOURS).max(1);
    Ok(DisconnectionConfig { rules, approval_expiry: Duration::from_hours(u64::from(hours)) })
}

/// A reason that a person may give.
fn reason<S>(checker: &Checker<'_, S>, word: &Spanned<String>) -> Result<DisconnectReason, ConfigError> {
    DisconnectReason::parse(word.get_ref()).filter(|reason| *reason != DisconnectReason::NoCredit).ok_or_else(
        || {
            let message = format!(
                "{:?} is none of planned, fault, peak_avoidance, breach_of_contract, arrears",
                word.get_ref()
            );
            checker.at(&word.span(), message)
        },
    )
}

fn zone<S>(checker: &Checker<'_, S>, raw: Option<&Spanned<String>>) -> Result<TimeZone, ConfigError> {
    let Some(raw) = raw else { return Ok(TimeZone::UTC) };
    TimeZone::posix(raw.get_ref()).map_err(|_| {
        let message = format!(
            "zone {:?} is not a POSIX time zone, like \"CST-8\" or \"CET-1CEST,M3.5.0,M10.5.0/3\"",
            raw.get_ref()
        );
        checker.at(&raw.span(), message)
    })
}

/// Two times of day.
pub(super) fn hours<S>(
    checker: &Checker<'_, S>,
    key: &str,
    raw: &Spanned<String>,
) -> Result<(Time, Time), ConfigError> {
    let parsed = raw.get_ref().split_once('-').and_then(|(from, until)| {
        Some((Time::strptime("%H:%M", from.trim()).ok()?, Time::strptime("%H:%M", until.trim()).ok()?))
    });
    parsed.filter(|(from, until)| from != until).ok_or_else(|| {
        checker.at(&raw.span(), format!("{key} {:?} is not two times, like \"20:00-08:00\"", raw.get_ref()))
    })
}

fn weekday<S>(checker: &Checker<'_, S>, raw: &Spanned<String>) -> Result<Weekday, ConfigError> {
    WEEKDAYS.iter().find(|(word, _)| word == raw.get_ref()).map(|(_, day)| *day).ok_or_else(|| {
        let words = WEEKDAYS.map(|(word, _)| word).join(", ");
        checker.at(&raw.span(), format!("{:?} is none of {words}", raw.get_ref()))
    })
}

fn quiet_date<S>(checker: &Checker<'_, S>, raw: &Spanned<String>) -> Result<Date, ConfigError> {
    raw.get_ref().parse().map_err(|_| {
        checker.at(&raw.span(), format!("{:?} is not a date, like \"2026-12-25\"", raw.get_ref()))
    })
}
