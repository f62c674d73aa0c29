//! Rating: watt-hours to account units, by the tariff in force. The tariffs have a journal of their own: they are long and
//! change seldom.

use protocol::cosem::clock::civil_from_days;
use protocol::cosem::tariff::{STEPS_MAX, Tariff};
use serde::{Deserialize, Serialize};

use crate::terms::DAY_S;

/// Bytes of one place of the tariff journal.
pub const TARIFF_PLACE_BYTES: usize = 384;
/// Watt-hours in a kilowatt-hour: prices are per kilowatt-hour.
const WH_PER_KWH: u64 = 1_000;

/// The tariffs' journal record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariffs {
    /// In force.
    pub active: Tariff,
    /// To come.
    pub passive: Tariff,
    /// When it comes, UTC; 0 never.
    pub activation_utc_s: u32,
}

impl Tariffs {
    /// One tariff, and nothing to come.
    #[must_use]
    pub fn new(active: Tariff) -> Self {
        Self { passive: active.clone(), active, activation_utc_s: 0 }
    }

    /// Whether the passive tariff is due.
    #[must_use]
    pub const fn is_due(&self, utc_s: u32) -> bool {
        self.activation_utc_s != 0 && utc_s >= self.activation_utc_s
    }

    /// The passive tariff comes into force.
    pub fn activate(&mut self) {
        self.active = self.passive.clone();
        self.activation_utc_s = 0;
    }
}

/// What rating remembers; part of the meter's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rating {
    /// Thousandths of a unit owed and not charged yet: below 1,000.
    remainder: u32,
    /// Watt-hours used in the month.
    pub month_wh: u64,
    /// The month they belong to: months since year 0; 0 before the first.
    month: u32,
}

impl Rating {
    /// The clock was set back by days: the month that it shows goes on, and ends when the next one begins.
    pub fn clock_set_back(&mut self, local_s: u32) {
        self.month = self.month.min(month_of(local_s));
    }

    /// Account units for `wh` watt-hours used up to `local_s`. Nothing is rounded away: what is less than a unit waits for
    /// the next call. Without a clock the first step or the first rate applies.
    pub fn charge(&mut self, tariff: &Tariff, wh: u64, local_s: Option<u32>) -> u64 {
        let mut milli = u64::from(self.remainder);
        let date = local_s.map(|s| (s, civil_from_days(i64::from(s / DAY_S))));
        if let Some((_, (year, month, _))) = date {
            let month = months(year, month);
            // A clock that goes back over the month's end begins no month again.
            if month > self.month {
                (self.month, self.month_wh) = (month, 0);
            }
        }
        if tariff.rates.is_empty() {
            let mut left = wh;
            // One turn for each step, and one for what comes after the last bound.
            for _ in 0..=STEPS_MAX {
                let Some((price, room)) = tariff.step_after(self.month_wh) else { break };
                let part = left.min(room);
                milli = milli.saturating_add(part.saturating_mul(u64::from(price)));
                self.month_wh = self.month_wh.saturating_add(part);
                left -= part;
                if left == 0 {
                    break;
                }
            }
        } else {
            let rate = date.and_then(|(s, (_, month, day))| {
                // Below 7 and below 1,440; day 0 was a Thursday.
                let weekday = ((s / DAY_S + 3) % 7) as u8;
                tariff.rate_at(month, day, weekday, (s % DAY_S / 60) as u16)
            });
            let price = tariff.rates.get(usize::from(rate.unwrap_or(0))).copied().unwrap_or(0);
            milli = milli.saturating_add(wh.saturating_mul(u64::from(price)));
            self.month_wh = self.month_wh.saturating_add(wh);
        }
        // Below 1,000.
        self.remainder = (milli % WH_PER_KWH) as u32;
        milli / WH_PER_KWH
    }
}

/// Months since year 0.
fn months(year: u16, month: u8) -> u32 {
    u32::from(year) * 12 + u32::from(month)
}

fn month_of(local_s: u32) -> u32 {
    let (year, month, _) = civil_from_days(i64::from(local_s / DAY_S));
    months(year, month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapless::Vec;
    use protocol::cosem::tariff::{SPECIAL_DAYS_MAX, SWITCHES_MAX, SpecialDay, Step, Switch};

    /// 2026-01-31T12:00:00 local.
    const END_OF_JANUARY: u32 = 1_769_860_800;

    #[test]
    fn steps_begin_anew_with_the_month_and_split_at_their_bounds() {
        let mut tariff = Tariff::flat(0);
        tariff.steps =
            Vec::from_slice(&[Step { up_to_kwh: 10, price: 100 }, Step { up_to_kwh: 0, price: 300 }])
                .unwrap();
        let mut rating = Rating::default();
        // 10 kWh at 100 and 5 kWh at 300, however they come.
        assert_eq!(rating.charge(&tariff, 15_000, Some(END_OF_JANUARY)), 1_000 + 1_500);
        assert_eq!(rating.charge(&tariff, 1_000, Some(END_OF_JANUARY + DAY_S)), 100, "February");
        assert_eq!(
            rating.charge(&tariff, 1_000, Some(END_OF_JANUARY)),
            100,
            "the clock went back: no new January"
        );
    }

    #[test]
    fn fractions_of_a_unit_add_up_exactly() {
        let tariff = Tariff::flat(7);
        let mut rating = Rating::default();
        let units: u64 = (0..100_000).map(|_| rating.charge(&tariff, 3, None)).sum();
        assert_eq!(units, 100_000 * 3 * 7 / 1_000);
    }

    #[test]
    fn one_for_one_is_a_thousand_watt_hours_per_kilowatt_hour() {
        let mut rating = Rating::default();
        assert_eq!(rating.charge(&Tariff::flat(1_000), 123_457, None), 123_457);
    }

    #[test]
    fn the_longest_tariffs_fit_their_place() {
        let switches = Vec::from_slice(&[Switch { from_minute: 1_439, rate: 3 }; SWITCHES_MAX]).unwrap();
        let tariff = Tariff {
            steps: Vec::from_slice(&[Step { up_to_kwh: u32::MAX, price: u32::MAX }; 4]).unwrap(),
            rates: Vec::from_slice(&[u32::MAX; 4]).unwrap(),
            days: Vec::from_slice(&[switches.clone(), switches.clone(), switches]).unwrap(),
            week: [2; 7],
            special_days: Vec::from_slice(
                &[SpecialDay { month: 12, day: 31, day_number: 2 }; SPECIAL_DAYS_MAX],
            )
            .unwrap(),
        };
        let tariffs = Tariffs { activation_utc_s: u32::MAX, ..Tariffs::new(tariff) };
        let mut place = [0; 4 * TARIFF_PLACE_BYTES];
        let length = protocol::wire::seal(u32::MAX, &tariffs, &mut place).unwrap();
        assert!(length <= TARIFF_PLACE_BYTES, "{length}");
    }
}
