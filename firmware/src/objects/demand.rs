//! Demand: the average power of a profile period as it runs and as it was last (class 5), and the largest of the month with its
//! time (class 4). Both come from the rows of the first load profile; where two of them do not follow each other there is no value.

use hardware::board::{Board, Clock};
use protocol::codec::axdr::{Data, DateTime, Unit};
use protocol::codec::xdlms::ActionResult;
use protocol::cosem::class::{Access, Invoked, Nothing};
use protocol::cosem::demand_register::{DemandRegister, ScalerUnit};
use protocol::cosem::extended_register::ExtendedRegister;
use protocol::cosem::profile::LoadRow;

use crate::meter::Meter;

const WATTS: ScalerUnit = ScalerUnit { scaler: 0, unit: Unit::WATT };

/// The meter as its demand register.
pub(super) struct DemandObject<'m, B: Board>(pub &'m mut Meter<B>);

impl<B: Board> DemandObject<'_, B> {
    /// The newest row, whose end is the begin of the period that runs.
    fn newest(&mut self) -> Option<LoadRow> {
        let number = self.0.record.profile.rows.next.checked_sub(1)?;
        self.0.profile_row(number)
    }

    fn newest_time(&mut self) -> DateTime {
        let utc_s = self.newest().map_or(0, |row| row.utc_s);
        self.0.settings.zone.moment(utc_s)
    }
}

fn watts(value: Option<u32>) -> Data<'static> {
    value.map_or(Data::Null, Data::DoubleLongUnsigned)
}

impl<B: Board> DemandRegister for DemandObject<'_, B> {
    /// What was used since the period began, over the whole period.
    fn current_average_value(&mut self) -> Access<Data<'_>> {
        let now = self.0.board.clock().utc_s();
        let period_s = self.0.settings.capture.period_s;
        let runs = self.newest().filter(|row| {
            now.and_then(|now| now.checked_sub(row.utc_s)).is_some_and(|since| since < period_s)
        });
        let import_wh = self.0.record.import.wh as u32;
        Ok(watts(runs.and_then(|row| average_w(import_wh.wrapping_sub(row.import_wh), period_s))))
    }

    fn last_average_value(&mut self) -> Access<Data<'_>> {
        let number = self.0.record.profile.rows.next.wrapping_sub(1);
        Ok(watts(self.0.demand_at(number)))
    }

    fn scaler_unit(&mut self) -> Access<ScalerUnit> {
        Ok(WATTS)
    }

    /// The status of the row that ended the period.
    fn status(&mut self) -> Access<Data<'_>> {
        Ok(self.newest().map_or(Data::Null, |row| Data::Unsigned(row.status)))
    }

    fn capture_time(&mut self) -> Access<DateTime> {
        Ok(self.newest_time())
    }

    fn start_time_current(&mut self) -> Access<DateTime> {
        Ok(self.newest_time())
    }

    fn period(&mut self) -> Access<u32> {
        Ok(self.0.settings.capture.period_s)
    }

    fn number_of_periods(&mut self) -> Access<u16> {
        Ok(1)
    }
}

/// The meter as the register of its largest demand.
pub(super) struct PeakObject<'m, B: Board>(pub &'m mut Meter<B>);

impl<B: Board> ExtendedRegister for PeakObject<'_, B> {
    fn value(&mut self) -> Access<Data<'_>> {
        let peak = self.0.record.peak;
        Ok(watts(Some(peak.watts).filter(|_| peak.utc_s != 0)))
    }

    fn scaler_unit(&mut self) -> Access<ScalerUnit> {
        Ok(WATTS)
    }

    /// Periods with anything amiss are counted as well; their rows say what it was.
    fn status(&mut self) -> Access<Data<'_>> {
        Ok(Data::Null)
    }

    fn capture_time(&mut self) -> Access<DateTime> {
        Ok(self.0.settings.zone.moment(self.0.record.peak.utc_s))
    }

    fn reset(&mut self, _: Nothing) -> Invoked {
        let mut next = self.0.record.clone();
        next.peak = crate::record::Peak::default();
        self.0.commit(next).map_err(|_| ActionResult::HardwareFault)
    }
}

/// The average of `wh` watt-hours over `period_s` seconds, in watts; `None` for a period of none.
pub(crate) fn average_w(wh: u32, period_s: u32) -> Option<u32> {
    let watts = (u64::from(wh) * 3_600).checked_div(u64::from(period_s))?;
    Some(u32::try_from(watts).unwrap_or(u32::MAX))
}

impl<B: Board> Meter<B> {
    /// A row of the first load profile.
    fn profile_row(&mut self, number: u32) -> Option<LoadRow> {
        let [ring, _] = self.loads;
        ring.get(self.board.storage(), number)
    }

    /// The average power of the period that row `number` ended; `None` unless the row before it is its beginning.
    pub(crate) fn demand_at(&mut self, number: u32) -> Option<u32> {
        let period_s = self.settings.capture.period_s;
        let begin = self.profile_row(number.checked_sub(1)?)?;
        let end = self.profile_row(number)?;
        let follows = end.utc_s.checked_sub(begin.utc_s) == Some(period_s);
        follows.then(|| average_w(end.import_wh.wrapping_sub(begin.import_wh), period_s))?
    }
}
