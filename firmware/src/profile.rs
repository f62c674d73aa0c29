//! Capturing the two load profiles, and finding rows in them by time.

use core::ops::Range;

use hardware::board::{Board, Clock, Storage};
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::clock::civil_from_days;
use protocol::cosem::profile::{LoadRow, row_status};
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, JournalError};
use crate::layout::Layout;
use crate::meter::Meter;
use crate::personalisation::Personalisation;
use crate::record::{Peak, Record};
use crate::ring::Span;
use crate::settings::Capture;
use crate::terms::DAY_S;

/// Periods that a clock set back waits out, rather than to break the order of the rows.
const HELD_PERIODS: u32 = 4;

/// Bytes of one place of the second profile's journal.
pub const SECOND_PLACE_BYTES: usize = 48;

/// What the second profile captures when it leaves the factory: a row an hour.
const SECOND_PERIOD_S: u32 = 3_600;

/// One of the two. They differ in where their state is kept: the first one's is part of the meter's record and of its settings,
/// the second one's has a journal of its own, so that a meter from before it keeps its storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadProfile {
    /// 1-0:99.1.0.
    First,
    /// 1-0:99.2.0.
    Second,
}

impl LoadProfile {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];
}

/// How far a load profile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Its rows.
    pub rows: Span,
    /// Rows before this one are not in the order of their times: the clock was set back.
    pub ordered_from: u32,
    /// Number of the period last captured (UTC seconds / period); 0 before the first.
    pub period: u32,
}

impl Progress {
    /// Without rows: they are not there any more, or of another kind than those to come.
    const fn begun_anew(self) -> Self {
        let next = self.rows.next;
        Self { rows: Span { first: next, next }, ordered_from: next, period: 0 }
    }
}

/// The second profile's journal record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondProfile {
    /// What it captures.
    pub capture: Capture,
    /// How far it is.
    pub progress: Progress,
}

pub(crate) type SecondJournal = Journal<SecondProfile, SECOND_PLACE_BYTES>;

impl SecondProfile {
    /// As stored. Where there is no journal of it yet (a new meter, or one whose former firmware had rows of its only profile
    /// there) it is as it leaves the factory: a meter that keeps no profile keeps no second one either.
    pub(crate) fn recover<S: Storage>(
        storage: &mut S,
        layout: &Layout,
        who: &Personalisation,
    ) -> Result<(SecondJournal, Self), JournalError> {
        let (base, places) = (layout.second_journal_base, Layout::SECOND_PLACES);
        let (journal, stored) = match Journal::recover(storage, base, places) {
            Err(JournalError::Unreadable) => (Journal::blank(base, places), None),
            other => other?,
        };
        let period_s = if who.profile_period_s == 0 { 0 } else { SECOND_PERIOD_S };
        let capture = Capture { period_s, columns: Capture::ALL };
        Ok((journal, stored.unwrap_or(Self { capture, progress: Progress::default() })))
    }
}

impl<B: Board> Meter<B> {
    /// What a profile captures, and how often.
    pub(crate) const fn capture_of(&self, which: LoadProfile) -> Capture {
        match which {
            LoadProfile::First => self.settings.capture,
            LoadProfile::Second => self.second.capture,
        }
    }

    /// How far a profile is.
    pub(crate) const fn progress(&self, which: LoadProfile) -> Progress {
        match which {
            LoadProfile::First => self.record.profile,
            LoadProfile::Second => self.second.progress,
        }
    }

    fn progress_mut(&mut self, which: LoadProfile) -> &mut Progress {
        match which {
            LoadProfile::First => &mut self.record.profile,
            LoadProfile::Second => &mut self.second.progress,
        }
    }

    /// Stores how far a profile is. On failure the meter goes on as it was.
    pub(crate) fn store_progress(
        &mut self,
        which: LoadProfile,
        progress: Progress,
    ) -> Result<(), JournalError> {
        match which {
            LoadProfile::First => self.commit(Record { profile: progress, ..self.record.clone() }),
            LoadProfile::Second => self.store_second(SecondProfile { progress, ..self.second }),
        }
    }

    fn store_second(&mut self, second: SecondProfile) -> Result<(), JournalError> {
        self.second_journal.write(self.board.storage(), &second)?;
        self.second = second;
        Ok(())
    }

    /// Takes in the rows written after what was stored last.
    pub(crate) fn recover_profile(&mut self, which: LoadProfile) {
        let ring = self.loads[which as usize];
        let mut progress = self.progress(which);
        ring.recover(self.board.storage(), &mut progress.rows);
        let newest = ring.rows(progress.rows).next_back();
        if let Some(row) = newest.and_then(|n| ring.get(self.board.storage(), n))
            && let Some(period) = row.utc_s.checked_div(self.capture_of(which).period_s)
        {
            progress.period = progress.period.max(period);
        }
        *self.progress_mut(which) = progress;
    }

    /// Stores what a load profile captures. Its rows go: a cut in between leaves it empty, as it was.
    pub(crate) fn change_capture(
        &mut self,
        which: LoadProfile,
        capture: Capture,
    ) -> Result<(), DataAccessResult> {
        if !capture.is_sound() {
            return Err(DataAccessResult::OtherReason);
        }
        let progress = self.progress(which).begun_anew();
        match which {
            LoadProfile::First => {
                self.store_progress(which, progress).map_err(|_| DataAccessResult::HardwareFault)?;
                let mut settings = self.settings.clone();
                settings.capture = capture;
                self.change_settings(settings)
            }
            LoadProfile::Second => {
                let stored = self.store_second(SecondProfile { capture, progress });
                stored.map_err(|_| DataAccessResult::HardwareFault)?;
                self.configure(self.record.clone())
            }
        }
    }

    /// Empties a profile.
    pub(crate) fn reset_profile(&mut self, which: LoadProfile) -> Result<(), JournalError> {
        let mut progress = self.progress(which);
        progress.rows.first = progress.rows.next;
        self.store_progress(which, progress)
    }

    /// A row with this time.
    pub(crate) fn push_row(
        &mut self,
        which: LoadProfile,
        progress: &mut Progress,
        utc_s: u32,
    ) -> Result<(), <B::Storage as Storage>::Error> {
        let row = self.row(utc_s, self.conditions.row_status[which as usize]);
        self.loads[which as usize].push(self.board.storage(), &mut progress.rows, row)
    }

    /// Captures a row when a period ended since the last one. Periods that nobody measured have no row: nothing is invented.
    pub(crate) fn capture_if_due(&mut self, which: LoadProfile) {
        let Some(utc_s) = self.board.clock().utc_s() else { return };
        let period_s = self.capture_of(which).period_s;
        let Some(period) = utc_s.checked_div(period_s) else { return };
        let mut progress = self.progress(which);
        let last = core::mem::replace(&mut progress.period, period);
        if period == last {
            return;
        }
        // Set back by a little: no row until the time of the last one comes again. None is doubled, and the registers in the
        // next one hold what was used meanwhile.
        if period < last && last - period <= HELD_PERIODS {
            return;
        }
        if period < last {
            // Set back by more: rows up to here are not in order with those to come.
            progress.ordered_from = progress.rows.next;
        } else if last != 0 {
            let status = &mut self.conditions.row_status[which as usize];
            // A gap without a step of the clock is time without power.
            if period > last + 1 && *status & row_status::CLOCK_SET == 0 {
                *status |= row_status::POWER_DOWN;
            }
            let end_s = period.saturating_mul(period_s);
            if self.push_row(which, &mut progress, end_s).is_ok() {
                self.conditions.row_status[which as usize] = 0;
                #[cfg(feature = "all-objects")]
                if which == LoadProfile::First {
                    self.follow_peak(progress.rows.next, end_s);
                }
            }
        }
        // The row is found again at start even if this is cut.
        if self.store_progress(which, progress).is_err() {
            *self.progress_mut(which) = progress;
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
        let row = self.row(utc_s, self.conditions.row_status[0]);
        let _ = self.daily.push(self.board.storage(), &mut next.daily, row);
        let month = |day: u32| civil_from_days(i64::from(day)).1;
        if month(day) != month(last) {
            let _ = self.monthly.push(self.board.storage(), &mut next.monthly, row);
            next.peak = Peak::default();
        }
    }

    /// Keeps the demand of the period that the row before number `next` ended, where it is the largest of the month: stored with
    /// the row's number.
    #[cfg(feature = "all-objects")]
    fn follow_peak(&mut self, next: u32, utc_s: u32) {
        // A period that ended with the month is not of the month that begins.
        let month = |local_s: u32| civil_from_days(i64::from(local_s / DAY_S)).1;
        let of = self.settings.zone.local_s(utc_s.saturating_sub(1)).map(month);
        if of != Some(month(self.record.snapshot_day.saturating_mul(DAY_S))) {
            return;
        }
        let (demand, peak) = (self.demand_at(next.wrapping_sub(1)), self.record.peak);
        if let Some(watts) = demand.filter(|watts| peak.utc_s == 0 || *watts > peak.watts) {
            self.record.peak = Peak { watts, utc_s };
        }
    }

    /// A row of the registers as they are.
    fn row(&self, utc_s: u32, status: u8) -> LoadRow {
        let open = if self.contact.closed() == Some(false) { row_status::RELAY_OPEN } else { 0 };
        LoadRow {
            utc_s,
            status: status | open,
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
    fn lower_bound(&mut self, which: LoadProfile, rows: Range<u32>, from_utc_s: u32) -> u32 {
        let ring = self.loads[which as usize];
        let (mut low, mut high) = (rows.start, rows.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut earlier = |n: u32| ring.get(self.board.storage(), n).map(|row| row.utc_s < from_utc_s);
            // A torn row has no time; its neighbour after it decides, and there are never two in a row between two starts.
            if earlier(middle).or_else(|| earlier(middle + 1)).unwrap_or(false) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Numbers of the rows between two times, both included. Rows from before the clock was set back are left out when they
    /// are not in order with the rest: they are read by entry number.
    pub(crate) fn rows_between(&mut self, which: LoadProfile, from_utc_s: u32, to_utc_s: u32) -> Range<u32> {
        let progress = self.progress(which);
        let rows = self.loads[which as usize].rows(progress.rows);
        let ordered = rows.start.max(progress.ordered_from)..rows.end;
        if from_utc_s > to_utc_s {
            return ordered.end..ordered.end;
        }
        let first = self.lower_bound(which, ordered.clone(), from_utc_s);
        let end = match to_utc_s.checked_add(1) {
            Some(after) => self.lower_bound(which, first..ordered.end, after),
            None => ordered.end,
        };
        first..end
    }
}

/// Tenths of a volt.
pub(crate) fn decivolts(millivolts: u32) -> u16 {
    u16::try_from(millivolts / 100).unwrap_or(u16::MAX)
}
