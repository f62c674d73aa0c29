//! The terms of the account beside the consumption charge: emergency credit, friendly hours, the fixed daily charge, and debts
//! that are paid back by the day or out of each payment. Amounts are in account units (watt-hours).

use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;

/// Seconds of a day.
pub const DAY_S: u32 = 86_400;
/// Days that are charged at once after an outage, at most. A meter that was dark for longer is settled by its utility.
const DAYS_MAX: u32 = 31;
/// A share of one, in hundredths of a percent.
const WHOLE: i64 = 10_000;

/// Credit offered when nothing else is left. Once taken, the account may go `preset` below zero; what was used of it is paid
/// back first, because a payment raises the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Emergency {
    /// How much; 0 offers none.
    pub preset: u32,
    /// Offered at this credit and below.
    pub offered_at: i32,
    /// Taken, and not yet paid back.
    pub taken: bool,
}

/// Hours in which a used-up credit does not open the relay. What is used then is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FriendlyHours {
    /// Minute of the day they begin, local time.
    pub from_minute: u16,
    /// Minute of the day they end; not after `from_minute` means on the next day. Equal means none.
    pub to_minute: u16,
    /// Days they begin on: bit 0 is Monday.
    pub days: u8,
    /// How far the account may go below zero in them.
    pub limit: u32,
}

/// An amount per day: now, to come, and what was collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PerDay {
    /// Units a day.
    pub active: u32,
    /// Units a day after activation.
    pub passive: u32,
    /// When the passive amount becomes the active one, UTC; 0 never.
    pub activation_utc_s: u32,
    /// Collected last.
    pub last_amount: u32,
    /// When, UTC.
    pub last_utc_s: u32,
    /// Collected in all.
    pub total: u64,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terms {
    /// Emergency credit.
    pub emergency: Emergency,
    /// Friendly hours.
    pub friendly: FriendlyHours,
    /// Fixed daily charge.
    pub daily: PerDay,
    /// Daily instalment of a debt.
    pub instalment: PerDay,
    /// What is owed of the debt.
    pub debt: u32,
    /// Share of each payment that goes to the debt, in hundredths of a percent.
    pub debt_share: u16,
    /// Local day (days since 1970) that was charged last; 0 before the first.
    pub day: u32,
}

impl FriendlyHours {
    /// Whether they are at `local_s` (seconds since 1970 in local time).
    #[must_use]
    pub fn are_at(&self, local_s: u32) -> bool {
        // Below 1440, and below 7: day 0 of 1970 was a Thursday, Monday is weekday 0.
        let minute = (local_s % DAY_S / 60) as u16;
        let weekday = (local_s / DAY_S + 3) % 7;
        let begins_on = |weekday: u32| self.days & (1 << weekday) != 0;
        if self.from_minute < self.to_minute {
            return begins_on(weekday) && minute >= self.from_minute && minute < self.to_minute;
        }
        if self.from_minute == self.to_minute {
            return false;
        }
        (begins_on(weekday) && minute >= self.from_minute)
            || (begins_on((weekday + 6) % 7) && minute < self.to_minute)
    }
}

impl PerDay {
    fn collect(&mut self, units: u32, utc_s: u32, ledger: &mut Ledger) {
        if units == 0 {
            return;
        }
        ledger.charge(u64::from(units));
        self.last_amount = units;
        self.last_utc_s = utc_s;
        self.total = self.total.saturating_add(u64::from(units));
    }

    fn activate_if_due(&mut self, utc_s: u32) -> bool {
        let due = self.activation_utc_s != 0 && utc_s >= self.activation_utc_s;
        if due {
            self.activate();
        }
        due
    }

    /// The passive amount becomes the active one.
    pub const fn activate(&mut self) {
        self.active = self.passive;
        self.activation_utc_s = 0;
    }
}

impl Terms {
    /// How low the credit may be before the relay opens.
    #[must_use]
    pub fn floor(&self, local_s: Option<u32>) -> i64 {
        let emergency = if self.emergency.taken { i64::from(self.emergency.preset) } else { 0 };
        let friendly = local_s.is_some_and(|at| self.friendly.are_at(at));
        let limit = if friendly { i64::from(self.friendly.limit) } else { 0 };
        -emergency.max(limit)
    }

    /// What emergency credit adds to what is left.
    #[must_use]
    pub fn emergency_left(&self, remaining: i64) -> i64 {
        let preset = i64::from(self.emergency.preset);
        if self.emergency.taken { (preset + remaining.min(0)).max(0) } else { 0 }
    }

    /// Whether the customer may take emergency credit now.
    #[must_use]
    pub fn offers_emergency(&self, remaining: i64) -> bool {
        self.emergency.preset > 0
            && !self.emergency.taken
            && remaining <= i64::from(self.emergency.offered_at)
    }

    /// A payment came in: the debt has its share, and emergency credit that is paid back may be taken again.
    pub fn after_payment(&mut self, units: i64, utc_s: u32, ledger: &mut Ledger) {
        let share = i128::from(units.max(0)) * i128::from(self.debt_share) / i128::from(WHOLE);
        // A share of a double-long, at most the debt.
        let pay = share.min(i128::from(self.debt)) as u32;
        self.debt -= pay;
        self.instalment.collect(pay, utc_s, ledger);
        if ledger.remaining() > 0 {
            self.emergency.taken = false;
        }
    }

    /// Whether the calendar demands something at this time.
    #[must_use]
    pub const fn is_due(&self, utc_s: u32, local_s: u32) -> bool {
        self.day == 0
            || local_s / DAY_S > self.day
            || (self.daily.activation_utc_s != 0 && utc_s >= self.daily.activation_utc_s)
            || (self.instalment.activation_utc_s != 0 && utc_s >= self.instalment.activation_utc_s)
    }

    /// Collects for the days that began since the last one. A clock that went back charges nothing twice.
    pub fn follow_calendar(&mut self, utc_s: u32, local_s: u32, ledger: &mut Ledger) {
        self.daily.activate_if_due(utc_s);
        self.instalment.activate_if_due(utc_s);
        let day = local_s / DAY_S;
        if self.day == 0 {
            self.day = day;
        }
        let Some(days) = day.checked_sub(self.day).filter(|days| *days > 0) else { return };
        let days = days.min(DAYS_MAX);
        self.day = day;
        let daily = self.daily.active.saturating_mul(days);
        self.daily.collect(daily, utc_s, ledger);
        let instalment = self.instalment.active.saturating_mul(days).min(self.debt);
        self.debt -= instalment;
        self.instalment.collect(instalment, utc_s, ledger);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn friendly_hours_cross_midnight_and_belong_to_the_day_they_begin() {
        // Friday evening to Saturday morning. 1970-01-02 was a Friday.
        let hours = FriendlyHours { from_minute: 18 * 60, to_minute: 8 * 60, days: 1 << 4, limit: 500 };
        let at = |day: u32, hour: u32| hours.are_at(day * DAY_S + hour * 3_600);
        assert!(at(1, 18) && at(1, 23) && at(2, 0) && at(2, 7));
        assert!(!at(1, 17) && !at(1, 7) && !at(2, 8) && !at(2, 18));
    }

    #[test]
    fn each_day_is_charged_once_even_when_the_clock_goes_back() {
        let mut terms = Terms { day: 100, ..Terms::default() };
        terms.daily.active = 10;
        let mut ledger = Ledger::new(1_000);
        for day in [100, 101, 100, 101, 103] {
            terms.follow_calendar(day * DAY_S, day * DAY_S + 5, &mut ledger);
        }
        assert_eq!((ledger.remaining(), terms.daily.total, terms.daily.last_amount), (970, 30, 20));
        assert!(ledger.balances());
    }

    #[test]
    fn a_debt_is_paid_by_instalment_and_by_share_and_then_is_over() {
        let mut terms = Terms { day: 1, debt: 100, debt_share: 2_500, ..Terms::default() };
        terms.instalment.active = 30;
        let mut ledger = Ledger::new(0);
        ledger.credit(200).unwrap();
        terms.after_payment(200, 0, &mut ledger);
        assert_eq!((terms.debt, ledger.remaining()), (50, 150));
        for day in 2..9 {
            terms.follow_calendar(0, day * DAY_S, &mut ledger);
        }
        assert_eq!((terms.debt, ledger.remaining()), (0, 100));
        assert!(ledger.balances());
    }
}
