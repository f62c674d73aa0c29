//! Capturing the load profile, and finding rows in it by time.

use core::ops::Range;

use hardware::board::{Board, Clock};
use protocol::cosem::clock::civil_from_days;
use protocol::cosem::profile::{LoadRow, row_status};

use crate::meter::Meter;
use crate::record::{Peak, Record};
use crate::terms::DAY_S;

/// Periods that a clock set back waits out, rather than to break the order of the rows.
const HELD_PERIODS: u32 = 4;

impl<B: Board> Meter<B> {
    /// Captures a row when a period ended since the last one. Periods that nobody measured have no row: nothing is invented.
    pub(crate) fn capture_if_due(&mut self) {
        let Some(utc_s) = self.board.clock().utc_s() else { return };
        let Some(period) = utc_s.checked_div(self.settings.capture.period_s) else { return };
        let last = self.record.profile_period;
        if period == last {
            return;
        }
        // Set back by a little: no row until the time of the last one comes again. None is doubled, and the registers in the
        // next one hold what was used meanwhile.
        if period < last && last - period <= HELD_PERIODS {
            return;
        }
        let mut next = self.record.clone();
        next.profile_period = period;
        if period < last {
            // Set back by more: rows up to here are not in order with those to come.
            next.profile_ordered_from = next.profile.next;
            let _ = self.commit(next);
            return;
        }
        if last != 0 {
            // A gap without a step of the clock is time without power.
            if period > last + 1 && self.conditions.row_status & row_status::CLOCK_SET == 0 {
                self.conditions.row_status |= row_status::POWER_DOWN;
            }
            let row = self.row(period.saturating_mul(self.settings.capture.period_s));
            if self.profile.push(self.board.storage(), &mut next.profile, row).is_ok() {
                self.conditions.row_status = 0;
                #[cfg(feature = "all-objects")]
                self.follow_peak(&mut next, row.utc_s);
            }
        }
        // The row is found again at start even if this record is cut.
        if self.commit(next.clone()).is_err() {
            next.events = self.record.events;
            self.enter_state(next);
        }
    }

    /// A billing snapshot when a local day began since the last one, and another when a month did. After an outage over
    /// midnight it is taken at the first moment there is, with that time in it.
    pub(crate) fn take_snapshots(&mut self, utc_s: u32, local_s: u32, next: &mut Record) {
        let (day, last) = (local_s / DAY_S, next.snapshot_day);
        if day == last {
            return;
        }
        // The clock went back over midnight: that day was counted.
        if day + 1 == last {
            return;
        }
        next.snapshot_day = day;
        // The first day of a life has no day before it, and a clock that went back begins no new day.
        if last == 0 || day < last {
            return;
        }
        let row = self.row(utc_s);
        let _ = self.daily.push(self.board.storage(), &mut next.daily, row);
        let month = |day: u32| civil_from_days(i64::from(day)).1;
        if month(day) != month(last) {
            let _ = self.monthly.push(self.board.storage(), &mut next.monthly, row);
            next.peak = Peak::default();
        }
    }

    /// Keeps the demand of the period that the newest row ended, where it is the largest of the month.
    #[cfg(feature = "all-objects")]
    fn follow_peak(&mut self, next: &mut Record, utc_s: u32) {
        // A period that ended with the month is not of the month that begins.
        let month = |local_s: u32| civil_from_days(i64::from(local_s / DAY_S)).1;
        let of = self.settings.zone.local_s(utc_s.saturating_sub(1)).map(month);
        if of != Some(month(next.snapshot_day.saturating_mul(DAY_S))) {
            return;
        }
        let demand = self.demand_at(next.profile.next.wrapping_sub(1));
        if let Some(watts) = demand.filter(|watts| next.peak.utc_s == 0 || *watts > next.peak.watts) {
            next.peak = Peak { watts, utc_s };
        }
    }

    /// A row of the registers as they are.
    pub(crate) fn row(&self, utc_s: u32) -> LoadRow {
        let open = if self.contact.closed() == Some(false) { row_status::RELAY_OPEN } else { 0 };
        LoadRow {
            utc_s,
            status: self.conditions.row_status | open,
            // A household meter needs centuries for 2^32 watt-hours; the register counts on, the row wraps.
            import_wh: self.record.import.wh as u32,
            export_wh: self.record.export.wh as u32,
            credit: self.available_credit(),
            voltage_dv: decivolts(self.sample.voltage_mv),
        }
    }

    /// Credit as the double-long that class 111 and 112 carry.
    pub(crate) fn available_credit(&self) -> i32 {
        // The ledger keeps credits within the range; consumption could leave it only downwards.
        i32::try_from(self.record.available()).unwrap_or(i32::MIN)
    }

    /// The first row number in `rows` whose time is `from_utc_s` or later, by bisection: rows are in the order of time.
    fn lower_bound(&mut self, rows: Range<u32>, from_utc_s: u32) -> u32 {
        let (mut low, mut high) = (rows.start, rows.end);
        while low < high {
            let middle = low + (high - low) / 2;
            // A torn row has no time; its neighbour after it decides, and there are never two in a row between two starts.
            let time = self.profile.get(self.board.storage(), middle).map(|row| row.utc_s);
            let earlier = match time {
                Some(utc_s) => utc_s < from_utc_s,
                None => self
                    .profile
                    .get(self.board.storage(), middle + 1)
                    .is_some_and(|row| row.utc_s < from_utc_s),
            };
            if earlier {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Numbers of the rows between two times, both included. Rows from before the clock was set back are left out when they
    /// are not in order with the rest: they are read by entry number.
    pub(crate) fn rows_between(&mut self, from_utc_s: u32, to_utc_s: u32) -> Range<u32> {
        let rows = self.profile.rows(self.record.profile);
        let ordered = rows.start.max(self.record.profile_ordered_from)..rows.end;
        if from_utc_s > to_utc_s {
            return ordered.end..ordered.end;
        }
        let first = self.lower_bound(ordered.clone(), from_utc_s);
        let end = match to_utc_s.checked_add(1) {
            Some(after) => self.lower_bound(first..ordered.end, after),
            None => ordered.end,
        };
        first..end
    }
}

/// Tenths of a volt.
pub(crate) fn decivolts(millivolts: u32) -> u16 {
    u16::try_from(millivolts / 100).unwrap_or(u16::MAX)
}
