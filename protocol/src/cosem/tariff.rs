//! The consumption tariff of the reference meter: one value that says what a kilowatt-hour costs at a time of day and after
//! how much use in the month. It is the value of two Data objects, [`super::obis::TARIFF_ACTIVE`] and
//! [`super::obis::TARIFF_PASSIVE`]; what class 113 and the activity calendar (class 20) spread over many attributes is
//! activated as a whole here, so that no meter ever rates with half a tariff.
//!
//! ```text
//! structure {
//!   steps: array of structure { up_to_kwh double-long-unsigned, price double-long-unsigned },
//!   rates: array of price double-long-unsigned,
//!   days: array of array of structure { from_minute long-unsigned, rate unsigned },
//!   week: octet-string(7) of day numbers, Monday first,
//!   special_days: octet-string of three bytes each: month, day, day number }
//! ```
//! Prices are account units per kilowatt-hour. With rates, the rate in force decides; without, the step of the month's use.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::class::ToData;
use super::values::{fields, put_array, put_structure};
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, Seq};
use crate::codec::codec::{Encode, Result, Writer};

/// Steps of a month; a bound of ours.
pub const STEPS_MAX: usize = 4;
/// Rates; a bound of ours.
pub const RATES_MAX: usize = 4;
/// Kinds of days: working day, Saturday, Sunday or holiday.
pub const DAYS_MAX: usize = 3;
/// Switching times of a day; a bound of ours.
pub const SWITCHES_MAX: usize = 6;
/// Special days; a bound of ours.
pub const SPECIAL_DAYS_MAX: usize = 12;

/// Up to how much of a month's use a price applies. The last step has no end: its bound is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Kilowatt-hours of the month.
    pub up_to_kwh: u32,
    /// Account units per kilowatt-hour.
    pub price: u32,
}

/// From when a rate applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Minute of the local day.
    pub from_minute: u16,
    /// Number of the rate, from 0.
    pub rate: u8,
}

/// A date that is another kind of day every year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialDay {
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// Which day it is like.
    pub day_number: u8,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    /// Steps; one step is a flat price.
    pub steps: Vec<Step, STEPS_MAX>,
    /// Prices by time of use; empty for a step tariff.
    pub rates: Vec<u32, RATES_MAX>,
    /// Kinds of days, each with its switching times in order.
    pub days: Vec<Vec<Switch, SWITCHES_MAX>, DAYS_MAX>,
    /// Kind of day for Monday to Sunday.
    pub week: [u8; 7],
    /// Dates that differ.
    pub special_days: Vec<SpecialDay, SPECIAL_DAYS_MAX>,
}

impl Tariff {
    /// The same price always.
    #[must_use]
    pub fn flat(price: u32) -> Self {
        let mut steps = Vec::new();
        // One of four places.
        let _ = steps.push(Step { up_to_kwh: 0, price });
        Self { steps, rates: Vec::new(), days: Vec::new(), week: [0; 7], special_days: Vec::new() }
    }

    /// Whether every number points at something: steps in rising order and at least one price; with rates, at least one kind
    /// of day, whose first switch is at midnight and whose switches rise.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        if self.rates.is_empty() {
            let rising = self.steps.windows(2).all(|w| match w {
                // The last bound does not count.
                [a, b] => a.up_to_kwh < b.up_to_kwh || Some(b) == self.steps.last(),
                _ => true,
            });
            return !self.steps.is_empty() && rising;
        }
        let day_exists = |number: &u8| usize::from(*number) < self.days.len();
        let sound_day = |day: &Vec<Switch, SWITCHES_MAX>| {
            day.first().is_some_and(|s| s.from_minute == 0)
                && day.iter().all(|s| usize::from(s.rate) < self.rates.len() && s.from_minute < 1_440)
                && day.windows(2).all(|w| w[0].from_minute < w[1].from_minute)
        };
        self.week.iter().all(day_exists)
            && self.special_days.iter().all(|s| day_exists(&s.day_number))
            && self.days.iter().all(sound_day)
    }

    /// The rate in force at a local time, where there are rates: `weekday` 0 is Monday.
    #[must_use]
    pub fn rate_at(&self, month: u8, day: u8, weekday: u8, minute: u16) -> Option<u8> {
        let special = self.special_days.iter().find(|s| s.month == month && s.day == day);
        let number = match special {
            Some(special) => special.day_number,
            None => *self.week.get(usize::from(weekday))?,
        };
        let switches = self.days.get(usize::from(number))?;
        switches.iter().rev().find(|s| s.from_minute <= minute).map(|s| s.rate)
    }

    /// The price of the next watt-hour and how many watt-hours have it, after `month_wh` of this month.
    #[must_use]
    pub fn step_after(&self, month_wh: u64) -> Option<(u32, u64)> {
        let last = self.steps.len().checked_sub(1)?;
        self.steps.iter().enumerate().find_map(|(i, step)| {
            let end_wh = u64::from(step.up_to_kwh) * 1_000;
            if i == last {
                Some((step.price, u64::MAX))
            } else {
                (month_wh < end_wh).then(|| (step.price, end_wh - month_wh))
            }
        })
    }
}

impl Encode for Tariff {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_structure(w, 5)?;
        put_array(w, self.steps.len())?;
        for step in &self.steps {
            put_structure(w, 2)?;
            step.up_to_kwh.put(w)?;
            step.price.put(w)?;
        }
        put_array(w, self.rates.len())?;
        self.rates.iter().try_for_each(|price| price.put(w))?;
        put_array(w, self.days.len())?;
        for day in &self.days {
            put_array(w, day.len())?;
            for switch in day {
                put_structure(w, 2)?;
                switch.from_minute.put(w)?;
                switch.rate.put(w)?;
            }
        }
        Data::OctetString(&self.week).encode(w)?;
        w.write_u8(9)?;
        w.write_length(3 * self.special_days.len())?;
        self.special_days.iter().try_for_each(|s| w.write_bytes(&[s.month, s.day, s.day_number]))
    }
}

/// The items of an array, each taken by `take`; more than fit are refused.
fn list<'a, T, const N: usize>(
    seq: Option<Seq<'a>>,
    mut take: impl FnMut(Data<'a>) -> Result<T>,
) -> Result<Vec<T, N>> {
    let mut out = Vec::new();
    for item in seq.ok_or_else(bad_value)?.iter() {
        out.push(take(item?)?).map_err(|_| bad_value())?;
    }
    Ok(out)
}

impl FromData<'_> for Tariff {
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [steps, rates, days, week, special_days] = fields(d)?;
        Ok(Self {
            steps: list(steps.as_array(), |d| {
                let [up_to, price] = fields(d)?;
                Ok(Step { up_to_kwh: u32::from_data(up_to)?, price: u32::from_data(price)? })
            })?,
            rates: list(rates.as_array(), u32::from_data)?,
            days: list(days.as_array(), |d| {
                list(d.as_array(), |d| {
                    let [from, rate] = fields(d)?;
                    Ok(Switch { from_minute: u16::from_data(from)?, rate: u8::from_data(rate)? })
                })
            })?,
            week: week.as_bytes().and_then(|b| b.try_into().ok()).ok_or_else(bad_value)?,
            special_days: {
                let (triples, rest) = special_days.as_bytes().ok_or_else(bad_value)?.as_chunks::<3>();
                if !rest.is_empty() {
                    return Err(bad_value());
                }
                let days = triples.iter().map(|[month, day, number]| SpecialDay {
                    month: *month,
                    day: *day,
                    day_number: *number,
                });
                if triples.len() > SPECIAL_DAYS_MAX {
                    return Err(bad_value());
                }
                days.collect()
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::codec::SliceWriter;

    fn time_of_use() -> Tariff {
        let switch = |from_minute, rate| Switch { from_minute, rate };
        let working = [switch(0, 1), switch(7 * 60, 0), switch(22 * 60, 1)];
        Tariff {
            steps: Vec::new(),
            rates: Vec::from_slice(&[300, 120]).unwrap(),
            days: Vec::from_slice(&[
                Vec::from_slice(&working).unwrap(),
                Vec::from_slice(&[switch(0, 1)]).unwrap(),
            ])
            .unwrap(),
            week: [0, 0, 0, 0, 0, 1, 1],
            special_days: Vec::from_slice(&[SpecialDay { month: 12, day: 25, day_number: 1 }]).unwrap(),
        }
    }

    #[test]
    fn time_of_use_follows_hour_weekday_and_holiday() {
        let tariff = time_of_use();
        assert!(tariff.is_sound());
        assert_eq!(tariff.rate_at(11, 3, 0, 6 * 60 + 59), Some(1));
        assert_eq!(tariff.rate_at(11, 3, 0, 7 * 60), Some(0));
        assert_eq!(tariff.rate_at(11, 3, 5, 12 * 60), Some(1), "Saturday");
        assert_eq!(tariff.rate_at(12, 25, 3, 12 * 60), Some(1), "a holiday");
    }

    #[test]
    fn a_step_ends_where_it_says() {
        let mut tariff = Tariff::flat(100);
        tariff.steps = Vec::from_slice(&[
            Step { up_to_kwh: 50, price: 100 },
            Step { up_to_kwh: 200, price: 150 },
            Step { up_to_kwh: 0, price: 400 },
        ])
        .unwrap();
        assert!(tariff.is_sound());
        assert_eq!(tariff.step_after(49_999), Some((100, 1)));
        assert_eq!(tariff.step_after(50_000), Some((150, 150_000)));
        assert_eq!(tariff.step_after(9_000_000), Some((400, u64::MAX)));
    }

    #[test]
    fn a_tariff_survives_the_wire_and_an_unsound_one_is_found() {
        let tariff = time_of_use();
        let mut buffer = [0xa5; 256];
        let mut w = SliceWriter::new(&mut buffer);
        tariff.encode(&mut w).unwrap();
        let data = Data::from_bytes_in(w.as_slice()).unwrap();
        assert_eq!(Tariff::from_data(data).unwrap(), tariff);
        let mut bad = time_of_use();
        bad.week[3] = 2;
        assert!(!bad.is_sound(), "a day that is not described");
        let mut bad = time_of_use();
        bad.days[0][1].rate = 2;
        assert!(!bad.is_sound(), "a rate without a price");
        let mut bad = time_of_use();
        bad.days[1][0].from_minute = 1;
        assert!(!bad.is_sound(), "a minute without a rate");
    }

    #[test]
    fn the_largest_tariff_fits_a_piece() {
        let switches = Vec::from_slice(&[Switch { from_minute: 1, rate: 1 }; SWITCHES_MAX]).unwrap();
        let tariff = Tariff {
            steps: Vec::from_slice(&[Step { up_to_kwh: 1, price: 1 }; STEPS_MAX]).unwrap(),
            rates: Vec::from_slice(&[1; RATES_MAX]).unwrap(),
            days: Vec::from_slice(&[switches.clone(), switches.clone(), switches]).unwrap(),
            week: [0; 7],
            special_days: Vec::from_slice(
                &[SpecialDay { month: 1, day: 1, day_number: 1 }; SPECIAL_DAYS_MAX],
            )
            .unwrap(),
        };
        let mut buffer = [0; 512];
        let mut w = SliceWriter::new(&mut buffer);
        tariff.encode(&mut w).unwrap();
        assert!(w.as_slice().len() <= crate::dlms::model::PIECE_MAX, "{}", w.as_slice().len());
    }
}
