//! Class 5, demand register (version 0): the average of a quantity over a period, as block or sliding demand.

use super::class::{Any, Nothing, class};
pub use super::register::ScalerUnit;
use crate::codec::axdr::DateTime;

class! {
    /// Demand register.
    DemandRegister = 5, version 0;
    attributes {
        /// The average of the period that runs: what has come so far over the whole period.
        2 CURRENT_AVERAGE_VALUE: (Any), current_average_value;
        /// The average of the last whole period (or of `number_of_periods`).
        3 LAST_AVERAGE_VALUE: (Any), last_average_value;
        /// What one count of both means.
        4 SCALER_UNIT: (ScalerUnit), scaler_unit;
        /// The manufacturer's status of the last average.
        5 STATUS: (Any), status;
        /// When the last average was captured.
        6 CAPTURE_TIME: (DateTime), capture_time;
        /// When the period that runs began.
        7 START_TIME_CURRENT: (DateTime), start_time_current;
        /// Seconds of a period.
        8 PERIOD: (u32), period, set_period;
        /// Periods that a sliding average is over; 1 is block demand.
        9 NUMBER_OF_PERIODS: (u16), number_of_periods, set_number_of_periods;
    }
    methods {
        /// Forgets both averages and begins anew.
        1 RESET: (Nothing), reset;
        /// Ends the period now.
        2 NEXT_PERIOD: (Nothing), next_period;
    }
}
